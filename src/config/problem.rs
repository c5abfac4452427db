//! What is wrong with a file of the operator, and where: problems stop the start, warnings do not.

use std::fmt;

/// A place in a file and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file as the operator named it; empty where a configuration is in use whose file was not read again.
    pub file: String,
    /// Counted from 1. `None` when something is missing altogether.
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
            let between = if self.file.is_empty() { "" } else { ": " };
            write!(f, "{between}{}", self.key)?;
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

/// Where the keys of the configuration file stand, for what is found out after it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    file: String,
    /// Dotted keys with their lines. Of a key that several tables have the first one counts.
    keys: Vec<(String, usize)>,
    /// Of each certificate the lines of `chain` and `key`.
    certificates: Vec<[Option<usize>; 2]>,
}

impl Places {
    pub(super) fn new(
        file: String,
        keys: Vec<(String, usize)>,
        certificates: Vec<[Option<usize>; 2]>,
    ) -> Self {
        Self { file, keys, certificates }
    }

    /// Those of the configuration that is part of the program: a name instead of a file, and no lines.
    pub fn embedded_default() -> Self {
        Self::new("the configuration without a file".to_owned(), Vec::new(), Vec::new())
    }

    /// Whether a finding's file is the configuration file.
    pub fn is_file(&self, file: &str) -> bool {
        self.file == file
    }

    /// A finding about a key.
    pub fn finding(&self, key: &str, text: String) -> Finding {
        Finding { file: self.file.clone(), line: self.line_of(key), key: key.to_owned(), text }
    }

    /// A finding about `chain` or `key` of a certificate, by its place in the list of certificates.
    pub fn certificate_finding(&self, index: usize, key: &str, text: String) -> Finding {
        let lines = self.certificates.get(index);
        let line = lines.and_then(|[chain, own]| if key == "chain" { *chain } else { *own });
        Finding { file: self.file.clone(), line, key: format!("tls.certificate.{key}"), text }
    }

    /// A finding about a key of one of several tables of a name, by its place among them.
    pub fn finding_in(&self, key: &str, index: usize, text: String) -> Finding {
        let mut lines = self.keys.iter().filter(|(known, _)| known == key).map(|(_, line)| *line);
        Finding { file: self.file.clone(), line: lines.nth(index), key: key.to_owned(), text }
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        self.keys.iter().find(|(known, _)| known == key).map(|(_, line)| *line)
    }
}
