//! What the log is told of deliveries and next hops, and what next hops are told of clients.

use std::time::Duration;

use super::Engine;
use super::connection::Current;
use super::hand::Down;
use crate::forward::notice::WAITED_TOO_LONG;
use crate::forward::schedule::{DestinationId, Ended, Fate};
use crate::log::events;
use crate::mail::client::{ClientFacts, Standing};
use crate::metrics::ForwardResult;
use crate::ring::Ring;
use crate::sink::spool::envelope::StoredEnvelope;

/// The client of a message, for a next hop that is told of it.
pub(super) fn client_facts(stored: &StoredEnvelope) -> ClientFacts {
    let protocol = ["SMTP", "ESMTP", "ESMTPS", "UTF8SMTP", "UTF8SMTPS", "LMTP", "LMTPS"];
    let protocol = protocol.into_iter().find(|word| word.as_bytes() == stored.protocol.as_slice());
    ClientFacts {
        address: stored.client,
        ehlo: stored.ehlo.clone(),
        protocol: protocol.unwrap_or("ESMTP"),
        tls: None,
        standing: Standing::default(),
    }
}

impl<R: Ring> Engine<R> {
    /// What became of a message on a connection, and of whom it did not go to.
    pub(super) fn tell_delivered(&mut self, current: &Current, fate: Fate) {
        let stored = &current.message.envelope;
        let destination = self.routes.name(current.delivery.destination);
        let took = self.now.saturating_duration_since(current.begun_at);
        let age = self.wall_clock.duration_since(stored.received_at).unwrap_or_default();
        let wall_clock = self.wall_clock;
        let tells_messages = self.tells_messages;
        let mut tell = |event, count: usize, reply: &str| {
            if count > 0 {
                let record = self.log.record(event, wall_clock);
                let record = record.plain("id", stored.id).text("destination", destination.as_bytes());
                let record = record.number("recipients", count as u64).text("reply", reply.as_bytes());
                let record = record.number("queue_ms", milliseconds(current.queued));
                let record = match current.connect {
                    Some(connect) => record.number("connect_ms", milliseconds(connect)),
                    None => record,
                };
                record.number("took_ms", milliseconds(took)).number("age_ms", milliseconds(age)).end();
            }
        };
        let is_held = matches!(fate, Fate::Held { .. });
        let remaining = current.deferred.len() + current.lost.len();
        if tells_messages {
            tell(&events::FORWARDED, current.sent.len(), &current.accepted_by);
        }
        if is_held {
            tell(&events::HELD, remaining, &current.deferred_by);
        } else if tells_messages {
            tell(&events::DEFERRED, remaining, &current.deferred_by);
        }
        let said = current.failed.first().map_or("", |failed| &failed.said);
        tell(&events::UNDELIVERABLE, current.failed.len(), said);
    }

    /// Recipients that no route takes: nobody tries them.
    pub(super) fn tell_unrouted(&mut self, stored: &StoredEnvelope, count: u32) {
        self.metrics.engine.unrouted.add(count.into());
        let record = self.log.record(&events::UNROUTED, self.wall_clock);
        record.plain("id", stored.id).number("recipients", count.into()).end();
    }

    /// Recipients for whom it waited too long.
    pub(super) fn tell_expired(&mut self, stored: &StoredEnvelope, destination: DestinationId, count: u32) {
        self.count(destination, ForwardResult::Expired, count as usize);
        let destination = self.routes.name(destination);
        let age = self.wall_clock.duration_since(stored.received_at).unwrap_or_default();
        let record = self.log.record(&events::UNDELIVERABLE, self.wall_clock);
        let record = record.plain("id", stored.id).text("destination", destination.as_bytes());
        let record = record.number("recipients", count.into()).text("reply", WAITED_TOO_LONG.as_bytes());
        record.number("age_ms", milliseconds(age)).end();
    }

    /// An attempt ended so at a host of a destination.
    pub(super) fn tell_host(&mut self, host: (DestinationId, usize), ended: Ended<'_>) {
        match ended {
            Ended::Done | Ended::Deferred | Ended::Part => {
                self.tell_up(host.0, host.1, Down::WithinMessages);
            }
            Ended::Untouched(why) | Ended::Lost(why) => self.tell_suspended(host, why),
        }
    }

    /// A host that takes connections did not answer within a message; told once it is suspended for that.
    pub(super) fn tell_suspended(&mut self, (destination, host): (DestinationId, usize), why: &str) {
        if self.schedule.is_suspended(destination, host) {
            self.tell_down(destination, host, Down::WithinMessages, why);
        }
    }

    /// A next hop does not take mail, for this reason: told until it is up.
    pub(super) fn tell_down(&mut self, destination: DestinationId, host: usize, how: Down, why: &str) {
        let hop = &self.routes.all()[usize::from(destination.0)].to[host];
        if self.down.contains_key(hop) {
            return;
        }
        let record = self.log.record(&events::NEXT_HOP_DOWN, self.wall_clock);
        record.text("next_hop", hop.to_string().as_bytes()).text("why", why.as_bytes()).end();
        self.down.insert(hop.clone(), how);
    }

    /// A next hop has begun a session, or has answered a message: told if it was down for want of that.
    pub(super) fn tell_up(&mut self, destination: DestinationId, host: usize, since: Down) {
        if self.down.is_empty() {
            return;
        }
        let hop = &self.routes.all()[usize::from(destination.0)].to[host];
        // One that ends each session within a message begins each of them well: it is not up for that.
        if self.down.get(hop) == Some(&Down::WithinMessages) && since == Down::NoSession {
            return;
        }
        if self.down.remove(hop).is_some() {
            let record = self.log.record(&events::NEXT_HOP_UP, self.wall_clock);
            record.text("next_hop", hop.to_string().as_bytes()).end();
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
