//! `ringmx doctor` as a program: what it prints, what its exit code says, and that it leaves nothing behind.

use std::path::Path;
use std::process::{Command, Output};

/// So little that any machine that can run the tests can give it.
const SMALL: &str = "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
    [shards]\ncpus = [CPU]\nbuffers = 16\nblock_memory = \"4MiB\"\nconnections_max = 10\nring_entries = 64\n\
    [limits]\nmessage_size_max = \"1MiB\"\nspill_files_max = 0\n";

fn config(folder: &Path, sink: &str) -> String {
    let cpu = ringmx::shard::affinity::allowed_cpus().expect("affinity")[0].to_string();
    let path = folder.join("ringmx.toml");
    std::fs::write(&path, format!("{}{sink}", SMALL.replace("CPU", &cpu))).expect("a configuration");
    path.display().to_string()
}

fn doctor(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_ringmx");
    Command::new(program).arg("doctor").args(arguments).output().expect("it runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_machine_that_has_what_is_asked_is_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = doctor(&["--config", &config(folder.path(), "[[sink]]\nkind = \"discard\"\n")]);
    let text = printed(&output);
    assert!(output.status.success() && text.contains("\nFAILS 0, "), "{text}");
    assert!(text.starts_with("ringmx doctor: mx.example.org on 127.0.0.1:0"), "{text}");
}

#[test]
fn the_disk_of_the_sink_is_measured_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    std::fs::create_dir(&store).expect("a store");
    let sink = format!("[[sink]]\nkind = \"spool\"\npath = \"{}\"\n", store.display());
    let text = printed(&doctor(&["--config", &config(folder.path(), &sink)]));
    assert!(text.contains("time per sync: median"), "{text}");
    assert_eq!(std::fs::read_dir(&store).expect("a store").count(), 0, "{text}");
}

#[test]
fn what_will_fail_is_first_and_in_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "[[sink]]\nkind = \"discard\"\n");
    // Enough to start, too few for the configuration.
    let limited = |more: &str| {
        let line = format!("ulimit -n 64; exec \"$0\" doctor --config \"$1\" {more}");
        let shell = Command::new("sh").args(["-c", &line, env!("CARGO_BIN_EXE_ringmx"), &config]).output();
        shell.expect("a shell")
    };
    let output = limited("");
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let first = text.lines().nth(3).expect("a finding");
    assert!(first.starts_with("FAILS   open files: 64 allowed"), "{text}");

    let output = limited("--script");
    let script = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{script}");
    assert!(script.starts_with("#!/bin/sh\n") && script.contains("LimitNOFILE="), "{script}");
    let checked = Command::new("sh").args(["-n", "-c", &script]).output().expect("a shell");
    assert!(checked.status.success(), "{script}");
}

#[test]
fn a_bad_configuration_is_told_as_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = doctor(&["--config", &config(folder.path(), "[[sink]]\nkind = \"attic\"\n")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("sink.kind"));
}
