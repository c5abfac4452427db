//! The program against receivers that others wrote: it works, and what they do not support it says.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::ended::{Ended, loadgen_at};
use crate::support::json;
use crate::support::other::Other;

fn loadgen(target: &Other, arguments: &str) -> (Option<i32>, String) {
    let Ended { code, text } = loadgen_at(target.address, arguments);
    (code, text)
}

/// smtp-sink of Postfix. As root it must be given a user.
fn smtp_sink(options: &[&str]) -> Option<Other> {
    let root = rustix::process::geteuid().is_root();
    let user: &[&str] = if root { &["-u", "nobody"] } else { &[] };
    Other::start("smtp-sink", &[user, options, &["127.0.0.1:PORT", "100"]].concat())
}

#[test]
fn smtp_sink_takes_mail_and_what_it_lacks_is_told() {
    let Some(sink) = smtp_sink(&[]) else { return };
    let (code, text) = loadgen(&sink, "--connections 5 --messages 200 --pipelining=2");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("200 accepted of 200 begun"), "{text}");
    let (code, text) = loadgen(&sink, "--connections 5 --messages 200 --bdat");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("NO RESULT: the server does not offer CHUNKING"), "{text}");
    let (code, text) = loadgen(&sink, "--connections 8 --messages 100 --scenario steady:6,churn:1,abort:1");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn without_ehlo_helo_is_said() {
    let Some(sink) = smtp_sink(&["-e"]) else { return };
    let (code, text) = loadgen(&sink, "--connections 2 --messages 20 --pipelining");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the server refuses EHLO") || text.contains("does not offer PIPELINING"), "{text}");
}

/// A Python that has aiosmtpd: Debian's package is only for Debian's interpreter, which need not be the first
/// on the path.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import aiosmtpd"]).output().is_ok_and(|output| output.status.success())
    };
    // If neither has it, the first of them says what is missing.
    ["python3", "/usr/bin/python3"].into_iter().find(has_it).unwrap_or("python3")
}

#[test]
fn aiosmtpd_takes_mail_and_what_it_lacks_is_told() {
    let arguments =
        ["-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-s", "1000000", "-l", "127.0.0.1:PORT"];
    let Some(server) = Other::start(python(), &arguments) else { return };
    let (code, text) = loadgen(&server, "--connections 3 --messages 60 --pipelining --recipients 2");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the server does not offer PIPELINING"), "{text}");
    let (code, text) = loadgen(&server, "--messages 1 --size 2MiB --connections 1");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the server takes at most 1000000 octets (SIZE)"), "{text}");
}

/// CPU time that a process has used so far, in the kernel's ticks.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("its facts");
    let after_name = stat.rsplit(')').next().expect("what follows its name");
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum()
}

/// The bounds hold on a machine that is busy with something else, too: there the open loop waits longer, and
/// each message of the closed one may take as long as hundreds of them usually do.
#[test]
fn a_second_in_which_the_receiver_stands_still_shows_in_the_open_loop_and_not_in_the_closed_one() {
    use rustix::process::{Pid, Signal, kill_process};
    let Some(sink) = smtp_sink(&[]) else { return };
    let stalled = |arguments: &str| {
        let pid = Pid::from_child(&sink.child);
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("report.json");
        let arguments = format!("{arguments} --json {}", path.display());
        let ((code, text), stood_still) = std::thread::scope(|scope| {
            let idle = ticks(sink.child.id());
            let run = scope.spawn(|| loadgen(&sink, &arguments));
            // Until it takes mail, however long the program takes to start. A second tick is a long time on a
            // quick machine.
            while ticks(sink.child.id()) <= idle && !run.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
            }
            kill_process(pid, Signal::STOP).expect("stopped");
            let stopped = Instant::now();
            std::thread::sleep(Duration::from_secs(1));
            let stood_still = stopped.elapsed();
            kill_process(pid, Signal::CONT).expect("continued");
            (run.join().expect("a run"), stood_still)
        });
        assert_eq!(code, Some(0), "{text}");
        let p90 = json(&path)["result"]["latency_microseconds"]["transaction"]["p90"].as_u64();
        (u128::from(p90.expect("p90")), stood_still.as_micros(), text)
    };
    // A quarter of the messages is due while it stands still, so the tenth that waits longest waits more than
    // half of that time.
    let (p90, stood_still, text) = stalled("--rate 400/s --duration 4s --connections 4");
    assert!(p90 > stood_still / 2, "{text}");
    assert!(text.contains("late by more than 1 ms"), "{text}");
    // In the closed loop one message waits, among thousands.
    let (p90, stood_still, text) = stalled("--duration 4s --connections 1");
    assert!(p90 < stood_still / 2, "{text}");
}
