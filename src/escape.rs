//! Text from anybody made harmless for logs and listings: one record stays one line, a terminal stays sane.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` between double quotes. Printable ASCII stays; everything else becomes `\\r`, `\\n`, `\\t`, `\\\\`, `\\"` or
/// `\\xNN`.
pub fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &octet in text {
        match octet {
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            b' '..=b'~' => out.push(octet),
            _ => out.extend_from_slice(&[b'\\', b'x', hex(octet >> 4), hex(octet)]),
        }
    }
    out.push(b'"');
}

/// Appends `text` as a JSON string (RFC 8259). Valid UTF-8 stays, without control characters; an octet that is not part of
/// any is shown as the code point of the same number.
pub fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for part in text.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                '\0'..=' ' if character != ' ' => push_code(out, character as u8),
                '\u{7f}'..='\u{9f}' => push_code(out, character as u8),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &octet in part.invalid() {
            push_code(out, octet);
        }
    }
    out.push(b'"');
}

fn push_code(out: &mut Vec<u8>, code: u8) {
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(code >> 4), hex(code)]);
}

fn hex(value: u8) -> u8 {
    HEX[usize::from(value & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_quotes_and_foreign_octets_are_escaped() {
        let mut out = Vec::new();
        push_quoted(&mut out, b"a \"\\\r\n\t\x00\x1b\x7f\xc3\xa9");
        assert_eq!(out, br#""a \"\\\r\n\t\x00\x1b\x7f\xc3\xa9""#);
    }

    #[test]
    fn json_keeps_text_and_escapes_the_rest() {
        let mut out = Vec::new();
        push_json(&mut out, b"a\"\\\n\x1b\x7f\xc3\xa9\xff");
        assert_eq!(out, "\"a\\\"\\\\\\u000a\\u001b\\u007f\u{e9}\\u00ff\"".as_bytes());
    }
}
