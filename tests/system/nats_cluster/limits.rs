//! A disk that is full, a stream that is full, messages of every size, and a cluster that knows who may come.

use support::client::{Client, stuffed};
use support::image;
use support::nats_cluster::{NatsCluster, Options};
use support::server::Server;

use super::STREAM;
use super::load::{Load, config, expect_whole, receiver};
use crate::forward::below_received;

/// The reply to a message for this many recipients.
fn reply_to(server: &Server, data: &[u8], recipients: &[String]) -> String {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&stuffed(data));
    client.reply().trim_end().to_owned()
}

fn user() -> [String; 1] {
    ["user@example.test".to_owned()]
}

/// A message of so many octets, at least ten, each line another.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = b"A: bcdef\r\n".to_vec();
    if bytes > 100 {
        text.extend_from_slice(b"\r\n");
    }
    for number in 0usize.. {
        if text.len() >= bytes {
            break;
        }
        text.extend_from_slice(format!("X-{number}: {}\r\n", number * 7919 % 104_729).as_bytes());
    }
    text.truncate(bytes - 2);
    if text.ends_with(b"\r") {
        text.pop();
        text.push(b'x');
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// The full disk is that of the stream's leader, then that of a follower.
#[test]
fn a_disk_that_is_full_takes_one_server_out_and_no_mail_with_it() {
    const DISK_BYTES: u64 = 16 << 20;
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for is_leader in [true, false] {
        let options = Options { small_disk: Some((0, DISK_BYTES)), ..Options::default() };
        let Some(mut cluster) = NatsCluster::start_with(options) else { return };
        let server = receiver(&cluster, "create = true\n");
        while (cluster.leader_of(STREAM) == 0) != is_leader {
            cluster.stream(&["step-down", STREAM]);
        }
        let ledger = server.folder().join("ledger");
        // A leader that is lost may hold mail up for 10 s: the rest is enough for the bound.
        let arguments = "--rate 40/s --duration 20s --connections 20 --size 80KiB --to user@example.test";
        let outcome = Load::start(&server, &ledger, arguments).finish();
        assert!(cluster.log(0).contains("no space left on device"), "its disk is full");
        assert!(outcome.accepted > 300, "{outcome:?}");
        // What it could not store does not come back by itself.
        cluster.stop(0);
        expect_whole(&cluster, &ledger, &[]);
    }
}

#[test]
fn a_stream_that_is_full_is_452_and_takes_mail_again_when_there_is_room() {
    let Some(cluster) = NatsCluster::start() else { return };
    cluster.stream(&["create", STREAM, "100000"]);
    let server = receiver(&cluster, "");
    let mut accepted = 0;
    let refused = loop {
        let reply = reply_to(&server, &text(20_000), &user());
        if !reply.starts_with("250 ") {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 10, "it is not full");
    };
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    assert_eq!(cluster.read(STREAM).len(), accepted);
    let id = cluster.read(STREAM)[0]["id"].as_str().expect("an id").to_owned();
    cluster.stream(&["remove", STREAM, &id]);
    let reply = reply_to(&server, &text(20_000), &user());
    assert!(reply.starts_with("250 "), "{reply}");
}

#[test]
fn messages_of_ten_octets_to_fifty_mebibytes_are_there_to_the_octet() {
    let Some(cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, "create = true\n[limits]\nmessage_size_max = \"60MiB\"\n");
    // The largest that is one message of the stream is near 1 MiB, with what is around it.
    let sizes = [10, 1000, 100_000, (1 << 20) - 2048, 1 << 20, 3 << 20, 50 << 20];
    let ids: Vec<String> = sizes
        .iter()
        .map(|size| {
            let reply = reply_to(&server, &text(*size), &user());
            let id = reply.strip_prefix("250 2.0.0 Ok: queued as ");
            id.unwrap_or_else(|| panic!("{size} octets: {reply}")).to_owned()
        })
        .collect();
    let folder = server.folder().join("read");
    std::fs::create_dir(&folder).expect("a folder");
    let read = cluster.stream(&["read", STREAM, folder.to_str().expect("UTF-8")]);
    assert_eq!(read.lines().count(), sizes.len());
    for ((line, id), size) in read.lines().zip(&ids).zip(sizes) {
        let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((read["id"].as_str(), &read["problem"]), (Some(id.as_str()), &serde_json::Value::Null));
        assert_eq!(read["envelope"]["size"], size);
        let octets = std::fs::read(folder.join(read["sequence"].to_string())).expect("a payload");
        assert!(below_received(&octets) == text(size), "{size} octets");
        assert_eq!(read["object"].is_string(), size >= 1 << 20, "{size} octets");
    }
}

#[test]
fn recipients_whose_envelope_fits_no_header_are_put_off_and_the_others_have_the_message() {
    let Some(cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, "create = true\n");
    // Usual names, long ones, and some that take three times their octets.
    for (number, (parameters, name)) in
        [("", "user"), ("", &*"a".repeat(60)), (" SMTPUTF8", &*"\u{fc}".repeat(30))].into_iter().enumerate()
    {
        let mut client = Client::greeted(server.address());
        client.command(&format!("MAIL FROM:<a@x.test>{parameters}"), "250");
        let mut taken = Vec::new();
        let refusal = loop {
            let recipient = format!("{name}{:04}@example.test", taken.len());
            client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
            let reply = client.reply();
            if !reply.starts_with("250 ") {
                break reply;
            }
            taken.push(recipient);
        };
        assert!(
            refusal.starts_with("452 4.5.3 ") && (100..1000).contains(&taken.len()),
            "{}: {refusal}",
            taken.len()
        );
        client.command("DATA", "354");
        client.send(b"Subject: x\r\n\r\n.\r\n");
        client.expect("250");
        println!("{} recipients of {} octets", taken.len(), taken[0].len());
        assert_eq!(cluster.read(STREAM)[number]["envelope"]["recipients"], serde_json::json!(taken));
    }
}

#[test]
fn a_receiver_comes_by_tls_with_a_certificate_and_credentials() {
    let options = Options { tls: true, client_certificates: true, credentials: true, ..Options::default() };
    let Some(cluster) = NatsCluster::start_with(options) else { return };
    let file = |name: &str| cluster.folder().join(name).display().to_string();
    let keys = format!(
        "create = true\ncredentials = \"{}\"\ntls_ca = \"{}\"\ntls_certificate = \"{}\"\ntls_key = \"{}\"\n",
        file("user.creds"),
        file("tls/certificate.pem"),
        file("tls/client.pem"),
        file("tls/client.key")
    );
    let server = receiver(&cluster, &keys);
    let reply = reply_to(&server, &text(2 << 20), &user());
    assert!(reply.starts_with("250 "), "{reply}:\n{}\n{}", server.log().join("\n"), cluster.log(0));
    assert_eq!(cluster.read(STREAM).len(), 1);
    let without = config(&cluster, &keys.replace("credentials", "# credentials"));
    let why = Server::try_start(&without, |_| {}).err().expect("it ends");
    assert!(why.contains("does not let us in"), "{why}");
}
