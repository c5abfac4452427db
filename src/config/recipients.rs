//! The file of recipients: one address or `@domain` a line.

use std::path::Path;

use super::problem::{Finding, Problem, Warning};
use super::{Config, file, names};

/// Problems, or warnings, that are named one by one; of the rest the count is told.
const SHOWN_MAX: usize = 20;

/// One line of the file of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientEntry {
    /// `local-part@domain`: local-part as written with needless quotes removed, domain as lower-case A-label.
    Mailbox {
        /// Case kept.
        local_part: String,
        /// Lower-case A-label.
        domain: String,
    },
    /// `@domain`: every local-part of it.
    CatchAll(String),
}

/// The entries of a file, in its order.
pub fn load(path: &Path) -> Result<Vec<RecipientEntry>, Vec<Problem>> {
    let octets = std::fs::read(path).map_err(|error| {
        let text = file::unreadable(&error);
        vec![Problem(Finding { file: path.display().to_string(), line: None, key: String::new(), text })]
    })?;
    Ok(numbered(path, &octets)?.into_iter().map(|(_, entry)| entry).collect())
}

/// Tells of the file that a configuration names what can never be reached.
pub(super) fn check(path: &Path, octets: &[u8], config: &Config) -> Result<Vec<Warning>, Vec<Problem>> {
    let entries = numbered(path, octets)?;
    if entries.is_empty() {
        let text = "this file holds no recipient: `550 5.1.1` for everybody but postmaster; write one address, or @domain for \
                    every local-part of it, a line"
            .to_owned();
        let file = path.display().to_string();
        return Ok(vec![Warning(Finding { file, line: None, key: String::new(), text })]);
    }
    let unreachable = entries.iter().filter_map(|(line, entry)| Some((*line, unreachable(entry, config)?)));
    let findings = shortened(path, unreachable.collect(), "more entries like these");
    Ok(findings.into_iter().map(Warning).collect())
}

fn numbered(path: &Path, octets: &[u8]) -> Result<Vec<(usize, RecipientEntry)>, Vec<Problem>> {
    let mut entries = Vec::new();
    let mut bad = Vec::new();
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        match entry(line) {
            Ok(Some(entry)) => entries.push((index + 1, entry)),
            Ok(None) => {}
            Err(why) => bad.push((index + 1, why)),
        }
    }
    if bad.is_empty() {
        return Ok(entries);
    }
    Err(shortened(path, bad, "more lines are not addresses").into_iter().map(Problem).collect())
}

/// One line; none for a blank one and a comment.
fn entry(line: &[u8]) -> Result<Option<RecipientEntry>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "this line is not UTF-8".to_owned())?.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    if let Some(domain) = text.strip_prefix('@') {
        return Ok(Some(RecipientEntry::CatchAll(names::domain(domain)?)));
    }
    let (local_part, domain) = names::mailbox(text)?;
    Ok(Some(RecipientEntry::Mailbox { local_part, domain }))
}

/// Why no RCPT can name an entry, if so.
fn unreachable(entry: &RecipientEntry, config: &Config) -> Option<String> {
    let (local_part, domain) = match entry {
        RecipientEntry::Mailbox { local_part, domain } => (local_part.as_str(), domain),
        RecipientEntry::CatchAll(domain) => ("", domain),
    };
    if !config.domains.is_empty() && !config.domains.iter().any(|accepted| accepted.matches(domain)) {
        return Some(format!("`domains` does not accept {domain:?}, so this recipient gets no mail"));
    }
    if let Some(denied) = local_part.chars().find(|c| config.local_part_deny.contains(*c)) {
        return Some(format!("`local_part_deny` holds {denied:?}, so this recipient gets no mail"));
    }
    if local_part.starts_with('.') && !config.local_part_leading_dot {
        return Some("`local_part_leading_dot` is false, so this recipient gets no mail".to_owned());
    }
    None
}

fn shortened(path: &Path, found: Vec<(usize, String)>, rest: &str) -> Vec<Finding> {
    let file = path.display().to_string();
    let more = found.len().saturating_sub(SHOWN_MAX);
    let shown = found.into_iter().take(SHOWN_MAX);
    let finding = |(line, text)| Finding { file: file.clone(), line: Some(line), key: String::new(), text };
    let mut findings: Vec<Finding> = shown.map(finding).collect();
    if more > 0 {
        findings.push(Finding {
            file: file.clone(),
            line: None,
            key: String::new(),
            text: format!("{more} {rest}"),
        });
    }
    findings
}
