//! The Authentication-Results field (RFC 8601): ours is written, and one that claims to be ours is known.
//!
//! Whoever reads mail after us believes a field with our name. So all that could be taken for one of ours is
//! removed, also what cannot be read (§5): [`forged`].

mod forged;

pub use self::forged::forged;

/// A field is at most so long. Results that do not fit are left out, from the last but one: the last is
/// DMARC's, which whoever reads the field acts on.
const FIELD_BYTES_MAX: usize = 2048;

/// A line is folded before it is longer, where that is possible (RFC 5322 §2.1.1).
const LINE_BYTES: usize = 78;

/// One method's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodResult<'a> {
    /// `spf`, `dkim`, ….
    pub method: &'static str,
    /// `pass`, ….
    pub result: &'static str,
    /// A word on it, of ours.
    pub comment: Option<String>,
    /// `smtp.mailfrom=…`: properties and what came from outside.
    pub properties: Properties<'a>,
}

/// Names of properties with what came from outside.
pub type Properties<'a> = [Option<(&'static str, &'a [u8])>; 3];

/// Appends a field with its CRLF.
pub fn write(authserv_id: &str, results: &[MethodResult<'_>], out: &mut Vec<u8>) {
    // Of every message: one allocation for it, and one for each text of ours.
    out.reserve(512);
    out.extend_from_slice(b"Authentication-Results: ");
    out.extend_from_slice(authserv_id.as_bytes());
    match results.split_last() {
        Some((last, others)) => {
            let mut text = Vec::with_capacity(256);
            text_of(last, &mut text);
            let own = b"Authentication-Results: ".len() + authserv_id.len();
            let mut room = FIELD_BYTES_MAX.saturating_sub(own + room_of(&text));
            for result in others {
                text.clear();
                text_of(result, &mut text);
                let Some(left) = room.checked_sub(room_of(&text)) else { break };
                room = left;
                fold_into(&text, out);
            }
            text.clear();
            text_of(last, &mut text);
            fold_into(&text, out);
        }
        None => out.extend_from_slice(b"; none"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Octets that a text takes at most, with its folds.
fn room_of(text: &[u8]) -> usize {
    text.len() + 8 * (1 + text.len() / 40)
}

/// Appends the words of a result, none of which holds a blank but within quotes.
fn text_of(result: &MethodResult<'_>, text: &mut Vec<u8>) {
    text.extend_from_slice(result.method.as_bytes());
    text.push(b'=');
    text.extend_from_slice(result.result.as_bytes());
    if let Some(comment) = &result.comment {
        text.extend_from_slice(b" (");
        // Words of ours; what of it a comment cannot hold is left out.
        text.extend(comment.bytes().filter(|octet| matches!(octet, b' '..=b'~') && !b"()\\".contains(octet)));
        text.push(b')');
    }
    for (property, value) in result.properties.iter().flatten().filter(|(_, value)| can_be_told(value)) {
        text.push(b' ');
        text.extend_from_slice(property.as_bytes());
        text.push(b'=');
        pvalue(value, text);
    }
}

/// Whether a value from outside is told. Not what no quotes hold, what is not ASCII, which readers stumble
/// over, and what reads like a result: many who look for `dmarc=pass` look for these words alone.
fn can_be_told(value: &[u8]) -> bool {
    /// Longer ones are of no use to anybody.
    const VALUE_BYTES_MAX: usize = 320;
    !value.is_empty()
        && value.len() <= VALUE_BYTES_MAX
        && value.iter().all(|octet| matches!(octet, b' '..=b'~'))
        && !reads_like_a_result(value)
}

/// Appends a value as a pvalue (§2.2): as it is, or in quotes.
fn pvalue(value: &[u8], text: &mut Vec<u8>) {
    if is_plain(value) {
        return text.extend_from_slice(value);
    }
    text.push(b'"');
    for octet in value {
        if matches!(octet, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*octet);
    }
    text.push(b'"');
}

/// Whether a value needs no quotes: a token of RFC 2045 §5.1, or a mailbox, without what some readers take
/// for something else.
fn is_plain(value: &[u8]) -> bool {
    let is_token = |text: &[u8]| {
        !text.is_empty()
            && text.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&*+-._^|~".contains(octet))
    };
    let is_dotted = |text: &[u8]| text.split(|octet| *octet == b'.').all(is_token);
    match memchr::memchr(b'@', value) {
        None => is_token(value),
        Some(at) => {
            let (local_part, domain) = (value.get(..at).unwrap_or_default(), value.get(at + 1..));
            (local_part.is_empty() || is_dotted(local_part)) && domain.is_some_and(is_dotted)
        }
    }
}

/// Whether a method's name with what could be its result stands in a value.
fn reads_like_a_result(value: &[u8]) -> bool {
    const METHODS: [&[u8]; 6] = [b"spf", b"dkim", b"dmarc", b"arc", b"iprev", b"auth"];
    memchr::memchr_iter(b'=', value).any(|at| {
        let before = value.get(..at).unwrap_or_default();
        let ends_with = |method: &&[u8]| {
            let start = before.len().checked_sub(method.len());
            start.and_then(|start| before.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(method))
        };
        METHODS.iter().any(ends_with)
    })
}

/// Appends a text on a line of its own, and on a new one wherever that would become too long.
fn fold_into(text: &[u8], field: &mut Vec<u8>) {
    field.extend_from_slice(b";\r\n\t");
    let mut column = 1;
    for (index, word) in words(text).enumerate() {
        if index > 0 {
            if column + 1 + word.len() > LINE_BYTES {
                field.extend_from_slice(b"\r\n\t");
                column = 8;
            } else {
                field.push(b' ');
                column += 1;
            }
        }
        field.extend_from_slice(word);
        column += word.len();
    }
}

/// What stands between blanks outside of quotes and comments.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut commented, mut escaped) = (false, false, false);
    text.split(move |octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !commented => quoted = !quoted,
            b'(' if !quoted => commented = true,
            b')' if !quoted => commented = false,
            b' ' => return !quoted && !commented,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "mx1.example.org";

    fn written(results: &[MethodResult<'_>]) -> String {
        let mut field = Vec::new();
        write(OURS, results, &mut field);
        String::from_utf8(field).expect("UTF-8")
    }

    #[test]
    fn a_field_without_results_says_so() {
        assert_eq!(written(&[]), "Authentication-Results: mx1.example.org; none\r\n");
    }

    #[test]
    fn results_stand_on_lines_of_their_own() {
        let spf = MethodResult {
            method: "spf",
            result: "pass",
            comment: None,
            properties: [Some(("smtp.mailfrom", b"a@x.test")), Some(("smtp.helo", b"mx.x.test")), None],
        };
        let dkim = MethodResult {
            method: "dkim",
            result: "fail",
            comment: Some("body hash (of 1024 bits)".to_owned()),
            properties: [Some(("header.d", b"x.test")), Some(("header.s", b"s1")), None],
        };
        assert_eq!(
            written(&[spf, dkim]),
            "Authentication-Results: mx1.example.org;\r\n\tspf=pass smtp.mailfrom=a@x.test smtp.helo=mx.x.test;\r\n\t\
             dkim=fail (body hash of 1024 bits) header.d=x.test header.s=s1\r\n"
        );
    }

    #[test]
    fn what_comes_from_outside_cannot_leave_its_place() {
        for (value, expected) in [
            (&b"a;b"[..], Some("\"a;b\"")),
            (b"a b", Some("\"a b\"")),
            (b"a\"b\\", Some("\"a\\\"b\\\\\"")),
            (b"(a)", Some("\"(a)\"")),
            (b"2001:db8::1", Some("\"2001:db8::1\"")),
            (b"a@b@c", Some("\"a@b@c\"")),
            (b"@", Some("\"@\"")),
            (b"a@", Some("\"a@\"")),
            (b"@x.test", Some("@x.test")),
            (b"a..b@x.test", Some("\"a..b@x.test\"")),
            (b"a@x..test", Some("\"a@x..test\"")),
            (b"o'neil@x.test", Some("\"o'neil@x.test\"")),
            (b"SRS0=abc=de=x.test=a@y.test", Some("\"SRS0=abc=de=x.test=a@y.test\"")),
            (b"\"a; dmarc=pass\"@x.test", None),
            (b"DMARC=pass@x.test", None),
            ("\u{e9}@x.test".as_bytes(), None),
            (b"a\r\nX-Forged: y", None),
            (b"a\0", None),
            (b"\xff", None),
            (b"", None),
        ] {
            let result = MethodResult {
                method: "spf",
                result: "none",
                comment: None,
                properties: [Some(("smtp.helo", value)), None, None],
            };
            let field = written(&[result]);
            let expected = expected.map_or_else(String::new, |value| format!(" smtp.helo={value}"));
            assert_eq!(
                field,
                format!("Authentication-Results: mx1.example.org;\r\n\tspf=none{expected}\r\n")
            );
        }
    }

    #[test]
    fn a_field_is_folded_and_bounded() {
        let long = [b'x'; 300];
        let results: Vec<_> = (0..100)
            .map(|_| MethodResult {
                method: "dkim",
                result: "pass",
                comment: None,
                properties: [Some(("header.d", &long[..])), Some(("header.s", b"s")), None],
            })
            .collect();
        let field = written(&results);
        let mut with_dmarc = results.clone();
        with_dmarc.push(MethodResult {
            method: "dmarc",
            result: "fail",
            comment: None,
            properties: [None; 3],
        });
        let told = written(&with_dmarc);
        assert!(told.len() <= FIELD_BYTES_MAX && told.ends_with(";\r\n\tdmarc=fail\r\n"), "{told}");
        assert!(field.len() <= FIELD_BYTES_MAX && field.matches("dkim=pass").count() >= 4, "{}", field.len());
        let lines: Vec<&str> = field.trim_end().split("\r\n").collect();
        assert!(lines.iter().skip(1).all(|line| line.starts_with('\t')), "{field}");
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES || !line.trim().contains(' ')), "{field}");
    }
}
