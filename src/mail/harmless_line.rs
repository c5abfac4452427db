//! What strangers wrote, as one line that does no harm where it is shown.

/// One line of at most so many letters of printable ASCII: a run of white space becomes one space, and none
/// is left at either end; any other octet becomes `?`.
pub fn harmless_line(text: &[u8], bytes_max: usize) -> String {
    let mut line = String::new();
    for octet in text {
        if line.len() == bytes_max {
            break;
        }
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' if line.is_empty() || line.ends_with(' ') => {}
            b' ' | b'\t' | b'\r' | b'\n' => line.push(' '),
            b'!'..=b'~' => line.push(char::from(*octet)),
            _ => line.push('?'),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_of_printable_ascii() {
        for (text, line) in [
            ("", ""),
            (" \r\n\t", ""),
            ("\t a  b\r\n c ", "a b c"),
            ("a\0b\x7f\x0b\u{e4}", "a?b????"),
            ("abcdefghij", "abcdefgh"),
            ("abcdefg hij", "abcdefg"),
            ("~!", "~!"),
        ] {
            assert_eq!(harmless_line(text.as_bytes(), 8), line, "{text:?}");
        }
    }
}
