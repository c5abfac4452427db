//! Sessions that are refused, bots, and both beside good traffic: each class is counted for itself.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::ended::{Ended, loadgen_to};
use crate::support::server::{Oddity, Server};
use crate::support::{PROGRAM, json};

/// A run with its JSON report.
fn reported(server: &Server, arguments: &str) -> (Ended, Value) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("report.json");
    let ended = loadgen_to(server, &format!("{arguments} --json {}", path.display()));
    let report = json(&path);
    (ended, report)
}

/// How many sessions of bots of this kind ended in this way.
fn ended_so(report: &Value, kind: &str, end: &str) -> u64 {
    report["bots"][kind]["ends"][end].as_u64().unwrap_or(0)
}

#[test]
fn each_refused_session_names_another_mailbox_and_quits() {
    let server = Server::start(Oddity::RefusesUnknown);
    for (pipelining, first) in [("", 0), ("--pipelining", 40)] {
        let arguments = format!("-c 4 -m 40 --scenario refused --unknown no{{}}body@x.test {pipelining}");
        let (ended, report) = reported(&server, &arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        assert!(ended.says("40 refused as wanted") && ended.text.contains("refusals/s"), "{}", ended.text);
        let latency = &report["result"]["latency_microseconds"];
        assert_eq!((&latency["refused"]["count"], &latency["session"]["count"]), (&40.into(), &40.into()));
        assert_eq!((&report["replies"]["550"], &report["replies"]["221"]), (&40.into(), &40.into()));
        let seen = server.seen.lock().expect("lock");
        assert_eq!((seen.connections, seen.quits), (first + 40, first + 40));
        let named: std::collections::HashSet<&String> = seen.refused.iter().skip(first).collect();
        assert_eq!(named.len(), 40);
        assert!(named.contains(&"RCPT TO:<no39body@x.test>".to_owned()), "{named:?}");
    }
}

#[test]
fn a_standing_connection_has_as_many_refusals_as_asked() {
    let server = Server::start(Oddity::RefusesUnknown);
    let (ended, report) = reported(
        &server,
        "-c 1 -m 30 --per-connection 10 --recipients 4 --scenario refused --unknown no{}@x.test",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let latency = &report["result"]["latency_microseconds"];
    assert_eq!((&latency["refused"]["count"], &latency["session"]["count"]), (&120.into(), &3.into()));
    let seen = server.seen.lock().expect("lock");
    let named: std::collections::HashSet<&String> = seen.refused.iter().collect();
    assert_eq!((seen.connections, named.len()), (3, 120));
}

#[test]
fn where_no_mail_is_accepted_the_curves_are_those_of_sessions() {
    let server = Server::start(Oddity::RefusesUnknown);
    let folder = tempfile::tempdir().expect("folder");
    let [page, curve] = ["page", "curve"].map(|name| folder.path().join(name));
    let arguments = format!("--html {} --hgrm {}", page.display(), curve.display());
    let ended =
        loadgen_to(&server, &format!("-c 2 -m 30 --scenario refused --unknown no@x.test {arguments}"));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let page = fs::read_to_string(page).expect("a page");
    for words in ["refusals/s", "sessions/s", "Latency of a session, by percentile"] {
        assert!(page.contains(words), "{words}");
    }
    let curve = fs::read_to_string(curve).expect("percentiles");
    let foot = curve.lines().last().expect("a foot").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(foot.contains("Total count = 30]"), "{curve}");
}

#[test]
fn a_server_may_bound_the_refusals_of_a_connection() {
    let server = Server::start(Oddity::BoundsRefusals);
    let (ended, report) = reported(&server, "-c 1 -m 20 --per-connection 100 --scenario refused");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    // Five refusals a connection, of which the last is the end.
    assert_eq!((&report["sessions_ended_by_server"], &report["messages_refused"]), (&4.into(), &20.into()));
    assert_eq!((&report["replies"]["550"], &report["replies"]["421"]), (&16.into(), &4.into()));
}

#[test]
fn a_recipient_that_is_taken_is_no_refusal() {
    let server = Server::start(Oddity::None);
    let (ended, report) = reported(&server, "-c 1 -m 3 --scenario refused --fail-if refusals<1");
    assert_eq!((ended.code, &report["failures"]), (Some(1), &3.into()), "{}", ended.text);
    assert!(ended.says("3 × RCPT: reply 250") && ended.says("--unknown names one that is"), "{}", ended.text);
}

#[test]
fn bots_do_what_their_kind_does_and_each_end_is_counted() {
    let server = Server::start(Oddity::RefusesUnknown);
    let arguments = "-c 60 -m 200 --scenario bots --bot-time 3s --unknown no{}@x.test --seed 3";
    let (ended, report) = reported(&server, arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert_eq!((&report["messages_started"], &report["source"]), (&200.into(), &"127.64.0.0/10".into()));
    let bots = report["bots"].as_object().expect("kinds");
    assert_eq!(bots.len(), 9, "{bots:?}");
    assert_eq!(bots.values().filter_map(|kind| kind["sessions"].as_u64()).sum::<u64>(), 200);
    // Those that talk went when they had done, those that wait were kept for their whole time.
    for (kind, end) in [
        ("refused", "left"),
        ("early-talker", "left"),
        ("bad-ehlo", "left"),
        ("no-quit", "left"),
        ("rcpt-flood", "left"),
        ("slowloris", "timed_out"),
        ("never-reads", "timed_out"),
        ("silent", "timed_out"),
    ] {
        assert_eq!(ended_so(&report, kind, end), bots[kind]["sessions"], "{kind}: {}", ended.text);
    }
    let refused = &bots["refused"];
    assert_eq!(refused["replies"]["550"], refused["sessions"]);
    assert_eq!(report["result"]["latency_microseconds"]["session"]["count"], refused["sessions"]);
    assert!(ended.says("refused ") && ended.says("lasted to their time"), "{}", ended.text);
    let seen = server.seen.lock().expect("lock");
    assert_eq!(Some(seen.quits as u64), refused["sessions"].as_u64());
    assert!(seen.clients.len() > 190, "{} addresses", seen.clients.len());
    assert!(seen.clients.iter().all(|client| client.to_string().starts_with("127.")));
}

#[test]
fn a_server_that_turns_bots_away_is_counted_and_no_failure() {
    let server = Server::start(Oddity::Closed);
    let (ended, report) = reported(&server, "-c 8 -m 80 --scenario bots --bots refused:1,silent:1,bad-tls:1");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert_eq!((&report["failures"], &report["replies"]["421"]), (&0.into(), &80.into()));
    let closed: u64 = ["refused", "silent", "bad-tls"]
        .iter()
        .map(|kind| ended_so(&report, kind, "closed_by_server") + ended_so(&report, kind, "reset"))
        .sum();
    assert_eq!(closed, 80, "{}", ended.text);
}

#[test]
fn sessions_that_were_not_served_are_no_sessions_a_second() {
    let server = Server::start(Oddity::GoesAway);
    let folder = tempfile::tempdir().expect("folder");
    let page = folder.path().join("page");
    let arguments = "-c 1 -m 5 --scenario bots --bots refused --bot-time 5s --fail-if sessions>0 --html";
    let (ended, report) = reported(&server, &format!("{arguments} {}", page.display()));
    // The first one is, and then nobody listens.
    assert_eq!(ended.code, Some(3), "{}", ended.text);
    let result = &report["result"];
    let counted =
        ["sessions_per_second", "elapsed_seconds"].map(|key| result[key].as_f64().expect("a number"));
    assert!((counted[0] * counted[1] - 1.0).abs() < 0.01, "{}", ended.text);
    let refused = &report["bots"]["refused"];
    assert_eq!((&refused["sessions"], &refused["complete"]), (&5.into(), &1.into()));
    assert_eq!(result["latency_microseconds"]["session"]["count"], 1);
    assert!(ended.says("5 ended of 5 begun, 1 complete"), "{}", ended.text);
    let left_out = "session leaves out 4 of 5 sessions of the kind refused, which are not complete";
    assert!(ended.says(left_out), "{}", ended.text);
    assert!(fs::read_to_string(page).expect("a page").contains(left_out));
}

#[test]
fn a_run_of_bots_ends_in_time_whatever_they_wait_for() {
    let server = Server::start(Oddity::None);
    let (ended, report) =
        reported(&server, "-c 20 -d 400ms --scenario bots --bots silent,slowloris,never-reads");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let cut: u64 = ["silent", "slowloris", "never-reads"]
        .iter()
        .map(|kind| ended_so(&report, kind, "cut_by_end_of_run"))
        .sum();
    assert_eq!((cut, &report["messages_started"]), (20, &20.into()), "{}", ended.text);
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let ended: Ended = Command::new(PROGRAM)
        .args([&nobody.to_string(), "-m", "20", "--scenario", "bots"])
        .output()
        .expect("loadgen runs")
        .into();
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.says("NO RESULT: no connection was made") && ended.says("not connected"), "{}", ended.text);
}

#[test]
fn good_traffic_beside_hostile_traffic_has_its_own_counts_and_its_own_addresses() {
    let server = Server::start(Oddity::RefusesUnknown);
    let arguments = "-c 4 --rate 200/s -m 200 --source 127.0.0.9 --beside bots --beside-rate 100/s \
                     --beside-connections 100 --beside-source 127.9.0.0/16 --beside-lead 100ms --bot-time 200ms";
    let (ended, report) = reported(&server, arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let (good, hostile) = (&report, &report["beside_class"]);
    assert_eq!((&good["messages_accepted"], &good["replies"]["354"]), (&200.into(), &200.into()));
    assert_eq!(good["result"]["latency_microseconds"]["transaction"]["count"], 200);
    assert_eq!(
        (good["result"]["latency_microseconds"]["refused"]["count"].as_u64(), &good["bots"]),
        (Some(0), &Value::Null)
    );
    // At intended times, a second long at least.
    assert!(hostile["messages_started"].as_u64() > Some(60), "{}", ended.text);
    assert_eq!(hostile["result"]["latency_microseconds"]["transaction"]["count"], 0);
    assert_eq!(hostile["messages_accepted"], 0);
    assert!(ended.text.contains("\nbeside it\n"), "{}", ended.text);
    assert!(
        report["beside"].as_str().is_some_and(|words| words.contains("127.9.0.0/16")),
        "{}",
        report["beside"]
    );
    let seen = server.seen.lock().expect("lock");
    assert_eq!(seen.messages.len(), 200);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        seen.clients.iter().map(ToString::to_string).partition(|client| client == "127.0.0.9");
    assert_eq!(ours.len(), 1);
    assert!(theirs.iter().all(|client| client.starts_with("127.9.")) && theirs.len() > 50, "{theirs:?}");
}

#[test]
fn what_the_server_does_to_hostile_sessions_decides_nothing() {
    let server = Server::start(Oddity::None);
    // Every recipient is taken, which is not what refused wants.
    let (ended, report) = reported(
        &server,
        "-c 2 --rate 200/s -m 100 --beside refused --beside-connections 2 --beside-lead 0s",
    );
    assert_eq!((ended.code, &report["failures"]), (Some(0), &0.into()), "{}", ended.text);
    let failures = report["beside_class"]["failures"].as_u64();
    // It goes on where a first class would have given up: five times a connection.
    assert!(failures.is_some_and(|failures| failures > 0), "{}", ended.text);
    assert!(ended.says("which decides nothing here"), "{}", ended.text);
    let turned_away = Server::start(Oddity::RefusesSome);
    let (ended, _) =
        reported(&turned_away, "-c 1 -m 9 --beside bots --beside-connections 2 --beside-lead 0s");
    assert_eq!(ended.code, Some(1), "the first class decides: {}", ended.text);
    assert!(ended.says("NO RESULT: 3 failures") && ended.text.contains("\nbeside it\n"), "{}", ended.text);
}

#[test]
fn the_ledger_knows_the_good_traffic_and_the_page_has_both() {
    let server = Server::start(Oddity::RefusesUnknown);
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let mail = at("mail/new");
    fs::create_dir_all(&mail).expect("maildir");
    let arguments = format!(
        "-c 3 -m 60 --ledger {} --html {} --beside bots,refused --beside-connections 4",
        at("ledger").display(),
        at("page").display()
    );
    // Bots are no part of a mix.
    assert_eq!(loadgen_to(&server, &arguments).code, Some(2));
    let ended = loadgen_to(&server, &arguments.replace("bots,refused", "bots"));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    for (number, message) in server.seen.lock().expect("lock").messages.iter().enumerate() {
        let content = [b"Return-Path: <a@x>\r\nReceived: by test\r\n", &message[..]].concat();
        fs::write(mail.join(format!("{number}.test,S={}", content.len())), content).expect("written");
    }
    let verified: Ended = Command::new(PROGRAM)
        .args(["verify", "--no-duplicates", "--ledger"])
        .arg(at("ledger"))
        .arg("--maildir")
        .arg(at("mail"))
        .output()
        .expect("loadgen runs")
        .into();
    assert_eq!(verified.code, Some(0), "{}", verified.text);
    assert!(verified.says("accepted 60"), "{}", verified.text);
    let page = fs::read_to_string(at("page")).expect("a page");
    assert!(page.contains("Beside it: latency by phase") && page.contains("<td>early-talker</td>"), "{page}");
}

#[test]
fn a_report_of_both_classes_fits_80_columns() {
    let server = Server::start(Oddity::RefusesUnknown);
    let ended = loadgen_to(
        &server,
        "-c 3 -m 60 --beside bots --beside-connections 50 --fail-if sessions>1 --bot-time 100ms",
    );
    assert!(ended.text.contains("\nbeside it\n"), "{}", ended.text);
    for line in ended.text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
