//! One message under check, from the first octet of its mail data to the verdict.
//!
//! ```text
//!   mail data ──► header section ──► signatures, author ──► questions ─┐
//!        │            (read once, at its end)                          ├──► found
//!        └──────► body, piece by piece ──► hashes ──► end ─────────────┘
//! ```
//!
//! Nothing of the mail data is kept but hashes and what the header section says of its author and signatures.

use super::arc::{self, Chain};
use super::author::Author;
use super::dkim::bodies::Bodies;
use super::dkim::check::{self as dkim, DkimResult, Signatures};
use super::dkim::keys::Keys;
use super::dmarc::{self, DmarcResult, Found as Identifier};
use super::header::Header;
use super::rules::{AuthRules, DmarcUse, SpfUse};
use super::sender::Sender;
use super::spf::{self, SpfResult};
use crate::dns::{Asking, Name};

/// What was found. What was not looked for, or not yet, is none.
#[derive(Debug, Default)]
pub struct Found {
    /// SPF of the client's own name.
    pub spf_helo: Option<spf::Outcome>,
    /// SPF of the reverse-path; none of the null one, which [`Found::spf_helo`] is about.
    pub spf_path: Option<spf::Outcome>,
    /// Signatures.
    pub dkim: Option<Vec<dkim::Found>>,
    /// The seals of those who passed it on.
    pub arc: Option<arc::Outcome>,
    /// Who wrote it.
    pub author: Option<Author>,
    /// DMARC of the author's domain.
    pub dmarc: Option<dmarc::Outcome>,
    /// It is looked for.
    pub wants_dmarc: bool,
    /// It says that it comes from a mailing list (RFC 2919).
    pub has_list_id: bool,
}

impl Found {
    /// The result of DMARC, where it is looked for: `permerror` of an author whom nobody can vouch for.
    pub fn dmarc_word(&self) -> Option<&'static str> {
        let has_problem = self.author.as_ref().is_some_and(|author| author.problem.is_some());
        match &self.dmarc {
            Some(outcome) => Some(outcome.result.word()),
            None => (self.wants_dmarc && has_problem).then_some("permerror"),
        }
    }

    /// SPF of the reverse-path; of the null one that of the client's own name (RFC 7208 §2.4).
    pub fn spf(&self) -> Option<&spf::Outcome> {
        self.spf_path.as_ref().or(self.spf_helo.as_ref())
    }
}

/// Where the mail data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Body,
    Over,
}

/// What a piece of mail data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// All of it belongs to the header section, which goes on.
    Header,
    /// So many octets end the header section. Whoever has it calls [`MessageCheck::take_header`], then
    /// [`MessageCheck::take_body`] with what follows them.
    HeaderEnds(usize),
    /// All of it is of the body.
    Body,
}

/// One message under check.
#[derive(Debug)]
pub struct MessageCheck {
    stage: Stage,
    /// Octets of the header section so far.
    header_bytes: usize,
    /// How many octets of its end came last.
    end_seen: usize,
    bodies: Bodies,
    signatures: Signatures,
    chain: Chain,
    found: Found,
}

/// What ends a header section. In front of the first field a line has ended, too.
const HEADER_END: &[u8; 4] = b"\r\n\r\n";

impl MessageCheck {
    /// Nothing came yet.
    pub fn new() -> Self {
        Self {
            stage: Stage::Header,
            header_bytes: 0,
            end_seen: 2,
            bodies: Bodies::default(),
            signatures: Signatures::default(),
            chain: Chain::default(),
            found: Found::default(),
        }
    }

    /// Whether the header section has not ended.
    pub fn is_in_header(&self) -> bool {
        self.stage == Stage::Header
    }

    /// Octets of the header section so far.
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Looks at the next octets of the mail data. As long as the header section goes on they are counted.
    pub fn look(&mut self, piece: &[u8]) -> Piece {
        if self.stage != Stage::Header {
            return Piece::Body;
        }
        let end = self.header_end(piece);
        self.header_bytes += end.unwrap_or(piece.len());
        end.map_or(Piece::Header, Piece::HeaderEnds)
    }

    fn header_end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        // What came before may be the first half of it.
        while self.end_seen > 0 {
            let octet = piece.get(at)?;
            at += 1;
            let is_next = HEADER_END.get(self.end_seen) == Some(octet);
            self.end_seen = if is_next { self.end_seen + 1 } else { usize::from(*octet == b'\r') };
            if self.end_seen == HEADER_END.len() {
                return Some(at);
            }
        }
        let rest = piece.get(at..).unwrap_or_default();
        if let Some(found) = memchr::memmem::find(rest, HEADER_END) {
            return Some(at + found + HEADER_END.len());
        }
        let ends_with = |count: &usize| HEADER_END.get(..*count).is_some_and(|start| rest.ends_with(start));
        self.end_seen = (1..HEADER_END.len()).rev().find(ends_with).unwrap_or(0);
        None
    }

    /// The header section, once; an empty one where the mail data has none. `now`: seconds since 1970.
    pub fn take_header(&mut self, header: &Header<'_>, rules: &AuthRules, now: u64) {
        debug_assert!(self.stage == Stage::Header, "it ends once");
        self.stage = Stage::Body;
        let author = Author::of(header);
        if rules.dkim {
            self.signatures = Signatures::of(header, author.domain(), now);
            self.signatures.want(&mut self.bodies);
        }
        if rules.asks_sealers() {
            self.chain = Chain::of(header, now);
            self.chain.want(&mut self.bodies);
        }
        self.found.has_list_id = header.named("List-Id").next().is_some();
        self.found.author = Some(author);
        self.found.wants_dmarc = rules.dmarc != DmarcUse::Off;
    }

    /// About how many octets it takes in memory, before answers are there. What those add is bounded.
    pub fn bytes(&self) -> usize {
        let author = self.found.author.iter().flat_map(|author| &author.domains);
        let author: usize = author.map(|domain| size_of::<Name>() + domain.octets().len()).sum();
        size_of::<Self>() + self.signatures.bytes() + self.chain.bytes() + author
    }

    /// The body goes on.
    pub fn take_body(&mut self, piece: &[u8]) {
        self.bodies.update(piece);
    }

    /// The mail data is over. Its header section was taken.
    pub fn finish(&mut self) {
        self.stage = Stage::Over;
        self.bodies.finish();
    }

    /// Asks for what can be known to be needed, long before it is.
    pub fn ask_ahead(&mut self, sender: &Sender<'_>, rules: &AuthRules, asking: &mut Asking<'_>) {
        self.judge_spf(sender, rules, asking);
        self.signatures.ask_ahead(asking);
        self.chain.ask_ahead(asking);
        if let Some(author) = self.found.author.as_ref().and_then(Author::domain)
            && rules.dmarc != DmarcUse::Off
        {
            // As if all would pass: then their organisations have to be known.
            let domain = Name::new(sender.domain()).filter(|_| rules.spf != SpfUse::Off);
            let spf = domain.as_ref().map(|domain| (domain, Identifier::Pass));
            let dkim: Vec<_> =
                self.signatures.domains().map(|domain| (domain.clone(), Identifier::Pass)).collect();
            let _ = dmarc::check(&dmarc::Facts { author, spf, dkim: &dkim }, asking);
        }
    }

    /// Finds out all that the rules want, once the mail data is over. None as long as answers are missing.
    pub fn judge(
        &mut self,
        sender: &Sender<'_>,
        rules: &AuthRules,
        asking: &mut Asking<'_>,
        keys: &mut Keys,
    ) -> Option<&Found> {
        debug_assert!(self.stage == Stage::Over, "the body has its hash at its end");
        let knows_spf = self.judge_spf(sender, rules, asking);
        if rules.dkim && self.found.dkim.is_none() {
            self.found.dkim = self.signatures.check(&self.bodies, asking, keys);
        }
        if rules.asks_sealers() && self.found.arc.is_none() {
            self.found.arc = self.chain.check(&self.bodies, asking, keys);
        }
        let knows_arc = !rules.asks_sealers() || self.found.arc.is_some();
        let knows_dkim = !rules.dkim || self.found.dkim.is_some();
        // What failed is looked for again, as long as something else is missing.
        let is_open = |outcome: &dmarc::Outcome| outcome.result == DmarcResult::TempError;
        if rules.dmarc != DmarcUse::Off && self.found.dmarc.as_ref().is_none_or(is_open) {
            let outcome = self.judge_dmarc(sender, asking);
            // Before all else is known this only asked ahead.
            self.found.dmarc = outcome.filter(|_| knows_spf && knows_dkim);
        }
        let author = self.found.author.as_ref().and_then(Author::domain);
        let knows_dmarc = rules.dmarc == DmarcUse::Off || self.found.dmarc.is_some() || author.is_none();
        (knows_spf && knows_dkim && knows_arc && knows_dmarc).then_some(&self.found)
    }

    /// What was found so far.
    pub fn found(&self) -> &Found {
        &self.found
    }

    fn judge_spf(&mut self, sender: &Sender<'_>, rules: &AuthRules, asking: &mut Asking<'_>) -> bool {
        if rules.spf == SpfUse::Off {
            return true;
        }
        let Found { spf_helo, spf_path, .. } = &mut self.found;
        // What failed is looked for again each time: the mail data may take minutes, in which answers come.
        let is_open = |outcome: &Option<spf::Outcome>| {
            outcome.as_ref().is_none_or(|outcome| outcome.result == SpfResult::TempError)
        };
        if is_open(spf_helo) {
            *spf_helo = sender.spf_of_ehlo(asking);
        }
        if !sender.reverse_path.is_empty() && is_open(spf_path) {
            *spf_path = sender.spf_of_path(asking);
        }
        spf_helo.is_some() && (sender.reverse_path.is_empty() || spf_path.is_some())
    }

    fn judge_dmarc(&self, sender: &Sender<'_>, asking: &mut Asking<'_>) -> Option<dmarc::Outcome> {
        let author = self.found.author.as_ref().and_then(Author::domain)?;
        let is_null = sender.reverse_path.is_empty();
        let spf = if is_null { &self.found.spf_helo } else { &self.found.spf_path };
        let domain = Name::new(sender.domain());
        let spf = spf.as_ref().and_then(|outcome| match outcome.result {
            SpfResult::Pass => Some(Identifier::Pass),
            SpfResult::TempError => Some(Identifier::TempError),
            SpfResult::None
            | SpfResult::Neutral
            | SpfResult::Fail
            | SpfResult::SoftFail
            | SpfResult::PermError => None,
        });
        let signatures = self.found.dkim.iter().flatten().filter_map(|found| {
            let identifier = match found.result {
                DkimResult::Pass => Identifier::Pass,
                DkimResult::TempError => Identifier::TempError,
                DkimResult::Fail | DkimResult::Policy | DkimResult::PermError => return None,
            };
            Some((found.domain.clone()?, identifier))
        });
        let dkim: Vec<_> = signatures.collect();
        dmarc::check(&dmarc::Facts { author, spf: domain.as_ref().zip(spf), dkim: &dkim }, asking)
    }
}

impl Default for MessageCheck {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
