//! Reverse-path, forward-path, mailbox, address literal (RFC 5321 §4.1.2, §4.1.3).
//!
//! Lenient where senders are sloppy, strict where an address could mean two things: what is accepted comes out in one
//! spelling (see [`super::envelope::Envelope`]). No allocation: a path is at most 256 octets and its spelling never longer.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::envelope::Mailbox;
use crate::limits::PATH_BYTES_MAX;

/// What stands between `<` and `>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`: the null reverse-path (§4.5.5).
    Null,
    /// `<postmaster>` without a domain (§4.5.1).
    Postmaster,
    /// A mailbox, its source route stripped (§4.1.1.3, appendix C).
    Mailbox(MailboxText),
}

/// Why a path is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// Not the syntax of a path.
    Syntax,
    /// An octet over 127 in a good place, without SMTPUTF8 (RFC 6531 §3.5).
    NotAscii,
}

/// A mailbox in the spelling that is used from here on: domain in lower case without a trailing dot, needless quotes of
/// the local-part removed.
#[derive(Clone, PartialEq, Eq)]
pub struct MailboxText {
    bytes: [u8; PATH_BYTES_MAX],
    /// Octets in use. `at < len <= PATH_BYTES_MAX`.
    len: usize,
    /// Where the `@` stands.
    at: usize,
}

impl MailboxText {
    /// The mailbox in its two parts.
    pub fn mailbox(&self) -> Mailbox<'_> {
        let whole = self.bytes.get(..self.len).unwrap_or_default();
        let (local_part, rest) = whole.split_at_checked(self.at).unwrap_or_default();
        Mailbox { local_part, domain: rest.get(1..).unwrap_or_default(), whole }
    }

    fn new() -> Self {
        Self { bytes: [0; PATH_BYTES_MAX], len: 0, at: 0 }
    }

    fn push(&mut self, octet: u8) -> Result<(), PathError> {
        let place = self.bytes.get_mut(self.len).ok_or(PathError::Syntax)?;
        *place = octet;
        self.len += 1;
        Ok(())
    }

    fn push_all(&mut self, octets: &[u8]) -> Result<(), PathError> {
        octets.iter().try_for_each(|octet| self.push(*octet))
    }
}

impl std::fmt::Debug for MailboxText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.mailbox().whole.escape_ascii())
    }
}

/// Splits the argument of MAIL or RCPT behind `FROM:` or `TO:` into what stands between `<` and `>` and the parameters.
///
/// White space before the path is ignored. Behind it comes nothing, or white space and parameters.
pub fn split(argument: &[u8]) -> Result<(&[u8], &[u8]), PathError> {
    let inside = argument.trim_ascii_start().strip_prefix(b"<").ok_or(PathError::Syntax)?;
    let end = end_of_path(inside).ok_or(PathError::Syntax)?;
    let (path, rest) = inside.split_at_checked(end).ok_or(PathError::Syntax)?;
    let parameters = rest.strip_prefix(b">").ok_or(PathError::Syntax)?;
    if path.len() + "<>".len() > PATH_BYTES_MAX {
        return Err(PathError::Syntax);
    }
    match parameters.first() {
        None | Some(b' ' | b'\t') => Ok((path, parameters)),
        Some(_) => Err(PathError::Syntax),
    }
}

/// Where the `>` stands that is not inside a quoted string.
fn end_of_path(inside: &[u8]) -> Option<usize> {
    let mut octets = inside.iter().enumerate();
    let mut quoted = false;
    while let Some((index, octet)) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                octets.next();
            }
            b'<' if !quoted => return None,
            b'>' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// Reads what stands between `<` and `>`.
pub fn parse(path: &[u8]) -> Result<Path, PathError> {
    if path.is_empty() {
        return Ok(Path::Null);
    }
    if path.eq_ignore_ascii_case(b"postmaster") {
        return Ok(Path::Postmaster);
    }
    let mailbox = match path.strip_prefix(b"@") {
        Some(route) => behind_source_route(route)?,
        None => path,
    };
    let mut text = MailboxText::new();
    let domain = match mailbox.strip_prefix(b"\"") {
        Some(quoted) => push_quoted_local_part(quoted, &mut text)?,
        None => push_local_part(mailbox, &mut text)?,
    };
    text.at = text.len;
    text.push(b'@')?;
    push_domain(domain, &mut text)?;
    Ok(Path::Mailbox(text))
}

/// `domain,@domain:mailbox` → `mailbox`. A source route is accepted and ignored (§3.3, appendix C).
fn behind_source_route(route: &[u8]) -> Result<&[u8], PathError> {
    let colon = end_of_route(route).ok_or(PathError::Syntax)?;
    let (domains, rest) = route.split_at_checked(colon).ok_or(PathError::Syntax)?;
    for (index, domain) in domains.split(|octet| *octet == b',').enumerate() {
        let domain = if index == 0 { domain } else { domain.strip_prefix(b"@").ok_or(PathError::Syntax)? };
        push_domain(domain, &mut MailboxText::new())?;
    }
    Ok(rest.get(1..).unwrap_or_default())
}

/// The colon that ends a source route; those of an IPv6 literal do not.
fn end_of_route(route: &[u8]) -> Option<usize> {
    let mut in_literal = false;
    route.iter().position(|octet| {
        match octet {
            b'[' => in_literal = true,
            b']' => in_literal = false,
            _ => {}
        }
        *octet == b':' && !in_literal
    })
}

/// Takes the local-part of `local-part@domain`; gives the domain. Dots may stand anywhere: senders put them there.
fn push_local_part<'a>(mailbox: &'a [u8], text: &mut MailboxText) -> Result<&'a [u8], PathError> {
    let at = memchr::memchr(b'@', mailbox).ok_or(PathError::Syntax)?;
    let (local_part, domain) = mailbox.split_at_checked(at).ok_or(PathError::Syntax)?;
    if local_part.is_empty() {
        return Err(PathError::Syntax);
    }
    for &octet in local_part {
        match octet {
            b'.' => {}
            _ if is_atext(octet) => {}
            0x80.. => return Err(PathError::NotAscii),
            _ => return Err(PathError::Syntax),
        }
    }
    text.push_all(local_part)?;
    Ok(domain.get(1..).unwrap_or_default())
}

/// Takes a quoted local-part behind its first quote; gives the domain. `"x"@d` is spelled `x@d` (§4.1.2: no quotes where
/// they are not needed), and no more is escaped than has to be.
fn push_quoted_local_part<'a>(quoted: &'a [u8], text: &mut MailboxText) -> Result<&'a [u8], PathError> {
    let mut octets = quoted.iter().enumerate();
    text.push(b'"')?;
    let end = loop {
        let (index, &octet) = octets.next().ok_or(PathError::Syntax)?;
        let content = match octet {
            b'"' => break index,
            b'\\' => *octets.next().ok_or(PathError::Syntax)?.1,
            _ => octet,
        };
        match content {
            b'"' | b'\\' => text.push_all(&[b'\\', content])?,
            b' '..=b'~' => text.push(content)?,
            0x80.. => return Err(PathError::NotAscii),
            _ => return Err(PathError::Syntax),
        }
    };
    if let Some(content) = text.bytes.get(1..text.len)
        && is_dot_string(content)
    {
        text.bytes.copy_within(1..text.len, 0);
        text.len -= 1;
    } else {
        text.push(b'"')?;
    }
    quoted.get(end + 1..).and_then(|rest| rest.strip_prefix(b"@")).ok_or(PathError::Syntax)
}

/// `Dot-string` of §4.1.2: atoms joined by single dots.
fn is_dot_string(text: &[u8]) -> bool {
    text.split(|octet| *octet == b'.')
        .all(|atom| !atom.is_empty() && atom.iter().all(|octet| is_atext(*octet)))
}

/// `atext` (RFC 5322 §3.2.3).
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// Takes a domain or an address literal.
fn push_domain(domain: &[u8], text: &mut MailboxText) -> Result<(), PathError> {
    if let Some(literal) = domain.strip_prefix(b"[") {
        return push_literal(literal.strip_suffix(b"]").ok_or(PathError::Syntax)?, text);
    }
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let mut at_label_start = true;
    for &octet in domain {
        match octet {
            b'.' if at_label_start => return Err(PathError::Syntax),
            b'.' | b'-' | b'_' => {}
            _ if octet.is_ascii_alphanumeric() => {}
            0x80.. => return Err(PathError::NotAscii),
            _ => return Err(PathError::Syntax),
        }
        at_label_start = octet == b'.';
        text.push(octet.to_ascii_lowercase())?;
    }
    // An empty domain and one that ended in two dots.
    if at_label_start { Err(PathError::Syntax) } else { Ok(()) }
}

/// Takes what stands between `[` and `]` (§4.1.3).
fn push_literal(literal: &[u8], text: &mut MailboxText) -> Result<(), PathError> {
    const IPV6: &[u8] = b"IPv6:";
    text.push(b'[')?;
    match literal.split_at_checked(IPV6.len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case(IPV6) => {
            parse_address::<Ipv6Addr>(address)?;
            text.push_all(IPV6)?;
            address.iter().try_for_each(|octet| text.push(octet.to_ascii_lowercase()))?;
        }
        Some(_) | None => {
            parse_address::<Ipv4Addr>(literal)?;
            text.push_all(literal)?;
        }
    }
    text.push(b']')
}

fn parse_address<A: FromStr>(text: &[u8]) -> Result<A, PathError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(PathError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(path: &str) -> Result<String, PathError> {
        parse(path.as_bytes()).map(|path| match path {
            Path::Null => "null".into(),
            Path::Postmaster => "postmaster".into(),
            Path::Mailbox(text) => String::from_utf8_lossy(text.mailbox().whole).into_owned(),
        })
    }

    #[test]
    fn a_path_has_one_spelling() {
        let cases = [
            ("", "null"),
            ("PostMaster", "postmaster"),
            ("Bob@Example.ORG", "Bob@example.org"),
            ("bob@example.org.", "bob@example.org"),
            ("@a.test,@b.test:bob@example.org", "bob@example.org"),
            ("@[IPv6:::1]:bob@example.org", "bob@example.org"),
            ("\"bob\"@example.org", "bob@example.org"),
            ("\"b\\o\\b\"@example.org", "bob@example.org"),
            ("\"b b\"@example.org", "\"b b\"@example.org"),
            ("\"b\\\"\\\\\\ b\"@example.org", "\"b\\\"\\\\ b\"@example.org"),
            ("\"\"@example.org", "\"\"@example.org"),
            ("\"a@b>c\"@example.org", "\"a@b>c\"@example.org"),
            ("..b..ob.@example.org", "..b..ob.@example.org"),
            ("a@under_score.test", "a@under_score.test"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@[ipv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"),
        ];
        for (path, expected) in cases {
            assert_eq!(spelled(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let cases = [
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@b..c",
            "a@.b",
            "a@b..",
            "a@.",
            "\"a@b",
            "\"a\"b@c",
            "\"a\"",
            "a\"b\"@c",
            "a@[1.2.3]",
            "a@[1.2.3.4",
            "a@[x:y]",
            "a@[IPv6:1]",
            "a@b]",
            "@a:b",
            "@a,b:c@d",
            "(a)@b",
            "a,b@c",
            "a@b:25",
            "@:a@b",
        ];
        for path in cases {
            assert_eq!(spelled(path), Err(PathError::Syntax), "{path}");
        }
        for path in ["é@b", "a@é", "\"é\"@b"] {
            assert_eq!(spelled(path), Err(PathError::NotAscii), "{path}");
        }
    }

    #[test]
    fn a_path_ends_at_the_bracket_outside_quotes() {
        let cases: [(&str, Option<(&str, &str)>); 10] = [
            ("<a@b>", Some(("a@b", ""))),
            (" \t<a@b> X=1", Some(("a@b", " X=1"))),
            ("<\"a>\\\"b\"@c> X", Some(("\"a>\\\"b\"@c", " X"))),
            ("<a@b>X=1", None),
            ("a@b", None),
            ("x <a@b>", None),
            ("<a@b", None),
            ("<<a@b>>", None),
            ("<a@b>>", None),
            ("", None),
        ];
        for (argument, expected) in cases {
            let expected = expected.map(|(path, rest)| (path.as_bytes(), rest.as_bytes()));
            assert_eq!(split(argument.as_bytes()).ok(), expected, "{argument}");
        }
    }

    #[test]
    fn the_longest_path_is_256_octets() {
        let longest = format!("<{}@b.test>", "a".repeat(PATH_BYTES_MAX - "<@b.test>".len()));
        let (path, _) = split(longest.as_bytes()).expect("256 octets");
        assert!(matches!(parse(path), Ok(Path::Mailbox(_))));
        assert_eq!(split(longest.replace('@', "a@").as_bytes()), Err(PathError::Syntax));
    }
}
