//! The whole program under a limit on the size of files (RLIMIT_FSIZE, `LimitFSIZE=` of a unit): what does
//! not fit is put off (452), all else is stored, and the start says what does not fit.

use std::fs;
use std::process::{Command, Stdio};

use support::client::Client;
use support::server::Server;

/// The limit of these tests.
const LIMIT_BYTES: usize = 1 << 20;

const CONFIG: &str =
    "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[shards]\ncpus = [0]\n";

/// Every sink that writes files, with what keeps or moves mail data out of memory.
const SINKS: [&str; 6] = [
    "kind = \"maildir\"\npath = \"store\"\nsync = \"each\"",
    "kind = \"maildir\"\npath = \"store\"",
    "kind = \"maildir\"\npath = \"store\"\nline_endings = \"crlf\"\n[limits]\nspill_files_max = 1",
    "kind = \"spool\"\npath = \"store\"\nsegment_size = \"1MiB\"",
    "kind = \"spool\"\npath = \"store\"\nsegment_size = \"1MiB\"\ndirect_writes = false",
    "kind = \"stdout\"",
];

fn under_limit(sink: &str) -> Server {
    let limit = format!("--fsize={LIMIT_BYTES}");
    Server::start_under(&["prlimit", &limit], &format!("{CONFIG}[[sink]]\n{sink}\n"), &[])
}

fn mail(bytes: usize) -> Vec<u8> {
    let mut mail = b"Subject: x\r\n\r\n".to_vec();
    while mail.len() < bytes {
        mail.extend_from_slice(&[b'x'; 70]);
        mail.extend_from_slice(b"\r\n");
    }
    mail
}

#[test]
fn a_message_over_the_limit_on_files_is_452_and_no_other_suffers() {
    for sink in SINKS {
        let server = under_limit(sink);
        let mut bystander = Client::greeted(server.address());
        bystander.command("MAIL FROM:<a@x.test>", "250");
        let mut client = Client::greeted(server.address());
        for bytes in [LIMIT_BYTES * 2, LIMIT_BYTES * 12, LIMIT_BYTES * 2] {
            let reply = client.deliver("a@x.test", "b@y.test", &mail(bytes));
            // Below the threshold for temporary files, a pipe takes any message.
            let fits = sink.contains("stdout") && reply.starts_with("250");
            assert!(reply.starts_with("452 4.3.1") || fits, "{sink}, {bytes} octets: {reply}");
            let reply = client.deliver("a@x.test", "b@y.test", &mail(10_000));
            assert!(reply.starts_with("250"), "{sink}: {reply}");
        }
        bystander.command("RCPT TO:<b@y.test>", "250");
        bystander.command("DATA", "354");
        bystander.send(b"Subject: x\r\n\r\nstill here\r\n.\r\n");
        bystander.expect("250");
        let told = server.wait_for_log(|line| line.contains("message_size_max is"));
        assert!(told.contains("RLIMIT_FSIZE") && told.contains("answered 452"), "{told}");
    }
}

#[test]
fn a_declared_size_over_the_limit_on_files_is_452_at_mail() {
    let server = under_limit(SINKS[0]);
    let mut client = Client::greeted(server.address());
    client.command(&format!("MAIL FROM:<a@x.test> SIZE={}", LIMIT_BYTES + 1), "452 4.3.1");
    client.command(&format!("MAIL FROM:<a@x.test> SIZE={LIMIT_BYTES}"), "250");
}

#[test]
fn a_segment_over_the_limit_on_files_stops_the_start_with_a_cure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ringmx.toml");
    fs::write(
        &file,
        format!("{CONFIG}[[sink]]\nkind = \"spool\"\npath = \"store\"\nsegment_size = \"8MiB\"\n"),
    )
    .expect("the configuration");
    let output = Command::new("prlimit")
        .arg(format!("--fsize={LIMIT_BYTES}"))
        .args([env!("CARGO_BIN_EXE_ringmx"), "serve", "--config"])
        .arg(&file)
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("segment_size is 8388608 octets") && told.contains("LimitFSIZE=infinity"),
        "{told}"
    );
}

#[test]
fn a_log_that_may_not_grow_ends_no_session() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, log) = (folder.path().join("ringmx.toml"), folder.path().join("log"));
    fs::write(&file, format!("{CONFIG}[[sink]]\nkind = \"discard\"\n")).expect("the configuration");
    let mut server = Command::new("prlimit")
        .arg("--fsize=4096")
        .args([env!("CARGO_BIN_EXE_ringmx"), "serve", "--config"])
        .arg(&file)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("the server starts");
    let text = || fs::read_to_string(&log).expect("the log");
    while !text().contains(" ready") {
        assert!(server.try_wait().expect("its state").is_none(), "{}", text());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let address =
        text().split("listening address=").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let mut client = Client::greeted(address.expect("an address"));
    for _ in 0..50 {
        let reply = client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\ntext\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert!(fs::metadata(&log).expect("the log").len() <= 4096);
    assert!(text().contains("the log is a file"), "{}", text());
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}
