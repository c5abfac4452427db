//! The mail data of one transaction that is in memory: runs of octets in receive buffers and in owned blocks.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::arena::{Arena, BufferId};
use super::blocks::{Block, NoMemory};
use super::pool::Pool;
use crate::limits::{HELD_BUFFERS_MAX, PIECES_PER_BUFFER_MAX};

/// Pieces in the order in which they were received, and the memory that they lie in.
///
/// In steady state its vectors keep their memory from one transaction to the next.
#[derive(Debug)]
pub(super) struct Pieces {
    arena: Arc<Arena>,
    pieces: Vec<Piece>,
    /// Buffers that the pieces lie in, each pinned once by us.
    buffers: Vec<BufferId>,
    /// Blocks that were copied to, each counted in the budget of the pool.
    blocks: Vec<Block>,
    /// Octets in all pieces.
    bytes: u64,
    /// Pieces in the buffer of the last piece, `<= PIECES_PER_BUFFER_MAX`.
    pieces_in_last: usize,
}

/// A run of mail data, `start < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// In a receive buffer that we pin.
    Buffer { id: BufferId, start: u32, end: u32 },
    /// In one of our blocks.
    Owned { block: u32, start: u32, end: u32 },
}

impl Piece {
    /// Octets of it.
    fn bytes(&self) -> u64 {
        let (Self::Buffer { start, end, .. } | Self::Owned { start, end, .. }) = self;
        u64::from(end - start)
    }
}

impl Pieces {
    /// No pieces yet.
    pub(super) fn new(arena: Arc<Arena>) -> Self {
        Self {
            arena,
            pieces: Vec::new(),
            buffers: Vec::new(),
            blocks: Vec::new(),
            bytes: 0,
            pieces_in_last: 0,
        }
    }

    /// The memory that the buffers lie in.
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Octets in all pieces.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Octets of all buffers and blocks that they lie in.
    pub(super) fn memory(&self) -> usize {
        self.buffers.len() * self.arena.buffer_bytes() + self.blocks.iter().map(Block::size).sum::<usize>()
    }

    /// The octets of each piece in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| match *piece {
            Piece::Owned { block, start, end } => self
                .blocks
                .get(block as usize)
                .and_then(|block| block.octets().get(start as usize..end as usize))
                .unwrap_or_default(),
            // SAFETY: the buffer was pinned by us when the piece was made (`append`) and is unpinned only in
            // `release`, which takes `&mut self`; so the kernel does not write to it, and the pool writes
            // only after the last piece (`compact`, on the shard, while this message is still being received
            // there). The piece lies in the buffer: `append` was given it as a range of `Pool::bytes`.
            Piece::Buffer { id, start, end } => unsafe {
                let at = self.arena.start(id).add(start as usize);
                std::slice::from_raw_parts(at.as_ptr(), (end - start) as usize)
            },
        })
    }

    /// Appends a range of a receive buffer that the caller holds, of which the receive filled `filled`
    /// octets.
    ///
    /// The range is borrowed where that is cheap for everybody: not when the receive filled little of its
    /// buffer, not beyond [`HELD_BUFFERS_MAX`], and not when the pool runs low. Then its octets are copied.
    pub(super) fn append(
        &mut self,
        pool: &mut Pool,
        id: BufferId,
        range: Range<usize>,
        filled: usize,
    ) -> Result<(), NoMemory> {
        if range.is_empty() {
            return Ok(());
        }
        if self.buffers.last() == Some(&id) {
            return self.extend_buffer(pool, id, range);
        }
        if pool.arena().is_little(filled)
            || self.buffers.len() >= HELD_BUFFERS_MAX
            || pool.pressure().lacks_buffers()
        {
            return self.append_from_buffer(pool, id, range);
        }
        pool.pin(id);
        self.buffers.push(id);
        self.bytes += range.len() as u64;
        self.pieces.push(Piece::Buffer { id, start: narrow(range.start), end: narrow(range.end) });
        self.pieces_in_last = 1;
        Ok(())
    }

    /// Appends octets that lie in no receive buffer.
    pub(super) fn append_copied(&mut self, pool: &mut Pool, mut bytes: &[u8]) -> Result<(), NoMemory> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(self.room(pool)?.min(bytes.len()));
            self.copy(now);
            bytes = rest;
        }
        Ok(())
    }

    /// Puts these octets in place of the first ones. They are copied, so that however much is left out of a
    /// beginning it is no more pieces than before.
    pub(super) fn replace_beginning(
        &mut self,
        mut count: usize,
        by: &[u8],
        pool: &mut Pool,
    ) -> Result<(), NoMemory> {
        let mut rest = std::mem::take(&mut self.pieces);
        let mut whole = 0;
        for piece in &mut rest {
            let (Piece::Buffer { start, end, .. } | Piece::Owned { start, end, .. }) = piece;
            let length = (*end - *start) as usize;
            if count < length {
                *start += narrow(count);
                break;
            }
            count -= length;
            whole += 1;
        }
        rest.drain(..whole);
        self.bytes = rest.iter().map(Piece::bytes).sum();
        self.append_copied(pool, by)?;
        self.pieces.append(&mut rest);
        Ok(())
    }

    /// Gives all memory back to the pool it came from; no piece is left then.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        assert!(Arc::ptr_eq(&self.arena, pool.arena()), "mail data goes back to its own pool");
        for id in self.buffers.drain(..) {
            pool.unpin(id);
        }
        for block in self.blocks.drain(..) {
            pool.give_back_block(block);
        }
        self.pieces.clear();
        self.bytes = 0;
        self.pieces_in_last = 0;
    }

    /// The buffer held last is this one: extend its last piece, add a piece, or, with pieces enough, move
    /// octets.
    fn extend_buffer(&mut self, pool: &mut Pool, id: BufferId, range: Range<usize>) -> Result<(), NoMemory> {
        let full = self.pieces_in_last >= PIECES_PER_BUFFER_MAX;
        match self.pieces.last_mut() {
            Some(Piece::Buffer { end, .. }) if *end as usize == range.start => *end = narrow(range.end),
            Some(Piece::Buffer { end, .. }) if full => {
                let to = *end as usize;
                *end = narrow(to + range.len());
                pool.compact(id, range.clone(), to);
            }
            // An inserted line end stands between; with pieces enough the octets go where it went.
            Some(Piece::Owned { .. }) if full => return self.append_from_buffer(pool, id, range),
            Some(Piece::Buffer { .. } | Piece::Owned { .. }) | None => {
                self.pieces.push(Piece::Buffer { id, start: narrow(range.start), end: narrow(range.end) });
                self.pieces_in_last += 1;
            }
        }
        self.bytes += range.len() as u64;
        Ok(())
    }

    fn append_from_buffer(
        &mut self,
        pool: &mut Pool,
        id: BufferId,
        mut range: Range<usize>,
    ) -> Result<(), NoMemory> {
        while !range.is_empty() {
            let count = self.room(pool)?.min(range.len());
            self.copy(pool.bytes(id, range.start..range.start + count));
            range.start += count;
        }
        Ok(())
    }

    /// Octets that still fit the last block; a new one is taken when it is full. Never 0.
    fn room(&mut self, pool: &mut Pool) -> Result<usize, NoMemory> {
        if self.blocks.last().is_none_or(|block| block.room() == 0) {
            self.blocks.push(pool.take_block(self.blocks.is_empty()).ok_or(NoMemory)?);
        }
        Ok(self.blocks.last().map_or(0, Block::room))
    }

    /// Copies octets that fit the last block.
    fn copy(&mut self, bytes: &[u8]) {
        let Some(last) = self.blocks.len().checked_sub(1) else { return };
        let start = self.blocks[last].octets().len();
        self.blocks[last].append(bytes);
        self.bytes += bytes.len() as u64;
        let (block, start, end) = (narrow(last), narrow(start), narrow(start + bytes.len()));
        match self.pieces.last_mut() {
            Some(Piece::Owned { block: same, end: at, .. }) if *same == block && *at == start => *at = end,
            Some(Piece::Owned { .. } | Piece::Buffer { .. }) | None => {
                self.pieces.push(Piece::Owned { block, start, end });
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !self.buffers.is_empty() {
            self.arena.count_leaked(self.buffers.len());
        }
    }
}

/// Offsets in a buffer or block, and numbers of blocks, fit 32 bits: `Arena::new` asserts the one, budgets
/// give the other.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("offsets in buffers are 32 bits")
}

#[cfg(test)]
mod replacing;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BLOCK_BYTES, FIRST_BLOCK_BYTES};

    pub(super) fn pool(buffers: usize) -> Pool {
        Pool::new(buffers, 1024, 64 * BLOCK_BYTES).expect("memory")
    }

    /// What the kernel does: takes a buffer and fills it.
    pub(super) fn receive(pool: &mut Pool, bytes: &[u8]) -> BufferId {
        let id = pool.take().expect("a free buffer");
        let start = pool.arena().start(id);
        // SAFETY: the buffer is published to nobody else in this test, and the octets fit it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
        pool.received(id);
        id
    }

    pub(super) fn whole(pieces: &Pieces) -> Vec<u8> {
        pieces.iter().collect::<Vec<_>>().concat()
    }

    #[test]
    fn ranges_are_borrowed_and_merged() {
        let mut pool = pool(8);
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'x'; 600]);
        pieces.append(&mut pool, id, 0..200, 600).expect("memory");
        pieces.append(&mut pool, id, 200..300, 600).expect("memory");
        pieces.append(&mut pool, id, 301..600, 600).expect("memory");
        assert_eq!((pieces.pieces.len(), pieces.bytes(), pool.block_bytes_used()), (2, 599, 0));
        pool.unpin(id);
        assert_eq!(pool.pinned(), 1);
        pieces.release(&mut pool);
        assert_eq!((pool.pinned(), pool.free()), (0, 8));
    }

    #[test]
    fn a_body_of_dots_costs_no_more_than_its_octets() {
        let mut pool = pool(8);
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        let body: Vec<u8> = b"..\r\n".repeat(250);
        let id = receive(&mut pool, &body);
        for line in 0..250 {
            pieces.append(&mut pool, id, line * 4 + 1..line * 4 + 4, body.len()).expect("memory");
        }
        assert!(pieces.pieces.len() <= PIECES_PER_BUFFER_MAX);
        assert_eq!(whole(&pieces), b".\r\n".repeat(250));
        pieces.release(&mut pool);
    }

    #[test]
    fn inserted_line_ends_do_not_multiply_pieces() {
        let mut pool = pool(8);
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'\n'; 1000]);
        for at in 0..1000 {
            pieces.append_copied(&mut pool, b"\r").expect("memory");
            pieces.append(&mut pool, id, at..at + 1, 1000).expect("memory");
        }
        assert!(pieces.pieces.len() <= 2 * PIECES_PER_BUFFER_MAX + 2);
        assert_eq!(whole(&pieces), b"\r\n".repeat(1000));
        pieces.release(&mut pool);
    }

    #[test]
    fn little_receives_and_a_low_pool_are_copied() {
        let mut pool = pool(8);
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        let mut sent = Vec::new();
        for turn in 0..100_u8 {
            let bytes = [turn; 900];
            let filled = if turn % 2 == 0 { 900 } else { 1 };
            let id = receive(&mut pool, &bytes[..filled]);
            pieces.append(&mut pool, id, 0..filled, filled).expect("memory");
            pool.unpin(id);
            sent.extend_from_slice(&bytes[..filled]);
        }
        assert_eq!(whole(&pieces), sent);
        assert!(pool.pinned() <= 5, "half of the pool serves the sockets");
        pieces.release(&mut pool);
        assert_eq!((pool.pinned(), pool.block_bytes_used()), (0, 0));
    }

    #[test]
    fn the_budget_for_blocks_is_kept() {
        let mut pool = Pool::new(8, 1024, FIRST_BLOCK_BYTES + BLOCK_BYTES).expect("memory");
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        assert_eq!(pieces.append_copied(&mut pool, b"x"), Ok(()));
        assert_eq!(pool.block_bytes_used(), FIRST_BLOCK_BYTES, "a few octets take little");
        assert_eq!(pieces.append_copied(&mut pool, &vec![0; FIRST_BLOCK_BYTES + BLOCK_BYTES - 1]), Ok(()));
        assert_eq!(pieces.append_copied(&mut pool, b"x"), Err(NoMemory));
        pieces.release(&mut pool);
        assert_eq!(pieces.append_copied(&mut pool, b"x"), Ok(()));
        pieces.release(&mut pool);
    }

    #[test]
    fn mail_data_dropped_elsewhere_is_counted() {
        let mut pool = pool(8);
        let mut pieces = Pieces::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'x'; 600]);
        pieces.append(&mut pool, id, 0..600, 600).expect("memory");
        drop(pieces);
        assert_eq!(pool.arena().leaked(), 1);
    }
}
