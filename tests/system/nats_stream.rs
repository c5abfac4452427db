//! Mail that goes to a JetStream stream before its client is answered (`[[sink]] kind = "nats"`): one server,
//! which is killed, stopped, filled and asked for what it has.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, stuffed};
use support::nats_server::{NatsServer, Stored};
use support::server::Server;

use crate::forward::{MESSAGE, below_received};

/// Waits for it, and not for ever.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A receiver for this server's stream, with more keys of its sink and further tables.
fn config(nats: &NatsServer, keys: &str) -> String {
    format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"nats\"\n\
         servers = [\"nats://{}\"]\nstream = \"MAIL\"\nreplicas_min = 1\n{keys}",
        nats.address()
    )
}

const CREATE: &str = "create = true\n";

const WITH_SPOOL: &str = "create = true\nfallback = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n";

fn receiver(nats: &NatsServer, keys: &str) -> Server {
    Server::start_whole(&config(nats, keys))
}

/// The reply to a message, whole.
fn reply_to(server: &Server, data: &[u8]) -> String {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<u@example.test>", "250");
    client.command("DATA", "354");
    client.send(&stuffed(data));
    client.reply().trim_end().to_owned()
}

fn id_of(reply: &str) -> &str {
    reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"))
}

/// The content of a message of the stream, wherever it is.
fn content(nats: &NatsServer, stored: &Stored) -> Vec<u8> {
    if stored.header.contains("Ringmx-Object:") {
        return nats.object(stored.field("Ringmx-Object")).expect("its object");
    }
    stored.payload.clone()
}

fn large(bytes: usize) -> Vec<u8> {
    let mut text = String::from("Subject: large\r\n\r\n");
    let mut number = 0;
    while text.len() < bytes {
        write!(text, "line {number} of a message that is large\r\n").expect("a text");
        number += 1;
    }
    text.into_bytes()
}

fn spool(server: &Server, what: &str, more: &[&str]) -> String {
    let mut command = std::process::Command::new(support::server::program());
    command.args(["spool", what]).arg(server.folder().join("spool")).args(more);
    String::from_utf8(command.output().expect("it runs").stdout).expect("UTF-8")
}

/// Messages that are in the spool.
fn in_spool(server: &Server) -> usize {
    spool(server, "list", &[]).lines().filter(|line| line.contains(" stored ")).count()
}

#[test]
fn what_the_stream_has_is_what_the_client_was_told_of() {
    let Some(nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, CREATE);
    let reply = reply_to(&server, MESSAGE);
    let stored = nats.messages("MAIL");
    assert_eq!(stored.len(), 1, "before the client had its answer");
    let [one] = &stored[..] else { panic!("one") };
    assert_eq!((one.subject.as_str(), one.field("Nats-Msg-Id")), ("mail.default.0", id_of(&reply)));
    assert_eq!(below_received(&one.payload), MESSAGE);
    let envelope: Value = serde_json::from_str(one.field("Ringmx-Envelope")).expect("JSON");
    assert_eq!(envelope["id"], json!(id_of(&reply)));
    assert_eq!(
        (&envelope["reverse_path"], &envelope["recipients"]),
        (&json!("a@x.test"), &json!(["u@example.test"]))
    );
    let line = server.wait_for_log(|line| line.contains(" message session="));
    assert!(line.contains("outcome=stored") && line.contains("place=\"nats MAIL:1\""), "{line}");
    server.wait_for_log(|line| line.contains(" note ") && line.contains("is stored by 1 of 1 servers"));
    // A session has more messages, and two sessions at a time.
    reply_to(&server, MESSAGE);
    assert_eq!(nats.messages("MAIL").len(), 2);
}

#[test]
fn messages_of_all_sizes_come_whole_the_large_ones_as_objects() {
    let Some(nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, CREATE);
    let sizes = [10, 100_000, (1 << 20) - 2000, 1 << 20, (1 << 20) + 1, 3_000_000, 20 << 20];
    for size in sizes {
        let sent = large(size);
        let reply = reply_to(&server, &sent);
        let stored = nats.messages("MAIL").pop().expect("a message");
        assert_eq!(stored.field("Nats-Msg-Id"), id_of(&reply));
        let octets = content(&nats, &stored);
        assert!(below_received(&octets) == sent, "{size}");
        assert_eq!(stored.header.contains("Ringmx-Object"), octets.len() > stored.payload.len(), "{size}");
    }
    assert_eq!(nats.messages("MAIL").len(), sizes.len());
}

#[test]
fn a_stream_that_does_not_keep_mail_stops_the_start() {
    let Some(nats) = NatsServer::start("", &[]) else { return };
    let start = |keys: &str| Server::try_start(&config(&nats, keys), |_| {}).err();
    let why = start("").expect("it ends");
    assert!(why.contains("there is no stream MAIL; make one with 1 replicas"), "{why}");
    for (config, expected) in [
        (json!({ "storage": "memory" }), "in memory"),
        (json!({ "no_ack": true }), "no_ack"),
        (json!({ "retention": "interest" }), "retention interest"),
        (json!({ "subjects": ["mail.other.*"] }), "mail.default.0"),
    ] {
        nats.create("MAIL", &config);
        let why = start(CREATE).expect(expected);
        assert!(why.contains(expected), "{why}");
        nats.ask("STREAM.DELETE.MAIL", &json!({}));
    }
    nats.create("MAIL", &json!({}));
    let more = config(&nats, "").replace("replicas_min = 1", "replicas_min = 3");
    let why = Server::try_start(&more, |_| {}).err().expect("one of three");
    assert!(why.contains("has 1 of 3 replicas"), "{why}");
    assert!(start("").is_none());
}

#[test]
fn a_server_that_comes_back_gets_the_message_once_and_its_client_waits() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, CREATE);
    reply_to(&server, MESSAGE);
    // Killed: it is there again after three seconds.
    nats.kill();
    let reply = std::thread::scope(|threads| {
        let waits = threads.spawn(|| reply_to(&server, MESSAGE));
        std::thread::sleep(Duration::from_secs(3));
        nats.start_again();
        waits.join().expect("a reply")
    });
    assert_eq!(nats.messages("MAIL").pop().expect("it").field("Nats-Msg-Id"), id_of(&reply));
    // Stopped: what is published again and again is there once.
    nats.pause();
    let reply = std::thread::scope(|threads| {
        let waits = threads.spawn(|| reply_to(&server, MESSAGE));
        std::thread::sleep(Duration::from_secs(5));
        nats.resume();
        waits.join().expect("a reply")
    });
    let of_id = |stored: &Stored| stored.field("Nats-Msg-Id") == id_of(&reply);
    assert_eq!(nats.messages("MAIL").iter().filter(|stored| of_id(stored)).count(), 1);
    assert_eq!(nats.messages("MAIL").len(), 3);
}

#[test]
fn without_a_spool_mail_is_put_off_and_nobody_is_ready() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, &format!("{CREATE}[admin]\naddress = \"127.0.0.1:0\"\n"));
    let ready = || support::http::get(server.admin_address(), "/readyz").status;
    assert_eq!(ready(), 200);
    nats.kill();
    let begun = Instant::now();
    assert_eq!(reply_to(&server, MESSAGE), "451 4.3.0 Local trouble, try again later");
    let waited = begun.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(22)).contains(&waited), "{waited:?}");
    // Nobody waits for what is known to be down.
    let begun = Instant::now();
    assert_eq!(reply_to(&server, MESSAGE), "451 4.3.0 Local trouble, try again later");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    wait_until(|| ready() == 503);
    let readyz = support::http::get(server.admin_address(), "/readyz").body;
    assert!(readyz.contains("cluster"), "{readyz}");
    wait_until(|| {
        let told = support::http::get(server.admin_address(), "/status.json").body;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let problems = told["problems"].as_array().expect("a list");
        assert!(problems.iter().all(|problem| problem["severity"] == "error"), "no spool has it: {told}");
        told["cluster"]["up"] == false && !problems.is_empty()
    });
    nats.start_again();
    wait_until(|| ready() == 200);
    id_of(&reply_to(&server, MESSAGE));
    assert_eq!(nats.messages("MAIL").len(), 1);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    nats.kill();
    let server = receiver(&nats, CREATE);
    let warning = server.wait_for_log(|line| line.contains(" warning ") && line.contains("MAIL"));
    assert!(warning.contains("is not there now") && warning.contains("answered 451"), "{warning}");
    assert!(reply_to(&server, MESSAGE).starts_with("451 "));
    nats.start_again();
    wait_until(|| reply_to(&server, MESSAGE).starts_with("250 "));
    assert_eq!(nats.messages("MAIL").len(), 1);
}

#[test]
fn the_spool_has_what_the_stream_does_not_take_and_the_way_back_is_found() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, &format!("{WITH_SPOOL}[admin]\naddress = \"127.0.0.1:0\"\n"));
    let status = || {
        let told = support::http::get(server.admin_address(), "/status.json").body;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        (told["cluster"].clone(), told["problems"].clone())
    };
    server.wait_for_log(|line| line.contains("into=\"nats stream MAIL, or spool "));
    id_of(&reply_to(&server, MESSAGE));
    assert_eq!((nats.messages("MAIL").len(), in_spool(&server)), (1, 0));
    let nats_envelope = nats.messages("MAIL")[0].field("Ringmx-Envelope").to_owned();
    nats.kill();
    let begun = Instant::now();
    let reply = reply_to(&server, MESSAGE);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    // The octets and the envelope are those that the stream would have.
    assert_eq!(in_spool(&server), 1);
    let shown = spool(&server, "show", &[id_of(&reply)]);
    assert_eq!(below_received(shown.as_bytes()), MESSAGE);
    let members = |line: &str| {
        let envelope: Value = serde_json::from_str(line).expect("JSON");
        let members = envelope.as_object().expect("an object").keys().cloned();
        members.filter(|name| name != "cursor").collect::<Vec<_>>()
    };
    let shown = spool(&server, "show", &[id_of(&reply), "--envelope"]);
    assert_eq!(members(&shown), members(nats_envelope.trim()));
    // The next ones do not wait for the stream. A single one may be late where the machine is busy.
    let mut took = [(); 20].map(|()| {
        let begun = Instant::now();
        id_of(&reply_to(&server, MESSAGE));
        begun.elapsed()
    });
    took.sort();
    assert!(took[10] < Duration::from_secs(1), "{took:?}");
    assert_eq!(in_spool(&server), 21);
    // It is sampled once a second.
    wait_until(|| status().0["unanswered_total"] == 21);
    let (cluster, problems) = status();
    assert_eq!((&cluster["up"], &cluster["acknowledged_total"]), (&json!(false), &json!(1)), "{cluster}");
    assert_eq!((&problems[0]["severity"], problems[1].is_null()), (&json!("warning"), true), "{problems}");
    let page = support::http::get(server.admin_address(), "/").body;
    assert!(page.contains("The stream of the cluster takes no mail: the spool has it"), "{page}");
    nats.start_again();
    wait_until(|| {
        id_of(&reply_to(&server, MESSAGE));
        nats.messages("MAIL").len() > 1
    });
    let (spool, stream) = (in_spool(&server), nats.messages("MAIL").len());
    id_of(&reply_to(&server, MESSAGE));
    assert_eq!((in_spool(&server), nats.messages("MAIL").len()), (spool, stream + 1));
    server.wait_for_log(|line| line.contains("the stream MAIL takes mail again"));
}

#[test]
fn a_full_stream_is_452_or_the_spool_and_nothing_is_dropped() {
    let Some(nats) = NatsServer::start("", &[]) else { return };
    nats.create("MAIL", &json!({ "max_msgs": 2 }));
    let alone = receiver(&nats, CREATE);
    let first = reply_to(&alone, MESSAGE);
    id_of(&reply_to(&alone, MESSAGE));
    assert_eq!(reply_to(&alone, MESSAGE), "452 4.3.1 No space, try again later");
    let stored = nats.messages("MAIL");
    assert_eq!((stored.len(), stored[0].field("Nats-Msg-Id")), (2, id_of(&first)));
    let with_spool = receiver(&nats, WITH_SPOOL);
    id_of(&reply_to(&with_spool, MESSAGE));
    assert_eq!((in_spool(&with_spool), nats.messages("MAIL").len()), (1, 2));
    // The head of a large message has no room: its object does not stay.
    assert_eq!(reply_to(&alone, &large(2 << 20)), "452 4.3.1 No space, try again later");
    wait_until(|| nats.messages("OBJ_MAIL-large").iter().all(|stored| !stored.subject.contains(".C.")));
}

#[test]
fn a_stream_that_is_gone_is_451_until_it_is_there_again() {
    let Some(nats) = NatsServer::start("", &[]) else { return };
    nats.create("MAIL", &json!({}));
    let server = receiver(&nats, "");
    id_of(&reply_to(&server, MESSAGE));
    nats.ask("STREAM.DELETE.MAIL", &json!({}));
    assert!(reply_to(&server, MESSAGE).starts_with("451 4.3.0 "));
    server.wait_for_log(|line| line.contains("there is no stream MAIL"));
    // Another stream has the subject: that it has the mail is no acknowledgement.
    nats.create("OTHER", &json!({}));
    assert!(reply_to(&server, MESSAGE).starts_with("451 4.3.0 "));
    assert_eq!(nats.messages("OTHER").len(), 0);
    nats.ask("STREAM.DELETE.OTHER", &json!({}));
    nats.create("MAIL", &json!({}));
    wait_until(|| reply_to(&server, MESSAGE).starts_with("250 "));
}

#[test]
fn under_tls_the_server_is_verified_and_shown_a_certificate_of_ours_inside_the_sandbox_too() {
    let made = ringmx::tls::self_signed::make(&["127.0.0.1".to_owned()]).expect("a certificate");
    let files = [("chain.pem", &*made.chain), ("key.pem", &*made.key)];
    let tls = "tls { cert_file: \"FOLDER/chain.pem\", key_file: \"FOLDER/key.pem\", ca_file: \"FOLDER/chain.pem\", verify: true }";
    let Some(mut nats) = NatsServer::start(tls, &files) else { return };
    let of = |ca: &str, own: &str| {
        let file = |name: &str| nats.folder().join(name).display().to_string();
        let own = match own {
            "" => String::new(),
            _ => format!("tls_certificate = \"{}\"\ntls_key = \"{}\"\n", file("chain.pem"), file("key.pem")),
        };
        let ca = if ca.is_empty() { String::new() } else { format!("tls_ca = \"{}\"\n", file(ca)) };
        config(&nats, &format!("{CREATE}{ca}{own}")).replace("nats://", "tls://")
    };
    let (good, unknown, without) = (of("chain.pem", "own"), of("", "own"), of("chain.pem", ""));
    let server = Server::start_whole(&good);
    id_of(&reply_to(&server, MESSAGE));
    // Each connection is made anew, when files have been given up.
    nats.start_again();
    wait_until(|| reply_to(&server, MESSAGE).starts_with("250 "));
    let told = nats.told("/jsz");
    assert_eq!(told["messages"], json!(2), "{told}");
    for bad in [unknown, without] {
        let server = Server::start_whole(&bad);
        assert!(reply_to(&server, MESSAGE).starts_with("451 "), "{bad}");
        assert!(server.log().iter().any(|line| line.contains("is not there now")), "{:?}", server.log());
    }
}

#[test]
fn who_is_not_let_in_does_not_start() {
    let users = "authorization { user: \"u\", password: \"p\" }";
    let Some(nats) = NatsServer::start(users, &[]) else { return };
    let why = Server::try_start(&config(&nats, CREATE), |_| {}).err().expect("it ends");
    assert!(why.contains("the cluster does not let us in"), "{why}");
}
