//! The front line of a running server: access lists, lists in the DNS, early talkers, reverse DNS, senders'
//! domains, greylisting. A front names the clients, so that they have addresses of anywhere; the DNS is a
//! server of the tests.

use std::time::{Duration, Instant, SystemTime};

use ringmx::front::clients::Clients;
use ringmx::front::greylist::{Greylist, Origin};
use ringmx::limits::GREYLIST_PLACES;
use support::client::Client;
use support::dns_server::{Behaviour, DnsServer};
use support::server::Server;

/// A server that asks this one, with one recipient that it knows.
fn server(dns: &DnsServer, tables: &str) -> Server {
    Server::start_with_files(&config(dns, "", tables), &[("recipients.txt", "known@example.org\n")])
}

fn config(dns: &DnsServer, listener: &str, tables: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n{listener}\n\
         [[sink]]\nkind = \"stdout\"\n[shards]\ncpus = [0]\n[dns]\nservers = [\"{}\"]\n{tables}\n",
        dns.address()
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
fn greeted(server: &Server, address: &str, name: &str) -> Client {
    let mut client = connect(server, address);
    client.expect("220");
    client.command(&format!("EHLO {name}"), "250");
    client
}

/// What the first recipient of a transaction is told.
fn told(server: &Server, address: &str, from: &str) -> String {
    let mut client = greeted(server, address, "client.example");
    client.command(&format!("MAIL FROM:<{from}>"), "250");
    client.send(b"RCPT TO:<known@example.org>\r\n");
    let reply = client.reply();
    client.command("QUIT", "221");
    reply
}

/// The DNS knows a list that works.
fn working(dns: &DnsServer, zone: &str) {
    dns.address_of(&format!("2.0.0.127.{zone}"), "127.0.0.2");
}

const LIST: &str = "[[dnsbl]]\nzone = \"bad.test\"\nweight = 3\nname = \"Bad List\"\n[score]\nrefuse = 3\n";

#[test]
fn the_first_access_rule_that_matches_decides_before_all_other_checks() {
    let dns = DnsServer::start();
    working(&dns, "bad.test");
    dns.address_of("7.2.0.192.bad.test", "127.0.0.2").address_of("8.2.0.192.bad.test", "127.0.0.2");
    let rules = format!(
        "{LIST}[[access]]\nnetworks = [\"192.0.2.7\"]\naction = \"trust\"\n\
         [[access]]\nnetworks_file = \"drop.txt\"\naction = \"drop\"\ntext = \"Go away; see https://example.org/x\"\n\
         [[access]]\nehlo = [\"*.dyn.example\"]\nreverse_path = [\"spam.example\", \"*.spam.example\"]\naction = \"refuse\"\ntext = \"No spam\"\n\
         [[access]]\nehlo = [\"tried.example\"]\naction = \"warn\"\n"
    );
    let files = [
        ("recipients.txt", "known@example.org\n"),
        ("drop.txt", "# bad\n198.51.100.0/24 ; worse\n\n2001:db8::/32\n"),
    ];
    let server = Server::start_with_files(&config(&dns, "", &rules), &files);
    assert!(
        told(&server, "192.0.2.7", "a@x.example").starts_with("250 2.1.5"),
        "trusted although it is listed"
    );
    assert!(
        told(&server, "192.0.2.8", "a@x.example").starts_with("550 5.7.1 The client is listed by Bad List")
    );
    for address in ["198.51.100.9", "2001:db8::7"] {
        let mut client = connect(&server, address);
        client.expect("554 5.7.1 Go away; see https://example.org/x");
        client.expect_end();
    }
    // All that a rule names has to match.
    for (name, from, reply) in [
        ("a.DYN.example", "a@spam.example", "550 5.7.1 No spam"),
        ("a.dyn.example", "a@x.Spam.Example", "550 5.7.1 No spam"),
        ("a.dyn.example", "a@good.example", "250 2.1.5"),
        ("a.dyn.example", "", "250 2.1.5"),
        ("mx.example", "a@spam.example", "250 2.1.5"),
    ] {
        let mut client = greeted(&server, "192.0.2.1", name);
        client.command(&format!("MAIL FROM:<{from}>"), "250");
        client.command("RCPT TO:<known@example.org>", reply);
        if reply.starts_with("550") {
            // Whoever is refused does not learn who exists.
            client.command("RCPT TO:<nobody@example.org>", reply);
            client.command("RCPT TO:<postmaster>", reply);
            client.command("DATA", "554");
            // The next transaction is another one.
            client.command("RSET", "250");
            client.command("MAIL FROM:<a@good.example>", "250");
            client.command("RCPT TO:<known@example.org>", "250");
            client.command("RCPT TO:<nobody@example.org>", "550 5.1.1");
        }
    }
    let mut tried = greeted(&server, "192.0.2.1", "tried.example");
    tried.deliver("a@x.example", "known@example.org", b"Subject: x\r\n\r\n");
    tried.deliver("a@x.example", "known@example.org", b"Subject: x\r\n\r\n");
    tried.command("QUIT", "221");
    let line = server.wait_for_log(|line| line.contains(" would-refuse "));
    assert!(line.contains("ehlo=\"tried.example\"") && line.contains("reason=access"), "{line}");
    server.wait_for_log(|line| line.contains(" session ") && line.contains("ehlo=\"tried.example\""));
    assert_eq!(
        server.log().iter().filter(|line| line.contains(" would-refuse ")).count(),
        1,
        "once a session"
    );
}

#[test]
fn a_listener_takes_mail_from_its_clients_only() {
    let dns = DnsServer::start();
    let files = [("recipients.txt", "known@example.org\n")];
    let config = config(&dns, "clients_from = [\"192.0.2.0/24\", \"2001:db8::/32\"]", "");
    let server = Server::start_with_files(&config, &files);
    for (address, reply) in [
        ("192.0.2.1", "220"),
        ("2001:db8::1", "220"),
        ("::ffff:192.0.2.1", "220"),
        ("198.51.100.1", "554 5.7.1 No mail is taken from this client"),
        ("2001:db9::1", "554 5.7.1"),
    ] {
        connect(&server, address).expect(reply);
    }
}

#[test]
fn lists_speak_for_and_against_a_client_by_their_weight() {
    let dns = DnsServer::start();
    for zone in ["bad.test", "key.mild.test", "good.test"] {
        working(&dns, zone);
    }
    dns.address_of("1.2.0.192.bad.test", "127.0.0.4").address_of("1.2.0.192.bad.test", "127.0.0.9");
    dns.address_of("2.2.0.192.key.mild.test", "127.0.0.3");
    dns.address_of("3.2.0.192.bad.test", "127.0.0.12");
    dns.address_of("4.2.0.192.bad.test", "127.0.0.2").address_of("4.2.0.192.good.test", "127.0.9.3");
    dns.address_of("5.2.0.192.bad.test", "127.0.0.2").address_of("5.2.0.192.key.mild.test", "127.0.0.2");
    let server = server(
        &dns,
        "[[dnsbl]]\nzone = \"bad.test\"\nanswers = [\"127.0.0.2-11\"]\nweight = 3\nname = \"Bad List\"\n\
         [[dnsbl]]\nzone = \"key.mild.test\"\nweight = 2\nname = \"Mild List\"\n\
         [[dnsbl]]\nzone = \"good.test\"\nanswers = [\"127.0.0-255.1-3\"]\nweight = -2\n\
         [score]\nrefuse = 3\ndrop = 5\n",
    );
    for (last, reply) in [
        (1, "550 5.7.1 The client is listed by Bad List"),
        (2, "250 2.1.5"),
        (3, "250 2.1.5"),
        (4, "250 2.1.5"),
    ] {
        let said = told(&server, &format!("192.0.2.{last}"), "a@x.example");
        assert!(said.starts_with(reply), "{last}: {said}");
    }
    let line = server.wait_for_log(|line| line.contains(" session ") && line.contains("client=192.0.2.1:"));
    assert!(line.contains("score=3") && line.contains("3 Bad List"), "a list counts once: {line}");
    let line = server.wait_for_log(|line| line.contains(" session ") && line.contains("client=192.0.2.4:"));
    assert!(line.contains("score=1") && line.contains("-2 good.test"), "{line}");
    // Answers are there by now, so that it is not greeted.
    told(&server, "192.0.2.5", "a@x.example");
    let asked = dns.asked("5.2.0.192.bad.test");
    let mut client = connect(&server, "192.0.2.5");
    client.expect("554 5.7.1 The client is listed by Bad List");
    client.expect_end();
    assert_eq!(dns.asked("5.2.0.192.bad.test"), asked, "it is known");
    assert!(!server.log().join("\n").contains("key.mild"), "a zone may hold a key");
    // What was known of a client stands with its message.
    let mut client = greeted(&server, "192.0.2.2", "client.example");
    client.deliver("a@x.example", "known@example.org", b"Subject: x\r\n\r\n");
    let json: serde_json::Value = serde_json::from_str(&server.output(1)[0]).expect("JSON");
    assert_eq!((json["score"].as_i64(), json["reasons"][0]["name"].as_str()), (Some(2), Some("Mild List")));
}

#[test]
fn a_list_that_lists_everybody_or_refuses_to_answer_refuses_no_mail() {
    for (what, test_entry, other_entry, client) in [
        ("parked", "198.51.100.7", Some("198.51.100.7"), "198.51.100.7"),
        ("blocks the resolver", "127.255.255.254", Some("127.255.255.254"), "127.255.255.254"),
        ("lists everybody", "127.0.0.2", Some("127.0.0.2"), "127.0.0.2"),
        ("over quota", "127.0.0.2", None, "127.0.0.255"),
        ("odd", "127.0.0.2", None, "127.0.0.1"),
    ] {
        let dns = DnsServer::start();
        dns.address_of("2.0.0.127.bad.test", test_entry).address_of("1.2.0.192.bad.test", client);
        if let Some(entry) = other_entry {
            dns.address_of("1.0.0.127.bad.test", entry);
        }
        let server = server(&dns, LIST);
        for _ in 0..2 {
            assert!(told(&server, "192.0.2.1", "a@x.example").starts_with("250"), "{what}");
        }
        let line = server.wait_for_log(|line| line.contains(" list-off "));
        assert!(line.contains("list=\"Bad List\""), "{line}");
        assert_eq!(server.log().iter().filter(|line| line.contains(" list-off ")).count(), 1, "{what}");
    }
}

#[test]
fn a_list_that_hangs_delays_no_greeting_and_a_recipient_once() {
    let dns = DnsServer::start();
    dns.behave_by_default(Behaviour::Silent);
    let server = server(&dns, LIST);
    let begun = Instant::now();
    let mut client = greeted(&server, "192.0.2.1", "client.example");
    let greeted_after = begun.elapsed();
    client.command("MAIL FROM:<a@x.example>", "250");
    client.command("RCPT TO:<known@example.org>", "250");
    let answered_after = begun.elapsed();
    assert!(
        answered_after >= Duration::from_secs(2) && greeted_after + Duration::from_secs(1) < answered_after,
        "{greeted_after:?}, {answered_after:?}"
    );
    // The list is off now: it is not asked of the next client, so there is nothing to wait for.
    assert!(dns.asked("1.2.0.192.bad.test") >= 1);
    assert!(told(&server, "192.0.2.2", "a@x.example").starts_with("250"));
    assert_eq!(dns.asked("2.2.0.192.bad.test"), 0);
}

#[test]
fn who_speaks_before_a_greeting_that_waits_is_refused_whatever_lists_will_say() {
    let dns = DnsServer::start();
    dns.behave_by_default(Behaviour::Silent);
    let waits = |delay| server(&dns, &format!("{LIST}[early]\ngreet_delay = \"{delay}\"\n"));
    let long = waits("15s");
    let begun = Instant::now();
    let mut early = connect(&long, "192.0.2.1");
    // By now the greeting waits. On a busy machine it may not, and the client is early as well.
    std::thread::sleep(Duration::from_millis(100));
    early.send(b"EHLO bot.example\r\n");
    early.expect("554 5.5.0");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let short = waits("3s");
    let begun = Instant::now();
    let mut patient = connect(&short, "192.0.2.2");
    patient.expect("220");
    assert!(begun.elapsed() >= Duration::from_secs(3), "an unknown client waits");
    patient.command("EHLO client.example", "250");
}

#[test]
fn who_is_on_a_list_of_good_clients_is_greeted_at_once() {
    let dns = DnsServer::start();
    working(&dns, "good.test");
    dns.address_of("1.2.0.192.good.test", "127.0.0.2");
    let server =
        server(&dns, "[[dnsbl]]\nzone = \"good.test\"\nweight = -1\n[early]\ngreet_delay = \"15s\"\n");
    let begun = Instant::now();
    assert!(told(&server, "192.0.2.1", "a@x.example").starts_with("250"));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_ipv6_client_is_asked_for_by_its_nibbles_and_only_of_lists_that_know_it() {
    let dns = DnsServer::start();
    working(&dns, "bad.test");
    working(&dns, "v4.test");
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
    dns.address_of(&format!("{name}.bad.test"), "127.0.0.2")
        .address_of(&format!("{name}.v4.test"), "127.0.0.2");
    let more = "[[dnsbl]]\nzone = \"v4.test\"\nweight = 9\nfamilies = \"ipv4\"\n";
    let server = server(&dns, &format!("{LIST}{more}"));
    assert!(told(&server, "2001:db8::1", "a@x.example").contains("Bad List"));
    assert_eq!((dns.asked(&format!("{name}.bad.test")), dns.asked(&format!("{name}.v4.test"))), (1, 0));
}

#[test]
fn reverse_dns_is_noted_or_required() {
    let dns = DnsServer::start();
    dns.ptr("192.0.2.1", "mx.client.example").address_of("mx.client.example", "192.0.2.1");
    dns.ptr("192.0.2.2", "liar.example").address_of("liar.example", "198.51.100.1");
    dns.behave("3.2.0.192.in-addr.arpa", Behaviour::ServerFailure);
    let marks = server(&dns, "[early]\nreverse_dns = \"mark\"\n");
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let mut client = greeted(&marks, address, "client.example");
        client.deliver("a@x.example", "known@example.org", b"Subject: x\r\n\r\n");
        client.command("QUIT", "221");
    }
    let output = marks.output(3);
    for (line, named) in output.iter().zip([true, false, false]) {
        let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(json["reverse_name"].as_str(), named.then_some("mx.client.example"), "{line}");
        let data = data_encoding::BASE64.decode(json["data_base64"].as_str().expect("text").as_bytes());
        let data = String::from_utf8(data.expect("base64")).expect("ASCII");
        assert_eq!(data.contains("(mx.client.example [192.0.2.1])"), named, "{data}");
    }
    let requires = server(&dns, "[early]\nreverse_dns = \"refuse\"\n");
    assert!(told(&requires, "192.0.2.1", "").starts_with("250"));
    assert!(told(&requires, "192.0.2.2", "").starts_with("550 5.7.25"));
    assert!(told(&requires, "192.0.2.3", "").starts_with("451 4.7.25"));
    assert!(told(&requires, "192.0.2.4", "").starts_with("550 5.7.25"));
}

#[test]
fn a_sender_whose_domain_cannot_be_answered_is_refused() {
    let dns = DnsServer::start();
    dns.mx("good.example", 10, "mx.good.example").mx("null.example", 0, ".");
    dns.behave("broken.example", Behaviour::ServerFailure);
    let server = server(&dns, "[early]\nsender_domain = \"refuse\"\n");
    for (from, reply) in [
        ("a@good.example", "250"),
        ("a@null.example", "550 5.7.27"),
        ("a@nobody.example", "550 5.1.8"),
        ("a@broken.example", "250"),
        ("a@[192.0.2.1]", "250"),
        ("", "250"),
    ] {
        let said = told(&server, "192.0.2.1", from);
        assert!(said.starts_with(reply), "{from}: {said}");
    }
}

#[test]
fn a_client_that_is_not_known_is_asked_to_come_back_at_rcpt_but_not_for_the_null_sender() {
    let dns = DnsServer::start();
    let server = server(&dns, "[early]\ngreylist = \"unknown\"\n");
    assert!(told(&server, "192.0.2.1", "a@x.example").starts_with("451 4.7.1"));
    assert!(told(&server, "192.0.2.1", "a@x.example").starts_with("451 4.7.1"), "it came too early");
    assert!(told(&server, "192.0.2.1", "").starts_with("250"), "others verify our addresses so");
    let mut unknown = greeted(&server, "192.0.2.1", "client.example");
    unknown.command("MAIL FROM:<a@x.example>", "250");
    unknown.command("RCPT TO:<nobody@example.org>", "451 4.7.1");
}

#[test]
fn the_null_sender_is_asked_to_come_back_at_the_end_of_the_mail_data() {
    let dns = DnsServer::start();
    let server = server(&dns, "[early]\ngreylist = \"unknown\"\n");
    let mut client = greeted(&server, "192.0.2.1", "client.example");
    for how in ["DATA", "BDAT"] {
        client.command("MAIL FROM:<>", "250");
        client.command("RCPT TO:<known@example.org>", "250");
        client.command("RCPT TO:<postmaster>", "250");
        if how == "DATA" {
            client.command("DATA", "354");
            client.send(b"Subject: x\r\n\r\n.\r\n");
        } else {
            client.send(b"BDAT 14 LAST\r\nSubject: x\r\n\r\n");
        }
        client.expect("451 4.7.1 Not known yet");
    }
    // The session goes on, and others are not asked.
    client.command("MAIL FROM:<>", "250");
    client.command("QUIT", "221");
    let line = server.wait_for_log(|line| line.contains(" refused ") && line.contains("reason=greylisted"));
    assert!(line.contains("step=MAIL-DATA") && line.contains("from=\"\""), "{line}");
    assert!(line.contains("to=\"known@example.org") && line.contains("recipients=2"), "{line}");
    let line = server.wait_for_log(|line| line.contains(" session ") && line.contains("client=192.0.2.1:"));
    assert!(line.contains("accepted=0 refused_4yz=2"), "{line}");
}

#[test]
fn whom_the_greylist_knows_is_known_after_a_restart() {
    const PLACES: usize = 4096;
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("clients.state");
    // Somebody came ten minutes ago. FORMAT: see `src/server/client_state.rs`.
    let (clients, greylist) = (Clients::new(PLACES, &[5; 16]), Greylist::new(GREYLIST_PLACES, &[6; 16]));
    let came = Origin::Client([192, 0, 2, 1].into());
    let earlier = SystemTime::now() - Duration::from_mins(10);
    greylist.greet(came, b"a@x.example", b"known@example.org", earlier);
    let mut octets = [&b"RMXCLNT\x01"[..], &[5; 16], &clients.buckets().to_le_bytes(), &[0; 8]].concat();
    octets.extend([&[6; 16][..], &greylist.buckets().to_le_bytes(), &1_u64.to_le_bytes()].concat());
    greylist.remembered().for_each(|envelope| octets.extend(envelope));
    octets.extend(crc32c::crc32c(&octets).to_le_bytes());
    std::fs::write(&state, octets).expect("written");
    let dns = DnsServer::start();
    let tables =
        format!("[early]\ngreylist = \"unknown\"\nstate = {state:?}\n[limits]\nclients_max = {PLACES}\n");
    for sender in ["b", "c"] {
        let mut server = server(&dns, &tables);
        // The second server goes by what the first one wrote.
        assert!(told(&server, "192.0.2.1", "a@x.example").starts_with("250"));
        assert!(told(&server, "192.0.2.1", &format!("{sender}@x.example")).starts_with("451 4.7.1"));
        assert!(server.stop().success());
        let log = server.log().join("\n");
        assert!(!log.contains(" warning ") && !log.contains(" error "), "{log}");
    }
    let envelopes = 3;
    assert_eq!(std::fs::metadata(&state).expect("it is there").len(), 76 + envelopes * 12);
}

#[test]
fn greylisting_that_only_warns_takes_the_mail_and_says_once_a_session_who_would_come_back() {
    let dns = DnsServer::start();
    let server = server(&dns, "[early]\ngreylist = \"unknown\"\ngreylist_action = \"warn\"\n");
    let mut client = greeted(&server, "192.0.2.1", "client.example");
    for sender in ["a", "b"] {
        client.deliver(&format!("{sender}@x.example"), "known@example.org", b"Subject: x\r\n\r\n");
    }
    client.command("QUIT", "221");
    server.wait_for_log(|line| line.contains(" session ") && line.contains("accepted=2"));
    let log = server.log();
    let told: Vec<&String> = log.iter().filter(|line| line.contains(" would-refuse ")).collect();
    assert!(
        told.len() == 1 && told[0].contains("451 4.7.1") && told[0].contains("reason=greylisted"),
        "{told:?}"
    );
}

#[test]
fn recipients_that_are_pipelined_wait_together_and_chunks_stay_chunks() {
    let dns = DnsServer::start();
    working(&dns, "bad.test");
    dns.behave("1.2.0.192.bad.test", Behaviour::Late(Duration::from_millis(700)));
    let server = server(&dns, LIST);
    let mut client = greeted(&server, "192.0.2.1", "client.example");
    client.send(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<known@example.org>\r\nRCPT TO:<nobody@example.org>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\n");
    for reply in ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.0.0"] {
        client.expect(reply);
    }
}

#[test]
fn explain_says_what_would_be_answered_and_why() {
    let dns = DnsServer::start();
    working(&dns, "bad.test");
    dns.address_of("1.2.0.192.bad.test", "127.0.0.2").mx("x.example", 10, "mx.x.example");
    let server = server(
        &dns,
        &format!(
            "{LIST}[early]\nsender_domain = \"refuse\"\nreverse_dns = \"mark\"\n\
             [[access]]\nnetworks = [\"198.51.100.0/24\"]\naction = \"drop\"\ntext = \"Go away\"\n"
        ),
    );
    let explain = |client: &str, from: &str, rcpt: &str| {
        let config = server.folder().join("ringmx.toml");
        let config = config.to_str().expect("UTF-8");
        let words = ["explain", "--config", config, "--client", client, "--ehlo", "mx.x.example"];
        let out = std::process::Command::new(support::server::program())
            .args(words)
            .args(["--from", from, "--rcpt", rcpt])
            .output()
            .expect("ringmx runs");
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        // The server says the same.
        if client != "198.51.100.1" {
            let mut real = greeted(&server, client, "mx.x.example");
            real.command(&format!("MAIL FROM:<{from}>"), "250");
            real.send(format!("RCPT TO:<{rcpt}>\r\n").as_bytes());
            let reply = real.reply();
            assert!(text.contains(&format!("  S: {}\n", reply.trim_end())), "{reply}{text}");
        }
        text
    };
    let listed = explain("192.0.2.1", "a@x.example", "known@example.org");
    for words in [
        "Bad List: lists the client, weight 3",
        "score: 3: recipients are refused, refused from 3 on",
        "  C: RCPT TO:<known@example.org>",
        "  S: 550 5.7.1 The client is listed by Bad List",
    ] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    let fine = explain("192.0.2.2", "a@x.example", "known@example.org");
    assert!(
        fine.contains("sender's domain: nothing speaks against it") && fine.contains("  S: 250 2.1.5"),
        "{fine}"
    );
    let unknown = explain("192.0.2.2", "a@x.example", "nobody@example.org");
    assert!(unknown.contains("  S: 550 5.1.1"), "{unknown}");
    let no_domain = explain("192.0.2.2", "a@nobody.example", "known@example.org");
    assert!(
        no_domain.contains("sender's domain: does not exist") && no_domain.contains("  S: 550 5.1.8"),
        "{no_domain}"
    );
    let dropped = explain("198.51.100.1", "a@x.example", "known@example.org");
    assert!(
        dropped.contains("access: refused by its address") && dropped.contains("  S: 554 5.7.1 Go away"),
        "{dropped}"
    );
}
