//! Maildirs as next hops (`to = ["maildir:PATH"]`): what is in them, a store that cannot be written, kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::client::Client;
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program, without_trace};

use crate::forward::{Forwarder, MESSAGE, free_address, near, queue, send, stored, wait_until};

fn count(maildir: &Path) -> usize {
    fs::read_dir(maildir.join("new")).map_or(0, Iterator::count)
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
fn a_maildir_that_is_gone_is_a_next_hop_that_is_down_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let near = near(&format!("[[forward]]\nto = [\"maildir:{}\"]\n", mail.display()));
    let forwarder = Forwarder::start(&near);
    send(&near, &["b@example.test"], MESSAGE);
    wait_until(&forwarder, "the first", || count(&mail) == 1);
    fs::remove_dir_all(&mail).expect("removed");
    fs::write(&mail, "in its place").expect("a file");
    for _ in 0..5 {
        send(&near, &["b@example.test"], MESSAGE);
    }
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains("cannot be"), "{line}");
    assert!(queue(&near, &["list"]).is_empty(), "the log is the queue");
    assert!(!forwarder.log().contains(" deferred "), "its mail was not tried");
    fs::remove_file(&mail).expect("removed");
    wait_until(&forwarder, "the others", || count(&mail) == 5);
    forwarder.wait_for("next-hop-up");
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn mail_goes_where_the_path_leads_also_when_that_is_another_directory_by_now() {
    for template in ["", "/{local}"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (mail, away) = (folder.path().join("mail"), folder.path().join("away"));
        let near = near(&format!("[[forward]]\nto = [\"maildir:{}{template}\"]\n", mail.display()));
        let forwarder = Forwarder::start(&near);
        let of =
            |directory: &Path| if template.is_empty() { directory.to_owned() } else { directory.join("b") };
        send(&near, &["b@example.test"], MESSAGE);
        wait_until(&forwarder, "the first", || count(&of(&mail)) == 1);
        fs::rename(&mail, &away).expect("moved");
        fs::create_dir(&mail).expect("another one");
        send(&near, &["b@example.test"], MESSAGE);
        wait_until(&forwarder, "the second", || count(&of(&mail)) == 1);
        assert_eq!(count(&of(&away)), 1);
        fs::remove_dir_all(&mail).expect("removed");
        send(&near, &["b@example.test"], MESSAGE);
        // It is made anew, as at the start.
        wait_until(&forwarder, "the third", || count(&of(&mail)) == 1);
        assert!(!forwarder.log().contains(" deferred "), "{}", forwarder.log());
        forwarder.stop();
    }
}

#[test]
fn one_that_cannot_be_opened_keeps_no_other_destination_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mail, not) = (folder.path().join("mail"), folder.path().join("file"));
    fs::write(&not, "no directory").expect("a file");
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"maildir:{}/below\"]\n[[forward]]\nto = [\"maildir:{}\"]\n",
        not.display(),
        mail.display()
    ));
    let check = Command::new(program())
        .arg("check")
        .arg(near.folder().join("ringmx.toml"))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(told.contains("forward.to") && told.contains("/below"), "{told}");
    let forwarder = Forwarder::start(&near);
    send(&near, &["anna@example.test", "bert@other.test"], MESSAGE);
    wait_until(&forwarder, "the other one", || count(&mail) == 1);
    let line = forwarder.wait_for("open the maildir");
    assert!(line.contains("/below"), "{line}");
    fs::remove_file(&not).expect("removed");
    wait_until(&forwarder, "it is made", || count(&not.join("below")) == 1);
    forwarder.stop();
}

/// Maildirs of recipients; and a sender who hears of all.
fn of_recipients(mail: &Path, template: &str, more: &str) -> (NextHop, Server) {
    let keywords = vec!["PIPELINING"];
    let via = NextHop::start(Manner { is_lmtp: false, keywords, recipient: accept, end: accept });
    let near = Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"*.example.test\"]\n{more}\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"spool\"\ndsn = true\n\
         [[forward]]\nto = [\"maildir:{}/{template}\"]\n[forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://{}\"\n",
        mail.display(),
        via.address()
    ));
    (via, near)
}

#[test]
fn a_maildir_of_somebody_that_is_broken_is_nobody_elses_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let of = |name: &str| mail.join("example.test").join(name);
    fs::create_dir_all(mail.join("example.test")).expect("a directory");
    fs::write(of("bert"), "no maildir").expect("a file");
    let (_via, near) = of_recipients(&mail, "{domain}/{local}", "");
    let forwarder = Forwarder::start(&near);
    for _ in 0..5 {
        send(&near, &["bert@example.test"], MESSAGE);
    }
    send(&near, &["bert@example.test", "anna@example.test", "carl@example.test"], MESSAGE);
    wait_until(&forwarder, "the others", || count(&of("anna")) == 1 && count(&of("carl")) == 1);
    wait_until(&forwarder, "his waits", || queue(&near, &["list"]).matches(" waiting ").count() == 6);
    assert!(!forwarder.log().contains("next-hop-down"), "{}", forwarder.log());
    fs::remove_file(of("bert")).expect("mended");
    queue(&near, &["retry", "--all"]);
    wait_until(&forwarder, "his", || count(&of("bert")) == 6);
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    assert_eq!((count(&of("anna")), count(&of("carl"))), (1, 1), "they have it once");
    forwarder.stop();
}

#[test]
fn tags_are_left_out_and_a_name_that_cannot_be_is_one_recipients() {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = folder.path().join("mail");
    let (via, near) = of_recipients(&mail, "{local}@{domain}", "recipient_delimiter = \"+\"\n");
    let forwarder = Forwarder::start(&near);
    // Each of these octets is three in the name of a directory.
    let (local, long) = ("#".repeat(64), "a".repeat(60));
    let odd = format!("{local}@{long}.example.test");
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in ["anna+lists@example.test", odd.as_str()] {
        client.command(&format!("RCPT TO:<{recipient}> NOTIFY=SUCCESS,FAILURE"), "250");
    }
    client.command("DATA", "354");
    client.send(&support::client::stuffed(MESSAGE));
    client.expect("250");
    wait_until(&forwarder, "hers", || count(&mail.join("anna@example.test")) == 1);
    let line = forwarder.wait_for(" undeliverable ");
    assert!(line.contains("recipients=1") && line.contains("5.1.3"), "{line}");
    wait_until(&forwarder, "a notice", || via.taken().len() == 1);
    let notice = String::from_utf8(via.taken().remove(0).data).expect("text");
    assert!(notice.contains("Action: failed") && notice.contains("Action: delivered"), "{notice}");
    assert!(!notice.contains("new/") && !notice.contains(&mail.display().to_string()), "{notice}");
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
    // What was on its way, or not noted: of 20 connections, and for 20 ms.
    assert!(twice <= 6 * 40, "{twice}");
    forwarder.stop();
}

#[test]
fn two_ways_to_write_one_directory_are_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mx.toml");
    let config = "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\n\
                  path = \"spool\"\n[[forward]]\nto = [\"maildir:a/{local}\", \"maildir:a/{domain}\"]\n";
    let check = |config: &str| {
        fs::write(&file, config).expect("written");
        let output = Command::new(program()).arg("check").arg(&file).output().expect("it runs");
        (output.status.success(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (is_good, told) = check(config);
    assert!(!is_good && told.contains("are in one directory"), "{told}");
    let both = "\"maildir:a/{local}\", \"maildir:a/{domain}\"";
    let (is_good, told) = check(&config.replace(both, "\"maildir:./spool/mail\""));
    assert!(!is_good && told.contains("spool: give it a directory of its own"), "{told}");
    let alone = config.replace(both, "\"maildir:a\"");
    let (is_good, told) = check(&format!("{alone}tls = \"required\"\nxclient = true\n"));
    assert!(
        is_good && told.matches("it does nothing here: there is no SMTP session with a maildir").count() == 2,
        "{told}"
    );
}
