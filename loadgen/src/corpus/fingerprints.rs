//! What the messages of a run are known by in a store.

use super::checksum::{Rest, Text};
use super::forged::Forged;
use super::{Corpus, Variant, is_huge};
use crate::senders::Senders;

/// The sums of some octets, with CRLF and with LF.
type Sums = [Rest; 2];

/// What the texts of a run are known by. All that may follow a head was summed, so a message costs no more
/// than its head.
#[derive(Debug)]
pub struct Fingerprints {
    variants: Vec<Sums>,
    huge: Vec<Sums>,
    /// Of each sender header section and text.
    senders: Vec<Sums>,
    /// Of each block of forged fields, as it is sent and as it is left.
    blocks: Vec<[Sums; 2]>,
}

impl Fingerprints {
    /// Those of a corpus. Reads every variant once.
    pub fn new(corpus: &Corpus) -> Self {
        let texts = |variants: &[Variant]| -> Vec<Sums> {
            variants
                .iter()
                .map(|variant| sums_of_sent(&variant.octets[..variant.end], corpus.chunked))
                .collect()
        };
        let (variants, huge) = (texts(&corpus.variants), texts(&corpus.huge));
        let senders = corpus.senders.iter().flat_map(Senders::all);
        let senders = senders.map(|sender| below(sums(&sender.header), variants[sender.text])).collect();
        let blocks = corpus.forged.iter().flat_map(Forged::blocks);
        let blocks = blocks.map(|block| [sums(&block.sent), sums(&block.cut)]).collect();
        Self { variants, huge, senders, blocks }
    }

    /// Those of one message of the corpus that these are of.
    pub fn of(&self, corpus: &Corpus, number: u64) -> Text {
        self.with_block(corpus, number, corpus.block_of(number).map(|block| self.blocks[block][0]))
    }

    /// The same when a receiver has cut out what was forged. `None` if nothing was.
    pub fn cut_of(&self, corpus: &Corpus, number: u64) -> Option<Text> {
        let [sent, cut] = self.blocks[corpus.block_of(number)?];
        (cut != sent).then(|| self.with_block(corpus, number, Some(cut)))
    }

    fn with_block(&self, corpus: &Corpus, number: u64, block: Option<Sums>) -> Text {
        let rest = match (corpus.sender_of(number), is_huge(number)) {
            (Some(sender), _) => self.senders[sender],
            (None, false) => self.variants[corpus.variant_of(number)],
            (None, true) => self.huge[corpus.variant_of(number)],
        };
        let [crlf, lf] = block.map_or(rest, |block| below(block, rest));
        let mut head = Vec::new();
        corpus.write_ids(number, &mut head);
        let crlf = crlf.after(&head);
        head.retain(|octet| *octet != b'\r');
        Text { crlf, lf: lf.after(&head) }
    }
}

/// The sums of both parts together.
fn below(front: Sums, rest: Sums) -> Sums {
    [rest[0].below(front[0]), rest[1].below(front[1])]
}

/// The sums of octets that have no CR but those of their line ends.
fn sums(octets: &[u8]) -> Sums {
    let lf: Vec<u8> = octets.iter().copied().filter(|octet| *octet != b'\r').collect();
    [Rest::of(octets), Rest::of(&lf)]
}

/// The sums of a text as it is stored: without the line that ends the mail data and without the dots of
/// transparency.
fn sums_of_sent(sent: &[u8], chunked: bool) -> Sums {
    if chunked {
        return sums(sent);
    }
    let lines = sent.strip_suffix(b".\r\n").unwrap_or(sent).split_inclusive(|octet| *octet == b'\n');
    let stored: Vec<u8> = lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
    sums(&stored)
}
