//! Text from anybody made harmless for logs and listings: one record stays one line, a terminal stays sane.

use std::fmt::{self, Display, Formatter, Write};

/// Shows text between double quotes. Graphic ASCII and spaces stay; everything else becomes `\r`, `\n`, `\t`,
/// `\\`, `\"` or `\xNN`.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        out.write_char('"')?;
        for run in runs(text, |octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\')) {
            match run {
                Run::Plain(plain) => out.write_str(plain)?,
                Run::Other(b'\r') => out.write_str("\\r")?,
                Run::Other(b'\n') => out.write_str("\\n")?,
                Run::Other(b'\t') => out.write_str("\\t")?,
                Run::Other(octet @ (b'"' | b'\\')) => write!(out, "\\{}", char::from(octet))?,
                Run::Other(octet) => write!(out, "\\x{octet:02x}")?,
            }
        }
        out.write_char('"')
    }
}

/// Shows text as one word: graphic ASCII and letters and digits of any script stay, all else (white space,
/// controls, `\`, marks that turn text around, octets that are no UTF-8) becomes `\xNN` octet for octet.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a>(pub &'a [u8]);

impl Display for Word<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let octets = |octets: &[u8], out: &mut Formatter<'_>| {
            octets.iter().try_for_each(|octet| write!(out, "\\x{octet:02x}"))
        };
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                let stays = if character.is_ascii() {
                    character.is_ascii_graphic()
                } else {
                    character.is_alphanumeric()
                };
                if stays && character != '\\' {
                    out.write_char(character)?;
                } else {
                    octets(character.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
                }
            }
            octets(chunk.invalid(), out)?;
        }
        Ok(())
    }
}

/// Shows text as a JSON string with its quotes (RFC 8259 §7). Controls of ASCII and Latin 1 are escaped; an
/// octet that is no UTF-8 becomes U+FFFD.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(pub &'a [u8]);

impl Display for Json<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        out.write_char('"')?;
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(out, "\\{character}")?,
                    _ if character.is_control() => write!(out, "\\u{:04x}", u32::from(character))?,
                    _ => out.write_char(character)?,
                }
            }
            if !chunk.invalid().is_empty() {
                out.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        out.write_char('"')
    }
}

/// Octets that stay as they are, all ASCII, or one that does not.
enum Run<'a> {
    Plain(&'a str),
    Other(u8),
}

/// Splits text into runs. `stays` is true for ASCII only.
fn runs(text: &[u8], stays: impl Fn(u8) -> bool) -> impl Iterator<Item = Run<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let plain = rest.iter().position(|octet| !stays(*octet)).unwrap_or(rest.len());
        if plain > 0 {
            let (run, after) = rest.split_at(plain);
            rest = after;
            return std::str::from_utf8(run).ok().map(Run::Plain);
        }
        let (&other, after) = rest.split_first()?;
        rest = after;
        Some(Run::Other(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_quotes_and_foreign_octets_are_escaped() {
        let text = Quoted(b"a \"\\\r\n\t\x00\x1b\x7f\xc3\xa9").to_string();
        assert_eq!(text, r#""a \"\\\r\n\t\x00\x1b\x7f\xc3\xa9""#);
    }

    #[test]
    fn a_word_is_one_word_and_harmless() {
        let text = Word(b"a b\\\x1b[31m\r\n\x7f\xff \xc3\xa4 \xe2\x80\xae \xc2\x9b").to_string();
        assert_eq!(
            text,
            "a\\x20b\\x5c\\x1b[31m\\x0d\\x0a\\x7f\\xff\\x20ä\\x20\\xe2\\x80\\xae\\x20\\xc2\\x9b"
        );
    }

    #[test]
    fn a_json_string_is_one_line_and_holds_no_control() {
        let text = Json(b"a\"\\\n\x1b\x7f\xc3\xa9\xc2\x9b\xff").to_string();
        assert_eq!(text, "\"a\\\"\\\\\\u000a\\u001b\\u007f\u{e9}\\u009b\u{fffd}\"");
    }
}
