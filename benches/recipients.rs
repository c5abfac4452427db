//! Ten million recipients: how long the table takes to make, to read and to look into, and what it takes.
//!
//! `cargo bench --bench recipients [-- COUNT]`

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringmx::config::Config;
use ringmx::config::recipients::{self, Content, Judge, compiled};
use ringmx::mail::envelope::Mailbox;
use ringmx::smtp::policy::{Listed, Policy, Recipients, Verdict};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNT: usize = 10_000_000;
const LOOK_UPS: usize = 1_000_000;
const RUNS: usize = 5;

/// The first argument of a process that says what it takes to hold something, and the two things.
const HOLDS: &str = "holds";
const TABLE: &str = "table";
const SET: &str = "set";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [HOLDS, what, of] = *arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        return println!("{}", held(what, of));
    }
    // Cargo says that it benches.
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(COUNT);
    let folder = tempfile::tempdir().expect("a folder");
    let (text, table) = (folder.path().join("text"), folder.path().join("table"));
    write_text(&text, count);
    println!("{count} recipients, {} MiB of text", mib(file_bytes(&text)));
    let made = (0..RUNS).map(|_| timed(|| made(&text)).0).collect();
    tell("text to table", made);
    let compiled = timed(|| compiled::write(&made_of(&text), &table, None).expect("written")).0;
    println!("text to compiled file: {compiled:.2?} of one run, {} MiB", mib(file_bytes(&table)));
    tell("compiled file to table", (0..RUNS).map(|_| timed(|| read(&table)).0).collect());
    let listed = read(&table);
    let text_of_path = table.to_str().expect("UTF-8");
    println!("memory of the table: {} MiB", mib(held_alone(TABLE, text_of_path)));
    let config = Config::embedded_default();
    let recipients = Recipients::new(&config.recipient_rules(), Some(listed));
    look_up("look-up of one that is there", count, 0, |mailbox| {
        assert_eq!(recipients.recipient(mailbox), Verdict::Accept);
    });
    look_up("look-up of one that is not there", count, count, |mailbox| {
        assert_eq!(recipients.recipient(mailbox), Verdict::UnknownRecipient);
    });
    drop(recipients);
    println!("memory of a set of texts: {} MiB", mib(held_alone(SET, &count.to_string())));
    let set = set_of(count);
    look_up("look-up in a set of texts", count, 0, |mailbox| assert!(set.contains(mailbox.whole)));
}

fn address(number: usize) -> String {
    format!("first.last{number}@d{}.example.org", number % 7)
}

fn write_text(path: &Path, count: usize) {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{}", address(number)).expect("memory");
    }
    std::fs::write(path, text).expect("written");
}

fn made_of(path: &Path) -> Listed {
    let config = Config::embedded_default();
    let judge = Judge { rules: config.recipient_rules(), creates: true, misnamed: &|_| None };
    let Ok(Content::Text(octets)) = recipients::read(path) else { panic!("a text") };
    let (listed, warnings) = recipients::table(path, &octets, &judge, None).expect("good");
    assert_eq!(warnings, []);
    listed
}

fn made(path: &Path) {
    black_box(made_of(path));
}

fn read(path: &Path) -> Listed {
    let Ok(Content::Table(listed)) = recipients::read(path) else { panic!("a table") };
    listed
}

/// Times single look-ups at random places, each of a text that is in the cache.
fn look_up(what: &str, count: usize, from: usize, mut look: impl FnMut(Mailbox<'_>)) {
    let mut state = 1_u64;
    let mut times = Vec::with_capacity(LOOK_UPS);
    let clock = (0..1000).map(|_| timed(|| ()).0).min().unwrap_or_default();
    for _ in 0..LOOK_UPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(state >> 33).expect("64 bits") % count + from;
        let whole = address(number);
        times.push(timed(|| look(black_box(Mailbox::of_whole(whole.as_bytes())))).0.saturating_sub(clock));
    }
    times.sort_unstable();
    let at = |share: usize| times.get(LOOK_UPS * share / 1000).copied().unwrap_or_default();
    println!("{what}: median {:?}, 99 of 100 within {:?}", at(500), at(990));
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let made = work();
    (start.elapsed(), made)
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    println!("{what}: median {:.2?} of {RUNS} runs, {:.2?} to {:.2?}", at(RUNS / 2), at(0), at(RUNS - 1));
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file").len()
}

fn set_of(count: usize) -> HashSet<Box<[u8]>> {
    (0..count).map(|number| address(number).into_bytes().into()).collect()
}

/// What holding this takes, in a process that has done nothing before. In one that has, the allocator gives
/// out again what it kept resident of things that were freed, and the difference says nothing.
fn held_alone(what: &str, of: &str) -> u64 {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program).args([HOLDS, what, of]).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("octets")
}

/// Octets of memory that this process has more when it holds a table of this path, or a set of so many texts.
fn held(what: &str, of: &str) -> u64 {
    let before = resident();
    match what {
        TABLE => grown_by(before, &read(Path::new(of))),
        SET => grown_by(before, &set_of(of.parse().expect("a count"))),
        other => panic!("{other} is nothing to hold"),
    }
}

fn grown_by<T>(before: u64, kept: &T) -> u64 {
    let octets = resident().saturating_sub(before);
    black_box(kept);
    octets
}

/// Counted page by page, and not by counters of the kernel that run behind.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line");
    let kib = line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).expect("a number");
    kib << 10
}

const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
