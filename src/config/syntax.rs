//! What is wrong with a text that is not TOML, in words of the configuration.

use super::problem::{Finding, Problem, line_of};
use super::reference;

/// Problems of a text that is not TOML: line and column, and the line quoted. One a line, because a slip is
/// often reported again by what comes after it.
pub(super) fn problems(file: &str, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let lines: Vec<&str> = text.lines().collect();
    let mut problems: Vec<Problem> = Vec::new();
    // The keys of a table that is written twice are all reported as well: they end where this line is not the
    // last header.
    let mut twice = None;
    for error in errors {
        let offset = error.span().map_or(text.len(), |span| span.start.min(text.len()));
        let line = line_of(text, offset);
        let is_duplicate = error.message() == DUPLICATE;
        if problems.iter().any(|problem| problem.0.line == Some(line))
            || (is_duplicate && twice.is_some() && twice == header_above(&lines, line))
        {
            continue;
        }
        if is_duplicate && let Some((key, text)) = table_written_twice(&lines, line) {
            twice = Some(line);
            problems.push(Problem(Finding { file: file.to_owned(), line: Some(line), key, text }));
            continue;
        }
        let before = text.get(..offset).unwrap_or(text);
        let column = 1 + before.rsplit('\n').next().map_or(0, |start| start.chars().count());
        let quoted = lines.get(line - 1).copied().unwrap_or_default().replace(char::is_control, " ");
        let text = format!("column {column}: this is not TOML: {}\n    | {quoted}", error.message());
        problems.push(Problem(Finding { file: file.to_owned(), line: Some(line), key: String::new(), text }));
    }
    problems.sort_by_key(|problem| problem.0.line);
    problems
}

/// What the TOML reader says of a key, or a header, that is there already.
const DUPLICATE: &str = "duplicate key";

/// The name in a line that is a header, without spaces and quotes, and whether it has two brackets.
fn header(line: &str) -> Option<(String, bool)> {
    let inside = line.trim_start().strip_prefix('[')?;
    let is_double = inside.starts_with('[');
    let name = inside.trim_start_matches('[').split(']').next()?;
    Some((name.replace([' ', '\t', '"', '\''], ""), is_double))
}

/// The last line up to this one that is a header; both counted from 1.
fn header_above(lines: &[&str], line: usize) -> Option<usize> {
    (1..=line).rev().find(|number| lines.get(number - 1).and_then(|text| header(text)).is_some())
}

/// What is wrong with a header that stands a second time, and the table's name. `None` when the line is no
/// header of a known table.
fn table_written_twice(lines: &[&str], line: usize) -> Option<(String, String)> {
    let (name, is_double) = header(lines.get(line - 1)?)?;
    let wanted = reference::header_of(&name)?;
    let first =
        lines.iter().take(line - 1).position(|text| header(text).is_some_and(|(other, _)| other == name));
    let first_line = first.map(|index| index + 1);
    let first_is_single =
        first.and_then(|index| header(lines[index])).is_some_and(|(_, is_double)| !is_double);
    let text = match first_line {
        Some(first) if !wanted.starts_with("[[") => {
            format!("line {first} begins this table already; write {wanted} once, with all its keys")
        }
        Some(first) if first_is_single && is_double => {
            format!(
                "line {first} says [{name}]; there may be several of these tables: write {wanted} there, too"
            )
        }
        Some(first) if first_is_single => {
            format!("there may be several of these tables; write {wanted} here and in line {first}")
        }
        Some(_) | None => format!("there may be several of these tables; write {wanted}"),
    };
    Some((name, text))
}
