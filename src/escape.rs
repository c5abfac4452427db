//! Text from anybody made harmless for logs and listings: one record stays one line, a terminal stays sane.

use std::fmt::{self, Display, Formatter, Write};

/// Shows text between double quotes. Characters that are seen stay, of any script; everything else becomes
/// `\r`, `\n`, `\t`, `\\`, `\"` or `\xNN` octet for octet: controls, marks that turn text around, what has no
/// shape or no meaning, octets that are no UTF-8.
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
                Run::Foreign(octets) => {
                    for chunk in octets.utf8_chunks() {
                        for character in chunk.valid().chars() {
                            if is_seen(character) {
                                out.write_char(character)?;
                            } else {
                                push_octets(character.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
                            }
                        }
                        push_octets(chunk.invalid(), out)?;
                    }
                }
            }
        }
        out.write_char('"')
    }
}

fn push_octets(octets: &[u8], out: &mut Formatter<'_>) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(out, "\\x{octet:02x}"))
}

/// Whether a character that is not ASCII has a shape of its own and is only what it looks like: no control,
/// no mark that turns text around or joins it, no white space, none that Unicode has not assigned.
pub fn is_seen(character: char) -> bool {
    // The standard library knows which characters can be shown. It would also escape an accent that stands
    // alone, but for its place after the first character.
    let mut text = [0; 5];
    text[0] = b'x';
    let bytes = 1 + character.encode_utf8(&mut text[1..]).len();
    let shown = std::str::from_utf8(&text[..bytes]).unwrap_or_default();
    shown.escape_debug().count() == 2 && character != char::REPLACEMENT_CHARACTER
}

/// Shows text as one word: graphic ASCII and letters and digits of any script stay, all else (white space,
/// controls, `\`, marks that turn text around, octets that are no UTF-8) becomes `\xNN` octet for octet.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a>(pub &'a [u8]);

impl Display for Word<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
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
                    push_octets(character.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
                }
            }
            push_octets(chunk.invalid(), out)?;
        }
        Ok(())
    }
}

/// Shows text as a JSON string with its quotes (RFC 8259 §7). Characters that are not seen are escaped; an
/// octet that is no UTF-8 becomes U+FFFD.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(pub &'a [u8]);

impl Display for Json<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        out.write_char('"')?;
        for run in runs(text, |octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\')) {
            match run {
                Run::Plain(plain) => out.write_str(plain)?,
                Run::Other(octet @ (b'"' | b'\\')) => write!(out, "\\{}", char::from(octet))?,
                Run::Other(octet) => write!(out, "\\u{octet:04x}")?,
                Run::Foreign(octets) => {
                    for chunk in octets.utf8_chunks() {
                        for character in chunk.valid().chars() {
                            if is_seen(character) {
                                out.write_char(character)?;
                            } else {
                                let mut units = [0; 2];
                                let units = character.encode_utf16(&mut units);
                                units.iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
                            }
                        }
                        if !chunk.invalid().is_empty() {
                            out.write_char(char::REPLACEMENT_CHARACTER)?;
                        }
                    }
                }
            }
        }
        out.write_char('"')
    }
}

/// Octets that stay as they are, all ASCII; one of ASCII that does not; octets that are not ASCII.
enum Run<'a> {
    Plain(&'a str),
    Other(u8),
    Foreign(&'a [u8]),
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
        let foreign = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
        if foreign > 0 {
            let (run, after) = rest.split_at(foreign);
            rest = after;
            return Some(Run::Foreign(run));
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
        let text = Quoted(b"a \"\\\r\n\t\x00\x1b\x7f\xc3").to_string();
        assert_eq!(text, r#""a \"\\\r\n\t\x00\x1b\x7f\xc3""#);
    }

    #[test]
    fn what_is_seen_is_shown_and_what_misleads_is_not() {
        for shown in ["é", "e\u{301}", "Ж", "用户@例え.テスト", "हिन्दी", "ไทย", "😀", "€"]
        {
            assert_eq!(Quoted(shown.as_bytes()).to_string(), format!("\"{shown}\""));
            assert_eq!(Json(shown.as_bytes()).to_string(), format!("\"{shown}\""));
        }
        // C1, turned text, isolates, no width, a line end of Unicode, no-break and wide space, tags, a byte
        // order mark, soft hyphen, private use, unassigned, no character.
        for hidden in [
            '\u{9b}',
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{a0}',
            '\u{3000}',
            '\u{e0041}',
            '\u{feff}',
            '\u{ad}',
            '\u{e000}',
            '\u{378}',
            '\u{ffff}',
            '\u{fffd}',
        ] {
            let text = format!("a{hidden}b");
            let quoted = Quoted(text.as_bytes()).to_string();
            assert!(quoted.is_ascii() && quoted.starts_with("\"a\\x"), "{quoted}");
            let json = Json(text.as_bytes()).to_string();
            assert!(json.is_ascii() && json.starts_with("\"a\\u"), "{json}");
        }
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
