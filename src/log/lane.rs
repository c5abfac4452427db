//! Lines of one kind on their way to the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use crate::handoff::channel::{MustRing, Sender};

/// One thread's end of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) chunk: Vec<u8>,
    full: Sender<Vec<u8>>,
    dropped: Dropped,
}

/// Lines of a lane that were lost and not yet told of.
#[derive(Debug, Clone, Default)]
pub(super) struct Dropped(Arc<AtomicU64>);

impl Lane {
    /// With an empty chunk, to whoever takes full ones from this channel.
    pub(super) fn new(full: Sender<Vec<u8>>) -> Self {
        Self { chunk: Vec::new(), full, dropped: Dropped::default() }
    }

    /// The same lane with a chunk of its own.
    pub(super) fn another(&self) -> Self {
        Self { chunk: Vec::new(), full: self.full.clone(), dropped: self.dropped.clone() }
    }

    /// Chunks on their way.
    pub(super) fn on_their_way(&self) -> usize {
        self.full.len()
    }

    /// What was lost here.
    pub(super) fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// Hands the chunk over and goes on with an empty one. Its lines are lost where the lane is full.
    pub(super) fn hand_over(&mut self, empty: &Receiver<Vec<u8>>) -> MustRing {
        if self.chunk.is_empty() {
            return None;
        }
        let next = empty.try_recv().unwrap_or_default();
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.full.try_send(chunk).unwrap_or_else(|mut chunk| {
            self.dropped.count(&chunk);
            chunk.clear();
            self.chunk = chunk;
            None
        })
    }

    /// Wakes the writer, with a system call.
    pub(super) fn ring(&self) {
        self.full.ring();
    }
}

impl Dropped {
    /// The lines of this chunk are lost.
    pub(super) fn count(&self, chunk: &[u8]) {
        self.put_back(lines_of(chunk));
    }

    /// So many are still to be told of.
    pub(super) fn put_back(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }

    /// What was lost since this was asked last.
    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Lines in a chunk.
pub(super) fn lines_of(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}
