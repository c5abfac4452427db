//! loadgen as the load and as the judge: the program of this build, its ledger, its verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use super::server::program;

/// What `loadgen verify` said.
pub struct Verdict {
    /// Nothing is lost, altered or unclean.
    pub holds: bool,
    /// Messages that were answered 250.
    pub accepted: u64,
    /// Of these, those that are missing.
    pub lost: u64,
    /// Messages stored otherwise than they were sent.
    pub altered: u64,
    /// All it said.
    pub text: String,
}

/// Compares a ledger with the store of a sink of this kind.
pub fn verify(ledger: &Path, kind: &str, store: &Path, more: &[&str]) -> Verdict {
    let mut command = Command::new(loadgen());
    command.arg("verify").args(more).arg(format!("--{kind}")).arg(store).arg("--ledger").arg(ledger);
    let output = command.output().expect("loadgen runs");
    let text =
        [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    let count = |name: &str| {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find_map(|words| (words.first() == Some(&name)).then(|| words.get(1)?.parse().ok())?)
    };
    Verdict {
        holds: output.status.success(),
        accepted: count("accepted").unwrap_or(0),
        lost: count("lost").unwrap_or(0),
        altered: count("altered").unwrap_or(0),
        text,
    }
}

/// Waits until the ledger tells of messages: loadgen has made its texts and connected.
pub fn wait_for_load(ledger: &Path, before: u64) {
    /// More than the line of the run.
    const LINES_BYTES: u64 = 200;
    let start = Instant::now();
    while bytes_of(ledger) < before + LINES_BYTES {
        assert!(start.elapsed() < Duration::from_mins(1), "loadgen sends nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the ledger tells of a message that was accepted, after so many octets.
pub fn wait_for_accepted(ledger: &Path, before: u64) {
    const WORD: &[u8] = b"\naccepted ";
    let start = Instant::now();
    loop {
        let ledger = fs::read(ledger).unwrap_or_default();
        let new = ledger.get(usize::try_from(before).expect("a ledger fits memory")..).unwrap_or_default();
        if new.windows(WORD.len()).any(|octets| octets == WORD) {
            return;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "nothing is accepted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Octets of a file; none if it is missing.
pub fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

/// The loadgen that belongs to this build: beside `ringmx`, built now unless it is newer than its sources.
pub fn loadgen() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let ringmx = program();
        let path = ringmx.with_file_name("loadgen");
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
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
pub struct Random(u64);

impl Random {
    /// With the seed of this variable of the environment, or one of the clock.
    pub fn from_variable(name: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = number_from(name).unwrap_or(u64::from(now.subsec_nanos()));
        println!("{name}={seed}");
        Self(seed)
    }

    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to one less than this.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A number from the environment.
pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
