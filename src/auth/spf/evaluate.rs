//! The evaluation: `check_host()` of RFC 7208 §4.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::record::{Directive, Mechanism, Prefixes, Record, is_record};
use super::{NAMES_MAX, Outcome, Problem, Sender, SpfResult, TERMS_MAX, VOID_TERMS_MAX, expand};
use crate::dns::name::NAME_BYTES_MAX;
use crate::dns::{Answer, Asking, Kind, Name, Question, Records};

/// Octets of a record: nobody needs more (§3.4 asks for fewer), and each is read many times.
const RECORD_BYTES_MAX: usize = 4096;

/// Octets from the right of what macros become that are kept: a name is cut from the left.
const TARGET_BYTES_KEPT: usize = 4 * NAME_BYTES_MAX;

/// Octets of a term that are shown.
const SHOWN_BYTES_MAX: usize = 100;

/// Checks whether the domain of the identity says that the client may send. None as long as answers are
/// missing.
pub fn check(sender: &Sender<'_>, asking: &mut Asking<'_>) -> Option<Outcome> {
    let sender = Sender {
        client: sender.client.to_canonical(),
        local_part: if sender.local_part.is_empty() { b"postmaster" } else { sender.local_part },
        ..*sender
    };
    let mut evaluation = Evaluation { sender, asking, terms: 0, void_terms: 0 };
    // A domain of one label is none (§4.3).
    let domain = Name::new(sender.domain).filter(|domain| domain.octets().contains(&b'.'));
    let Some(domain) = domain else { return Some(Outcome::of(SpfResult::None)) };
    let explains = sender.explains;
    match evaluation.check_host(&domain, explains) {
        Ok(outcome) => Some(outcome),
        Err(Stop::Missing) => None,
        Err(Stop::Temporary(name)) => Some(Outcome::error(SpfResult::TempError, Problem::NoAnswer(name))),
        Err(Stop::Permanent(problem)) => Some(Outcome::error(SpfResult::PermError, problem)),
    }
}

impl Outcome {
    /// Nobody says anything.
    pub fn none() -> Self {
        Self::of(SpfResult::None)
    }

    fn of(result: SpfResult) -> Self {
        Self { result, mechanism: None, problem: None, explanation: None }
    }

    fn error(result: SpfResult, problem: Problem) -> Self {
        Self { problem: Some(problem), ..Self::of(result) }
    }
}

/// Why an evaluation cannot go on.
enum Stop {
    /// An answer is not there yet.
    Missing,
    /// The DNS did not answer for this name.
    Temporary(Name),
    /// The domain's words cannot be followed.
    Permanent(Problem),
}

struct Evaluation<'e, 'a> {
    sender: Sender<'e>,
    asking: &'e mut Asking<'a>,
    /// Terms that asked the DNS, `<= TERMS_MAX`.
    terms: u32,
    /// Terms whose name had no records, `<= VOID_TERMS_MAX`.
    void_terms: u32,
}

impl Evaluation<'_, '_> {
    /// What a domain says. `explains`: what it says to a fail is of interest.
    fn check_host(&mut self, domain: &Name, explains: bool) -> Result<Outcome, Stop> {
        let answer = self.ask(Kind::Txt, domain)?;
        let mut records = answer.texts().iter().filter(|text| is_record(text));
        let Some(text) = records.next() else { return Ok(Outcome::of(SpfResult::None)) };
        if records.next().is_some() {
            return Err(Stop::Permanent(Problem::TwoRecords(domain.clone())));
        }
        if text.len() > RECORD_BYTES_MAX {
            return Err(Stop::Permanent(Problem::TooLong(domain.clone())));
        }
        let record = Record::parse(text).map_err(|term| Stop::Permanent(Problem::Syntax(shown(term))))?;
        self.ask_ahead(&record, domain);
        for directive in &record.directives {
            if self.matches(directive, domain)? {
                let explanation = match (directive.result, record.explanation) {
                    (SpfResult::Fail, Some(spec)) if explains => self.explain(spec, domain)?,
                    _ => None,
                };
                let mechanism = Some(shown(directive.text));
                return Ok(Outcome { mechanism, explanation, ..Outcome::of(directive.result) });
            }
        }
        match record.redirect {
            Some(spec) => self.redirect(spec, domain, explains),
            // Nothing matched (§4.7).
            None => Ok(Outcome::of(SpfResult::Neutral)),
        }
    }

    /// Has all includes of a record asked for at once. It only notes questions: what counts is counted when
    /// its turn comes.
    fn ask_ahead(&mut self, record: &Record<'_>, domain: &Name) {
        let targets = record.directives.iter().filter_map(|directive| match directive.mechanism {
            Mechanism::Include(spec) => Some(spec),
            _ => None,
        });
        // No more than the limit lets anybody ask.
        let left = usize::try_from(TERMS_MAX.saturating_sub(self.terms)).unwrap_or(0);
        for spec in targets.take(left) {
            if expand::letters(spec).all(|letter| letter != b'p')
                && let Ok(Some(name)) = self.target(spec, domain)
            {
                let _ = self.asking.ask(&Question::new(Kind::Txt, name));
            }
        }
    }

    fn redirect(&mut self, spec: &[u8], domain: &Name, explains: bool) -> Result<Outcome, Stop> {
        self.count_term()?;
        let no_record = || Stop::Permanent(Problem::NoRecord(shown(spec)));
        let target = self.target(spec, domain)?.ok_or_else(no_record)?;
        let outcome = self.check_host(&target, explains)?;
        if outcome.result == SpfResult::None { Err(no_record()) } else { Ok(outcome) }
    }

    fn matches(&mut self, directive: &Directive<'_>, domain: &Name) -> Result<bool, Stop> {
        let client = self.sender.client;
        match directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, length) => {
                Ok(matches!(client, IpAddr::V4(client) if same_v4(client, network, length)))
            }
            Mechanism::Ip6(network, length) => {
                Ok(matches!(client, IpAddr::V6(client) if same_v6(client, network, length)))
            }
            Mechanism::Include(spec) => self.include(directive.text, spec, domain),
            Mechanism::A(target, prefixes) => {
                self.count_term()?;
                let Some(name) = self.target_or(target, domain)? else { return Ok(false) };
                let answer = self.ask(self.address_kind(), &name)?;
                self.count_if_void(&answer)?;
                Ok(self.holds_client(&answer, prefixes))
            }
            Mechanism::Mx(target, prefixes) => {
                self.count_term()?;
                let Some(name) = self.target_or(target, domain)? else { return Ok(false) };
                self.mx(&name, prefixes)
            }
            Mechanism::Ptr(target) => {
                self.count_term()?;
                let Some(name) = self.target_or(target, domain)? else { return Ok(false) };
                let names = self.names_of_client(true)?;
                Ok(names.iter().any(|one| is_or_is_below(one, &name)))
            }
            Mechanism::Exists(spec) => {
                self.count_term()?;
                let Some(name) = self.target(spec, domain)? else { return Ok(false) };
                // A also where the client has an IPv6 address (§5.7).
                let answer = self.ask(Kind::A, &name)?;
                self.count_if_void(&answer)?;
                Ok(!answer.v4().is_empty())
            }
        }
    }

    fn include(&mut self, text: &[u8], spec: &[u8], domain: &Name) -> Result<bool, Stop> {
        self.count_term()?;
        let no_record = || Stop::Permanent(Problem::NoRecord(shown(text)));
        let target = self.target(spec, domain)?.ok_or_else(no_record)?;
        match self.check_host(&target, false)?.result {
            SpfResult::Pass => Ok(true),
            SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(false),
            SpfResult::None => Err(no_record()),
            SpfResult::TempError | SpfResult::PermError => unreachable!("errors stop the evaluation"),
        }
    }

    fn mx(&mut self, name: &Name, prefixes: Prefixes) -> Result<bool, Stop> {
        let answer = self.ask(Kind::Mx, name)?;
        self.count_if_void(&answer)?;
        let Answer::Records(Records::Mx(exchangers)) = &*answer else { return Ok(false) };
        if exchangers.len() > NAMES_MAX {
            return Err(Stop::Permanent(Problem::TooManyExchangers(name.clone())));
        }
        // In the order of preference (§5.4): as they come, one that fails would decide at one time and not at
        // another.
        let mut exchangers: Vec<&(u16, Option<Name>)> = exchangers.iter().collect();
        exchangers.sort();
        let kind = self.address_kind();
        let names = exchangers.into_iter().filter_map(|(_, exchanger)| exchanger.clone());
        let questions: Vec<_> = names.map(|exchanger| Question::new(kind, exchanger)).collect();
        // All are asked for at once; the first that matches decides.
        let answers: Vec<_> = questions.iter().map(|question| self.asking.ask(question)).collect();
        for (question, answer) in questions.iter().zip(answers) {
            let answer = usable(question, answer)?;
            if self.holds_client(&answer, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Names of the client that lead back to its address, at most [`NAMES_MAX`] are looked at. An answer that
    /// does not come counts as none (§5.5). `counts`: the look is a term's, and void where there is no name.
    fn names_of_client(&mut self, counts: bool) -> Result<Vec<Name>, Stop> {
        let client = self.sender.client;
        let question = Question::new(Kind::Ptr, Name::reverse(client));
        let answer = self.asking.ask(&question).ok_or(Stop::Missing)?;
        if counts {
            self.count_if_void(&answer)?;
        }
        let Answer::Records(Records::Ptr(names)) = &*answer else { return Ok(Vec::new()) };
        let kind = self.address_kind();
        let names: Vec<&Name> = names.iter().take(NAMES_MAX).collect();
        let answers: Vec<_> =
            names.iter().map(|name| self.asking.ask(&Question::new(kind, (*name).clone()))).collect();
        let mut confirmed = Vec::new();
        for (name, answer) in names.into_iter().zip(answers) {
            let answer = answer.ok_or(Stop::Missing)?;
            if self.holds_client(&answer, Prefixes { v4: 32, v6: 128 }) {
                confirmed.push(name.clone());
            }
        }
        Ok(confirmed)
    }

    fn explain(&mut self, spec: &[u8], domain: &Name) -> Result<Option<Box<str>>, Stop> {
        let Some(name) = self.target(spec, domain)? else { return Ok(None) };
        // What goes wrong here changes no result (§6.2).
        let answer = self.asking.ask(&Question::new(Kind::Txt, name)).ok_or(Stop::Missing)?;
        let [text] = answer.texts() else { return Ok(None) };
        // Blanks are allowed here beside a macro-string.
        if !text.split(|octet| *octet == b' ').all(super::record::is_macro_string) {
            return Ok(None);
        }
        let Some(expanded) = self.expand(text, domain, usize::MAX)? else { return Ok(None) };
        let is_clean = expanded.iter().all(|octet| matches!(octet, b' '..=b'~'));
        Ok(String::from_utf8(expanded).ok().filter(|_| is_clean).map(String::into_boxed_str))
    }

    /// The name that a domain-spec means, or the domain itself.
    fn target_or(&mut self, spec: Option<&[u8]>, domain: &Name) -> Result<Option<Name>, Stop> {
        match spec {
            Some(spec) => self.target(spec, domain),
            None => Ok(Some(domain.clone())),
        }
    }

    /// The name that a domain-spec means; none where that is no name.
    fn target(&mut self, spec: &[u8], domain: &Name) -> Result<Option<Name>, Stop> {
        let Some(expanded) = self.expand(spec, domain, TARGET_BYTES_KEPT)? else { return Ok(None) };
        let mut text = expanded.strip_suffix(b".").unwrap_or(&expanded);
        // Cut from the left by whole labels (§7.3).
        while text.len() > NAME_BYTES_MAX {
            let Some(dot) = text.iter().position(|octet| *octet == b'.') else { return Ok(None) };
            text = text.get(dot + 1..).unwrap_or_default();
        }
        Ok(Name::new(text))
    }

    /// The text with values for macros, of which as many octets from the right are of interest. None where a
    /// value may not stand there.
    fn expand(&mut self, text: &[u8], domain: &Name, kept: usize) -> Result<Option<Vec<u8>>, Stop> {
        let sender = self.sender;
        let letters: Vec<u8> = expand::letters(text).collect();
        // A local-part that is not ASCII matches nothing (RFC 8616 §4).
        if letters.iter().any(|letter| matches!(letter, b'l' | b's')) && !sender.local_part.is_ascii() {
            return Ok(None);
        }
        let name = if letters.contains(&b'p') { self.name_of_client(domain)? } else { Vec::new() };
        Ok(expand::expand(text, kept, |letter| Some(value(letter, &sender, domain, &name))))
    }

    /// `%{p}`: a name of the client that leads back: the domain itself, or one below it, or any; `unknown`
    /// where there is none (§7.3).
    fn name_of_client(&mut self, domain: &Name) -> Result<Vec<u8>, Stop> {
        let names = self.names_of_client(false)?;
        let best = names.iter().find(|name| *name == domain);
        let best = best.or_else(|| names.iter().find(|name| is_or_is_below(name, domain)));
        Ok(best.or(names.first()).map_or_else(|| b"unknown".to_vec(), |name| name.octets().to_vec()))
    }

    fn address_kind(&self) -> Kind {
        if self.sender.client.is_ipv4() { Kind::A } else { Kind::Aaaa }
    }

    fn holds_client(&self, answer: &Answer, prefixes: Prefixes) -> bool {
        match self.sender.client {
            IpAddr::V4(client) => answer.v4().iter().any(|one| same_v4(client, *one, prefixes.v4)),
            IpAddr::V6(client) => answer.v6().iter().any(|one| same_v6(client, *one, prefixes.v6)),
        }
    }

    fn ask(&mut self, kind: Kind, name: &Name) -> Result<Arc<Answer>, Stop> {
        let question = Question::new(kind, name.clone());
        let answer = self.asking.ask(&question);
        usable(&question, answer)
    }

    fn count_term(&mut self) -> Result<(), Stop> {
        if self.terms == TERMS_MAX {
            return Err(Stop::Permanent(Problem::TooManyTerms));
        }
        self.terms += 1;
        Ok(())
    }

    fn count_if_void(&mut self, answer: &Answer) -> Result<(), Stop> {
        if matches!(answer, Answer::NoName | Answer::NoRecords) {
            if self.void_terms == VOID_TERMS_MAX {
                return Err(Stop::Permanent(Problem::TooManyVoidTerms));
            }
            self.void_terms += 1;
        }
        Ok(())
    }
}

/// An answer that is there and none of a failure.
fn usable(question: &Question, answer: Option<Arc<Answer>>) -> Result<Arc<Answer>, Stop> {
    match answer {
        None => Err(Stop::Missing),
        Some(answer) if matches!(*answer, Answer::Failed(_)) => Err(Stop::Temporary(question.name.clone())),
        Some(answer) => Ok(answer),
    }
}

/// The value of a letter. `name` is that of `%{p}`.
fn value<'v>(letter: u8, sender: &Sender<'v>, domain: &'v Name, name: &'v [u8]) -> Cow<'v, [u8]> {
    let address = sender.client;
    match letter {
        b's' => Cow::Owned([sender.local_part, b"@", sender.domain].concat()),
        b'l' => Cow::Borrowed(sender.local_part),
        b'o' => Cow::Borrowed(sender.domain),
        b'd' => Cow::Borrowed(domain.octets()),
        b'i' => Cow::Owned(dotted(address).into_bytes()),
        b'p' => Cow::Borrowed(name),
        b'v' => Cow::Borrowed(if address.is_ipv4() { b"in-addr" } else { b"ip6" }),
        b'h' => Cow::Borrowed(sender.helo),
        b'c' => Cow::Owned(address.to_string().into_bytes()),
        b'r' => Cow::Borrowed(sender.receiver.as_bytes()),
        b't' => Cow::Owned(sender.now.to_string().into_bytes()),
        _ => unreachable!("a macro has one of these letters"),
    }
}

/// `%{i}`: the address with dots between its octets or nibbles.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let digits: Vec<String> =
                format!("{:032x}", address.to_bits()).chars().map(String::from).collect();
            digits.join(".")
        }
    }
}

fn same_v4(one: Ipv4Addr, other: Ipv4Addr, length: u32) -> bool {
    let different = one.to_bits() ^ other.to_bits();
    different.checked_shr(32 - length).unwrap_or(0) == 0
}

fn same_v6(one: Ipv6Addr, other: Ipv6Addr, length: u32) -> bool {
    let different = one.to_bits() ^ other.to_bits();
    different.checked_shr(128 - length).unwrap_or(0) == 0
}

fn is_or_is_below(name: &Name, above: &Name) -> bool {
    let rest = name.octets().strip_suffix(above.octets());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
}

/// What came from outside, for people.
fn shown(text: &[u8]) -> Box<str> {
    match text.get(..SHOWN_BYTES_MAX) {
        Some(start) if start.len() < text.len() => format!("{}...", start.escape_ascii()).into(),
        Some(_) | None => text.escape_ascii().to_string().into(),
    }
}
