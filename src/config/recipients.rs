//! The file of recipients: one address or `@domain` a line.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::problem::{Finding, Problem, Warning};
use super::{file, invisible, names};
use crate::mail::caseless::comparable;
use crate::smtp::policy::{RecipientEntry, RecipientRules};

/// A longer file is no file of recipients: one of this length has several million.
const FILE_BYTES_MAX: usize = 256 << 20;

/// Problems, or warnings, that are named one by one; of the rest the count is told.
const SHOWN_MAX: usize = 20;

/// The entries of a file, in its order.
pub fn load(path: &Path) -> Result<Vec<RecipientEntry>, Vec<Problem>> {
    let octets = read(path).map_err(|error| {
        let text = file::unreadable(&error);
        vec![Problem(Finding { file: path.display().to_string(), line: None, key: String::new(), text })]
    })?;
    Ok(parse(path, &octets)?.into_iter().map(|(_, entry)| entry).collect())
}

/// What is odd about lines of a file: one by one, and of many the count.
pub fn warnings(path: &Path, odd: Vec<(usize, String)>) -> Vec<Warning> {
    shortened(path, odd, "more entries like these").into_iter().map(Warning).collect()
}

/// Tells of the entries of a file which of them can never be reached by these rules. `creates`: the store
/// makes mailboxes for recipients whom nobody names.
pub(super) fn examine(
    path: &Path,
    entries: &[(usize, RecipientEntry)],
    rules: &RecipientRules<'_>,
    creates: bool,
) -> Vec<Warning> {
    if entries.is_empty() {
        let text = "this file holds no recipient: `550 5.1.1` for everybody but postmaster; write one address, or @domain for \
                    every local-part of it, a line"
            .to_owned();
        let file = path.display().to_string();
        return vec![Warning(Finding { file, line: None, key: String::new(), text })];
    }
    let mut odd = repeated(entries, rules.local_part_case_sensitive);
    odd.extend(entries.iter().filter_map(|(line, entry)| Some((*line, unreachable(entry, rules, creates)?))));
    odd.sort_by_key(|(line, _)| *line);
    warnings(path, odd)
}

/// The octets of a file, which is no device without an end.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    file::read(path, FILE_BYTES_MAX)
}

/// The entries of a file with these octets, each with its line, counted from 1; or every line that is none.
/// `path` is its name in problems.
pub fn parse(path: &Path, octets: &[u8]) -> Result<Vec<(usize, RecipientEntry)>, Vec<Problem>> {
    if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
        let text = "this file is UTF-16; save it as UTF-8".to_owned();
        let file = path.display().to_string();
        return Err(vec![Problem(Finding { file, line: Some(1), key: String::new(), text })]);
    }
    // Editors of Windows write a byte order mark in front of the first line, and no editor shows it.
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
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
    let whole = std::str::from_utf8(line).map_err(|error| {
        let before = String::from_utf8_lossy(line.get(..error.valid_up_to()).unwrap_or_default());
        let column = before.chars().count() + 1;
        format!("column {column}: this line is not UTF-8; save the file as UTF-8")
    })?;
    let text = whole.trim_matches(|c: char| c.is_ascii_whitespace());
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let indent = whole.len() - whole.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
    let cured = |why: String| match cure(text) {
        Some(cure) => format!("{why}; {cure}"),
        None => why,
    };
    if let Some((before, odd)) = invisible::find(text) {
        return Err(cured(format!("column {}: {}", indent + before + 1, invisible::fault(odd))));
    }
    if let Some(domain) = text.strip_prefix('@') {
        return Ok(Some(RecipientEntry::CatchAll(names::domain(domain).map_err(cured)?)));
    }
    let (local_part, domain) = names::mailbox(text).map_err(cured)?;
    if names::is_pattern(text.rsplit_once('@').map_or("", |(local_part, _)| local_part)) {
        return Err(cured(format!("{text:?} is a pattern, and recipients are compared as they are")));
    }
    Ok(Some(RecipientEntry::Mailbox { local_part, domain }))
}

/// What to write for a line that is not an entry, where it can be told what was meant.
fn cure(text: &str) -> Option<String> {
    let (local_part, domain) = text.rsplit_once('@').unwrap_or(("", text));
    let is_quoted = text.starts_with('"') && !text.ends_with('"');
    let space = |c: char| c.is_whitespace();
    // In a quoted local-part everything may stand, after it nothing but the domain.
    let outside = if is_quoted { domain } else { text };
    if outside.starts_with([';', '!']) || outside.starts_with("//") {
        return Some("a comment begins with `#`".to_owned());
    }
    if outside.contains('#') {
        return Some("a comment has a line of its own, and begins with `#`".to_owned());
    }
    if outside.contains(['<', '>']) || text.starts_with("mailto:") {
        return Some("write the address alone, as `anna@example.org`".to_owned());
    }
    if text.len() > 1 && ["\"", "'"].iter().any(|quote| text.starts_with(quote) && text.ends_with(quote)) {
        return Some("write the address without quotes around it".to_owned());
    }
    if outside.contains([',', ';']) || outside.matches('@').count() > 1 {
        return Some("write one address a line, and nothing else".to_owned());
    }
    if outside.contains(space) || outside.contains([':', '=']) && !local_part.contains('=') {
        return Some(
            "nothing follows an address on its line: of a map or list of aliases keep the first column"
                .to_owned(),
        );
    }
    if local_part.is_empty() && domain.contains('*') {
        return Some("write each domain on a line of its own, as `@example.org`".to_owned());
    }
    if !text.contains('@') {
        let domain = names::domain(text).ok().filter(|domain| domain.contains('.'))?;
        return Some(format!("`@{domain}` takes every local-part of it"));
    }
    if names::is_pattern(local_part) && !local_part.is_empty() {
        let bare = domain.replace('\\', "");
        let bare = names::domain(bare.trim_end_matches(|c: char| !c.is_alphanumeric()));
        let bare = bare.unwrap_or_else(|_| "example.org".to_owned());
        return Some(format!(
            "`@{bare}` takes every local-part of the domain, and a mailbox of this very name is written in quotes"
        ));
    }
    None
}

/// Entries that name what an earlier one names. Two people of one name would have each other's mail.
fn repeated(entries: &[(usize, RecipientEntry)], case_sensitive: bool) -> Vec<(usize, String)> {
    let mut lines = HashMap::new();
    let first = |(line, entry): &(usize, RecipientEntry)| {
        let whole = match entry {
            RecipientEntry::Mailbox { local_part, domain } => format!("{local_part}@{domain}"),
            RecipientEntry::CatchAll(domain) => format!("@{domain}"),
        };
        let compared = if case_sensitive {
            whole.as_bytes().to_vec()
        } else {
            comparable(whole.as_bytes()).into_owned()
        };
        let first = *lines.entry(compared).or_insert(*line);
        (first != *line).then(|| (*line, format!("{whole:?} is the same recipient as that of line {first}")))
    };
    entries.iter().filter_map(first).collect()
}

/// Why an entry does not get the mail that it seems to get, if so.
fn unreachable(entry: &RecipientEntry, rules: &RecipientRules<'_>, creates: bool) -> Option<String> {
    let (local_part, domain) = match entry {
        RecipientEntry::Mailbox { local_part, domain } => (local_part.as_str(), domain),
        RecipientEntry::CatchAll(domain) => ("", domain),
    };
    if !rules.domains.is_empty() && !rules.domains.iter().any(|accepted| accepted.matches(domain)) {
        return Some(format!("`domains` does not accept {domain:?}, so this recipient gets no mail"));
    }
    if matches!(entry, RecipientEntry::CatchAll(_)) && rules.asks_store && !creates {
        return Some(
            "`create` is false and a catch-all names nobody, so only maildirs that exist and postmaster get mail of this \
             domain; set `create = true`, or list the recipients"
                .to_owned(),
        );
    }
    if let Some(denied) = local_part.chars().find(|c| rules.local_part_deny.contains(*c)) {
        return Some(format!("`local_part_deny` holds {denied:?}, so this recipient gets no mail"));
    }
    if local_part.starts_with('.') && !rules.local_part_leading_dot {
        return Some("`local_part_leading_dot` is false, so this recipient gets no mail".to_owned());
    }
    None
}

fn shortened(path: &Path, found: Vec<(usize, String)>, rest: &str) -> Vec<Finding> {
    let file = path.display().to_string();
    let more = found.len().saturating_sub(SHOWN_MAX);
    let first_left_out = found.get(SHOWN_MAX).map(|(line, _)| *line);
    let shown = found.into_iter().take(SHOWN_MAX);
    let finding = |(line, text)| Finding { file: file.clone(), line: Some(line), key: String::new(), text };
    let mut findings: Vec<Finding> = shown.map(finding).collect();
    if more > 0 {
        findings.push(Finding {
            file: file.clone(),
            // Findings are told in the order of their lines.
            line: first_left_out,
            key: String::new(),
            text: format!("{more} {rest}"),
        });
    }
    findings
}
