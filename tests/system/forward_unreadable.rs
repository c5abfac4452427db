//! Messages of the spool that the forwarder cannot read: an operator sees them, has them read again, or gives
//! them up; only then is the spool recycled behind them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use support::http::get;
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program};

use crate::forward::{Forwarder, MESSAGE, near, queue, send, wait_until};

/// Of a message that is larger than what the receiver keeps in memory: it has a file of its own.
const LARGE_BYTES: usize = 6 << 20;

/// A large message that can be told from others.
fn large(number: u8) -> Vec<u8> {
    let line = [&[b'a' + number; 70][..], b"\r\n"].concat();
    let mut data = format!("From: a@x.test\r\nSubject: large {number}\r\n\r\n").into_bytes();
    data.extend(line.repeat(LARGE_BYTES / line.len()));
    data
}

/// A next hop that takes all, and a receiver in front of it.
fn both() -> (NextHop, Server) {
    let keywords = vec!["PIPELINING"];
    let hop = NextHop::start(Manner { is_lmtp: false, keywords, recipient: accept, end: accept });
    let near = near(&format!(
        "[[forward]]\nto = [\"smtp://{}\"]\n[forward_admin]\naddress = \"127.0.0.1:0\"\n",
        hop.address()
    ));
    (hop, near)
}

/// The files of large messages, oldest first.
fn message_files(near: &Server) -> Vec<PathBuf> {
    let names = fs::read_dir(near.folder().join("spool")).expect("a spool");
    let paths = names.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "message")).collect();
    files.sort();
    files
}

/// What a command says, and what it says is wrong; it fails for the latter.
fn said(near: &Server, command: &[&str]) -> (String, String) {
    let mut program = Command::new(program());
    program.arg("queue").args(command).arg("--config").arg(near.folder().join("ringmx.toml"));
    let output = program.output().expect("it runs");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.success(), wrong.is_empty(), "{command:?}: {said}{wrong}");
    (said, wrong)
}

/// The places of what cannot be read.
fn unreadable(near: &Server) -> Vec<String> {
    let list = queue(near, &["list"]);
    let lines = list.lines().filter(|line| line.contains(" unreadable "));
    lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// How many messages of the spool somebody needs still.
fn unconsumed(near: &Server) -> usize {
    let list = Command::new(program()).args(["spool", "list"]).arg(near.folder().join("spool")).output();
    String::from_utf8_lossy(&list.expect("it runs").stdout).matches(" stored ").count()
}

fn subjects(hop: &NextHop) -> Vec<String> {
    let line = |data: &[u8]| {
        let text = String::from_utf8_lossy(data).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        line.unwrap_or_default().to_owned()
    };
    let mut all: Vec<String> = hop.taken().iter().map(|taken| line(&taken.data)).collect();
    all.sort();
    all
}

/// What the forwarder that runs counts under this name.
fn metric(forwarder: &Forwarder, name: &str) -> String {
    // The log is that of all who ran before, too.
    let log = forwarder.log();
    let (_, after) = log.rsplit_once(" admin address=").expect("it is told");
    let address = after.lines().next().and_then(|line| line.parse().ok()).expect("an address");
    let body = get(address, "/metrics").body;
    let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("it is counted").to_owned()
}

fn unreadable_counted(forwarder: &Forwarder) -> String {
    metric(forwarder, "ringmx_forward_unreadable_messages")
}

#[test]
fn what_an_operator_gives_up_is_gone_for_good_and_the_spool_is_recycled_behind_it() {
    let (hop, near) = both();
    send(&near, &["b@example.test"], MESSAGE);
    send(&near, &["b@example.test", "c@other.test"], &large(0));
    for number in 1..4 {
        send(&near, &["b@example.test"], &large(number));
    }
    // They fill the segment, whose size is a MiB.
    let filler = [b"Subject: filler\r\n\r\n", &b"Text of a line\r\n".repeat(25_000)[..]].concat();
    for _ in 0..4 {
        send(&near, &["b@example.test"], &filler);
    }
    let file = message_files(&near)[0].clone();
    fs::remove_file(&file).expect("it was there");
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "all others", || hop.taken().len() == 8 && !unreadable(&near).is_empty());
    let place = unreadable(&near).pop().expect("one");
    let line = queue(&near, &["list"]);
    assert!(line.contains(" <a@x.test> <b@example.test>,<c@other.test> to=\"\" reply=\""), "{line}");
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(line.contains(&format!("{name}: No such file")), "{line}");
    let json: serde_json::Value = serde_json::from_str(&queue(&near, &["list", "--json"])).expect("JSON");
    assert_eq!((&json["state"], &json["place"]), (&"unreadable".into(), &place.clone().into()), "{json}");
    let summary = queue(&near, &["summary"]);
    assert!(
        summary.lines().any(|line| line.trim().starts_with("2 ") && line.contains("unreadable")),
        "{summary}"
    );
    assert_eq!(unreadable_counted(&forwarder), "1");
    // Nothing else gives it up, and nothing else does anything with it.
    assert!(said(&near, &["hold", &place]).1.contains("nobody tries it"));
    assert!(said(&near, &["retry", &place]).1.contains("it still cannot be read"));
    assert_eq!(queue(&near, &["remove", "--all"]), "0 messages are removed\n");
    assert!(said(&near, &["remove", "0000000000000001:99999744"]).1.contains("no such message"));
    assert_eq!((unreadable(&near), unconsumed(&near)), (vec![place.clone()], 8));

    let (told, _) = said(&near, &["remove", &place]);
    forwarder.kill();
    assert!(told.contains(&format!("{place} (")) && told.contains("is lost: from <a@x.test> to"), "{told}");
    assert!(told.contains("<b@example.test>,<c@other.test>\n1 message is removed\n"), "{told}");
    let forwarder = Forwarder::start(&near);
    send(&near, &["b@example.test"], MESSAGE);
    wait_until(&forwarder, "one after them", || hop.taken().len() == 9);
    wait_until(&forwarder, "all is consumed", || unconsumed(&near) == 0);
    assert!(queue(&near, &["list"]).is_empty());
    assert_eq!(unreadable_counted(&forwarder), "0");
    let consumed = fs::read_to_string(near.folder().join("spool/consumed")).expect("a cursor");
    let segment = |cursor: &str| cursor.split_once(':').map(|(segment, _)| segment.to_owned());
    assert!(segment(&consumed) > segment(&place), "{consumed} {place}");
    wait_until(&forwarder, "its segment", || message_files(&near).is_empty());
    forwarder.stop();
    let fillers = ["filler"; 4];
    assert_eq!(subjects(&hop), [&fillers[..], &["large 1", "large 2", "large 3", "x", "x"]].concat());
}

#[test]
fn what_can_be_read_after_all_is_delivered() {
    let (hop, near) = both();
    for number in 0..3 {
        send(&near, &["b@example.test"], &large(number));
    }
    let files = message_files(&near);
    let sound = files[1].with_extension("aside");
    fs::rename(&files[1], &sound).expect("it was there");
    // The other one has as many octets, and not the same ones.
    let octets = fs::read(&files[0]).expect("a file");
    let mut damaged = octets.clone();
    damaged[4711] ^= 1;
    fs::write(&files[0], damaged).expect("written");
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the third", || hop.taken().len() == 1 && unreadable(&near).len() == 2);
    let places = unreadable(&near);
    let (told, wrong) = said(&near, &["retry", &places[0], &places[1]]);
    assert_eq!(
        (told.as_str(), wrong.matches("it still cannot be read").count()),
        ("0 messages are tried now\n", 2)
    );
    fs::write(&files[0], octets).expect("written");
    assert_eq!(said(&near, &["retry", &places[0]]).0, "1 message is tried now\n");
    wait_until(&forwarder, "the first", || hop.taken().len() == 2);
    assert_eq!(unreadable(&near), [places[1].clone()]);
    // Nobody throws away what can be read.
    fs::rename(&sound, &files[1]).expect("it was there");
    let (told, wrong) = said(&near, &["remove", &places[1]]);
    assert!(
        told == "0 messages are removed\n" && wrong.contains("it can be read after all"),
        "{told}{wrong}"
    );
    wait_until(&forwarder, "the second", || hop.taken().len() == 3);
    wait_until(&forwarder, "all is consumed", || unconsumed(&near) == 0);
    assert!(queue(&near, &["list"]).is_empty());
    assert_eq!(unreadable_counted(&forwarder), "0");
    forwarder.stop();
    for number in 0..3 {
        let data = large(number);
        assert!(hop.taken().iter().any(|taken| taken.data.ends_with(&data)), "large {number}");
    }
}

/// Nothing else happens that would be noted with it.
#[test]
fn the_only_message_there_is_can_be_given_up_too() {
    let (hop, near) = both();
    send(&near, &["b@example.test"], &large(0));
    fs::remove_file(&message_files(&near)[0]).expect("it was there");
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "it is shown", || unreadable(&near).len() == 1);
    let place = unreadable(&near).pop().expect("one");
    assert!(said(&near, &["retry", &place]).1.contains("it still cannot be read"));
    assert!(said(&near, &["remove", &place]).0.ends_with("1 message is removed\n"));
    wait_until(&forwarder, "all is consumed", || unconsumed(&near) == 0);
    forwarder.stop();
    assert!(hop.taken().is_empty());
}

/// What was given up behind another one that cannot be read stays so over restarts, whatever becomes of its
/// file.
#[test]
fn what_was_given_up_is_not_delivered_by_a_later_start() {
    let (hop, near) = both();
    for number in 0..3 {
        send(&near, &["b@example.test", "c@other.test"], &large(number));
    }
    let files = message_files(&near);
    let sound: Vec<PathBuf> = files.iter().map(|file| file.with_extension("aside")).collect();
    for (file, sound) in files.iter().zip(&sound).take(2) {
        fs::rename(file, sound).expect("it was there");
    }
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the third", || hop.taken().len() == 1 && unreadable(&near).len() == 2);
    let places = unreadable(&near);
    assert!(said(&near, &["remove", &places[1]]).0.ends_with("1 message is removed\n"));
    assert_eq!((unreadable(&near), unconsumed(&near)), (vec![places[0].clone()], 3));
    forwarder.kill();
    let forwarder = Forwarder::start(&near);
    send(&near, &["b@example.test"], MESSAGE);
    wait_until(&forwarder, "one after them", || hop.taken().len() == 2);
    assert_eq!(unreadable(&near), [places[0].clone()], "the second one was given up");
    forwarder.stop();
    for (file, sound) in files.iter().zip(&sound).take(2) {
        fs::rename(sound, file).expect("it was there");
    }
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the first", || hop.taken().len() == 3);
    wait_until(&forwarder, "all is consumed", || unconsumed(&near) == 0);
    forwarder.stop();
    assert_eq!(subjects(&hop), ["large 0", "large 2", "x"]);
}

/// One line to the forwarder, past the command that looks first; its answer.
fn ask(near: &Server, line: &str) -> String {
    let socket = near.folder().join("spool/forward/control.sock");
    let mut stream = UnixStream::connect(socket).expect("a socket");
    writeln!(stream, "ringmx/1 {line}").expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A message that was read before its file went, and cannot be copied when it is refused. Others, which can
/// be read, nobody gives up by their place.
#[test]
fn what_cannot_be_copied_to_the_dead_is_shown_too_and_what_can_be_read_is_nobodys_to_remove() {
    let (hop, near) = both();
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the desk", || near.folder().join("spool/forward/control.sock").exists());
    let name = format!("smtp://{}", hop.address());
    queue(&near, &["suspend", &name]);
    send(&near, &["b@example.test"], &large(0));
    send(&near, &["b@example.test"], MESSAGE);
    let list = Command::new(program()).args(["spool", "list"]).arg(near.folder().join("spool")).output();
    let list = String::from_utf8_lossy(&list.expect("it runs").stdout).into_owned();
    let cursors: Vec<&str> = list.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(cursors.len(), 2);
    wait_until(&forwarder, "both are read", || {
        metric(&forwarder, "ringmx_forward_messages_read_total") == "2"
    });
    for cursor in &cursors {
        let answer = ask(&near, &format!("remove {cursor}"));
        assert!(answer.contains("\n0\n") && answer.contains("it can be read"), "{answer}");
    }
    fs::remove_file(&message_files(&near)[0]).expect("it was there");
    let refuse = |_: &str| "550 5.7.1 No".to_owned();
    let keywords = vec!["PIPELINING"];
    hop.set(Manner { is_lmtp: false, keywords, recipient: accept, end: refuse });
    queue(&near, &["resume", &name]);
    wait_until(&forwarder, "both", || queue(&near, &["list"]).lines().count() == 2);
    assert_eq!(unreadable(&near), [cursors[0]]);
    assert_eq!(unconsumed(&near), 2);
    assert!(said(&near, &["remove", cursors[0]]).0.ends_with("1 message is removed\n"));
    wait_until(&forwarder, "all is consumed", || unconsumed(&near) == 0);
    let list = queue(&near, &["list"]);
    assert!(list.lines().count() == 1 && list.contains(" dead "), "{list}");
    forwarder.stop();
}
