//! `tests/requirements.md` names dialogues, files and tests that exist: `file.rs::test` is a test in a file.
//! Dialogues that it does not name are printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands between backticks in the last column of the tables, with the number of its line.
fn named(text: &str) -> Vec<(usize, &str)> {
    let mut named = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else { continue };
        let last = row.rsplit('|').next().unwrap_or_default();
        named.extend(last.split('`').skip(1).step_by(2).map(|name| (index + 1, name)));
    }
    named
}

/// Whether a file has a test of this name.
fn has_test(file: &Path, test: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.contains(&format!("#[test]\n    fn {test}()")) || text.contains(&format!("#[test]\nfn {test}()"))
}

#[test]
fn every_requirement_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("tests/requirements.md")).expect("tests/requirements.md");
    let dialogues: BTreeSet<String> = fs::read_dir(root.join("tests/dialogues"))
        .expect("tests/dialogues")
        .filter_map(|entry| {
            Some(entry.expect("entry").file_name().to_str()?.strip_suffix(".smtp")?.to_string())
        })
        .collect();
    let named = named(&text);
    assert!(named.len() > 100, "the tables were found");
    let missing: Vec<String> = named
        .iter()
        .filter(|(_, name)| match name.split_once("::") {
            Some((file, test)) => !has_test(&root.join(file), test),
            None if name.contains('/') => !root.join(name).is_file(),
            None => !dialogues.contains(*name),
        })
        .map(|(line, name)| format!("line {line}: {name}"))
        .collect();
    assert!(missing.is_empty(), "tests/requirements.md names what there is not:\n{}", missing.join("\n"));
    let in_a_row: BTreeSet<&str> = named.iter().map(|(_, name)| *name).collect();
    for dialogue in dialogues.iter().filter(|dialogue| !in_a_row.contains(dialogue.as_str())) {
        println!("in no row of tests/requirements.md: {dialogue}");
    }
}
