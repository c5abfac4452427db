//! A file that is read at one sitting, a function that is seen at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{named_sources, ratchet, sources};

const FILE_LINES_MAX: usize = 550;

/// Half of the files of the receiver have at most so many lines.
const MEDIAN_LINES_MAX: usize = 160;

const FUNCTION_LINES_MAX: usize = 90;

const LARGE_FILES: &[(&str, usize)] =
    &[("tests/support/faulty.rs", 600), ("tests/support/spool_octets.rs", 560)];

const LONG_FUNCTIONS: &[(&str, usize)] = &[("tests/support/reference.rs walk", 91)];

#[test]
fn files_are_read_at_one_sitting() {
    let lines = named_sources().into_iter().map(|(name, text)| (name, text.lines().count())).collect();
    ratchet::hold("lines of a file", FILE_LINES_MAX, LARGE_FILES, &lines);
}

#[test]
fn half_of_the_files_are_small() {
    let count =
        |file: &std::path::PathBuf| fs::read_to_string(file).expect("readable source").lines().count();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut lines: Vec<usize> = files.iter().map(count).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    println!("the median of {} files is {median} lines", lines.len());
    assert!(median <= MEDIAN_LINES_MAX, "the median is {median} lines");
}

#[test]
fn functions_are_seen_at_once() {
    let mut lines = BTreeMap::new();
    for (file, text) in named_sources() {
        for (name, count) in functions(&text) {
            let most = lines.entry(format!("{file} {name}")).or_insert(0);
            *most = count.max(*most);
        }
    }
    assert!(lines.len() > 1000, "the functions were found");
    ratchet::hold("lines of a function", FUNCTION_LINES_MAX, LONG_FUNCTIONS, &lines);
}

/// The functions of a source that rustfmt has formatted, and their lines.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        if !before.split_whitespace().all(is_qualifier) || code.ends_with([';', '}']) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let is_end = |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest == ";");
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if let Some(end) = lines[at..].iter().position(is_end) {
            found.push((name, end + 1));
        }
    }
    found
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"" | "in")
        || word.starts_with("pub")
        || word.ends_with(')')
}
