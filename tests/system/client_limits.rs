//! `[client_limits]` of a running server. A front names the clients, so that they have addresses of anywhere.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

use ringmx::front::clients::{Clients, Limits};
use ringmx::front::moment::Epoch;
use support::client::Client;
use support::server::Server;

/// A server with these limits, and two recipients that it knows.
fn server(limits: &str) -> Server {
    Server::start_with_files(&config(limits), &[("recipients.txt", "known@example.org\nalso@example.org\n")])
}

fn config(limits: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n[[sink]]\nkind = \"discard\"\n{limits}\n"
    )
}

/// A client of this address, before the greeting.
fn connect(server: &Server, address: &str) -> Client {
    let mut client = Client::connect(server.address());
    let family = if address.contains(':') { ("TCP6", "::1") } else { ("TCP4", "192.0.2.254") };
    client.send(format!("PROXY {} {address} {} 4321 25\r\n", family.0, family.1).as_bytes());
    client
}

/// One that has said EHLO.
fn greeted(server: &Server, address: &str) -> Client {
    let mut client = connect(server, address);
    client.expect("220");
    client.command("EHLO client.example", "250");
    client
}

/// Connects and goes again.
fn comes(server: &Server, address: &str, reply: &str) {
    let mut client = connect(server, address);
    client.expect(reply);
    if reply == "220" {
        client.command("QUIT", "221");
    }
    client.expect_end();
}

#[test]
fn who_connects_too_often_is_turned_away_and_others_are_not() {
    let server = server("[client_limits]\nconnections = \"3/hour\"");
    for _ in 0..3 {
        comes(&server, "192.0.2.1", "220");
    }
    comes(&server, "192.0.2.1", "421 4.7.0 Too many connections lately");
    comes(&server, "192.0.2.2", "220");
    let line =
        server.wait_for_log(|line| line.contains(" refused ") && line.contains("client=192.0.2.1:4321"));
    assert!(line.contains("reason=client-limit"), "{line}");
    // The front itself, which only looks whether this server is alive, is not counted.
    for _ in 0..10 {
        let mut check = Client::connect(server.address());
        check.send(b"PROXY UNKNOWN\r\n");
        check.expect("220");
    }
}

#[test]
fn a_network_has_three_times_and_a_wider_one_nine_times_as_much() {
    let server = server("[client_limits]\nconnections = \"2/hour\"");
    for (networks, addresses) in [
        (["198.51.100", "198.51.101", "198.51.102", "198.51.103"], ["1", "2", "3", "4"]),
        (["2001:db8:1:1", "2001:db8:1:101", "2001:db8:1:201", "2001:db8:1:301"], ["1", "2", "3", "4"]),
    ] {
        let address = |network: &str, host: &str| {
            if let Some((start, last)) = network.rsplit_once(':') {
                // The last group is that of the /56 and, in its lower octet, of the /64.
                let last = u16::from_str_radix(last, 16).expect("hexadecimal");
                format!("{start}:{:x}::1", last + host.parse::<u16>().expect("a number"))
            } else {
                format!("{network}.{host}")
            }
        };
        for network in &networks[..3] {
            for host in &addresses[..3] {
                comes(&server, &address(network, host), "220");
                comes(&server, &address(network, host), "220");
            }
            // One that was never seen before.
            comes(&server, &address(network, addresses[3]), "421 4.7.0");
        }
        comes(&server, &address(networks[3], addresses[0]), "421 4.7.0");
    }
    comes(&server, "198.51.200.1", "220");
    comes(&server, "2001:db8:2::1", "220");
}

#[test]
fn transactions_beyond_the_rate_are_put_off_on_all_connections_of_the_client() {
    let server = server("[client_limits]\nmessages = \"3/hour\"");
    let (mut first, mut second) = (greeted(&server, "192.0.2.1"), greeted(&server, "192.0.2.1"));
    first.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
    second.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
    first.command("MAIL FROM:<a@client.example>", "250");
    first.command("RSET", "250");
    for client in [&mut first, &mut second] {
        client.command("MAIL FROM:<a@client.example>", "450 4.7.1 Too many messages");
        client.command("NOOP", "250");
    }
    greeted(&server, "192.0.2.2").deliver("a@x.example", "known@example.org", b"Subject: x\r\n\r\n");
}

#[test]
fn who_has_asked_for_too_many_unknown_recipients_learns_nothing_more() {
    let server = server("[client_limits]\nunknown_recipients = \"3/hour\"");
    let mut client = greeted(&server, "192.0.2.1");
    client.command("MAIL FROM:<>", "250");
    for number in 0..3 {
        client.command("RCPT TO:<known@example.org>", "250");
        client.command(&format!("RCPT TO:<guess{number}@example.org>"), "550 5.1.1");
    }
    let mut again = greeted(&server, "192.0.2.1");
    again.command("MAIL FROM:<>", "250");
    for client in [&mut client, &mut again] {
        let answers = [
            "guess@example.org",
            "also@example.org",
            "postmaster",
            "postmaster@example.org",
            "a@other.example",
        ]
        .map(|to| client.command(&format!("RCPT TO:<{to}>"), "450 4.7.1"));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    // What was accepted before is not taken back.
    client.command("DATA", "354");
    client.send(b"Subject: x\r\n\r\n.\r\n");
    client.expect("250");
    again.command("DATA", "554");
    let mut other = greeted(&server, "192.0.2.2");
    other.command("MAIL FROM:<>", "250");
    other.command("RCPT TO:<known@example.org>", "250");
}

#[test]
fn recipients_beyond_the_rate_are_put_off_and_the_message_goes_to_the_others() {
    let server = server("[client_limits]\nrecipients = \"2/hour\"");
    let mut client = greeted(&server, "192.0.2.1");
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<known@example.org>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<also@example.org>\r\nDATA\r\n");
    for reply in ["250", "250 2.1.5", "250 2.1.5", "450 4.7.1 Too many recipients", "354"] {
        client.expect(reply);
    }
    client.send(b"Subject: x\r\n\r\n.\r\n");
    client.expect("250");
}

#[test]
fn too_many_errors_of_all_sessions_end_each() {
    let server = server("[client_limits]\nerrors = \"3/hour\"");
    let (mut first, mut second) = (greeted(&server, "192.0.2.1"), greeted(&server, "192.0.2.1"));
    first.command("XYZZY", "500");
    second.command("MAIL FROM:<>", "250");
    second.command("RCPT TO:<a@other.example>", "550 5.7.1");
    // Recipients that nobody knows are counted elsewhere, and what is put off is no error.
    (0..5).for_each(|_| drop(second.command("RCPT TO:<nobody@example.org>", "550 5.1.1")));
    first.command("DATA", "503");
    second.command("RCPT TO:<b@other.example>", "550 5.7.1");
    second.expect("421 4.7.0 Too many errors lately");
    second.expect_end();
    first.command("NOOP", "250");
    first.command("XYZZY", "500");
    first.expect("421 4.7.0");
    first.expect_end();
    // What it does otherwise is not refused.
    greeted(&server, "192.0.2.1").deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
}

#[test]
fn a_message_under_way_is_taken_before_errors_end_its_session() {
    let server = server("[client_limits]\nerrors = \"1/hour\"");
    let mut client = greeted(&server, "192.0.2.1");
    client.send(b"XYZZY\r\nXYZZY\r\nMAIL FROM:<>\r\nRCPT TO:<known@example.org>\r\nDATA\r\n");
    for reply in ["500", "500", "250", "250", "354"] {
        client.expect(reply);
    }
    client.send(b"Subject: x\r\n\r\n.\r\n");
    client.expect("250");
    client.expect("421 4.7.0 Too many errors lately");
    client.expect_end();
}

#[test]
fn what_is_counted_is_the_clients_that_xclient_names() {
    let config = config("[client_limits]\nmessages = \"2/hour\"\nerrors = \"1/hour\"");
    let config = config.replace("proxy_from", "xclient_from");
    let server = Server::start_with_files(&config, &[("recipients.txt", "known@example.org\n")]);
    let mut front = Client::greeted(server.address());
    // Nobody is charged with what the front does itself.
    (0..3).for_each(|_| drop(front.command("XYZZY", "500")));
    for (address, reply) in
        [("192.0.2.1", "250"), ("192.0.2.2", "250"), ("192.0.2.1", "250"), ("192.0.2.1", "450 4.7.1")]
    {
        front.command(&format!("XCLIENT ADDR={address}"), "220");
        front.command("EHLO client.example", "250");
        front.command("MAIL FROM:<>", reply);
        front.command("RSET", "250");
    }
}

#[test]
fn limits_that_only_warn_refuse_nothing_and_the_log_says_once_a_session_what_they_would() {
    let server = server(
        "[client_limits]\nconnections = \"1/hour\"\nmessages = \"1/hour\"\nrecipients = \"1/hour\"\n\
         unknown_recipients = \"1/hour\"\nerrors = \"1/hour\"\naction = \"warn\"\n[limits]\nconnections_per_client_max = 2",
    );
    comes(&server, "192.0.2.1", "220");
    let mut client = greeted(&server, "192.0.2.1");
    for _ in 0..3 {
        client.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
        client.command("MAIL FROM:<>", "250");
        client.command("RCPT TO:<nobody@example.org>", "550 5.1.1");
        client.command("RCPT TO:<known@example.org>", "250");
        client.command("RSET", "250");
        client.command("XYZZY", "500");
    }
    let _second = greeted(&server, "192.0.2.1");
    // What one client may have at a time is no rate.
    comes(&server, "192.0.2.1", "421 4.3.2");
    client.command("QUIT", "221");
    let line = server.wait_for_log(|line| line.contains(" session ") && line.contains("accepted=3"));
    let session = line.split_whitespace().find(|word| word.starts_with("session=")).expect("its name");
    let log = server.log();
    let of_session = |line: &&String| line.contains(" would-refuse ") && line.contains(session);
    let told: Vec<&String> = log.iter().filter(of_session).collect();
    for reply in [
        "421 4.7.0 Too many connections lately",
        "450 4.7.1 Too many messages",
        "450 4.7.1 Too many recipients",
        "450 4.7.1 Too many unknown recipients",
        "421 4.7.0 Too many errors lately",
    ] {
        assert_eq!(told.iter().filter(|line| line.contains(reply)).count(), 1, "{reply}: {told:?}");
    }
    assert!(told.len() == 5 && told.iter().all(|line| line.contains("client=192.0.2.1:")), "{told:?}");
}

#[test]
fn limits_come_and_go_with_a_reload() {
    let mut server = server("");
    for _ in 0..10 {
        comes(&server, "192.0.2.1", "220");
    }
    let mut early = greeted(&server, "192.0.2.9");
    let path = server.folder().join("ringmx.toml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let reload = |server: &mut Server, text: &str, generation: &str| {
        std::fs::write(&path, text).expect("written");
        server.signal(rustix::process::Signal::HUP);
        server.wait_for_log(|line| line.contains(" reloaded ") && line.contains(generation));
    };
    reload(
        &mut server,
        &format!("{text}\n[client_limits]\nconnections = \"1/hour\"\nmessages = \"1/hour\"\n"),
        "generation=2",
    );
    comes(&server, "192.0.2.1", "220");
    comes(&server, "192.0.2.1", "421 4.7.0");
    // Whoever was there before is limited from now on, too.
    early.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
    early.command("MAIL FROM:<>", "450 4.7.1");
    reload(&mut server, &text, "generation=3");
    comes(&server, "192.0.2.1", "220");
    early.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
}

/// The file that a server writes which knows this client, of long ago, and nobody else. FORMAT: see
/// `src/server/client_state.rs`.
fn remembered(address: &str) -> Vec<u8> {
    let secret = [5; 16];
    let table = Clients::new(PLACES, &secret);
    let (now, wall_clock) = (Instant::now(), SystemTime::now());
    let epoch = Epoch::new(now);
    for hours in [60, 48, 36, 24, 1] {
        let moment = epoch.moment(now, wall_clock - Duration::from_hours(hours));
        let limits = Limits { connections_max: 50, rates: None, only_warn: false };
        let seat = table.enter(address.parse().expect("an address"), &limits, moment, |_| {});
        let seat = seat.expect("it may").expect("it is counted");
        table.note_message(&seat, moment);
        table.leave(seat);
    }
    let mut octets =
        [&b"RMXCLNT\x01"[..], &secret, &table.buckets().to_le_bytes(), &1_u64.to_le_bytes()].concat();
    table.remembered().for_each(|client| octets.extend(client));
    // Nobody is greylisted.
    octets.extend([0; 32]);
    octets.extend(crc32c::crc32c(&octets).to_le_bytes());
    octets
}

const PLACES: usize = 4096;

/// Where a server with this state in its folder keeps it.
fn with_state() -> String {
    format!(
        "[early]\nstate = \"clients.state\"\n[limits]\nclients_max = {PLACES}\n[client_limits]\nconnections = \"2/hour\""
    )
}

#[test]
fn who_has_proved_good_is_known_after_a_restart_and_goes_on_beside_bad_neighbours() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("clients.state");
    std::fs::write(&state, remembered("198.51.100.77")).expect("written");
    let limits = with_state().replace("clients.state", state.to_str().expect("UTF-8"));
    for round in 0..2 {
        let mut server = server(&limits);
        for host in 1..=3 {
            comes(&server, &format!("198.51.100.{host}"), "220");
            comes(&server, &format!("198.51.100.{host}"), "220");
        }
        comes(&server, "198.51.100.4", "421 4.7.0");
        let mut good = greeted(&server, "198.51.100.77");
        good.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
        assert!(server.stop().success(), "round {round}");
        let log = server.log().join("\n");
        assert!(!log.contains(" warning ") && !log.contains(" error "), "{log}");
    }
    let facts = std::fs::metadata(&state).expect("it is there");
    assert_eq!((facts.permissions().mode() & 0o777, facts.len()), (0o600, 76 + 16));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_state_that_cannot_be_read_is_said_once_and_the_next_start_has_a_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("clients.state");
    std::fs::write(&state, "something else").expect("written");
    let limits = with_state().replace("clients.state", state.to_str().expect("UTF-8"));
    let said = |limits: &str| {
        let mut server = server(limits);
        comes(&server, "192.0.2.1", "220");
        assert!(server.stop().success());
        server.log().iter().filter(|line| line.contains("they have to prove good again")).count()
    };
    assert_eq!((said(&limits), said(&limits)), (1, 0));
    // Of a table of another size.
    assert_eq!(said(&limits.replace("4096", "8192")), 1);
}

#[test]
fn a_state_that_cannot_be_written_is_said_and_mail_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("missing").join("clients.state");
    let limits = with_state().replace("clients.state", state.to_str().expect("UTF-8"));
    let server = server(&limits);
    server.wait_for_log(|line| line.contains(" warning ") && line.contains("early.state"));
    let line = server.wait_for_log(|line| line.contains("writing what is known of clients"));
    assert!(line.contains("missing/clients.state") && line.contains("No such file"), "{line}");
    greeted(&server, "192.0.2.1").deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
}
