//! Octets of anybody made harmless for a notice: no line ends, no controls, lines that every server takes.

use std::fmt::Write as _;

/// A line that every server takes, without its CRLF (RFC 5321 §4.5.3.1.6).
pub(super) const LINE_BYTES_MAX: usize = 998;

/// A line of quoted-printable, without its CRLF (RFC 2045 §6.7).
const QUOTED_LINE_BYTES_MAX: usize = 76;

/// Printable ASCII stays, each other octet of a character becomes one `?`; what is longer is cut.
pub(super) fn clean(octets: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(octets);
    let clean: String =
        text.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }).collect();
    cut(clean.trim(), bytes_max)
}

/// The same for a text that may have characters of any script; controls become `?`.
pub(super) fn clean_utf8(octets: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(octets);
    let clean: String =
        text.chars().map(|character| if is_control(character) { '?' } else { character }).collect();
    cut(clean.trim(), bytes_max)
}

/// Also what separates lines for programs that know Unicode.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER)
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let most = bytes_max.saturating_sub(3);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Characters that are not ASCII as code points: `utf-8-addr-xtext` (RFC 6533 §3).
pub(super) fn code_points(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            // They begin and end the others.
            '\\' | '+' | '=' | ' ' => push_code_point(character, &mut out),
            '!'..='~' => out.push(character),
            _ => push_code_point(character, &mut out),
        }
    }
    cut(&out, bytes_max)
}

fn push_code_point(character: char, out: &mut String) {
    // Writing to a String does not fail.
    let _ = write!(out, "\\x{{{:02X}}}", u32::from(character));
}

/// What xtext stands for (RFC 3461 §4); a `+` that begins no code stays.
pub(super) fn decoded_xtext(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((octet, rest)) = text.split_first() {
        text = rest;
        let code = rest.get(..2).filter(|_| *octet == b'+');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                text = rest.get(2..).unwrap_or_default();
            }
            None => out.push(*octet),
        }
    }
    out
}

/// Whether octets can go as they are: ASCII in lines that are not too long, each with its CRLF (RFC 2045
/// §2.7).
pub(super) fn is_seven_bit(octets: &[u8]) -> bool {
    let is_line = |line: &[u8]| {
        line.len() <= LINE_BYTES_MAX
            && line.iter().all(|octet| octet.is_ascii() && !matches!(octet, 0 | b'\r' | b'\n'))
    };
    let mut rest = octets;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, after) = rest.split_at(end);
        if !is_line(line) {
            return false;
        }
        rest = after.get(2..).unwrap_or_default();
    }
    rest.is_empty()
}

/// Appends octets in quoted-printable (RFC 2045 §6.7), and a CRLF where they end without one. What is no CRLF
/// is no line end there.
pub(super) fn push_quoted(octets: &[u8], out: &mut Vec<u8>) {
    let mut rest = octets;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        push_quoted_line(line, out);
        out.extend_from_slice(b"\r\n");
        rest = after.get(2..).unwrap_or_default();
    }
}

fn push_quoted_line(line: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut bytes = 0;
    for (index, octet) in line.iter().enumerate() {
        let is_last = index + 1 == line.len();
        let is_plain = match octet {
            b'=' => false,
            b'!'..=b'~' => true,
            b' ' | b'\t' => !is_last,
            _ => false,
        };
        let needed = if is_plain { 1 } else { 3 };
        // Room for the mark of a line that goes on.
        if bytes + needed >= QUOTED_LINE_BYTES_MAX {
            out.extend_from_slice(b"=\r\n");
            bytes = 0;
        }
        bytes += needed;
        if is_plain {
            out.push(*octet);
        } else {
            let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The opposite, the naive way.
    fn decoded(text: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(text.to_vec()).expect("ASCII").replace("=\r\n", "");
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        while let [octet, after @ ..] = rest {
            rest = after;
            if *octet == b'=' {
                let code = std::str::from_utf8(&rest[..2]).expect("digits");
                out.push(u8::from_str_radix(code, 16).expect("digits"));
                rest = &rest[2..];
            } else {
                out.push(*octet);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn quoted_octets_are_short_lines_of_ascii_and_read_back(
            octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' ')], 0..400),
        ) {
            let mut out = Vec::new();
            push_quoted(&octets, &mut out);
            prop_assert!(is_seven_bit(&out));
            prop_assert!(out.split(|octet| *octet == b'\n').all(|line| line.len() <= QUOTED_LINE_BYTES_MAX + 1));
            prop_assert!(!out.windows(2).any(|pair| pair == b"=_"), "no boundary of ours");
            let mut expected = octets;
            if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(decoded(&out), expected);
        }

        #[test]
        fn clean_text_is_one_short_line(octets: Vec<u8>, most in 3_usize..40) {
            let text = clean(&octets, most);
            prop_assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')) && text.len() <= most);
            let text = clean_utf8(&octets, most);
            prop_assert!(!text.chars().any(char::is_control) && text.len() <= most);
        }
    }

    #[test]
    fn what_every_server_takes_goes_as_it_is() {
        for (octets, expected) in [
            (&b""[..], true),
            (b"a\r\nb\r\n", true),
            (b"a", false),
            (b"a\nb\r\n", false),
            (b"a\rb\r\n", false),
            (b"a\0\r\n", false),
            (b"\xe9\r\n", false),
        ] {
            assert_eq!(is_seven_bit(octets), expected, "{}", octets.escape_ascii());
        }
        assert!(is_seven_bit(&[&[b'x'; 998][..], b"\r\n"].concat()));
        assert!(!is_seven_bit(&[&[b'x'; 999][..], b"\r\n"].concat()));
    }

    #[test]
    fn xtext_is_decoded() {
        assert_eq!(decoded_xtext(b"a+2Bb+40x.test+"), b"a+b@x.test+");
        assert_eq!(decoded_xtext(b"+zz+2"), b"+zz+2");
    }

    #[test]
    fn characters_become_code_points() {
        assert_eq!(code_points("\u{e9}l+a@x.test", 100), "\\x{E9}l\\x{2B}a@x.test");
    }
}
