//! Owned blocks: memory for mail data that was copied out of receive buffers, within one budget for each
//! shard.

use crate::limits::{BLOCK_BYTES, FIRST_BLOCK_BYTES};

/// The budget for copied mail data is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Copied mail data.
#[derive(Debug)]
pub(super) struct Block {
    octets: Vec<u8>,
    /// How many of them there can be: [`FIRST_BLOCK_BYTES`] or [`BLOCK_BYTES`].
    size: usize,
}

impl Block {
    /// What was copied so far.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How many octets it can hold.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// How many more octets fit.
    pub(super) fn room(&self) -> usize {
        self.size - self.octets.len()
    }

    /// Copies octets after those that are there. They must fit: a block never grows.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "room() was asked before");
        self.octets.extend_from_slice(bytes);
    }
}

/// The blocks of one shard: the free ones, and how many octets are in use.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Free blocks of [`BLOCK_BYTES`].
    free: Vec<Vec<u8>>,
    /// Free first blocks, all of [`FIRST_BLOCK_BYTES`].
    first_free: Vec<Vec<u8>>,
    /// Octets of the blocks in use. `bytes_used <= bytes_max`
    bytes_used: usize,
    bytes_max: usize,
}

impl Blocks {
    /// At most so many octets at a time.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: Vec::new(), first_free: Vec::new(), bytes_used: 0, bytes_max }
    }

    /// Octets of the blocks in use.
    pub(super) fn bytes_used(&self) -> usize {
        self.bytes_used
    }

    /// The budget in octets.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is left of the budget.
    pub(super) fn bytes_free(&self) -> usize {
        self.bytes_max - self.bytes_used
    }

    /// The first block of a message or another one. None when the budget is used up.
    pub(super) fn take(&mut self, is_first: bool) -> Option<Block> {
        let (size, free) =
            if is_first { (FIRST_BLOCK_BYTES, &mut self.first_free) } else { (BLOCK_BYTES, &mut self.free) };
        let used = self.bytes_used + size;
        if used > self.bytes_max {
            return None;
        }
        self.bytes_used = used;
        Some(Block { octets: free.pop().unwrap_or_else(|| Vec::with_capacity(size)), size })
    }

    /// Nobody reads this block any more.
    pub(super) fn give_back(&mut self, Block { mut octets, size }: Block) {
        /// Free blocks of a size that are kept for the next message; more go back to the allocator.
        const FREE_BLOCKS_MAX: usize = 256;
        assert!(self.bytes_used >= size);
        self.bytes_used -= size;
        let free = if size == BLOCK_BYTES { &mut self.free } else { &mut self.first_free };
        if free.len() < FREE_BLOCKS_MAX {
            octets.clear();
            free.push(octets);
        }
    }
}
