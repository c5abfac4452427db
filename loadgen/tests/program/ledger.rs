//! A ledger of what was sent, and stores with known faults: each is found by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::PROGRAM;
use crate::support::server::{Oddity, Server};

/// A folder with a ledger and a maildir.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("mail/example.test/b/new")).expect("maildir");
        Self(folder)
    }

    fn ledger(&self) -> PathBuf {
        self.0.path().join("ledger")
    }

    fn maildir(&self) -> PathBuf {
        self.0.path().join("mail")
    }

    fn command(&self, server: &Server, arguments: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg(server.address.to_string()).args(arguments.split_whitespace());
        command.arg("--ledger").arg(self.ledger());
        command
    }

    /// Puts a message into the maildir, below trace fields.
    fn store(&self, mail_data: &[u8]) -> PathBuf {
        let content = [b"Return-Path: <a@x>\r\nReceived: by test\r\n", mail_data].concat();
        let folder = self.maildir().join("example.test/b/new");
        let number = fs::read_dir(&folder).expect("folder").count();
        let path = folder.join(format!("{number}.test,S={}", content.len()));
        fs::write(&path, content).expect("written");
        path
    }

    /// Exit code and output.
    fn verify(&self, more: &[&str]) -> (i32, String) {
        verify(&[&["--maildir", self.maildir().to_str().expect("UTF-8")], more].concat(), &self.ledger())
    }
}

fn verify(arguments: &[&str], ledger: &Path) -> (i32, String) {
    let mut command = Command::new(PROGRAM);
    let Output { status, stdout, stderr } =
        command.arg("verify").arg("--ledger").arg(ledger).args(arguments).output().expect("loadgen runs");
    let text = [stdout, stderr].map(|stream| String::from_utf8(stream).expect("UTF-8")).concat();
    (status.code().expect("a code"), text)
}

fn id_of(mail_data: &[u8]) -> String {
    String::from_utf8_lossy(&mail_data["X-Loadgen-Id: ".len()..][..33]).into_owned()
}

/// The number after a word at the start of a line of the table.
fn count(text: &str, word: &str) -> u64 {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(word) && line.len() > 20);
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(u64::MAX)
}

#[test]
fn faults_of_a_store_are_found_by_name() {
    let (folder, server) = (Folder::new(), Server::start(Oddity::None));
    let output =
        folder.command(&server, "--connections 3 --messages 40 --pipelining").output().expect("a run");
    assert!(output.status.success(), "{output:?}");
    let mut sent = server.seen.lock().expect("lock").messages.clone();
    sent.sort();
    let paths: Vec<PathBuf> = sent.iter().map(|message| folder.store(message)).collect();
    let (code, text) = folder.verify(&["--no-duplicates"]);
    assert_eq!((code, count(&text, "accepted")), (0, 40), "{text}");

    folder.store(&sent[4]);
    let (code, text) = folder.verify(&[]);
    assert_eq!((code, count(&text, "duplicated")), (0, 1), "{text}");
    assert!(text.contains(&format!("{}  2 copies", id_of(&sent[4]))), "{text}");
    assert_eq!(folder.verify(&["--no-duplicates"]).0, 1);

    fs::remove_file(&paths[7]).expect("removed");
    let mut altered = fs::read(&paths[9]).expect("stored");
    *altered.last_mut().expect("octets") ^= 1;
    fs::write(&paths[9], altered).expect("written");
    let short = fs::read(&paths[11]).expect("stored");
    fs::write(&paths[11], &short[..short.len() / 2]).expect("written");
    fs::rename(&paths[13], paths[13].with_file_name("13.test,S=12")).expect("renamed");
    let (code, text) = folder.verify(&[]);
    assert_eq!((code, count(&text, "lost"), count(&text, "altered")), (1, 1, 3), "{text}");
    for number in [7, 9, 11, 13] {
        assert!(text.contains(&id_of(&sent[number])), "{number}: {text}");
    }
    assert!(text.contains("BROKEN") && text.contains("the file name says 12"), "{text}");
}

#[test]
fn refused_mail_that_is_kept_is_unclean_and_deferred_mail_is_not() {
    let (folder, server) = (Folder::new(), Server::start(Oddity::RefusesAndKeeps));
    let output = folder.command(&server, "--connections 1 --messages 10").output().expect("a run");
    assert_eq!(output.status.code(), Some(1));
    let sent = server.seen.lock().expect("lock").messages.clone();
    for message in &sent {
        folder.store(message);
    }
    let (code, text) = folder.verify(&[]);
    assert_eq!((code, count(&text, "unclean"), count(&text, "deferred")), (1, 3, 2), "{text}");
    assert!(text.contains(&format!("{}  refused", id_of(&sent[2]))), "{text}");
}

#[test]
fn lost_connections_are_unknown_or_unfinished() {
    let (folder, server) = (Folder::new(), Server::start(Oddity::ClosesAfterData));
    let output = folder.command(&server, "--connections 1 --messages 4").output().expect("a run");
    assert_eq!(output.status.code(), Some(1));
    let within = Server::start(Oddity::ClosesWithinData);
    let output =
        folder.command(&within, "--connections 1 --messages 2 --size 20MiB").output().expect("a run");
    assert_eq!(output.status.code(), Some(1));
    for message in &server.seen.lock().expect("lock").messages {
        folder.store(message);
    }
    let (code, text) = folder.verify(&[]);
    let counts = ["accepted", "unknown", "unfinished"].map(|class| count(&text, class));
    assert_eq!((code, counts), (0, [2, 2, 2]), "{text}");
}

#[test]
fn a_killed_run_leaves_a_ledger_that_never_accuses() {
    let (folder, server) = (Folder::new(), Server::start(Oddity::None));
    for _ in 0..2 {
        let seen = || server.seen.lock().expect("lock").messages.len();
        // The ledger is written by a thread of its own, which may be late.
        let known = || fs::read_to_string(folder.ledger()).unwrap_or_default().matches("\naccepted ").count();
        let before = (seen(), known());
        let mut child =
            folder.command(&server, "--connections 8 --duration 60s").spawn().expect("loadgen runs");
        let deadline = Instant::now() + Duration::from_secs(20);
        while (seen() < before.0 + 300 || known() < before.1 + 100) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        std::thread::sleep(Duration::from_millis(100));
    }
    for message in &server.seen.lock().expect("lock").messages {
        folder.store(message);
    }
    let (code, text) = folder.verify(&["--no-duplicates"]);
    assert_eq!(code, 0, "{text}");
    assert!((100..u64::MAX).contains(&count(&text, "accepted")), "{text}");
}

#[test]
fn what_cannot_be_read_is_no_verdict() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    assert_eq!(folder.verify(&[]).0, 2);
    fs::write(&ledger, "loadgen-ledger-1 0000000000000001 .\n").expect("written");
    assert!(folder.verify(&[]).1.contains("has no message"));
    fs::write(&ledger, "From: x .\n").expect("written");
    let (code, text) = folder.verify(&[]);
    assert!(code == 2 && text.contains("line 1"), "{text}");
    assert_eq!(verify(&["--spool", "missing"], &ledger).0, 2);
}
