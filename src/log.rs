//! The log: one record a line on standard error, as text or as JSON, written by a thread of its own.
//!
//! Whoever logs writes lines into a chunk and hands full or old chunks over through a bounded channel, never waiting:
//! when standard error stalls, lines are dropped and counted, and the count is the first thing said afterwards. Chunks
//! come back to be used again, so that logging allocates nothing in steady state.
//!
//! There are two lanes. Any client can make as many sessions as it likes, so their lines have a lane of their own: when standard
//! error is slower than they are, they are lost, and what is said of mail, of errors and of the program goes first and is not.
//!
//! Nobody waits for standard error without an end, not even who ends the process: [`Writer::finish`] and [`last_words`] take
//! the time that they may.

mod record;

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

pub use self::record::Record;
use crate::config::LogFormat;
use crate::escape::{Json, Quoted};
use crate::handoff::channel::MustRing;
use crate::handoff::doorbell::Doorbell;
use crate::timestamp::Rfc3339;

/// A chunk this long is handed over at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A chunk is handed over when its first line is this old.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(20);

/// Chunks of one lane on their way; beyond them its lines are dropped.
const CHUNKS_MAX: usize = 64;

/// Octets that lines take on their way to standard error, at most, where so many threads log. A chunk that has grown by doubling has
/// twice the room that it needs.
pub const fn bytes_max(threads: usize) -> usize {
    const LANES: usize = 2;
    // On their way, come back, and one in the writer's hand; each thread has two of its own.
    let chunks = LANES * CHUNKS_MAX + LANES * CHUNKS_MAX + 1 + LANES * threads;
    chunks * 2 * (CHUNK_BYTES + record::LINE_BYTES_MAX)
}

/// With more chunks on their way the writer stands still, and only full ones follow: else those of a second, with a line in each, would
/// leave no place for others.
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
    /// Chunks were handed over and nobody was rung.
    unrung: bool,
    bell: Arc<Doorbell>,
}

/// Lines of one kind on their way to the writer.
#[derive(Debug)]
struct Lane {
    chunk: Vec<u8>,
    full: Sender<Vec<u8>>,
    /// Lines that were lost and not yet told of.
    dropped: Arc<AtomicU64>,
}

/// The writing thread. Ends when every [`Log`] has gone, or when it is told to by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    finishing: Arc<AtomicBool>,
    bell: Arc<Doorbell>,
    /// Nothing is sent here; it is closed when the thread ends.
    ended: Receiver<()>,
}

/// Starts the writing thread.
pub fn start(format: LogFormat) -> std::io::Result<(Log, Writer)> {
    let bell = Arc::new(Doorbell::new()?);
    let (main, main_chunks) = lane();
    let (sessions, session_chunks) = lane();
    let (give_back, empty) = bounded(2 * CHUNKS_MAX);
    let finishing = Arc::new(AtomicBool::new(false));
    let (alive, ended) = bounded::<()>(0);
    let writer = WriterLoop {
        main: main_chunks,
        main_dropped: Arc::clone(&main.dropped),
        sessions: session_chunks,
        sessions_dropped: Arc::clone(&sessions.dropped),
        give_back,
        bell: Arc::clone(&bell),
        finishing: Arc::clone(&finishing),
        format,
    };
    let run = move || {
        writer.run();
        drop(alive);
    };
    let thread = std::thread::Builder::new().name("log".into()).spawn(run)?;
    let writer = Writer { thread, finishing, bell: Arc::clone(&bell), ended };
    Ok((Log { format, main, sessions, begun: None, empty, unrung: false, bell }, writer))
}

fn lane() -> (Lane, Receiver<Vec<u8>>) {
    let (full, chunks) = bounded(CHUNKS_MAX);
    (Lane { chunk: Vec::new(), full, dropped: Arc::default() }, chunks)
}

/// Whether standard error is a regular file, which may be too large to take more.
pub fn is_a_file() -> bool {
    let facts = rustix::fs::fstat(std::io::stderr());
    facts.is_ok_and(|facts| rustix::fs::FileType::from_raw_mode(facts.st_mode).is_file())
}

impl Writer {
    /// Waits until everything that was handed over is written, but not longer than `within`. False when standard error did not
    /// take all of it. Others may still hold a [`Log`]; what they say from now on is lost.
    pub fn finish(self, within: Duration) -> bool {
        self.finishing.store(true, Ordering::Release);
        self.bell.ring();
        if self.ended.recv_timeout(within) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        // Its only panic would be a bug; there is nobody left to tell.
        let _ = self.thread.join();
        true
    }
}

/// Says one thing on standard error without the log's thread, for who ends the process or has no log. Waits for as long as
/// `within` until it is written; a reader that stands still loses it.
pub fn last_words(format: LogFormat, event: &str, text: &str, within: Duration) {
    let at = Rfc3339(SystemTime::now());
    let line = match format {
        LogFormat::Text => format!("{at} {event} text={}\n", Quoted(text.as_bytes())),
        LogFormat::Json => {
            format!(
                "{{\"time\":\"{at}\",\"event\":{},\"text\":{}}}\n",
                Json(event.as_bytes()),
                Json(text.as_bytes())
            )
        }
    };
    write_within(line, within);
}

/// Writes on standard error by a thread that is left alone when it takes too long. It takes no lock: another thread may stand
/// in a write, and hold the one of the standard library for ever.
pub fn write_within(text: String, within: Duration) {
    let (alive, ended) = bounded::<()>(0);
    let write = move || {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(std::io::stderr(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                // Nobody is left to tell that standard error is broken.
                Err(_) => break,
            }
        }
        drop(alive);
    };
    // Without a thread it stays unsaid: to write here could take for ever.
    if std::thread::Builder::new().name("last words".into()).spawn(write).is_ok() {
        let _ = ended.recv_timeout(within);
    }
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
            unrung: false,
            bell: Arc::clone(&self.bell),
        }
    }
}

impl Log {
    /// Begins a record. `event` is one word; fields follow, and [`Record::end`].
    pub fn record(&mut self, event: &'static str, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.format, &mut self.main.chunk, event, at)
    }

    /// Begins a record of a kind that clients can make without an end. When standard error is too slow it is lost before any other.
    pub fn session_record(&mut self, event: &'static str, at: SystemTime) -> Record<'_> {
        self.make_room();
        Record::begin(self.format, &mut self.sessions.chunk, event, at)
    }

    /// Hands the chunks over if one is full or old. Call it once a turn; gives what must be rung, if anything.
    pub fn flush_if_due(&mut self, now: Instant) -> MustRing {
        if self.is_empty() && !self.unrung {
            return None;
        }
        let begun = *self.begun.get_or_insert(now);
        let is_due = self.unrung || self.is_full() || now.saturating_duration_since(begun) >= CHUNK_AGE_MAX;
        if !is_due {
            return None;
        }
        let must_ring = self.hand_over(self.bytes_worth_a_place());
        self.begun = (!self.is_empty()).then_some(now);
        must_ring
    }

    /// How long the chunks may still wait; none when they are empty.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| CHUNK_AGE_MAX.saturating_sub(now.saturating_duration_since(begun)))
    }

    /// Hands over what is there and wakes the writer, with a system call. Not for shards.
    pub fn flush(&mut self) {
        if (self.unrung || !self.is_empty()) && self.hand_over(0).is_some() {
            self.bell.ring();
        }
    }

    /// Before a line: thousands of messages may come home in one turn, and a chunk holds no more than one line beyond its length.
    fn make_room(&mut self) {
        if self.is_full() {
            let bytes_min = self.bytes_worth_a_place();
            self.unrung |= self.hand_over_lanes(bytes_min);
        }
    }

    fn is_full(&self) -> bool {
        self.main.chunk.len().max(self.sessions.chunk.len()) >= CHUNK_BYTES
    }

    /// Says something about the program itself, at once. Not for shards.
    pub fn say(&mut self, text: &str) {
        self.record("note", SystemTime::now()).text("text", text.as_bytes()).end();
        self.flush();
    }

    fn is_empty(&self) -> bool {
        self.main.chunk.is_empty() && self.sessions.chunk.is_empty()
    }

    /// While the writer stands still only full chunks go.
    fn bytes_worth_a_place(&self) -> usize {
        if self.main.full.len() >= CHUNKS_OF_ANY_SIZE_MAX { CHUNK_BYTES } else { 0 }
    }

    /// Hands over chunks of so many octets or more: both together, unless the writer stands still, so that a session is not told before
    /// its messages. Whether there is something for the writer.
    fn hand_over_lanes(&mut self, bytes_min: usize) -> bool {
        self.begun = None;
        let main = self.main.chunk.len() >= bytes_min && self.main.hand_over(&self.empty);
        let sessions = self.sessions.chunk.len() >= bytes_min && self.sessions.hand_over(&self.empty);
        main || sessions
    }

    fn hand_over(&mut self, bytes_min: usize) -> MustRing {
        let unrung = std::mem::take(&mut self.unrung);
        let must_ring = (self.hand_over_lanes(bytes_min) || unrung) && self.bell.must_ring();
        must_ring.then(|| self.bell.as_fd().as_raw_fd())
    }
}

impl Lane {
    /// The same lane with a chunk of its own.
    fn another(&self) -> Self {
        Self { chunk: Vec::new(), full: self.full.clone(), dropped: Arc::clone(&self.dropped) }
    }

    /// Whether there is something for the writer.
    fn hand_over(&mut self, empty: &Receiver<Vec<u8>>) -> bool {
        if self.chunk.is_empty() {
            return false;
        }
        let next = empty.try_recv().unwrap_or_default();
        let chunk = std::mem::replace(&mut self.chunk, next);
        match self.full.try_send(chunk) {
            Ok(()) => true,
            Err(failed) => {
                let mut chunk = failed.into_inner();
                self.dropped.fetch_add(lines_of(&chunk), Ordering::Relaxed);
                chunk.clear();
                self.chunk = chunk;
                false
            }
        }
    }
}

fn lines_of(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
        // The writer learns that the last one has gone only by looking.
        self.main.full = bounded(0).0;
        self.sessions.full = bounded(0).0;
        self.bell.ring();
    }
}

struct WriterLoop {
    main: Receiver<Vec<u8>>,
    main_dropped: Arc<AtomicU64>,
    sessions: Receiver<Vec<u8>>,
    sessions_dropped: Arc<AtomicU64>,
    give_back: Sender<Vec<u8>>,
    bell: Arc<Doorbell>,
    finishing: Arc<AtomicBool>,
    format: LogFormat,
}

impl WriterLoop {
    fn run(self) {
        loop {
            // Asked first: whoever finishes has handed over all that it had to say before.
            let finishing = self.finishing.load(Ordering::Acquire);
            // A session's line is written only when nothing else waits.
            let (next, dropped) = match self.main.try_recv() {
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    (self.sessions.try_recv(), &self.sessions_dropped)
                }
                next => (next, &self.main_dropped),
            };
            match next {
                Ok(chunk) => self.write(chunk, dropped),
                // A [`Log`] lets go of both lanes, of this one last.
                Err(TryRecvError::Disconnected) if self.main.is_empty() => return,
                Err(TryRecvError::Empty) if finishing => return,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    self.bell.park();
                    if self.main.is_empty() && self.sessions.is_empty() {
                        self.bell.sleep(None);
                    }
                    self.bell.unpark();
                }
            }
        }
    }

    /// Writes a chunk; its lines count as `dropped` where that fails.
    fn write(&self, mut chunk: Vec<u8>, dropped: &AtomicU64) {
        // Nobody is left to tell that standard error is broken; mail goes on.
        let mut out = std::io::stderr();
        self.tell_dropped(&mut out);
        if out.write_all(&chunk).is_err() {
            // Said when it can be written again: the log is a file on a disk that was full, or larger than a file may be.
            dropped.fetch_add(lines_of(&chunk), Ordering::Relaxed);
        }
        chunk.clear();
        let _ = self.give_back.try_send(chunk);
    }

    /// Says how many lines were lost, of sessions and of all else.
    fn tell_dropped(&self, out: &mut impl std::io::Write) {
        let lines = self.main_dropped.swap(0, Ordering::Relaxed);
        let sessions = self.sessions_dropped.swap(0, Ordering::Relaxed);
        if lines == 0 && sessions == 0 {
            return;
        }
        let mut told = Vec::new();
        Record::begin(self.format, &mut told, "dropped", SystemTime::now())
            .number("lines", lines)
            .number("session_lines", sessions)
            .end();
        if out.write_all(&told).is_err() {
            self.main_dropped.fetch_add(lines, Ordering::Relaxed);
            self.sessions_dropped.fetch_add(sessions, Ordering::Relaxed);
        }
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
        let (mut log, writer) = start(LogFormat::Text).expect("started");
        for _ in 0..200 {
            log.session_record("session", SystemTime::UNIX_EPOCH).text("ehlo", &[b'x'; 500]).end();
            assert!(log.sessions.chunk.len() < CHUNK_BYTES + record::LINE_BYTES_MAX);
        }
        assert!(log.unrung, "the writer is rung once, at the end of the turn");
        let _ = log.flush_if_due(Instant::now());
        assert!(!log.unrung && log.is_empty());
        drop(log);
        let _ = writer;
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
        let (full, _never_read) = bounded(1);
        log.main.full = full;
        for _ in 0..3 {
            log.record("x", SystemTime::UNIX_EPOCH).end();
            log.hand_over(0);
        }
        assert_eq!(log.main.dropped.swap(0, Ordering::Relaxed), 2);
    }

    /// A writer that nobody runs: what it would do is done by hand.
    fn stalled() -> (Log, WriterLoop) {
        let bell = Arc::new(Doorbell::new().expect("a doorbell"));
        let ((main, main_chunks), (sessions, session_chunks)) = (lane(), lane());
        let (give_back, empty) = bounded(2 * CHUNKS_MAX);
        let writer = WriterLoop {
            main: main_chunks,
            main_dropped: Arc::clone(&main.dropped),
            sessions: session_chunks,
            sessions_dropped: Arc::clone(&sessions.dropped),
            give_back,
            bell: Arc::clone(&bell),
            finishing: Arc::default(),
            format: LogFormat::Text,
        };
        (Log { format: LogFormat::Text, main, sessions, begun: None, empty, unrung: false, bell }, writer)
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
        let first = writer.main.try_recv().expect("the message's line");
        assert_eq!(first, b"1970-01-01T00:00:00.000000Z message\n");
        let mut told = Vec::new();
        writer.tell_dropped(&mut told);
        let told = String::from_utf8(told).expect("ASCII");
        let count = 9 * CHUNKS_MAX;
        assert!(told.ends_with(&format!(" dropped lines=0 session_lines={count}\n")), "{told}");
        writer.tell_dropped(&mut Vec::new());
        assert_eq!(writer.sessions_dropped.load(Ordering::Relaxed), 0, "told once");
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
        writer.main_dropped.store(2, Ordering::Relaxed);
        writer.sessions_dropped.store(3, Ordering::Relaxed);
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
        assert!(writer.main.len() == 1 && writer.sessions.len() == 1, "together");
        assert!(log.due_in(now).is_none());
    }

    /// Ten minutes in which standard error stands still, a message each second, and sessions that fill chunk after chunk.
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
        assert_eq!(writer.main_dropped.load(Ordering::Relaxed), 0);
        assert!(log.due_in(now).is_some(), "what is left is not forgotten");
        drop(log);
        let lines: u64 = writer.main.try_iter().map(|chunk| lines_of(&chunk)).sum();
        assert_eq!(lines, 600);
    }
}
