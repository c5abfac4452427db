//! The domains of the authors of a message: those in its From: field (RFC 5322 §3.6.2).
//!
//! What readers of mail make of odd From: fields differs, and forgers know how. So only what the standard's
//! grammar takes is read, and of several or unreadable ones nothing is ever vouched for.

use super::header::{Field, Header};
use super::lenient;
use crate::dns::Name;
use crate::mail::a_label;

/// Mailboxes of a field that are read.
const MAILBOXES_MAX: usize = 64;

/// A longer value is not read: nobody writes one.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Comments within comments.
const DEPTH_MAX: usize = 32;

/// What is wrong with the From: field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// There is none.
    Missing,
    /// There are several, or something that could be taken for another one.
    Several,
    /// After a bare CR or LF in the header section a reader might find another one, or the end of the
    /// section.
    Disguised,
    /// It names no mailbox: an empty one, or an empty group.
    Nobody,
    /// It is not of the standard's grammar.
    Unreadable,
    /// Mailboxes of several domains.
    SeveralDomains,
    /// A domain that is none, such as an address literal.
    BadDomain,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no From: field",
            Self::Several => "there are several From: fields",
            Self::Disguised => "a bare CR or LF in the header section makes a From: field or hides it",
            Self::Nobody => "the From: field names nobody",
            Self::Unreadable => "the From: field is not readable",
            Self::SeveralDomains => "the From: field names several domains",
            Self::BadDomain => "the From: field names a domain that is none",
        })
    }
}

/// Who wrote a message, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Each domain once, in the order of the field. Where there is a problem they are what could be read.
    pub domains: Vec<Name>,
    /// Why nothing can be vouched for.
    pub problem: Option<Problem>,
}

impl Author {
    /// The one domain that can be vouched for.
    pub fn domain(&self) -> Option<&Name> {
        match (&*self.domains, self.problem) {
            ([domain], None) => Some(domain),
            (_, _) => None,
        }
    }

    /// The author of a message with this header section.
    pub fn of(header: &Header<'_>) -> Self {
        let mut fields = header.named("From");
        let (first, second) = (fields.next(), fields.next());
        let is_doubtful = header.might_be("from").next().is_some() || header.is_cut();
        let mut author = match first {
            Some(field) => Self::read(header.value(field)),
            None => Self { domains: Vec::new(), problem: Some(Problem::Missing) },
        };
        if second.is_some() || is_doubtful {
            author.problem = Some(Problem::Several);
        } else if header.has_bare_line_end() && header.fields().iter().any(|field| disguises(header, field)) {
            author.problem = Some(Problem::Disguised);
        }
        author
    }

    fn read(value: &[u8]) -> Self {
        let is_readable = value.len() <= VALUE_BYTES_MAX && !lenient::has_bare_line_end(value);
        let mailboxes = if is_readable { Reader::new(value).mailboxes() } else { None };
        let (texts, mut problem) = match mailboxes {
            Some(texts) if texts.is_empty() => (texts, Some(Problem::Nobody)),
            Some(texts) => (texts, None),
            None => (Vec::new(), Some(Problem::Unreadable)),
        };
        let mut domains = Vec::new();
        for text in texts {
            match domain(&text) {
                Some(domain) if domains.contains(&domain) => {}
                Some(domain) => domains.push(domain),
                None => problem = problem.or(Some(Problem::BadDomain)),
            }
        }
        if domains.len() > 1 {
            problem = problem.or(Some(Problem::SeveralDomains));
        }
        Self { domains, problem }
    }
}

/// Whether a reader who ends lines at a bare CR or LF finds a From: field within this one, or an empty line,
/// where the header section ends for him.
fn disguises(header: &Header<'_>, field: &Field) -> bool {
    let own = usize::from(header.could_be(field, "from"));
    lenient::readings(header.whole(field)).any(|reading| {
        let lines = Header::new(&reading.octets);
        let count = lines.every_field().filter(|line| lines.could_be(line, "from")).count();
        reading.has_empty_line || count > own
    })
}

/// A domain as A-labels in lower case; none of what is no host name.
fn domain(text: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(text).ok()?;
    let ascii = a_label::to_a_labels(text)?;
    let is_host = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    let name = Name::new(ascii.as_bytes())?;
    ascii.split('.').all(is_host).then_some(name)
}

/// A word of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Atom(&'a [u8]),
    Quoted,
    Literal,
    Special(u8),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// The domains of all mailboxes; none as soon as something is not of the grammar.
    fn mailboxes(mut self) -> Option<Vec<Vec<u8>>> {
        let tokens = self.tokens()?;
        let mut domains = Vec::new();
        let mut rest = &tokens[..];
        loop {
            let (address, after) = split_at_special(rest, b',');
            // A colon outside of angle brackets begins a group, which ends with a semicolon.
            if let Some(colon) = position_outside(address, b':') {
                let (group, after_group) = split_at_special(rest.get(colon + 1..)?, b';');
                if !is_phrase(rest.get(..colon)?) || after_group.is_none() {
                    return None;
                }
                let mut members = group;
                while !members.is_empty() {
                    let (member, next) = split_at_special(members, b',');
                    domains.extend(mailbox(member)?);
                    members = next.unwrap_or_default();
                    if domains.len() > MAILBOXES_MAX {
                        return None;
                    }
                }
                let after_group = after_group.unwrap_or_default();
                let (between, next) = split_at_special(after_group, b',');
                if !between.is_empty() {
                    return None;
                }
                match next {
                    Some(next) => rest = next,
                    None => return Some(domains),
                }
                continue;
            }
            domains.extend(mailbox(address)?);
            if domains.len() > MAILBOXES_MAX {
                return None;
            }
            match after {
                Some(after) => rest = after,
                None => return Some(domains),
            }
        }
    }

    fn tokens(&mut self) -> Option<Vec<Token<'a>>> {
        let mut tokens = Vec::new();
        while let Some((octet, after)) = self.rest.split_first() {
            match octet {
                b' ' | b'\t' => self.rest = after,
                // Folding: a line end and a blank after it.
                b'\r' if after.starts_with(b"\n ") || after.starts_with(b"\n\t") => {
                    self.rest = after.get(1..)?;
                }
                b'(' => self.skip_comment()?,
                b'"' => {
                    self.rest = skip_quoted(after)?;
                    tokens.push(Token::Quoted);
                }
                b'[' => {
                    let end = after.iter().position(|octet| *octet == b']')?;
                    self.rest = after.get(end + 1..)?;
                    tokens.push(Token::Literal);
                }
                b'<' | b'>' | b'@' | b',' | b';' | b':' | b'.' => {
                    tokens.push(Token::Special(*octet));
                    self.rest = after;
                }
                octet if is_atom_octet(*octet) => {
                    let end = self.rest.iter().position(|octet| !is_atom_octet(*octet));
                    let (atom, after) = self.rest.split_at_checked(end.unwrap_or(self.rest.len()))?;
                    tokens.push(Token::Atom(atom));
                    self.rest = after;
                }
                _ => return None,
            }
        }
        Some(tokens)
    }

    /// Some readers end a comment at its first parenthesis: where that would be another one than the
    /// standard's, no address may stand in it.
    fn skip_comment(&mut self) -> Option<()> {
        let (mut depth, mut is_plain, mut has_address) = (0, true, false);
        while let Some((octet, after)) = self.rest.split_first() {
            self.rest = after;
            match octet {
                b'(' => {
                    is_plain &= depth == 0;
                    depth += 1;
                }
                b')' => depth -= 1,
                b'\\' => {
                    is_plain = false;
                    has_address |= after.first() == Some(&b'@');
                    self.rest = after.get(1..)?;
                }
                b'@' => has_address = true,
                b'\0' => return None,
                _ => {}
            }
            match depth {
                0 => return (is_plain || !has_address).then_some(()),
                depth if depth > DEPTH_MAX => return None,
                _ => {}
            }
        }
        None
    }
}

/// Some readers end a quoted string at its first quote, also at one after a backslash: no address may stand
/// in one where that makes a difference.
fn skip_quoted(mut rest: &[u8]) -> Option<&[u8]> {
    let (mut has_quote, mut has_address) = (false, false);
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b'"' => return (!has_quote || !has_address).then_some(after),
            b'\\' => {
                has_quote |= after.first() == Some(&b'"');
                has_address |= after.first() == Some(&b'@');
                after.get(1..)?
            }
            b'\0' => return None,
            b'@' => {
                has_address = true;
                after
            }
            _ => after,
        };
    }
    None
}

/// RFC 5322 §3.2.3, and what RFC 6532 §3.2 adds.
fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet) || octet >= 0x80
}

/// What stands before a special outside of angle brackets, and what after it.
fn split_at_special<'t, 'a>(
    tokens: &'t [Token<'a>],
    special: u8,
) -> (&'t [Token<'a>], Option<&'t [Token<'a>]>) {
    match position_outside(tokens, special) {
        Some(at) => (tokens.get(..at).unwrap_or_default(), tokens.get(at + 1..)),
        None => (tokens, None),
    }
}

fn position_outside(tokens: &[Token<'_>], special: u8) -> Option<usize> {
    let mut within = false;
    tokens.iter().position(|token| {
        within = match token {
            Token::Special(b'<') => true,
            Token::Special(b'>') => false,
            Token::Atom(_) | Token::Quoted | Token::Literal | Token::Special(_) => within,
        };
        !within && *token == Token::Special(special)
    })
}

/// Words, and dots between them as people write them.
fn is_phrase(tokens: &[Token<'_>]) -> bool {
    tokens.iter().all(|token| matches!(token, Token::Atom(_) | Token::Quoted | Token::Special(b'.')))
}

/// The domain of a mailbox; nothing of an empty one. None of what is no mailbox.
fn mailbox(tokens: &[Token<'_>]) -> Option<Vec<Vec<u8>>> {
    if tokens.is_empty() {
        return Some(Vec::new());
    }
    let Some(open) = tokens.iter().position(|token| *token == Token::Special(b'<')) else {
        return Some(vec![addr_spec(tokens)?]);
    };
    let (phrase, angle) = tokens.split_at_checked(open)?;
    let inner = angle.strip_prefix(&[Token::Special(b'<')])?.strip_suffix(&[Token::Special(b'>')])?;
    if !is_phrase(phrase) {
        return None;
    }
    Some(vec![addr_spec(inner)?])
}

/// `local-part@domain`, without a route.
fn addr_spec(tokens: &[Token<'_>]) -> Option<Vec<u8>> {
    let at = tokens.iter().position(|token| *token == Token::Special(b'@'))?;
    let (local_part, domain) = (tokens.get(..at)?, tokens.get(at + 1..)?);
    let words_fit = local_part.iter().enumerate().all(|(place, token)| {
        let is_dot = *token == Token::Special(b'.');
        if place % 2 == 1 { is_dot } else { matches!(token, Token::Atom(_) | Token::Quoted) }
    });
    if !words_fit || local_part.len() % 2 == 0 {
        return None;
    }
    match domain {
        [Token::Literal] => return Some(b"[]".to_vec()),
        [] => return None,
        _ => {}
    }
    let mut text = Vec::new();
    for (place, token) in domain.iter().enumerate() {
        match token {
            Token::Atom(atom) if place % 2 == 0 => text.extend_from_slice(atom),
            Token::Special(b'.') if place % 2 == 1 => text.push(b'.'),
            Token::Atom(_) | Token::Quoted | Token::Literal | Token::Special(_) => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> (Vec<String>, Option<Problem>) {
        let author = Author::of(&Header::new(header.as_bytes()));
        (author.domains.iter().map(Name::to_string).collect(), author.problem)
    }

    /// The author's domain, where it can be vouched for.
    fn vouched(header: &str) -> Option<String> {
        Author::of(&Header::new(header.as_bytes())).domain().map(Name::to_string)
    }

    #[test]
    fn the_usual_forms_have_their_domain() {
        for header in [
            "From: a@x.test\r\n",
            "from:a@X.TEST\r\n",
            "From : <a@x.test>\r\n",
            "From: A. B. <a@x.test>\r\n",
            "From: \"A, B <c@y.test>\" <a@x.test>\r\n",
            "From: \"a@y.test\" <a@x.test>\r\n",
            "From: =?utf-8?B?YUB5LnRlc3Q=?= <a@x.test>\r\n",
            "From: A (b@y.test) <a@x.test> (c@y.test)\r\n",
            "From: A\r\n <a@x.test>\r\n",
            "From: \"a b\"@x.test\r\n",
            "From: a . b @ x . test\r\n",
            "From: a@x.test, <b@X.test>\r\n",
            "From: Group: a@x.test;\r\n",
            "Subject: s\r\nFrom: a@x.test.\r\nTo: b@y.test\r\n\r\nFrom: c@y.test\r\n",
        ] {
            assert_eq!(vouched(header).as_deref(), Some("x.test"), "{header}");
        }
    }

    #[test]
    fn a_domain_has_one_spelling() {
        assert_eq!(vouched("From: a@b\u{fc}cher.test\r\n").as_deref(), Some("xn--bcher-kva.test"));
        assert_eq!(vouched("From: a@B\u{dc}CHER.test\r\n").as_deref(), Some("xn--bcher-kva.test"));
    }

    #[test]
    fn none_of_forgers_forms_is_vouched_for() {
        for (header, problem) in [
            ("To: b@y.test\r\n", Problem::Missing),
            ("From: a@x.test\r\nFrom: b@y.test\r\n", Problem::Several),
            ("From: a@x.test\r\nfrom: a@x.test\r\n", Problem::Several),
            ("From: a@x.test\r\n From: b@y.test\r\n", Problem::Unreadable),
            (" From: b@y.test\r\nFrom: a@x.test\r\n", Problem::Several),
            ("From\r\n : b@y.test\r\nFrom: a@x.test\r\n", Problem::Several),
            ("Fr\0om: b@y.test\r\nFrom: a@x.test\r\n", Problem::Several),
            ("From:\r\n", Problem::Nobody),
            ("From: undisclosed:;\r\n", Problem::Nobody),
            ("From: a@x.test, b@y.test\r\n", Problem::SeveralDomains),
            ("From: <a@x.test>, <b@y.test>\r\n", Problem::SeveralDomains),
            ("From: a@x.test,<b@y.test>\r\n", Problem::SeveralDomains),
            ("From: g: a@x.test, b@y.test;\r\n", Problem::SeveralDomains),
            ("From: <@y.test,@z.test:a@x.test>\r\n", Problem::Unreadable),
            ("From: <a@x.test>\\,<b@y.test>\r\n", Problem::Unreadable),
            ("From: <a@x.test>b@y.test\r\n", Problem::Unreadable),
            ("From: <a@x.test> <b@y.test>\r\n", Problem::Unreadable),
            ("From: a@x.test <b@y.test>\r\n", Problem::Unreadable),
            ("From: a@x.test b@y.test\r\n", Problem::Unreadable),
            ("From: a@x.test@y.test\r\n", Problem::Unreadable),
            ("From: =?utf-8?B?YUB5LnRlc3Q=?=\r\n", Problem::Unreadable),
            ("From: a@=?utf-8?Q?x.test?=\r\n", Problem::BadDomain),
            ("From: a@[192.0.2.1]\r\n", Problem::BadDomain),
            ("From: a@x..test\r\n", Problem::Unreadable),
            ("From: a@x.test\0.y.test\r\n", Problem::Unreadable),
            ("From: \"a@x.test\r\n", Problem::Unreadable),
            ("From: a@x.test (\r\n", Problem::Unreadable),
            ("From: <a@x.test\r\n", Problem::Unreadable),
            ("From: <<a@x.test>>\r\n", Problem::Unreadable),
            ("From: a@x.test;\r\n", Problem::Unreadable),
            ("From: a@x_test!y\r\n", Problem::BadDomain),
            ("From: (a (b) <c@y.test>) <a@x.test>\r\n", Problem::Unreadable),
            ("From: (a \\) <c@y.test>) <a@x.test>\r\n", Problem::Unreadable),
            ("From: \"a\\\" <c@y.test>, \\\"b\" <a@x.test>\r\n", Problem::Unreadable),
        ] {
            assert_eq!(vouched(header), None, "{header}");
            assert_eq!(of(header).1, Some(problem), "{header}");
        }
    }

    #[test]
    fn a_bare_line_end_neither_makes_nor_hides_a_from_field() {
        for (header, problem) in [
            ("From: a@x.test\r\nSubject: s\nFrom: b@y.test\r\n", Problem::Disguised),
            ("Subject: s\rFrom: b@y.test\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject: s\nfrom : b@y.test\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject: s\n\x0bFrom: b@y.test\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject: s\r\n folded\nFrom: b@y.test\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject\nFrom: b@y.test\r\nFrom: a@x.test\r\n", Problem::Disguised),
            // The section ends here for some, before the From: field.
            ("Subject: s\n\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject: s\n\nmore\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("Subject: s\r\r\nFrom: a@x.test\r\n", Problem::Disguised),
            ("From: a@x.test\nFrom: b@y.test\r\n", Problem::Disguised),
            ("From: \"a\nFrom: b@y.test\n\" <a@x.test>\r\n", Problem::Disguised),
            ("From: \"a\n\n\" <a@x.test>\r\n", Problem::Disguised),
            ("From: (\r) a@x.test\r\n", Problem::Unreadable),
            ("From: a@x.test (\nb)\r\n", Problem::Unreadable),
            ("From: a@x.test\n\tb\r\n", Problem::Unreadable),
            ("From\n: a@x.test\r\n", Problem::Several),
            ("\nFrom: a@x.test\r\n", Problem::Several),
            ("Received: a\nSubject: s\nFrom: a@x.test\n\nbody\n", Problem::Disguised),
        ] {
            assert_eq!(vouched(header), None, "{header:?}");
            assert_eq!(of(header).1, Some(problem), "{header:?}");
        }
        for header in [
            "Subject: s\nmore\r\nFrom: a@x.test\r\n",
            "Subject: s\n From: b@y.test\r\nFrom: a@x.test\r\n",
            "From: a@x.test\r\nSubject: s\rReply-To: b@y.test\r\n",
        ] {
            assert_eq!(vouched(header).as_deref(), Some("x.test"), "{header:?}");
        }
    }

    #[test]
    fn deep_comments_and_many_mailboxes_cost_little() {
        let deep = format!("From: {}{} a@x.test\r\n", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(of(&deep).1, Some(Problem::Unreadable));
        for many in ["a@x.test,", ",", "g:;,", "<>"] {
            let many = format!("From: {}a@x.test\r\n", many.repeat(200_000));
            assert_eq!(of(&many).1, Some(Problem::Unreadable));
        }
        let group = (0..65).map(|at| format!("a@x{at}.test,")).collect::<Vec<_>>().concat();
        assert_eq!(of(&format!("From: g:{group};\r\n")).1, Some(Problem::Unreadable));
    }
}
