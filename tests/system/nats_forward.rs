//! The forwarder with a JetStream stream as next hop: what the receiver's spool has while the cluster is away
//! is in the stream once, when it is back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::client::{Client, stuffed};
use support::load::Random;
use support::nats_server::{NatsServer, Stored};
use support::server::Server;

use crate::forward::{Forwarder, MESSAGE, below_received, wait_until, wait_until_empty};

/// Kills of the server and of the forwarder.
const KILLS: u64 = 4;

/// A receiver whose mail goes to the stream of this server, or to a spool; with further tables.
fn receiver(nats: &NatsServer, more: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"nats\"\n\
         servers = [\"nats://{}\"]\nstream = \"MAIL\"\nreplicas_min = 1\ncreate = true\npartitions = 2\n\
         fallback = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n{more}",
        nats.address()
    ))
}

/// The id of a message that is accepted.
fn send(server: &Server, recipients: &[&str], data: &[u8]) -> String {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&stuffed(data));
    let reply = client.reply();
    reply.trim_end().strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}")).to_owned()
}

fn ids(stored: &[Stored]) -> BTreeSet<String> {
    stored.iter().map(|one| one.field("Nats-Msg-Id").to_owned()).collect()
}

#[test]
fn what_the_spool_has_goes_to_the_stream_as_if_it_had_gone_there_at_once() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    // Without a route, and with one for the same stream.
    for route in [String::new(), format!("[[forward]]\nto = [\"nats://{}/MAIL\"]\n", nats.address())] {
        let server = receiver(&nats, &route);
        let before = nats.messages("MAIL").len();
        let direct = send(&server, &["u@example.test", "v@example.test"], MESSAGE);
        assert_eq!(nats.messages("MAIL").len(), before + 1);
        nats.kill();
        let large = [MESSAGE, &b"x".repeat(60), b"\r\n"].concat().repeat(30_000);
        let waiting = send(&server, &["u@example.test", "v@example.test"], MESSAGE);
        let waiting_large = send(&server, &["u@example.test"], &large);
        let forwarder = Forwarder::start(&server);
        wait_until(&forwarder, "it knows", || forwarder.log().contains("next-hop-down"));
        nats.start_again();
        wait_until_empty(&server, &forwarder);
        forwarder.stop();
        let stored = nats.messages("MAIL");
        assert_eq!(stored.len(), before + 3, "each once");
        let find = |id: &str| stored.iter().find(|one| one.field("Nats-Msg-Id") == id).expect("it is there");
        let (one, other) = (find(&direct), find(&waiting));
        assert_eq!(one.subject, other.subject, "the same recipient has the same partition");
        assert_eq!(below_received(&other.payload), MESSAGE);
        let members = |stored: &Stored| {
            let envelope: Value = serde_json::from_str(stored.field("Ringmx-Envelope")).expect("JSON");
            let mut envelope = envelope.as_object().expect("an object").clone();
            // Of two sessions.
            for name in ["id", "time", "client", "session"] {
                envelope.remove(name);
            }
            envelope
        };
        assert_eq!(members(one), members(other));
        let object = nats.object(find(&waiting_large).field("Ringmx-Object")).expect("its object");
        assert!(below_received(&object) == large);
    }
}

#[test]
fn nothing_is_lost_or_twice_when_the_stream_or_the_forwarder_is_killed() {
    let Some(mut nats) = NatsServer::start("", &[]) else { return };
    let server = receiver(&nats, "");
    let mut random = Random::from_variable("FORWARD_SEED");
    let mut forwarder = Forwarder::start(&server);
    let mut accepted = BTreeSet::new();
    for kill in 0..KILLS {
        let until = Instant::now() + Duration::from_millis(500 + random.below(1500));
        while Instant::now() < until {
            assert!(accepted.insert(send(&server, &["u@example.test"], MESSAGE)));
        }
        if kill % 2 == 0 {
            nats.kill();
            accepted.insert(send(&server, &["u@example.test"], MESSAGE));
            nats.start_again();
        } else {
            forwarder.kill();
            forwarder = Forwarder::start(&server);
        }
    }
    wait_until_empty(&server, &forwarder);
    forwarder.stop();
    let stored = nats.messages("MAIL");
    assert!(stored.iter().all(|one| below_received(&one.payload) == MESSAGE), "none is altered");
    assert_eq!(ids(&stored), accepted, "none is lost");
    assert_eq!(stored.len(), accepted.len(), "none is there twice");
}
