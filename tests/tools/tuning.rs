//! The files of `tuning/`: profiles are good configurations, and no knob is missing from the list.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tuning(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(file)
}

#[test]
fn every_profile_is_a_good_configuration() {
    let mut count = 0;
    for entry in fs::read_dir(tuning("profiles")).expect("profiles") {
        let path = entry.expect("an entry").path();
        let output =
            Command::new(env!("CARGO_BIN_EXE_ringmx")).arg("check").arg(&path).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        // Recipients are the operator's to add, the store is made by a package, this machine need not have
        // the memory, and who tests may be root.
        let is_expected = |line: &str| {
            [
                ": recipients: there is no file",
                ": sink.path: /var/lib/ringmx/spool does not exist",
                ": shards: ringmx may use ",
                ": ringmx runs as root",
            ]
            .iter()
            .any(|expected| line.contains(expected))
        };
        assert!(output.status.success() && told.lines().all(is_expected), "{}: {told}", path.display());
        count += 1;
    }
    assert!(count >= 2, "profiles were found");
}

#[test]
fn every_knob_is_listed() {
    let list = fs::read_to_string(tuning("README.md")).expect("the list");
    let mut table = "";
    let mut has_log = false;
    let reference = ringmx::config::reference();
    for line in reference.lines().map(|line| line.trim_start_matches("# ")) {
        if line.starts_with('[') {
            table = line;
            has_log |= table == "[log]";
        } else if let Some((key, _)) = line.split_once(" = ")
            && ["[shards]", "[[shard]]", "[limits]", "[[sink]]", "[log]"].contains(&table)
            && key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_')
        {
            assert!(list.contains(&format!("`{key}`")), "{table} {key} is not in tuning/README.md");
        }
    }
    assert!(has_log, "the whole reference was read");
}
