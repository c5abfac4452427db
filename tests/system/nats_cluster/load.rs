//! A receiver for the stream of a cluster, mail that comes all the time, and what became of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::load::{bytes_of, loadgen, wait_for_accepted};
use support::nats_cluster::NatsCluster;
use support::server::Server;

use super::STREAM;

/// A receiver with this cluster as its sink, with more keys of that and further tables.
pub(super) fn receiver(cluster: &NatsCluster, keys: &str) -> Server {
    Server::start_whole(&config(cluster, keys))
}

/// Its configuration.
pub(super) fn config(cluster: &NatsCluster, keys: &str) -> String {
    format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [log]\nmessages = false\nsessions = false\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"nats\"\nservers = {}\nstream = \"{STREAM}\"\nmonitor = {}\n{keys}",
        cluster.servers(),
        cluster.monitors()
    )
}

/// How long something lasts: so many seconds, or as many as the second number says where `NATS_SOAK` is set.
pub(super) fn lasts(usual: u64, in_a_soak: u64) -> u64 {
    if std::env::var_os("NATS_SOAK").is_some() { in_a_soak } else { usual }
}

/// loadgen at work.
pub(super) struct Load {
    child: Child,
    report: PathBuf,
    is_over: Arc<AtomicBool>,
    stall: JoinHandle<Duration>,
}

/// What became of the mail.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Messages that were accepted.
    pub(super) accepted: u64,
    /// Replies by their codes.
    pub(super) replies: Value,
    /// The longest time in which none was accepted.
    pub(super) stall: Duration,
}

impl Outcome {
    /// Replies with this code.
    pub(super) fn replies(&self, code: &str) -> u64 {
        self.replies[code].as_u64().unwrap_or(0)
    }
}

impl Load {
    /// Begins, and gives it back when messages are accepted.
    pub(super) fn start(server: &Server, ledger: &Path, arguments: &str) -> Self {
        let report = ledger.with_extension("json");
        let before = bytes_of(ledger);
        let mut command = Command::new(loadgen());
        command.arg(server.address().to_string()).args(arguments.split(' '));
        command.arg("--ledger").arg(ledger).arg("--json").arg(&report);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("loadgen runs");
        wait_for_accepted(ledger, before);
        let is_over = Arc::new(AtomicBool::new(false));
        let (told, ledger) = (Arc::clone(&is_over), ledger.to_owned());
        let stall = std::thread::spawn(move || longest_stall(&ledger, &told));
        Self { child, report, is_over, stall }
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> Outcome {
        let _ = self.child.wait().expect("its end");
        self.is_over.store(true, Ordering::Relaxed);
        let report = fs::read_to_string(&self.report).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let accepted = report["messages_accepted"].as_u64().expect("a number");
        let stall = self.stall.join().expect("the longest stall");
        let outcome = Outcome { accepted, replies: report["replies"].clone(), stall };
        println!("{outcome:?}, {}", report["failures_by_kind"]);
        outcome
    }
}

/// Looks at the ledger until it is over.
fn longest_stall(ledger: &Path, is_over: &AtomicBool) -> Duration {
    const EVERY: Duration = Duration::from_millis(50);
    const WORD: &[u8] = b"\naccepted ";
    let (mut longest, mut last, mut seen) = (Duration::ZERO, Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(EVERY);
        let octets = fs::read(ledger).unwrap_or_default();
        let new = octets.get(seen..).unwrap_or_default();
        if new.windows(WORD.len()).any(|octets| octets == WORD) {
            longest = longest.max(last.elapsed());
            (last, seen) = (Instant::now(), octets.len() - WORD.len());
        }
    }
    longest
}

/// What `loadgen verify` says of the stream, once all servers are well: nothing is lost, altered or there
/// twice.
///
/// # Panics
/// When something is.
pub(super) fn expect_whole(cluster: &NatsCluster, ledger: &Path, more: &[&str]) {
    cluster.wait_until_well();
    cluster.leader_of(STREAM);
    let mut command = Command::new(loadgen());
    command.args(["verify", "--nats", &cluster.living_url(), "--stream", STREAM, "--no-duplicates"]);
    command.args(more).arg("--ledger").arg(ledger);
    let output = command.output().expect("loadgen runs");
    let text = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
    println!("{}", text.concat());
    assert!(output.status.success(), "{}", text.concat());
}
