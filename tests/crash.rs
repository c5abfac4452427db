//! Under load the receiver is killed (`kill -9`) at random moments and started again on the same store, several times; then
//! the ledger of what was sent is compared with the store: nothing accepted is lost or altered, nothing else is visible.
//!
//! `CRASH_SEED` repeats the choices of a run, `CRASH_ROUNDS` sets the number of kills.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use support::server::Server;

/// Kills of each store unless told otherwise.
const ROUNDS_DEFAULT: u64 = 4;

#[test]
fn a_maildir_keeps_its_promise_when_the_receiver_is_killed() {
    crash("maildir", "");
}

#[test]
fn maildirs_of_recipients_keep_their_promise_when_the_receiver_is_killed() {
    crash("maildir", "template = \"{domain}/{local}\"\ncreate = true");
}

#[test]
fn a_spool_keeps_its_promise_when_the_receiver_is_killed() {
    crash("spool", "segment_size = \"1MiB\"");
}

fn crash(kind: &str, more: &str) {
    let mut random = Random::new();
    let rounds = number_from("CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let config = format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"{kind}\"\npath = \"{}\"\n{more}\n[log]\nmessages = false",
        store.display()
    );
    for round in 1..=rounds {
        let mut server = Server::start_whole(&config);
        let arguments = load(&mut random);
        let after = Duration::from_millis(random.below(800));
        println!("{kind}, round {round}: {arguments}, killed after {after:?}");
        let mut command = Command::new(loadgen());
        command.arg(server.address().to_string()).args(arguments.split(' ')).arg("--ledger").arg(&ledger);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let ledger_bytes = bytes_of(&ledger);
        let mut load = command.spawn().expect("loadgen runs");
        wait_for_load(&ledger, ledger_bytes);
        std::thread::sleep(after);
        server.signal(rustix::process::Signal::KILL);
        server.wait();
        // It finds nobody there and gives up.
        load.wait().expect("loadgen ends");
        // What the next start repairs or removes is part of the promise.
        let _recovered = Server::start_whole(&config);
        let verdict = verify(&ledger, if kind == "spool" { "--spool" } else { "--maildir" }, &store);
        let text = String::from_utf8_lossy(&verdict.stdout);
        if !verdict.status.success() {
            let kept = folder.keep();
            panic!("{text}{}\nkept in {}", String::from_utf8_lossy(&verdict.stderr), kept.display());
        }
        if round == rounds {
            println!("{text}");
            let accepted = text.lines().find_map(|line| line.trim_start().strip_prefix("accepted "));
            let accepted = accepted.and_then(|counts| counts.split_whitespace().next()?.parse::<u64>().ok());
            assert!(accepted.is_some_and(|accepted| accepted > 0), "the kills came under load:\n{text}");
        }
    }
}

/// Waits until the ledger tells of messages: loadgen has made its texts and connected.
fn wait_for_load(ledger: &Path, before: u64) {
    /// More than the line of the run.
    const LINES_BYTES: u64 = 200;
    let start = Instant::now();
    while bytes_of(ledger) < before + LINES_BYTES {
        assert!(start.elapsed() < Duration::from_mins(1), "loadgen sends nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

fn verify(ledger: &Path, kind: &str, store: &Path) -> Output {
    let mut command = Command::new(loadgen());
    command.args(["verify", "--no-duplicates", kind]).arg(store).arg("--ledger").arg(ledger);
    command.output().expect("loadgen runs")
}

/// A load that lasts until the receiver is gone.
fn load(random: &mut Random) -> String {
    let mut one_of = |choices: &[&'static str]| {
        choices[usize::try_from(random.below(choices.len() as u64)).expect("small")]
    };
    let size = one_of(&["700", "4KiB", "4KiB", "70KiB", "600KiB", "3MiB"]);
    let connections = if size.ends_with("0KiB") || size.ends_with("MiB") { "4" } else { "30" };
    let recipients = one_of(&["1", "1", "3"]);
    let session = one_of(&["", " --pipelining", " --per-connection 2"]);
    format!(
        "--duration 60s --to user@example.test --connections {connections} --size {size} --recipients {recipients}{session}"
    )
}

/// The loadgen that belongs to this build: beside `ringmx`, built now unless it is newer than its sources.
fn loadgen() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let ringmx = Path::new(env!("CARGO_BIN_EXE_ringmx"));
        let path = ringmx.with_file_name("loadgen");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources =
            ["src", "loadgen/src", "loadgen/Cargo.toml", "Cargo.lock"].map(|name| newest(&root.join(name)));
        let built = fs::metadata(&path).and_then(|data| data.modified());
        if built.is_ok_and(|built| sources.iter().all(|changed| *changed < built)) {
            return path;
        }
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "-p", "loadgen", "--bin", "loadgen"]).current_dir(root);
        let profile = ringmx.parent().expect("a folder");
        if profile.file_name().is_some_and(|name| name == "release") {
            command.arg("--release");
        }
        command.arg("--target-dir").arg(profile.parent().expect("a folder"));
        assert!(command.status().expect("cargo runs").success(), "cargo build -p loadgen");
        path
    })
}

/// When the newest file at or below a path was changed.
fn newest(path: &Path) -> SystemTime {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("sources");
        let times = entries.map(|entry| newest(&entry.expect("a source").path()));
        return times.max().unwrap_or(SystemTime::UNIX_EPOCH);
    }
    fs::metadata(path).and_then(|data| data.modified()).expect("a source")
}

/// Choices from a seed that is printed (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = number_from("CRASH_SEED").unwrap_or(u64::from(now.subsec_nanos()));
        println!("CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
