//! The log: one record a line on standard error, as text or as JSON, written by a thread of its own.
//!
//! Whoever logs writes lines into a chunk and hands full or old chunks over through a bounded channel, never
//! waiting: when standard error stalls, lines are dropped and counted, and the count is the first thing said
//! afterwards. Chunks come back to be used again, so that logging allocates nothing in steady state.
//!
//! There are two lanes. Any client can make as many sessions as it likes, so their lines have a lane of their
//! own: when standard error is slower than they are, they are lost, and what is said of mail, of errors and
//! of the program goes first and is not.
//!
//! Nobody waits for standard error without an end, not even who ends the process: [`Writer::finish`] and
//! [`last_words`] take the time that they may.

mod lane;
mod last_words;
mod record;
mod writer;

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use self::lane::Lane;
pub use self::last_words::{last_words, write_within};
pub use self::record::Record;
pub use self::writer::Writer;
use self::writer::WriterLoop;
use crate::config::LogFormat;
use crate::handoff::channel::{Consumer, MustRing};

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
    chunks * 2 * (CHUNK_BYTES + record::LINE_BYTES_MAX)
}

/// With more chunks on their way the writer stands still, and only full ones follow: else those of a second,
/// with a line in each, would leave no place for others.
const CHUNKS_OF_ANY_SIZE_MAX: usize = CHUNKS_MAX / 2;

/// One thread's way to log.
#[derive(Debug)]
pub struct Log {
    format: LogFormat,
    /// Mail, errors, what the program says of itself.
    main: Lane,
    /// Sessions.
    sessions: Lane,
    /// When the first line of either chunk was written.
    begun: Option<Instant>,
    empty: Receiver<Vec<u8>>,
    /// Chunks were handed over, and the writer is still to be rung.
    unrung: MustRing,
}

/// Starts the writing thread.
pub fn start(format: LogFormat) -> std::io::Result<(Log, Writer)> {
    let (log, writer) = make(format)?;
    Ok((log, writer.start()?))
}

/// A log and what its writer's thread is to run.
fn make(format: LogFormat) -> std::io::Result<(Log, WriterLoop)> {
    let consumer = Consumer::new()?;
    let (main_chunks, main) = consumer.channel(CHUNKS_MAX);
    let (session_chunks, sessions) = consumer.channel(CHUNKS_MAX);
    let (give_back, empty) = bounded(2 * CHUNKS_MAX);
    let log = Log {
        format,
        main: Lane::new(main_chunks),
        sessions: Lane::new(session_chunks),
        begun: None,
        empty,
        unrung: None,
    };
    let (main_dropped, sessions_dropped) = (log.main.dropped().clone(), log.sessions.dropped().clone());
    let writer = WriterLoop { consumer, main, main_dropped, sessions, sessions_dropped, give_back, format };
    Ok((log, writer))
}

/// Whether standard error is a regular file, which may be too large to take more.
pub fn is_a_file() -> bool {
    let facts = rustix::fs::fstat(std::io::stderr());
    facts.is_ok_and(|facts| rustix::fs::FileType::from_raw_mode(facts.st_mode).is_file())
}

impl Clone for Log {
    /// A way to log for another thread, with a chunk of its own.
    fn clone(&self) -> Self {
        Self {
            format: self.format,
            main: self.main.another(),
            sessions: self.sessions.another(),
            begun: None,
            empty: self.empty.clone(),
            unrung: None,
        }
    }
}

impl Log {
    /// Begins a record. `event` is one word; fields follow, and [`Record::end`].
    pub fn record(&mut self, event: &'static str, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.format, &mut self.main.chunk, event, at)
    }

    /// Begins a record of a kind that clients can make without an end. When standard error is too slow it is
    /// lost before any other.
    pub fn session_record(&mut self, event: &'static str, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.format, &mut self.sessions.chunk, event, at)
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
mod tests {
    use super::*;

    fn written(format: LogFormat, write: impl FnOnce(Record<'_>)) -> String {
        let (mut log, _writer) = start(format).expect("log");
        write(log.record("message", SystemTime::UNIX_EPOCH));

        String::from_utf8(std::mem::take(&mut log.main.chunk)).expect("ASCII")
    }

    #[test]
    fn what_a_client_sent_cannot_begin_a_line_or_reach_a_terminal() {
        let text = written(LogFormat::Text, |record| {
            record.text("ehlo", b"a\r\nb\x1b[2J\"\xff").number("bytes", 7).end();
        });
        assert_eq!(text, "1970-01-01T00:00:00.000000Z message ehlo=\"a\\r\\nb\\x1b[2J\\\"\\xff\" bytes=7\n");
    }

    #[test]
    fn a_json_record_is_json() {
        let text = written(LogFormat::Json, |record| {
            let paths: [&[u8]; 2] = [b"a@x.test", b"\"\x01\xff"];
            record.text("ehlo", b"x").plain("id", 5).number("n", 1).texts("to", paths.into_iter()).end();
        });
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000000Z","event":"message","ehlo":"x","id":"5","n":1,"#,
            r#""to":["a@x.test","\"\u0001�"]}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers_and_booleans_are_those_of_json() {
        let write = |record: Record<'_>| {
            let record =
                record.boolean("told", true).boolean("resumed", false).numbers("none", [].into_iter());
            record.numbers("cpus", [0, 3].into_iter()).end();
        };
        let text = written(LogFormat::Json, write);
        assert!(text.ends_with(",\"told\":true,\"resumed\":false,\"none\":[],\"cpus\":[0,3]}\n"), "{text}");
        let text = written(LogFormat::Text, write);
        assert!(text.ends_with(" told=true resumed=false none= cpus=0,3\n"), "{text}");
    }

    #[test]
    fn however_many_lines_come_in_a_turn_a_chunk_has_its_length() {
        let (mut log, writer) = stalled();
        assert!(writer.consumer.park(|| true), "the writer sleeps");
        for _ in 0..200 {
            log.session_record("session", SystemTime::UNIX_EPOCH).text("ehlo", &[b'x'; 500]).end();
            assert!(log.sessions.chunk.len() < CHUNK_BYTES + record::LINE_BYTES_MAX);
        }
        assert!(log.unrung.is_some(), "the writer is rung once, at the end of the turn");
        assert!(log.flush_if_due(Instant::now()).is_some());
        assert!(log.unrung.is_none() && log.is_empty());
    }

    #[test]
    fn a_long_record_is_cut() {
        let text =
            written(LogFormat::Text, |record| record.text("a", &[b'x'; 2 * record::LINE_BYTES_MAX]).end());
        assert!(text.len() < record::LINE_BYTES_MAX + 100 && text.ends_with("...cut\n"));
    }

    #[test]
    fn a_writer_is_finished_while_others_could_still_log() {
        let (mut log, writer) = start(LogFormat::Text).expect("log");
        let _other = log.clone();
        log.record("x", SystemTime::UNIX_EPOCH).end();
        log.flush();
        assert!(writer.finish(Duration::from_mins(1)), "it waits for nobody");
        log.record("y", SystemTime::UNIX_EPOCH).end();
        log.flush();
    }

    #[test]
    fn a_stalled_writer_loses_lines_and_counts_them() {
        let (mut log, _writer) = start(LogFormat::Text).expect("log");
        let nobody = Consumer::new().expect("a consumer");
        let (full, _never_read) = nobody.channel(1);
        log.main = Lane::new(full);
        for _ in 0..3 {
            log.record("x", SystemTime::UNIX_EPOCH).end();
            log.hand_over(0);
        }
        assert_eq!(log.main.dropped().take(), 2);
    }

    /// A writer that nobody runs: what it would do is done by hand.
    fn stalled() -> (Log, WriterLoop) {
        make(LogFormat::Text).expect("a doorbell")
    }

    #[test]
    fn a_flood_of_sessions_loses_no_other_line() {
        let (mut log, writer) = stalled();
        for _ in 0..10 * CHUNKS_MAX {
            log.session_record("session", SystemTime::UNIX_EPOCH).end();
            log.hand_over(0);
        }
        log.record("message", SystemTime::UNIX_EPOCH).end();
        log.hand_over(0);
        let first = writer.main.next().expect("the message's line");
        assert_eq!(first, b"1970-01-01T00:00:00.000000Z message\n");
        let mut told = Vec::new();
        writer.tell_dropped(&mut told);
        let told = String::from_utf8(told).expect("ASCII");
        let count = 9 * CHUNKS_MAX;
        assert!(told.ends_with(&format!(" dropped lines=0 session_lines={count}\n")), "{told}");
        writer.tell_dropped(&mut Vec::new());
        assert_eq!(writer.sessions_dropped.take(), 0, "told once");
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        struct Broken;
        impl std::io::Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (_log, writer) = stalled();
        writer.main_dropped.put_back(2);
        writer.sessions_dropped.put_back(3);
        writer.tell_dropped(&mut Broken);
        let mut told = Vec::new();
        writer.tell_dropped(&mut told);
        assert!(told.ends_with(b" dropped lines=2 session_lines=3\n"));
    }

    #[test]
    fn a_session_is_told_after_its_messages() {
        let (mut log, writer) = stalled();
        log.session_record("session", SystemTime::UNIX_EPOCH).end();
        log.record("message", SystemTime::UNIX_EPOCH).end();
        let now = Instant::now();
        assert!(log.flush_if_due(now).is_none() && writer.main.is_empty() && writer.sessions.is_empty());
        let _ = log.flush_if_due(now + CHUNK_AGE_MAX);
        let each = [&writer.main, &writer.sessions].map(|lane| lane.next().is_some() && lane.is_empty());
        assert_eq!(each, [true, true], "together");
        assert!(log.due_in(now).is_none());
    }

    /// Ten minutes in which standard error stands still, a message each second, and sessions that fill chunk
    /// after chunk.
    #[test]
    fn a_writer_that_stands_still_loses_no_line_while_there_is_room_for_it() {
        let (mut log, writer) = stalled();
        let mut now = Instant::now();
        for _ in 0..600 {
            log.record("message", SystemTime::UNIX_EPOCH).end();
            while log.sessions.chunk.len() < CHUNK_BYTES {
                log.session_record("session", SystemTime::UNIX_EPOCH).end();
            }
            let _ = log.flush_if_due(now);
            now += Duration::from_secs(1);
            let _ = log.flush_if_due(now);
        }
        assert_eq!(writer.main_dropped.take(), 0);
        assert!(log.due_in(now).is_some(), "what is left is not forgotten");
        drop(log);
        let lines: u64 = std::iter::from_fn(|| writer.main.next()).map(|chunk| lane::lines_of(&chunk)).sum();
        assert_eq!(lines, 600);
    }
}
