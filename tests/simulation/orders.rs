//! What a running shard is told: what to serve with from then on, and to stop.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::Consumer;
use ringmx::limits::ORDERS_MAX;
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::inbox::{Letterbox, inbox};
use ringmx::shard::listener::{DRAIN_WAIT, listen};
use ringmx::shard::order::{Listening, NewSocket, Order, Service};

use crate::shard::{Builder, CONNECTIONS_MAX, Running, listening, settings};

struct Simulation {
    world: World,
    running: Running,
    letterbox: Letterbox,
    config: Config,
}

impl Simulation {
    fn new() -> Self {
        Self::with(1, Faults::NONE)
    }

    fn with(seed: u64, faults: Faults) -> Self {
        let config = Config::embedded_default();
        let world = World::new(seed, faults);
        let pool = Pool::new(64, 4096, 4 << 20).expect("memory");
        let (letterbox, inbox) = inbox(0).expect("eventfd");
        let (to_sink, _) = Consumer::new().expect("eventfd").channel(1);
        let running = Builder::new(pool, settings(&config, "first.test"), ToSink::Worker(to_sink), inbox);
        Self { running: running.start(&world), world, letterbox, config }
    }

    fn turn(&mut self) {
        self.running.shard.turn().expect("a turn");
    }

    /// What a client was told after it said this.
    fn reply(&mut self, client: Socket, said: &str) -> String {
        self.world.write(client, said.as_bytes());
        let mut reply = Vec::new();
        for _ in 0..100 {
            self.turn();
            reply.extend(self.world.read(client));
            if reply.ends_with(b"\n") {
                break;
            }
        }
        String::from_utf8(reply).expect("ASCII")
    }

    /// A listener of this number whose sessions are told this name.
    fn listening(&self, number: u64, hostname: &str) -> Listening {
        listening(number, settings(&self.config, hostname), None)
    }

    /// Orders this. What is given back is held until the shard has none of it left.
    fn order(&self, listeners: Vec<Listening>, sockets: Vec<NewSocket>) -> Arc<Service> {
        let service = Arc::new(Service::new(listeners, CONNECTIONS_MAX, self.config.log.clone()));
        let order = Order::Serve(Arc::clone(&service), sockets);
        order.send(&self.letterbox.orders).expect("a place");
        service
    }
}

/// A socket for a listener of this number, and its name in the world.
fn new_socket(number: u64) -> (NewSocket, RawFd) {
    let socket = listen("127.0.0.1:0".parse().expect("an address"), 1, 0).expect("a socket");
    let name = socket.as_raw_fd();
    (NewSocket { number, socket, is_lent: false }, name)
}

#[test]
fn new_settings_are_for_sessions_that_begin_from_then_on() {
    let mut simulation = Simulation::new();
    let first = simulation.world.connect();
    assert!(simulation.reply(first, "").starts_with("220 first.test "));
    let second = simulation.order(vec![simulation.listening(0, "second.test")], Vec::new());
    assert!(!second.is_taken());
    // The order is carried out with the next turn, and the session that is open keeps what it has.
    assert!(simulation.reply(first, "HELO client.test\r\n").starts_with("250 first.test"));
    assert!(second.is_taken());
    let new = simulation.world.connect();
    assert!(simulation.reply(new, "").starts_with("220 second.test "));
    assert!(simulation.reply(new, "QUIT\r\n").starts_with("221 "));
    assert!(simulation.reply(first, "QUIT\r\n").starts_with("221 "));
    simulation.world.finish(new);
    (0..100).for_each(|_| simulation.turn());
    let ours_and_the_listeners = Arc::strong_count(&second.listeners[0].settings);
    assert_eq!(ours_and_the_listeners, 2, "a session that is over keeps none");
    assert_eq!(Arc::strong_count(&second), 1, "the shard keeps the parts and not the whole");
}

#[test]
fn of_what_was_before_the_shard_keeps_nothing_when_its_sessions_are_over() {
    let mut simulation = Simulation::new();
    let second = simulation.order(vec![simulation.listening(0, "second.test")], Vec::new());
    let client = simulation.world.connect();
    assert!(simulation.reply(client, "").starts_with("220 second.test "));
    let _third = simulation.order(vec![simulation.listening(0, "third.test")], Vec::new());
    simulation.turn();
    assert_eq!(Arc::strong_count(&second.listeners[0].settings), 2, "ours and the session's");
    simulation.world.reset(client);
    (0..100).for_each(|_| simulation.turn());
    assert_eq!(Arc::strong_count(&second.listeners[0].settings), 1, "so it is dropped by us");
}

#[test]
fn who_connected_before_a_listener_was_removed_is_served() {
    let mut simulation = Simulation::new();
    let (socket, second) = new_socket(1);
    let kept = simulation.order(
        vec![simulation.listening(0, "first.test"), simulation.listening(1, "second.test")],
        vec![socket],
    );
    let early = simulation.world.connect_to(Some(second));
    assert!(simulation.reply(early, "").starts_with("220 second.test "));
    let _removed = simulation.order(vec![simulation.listening(0, "first.test")], Vec::new());
    simulation.turn();
    // A handshake that was under way ends.
    simulation.world.pass(DRAIN_WAIT / 2);
    let late = simulation.world.connect_to(Some(second));
    assert!(simulation.reply(late, "").starts_with("220 second.test "));
    simulation.world.pass(DRAIN_WAIT);
    (0..10).for_each(|_| simulation.turn());
    let too_late = simulation.world.connect_to(Some(second));
    assert_eq!(simulation.reply(too_late, ""), "", "the kernel refuses it");
    for client in [early, late] {
        assert!(
            simulation.reply(client, "HELO client.test\r\n").starts_with("250 second.test"),
            "it goes on"
        );
        assert!(simulation.reply(client, "QUIT\r\n").starts_with("221 "));
    }
    (0..100).for_each(|_| simulation.turn());
    assert_eq!(Arc::strong_count(&kept.listeners[1].settings), 1, "nothing of the listener is left");
}

/// Clients come while listeners come and go, and everything goes wrong that may. Whoever connects while the
/// kernel lets it in is greeted with the name that its listener has in one of the generations, and can quit.
#[test]
fn listeners_come_and_go_under_faults_and_everybody_is_served() {
    let seeds = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seeds.map_or(0..60_u64, |seed: u64| seed..seed + 1) {
        come_and_go(seed);
    }
}

fn come_and_go(seed: u64) {
    let mut simulation = Simulation::with(seed, Faults::ALL);
    let mut generations = Vec::new();
    // Those that are there, and those that are removed with the time until which clients still come.
    let mut live: Vec<(u64, RawFd)> = Vec::new();
    let mut removed: Vec<(RawFd, Duration)> = Vec::new();
    let mut clients: Vec<(Socket, Vec<u8>)> = Vec::new();
    let mut next = 1;
    for step in 0..200 {
        match simulation.world.random(10) {
            0 if live.len() < 4 => {
                let (socket, name) = new_socket(next);
                live.push((next, name));
                next += 1;
                let all =
                    live.iter().map(|(number, _)| simulation.listening(*number, &format!("g{step}.test")));
                generations.push(simulation.order(all.collect(), vec![socket]));
            }
            1 if live.len() > 1 => {
                let (_, name) =
                    live.remove(usize::try_from(simulation.world.random(live.len() as u64)).expect("few"));
                // It is removed when the shard takes the order, so at this time at the earliest.
                removed.push((name, simulation.world.elapsed() + DRAIN_WAIT));
                let all =
                    live.iter().map(|(number, _)| simulation.listening(*number, &format!("g{step}.test")));
                generations.push(simulation.order(all.collect(), Vec::new()));
            }
            2..6 if clients.len() < 60 => {
                let now = simulation.world.elapsed();
                let open = removed.iter().filter(|(_, until)| now < *until).map(|(name, _)| *name);
                let open: Vec<RawFd> = live.iter().map(|(_, name)| *name).chain(open).collect();
                if !open.is_empty() {
                    let place = simulation.world.random(open.len() as u64);
                    let listener = open[usize::try_from(place).expect("few")];
                    clients.push((simulation.world.connect_to(Some(listener)), Vec::new()));
                }
            }
            6 => simulation.world.pass(DRAIN_WAIT / 4),
            _ => {}
        }
        simulation.turn();
    }
    simulation.world.set_faults(Faults::NONE);
    for _ in 0..100 {
        simulation.turn();
        for (client, heard) in &mut clients {
            heard.extend(simulation.world.read(*client));
        }
    }
    for (client, heard) in &clients {
        let heard = String::from_utf8_lossy(heard).into_owned();
        assert!(heard.starts_with("220 g"), "seed {seed}: {heard:?}");
        assert!(simulation.reply(*client, "QUIT\r\n").starts_with("221 "), "seed {seed}");
    }
    (0..200).for_each(|_| simulation.turn());
    simulation.world.pass(2 * DRAIN_WAIT);
    (0..200).for_each(|_| simulation.turn());
    // The last one is that of the listeners that there are.
    generations.pop();
    for generation in &generations {
        for told in &generation.listeners {
            let count = Arc::strong_count(&told.settings);
            assert_eq!(count, 1, "seed {seed}: the shard holds something of an old generation");
        }
    }
}

#[test]
fn there_is_always_a_place_for_the_order_to_stop() {
    let simulation = Simulation::new();
    let service = Arc::new(Service::new(Vec::new(), CONNECTIONS_MAX, simulation.config.log.clone()));
    let mut sent = 0;
    while Order::Serve(Arc::clone(&service), Vec::new()).send(&simulation.letterbox.orders).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, ORDERS_MAX - 1);
    assert!(simulation.letterbox.orders.send_and_ring(Order::Stop).is_ok());
}

#[test]
fn a_shard_that_is_told_to_stop_ends_idle_sessions_and_turns_new_clients_away() {
    let mut simulation = Simulation::new();
    let idle = simulation.world.connect();
    assert!(simulation.reply(idle, "").starts_with("220 "));
    assert!(simulation.letterbox.orders.send_and_ring(Order::Stop).is_ok());
    assert!(simulation.reply(idle, "").starts_with("421 4.3.2 "));
    let late = simulation.world.connect();
    assert!(simulation.reply(late, "").starts_with("421 4.3.2 "));
}
