//! Milters in a row with another filter, and under load: nothing is lost, nothing altered, nothing passes
//! that was refused.

use std::fs;
use std::process::Command;

use serde_json::json;
use support::fake_milter::{Act, FakeMilter, says};
use support::fake_rspamd::{FakeRspamd, Manner};
use support::load::{loadgen, verify};
use support::py_milter::PyMilter;

use super::{MESSAGE, logged, milter, receiver, send, stored};

fn rspamd_table(rspamd: &FakeRspamd) -> String {
    format!("[[filter]]\nkind = \"rspamd\"\nurl = \"http://{}\"\n", rspamd.listen_tcp())
}

#[test]
fn filters_in_a_row_each_have_a_say() {
    let Some(pymilter) = PyMilter::start(&["add=X-First: 1", "quarantine=odd"]) else { return };
    let adds = r#"{"action":"no action","score":1.5,"milter":{"add_headers":{"X-Second":"2"}}}"#;
    let rspamd = FakeRspamd::new(Manner::Says(adds.to_owned()));
    let adds = |command: u8, _: &[u8]| {
        (command == b'E').then(|| vec![says(b'h', b"X-Third\x003\0"), says(b'c', b"")])
    };
    let last = FakeMilter::new(adds);
    let tables = [
        milter(&pymilter.socket(), "name = \"first\""),
        rspamd_table(&rspamd),
        milter(&last.socket(), "name = \"last\""),
    ];
    let server = receiver(&tables.concat(), "");
    let (front, below, envelope) = stored(&server, &send(&server)).expect("stored");
    assert_eq!(front, "X-Third: 3\r\nX-Second: 2\r\nX-Quarantine: odd\r\nX-First: 1\r\n");
    assert_eq!(below, MESSAGE);
    assert_eq!(envelope["mark"], "quarantine");
    assert_eq!(logged(&server, "message", 1)["filters"].as_array().expect("a list").len(), 3);
    let asked = rspamd.asked();
    assert!(
        asked[0].message.starts_with(b"X-Quarantine: odd\r\nX-First: 1\r\nReceived: "),
        "it is shown what is there"
    );
    assert!(
        !last.told().iter().any(|(_, data)| data.starts_with(b"X-First")),
        "a milter is told what was sent"
    );
    // Whoever refuses first is the last one that is asked.
    pymilter.rules(&["mail=reject"]);
    assert_eq!(send(&server), "550 5.7.1 Refused");
    assert_eq!((rspamd.asked().len(), last.commands().matches('E').count()), (1, 1));
    assert_eq!(logged(&server, "refused", 1)["filters"], json!(["first refuse"]));
    pymilter.rules(&["add=X-First: 1"]);
    last.does(|command, _| (command == b'E').then(|| vec![says(b't', b"")]));
    assert!(send(&server).starts_with("451 4.7.1 "));
    assert_eq!(rspamd.asked().len(), 2);
    let filters = logged(&server, "refused", 2)["filters"].clone();
    assert_eq!(filters, json!(["first pass", "rspamd pass 1.50", "last put_off"]));
}

#[test]
fn nothing_is_lost_or_altered_under_load() {
    let Some(pymilter) = PyMilter::start(&["add=X-A: 1"]) else { return };
    let quick = FakeMilter::polite();
    let rspamd = FakeRspamd::saying("no action");
    let tables = [
        milter(&pymilter.socket(), "name = \"first\""),
        rspamd_table(&rspamd),
        milter(&quick.socket(), "name = \"last\"\nconnections_max = 7"),
    ];
    let server = receiver(&tables.concat(), "");
    let ledger = server.folder().join("ledger");
    for more in [&["--size", "3000", "--messages", "1500"][..], &["--size", "300KiB", "--messages", "60"]] {
        let mut load = Command::new(loadgen());
        load.arg(server.address().to_string()).args(more).args(["-c", "20", "--ledger"]).arg(&ledger);
        let output = load.output().expect("loadgen runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let verdict = verify(&ledger, "spool", &server.folder().join("spool"), &[]);
    let counts = (verdict.accepted, verdict.lost, verdict.altered, verdict.holds);
    assert_eq!(counts, (1560, 0, 0, true), "{}", verdict.text);
    println!("{} connections of 1560 messages", quick.connections());
    assert!(quick.connections() < 200 && quick.connections_max() <= 7, "they are used again");
}

#[test]
fn under_load_exactly_what_a_milter_refuses_is_refused() {
    let refuses = |command: u8, data: &[u8]| {
        let is_bad = command == b'L' && data.starts_with(b"Subject\0") && data.ends_with(b"7\0");
        is_bad.then(|| vec![Act::Sends([&b"\0\0\0\x15y"[..], b"550 5.7.1 Not wanted\0"].concat())])
    };
    let fake = FakeMilter::new(refuses);
    let server = receiver(&milter(&fake.socket(), ""), "");
    let (corpus, ledger) = (server.folder().join("corpus"), server.folder().join("ledger"));
    fs::create_dir(&corpus).expect("a folder");
    for number in 0..100 {
        let text =
            format!("From: a@x.test\r\nSubject: number {number}\r\n\r\n{}\r\n", "text\r\n".repeat(number));
        fs::write(corpus.join(format!("{number}.eml")), text).expect("a message");
    }
    let mut load = Command::new(loadgen());
    load.arg(server.address().to_string()).args(["-c", "10", "--messages", "1000", "--corpus"]).arg(&corpus);
    let output = load.arg("--ledger").arg(&ledger).output().expect("loadgen runs");
    assert!(!output.status.success(), "some are refused");
    let verdict = verify(&ledger, "spool", &server.folder().join("spool"), &[]);
    assert!(verdict.holds, "{}", verdict.text);
    println!("{}", verdict.text);
    let refused = server.log().iter().filter(|line| line.contains("550 5.7.1 Not wanted")).count();
    let told = fake.told();
    let begun = told.iter().filter(|(command, _)| *command == b'M').count() as u64;
    let bad = told.iter().filter(|(command, data)| {
        *command == b'L' && data.starts_with(b"Subject\0") && data.ends_with(b"7\0")
    });
    let bad = bad.count() as u64;
    assert!(bad > 50, "{bad}");
    assert_eq!((verdict.accepted, verdict.lost, verdict.altered), (begun - bad, 0, 0), "{refused} lines");
}
