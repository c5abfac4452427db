//! Fields of a header section and of a delivery status: folded, and never more than one each.

use super::encoding::{clean, clean_utf8, code_points};

/// Where a field is folded, if it has a place for that.
const FOLDED_BYTES: usize = 76;

/// Octets of a value: with its name it is a line that every server takes, also where it cannot be folded.
const VALUE_BYTES_MAX: usize = 900;

/// Octets of an address: those of a path and more (RFC 5321 §4.5.3.1.3).
pub(super) const ADDRESS_BYTES_MAX: usize = 600;

/// Appends a field. What its value must not hold becomes `?`.
pub(super) fn push_field(name: &str, value: &str, out: &mut Vec<u8>) {
    push_folded(name, &clean(value.as_bytes(), VALUE_BYTES_MAX), out);
}

/// The same where characters of any script are allowed.
pub(super) fn push_field_utf8(name: &str, value: &str, out: &mut Vec<u8>) {
    push_folded(name, &clean_utf8(value.as_bytes(), VALUE_BYTES_MAX), out);
}

/// `value` has no controls.
fn push_folded(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut bytes = name.len() + 1;
    for (index, word) in value.split(' ').enumerate() {
        // An empty word is one more space, and belongs to the word after it.
        if index > 0 && !word.is_empty() && bytes + 1 + word.len() > FOLDED_BYTES {
            out.extend_from_slice(b"\r\n");
            bytes = 0;
        }
        out.push(b' ');
        out.extend_from_slice(word.as_bytes());
        bytes += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a field with an address and its type: the one that is given, or `rfc822`, or `utf-8` where it is
/// not ASCII (RFC 6533 §3).
pub(super) fn push_address(name: &str, kind: Option<&str>, address: &[u8], out: &mut Vec<u8>) {
    let is_utf8 = kind.map_or(!address.is_ascii(), |kind| kind.eq_ignore_ascii_case("utf-8"));
    let value = if is_utf8 && !address.is_ascii() {
        code_points(&clean_utf8(address, ADDRESS_BYTES_MAX), ADDRESS_BYTES_MAX)
    } else {
        clean(address, ADDRESS_BYTES_MAX)
    };
    let kind = kind.unwrap_or(if is_utf8 { "utf-8" } else { "rfc822" });
    push_field(name, &format!("{kind}; {value}"), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str) -> String {
        let mut out = Vec::new();
        push_field("Name", value, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_field_is_folded_where_it_has_spaces() {
        assert_eq!(field("a b"), "Name: a b\r\n");
        assert_eq!(field("a\r\nb: c"), "Name: a??b: c\r\n");
        let long = "word ".repeat(40);
        let folded = field(&long);
        assert!(folded.lines().count() == 3 && folded.lines().all(|line| line.len() <= 76), "{folded}");
        assert_eq!(folded.replace("\r\n ", " ").trim_end(), format!("Name: {}", long.trim()));
        assert!(field(&"x".repeat(5000)).len() < 998);
        assert!(field(&format!("a{}b", " ".repeat(800))).lines().all(|line| !line.trim().is_empty()));
    }

    #[test]
    fn addresses_have_a_type() {
        let of = |kind, address: &str| {
            let mut out = Vec::new();
            push_address("R", kind, address.as_bytes(), &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(of(None, "a@x.test"), "R: rfc822; a@x.test\r\n");
        assert_eq!(of(None, "\u{e9}@x.test"), "R: utf-8; \\x{E9}@x.test\r\n");
        assert_eq!(of(Some("utf-8"), "\\x{E9}@x.test"), "R: utf-8; \\x{E9}@x.test\r\n");
        assert_eq!(of(Some("x400"), "/c=us/"), "R: x400; /c=us/\r\n");
    }
}
