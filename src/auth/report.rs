//! What was found, told: as an Authentication-Results field, and as JSON. Names and words of the JSON are
//! fixed, because programs rely on them; more may be added.

use std::fmt::Write as _;

use super::arc;
use super::author::Author;
use super::dkim::check::Found as Signature;
use super::dkim::signature::Algorithm;
use super::message::Found;
use super::results::{self, MethodResult};
use super::rules::AuthRules;
use super::sender::Sender;
use super::spf::{self, SpfResult};
use super::verdict::{Applied, ReverseLookup, Verdict};
use crate::dns::Name;
use crate::escape::Json;

/// Appends our field (RFC 8601), with its CRLF.
pub fn field(
    rules: &AuthRules,
    sender: &Sender<'_>,
    found: &Found,
    reverse: Option<ReverseLookup>,
    applied: Applied,
    out: &mut Vec<u8>,
) {
    let client = reverse.map(|_| sender.client.to_canonical().to_string()).unwrap_or_default();
    let author = found.author.as_ref().and_then(Author::domain);
    let problem = found.author.as_ref().and_then(|author| author.problem);
    let signatures = found.dkim.as_ref().map_or(0, Vec::len);
    let mut told = Vec::with_capacity(METHODS_MAX + signatures);
    if let Some(reverse) = reverse {
        let result = match reverse {
            ReverseLookup::Pass => "pass",
            ReverseLookup::Fail => "fail",
        };
        told.push(plain("iprev", result, Some(("policy.iprev", client.as_bytes()))));
    }
    if let Some(outcome) = &found.spf_path {
        // A local-part that is not ASCII has no form that all readers know.
        let path = if sender.reverse_path.is_ascii() { sender.reverse_path } else { sender.domain() };
        told.push(spf_result(outcome, ("smtp.mailfrom", path)));
    }
    if let Some(outcome) = &found.spf_helo {
        told.push(spf_result(outcome, ("smtp.helo", sender.ehlo)));
    }
    told.extend(found.dkim.iter().flatten().map(dkim_result));
    if let Some(dkim) = &found.dkim
        && dkim.is_empty()
    {
        told.push(plain("dkim", "none", None));
    }
    if let Some(outcome) = &found.arc {
        let comment = outcome.problem.as_ref().map(ToString::to_string);
        told.push(MethodResult { comment, ..plain("arc", outcome.result.word(), None) });
    }
    if let (Some(outcome), Some(author)) = (&found.dmarc, author) {
        let comment = outcome
            .policy_domain
            .is_some()
            .then(|| format!("p={} applied={}", outcome.policy.word(), applied.word()));
        let author = Some(("header.from", author.octets()));
        told.push(MethodResult { comment, ..plain("dmarc", outcome.result.word(), author) });
    } else if let (Some(problem), Some(result)) = (problem, found.dmarc_word()) {
        // Whoever goes by this field sees the mark here, and why.
        let comment = Some(format!("{problem}, applied={}", applied.word()));
        told.push(MethodResult { comment, ..plain("dmarc", result, None) });
    }
    results::write(&rules.authserv_id, &told, out);
}

fn plain<'a>(
    method: &'static str,
    result: &'static str,
    property: Option<(&'static str, &'a [u8])>,
) -> MethodResult<'a> {
    MethodResult { method, result, comment: None, properties: [property, None, None] }
}

fn spf_result<'a>(outcome: &spf::Outcome, property: (&'static str, &'a [u8])) -> MethodResult<'a> {
    plain("spf", outcome.result.word(), Some(property))
}

fn dkim_result(found: &Signature) -> MethodResult<'_> {
    let properties = [
        found.domain.as_ref().map(|domain| ("header.d", domain.octets())),
        found.selector.as_ref().map(|selector| ("header.s", selector.octets())),
        found.algorithm.map(|algorithm| ("header.a", algorithm.name().as_bytes())),
    ];
    let comment = match (found.problem, found.bits) {
        (Some(problem), _) => Some(problem.to_string()),
        // Those are weak, and whoever reads this may want to know.
        (None, Some(bits @ 1024..2048)) => Some(format!("{bits} bits")),
        (None, _) => None,
    };
    MethodResult { method: "dkim", result: found.result.word(), comment, properties }
}

/// Methods whose results are told once.
const METHODS_MAX: usize = 6;

/// Signatures that begin beyond so many octets are left out: every message has this object in memory.
const JSON_BYTES: usize = 3 * 1024;

/// Of several domains so many are told.
const DOMAINS_TOLD: usize = 4;

/// The version of the object that stores keep.
const VERSION: u32 = 1;

/// Appends all of it as a JSON object, as stores keep it.
pub fn json(sender: &Sender<'_>, found: &Found, verdict: Verdict, text: &mut String) {
    // What nearly all of them have.
    text.reserve(1024);
    push(text, format_args!("{{\"version\":{VERSION},"));
    members(sender, found, verdict, text);
    text.push('}');
}

/// The members `spf`, `dkim`, `arc`, `from` and `dmarc` of a JSON object.
pub fn members(sender: &Sender<'_>, found: &Found, verdict: Verdict, text: &mut String) {
    text.push_str("\"spf\":{\"helo\":");
    spf_object(found.spf_helo.as_ref(), sender.ehlo, text);
    text.push_str(",\"mailfrom\":");
    let of_path =
        found.spf_path.as_ref().or(found.spf_helo.as_ref().filter(|_| sender.reverse_path.is_empty()));
    spf_object(of_path, sender.domain(), text);
    text.push_str("},\"dkim\":[");
    for (index, signature) in found.dkim.iter().flatten().enumerate() {
        if text.len() > JSON_BYTES {
            break;
        }
        text.push_str(if index > 0 { "," } else { "" });
        dkim_object(signature, text);
    }
    text.push_str("],\"arc\":");
    arc_object(found.arc.as_ref(), text);
    text.push_str(",\"from\":{\"domains\":[");
    let author = found.author.as_ref();
    for (index, domain) in author.iter().flat_map(|author| &author.domains).take(DOMAINS_TOLD).enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        string(domain.octets(), text);
    }
    text.push_str("],\"problem\":");
    sentence(author.and_then(|author| author.problem), text);
    text.push_str("},\"dmarc\":");
    dmarc_object(found, verdict, text);
}

/// Writing to a String cannot fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

/// What is wrong, as a string; null where nothing is.
fn sentence(problem: Option<impl std::fmt::Display>, text: &mut String) {
    match problem {
        Some(problem) => string(problem.to_string().as_bytes(), text),
        None => text.push_str("null"),
    }
}

/// A JSON string; most need no escape.
fn string(octets: &[u8], text: &mut String) {
    let is_plain = |octet: &u8| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\');
    match std::str::from_utf8(octets).ok().filter(|_| octets.iter().all(is_plain)) {
        Some(plain) => {
            text.push('"');
            text.push_str(plain);
            text.push('"');
        }
        None => push(text, format_args!("{}", Json(octets))),
    }
}

/// A member whose value is a word of ours, or null.
fn member(name: &str, word: Option<&str>, text: &mut String) {
    text.push_str(name);
    match word {
        Some(word) => {
            text.push('"');
            text.push_str(word);
            text.push('"');
        }
        None => text.push_str("null"),
    }
}

fn name(name: Option<&Name>, text: &mut String) {
    match name {
        Some(name) => string(name.octets(), text),
        None => text.push_str("null"),
    }
}

fn spf_object(outcome: Option<&spf::Outcome>, domain: &[u8], text: &mut String) {
    let result = outcome.map_or(SpfResult::None, |outcome| outcome.result);
    member("{\"result\":", Some(result.word()), text);
    text.push_str(",\"domain\":");
    string(domain, text);
    text.push_str(",\"mechanism\":");
    match outcome.and_then(|outcome| outcome.mechanism.as_ref()) {
        Some(mechanism) => string(mechanism.as_bytes(), text),
        None => text.push_str("null"),
    }
    text.push_str(",\"problem\":");
    sentence(outcome.and_then(|outcome| outcome.problem.as_ref()), text);
    text.push('}');
}

fn dkim_object(found: &Signature, text: &mut String) {
    member("{\"result\":", Some(found.result.word()), text);
    text.push_str(",\"domain\":");
    name(found.domain.as_ref(), text);
    text.push_str(",\"selector\":");
    name(found.selector.as_ref(), text);
    member(",\"algorithm\":", found.algorithm.map(Algorithm::name), text);
    match found.bits {
        Some(bits) => push(text, format_args!(",\"bits\":{bits}")),
        None => text.push_str(",\"bits\":null"),
    }
    text.push_str(",\"problem\":");
    sentence(found.problem, text);
    text.push('}');
}

fn arc_object(outcome: Option<&arc::Outcome>, text: &mut String) {
    let result = outcome.map_or("none", |outcome| outcome.result.word());
    member("{\"result\":", Some(result), text);
    text.push_str(",\"sealers\":[");
    for (index, sealer) in outcome.iter().flat_map(|outcome| &outcome.sealers).take(DOMAINS_TOLD).enumerate()
    {
        text.push_str(if index > 0 { "," } else { "" });
        name(Some(sealer), text);
    }
    text.push_str("],\"problem\":");
    sentence(outcome.and_then(|outcome| outcome.problem.as_ref()), text);
    text.push('}');
}

fn dmarc_object(found: &Found, verdict: Verdict, text: &mut String) {
    let outcome = found.dmarc.as_ref();
    let result = found.dmarc_word().unwrap_or("none");
    member("{\"result\":", Some(result), text);
    text.push_str(",\"policy_domain\":");
    name(outcome.and_then(|outcome| outcome.policy_domain.as_ref()), text);
    let policy =
        outcome.filter(|outcome| outcome.policy_domain.is_some()).map(|outcome| outcome.policy.word());
    member(",\"policy\":", policy, text);
    member(",\"applied\":", Some(verdict.applied.word()), text);
    text.push_str(",\"aligned\":[");
    for (index, aligned) in outcome.iter().flat_map(|outcome| &outcome.aligned).enumerate() {
        member(if index > 0 { "," } else { "" }, Some(aligned.word()), text);
    }
    text.push_str("],\"problem\":");
    let unanswered = outcome.and_then(|outcome| outcome.unanswered.as_ref());
    sentence(unanswered.map(|name| format!("no answer for {name}")), text);
    member(",\"because\":", verdict.because.map(super::verdict::Because::word), text);
    text.push('}');
}

#[cfg(test)]
mod tests;
