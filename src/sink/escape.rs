//! Text that a client sent, made safe for terminals and for formats of one record a line.

use std::fmt::Write;

/// One word for a listing: graphic ASCII and letters and digits of any script stay, all else (white space, controls, `\`,
/// marks that turn text around, octets that are no UTF-8) becomes `\xNN` octet for octet.
pub(super) fn word(text: &[u8], out: &mut String) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let stays =
                if character.is_ascii() { character.is_ascii_graphic() } else { character.is_alphanumeric() };
            if stays && character != '\\' {
                out.push(character);
            } else {
                octets(character.encode_utf8(&mut [0; 4]).as_bytes(), out);
            }
        }
        octets(chunk.invalid(), out);
    }
}

fn octets(octets: &[u8], out: &mut String) {
    for octet in octets {
        // Writing to a String does not fail.
        let _ = write!(out, "\\x{octet:02x}");
    }
}

/// A JSON string with its quotes (RFC 8259 §7). Controls of ASCII and of Latin 1 are escaped; octets that are no UTF-8 become
/// U+FFFD.
pub(super) fn json(text: &[u8], out: &mut String) {
    out.push('"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_and_harmless() {
        let mut out = String::new();
        word(b"a b\\\x1b[31m\r\n\x7f\xff \xc3\xa4 \xe2\x80\xae \xc2\x9b", &mut out);
        assert_eq!(out, "a\\x20b\\x5c\\x1b[31m\\x0d\\x0a\\x7f\\xff\\x20ä\\x20\\xe2\\x80\\xae\\x20\\xc2\\x9b");
    }

    #[test]
    fn a_json_string_is_one_line_and_holds_no_control() {
        let mut out = String::new();
        json("a\"\\/\n\x1b\x7f\u{85}ä\u{10ffff}".as_bytes(), &mut out);
        json(b"\xff", &mut out);
        assert_eq!(out, "\"a\\\"\\\\/\\u000a\\u001b\\u007f\\u0085ä\u{10ffff}\"\"\u{fffd}\"");
    }
}
