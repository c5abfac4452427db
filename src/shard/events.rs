//! What the ring tells a shard, and in which order that is handled: light connections first (`shares`).

use rustix::io::Errno;

use super::Shard;
use super::connection::Connection;
use super::context::Context;
use super::shares::{HANDSHAKE, cost};
use super::table::Key;
use crate::ring::{Event, Received, Ring, Socket};
use crate::smtp::session::Session;

impl<R: Ring> Shard<R> {
    /// Handles the events of this turn, and goes on with handshakes that earlier turns had no time for.
    pub(super) fn handle_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let shares = &self.context.turn.shares;
        if shares.are_turns_short() || shares.events_waiting() > 0 {
            self.handle_light_ones_first(&mut events);
        } else {
            self.resume_handshakes();
            events.drain(..).for_each(|event| self.handle(event));
        }
        self.events = events;
    }

    /// Events of light connections, whose replies leave at once; then new connections, all of them, because
    /// each holds a descriptor that nobody counts before; then as many of the others as a short turn has time
    /// for.
    fn handle_light_ones_first(&mut self, events: &mut Vec<Event>) {
        let mut accepted = Vec::new();
        for event in events.drain(..) {
            if matches!(event, Event::Accepted { .. }) {
                accepted.push(event);
            } else if self.is_first(&event) {
                self.handle(event);
            } else {
                if let Some(connection) = key_of(&event).and_then(|key| self.connections.find(key)) {
                    connection.share.defer();
                }
                self.context.turn.shares.queue_event(event);
            }
        }
        self.connections.settle(&mut self.context);
        self.context.ring.submit();
        self.resume_handshakes();
        for event in accepted {
            self.handle(event);
        }
        let mut spent = 0;
        while let Some(event) = self.context.turn.shares.next_event(&mut spent) {
            if let Some(connection) = key_of(&event).and_then(|key| self.connections.find(key)) {
                connection.share.end_deferral();
            }
            self.handle(event);
        }
    }

    /// Whether an event need not wait: it is of a light connection none of whose events wait already, or of
    /// none that is there.
    fn is_first(&mut self, event: &Event) -> bool {
        let Some(connection) = key_of(event).and_then(|key| self.connections.find(key)) else { return true };
        self.context.turn.shares.is_first(connection.share)
    }

    fn handle(&mut self, event: Event) {
        let cost = cost(&event);
        let Self { context, connections, .. } = self;
        match event {
            Event::Accepted { token, result, more } => {
                self.handle_accepted(token.value(), result, more, cost);
            }
            Event::Received { token, received, more } => {
                let key = Key::from_word(token.value());
                let buffer =
                    if let Received::Octets { buffer, .. } = &received { Some(*buffer) } else { None };
                let stalled = connections.touch(key, |one| {
                    let stalled = charged(one, cost, context, |one, context| {
                        one.handle_received(received, more, context)
                    });
                    stalled.then_some(one.share)
                });
                match stalled {
                    Some(None) => {}
                    Some(Some(share)) => {
                        self.provision.handle_stall(share.streams());
                        connections.stall(key, context.turn.shares.is_light(share));
                    }
                    // Nobody reads these octets any more, but the buffer is ours.
                    None => {
                        if let Some(buffer) = buffer {
                            context.pool.received(buffer);
                            context.pool.unpin(buffer);
                        }
                    }
                }
            }
            Event::Sent { token, head, result } => {
                let complete = result.is_ok_and(|count| count == head.len());
                context.turn.keep_spare(head);
                connections.touch(Key::from_word(token.value()), |one| {
                    charged(one, cost, context, |one, context| one.handle_sent(complete, context));
                });
            }
            Event::Peeked { token, waiting } => {
                connections.touch(Key::from_word(token.value()), |one| one.handle_peeked(waiting, context));
            }
            Event::Connected { .. } | Event::Woken => {}
        }
    }

    fn handle_accepted(&mut self, number: u64, result: Result<Socket, Errno>, more: bool, cost: u64) {
        // It is there as long as its accept is: what is removed goes after its last event.
        let Some(listener) = self.listeners.iter_mut().find(|one| one.number() == number) else { return };
        let context = &mut self.context;
        listener.handle_accept(result.err(), more, context.turn.now);
        let socket = match result {
            Ok(socket) => socket,
            Err(error) => return self.note_accept_failure(error),
        };
        // It fails when the client is gone already.
        let Ok(client) = context.ring.peer_address(socket) else {
            return context.ring.close(socket);
        };
        let is_stopping = self.stopping.is_some();
        let full = self.connections.are_full() || is_stopping;
        let (settings, tls, front) = (listener.settings(), listener.tls(), listener.front());
        context.metrics.connections.add(1);
        match (is_stopping, full) {
            (true, _) => context.metrics.connections_refused_stopping.add(1),
            (false, true) => context.metrics.connections_refused_full.add(1),
            (false, false) => {}
        }
        let inserted = self.connections.insert(|key| {
            let session =
                Session::new(settings.clone(), client, context.turn.now).counted_in(&context.metrics.tally);
            let named = (context.name_session(), context.turn.wall_clock);
            let mut share = context.turn.shares.of_newcomer();
            context.turn.shares.charge(&mut share, cost);
            let mut connection =
                Connection::new((key, share), socket, session, tls, front, named, context.turn.now);
            if full {
                connection.serve(context, |serving, _| serving.refuse_place(is_stopping));
            } else {
                connection.serve(context, |serving, context| serving.begin(client.ip(), context));
            }
            connection
        });
        if !inserted {
            // There is no memory to be polite with.
            context.ring.close(socket);
        }
    }

    /// A listener that was removed is cancelled.
    fn note_accept_failure(&mut self, error: Errno) {
        if self.stopping.is_none() && !matches!(error, Errno::CONNABORTED | Errno::CANCELED) {
            let Context { lines, log, turn, metrics, .. } = &mut self.context;
            metrics.accept_failures.add(1);
            lines.note_accept_failure(error, log, turn.now, turn.wall_clock);
        }
    }

    /// Goes on with handshakes that earlier turns had no time for.
    fn resume_handshakes(&mut self) {
        let Self { context, connections, .. } = self;
        while let Some(key) = context.turn.handshakes.next() {
            connections.touch(key, |one| charged(one, 0, context, Connection::resume_handshake));
        }
    }
}

/// Something happens to a connection, which costs so much, and the steps of a TLS handshake that it takes.
fn charged<R: Ring, T>(
    one: &mut Connection,
    cost: u64,
    context: &mut Context<R>,
    act: impl FnOnce(&mut Connection, &mut Context<R>) -> T,
) -> T {
    let before = context.turn.handshakes.steps();
    context.turn.shares.charge(&mut one.share, cost);
    let result = act(one, context);
    let steps = context.turn.handshakes.steps() - before;
    if steps > 0 {
        context.turn.shares.charge(&mut one.share, HANDSHAKE * steps as u64);
    }
    result
}

/// The connection that an event is of; none where it is of none.
fn key_of(event: &Event) -> Option<Key> {
    match event {
        Event::Received { token, .. } | Event::Sent { token, .. } | Event::Peeked { token, .. } => {
            Some(Key::from_word(token.value()))
        }
        Event::Accepted { .. } | Event::Connected { .. } | Event::Woken => None,
    }
}
