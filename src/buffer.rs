//! Receive-buffer memory, owned blocks, pieces of mail data and their counts. No io_uring in here.
//!
//! One [`Pool`] per shard owns which buffer is where; its [`Arena`] is one mapping behind an `Arc`, reached by raw
//! pointer: nobody ever holds a reference to all of it. A buffer is in exactly one place at a time:
//!
//! ```text
//!   free ──take──► published (the kernel may write) ──received──► pinned (count ≥ 1) ──last unpin──► free
//! ```
//!
//! [`MailData`] is what a transaction keeps: pieces that borrow pinned buffers or lie in owned blocks. It is read-only
//! outside its shard and not `Clone`. Dropped elsewhere it leaks its buffers (they stay pinned and counted); it never
//! frees them, for only the shard may touch the counts.
#![allow(unsafe_code)]

mod spill_budget;
mod spilled;

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::spill_budget::SpillBudget;
use self::spilled::Prefix;
pub use self::spilled::{SpillError, SpillFile};
use crate::limits::{
    BLOCK_BYTES, BUFFERS_MAX, FIRST_BLOCK_BYTES, HELD_BUFFERS_MAX, PIECES_PER_BUFFER_MAX, SPILL_BYTES_MAX,
};

/// Number of a receive buffer within its pool, `0 <= id < buffers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// The memory of all receive buffers of one shard: one anonymous mapping.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    buffers: usize,
    buffer_bytes: usize,
    /// Buffers that stay pinned for ever because mail data was dropped outside its shard.
    leaked: AtomicUsize,
}

// SAFETY: the arena is raw memory. Which thread may read or write a buffer follows from where the buffer is (see the
// module's drawing); `Arena` hands out raw pointers only, and the unsafe code that reads through them argues its case.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `buffers` buffers of `buffer_bytes` octets. Pages are touched only when the kernel fills them.
    pub fn new(buffers: usize, buffer_bytes: usize) -> std::io::Result<Self> {
        assert!(
            (1..=BUFFERS_MAX).contains(&buffers) && buffer_bytes > 0 && u32::try_from(buffer_bytes).is_ok()
        );
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                buffers * buffer_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let base = NonNull::new(base.cast()).expect("mmap does not return null");
        Ok(Self { base, buffers, buffer_bytes, leaked: AtomicUsize::new(0) })
    }

    /// Octets of one buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether a receive filled so little of its buffer that its octets are better copied than the buffer held.
    pub fn is_little(&self, filled: usize) -> bool {
        const PART: usize = 16;
        filled < self.buffer_bytes / PART
    }

    /// Number of buffers.
    pub fn buffers(&self) -> usize {
        self.buffers
    }

    /// Buffers lost to mail data that was dropped outside its shard.
    pub fn leaked(&self) -> usize {
        self.leaked.load(Ordering::Relaxed)
    }

    /// Start of a buffer.
    pub fn start(&self, id: BufferId) -> NonNull<u8> {
        let index = usize::from(id.0);
        assert!(index < self.buffers, "buffer {index} of {}", self.buffers);
        // SAFETY: `index < buffers`, so the offset stays inside the one mapping.
        unsafe { self.base.add(index * self.buffer_bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and the last `Arc` to it is gone: no ring publishes
        // it and no piece points into it.
        let unmapped =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.buffers * self.buffer_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Which of the shard's receive buffers are free, published or pinned, and by how many.
#[derive(Debug)]
pub struct Pool {
    arena: Arc<Arena>,
    /// Last in, first out: the buffer used last is still in cache.
    free: Vec<BufferId>,
    /// Holders of each buffer: the connection that parses it, and each message with a piece in it. 0 = free or published.
    pins: Vec<u16>,
    /// Buffers with at least one pin.
    pinned: usize,
    /// Free blocks for mail data that was copied out, all of [`BLOCK_BYTES`].
    blocks: Vec<Vec<u8>>,
    /// Free first blocks, all of [`FIRST_BLOCK_BYTES`].
    first_blocks: Vec<Vec<u8>>,
    /// Octets of the blocks in use. `block_bytes_used <= block_bytes_max`.
    block_bytes_used: usize,
    block_bytes_max: usize,
    /// While fewer buffers than this are left unpinned, octets are copied out of buffers instead of pinning them.
    low_water: usize,
    /// The most memory that the mail data of one message may take before it is written out.
    spill_bytes_max: usize,
    /// Spill files of messages that came to nothing; bounded by the budget for files.
    abandoned: Vec<SpillFile>,
}

/// Copied mail data.
#[derive(Debug)]
struct Block {
    octets: Vec<u8>,
    /// As many of them there can be: [`FIRST_BLOCK_BYTES`] or [`BLOCK_BYTES`].
    size: usize,
}

impl Block {
    fn room(&self) -> usize {
        self.size - self.octets.len()
    }
}

impl Pool {
    /// A pool of `buffers` receive buffers, and a budget of `block_bytes_max` octets for copied mail data.
    pub fn new(buffers: usize, buffer_bytes: usize, block_bytes_max: usize) -> std::io::Result<Self> {
        let arena = Arc::new(Arena::new(buffers, buffer_bytes)?);
        let free =
            (0..buffers).rev().map(|id| BufferId(u16::try_from(id).expect("at most BUFFERS_MAX"))).collect();
        Ok(Self {
            arena,
            free,
            pins: vec![0; buffers],
            pinned: 0,
            blocks: Vec::new(),
            first_blocks: Vec::new(),
            block_bytes_used: 0,
            block_bytes_max,
            // At least half of the pool always serves the sockets, whatever messages hold.
            low_water: buffers / 2,
            spill_bytes_max: SPILL_BYTES_MAX,
            abandoned: Vec::new(),
        })
    }

    /// The memory, for whoever publishes buffers to the kernel.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Free buffers.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Octets of the owned blocks in use.
    pub fn block_bytes_used(&self) -> usize {
        self.block_bytes_used
    }

    /// Buffers held by connections or messages.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Takes a free buffer to publish it.
    pub fn take(&mut self) -> Option<BufferId> {
        self.free.pop()
    }

    /// Gives back a buffer that was taken and not filled.
    pub fn give_back(&mut self, id: BufferId) {
        assert_eq!(self.pins_of(id), 0, "a pinned buffer cannot be unpublished");
        self.free.push(id);
    }

    /// The kernel filled a published buffer: it is the connection's now, with one pin.
    pub fn received(&mut self, id: BufferId) {
        let pins = self.pins_mut(id);
        assert_eq!(*pins, 0, "a filled buffer was not published");
        *pins = 1;
        self.pinned += 1;
    }

    /// One more holder.
    fn pin(&mut self, id: BufferId) {
        let pins = self.pins_mut(id);
        assert!(*pins > 0 && *pins < u16::MAX, "only a held buffer can be pinned");
        *pins += 1;
    }

    /// One holder less; the last one frees the buffer.
    pub fn unpin(&mut self, id: BufferId) {
        let pins = self.pins_mut(id);
        assert!(*pins > 0, "unpin of a buffer that nobody holds");
        *pins -= 1;
        if *pins == 0 {
            self.pinned -= 1;
            self.free.push(id);
        }
    }

    fn pins_of(&self, id: BufferId) -> u16 {
        self.pins[usize::from(id.0)]
    }

    fn pins_mut(&mut self, id: BufferId) -> &mut u16 {
        &mut self.pins[usize::from(id.0)]
    }

    /// The octets of a received range. The buffer must be pinned by the caller.
    pub fn bytes(&self, id: BufferId, range: Range<usize>) -> &[u8] {
        assert!(self.pins_of(id) > 0 && range.start <= range.end && range.end <= self.arena.buffer_bytes);
        // SAFETY: the buffer is pinned, so it is not published and the kernel does not write to it; writes by us need
        // `&mut self` (`compact`). The range lies inside the buffer by the assert above.
        unsafe {
            let start = self.arena.start(id).add(range.start);
            std::slice::from_raw_parts(start.as_ptr(), range.len())
        }
    }

    /// The octets of a received range, to be decrypted in place. The caller must be the only holder of the buffer.
    pub fn bytes_mut(&mut self, id: BufferId, range: Range<usize>) -> &mut [u8] {
        assert!(self.pins_of(id) == 1 && range.start <= range.end && range.end <= self.arena.buffer_bytes);
        // SAFETY: pinned, so the kernel does not write to it; pinned once, by the caller, so no piece of a message lies in it;
        // `&mut self` excludes `bytes`. The range lies inside the buffer by the assert above.
        unsafe {
            let start = self.arena.start(id).add(range.start);
            std::slice::from_raw_parts_mut(start.as_ptr(), range.len())
        }
    }

    /// Moves `range` down to `to` inside one buffer that the caller holds; the octets between were parsed and are dead.
    fn compact(&mut self, id: BufferId, range: Range<usize>, to: usize) {
        assert!(self.pins_of(id) > 0 && to <= range.start && range.start <= range.end);
        assert!(range.end <= self.arena.buffer_bytes);
        // SAFETY: pinned, so the kernel does not write; both ranges lie inside the buffer; `&mut self` excludes `bytes`.
        // Other threads read only pieces of messages that were handed off, which end before `to`: octets from `to` on
        // belong to the message being received.
        unsafe {
            let start = self.arena.start(id);
            std::ptr::copy(start.add(range.start).as_ptr(), start.add(to).as_ptr(), range.len());
        }
    }

    /// A block for copied octets, the first one of a message or another, or none when the budget is used up.
    fn take_block(&mut self, is_first: bool) -> Option<Block> {
        let (size, free) = if is_first {
            (FIRST_BLOCK_BYTES, &mut self.first_blocks)
        } else {
            (BLOCK_BYTES, &mut self.blocks)
        };
        let used = self.block_bytes_used + size;
        if used > self.block_bytes_max {
            return None;
        }
        self.block_bytes_used = used;
        Some(Block { octets: free.pop().unwrap_or_else(|| Vec::with_capacity(size)), size })
    }

    fn give_back_block(&mut self, Block { mut octets, size }: Block) {
        /// Free blocks of a size that are kept for the next message; more go back to the allocator.
        const FREE_BLOCKS_MAX: usize = 256;
        assert!(self.block_bytes_used >= size);
        self.block_bytes_used -= size;
        let free = if size == BLOCK_BYTES { &mut self.blocks } else { &mut self.first_blocks };
        if free.len() < FREE_BLOCKS_MAX {
            octets.clear();
            free.push(octets);
        }
    }

    /// Whether little is left of the budget for copied octets, so that no new message should begin.
    pub fn is_nearly_exhausted(&self) -> bool {
        self.block_bytes_max - self.block_bytes_used < self.block_bytes_max / 8
    }

    /// How much of the budget for copied octets is used, in per cent of what [`Self::is_nearly_exhausted`] leaves. Pinned buffers do
    /// not count: where they are many, octets are copied.
    pub fn used_percent(&self) -> usize {
        let most = self.block_bytes_max - self.block_bytes_max / 8;
        (self.block_bytes_used.saturating_mul(100) / most.max(1)).min(100)
    }

    /// Whether so many buffers are pinned that one more would leave too few for the sockets.
    pub fn is_low(&self) -> bool {
        self.arena.buffers - self.pinned < self.low_water
    }
}

/// The mail data of one transaction: pieces in the order they were received, transparency removed.
///
/// In steady state its vectors keep their memory from one transaction to the next.
#[derive(Debug)]
pub struct MailData {
    arena: Arc<Arena>,
    /// Mail data in front of the pieces that is in memory no more.
    prefix: Prefix,
    pieces: Vec<Piece>,
    /// Buffers that the pieces lie in, each pinned once by us.
    buffers: Vec<BufferId>,
    /// Blocks that were copied to, each counted in the budget of the pool.
    blocks: Vec<Block>,
    /// Octets in all pieces, without the prefix.
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

/// The budget for copied mail data is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

impl MailData {
    /// No mail data yet.
    pub fn new(arena: Arc<Arena>) -> Self {
        Self {
            arena,
            prefix: Prefix::None,
            pieces: Vec::new(),
            buffers: Vec::new(),
            blocks: Vec::new(),
            bytes: 0,
            pieces_in_last: 0,
        }
    }

    /// Octets so far.
    pub fn bytes(&self) -> u64 {
        self.prefix.bytes() + self.bytes
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Appends a range of a receive buffer that the caller holds, of which the receive filled `filled` octets.
    ///
    /// The range is borrowed where that is cheap for everybody: not when the receive filled little of its buffer, not
    /// beyond [`HELD_BUFFERS_MAX`], and not when the pool runs low. Then its octets are copied.
    pub fn append(
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
        if pool.arena.is_little(filled) || self.buffers.len() >= HELD_BUFFERS_MAX || pool.is_low() {
            return self.append_from_buffer(pool, id, range);
        }
        pool.pin(id);
        self.buffers.push(id);
        self.bytes += range.len() as u64;
        self.pieces.push(Piece::Buffer { id, start: narrow(range.start), end: narrow(range.end) });
        self.pieces_in_last = 1;
        Ok(())
    }

    /// Appends octets that lie in no receive buffer: inserted line ends, TLS plaintext.
    pub fn append_copied(&mut self, pool: &mut Pool, mut bytes: &[u8]) -> Result<(), NoMemory> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(self.room(pool)?.min(bytes.len()));
            self.copy(now);
            bytes = rest;
        }
        Ok(())
    }

    /// All mail data in order. What was written out must have been loaded.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.prefix.loaded().into_iter().chain(self.pieces_in_memory())
    }

    fn pieces_in_memory(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| match *piece {
            Piece::Owned { block, start, end } => self
                .blocks
                .get(block as usize)
                .and_then(|block| block.octets.get(start as usize..end as usize))
                .unwrap_or_default(),
            // SAFETY: the buffer was pinned by us when the piece was made (`append`) and is unpinned only in `release`,
            // which takes `&mut self`; so the kernel does not write to it, and the pool writes only behind the last piece
            // (`compact`, on the shard, while this message is still being received there). The piece lies in the buffer:
            // `append` was given it as a range of `Pool::bytes`.
            Piece::Buffer { id, start, end } => unsafe {
                let at = self.arena.start(id).add(start as usize);
                std::slice::from_raw_parts(at.as_ptr(), (end - start) as usize)
            },
        })
    }

    /// Number of pieces.
    pub fn pieces_count(&self) -> usize {
        self.pieces.len()
    }

    /// Gives all memory back to the pool it came from; the mail data is empty then.
    pub fn release(&mut self, pool: &mut Pool) {
        assert!(Arc::ptr_eq(&self.arena, &pool.arena), "mail data goes back to its own pool");
        self.release_prefix(pool);
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

    /// The buffer held last is this one: extend its last piece, add a piece, or, with pieces enough, move octets.
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
            _ => {
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
        let start = self.blocks[last].octets.len();
        assert!(bytes.len() <= self.blocks[last].room(), "room() was asked before");
        self.blocks[last].octets.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        let (block, start, end) = (narrow(last), narrow(start), narrow(start + bytes.len()));
        match self.pieces.last_mut() {
            Some(Piece::Owned { block: same, end: at, .. }) if *same == block && *at == start => *at = end,
            _ => self.pieces.push(Piece::Owned { block, start, end }),
        }
    }
}

impl Drop for MailData {
    fn drop(&mut self) {
        if !self.buffers.is_empty() {
            self.arena.leaked.fetch_add(self.buffers.len(), Ordering::Relaxed);
        }
    }
}

/// Offsets in a buffer or block, and numbers of blocks, fit 32 bits: `Arena::new` asserts the one, budgets give the other.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("offsets in buffers are 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(buffers: usize) -> Pool {
        Pool::new(buffers, 1024, 64 * BLOCK_BYTES).expect("memory")
    }

    /// What the kernel does: takes a buffer and fills it.
    fn receive(pool: &mut Pool, bytes: &[u8]) -> BufferId {
        let id = pool.take().expect("a free buffer");
        let start = pool.arena.start(id);
        // SAFETY: the buffer is published to nobody else in this test, and the octets fit it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
        pool.received(id);
        id
    }

    fn whole(data: &MailData) -> Vec<u8> {
        data.pieces().collect::<Vec<_>>().concat()
    }

    #[test]
    fn ranges_are_borrowed_and_merged() {
        let mut pool = pool(8);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'x'; 600]);
        data.append(&mut pool, id, 0..200, 600).expect("memory");
        data.append(&mut pool, id, 200..300, 600).expect("memory");
        data.append(&mut pool, id, 301..600, 600).expect("memory");
        assert_eq!((data.pieces_count(), data.bytes(), pool.block_bytes_used()), (2, 599, 0));
        pool.unpin(id);
        assert_eq!(pool.pinned(), 1);
        data.release(&mut pool);
        assert_eq!((pool.pinned(), pool.free()), (0, 8));
    }

    #[test]
    fn a_body_of_dots_costs_no_more_than_its_octets() {
        let mut pool = pool(8);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let body: Vec<u8> = b"..\r\n".repeat(250);
        let id = receive(&mut pool, &body);
        for line in 0..250 {
            data.append(&mut pool, id, line * 4 + 1..line * 4 + 4, body.len()).expect("memory");
        }
        assert!(data.pieces_count() <= PIECES_PER_BUFFER_MAX);
        assert_eq!(whole(&data), b".\r\n".repeat(250));
        data.release(&mut pool);
    }

    #[test]
    fn inserted_line_ends_do_not_multiply_pieces() {
        let mut pool = pool(8);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'\n'; 1000]);
        for at in 0..1000 {
            data.append_copied(&mut pool, b"\r").expect("memory");
            data.append(&mut pool, id, at..at + 1, 1000).expect("memory");
        }
        assert!(data.pieces_count() <= 2 * PIECES_PER_BUFFER_MAX + 2);
        assert_eq!(whole(&data), b"\r\n".repeat(1000));
        data.release(&mut pool);
    }

    #[test]
    fn little_receives_and_a_low_pool_are_copied() {
        let mut pool = pool(8);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let mut sent = Vec::new();
        for turn in 0..100_u8 {
            let bytes = [turn; 900];
            let filled = if turn % 2 == 0 { 900 } else { 1 };
            let id = receive(&mut pool, &bytes[..filled]);
            data.append(&mut pool, id, 0..filled, filled).expect("memory");
            pool.unpin(id);
            sent.extend_from_slice(&bytes[..filled]);
        }
        assert_eq!(whole(&data), sent);
        assert!(pool.pinned() <= 5, "half of the pool serves the sockets");
        data.release(&mut pool);
        assert_eq!((pool.pinned(), pool.block_bytes_used()), (0, 0));
    }

    #[test]
    fn the_budget_for_blocks_is_kept() {
        let mut pool = Pool::new(8, 1024, FIRST_BLOCK_BYTES + BLOCK_BYTES).expect("memory");
        let mut data = MailData::new(Arc::clone(pool.arena()));
        assert_eq!(data.append_copied(&mut pool, b"x"), Ok(()));
        assert_eq!(pool.block_bytes_used(), FIRST_BLOCK_BYTES, "a few octets take little");
        assert_eq!(data.append_copied(&mut pool, &vec![0; FIRST_BLOCK_BYTES + BLOCK_BYTES - 1]), Ok(()));
        assert_eq!(data.append_copied(&mut pool, b"x"), Err(NoMemory));
        data.release(&mut pool);
        assert_eq!(data.append_copied(&mut pool, b"x"), Ok(()));
        data.release(&mut pool);
    }

    #[test]
    fn mail_data_dropped_elsewhere_is_counted() {
        let mut pool = pool(8);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let id = receive(&mut pool, &[b'x'; 600]);
        data.append(&mut pool, id, 0..600, 600).expect("memory");
        drop(data);
        assert_eq!(pool.arena().leaked(), 1);
    }
}
