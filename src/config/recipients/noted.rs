//! What is to be said of lines of a file: the first ones by name, of the rest how many.

use std::path::Path;

use crate::config::problem::{Finding, Warning};

/// Findings that are named one by one.
const SHOWN_MAX: usize = 20;

/// Findings in the order of their lines.
#[derive(Debug, Default)]
pub(in crate::config) struct Noted {
    /// `len <= SHOWN_MAX`
    shown: Vec<(usize, String)>,
    /// All of them.
    count: usize,
    /// The first line that is not shown.
    left_out: Option<usize>,
}

impl Noted {
    /// Notes what is to be said of a line, which comes after those before.
    pub(in crate::config) fn note(&mut self, line: usize, text: Option<String>) {
        let Some(text) = text else { return };
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push((line, text));
        } else {
            self.left_out.get_or_insert(line);
        }
    }

    pub(in crate::config) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// These and others, of one line these first.
    pub(in crate::config) fn merged(mut self, others: Self) -> Self {
        self.shown.extend(others.shown);
        self.shown.sort_by_key(|(line, _)| *line);
        let cut = self.shown.get(SHOWN_MAX).map(|(line, _)| *line);
        self.shown.truncate(SHOWN_MAX);
        let left_out = [self.left_out, others.left_out, cut].into_iter().flatten().min();
        Self { shown: self.shown, count: self.count + others.count, left_out }
    }

    /// One by one, and of many the count with this word.
    pub(in crate::config) fn into_findings(self, path: &Path, rest: &str) -> Vec<Finding> {
        let file = path.display().to_string();
        let more = self.count - self.shown.len();
        let finding =
            |(line, text)| Finding { file: file.clone(), line: Some(line), key: String::new(), text };
        let mut findings: Vec<Finding> = self.shown.into_iter().map(finding).collect();
        if more > 0 {
            // Findings are told in the order of their lines.
            let (line, text) = (self.left_out, format!("{more} {rest}"));
            findings.push(Finding { file, line, key: String::new(), text });
        }
        findings
    }

    pub(in crate::config) fn into_warnings(self, path: &Path) -> Vec<Warning> {
        self.into_findings(path, "more entries like these").into_iter().map(Warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_are_one_in_the_order_of_their_lines() {
        let noted = |lines: std::ops::Range<usize>, text: &str| {
            let mut noted = Noted::default();
            lines.for_each(|line| noted.note(line, Some(text.to_owned())));
            noted
        };
        let merged = noted(5..30, "a").merged(noted(1..8, "b"));
        let found = merged.into_findings(Path::new("f"), "more");
        let shown: Vec<_> = found.iter().map(|found| (found.line.expect("a line"), &*found.text)).collect();
        assert_eq!(
            shown[..8],
            [(1, "b"), (2, "b"), (3, "b"), (4, "b"), (5, "a"), (5, "b"), (6, "a"), (6, "b")]
        );
        assert_eq!(shown[19..], [(17, "a"), (18, "12 more")]);
        assert!(noted(0..0, "").is_empty());
    }
}
