//! What senders are told by the forwarder: one notice of what a next hop refuses, or what waits too long,
//! whatever is killed meanwhile. Python's library reads each.
//!
//! `FORWARD_SEED` repeats the choices of a run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::client::{Client, stuffed};
use support::dns_server::DnsServer;
use support::http::get;
use support::load::Random;
use support::next_hop::{Manner, NextHop, Taken, accept};
use support::python::python_with;
use support::server::Server;

use crate::forward::{Forwarder, PATIENCE, free_address, queue};

const MESSAGE: &[u8] = b"From: a@x.test\r\nSubject: Hello\r\n\r\nThe text is nobody else's\r\n";

/// At RCPT.
fn by_name(mailbox: &str) -> String {
    match mailbox.split('@').next() {
        Some("full") => "452 4.2.2 Over quota".to_owned(),
        Some("gone" | "never") => "550 5.1.1 No such user".to_owned(),
        _ => accept(mailbox),
    }
}

fn manner(keywords: &[&'static str], recipient: fn(&str) -> String) -> Manner {
    Manner { is_lmtp: false, keywords: keywords.to_vec(), recipient, end: accept }
}

/// What a notice says, read by somebody else.
fn read(notice: &[u8]) -> Value {
    let python = python_with("email, json", "python3").expect("Python is there");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/notice.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(notice).expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", notice.escape_ascii());
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["defects"], serde_json::json!([]), "{}", notice.escape_ascii());
    assert_eq!(
        found["parts"],
        serde_json::json!(["text/plain", "message/delivery-status", "text/rfc822-headers"])
    );
    assert_eq!((&found["type"], &found["report"]), (&"multipart/report".into(), &"delivery-status".into()));
    assert!(notice.len() <= 50_000 && notice.is_ascii());
    assert!(notice.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
    found
}

/// Waits for so many notices, and that no more come.
fn notices(via: &NextHop, forwarder: &Forwarder, count: usize) -> Vec<Taken> {
    let start = Instant::now();
    while via.taken().len() < count {
        assert!(start.elapsed() < 2 * PATIENCE, "{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let taken = via.taken();
    assert_eq!(taken.len(), count, "{taken:?}");
    taken
}

/// A receiver whose mail goes to this next hop, and its notices to that one.
fn with_notices(hop: &NextHop, via: std::net::SocketAddr, more: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\ndsn = true\n\
         [[forward]]\nto = [\"smtp://{}\"]\n[forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://{via}\"\n{more}",
        hop.address()
    ))
}

fn greeted(server: &Server) -> Client {
    Client::greeted(server.address())
}

fn data(client: &mut Client, data: &[u8]) {
    client.command("DATA", "354");
    client.send(&stuffed(data));
    client.expect("250");
}

#[test]
fn one_notice_tells_of_each_recipient_what_its_sender_asked_for() {
    let hop = NextHop::start(manner(&["PIPELINING", "ENHANCEDSTATUSCODES"], by_name));
    let via = NextHop::start(manner(&["PIPELINING", "8BITMIME"], accept));
    let near = with_notices(&hop, via.address(), "");
    let forwarder = Forwarder::start(&near);
    let mut client = greeted(&near);
    client.command("MAIL FROM:<a@x.test> RET=FULL ENVID=QQ+2B314", "250");
    for recipient in [
        "RCPT TO:<known@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Known+2Bx@old.test",
        "RCPT TO:<gone@example.test>",
        "RCPT TO:<never@example.test> NOTIFY=NEVER",
        "RCPT TO:<other@example.test>",
    ] {
        client.command(recipient, "250");
    }
    data(&mut client, MESSAGE);
    let [notice] = &notices(&via, &forwarder, 1)[..] else { panic!("one notice") };
    assert_eq!(notice.recipients, ["a@x.test"]);
    assert_eq!(notice.mail, "MAIL FROM:<>");
    let found = read(&notice.data);
    assert_eq!(found["fields"]["To"], "a@x.test");
    assert_eq!(found["fields"]["Auto-Submitted"], "auto-replied");
    assert_eq!(found["fields"]["From"], "Mail Delivery System <MAILER-DAEMON@near.example.test>");
    // Who failed comes first: a reader may see no more.
    let [whole, two, one] = &found["status"].as_array().expect("groups")[..] else { panic!("{found}") };
    assert_eq!(whole["Reporting-MTA"], "dns; near.example.test");
    assert_eq!(whole["Original-Envelope-Id"], "QQ+314");
    assert_eq!(one["Original-Recipient"], "rfc822; Known+x@old.test");
    assert_eq!(
        (&one["Final-Recipient"], &one["Action"]),
        (&"rfc822; known@example.test".into(), &"relayed".into())
    );
    assert_eq!(
        (&two["Final-Recipient"], &two["Action"]),
        (&"rfc822; gone@example.test".into(), &"failed".into())
    );
    assert_eq!(
        (&two["Status"], &two["Diagnostic-Code"]),
        (&"5.1.1".into(), &"smtp; 550 5.1.1 No such user".into())
    );
    assert_eq!(two["Remote-MTA"], "dns; [127.0.0.1]");
    let header = found["header"].as_str().expect("a text");
    assert!(header.contains("Received: ") && header.contains("Subject: Hello"), "{header}");
    assert!(!notice.data.escape_ascii().to_string().contains("nobody else"), "the mail data stays here");
    let line = forwarder.wait_for(" notified ");
    let id = two["Final-Log-ID"].as_str().expect("an id");
    assert!(line.contains(&format!("id={id}")) && line.contains("recipients=2"), "{line}");
    wait_until_settled(&near, 2);
    // The next hop sends them itself where it offers DSN.
    hop.set(manner(&["PIPELINING", "DSN"], by_name));
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    client.command("MAIL FROM:<a@x.test> RET=HDRS ENVID=QQ315", "250");
    client.command("RCPT TO:<known@example.test> NOTIFY=SUCCESS", "250");
    data(&mut client, MESSAGE);
    forwarder.wait_for(" forwarded ");
    // Nobody tells the null reverse-path of anything.
    assert!(client.deliver("", "gone@example.test", MESSAGE).starts_with("250"));
    forwarder.wait_for(" undeliverable ");
    notices(&via, &forwarder, 1);
    assert!(hop.taken()[1].mail.ends_with(" RET=HDRS ENVID=QQ315"), "{:?}", hop.taken()[1]);
    forwarder.stop();
}

/// Waits until nothing waits and so many are dead.
fn wait_until_settled(server: &Server, dead: usize) {
    let start = Instant::now();
    loop {
        let list = queue(server, &["list"]);
        if list.lines().all(|line| line.contains(" dead ")) && list.lines().count() == dead {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{list}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_sender_of_mail_that_waited_too_long_is_told() {
    let hop = NextHop::start(manner(&["PIPELINING"], by_name));
    let via = NextHop::start(manner(&["PIPELINING"], accept));
    let near = with_notices(&hop, via.address(), "expire = \"1min\"\n");
    let forwarder = Forwarder::start(&near);
    assert!(greeted(&near).deliver("a@x.test", "full@example.test", MESSAGE).starts_with("250"));
    forwarder.wait_for(" deferred ");
    let [notice] = &notices(&via, &forwarder, 1)[..] else { panic!("one notice") };
    let found = read(&notice.data);
    let one = &found["status"][1];
    assert_eq!((&one["Action"], &one["Status"]), (&"failed".into(), &"4.4.7".into()), "{found}");
    forwarder.stop();
}

#[test]
fn a_notice_that_is_refused_is_kept_and_nobody_is_told_of_it() {
    let hop = NextHop::start(manner(&["PIPELINING"], by_name));
    let via = NextHop::start(manner(&["PIPELINING"], |_| "550 5.7.1 Not from here".to_owned()));
    let near = with_notices(&hop, via.address(), "");
    let forwarder = Forwarder::start(&near);
    assert!(greeted(&near).deliver("a@x.test", "gone@example.test", MESSAGE).starts_with("250"));
    wait_until_settled(&near, 2);
    let list = queue(&near, &["list"]);
    assert!(list.contains("550 5.7.1") && list.contains("<a@x.test>"), "{list}");
    forwarder.stop();
}

#[test]
fn a_notice_outlives_a_killed_forwarder_and_a_configuration_without_its_way() {
    let hop = NextHop::start(manner(&["PIPELINING"], by_name));
    let address = free_address();
    let near = with_notices(&hop, address, "");
    let forwarder = Forwarder::start(&near);
    assert!(greeted(&near).deliver("a@x.test", "gone@example.test", MESSAGE).starts_with("250"));
    let waits = |state: &str| {
        let start = Instant::now();
        loop {
            let list = queue(&near, &["list"]);
            if list.lines().any(|line| line.contains(state) && line.contains("to=\"notices\"")) {
                return list;
            }
            assert!(start.elapsed() < PATIENCE, "{state}: {list}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    waits(" waiting ");
    forwarder.kill();
    let file = near.folder().join("ringmx.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("dsn")).collect();
    let admin = "[forward_admin]\naddress = \"127.0.0.1:0\"";
    fs::write(&file, format!("{}\n{admin}\n", without.join("\n"))).expect("written");
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for("notices are held");
    let line = forwarder.wait_for(" admin address=");
    let admin = line.split_once(" admin address=").expect("an address").1.parse().expect("an address");
    let start = Instant::now();
    while !get(admin, "/metrics").body.contains("\nringmx_forward_notices_held 1\n") {
        assert!(start.elapsed() < PATIENCE, "{}", get(admin, "/metrics").body);
        std::thread::sleep(Duration::from_millis(20));
    }
    let list = waits(" held ");
    assert!(list.contains("there is no dsn_via"), "{list}");
    forwarder.stop();
    fs::write(&file, text).expect("written");
    let via =
        NextHop::on(TcpListener::bind(address).expect("it is free again"), manner(&["PIPELINING"], accept));
    let forwarder = Forwarder::start(&near);
    let [notice] = &notices(&via, &forwarder, 1)[..] else { panic!("one notice") };
    read(&notice.data);
    wait_until_settled(&near, 1);
    forwarder.stop();
}

#[test]
fn kills_at_any_time_lose_no_notice() {
    const MESSAGES: usize = 60;
    let mut random = Random::from_variable("FORWARD_SEED");
    let hop = NextHop::start(manner(&["PIPELINING"], by_name));
    let via = NextHop::start(manner(&["PIPELINING"], accept));
    let near = with_notices(&hop, via.address(), "");
    let mut client = greeted(&near);
    let mut forwarder = Forwarder::start(&near);
    let mut kills = 0;
    for number in 0..MESSAGES {
        // A domain has thirty an hour.
        let from = format!("a@d{number}.test");
        assert!(client.deliver(&from, "gone@example.test", MESSAGE).starts_with("250"));
        if number % 10 == 9 {
            std::thread::sleep(Duration::from_millis(random.below(150)));
            forwarder.kill();
            forwarder = Forwarder::start(&near);
            kills += 1;
        }
    }
    let start = Instant::now();
    while queue(&near, &["list"]).lines().filter(|line| line.contains(" dead ")).count() < MESSAGES {
        assert!(start.elapsed() < PATIENCE, "{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_settled(&near, MESSAGES);
    forwarder.stop();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for notice in via.taken() {
        *told.entry(notice.recipients.concat()).or_default() += 1;
    }
    assert_eq!(told.len(), MESSAGES, "one is lost: {told:?}");
    let twice: usize = told.values().map(|count| count - 1).sum();
    println!("{kills} kills, {twice} notices came twice");
    // Five connections to the server of notices at most, so of sixty these at most were under way.
    assert!(twice <= 5 * kills, "{told:?}");
}

#[test]
fn forged_senders_are_told_nothing() {
    let dns = DnsServer::start();
    dns.txt("x.example", "v=spf1 ip4:192.0.2.1 -all").txt("y.example", "v=spf1 ip4:192.0.2.2 ~all");
    let hop = NextHop::start(manner(&["PIPELINING"], by_name));
    let via = NextHop::start(manner(&["PIPELINING"], accept));
    // With [auth] and dsn_via it is the default.
    let near = Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         proxy_from = [\"127.0.0.1\"]\n[[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n\
         [dns]\nservers = [\"{}\"]\n[auth]\n[[forward]]\nto = [\"smtp://{}\"]\n\
         [forward_queue]\ndsn_via = \"smtp://{}\"\n",
        dns.address(),
        hop.address(),
        via.address()
    ));
    let forwarder = Forwarder::start(&near);
    let mut client = Client::connect(near.address());
    client.send(b"PROXY TCP4 192.0.2.1 192.0.2.254 4321 25\r\n");
    client.expect("220");
    client.command("EHLO mx.x.example", "250");
    for from in ["a@y.example", "a@z.example", "a@x.example"] {
        assert!(client.deliver(from, "gone@example.test", MESSAGE).starts_with("250"), "{from}");
    }
    wait_until_settled(&near, 3);
    let [notice] = &notices(&via, &forwarder, 1)[..] else { panic!("one notice") };
    assert_eq!(notice.recipients, ["a@x.example"]);
    wait_until_empty_of_mail(&near, &forwarder);
    forwarder.stop();
}

/// Nothing is left but what is dead.
fn wait_until_empty_of_mail(server: &Server, forwarder: &Forwarder) {
    assert_eq!(forwarder.log().matches(" notified ").count(), 1, "{}", forwarder.log());
    assert!(queue(server, &["list"]).lines().all(|line| line.contains(" dead ")));
}
