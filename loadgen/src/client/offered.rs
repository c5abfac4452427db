//! What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1), and what follows from it.

use super::Client;
use super::stage::Stage;
use crate::reply::Line;
use crate::scenario::Act;
use crate::tally::Tally;
use crate::tls::Mode;

/// EHLO keywords that matter to us.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offered {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) eight_bit: bool,
    pub(super) starttls: bool,
    /// Octets of a message at most (RFC 1870); 0: not told.
    pub(super) size_max: u64,
}

impl Offered {
    /// Takes a line of the reply to EHLO (RFC 5321 §4.1.1.1). The first line names the server, and no keyword is a domain.
    pub(super) fn note(&mut self, line: &Line<'_>) {
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
}

impl Client {
    /// Knows now what the server offers; what was asked for and cannot do without ends the run.
    pub(super) fn stage_after_ehlo(&mut self, tally: &mut Tally) -> Stage {
        let (scenario, offered) = (self.scenario, self.offered);
        tally.helo |= self.stage == Stage::Helo;
        if scenario.tls == Some(Mode::Starttls) && !self.secured {
            // What else is offered in plaintext does not count (RFC 3207 §4.2).
            if offered.starttls {
                return Stage::StartTls;
            }
            let missing = "the receiver does not offer STARTTLS (RFC 3207), which --tls starttls needs";
            tally.unsupported.get_or_insert(missing.to_owned());
            return Stage::Quit;
        }
        // These stop in the middle of a transaction, so they say one command at a time.
        let stops = matches!(scenario.row.act, Act::NeverReads | Act::HalfData);
        self.pipelining = scenario.pipelining.is_some() && offered.pipelining && !stops;
        tally.pipelining_missing |= scenario.pipelining.is_some() && !self.pipelining;
        let largest = scenario.corpus.size_max();
        let missing = match () {
            () if scenario.bdat.is_some() && !offered.chunking => {
                Some("the server does not offer CHUNKING (RFC 3030), which --bdat needs".to_owned())
            }
            () if scenario.corpus.is_8bit() && !offered.eight_bit => Some(
                "the server does not offer 8BITMIME (RFC 6152), which mail of the corpus needs".to_owned(),
            ),
            () if scenario.row.act == Act::Mail && offered.size_max > 0 && largest > offered.size_max => {
                let most = offered.size_max;
                Some(format!(
                    "the server takes at most {most} octets (SIZE), and the largest message has {largest}"
                ))
            }
            () => None,
        };
        let Some(missing) = missing else { return Stage::Ready };
        tally.unsupported.get_or_insert(missing);
        Stage::Quit
    }
}
