//! One word for each thing: names that have a word of ours are not called otherwise. What other crates define
//! keeps its name.

use std::collections::BTreeSet;

use super::named_sources;

/// A part of a name, and what we say.
const OURS: &[(&str, &str)] = &[
    ("backend", "sink, or destination"),
    ("bounce", "refuse"),
    ("capability", "extension"),
    ("dialogue", "session"),
    ("email", "mailbox, or message"),
    ("eod", "end of mail data"),
    ("escaping", "transparency"),
    ("helper", "the noun that it defines"),
    ("helpers", "the noun that it defines"),
    ("manager", "the noun that it defines"),
    ("peer", "client, or server"),
    ("plugin", "check"),
    ("reactor", "shard"),
    ("reputation", "class of a client"),
    ("request", "command, or question"),
    ("response", "reply, or answer"),
    ("terminator", "end of mail data"),
    ("upstream", "destination"),
    ("utils", "the noun that it defines"),
];

/// Names of other crates, and of other things that have this name everywhere.
const THEIRS: &[&str] = &[
    "CapabilitySet",
    "ResponseCode",
    "response_code",
    "PeerClosed",
    "PeerIncompatible",
    "PeerMisbehaved",
    "peer_certificates",
    // The other end of a socket, whoever it is.
    "peer_address",
    "peer_cred",
    "peer_has_closed",
    // HTTP's.
    "BAD_REQUEST",
    "MISDIRECTED_REQUEST",
    "Request",
    "Response",
    "ResponseError",
    "ResponseReader",
    "request",
    "response",
    // systemd's.
    "ServiceManager",
    "service_manager",
    // As the kernel has it: huge pages on request only.
    "on_request_only",
];

#[test]
fn names_are_our_words() {
    let mut wrong = BTreeSet::new();
    for (file, text) in named_sources() {
        if !file.starts_with("src/") && !file.starts_with("loadgen/src/") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for name in names(code).chain(names(&file)) {
            for part in parts(name) {
                let theirs = OURS.iter().find(|(word, _)| *word == part && !THEIRS.contains(&name));
                wrong.extend(
                    theirs.map(|(word, ours)| format!("{file}: {name}: instead of {word} we say {ours}")),
                );
            }
            // A function that gives something is called for what it gives.
            if name.starts_with("get_") && code.contains(&format!("fn {name}")) {
                wrong.insert(format!("{file}: {name}: without get_"));
            }
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names in a source; what comments and texts say is prose.
fn names(code: &str) -> impl Iterator<Item = &str> {
    super::circles::tokens(code).into_iter().filter(|token| token.len() > 2)
}

/// `HandshakeDone` and `handshake_done` are `handshake` and `done`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && was_small) {
            parts.push(String::new());
        }
        if letter != '_' {
            parts.last_mut().expect("a part").extend(letter.to_lowercase());
        }
        was_small = letter.is_lowercase();
    }
    parts
}
