//! What a client sent and its session has not consumed.

use std::collections::VecDeque;

use crate::buffer::{BufferId, Pool};

/// What the bookkeeping of one run of octets takes.
const ENTRY_BYTES: usize = 64;

/// Received octets that wait to be parsed, in their order.
#[derive(Debug, Default)]
pub(super) struct Unread(VecDeque<Octets>);

/// A run of received octets, of which those from `start` on are left.
#[derive(Debug)]
pub(super) enum Octets {
    /// In a receive buffer that is pinned for them, of which the receive filled `filled` octets.
    Buffer { id: BufferId, start: usize, filled: usize },
    /// Copied out, or decrypted, so that a connection that waits pins no buffer.
    Copied { octets: Vec<u8>, start: usize },
}

impl Unread {
    /// Runs of octets.
    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// Whether everything was consumed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The octets in it.
    pub(super) fn bytes(&self) -> usize {
        let left = |run: &Octets| match run {
            Octets::Buffer { start, filled, .. } => filled - start,
            Octets::Copied { octets, start } => octets.len() - start,
        };
        self.0.iter().map(left).sum()
    }

    /// What it holds outside of receive buffers, with its bookkeeping.
    pub(super) fn held_bytes(&self) -> usize {
        let copied = |run: &Octets| match run {
            Octets::Buffer { .. } => 0,
            Octets::Copied { octets, .. } => octets.capacity(),
        };
        self.0.iter().map(|run| ENTRY_BYTES + copied(run)).sum()
    }

    /// The run that is parsed next.
    pub(super) fn front(&self) -> Option<&Octets> {
        self.0.front()
    }

    /// The run that is parsed next.
    pub(super) fn front_mut(&mut self) -> Option<&mut Octets> {
        self.0.front_mut()
    }

    /// A receive filled `filled` octets of this buffer, which is pinned.
    pub(super) fn push_buffer(&mut self, id: BufferId, filled: usize) {
        self.0.push_back(Octets::Buffer { id, start: 0, filled });
    }

    /// These octets, which lie in no buffer.
    pub(super) fn push_copied(&mut self, octets: Vec<u8>) {
        self.0.push_back(Octets::Copied { octets, start: 0 });
    }

    /// Copies the last run out of its buffer, which is given back.
    pub(super) fn copy_out_last(&mut self, pool: &mut Pool) {
        if let Some(Octets::Buffer { id, start, filled }) = self.0.back_mut() {
            let (id, range) = (*id, *start..*filled);
            let octets = pool.bytes(id, range).to_vec();
            self.0.pop_back();
            self.push_copied(octets);
            pool.unpin(id);
        }
    }

    /// The first run was consumed.
    pub(super) fn drop_front(&mut self, pool: &mut Pool) {
        if let Some(Octets::Buffer { id, .. }) = self.0.pop_front() {
            pool.unpin(id);
        }
    }

    /// Gives everything up.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        while !self.is_empty() {
            self.drop_front(pool);
        }
    }

    /// Takes all octets, one after the other. No buffer is pinned any more.
    pub(super) fn take(&mut self, pool: &mut Pool) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(run) = self.front() {
            taken.extend_from_slice(run.octets(pool).0);
            self.drop_front(pool);
        }
        taken
    }
}

impl Octets {
    /// The octets left, and where they begin in their buffer.
    pub(super) fn octets<'a>(&'a self, pool: &'a Pool) -> (&'a [u8], usize) {
        match self {
            Self::Buffer { id, start, filled } => (pool.bytes(*id, *start..*filled), *start),
            Self::Copied { octets, start } => (octets.get(*start..).unwrap_or_default(), *start),
        }
    }

    /// So many octets were parsed.
    pub(super) fn consume(&mut self, count: usize) {
        match self {
            Self::Buffer { start, .. } | Self::Copied { start, .. } => *start += count,
        }
    }
}
