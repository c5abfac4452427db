//! Who has to give way when what connections share becomes scarce. It looks at all connections, so not often.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::connections::Connections;
use super::context::Context;
use super::serving::Serving;
use super::silence::Scarcity;
use super::table::Key;
use crate::ring::Ring;

/// How often connections are looked at while something is scarce.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When connections were looked at for who has been silent for too long.
#[derive(Debug)]
pub(super) struct Relief {
    looked_at: Instant,
    /// Whether something was scarce then, so that it is looked at again though nothing happens.
    is_felt: bool,
}

impl Relief {
    /// Nothing is scarce.
    pub(super) fn new(now: Instant) -> Self {
        Self { looked_at: now, is_felt: false }
    }

    /// How long a shard may sleep that has nothing else to do.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.is_felt.then_some(LOOK_EVERY)
    }

    /// Lets those give way who have been silent for too long for what is left of memory and places.
    pub(super) fn relieve_silent<R: Ring>(
        &mut self,
        connections: &mut Connections,
        context: &mut Context<R>,
    ) {
        if context.turn.now < self.looked_at + LOOK_EVERY {
            return;
        }
        self.looked_at = context.turn.now;
        let scarcity =
            Scarcity { memory: context.pool.pressure().used_percent(), places: connections.used_percent() };
        self.is_felt = scarcity.is_felt();
        if !self.is_felt {
            return;
        }
        for key in connections.keys() {
            let gives_way = |connection: &mut Connection| connection.give_way(scarcity, context);
            if connections.find(key).is_some_and(gives_way) {
                connections.mark(key);
            }
        }
    }
}

/// There is no room for spill files: of this shard's messages that hold one and are hardly being sent, the
/// slowest gives way (`421 4.4.2`). What it held is free for the next message that grows.
pub(super) fn relieve_spilling<R: Ring>(connections: &mut Connections, context: &mut Context<R>) {
    let now = context.turn.now;
    if !context.parts.may_relieve(now) {
        return;
    }
    let keys = connections.keys().into_iter();
    let rates = keys.filter_map(|key| Some((connections.find(key)?.slow_rate(now)?, key)));
    let slowest = rates.min_by_key(|(rate, _)| *rate);
    if let Some((_, key)) = slowest {
        connections.touch(key, |connection| connection.serve(context, Serving::time_out));
    }
}

/// Makes room when the budget for what connections hold is nearly used up: at least half as much as anybody
/// holds is too much then.
pub(super) fn relieve_held<R>(connections: &mut Connections, context: &mut Context<R>) {
    while context.turn.held.is_nearly_used_up() {
        let keys = connections.keys();
        let held = |connections: &mut Connections, key: Key| {
            connections.find(key).map_or(0, |connection| connection.could_give_up())
        };
        let most = keys.iter().map(|key| held(connections, *key)).max().unwrap_or(0);
        if most == 0 {
            break;
        }
        for key in keys {
            if context.turn.held.is_nearly_used_up() && held(connections, key) * 2 >= most {
                context.metrics.held_refusals.add(1);
                connections.touch(key, |connection| connection.give_up_held(context));
            }
        }
    }
}
