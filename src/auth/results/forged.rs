//! Which fields of a message could be taken for Authentication-Results of ours (RFC 8601 §5).
//!
//! What cannot be read counts as ours, because a reader who is less strict might read it.

use std::borrow::Cow;
use std::ops::Range;

use crate::auth::header::{Field, Header};
use crate::auth::lenient;
use crate::mail::a_label;

/// No host has a longer name: to read one costs more than it tells.
const ID_BYTES_MAX: usize = 255;

/// Comments within comments.
const DEPTH_MAX: usize = 32;

/// What has to be cut from a header section: each field that could be taken for one of ours. Ranges are in
/// order, and never touch.
///
/// A field in which one hides after a bare CR or LF goes as a whole, whatever its name is. There may be as
/// many ranges as a header section has fields.
pub fn forged(header: &Header<'_>, authserv_id: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let ours = &*plain_id(authserv_id);
    // Where there are no bare line ends all readers see the same lines.
    let may_hide = header.has_bare_line_end();
    for field in header.every_field() {
        let place = header.place(&field);
        let hides = || may_hide && hides_one(header.whole(&field), ours);
        if !(is_forged(header, &field, ours) || hides()) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == place.start => last.end = place.end,
            Some(_) | None => ranges.push(place),
        }
    }
    ranges
}

fn is_forged(header: &Header<'_>, field: &Field, ours: &str) -> bool {
    header.could_be(field, "authentication-results") && claims_to_be_ours(header.value(field), ours)
}

/// Whether a lenient reader finds a forged field within these octets.
fn hides_one(octets: &[u8], ours: &str) -> bool {
    lenient::readings(octets).any(|reading| {
        let header = Header::new(&reading.octets);
        header.every_field().any(|field| is_forged(&header, &field, ours))
    })
}

/// Whether a field could be taken for one of `ours`, a [`plain_id`]: by its authserv-id, or because that
/// cannot be read.
fn claims_to_be_ours(value: &[u8], ours: &str) -> bool {
    // Who does not know that comments nest sees another id.
    let has_comments = memchr::memchr(b'(', value).is_some();
    let of_simple_reader = has_comments.then(|| read_id(value, Comments::Flat)).flatten();
    if of_simple_reader.is_some_and(|(id, _)| is_same_id(&id, ours)) {
        return true;
    }
    let Some((id, rest)) = read_id(value, Comments::Nested) else { return true };
    if is_same_id(&id, ours) {
        return true;
    }
    // After the id stands a version, which is 1, or the first semicolon.
    let Some(rest) = skip_blanks(rest, Comments::Nested) else { return true };
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (version, rest) = rest.split_at_checked(digits).unwrap_or_default();
    let follows =
        skip_blanks(rest, Comments::Nested).is_some_and(|rest| rest.is_empty() || rest.starts_with(b";"));
    !(follows && matches!(version, b"" | b"1"))
}

/// An id without dots or blanks at its ends, as A-labels; as it is where it is none.
fn plain_id(id: &str) -> Cow<'_, str> {
    let id = id.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '.');
    a_label::to_a_labels(id).unwrap_or(Cow::Borrowed(id))
}

/// Whether an id is `ours`, a [`plain_id`]: in any case, with dots or blanks at its ends, as U-labels or
/// A-labels. What is no name of a host counts as ours.
fn is_same_id(id: &[u8], ours: &str) -> bool {
    if id.len() > ID_BYTES_MAX {
        return true;
    }
    let Ok(id) = std::str::from_utf8(id) else { return true };
    let id = id.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '.');
    a_label::to_a_labels(id).is_none_or(|id| id.eq_ignore_ascii_case(ours))
}

/// The authserv-id: a token or a quoted string, after blanks and comments. What follows it.
fn read_id(value: &[u8], comments: Comments) -> Option<(Vec<u8>, &[u8])> {
    let rest = skip_blanks(value, comments)?;
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let (mut id, mut rest) = (Vec::new(), quoted);
        loop {
            let (octet, after) = rest.split_first()?;
            rest = match octet {
                b'"' => return (!id.is_empty()).then_some((id, after)),
                b'\\' => {
                    id.push(*after.first()?);
                    after.get(1..)?
                }
                // Folds within quotes mean nothing.
                b'\r' | b'\n' => after,
                _ => {
                    id.push(*octet);
                    after
                }
            };
        }
    }
    let is_end =
        |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b';' | b'"' | b'\0'..=b'\x08');
    let end = rest.iter().position(is_end).unwrap_or(rest.len());
    let (id, rest) = rest.split_at_checked(end)?;
    // No token holds one of these (RFC 2045 §5.1), and a reader might stop there. `method=result` without an
    // id before it is what some servers write.
    let is_foreign = |octet: &u8| octet.is_ascii_control() || b")<>@,:\\/[]?=".contains(octet);
    (!id.is_empty() && !id.iter().any(is_foreign)).then(|| (id.to_vec(), rest))
}

/// Where a comment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comments {
    /// At its own parenthesis: comments may stand in comments, and octets may be quoted (RFC 5322 §3.2.2).
    Nested,
    /// At the first parenthesis.
    Flat,
}

/// After blanks, folds and comments; none where a comment has no end.
fn skip_blanks(mut rest: &[u8], comments: Comments) -> Option<&[u8]> {
    loop {
        match (rest.split_first(), comments) {
            (Some((b' ' | b'\t' | b'\r' | b'\n', after)), _) => rest = after,
            (Some((b'(', _)), Comments::Nested) => rest = skip_comment(rest)?,
            (Some((b'(', after)), Comments::Flat) => {
                rest = after.get(memchr::memchr(b')', after)? + 1..)?;
            }
            (Some(_) | None, _) => return Some(rest),
        }
    }
}

fn skip_comment(mut rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 0;
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => rest = after.get(1..)?,
            _ => {}
        }
        match depth {
            0 => return Some(rest),
            depth if depth > DEPTH_MAX => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "mx1.example.org";

    fn ours(value: &str) -> bool {
        claims_to_be_ours(value.as_bytes(), &plain_id(OURS))
    }

    #[test]
    fn whatever_could_be_taken_for_ours_is_removed() {
        for value in [
            " mx1.example.org; none",
            "MX1.Example.ORG; dkim=pass",
            " mx1.example.org. ; none",
            " mx1.example.org 1; none",
            " mx1.example.org 2; none",
            "\r\n\tmx1.example.org;\r\n dkim=pass",
            " (a (nested) comment) mx1.example.org (more); none",
            " \"mx1.example.org\"; none",
            " \"mx1.\\example.org\"; none",
            " mx1.example.org",
            " dkim=pass header.d=x.test",
            " spf=pass (x) smtp.mailfrom=y",
            "",
            " ; none",
            " other.test 2; none",
            " other.test x; none",
            " (no end",
            " \"no end",
            " \"\"; none",
            " other.test \"mx1.example.org\"; none",
            " mx1.example.org.. ; none",
            " \" mx1.example.org \"; none",
            " mx1.example.org/1; none",
            " other.test/mx1.example.org; none",
            " other.test, mx1.example.org; none",
            " <mx1.example.org>; none",
            " =?utf-8?Q?mx1.example.org?=; none",
            " mx1.example.org\0.other.test; none",
            " (a (b) mx1.example.org; dkim=pass) other.test; none",
            " (a \\) mx1.example.org; dkim=pass) other.test; none",
            " mx1\u{3002}example.org; none",
            " \u{ff4d}x1.example.org; none",
            " other\u{fffd}.test; none",
        ] {
            assert!(ours(value), "{value:?}");
        }
        assert!(ours(&format!(" ({}) mx1.example.org; none", "x".repeat(8192))));
        assert!(
            ours(&format!(" {}{} other.test; none", "(".repeat(100), ")".repeat(100))),
            "nobody reads that"
        );
    }

    #[test]
    fn what_is_anothers_stays() {
        for value in [
            " other.test; none",
            " mx1.example.org.evil.test; none",
            " evil.mx1.example.org; none",
            " other.test 1; dkim=pass",
            " other.test (mx1.example.org); none",
            " other.test;\r\n\tdkim=pass reason=\"mx1.example.org\"",
            " \"other.test\" ; none",
            " (a (nested) comment) other.test; none",
            " b\u{fc}cher.test; none",
        ] {
            assert!(!ours(value), "{value:?}");
        }
    }

    #[test]
    fn an_id_of_u_labels_is_ours_in_either_spelling() {
        for ours in ["xn--bcher-kva.test", "b\u{fc}cher.test"] {
            for value in
                [" xn--bcher-kva.test; none", " B\u{dc}CHER.test.; none", " XN--BCHER-KVA.TEST; none"]
            {
                assert!(claims_to_be_ours(value.as_bytes(), &plain_id(ours)), "{ours} {value}");
            }
        }
    }

    /// What is left of a header section once it is cut.
    fn cut(section: &str) -> String {
        let ranges = forged(&Header::new(section.as_bytes()), OURS);
        assert!(ranges.windows(2).all(|two| two[0].end < two[1].start), "in order: {ranges:?}");
        let mut left = section.to_owned();
        for range in ranges.into_iter().rev() {
            left.replace_range(range, "");
        }
        left
    }

    #[test]
    fn forged_fields_are_cut_in_every_disguise() {
        let long = format!("Authentication-Results: mx1.example.org;{}\r\n", "\r\n x=y;".repeat(1200));
        let in_comment = format!("Authentication-Results: ({}) mx1.example.org; none\r\n", "c".repeat(8192));
        for forged in [
            "Authentication-Results: mx1.example.org; spf=pass\r\n",
            "AUTHENTICATION-RESULTS: MX1.EXAMPLE.ORG; spf=pass\r\n",
            "Authentication-Results:mx1.example.org;spf=pass\r\n",
            "Authentication-Results : mx1.example.org; spf=pass\r\n",
            "Authentication-Results\t: mx1.example.org; spf=pass\r\n",
            "Authentication-Results:\r\n\t(a (b)) mx1.example.org (c) 1 (d);\r\n spf=pass\r\n",
            "Authentication-Results: \"mx1.example.org\"; spf=pass\r\n",
            "Authentication-Results: mx1.example.org.; spf=pass\r\n",
            "Authentication-Results: mx1.example.org 1; spf=pass\r\n",
            "Authentication-Results: mx1.example.org 2; spf=pass\r\n",
            "Authentication-Results: other.test 2; spf=pass\r\n",
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=x.test; dkim=none\r\n",
            "Authentication-Results: ; spf=pass\r\n",
            "Authentication-Results:\r\n",
            // Odd lines that a lenient reader might take for the field.
            "Authentication-Results\r\n : mx1.example.org; spf=pass\r\n",
            "Authentication\0-Results: mx1.example.org; spf=pass\r\n",
            "Authentication-Results\x0b: mx1.example.org; spf=pass\r\n",
            "Authentication-Results\n: mx1.example.org; spf=pass\r\n",
            "\nAuthentication-Results: mx1.example.org; spf=pass\r\n",
            // Fields that hide one.
            "X: y\nAuthentication-Results: mx1.example.org; spf=pass\r\n",
            "X: y\rAuthentication-Results: mx1.example.org; spf=pass\r\n",
            "X: y\r\n folded\nauthentication-results : mx1.example.org; spf=pass\r\n",
            "X: y\n\nAuthentication-Results: mx1.example.org; spf=pass\r\n",
            "X\nAuthentication-Results: mx1.example.org; spf=pass\r\n",
            "X: y\nAuthentication-Results:\n\tmx1.example.org; spf=pass\r\n",
            "X: y\nAuthentication-Results: other.test\r; spf=pass\n2; x\nAuthentication-Results: spf=pass\r\n",
            "Authentication-Results: other.test; none\nAuthentication-Results: mx1.example.org; spf=pass\r\n",
            "From: \"x\nAuthentication-Results: mx1.example.org; spf=pass\n\" <a@x.test>\r\n",
            &long,
            &in_comment,
        ] {
            assert_eq!(cut(&format!("{forged}To: b\r\n\r\n")), "To: b\r\n\r\n", "{forged:?} first");
            let within = format!("Received: a\r\n b\r\n{forged}To: b\r\n{forged}{forged}\r\n");
            assert_eq!(cut(&within), "Received: a\r\n b\r\nTo: b\r\n\r\n", "{forged:?}");
            let last = format!("To: b\r\n{}", forged.trim_end_matches("\r\n"));
            assert_eq!(cut(&last), "To: b\r\n", "{forged:?} last, without an end");
        }
        let first = " Authentication-Results: mx1.example.org; spf=pass\r\n";
        assert_eq!(cut(&format!("{first}To: b\r\n")), "To: b\r\n", "a first line that is folded");
    }

    #[test]
    fn fields_of_others_stay() {
        for field in [
            "Authentication-Results: other.test; spf=pass\r\n",
            "Authentication-Results: mx1.example.org.evil.test; spf=pass\r\n",
            "ARC-Authentication-Results: i=1; mx1.example.org; spf=pass\r\n",
            "X-Authentication-Results: mx1.example.org; spf=pass\r\n",
            "Authentication-Results-Original: mx1.example.org; spf=pass\r\n",
            "Subject: Authentication-Results: mx1.example.org; spf=pass\r\n",
            "Subject: x\r\n Authentication-Results: mx1.example.org; spf=pass\r\n",
            "Subject: x\n Authentication-Results: mx1.example.org; spf=pass\r\n",
            "Subject: x\nAuthentication-Results: other.test; spf=pass\r\n",
            "Subject: x\rX-Other: y\n\nz\r\n",
        ] {
            let section = format!("{field}To: b\r\n{field}\r\n");
            assert_eq!(cut(&section), section);
        }
    }

    #[test]
    fn no_field_is_too_far_down_to_be_cut() {
        let many = "a:b\r\n".repeat(10_000);
        let forged = "Authentication-Results: mx1.example.org; spf=pass\r\n";
        assert_eq!(cut(&format!("{many}{forged}\r\n")), format!("{many}\r\n"));
        let hidden = format!("x: y\n{}{}\r\n", many.replace('\r', ""), forged.trim_end());
        assert_eq!(cut(&format!("{hidden}To: b\r\n")), "To: b\r\n");
    }
}
