//! Mail data that begins with the `From ` line of an mbox file: no octet of it is changed, and its fields
//! stay fields of the stored message, whatever the sink, the line ends and the size.

use std::fs;
use std::process::Command;

use support::client::Client;
use support::server::Server;

/// Each begins as scripts and old local mailers leave it.
const LINES: [&str; 4] = [
    "From root@host Thu Nov 28 10:00:00 2024",
    ">From root@host Thu Nov 28 10:00:00 2024",
    ">>From a: b",
    "From ",
];

fn message(line: &str, text: &str) -> Vec<u8> {
    format!("{line}\r\nReceived: from x\r\n\tby y\r\nSubject: kept\r\n\r\nFrom me\r\n{text}\r\n").into_bytes()
}

/// Sends it with DATA, or in chunks that cut the line.
fn deliver(client: &mut Client, data: &[u8], chunked: bool) {
    if !chunked {
        let reply = client.deliver("a@client.example", "b@example.org", data);
        assert!(reply.starts_with("250"), "{reply}");
        return;
    }
    client.command("MAIL FROM:<a@client.example>", "250");
    client.command("RCPT TO:<b@example.org>", "250");
    let (first, rest) = data.split_at(3);
    for (octets, last) in [(first, ""), (rest, " LAST")] {
        client.send(format!("BDAT {}{last}\r\n", octets.len()).as_bytes());
        client.send(octets);
        client.expect("250");
    }
}

/// The stored octets are fields of ours, the name of a field, and the mail data; no line of the header
/// section is none.
fn check(stored: &[u8], data: &[u8], line_end: &str) {
    let shown = stored.escape_ascii().to_string();
    let ours = stored.strip_suffix(data).unwrap_or_else(|| panic!("the mail data is altered: {shown}"));
    assert!(ours.ends_with(format!("{line_end}X-Mailbox-Line: ").as_bytes()), "{shown}");
    let text = String::from_utf8_lossy(stored);
    let (header, _) = text.split_once(&line_end.repeat(2)).expect("an empty line");
    assert!(header.ends_with("Subject: kept"), "the header section ends too early: {shown}");
    for line in header.split(line_end) {
        let name = line.split_once(':').map(|(name, _)| name);
        let is_field = name.is_some_and(|name| name.bytes().all(|octet| octet.is_ascii_graphic()));
        assert!(is_field || line.starts_with('\t'), "{line:?} is no field: {shown}");
    }
}

#[test]
fn a_maildir_keeps_the_fields_after_a_mailbox_line() {
    for (setting, line_end) in [("lf", "\n"), ("crlf", "\r\n")] {
        let server = Server::with_maildir(&format!("line_endings = \"{setting}\""));
        let mut client = Client::greeted(server.address());
        for (line, chunked) in LINES.into_iter().flat_map(|line| [(line, false), (line, true)]) {
            let data = message(line, "text");
            deliver(&mut client, &data, chunked);
            let expected = String::from_utf8(data).expect("ASCII").replace("\r\n", line_end).into_bytes();
            check(&server.maildir("mail").pop().expect("a message"), &expected, line_end);
            for file in fs::read_dir(server.folder().join("mail/new")).expect("the maildir") {
                fs::remove_file(file.expect("an entry").path()).expect("removed");
            }
        }
    }
}

#[test]
fn a_spool_keeps_the_fields_after_a_mailbox_line() {
    let server = Server::start("[[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"4MiB\"");
    let mut client = Client::greeted(server.address());
    // The last one is moved out of memory while it arrives, and has a file of its own in the spool.
    let large = "0123456789abcdef\r\n".repeat(500_000);
    let messages = [message(LINES[0], "text"), message(LINES[1], "text"), message(LINES[1], &large)];
    for (index, data) in messages.iter().enumerate() {
        deliver(&mut client, data, index % 2 == 1);
    }
    let out = server.folder().join("eml");
    let program = env!("CARGO_BIN_EXE_ringmx");
    let export = Command::new(program)
        .args(["spool", "export", "--eml"])
        .arg(&out)
        .arg(server.folder().join("spool"))
        .output()
        .expect("ringmx runs");
    assert!(export.status.success(), "{export:?}");
    let mut files: Vec<Vec<u8>> = fs::read_dir(&out)
        .expect("exported")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect();
    assert_eq!(files.len(), messages.len());
    // Names of one second are in no order.
    for data in &messages {
        let starts = [&b"\r\n"[..], b"X-Mailbox-Line: "].map(|start| [start, data.as_ref()].concat());
        let ends = |file: &Vec<u8>| starts.iter().any(|end| file.ends_with(end));
        let place = files.iter().position(ends).expect("the message is exported");
        check(&files.swap_remove(place), data, "\r\n");
    }
}
