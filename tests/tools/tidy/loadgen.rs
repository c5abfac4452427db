//! loadgen: its own arrows, and what it shares with the receiver that it judges.

use std::fs;
use std::path::Path;

use super::{circles, module_of, sources, targets};

/// Which rooms a room uses besides itself; what only says plain values and words is at the end.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["arguments", "output", "program"]),
    (
        "program",
        &[
            "arguments",
            "compare",
            "ledger",
            "output",
            "plan",
            "provenance",
            "report",
            "run",
            "senders",
            "verify",
        ],
    ),
    ("compare", &["arguments", "latency", "output", "paragraph"]),
    (
        "report",
        &[
            "arguments",
            "latency",
            "ledger",
            "outcome",
            "output",
            "paragraph",
            "plan",
            "provenance",
            "scenario",
            "tally",
            "threshold",
            "units",
        ],
    ),
    ("run", &["ledger", "load_thread", "outcome", "output", "paragraph", "plan", "stop", "tally", "units"]),
    ("verify", &["arguments", "corpus", "ledger", "output", "paragraph"]),
    (
        "load_thread",
        &["bot", "client", "latency", "ledger", "plan", "rate", "scenario", "stop", "tally", "tls", "work"],
    ),
    ("bot", &["latency", "reply", "scenario", "tally"]),
    ("client", &["corpus", "latency", "ledger", "reply", "scenario", "tally", "tls", "work"]),
    ("outcome", &["tally"]),
    (
        "plan",
        &["arguments", "corpus", "network", "proxy", "rate", "scenario", "senders", "size", "tls", "units"],
    ),
    ("arguments", &["corpus", "network", "proxy", "rate", "scenario", "senders", "size", "threshold", "tls"]),
    ("tally", &["latency", "ledger", "scenario", "tls"]),
    ("work", &["rate"]),
    ("ledger", &["corpus"]),
    ("scenario", &["corpus", "proxy", "tls", "weights"]),
    ("corpus", &["senders", "size"]),
    ("proxy", &["network"]),
    ("threshold", &["latency", "units"]),
    ("tls", &[]),
    ("senders", &["weights"]),
    ("latency", &[]),
    ("network", &[]),
    ("output", &[]),
    ("paragraph", &[]),
    ("provenance", &[]),
    ("rate", &[]),
    ("reply", &[]),
    ("size", &[]),
    ("stop", &[]),
    ("units", &[]),
    ("weights", &[]),
];

/// What loadgen uses of the receiver: the ring and its surroundings, never the protocol, a sink or the
/// configuration. A mistake of the receiver must not hide in its judge.
const OF_RINGMX: &[&str] =
    &["buffer", "cli::commit", "ring", "shard::affinity", "timestamp", "tls::context", "tls::self_signed"];

#[test]
fn rooms_of_loadgen_follow_their_arrows() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadgen/src");
    for file in sources(&root) {
        let room = module_of(&file, &root);
        // What tests in the sources do is theirs.
        let is_test = super::below_root(&file).contains("/tests");
        if room == "lib" || is_test {
            continue;
        }
        let row = ARROWS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = row.unwrap_or_else(|| panic!("{} is in no row of ARROWS", file.display()));
        let name = if room == "main" { "loadgen::" } else { "crate::" };
        for target in targets(&fs::read_to_string(&file).expect("readable source"), name) {
            let other = target.split("::").next().unwrap_or_default();
            if other != room && !allowed.contains(&other) {
                wrong.push(format!("{}: {room} must not use {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row names rooms of rows below it, so the arrows have one direction.
#[test]
fn arrows_of_loadgen_run_down() {
    for (at, (room, allowed)) in ARROWS.iter().enumerate() {
        for other in *allowed {
            let below = ARROWS[at + 1..].iter().any(|(name, _)| name == other);
            assert!(below, "{room} uses {other}, which does not stand below it");
        }
    }
}

#[test]
fn files_of_loadgen_do_not_need_one_another() {
    circles::hold(&Path::new(env!("CARGO_MANIFEST_DIR")).join("loadgen/src"), "loadgen", &[]);
}

#[test]
fn loadgen_shares_no_code_that_it_judges() {
    let mut wrong = Vec::new();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("loadgen/src"));
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        for target in targets(&fs::read_to_string(&file).expect("readable source"), "ringmx::") {
            let fits = |prefix: &&str| target == **prefix || target.starts_with(&format!("{prefix}::"));
            if !OF_RINGMX.iter().any(fits) {
                wrong.push(format!("{} must not use ringmx::{target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
