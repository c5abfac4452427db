//! Text for a terminal of 80 columns: lines that hang below their name, broken between words, and within a
//! word that is longer than a line.

/// Columns of a line; no line that is shown to people is longer.
pub const COLUMNS: usize = 80;

/// A space at which no line ends.
pub const NO_BREAK: char = '\u{a0}';

/// Where the text of a field begins.
const FIELD: usize = 15;

/// A named line of a report: the name, and the text beside it.
pub fn field(name: &str, text: &str) -> String {
    hanging(&format!("  {name:<width$}", width = FIELD - 2), FIELD, text)
}

/// `first` and the text after it, whose further lines begin at the column `indent`. Ends in a line end.
pub fn hanging(first: &str, indent: usize, text: &str) -> String {
    let mut lines = first.to_owned();
    let mut column = first.chars().count();
    let mut at_start = true;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !at_start && column + 1 + width > COLUMNS {
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !at_start {
            lines.push(' ');
            column += 1;
        }
        at_start = false;
        for letter in word.chars() {
            if column == COLUMNS {
                lines.push('\n');
                lines.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
            lines.push(if letter == NO_BREAK { ' ' } else { letter });
            column += 1;
        }
    }
    lines.truncate(lines.trim_end().len());
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_than_the_terminal_and_no_letter_is_lost() {
        let texts = [
            String::new(),
            "short".to_owned(),
            "word ".repeat(60),
            "x".repeat(300),
            format!("loadgen {} behind it", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".repeat(3)),
            format!("{} {}", "a".repeat(65), "b".repeat(64)),
            "µ → ".repeat(40),
            format!("100{NO_BREAK}×{NO_BREAK}250, ").repeat(30),
        ];
        for text in texts {
            let shown = field("name", &text);
            assert!(shown.ends_with('\n') && !shown.contains(" \n"), "{shown:?}");
            for (index, line) in shown.lines().enumerate() {
                assert!(line.chars().count() <= COLUMNS, "{line:?}");
                assert!(index == 0 || line.starts_with(&" ".repeat(FIELD)), "{line:?}");
            }
            let letters =
                |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            assert_eq!(letters(&shown), format!("name{}", letters(&text)));
        }
    }
}
