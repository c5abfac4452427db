//! What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1), and whether that is enough for a scenario.

use crate::reply::ReplyLine;
use crate::scenario::Scenario;
use crate::scenario::act::Act;

/// EHLO keywords that matter to us.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offered {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) eight_bit: bool,
    pub(super) starttls: bool,
    /// Octets of a message at most (RFC 1870); 0: the server does not say.
    pub(super) size_max: u64,
}

impl Offered {
    /// Takes a line of the reply to EHLO (RFC 5321 §4.1.1.1). The first line names the server, and no keyword
    /// is a domain.
    pub(super) fn note(&mut self, line: &ReplyLine<'_>) {
        if line.code != 250 {
            return;
        }
        let mut words = line.text.split(|octet| *octet == b' ');
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
        self.pipelining |= is("PIPELINING");
        self.chunking |= is("CHUNKING");
        self.eight_bit |= is("8BITMIME");
        self.starttls |= is("STARTTLS");
        if is("SIZE") {
            let octets = words.next().and_then(|octets| str::from_utf8(octets).ok()?.parse().ok());
            self.size_max = octets.unwrap_or(0);
        }
    }
    /// What the scenario cannot do without and the server does not offer, in words.
    pub(super) fn lacks(self, scenario: &Scenario) -> Option<String> {
        let largest = scenario.corpus.size_max();
        match () {
            () if scenario.bdat.is_some() && !self.chunking => {
                Some("the server does not offer CHUNKING (RFC 3030), which --bdat needs".to_owned())
            }
            () if scenario.corpus.is_8bit() && !self.eight_bit => Some(
                "the server does not offer 8BITMIME (RFC 6152), which mail of the corpus needs".to_owned(),
            ),
            () if scenario.row.act == Act::Mail && self.size_max > 0 && largest > self.size_max => {
                let most = self.size_max;
                Some(format!(
                    "the server takes at most {most} octets (SIZE), and the largest message has {largest}"
                ))
            }
            () => None,
        }
    }
}
