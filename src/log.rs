//! The log: one record a line on standard error, as text or as JSON, written by a thread of its own.
//!
//! Whoever logs writes lines into a chunk and hands full or old chunks over through a bounded channel, never waiting:
//! when standard error stalls, lines are dropped and counted, and the count is the first thing said afterwards. Chunks
//! come back to be used again, so that logging allocates nothing in steady state.
//!
//! Nobody waits for standard error without an end, not even who ends the process: [`Writer::finish`] and [`last_words`] take
//! the time that they may.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::config::LogFormat;
use crate::escape::{Json, Quoted};
use crate::handoff::channel::MustRing;
use crate::handoff::doorbell::Doorbell;
use crate::timestamp::Rfc3339;

/// A chunk this long is handed over at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A chunk is handed over when its first line is this old.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(20);

/// Chunks on their way; beyond them lines are dropped.
const CHUNKS_MAX: usize = 64;

/// A line over this is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// One thread's way to log.
#[derive(Debug)]
pub struct Log {
    format: LogFormat,
    chunk: Vec<u8>,
    /// When the first line of `chunk` was written.
    begun: Option<Instant>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    bell: Arc<Doorbell>,
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
    let (full, chunks) = bounded::<Vec<u8>>(CHUNKS_MAX);
    let (give_back, empty) = bounded(CHUNKS_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let finishing = Arc::new(AtomicBool::new(false));
    let (alive, ended) = bounded::<()>(0);
    let writer = WriterLoop {
        chunks,
        give_back,
        bell: Arc::clone(&bell),
        finishing: Arc::clone(&finishing),
        dropped: Arc::clone(&dropped),
        format,
    };
    let run = move || {
        writer.run();
        drop(alive);
    };
    let thread = std::thread::Builder::new().name("log".into()).spawn(run)?;
    let writer = Writer { thread, finishing, bell: Arc::clone(&bell), ended };
    Ok((Log { format, chunk: Vec::new(), begun: None, full, empty, bell, dropped }, writer))
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
            chunk: Vec::new(),
            begun: None,
            full: self.full.clone(),
            empty: self.empty.clone(),
            bell: Arc::clone(&self.bell),
            dropped: Arc::clone(&self.dropped),
        }
    }
}

impl Log {
    /// Begins a record. `event` is one word; fields follow, and [`Record::end`].
    pub fn record(&mut self, event: &'static str, at: SystemTime) -> Record<'_> {
        let start = self.chunk.len();
        let record = Record { log: self, start };
        if record.log.format == LogFormat::Json {
            record.log.chunk.extend_from_slice(b"{\"time\":\"");
            push_time(&mut record.log.chunk, at);
            record.log.chunk.push(b'"');
            return record.text("event", event.as_bytes());
        }
        push_time(&mut record.log.chunk, at);
        record.log.chunk.push(b' ');
        record.log.chunk.extend_from_slice(event.as_bytes());
        record
    }

    /// Hands the chunk over if it is full or old. Call it once a turn; gives what must be rung, if anything.
    pub fn flush_if_due(&mut self, now: Instant) -> MustRing {
        if self.chunk.is_empty() {
            return None;
        }
        let begun = *self.begun.get_or_insert(now);
        let due = self.chunk.len() >= CHUNK_BYTES || now.saturating_duration_since(begun) >= CHUNK_AGE_MAX;
        if due { self.hand_over() } else { None }
    }

    /// How long the chunk may still wait; none when it is empty.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| CHUNK_AGE_MAX.saturating_sub(now.saturating_duration_since(begun)))
    }

    /// Hands over what is there and wakes the writer, with a system call. Not for shards.
    pub fn flush(&mut self) {
        if !self.chunk.is_empty() && self.hand_over().is_some() {
            self.bell.ring();
        }
    }

    /// Says something about the program itself, at once. Not for shards.
    pub fn say(&mut self, text: &str) {
        self.record("note", SystemTime::now()).text("text", text.as_bytes()).end();
        self.flush();
    }

    fn hand_over(&mut self) -> MustRing {
        let next = self.empty.try_recv().unwrap_or_default();
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.begun = None;
        match self.full.try_send(chunk) {
            Ok(()) => self.bell.must_ring().then(|| self.bell.as_fd().as_raw_fd()),
            Err(failed) => {
                let mut chunk = failed.into_inner();
                let lines = memchr::memchr_iter(b'\n', &chunk).count();
                self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
                chunk.clear();
                self.chunk = chunk;
                None
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
        // The writer learns that the last one has gone only by looking.
        let (closed, _) = bounded(0);
        self.full = closed;
        self.bell.ring();
    }
}

/// One record under construction.
#[must_use = "a record is written by `end`"]
#[derive(Debug)]
pub struct Record<'a> {
    log: &'a mut Log,
    start: usize,
}

impl Record<'_> {
    /// A field that shows itself without spaces, quotes and controls: addresses, ids, words. A string in
    /// JSON.
    pub fn plain(mut self, name: &str, value: impl Display) -> Self {
        self.key(name);
        let json = self.log.format == LogFormat::Json;
        if json {
            self.log.chunk.push(b'"');
        }
        // Writing to a Vec cannot fail.
        let _ = write!(Octets(&mut self.log.chunk), "{value}");
        if json {
            self.log.chunk.push(b'"');
        }
        self
    }

    /// A number.
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.key(name);
        let _ = write!(Octets(&mut self.log.chunk), "{value}");
        self
    }

    /// Numbers: a list in JSON, else with commas between them.
    pub fn numbers(mut self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        self.key(name);
        let json = self.log.format == LogFormat::Json;
        let chunk = &mut self.log.chunk;
        if json {
            chunk.push(b'[');
        }
        for (index, value) in values.enumerate() {
            let before = if index > 0 { "," } else { "" };
            let _ = write!(Octets(chunk), "{before}{value}");
        }
        if json {
            chunk.push(b']');
        }
        self
    }

    /// Yes or no: `true` or `false`, in JSON without quotes.
    pub fn boolean(mut self, name: &str, value: bool) -> Self {
        self.key(name);
        self.log.chunk.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// Text from anybody: escaped, so that a record stays one line and a terminal stays sane.
    pub fn text(mut self, name: &str, value: &[u8]) -> Self {
        self.key(name);
        if self.log.format == LogFormat::Json {
            let _ = write!(Octets(&mut self.log.chunk), "{}", Json(value));
        } else {
            let _ = write!(Octets(&mut self.log.chunk), "{}", Quoted(value));
        }
        self
    }

    /// A list of texts.
    pub fn texts<'t>(mut self, name: &str, values: impl Iterator<Item = &'t [u8]>) -> Self {
        self.key(name);
        let json = self.log.format == LogFormat::Json;
        let chunk = &mut self.log.chunk;
        if json {
            chunk.push(b'[');
        }
        for (index, value) in values.enumerate() {
            if index > 0 {
                chunk.push(b',');
            }
            if json {
                let _ = write!(Octets(chunk), "{}", Json(value));
            } else {
                let _ = write!(Octets(chunk), "{}", Quoted(value));
            }
        }
        if json {
            chunk.push(b']');
        }
        self
    }

    /// Ends the record. One that grew too long is cut and says so.
    pub fn end(self) {
        let json = self.log.format == LogFormat::Json;
        let chunk = &mut self.log.chunk;
        if chunk.len() - self.start > LINE_BYTES_MAX {
            if json {
                chunk.truncate(self.start);
                chunk.extend_from_slice(b"{\"event\":\"cut\",\"text\":\"a record was too long\"");
            } else {
                chunk.truncate(self.start + LINE_BYTES_MAX);
                chunk.extend_from_slice(b"...cut");
            }
        }
        chunk.extend_from_slice(if json { b"}\n" } else { b"\n" });
    }

    fn key(&mut self, name: &str) {
        let json = self.log.format == LogFormat::Json;
        let (before, after): (&[u8], &[u8]) = if json { (b",\"", b"\":") } else { (b" ", b"=") };
        for part in [before, name.as_bytes(), after] {
            self.log.chunk.extend_from_slice(part);
        }
    }
}

/// `fmt::Write` on octets.
struct Octets<'a>(&'a mut Vec<u8>);

impl fmt::Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn push_time(chunk: &mut Vec<u8>, at: SystemTime) {
    let _ = write!(Octets(chunk), "{}", Rfc3339(at));
}

struct WriterLoop {
    chunks: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
    bell: Arc<Doorbell>,
    finishing: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    format: LogFormat,
}

impl WriterLoop {
    fn run(self) {
        loop {
            // Asked first: whoever finishes has handed over all that it had to say before.
            let finishing = self.finishing.load(Ordering::Acquire);
            match self.chunks.try_recv() {
                Ok(chunk) => self.write(chunk),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if finishing => return,
                Err(TryRecvError::Empty) => {
                    self.bell.park();
                    if self.chunks.is_empty() {
                        self.bell.sleep(None);
                    }
                    self.bell.unpark();
                }
            }
        }
    }

    fn write(&self, mut chunk: Vec<u8>) {
        // Nobody is left to tell that standard error is broken; mail goes on.
        let mut out = std::io::stderr();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let at = Rfc3339(SystemTime::now());
            let told = match self.format {
                LogFormat::Text => writeln!(out, "{at} dropped lines={dropped}"),
                LogFormat::Json => {
                    writeln!(out, "{{\"time\":\"{at}\",\"event\":\"dropped\",\"lines\":{dropped}}}")
                }
            };
            if told.is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if out.write_all(&chunk).is_err() {
            // Said when it can be written again: the log is a file on a disk that was full, or larger than a file may be.
            let lines = memchr::memchr_iter(b'\n', &chunk).count();
            self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
        }
        chunk.clear();
        let _ = self.give_back.try_send(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, write: impl FnOnce(Record<'_>)) -> String {
        let (mut log, _writer) = start(format).expect("log");
        write(log.record("message", SystemTime::UNIX_EPOCH));

        String::from_utf8(std::mem::take(&mut log.chunk)).expect("ASCII")
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
    fn a_long_record_is_cut() {
        let text = written(LogFormat::Text, |record| record.text("a", &[b'x'; 2 * LINE_BYTES_MAX]).end());
        assert!(text.len() < LINE_BYTES_MAX + 100 && text.ends_with("...cut\n"));
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
        log.full = full;
        for _ in 0..3 {
            log.record("x", SystemTime::UNIX_EPOCH).end();
            log.hand_over();
        }
        assert_eq!(log.dropped.swap(0, Ordering::Relaxed), 2);
    }
}
