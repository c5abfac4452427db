//! Local-parts: what may stand in one without quotes, and their one spelling (RFC 5321 §4.1.2, RFC 6531
//! §3.3).

/// Whether an octet is `atext` (RFC 5322 §3.2.3).
pub fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// Whether an octet may stand in a local-part without quotes: atext, part of a character that is not ASCII,
/// or a dot, which senders put anywhere.
pub fn is_bare(octet: u8) -> bool {
    is_atext(octet) || octet == b'.' || !octet.is_ascii()
}

/// Appends a local-part, which is a good one, in its one spelling: without quotes where they are not needed,
/// else with the fewest escapes (`"x"` and `x` are the same).
pub fn push_spelled(local_part: &[u8], out: &mut Vec<u8>) {
    let Some(quoted) = local_part.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return out.extend_from_slice(local_part);
    };
    let unescaped = Unescaped(quoted.iter());
    if unescaped.clone().next().is_some() && unescaped.clone().all(is_bare) {
        return out.extend(unescaped);
    }
    out.push(b'"');
    for octet in unescaped {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// The octets of a quoted string without its backslashes.
#[derive(Clone)]
struct Unescaped<'a>(std::slice::Iter<'a, u8>);

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        match self.0.next()? {
            b'\\' => self.0.next().copied(),
            octet => Some(*octet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_part_has_one_spelling() {
        for (text, spelled) in [
            ("Anna", "Anna"),
            ("a..b.", "a..b."),
            ("\"a\"", "a"),
            ("\"a\\b.\"", "ab."),
            ("\"jos\u{e9}\"", "jos\u{e9}"),
            ("\"\"", "\"\""),
            ("\"a b\"", "\"a b\""),
            ("\"\\a\\ \"", "\"a \""),
            ("\"\\\"\\\\\"", "\"\\\"\\\\\""),
        ] {
            let mut out = Vec::new();
            push_spelled(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).as_deref(), Ok(spelled), "{text}");
        }
    }
}
