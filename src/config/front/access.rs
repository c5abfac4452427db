//! `[[access]]`: rules on networks, EHLO names and reverse-paths.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::document::Fallback;
use super::super::section::{NETWORKS, Section};
use super::super::{file, names};
use crate::front::access::{Action, Rule};
use crate::front::networks::Networks;
use crate::mail::domain::DomainPatterns;
use crate::mail::network::Network;

/// A longer text does not fit the reply.
const TEXT_BYTES_MAX: usize = 400;

/// A longer file is no file of networks: one of this length has a million.
const FILE_BYTES_MAX: usize = 64 << 20;

/// Lines that are named one by one; of the rest the count is told.
const SHOWN_MAX: usize = 20;

/// Reads all rules.
pub(super) fn read(root: &mut Section<'_>) -> (Vec<Rule>, Vec<PathBuf>) {
    let sections = root.tables(
        "access",
        "Whom to trust or refuse, before all other checks. A rule matches when all that it names matches; the first rule that matches decides.",
    );
    let (mut rules, mut files) = (Vec::<Rule>::new(), Vec::new());
    for section in sections {
        let (rule, file) = read_rule(section, &rules);
        rules.push(rule);
        files.extend(file);
    }
    (rules, files)
}

/// A rule, and its file of networks. `before`: the rules before it.
fn read_rule(mut section: Section<'_>, before: &[Rule]) -> (Rule, Option<PathBuf>) {
    const PATTERN: &str = "domains such as \"example.org\" or \"*.example.org\"";
    section.reloads_but(&[]);
    let networks = read_inline(&mut section);
    let networks_file = section.path(
        "networks_file",
        Fallback::Computed { example: "\"drop.txt\"", default: "no file" },
        "More clients: a file with one network a line.",
    );
    let mut patterns = |key, example, doc| {
        let default = Fallback::Computed { example, default: "any" };
        let patterns = section.texts(key, PATTERN, default, doc, names::pattern).unwrap_or_default();
        patterns.into_iter().map(|(_, pattern)| pattern).collect::<Vec<_>>()
    };
    let ehlo = patterns("ehlo", "[\"*.dyn.example\"]", "Names that clients give in EHLO or HELO.");
    let reverse_path = patterns(
        "reverse_path",
        "[\"spam.example\", \"*.spam.example\"]",
        "Domains of reverse-paths; the null reverse-path has none.",
    );
    let words = [
        ("refuse", Action::Refuse),
        ("trust", Action::Trust),
        ("drop", Action::Drop),
        ("warn", Action::Warn),
    ];
    let action = section.choice_or(
        "action",
        &words,
        Fallback::Required { example: "\"refuse\"" },
        "`trust`: no limits and no checks; `refuse`: `550` to every recipient; `drop`: `554` instead of a greeting; `warn`: a line in the log.",
    );
    let text = read_text(&mut section);
    if text.is_some() && action == Some(Action::Trust) {
        section.problem(
            "text",
            "this rule refuses nobody; remove the text or write action = \"refuse\"".to_owned(),
        );
    }
    let names_networks = !networks.is_empty() || networks_file.is_some();
    let names_more = !ehlo.is_empty() || !reverse_path.is_empty();
    let faulty =
        ["networks", "networks_file", "ehlo", "reverse_path"].into_iter().any(|key| section.faulty(key));
    // What such a rule needs to know comes after the greeting, and the rules after it wait for that.
    let waits = before.iter().any(|rule| rule.action != Action::Warn && rule.names_more_than_networks());
    match action {
        Some(Action::Trust | Action::Refuse | Action::Drop) if !names_networks && !names_more && !faulty => {
            let text = "this rule names nobody, so it would match everybody; name networks, EHLO names or reverse-paths. A listener \
                        that serves some clients only has `clients_from`";
            section.problem("action", text.to_owned());
        }
        Some(Action::Trust) if !names_networks && !faulty => {
            let text = "anybody may say this name or address, and is trusted then: name networks, too";
            section.warn("action", text.to_owned());
        }
        Some(Action::Trust | Action::Drop) if waits && !names_more => {
            let text = "a rule before this one names EHLO names or reverse-paths, so this one decides after the greeting only: put \
                        rules on networks first";
            section.warn("action", text.to_owned());
        }
        Some(_) | None => {}
    }
    let from_file = networks_file.as_deref().map(|path| read_networks(path, &mut section));
    if from_file.as_ref().is_some_and(Vec::is_empty)
        && networks.is_empty()
        && !section.faulty("networks_file")
    {
        let text = "this file names no network, so the rule matches nobody";
        section.warn("networks_file", text.to_owned());
    }
    let is_any = networks.is_empty() && from_file.is_none();
    let networks = networks.into_iter().chain(from_file.unwrap_or_default());
    let networks = (!is_any).then(|| Arc::new(Networks::new(networks)));
    let (ehlo, reverse_path) = (DomainPatterns::new(&ehlo), DomainPatterns::new(&reverse_path));
    let text = text.map(Into::into);
    let action = action.unwrap_or(Action::Warn);
    let rule = Rule { networks, ehlo, reverse_path, action, text };
    warn_of_shadow(&rule, before, faulty, &mut section);
    section.finish();
    (rule, networks_file)
}

/// Tells of a rule that never decides because one before it always does.
fn warn_of_shadow(rule: &Rule, before: &[Rule], faulty: bool, section: &mut Section<'_>) {
    let names_nobody = rule.networks.as_ref().is_some_and(|networks| networks.is_empty());
    let covers = |earlier: &Rule| earlier.action != Action::Warn && earlier.covers(rule);
    if let Some(place) = before.iter().position(covers).filter(|_| !faulty && !names_nobody) {
        let text = format!(
            "this rule never matches: [[access]] rule {}, counted from 1, matches wherever this one would, and decides; put this one \
             before it, or remove it",
            place + 1
        );
        section.warn("action", text);
    }
}

/// What the reply says.
fn read_text(section: &mut Section<'_>) -> Option<String> {
    section.text(
        "text",
        "printable ASCII of at most 400 octets",
        Fallback::Computed {
            example: "\"Your network sends too much spam; see https://example.org/blocked\"",
            default: "our words",
        },
        "What the reply says after its code.",
        |text| {
            let fits = (1..=TEXT_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
            if fits {
                Ok(text.to_owned())
            } else {
                Err(format!("a reply has 1 to {TEXT_BYTES_MAX} octets of printable ASCII"))
            }
        },
    )
}

/// Networks of the rule itself.
fn read_inline(section: &mut Section<'_>) -> Vec<Network> {
    let example = "[\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let default = Fallback::Computed { example, default: "any" };
    let networks = section.texts("networks", NETWORKS, default, "Clients.", Network::parse);
    if networks.as_ref().is_some_and(Vec::is_empty) && !section.faulty("networks") {
        let text = "an empty list names nobody; name networks, or remove the key for any client";
        section.problem("networks", text.to_owned());
    }
    let networks: Vec<Network> =
        networks.unwrap_or_default().into_iter().map(|(_, network)| network).collect();
    for network in networks.iter().filter(|network| network.holds_strangers()) {
        section.warn("networks", format!("{network} is so wide that strangers are in it; is that meant?"));
    }
    networks
}

/// The networks of a file, one a line. What is wrong with it becomes problems of the section.
fn read_networks(path: &Path, section: &mut Section<'_>) -> Vec<Network> {
    let mut networks = Vec::new();
    let octets = match file::read(path, FILE_BYTES_MAX) {
        Ok(octets) => octets,
        Err(error) => {
            let text = format!("{}: {}", path.display(), file::unreadable(&error));
            section.problem("networks_file", text);
            return networks;
        }
    };
    let mut bad = 0;
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        // Lists in the world have comments after `#` or `;`.
        let line = line.split(|octet| matches!(octet, b'#' | b';')).next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        match Network::parse(&String::from_utf8_lossy(line)) {
            Ok(network) => networks.push(network),
            Err(why) => {
                bad += 1;
                if bad <= SHOWN_MAX {
                    section.problem("networks_file", format!("{}:{}: {why}", path.display(), index + 1));
                }
            }
        }
    }
    if bad > SHOWN_MAX {
        let text = format!("{}: {} more lines are no networks", path.display(), bad - SHOWN_MAX);
        section.problem("networks_file", text);
    }
    networks
}
