//! What a running shard is told: new settings for sessions that begin from then on, and to stop.

use std::sync::Arc;

use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::Consumer;
use ringmx::limits::ORDERS_MAX;
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::inbox::{Letterbox, inbox};
use ringmx::shard::order::Order;

use crate::shard::{Builder, Running, settings};

struct Simulation {
    world: World,
    running: Running,
    letterbox: Letterbox,
    config: Config,
}

impl Simulation {
    fn new() -> Self {
        let config = Config::embedded_default();
        let world = World::new(1, Faults::NONE);
        let pool = Pool::new(64, 4096, 4 << 20).expect("memory");
        let (letterbox, inbox) = inbox().expect("eventfd");
        let (to_sink, _) = Consumer::new().expect("eventfd").channel(1);
        let running = Builder::new(pool, settings(&config, "first.test"), ToSink::Worker(to_sink), inbox);
        Self { running: running.start(&world), world, letterbox, config }
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
}

#[test]
fn new_settings_are_for_sessions_that_begin_from_then_on() {
    let mut simulation = Simulation::new();
    let first = simulation.world.connect();
    assert!(simulation.reply(first, "").starts_with("220 first.test "));
    let second = Arc::new(settings(&simulation.config, "second.test"));
    assert!(Order::Settings(vec![Arc::clone(&second)]).send(&simulation.letterbox.orders));
    // The order is carried out with the next turn, and the session that is open keeps what it has.
    assert!(simulation.reply(first, "HELO client.test\r\n").starts_with("250 first.test"));
    let new = simulation.world.connect();
    assert!(simulation.reply(new, "").starts_with("220 second.test "));
    assert!(simulation.reply(new, "QUIT\r\n").starts_with("221 "));
    assert!(simulation.reply(first, "QUIT\r\n").starts_with("221 "));
    simulation.world.finish(new);
    (0..100).for_each(|_| simulation.running.shard.turn().expect("a turn"));
    assert_eq!(Arc::strong_count(&second), 2, "ours and the listener's: a session that is over keeps none");
}

#[test]
fn there_is_always_a_place_for_the_order_to_stop() {
    let simulation = Simulation::new();
    let mut sent = 0;
    while Order::Settings(Vec::new()).send(&simulation.letterbox.orders) {
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
