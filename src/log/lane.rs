//! Lines of one kind on their way to the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use super::recent::RecentEvent;
use crate::handoff::channel::{MustRing, Sender};

/// Of more notable records in one chunk only the lines are kept.
pub(super) const NOTABLE_MAX: usize = 16;

/// Lines on their way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) octets: Vec<u8>,
    /// Those of the lines that are notable. `<= NOTABLE_MAX`
    pub(super) notable: Vec<RecentEvent>,
}

impl Chunk {
    /// Whether one more notable record is kept.
    pub(super) fn has_room_for_notable(&self) -> bool {
        self.notable.len() < NOTABLE_MAX
    }

    /// Octets of lines.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether there is no line.
    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Forgets the lines and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.notable.clear();
    }
}

/// One thread's end of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) chunk: Chunk,
    full: Sender<Chunk>,
    dropped: Dropped,
}

/// Lines of a lane that were lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Dropped(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Those that are still to be told of.
    untold: AtomicU64,
    /// All since the start.
    all: AtomicU64,
}

impl Lane {
    /// With an empty chunk, to whoever takes full ones from this channel.
    pub(super) fn new(full: Sender<Chunk>) -> Self {
        Self { chunk: Chunk::default(), full, dropped: Dropped::default() }
    }

    /// The same lane with a chunk of its own.
    pub(super) fn another(&self) -> Self {
        Self { chunk: Chunk::default(), full: self.full.clone(), dropped: self.dropped.clone() }
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
    pub(super) fn hand_over(&mut self, empty: &Receiver<Chunk>) -> MustRing {
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
    pub(super) fn count(&self, chunk: &Chunk) {
        self.lose(lines_of(&chunk.octets));
    }

    /// So many lines are lost.
    pub(super) fn lose(&self, lines: u64) {
        self.0.all.fetch_add(lines, Ordering::Relaxed);
        self.put_back(lines);
    }

    /// What was lost since the start.
    pub(super) fn all(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// So many are still to be told of.
    pub(super) fn put_back(&self, lines: u64) {
        self.0.untold.fetch_add(lines, Ordering::Relaxed);
    }

    /// What was lost since this was asked last.
    pub(super) fn take(&self) -> u64 {
        self.0.untold.swap(0, Ordering::Relaxed)
    }
}

/// Lines in these octets.
pub(super) fn lines_of(octets: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', octets).count() as u64
}
