//! Connections to the servers of a domain, by its MX: one after the other, until a session begins (RFC 5321
//! §5.1). To the schedule all of them are one host: it is told of the last failure only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Engine;
use super::connection::{Failed, Use};
use super::hand::Down;
use super::servers::Next;
use crate::client::End;
use crate::config::forward::HopPlace;
use crate::forward::keep::Why;
use crate::forward::schedule::Ended;
use crate::forward::sought::Exchanger;
use crate::ring::Ring;

/// For so long one server after the other is tried. Until then the schedule does not know that the domain is
/// down, and its mail is in the way of others'.
const TRIED_FOR_MAX: Duration = Duration::from_mins(1);

impl<R: Ring> Engine<R> {
    /// The servers of the domain of a connection were found.
    pub(super) fn try_exchangers(&mut self, slot: usize, found: Vec<Exchanger>) {
        let mut others = self.servers.in_order(found, self.now);
        let (Some(exchanger), Some(one)) = (others.pop_front(), &mut self.connections[slot]) else {
            return self.fail_to_connect(slot, "its domain has no server");
        };
        let (id, place, opened_at) = (one.id, (one.destination, one.host), one.opened_at);
        self.forget(slot);
        self.try_exchanger(Next { id, place, exchanger, others, opened_at, is_plain: false });
    }

    /// Goes on with each connection whose server failed.
    pub(super) fn try_next_exchangers(&mut self) {
        while !self.is_ending
            && let Some(next) = self.servers.next.pop_front()
        {
            self.try_exchanger(next);
        }
    }

    fn try_exchanger(&mut self, next: Next) {
        let Next { id, place, exchanger, others, opened_at, is_plain } = next;
        let HopPlace::Mx(_, port) = self.routes.all()[usize::from(place.0.0)].to[place.1].place else {
            return;
        };
        let address = exchanger.address;
        let slot = self.enter(id, place, is_plain || self.servers.is_plain(address, self.now));
        if let Some(one) = &mut self.connections[slot] {
            one.exchanger = Some(exchanger);
            one.others = others;
            one.opened_at = opened_at;
        }
        self.connect(slot, SocketAddr::new(address, port));
    }

    /// No session came to be with a server: true if another one is tried in its place.
    pub(super) fn leave_exchanger(&mut self, slot: usize) -> bool {
        let Some(one) = &mut self.connections[slot] else { return false };
        let Some(failed) = &one.exchanger else { return false };
        if one.end == Some(End::OurName) {
            // As those that the MX records name by our own name: nobody who is no better is asked (RFC 5321
            // §5.1), or the mail would go round.
            let limit = failed.preference;
            one.others.retain(|other| other.preference < limit);
        } else {
            self.servers.note_failed(failed.address, self.now);
        }
        // The others come first with the next connection.
        if self.now.saturating_duration_since(one.opened_at) >= TRIED_FOR_MAX {
            return false;
        }
        let Some(exchanger) = one.others.pop_front() else { return false };
        self.go_on_with(slot, exchanger, false);
        true
    }

    /// The TLS of a server does not work, and is no must: the same one once more, without.
    pub(super) fn try_in_plaintext(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        let Some(exchanger) = one.exchanger.clone() else { return };
        self.servers.note_plain(exchanger.address, self.now);
        self.go_on_with(slot, exchanger, true);
    }

    fn go_on_with(&mut self, slot: usize, exchanger: Exchanger, is_plain: bool) {
        let Some(one) = &mut self.connections[slot] else { return };
        let (id, place, opened_at) = (one.id, (one.destination, one.host), one.opened_at);
        let others = std::mem::take(&mut one.others);
        self.forget(slot);
        self.servers.next.push_back(Next { id, place, exchanger, others, opened_at, is_plain });
    }

    /// A server took a connection and did not answer a message on it: others come before it. It may close
    /// what was used before.
    pub(super) fn note_exchanger(&mut self, exchanger: Option<IpAddr>, ended: Ended<'_>, was_used: bool) {
        let is_at_fault = match ended {
            Ended::Lost(_) => true,
            Ended::Untouched(_) => !was_used,
            Ended::Done | Ended::Deferred | Ended::Part => false,
        };
        if let Some(address) = exchanger.filter(|_| is_at_fault) {
            self.servers.note_failed(address, self.now);
        }
    }

    /// The domain takes no mail: to the schedule its connection stands, and whatever comes on it is refused.
    pub(super) fn take_no_mail(&mut self, slot: usize, why: String) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.no_mail = Some(why);
        one.used_for = Use::Idle;
        one.rest();
        let (id, destination, host) = (one.id, one.destination, one.host);
        self.schedule.connected(id, self.now);
        self.tell_up(destination, host, Down::NoSession);
    }

    /// Nobody gets a message whose domain takes none. The next one asks anew.
    pub(super) fn refuse_mail(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.is_spent = true;
        let said = one.no_mail.clone().unwrap_or_default();
        let Some(current) = &mut one.current else { return };
        let failed = |index| Failed { index, why: Why::Undeliverable, said: said.clone() };
        current.failed.extend(std::mem::take(&mut current.untried).into_iter().map(failed));
        self.conclude(slot, None);
    }
}
