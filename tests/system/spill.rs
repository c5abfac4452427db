//! Large and slow messages: they move to temporary files, so memory stays bounded and every one of them
//! arrives to the octet.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{Client, stuffed};
use support::load::{loadgen, verify};
use support::server::{Server, without_trace};

/// Mail data of about so many octets that differs from line to line and from client to client.
fn body(number: usize, bytes: usize) -> Vec<u8> {
    let mut body = format!("Subject: client {number}\r\n\r\n").into_bytes();
    let mut line = 0_usize;
    while body.len() < bytes {
        let dots = ".".repeat(line % 3);
        body.extend_from_slice(format!("{dots}client {number} line {line} of a long message\r\n").as_bytes());
        line += 1;
    }
    body
}

/// Small memory: one shard with 4 MiB for copied mail data and a pool of 1 MiB.
const SMALL: &str = "[shards]\ncpus = [0]\nbuffers = 64\nbuffer_size = \"16KiB\"\nblock_memory = \"5MiB\"\n\
                     [log]\nsessions = false\n";

fn begin(client: &mut Client) {
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.command("DATA", "354");
}

/// Sends all bodies at once, a little of each at a time, and gives the replies.
fn trickle(server: &Server, bodies: &[Vec<u8>], step: usize) -> Vec<String> {
    let mut clients: Vec<Client> = bodies.iter().map(|_| Client::greeted(server.address())).collect();
    clients.iter_mut().for_each(begin);
    let scripts: Vec<Vec<u8>> = bodies.iter().map(|body| stuffed(body)).collect();
    let longest = scripts.iter().map(Vec::len).max().unwrap_or_default();
    for at in (0..longest).step_by(step) {
        for (client, script) in clients.iter_mut().zip(&scripts) {
            let end = script.len().min(at + step);
            client.send(script.get(at..end).unwrap_or_default());
        }
    }
    clients.iter_mut().map(Client::reply).collect()
}

fn spill_files(server: &Server) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its open files");
    let links = open.filter_map(|entry| fs::read_link(entry.expect("entry").path()).ok());
    // A file without a name is shown as `/directory/#inode (deleted)`.
    links.filter(|link| link.to_string_lossy().ends_with("(deleted)")).count()
}

fn wait_for_no_spill_files(server: &Server) {
    let start = Instant::now();
    while spill_files(server) > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{} spill files stay open", spill_files(server));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn counter(server: &mut Server, name: &str) -> u64 {
    assert!(server.stop().success());
    let line = server.wait_for_log(|line| line.contains(" stopped"));
    let value = line.split(&format!("{name}=")).nth(1).and_then(|rest| rest.split_whitespace().next());
    // One that is 0 is left out.
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn what_a_disk_lost_of_a_temporary_file_is_never_stored() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\n";
    for (kind, size) in [("maildir", 2 << 20), ("spool", 900_000), ("spool", 2 << 20)] {
        let sink = format!("[[sink]]\nkind = \"{kind}\"\npath = \"mail\"\n");
        let server = Server::start(&format!("{SMALL}{limits}{sink}"));
        let mut client = Client::greeted(server.address());
        begin(&mut client);
        let script = stuffed(&body(0, size));
        let (most, end) = script.split_at(script.len() - 1000);
        for part in most.chunks(20_000) {
            client.send(part);
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(300));
        // As the page cache is once a page could not be written and was given up: without an error for who
        // reads.
        let open = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its open files");
        let mut damaged = 0;
        for path in open.map(|entry| entry.expect("entry").path()) {
            if fs::read_link(&path).is_ok_and(|link| link.to_string_lossy().ends_with("(deleted)")) {
                let file = fs::OpenOptions::new().write(true).open(&path).expect("a spill file");
                file.write_all_at(&[0; 4096], 64 * 1024).expect("written");
                damaged += 1;
            }
        }
        assert_eq!(damaged, 1, "{kind} {size}");
        client.send(end);
        let reply = client.reply();
        let store = server.folder().join("mail");
        if kind == "spool" && size > 1 << 20 {
            // The sync of a file that is kept would have failed; its checksum tells who reads.
            assert!(reply.starts_with("250"), "{reply}");
            let verified =
                Command::new(env!("CARGO_BIN_EXE_ringmx")).args(["spool", "verify"]).arg(&store).output();
            assert!(!verified.expect("ringmx runs").status.success());
            continue;
        }
        assert!(reply.starts_with("451"), "{kind} {size}: {reply}");
        // The next one of the connection is stored.
        let reply = client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\ntext\r\n");
        assert!(reply.starts_with("250"), "{kind} {size}: {reply}");
    }
}

#[test]
fn a_hundred_slow_messages_that_do_not_fit_memory_are_stored_to_the_octet() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\n";
    let bodies: Vec<Vec<u8>> = (0..100).map(|number| body(number, 2 << 20)).collect();
    for line_endings in ["crlf", "lf"] {
        let sink =
            format!("[[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"{line_endings}\"");
        let mut server = Server::start(&format!("{SMALL}{limits}{sink}"));
        for reply in trickle(&server, &bodies, 10_000) {
            assert!(reply.starts_with("250 "), "{reply}");
        }
        wait_for_no_spill_files(&server);
        let mut stored: Vec<Vec<u8>> =
            server.maildir("mail").iter().map(|message| without_trace(message).to_vec()).collect();
        let mut sent: Vec<Vec<u8>> = bodies.clone();
        if line_endings == "lf" {
            for body in &mut sent {
                body.retain(|octet| *octet != b'\r');
            }
        }
        stored.sort();
        sent.sort();
        assert!(stored == sent, "{line_endings}: a message is lost or altered");
        assert!(counter(&mut server, "spills") > 100, "it was more than memory holds");
    }
}

#[test]
fn stdout_and_discard_take_slow_messages_too() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\n";
    let bodies: Vec<Vec<u8>> = (0..20).map(|number| body(number, 1 << 20)).collect();
    for sink in ["kind = \"stdout\"", "kind = \"discard\""] {
        let server = Server::start(&format!("{SMALL}{limits}[[sink]]\n{sink}"));
        for reply in trickle(&server, &bodies, 10_000) {
            assert!(reply.starts_with("250 "), "{sink}: {reply}");
        }
        if sink.contains("stdout") {
            let mut stored: Vec<Vec<u8>> = server
                .output(bodies.len())
                .iter()
                .map(|line| {
                    let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    let data = object["data_base64"].as_str().expect("base 64").as_bytes();
                    let content = data_encoding::BASE64.decode(data).expect("base 64");
                    let start = content.windows(8).position(|part| part == b"Subject:").expect("a subject");
                    content[start..].to_vec()
                })
                .collect();
            stored.sort();
            let mut sent = bodies.clone();
            sent.sort();
            assert!(stored == sent, "a message is lost or altered");
        }
    }
}

#[test]
fn the_spool_keeps_slow_messages_to_the_octet() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\n";
    let bodies: Vec<Vec<u8>> = (0..20).map(|number| body(number, 1 << 20)).collect();
    let mut server = Server::start(&format!(
        "{SMALL}{limits}[[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\""
    ));
    for reply in trickle(&server, &bodies, 10_000) {
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert!(counter(&mut server, "spills") > 20);
    let segments: Vec<Vec<u8>> = fs::read_dir(server.folder().join("spool"))
        .expect("the spool")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).expect("a segment"))
        .collect();
    for body in &bodies {
        let found = segments.iter().any(|segment| memchr::memmem::find(segment, body).is_some());
        assert!(found, "a message is lost or altered");
    }
}

#[test]
fn large_messages_of_the_spool_are_files_until_they_are_consumed() {
    let limits = "[limits]\nmessage_size_max = \"32MiB\"\n";
    let memory = SMALL.replace("5MiB", "40MiB");
    let mut server = Server::start(&format!("{memory}{limits}[[sink]]\nkind = \"spool\"\npath = \"spool\""));
    let spool = server.folder().join("spool");
    let bodies = [body(0, 25 << 20), body(1, 10 << 20), body(2, 14 << 20), body(3, 5000)];
    for reply in trickle(&server, &bodies, 1 << 20) {
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let ledger = server.folder().join("ledger");
    let mut load = Command::new(loadgen());
    load.arg(server.address().to_string()).arg("--ledger").arg(&ledger);
    load.args(["--messages", "3", "--connections", "3", "--size", "12MiB"]);
    assert!(load.stdout(Stdio::null()).status().expect("loadgen runs").success());
    let verdict = verify(&ledger, "spool", &spool, &[]);
    assert!(verdict.holds && verdict.accepted == 3, "{}", verdict.text);
    assert!(counter(&mut server, "spills") > 20);

    let files = || {
        let names = fs::read_dir(&spool).expect("the spool").map(|entry| entry.expect("entry").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".message")).count()
    };
    assert_eq!(files(), 6);
    let ringmx = |arguments: &[&str], more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
        let output = command.arg("spool").args(arguments).arg(&spool).args(more).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let verified = String::from_utf8(ringmx(&["verify"], &[])).expect("text");
    assert!(verified.contains("0 torn writes, 0 files without a record, 0 damages"), "{verified}");
    let list = String::from_utf8(ringmx(&["list"], &[])).expect("text");
    let shown: Vec<Vec<u8>> =
        list.lines().map(|line| ringmx(&["show"], &[line.split(' ').next().expect("an id")])).collect();
    for body in &bodies {
        assert!(shown.iter().any(|shown| shown.ends_with(body)), "a message is lost or altered");
    }

    // Another receiver takes the spool over; once all but its own segment is consumed the files go.
    let config = format!("[[sink]]\nkind = \"spool\"\npath = \"{}\"", spool.display());
    let server = Server::start(&config);
    assert_eq!(files(), 6, "a start removes no file that a record names");
    let reply = Client::greeted(server.address()).deliver("a@x.test", "b@y.test", b"Subject: last\r\n\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    let list = String::from_utf8(ringmx(&["list"], &[])).expect("text");
    let last = list.lines().last().and_then(|line| line.split(' ').next_back()).expect("a cursor");
    ringmx(&["prune"], &["--through", last]);
    let start = Instant::now();
    while files() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{} files stay", files());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_used_up_budget_for_files_is_451_and_passes() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\nspill_files_max = 4\n";
    let sink = "[[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"";
    let server = Server::start(&format!("{SMALL}{limits}{sink}"));
    let bodies: Vec<Vec<u8>> = (0..20).map(|number| body(number, 1 << 20)).collect();
    let replies = trickle(&server, &bodies, 10_000);
    let accepted = replies.iter().filter(|reply| reply.starts_with("250 ")).count();
    let refused = replies.iter().filter(|reply| reply.starts_with("451 4.3.2")).count();
    assert!(accepted >= 4 && refused > 0 && accepted + refused == bodies.len(), "{replies:?}");
    assert_eq!(server.maildir("mail").len(), accepted, "what was refused leaves nothing");
    wait_for_no_spill_files(&server);
    let replies = trickle(&server, &bodies[..4], 10_000);
    assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "it is as before: {replies:?}");
}

#[test]
fn a_slow_message_that_is_cut_off_leaves_nothing() {
    let limits = "[limits]\nmessage_size_max = \"4MiB\"\n";
    let sink = "[[sink]]\nkind = \"maildir\"\npath = \"mail\"";
    let server = Server::start(&format!("{SMALL}{limits}{sink}"));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::greeted(server.address())).collect();
    clients.iter_mut().for_each(begin);
    for _ in 0..100 {
        for client in &mut clients {
            client.send(&[b'x'; 10_000]);
        }
    }
    let start = Instant::now();
    while spill_files(&server) < 10 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(spill_files(&server) >= 10, "they are in files now");
    drop(clients);
    wait_for_no_spill_files(&server);
    let tmp = server.folder().join("mail/tmp");
    let left = fs::read_dir(tmp).map(Iterator::count).unwrap_or_default();
    assert_eq!((server.maildir("mail").len(), left), (0, 0));
}

/// The most resident memory that the server had, in MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn judged(sink: &str) -> Server {
    Server::start(&format!("[[sink]]\n{sink}\n[log]\nsessions = false\nmessages = false"))
}

const SINKS: [&str; 3] =
    ["kind = \"maildir\"\npath = \"mail\"", "kind = \"spool\"\npath = \"spool\"", "kind = \"discard\""];

#[test]
#[ignore = "moves 10 GB a sink; see tests/README.md"]
fn a_thousand_slow_messages_of_10_mib_take_less_than_300_mib() {
    const BYTES: usize = 10 << 20;
    const STEP: usize = 32 << 10;
    let script = stuffed(&body(0, BYTES));
    for sink in SINKS {
        let server = judged(sink);
        let start = Instant::now();
        let mut clients: Vec<Client> = (0..1000).map(|_| Client::greeted(server.address())).collect();
        clients.iter_mut().for_each(begin);
        for client in &clients {
            // 10 GB have to reach the disk before the last reply.
            client.stream().set_read_timeout(Some(Duration::from_mins(4))).expect("a time-out");
        }
        for part in script.chunks(STEP) {
            for client in &mut clients {
                client.send(part);
            }
        }
        let accepted =
            clients.iter_mut().map(Client::reply).filter(|reply| reply.starts_with("250 ")).count();
        let (peak, took) = (peak_mib(&server), start.elapsed());
        println!("{sink:?}: {accepted} of 1,000 accepted, peak {peak} MiB, {took:.0?}");
        assert!(accepted == 1000 && peak < 300, "{sink}: {accepted} accepted, {peak} MiB");
    }
}

#[test]
#[ignore = "measures memory; see tests/README.md"]
fn twenty_messages_of_25_mib_at_full_speed_take_less_than_500_mib() {
    let script = stuffed(&body(0, 25 << 20));
    for sink in SINKS {
        let server = judged(sink);
        let mut clients: Vec<Client> = (0..20).map(|_| Client::greeted(server.address())).collect();
        clients.iter_mut().for_each(begin);
        let start = Instant::now();
        let accepted = std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    scope.spawn(|| {
                        client.stream().write_all(&script).expect("sent");
                        client.reply().starts_with("250 ")
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|accepted| *accepted).count()
        });
        let (peak, took) = (peak_mib(&server), start.elapsed());
        println!("{sink:?}: {accepted} of 20 accepted, peak {peak} MiB, {took:.1?}");
        assert!(accepted == 20 && peak < 500, "{sink}: {accepted} accepted, {peak} MiB");
    }
}
