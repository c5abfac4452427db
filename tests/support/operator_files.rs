//! What holds for any file of the operator, the configuration and the file of recipients: it is read, or what
//! is wrong is told with its line. Shared by the property tests and `tests/fuzz`.

use std::path::Path;
use std::sync::Arc;

use ringmx::config::recipients;
use ringmx::config::{Config, Finding, Problem, Warning, parse, reference};
use ringmx::mail::envelope::Mailbox;
use ringmx::memory_sum::{MemorySum, SocketMemory};
use ringmx::smtp::policy::{Policy, RecipientEntry, Recipients, Verdict};
use ringmx::smtp::settings::Settings;

use super::exchange::{Exchange, config, settings};
use super::listed::listed;

/// Problems, or warnings, that are named one by one.
const SHOWN_MAX: usize = 20;

/// A finding: its line, its key, its text.
type Placed = (Option<usize>, String, String);

/// What reading a configuration comes to.
type Reading = Result<(Config, Vec<Warning>), Vec<Problem>>;

fn read(text: &str) -> Reading {
    parse(text, "mx.toml", Path::new("/etc/ringmx"))
}

/// A text for a configuration. It is a configuration or has problems, each on a line of the text; what means
/// nothing changes nothing.
pub fn check_configuration(text: &str) {
    let reading = read(text);
    let lines = text.split('\n').count();
    for Finding { file, line, text: said, .. } in findings(&reading) {
        assert_eq!(file, "mx.toml");
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "line {line:?} of {lines}: {text:?}");
        assert!(!said.is_empty(), "{text:?}");
        let is_shown = |c: char| !c.is_control() || c == '\n';
        assert!(said.chars().all(is_shown), "what is told is printable: {said:?} of {text:?}");
    }
    // A line more in front moves all of them, and is all that it does. Nothing may stand before a byte order
    // mark.
    if !text.starts_with('\u{feff}') {
        for before in ["\n", "# \u{e9}\r\n"] {
            let moved = read(&format!("{before}{text}"));
            assert_eq!(placed(&moved, 0), placed(&reading, 1), "{text:?}");
        }
    }
    let Ok((config, _)) = &reading else {
        assert!(reading.is_err_and(|problems| !problems.is_empty()), "{text:?}");
        return;
    };
    assert!(!config.listeners.is_empty() && !config.shards.is_empty() && config.sink.workers > 0, "{text:?}");
    // The sum that `check` prints can be told.
    assert!(MemorySum::of(config, SocketMemory::default()).all_bytes() > 0, "{text:?}");
    let ended = read(&format!("{text}\n# the end"));
    assert_eq!(placed(&ended, 0), placed(&reading, 0), "{text:?}");
}

/// The reference that `ringmx config` prints, changed: for each three octets a line (two of them) loses its
/// `#`, is left out, comes twice, or has another line's value.
pub fn changed_reference(octets: &[u8]) -> String {
    let text = reference();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for change in octets.chunks_exact(3) {
        let pick = usize::from(change[0]) * 256 + usize::from(change[1]);
        let at = pick % lines.len();
        let line = lines[at].clone();
        let value = |line: &str| line.split_once(" = ").map(|(_, value)| value.to_owned());
        match change[2] % 8 {
            0..3 => {
                let key = line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(&line);
                key.clone_into(&mut lines[at]);
            }
            3 => drop(lines.remove(at)),
            4 => lines.insert(at, line),
            5 => lines[at] = line.replace('"', ""),
            other => {
                let from = (at + 1 + usize::from(change[2] / 8) + 31 * usize::from(other & 1)) % lines.len();
                if let (Some((key, _)), Some(value)) = (line.split_once(" = "), value(&lines[from])) {
                    lines[at] = format!("{key} = {value}");
                }
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

fn findings(reading: &Reading) -> Vec<Finding> {
    match reading {
        Ok((_, warnings)) => warnings.iter().map(|Warning(finding)| finding.clone()).collect(),
        Err(problems) => problems.iter().map(|Problem(finding)| finding.clone()).collect(),
    }
}

/// All that a reading says, its findings so many lines later. Lines that are told in a sentence are left out.
fn placed(reading: &Reading, later: usize) -> (Option<String>, Vec<Placed>) {
    let finding = |Finding { line, key, text, .. }: Finding| {
        let mut text: Vec<&str> = text.split(' ').collect();
        for at in 1..text.len() {
            if text[at - 1] == "line" || text[at - 1] == "lines" {
                text[at] = "N";
            }
        }
        (line.map(|line| line + later), key, text.join(" "))
    };
    let config = reading.as_ref().ok().map(|(config, _)| format!("{config:?}"));
    (config, findings(reading).into_iter().map(finding).collect())
}

/// Octets of a file of recipients: each line is an entry, or nothing, or told, whatever the other lines are;
/// and an entry takes mail for whom it names.
pub fn check_recipients(octets: &[u8]) {
    let path = Path::new("recipients.txt");
    let shown = || octets.escape_ascii().to_string();
    let parsed = recipients::parse(path, octets);
    if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
        assert!(parsed.is_err_and(|problems| problems.len() == 1), "UTF-16");
        return;
    }
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        // After a comment nothing is the first line, where a byte order mark may stand.
        let alone = if index == 0 { line.to_vec() } else { [b"#\n", line].concat() };
        match recipients::parse(path, &alone) {
            Ok(alone) => entries.extend(alone.into_iter().map(|(_, entry)| (index + 1, entry))),
            Err(alone) => {
                assert_eq!(alone.len(), 1, "one line, one problem: {}", shown());
                bad.extend(alone.into_iter().map(|Problem(finding)| (index + 1, finding.text)));
            }
        }
    }
    let Err(problems) = parsed else {
        assert!(bad.is_empty(), "{bad:?} are told: {}", shown());
        assert_eq!(parsed.as_ref().ok(), Some(&entries), "{}", shown());
        for (_, entry) in &entries {
            check_entry(entry);
        }
        return;
    };
    let told: Vec<_> = problems
        .iter()
        .take(SHOWN_MAX)
        .map(|Problem(finding)| (finding.line.unwrap_or_default(), finding.text.clone()))
        .collect();
    assert_eq!(told, bad.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>(), "{}", shown());
    let rest = bad.len().saturating_sub(SHOWN_MAX);
    let count = problems.get(SHOWN_MAX).map(|Problem(finding)| finding.text.clone());
    assert_eq!(count, (rest > 0).then(|| format!("{rest} more lines are not addresses")), "{}", shown());
    for Problem(finding) in &problems {
        assert!(!finding.text.chars().any(char::is_control), "{finding:?}");
    }
}

/// An entry is written as it is spelled, and RCPT takes whom it names.
fn check_entry(entry: &RecipientEntry) {
    let (local_part, domain) = match entry {
        RecipientEntry::Mailbox { local_part, domain } => (local_part.as_str(), domain.as_str()),
        RecipientEntry::CatchAll(domain) => ("anybody", domain.as_str()),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_".contains(&octet))
    };
    let is_domain = domain.len() <= 255 && domain.split('.').all(is_label);
    assert!(is_domain || domain.starts_with('['), "a lower-case A-label: {entry:?}");
    assert!(!local_part.is_empty() && !local_part.chars().any(char::is_control), "{entry:?}");
    let written = match entry {
        RecipientEntry::Mailbox { .. } => format!("{local_part}@{domain}"),
        RecipientEntry::CatchAll(_) => format!("@{domain}"),
    };
    check_written(entry, &written);
    let mut config = config();
    config.local_part_deny = String::new();
    config.local_part_leading_dot = true;
    for case_sensitive in [false, true] {
        config.local_part_case_sensitive = case_sensitive;
        let table = Recipients::new(
            &config.recipient_rules(),
            Some(listed(std::slice::from_ref(entry), case_sensitive)),
        );
        let whole = format!("{local_part}@{domain}");
        let verdict = table.recipient(mailbox(&whole));
        assert_eq!(verdict, Verdict::Accept, "{entry:?}");
        let mut exchange = Exchange::new(Settings { policy: Arc::new(table), ..settings() });
        exchange.receive(b"EHLO x.test\r\n");
        exchange.receive(format!("MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<{whole}>\r\n").as_bytes());
        let replies = String::from_utf8(exchange.seen.replies).expect("ASCII");
        assert!(replies.ends_with("250 2.1.5 Recipient ok\r\n"), "{entry:?}: {replies}");
    }
}

/// What is written is the entry; with quotes, where it would be a comment or a pattern without them.
fn check_written(entry: &RecipientEntry, written: &str) {
    let parse = |text: &str| recipients::parse(Path::new("again"), text.as_bytes());
    let is_read_otherwise = match parse(written) {
        Ok(entries) => entries.is_empty() && written.starts_with('#'),
        Err(problems) => problems.iter().all(|Problem(finding)| finding.text.contains("is a pattern")),
    };
    let written = match written.rsplit_once('@') {
        Some((local_part, domain)) if is_read_otherwise => format!("\"{local_part}\"@{domain}"),
        _ => written.to_owned(),
    };
    assert_eq!(parse(&written), Ok(vec![(1, entry.clone())]), "{written:?}");
}

/// A mailbox as an envelope has it.
fn mailbox(whole: &str) -> Mailbox<'_> {
    let at = whole.rfind('@').expect("a mailbox");
    let (local_part, domain) = whole.as_bytes().split_at(at);
    Mailbox { whole: whole.as_bytes(), local_part, domain: &domain[1..] }
}
