//! The log: one record a line on standard error or in a file, as text or as JSON, written by a thread of its
//! own.
//!
//! Whoever logs writes lines into a chunk and hands full or old chunks over through a bounded channel, never
//! waiting: when standard error stalls, lines are dropped and counted, and the count is the first thing said
//! afterwards. Chunks come back to be used again, so that logging allocates nothing in steady state.
//!
//! There are two lanes. Any client can make as many sessions as it likes, so their lines have a lane of their
//! own: when standard error is slower than they are, they are lost, and what is said of mail, of errors and
//! of the program goes first and is not.
//!
//! Every event and field is declared in [`events`]; the reference (`docs/log.md`) is made from there.
//!
//! Nobody waits for standard error without an end, not even who ends the process: [`Writer::finish`] and
//! [`last_words`] take the time that they may.

pub mod events;
mod lane;
mod last_words;
mod level;
mod output;
mod recent;
mod record;
pub mod reference;
mod writer;

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use self::events::Event;
use self::lane::{Chunk, Dropped, Lane};
pub use self::last_words::{last_words, write_within};
pub use self::level::{Form, Level};
pub use self::output::{Output, is_a_file};
pub use self::recent::{RECENT_MAX, Recent, RecentEvent};
pub use self::record::Record;
pub use self::writer::Writer;
use self::writer::{Told, WriterLoop};
use crate::config::LogFormat;
use crate::handoff::channel::{Consumer, MustRing, Sender};

/// A chunk this long is handed over at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A chunk is handed over when its first line is this old.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(20);

/// Chunks of one lane on their way; beyond them its lines are dropped.
const CHUNKS_MAX: usize = 64;

/// Octets that lines take on their way to standard error, at most, where so many threads log. A chunk that
/// has grown by doubling has twice the room that it needs.
pub const fn bytes_max(threads: usize) -> usize {
    const LANES: usize = 2;
    // On their way, come back, and one in the writer's hand; each thread has two of its own.
    let chunks = LANES * CHUNKS_MAX + LANES * CHUNKS_MAX + 1 + LANES * threads;
    let lines = 2 * (CHUNK_BYTES + record::LINE_BYTES_MAX + record::FIELD_BYTES_MAX);
    let notable = lane::NOTABLE_MAX * (recent::TEXT_BYTES_MAX + size_of::<RecentEvent>());
    chunks * (lines + notable) + RECENT_MAX * (recent::TEXT_BYTES_MAX + size_of::<RecentEvent>())
}

/// What the writer may be told before it does the first of it; more is the same again.
const TOLD_MAX: usize = 4;

/// With more chunks on their way the writer stands still, and only full ones follow: else those of a second,
/// with a line in each, would leave no place for others.
const CHUNKS_OF_ANY_SIZE_MAX: usize = CHUNKS_MAX / 2;

/// One thread's way to log.
#[derive(Debug)]
pub struct Log {
    form: Form,
    /// Mail, errors, what the program says of itself.
    main: Lane,
    /// Sessions.
    sessions: Lane,
    /// When the first line of either chunk was written.
    begun: Option<Instant>,
    empty: Receiver<Chunk>,
    /// To the writer.
    tell: Sender<Told>,
    recent: Recent,
    /// Chunks were handed over, and the writer is still to be rung.
    unrung: MustRing,
}

/// Starts the writing thread, on standard error.
pub fn start(format: LogFormat) -> std::io::Result<(Log, Writer)> {
    start_on(format, Output::Stderr)
}

/// Starts the writing thread.
pub fn start_on(format: LogFormat, output: Output) -> std::io::Result<(Log, Writer)> {
    let (log, writer) = make(output.form(format), output)?;
    Ok((log, writer.start()?))
}

/// A log and what its writer's thread is to run.
fn make(form: Form, output: Output) -> std::io::Result<(Log, WriterLoop)> {
    let consumer = Consumer::new()?;
    let (main_chunks, main) = consumer.channel(CHUNKS_MAX);
    let (session_chunks, sessions) = consumer.channel(CHUNKS_MAX);
    let (tell, told) = consumer.channel(TOLD_MAX);
    let (give_back, empty) = bounded(2 * CHUNKS_MAX);
    let log = Log {
        form,
        main: Lane::new(main_chunks),
        sessions: Lane::new(session_chunks),
        begun: None,
        empty,
        tell,
        recent: Recent::default(),
        unrung: None,
    };
    let (main_dropped, sessions_dropped) = (log.main.dropped().clone(), log.sessions.dropped().clone());
    let (tell, recent) = (log.tell.clone(), log.recent.clone());
    let writer = WriterLoop {
        consumer,
        main,
        main_dropped,
        sessions,
        sessions_dropped,
        tell,
        told,
        give_back,
        form,
        output,
        is_in_a_line: false,
        recent,
    };
    Ok((log, writer))
}

impl Clone for Log {
    /// A way to log for another thread, with a chunk of its own.
    fn clone(&self) -> Self {
        Self {
            form: self.form,
            main: self.main.another(),
            sessions: self.sessions.another(),
            begun: None,
            empty: self.empty.clone(),
            tell: self.tell.clone(),
            recent: self.recent.clone(),
            unrung: None,
        }
    }
}

impl Log {
    /// Begins a record of this row of [`events`]; fields follow, and [`Record::end`].
    pub fn record(&mut self, event: &'static Event, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.form, &mut self.main.chunk, event, at)
    }

    /// Begins a record of a kind that clients can make without an end. When standard error is too slow it is
    /// lost before any other.
    pub fn session_record(&mut self, event: &'static Event, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.form, &mut self.sessions.chunk, event, at)
    }

    /// Hands the chunks over if one is full or old. Call it once a turn; gives what must be rung, if
    /// anything.
    pub fn flush_if_due(&mut self, now: Instant) -> MustRing {
        if self.is_empty() && self.unrung.is_none() {
            return None;
        }
        let begun = *self.begun.get_or_insert(now);
        let is_old = now.saturating_duration_since(begun) >= CHUNK_AGE_MAX;
        if !(self.unrung.is_some() || self.is_full() || is_old) {
            return None;
        }
        self.hand_over(self.bytes_worth_a_place());
        self.begun = (!self.is_empty()).then_some(now);
        self.unrung.take()
    }

    /// How long the chunks may still wait; none when they are empty.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| CHUNK_AGE_MAX.saturating_sub(now.saturating_duration_since(begun)))
    }

    /// Hands over what is there and wakes the writer, with a system call. Not for shards.
    pub fn flush(&mut self) {
        self.hand_over(0);
        if self.unrung.take().is_some() {
            self.main.ring();
        }
    }

    /// Asks how many lines were lost since the start.
    pub fn lines_dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lanes = [self.main.dropped().clone(), self.sessions.dropped().clone()];
        move || lanes.iter().map(Dropped::all).sum()
    }

    /// The last notable events.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// Has the log's file opened again, because it was moved away. Not for shards.
    pub fn reopen(&self) {
        // Where there is no place, it is to be opened again already.
        if let Ok(Some(_)) = self.tell.try_send(Told::Reopen) {
            self.tell.ring();
        }
    }

    /// Before a line: thousands of messages may come home in one turn, and a chunk holds no more than one
    /// line beyond its length.
    fn make_room(&mut self) {
        if self.is_full() {
            self.hand_over(self.bytes_worth_a_place());
        }
    }

    fn is_full(&self) -> bool {
        self.main.chunk.len().max(self.sessions.chunk.len()) >= CHUNK_BYTES
    }

    fn is_empty(&self) -> bool {
        self.main.chunk.is_empty() && self.sessions.chunk.is_empty()
    }

    /// While the writer stands still only full chunks go.
    fn bytes_worth_a_place(&self) -> usize {
        if self.main.on_their_way() >= CHUNKS_OF_ANY_SIZE_MAX { CHUNK_BYTES } else { 0 }
    }

    /// Hands over chunks of so many octets or more: both together, unless the writer stands still, so that a
    /// session is not told before its messages.
    fn hand_over(&mut self, bytes_min: usize) {
        self.begun = None;
        for lane in [&mut self.main, &mut self.sessions] {
            if lane.chunk.len() >= bytes_min {
                let must_ring = lane.hand_over(&self.empty);
                self.unrung = self.unrung.or(must_ring);
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
