//! What a run tells, and where: standard output, report files, exit code; and what becomes of it when one of
//! them fails.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::ended::{Ended, loadgen, loadgen_to};
use crate::support::server::{Oddity, Server};
use crate::support::{PROGRAM, json};

/// A pipe that nobody reads any more.
fn left() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(arguments: &str, stdout: Stdio, stderr: Stdio) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split_whitespace()).stdout(stdout).stderr(stderr);
    command.spawn().expect("loadgen runs").wait_with_output().expect("loadgen ends").into()
}

fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_reader_that_left_changes_no_exit_code_and_costs_no_report() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let server = Server::start(Oddity::None);
    let good = format!("{} -c 2 -m 20", server.address);
    let files = format!("{good} --json {} --html {} --hgrm {}", at("j"), at("h"), at("p"));
    let ledger = format!("{good} --ledger {}", at("ledger"));
    let none = at("none");
    let report = at("j");
    for (arguments, code) in [
        (files.as_str(), 0),
        (&ledger, 0),
        (&format!("{good} --fail-if rate<1000000000"), 3),
        (&format!("{} -m 20 --timeout 1s", nobody()), 1),
        (&format!("verify --ledger {} --maildir {}", at("ledger"), folder.path().display()), 1),
        (&format!("verify --ledger {none} --maildir {none}"), 2),
        (&format!("compare {report} {report} --all"), 0),
        (&format!("compare {report} {none}"), 2),
        ("--help", 0),
        ("--version", 0),
        ("127.0.0.1:25 --connections 0", 2),
        ("127.0.0.1:25 --nonsense", 2),
    ] {
        for (stdout, stderr) in [(left(), Stdio::null()), (Stdio::null(), left()), (left(), left())] {
            let ended = run(arguments, stdout, stderr);
            assert_eq!(ended.code, Some(code), "{arguments}: {}", ended.text);
        }
    }
    assert_eq!(json(&folder.path().join("j"))["messages_accepted"], 20);
    for (name, words) in [("h", "<!doctype html>"), ("p", "#[Max")] {
        assert!(fs::read_to_string(at(name)).expect("a report").contains(words), "{name}");
    }
}

#[test]
fn a_full_standard_output_is_told_after_the_files_are_written() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("report.json");
    let server = Server::start(Oddity::None);
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full").into();
    let ended =
        run(&format!("{} -c 2 -m 20 --json {}", server.address, path.display()), full(), Stdio::piped());
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.says("cannot write to standard output: No space left"), "{}", ended.text);
    assert_eq!(json(&path)["messages_accepted"], 20);
    let compare = format!("compare {0} {0}", path.display());
    for (arguments, code) in [("--help", 1), (compare.as_str(), 2)] {
        let ended = run(arguments, full(), Stdio::piped());
        assert_eq!(ended.code, Some(code), "{arguments}: {}", ended.text);
        assert!(ended.says("cannot write to standard output: No space left"), "{arguments}: {}", ended.text);
    }
}

#[test]
fn a_full_pipe_that_does_not_block_is_waited_for() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let server = Server::start(Oddity::None);
    let (mut reader, mut writer) = io::pipe().expect("a pipe");
    fcntl_setfl(&writer, fcntl_getfl(&writer).expect("flags") | OFlags::NONBLOCK).expect("non-blocking");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    let mut command = Command::new(PROGRAM);
    command.args([&server.address.to_string(), "-c", "2", "-m", "20"]).stdout(writer);
    let mut child = command.spawn().expect("loadgen runs");
    // It holds the end that writes, too, and reading would not end.
    drop(command);
    // All messages arrived: what it does now is write its report into the full pipe.
    while server.seen.lock().expect("lock").quits < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut told = String::new();
    io::Read::read_to_string(&mut reader, &mut told).expect("UTF-8");
    assert_eq!(child.wait().expect("loadgen ends").code(), Some(0), "{told}");
    assert!(told.contains("20 accepted of 20 begun"), "{told}");
}

#[test]
fn streams_that_were_closed_before_the_start_are_no_file_of_ours() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("report.json");
    let server = Server::start(Oddity::None);
    let line = format!("exec {PROGRAM} {} -c 2 -m 20 --json {} <&- >&- 2>&-", server.address, path.display());
    let status = Command::new("sh").args(["-c", &line]).status().expect("sh runs");
    assert_eq!(status.code(), Some(0));
    assert_eq!(json(&path)["messages_accepted"], 20);
}

#[test]
fn a_path_that_cannot_be_written_is_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let missing = folder.path().join("missing/report");
    let below_file = file.join("report");
    // Which nobody may write while it runs, not even root.
    let running = Path::new("/proc/self/exe");
    let server = Server::start(Oddity::None);
    for option in ["--json", "--html", "--hgrm", "--ledger"] {
        for (path, words) in [
            (missing.as_path(), "No such file or directory"),
            (&below_file, "Not a directory"),
            (folder.path(), "Is a directory"),
            (running, "Text file busy"),
        ] {
            let ended = loadgen_to(&server, &format!("-m 20 {option} {}", path.display()));
            assert_eq!(ended.code, Some(2), "{option} {words}: {}", ended.text);
            let told = format!("loadgen: {option} {} cannot be written: {words}", path.display());
            assert!(ended.text.contains(&told), "{option} {words}: {}", ended.text);
        }
    }
    assert_eq!(server.seen.lock().expect("lock").connections, 0);
}

#[test]
fn a_run_that_never_begins_leaves_files_as_they_were() {
    let folder = tempfile::tempdir().expect("folder");
    let [old, new, ledger] = ["old", "new", "ledger"].map(|name| folder.path().join(name));
    fs::write(&old, "the report of yesterday").expect("written");
    let files = format!("--json {} --hgrm {} --ledger {}", old.display(), new.display(), ledger.display());
    for (target, wrong) in [
        ("127.0.0.1:1", format!("--html {}/missing/report", folder.path().display())),
        ("127.0.0.1:1", "--cpus 999".to_owned()),
        ("127.0.0.1:1", "--corpus /nowhere".to_owned()),
        ("192.0.2.1:25", String::new()),
    ] {
        let ended = loadgen(&format!("{target} {files} {wrong}").split_whitespace().collect::<Vec<_>>());
        assert_eq!(ended.code, Some(2), "{wrong}: {}", ended.text);
        assert_eq!(fs::read_to_string(&old).expect("there"), "the report of yesterday");
        assert!(!new.exists() && !ledger.exists(), "{wrong}");
    }
    // A run that begins and has no result has a report, in place of all of the old one.
    fs::write(&old, "x".repeat(100_000)).expect("written");
    let ended = loadgen(&format!("{} -m 1 {files}", nobody()).split_whitespace().collect::<Vec<_>>());
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(json(&old)["result"].is_null() && new.exists());
}

#[test]
fn a_file_is_written_for_one_purpose_only() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("mbox"), "From a Mon\nSubject: x\n\ntext\n").expect("written");
    symlink(at("report"), at("link")).expect("linked");
    let server = Server::start(Oddity::None);
    let folder_name = folder.path().display();
    for arguments in [
        "--json report --html report",
        "--json report --hgrm ./report",
        "--html report --hgrm link",
        "--json report --ledger report",
        "--corpus mbox --json mbox",
    ] {
        let words: Vec<String> = arguments
            .split_whitespace()
            .map(|word| if word.starts_with('-') { word.to_owned() } else { format!("{folder_name}/{word}") })
            .collect();
        let ended = loadgen_to(&server, &words.join(" "));
        assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.text);
        assert!(ended.says("is the same file as --"), "{arguments}: {}", ended.text);
        assert!(!at("report").exists(), "{arguments}");
    }
    let shown = File::create(at("shown")).expect("made");
    let arguments = format!("{} -m 20 --json {folder_name}/shown", server.address);
    let ended = run(&arguments, shown.into(), Stdio::piped());
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(ended.says("is the same file as standard output"), "{}", ended.text);
    assert_eq!(server.seen.lock().expect("lock").connections, 0);
    let ended = loadgen_to(&server, "-c 2 -m 20 --json /dev/null --html /dev/null");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
}

#[test]
fn what_is_no_ledger_is_not_appended_to() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("letter");
    fs::write(&path, "Dear Sir\n").expect("written");
    let server = Server::start(Oddity::None);
    let ended = loadgen_to(&server, &format!("-m 20 --ledger {}", path.display()));
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(ended.says("is there and is no ledger"), "{}", ended.text);
    assert_eq!(fs::read_to_string(&path).expect("there"), "Dear Sir\n");
    let ended = loadgen_to(&server, "-m 20 --ledger /dev/full");
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(ended.says("--ledger cannot be appended to: No space left"), "{}", ended.text);
    assert_eq!(server.seen.lock().expect("lock").connections, 0);
}

#[test]
fn a_ledger_that_takes_no_more_ends_the_run_and_what_was_measured_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let [ledger, report] = ["ledger", "report.json"].map(|name| folder.path().join(name));
    let server = Server::start(Oddity::None);
    let line = format!(
        "ulimit -f 64; exec {PROGRAM} {} -c 2 -d 60s --ledger {} --json {}",
        server.address,
        ledger.display(),
        report.display()
    );
    let ended: Ended = Command::new("sh").args(["-c", &line]).output().expect("sh runs").into();
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.says("writing the ledger: File too large"), "{}", ended.text);
    assert!(!ended.says("stopped by a signal"), "{}", ended.text);
    assert!(json(&report)["result"].is_null() && json(&report)["messages_accepted"].as_u64() > Some(10));
}

#[test]
fn a_pipe_takes_a_report_too() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    let server = Server::start(Oddity::None);
    let mut command = Command::new(PROGRAM);
    command.args([&server.address.to_string(), "-c", "2", "-m", "20", "--json"]).arg(&path);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("loadgen runs");
    assert_eq!(json(&path)["messages_accepted"], 20);
    let ended: Ended = child.wait_with_output().expect("loadgen ends").into();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
}

#[test]
fn a_threshold_says_what_failed_and_what_passed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("report.json");
    let server = Server::start(Oddity::None);
    let ended = loadgen_to(
        &server,
        &format!(
            "-c 2 -m 20 --json {} --fail-if p99>1h --fail-if rate<1000000000 --fail-if tls.p50>1s",
            path.display()
        ),
    );
    assert_eq!(ended.code, Some(3), "{}", ended.text);
    assert!(ended.says("passed: p99 is ") && ended.says(", not over 3600 s"), "{}", ended.text);
    assert!(ended.says("failed: rate is ") && ended.says("/s, under 1000000000/s"), "{}", ended.text);
    // A number that nobody measured is on no side.
    assert!(ended.says("failed: tls.p50 was not measured"), "{}", ended.text);
    assert!(!ended.says("holds"), "{}", ended.text);
    let verdicts = json(&path)["thresholds"].clone();
    assert_eq!((&verdicts[0]["verdict"], &verdicts[1]["verdict"]), (&"passed".into(), &"failed".into()));
    let ended = loadgen_to(&server, "-c 2 -m 20 --fail-if p99>1h --fail-if errors>0");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let refusing = Server::start(Oddity::RefusesSome);
    let ended = loadgen_to(&refusing, "-c 1 -m 9 --fail-if p99>1h --fail-if errors>2");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.says("not judged: p99>1h, because the run has no result"), "{}", ended.text);
    assert!(ended.says("failed: errors is 3, over 2"), "{}", ended.text);
}

#[test]
fn equal_failures_are_told_once_with_their_count() {
    let server = Server::start(Oddity::Wordy);
    let ended = loadgen_to(&server, "-c 2 -m 30 -t 2");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert_eq!(ended.text.matches("RCPT: reply 550").count(), 1, "{}", ended.text);
    assert!(ended.says("30 × RCPT: reply 550 \"5.1.1 <r+1@x.test>: no such mailbox"), "{}", ended.text);
    assert!(ended.says("(or with other numbers)"), "{}", ended.text);
}

#[test]
fn what_is_told_fits_80_columns() {
    let folder = tempfile::tempdir().expect("folder");
    let long = folder.path().join(["long"; 40].join("-"));
    fs::create_dir(&long).expect("made");
    fs::write(long.join("a.eml"), "Subject: a\n\ntext\n").expect("written");
    let corpus = format!("-c 2 -m 20 --corpus {} --fail-if accepted.p99.99>1h", long.display());
    let wordy = Server::start(Oddity::Wordy);
    let good = Server::start_on("[::1]:0", Oddity::None);
    for (server, arguments) in [
        (&good, corpus.as_str()),
        (&wordy, &corpus),
        (
            &good,
            "-c 9 -m 300 --rate 100000/s --pipelining=9 --size lognormal:4KiB:0.5 --scenario steady:4,churn:2,slowloris:1",
        ),
    ] {
        let ended = loadgen_to(server, arguments);
        assert!(!ended.text.is_empty());
        for line in ended.text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn percentiles_over_time_and_where_a_report_comes_from_are_in_it() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, html, hgrm] = ["r.json", "r.html", "r.hgrm"].map(|name| folder.path().join(name));
    let server = Server::start(Oddity::None);
    let files = format!("--json {} --html {} --hgrm {}", data.display(), html.display(), hgrm.display());
    let arguments = format!("-c 2 -d 1500ms -t 2 {files} --fail-if p99>1h");
    let ended = loadgen_to(&server, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let report = json(&data);
    assert_eq!(report["replies"]["354"], report["messages_accepted"]);
    for (intervals, least) in [(&report["over_time"], 10), (&report["result"]["parts"], 8)] {
        let intervals = intervals.as_array().expect("intervals");
        assert!(intervals.len() >= least, "{intervals:?}");
        let accepted =
            intervals.iter().map(|interval| interval["messages_accepted"].as_u64().expect("a count"));
        assert_eq!(Some(accepted.sum()), report["messages_accepted"].as_u64());
        let longest =
            intervals.iter().filter_map(|interval| interval["transaction_microseconds"]["max"].as_u64());
        // The histogram of the whole run knows its longest one with three digits.
        let whole = report["result"]["latency_microseconds"]["transaction"]["max"].as_u64().expect("a time");
        assert!(longest.max().is_some_and(|longest| longest <= whole && whole - longest <= whole / 500));
    }
    let page = fs::read_to_string(html).expect("a page");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let date = report["date"].as_str().expect("a date").replace('T', " ").replace('Z', " UTC");
    for words in [
        &host,
        &date,
        concat!("loadgen ", env!("CARGO_PKG_VERSION")),
        "'p99&gt;1h'",
        "<span>-d</span> <span>1500ms</span>",
    ] {
        assert!(page.split("<section").next().is_some_and(|top| top.contains(words)), "{words}");
    }
    assert!(report["command"].as_str().expect("a command").contains("-d 1500ms -t 2"));
    assert_eq!(
        (report["host"].as_str(), report["version"].as_str()),
        (Some(host.as_str()), Some(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(page.matches("<svg").count(), 3);
    for outside in ["http:", "https:", "src=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let hgrm = fs::read_to_string(hgrm).expect("percentiles");
    assert!(hgrm.contains("1/(1-Percentile)") && hgrm.contains("#[Max"), "{hgrm}");
}

#[test]
fn a_run_without_a_result_has_a_report_without_one() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, html] = ["r.json", "r.html"].map(|name| folder.path().join(name));
    let server = Server::start(Oddity::RefusesSome);
    let arguments = format!("-c 2 -m 20 --json {} --html {}", data.display(), html.display());
    let ended = loadgen_to(&server, &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    let report = json(&data);
    assert!(report["result"].is_null());
    assert_eq!(report["failures_by_kind"][0]["count"], 6);
    let page = fs::read_to_string(html).expect("a page");
    assert!(page.contains("No result: 6 failures") && page.contains("6 × RCPT: reply 550"), "{page}");
}

#[test]
fn runs_are_compared_one_with_one_or_several_with_several() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let server = Server::start(Oddity::None);
    for name in ["a", "b", "c"] {
        let ended = loadgen_to(&server, &format!("-c 2 -m 50 --json {}", at(name)));
        assert_eq!(ended.code, Some(0), "{}", ended.text);
    }
    let compare = |arguments: &[&str]| loadgen(&[&["compare"], arguments].concat());
    let ended = compare(&[&at("a"), &at("b")]);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(
        ended.says("messages/s") && ended.says("latency p99.9") && ended.says("?: nothing tells"),
        "{}",
        ended.text
    );
    assert!(!ended.says("envelope") && compare(&[&at("a"), &at("b"), "--all"]).says("envelope p50"));
    let ended = compare(&[&at("a"), &at("b"), &at("c"), "--with", &at("c"), &at("b"), &at("a")]);
    assert!(ended.says("(medians of 3)") && ended.says("1.000 noise"), "{}", ended.text);
    assert_eq!(compare(&[&at("a")]).code, Some(2));
    let ended = compare(&[&at("a"), &at("b"), &at("c")]);
    assert!(ended.code == Some(2) && ended.says("--with"), "{}", ended.text);
    let mut file = File::create(at("b")).expect("made");
    file.write_all(b"{}").expect("written");
    let ended = compare(&[&at("missing"), &at("b")]);
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(
        ended.says("missing: No such file") && ended.says("no report of loadgen --json"),
        "{}",
        ended.text
    );
}
