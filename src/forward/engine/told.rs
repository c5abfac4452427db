//! What the log is told of deliveries and next hops, and what next hops are told of clients.

use super::Engine;
use super::connection::Current;
use crate::forward::schedule::DestinationId;
use crate::log::events;
use crate::mail::client::{ClientFacts, Standing};
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
    /// What became of a message on a connection.
    pub(super) fn tell_delivered(&mut self, current: &Current) {
        let stored = &current.message.envelope;
        let destination = self.routes.name(current.delivery.destination).to_owned();
        let took = self.now.saturating_duration_since(current.begun_at);
        let age = self.wall_clock.duration_since(stored.received_at).unwrap_or_default();
        let wall_clock = self.wall_clock;
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let tells_messages = self.tells_messages;
        let mut tell = |event, count: usize, reply: &str| {
            if count > 0 {
                let record = self.log.record(event, wall_clock);
                let record = record.plain("id", stored.id).text("destination", destination.as_bytes());
                let record = record.number("recipients", count as u64).text("reply", reply.as_bytes());
                record.number("took_ms", milliseconds(took)).number("age_ms", milliseconds(age)).end();
            }
        };
        if tells_messages {
            tell(&events::FORWARDED, current.sent.len(), &current.accepted_by);
            tell(&events::DEFERRED, current.deferred.len() + current.lost.len(), &current.deferred_by);
        }
        let said = current.failed.first().map_or("", |failed| &failed.said);
        tell(&events::UNDELIVERABLE, current.failed.len(), said);
    }

    /// Recipients for whom it waited too long.
    pub(super) fn tell_expired(&mut self, stored: &StoredEnvelope, destination: DestinationId, count: u32) {
        let destination = self.routes.name(destination);
        let age = self.wall_clock.duration_since(stored.received_at).unwrap_or_default();
        let record = self.log.record(&events::UNDELIVERABLE, self.wall_clock);
        let record = record.plain("id", stored.id).text("destination", destination.as_bytes());
        let record = record.number("recipients", count.into()).text("reply", b"it waited too long");
        record.number("age_ms", u64::try_from(age.as_millis()).unwrap_or(u64::MAX)).end();
    }

    /// A next hop was reached, or was not for this reason: told when that changes.
    pub(super) fn tell_host(&mut self, destination: DestinationId, host: usize, why: Option<&str>) {
        let hop = self.routes.all()[usize::from(destination.0)].to[host].to_string();
        let is_down = why.is_some();
        let was_down = if is_down { !self.down.insert(hop.clone()) } else { self.down.remove(&hop) };
        if was_down == is_down {
            return;
        }
        let event = if is_down { &events::NEXT_HOP_DOWN } else { &events::NEXT_HOP_UP };
        let record = self.log.record(event, self.wall_clock).text("next_hop", hop.as_bytes());
        match why {
            Some(why) => record.text("why", why.as_bytes()).end(),
            None => record.end(),
        }
    }
}
