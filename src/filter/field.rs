//! Header fields that a filter adds, made so that each is one whole field in front of the mail data, and
//! nothing else.

/// Fields that one filter adds to a message, at most.
const FIELDS_MAX: usize = 64;

/// Octets of all header fields that one filter adds to a message, at most.
pub const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// Octets of a name, at most: with colon and space it fits a line as RFC 5322 §2.1.1 would have them.
const NAME_BYTES_MAX: usize = 76;

/// Octets of a line without its end. RFC 5322 §2.1.1 allows 998.
const LINE_BYTES_MAX: usize = 900;

/// Where a field goes among those that were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Below,
}

/// Why a field is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its name is none.
    Name,
    /// A word of it fits no line.
    Word,
    /// With it there would be too many fields, or octets of them.
    TooMuch,
}

/// The fields that one filter adds to a message, from the top.
#[derive(Debug, Default)]
pub(super) struct Fields {
    fields: Vec<Vec<u8>>,
    bytes: usize,
}

impl Fields {
    /// Adds a field. `has_space`: what stands between colon and value is part of the value.
    pub(super) fn add(
        &mut self,
        place: Place,
        name: &[u8],
        value: &[u8],
        has_space: bool,
    ) -> Result<(), Unfit> {
        let field = whole_field(name, value, has_space)?;
        let bytes = self.bytes + field.len();
        if self.fields.len() == FIELDS_MAX || bytes > FIELDS_BYTES_MAX {
            return Err(Unfit::TooMuch);
        }
        self.bytes = bytes;
        let at = if place == Place::Top { 0 } else { self.fields.len() };
        self.fields.insert(at, field);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// All of them, each with its CRLF; then there are none.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).fields.concat()
    }
}

/// A header field with its CRLF.
///
/// Its value may have lines, with any ends. One that does not begin with a blank would be a field of its own,
/// or the end of the header section: it is folded, and lines without anything to see are left out (RFC 5322
/// §2.2.3). Lines that are too long are folded at a blank. Other blanks stay, because a field may be part of
/// what a signature is about. Controls, and what is no ASCII, become `?`: the message may go on to a server
/// that takes no other (RFC 6532).
fn whole_field(name: &[u8], value: &[u8], has_space: bool) -> Result<Vec<u8>, Unfit> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':');
    if !is_name {
        return Err(Unfit::Name);
    }
    let mut field = [name, b":"].concat();
    let lines = value.split(|octet| matches!(octet, b'\r' | b'\n')).map(<[u8]>::trim_ascii_end);
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let begins_with_blank = matches!(line, [b' ' | b'\t', ..]);
        let (line_start, indent): (_, &[u8]) = if index == 0 {
            (0, if has_space { b"" } else { b" " })
        } else {
            field.extend_from_slice(b"\r\n");
            (field.len(), if begins_with_blank { b"" } else { b"\t" })
        };
        push_line(indent, line, line_start, &mut field)?;
    }
    field.extend_from_slice(b"\r\n");
    Ok(field)
}

/// Appends a line of a value, whose field has a line that began at `line_start`.
fn push_line(
    mut indent: &[u8],
    mut line: &[u8],
    mut line_start: usize,
    field: &mut Vec<u8>,
) -> Result<(), Unfit> {
    while !line.is_empty() {
        let (blanks, word, rest) = split_word(line);
        if 1 + word.len() > LINE_BYTES_MAX {
            return Err(Unfit::Word);
        }
        if field.len() - line_start + indent.len() + blanks.len() + word.len() <= LINE_BYTES_MAX {
            field.extend_from_slice(indent);
            field.extend_from_slice(blanks);
        } else {
            // A second time would make an empty line, the end of the header section.
            if field.len() > line_start {
                field.extend_from_slice(b"\r\n");
                line_start = field.len();
            }
            field.push(blanks.first().copied().unwrap_or(b'\t'));
        }
        field.extend(word.iter().copied().map(harmless));
        (indent, line) = (b"", rest);
    }
    Ok(())
}

/// The blanks that a line begins with, the word after them, and the rest.
fn split_word(line: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let blanks = line.iter().take_while(|octet| is_blank(octet)).count();
    let (blanks, rest) = line.split_at_checked(blanks).unwrap_or_default();
    let word = rest.iter().take_while(|octet| !is_blank(octet)).count();
    let (word, rest) = rest.split_at_checked(word).unwrap_or_default();
    (blanks, word, rest)
}

fn harmless(octet: u8) -> u8 {
    if octet.is_ascii_graphic() { octet } else { b'?' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Result<String, Unfit> {
        let field = whole_field(name.as_bytes(), value.as_bytes(), false)?;
        Ok(String::from_utf8(field).expect("ASCII"))
    }

    #[test]
    fn a_value_stays_inside_its_field() {
        for (value, expected) in [
            ("Yes", "X: Yes\r\n"),
            ("", "X:\r\n"),
            (" a  b\t", "X:  a  b\r\n"),
            ("a\r\n b\r\n\tc", "X: a\r\n b\r\n\tc\r\n"),
            ("a\n\tb", "X: a\r\n\tb\r\n"),
            ("a\r\nSubject: b", "X: a\r\n\tSubject: b\r\n"),
            ("a\rSubject: b", "X: a\r\n\tSubject: b\r\n"),
            ("a\r\n\r\nbody", "X: a\r\n\tbody\r\n"),
            ("a\r\n \t\r\nb", "X: a\r\n\tb\r\n"),
            ("\r\na\r\n", "X:\r\n\ta\r\n"),
            ("\r\n\r\n", "X:\r\n"),
            ("a\0b\u{7f}\u{b}\u{85}\u{e4}", "X: a?b??????\r\n"),
        ] {
            assert_eq!(field("X", value).as_deref(), Ok(expected), "{value:?}");
        }
        for (value, expected) in
            [("1", "X:1\r\n"), (" 2", "X: 2\r\n"), ("", "X:\r\n"), ("\n1", "X:\r\n\t1\r\n")]
        {
            let field = whole_field(b"X", value.as_bytes(), true).expect("a field");
            assert_eq!(String::from_utf8_lossy(&field), expected, "{value:?}");
        }
    }

    /// Who takes the line ends away has the value that was given.
    #[test]
    fn lines_are_folded_at_blanks_where_they_are_too_long() {
        let word = |bytes: usize| "x".repeat(bytes);
        for value in [
            format!("{} ", word(99)).repeat(30),
            format!("a{}\t{}  b", " ".repeat(500), word(500)),
            format!("{} {}", word(LINE_BYTES_MAX - 1), word(LINE_BYTES_MAX - 1)),
            format!("{}\n {}", word(LINE_BYTES_MAX - 3), word(LINE_BYTES_MAX - 1)),
        ] {
            for name in ["X", &"X".repeat(NAME_BYTES_MAX)] {
                let folded = field(name, &value).expect("a field");
                let lines: Vec<&str> = folded.strip_suffix("\r\n").expect("whole").split("\r\n").collect();
                assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX && !line.trim().is_empty()));
                assert!(lines.len() > 1 && lines[1..].iter().all(|line| line.starts_with([' ', '\t'])));
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(words(&folded)[1..], words(&value));
            }
        }
        let unfolded = field("X", &format!("{} ", word(99)).repeat(30)).expect("a field").replace("\r\n", "");
        assert_eq!(unfolded, format!("X: {}", format!("{} ", word(99)).repeat(30).trim_end()));
        // More blanks than a line has room for are one.
        assert_eq!(field("X", &format!("a{}b", " ".repeat(2000))).as_deref(), Ok("X: a\r\n b\r\n"));
        assert_eq!(
            field("X", &format!("a\n{}b", " ".repeat(2000))).as_deref(),
            Ok("X: a\r\n b\r\n"),
            "no empty line"
        );
        assert_eq!(field("X", &word(LINE_BYTES_MAX)), Err(Unfit::Word));
        let tight = whole_field(b"X", word(LINE_BYTES_MAX - 1).as_bytes(), true).expect("a field");
        assert!(tight.starts_with(b"X:\r\n\tx"), "no blank to fold at");
    }

    #[test]
    fn a_name_is_that_of_a_field() {
        for name in ["", "X:", "X Y", "X\r\nY", "\t", "\u{e4}", &"X".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(field(name, "v"), Err(Unfit::Name), "{name:?}");
        }
        assert!(field(&"X".repeat(NAME_BYTES_MAX), "v").is_ok());
    }

    #[test]
    fn what_one_filter_adds_is_bounded() {
        let mut fields = Fields::default();
        let results = (0..100).map(|_| fields.add(Place::Below, b"A", b"1", false));
        assert_eq!(results.flatten().count(), FIELDS_MAX);
        assert_eq!(fields.add(Place::Top, b"A", b"1", false), Err(Unfit::TooMuch));
        assert_eq!(fields.take().len(), FIELDS_MAX * "A: 1\r\n".len());
        assert!(fields.is_empty());
        // One that does not fit takes no room from a shorter one.
        let long = "x ".repeat(FIELDS_BYTES_MAX / 4);
        assert_eq!(fields.add(Place::Below, b"A", long.as_bytes(), false), Ok(()));
        assert_eq!(fields.add(Place::Below, b"B", long.as_bytes(), false), Err(Unfit::TooMuch));
        assert_eq!(fields.add(Place::Top, b"C", b"1", false), Ok(()));
        let octets = fields.take();
        assert!(octets.starts_with(b"C: 1\r\nA: x x") && octets.len() <= FIELDS_BYTES_MAX);
    }
}
