//! Mail data to send (RFC 5322 text, RFC 5321 §4.5.2 transparency), made once: a few dozen variants of the
//! text, and a small head for each message that identifies it. The number of a message decides which variant
//! it has, so that a text under the head of another message is noticed.
//!
//! ```text
//!   ids of the message ‖ forged results, in some ‖ header section ‖ text
//!                                                  \__ of the sender, if messages are signed
//! ```
//!
//! What is signed is the same in all messages of a sender, so nothing is signed while the run lasts.

pub mod checksum;
pub mod fingerprints;
pub mod forged;
pub mod id;
pub mod samples;
mod text;

use std::time::SystemTime;

use crate::senders::kind::SignMix;
use crate::senders::{self, Senders, Unsigned, body_hash};
use crate::size::Size;
use forged::{Forged, Forgery};
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
    /// Author in the header; of signed messages its local-part.
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
    /// How messages are signed, if they are, and how many domains they are from. Neither samples nor large
    /// messages are.
    pub sign: Option<(&'a SignMix, usize)>,
    /// Results of checks to forge.
    pub forged: Option<&'a Forgery>,
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
    /// Octets as the receiver stores them, head, header section and all, without what transparency added and
    /// without forged results.
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
    /// Who signs, if messages are signed.
    senders: Option<Senders>,
    /// Results that are forged, if some are.
    forged: Option<Forged>,
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
        let date = httpdate::fmt_http_date(recipe.now);
        let date = format!("{} +0000", date.trim_end_matches(" GMT"));
        let unsigned = unsigned(recipe, &date);
        let head = format!("X-Loadgen-Id: {:016x}-", recipe.run);
        let header_bytes = unsigned.as_ref().map_or(0, Unsigned::header_bytes);
        let maker = Maker {
            // The header section of a sender is not part of the text.
            header: if unsigned.is_some() { "\r\n".to_owned() } else { header(recipe, &date) },
            apart_bytes: Self::ids_bytes(&head) + header_bytes,
        };
        if let Size::Fixed(octets) = recipe.size
            && octets < maker.minimum() as u64
            && recipe.samples.is_none()
        {
            return Err(TooSmall { minimum: maker.minimum() as u64 });
        }
        let mut body_hashes = Vec::new();
        let mut variant = |text: &[u8]| {
            if unsigned.is_some() {
                body_hashes.push(body_hash(text.strip_prefix(b"\r\n").unwrap_or(text)));
            }
            Variant::new(text, maker.apart_bytes, recipe)
        };
        let variants = if let Some(samples) = recipe.samples {
            samples.iter().map(|text| variant(text)).collect()
        } else {
            let (size, count) = (recipe.size, variants_count(recipe.size));
            // Neighbours differ much in size, and each comes once in `count`.
            const STRIDE: u64 = 50;
            let octets = |index| size.of_variant(index * STRIDE % count, count);
            (0..count).map(|index| variant(&maker.text(octets(index), recipe.seed + index))).collect()
        };
        let huge = if recipe.huge {
            (0..2).map(|index| variant(&maker.text(HUGE_BYTES, index))).collect()
        } else {
            Vec::new()
        };
        let senders = unsigned.map(|unsigned| unsigned.sign(&body_hashes));
        let forged = recipe.forged.map(Forged::new);
        Ok(Self { run: recipe.run, head, chunked: recipe.chunked, variants, huge, senders, forged })
    }

    /// The number of this run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Octets of a message.
    pub fn size_of(&self, number: u64) -> u64 {
        self.variant(number).size + self.block(number).map_or(0, |block| block.len() as u64)
    }

    /// Octets of the largest message.
    pub fn size_max(&self) -> u64 {
        let blocks = self.forged.iter().flat_map(Forged::blocks);
        let largest_block = blocks.map(|block| block.sent.len() as u64).max().unwrap_or(0);
        let largest = self.variants.iter().chain(&self.huge).map(|variant| variant.size).max();
        largest.unwrap_or(0) + largest_block
    }

    /// Mean octets of a message, large ones of the scenario `huge` and forged results aside.
    pub fn size_mean(&self) -> u64 {
        self.variants.iter().map(|variant| variant.size).sum::<u64>() / self.variants.len() as u64
    }

    /// Whether a text has octets above 127, which want 8BITMIME (RFC 6152).
    pub fn is_8bit(&self) -> bool {
        self.variants.iter().any(|variant| !variant.octets.is_ascii())
    }

    /// MAIL of a message, if its sender is not that of all messages.
    pub fn mail_of(&self, number: u64) -> Option<&[u8]> {
        Some(&self.senders.as_ref()?.at(self.sender_of(number)?).mail)
    }

    /// Appends all of message `number` that stands before the text, and gives what follows it; with
    /// `next_group` the commands of the next transaction, too.
    pub fn write_head(&self, number: u64, next_group: bool, head: &mut Vec<u8>) -> &'static [u8] {
        self.write_ids(number, head);
        head.extend_from_slice(self.block(number).unwrap_or_default());
        if let (Some(senders), Some(sender)) = (&self.senders, self.sender_of(number)) {
            head.extend_from_slice(&senders.at(sender).header);
        }
        let Variant { octets, end, .. } = *self.variant(number);
        if next_group { octets } else { &octets[..end] }
    }

    /// Appends the two lines that name a message.
    fn write_ids(&self, number: u64, head: &mut Vec<u8>) {
        let digits = hexadecimal(number);
        head.extend_from_slice(self.head.as_bytes());
        head.extend_from_slice(&digits);
        head.extend_from_slice(MESSAGE_ID);
        head.extend_from_slice(&self.head.as_bytes()[ID_NAME.len()..]);
        head.extend_from_slice(&digits);
        head.extend_from_slice(HEAD_END);
    }

    fn variant(&self, number: u64) -> &Variant {
        let variants = if is_huge(number) { &self.huge } else { &self.variants };
        &variants[self.variant_of(number)]
    }

    /// Which of the variants of its kind a message has.
    fn variant_of(&self, number: u64) -> usize {
        match (&self.senders, is_huge(number)) {
            (Some(senders), _) => senders.at(senders.index_of(number)).text,
            (None, false) => index_in(self.variants.len(), number),
            (None, true) => index_in(self.huge.len(), number),
        }
    }

    /// Who sends a message, if messages are signed.
    fn sender_of(&self, number: u64) -> Option<usize> {
        Some(self.senders.as_ref()?.index_of(number))
    }

    /// Which block of forged fields a message has, if it has one.
    fn block_of(&self, number: u64) -> Option<usize> {
        self.forged.as_ref()?.block_of(number)
    }

    fn block(&self, number: u64) -> Option<&[u8]> {
        Some(&self.forged.as_ref()?.blocks()[self.block_of(number)?].sent)
    }

    fn ids_bytes(head: &str) -> usize {
        2 * (head.len() + NUMBER_BYTES) - ID_NAME.len() + MESSAGE_ID.len() + HEAD_END.len()
    }
}

/// The header section of messages that are not signed, with the empty line that ends it.
fn header(recipe: &Recipe<'_>, date: &str) -> String {
    let Recipe { from, to, .. } = recipe;
    format!(
        "Date: {date}\r\nFrom: loadgen <{from}>\r\nTo: <{to}>\r\nSubject: A message made by loadgen\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
    )
}

/// Makes texts.
struct Maker {
    /// What they begin with.
    header: String,
    /// Octets of each message that stand before the text.
    apart_bytes: usize,
}

impl Maker {
    /// Room for the shortest text.
    const TEXT_BYTES_MIN: usize = 2;

    /// Octets of the shortest message.
    fn minimum(&self) -> usize {
        self.apart_bytes + self.header.len() + Self::TEXT_BYTES_MIN
    }

    /// The text of a message of so many octets, or of the shortest one: a distribution may ask for less.
    fn text(&self, octets: u64, seed: u64) -> Vec<u8> {
        let minimum = self.minimum();
        let text_bytes =
            usize::try_from(octets).unwrap_or(minimum).max(minimum) - minimum + Self::TEXT_BYTES_MIN;
        let mut text = self.header.clone().into_bytes();
        append_text(&mut text, text_bytes, seed);
        text
    }
}

/// Who sends, if messages are signed.
fn unsigned<'a>(recipe: &Recipe<'a>, date: &'a str) -> Option<Unsigned<'a>> {
    let (mix, domains) = recipe.sign?;
    let now = recipe.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let local_part = recipe.from.rsplit_once('@').map_or(recipe.from, |(local_part, _)| local_part);
    Some(Unsigned::new(senders::Recipe {
        mix,
        domains,
        local_part,
        to: recipe.to,
        date,
        now,
        seed: recipe.seed,
    }))
}

/// Whether a message is one of the large ones of the scenario `huge`.
fn is_huge(number: u64) -> bool {
    number & HUGE != 0
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
    /// Of a text whose lines end in CRLF, before which so many octets of each message stand.
    fn new(text: &[u8], apart_bytes: usize, recipe: &Recipe<'_>) -> Self {
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
        Self { octets: octets.leak(), end, size: (text.len() + apart_bytes) as u64 }
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
            sign: None,
            forged: None,
            next_group: b"",
            run: 1,
            now: SystemTime::UNIX_EPOCH,
        }
    }
}

#[cfg(test)]
mod tests;
