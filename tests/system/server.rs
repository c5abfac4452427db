//! A real server on real sockets: what a client sees, what is stored, what it costs, how it stops.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Client, stuffed};
use support::server::{Server, without_trace};

fn crlf(text: &[u8]) -> Vec<u8> {
    let unix = String::from_utf8_lossy(text).replace("\r\n", "\n");
    unix.replace('\n', "\r\n").into_bytes()
}

#[test]
fn a_message_is_stored_as_it_was_sent() {
    let server = Server::with_maildir("line_endings = \"crlf\"");
    let mut client = Client::greeted(server.address());
    let body = b"Subject: dots\r\n\r\n.\r\n..leading\r\n\x00\x80\xff\r\nno more\r\n";
    let reply = client.deliver("a@example.com", "b@example.org", body);
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let stored = server.maildir("mail");
    assert_eq!(stored.len(), 1);
    let trace = String::from_utf8_lossy(&stored[0][..stored[0].len() - body.len()]).into_owned();
    assert!(trace.starts_with(
        "Return-Path: <a@example.com>\r\nDelivered-To: b@example.org\r\nReceived: from client.example"
    ));
    assert!(
        trace.contains("([127.0.0.1]") && trace.contains("by mx.example.org") && trace.contains("with ESMTP"),
        "{trace}"
    );
    assert_eq!(without_trace(&stored[0]), body);
    client.command("QUIT", "221 2.0.0");
    client.expect_end();
}

#[test]
fn every_sink_takes_a_message() {
    for sink in [
        "kind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"",
        "kind = \"discard\"",
        "kind = \"stdout\"",
    ] {
        let server = Server::start(&format!("[[sink]]\n{sink}"));
        let mut client = Client::greeted(server.address());
        for _ in 0..20 {
            let reply = client.deliver("a@example.com", "b@example.org", b"Subject: x\r\n\r\ntext\r\n");
            assert!(reply.starts_with("250"), "{sink}: {reply}");
        }
    }
}

#[test]
fn mail_is_refused_before_the_disk_is_full() {
    // More than any disk has: nothing is left beyond the reserve.
    let server = Server::with_maildir("space_reserve = \"1000000GiB\"");
    let mut client = Client::greeted(server.address());
    client.command("EHLO client.example", "250");
    client.command("MAIL FROM:<a@example.com>", "452 4.3.1");
    client.command("MAIL FROM:<a@example.com> SIZE=0", "452 4.3.1");
    client.command("MAIL FROM:<a@example.com> SIZE=99999999999999999999", "552 5.3.4");
    server.wait_for_log(|line| line.contains("no space:"));
    assert_eq!(server.log().iter().filter(|line| line.contains("no space:")).count(), 1);

    // A large message does not fit what is left beyond this one, a small one does.
    let disk = rustix::fs::statvfs(server.folder()).expect("a file system");
    let reserve = disk.f_bavail * disk.f_frsize - (500 << 20);
    let server = Server::start(&format!(
        "[limits]\nmessage_size_max = \"1000MiB\"\n[shards]\nblock_memory = \"1100MiB\"\n[[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\nspace_reserve = {reserve}"
    ));
    let mut client = Client::greeted(server.address());
    client.command("EHLO client.example", "250");
    client.command("MAIL FROM:<a@example.com> SIZE=1000000000", "452 4.3.1");
    client.command("MAIL FROM:<a@example.com> SIZE=1000", "250 2.1.0");
}

#[test]
fn pipelined_transactions_are_answered_in_order() {
    let server = Server::start("[[sink]]\nkind = \"discard\"");
    let mut client = Client::greeted(server.address());
    let mut group = Vec::new();
    for _ in 0..200 {
        group.extend_from_slice(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<>\r\nRSET\r\n");
    }
    let mut writer = client.stream().try_clone().expect("a second handle");
    let sent = std::thread::spawn(move || writer.write_all(&group));
    for _ in 0..200 {
        client.expect("250 2.1.0");
        client.expect("250 2.1.5");
        let refused = client.reply();
        if refused.starts_with("421") {
            // 20 replies of 5yz are what a session may cost.
            drop(sent);
            return;
        }
        assert!(refused.starts_with("501"), "{refused}");
        client.expect("250 2.0.0");
    }
    panic!("the budget for errors was not kept");
}

#[test]
fn a_pool_of_64_buffers_serves_1000_clients_that_send_one_octet_a_segment() {
    const CLIENTS: usize = 1000;
    let server = Server::start(
        "[shards]\ncpus = [0]\nbuffers = 64\nbuffer_size = \"4KiB\"\nblock_memory = \"128MiB\"\n\
         [[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"\n[log]\nsessions = false\nmessages = false",
    );
    let body = b"Subject: slow\r\n\r\n.\r\nshort text\r\n";
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::greeted(server.address())).collect();
    let mut script = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n".to_vec();
    let commands = script.len();
    script.extend_from_slice(&stuffed(body));
    for (at, octet) in script.iter().enumerate() {
        for client in &mut clients {
            if at == commands {
                client.expect("250");
                client.expect("250");
                client.expect("354");
            }
            client.send(&[*octet]);
        }
    }
    for client in &mut clients {
        client.expect("250 2.0.0");
    }
    let stored = server.maildir("mail");
    assert_eq!(stored.len(), CLIENTS);
    assert!(stored.iter().all(|message| without_trace(message) == body));
}

#[test]
fn a_body_of_dots_costs_no_more_memory_than_one_of_text() {
    const BYTES: usize = 25 << 20;
    let grown = |line: &[u8]| {
        let server = Server::start("[shards]\ncpus = [0]\n[[sink]]\nkind = \"discard\"");
        let before = server.resident_bytes();
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@y.test>", "250");
        client.command("DATA", "354");
        client.send(&line.repeat(BYTES / line.len()));
        // All of it must have been received before memory is looked at.
        client.send(b".\r");
        std::thread::sleep(Duration::from_millis(500));
        let grown = server.resident_bytes() - before;
        client.send(b"\n");
        client.expect("250 2.0.0");
        grown
    };
    let text = grown(&[b"x".repeat(74).as_slice(), b"\r\n"].concat());
    let dots = grown(b"..\r\n");
    println!("resident memory grew by {text} octets for text, {dots} for dots");
    assert!(dots < text + (4 << 20), "text {text}, dots {dots}");
}

#[test]
fn ten_thousand_idle_connections_cost_less_than_2_kib_each() {
    const CONNECTIONS: usize = 10_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = (CONNECTIONS + 500) as u64;
    if limit.current.is_some_and(|current| current < wanted) {
        assert!(std::env::var_os("CI").is_none(), "CI needs {wanted} file descriptors");
        println!("skipped: needs {wanted} file descriptors, `ulimit -n` is {:?}", limit.current);
        return;
    }
    let server = Server::start(
        "[shards]\nconnections_max = 12000\n[[sink]]\nkind = \"discard\"\n[log]\nsessions = false",
    );
    let before = server.resident_bytes();
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::greeted(server.address())).collect();
    let each = (server.resident_bytes() - before) / clients.len() as u64;
    println!("{each} octets an idle connection");
    assert!(each < 2048, "{each}");
}

#[test]
fn memory_does_not_grow_with_the_number_of_messages() {
    let server = Server::start("[[sink]]\nkind = \"discard\"\n[log]\nmessages = false");
    let mut client = Client::greeted(server.address());
    let body = [b"Subject: x\r\n\r\n".to_vec(), crlf(&b"text text text\n".repeat(300))].concat();
    let mut deliver = |count: usize| {
        for _ in 0..count {
            let reply = client.deliver("a@x.test", "b@y.test", &body);
            assert!(reply.starts_with("250"), "{reply}");
        }
        server.resident_bytes()
    };
    let early = deliver(1000);
    let late = deliver(4000);
    println!("resident after 1,000 messages {early}, after 5,000 {late}");
    assert!(late < early + (512 << 10), "{early} -> {late}");
}

#[test]
fn sigterm_lets_a_transaction_finish_and_answers_421_to_the_rest() {
    let mut server = Server::with_maildir("");
    let mut idle = Client::greeted(server.address());
    let mut busy = Client::greeted(server.address());
    busy.command("MAIL FROM:<a@x.test>", "250");
    busy.command("RCPT TO:<b@y.test>", "250");
    busy.command("DATA", "354");
    busy.send(b"Subject: under way\r\n\r\n");
    server.signal(rustix::process::Signal::TERM);
    idle.expect("421 4.3.2");
    idle.expect_end();
    busy.send(b"the end\r\n.\r\n");
    busy.expect("250 2.0.0");
    busy.expect("421 4.3.2");
    busy.expect_end();
    assert!(server.wait().success());
    assert_eq!(server.maildir("mail").len(), 1);
}

#[test]
fn a_server_that_was_killed_or_stopped_can_be_started_again_at_once() {
    let mut server = Server::start("[[sink]]\nkind = \"discard\"");
    let config = format!("[[listener]]\naddress = \"{}\"\n[[sink]]\nkind = \"discard\"", server.address());
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL, rustix::process::Signal::INT]
    {
        let mut client = Client::greeted(server.address());
        client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\n");
        server.signal(signal);
        server.wait();
        server = Server::start_whole(&config);
    }
}

#[test]
fn a_second_server_on_the_same_address_or_store_is_refused() {
    let first = Server::with_maildir("");
    let second = |config: &str| {
        let file = first.folder().join("second.toml");
        fs::write(&file, config).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_ringmx"))
            .args(["serve", "--config"])
            .arg(&file)
            .current_dir(first.folder())
            .output()
            .expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let address = first.address();
    let same_address =
        second(&format!("[[listener]]\naddress = \"{address}\"\n[[sink]]\nkind = \"discard\""));
    assert!(
        same_address.contains(&address.to_string()) && same_address.contains("ss -ltnp"),
        "{same_address}"
    );
    let same_store =
        second("[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"");
    assert!(same_store.contains("mail") && same_store.contains("another"), "{same_store}");
}

#[test]
fn a_client_that_never_reads_is_no_burden() {
    let server = Server::start(
        "[[sink]]\nkind = \"discard\"\n[limits]\ncommand_timeout = \"2s\"\nidle_commands_max = 1000000",
    );
    let before = server.resident_bytes();
    let mut deaf = TcpStream::connect(server.address()).expect("connected");
    deaf.set_nonblocking(true).expect("nonblocking");
    let noops = b"NOOP\r\n".repeat(10_000);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        let _ = deaf.write(&noops);
    }
    let grown = server.resident_bytes() - before;
    println!("resident memory grew by {grown} octets for a client that never reads");
    // Were they not, it would grow by what the client sent: some hundred MiB.
    assert!(grown < 8 << 20, "unread replies are bounded: {grown}");
    server.wait_for_log(|line| line.contains(" session ") && line.contains("127.0.0.1"));
}

#[test]
fn a_message_whose_end_never_comes_is_not_stored() {
    let server = Server::with_maildir("");
    for half in [&b"Subject: half\r\n\r\ntext"[..], b"text\r\n.", b"text\r\n.\r"] {
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@y.test>", "250");
        client.command("DATA", "354");
        client.send(half);
        client.stream().shutdown(std::net::Shutdown::Write).expect("half closed");
        client.expect_end();
    }
    assert_eq!(server.maildir("mail").len(), 0);
}

/// Discards what it takes, and believes fronts on loopback.
fn server_behind_fronts(more: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n{more}\n\
         [[sink]]\nkind = \"discard\"\n[limits]\nconnections_per_client_max = 2\n"
    ))
}

#[test]
fn a_client_has_so_many_connections_over_all_shards() {
    let server = server_behind_fronts("proxy_from = [\"127.0.0.1\"]");
    let connect = |address: &str| {
        let mut client = Client::connect(server.address());
        client.send(format!("PROXY TCP6 {address} ::1 4321 25\r\n").as_bytes());
        client
    };
    let turned_away = |address: &str| {
        let mut client = connect(address);
        client.expect("421 4.3.2");
        client.expect_end();
    };
    let [mut first, mut second] = ["2001:db8::1", "2001:db8::2"].map(connect);
    first.expect("220");
    second.expect("220");
    // An IPv6 client is its /64, and shards count together.
    for _ in 0..8 {
        turned_away("2001:db8::3");
    }
    connect("2001:db8:0:1::1").expect("220");
    first.command("QUIT", "221");
    first.expect_end();
    drop(first);
    server.wait_for_log(|line| line.contains(" session ") && line.contains("[2001:db8::1]:4321"));
    let mut third = connect("2001:db8::4");
    third.expect("220");
    turned_away("2001:db8::5");
    second.command("NOOP", "250");
    // The first of those that were turned away in a second has a line.
    let line = server.wait_for_log(|line| line.contains(" session ") && line.contains("[2001:db8::3]:4321"));
    assert!(line.contains("front=127.0.0.1:"), "{line}");
}

#[test]
fn a_client_that_xclient_names_is_counted_until_another_is_named() {
    let server = server_behind_fronts("xclient_from = [\"127.0.0.1\"]");
    let mut fronts: Vec<Client> = (0..3).map(|_| Client::greeted(server.address())).collect();
    fronts[0].command("XCLIENT ADDR=192.0.2.1", "220");
    fronts[1].command("XCLIENT ADDR=192.0.2.1", "220");
    fronts[0].command("XCLIENT ADDR=192.0.2.2", "220");
    fronts[2].command("XCLIENT ADDR=192.0.2.1", "220");
    fronts[0].command("XCLIENT ADDR=192.0.2.1", "421 4.3.2");
    fronts[0].expect_end();
}

#[test]
fn octets_that_are_there_before_the_greeting_are_early() {
    let server = Server::start("[[sink]]\nkind = \"discard\"");
    for _ in 0..20 {
        // While the server stands still, the kernel takes the connection and the octets.
        server.signal(rustix::process::Signal::STOP);
        wait_until_stopped(server.id());
        let mut early = Client::connect(server.address());
        early.send(b"EHLO client.example\r\n");
        server.signal(rustix::process::Signal::CONT);
        early.expect("220");
        early.expect("554 5.5.0");
        early.expect_end();
    }
}

/// Waits until all threads of a process stand still.
fn wait_until_stopped(process: u32) {
    let stands = |status: String| status.lines().any(|line| line.starts_with("State:\tT"));
    let all_stand = || {
        let mut tasks = fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
        tasks.all(|task| fs::read_to_string(task.expect("a thread").path().join("status")).is_ok_and(stands))
    };
    while !all_stand() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clients_that_wait_are_never_taken_for_early_ones() {
    let server = Server::start("[[sink]]\nkind = \"discard\"\n[log]\nsessions = false");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let mut client = Client::greeted(server.address());
                    client.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
                    client.expect("250");
                    client.expect("250");
                    client.expect("354");
                    client.send(b"text\r\n.\r\nQUIT\r\n");
                    client.expect("250");
                    client.expect("221");
                }
            });
        }
    });
}

#[test]
fn octets_behind_an_unanswered_data_are_no_message() {
    let server = Server::with_maildir("");
    let mut hasty = Client::greeted(server.address());
    hasty.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nSubject: x\r\n\r\n");
    hasty.send(&b"text\r\n".repeat(20_000));
    hasty.expect("250");
    hasty.expect("250");
    hasty.expect("554 5.5.0");
    assert_eq!(server.maildir("mail").len(), 0);
}

#[test]
fn a_log_in_json_has_the_numbers_and_booleans_of_json() {
    let config = "[[sink]]\nkind = \"discard\"\n[tls]\nself_signed = true\n[log]\nformat = \"json\"\n";
    let mut server = Server::start(config);
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
    drop(client);
    server.wait_for_log(|line| line.contains("\"session\""));
    assert!(server.stop().success());
    let record = |event: &str| -> serde_json::Value {
        let parsed = server.log().into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
        parsed.into_iter().find(|record: &serde_json::Value| record["event"] == event).expect("a record")
    };
    let message = record("message");
    assert_eq!(
        (&message["told"], message["bytes"].is_u64()),
        (&serde_json::Value::Bool(true), true),
        "{message}"
    );
    assert!(
        record("shards")["cpus"].as_array().is_some_and(|cpus| cpus.iter().all(serde_json::Value::is_u64))
    );
    assert!(record("session")["accepted"].is_u64());
}
