//! Real clients deliver: Python's smtplib, swaks, Postfix's smtp-source. Every message of a corpus arrives to
//! the octet.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use support::client::Client;
use support::server::{Server, without_trace};

/// Whether a program is there. Under CI it must be.
fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "CI needs {program}");
    if !found {
        println!("skipped: {program} is not installed (Debian packages: swaks, postfix)");
    }
    found
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// The e-mail test data that ships with CPython.
fn cpython_messages() -> Vec<PathBuf> {
    let find =
        "import test.test_email, os; print(os.path.join(os.path.dirname(test.test_email.__file__), 'data'))";
    let output = Command::new("python3").args(["-c", find]).output();
    let folder = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let Some(folder) = folder else {
        println!("skipped: this Python has no e-mail test data (module test.test_email)");
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the test data")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// Line ends as SMTP has them: every CR, LF and CRLF becomes a CRLF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    let mut octets = text.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' => {
                octets.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            _ => out.push(octet),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// What stands in a maildir for a message: the name of a field first if it begins with the line of an mbox
/// file, an empty line if it would continue our Received.
fn stored_form(message: &[u8]) -> Vec<u8> {
    let line = message.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
    let is_name = name.len() < line.len() && !name.is_empty();
    let name = name.trim_ascii_end();
    let header = is_name && !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let quoted = line.iter().take_while(|octet| **octet == b'>').count();
    if header || message.starts_with(b"\r\n") {
        message.to_vec()
    } else if line[quoted..].starts_with(b"From ") {
        [b"X-Mailbox-Line: ", message].concat()
    } else {
        [b"\r\n", message].concat()
    }
}

#[test]
fn every_message_of_cpythons_test_data_is_stored_to_the_octet() {
    for (setting, lf) in [("crlf", false), ("lf", true)] {
        let server = Server::with_maildir(&format!("line_endings = \"{setting}\""));
        let mut client = Client::greeted(server.address());
        let files = cpython_messages();
        for file in &files {
            let message = with_crlf(&fs::read(file).expect("a message"));
            let reply = client.deliver("a@x.test", "b@y.test", &message);
            assert!(reply.starts_with("250"), "{}: {reply}", file.display());
            let stored = server.maildir("mail").pop().expect("one message");
            let mut expected = stored_form(&message);
            if lf {
                expected = String::from_utf8_lossy(&expected).replace("\r\n", "\n").into_bytes();
            }
            if !lf || message.is_ascii() {
                assert_eq!(without_trace(&stored), expected, "{}", file.display());
            }
            for file in fs::read_dir(server.folder().join("mail/new")).expect("the maildir") {
                fs::remove_file(file.expect("entry").path()).expect("removed");
            }
        }
        println!("{} messages with line_endings = {setting}", files.len());
    }
}

#[test]
fn smtplib_delivers_mime_mail_up_to_30_mib() {
    if !has("python3") {
        return;
    }
    let server = Server::with_maildir("");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/mime.py");
    let output = run(Command::new("python3")
        .arg(script)
        .arg(server.address().port().to_string())
        .arg(server.folder().join("mail")));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn swaks_delivers() {
    if !has("swaks") {
        return;
    }
    let server = Server::with_maildir("");
    let output = run(Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.address().port().to_string()])
        .args([
            "--from",
            "a@x.test",
            "--to",
            "b@y.test,c@y.test",
            "--ehlo",
            "swaks.test",
            "--body",
            ".\nhello\n..\n",
        ]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("queued as"));
    let stored = server.maildir("mail");
    assert_eq!(stored.len(), 1, "one file a maildir");
    for recipient in ["b@y.test", "c@y.test"] {
        let field = format!("Delivered-To: {recipient}\n");
        assert!(String::from_utf8_lossy(&stored[0]).contains(&field), "{recipient}");
    }
    assert!(
        stored.iter().all(|message| message.windows(12).any(|part| part == b"\n.\nhello\n..\n")),
        "dots survive"
    );
}

#[test]
fn smtp_source_delivers_a_thousand() {
    if !has("smtp-source") {
        return;
    }
    let server = Server::with_maildir("\n[log]\nsessions = false\nmessages = false");
    run(Command::new("smtp-source")
        .args(["-s", "20", "-m", "1000", "-l", "4096", "-f", "a@x.test", "-t", "b@y.test"])
        .arg(format!("127.0.0.1:{}", server.address().port())));
    run(Command::new("smtp-source")
        .args(["-d", "-s", "20", "-m", "500", "-l", "20000", "-f", "a@x.test", "-t", "b@y.test"])
        .arg(format!("127.0.0.1:{}", server.address().port())));
    assert_eq!(server.maildir("mail").len(), 1500);
}
