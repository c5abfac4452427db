//! Locked memory: an ordinary user is charged for rings, so what `doctor` says of a limit has to be what
//! `serve` then does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ringmx::ring::locked_memory;
use rustix::process::{Pid, Signal, kill_process};
use support::image;
use support::server::Server;

/// Rings that are large enough that two of them take some MiB.
const CONFIG: &str = "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[shards]\nring_entries = 32768\n\
     connections_max = 100\n[limits]\nspill_files_max = 10\n[[sink]]\nkind = \"discard\"\n";

fn limit(soft: u64, hard: u64) -> String {
    format!("--memlock={soft}:{hard}")
}

/// What the rule says of all rings of the configuration, and a little for the ring that is tried first.
fn by_the_rule() -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringmx.toml");
    fs::write(&file, CONFIG).expect("written");
    let (config, _) = ringmx::config::load(&file).expect("a good configuration");
    config.shards.iter().map(locked_memory::of_shard).sum::<u64>() + (64 << 10)
}

/// `ringmx` in a folder that anybody may enter, for the build's own may be closed to others.
fn folder_for_all() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_ringmx"), folder.path().join("ringmx")).expect("a copy");
    fs::write(folder.path().join("ringmx.toml"), CONFIG).expect("written");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    folder
}

/// `ringmx` with this command, as this user and with this limit.
fn command(folder: &Path, user: &str, limit: &str, subcommand: &str) -> Command {
    let mut command = Command::new("prlimit");
    // The limit first: only root may raise it.
    command.args([
        limit,
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        "./ringmx",
        subcommand,
    ]);
    command.args(["--config", "ringmx.toml"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// Starts it; when it is ready it is stopped again. What it logged until then.
fn serve(folder: &Path, user: &str, limit: &str) -> (bool, String) {
    let mut child = command(folder, user, limit, "serve").stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines =
        BufReader::new(child.stderr.take().expect("standard error")).lines().map_while(Result::ok);
    let mut log = String::new();
    let is_ready = lines.by_ref().any(|line| {
        log.push_str(&line);
        log.push('\n');
        line.ends_with(" ready")
    });
    if is_ready {
        let id = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        kill_process(id, Signal::TERM).expect("the signal is sent");
    }
    log.extend(lines.map(|line| line + "\n"));
    let status = child.wait().expect("it ends");
    assert_eq!(status.success(), is_ready, "{log}");
    (is_ready, log)
}

#[test]
fn what_doctor_says_of_locked_memory_is_what_serve_does() {
    if image::unavailable(&["setpriv", "prlimit"]).is_some() {
        return;
    }
    let folder = folder_for_all();
    let wanted = by_the_rule();
    let limits = [
        // Far too little, too little, and what the rule wants: as it holds, and as the most that it may be
        // raised to.
        (false, limit(64 << 10, 64 << 10)),
        (false, limit(wanted / 2, wanted / 2)),
        (true, limit(wanted, wanted)),
        (true, limit(64 << 10, wanted)),
    ];
    for (number, (is_enough, limit)) in (0..).zip(limits) {
        // The kernel gives back what a process was charged for some time after its end: each has a user of
        // its own.
        let user = |part: u32| (1_000_000 + std::process::id() * 16 + number * 2 + part).to_string();
        let (is_ready, log) = serve(folder.path(), &user(0), &limit);
        let doctor = command(folder.path(), &user(1), &limit, "doctor").output().expect("it runs");
        let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let says_no = report.contains("FAILS   io_uring:");
        assert_eq!(is_ready, !says_no, "{limit}:\n{log}\n{report}");
        if is_ready {
            assert!(is_enough || !report.contains("FAILS   locked memory"), "{limit}: {report}");
            println!("{limit}: ready{}", if is_enough { "" } else { "; this kernel charges no rings" });
            continue;
        }
        assert!(!is_enough, "the rule is too small: {limit}:\n{log}");
        for text in [&log, &report] {
            assert!(text.contains("LimitMEMLOCK=infinity"), "{limit}: {text}");
        }
        assert!(report.contains("FAILS   locked memory"), "{limit}: {report}");
        assert_eq!(doctor.status.code(), Some(1));
    }
}

/// Root is charged for nothing, so it asks as the user that it will become.
#[test]
fn doctor_tries_rings_as_the_user_of_run_as_and_says_how_many_it_gets() {
    if image::unavailable(&["prlimit"]).is_some() {
        return;
    }
    let folder = folder_for_all();
    let user = 1_000_000 + std::process::id() * 16 + 15;
    let more = format!("{CONFIG}[run_as]\nuser = \"{user}\"\ngroup = \"{user}\"\n")
        .replace("[shards]\n", "[shards]\ncpus = [0]\n");
    fs::write(folder.path().join("ringmx.toml"), more).expect("written");
    let doctor = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.args([limit, "./ringmx", "doctor", "ringmx.toml"]).current_dir(folder.path());
        String::from_utf8_lossy(&command.output().expect("it runs").stdout).into_owned()
    };
    let report = doctor(&limit(128 << 10, 128 << 10));
    if report.contains("FAILS   io_uring:") {
        assert!(report.contains(&format!("user {user}: 0 of 1 rings can be had")), "{report}");
        assert!(report.contains("LimitMEMLOCK=infinity"), "{report}");
    } else {
        println!("this kernel charges no rings");
    }
    let report = doctor(&limit(64 << 20, 64 << 20));
    assert!(!report.contains("FAILS   io_uring:"), "{report}");
}

#[test]
fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
    let server = Server::start_under(&["prlimit", "--nofile=100:4000"], CONFIG, &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("4000"), "{line}");
}
