//! What a session makes of mail data costs little whatever the mail data is: CPU time an octet, and how many
//! ranges are handed on.
//!
//! A client chooses its mail data, and 50 of them together choose how long a turn of a shard lasts. Plain
//! text is looked at 64 octets at a time, so no other mail data can be as cheap; the control is what a simple
//! receiver does, a look at each octet alone. Bare line ends once cost 29 times as much as that, normalised
//! ones 90 times, lines of dots 13 times. CPU time is that of this thread, and the least of several rounds
//! counts, so that other work of the machine does not matter.
//!
//! A program of its own: it compares nanoseconds, so nothing else may run in its process or stand between its
//! instructions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::Config;
use ringmx::mail::queue_id::QueueId;
use ringmx::smtp::policy::Recipients;
use ringmx::smtp::question::{Delivered, Question, Storing};
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Input, Session, Step};
use ringmx::smtp::settings::{BareLineEnd, ChunkLineEnd, NulPolicy, Settings};
use ringmx::smtp::supplies::Supplies;
use rustix::time::{ClockId, clock_gettime};

/// Octets of mail data of a measurement.
const BYTES: usize = 128 * 1024;

/// Octets of a chunk.
const CHUNK_BYTES: usize = 32 * 1024;

const ROUNDS: usize = 5;

/// How much dearer an octet may be than a look at it alone.
const RATIO_MAX: f64 = 12.0;

/// The same for lines of a header section, in which `Received:` is looked for line by line.
const HEADER_RATIO_MAX: f64 = 40.0;

/// Mail data that is a header section to its end.
const HEADERS: [&str; 3] =
    ["a field name without end", "fields of an octet", "spaces where a field name would be"];

/// Octets that a range holds at least, on the average of a message: to hand one on costs as much as to look
/// at hundreds of octets.
const RANGE_BYTES_MIN: usize = 48;

/// How mail data comes, and what its listener makes of bare line ends and NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Reject,
    Normalize,
    RejectNul,
    ChunksKeep,
    ChunksNormalize,
    ChunksReject,
}

impl Mode {
    const ALL: [Self; 6] = [
        Self::Reject,
        Self::Normalize,
        Self::RejectNul,
        Self::ChunksKeep,
        Self::ChunksNormalize,
        Self::ChunksReject,
    ];

    fn is_chunked(self) -> bool {
        matches!(self, Self::ChunksKeep | Self::ChunksNormalize | Self::ChunksReject)
    }

    fn settings(self) -> Settings {
        let config = Config::embedded_default();
        let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
        let bare = if self == Self::Normalize { BareLineEnd::Normalize } else { BareLineEnd::Reject };
        let bdat_bare_lf = match self {
            Self::ChunksNormalize => ChunkLineEnd::Normalize,
            Self::ChunksReject => ChunkLineEnd::Reject,
            Self::Reject | Self::Normalize | Self::RejectNul | Self::ChunksKeep => ChunkLineEnd::Keep,
        };
        Settings {
            bare_lf: bare,
            bare_cr: bare,
            bdat_bare_lf,
            nul: if self == Self::RejectNul { NulPolicy::Reject } else { NulPolicy::Keep },
            ..Settings::of("mx.test".into(), config.limits.clone(), policy)
        }
    }
}

/// A line of 76 columns.
const PLAIN: &[u8] = b"0123456789 123456789 123456789 123456789 123456789 123456789 123456789 12345\r\n";

/// Mail data of a line again and again, each kind that is known to be dear and those beside it.
const PATTERNS: [(&str, &[u8]); 22] = [
    ("plain text", PLAIN),
    ("empty lines", b"\r\n"),
    ("one octet a line", b"x\r\n"),
    ("bare LF", b"\n"),
    ("bare LF after each octet", b"x\n"),
    ("bare CR", b"\r"),
    ("bare CR after each octet", b"x\r"),
    ("CR CR LF", b"\r\r\n"),
    ("lines of two dots", b"..\r\n"),
    ("lines of three dots", b"...\r\n"),
    ("dots without a line end", b"."),
    ("dots after bare LF", b"\n."),
    ("NUL", b"\0"),
    ("lines of NUL", b"\0\r\n"),
    ("lines of NUL and dots", b"\0..\0\r\n"),
    ("NUL between CR and LF", b"\r\0\n"),
    ("lone dots but for NUL", b"\0.\0\r\n"),
    ("a field name without end", b"x"),
    ("fields of an octet", b"a:\r\n"),
    ("spaces where a field name would be", b"a \r\n "),
    ("almost the end", b"\r\n.x"),
    ("everything at once", b"\r\r\n..\n\n.x\r.\0\r\n.\ry\n\0\r\n"),
];

/// A session in which a transaction has begun.
struct Receiver {
    session: Session,
    replies: ReplyBuffer,
    now: Instant,
    ranges: usize,
    octets: usize,
}

impl Receiver {
    fn new(mode: Mode) -> Self {
        let now = Instant::now();
        let client = "192.0.2.1:25".parse().expect("an address");
        let session = Session::new(Arc::new(mode.settings()), client, now);
        let mut receiver = Self { session, replies: ReplyBuffer::new(), now, ranges: 0, octets: 0 };
        receiver.session.greet(&mut receiver.replies, now);
        receiver.session.handle_sent();
        receiver.feed(b"EHLO client.example\r\n");
        receiver.feed(b"MAIL FROM:<sender@example.com>\r\nRCPT TO:<recipient@example.org>\r\n");
        receiver
    }

    fn feed(&mut self, octets: &[u8]) {
        let mut supplies = Supplies::default();
        let mut input = Input::new(octets, &mut supplies);
        loop {
            match self.session.advance(&mut input, &mut self.replies, self.now) {
                Step::NeedInput => return self.session.handle_sending(),
                Step::Data(range) => self.keep(range.len()),
                Step::Insert => self.keep(input.supplies.run.octets().len()),
                Step::Discard => {}
                Step::Flush => self.replies.clear(),
                Step::Ask(Question::Beginning { asked, .. }) => {
                    self.session.resolve(asked, Ok(()), &mut self.replies, self.now).expect("it is awaited");
                }
                Step::Ask(other) => panic!("unexpected {other:?}"),
                Step::Deliver(_) => {
                    let asked = self.session.asked::<Storing>().expect("it is awaited");
                    let answer = Delivered::Accepted(QueueId::default());
                    self.session.resolve(asked, answer, &mut self.replies, self.now).expect("it is awaited");
                }
                Step::Close => panic!("the session ended"),
            }
        }
    }

    fn keep(&mut self, octets: usize) {
        self.ranges += 1;
        self.octets += octets;
    }

    /// All that was said since it was asked last.
    fn said(&mut self) -> String {
        String::from_utf8_lossy(&self.replies.replace(Vec::new())).into_owned()
    }
}

/// A message of this line in pieces of this size: the time of its mail data, its ranges and the octets in
/// them, and the last reply.
fn measure(mode: Mode, line: &[u8], piece: usize) -> (Duration, usize, usize, String) {
    let body = line.repeat(BYTES / line.len());
    let mut receiver = Receiver::new(mode);
    let wire = if mode.is_chunked() {
        let chunk = |part: &[u8]| [format!("BDAT {}\r\n", part.len()).as_bytes(), part].concat();
        body.chunks(CHUNK_BYTES).flat_map(chunk).collect()
    } else {
        receiver.feed(b"DATA\r\n");
        body
    };
    receiver.said();
    let before = cpu_time();
    for piece in wire.chunks(piece) {
        receiver.feed(piece);
    }
    let took = cpu_time().saturating_sub(before);
    receiver.feed(if mode.is_chunked() { b"BDAT 0 LAST\r\n" } else { b"\r\n.\r\n" });
    let said = receiver.said();
    let reply = said.lines().last().unwrap_or_default().to_owned();
    (took, receiver.ranges, receiver.octets, reply)
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The control: where mail data ends, found by a look at each octet alone.
fn control() -> Duration {
    let body = PLAIN.repeat(BYTES / PLAIN.len());
    let before = cpu_time();
    let mut state = 0_u8;
    let mut ends = 0_usize;
    for octet in std::hint::black_box(&body) {
        state = match (state, octet) {
            (0..=2, b'\r') => 1,
            (1, b'\n') => 2,
            (2, b'.') => 3,
            (3, b'\r') => 4,
            (4, b'\n') => {
                ends += 1;
                2
            }
            _ => 0,
        };
    }
    assert_eq!(std::hint::black_box(ends), 0);
    cpu_time().saturating_sub(before)
}

#[test]
fn an_octet_of_mail_data_costs_little_whatever_it_is() {
    let mut least: BTreeMap<(usize, Mode, &str), Duration> = BTreeMap::new();
    let mut alone = Duration::MAX;
    for _ in 0..ROUNDS {
        for piece in [16 * 1024, 1448] {
            for mode in Mode::ALL {
                alone = alone.min(control());
                for (name, line) in PATTERNS {
                    let took = measure(mode, line, piece).0;
                    let entry = least.entry((piece, mode, name)).or_insert(took);
                    *entry = took.min(*entry);
                }
            }
        }
    }
    let each = |took: &Duration| took.as_secs_f64() * 1e9 / BYTES as f64;
    println!("  1.0 {:8.2} ns an octet: the control", each(&alone));
    let mut dearest = Vec::new();
    for ((piece, mode, name), took) in &least {
        let ratio = took.as_secs_f64() / alone.as_secs_f64();
        println!("{ratio:5.1} {:8.2} ns an octet: {name}, {mode:?}, pieces of {piece}", each(took));
        let most = if HEADERS.contains(name) { HEADER_RATIO_MAX } else { RATIO_MAX };
        if ratio > most {
            dearest.push(format!("{name}, {mode:?}, pieces of {piece}: {ratio:.1} times the control"));
        }
    }
    assert!(dearest.is_empty(), "{dearest:#?}");
}

#[test]
fn mail_data_is_handed_on_in_few_ranges_whatever_it_is() {
    for mode in Mode::ALL {
        for (name, line) in PATTERNS {
            for piece in [16 * 1024, 1448, 255] {
                let (_, ranges, octets, reply) = measure(mode, line, piece);
                // A piece has one range at least, and one for what the last one left over.
                let pieces = BYTES.div_ceil(piece) + BYTES / CHUNK_BYTES;
                let most = 64 + 4 * pieces + octets / RANGE_BYTES_MIN;
                assert!(ranges <= most, "{name}, {mode:?}, {piece}: {ranges} ranges of {octets} octets");
                // What is refused in its first chunk is over, and so are the other chunks.
                let is_known = ["250", "550 5.", "503 5."].iter().any(|start| reply.starts_with(start));
                assert!(is_known, "{name}, {mode:?}: {reply}");
            }
        }
    }
}
