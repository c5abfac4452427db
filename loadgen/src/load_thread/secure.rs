//! TLS between the session of a connection and its socket: all octets that pass between them pass the
//! channel.

use std::sync::Arc;
use std::time::Instant;

use ringmx::ring::Ring;
use rustls::ClientConfig;

use super::connection::{Connection, State};
use crate::latency::Phase;
use crate::tally::Tally;
use crate::tls::Tls;
use crate::tls::channel::Channel;
use crate::tls::mode::Mode;
use crate::work::Work;

/// Octets of a send buffer that a connection keeps for the next send: those of a short message. Larger ones
/// are freed, so that idle connections hold little.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// What the connections of a thread begin TLS with.
pub struct Secure<'a> {
    tls: &'a Tls,
    config: Arc<ClientConfig>,
    /// What a session says, before it is encrypted; empty between its uses.
    plaintext: Vec<u8>,
}

impl<'a> Secure<'a> {
    /// With sessions to resume that are the thread's own.
    pub fn new(tls: &'a Tls) -> Self {
        Self { tls, config: tls.config_of_thread(), plaintext: Vec::new() }
    }
}

impl Connection {
    /// Whether it is under TLS, or is to be.
    pub fn is_secure(&self) -> bool {
        self.channel.is_some() || self.client.awaits_handshake()
    }

    /// Takes ciphertext while the connection is open; tells whether the server said that it sends nothing
    /// more.
    pub fn receive_secure(
        &mut self,
        mut octets: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<bool, rustls::Error> {
        let Self { channel: Some(channel), client, .. } = self else { return Ok(false) };
        while !octets.is_empty() && !channel.is_ended() {
            let received = channel.receive(&mut octets);
            if let Some((negotiated, resumed)) = channel.take_established() {
                tally.handshakes.add(negotiated, resumed);
                tally.latencies.record(Phase::Tls, now - channel.begun_at());
                client.handle_secured(now);
            }
            channel.take_plaintext(|plaintext| client.handle_octets(plaintext, now, tally));
            received?;
        }
        Ok(channel.is_ended())
    }

    /// Puts into `head` what TLS and the session have to say.
    pub fn prepare_secure(
        &mut self,
        secure: &mut Secure<'_>,
        work: &mut Work,
        now: Instant,
        tally: &mut Tally,
    ) -> Result<(), rustls::Error> {
        let Self { channel, client, head, .. } = self;
        let channel = match channel {
            Some(channel) => channel,
            none @ None => {
                client.begin_handshake(head);
                none.insert(Box::new(Channel::new(&secure.config, &secure.tls.name, now)?))
            }
        };
        channel.take_pending(head);
        if !channel.is_established() {
            return Ok(());
        }
        let said = client.next_send(&mut secure.plaintext, work, now, tally);
        let encrypted = said.map_or(Ok(()), |body| {
            self.sent_whole = false;
            channel.say(&secure.plaintext, body, head)
        });
        secure.plaintext.clear();
        encrypted
    }

    /// A send ended, and the kernel took the `whole` of it or not. Puts into `head` the next portion of a
    /// message that goes in several, and tells whether there is one.
    pub fn prepare_rest(
        &mut self,
        whole: bool,
        now: Instant,
        tally: &mut Tally,
    ) -> Result<bool, rustls::Error> {
        if self.head.capacity() > KEPT_BYTES_MAX {
            self.head = Vec::new();
        }
        let (Some(channel), Some(_)) = (&mut self.channel, self.socket) else { return Ok(false) };
        if !channel.take_carries() || !whole {
            return Ok(false);
        }
        if !channel.has_rest() {
            self.sent_whole = true;
            self.client.handle_sent(now, tally);
            return Ok(false);
        }
        if self.state != State::Open {
            return Ok(false);
        }
        channel.say_rest(&mut self.head).map(|()| true)
    }

    /// Sends close_notify, if the connection is under TLS and it was not sent yet.
    pub fn say_farewell(&mut self, ring: &mut impl Ring, now: Instant) {
        let Self { channel: Some(channel), head, socket: Some(_), sending: false, .. } = self else { return };
        channel.close(head);
        if !head.is_empty() {
            self.send(ring, b"", now);
        }
    }

    /// Why TLS cannot go on, in words.
    pub fn failure_of_tls(&self, error: &rustls::Error) -> String {
        let handshaking = self.channel.as_ref().is_none_or(|channel| !channel.is_established());
        let stage = self.client.waits_for();
        match (handshaking, error, self.scenario.tls) {
            (true, rustls::Error::InvalidMessage(_), Some(Mode::Implicit)) => {
                format!("{stage}: {error} (with --tls implicit the server must not begin in plaintext)")
            }
            (true, ..) => format!("{stage}: {error}"),
            (false, ..) => format!("{stage}: TLS: {error}"),
        }
    }
}
