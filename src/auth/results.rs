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
    pub properties: Vec<(&'static str, &'a [u8])>,
}

/// Writes a field with its CRLF.
pub fn write(authserv_id: &str, results: &[MethodResult<'_>]) -> Vec<u8> {
    let mut field = b"Authentication-Results: ".to_vec();
    field.extend_from_slice(authserv_id.as_bytes());
    // With what its folds may take.
    let room_of = |text: &[u8]| text.len() + 8 * (1 + text.len() / 40);
    match results.split_last() {
        Some((last, others)) => {
            let last = text_of(last);
            let mut room = FIELD_BYTES_MAX.saturating_sub(field.len() + room_of(&last));
            let fits = |text: &Vec<u8>| {
                let left = room.checked_sub(room_of(text));
                room = left.unwrap_or_default();
                left.is_some()
            };
            for text in others.iter().map(text_of).take_while(fits).chain([last]) {
                field.extend_from_slice(b";\r\n\t");
                fold_into(&text, &mut field);
            }
        }
        None => field.extend_from_slice(b"; none"),
    }
    field.extend_from_slice(b"\r\n");
    field
}

/// The words of a result, none of which holds a blank but within quotes.
fn text_of(result: &MethodResult<'_>) -> Vec<u8> {
    let mut text = format!("{}={}", result.method, result.result).into_bytes();
    if let Some(comment) = &result.comment {
        text.extend_from_slice(b" (");
        // Words of ours; what of it a comment cannot hold is left out.
        text.extend(comment.bytes().filter(|octet| matches!(octet, b' '..=b'~') && !b"()\\".contains(octet)));
        text.push(b')');
    }
    for (property, value) in &result.properties {
        if let Some(value) = pvalue(value) {
            text.push(b' ');
            text.extend_from_slice(property.as_bytes());
            text.push(b'=');
            text.extend_from_slice(&value);
        }
    }
    text
}

/// A value from outside as a pvalue (§2.2): as it is, or in quotes. None of what no quotes hold, of what is
/// not ASCII, which readers stumble over, and of what reads like a result: many who look for `dmarc=pass`
/// look for these words alone.
fn pvalue(value: &[u8]) -> Option<Vec<u8>> {
    /// Longer ones are of no use to anybody.
    const VALUE_BYTES_MAX: usize = 320;
    if value.is_empty() || value.len() > VALUE_BYTES_MAX {
        return None;
    }
    if !value.iter().all(|octet| matches!(octet, b' '..=b'~')) || reads_like_a_result(value) {
        return None;
    }
    if is_plain(value) {
        return Some(value.to_vec());
    }
    let mut quoted = b"\"".to_vec();
    for octet in value {
        if matches!(octet, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*octet);
    }
    quoted.push(b'"');
    Some(quoted)
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
    const METHODS: [&[u8]; 6] = [b"spf=", b"dkim=", b"dmarc=", b"arc=", b"iprev=", b"auth="];
    METHODS.iter().any(|method| value.windows(method.len()).any(|part| part.eq_ignore_ascii_case(method)))
}

/// Appends a text, on a new line wherever the line would become too long.
fn fold_into(text: &[u8], field: &mut Vec<u8>) {
    let line_start = |field: &[u8]| memchr::memrchr(b'\n', field).map_or(0, |at| at + 1);
    let mut column = field.len() - line_start(field);
    for (index, word) in words(text).into_iter().enumerate() {
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
fn words(text: &[u8]) -> Vec<&[u8]> {
    let (mut words, mut start) = (Vec::new(), 0);
    let (mut quoted, mut commented, mut escaped) = (false, false, false);
    for (at, octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !commented => quoted = !quoted,
            b'(' if !quoted => commented = true,
            b')' if !quoted => commented = false,
            b' ' if !quoted && !commented => {
                words.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    words.extend(text.get(start..));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "mx1.example.org";

    fn written(results: &[MethodResult<'_>]) -> String {
        String::from_utf8(write(OURS, results)).expect("UTF-8")
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
            properties: vec![("smtp.mailfrom", b"a@x.test"), ("smtp.helo", b"mx.x.test")],
        };
        let dkim = MethodResult {
            method: "dkim",
            result: "fail",
            comment: Some("body hash (of 1024 bits)".to_owned()),
            properties: vec![("header.d", b"x.test"), ("header.s", b"s1")],
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
                properties: vec![("smtp.helo", value)],
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
                properties: vec![("header.d", &long[..]), ("header.s", b"s")],
            })
            .collect();
        let field = written(&results);
        let mut with_dmarc = results.clone();
        with_dmarc.push(MethodResult {
            method: "dmarc",
            result: "fail",
            comment: None,
            properties: Vec::new(),
        });
        let told = written(&with_dmarc);
        assert!(told.len() <= FIELD_BYTES_MAX && told.ends_with(";\r\n\tdmarc=fail\r\n"), "{told}");
        assert!(field.len() <= FIELD_BYTES_MAX && field.matches("dkim=pass").count() >= 4, "{}", field.len());
        let lines: Vec<&str> = field.trim_end().split("\r\n").collect();
        assert!(lines.iter().skip(1).all(|line| line.starts_with('\t')), "{field}");
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES || !line.trim().contains(' ')), "{field}");
    }
}
