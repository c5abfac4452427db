//! Mail data to send (RFC 5322 text, RFC 5321 §4.5.2 transparency), made once: a few dozen variants of the text, and a small
//! head for each message that tells it apart. The number of a message decides which variant it has, so that a body under
//! another message's head is found out.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::checksum::Rest;
use crate::ledger::{Id, Text};
use crate::size::Size;

/// Columns of a line of text; RFC 5322 §2.1.1 wants at most 78.
const COLUMNS: usize = 76;

/// Every so many lines one begins with a dot, so that transparency is exercised.
const LINES_PER_DOT: usize = 20;

/// Variants of the text. A prime, so that neighbours differ at every stride of a thread or a connection.
const VARIANTS_MAX: u64 = 31;

/// Octets that variants may take together; above that there are fewer, but two.
const VARIANTS_BYTES_MAX: u64 = 16 << 20;

/// Messages above this size have one text.
const TWO_VARIANTS_SIZE_MAX: u64 = 64 << 20;

/// The most octets a message may have; one send takes at most 4 GiB.
pub const SIZE_MAX: u64 = 1 << 30;

/// Added to the number of a message that is one of the large ones of the scenario `huge`.
pub const HUGE: u64 = 1 << 63;

/// Octets of a large message.
const HUGE_BYTES: u64 = 25 << 20;

/// Variants of a text whose size varies. A prime, too.
const VARIANTS_VARYING: u64 = 127;

/// What the mail data of a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// Author in the header.
    pub from: &'a str,
    /// Recipient in the header.
    pub to: &'a str,
    /// Sizes of the messages.
    pub size: Size,
    /// Seed of the text.
    pub seed: u64,
    /// Texts to send instead of made ones.
    pub samples: Option<&'a [Vec<u8>]>,
    /// Whether large messages are sent, too.
    pub huge: bool,
    /// Whether it goes into chunks (RFC 3030): as it is, instead of with transparency and the dot that ends it.
    pub chunked: bool,
    /// Commands that lie behind the end of the mail data, to be sent in one with it.
    pub next_group: &'a [u8],
    /// Tells this run from others.
    pub run: u64,
    /// The date in the header.
    pub now: SystemTime,
}

/// One text.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// What is sent behind the head, and then the commands of the next group. Lives as long as the process.
    octets: &'static [u8],
    /// Where that group begins.
    end: usize,
    /// Octets as the receiver stores them, head and all, without what transparency added.
    size: u64,
}

/// The mail data of all messages of a run.
#[derive(Debug)]
pub struct Corpus {
    run: u64,
    /// The head of a message, up to the number that tells it apart.
    head: String,
    chunked: bool,
    /// Never empty.
    variants: Vec<Variant>,
    /// Those of large messages, if the run has any.
    huge: Vec<Variant>,
}

/// The header alone is larger than the size that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The least that works, in octets.
    pub minimum: u64,
}

impl Corpus {
    /// Makes all texts.
    pub fn new(recipe: &Recipe<'_>) -> Result<Self, TooSmall> {
        let Recipe { from, to, run, size, .. } = *recipe;
        let head = format!("X-Loadgen-Id: {run:016x}-");
        let date = httpdate::fmt_http_date(recipe.now);
        let header = format!(
            "Date: {} +0000\r\nFrom: loadgen <{from}>\r\nTo: <{to}>\r\nSubject: A message made by loadgen\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
            date.trim_end_matches(" GMT"),
        );
        let head_bytes = Self::head_bytes(&head);
        /// Room for the shortest text.
        const TEXT_BYTES_MIN: usize = 2;
        let minimum = head_bytes + header.len() + TEXT_BYTES_MIN;
        if let Size::Fixed(octets) = size
            && octets < minimum as u64
            && recipe.samples.is_none()
        {
            return Err(TooSmall { minimum: minimum as u64 });
        }
        let made = |octets: u64, seed| {
            // A distribution may ask for less than the header has.
            let text_bytes =
                usize::try_from(octets).unwrap_or(minimum).max(minimum) - minimum + TEXT_BYTES_MIN;
            let mut text = header.clone().into_bytes();
            append_text(&mut text, text_bytes, seed);
            Variant::new(&text, head_bytes, recipe)
        };
        let variants = if let Some(samples) = recipe.samples {
            samples.iter().map(|text| Variant::new(text, head_bytes, recipe)).collect()
        } else {
            let count = variants_count(size);
            // Neighbours differ much in size, and each comes once in `count`.
            const STRIDE: u64 = 50;
            let variant = |index| made(size.of_variant(index * STRIDE % count, count), recipe.seed + index);
            (0..count).map(variant).collect()
        };
        let huge =
            if recipe.huge { (0..2).map(|index| made(HUGE_BYTES, index)).collect() } else { Vec::new() };
        Ok(Self { run, head, chunked: recipe.chunked, variants, huge })
    }

    /// What tells this run from others.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Octets of a message.
    pub fn size_of(&self, number: u64) -> u64 {
        self.variant(number).size
    }

    /// Octets of the largest message.
    pub fn size_max(&self) -> u64 {
        self.variants.iter().chain(&self.huge).map(|variant| variant.size).max().unwrap_or(0)
    }

    /// Mean octets of a message, large ones of the scenario `huge` aside.
    pub fn size_mean(&self) -> u64 {
        self.variants.iter().map(|variant| variant.size).sum::<u64>() / self.variants.len() as u64
    }

    /// Texts.
    pub fn variants(&self) -> usize {
        self.variants.len()
    }

    /// Whether a text has octets above 127, which want 8BITMIME (RFC 6152).
    pub fn is_8bit(&self) -> bool {
        self.variants.iter().any(|variant| !variant.octets.is_ascii())
    }

    /// Appends the head of message `number`, and gives what comes behind it; with `next_group` the commands of the next
    /// transaction, too.
    pub fn write_head(&self, number: u64, next_group: bool, head: &mut Vec<u8>) -> &'static [u8] {
        let digits = hexadecimal(number);
        head.extend_from_slice(self.head.as_bytes());
        head.extend_from_slice(&digits);
        head.extend_from_slice(MESSAGE_ID);
        head.extend_from_slice(&self.head.as_bytes()[ID_NAME.len()..]);
        head.extend_from_slice(&digits);
        head.extend_from_slice(HEAD_END);
        let Variant { octets, end, .. } = *self.variant(number);
        if next_group { octets } else { &octets[..end] }
    }

    /// What messages are known by in a store. Reads every variant once.
    pub fn fingerprints(&self) -> Fingerprints {
        let all = |variants: &[Variant]| -> Vec<[Rest; 2]> {
            variants.iter().map(|variant| rests(&variant.octets[..variant.end], self.chunked)).collect()
        };
        Fingerprints { variants: all(&self.variants), huge: all(&self.huge) }
    }

    fn variant(&self, number: u64) -> &Variant {
        let variants = if number & HUGE == 0 { &self.variants } else { &self.huge };
        &variants[index_in(variants.len(), number)]
    }

    fn head_bytes(head: &str) -> usize {
        2 * (head.len() + NUMBER_BYTES) - ID_NAME.len() + MESSAGE_ID.len() + HEAD_END.len()
    }
}

/// Which of so many variants a message has.
fn index_in(variants: usize, number: u64) -> usize {
    usize::try_from((number & !HUGE) % variants as u64).unwrap_or(0)
}

fn variants_count(size: Size) -> u64 {
    let Size::Fixed(octets) = size else { return VARIANTS_VARYING };
    let least = if octets <= TWO_VARIANTS_SIZE_MAX { 2 } else { 1 };
    (VARIANTS_BYTES_MAX / octets.max(1)).clamp(least, VARIANTS_MAX)
}

impl Variant {
    /// Of a text whose lines end in CRLF.
    fn new(text: &[u8], head_bytes: usize, recipe: &Recipe<'_>) -> Self {
        let mut octets = Vec::with_capacity(text.len() + text.len() / 64 + recipe.next_group.len() + 8);
        if recipe.chunked {
            octets.extend_from_slice(text);
        } else {
            for line in text.split_inclusive(|octet| *octet == b'\n') {
                if line.starts_with(b".") {
                    octets.push(b'.');
                }
                octets.extend_from_slice(line);
            }
            octets.extend_from_slice(b".\r\n");
        }
        let end = octets.len();
        octets.extend_from_slice(recipe.next_group);
        Self { octets: octets.leak(), end, size: (text.len() + head_bytes) as u64 }
    }
}

/// What the texts of a run are known by: of each variant the part behind the head, with CRLF and with LF.
#[derive(Debug)]
pub struct Fingerprints {
    variants: Vec<[Rest; 2]>,
    huge: Vec<[Rest; 2]>,
}

impl Fingerprints {
    /// Those of one message of the corpus that these are of.
    pub fn of(&self, corpus: &Corpus, number: u64) -> Text {
        let rests = if number & HUGE == 0 { &self.variants } else { &self.huge };
        let [crlf, lf] = rests[index_in(rests.len(), number)];
        let mut head = Vec::new();
        corpus.write_head(number, false, &mut head);
        let crlf = crlf.behind(&head);
        head.retain(|octet| *octet != b'\r');
        Text { crlf, lf: lf.behind(&head) }
    }
}

/// What is behind the head as it is stored: without the line that ends the mail data and without the dots of transparency;
/// with CRLF and with LF.
fn rests(sent: &[u8], chunked: bool) -> [Rest; 2] {
    let mut stored: Vec<u8> = if chunked {
        sent.to_vec()
    } else {
        let lines = sent.strip_suffix(b".\r\n").unwrap_or(sent).split_inclusive(|octet| *octet == b'\n');
        lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
    };
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

/// Appends `bytes` octets of text in lines that end in CRLF. `bytes >= 2`.
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
impl Recipe<'static> {
    /// A small text.
    pub fn for_tests() -> Self {
        Self {
            from: "a@sender.test",
            to: "b@receiver.test",
            size: Size::Fixed(600),
            seed: 5321,
            samples: None,
            huge: false,
            chunked: false,
            next_group: b"",
            run: 1,
            now: SystemTime::UNIX_EPOCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn corpus(size: u64) -> Result<Corpus, TooSmall> {
        Corpus::new(&Recipe { size: Size::Fixed(size), run: 7, ..Recipe::for_tests() })
    }

    /// What a receiver makes of it: the lines up to the single dot, transparency removed.
    fn received(corpus: &Corpus, number: u64) -> Vec<u8> {
        let mut sent = Vec::new();
        let rest = corpus.write_head(number, false, &mut sent);
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
            assert_eq!((corpus.size_of(1), corpus.size_mean(), corpus.size_max()), (size, size, size));
        }
    }

    #[test]
    fn lines_that_begin_with_a_dot_get_another() {
        let corpus = corpus(65_536).expect("large enough");
        let stuffed = corpus.variants[0].octets.windows(4).filter(|at| at == b"\r\n..").count();
        assert!(stuffed > 30, "{stuffed}");
        assert_eq!(corpus.variants[0].octets.windows(5).filter(|at| at == b"\r\n.\r\n").count(), 1);
    }

    #[test]
    fn every_message_can_be_told_apart() {
        let corpus = corpus(1024).expect("large enough");
        let heads: HashSet<Vec<u8>> = (0..1000).map(|number| received(&corpus, number)).collect();
        assert_eq!(heads.len(), 1000);
        let mut head = Vec::new();
        corpus.write_head(0xBEEF, false, &mut head);
        let id = "0000000000000007-000000000000beef";
        let expected = format!("X-Loadgen-Id: {id}\r\nMessage-ID: <{id}@loadgen.test>\r\n");
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }

    #[test]
    fn variants_differ_and_large_mail_has_fewer() {
        assert_eq!(corpus(25 << 20).expect("large enough").variants.len(), 2);
        let corpus = corpus(4096).expect("large enough");
        let texts: HashSet<&[u8]> = corpus.variants.iter().map(|variant| variant.octets).collect();
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
        for number in [0, 1, 30, 31, HUGE - 1] {
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
    #[test]
    fn chunks_carry_the_text_as_it_is_and_the_fingerprint_is_the_same() {
        let texts = [b"Subject: x\r\n\r\n.dot\r\n".to_vec(), b"Subject: \xE4\r\n\r\n".to_vec()];
        let recipe = Recipe { samples: Some(&texts), next_group: b"MAIL", ..Recipe::for_tests() };
        let dotted = Corpus::new(&recipe).expect("a corpus");
        let chunked = Corpus::new(&Recipe { chunked: true, ..recipe }).expect("a corpus");
        let rest = |corpus: &Corpus, group| corpus.write_head(0, group, &mut Vec::new());
        assert_eq!(rest(&dotted, true), b"Subject: x\r\n\r\n..dot\r\n.\r\nMAIL");
        assert_eq!(rest(&dotted, false), b"Subject: x\r\n\r\n..dot\r\n.\r\n");
        assert_eq!(rest(&chunked, false), texts[0]);
        assert_eq!(dotted.fingerprints().of(&dotted, 0), chunked.fingerprints().of(&chunked, 0));
        assert!(dotted.is_8bit() && dotted.size_of(0) == chunked.size_of(0));
    }

    #[test]
    fn sizes_may_vary_and_large_messages_have_numbers_of_their_own() {
        let recipe = Recipe { size: Size::Profile, huge: true, ..Recipe::for_tests() };
        let corpus = Corpus::new(&recipe).expect("a corpus");
        let mut sizes: Vec<u64> = (0..VARIANTS_VARYING).map(|number| corpus.size_of(number)).collect();
        assert!(!sizes.is_sorted());
        sizes.sort_unstable();
        assert!((50 << 10..75 << 10).contains(&sizes[63]));
        assert_eq!(corpus.size_of(HUGE | 5), HUGE_BYTES);
    }
}
