//! What a shard counts of sessions that it ends itself.

use std::sync::Arc;

use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::Consumer;
use ringmx::mail::envelope::Mailbox;
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::inbox::inbox;
use ringmx::smtp::policy::{Policy, Verdict};
use ringmx::smtp::settings::Settings;

use crate::shard::{Builder, CONNECTIONS_MAX, Running, settings};

/// A policy with a bug.
struct Broken;

impl Policy for Broken {
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict {
        assert!(mailbox.local_part != b"bug", "a bug that this test wants");
        Verdict::Accept
    }

    fn postmaster(&self) -> (&[u8], &[u8]) {
        (b"postmaster", b"x.test")
    }
}

struct Simulation {
    world: World,
    running: Running,
}

impl Simulation {
    fn new() -> Self {
        let world = World::new(1, Faults::NONE);
        let pool = Pool::new(64, 4096, 4 << 20).expect("memory");
        let (_letterbox, inbox) = inbox(0).expect("eventfd");
        let (to_sink, _) = Consumer::new().expect("eventfd").channel(1);
        let settings =
            Settings { policy: Arc::new(Broken), ..settings(&Config::embedded_default(), "mx.test") };
        let running = Builder::new(pool, settings, ToSink::Worker(to_sink), inbox).start(&world);
        Self { world, running }
    }

    /// What a client was told after it said this.
    fn reply(&mut self, client: Socket, said: &str) -> String {
        self.world.write(client, said.as_bytes());
        let mut reply = Vec::new();
        for _ in 0..100 {
            self.running.shard.turn().expect("a turn");
            reply.extend(self.world.read(client));
            if reply.ends_with(b"\n") {
                break;
            }
        }
        String::from_utf8(reply).expect("ASCII")
    }

    /// How many replies with these codes were counted.
    fn counted(&self, code: u16, enhanced: &str) -> u64 {
        let replies = self.running.metrics.tally.read().replies();
        replies.iter().find(|(codes, _)| *codes == (code, enhanced)).expect("such a reply").1
    }
}

#[test]
fn a_bug_ends_one_session_and_what_is_said_of_it_is_counted() {
    let mut simulation = Simulation::new();
    let (client, other) = (simulation.world.connect(), simulation.world.connect());
    for client in [client, other] {
        assert!(simulation.reply(client, "").starts_with("220 "));
        assert!(simulation.reply(client, "HELO client.test\r\n").starts_with("250 "));
        assert!(simulation.reply(client, "MAIL FROM:<a@x.test>\r\n").starts_with("250 "));
    }
    let reply = simulation.reply(client, "RCPT TO:<bug@x.test>\r\n");
    assert_eq!(reply, "421 4.3.0 Local trouble, try again later\r\n");
    assert_eq!((simulation.running.metrics.session_panics.value(), simulation.counted(421, "4.3.0")), (1, 1));
    assert!(simulation.reply(other, "RCPT TO:<b@x.test>\r\n").starts_with("250 "));
}

#[test]
fn who_finds_no_place_is_told_so_and_counted() {
    let mut simulation = Simulation::new();
    for _ in 0..CONNECTIONS_MAX {
        let client = simulation.world.connect();
        assert!(simulation.reply(client, "").starts_with("220 "));
    }
    let client = simulation.world.connect();
    assert!(simulation.reply(client, "").starts_with("421 4.3.2 "));
    let metrics = &simulation.running.metrics;
    assert_eq!((metrics.connections_refused_full.value(), simulation.counted(421, "4.3.2")), (1, 1));
}
