//! Maildirs as next hops (`to = ["maildir:PATH"]`): what is in them, a store that cannot be written, kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::Client;
use support::server::{Server, program, without_trace};

use crate::forward::{Forwarder, MESSAGE, PATIENCE, free_address, near, queue, stored};

fn wait_until(forwarder: &Forwarder, what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}:\n{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(maildir: &Path) -> usize {
    fs::read_dir(maildir.join("new")).map_or(0, Iterator::count)
}

/// A message for these recipients.
fn send(near: &Server, recipients: &[&str], data: &[u8]) {
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&support::client::stuffed(data));
    client.expect("250");
}

#[test]
fn each_recipient_has_its_mail_in_its_maildir() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"maildir:{0}/{{domain}}/{{local}}\"]\n\
         [[forward]]\nto = [\"maildir:{0}2\"]\n",
        mail.display()
    ));
    let forwarder = Forwarder::start(&near);
    send(&near, &["anna@example.test", "bert@example.test", "carl@other.test"], MESSAGE);
    send(&near, &["anna@example.test"], b"Subject: two\r\n\r\n.dot\r\n");
    let of = |name: &str| mail.join("example.test").join(name);
    wait_until(&forwarder, "all", || count(&of("anna")) == 2 && count(&of("bert")) == 1);
    let other = folder.path().join("mail2");
    wait_until(&forwarder, "the other route", || count(&other) == 1);
    let as_lf = |data: &[u8]| data.iter().copied().filter(|octet| *octet != b'\r').collect::<Vec<u8>>();
    for (maildir, recipient) in [(of("bert"), "bert@example.test"), (other, "carl@other.test")] {
        let [message] = &stored(&maildir)[..] else { panic!("one message") };
        let text = String::from_utf8_lossy(message);
        assert!(text.starts_with("Return-Path: <a@x.test>\n"), "{text}");
        assert!(text.contains(&format!("Delivered-To: {recipient}\n")), "{text}");
        assert_eq!(without_trace(message), as_lf(MESSAGE), "{text}");
    }
    let line = forwarder.wait_for(" forwarded ");
    assert!(line.contains("destination=\"maildir:"), "{line}");
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn a_maildir_that_cannot_be_written_is_a_next_hop_that_is_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let near = near(&format!("[[forward]]\nto = [\"maildir:{}\"]\n", mail.display()));
    let forwarder = Forwarder::start(&near);
    send(&near, &["b@example.test"], MESSAGE);
    wait_until(&forwarder, "the first", || count(&mail) == 1);
    fs::remove_dir_all(&mail).expect("removed");
    for _ in 0..5 {
        send(&near, &["b@example.test"], MESSAGE);
    }
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains("cannot be written"), "{line}");
    assert!(!mail.exists());
    forwarder.stop();
    // A start makes it anew.
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the others", || count(&mail) == 5);
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn a_maildir_takes_what_the_server_before_it_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let away = free_address();
    let near = near(&format!("[[forward]]\nto = [\"lmtp://{away}\", \"maildir:{}\"]\n", mail.display()));
    let forwarder = Forwarder::start(&near);
    send(&near, &["b@example.test"], MESSAGE);
    wait_until(&forwarder, "it", || count(&mail) == 1);
    forwarder.stop();
}

#[test]
fn a_forwarder_that_is_killed_loses_nothing_of_its_maildir() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let near = near(&format!("[[forward]]\nto = [\"maildir:{}\"]\n", mail.display()));
    let mut sent = 0;
    for round in 0..6 {
        let forwarder = Forwarder::start(&near);
        let mut client = Client::greeted(near.address());
        for _ in 0..60 {
            let data = format!("Subject: number {sent}.\r\n\r\ntext\r\n");
            assert!(client.deliver("a@x.test", "b@example.test", data.as_bytes()).starts_with("250"));
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(20 * round));
        forwarder.kill();
    }
    let forwarder = Forwarder::start(&near);
    let found = || {
        let mut all = BTreeMap::<String, usize>::new();
        for message in stored(&mail) {
            let text = String::from_utf8(message).expect("text");
            assert!(text.ends_with("\n\ntext\n"), "{text}");
            let subject = text.lines().find(|line| line.starts_with("Subject: ")).expect("whole").to_owned();
            *all.entry(subject).or_default() += 1;
        }
        all
    };
    wait_until(&forwarder, "all", || found().len() == sent);
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    let twice: usize = found().values().map(|count| count - 1).sum();
    println!("{sent} were sent, {twice} are there twice");
    // What was on its way, or not noted.
    assert!(twice <= 6 * 60 / 2, "{twice}");
    forwarder.stop();
}

#[test]
fn two_ways_to_write_one_directory_are_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mx.toml");
    let config = "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\n\
                  path = \"spool\"\n[[forward]]\nto = [\"maildir:a/{local}\", \"maildir:a/{domain}\"]\n";
    fs::write(&file, config).expect("written");
    let output = Command::new(program()).arg("check").arg(&file).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("are in one directory"), "{told}");
}
