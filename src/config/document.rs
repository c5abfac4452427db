//! One configuration file on its way from TOML to types: what was found wrong in it, and which keys it may
//! have.
//!
//! Reading and describing are the same walk: the reader asks a [`Section`] for key after key, and each asked
//! key is noted with its doc. To describe, the walk is done over a file in which nothing is given.
//!
//! [`Section`]: super::section::Section

use std::cell::RefCell;
use std::path::Path;

use toml::de::DeTable;

use super::fixed::Fixed;
use super::problem::{Finding, Problem, Warning, line_of};

/// A table of the configuration as the reference shows it.
#[derive(Debug)]
pub(super) struct DescribedTable {
    /// Its name; empty for the top of the file.
    pub(super) name: &'static str,
    /// How its header is written.
    pub(super) header: String,
    pub(super) doc: &'static str,
    pub(super) keys: Vec<DescribedKey>,
}

/// A key as the reference shows it.
#[derive(Debug)]
pub(super) struct DescribedKey {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// What may be written, with range and unit.
    pub(super) allowed: String,
    pub(super) default: Fallback,
    /// How a running server takes a change of it. `None` is a slip of whoever wrote the table.
    pub(super) taken_by: Option<TakenBy>,
}

/// How a running server takes the change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBy {
    /// A reload: for sessions that begin from then on.
    Reload,
    /// A restart.
    Restart,
}

impl TakenBy {
    /// As the reference says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

/// What holds without the key.
#[derive(Debug)]
pub(super) enum Fallback {
    /// A value, as it would be written.
    Value(String),
    /// Something found out at start; with an example.
    Computed { example: &'static str, default: &'static str },
    /// The key must be given; with an example.
    Required { example: &'static str },
    /// The key must be given in some cases; with an example.
    Depends { example: &'static str, required: &'static str },
    /// What another table says.
    Inherited { table: &'static str, example: String },
}

impl Fallback {
    /// A value as it would be written, and what the reference says of the default.
    pub(super) fn shown(&self) -> (&str, String) {
        match self {
            Self::Value(value) => (value.as_str(), format!("default {value}")),
            Self::Computed { example, default } => (example, format!("default: {default}")),
            Self::Required { example } => (example, "required".to_owned()),
            Self::Depends { example, required } => (example, format!("required {required}")),
            Self::Inherited { table, example } => (example.as_str(), format!("default: that of {table}")),
        }
    }

    /// What holds without the key, in the words of an answer to the operator.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Value(value) => value.clone(),
            Self::Computed { default, .. } => (*default).to_owned(),
            Self::Required { .. } | Self::Depends { .. } | Self::Inherited { .. } => "not given".to_owned(),
        }
    }
}

/// What to say about a key that its table does not have: the table's name, the key, and the keys that it has.
pub(super) type ExplainUnknown = fn(table: &str, key: &str, known: &[&'static str]) -> String;

/// The file, and what has been found so far.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    /// What relative paths are relative to.
    pub(super) base_dir: &'a Path,
    /// The top of the file. `None` when there is no file and the walk is done to describe.
    pub(super) root: Option<&'a DeTable<'a>>,
    pub(super) explain_unknown: ExplainUnknown,
    /// Whether this process is to serve with it. The cores of others are not those of the server.
    pub(super) serves: bool,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Warning>>,
    tables: RefCell<Vec<DescribedTable>>,
    /// The dotted keys that were found, with their lines.
    found: RefCell<Vec<(String, usize)>>,
    /// What only a restart changes.
    fixed: RefCell<Vec<Fixed>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        base_dir: &'a Path,
        root: Option<&'a DeTable<'a>>,
        explain_unknown: ExplainUnknown,
    ) -> Self {
        Self {
            file,
            text,
            base_dir,
            root,
            explain_unknown,
            serves: true,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            tables: RefCell::default(),
            found: RefCell::default(),
            fixed: RefCell::default(),
        }
    }

    pub(super) fn line_of(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    pub(super) fn problem(&self, line: Option<usize>, key: String, text: String) {
        self.problems.borrow_mut().push(Problem(self.finding(line, key, text)));
    }

    pub(super) fn warn(&self, line: Option<usize>, key: String, text: String) {
        self.warnings.borrow_mut().push(Warning(self.finding(line, key, text)));
    }

    /// Notes where a key stands.
    pub(super) fn found(&self, key: String, line: usize) {
        self.found.borrow_mut().push((key, line));
    }

    /// Notes the value of a key that only a restart changes.
    pub(super) fn fix(&self, fixed: Fixed) {
        self.fixed.borrow_mut().push(fixed);
    }

    /// The values of all keys that only a restart changes.
    pub(super) fn take_fixed(&self) -> Vec<Fixed> {
        self.fixed.take()
    }

    fn finding(&self, line: Option<usize>, key: String, text: String) -> Finding {
        Finding { file: self.file.to_owned(), line, key, text }
    }

    /// Notes a table, to which keys can then be described.
    pub(super) fn describe_table(&self, name: &'static str, header: String, doc: &'static str) {
        self.tables.borrow_mut().push(DescribedTable { name, header, doc, keys: Vec::new() });
    }

    pub(super) fn describe_key(&self, table: &str, key: DescribedKey) {
        let mut tables = self.tables.borrow_mut();
        if let Some(table) = tables.iter_mut().find(|known| known.name == table) {
            table.keys.push(key);
        }
    }

    /// Problems and warnings in the order of the file, what has no line first; and where keys stand.
    pub(super) fn into_findings(self) -> (Vec<Problem>, Vec<Warning>, Vec<(String, usize)>) {
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|problem| problem.0.line);
        warnings.sort_by_key(|warning| warning.0.line);
        (problems, warnings, self.found.into_inner())
    }

    pub(super) fn into_tables(self) -> Vec<DescribedTable> {
        self.tables.into_inner()
    }
}
