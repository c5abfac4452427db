//! Characters that nobody sees, and that make an address in a file of the operator another one than it looks
//! like: they come from word processors, web pages and files that were joined.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The first character that cannot be seen, and how many characters stand before it. ASCII spaces are seen.
pub(super) fn find(text: &str) -> Option<(usize, char)> {
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return None;
    }
    text.chars().enumerate().find(|(_, character)| is_invisible(*character))
}

fn is_invisible(character: char) -> bool {
    /// An empty pattern of Braille dots, and what stands where something could not be read.
    const OTHERS: [char; 2] = ['\u{2800}', char::REPLACEMENT_CHARACTER];
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    let is_unseen = matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    is_unseen
        || OTHERS.contains(&character)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

/// What is to be said of one.
pub(super) fn fault(character: char) -> String {
    let code = u32::from(character);
    match character {
        '\r' => "a carriage return (U+000D) inside a line; lines end in LF or CRLF".to_owned(),
        '\t' => "a tab (U+0009)".to_owned(),
        '\u{feff}' => "a byte order mark (U+FEFF), which cannot be seen; only the first line may begin with it, take it out".to_owned(),
        char::REPLACEMENT_CHARACTER => {
            "U+FFFD, which stands for something that a program could not read; write what was meant".to_owned()
        }
        _ => format!("U+{code:04X}, which cannot be seen; take it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_found_with_its_place() {
        assert_eq!(find("anna@field.test"), None);
        assert_eq!(find("\"a b\"@b\u{fc}cher.test, jose\u{301}, \u{5d0}, \u{1f4e8}, \u{e000}"), None);
        for odd in "\0\t\r\x7f\u{85}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{2003}\u{200b}\u{200c}\u{200d}\u{200e}\u{2028}\u{202e}\
                    \u{2060}\u{2066}\u{2800}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fffd}\u{e0041}"
            .chars()
        {
            assert_eq!(find(&format!("\u{e9}a{odd}b")), Some((2, odd)), "{odd:?}");
            assert!(fault(odd).contains(&format!("U+{:04X}", u32::from(odd))), "{odd:?}");
        }
    }
}
