//! A whole shard in one thread on virtual time, over a simulated ring: one seed decides how octets arrive,
//! which receives end early, in which order completions come, how slow the sink is and what it says.
//!
//! Here the sink is simple and mail data moves out of memory, to a spiller that is slow, fails and
//! hangs; in half of the runs messages pass stations on their way to the sink. `disk.rs` has disk sinks.
//!
//! After each run: every 250 stands for exactly one stored message, whole and unaltered, or one that a
//! station has kept; nothing else is stored that a client was told is not; one reply a command, in order; all
//! buffers and blocks came back; every connection ended.
//!
//! `SIMULATION_SEED=7` runs one seed again, `SIMULATION_SEEDS=100000` runs more of them; `SIMULATION_LOG=1`
//! logs (see `disk.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::shard::{self, Builder, Running};
use crate::spiller::SlowSpiller;
use crate::station::{Station, first_line};
use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use ringmx::handoff::message::{Message, Receipt};
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::inbox::inbox;
use ringmx::shard::order::Order;
use ringmx::smtp::settings::{Gate, Pipelining, Settings};

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Polite,
    /// Closes its half in the middle of its last message.
    HalfCloses,
    /// Its connection breaks in the middle of its last message.
    Resets,
}

struct Client {
    socket: Socket,
    /// What it still has to send.
    script: Vec<u8>,
    sent: usize,
    /// Where in the script it waits until it was greeted or told 354: behind so many such replies it may send
    /// up to there.
    waits: Vec<usize>,
    manner: Manner,
    /// The mail data of its messages, in order.
    bodies: Vec<Vec<u8>>,
    replies: Vec<u8>,
}

/// The sink of the simulation: slow, and now and then it fails.
struct SlowSink {
    from: Receiver<Box<Message>>,
    to: Sender<Receipt>,
    under_way: Vec<Box<Message>>,
    /// By the unique first line of the mail data.
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl SlowSink {
    fn work(&mut self, world: &World) {
        while let Waiting::Item(message) = self.from.take() {
            self.under_way.push(message);
        }
        while !self.under_way.is_empty() && world.random(3) > 0 {
            let index = usize::try_from(world.random(self.under_way.len() as u64)).expect("small");
            let mut message = self.under_way.swap_remove(index);
            let outcome =
                if world.random(8) == 0 { Outcome::TryAgain(TryAgain::Local) } else { Outcome::Stored };
            if outcome == Outcome::Stored {
                message.data.load().expect("the spill file can be read");
                let data = message.data.whole().expect("in memory").pieces().collect::<Vec<_>>().concat();
                let twice = self.stored.insert(first_line(&data), data);
                assert_eq!(twice, None, "a message is stored once");
            }
            self.to.answer(Receipt { message, outcome });
            self.to.ring_if_parked();
        }
    }
}

struct Simulation {
    world: World,
    running: Running,
    orders: Sender<Order>,
    sink: SlowSink,
    spiller: SlowSpiller,
    stations: Vec<Station>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let config = Config::embedded_default();
        let world = World::new(seed, Faults::ALL);
        let buffers = 16 << world.random(4);
        let mut pool = Pool::new(buffers, 4096, 16 << 20).expect("memory");
        if world.random(2) == 0 {
            // A buffer or two is much then.
            pool.spill_beyond(8 << 10);
        }
        let (letterbox, inbox) = inbox(0).expect("eventfd");
        let (spiller, overflow) = SlowSpiller::new(letterbox.written);
        let worker = Consumer::new().expect("eventfd");
        let (to_sink, from) = worker.channel(1 + usize::try_from(world.random(8)).expect("small"));
        let settings = Settings {
            // These clients do not wait for the answer to EHLO.
            gate: Gate { pipelining: Pipelining::Tolerate, ..config.listeners[0].gate.clone() },
            ..shard::settings(&config, "mx.test")
        };
        let (stations, ways): (Vec<_>, Vec<_>) = match world.random(2) {
            0 => (0..=world.random(3)).map(|_| Station::new(&world, letterbox.back.clone())).unzip(),
            _ => Default::default(),
        };
        let running = Builder::new(pool, settings, ToSink::Worker(to_sink), inbox)
            .spilling(overflow)
            .passing(ways)
            .start(&world);
        let sink = SlowSink { from, to: letterbox.receipts, under_way: Vec::new(), stored: BTreeMap::new() };
        Self { world, running, orders: letterbox.orders, sink, spiller, stations }
    }

    fn client(&self, number: usize) -> Client {
        let world = &self.world;
        let mut bodies = Vec::new();
        let mut waits = vec![0];
        let mut script = b"EHLO client.test\r\n".to_vec();
        let messages = 1 + world.random(4);
        for message in 0..messages {
            script.extend_from_slice(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
            waits.push(script.len());
            let mut body = format!("Subject: client {number} message {message}\r\n\r\n").into_bytes();
            for _ in 0..world.random(300) {
                match world.random(4) {
                    0 => body.extend_from_slice(b".\r\n"),
                    1 => body.extend_from_slice(b"..dots\r\n"),
                    _ => body.extend_from_slice(b"a line of text as it might stand in any mail\r\n"),
                }
            }
            for line in body.split_inclusive(|octet| *octet == b'\n') {
                if line.starts_with(b".") {
                    script.push(b'.');
                }
                script.extend_from_slice(line);
            }
            script.extend_from_slice(b".\r\n");
            bodies.push(body);
        }
        script.extend_from_slice(b"QUIT\r\n");
        let manner = match world.random(6) {
            0 => Manner::HalfCloses,
            1 => Manner::Resets,
            _ => Manner::Polite,
        };
        if manner != Manner::Polite {
            script.truncate(script.len() - b"\r\n.\r\nQUIT\r\n".len());
        }
        Client { socket: world.connect(), script, sent: 0, waits, manner, bodies, replies: Vec::new() }
    }

    /// A client sends a little and reads what came.
    fn act(&self, client: &mut Client) {
        client.replies.extend(self.world.read(client.socket));
        let most = usize::try_from(self.world.random(6000)).expect("small");
        let told = codes(&client.replies).iter().filter(|code| *code == "220" || *code == "354").count();
        let may_send = client.waits.get(told).copied().unwrap_or(client.script.len());
        let until = (client.sent + most).min(may_send);
        self.world.write(client.socket, &client.script[client.sent..until]);
        client.sent = until;
        if until == client.script.len() {
            match client.manner {
                Manner::Polite => {}
                Manner::HalfCloses => self.world.finish(client.socket),
                Manner::Resets => self.world.reset(client.socket),
            }
        }
    }

    /// Everybody but the shard and its clients does something.
    fn work(&mut self) {
        self.sink.work(&self.world);
        self.spiller.work(&self.world);
        self.stations.iter_mut().for_each(|station| station.work(&self.world));
    }

    fn run(&mut self) -> Vec<Client> {
        const TURNS_MAX: usize = 200_000;
        let count = 1 + usize::try_from(self.world.random(12)).expect("small");
        let mut clients: Vec<Client> = (0..count).map(|number| self.client(number)).collect();
        for _ in 0..TURNS_MAX {
            for client in &mut clients {
                if self.world.random(2) == 0 {
                    self.act(client);
                }
            }
            self.running.shard.turn().expect("a turn");
            self.work();
            // A polite client closes when the server has.
            for client in
                clients.iter().filter(|client| client.replies.windows(4).any(|part| part == b"221 "))
            {
                self.world.finish(client.socket);
            }
            if clients.iter().all(|client| self.world.is_closed(client.socket)) {
                assert!(self.orders.try_send(Order::Stop).is_ok());
                self.spiller.recover();
                self.stations.iter_mut().for_each(Station::recover);
                for _ in 0..1000 {
                    self.running.shard.turn().expect("a turn");
                    self.work();
                    self.world.pass(Duration::from_millis(1));
                }
                for client in &mut clients {
                    client.replies.extend(self.world.read(client.socket));
                }
                return clients;
            }
        }
        panic!("it does not end");
    }
}

/// Reply codes, one a reply.
fn codes(replies: &[u8]) -> Vec<String> {
    let lines = replies.split_inclusive(|octet| *octet == b'\n');
    lines
        .filter(|line| line.get(3) == Some(&b' '))
        .map(|line| String::from_utf8_lossy(&line[..3]).into_owned())
        .collect()
}

fn check(simulation: &Simulation, clients: &[Client]) {
    let mut stored = simulation.sink.stored.clone();
    let delivered = |body: &[u8]| {
        let mut all = simulation.stations.iter().filter_map(|one| one.delivered.get(&first_line(body)));
        let found = all.next();
        assert!(all.next().is_none(), "two stations have kept one message");
        found
    };
    let discarded =
        |body: &[u8]| simulation.stations.iter().any(|station| station.discarded.contains(&first_line(body)));
    for client in clients {
        let codes = codes(&client.replies);
        let complete =
            if client.manner == Manner::Polite { client.bodies.len() } else { client.bodies.len() - 1 };
        if client.manner == Manner::Polite {
            assert_eq!(codes.len(), 2 + 4 * client.bodies.len() + 1, "{codes:?}");
        }
        for (number, body) in client.bodies.iter().enumerate() {
            let kept = stored.remove(&first_line(body));
            if number >= complete {
                assert_eq!(kept, None, "the end of the mail data never came");
                continue;
            }
            // Greeting, EHLO, then MAIL, RCPT, DATA and the answer for each message.
            match codes.get(2 + 4 * number + 3).map(String::as_str) {
                Some("250") => {
                    let all: Vec<_> = kept.iter().chain(delivered(body)).collect();
                    let is_nobodys = discarded(body) && all.is_empty();
                    assert!(
                        is_nobodys || all == [body],
                        "a message answered 250 is lost, altered, or there twice"
                    );
                }
                // A station that is too late may have kept it: nobody knows then.
                Some("451" | "452" | "550" | "552") => {
                    assert_eq!(kept, None, "a message that was refused is stored");
                }
                // The client went away before its answer: absent or whole.
                None if client.manner != Manner::Polite => {
                    assert!(kept.is_none() || kept.as_ref() == Some(body));
                }
                other => panic!("message {number} was answered {other:?}: {codes:?}"),
            }
        }
    }
    assert!(stored.is_empty(), "nobody sent these: {:?}", stored.keys());
    let metrics = &simulation.running.metrics;
    assert_eq!(metrics.connections_open.value(), 0);
    assert_eq!(metrics.buffers_pinned.value(), 0, "all buffers came back");
    assert_eq!(metrics.block_bytes_used.value(), 0, "all blocks came back");
    assert_eq!(metrics.session_panics.value(), 0);
    let budget = &simulation.spiller.budget;
    assert_eq!((budget.files(), budget.bytes()), (0, 0), "all spill files are closed");
}

#[test]
fn the_promise_holds_for_every_seed() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match variable("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIMULATION_SEEDS").unwrap_or(300),
    };
    let mut sums = [0; 6];
    for seed in seeds.clone() {
        let result = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            let clients = simulation.run();
            check(&simulation, &clients);
            let (metrics, stations) = (&simulation.running.metrics, &simulation.stations);
            [
                metrics.spills.value(),
                metrics.stations_full.value(),
                metrics.stations_late.value(),
                stations.iter().map(|station| station.visits_seen).sum(),
                stations.iter().map(|station| station.delivered.len() as u64).sum(),
                stations.iter().map(|station| station.discarded.len() as u64).sum(),
            ]
        });
        let Ok(counts) = result else {
            panic!("seed {seed} fails; SIMULATION_SEED={seed} runs it again");
        };
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [spills, full, late, visits, delivered, discarded] = sums;
    assert!(
        sums.iter().all(|sum| *sum > 0) || seeds.end - seeds.start < 100,
        "each of these happens: {sums:?}"
    );
    println!(
        "seeds {seeds:?} hold; {spills} parts were moved out of memory; stations saw {visits} messages, \
         delivered {delivered}, discarded {discarded}, had no room for {full}, were too late for {late}"
    );
}
