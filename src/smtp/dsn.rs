//! The values of the parameters of DSN: RET, ENVID, NOTIFY, ORCPT (RFC 3461 §4, RFC 6533 §3).
//!
//! They are kept as sent. What they say once decoded holds no control characters, so that nobody who decodes
//! them later gets a line end.

use crate::mail::envelope::{Notify, Ret};
use crate::mail::local_part::is_atext;

/// RFC 3461 §4.4.
const ENVID_BYTES_MAX: usize = 100;

/// RFC 3461 §4.2.
const ORCPT_BYTES_MAX: usize = 500;

/// The value of RET.
pub(super) fn ret(value: &[u8]) -> Option<Ret> {
    match value {
        _ if value.eq_ignore_ascii_case(b"FULL") => Some(Ret::Full),
        _ if value.eq_ignore_ascii_case(b"HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

/// The value of ENVID: xtext of printable ASCII.
pub(super) fn envid(value: &[u8]) -> Option<&[u8]> {
    let fits = (1..=ENVID_BYTES_MAX).contains(&value.len()) && value.is_ascii() && is_xtext(value);
    fits.then_some(value)
}

/// The value of NOTIFY: NEVER, or a list of the others.
pub(super) fn notify(value: &[u8]) -> Option<Notify> {
    const WORDS: [(&[u8], Notify); 3] =
        [(b"SUCCESS", Notify::SUCCESS), (b"FAILURE", Notify::FAILURE), (b"DELAY", Notify::DELAY)];
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::NEVER);
    }
    value.split(|octet| *octet == b',').try_fold(Notify::NEVER, |sum, word| {
        let (_, one) = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word))?;
        Some(sum.and(*one))
    })
}

/// The value of ORCPT: an address type, `;` and the address in xtext, or, for `utf-8`, in its own encoding.
pub(super) fn orcpt(value: &[u8]) -> Option<&[u8]> {
    let semicolon = memchr::memchr(b';', value)?;
    let (kind, address) = value.split_at(semicolon);
    let address = address.get(1..).unwrap_or_default();
    let kind_fits = !kind.is_empty() && kind.iter().all(|octet| is_atext(*octet));
    let address_fits = if kind.eq_ignore_ascii_case(b"utf-8") {
        is_utf8_address(address)
    } else {
        address.is_ascii() && is_xtext(address)
    };
    let fits = kind_fits && address_fits && !address.is_empty() && value.len() <= ORCPT_BYTES_MAX;
    fits.then_some(value)
}

/// Whether every `+` of the value begins the two hexadecimal digits of a printable octet (RFC 3461 §4).
/// Lower-case digits are taken, too.
fn is_xtext(value: &[u8]) -> bool {
    value.split(|octet| *octet == b'+').skip(1).all(|behind| {
        let code = behind.get(..2).and_then(hexadecimal);
        code.is_some_and(|code| (0x20..0x7f).contains(&code))
    })
}

/// `utf-8-addr-xtext` or `utf-8-addr-unitext` (RFC 6533 §3): code points may be written `\x{HEX}`, and no
/// other backslash stands there. xtext is taken, too.
fn is_utf8_address(address: &[u8]) -> bool {
    let mut parts = address.split(|octet| *octet == b'\\');
    let plain = parts.next().is_some_and(is_xtext);
    plain
        && parts.all(|part| {
            let inside =
                part.strip_prefix(b"x{").and_then(|rest| Some(rest.split_at(memchr::memchr(b'}', rest)?)));
            inside.is_some_and(|(digits, rest)| {
                let point = (2..=6).contains(&digits.len()).then(|| hexadecimal(digits)).flatten();
                is_xtext(rest) && point.and_then(char::from_u32).is_some_and(|point| !point.is_control())
            })
        })
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_from_what_is_none() {
        for good in ["NEVER", "success", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert!(notify(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", ",", "NEVER,FAILURE", "FAILURE,", "FAILURE, DELAY", "ALWAYS"] {
            assert_eq!(notify(bad.as_bytes()), None, "{bad}");
        }
        let long = "x".repeat(ENVID_BYTES_MAX);
        for good in ["a", "a+2Bb+3D", &long] {
            assert!(envid(good.as_bytes()).is_some(), "{good}");
        }
        let longer = format!("{long}x");
        for bad in ["", "a+", "a+2", "a+ZZ", "a+0A", "a+0d+0a", "a++2B", "caf\u{e9}", &longer] {
            assert_eq!(envid(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!((ret(b"Full"), ret(b"HDRS"), ret(b"HEAD")), (Some(Ret::Full), Some(Ret::Headers), None));
    }

    #[test]
    fn original_recipients_are_a_type_and_an_address() {
        let long = format!("rfc822;{}", "x".repeat(ORCPT_BYTES_MAX - "rfc822;".len()));
        for good in [
            "rfc822;a@x.test",
            "RFC822;a+2Bb@x.test",
            "x400;/a/b",
            "utf-8;caf\\x{E9}@x.test",
            "utf-8;\\x{1F600}\\x{2B}a@x.test",
            "UTF-8;caf\u{e9}@x.test",
            &long,
        ] {
            assert!(orcpt(good.as_bytes()).is_some(), "{good}");
        }
        let longer = format!("{long}x");
        for bad in [
            "",
            "a@x.test",
            ";a@x.test",
            "rfc822;",
            "rf(c;a",
            "rfc822;a+0Ab",
            "rfc822;a+b",
            "rfc822;caf\u{e9}@x.test",
            "utf-8;a\\b",
            "utf-8;\\x{E9",
            "utf-8;\\x{}",
            "utf-8;\\x{D800}",
            "utf-8;\\x{110000}",
            "utf-8;\\x{0A}",
            &longer,
        ] {
            assert_eq!(orcpt(bad.as_bytes()), None, "{bad}");
        }
    }
}
