//! Which receive buffer of a shard is where, and how much memory mail data may take.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::arena::{Arena, BufferId};
use super::blocks::{Block, Blocks};
use super::pressure::Pressure;
use super::spill_file::SpillFile;
use crate::limits::SPILL_BYTES_MAX;

/// Which of the shard's receive buffers are free, published or pinned, and by how many.
#[derive(Debug)]
pub struct Pool {
    arena: Arc<Arena>,
    /// Last in, first out: the buffer used last is still in cache.
    free: Vec<BufferId>,
    /// Holders of each buffer: the connection that parses it, and each message with a piece in it. 0 = free
    /// or published.
    pins: Vec<u16>,
    /// Buffers with at least one pin.
    pinned: usize,
    /// Memory for mail data that is copied out of buffers.
    blocks: Blocks,
    /// While fewer buffers than this are left unpinned, octets are copied out of buffers instead of pinning
    /// them.
    low_water: usize,
    /// The most memory that the mail data of one message may take before it is written out.
    spill_bytes_max: usize,
    /// Spill files of messages that came to nothing; bounded by the budget for files.
    abandoned: Vec<SpillFile>,
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
            blocks: Blocks::new(block_bytes_max),
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
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Octets of the owned blocks in use.
    pub fn block_bytes_used(&self) -> usize {
        self.blocks.bytes_used()
    }

    /// Buffers that there are.
    pub fn buffers(&self) -> usize {
        self.arena.buffers()
    }

    /// Buffers held by connections or messages.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Takes a free buffer to publish it.
    pub fn take(&mut self) -> Option<BufferId> {
        self.free.pop()
    }

    /// The kernel filled a published buffer: it is the connection's now, with one pin.
    pub fn received(&mut self, id: BufferId) {
        let pins = self.pins_mut(id);
        assert_eq!(*pins, 0, "a filled buffer was not published");
        *pins = 1;
        self.pinned += 1;
    }

    /// One more holder.
    pub(super) fn pin(&mut self, id: BufferId) {
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
        assert!(self.pins_of(id) > 0 && range.start <= range.end && range.end <= self.arena.buffer_bytes());
        // SAFETY: the buffer is pinned, so it is not published and the kernel does not write to it; writes by
        // us need `&mut self` (`compact`). The range lies inside the buffer by the assert above.
        unsafe {
            let start = self.arena.start(id).add(range.start);
            std::slice::from_raw_parts(start.as_ptr(), range.len())
        }
    }

    /// The octets of a received range, to be decrypted in place. The caller must be the only holder of the
    /// buffer.
    pub fn bytes_mut(&mut self, id: BufferId, range: Range<usize>) -> &mut [u8] {
        assert!(self.pins_of(id) == 1 && range.start <= range.end && range.end <= self.arena.buffer_bytes());
        // SAFETY: pinned, so the kernel does not write to it; pinned once, by the caller, so no piece of a
        // message lies in it; `&mut self` excludes `bytes`. The range lies inside the buffer by the assert
        // above.
        unsafe {
            let start = self.arena.start(id).add(range.start);
            std::slice::from_raw_parts_mut(start.as_ptr(), range.len())
        }
    }

    /// Moves `range` down to `to` inside one buffer that the caller holds; the octets between were parsed and
    /// are dead.
    pub(super) fn compact(&mut self, id: BufferId, range: Range<usize>, to: usize) {
        assert!(self.pins_of(id) > 0 && to <= range.start && range.start <= range.end);
        assert!(range.end <= self.arena.buffer_bytes());
        // SAFETY: pinned, so the kernel does not write; both ranges lie inside the buffer; `&mut self`
        // excludes `bytes`. Other threads read only pieces of messages that were handed off, which end before
        // `to`: octets from `to` on belong to the message being received.
        unsafe {
            let start = self.arena.start(id);
            std::ptr::copy(start.add(range.start).as_ptr(), start.add(to).as_ptr(), range.len());
        }
    }

    /// A block for copied octets, the first one of a message or another one. None when the budget is used up.
    pub(super) fn take_block(&mut self, is_first: bool) -> Option<Block> {
        self.blocks.take(is_first)
    }

    /// A block that nobody reads any more.
    pub(super) fn give_back_block(&mut self, block: Block) {
        self.blocks.give_back(block);
    }

    /// How scarce memory is.
    pub fn pressure(&self) -> Pressure {
        Pressure {
            blocks_max: self.blocks.bytes_max(),
            blocks_free: self.blocks.bytes_free(),
            buffers: self.arena.buffers(),
            buffers_unpinned: self.arena.buffers() - self.pinned,
            buffers_kept: self.low_water,
            buffer_bytes: self.arena.buffer_bytes(),
        }
    }

    /// How much memory the mail data of one message may take now before it is written out.
    pub(super) fn spill_threshold(&self) -> usize {
        self.pressure().spill_threshold(self.spill_bytes_max)
    }

    /// Lets mail data move out of memory beyond so many octets even while memory is plentiful: for tests.
    pub fn spill_beyond(&mut self, bytes: usize) {
        self.spill_bytes_max = bytes;
    }

    /// Files of messages that came to nothing, to be closed where that stalls nobody.
    pub fn next_abandoned(&mut self) -> Option<SpillFile> {
        self.abandoned.pop()
    }

    /// Keeps the file of a message that came to nothing until somebody may close it.
    pub fn keep_abandoned(&mut self, file: SpillFile) {
        self.abandoned.push(file);
    }
}
