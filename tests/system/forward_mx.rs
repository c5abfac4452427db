//! The forwarder and domains whose mail goes by their MX: a DNS of the test says where that is.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
use support::dns_server::{Behaviour, DnsServer};
use support::next_hop::{BrokenTls, Manner, NextHop, accept, listen_on};
use support::server::Server;

use crate::forward::{Forwarder, MESSAGE, queue, wait_until, wait_until_empty};

fn manner(keywords: Vec<&'static str>) -> Manner {
    Manner { is_lmtp: false, keywords, recipient: accept, end: accept }
}

fn taking() -> Manner {
    manner(vec!["PIPELINING"])
}

/// The port of all servers of a test, and the DNS that names them: `mxN.test` has the address 127.0.0.N.
struct World {
    port: u16,
    held: Option<TcpListener>,
    dns: DnsServer,
}

impl World {
    fn new() -> Self {
        let held = TcpListener::bind(("127.0.0.9", 0)).expect("a port");
        let port = held.local_addr().expect("an address").port();
        let dns = DnsServer::start();
        for last in 2..9 {
            dns.address_of(&format!("mx{last}.test"), &format!("127.0.0.{last}"));
        }
        Self { port, held: Some(held), dns }
    }

    fn listener(&self, last: u8) -> TcpListener {
        TcpListener::bind(SocketAddr::from(([127, 0, 0, last], self.port)))
            .expect("the port is free there, too")
    }

    fn hop(&self, last: u8, manner: Manner) -> NextHop {
        NextHop::on(self.listener(last), manner)
    }

    /// A receiver whose mail goes by the MX of each domain.
    fn near(&self, domains: &[&str], keys: &str) -> Server {
        let (port, dns) = (self.port, self.dns.address());
        Server::start_whole(&format!(
            "hostname = \"near.example.test\"\ndomains = {domains:?}\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"spool\"\n\
             segment_size = \"1MiB\"\n[log]\nsessions = false\n[dns]\nservers = [\"{dns}\"]\n\
             [[forward]]\ndomains = {domains:?}\nto = [\"mx:{port}\"]\n{keys}"
        ))
    }

    /// What a domain is called.
    fn name(&self, domain: &str) -> String {
        format!("mx:{domain}:{}", self.port)
    }
}

fn deliver(near: &Server, recipient: &str) {
    let mut client = Client::greeted(near.address());
    assert!(client.deliver("a@x.test", recipient, MESSAGE).starts_with("250"));
}

#[test]
fn the_best_exchanger_takes_and_the_next_one_where_that_is_down() {
    let world = World::new();
    let best = world.hop(2, taking());
    let second = world.hop(3, taking());
    world.dns.mx("a.test", 20, "mx3.test").mx("a.test", 10, "mx2.test").mx("a.test", 30, "near.example.test");
    // Nobody is at the first, and the second has no address.
    world.dns.mx("b.test", 1, "mx4.test").mx("b.test", 2, "none.test").mx("b.test", 3, "mx3.test");
    // No MX: the domain itself.
    world.dns.address_of("c.test", "127.0.0.2");
    let near = world.near(&["a.test", "b.test", "c.test"], "");
    let forwarder = Forwarder::start(&near);
    for count in 1..4 {
        deliver(&near, "u@a.test");
        wait_until(&forwarder, "the best", || best.taken().len() == count);
    }
    deliver(&near, "u@b.test");
    wait_until(&forwarder, "the next", || second.taken().len() == 1);
    deliver(&near, "u@c.test");
    wait_until(&forwarder, "the domain itself", || best.taken().len() == 4);
    wait_until_empty(&near, &forwarder);
    assert!(!forwarder.log().contains("next-hop-down"), "{}", forwarder.log());
    forwarder.stop();
    assert_eq!(second.taken()[0].recipients, ["u@b.test"]);
    assert_eq!(best.taken()[3].recipients, ["u@c.test"]);
    assert!(best.taken()[0].data.ends_with(MESSAGE) && second.taken()[0].data.ends_with(MESSAGE));
}

/// Says this to each client, and no more until it has gone. How many came is counted.
fn refusing(listener: TcpListener, greeting: &'static str) -> Arc<AtomicUsize> {
    let came = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&came);
    listen_on(listener, move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        stream.write_all(greeting.as_bytes())?;
        BufReader::new(stream).lines().for_each(drop);
        Ok(())
    });
    came
}

#[test]
fn an_exchanger_that_begins_no_session_is_passed_over_for_a_while() {
    for greeting in ["554 5.3.2 Not here\r\n", "421 4.3.2 Not now\r\n"] {
        let world = World::new();
        let came = refusing(world.listener(2), greeting);
        // Each message has a connection of its own.
        let second = world.hop(3, manner(vec!["PIPELINING", "LIMITS MAILMAX=1"]));
        world.dns.mx("a.test", 10, "mx2.test").mx("a.test", 20, "mx3.test");
        let near = world.near(&["a.test"], "");
        let forwarder = Forwarder::start(&near);
        for count in 1..4 {
            deliver(&near, "u@a.test");
            wait_until(&forwarder, "the next", || second.taken().len() == count);
        }
        wait_until_empty(&near, &forwarder);
        assert!(!forwarder.log().contains("next-hop-down"), "{}", forwarder.log());
        forwarder.stop();
        assert_eq!(came.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_server_that_is_this_one_gets_no_mail() {
    let world = World::new();
    listen_on(world.listener(2), move |mut stream| {
        stream.write_all(b"220 near.example.test ready\r\n")?;
        for line in BufReader::new(stream.try_clone()?).lines() {
            assert!(!line?.starts_with("MAIL"), "it goes round");
            stream.write_all(b"250-Near.Example.Test at your service\r\n250 PIPELINING\r\n")?;
        }
        Ok(())
    });
    // A name of this host that the forwarder does not know as its own.
    world.dns.mx("a.test", 20, "mx2.test").mx("a.test", 30, "mx3.test");
    // It is no better, and would bring the mail back.
    let backup = world.hop(3, taking());
    let near = world.near(&["a.test"], "");
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@a.test");
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains("mx2.test [127.0.0.2]: mail loop: the server has our own name"), "{line}");
    assert!(queue(&near, &["list"]).is_empty(), "the log is the queue");
    assert!(backup.taken().is_empty());
    forwarder.stop();
}

/// Begins each session, and ends it at MAIL.
fn ending_at_mail(listener: TcpListener) -> SocketAddr {
    listen_on(listener, move |mut stream| {
        stream.write_all(b"220 hop.test ready\r\n")?;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let is_mail = line?.starts_with("MAIL");
            stream.write_all(if is_mail { b"421 4.3.2 Not now\r\n" } else { b"250 hop.test\r\n" })?;
            if is_mail {
                break;
            }
        }
        Ok(())
    })
}

#[test]
fn an_exchanger_that_answers_no_message_gets_none_while_there_is_another_one() {
    let world = World::new();
    ending_at_mail(world.listener(2));
    let lost = world.hop(4, Manner { end: |_| String::new(), ..taking() });
    let second = world.hop(3, taking());
    world.dns.mx("a.test", 10, "mx2.test").mx("a.test", 20, "mx3.test");
    world.dns.mx("b.test", 10, "mx4.test").mx("b.test", 20, "mx3.test");
    let near = world.near(&["a.test", "b.test"], "");
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@a.test");
    wait_until(&forwarder, "the next", || second.taken().len() == 1);
    deliver(&near, "u@b.test");
    wait_until(&forwarder, "it waits", || queue(&near, &["list"]).contains(" waiting "));
    queue(&near, &["retry", "--all"]);
    wait_until(&forwarder, "the next, too", || second.taken().len() == 2);
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    assert!(lost.commands().iter().any(|command| command == "DATA"));
}

#[test]
fn tls_is_taken_where_it_works_and_a_must_where_it_is_said() {
    let world = World::new();
    let broken =
        NextHop::on_with_tls(world.listener(2), manner(vec!["PIPELINING", "STARTTLS"]), BrokenTls::Talks);
    world.dns.mx("a.test", 10, "mx2.test");
    let near = world.near(&["a.test"], "");
    let forwarder = Forwarder::start(&near);
    for count in 1..4 {
        deliver(&near, "u@a.test");
        wait_until(&forwarder, "in plaintext", || broken.taken().len() == count);
    }
    forwarder.stop();
    let asked = broken.commands().iter().filter(|command| *command == "STARTTLS").count();
    assert!(asked == 1 || asked == 2, "{asked} times, not each time");
    let near = world.near(&["a.test"], "tls = \"required\"\n");
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@a.test");
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains(&format!("next_hop={:?}", world.name("a.test"))), "{line}");
    assert!(line.contains("mx2.test [127.0.0.2]: "), "{line}");
    std::thread::sleep(Duration::from_secs(3));
    forwarder.stop();
    assert_eq!(broken.taken().len(), 3);
}

#[test]
fn who_takes_no_mail_is_given_up_at_once_and_what_is_no_domain_waits() {
    let world = World::new();
    world.dns.mx("null.test", 0, ".").address_of("null.test", "127.0.0.2").exists("bare.test");
    let hop = world.hop(2, taking());
    world.dns.mx("a.test", 10, "mx2.test");
    let near = world.near(&["null.test", "none.test", "bare.test", "a.test"], "");
    let forwarder = Forwarder::start(&near);
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for mailbox in ["u@null.test", "v@null.test", "u@none.test", "u@bare.test", "u@a.test"] {
        client.command(&format!("RCPT TO:<{mailbox}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&support::client::stuffed(MESSAGE));
    assert!(client.reply().starts_with("250"));
    for _ in 0..20 {
        deliver(&near, "u@null.test");
    }
    wait_until(&forwarder, "one takes it", || hop.taken().len() == 1);
    let dead = || queue(&near, &["list"]).lines().filter(|line| line.contains(" dead ")).count();
    wait_until(&forwarder, "the others are dead", || {
        let log = forwarder.log();
        log.lines().filter(|line| line.contains(" undeliverable ")).count() == 21 && dead() == 21
    });
    for (domain, said) in [
        ("none.test", "there is no domain none.test in the DNS"),
        ("bare.test", "bare.test has neither an MX nor an address"),
    ] {
        let line = forwarder.wait_for(said);
        assert!(line.contains("next-hop-down") && line.contains(&world.name(domain)), "{line}");
    }
    let log = forwarder.log();
    let given_up = log.lines().filter(|line| line.contains(" undeliverable "));
    for line in given_up {
        assert!(line.contains("5.1.10 null.test takes no mail (null MX)"), "{line}");
    }
    assert!(queue(&near, &["list"]).contains("5.1.10 null.test takes no mail"));
    let null = format!("next_hop={:?}", world.name("null.test"));
    assert!(!log.contains(&null), "it is not down: {log}");
    // One has come back, the other has changed its mind. Until the restart answers are kept.
    world.dns.forget("none.test").mx("none.test", 10, "mx2.test");
    world.dns.forget("null.test").mx("null.test", 10, "mx2.test");
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the desk", || near.folder().join("spool/forward/control.sock").exists());
    queue(&near, &["retry", "--dead", "--all"]);
    for mailbox in ["u@none.test", "v@null.test"] {
        wait_until(&forwarder, mailbox, || {
            hop.taken().iter().any(|taken| taken.recipients.iter().any(|one| one == mailbox))
        });
    }
    forwarder.stop();
}

#[test]
fn while_the_dns_is_silent_mail_waits_and_that_of_other_domains_goes() {
    let world = World::new();
    let hop = world.hop(2, taking());
    world.dns.mx("a.test", 10, "mx2.test").mx("b.test", 10, "mx2.test").mx(
        "loop.test",
        1,
        "near.example.test",
    );
    world.dns.behave("a.test", Behaviour::Silent);
    let near = world.near(&["a.test", "b.test", "loop.test"], "");
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@a.test");
    deliver(&near, "u@loop.test");
    for count in 1..11 {
        let begun = Instant::now();
        deliver(&near, "u@b.test");
        wait_until(&forwarder, "the other domain", || hop.taken().len() == count);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let line = forwarder.wait_for("the name servers do not answer");
    assert!(line.contains("next-hop-down") && line.contains(&world.name("a.test")), "{line}");
    let line = forwarder.wait_for("mail loop: the best MX of loop.test is this server");
    assert!(line.contains("next-hop-down"), "{line}");
    let gone = |domain: &str| hop.taken().iter().any(|taken| taken.recipients == [format!("u@{domain}")]);
    assert!(!gone("a.test") && !forwarder.log().contains(" undeliverable "));
    world.dns.behave("a.test", Behaviour::Right);
    wait_until(&forwarder, "it goes", || gone("a.test"));
    world.dns.forget("loop.test").mx("loop.test", 1, "mx2.test");
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "it goes, too", || gone("loop.test"));
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
}

#[test]
fn a_domain_is_down_or_suspended_for_itself() {
    let mut world = World::new();
    let hop = world.hop(2, taking());
    world.dns.mx("a.test", 10, "mx2.test").mx("b.test", 10, "mx9.test").address_of("mx9.test", "127.0.0.9");
    world.held = None;
    let near = world.near(&["a.test", "b.test"], "");
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@b.test");
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains("mx9.test [127.0.0.9]: Connection refused"), "{line}");
    deliver(&near, "u@a.test");
    wait_until(&forwarder, "the other domain", || hop.taken().len() == 1);
    let (a, b) = (world.name("a.test"), world.name("b.test"));
    assert!(queue(&near, &["suspend", &a]).contains("no mail goes to 1 next hop"));
    let back = world.hop(9, taking());
    wait_until(&forwarder, "it is back", || back.taken().len() == 1);
    assert!(forwarder.wait_for("next-hop-up").contains(&b));
    deliver(&near, "u@a.test");
    deliver(&near, "u@b.test");
    wait_until(&forwarder, "its mail", || back.taken().len() == 2);
    assert!(queue(&near, &["summary"]).contains(&format!("suspended by an operator: {a}")));
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    deliver(&near, "u@b.test");
    wait_until(&forwarder, "its mail", || back.taken().len() == 3);
    assert_eq!(hop.taken().len(), 1);
    assert!(queue(&near, &["resume", &a]).contains("mail goes to 1 next hop again"));
    wait_until(&forwarder, "what waited", || hop.taken().len() == 2);
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
}
