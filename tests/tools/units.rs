//! The units of `tuning/systemd`: systemd understands them, they leave little to whoever takes the process
//! over, and the two services of the receiver say the same but for what they differ in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/systemd")
}

fn unit(name: &str) -> String {
    fs::read_to_string(units().join(name)).expect("the unit")
}

/// The program that looks at units without a running systemd.
fn has_systemd_analyze() -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !found {
        println!("skipped: no systemd-analyze (Debian package: systemd)");
        assert!(std::env::var_os("CI").is_none(), "it could have been installed");
    }
    found
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    if !has_systemd_analyze() {
        return;
    }
    // The units as they are, but for the program, which need not be installed here.
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for name in ["ringmx.service", "ringmx-socket.service", "ringmx.socket", "ringmx-forward.service"] {
        let text = unit(name).replace("/usr/bin/ringmx", env!("CARGO_BIN_EXE_ringmx"));
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        files.push(file);
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=one"])
        .args(&files)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    // Units of the machine may have faults of their own.
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("ringmx")).collect();
    assert!(output.status.success() && ours.is_empty(), "{told}");
}

#[test]
fn little_is_left_to_whoever_takes_the_process_over() {
    if !has_systemd_analyze() {
        return;
    }
    // In tenths, as --threshold takes them: 10 is all that can be had.
    for (name, most) in
        [("ringmx.service", "16"), ("ringmx-socket.service", "13"), ("ringmx-forward.service", "11")]
    {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", "--threshold", most])
            .arg(units().join(name))
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout);
        println!("{name}: {}", told.lines().last().unwrap_or_default());
        assert!(output.status.success(), "{told}");
    }
}

/// A setting that one unit got and the other one did not is a mistake.
#[test]
fn the_two_services_differ_in_what_sockets_and_capabilities_need_and_in_nothing_else() {
    let settings = |name: &str| -> BTreeSet<String> {
        let text = unit(name);
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    };
    let (plain, socket) = (settings("ringmx.service"), settings("ringmx-socket.service"));
    let names = |lines: BTreeSet<&String>| -> BTreeSet<String> {
        lines.iter().map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect()
    };
    let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        names(plain.difference(&socket).collect()),
        expected(&[
            "After",
            "AmbientCapabilities",
            "CapabilityBoundingSet",
            "Conflicts",
            "Description",
            "RestrictAddressFamilies",
            "Wants",
        ])
    );
    assert_eq!(
        names(socket.difference(&plain).collect()),
        expected(&[
            "After",
            "Also",
            "CapabilityBoundingSet",
            "Conflicts",
            "Description",
            "PrivateNetwork",
            "PrivateUsers",
            "Requires",
            "RestrictAddressFamilies",
        ])
    );
}

/// A unit that allows less than the profiles need would not start, and one that waits less than the process
/// would kill it.
#[test]
fn the_units_allow_what_the_process_needs() {
    for name in ["ringmx.service", "ringmx-socket.service", "ringmx-forward.service"] {
        let unit = unit(name);
        let setting = |name: &str| {
            unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("a setting")
        };
        assert_eq!(setting("LimitMEMLOCK"), "infinity");
        let wait: u64 = setting("TimeoutStopSec").parse().expect("seconds");
        assert!(wait > ringmx::limits::PROCESS_END_MAX.as_secs());
    }
}
