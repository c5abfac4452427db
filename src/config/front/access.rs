//! `[[access]]`: rules on networks, EHLO names and reverse-paths.

use std::path::Path;
use std::sync::Arc;

use super::super::document::Fallback;
use super::super::section::Section;
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
pub(super) fn read(root: &mut Section<'_>) -> Vec<Rule> {
    let sections = root.tables(
        "access",
        "Whom to trust or refuse, before all other checks. A rule matches when all that it names matches; the first rule that matches decides.",
    );
    sections.into_iter().map(read_rule).collect()
}

fn read_rule(mut section: Section<'_>) -> Rule {
    const PATTERN: &str = "domains such as \"example.org\" or \"*.example.org\"";
    section.reloads_but(&[]);
    let networks = section.networks("networks", "[\"192.0.2.0/24\", \"2001:db8::/32\"]", "Clients.");
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
    let text = section.text(
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
    );
    if text.is_some() && matches!(action, Some(Action::Trust | Action::Warn)) {
        section.problem(
            "text",
            "this rule refuses nobody; remove the text or write action = \"refuse\"".to_owned(),
        );
    }
    let names_nothing =
        networks.is_empty() && networks_file.is_none() && ehlo.is_empty() && reverse_path.is_empty();
    let faulty =
        ["networks", "networks_file", "ehlo", "reverse_path"].into_iter().any(|key| section.faulty(key));
    if names_nothing && !faulty && action == Some(Action::Trust) {
        section.problem(
            "action",
            "this rule names nobody, so it would trust everybody; name networks, EHLO names or reverse-paths"
                .to_owned(),
        );
    }
    let from_file = networks_file.as_deref().map(|path| read_networks(path, &mut section));
    section.finish();
    let is_any = networks.is_empty() && from_file.is_none();
    let networks = networks.into_iter().chain(from_file.unwrap_or_default());
    let networks = (!is_any).then(|| Arc::new(Networks::new(networks)));
    let (ehlo, reverse_path) = (DomainPatterns::new(&ehlo), DomainPatterns::new(&reverse_path));
    let text = text.map(Into::into);
    Rule { networks, ehlo, reverse_path, action: action.unwrap_or(Action::Warn), text }
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
