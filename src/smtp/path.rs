//! Reverse-path, forward-path, mailbox, address literal (RFC 5321 §4.1.2, §4.1.3).
//!
//! Lenient where senders are sloppy (underscores, doubled dots, long local-parts, source routes), strict
//! where a path could be read in two ways. Nothing is copied but a domain with U-labels, which becomes
//! A-labels: a path borrows the command line.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits::{DOMAIN_BYTES_MAX, PATH_BYTES_MAX};
use crate::mail::a_label::to_a_labels;
use crate::mail::local_part::{is_bare, push_spelled};

/// The argument of MAIL or RCPT between its angle brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path<'a> {
    /// `<>`
    Null,
    /// `<postmaster>` in any case.
    Postmaster,
    /// A mailbox; a source route was stripped.
    Mailbox(PathMailbox<'a>),
}

/// A mailbox as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathMailbox<'a> {
    /// As sent, with quotes if it had them.
    pub(super) local_part: &'a [u8],
    /// Without a trailing dot; as sent, U-labels as A-labels.
    pub(super) domain: Cow<'a, [u8]>,
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathError {
    /// Not a path.
    Syntax,
    /// Non-ASCII in an address without SMTPUTF8, or not UTF-8 with it (RFC 6531 §3.5).
    NotAscii,
}

/// Reads a path from the start of `text`; gives it and what follows the closing bracket. With `utf8` it may
/// have UTF-8 in its mailbox (RFC 6531 §3.3).
pub(super) fn parse(text: &[u8], utf8: bool) -> Result<(Path<'_>, &[u8]), PathError> {
    let inside = text.strip_prefix(b"<").ok_or(PathError::Syntax)?;
    let end = closing_bracket(inside).ok_or(PathError::Syntax)?;
    let (inside, rest) = inside.split_at(end);
    let rest = rest.get(1..).unwrap_or_default();
    if inside.len() + "<>".len() > PATH_BYTES_MAX {
        return Err(PathError::Syntax);
    }
    let utf8 = utf8 && std::str::from_utf8(inside).is_ok();
    if inside.is_empty() {
        return Ok((Path::Null, rest));
    }
    if inside.eq_ignore_ascii_case(b"postmaster") {
        return Ok((Path::Postmaster, rest));
    }
    let mailbox = parse_mailbox(strip_source_route(inside, utf8)?, utf8)?;
    Ok((Path::Mailbox(mailbox), rest))
}

/// Where the bracket closes: not inside a quoted string.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, &octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index),
            b'<' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// `@one,@two:mailbox` is `mailbox` (§4.1.1.3: a server may ignore the route, and is told to).
fn strip_source_route(text: &[u8], utf8: bool) -> Result<&[u8], PathError> {
    if !text.starts_with(b"@") {
        return Ok(text);
    }
    let colon = memchr::memchr(b':', text).ok_or(PathError::Syntax)?;
    let (route, mailbox) = text.split_at(colon);
    for hop in route.split(|octet| *octet == b',') {
        check_domain(hop.strip_prefix(b"@").ok_or(PathError::Syntax)?, utf8)?;
    }
    Ok(mailbox.get(1..).unwrap_or_default())
}

fn parse_mailbox(text: &[u8], utf8: bool) -> Result<PathMailbox<'_>, PathError> {
    let at = if text.starts_with(b"\"") { quoted_end(text, utf8)? } else { dotted_end(text)? };
    let (local_part, rest) = text.split_at(at);
    let domain = rest.strip_prefix(b"@").ok_or(PathError::Syntax)?;
    if !utf8 && !local_part.is_ascii() {
        return Err(PathError::NotAscii);
    }
    let domain = check_domain(domain, utf8)?;
    // A-labels are longer than what they stand for, and whoever gets the mail next reads them.
    if local_part.len() + "<@>".len() + domain.len() > PATH_BYTES_MAX {
        return Err(PathError::Syntax);
    }
    Ok(PathMailbox { local_part, domain })
}

/// Where a quoted local-part ends: after its closing quote.
fn quoted_end(text: &[u8], utf8: bool) -> Result<usize, PathError> {
    let mut escaped = false;
    for (index, &octet) in text.iter().enumerate().skip(1) {
        match octet {
            b' '..=b'~' if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(index + 1),
            b' '..=b'~' => {}
            0x80.. if utf8 => escaped = false,
            0x80.. => return Err(PathError::NotAscii),
            _ => return Err(PathError::Syntax),
        }
    }
    Err(PathError::Syntax)
}

/// Where an unquoted local-part ends: at the `@`. Dots may stand anywhere.
fn dotted_end(text: &[u8]) -> Result<usize, PathError> {
    let end = memchr::memchr(b'@', text).filter(|end| *end > 0).ok_or(PathError::Syntax)?;
    let local_part = text.get(..end).unwrap_or_default();
    if local_part.iter().all(|octet| is_bare(*octet)) { Ok(end) } else { Err(PathError::Syntax) }
}

/// A domain or an address literal; gives it without a trailing dot, U-labels as A-labels.
fn check_domain(text: &[u8], utf8: bool) -> Result<Cow<'_, [u8]>, PathError> {
    if text.starts_with(b"[") {
        return check_literal(text).map(Cow::Borrowed).ok_or(PathError::Syntax);
    }
    if text.is_ascii() {
        return check_labels(text).map(Cow::Borrowed);
    }
    let foreign_fits = |octet: &u8| is_label_octet(*octet) || *octet == b'.' || !octet.is_ascii();
    if !text.iter().all(foreign_fits) {
        return Err(PathError::Syntax);
    }
    let text = std::str::from_utf8(text).ok().filter(|_| utf8).ok_or(PathError::NotAscii)?;
    let labels = to_a_labels(text).ok_or(PathError::Syntax)?;
    check_labels(labels.as_bytes()).map(|labels| Cow::Owned(labels.to_vec()))
}

/// Labels joined by dots; gives them without a trailing dot.
fn check_labels(text: &[u8]) -> Result<&[u8], PathError> {
    let domain = text.strip_suffix(b".").unwrap_or(text);
    let fits = |label: &[u8]| !label.is_empty() && label.iter().all(|octet| is_label_octet(*octet));
    if domain.len() <= DOMAIN_BYTES_MAX && domain.split(|octet| *octet == b'.').all(fits) {
        Ok(domain)
    } else {
        Err(PathError::Syntax)
    }
}

fn is_label_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (§4.1.3).
pub(super) fn check_literal(text: &[u8]) -> Option<&[u8]> {
    let inside = std::str::from_utf8(text.strip_prefix(b"[")?.strip_suffix(b"]")?).ok()?;
    let tag = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let good = match tag {
        Some(tag) => inside.get(tag.len()..)?.parse::<Ipv6Addr>().is_ok(),
        None => inside.parse::<Ipv4Addr>().is_ok(),
    };
    good.then_some(text)
}

impl PathMailbox<'_> {
    /// Appends the local-part in its one spelling.
    pub(super) fn push_local_part(&self, out: &mut Vec<u8>) {
        push_spelled(self.local_part, out);
    }

    /// Appends the domain in lower case.
    pub(super) fn push_domain(&self, out: &mut Vec<u8>) {
        out.extend(self.domain.iter().map(u8::to_ascii_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Result<(String, String), PathError> {
        let (path, rest) = parse(text.as_bytes(), true)?;
        assert!(rest.is_empty(), "{text}");
        let Path::Mailbox(mailbox) = path else { panic!("{text} is {path:?}") };
        let (mut local_part, mut domain) = (Vec::new(), Vec::new());
        mailbox.push_local_part(&mut local_part);
        mailbox.push_domain(&mut domain);
        Ok((String::from_utf8(local_part).expect("UTF-8"), String::from_utf8(domain).expect("ASCII")))
    }

    #[test]
    fn what_senders_use_is_accepted() {
        for (text, local_part, domain) in [
            ("<a@X.Test>", "a", "x.test"),
            ("<Name@x.test.>", "Name", "x.test"),
            ("<a_b@under_score.test>", "a_b", "under_score.test"),
            ("<.a..b.@x.test>", ".a..b.", "x.test"),
            ("<@one.test,@two.test:a@x.test>", "a", "x.test"),
            ("<\"a\"@x.test>", "a", "x.test"),
            ("<\"a\\b\"@x.test>", "ab", "x.test"),
            ("<\"a b\"@x.test>", "\"a b\"", "x.test"),
            ("<\"a>b@c\"@x.test>", "\"a>b@c\"", "x.test"),
            ("<\"\\\"\\\\\"@x.test>", "\"\\\"\\\\\"", "x.test"),
            ("<\"\"@x.test>", "\"\"", "x.test"),
            ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a", "[ipv6:2001:db8::1]"),
            ("<bounce+a=b.test@x.test>", "bounce+a=b.test", "x.test"),
        ] {
            assert_eq!(mailbox(text), Ok((local_part.into(), domain.into())), "{text}");
        }
        let long = format!("<{}@x.test>", "a".repeat(200));
        assert!(mailbox(&long).is_ok());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "a@x.test",
            "<a@x.test",
            "<<a@x.test>",
            "<a@@x.test>",
            "<a@b@x.test>",
            "<@x.test>",
            "<a@>",
            "<a>",
            "<a@.>",
            "<a@x..test>",
            "<a@.x.test>",
            "<a b@x.test>",
            "<a@x test>",
            "<a@[1.2.3]>",
            "<a@[IPv6:xyz]>",
            "<a@[192.0.2.1>",
            "<\"a@x.test>",
            "<\"a\"b@x.test>",
            "<a\"b\"@x.test>",
            "<@a.test:>",
            "<@a.test,b:a@x.test>",
            "<a@x.test..>",
            "<a,b@x.test>",
            "<a@x!.test>",
        ] {
            assert_eq!(parse(text.as_bytes(), false), Err(PathError::Syntax), "{text}");
        }
        let long = format!("<{}@x.test>", "a".repeat(PATH_BYTES_MAX));
        assert_eq!(parse(long.as_bytes(), true), Err(PathError::Syntax));
    }

    #[test]
    fn non_ascii_addresses_need_smtputf8() {
        for text in ["<\u{e9}@x.test>", "<\"\u{e9}\"@x.test>", "<a@\u{e9}.test>"] {
            assert_eq!(parse(text.as_bytes(), false), Err(PathError::NotAscii), "{text}");
        }
    }

    #[test]
    fn utf8_is_taken_with_smtputf8() {
        for (text, local_part, domain) in [
            ("<\u{e9}@x.test>", "\u{e9}", "x.test"),
            ("<\"\u{e9}\"@x.test>", "\u{e9}", "x.test"),
            ("<\"\\\u{e9} \"@x.test>", "\"\u{e9} \"", "x.test"),
            ("<a@B\u{fc}cher.Test.>", "a", "xn--bcher-kva.test"),
            ("<@\u{e9}.test:a@x.test>", "a", "x.test"),
        ] {
            assert_eq!(mailbox(text), Ok((local_part.into(), domain.into())), "{text}");
        }
        for text in [
            "<a@\u{fffd}.test>",
            "<a@\u{e9}..test>",
            "<a@\u{ff0f}.test>",
            "<a@\u{e9} x.test>",
            "<\u{e9} b@x.test>",
        ] {
            assert_eq!(parse(text.as_bytes(), true), Err(PathError::Syntax), "{text}");
        }
        // 30 labels of "xn--9ca." each: with A-labels the path has one octet more than it may have.
        let long = |letters: usize| format!("<{}@{}test>", "a".repeat(letters), "\u{e9}.".repeat(30));
        assert_eq!(mailbox(&long(9)).map(|(local_part, _)| local_part.len()), Ok(9));
        assert_eq!(parse(long(10).as_bytes(), true), Err(PathError::Syntax));
        for octets in [&b"<\xe9@x.test>"[..], b"<a@\xe9.test>", b"<\"\xe9\"@x.test>"] {
            assert_eq!(parse(octets, true), Err(PathError::NotAscii), "{octets:?}");
        }
    }

    #[test]
    fn the_two_special_paths() {
        assert_eq!(parse(b"<> SIZE=1", false), Ok((Path::Null, &b" SIZE=1"[..])));
        assert_eq!(parse(b"<PostMaster>", false), Ok((Path::Postmaster, &b""[..])));
    }
}
