//! TLS of the whole program: a real server on loopback, clients of rustls, of others, and clients that cheat.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::tls::self_signed;
use support::client::Client;
use support::secure::{Secure, begin, behind_starttls, command, connect, reply, secure};
use support::server::{Server, without_trace};

/// STARTTLS, and TLS from the first octet.
const LISTENERS: &str = "[tls]\nself_signed = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\n\
     address = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
     [[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"\n";

/// The same, and handshakes have little time: for tests that wait until it is over, and have none that should
/// succeed.
fn impatient() -> Server {
    Server::start_whole(&format!("{LISTENERS}[limits]\ntls_handshake_timeout = \"2s\"\n"))
}

#[test]
fn messages_of_every_size_arrive_whole_in_both_ways() {
    let server = Server::start_whole(LISTENERS);
    let mut sent = Vec::new();
    let implicit = {
        let mut client = secure(connect(server.addresses()[1]));
        assert!(reply(&mut client).starts_with("220"));
        command(&mut client, b"EHLO client.example\r\n", "250");
        client
    };
    for (round, mut client) in [behind_starttls(&server), implicit].into_iter().enumerate() {
        for lines in [0, 1, 200, 30_000] {
            let body = [
                format!("Subject: {round} {lines}\r\n\r\n").into_bytes(),
                b"text of a line\r\n".repeat(lines),
            ];
            let body = body.concat();
            begin(&mut client);
            command(&mut client, b"DATA\r\n", "354");
            command(&mut client, &[body.as_slice(), b".\r\n"].concat(), "250 2.0.0");
            begin(&mut client);
            let chunk = format!("BDAT {} LAST\r\n", body.len()).into_bytes();
            command(&mut client, &[chunk.as_slice(), &body].concat(), "250 2.0.0");
            sent.extend([body.clone(), body]);
        }
        command(&mut client, b"QUIT\r\n", "221");
        // close_notify, then the end.
        assert_eq!(client.read(&mut [0; 10]).expect("a clean end"), 0);
    }
    let mut stored: Vec<Vec<u8>> =
        server.maildir("mail").iter().map(|mail| without_trace(mail).to_vec()).collect();
    assert!(server.maildir("mail").iter().all(|mail| {
        let text = String::from_utf8_lossy(&mail[..500.min(mail.len())]).into_owned();
        text.contains("with ESMTPS\r\n\t(TLSv1.3 TLS_")
    }));
    stored.sort();
    sent.sort();
    assert!(stored == sent, "{} stored, {} sent", stored.len(), sent.len());
}

#[test]
fn plaintext_behind_starttls_is_never_obeyed() {
    let server = Server::start_whole(LISTENERS);
    let injected = b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<b@y.test>\r\n";
    let mut client = Client::greeted(server.addresses()[0]);
    client.send(injected);
    client.expect("554 5.5.0");
    client.expect_end();
    // Half a line is enough.
    let mut client = Client::greeted(server.addresses()[0]);
    client.send(b"STARTTLS\r\nM");
    client.expect("554 5.5.0");
    client.expect_end();
    // In place of a handshake: an alert is all that comes.
    let mut client = Client::greeted(server.addresses()[0]);
    client.command("STARTTLS", "220");
    client.send(b"EHLO again\r\nMAIL FROM:<evil@x.test>\r\n");
    let mut rest = Vec::new();
    let _ = client.stream().read_to_end(&mut rest);
    assert!(!rest.windows(3).any(|octets| octets == b"250"), "{}", rest.escape_ascii());
    // Plaintext on the port of implicit TLS.
    let mut stream = connect(server.addresses()[1]);
    stream.write_all(b"EHLO client.example\r\n").expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.windows(3).any(|octets| octets == b"250" || octets == b"220"), "{}", rest.escape_ascii());
    assert_eq!(server.maildir("mail").len(), 0);
}

#[test]
fn a_stream_that_is_cut_stores_nothing() {
    let server = Server::start_whole(LISTENERS);
    for (octets, expected) in
        [(&b"DATA\r\n"[..], "354"), (b"BDAT 100000 LAST\r\nsome of it", ""), (b"BDAT 5\r\nabcde", "250")]
    {
        for polite in [false, true] {
            let mut client = behind_starttls(&server);
            begin(&mut client);
            client.write_all(octets).expect("sent");
            if !expected.is_empty() {
                assert!(reply(&mut client).starts_with(expected));
            }
            client.write_all(b"Subject: never\r\n\r\ntext\r\n").expect("sent");
            if polite {
                client.conn.send_close_notify();
            }
            client.flush().expect("sent");
            drop(client);
        }
    }
    // A record that stops in its middle.
    let mut client = behind_starttls(&server);
    begin(&mut client);
    command(&mut client, b"DATA\r\n", "354");
    client.conn.writer().write_all(b"Subject: never\r\n\r\n.\r\n").expect("memory");
    let mut wire = Vec::new();
    client.conn.write_tls(&mut wire).expect("memory");
    client.sock.write_all(&wire[..wire.len() - 1]).expect("sent");
    drop(client);
    // All of them are over when a session after them is.
    let mut last = behind_starttls(&server);
    command(&mut last, b"QUIT\r\n", "221");
    server.wait_for_log(|_| server.log().iter().filter(|line| line.contains(" session ")).count() >= 8);
    assert_eq!(server.maildir("mail").len(), 0);
}

#[test]
fn octets_may_arrive_in_any_pieces() {
    let server = Server::start_whole(LISTENERS);
    let mut client = behind_starttls(&server);
    begin(&mut client);
    command(&mut client, b"DATA\r\n", "354");
    let body = b"text of a line\r\n".repeat(200);
    client.conn.writer().write_all(&[body.as_slice(), b".\r\n"].concat()).expect("memory");
    let mut wire = Vec::new();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut wire).expect("memory");
    }
    // Headers of records included: 1, 2, 3 … octets at a time.
    let mut rest = &wire[..];
    for count in 1.. {
        let (now, later) = rest.split_at(count.min(rest.len()));
        client.sock.write_all(now).expect("sent");
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert!(reply(&mut client).starts_with("250 2.0.0"));
}

#[test]
fn a_handshake_that_stops_frees_everything_at_its_deadline() {
    let server = impatient();
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its descriptors").count();
    let before = descriptors();
    // A record's header that announces more than comes.
    let clients: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(server.addresses()[1]);
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").expect("sent");
            stream
        })
        .collect();
    for mut client in &clients {
        assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0, "nothing is said");
    }
    drop(clients);
    let start = Instant::now();
    while descriptors() > before && start.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn a_handshake_message_that_stops_between_records_harms_nobody() {
    let server = impatient();
    // A whole record with the beginning of a ClientHello; then nothing, the end, or nonsense.
    let begun = b"\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03";
    let begin = || {
        let mut stream = connect(server.addresses()[1]);
        stream.write_all(begun).expect("sent");
        stream
    };
    let mut silent = begin();
    drop(begin());
    let mut nonsense = begin();
    nonsense.write_all(b"EHLO client.example\r\n").expect("sent");
    let mut alert = Vec::new();
    let _ = nonsense.read_to_end(&mut alert);
    assert!(alert.starts_with(b"\x15\x03"), "{}", alert.escape_ascii());
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0, "the deadline");
    Client::greeted(server.addresses()[0]).command("NOOP", "250");
}

#[test]
fn many_handshakes_at_once_all_end_and_others_are_served() {
    let server = Server::start_whole(LISTENERS);
    let (plain, address) = (server.addresses()[0], server.addresses()[1]);
    let flood: Vec<_> = (0..60)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = secure(connect(address));
                assert!(reply(&mut client).starts_with("220"));
            })
        })
        .collect();
    let mut client = Client::greeted(plain);
    client.command("NOOP", "250");
    for client in flood {
        client.join().expect("greeted");
    }
}

#[test]
fn clients_that_say_all_and_close_their_half_are_answered_though_their_handshakes_wait() {
    const CLIENTS: usize = 40;
    let server = Server::start_whole(LISTENERS);
    let address = server.addresses()[0];
    let ready = Arc::new(std::sync::Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let ready = Arc::clone(&ready);
            std::thread::spawn(move || {
                let mut client = Client::greeted(address);
                client.command("STARTTLS", "220");
                let mut secure = secure(client.stream().try_clone().expect("a descriptor"));
                let mut wire = Vec::new();
                // Up to the client's last flight, which stays here.
                while secure.conn.is_handshaking() {
                    while secure.conn.wants_write() {
                        secure.conn.write_tls(&mut wire).expect("memory");
                    }
                    secure.sock.write_all(&std::mem::take(&mut wire)).expect("sent");
                    secure.conn.read_tls(&mut secure.sock).expect("its flight");
                    secure.conn.process_new_packets().expect("good records");
                }
                secure.conn.writer().write_all(b"NOOP\r\nQUIT\r\n").expect("memory");
                while secure.conn.wants_write() {
                    secure.conn.write_tls(&mut wire).expect("memory");
                }
                ready.wait();
                secure.sock.write_all(&wire).expect("sent");
                secure.sock.shutdown(std::net::Shutdown::Write).expect("closed");
                let mut replies = Vec::new();
                let _ = secure.read_to_end(&mut replies);
                String::from_utf8(replies).expect("ASCII")
            })
        })
        .collect();
    for client in clients {
        let replies = client.join().expect("replies");
        assert!(replies.contains("\r\n221 "), "{replies:?}");
    }
}

#[test]
fn tls_begins_behind_the_header_of_a_front() {
    let fronts = "tls = \"implicit\"\nproxy_from = [\"127.0.0.0/8\"]";
    let config = format!("domains = [\"y.test\"]\n{}", LISTENERS.replace("tls = \"implicit\"", fronts));
    let server = Server::start_whole(&config);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n";
    // The header and the ClientHello in one segment, in two, and cut anywhere.
    for cut in [0, header.len(), 9, header.len() + 3] {
        let mut client = secure(connect(server.addresses()[1]));
        let mut first = header.to_vec();
        client.conn.write_tls(&mut first).expect("memory");
        let (now, later) = first.split_at(cut);
        client.sock.write_all(now).expect("sent");
        client.sock.write_all(later).expect("sent");
        assert!(reply(&mut client).starts_with("220"));
        command(&mut client, b"EHLO client.example\r\n", "250");
        command(&mut client, b"QUIT\r\n", "221");
        server.wait_for_log(|line| {
            line.contains(" client=192.0.2.7:4711 front=127.0.0.1:") && line.contains(" tls=TLSv1.3 ")
        });
    }
    // Without a header there is no handshake, and with one nothing but a handshake.
    for octets in
        [&b"\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03"[..], b"PROXY UNKNOWN\r\nEHLO client.example\r\n"]
    {
        let mut stream = connect(server.addresses()[1]);
        stream.write_all(octets).expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"2") && !rest.starts_with(b"5"), "{}", rest.escape_ascii());
    }
    server.wait_for_log(|line| line.contains(" tls_failed=not-tls "));
}

/// A command, close_notify and the end of the stream, all at once.
#[test]
fn who_says_that_nothing_follows_is_answered() {
    let server = Server::start_whole(LISTENERS);
    let mut client = behind_starttls(&server);
    client.conn.writer().write_all(b"NOOP\r\nMAIL FROM:<a@x.test>\r\n").expect("memory");
    client.conn.send_close_notify();
    client.flush().expect("sent");
    client.sock.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut replies = Vec::new();
    // To the server's own close_notify.
    client.read_to_end(&mut replies).expect("a clean end");
    let replies = String::from_utf8(replies).expect("ASCII");
    assert!(replies.starts_with("250 2.0.0") && replies.contains("\r\n250 2.1.0"), "{replies:?}");
}

#[test]
fn certificates_are_read_again_and_a_bad_one_is_not_taken() {
    let make = |name: &str| self_signed::make(&[name.to_owned()]).expect("made");
    let old = make("old.example");
    let config =
        LISTENERS.replace("self_signed = true", "[[tls.certificate]]\nchain = \"mx.pem\"\nkey = \"mx.key\"");
    let files = [("mx.pem", old.chain.as_str()), ("mx.key", old.key.as_str())];
    let server = Server::start_with_files(&config, &files);
    let shown = || {
        let mut client = behind_starttls(&server);
        command(&mut client, b"NOOP\r\n", "250");
        client.conn.peer_certificates().expect("one")[0].to_vec()
    };
    let mut session = behind_starttls(&server);
    let first = shown();
    let write = |name: &str, text: &str| std::fs::write(server.folder().join(name), text).expect("written");
    write("mx.pem", "nonsense");
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log(|line| line.contains("not-reloaded"));
    assert!(shown() == first);
    let new = make("new.example");
    write("mx.key", &new.key);
    write("mx.pem", &new.chain);
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log(|line| line.contains(" reloaded generation=2"));
    assert!(shown() != first);
    command(&mut session, b"NOOP\r\n", "250");
}

/// What idle sessions cost the server, each.
fn idle_session_bytes(count: u64) -> u64 {
    let server = Server::start_whole(LISTENERS);
    // Caches that are made once.
    drop(behind_starttls(&server));
    let before = server.resident_bytes();
    let sessions: Vec<Secure> = (0..count).map(|_| behind_starttls(&server)).collect();
    let each = server.resident_bytes().saturating_sub(before) / count;
    println!("{each} octets an idle session under TLS, of {count}");
    drop(sessions);
    each
}

#[test]
fn an_idle_session_under_tls_costs_less_than_32_kib() {
    let each = idle_session_bytes(300);
    assert!(each < 32 * 1024, "{each}");
}

/// `cargo test --test system tls -- --ignored --nocapture`; it needs 5,000 file descriptors.
#[test]
#[ignore = "for figures: half a minute"]
fn five_thousand_idle_sessions_under_tls() {
    let each = idle_session_bytes(5000);
    assert!(each < 32 * 1024, "{each}");
}
