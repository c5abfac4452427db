//! Text from anybody as text of HTML.

use std::fmt::{self, Display, Formatter, Write};

use crate::escape::is_seen;

/// Shows text so that it is only text, between tags and between double quotes: what is markup is written as a
/// reference, and what is not seen or turns text around (controls, direction marks) as `\u{…}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                // The no-break space is our own: it stands in figures.
                ' '..='~' | '\u{a0}' => out.write_char(character)?,
                _ if !character.is_ascii() && is_seen(character) => out.write_char(character)?,
                _ => write!(out, "\\u{{{:x}}}", u32::from(character))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_only_text() {
        let text = Text("</code><script>alert(1)</script><img src=x onerror='a' b=\"&amp;\">").to_string();
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
        assert!(text.contains("&lt;script&gt;") && text.contains("&amp;amp;"), "{text}");
    }

    #[test]
    fn what_is_not_seen_is_shown() {
        let text =
            Text("a\u{0}b\r\n\u{1b}[31m\u{202e}gpj.exe\u{200b}\u{feff}\u{85}\u{ffff} ä 日本").to_string();
        assert_eq!(
            text,
            "a\\u{0}b\\u{d}\\u{a}\\u{1b}[31m\\u{202e}gpj.exe\\u{200b}\\u{feff}\\u{85}\\u{ffff} ä 日本"
        );
    }
}
