//! A maildir for others: what `ringmx check` and the start of `ringmx serve` say of its group, as programs
//! that root and another user run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// A user that owns nothing but the folder that it gets here.
const NOBODY: u32 = 65534;

/// Runs a command with this `group` in the configuration, as nobody with these groups besides its own, in a
/// folder of its own whose store has this mode; gives the lines of its log.
fn told(command: &[&str], group: &str, groups: &str, store_mode: u32) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fs::create_dir(&store).expect("a store");
    for path in [folder.path(), &store] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("given");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opened");
    }
    fs::set_permissions(&store, fs::Permissions::from_mode(store_mode)).expect("set");
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \"store\"\ngroup = \"{group}\"\n"
    );
    fs::write(folder.path().join("mx.toml"), text).expect("written");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", &format!("--groups={groups}")])
        .arg(env!("CARGO_BIN_EXE_ringmx"))
        .args(command)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("setpriv runs");
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root can become another user");
    }
    is_root
}

#[test]
fn a_group_that_is_not_there_or_not_ours_is_told_with_its_line_and_stops_the_start() {
    if !is_root() {
        return;
    }
    for command in [&["check", "mx.toml"][..], &["serve", "-c", "mx.toml"]] {
        let unknown = told(command, "no-such-group-here", "65534", 0o700);
        let expected = "on this machine: `groupadd --system no-such-group-here`, or correct the name";
        assert!(
            unknown
                .iter()
                .any(|line| line.contains("mx.toml:6: sink.group: there is no group")
                    && line.contains(expected)),
            "{unknown:#?}"
        );
        let foreign = told(command, "54321", "65534", 0o700);
        let expected = "mx.toml:6: sink.group: user 65534 is not a member of the group";
        assert!(foreign.iter().any(|line| line.contains(expected)), "{foreign:#?}");
        assert!(!foreign.iter().any(|line| line.contains("listening")), "it did not start: {foreign:#?}");
    }
}

#[test]
fn a_group_that_cannot_reach_the_store_is_a_warning_with_its_cure() {
    if !is_root() {
        return;
    }
    let closed = told(&["check", "mx.toml"], "54321", "54321", 0o700);
    let [warning] = &closed[..] else { panic!("one finding: {closed:#?}") };
    assert!(
        warning.starts_with("warning: mx.toml:6: sink.group: as modes tell, this group cannot use store (mode 0700, group 65534)")
            && warning.ends_with("`chgrp 54321 store && chmod 2770 store`"),
        "{warning}"
    );
    // With nothing to say but that, it is good.
    assert_eq!(told(&["check", "mx.toml"], "65534", "65534", 0o2770), [""; 0]);
}
