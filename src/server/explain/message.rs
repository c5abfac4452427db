//! What would become of a message: who vouches for it, and what the answer to its end would be.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use super::filters::{self, Filtered, Shown};
use super::{Explanation, Supposed, deadline};
use crate::auth::dkim::keys::Keys;
use crate::auth::header::Header;
use crate::auth::message::{MessageCheck, Piece};
use crate::auth::report;
use crate::auth::rules::AuthRules;
use crate::auth::sender::Sender;
use crate::auth::verdict::{Circumstances, ReverseLookup, Verdict, decide};
use crate::escape::Json;
use crate::front::checks::Greylisting;
use crate::front::reverse_dns::ReverseDns;
use crate::front::score::Score;
use crate::handoff::station::Passage;
use crate::mail::envelope::Envelope;
use crate::shard::front_line::denial_of_message;
use crate::smtp::denial::Denial;
use crate::smtp::session::Session;
use crate::smtp::trace::Beginning;
use crate::timestamp;

/// Answers for a message that are not there by then have failed, as with a server.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What was found of a client and a message.
struct Judged {
    check: MessageCheck,
    verdict: Verdict,
    /// Our field; none where nothing is checked.
    field: Option<String>,
    reverse_name: Option<String>,
    score: Score,
    /// What content filters say, where they are asked.
    filtered: Filtered,
    /// The last word.
    reply: String,
}

impl Explanation<'_> {
    /// Says what becomes of the message.
    pub(super) fn explain_message(&mut self) {
        let judged = self.judge();
        let found = judged.check.found();
        if self.auth.is_none() {
            self.note("auth", "no [auth] in the configuration: nobody is asked who vouches for a message");
        }
        let of_spf =
            [("SPF of the reverse-path", &found.spf_path), ("SPF of the client's name", &found.spf_helo)];
        for (what, outcome) in of_spf {
            if let Some(outcome) = outcome {
                let mechanism = outcome.mechanism.as_ref().map(|mechanism| format!(", by {mechanism}"));
                let problem = outcome.problem.as_ref().map(|problem| format!(": {problem}"));
                let more = mechanism.or(problem).unwrap_or_default();
                self.note(what, &format!("{}{more}", outcome.result.word()));
            }
        }
        for signature in found.dkim.iter().flatten() {
            let problem = signature.problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            self.note("signature", &format!("{signature}{problem}"));
        }
        if let Some(arc) = &found.arc {
            let sealers: Vec<String> = arc.sealers.iter().map(ToString::to_string).collect();
            let problem = arc.problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            self.note("ARC", &format!("{}{problem}; sealed by {}", arc.result.word(), sealers.join(", ")));
        }
        if let Some(author) = &found.author {
            let domains: Vec<String> = author.domains.iter().map(ToString::to_string).collect();
            let problem = author.problem.map(|problem| format!("; {problem}")).unwrap_or_default();
            self.note("author", &format!("{}{problem}", domains.join(", ")));
        }
        if let Some(outcome) = &found.dmarc {
            let policy = match &outcome.policy_domain {
                Some(domain) => format!(", {domain} asks for {}", outcome.policy.word()),
                None => String::new(),
            };
            let because = judged.verdict.because.map(|because| format!(" ({})", because.word()));
            let applied =
                format!(", applied: {}{}", judged.verdict.applied.word(), because.unwrap_or_default());
            self.note("DMARC", &format!("{}{policy}{applied}", outcome.result.word()));
        }
        if let Some(field) = &judged.field {
            self.note("Authentication-Results", field);
        }
        for (filter, text) in &judged.filtered.notes {
            self.note(&format!("filter {filter}"), text);
        }
        if self.takes_somebody {
            // Writing to a String cannot fail.
            let _ = writeln!(self.said, "  C: (the message)\n  S: {}", judged.reply);
        }
    }

    /// All of it as one JSON object.
    pub(super) fn json(mut self) -> String {
        let judged = self.judge();
        let client = self.session.client().ip();
        let class = match (self.is_trusted, judged.score.is_suspicious(), self.supposed.is_proven) {
            (true, _, _) => "trusted",
            (false, true, _) => "suspicious",
            (false, false, true) => "proven",
            (false, false, false) => "unknown",
        };
        let name = judged.reverse_name.map_or("null".to_owned(), |name| Json(name.as_bytes()).to_string());
        let reasons: Vec<String> = judged
            .score
            .reasons()
            .iter()
            .map(|reason| {
                format!("{{\"name\":{},\"weight\":{}}}", Json(reason.name.as_bytes()), reason.weight)
            })
            .collect();
        let mut text = format!(
            "{{\"client\":{{\"address\":\"{client}\",\"class\":\"{class}\",\"reverse_name\":{name},\"score\":{},\"reasons\":[{}]}},",
            judged.score.total(),
            reasons.join(",")
        );
        let sender = sender_of(&self.session, self.supposed);
        report::members(&sender, judged.check.found(), judged.verdict, &mut text);
        let field = judged.field.map_or("null".to_owned(), |field| Json(field.as_bytes()).to_string());
        let filters = match &*judged.filtered.found {
            "" => String::new(),
            found => format!(",\"filters\":[{found}]"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            ",\"authentication_results\":{field}{filters},\"reply\":{}}}",
            Json(judged.reply.as_bytes())
        );
        text
    }

    fn judge(&mut self) -> Judged {
        self.is_trusted |= self.ruling.as_ref().is_some_and(|ruling| ruling.trusts_client);
        let (client, now) = (self.session.client().ip(), Instant::now());
        let (checks, mut news) = (self.checks, Vec::new());
        let (mut reverse_lookup, mut reverse_name, mut score) = (None, None, Score::default());
        if !self.is_trusted {
            let found = self.dns.run(deadline(), |asking| checks.score(client, asking, now, &mut news));
            score = found.unwrap_or_default();
            if checks.uses_reverse_names() {
                (reverse_lookup, reverse_name) = match self
                    .dns
                    .run(deadline(), |asking| checks.look_back(client, asking))
                {
                    Some(ReverseDns::Confirmed(name)) => (Some(ReverseLookup::Pass), Some(name.to_string())),
                    Some(ReverseDns::None) => (Some(ReverseLookup::Fail), None),
                    Some(ReverseDns::Failed) | None => (None, None),
                };
            }
        }
        let nothing = AuthRules::nothing();
        let for_trusted = self.auth.map(AuthRules::for_trusted);
        let rules = match (self.auth, &for_trusted, self.is_trusted) {
            (Some(_), Some(for_trusted), true) => for_trusted,
            (Some(rules), _, _) => rules,
            (None, _, _) => &nothing,
        };
        let sender = sender_of(&self.session, self.supposed);
        let (mut check, is_too_long) = read(self.supposed.message.as_deref(), rules, sender.now);
        let mut keys = Keys::default();
        let until = Instant::now() + WAIT_MAX;
        self.dns.run(until, |asking| check.judge(&sender, rules, asking, &mut keys).map(|_| ()));
        let circumstances = Circumstances {
            is_listed: score.is_suspicious(),
            reverse_lookup,
            is_proven: self.supposed.is_proven,
        };
        let has_verdict = self.auth.is_some() && !self.is_trusted && self.supposed.message.is_some();
        let verdict =
            if has_verdict { decide(check.found(), rules, circumstances) } else { Verdict::default() };
        let mut field = Vec::new();
        if self.auth.is_some() {
            report::field(rules, &sender, check.found(), reverse_lookup, verdict.applied, &mut field);
        }
        let reply = match verdict.refusal.map(denial_of_message) {
            _ if !self.takes_somebody => self.last.clone(),
            _ if is_too_long && self.auth.is_some() => self.session.wording_of(Denial::HEADER_TOO_LARGE),
            Some(denial) => self.session.wording_of(denial),
            None => "250 2.0.0 Ok".to_owned(),
        };
        let mut filtered = Filtered::default();
        let is_taken = self.takes_somebody && reply.starts_with("250");
        if let Some(message) = self.supposed.message.as_deref().filter(|_| is_taken) {
            filtered = self.ask_filters(message, &field, reverse_name.as_deref());
        }
        let reply = match &filtered.passage {
            Some(Passage::Refused(_, words)) => words.to_string(),
            Some(Passage::Greylisted) if self.config.front.rules.greylisting != Greylisting::Off => {
                self.session.wording_of(Denial::GREYLISTED)
            }
            Some(Passage::Unanswered) => self.session.wording_of(Denial::FILTER_UNKNOWN),
            Some(
                Passage::GoesOn
                | Passage::Greylisted
                | Passage::Delivered
                | Passage::Discarded
                | Passage::PutOff(_)
                | Passage::TooLarge,
            )
            | None => reply,
        };
        let field = self.auth.is_some().then(|| value_of(&field));
        Judged { check, verdict, field, reverse_name, score, filtered, reply }
    }

    fn ask_filters(&self, message: &[u8], field: &[u8], reverse_name: Option<&str>) -> Filtered {
        if self.config.filters.is_empty() {
            return Filtered::default();
        }
        let sender = sender_of(&self.session, self.supposed);
        let mut envelope = Envelope::default();
        envelope.write_reverse_path(|text| text.extend_from_slice(sender.reverse_path));
        for recipient in &self.supposed.recipients {
            envelope.push_whole_recipient(recipient.as_bytes());
        }
        let shown = Shown {
            client: self.session.client(),
            ehlo: sender.ehlo,
            envelope,
            reverse_name,
            field,
            is_trusted: self.is_trusted,
            octets: &with_crlf(message),
        };
        let failed = |why| Filtered { notes: vec![("all".to_owned(), why)], ..Filtered::default() };
        filters::ask(self.config, &shown).unwrap_or_else(failed)
    }
}

/// As the session has it; one that never came to MAIL has what would have been said.
fn sender_of<'a>(session: &'a Session, supposed: &'a Supposed) -> Sender<'a> {
    let ehlo = session.ehlo_name();
    Sender {
        client: session.client().ip(),
        ehlo: if ehlo.is_empty() { supposed.ehlo.as_bytes() } else { ehlo },
        reverse_path: session.reverse_path().unwrap_or(supposed.reverse_path.as_bytes()),
        hostname: &session.settings().hostname,
        now: timestamp::seconds(SystemTime::now()),
    }
}

/// A message, read to its end, and whether its header section is too long. One that is not given has nothing
/// that could be found.
fn read(message: Option<&[u8]>, rules: &AuthRules, now: u64) -> (MessageCheck, bool) {
    let mut check = MessageCheck::new();
    let octets = with_crlf(message.unwrap_or_default());
    let header_bytes = match check.look(&octets) {
        Piece::HeaderEnds(at) => at,
        Piece::Header | Piece::Body => octets.len(),
    };
    let (header, body) = octets.split_at_checked(header_bytes).unwrap_or((&octets, b""));
    let is_text = Beginning::of(std::iter::once(header)) == Beginning::Text;
    if message.is_some() {
        check.take_header(&Header::new(if is_text { b"" } else { header }), rules, now);
        check.take_body(body);
    }
    check.finish();
    let is_too_long = !is_text && check.header_bytes() > rules.header_bytes_max;
    (check, is_too_long)
}

/// Files of messages often have the line ends of this system. Those of SMTP stay.
fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(message.len() + message.len() / 32);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                octets.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                octets.extend_from_slice(b"\r\n");
            }
            None => octets.extend_from_slice(line),
        }
    }
    octets
}

/// The value of our field on one line.
fn value_of(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field).replace("\r\n\t", " ");
    let value = text.split_once(": ").map_or("", |(_, value)| value);
    value.trim_end().to_owned()
}
