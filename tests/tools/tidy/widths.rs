//! Comments and documents are read beside the code and in a terminal: their lines have a width.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{below_root, named_sources, ratchet};

/// The columns of a line with a comment, its indentation included.
const COMMENT_COLUMNS_MAX: usize = 110;

/// The columns of a line of a document. Tables and code cannot be wrapped.
const DOCUMENT_COLUMNS_MAX: usize = 110;

/// Wider lines, by document.
const WIDE_DOCUMENTS: &[(&str, usize)] = &[("benches/peers/results.md", 2), ("tests/requirements.md", 1)];

#[test]
fn comments_have_a_width() {
    let mut wide = Vec::new();
    for (name, text) in named_sources() {
        let is_wide =
            |line: &&str| line.trim_start().starts_with("//") && columns(line) > COMMENT_COLUMNS_MAX;
        wide.extend(text.lines().filter(is_wide).map(|line| format!("{name}: {}", line.trim_start())));
    }
    assert!(wide.is_empty(), "comments are wider than {COMMENT_COLUMNS_MAX} columns:\n{}", wide.join("\n"));
}

#[test]
fn documents_have_a_width() {
    let wide: BTreeMap<String, usize> = documents()
        .into_iter()
        .map(|path| (below_root(&path), wide_lines(&fs::read_to_string(&path).expect("a document"))))
        .collect();
    assert!(wide.len() > 10, "the documents were found");
    ratchet::hold("lines of documents that are too wide", 0, WIDE_DOCUMENTS, &wide);
}

/// The pages of the project.
pub(super) fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "",
        "docs",
        "tests",
        "tests/dialogues",
        "tests/fuzz",
        "loadgen",
        "tuning",
        "benches",
        "benches/peers",
    ];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Lines of prose that are too wide.
fn wide_lines(text: &str) -> usize {
    let mut is_code = false;
    let mut count = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let is_prose = !is_code && !line.starts_with('|') && !line.starts_with("    ");
        count += usize::from(is_prose && columns(line) > DOCUMENT_COLUMNS_MAX);
    }
    count
}

fn columns(line: &str) -> usize {
    line.chars().count()
}
