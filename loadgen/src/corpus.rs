//! Mail data to send (RFC 5322 text, RFC 5321 §4.5.2 transparency), made once: a few dozen variants of the text, and a small
//! head for each message that tells it apart. The number of a message decides which variant it has, so that a body under
//! another message's head is found out.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::checksum::Rest;
use crate::ledger::{Id, Text};

/// Columns of a line of text; RFC 5322 §2.1.1 wants at most 78.
const COLUMNS: usize = 76;

/// Every so many lines one begins with a dot, so that transparency is exercised.
const LINES_PER_DOT: usize = 20;

/// The variants are the same in every run: this is the seed of the first, the next number that of the second.
const SEED: u64 = 5321;

/// Variants of the text. A prime, so that neighbours differ at every stride of a thread or a connection.
const VARIANTS_MAX: u64 = 31;

/// Octets that variants may take together; above that there are fewer, but two.
const VARIANTS_BYTES_MAX: u64 = 16 << 20;

/// Messages above this size have one text.
const TWO_VARIANTS_SIZE_MAX: u64 = 64 << 20;

/// The most octets a message may have; one send takes at most 4 GiB.
pub const SIZE_MAX: u64 = 1 << 30;

/// The mail data of all messages of a run.
#[derive(Debug)]
pub struct Corpus {
    run: u64,
    /// The head of a message, up to the number that tells it apart.
    head: String,
    /// Everything behind the head, with transparency applied, up to the end of mail data. Never empty.
    variants: Vec<&'static [u8]>,
    /// Octets of a message: head and rest as the receiver stores them, without the dots added for transparency and
    /// without the line that ends the mail data.
    size: u64,
}

/// The header alone is larger than the size that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The least that works, in octets.
    pub minimum: u64,
}

impl Corpus {
    /// Mail from one mailbox to another of `size` octets. `run` tells this run from others. The text lives as long as the
    /// process.
    pub fn new(from: &str, to: &str, size: u64, run: u64, now: SystemTime) -> Result<Self, TooSmall> {
        let head = format!("X-Loadgen-Id: {run:016x}-");
        let date = httpdate::fmt_http_date(now);
        let header = format!(
            "Date: {} +0000\r\nFrom: loadgen <{from}>\r\nTo: <{to}>\r\nSubject: A message made by loadgen\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
            date.trim_end_matches(" GMT"),
        );
        let head_bytes = Self::head_bytes(&head);
        /// Room for the shortest text.
        const TEXT_BYTES_MIN: usize = 2;
        let minimum = head_bytes + header.len() + TEXT_BYTES_MIN;
        let size_bytes = usize::try_from(size).unwrap_or(usize::MAX);
        if size_bytes < minimum {
            return Err(TooSmall { minimum: minimum as u64 });
        }
        let least = if size <= TWO_VARIANTS_SIZE_MAX { 2 } else { 1 };
        let count = (VARIANTS_BYTES_MAX / size).clamp(least, VARIANTS_MAX);
        let variant = |seed| -> &'static [u8] {
            let mut rest = header.clone().into_bytes();
            append_text(&mut rest, size_bytes - minimum + TEXT_BYTES_MIN, seed);
            rest.extend_from_slice(b".\r\n");
            rest.leak()
        };
        Ok(Self { run, head, variants: (SEED..SEED + count).map(variant).collect(), size })
    }

    /// What tells this run from others.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Octets of one message.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the head of message `number`, and gives what comes behind it.
    pub fn write_head(&self, number: u64, head: &mut Vec<u8>) -> &'static [u8] {
        let digits = hexadecimal(number);
        head.extend_from_slice(self.head.as_bytes());
        head.extend_from_slice(&digits);
        head.extend_from_slice(MESSAGE_ID);
        head.extend_from_slice(&self.head.as_bytes()[ID_NAME.len()..]);
        head.extend_from_slice(&digits);
        head.extend_from_slice(HEAD_END);
        self.variants[self.variant(number)]
    }

    /// What messages are known by in a store. Reads every variant once.
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints(self.variants.iter().map(|rest| rests(rest)).collect())
    }

    /// Which variant a message has.
    fn variant(&self, number: u64) -> usize {
        usize::try_from(number % self.variants.len() as u64).unwrap_or(0)
    }

    fn head_bytes(head: &str) -> usize {
        2 * (head.len() + NUMBER_BYTES) - ID_NAME.len() + MESSAGE_ID.len() + HEAD_END.len()
    }
}

/// What the texts of a run are known by: of each variant the part behind the head, with CRLF and with LF.
#[derive(Debug)]
pub struct Fingerprints(Vec<[Rest; 2]>);

impl Fingerprints {
    /// Those of one message of the corpus that these are of.
    pub fn of(&self, corpus: &Corpus, number: u64) -> Text {
        let [crlf, lf] = self.0[corpus.variant(number)];
        let mut head = Vec::new();
        corpus.write_head(number, &mut head);
        let crlf = crlf.behind(&head);
        head.retain(|octet| *octet != b'\r');
        Text { crlf, lf: lf.behind(&head) }
    }
}

/// What is behind the head as it is stored: without the line that ends the mail data and without the dots of transparency;
/// with CRLF and with LF.
fn rests(sent: &[u8]) -> [Rest; 2] {
    let lines = sent.strip_suffix(b".\r\n").unwrap_or(sent).split_inclusive(|octet| *octet == b'\n');
    let mut stored: Vec<u8> =
        lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
    let crlf = Rest::of(&stored);
    // The text has no CR but those of its line ends.
    stored.retain(|octet| *octet != b'\r');
    [crlf, Rest::of(&stored)]
}

/// The message that stored octets name, and where its text begins: at the first line that is a whole id header.
pub fn find_id(stored: &[u8]) -> Option<(Id, usize)> {
    let mut at = 0;
    for line in stored.split_inclusive(|octet| *octet == b'\n') {
        let id = line.strip_prefix(ID_NAME).and_then(|rest| str::from_utf8(rest.trim_ascii_end()).ok());
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            return Some((id, at));
        }
        at += line.len();
    }
    None
}

/// In front of the run's number.
const ID_NAME: &[u8] = b"X-Loadgen-Id: ";
const MESSAGE_ID: &[u8] = b"\r\nMessage-ID: <";
const HEAD_END: &[u8] = b"@loadgen.test>\r\n";
/// Octets of a number as [`hexadecimal`] writes it.
const NUMBER_BYTES: usize = 16;

/// Sixteen digits: the formatting machinery would cost more than the rest of the head.
fn hexadecimal(number: u64) -> [u8; NUMBER_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let octets = number.to_be_bytes();
    std::array::from_fn(|at| {
        let octet = octets[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { octet >> 4 } else { octet & 15 })]
    })
}

/// Appends `bytes` octets of text (dots of transparency not counted) in lines that end in CRLF. `bytes >= 2`.
fn append_text(mail_data: &mut Vec<u8>, mut bytes: usize, seed: u64) {
    const CRLF: &[u8] = b"\r\n";
    let mut random = fastrand::Rng::with_seed(seed);
    let mut words = String::new();
    for number in 1.. {
        let mut line_bytes = bytes.min(COLUMNS + CRLF.len());
        if bytes - line_bytes == 1 {
            // A line needs two octets for its end.
            line_bytes -= 1;
        }
        let columns = line_bytes - CRLF.len();
        words.clear();
        if number % LINES_PER_DOT == 0 && columns > 0 {
            mail_data.push(b'.');
            words.push('.');
        }
        while words.len() < columns {
            let word = random.choice(WORDS).expect("there are words");
            let _ = write!(words, "{word} ");
        }
        mail_data.extend_from_slice(&words.as_bytes()[..columns]);
        mail_data.extend_from_slice(CRLF);
        bytes -= line_bytes;
        if bytes == 0 {
            return;
        }
    }
}

const WORDS: [&str; 32] = [
    "a",
    "and",
    "answer",
    "as",
    "before",
    "client",
    "domain",
    "every",
    "for",
    "greeting",
    "has",
    "in",
    "is",
    "it",
    "mail",
    "mailbox",
    "message",
    "not",
    "of",
    "one",
    "reply",
    "sent",
    "server",
    "session",
    "that",
    "the",
    "then",
    "this",
    "to",
    "transaction",
    "when",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn corpus(size: u64) -> Result<Corpus, TooSmall> {
        Corpus::new("a@sender.test", "b@receiver.test", size, 7, SystemTime::UNIX_EPOCH)
    }

    /// What a receiver makes of it: the lines up to the single dot, transparency removed.
    fn received(corpus: &Corpus, number: u64) -> Vec<u8> {
        let mut sent = Vec::new();
        let rest = corpus.write_head(number, &mut sent);
        sent.extend_from_slice(rest);
        let text = String::from_utf8(sent).expect("ASCII");
        let body = text.strip_suffix("\r\n.\r\n").expect("end of mail data");
        let lines = body.split("\r\n").map(|line| {
            assert!(line.len() <= 1 + COLUMNS.max(78) && line != "." && !line.contains(['\r', '\n']));
            line.strip_prefix('.').unwrap_or(line)
        });
        lines.flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
    }

    #[test]
    fn a_message_has_the_size_asked_for() {
        let TooSmall { minimum } = corpus(0).expect_err("no header fits");
        assert!(minimum < 512, "{minimum}");
        assert_eq!(corpus(minimum - 1).err(), Some(TooSmall { minimum }));
        for size in (minimum..minimum + 400).chain([4096, 65_536]) {
            let corpus = corpus(size).expect("large enough");
            assert_eq!(received(&corpus, 1).len() as u64, size);
            assert_eq!(corpus.size(), size);
        }
    }

    #[test]
    fn lines_that_begin_with_a_dot_get_another() {
        let corpus = corpus(65_536).expect("large enough");
        let stuffed = corpus.variants[0].windows(4).filter(|at| at == b"\r\n..").count();
        assert!(stuffed > 30, "{stuffed}");
        assert_eq!(corpus.variants[0].windows(5).filter(|at| at == b"\r\n.\r\n").count(), 1);
    }

    #[test]
    fn every_message_can_be_told_apart() {
        let corpus = corpus(1024).expect("large enough");
        let heads: HashSet<Vec<u8>> = (0..1000).map(|number| received(&corpus, number)).collect();
        assert_eq!(heads.len(), 1000);
        let mut head = Vec::new();
        corpus.write_head(0xBEEF, &mut head);
        let id = "0000000000000007-000000000000beef";
        let expected = format!("X-Loadgen-Id: {id}\r\nMessage-ID: <{id}@loadgen.test>\r\n");
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }

    #[test]
    fn variants_differ_and_large_mail_has_fewer() {
        assert_eq!(corpus(25 << 20).expect("large enough").variants.len(), 2);
        let corpus = corpus(4096).expect("large enough");
        let texts: HashSet<&[u8]> = corpus.variants.iter().copied().collect();
        assert_eq!(texts.len() as u64, VARIANTS_MAX);
        let body = |number| received(&corpus, number).split_off(300);
        assert_ne!(body(0), body(1));
        assert_eq!(body(0), body(VARIANTS_MAX));
    }

    #[test]
    fn the_fingerprint_is_that_of_what_is_stored() {
        use crate::checksum::Fingerprint;
        let corpus = corpus(6000).expect("large enough");
        let fingerprints = corpus.fingerprints();
        for number in [0, 1, 30, 31, u64::MAX] {
            let crlf = received(&corpus, number);
            let lf = String::from_utf8(crlf.clone()).expect("ASCII").replace("\r\n", "\n").into_bytes();
            let text = Text { crlf: Fingerprint::of(&crlf), lf: Fingerprint::of(&lf) };
            assert_eq!(fingerprints.of(&corpus, number), text);
            assert_eq!(text.crlf.bytes, 6000);
            for stored in [crlf, lf] {
                let trace = b"Received: from x\n\tby y\n";
                let stored = [trace, &stored[..]].concat();
                assert_eq!(find_id(&stored), Some((Id { run: 7, number }, trace.len())));
            }
        }
        assert_eq!(find_id(b"X-Loadgen-Id: 12\n"), None);
    }
}
