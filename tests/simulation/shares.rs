//! Clients that take little of a shard beside others that take all they can get.

use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::Consumer;
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::inbox::inbox;

use crate::shard::{Builder, Running, settings};

const BUFFER_BYTES: usize = 4096;
/// Fewer than the buffers that are published, so that nobody finds none.
const FLOODS: usize = 30;

/// What a short turn takes of those that stream.
const SHORT_TURN_BYTES_MAX: usize = 16 * BUFFER_BYTES;

/// A shard, and clients whose sockets are always full of mail data.
struct Flooded {
    world: World,
    running: Running,
    floods: Vec<Socket>,
}

impl Flooded {
    fn new() -> Self {
        let config = Config::embedded_default();
        let world = World::new(1, Faults::NONE);
        let pool = Pool::new(512, BUFFER_BYTES, 4 << 20).expect("memory");
        let (_letterbox, inbox) = inbox(0).expect("eventfd");
        let (to_sink, _) = Consumer::new().expect("eventfd").channel(1);
        let builder = Builder::new(pool, settings(&config, "mx.test"), ToSink::Worker(to_sink), inbox);
        let running = builder.with_usual_shares().start(&world);
        let mut flooded = Self { running, world, floods: Vec::new() };
        for _ in 0..FLOODS {
            let flood = flooded.world.connect();
            for said in
                ["", "HELO flood.test\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@flood.test>\r\n", "DATA\r\n"]
            {
                flooded.say(flood, said);
            }
            // A bare LF is refused at the end of the mail data, and nothing of that is kept.
            flooded.world.write(flood, b"\n");
            flooded.floods.push(flood);
        }
        flooded
    }

    /// A client that takes little beside them, when turns have become short.
    fn beside(&mut self) -> Socket {
        let client = self.world.connect();
        self.say(client, "");
        self.say(client, "HELO client.test\r\n");
        let long = (0..1200).map(|_| self.turn()).max().expect("turns");
        assert!(long >= FLOODS * BUFFER_BYTES, "nobody takes little: turns are long, {long} octets");
        self.say(client, "NOOP\r\n");
        // What the receives got that were under way is handled first.
        (0..60).for_each(|_| _ = self.turn());
        client
    }

    /// What the client is told after it said this, and in how many turns, each with the octets of the floods
    /// that it took.
    fn say(&mut self, client: Socket, said: &str) -> (String, Vec<usize>) {
        self.world.write(client, said.as_bytes());
        let (mut reply, mut turns) = (Vec::new(), Vec::new());
        while !reply.ends_with(b"\n") {
            assert!(turns.len() < 100, "no reply to {said:?}");
            turns.push(self.turn());
            reply.extend(self.world.read(client));
        }
        (String::from_utf8(reply).expect("ASCII"), turns)
    }

    /// A turn, and how many octets of the floods it took.
    fn turn(&mut self) -> usize {
        for flood in &self.floods {
            let missing = (4 * BUFFER_BYTES).saturating_sub(self.world.waiting(*flood));
            self.world.write(*flood, &b"x".repeat(missing));
        }
        let waiting = |flooded: &Self| -> usize {
            flooded.floods.iter().map(|flood| flooded.world.waiting(*flood)).sum()
        };
        let before = waiting(self);
        self.running.shard.turn().expect("a turn");
        before - waiting(self)
    }
}

#[test]
fn turns_are_short_and_replies_soon_for_who_takes_little_beside_a_flood() {
    let mut flooded = Flooded::new();
    let client = flooded.beside();
    for said in ["RSET\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@client.test>\r\n", "DATA\r\n"] {
        let (reply, turns) = flooded.say(client, said);
        assert!(reply.starts_with(['2', '3']), "{reply}");
        let octets = turns.iter().max().expect("a turn");
        assert!(turns.len() <= 2 && *octets <= SHORT_TURN_BYTES_MAX, "{said:?}: {turns:?}");
        assert!(turns.iter().sum::<usize>() > 0, "the flood goes on: {turns:?}");
    }
    // A second later they are long again.
    flooded.world.pass(std::time::Duration::from_secs(2));
    let long = (0..100).map(|_| flooded.turn()).max().expect("turns");
    assert!(long >= FLOODS * BUFFER_BYTES, "{long} octets");
}

/// Each holds a descriptor from the moment on in which the kernel accepts it.
#[test]
fn in_a_short_turn_every_new_connection_is_taken() {
    let mut flooded = Flooded::new();
    flooded.beside();
    let before = flooded.running.metrics.connections.value();
    let newcomers: Vec<Socket> = (0..50).map(|_| flooded.world.connect()).collect();
    let octets = flooded.turn();
    assert!(octets <= SHORT_TURN_BYTES_MAX, "the turn was short: {octets} octets");
    assert_eq!(flooded.running.metrics.connections.value() - before, 50);
    flooded.turn();
    assert!(newcomers.iter().all(|one| flooded.world.read(*one).starts_with(b"220 ")));
}
