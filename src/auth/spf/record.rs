//! The SPF record: its text, read whole before any term of it is looked at (RFC 7208 §4.6, §12).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::SpfResult;
use super::expand::macro_end;

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) directives: Vec<Directive<'a>>,
    pub(super) redirect: Option<&'a [u8]>,
    pub(super) explanation: Option<&'a [u8]>,
}

/// A mechanism with what it means when it matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directive<'a> {
    /// As it was written, with its qualifier.
    pub(super) text: &'a [u8],
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism<'a>,
}

/// A domain-spec where one is given.
pub(super) type Target<'a> = Option<&'a [u8]>;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mechanism<'a> {
    All,
    Include(&'a [u8]),
    A(Target<'a>, Prefixes),
    Mx(Target<'a>, Prefixes),
    Ptr(Target<'a>),
    Ip4(Ipv4Addr, u32),
    Ip6(Ipv6Addr, u32),
    Exists(&'a [u8]),
}

/// `/24//64`: how much of an address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// `<= 32`.
    pub(super) v4: u32,
    /// `<= 128`.
    pub(super) v6: u32,
}

/// Whether a text is an SPF record: it begins with the version, and nothing is glued to that (§4.5).
pub(super) fn is_record(text: &[u8]) -> bool {
    text.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1"))
        && text.get(6).is_none_or(|next| *next == b' ')
}

impl<'a> Record<'a> {
    /// Reads a text that [`is_record`]; the error is the term that is none.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, &'a [u8]> {
        let mut record = Self { directives: Vec::new(), redirect: None, explanation: None };
        let terms = text.get(6..).unwrap_or_default().split(|octet| *octet == b' ');
        for term in terms.filter(|term| !term.is_empty()) {
            record.add(term).ok_or(term)?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &'a [u8]) -> Option<()> {
        let name_end = term.iter().position(|octet| !is_name_octet(*octet)).unwrap_or(term.len());
        if term.get(name_end) == Some(&b'=') {
            let (name, value) = (term.get(..name_end)?, term.get(name_end + 1..)?);
            return self.add_modifier(name, value);
        }
        let directive = directive(term)?;
        self.directives.push(directive);
        Some(())
    }

    fn add_modifier(&mut self, name: &[u8], value: &'a [u8]) -> Option<()> {
        if !name.first()?.is_ascii_alphabetic() {
            return None;
        }
        let place = match name {
            name if name.eq_ignore_ascii_case(b"redirect") => &mut self.redirect,
            name if name.eq_ignore_ascii_case(b"exp") => &mut self.explanation,
            // Nobody knows it, but it has to be a macro-string.
            _ => return is_macro_string(value).then_some(()),
        };
        if place.is_some() || !is_domain_spec(value) {
            return None;
        }
        *place = Some(value);
        Some(())
    }
}

/// Octets of the names of mechanisms and modifiers after the first one.
fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.')
}

fn directive(term: &[u8]) -> Option<Directive<'_>> {
    let (result, rest) = match term.split_first()? {
        (b'+', rest) => (SpfResult::Pass, rest),
        (b'-', rest) => (SpfResult::Fail, rest),
        (b'~', rest) => (SpfResult::SoftFail, rest),
        (b'?', rest) => (SpfResult::Neutral, rest),
        _ => (SpfResult::Pass, term),
    };
    let name_end = rest.iter().position(|octet| matches!(octet, b':' | b'/')).unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(name_end)?;
    let named = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let mechanism = if named("all") {
        rest.is_empty().then_some(Mechanism::All)?
    } else if named("include") {
        Mechanism::Include(domain_spec(rest)?)
    } else if named("exists") {
        Mechanism::Exists(domain_spec(rest)?)
    } else if named("a") {
        let (target, prefixes) = target_and_prefixes(rest)?;
        Mechanism::A(target, prefixes)
    } else if named("mx") {
        let (target, prefixes) = target_and_prefixes(rest)?;
        Mechanism::Mx(target, prefixes)
    } else if named("ptr") {
        Mechanism::Ptr(if rest.is_empty() { None } else { Some(domain_spec(rest)?) })
    } else if named("ip4") {
        let (address, prefix) = network(rest)?;
        Mechanism::Ip4(address, prefix.map_or(Some(32), |digits| number(digits, 32))?)
    } else if named("ip6") {
        let (address, prefix) = network(rest)?;
        Mechanism::Ip6(address, prefix.map_or(Some(128), |digits| number(digits, 128))?)
    } else {
        return None;
    };
    Some(Directive { text: term, result, mechanism })
}

/// `:domain-spec`, whole.
fn domain_spec(rest: &[u8]) -> Option<&[u8]> {
    rest.strip_prefix(b":").filter(|spec| is_domain_spec(spec))
}

/// `[:domain-spec][/24][//64]`.
fn target_and_prefixes(rest: &[u8]) -> Option<(Target<'_>, Prefixes)> {
    let (before, prefixes) = split_prefixes(rest)?;
    let target = if before.is_empty() { None } else { Some(domain_spec(before)?) };
    Some((target, prefixes))
}

/// What stands before the lengths of prefixes, and these. They are the end of a term; a slash before them is
/// an octet of the name as any other.
fn split_prefixes(rest: &[u8]) -> Option<(&[u8], Prefixes)> {
    let (rest, v6) = split_length(rest, b"//");
    let (rest, v4) = split_length(rest, b"/");
    let v6 = v6.map_or(Some(128), |digits| number(digits, 128))?;
    let v4 = v4.map_or(Some(32), |digits| number(digits, 32))?;
    Some((rest, Prefixes { v4, v6 }))
}

/// The digits at the end, where these slashes stand before them.
fn split_length<'a>(rest: &'a [u8], slashes: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    let start = rest.iter().rposition(|octet| !octet.is_ascii_digit()).map_or(0, |at| at + 1);
    match rest.split_at_checked(start) {
        Some((before, digits)) => match before.strip_suffix(slashes) {
            Some(before) => (before, Some(digits)),
            None => (rest, None),
        },
        None => (rest, None),
    }
}

/// `:address[/length]`.
fn network<A: std::str::FromStr>(rest: &[u8]) -> Option<(A, Option<&[u8]>)> {
    let text = rest.strip_prefix(b":")?;
    let (address, length) = match text.iter().position(|octet| *octet == b'/') {
        Some(slash) => (text.get(..slash)?, Some(text.get(slash + 1..)?)),
        None => (text, None),
    };
    Some((std::str::from_utf8(address).ok()?.parse().ok()?, length))
}

/// A number without leading zeros.
fn number(digits: &[u8], max: u32) -> Option<u32> {
    let is_number = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first()? != &b'0');
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    (number <= max).then_some(number)
}

/// A macro-string that ends with a macro-expand or with a top label (§7.1), which is no number.
fn is_domain_spec(spec: &[u8]) -> bool {
    // These have a meaning in explanations only (§7.2).
    let is_for_explanations = |letter| matches!(letter, b'c' | b'r' | b't');
    let Some(macros_end) = macros_end(spec).filter(|_| !spec.is_empty()) else { return false };
    if super::expand::letters(spec).any(is_for_explanations) {
        return false;
    }
    // `%%`, `%_` and `%-` are macro-expands as `%{d}` is.
    if macros_end == spec.len() {
        return true;
    }
    let literal = spec.get(macros_end..).unwrap_or_default();
    let literal = literal.strip_suffix(b".").unwrap_or(literal);
    let dot = literal.iter().rposition(|octet| *octet == b'.');
    dot.is_some_and(|dot| is_top_label(literal.get(dot + 1..).unwrap_or_default()))
}

/// Letters, digits and hyphens within, and not digits alone.
fn is_top_label(label: &[u8]) -> bool {
    let inner = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let ends = [label.first(), label.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && label.iter().all(inner)
        && !label.iter().all(u8::is_ascii_digit)
}

/// Visible ASCII, in which each `%` begins a macro (§7.1).
pub(super) fn is_macro_string(text: &[u8]) -> bool {
    macros_end(text).is_some()
}

/// Where the last macro of a macro-string ends, 0 where it has no macro; none of what is no macro-string.
fn macros_end(text: &[u8]) -> Option<usize> {
    let (mut end, mut rest) = (0, text);
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b'%' => {
                let after = after.get(macro_end(after)?..)?;
                end = text.len() - after.len();
                after
            }
            b'!'..=b'~' => after,
            _ => return None,
        };
    }
    Some(end)
}
