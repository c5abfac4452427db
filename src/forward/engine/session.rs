//! Octets to and from a session, and what it needs next.

use rustix::io::Errno;

use super::Engine;
use super::connection::{Failed, Unsaid, Use};
use super::hand::{Down, PLAIN_FOR};
use super::outflow::Outflow;
use crate::client::{End, Loss, Phase, Recipient, Step, Transaction};
use crate::config::forward::{HopPlace, HopTls};
use crate::forward::keep::Why;
use crate::forward::schedule::Ended;
use crate::ring::{Event, Received, Ring, Token};
use crate::tls::as_client::Channel;

impl<R: Ring> Engine<R> {
    pub(super) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Received { token, received, more } => self.handle_received(slot_of(token), received, more),
            Event::Sent { token, head, result } => self.handle_sent(slot_of(token), head, result),
            Event::Connected { token, result } => self.handle_connected(slot_of(token), result),
            Event::Woken => self.ends.consumer.bell().clear(),
            Event::Accepted { .. } | Event::Peeked { .. } => {
                unreachable!("a forwarder neither accepts nor peeks")
            }
        }
    }

    fn handle_connected(&mut self, slot: usize, result: Result<(), Errno>) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.is_sending = false;
        if one.used_for != Use::Connecting {
            return self.release(slot);
        }
        match result {
            Ok(()) => self.handle_open(slot),
            Err(error) => {
                let why = std::io::Error::from(error).to_string();
                self.fail_to_connect(slot, &why);
            }
        }
    }

    fn handle_received(&mut self, slot: usize, received: Received, more: bool) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.is_receiving = more;
        let mut loss = None;
        match received {
            Received::Octets { buffer, count } => {
                self.pool.received(buffer);
                let octets = self.pool.bytes(buffer, 0..count);
                if one.used_for != Use::Gone {
                    loss = match &mut one.channel {
                        None => {
                            one.input.extend_from_slice(octets);
                            None
                        }
                        Some(channel) => match channel.receive(octets, &mut one.input) {
                            Ok(true) => None,
                            Ok(false) => Some(Loss::Closed),
                            Err(error) => {
                                one.tls_fault = Some(error);
                                Some(Loss::Tls)
                            }
                        },
                    };
                }
                self.pool.unpin(buffer);
                if let Some(free) = self.pool.take() {
                    self.ring.provide(free);
                }
            }
            Received::End => loss = Some(Loss::Closed),
            Received::Failed(_) => loss = Some(Loss::Failed),
            Received::NoBuffers | Received::Cancelled => {}
        }
        if one.used_for == Use::Gone {
            return self.release(slot);
        }
        // What came before the end is heard.
        self.advance(slot);
        if let Some(loss) = loss {
            self.lose(slot, loss);
        } else if let Some(one) = &mut self.connections[slot] {
            one.receive(&mut self.ring);
        }
    }

    fn handle_sent(&mut self, slot: usize, head: Vec<u8>, result: Result<usize, Errno>) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.handle_sent(head);
        if one.used_for == Use::Gone {
            return self.release(slot);
        }
        one.prolong(self.now);
        // After an error the receive tells of the end, after what the server said last.
        if result.is_ok() {
            self.advance(slot);
        }
    }

    /// The connection is gone, or given up.
    pub(super) fn lose(&mut self, slot: usize, loss: Loss) {
        let Some(one) = &mut self.connections[slot] else { return };
        if one.used_for == Use::Gone || one.end.is_some() {
            return;
        }
        one.client.handle_lost(loss);
        self.advance(slot);
    }

    /// What is awaited did not come.
    pub(super) fn time_out(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        match one.used_for {
            Use::Resolving(_) => self.fail_to_connect(slot, "the address of its name was not found in time"),
            Use::Connecting => self.fail_to_connect(slot, "the connect timed out"),
            _ => self.lose(slot, Loss::TimedOut),
        }
    }

    /// Lets the session go on as far as it can.
    pub(super) fn advance(&mut self, slot: usize) {
        loop {
            let Some(one) = &mut self.connections[slot] else { return };
            if matches!(one.used_for, Use::Gone | Use::Resolving(_) | Use::Connecting) || one.end.is_some() {
                return;
            }
            let mut input = &*one.input;
            let step = one.client.advance(&mut input, &mut one.out);
            let taken = one.input.len() - input.len();
            one.input.drain(..taken);
            match step {
                Step::NeedInput(phase) => {
                    one.wait_for(phase, self.now);
                    break self.flush(slot);
                }
                Step::StartTls => {
                    if one.channel.is_none() {
                        self.flush(slot);
                        self.start_tls(slot);
                    }
                    if !self.go_on_with_tls(slot) {
                        break;
                    }
                }
                Step::SendContent(form) => one.outflow = Some(Outflow::new(form)),
                Step::Done => self.note_results(slot),
                Step::Ready => {
                    if !self.rest(slot, false) {
                        break self.flush(slot);
                    }
                }
                Step::Spent => {
                    if !self.rest(slot, true) {
                        break self.flush(slot);
                    }
                }
                Step::Over(end) => break self.end(slot, end),
            }
        }
    }

    fn flush(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        match one.flush(&mut self.ring) {
            Ok(()) => {}
            Err(Unsaid::Tls(error)) => {
                one.tls_fault = Some(error);
                self.lose(slot, Loss::Tls);
            }
            Err(Unsaid::Content(why)) => {
                if let Some(current) = &mut one.current {
                    current.unsendable = Some(why.to_string());
                }
                self.lose(slot, Loss::GivenUp);
            }
        }
    }

    fn start_tls(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        let route = &self.routes.all()[usize::from(one.destination.0)];
        let name = match &route.to[one.host].place {
            HopPlace::Host(name, _) => name,
            HopPlace::Unix(_) | HopPlace::Maildir(_) | HopPlace::Stream(..) => "localhost",
            HopPlace::Mx(..) => one.exchanger.as_ref().map_or("", |exchanger| &exchanger.name),
        };
        match Channel::new(&self.tls, name, route.tls == HopTls::Required) {
            Ok(channel) => one.channel = Some(Box::new(channel)),
            Err(why) => {
                self.report.note(&format!("TLS cannot begin: {why}"));
                one.client.handle_lost(Loss::Tls);
            }
        }
    }

    /// True when the session has more to say.
    fn go_on_with_tls(&mut self, slot: usize) -> bool {
        let Some(one) = &mut self.connections[slot] else { return false };
        let Some(channel) = &mut one.channel else { return true };
        if channel.take_established() {
            let is_authenticated = channel.is_authenticated;
            one.client.handle_secured(is_authenticated);
            return true;
        }
        one.wait_for(Phase::Handshake, self.now);
        self.flush(slot);
        false
    }

    /// A transaction may begin. True when one has, or the session ends.
    fn rest(&mut self, slot: usize, is_spent: bool) -> bool {
        let Some(one) = &mut self.connections[slot] else { return false };
        one.is_spent = is_spent;
        match one.used_for {
            Use::Opening => {
                one.rest();
                one.used_for = Use::Idle;
                let id = one.id;
                let (destination, host) = (one.destination, one.host);
                one.connect = Some(self.now.saturating_duration_since(one.opened_at));
                self.schedule.connected(id, self.now);
                self.tell_up(destination, host, Down::NoSession);
                false
            }
            Use::Busy => {
                let has_more = one.current.as_ref().is_some_and(|current| !current.untried.is_empty());
                if has_more && !is_spent {
                    self.begin_transaction(slot);
                } else {
                    self.conclude(slot, None);
                }
                true
            }
            Use::Idle | Use::Fetching(..) => {
                one.rest();
                false
            }
            Use::Quitting | Use::Resolving(_) | Use::Connecting | Use::Gone => false,
        }
    }

    /// Begins a transaction for those who were not tried.
    fn begin_transaction(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        let Some(current) = &mut one.current else { return };
        current.asked = std::mem::take(&mut current.untried);
        current.transactions += 1;
        let stored = &current.message.envelope;
        let content_bytes = current.message.content.len() as u64;
        // The facts are put together for a next hop that is told of them only.
        let tells_client = self.routes.all()[usize::from(one.destination.0)].tells_client;
        let facts = tells_client.then(|| super::told::client_facts(stored));
        let transaction = Transaction::of(&stored.envelope, content_bytes, facts.as_ref());
        let all: Vec<_> = stored.envelope.recipients_with_parameters().collect();
        let asked = current.asked.iter().filter_map(|index| all.get(*index as usize));
        let recipients =
            asked.map(|(mailbox, parameters)| Recipient { mailbox: mailbox.whole, parameters: *parameters });
        if let Err(unfit) = one.client.begin(&transaction, recipients, &mut one.out) {
            let said = format!("{} {unfit}", unfit.enhanced());
            let asked = std::mem::take(&mut current.asked);
            let failed = |index| Failed { index, why: Why::Undeliverable, said: said.clone() };
            current.failed.extend(asked.into_iter().map(failed));
        }
    }

    /// The session is over.
    fn end(&mut self, slot: usize, end: End) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.end = Some(end);
        one.rest();
        match one.used_for {
            Use::Busy => self.conclude(slot, Some(end)),
            Use::Opening => {
                let place = (one.destination, one.host);
                let is_must = self.routes.all()[usize::from(one.destination.0)].tls == HopTls::Required;
                if end.is_of_tls() && !is_must {
                    if one.exchanger.is_some() {
                        return self.try_in_plaintext(slot);
                    }
                    self.plain_until.insert(place, self.now + PLAIN_FOR);
                }
                let said = match (one.client.end_reply(), &one.tls_fault) {
                    (Some(reply), _) => format!("{end}: {reply}"),
                    (None, Some(fault)) => format!("{end}: {fault}"),
                    (None, None) => end.to_string(),
                };
                self.fail_to_connect(slot, &said);
            }
            Use::Idle | Use::Quitting => {
                let id = one.id;
                self.forget(slot);
                self.schedule.closed(id);
            }
            Use::Fetching(..) => {
                let id = one.id;
                let place = (one.destination, one.host);
                let exchanger = one.exchanger.as_ref().map(|exchanger| exchanger.address);
                let (why, was_used) = (end.to_string(), one.was_used);
                self.forget(slot);
                self.note_exchanger(exchanger, Ended::Untouched(&why), was_used);
                self.schedule.finished(id, Ended::Untouched(&why), self.now);
                self.tell_suspended(place, &why);
            }
            Use::Resolving(_) | Use::Connecting | Use::Gone => {}
        }
    }
}

fn slot_of(token: Token) -> usize {
    usize::try_from(token.value()).expect("made of a slot")
}
