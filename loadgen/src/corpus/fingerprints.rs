//! What the messages of a run are known by in a store.

use super::checksum::{Rest, Text};
use super::{Corpus, HUGE, Variant, index_in};

/// What the texts of a run are known by: of each variant the part after the head, with CRLF and with LF.
#[derive(Debug)]
pub struct Fingerprints {
    variants: Vec<[Rest; 2]>,
    huge: Vec<[Rest; 2]>,
}

impl Fingerprints {
    /// Those of a corpus. Reads every variant once.
    pub fn new(corpus: &Corpus) -> Self {
        let all = |variants: &[Variant]| -> Vec<[Rest; 2]> {
            variants.iter().map(|variant| rests(&variant.octets[..variant.end], corpus.chunked)).collect()
        };
        Self { variants: all(&corpus.variants), huge: all(&corpus.huge) }
    }

    /// Those of one message of the corpus that these are of.
    pub fn of(&self, corpus: &Corpus, number: u64) -> Text {
        let rests = if number & HUGE == 0 { &self.variants } else { &self.huge };
        let [crlf, lf] = rests[index_in(rests.len(), number)];
        let mut head = Vec::new();
        corpus.write_head(number, false, &mut head);
        let crlf = crlf.after(&head);
        head.retain(|octet| *octet != b'\r');
        Text { crlf, lf: lf.after(&head) }
    }
}

/// What follows the head, as it is stored: without the line that ends the mail data and without the dots of
/// transparency; with CRLF and with LF.
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
