//! A real cluster of three servers of NATS: its streams as consumers, loadgen and the receiver see them.

mod consumers;
mod fallback;
mod faults;
mod limits;
mod load;
mod servers;
mod streams;

use std::path::Path;
use std::process::{Command, Stdio};

use support::load::loadgen;
use support::nats_cluster::NatsCluster;
use support::server::{Server, program};

/// The stream of these tests.
const STREAM: &str = "MAIL";

/// Sends mail to a receiver, with its ledger.
fn send(server: &Server, ledger: &Path, arguments: &str) {
    let mut command = Command::new(loadgen());
    command.arg(server.address().to_string()).args(arguments.split(' ')).arg("--ledger").arg(ledger);
    let output = command.output().expect("loadgen runs");
    assert!(output.status.success(), "{output:?}");
}

/// What a spool holds, as lines of `spool follow`: what a publisher who is not the receiver is given.
fn lines_of(spool: &Path) -> String {
    let output = Command::new(program()).args(["spool", "follow", "--once"]).arg(spool).output();
    let output = output.expect("ringmx runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Publishes such lines by nats-py, in the format of `docs/cluster.md`.
fn publish(cluster: &NatsCluster, lines: &str) {
    let mut command = cluster.python("nats_stream.py");
    command.args(["publish", STREAM]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs");
    let mut input = child.stdin.take().expect("its input");
    std::io::Write::write_all(&mut input, lines.as_bytes()).expect("it reads");
    drop(input);
    assert!(child.wait().expect("its end").success());
}
