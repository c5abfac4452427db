//! What an operator reads in the log of a real server: why mail was refused, which lines are of one session,
//! why it ended; and that each line is one record, whatever clients, the disk or the configuration do.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::client::Client;
use support::dialogue::{Dialogue, Event};
use support::image;
use support::load::loadgen;
use support::server::Server;

const DISCARD: &str = "[[sink]]\nkind = \"discard\"\n[shards]\ncpus = [0]\n";

fn server(listener: &str, more: &str) -> Server {
    let config = format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n{DISCARD}{more}"
    );
    Server::start_with_files(&config, &[("recipients", "known@example.org\n")])
}

/// The records of a log in JSON; each line has to be one.
fn records(log: &[String]) -> Vec<Value> {
    log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

fn of_event<'a>(records: &'a [Value], event: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["event"] == event).collect()
}

const JSON: &str = "[log]\nformat = \"json\"\n";

#[test]
fn a_refused_recipient_an_accepted_message_and_their_session_are_found_by_one_name() {
    let mut server = server("", JSON);
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<nobody@example.org>", "550 5.1.1");
    client.command("RCPT TO:<b@elsewhere.test>", "550 5.7.1");
    client.command("RCPT TO:<known@example.org>", "250");
    client.command("DATA", "354");
    let id = "<\u{e9}.\u{202e}1@x.test>";
    let reply_id = {
        client.send(format!("Subject: x\r\nMESSAGE-ID:\r\n {id}\r\n\r\ntext\r\n.\r\n").as_bytes());
        client.expect("250").trim_end().rsplit(' ').next().expect("an id").to_owned()
    };
    client.command("FOO", "500");
    client.command("QUIT", "221");
    client.expect_end();
    assert!(server.stop().success());
    let records = records(&server.log());
    let session = of_event(&records, "session")[0];
    let name = session["session"].as_str().expect("a name");
    assert_eq!((&session["ended_by"], name.len()), (&"quit".into(), 13));
    let message = of_event(&records, "message")[0];
    assert_eq!((&message["session"], &message["message_id"]), (&session["session"], &id.into()));
    assert_eq!((&message["id"], &message["level"]), (&reply_id.into(), &"info".into()));
    assert!(["envelope_ms", "data_ms", "stored_ms"].iter().all(|phase| message[phase].is_u64()), "{message}");
    let refused = of_event(&records, "refused");
    let told: Vec<_> = refused
        .iter()
        .map(|one| {
            assert_eq!((&one["session"], &one["client"]), (&session["session"], &session["client"]));
            ["step", "reason"].map(|name| one[name].as_str().expect("a word"))
        })
        .collect();
    let expected =
        [["RCPT", "unknown-recipient"], ["RCPT", "foreign-domain"], ["COMMAND", "unknown-command"]];
    assert_eq!(told, expected);
    assert_eq!(
        (&refused[0]["from"], &refused[0]["to"][0]),
        (&"a@x.test".into(), &"nobody@example.org".into())
    );
    assert_eq!(refused[0]["reply"], "550 5.1.1 No such recipient here");
    let stopped = of_event(&records, "stopped")[0].as_object().expect("a record");
    assert!(stopped.values().all(|value| *value != 0), "zeros are left out: {stopped:?}");
}

#[test]
fn a_refusal_is_one_line_of_text_that_shows_what_can_be_seen() {
    let mut server = server("", "");
    let mut client = Client::connect(server.address());
    client.expect("220");
    client.command("EHLO client.example", "250");
    client.command("MAIL FROM:<j\u{f6}rg\u{202e}@x.test> SMTPUTF8", "250");
    client.command("RCPT TO:<nobody@example.org>", "550 5.1.1");
    client.command("RCPT TO:<b\u{f6}se>", "501 5.1.3");
    client.command("QUIT", "221");
    client.expect_end();
    assert!(server.stop().success());
    let log = server.log();
    let refused: Vec<&String> = log.iter().filter(|line| line.contains(" refused ")).collect();
    let start = " ehlo=\"client.example\" from=\"j\u{f6}rg\\xe2\\x80\\xae@x.test\" to=\"";
    let rest =
        "nobody@example.org\" step=RCPT reply=\"550 5.1.1 No such recipient here\" reason=unknown-recipient";
    assert!(
        refused[0].contains(" refused session=") && refused[0].contains(" client=127.0.0.1:"),
        "{log:#?}"
    );
    assert!(refused[0].ends_with(&format!("{start}{rest}")), "{}", refused[0]);
    assert!(
        refused[1].contains(" to=\"b\u{f6}se\" step=RCPT ") && refused[1].ends_with("=bad-address"),
        "{log:#?}"
    );
}

#[test]
fn a_session_has_twenty_lines_of_refusals_and_one_that_counts_the_rest() {
    let mut server = server("", &format!("[limits]\nerrors_max = 100\n{JSON}"));
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for number in 0..30 {
        client.command(&format!("RCPT TO:<{number}@example.org>"), "550 5.1.1");
    }
    client.command("QUIT", "221");
    client.expect_end();
    // Another client has lines after that.
    std::thread::sleep(Duration::from_millis(1100));
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@", "501");
    drop(client);
    assert!(server.stop().success());
    let records = records(&server.log());
    assert_eq!(of_event(&records, "refused").len(), 21);
    let over_rate: u64 =
        of_event(&records, "refusals").iter().filter_map(|one| one["over_rate"].as_u64()).sum();
    let more: u64 = of_event(&records, "refused-more").iter().filter_map(|one| one["more"].as_u64()).sum();
    assert_eq!((more, over_rate), (10, 0), "{records:#?}");
}

#[test]
fn who_finds_no_place_has_a_line_a_minute_that_says_so() {
    let mut server = server("", &format!("connections_max = 1\n{JSON}"));
    let mut first = Client::greeted(server.address());
    for _ in 0..3 {
        Client::connect(server.address()).expect("421 4.3.2");
    }
    first.command("QUIT", "221");
    first.expect_end();
    assert!(server.stop().success());
    let records = records(&server.log());
    let refused = of_event(&records, "refused");
    assert_eq!(refused.len(), 1, "{records:#?}");
    assert_eq!((&refused[0]["step"], &refused[0]["reason"]), (&"CONNECT".into(), &"overload".into()));
    let more: Vec<_> = of_event(&records, "refusals").iter().map(|one| one["more"].clone()).collect();
    assert_eq!(more, [2]);
    let session = of_event(&records, "session").into_iter().find(|one| one["refused_4yz"] == 1);
    assert!(session.is_some_and(|session| session["ended_by"] == "overload"), "{records:#?}");
}

#[test]
fn without_lines_of_refusals_there_are_none() {
    let mut server = server("", "[log]\nrefusals = false\n");
    let mut client = Client::greeted(server.address());
    client.command("FOO", "500");
    client.command("QUIT", "221");
    client.expect_end();
    assert!(server.stop().success());
    assert!(
        server.log().iter().all(|line| !line.contains(" refused ") && !line.contains(" refusals ")),
        "{:#?}",
        server.log()
    );
}

/// The end of the last session, as the log tells it.
fn ended_by(server: &Server, before: usize) -> String {
    let start = Instant::now();
    loop {
        let log = server.log();
        if let Some(line) = log.iter().filter(|line| line.contains(" session ")).nth(before) {
            let word = line.split(" ended_by=").nth(1).expect("an end");
            return word.split(' ').next().expect("a word").to_owned();
        }
        assert!(start.elapsed() < Duration::from_mins(1), "{log:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_session_says_why_it_ended() {
    let server = server(
        "unauthorized_pipelining = \"reject\"",
        "[limits]\nerrors_max = 1\ncommand_timeout = \"1s\"\n",
    );
    let ends: [(&str, &[u8]); 7] = [
        ("quit", b"NOOP\r\n*QUIT\r\n"),
        ("client", b"NOOP\r\n*"),
        ("errors", b"FOO\r\n*FOO\r\n"),
        ("bare-line-end", b"NOOP\nQUIT\r\n"),
        ("pipelining", b"EHLO x\r\nQUIT\r\n"),
        ("not-smtp", b"GET / HTTP/1.1\r\n"),
        ("idle", b"EHLO x\r\n"),
    ];
    for (number, (word, octets)) in ends.into_iter().enumerate() {
        let mut client = Client::connect(server.address());
        client.expect("220");
        for (place, part) in octets.split(|octet| *octet == b'*').enumerate() {
            if place > 0 {
                client.reply();
            }
            client.send(part);
        }
        if word == "client" {
            client.stream().shutdown(Shutdown::Write).expect("shut down");
        }
        assert_eq!(ended_by(&server, number), word);
    }
}

#[test]
fn an_early_talker_a_lost_connection_and_the_end_of_the_server_have_a_word() {
    let mut server = server("greeting_delay = \"1s\"", "");
    let mut client = Client::connect(server.address());
    client.send(b"EHLO x\r\n");
    client.expect("554");
    drop(client);
    assert_eq!(ended_by(&server, 0), "early-talker");
    let mut client = Client::greeted(server.address());
    client.command("NOOP", "250");
    rustix::net::sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO))
        .expect("a reset at the close");
    drop(client);
    assert_eq!(ended_by(&server, 1), "lost");
    let mut client = Client::greeted(server.address());
    client.command("NOOP", "250");
    assert!(server.stop().success());
    client.expect("421");
    assert_eq!(ended_by(&server, 2), "shutdown");
}

#[test]
fn a_front_that_only_looks_is_counted() {
    let mut server = server("xclient_from = [\"127.0.0.0/8\"]", JSON);
    for _ in 0..5 {
        let mut client = Client::greeted(server.address());
        client.command("NOOP", "250");
        client.command("QUIT", "221");
        client.expect_end();
        drop(Client::connect(server.address()));
    }
    let mut client = Client::greeted(server.address());
    client.command("RSET", "250");
    client.command("QUIT", "221");
    client.expect_end();
    assert!(server.stop().success());
    let records = records(&server.log());
    assert_eq!(of_event(&records, "session").len(), 1, "{records:#?}");
    let counted: u64 =
        of_event(&records, "sessions").iter().filter_map(|one| one["health_checks"].as_u64()).sum();
    assert_eq!(counted, 10);
}

/// Sends octets and reads until the server closes, or nothing more comes.
fn throw(address: SocketAddr, parts: &[&[u8]]) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    let mut octets = [0; 4096];
    for part in parts {
        let _ = stream.read(&mut octets);
        if stream.write_all(part).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    while stream.read(&mut octets).is_ok_and(|count| count > 0) {}
}

#[test]
fn whatever_clients_send_each_line_of_the_log_is_one_record_of_json() {
    let mut server = Server::start(&format!(
        "early_talkers = \"tolerate\"\nunauthorized_pipelining = \"tolerate\"\n{DISCARD}{JSON}\
         session_lines_max = 1_000_000\n"
    ));
    let address = server.address();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let dialogues: Vec<Dialogue> = fs::read_dir(folder)
        .expect("tests/dialogues")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .map(|path| Dialogue::parse(&fs::read_to_string(path).expect("readable")).expect("a dialogue"))
        .collect();
    assert!(dialogues.len() > 100);
    std::thread::scope(|scope| {
        for share in dialogues.chunks(dialogues.len().div_ceil(16)) {
            scope.spawn(move || {
                for dialogue in share {
                    let parts: Vec<&[u8]> = dialogue
                        .events
                        .iter()
                        .filter_map(
                            |event| if let Event::Client(octets) = event { Some(&octets[..]) } else { None },
                        )
                        .collect();
                    throw(address, &parts);
                }
            });
        }
    });
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut garbage = |bytes: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        })
        .take(bytes)
        .collect()
    };
    // As it is, and where an address, a name or a field stands that the log shows.
    let garbage: Vec<Vec<u8>> = (0..1000)
        .map(|number| {
            let octets = garbage(1 + number % 300);
            let before: &[u8] = match number % 5 {
                0 => b"",
                1 => b"EHLO ",
                2 => b"EHLO x\r\nMAIL FROM:<",
                3 => b"EHLO x\r\nMAIL FROM:<a@x.test> SMTPUTF8\r\nRCPT TO:<",
                _ => b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<known@example.org>\r\nBDAT 600 LAST\r\nMessage-ID: ",
            };
            [before, &octets[..], b">\r\n", &b"x".repeat(600)[..]].concat()
        })
        .collect();
    std::thread::scope(|scope| {
        for share in garbage.chunks(63) {
            scope.spawn(move || share.iter().for_each(|octets| throw(address, &[octets])));
        }
    });
    assert!(server.stop().success());
    let records = records(&server.log());
    for event in ["session", "refused", "message"] {
        println!("{event}: {}", of_event(&records, event).len());
    }
    assert!(of_event(&records, "session").len() > 1000 && of_event(&records, "refused").len() > 500);
    assert!(of_event(&records, "message").len() > 50);
    assert!(records.iter().all(|record| record["time"].is_string() && record["level"].is_string()));
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        image::unmount(self.0);
    }
}

#[test]
fn fifteen_seconds_of_a_full_disk_under_load_are_few_lines() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for kind in ["spool", "maildir"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).expect("a mount point");
        image::run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&disk));
        let _mounted = Unmount(&disk);
        let segments = if kind == "spool" { "segment_size = \"1MiB\"" } else { "" };
        let mut server = Server::start_whole(&format!(
            "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[sink]]\nkind = \"{kind}\"\npath = \"{}/store\"\n{segments}\n{JSON}",
            disk.display()
        ));
        let load = |seconds: u32, more: &[&str]| {
            let mut command = Command::new(loadgen());
            command.arg(server.address().to_string());
            command.args(["--duration", &format!("{seconds}s"), "--connections", "20", "--size", "16KiB"]);
            command.args(more).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().expect("loadgen runs");
        };
        let full = || server.log().iter().any(|line| line.contains("no-space"));
        let start = Instant::now();
        while !full() {
            assert!(start.elapsed() < Duration::from_mins(2), "{kind}: the disk is never full");
            load(2, &[]);
        }
        // What space was left for little messages goes, too.
        let mut ballast = fs::File::create(disk.join("ballast")).expect("a file");
        while ballast.write_all(&[1; 4096]).is_ok() {}
        std::thread::sleep(Duration::from_secs(2));
        let before = server.log().len();
        let start = Instant::now();
        let mut attempts = 0;
        while start.elapsed() < Duration::from_secs(15) {
            // Some stay and try again, some come anew.
            load(1, &[]);
            for _ in 0..50 {
                let mut client = Client::greeted(server.address());
                client.send(b"MAIL FROM:<a@x.test>\r\n");
                attempts += usize::from(client.reply().starts_with("452"));
                client.command("QUIT", "221");
            }
        }
        let log = server.log();
        let lines = &log[before..];
        println!("{kind}: {} lines in 15 s, {attempts} refused attempts of ours alone", lines.len());
        assert!(attempts > 200, "{kind}: {attempts}");
        assert!(lines.len() <= 50, "{kind}: {} lines:\n{}", lines.len(), lines.join("\n"));
        assert!(server.stop().success());
        let records = records(&server.log());
        let counts = of_event(&records, "refusals");
        let of_space = counts.iter().filter(|one| one["reason"] == "no-space");
        let counted: u64 = of_space.filter_map(|one| one["more"].as_u64()).sum();
        assert!(counted >= attempts as u64, "{kind}: {counted} counted");
    }
}

/// What `serve` says on standard error with this configuration, which it cannot use.
fn said(folder: &Path, config: &str, prepare: impl FnOnce(&mut Command, &fs::File)) -> String {
    let (file, said) = (folder.join("ringmx.toml"), folder.join("said"));
    fs::write(&file, config).expect("the configuration");
    let stderr = fs::File::create(&said).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
    command.args(["serve", "--config"]).arg(&file).current_dir(folder).stdin(Stdio::null());
    prepare(&mut command, &stderr);
    let status = command.stderr(stderr).stdout(Stdio::null()).status().expect("it runs");
    assert!(!status.success());
    fs::read_to_string(said).expect("text")
}

#[test]
fn what_is_wrong_at_the_start_is_json_where_json_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    for config in [
        // No TOML, an unknown key, a value out of range, a file that is not there, an address that is taken,
        // a log that cannot be opened.
        "[log]\nformat = \"json\"\n[[listener]\n",
        "unknown_key = 1\n[log]\nformat = \"json\"\n",
        "[log]\nformat = \"json\"\n[limits]\nrecipients_max = 0\n",
        "hostname = \"mx.test\"\nrecipients = \"none\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n[log]\nformat = \"json\"\n",
        &format!(
            "hostname = \"mx.test\"\n[[listener]]\naddress = \"{taken}\"\n[[sink]]\nkind = \"discard\"\n[log]\nformat = \"json\"\n"
        ),
        "hostname = \"mx.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n[log]\nformat = \"json\"\nfile = \"none/log\"\n",
    ] {
        let said = said(folder.path(), config, |_, _| {});
        let records = records(&said.lines().map(str::to_owned).collect::<Vec<_>>());
        assert!(!of_event(&records, "error").is_empty(), "{config}\n{said}");
        assert!(of_event(&records, "error").iter().all(|error| error["level"] == "error"));
    }
}

#[test]
fn lines_have_a_priority_where_the_journal_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "unknown_key = 1\n";
    let plain = said(folder.path(), config, |_, _| {});
    let other = said(folder.path(), config, |command, _| {
        command.env("JOURNAL_STREAM", "1:1");
    });
    assert!(!plain.starts_with('<') && !other.starts_with('<'), "{plain}{other}");
    let journal = said(folder.path(), config, |command, stderr| {
        let facts = stderr.metadata().expect("its inode");
        command.env("JOURNAL_STREAM", format!("{}:{}", facts.dev(), facts.ino()));
    });
    assert!(journal.lines().count() > 1 && journal.lines().all(|line| line.starts_with("<3>2")), "{journal}");
}

#[test]
fn the_log_may_be_a_file_that_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ringmx.log");
    let config = format!("[log]\nfile = \"{}\"\n{DISCARD}", path.display());
    let file = folder.path().join("ringmx.toml");
    fs::write(&file, format!("hostname = \"mx.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{config}"))
        .expect("the configuration");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmx"))
        .args(["serve", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let wait_for = |path: &Path, word: &str| {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.contains(word) {
                return text;
            }
            assert!(start.elapsed() < Duration::from_mins(1), "no {word} in {}: {text}", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(&path, " ready");
    let id = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process id");
    let signal = |signal| rustix::process::kill_process(id, signal).expect("the signal is sent");
    let old = folder.path().join("ringmx.log.1");
    fs::rename(&path, &old).expect("moved");
    signal(rustix::process::Signal::USR1);
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_mins(1), "it is not opened again");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(rustix::process::Signal::TERM);
    assert!(child.wait().expect("it ends").success());
    assert!(wait_for(&path, " stopped").contains(" stopping"));
    assert!(!fs::read_to_string(old).expect("the old one").contains(" stopping"));
    let mut said = String::new();
    child.stderr.take().expect("standard error").read_to_string(&mut said).expect("text");
    assert_eq!(said, "");
}
