//! Mail data to send (RFC 5322 text, RFC 5321 §4.5.2 transparency), made once: a few dozen variants of the
//! text, and a small head for each message that identifies it. The number of a message decides which variant
//! it has, so that a text under the head of another message is noticed.

pub mod checksum;
pub mod fingerprints;
pub mod id;
pub mod samples;
mod text;

use std::time::SystemTime;

use crate::size::Size;
use id::{HEAD_END, ID_NAME, MESSAGE_ID, NUMBER_BYTES, hexadecimal};
use text::append_text;

/// Variants of the text. The number is prime, so that neighbours differ at every stride of a thread or a
/// connection.
const VARIANTS_MAX: u64 = 31;

/// Octets that variants may take together. If they took more, there are fewer of them, but at least two.
const VARIANTS_BYTES_MAX: u64 = 16 << 20;

/// Messages above this size have one text.
const TWO_VARIANTS_SIZE_MAX: u64 = 64 << 20;

/// Added to the number of a message that is one of the large ones of the scenario `huge`.
pub const HUGE: u64 = 1 << 63;

/// Octets of a large message.
const HUGE_BYTES: u64 = 25 << 20;

/// Variants of a text whose size varies. This number is prime, too.
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
    /// Whether it goes into chunks (RFC 3030): as it is, instead of with transparency and the dot that ends
    /// it.
    pub chunked: bool,
    /// Commands that follow the end of the mail data, to be sent together with it.
    pub next_group: &'a [u8],
    /// The number of this run.
    pub run: u64,
    /// The date in the header.
    pub now: SystemTime,
}

/// One text.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// What is sent after the head, and then the commands of the next group. Lives as long as the process.
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
    /// The head of a message, up to the number of the message.
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

    /// The number of this run.
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

    /// Whether a text has octets above 127, which want 8BITMIME (RFC 6152).
    pub fn is_8bit(&self) -> bool {
        self.variants.iter().any(|variant| !variant.octets.is_ascii())
    }

    /// Appends the head of message `number`, and gives what follows it; with `next_group` the commands of the
    /// next transaction, too.
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
mod tests;
