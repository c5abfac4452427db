//! What is wrong with a file of the operator, and where: problems stop the start, warnings do not.

use std::fmt;

/// A place in a file and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file as the operator named it.
    pub file: String,
    /// Counted from 1; none when something is missing altogether.
    pub line: Option<usize>,
    /// The dotted key, for instance `limits.errors_max`; empty when it is about no key.
    pub key: String,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Something that makes the configuration unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub Finding);

/// Something that is allowed and yet probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub Finding);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The line that holds an offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|octet| *octet == b'\n').count()
}

/// Problems of a text that is not TOML: line and column, and the line quoted. One a line, for a slip is often
/// reported again by what comes after it.
pub(super) fn syntax_problems(file: &str, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let offset = error.span().map_or(text.len(), |span| span.start.min(text.len()));
        let line = line_of(text, offset);
        if problems.iter().any(|problem| problem.0.line == Some(line)) {
            continue;
        }
        let before = text.get(..offset).unwrap_or(text);
        let column = 1 + before.rsplit('\n').next().map_or(0, |start| start.chars().count());
        let quoted = text.lines().nth(line - 1).unwrap_or_default().replace(char::is_control, " ");
        let text = format!("column {column}: this is not TOML: {}\n    | {quoted}", error.message());
        problems.push(Problem(Finding { file: file.to_owned(), line: Some(line), key: String::new(), text }));
    }
    problems
}
