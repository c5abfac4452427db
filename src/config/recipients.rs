//! The file of recipients: one address or `@domain` a line; or the table that was made of one beforehand.
//!
//! A file of millions is read line by line into the table, and no line is kept.

pub mod compiled;
mod noted;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

pub(super) use self::noted::Noted;
use super::problem::{Finding, Problem, Warning};
use super::{file, invisible, names};
use crate::huge_pages;
use crate::limits::PATH_BYTES_MAX;
use crate::mail::address_table::{Key, MAGIC, places_for};
use crate::mail::domain::DomainPatterns;
use crate::smtp::policy::{ListBuilder, Listed, RecipientEntry, RecipientRules};

/// A longer text is read by nobody who serves: one of this length has twenty million.
const FILE_BYTES_MAX: usize = 512 << 20;

/// The same for whoever makes a table of it.
const COMPILED_TEXT_BYTES_MAX: usize = 4 << 30;

/// So often another key is drawn. With twenty million addresses not one of 10^17 files needs a second one.
const KEYS_MAX: usize = 4;

/// What of the operator's decides which entries get mail.
pub struct Judge<'a> {
    /// Which addresses are taken.
    pub rules: RecipientRules<'a>,
    /// The store makes mailboxes for recipients whom nobody names.
    pub creates: bool,
    /// What is wrong with the name that the store would give to a recipient.
    pub misnamed: &'a dyn Fn(&RecipientEntry) -> Option<String>,
}

/// The octets of a file of recipients, or the table that it is.
pub enum Content {
    /// Lines.
    Text(Vec<u8>),
    /// A compiled table.
    Table(Listed),
}

/// The entries of a file, in its order.
pub fn load(path: &Path) -> Result<Vec<RecipientEntry>, Vec<Problem>> {
    let octets = file::read(path, FILE_BYTES_MAX)
        .map_err(|error| vec![Problem(finding(path, None, file::unreadable(&error)))])?;
    Ok(parse(path, &octets)?.into_iter().map(|(_, entry)| entry).collect())
}

/// Reads a file, which is no device without an end. The text of an error is without the name of the file.
pub fn read(path: &Path) -> Result<Content, String> {
    read_within(path, FILE_BYTES_MAX)
}

/// The same for whoever makes a table of it: a text may be longer.
pub fn read_to_compile(path: &Path) -> Result<Content, String> {
    read_within(path, COMPILED_TEXT_BYTES_MAX)
}

fn read_within(path: &Path, bytes_max: usize) -> Result<Content, String> {
    let unreadable = |error: io::Error| file::unreadable(&error);
    // A pipe is read once, and what comes through it is known afterwards.
    let is_file = std::fs::metadata(path).map_err(unreadable)?.is_file();
    if is_file && let Some(table) = compiled::read_file(&File::open(path).map_err(unreadable)?)? {
        return Ok(Content::Table(table));
    }
    let octets = file::read(path, bytes_max).map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge && is_file && bytes_max < COMPILED_TEXT_BYTES_MAX {
            return format!("cannot be read: {error}; make a table of it with `ringmx recipients compile`");
        }
        file::unreadable(&error)
    })?;
    if octets.starts_with(MAGIC) {
        return Err("is a compiled table in a pipe; name the file itself".to_owned());
    }
    Ok(Content::Text(octets))
}

/// What reading a file takes however short it is.
const READING_BYTES: usize = 1 << 20;

/// Octets that reading a file takes at most, and those of the table that is made of it. Counts the lines of
/// the file; nothing for one that cannot be read.
pub fn bytes_max(path: &Path) -> (u64, u64) {
    let Ok(facts) = std::fs::metadata(path) else { return (0, 0) };
    if !facts.is_file() {
        return (0, 0);
    }
    match file::count_lines(path, MAGIC) {
        Ok(None) => (0, facts.len()),
        Ok(Some(lines)) => {
            let table = places_for(lines) * size_of::<u64>();
            // Of each line its hash is kept, in a list that doubles when it is full and is copied then; and
            // of repeated ones the place of the first.
            let hashes = lines.next_power_of_two() * 3 * size_of::<u64>();
            let reading = hashes + places_for(lines) * size_of::<u32>() + READING_BYTES;
            (facts.len() + reading as u64, table as u64)
        }
        Err(_) => (0, 0),
    }
}

/// The table of a file with these octets and what is odd about its lines, or every line that is no entry.
/// `path` is its name in findings. `key`: that of the table in use, so that one that says the same is found
/// to; another one is drawn where there is none.
pub fn table(
    path: &Path,
    octets: &[u8],
    judge: &Judge<'_>,
    key: Option<Key>,
) -> Result<(Listed, Vec<Warning>), Vec<Problem>> {
    let case_sensitive = judge.rules.local_part_case_sensitive;
    // An address may stand in every line.
    let capacity = memchr::memchr_iter(b'\n', octets).count() + 1;
    let mut key = key;
    for _ in 0..KEYS_MAX {
        let drawn = match key.take() {
            Some(key) => key,
            None => random_key().map_err(|text| vec![Problem(finding(path, None, text))])?,
        };
        let mut builder = ListBuilder::new(drawn, case_sensitive, capacity);
        let reach = Reach::new(&judge.rules, judge.creates);
        let (mut bad, mut odd, mut misnamed) = (Noted::default(), Noted::default(), Noted::default());
        for (line, entry) in lines(path, octets)? {
            match entry {
                Ok(entry) => {
                    builder.add(&entry);
                    odd.note(line, reach.fault(&entry));
                    misnamed.note(line, (judge.misnamed)(&entry));
                }
                Err(why) => bad.note(line, Some(why)),
            }
        }
        if !bad.is_empty() {
            return Err(bad.into_findings(path, NO_ADDRESSES).into_iter().map(Problem).collect());
        }
        let added = builder.added();
        let Ok(listed) = builder.finish() else { continue };
        if added > listed.count() {
            odd = repeated(path, octets, &listed)?.merged(odd);
        }
        huge_pages::collect(listed.table().places());
        let mut warnings = if added == 0 { vec![nobody(path)] } else { odd.into_warnings(path) };
        warnings.extend(misnamed.into_warnings(path));
        return Ok((listed, warnings));
    }
    let text = format!("{KEYS_MAX} random keys give two of its addresses one hash; this is a bug of ringmx");
    Err(vec![Problem(finding(path, None, text))])
}

/// A key that nobody can guess.
fn random_key() -> Result<Key, String> {
    let mut key = Key::default();
    // So few octets come whole (getrandom(2)).
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).map_err(|error| {
        format!("the kernel gives no random numbers ({error}), which the table's key is made of")
    })?;
    Ok(key)
}

fn finding(path: &Path, line: Option<usize>, text: String) -> Finding {
    Finding { file: path.display().to_string(), line, key: String::new(), text }
}

/// That a table holds nobody, if so.
pub(super) fn empty(path: &Path, listed: &Listed) -> Option<Warning> {
    (listed.count() == 0).then(|| nobody(path))
}

fn nobody(path: &Path) -> Warning {
    let text = "this file holds no recipient: `550 5.1.1` for everybody but postmaster; write one address, or @domain for \
                every local-part of it, a line"
        .to_owned();
    Warning(finding(path, None, text))
}

/// What is told of further bad lines.
const NO_ADDRESSES: &str = "more lines are not addresses";

/// The entries of a file with these octets, each with its line, counted from 1; or every line that is none.
/// `path` is its name in problems. For files that are not large: all entries are in memory.
pub fn parse(path: &Path, octets: &[u8]) -> Result<Vec<(usize, RecipientEntry)>, Vec<Problem>> {
    let (mut entries, mut bad) = (Vec::new(), Noted::default());
    for (line, entry) in lines(path, octets)? {
        match entry {
            Ok(entry) => entries.push((line, entry)),
            Err(why) => bad.note(line, Some(why)),
        }
    }
    if bad.is_empty() {
        return Ok(entries);
    }
    Err(bad.into_findings(path, NO_ADDRESSES).into_iter().map(Problem).collect())
}

/// The lines of a file with these octets that are not blank and no comment, counted from 1, and what each
/// says.
fn lines(
    path: &Path,
    octets: &[u8],
) -> Result<impl Iterator<Item = (usize, Result<RecipientEntry, String>)>, Vec<Problem>> {
    if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
        let text = "this file is UTF-16; save it as UTF-8".to_owned();
        return Err(vec![Problem(finding(path, Some(1), text))]);
    }
    // Editors of Windows write a byte order mark in front of the first line, and no editor shows it.
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    let mut domains = KnownDomains::default();
    let read = move |(index, line)| entry(line, &mut domains).transpose().map(|entry| (index + 1, entry));
    Ok(octets.split(|octet| *octet == b'\n').enumerate().filter_map(read))
}

/// Domains of lines before: most lines have one of a few.
#[derive(Default)]
struct KnownDomains {
    /// That of the line before, as it was written.
    last_text: String,
    /// What it means.
    last: String,
    /// What others mean. `len <= DOMAINS_KNOWN_MAX`
    others: HashMap<String, String>,
}

/// Domains of a file that are remembered.
const DOMAINS_KNOWN_MAX: usize = 4096;

impl KnownDomains {
    /// As [`names::domain`].
    fn read(&mut self, text: &str) -> Result<String, String> {
        if let Some(known) = self.find(text) {
            return Ok(known.to_owned());
        }
        let domain = names::domain(text)?;
        if self.others.len() >= DOMAINS_KNOWN_MAX {
            self.others.clear();
        }
        self.others.insert(text.to_owned(), domain.clone());
        Ok(domain)
    }

    fn find(&mut self, text: &str) -> Option<&str> {
        if self.last_text != text || text.is_empty() {
            self.others.get(text)?.clone_into(&mut self.last);
            text.clone_into(&mut self.last_text);
        }
        Some(&self.last)
    }
}

/// The two parts of a line that is an address of letters and digits and little else, as almost all are: such
/// a line needs no closer look, if its domain is known. A twin of [`entry`], which it is tested against.
fn plain(line: &[u8]) -> Option<(&str, &str)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_+".contains(octet);
    let at = line.iter().position(|octet| !is_plain(octet))?;
    let (local_part, rest) = line.split_at_checked(at)?;
    let domain = rest.strip_prefix(b"@").filter(|domain| domain.iter().all(is_plain))?;
    let is_one =
        local_part.first().is_some_and(u8::is_ascii_alphanumeric) && line.len() + 2 <= PATH_BYTES_MAX;
    is_one.then_some((std::str::from_utf8(local_part).ok()?, std::str::from_utf8(domain).ok()?))
}

/// One line; none for a blank one and a comment.
fn entry(line: &[u8], domains: &mut KnownDomains) -> Result<Option<RecipientEntry>, String> {
    if let Some((local_part, domain)) = plain(line)
        && let Some(domain) = domains.find(domain)
    {
        let (local_part, domain) = (local_part.to_owned(), domain.to_owned());
        return Ok(Some(RecipientEntry::Mailbox { local_part, domain }));
    }
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
    let (local_part, domain) = names::mailbox_by(text, |domain| domains.read(domain)).map_err(cured)?;
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
fn repeated(path: &Path, octets: &[u8], listed: &Listed) -> Result<Noted, Vec<Problem>> {
    // The line of the first one at each place of the table.
    let mut first = vec![0_u32; listed.table().places().len()];
    let mut repeated = Noted::default();
    for (line, entry) in lines(path, octets)? {
        let place = entry.ok().and_then(|entry| Some((listed.place_of(&entry)?, entry)));
        let Some((place, entry)) = place else { continue };
        let Some(first) = first.get_mut(place) else { continue };
        if *first == 0 {
            *first = u32::try_from(line).unwrap_or(u32::MAX);
            continue;
        }
        let whole = match entry {
            RecipientEntry::Mailbox { local_part, domain } => format!("{local_part}@{domain}"),
            RecipientEntry::CatchAll(domain) => format!("@{domain}"),
        };
        repeated.note(line, Some(format!("{whole:?} is the same recipient as that of line {first}")));
    }
    Ok(repeated)
}

/// Tells which entries do not get the mail that they seem to get.
pub(super) struct Reach<'a> {
    rules: &'a RecipientRules<'a>,
    creates: bool,
    domains: DomainPatterns,
    without_mail: DomainPatterns,
    /// One bit an ASCII octet that no local-part may hold.
    denied: u128,
}

impl<'a> Reach<'a> {
    /// By these rules. `creates`: the store makes mailboxes for recipients whom nobody names.
    pub(super) fn new(rules: &'a RecipientRules<'a>, creates: bool) -> Self {
        let denied = rules.local_part_deny.bytes().filter(u8::is_ascii);
        let denied = denied.fold(0, |set, octet| set | 1_u128 << octet);
        Self {
            rules,
            creates,
            domains: DomainPatterns::new(rules.domains),
            without_mail: DomainPatterns::new(rules.domains_without_mail),
            denied,
        }
    }

    /// Why an entry does not get its mail, if so.
    pub(super) fn fault(&self, entry: &RecipientEntry) -> Option<String> {
        let Self { rules, creates, .. } = self;
        let (local_part, domain) = match entry {
            RecipientEntry::Mailbox { local_part, domain } => (local_part.as_str(), domain),
            RecipientEntry::CatchAll(domain) => ("", domain),
        };
        if self.without_mail.match_any(domain.as_bytes()) {
            return Some(format!("`domains_without_mail` has {domain:?}, so this recipient gets no mail"));
        }
        if !self.domains.is_empty() && !self.domains.match_any(domain.as_bytes()) {
            return Some(format!("`domains` does not accept {domain:?}, so this recipient gets no mail"));
        }
        if matches!(entry, RecipientEntry::CatchAll(_)) && rules.asks_store && !creates {
            return Some(
                "`create` is false and a catch-all names nobody, so only maildirs that exist and postmaster get mail of this \
                 domain; set `create = true`, or list the recipients"
                    .to_owned(),
            );
        }
        let is_denied = |octet: &u8| octet.is_ascii() && self.denied & 1 << octet != 0;
        if let Some(denied) = local_part.as_bytes().iter().find(|octet| is_denied(octet)) {
            let denied = char::from(*denied);
            return Some(format!("`local_part_deny` holds {denied:?}, so this recipient gets no mail"));
        }
        if local_part.starts_with('.') && !rules.local_part_leading_dot {
            return Some("`local_part_leading_dot` is false, so this recipient gets no mail".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_plain_line_says_what_a_closer_look_says(
            local_part in "[-a-zA-Z0-9._+%@]{0,12}",
            domain in "[-a-zA-Z0-9._@]{0,12}(\\.test)?",
            end in "\r?",
        ) {
            let line = format!("{local_part}@{domain}{end}").into_bytes();
            let mut known = KnownDomains::default();
            // The first look knows no domain, so that it is the closer one.
            let closer = entry(&line, &mut known);
            proptest::prop_assert_eq!(&entry(&line, &mut known), &closer);
            if plain(&line).is_some() && names::domain(&domain).is_ok() {
                let is_mailbox = matches!(closer, Ok(Some(RecipientEntry::Mailbox { .. })));
                proptest::prop_assert!(is_mailbox);
            }
        }
    }
}
