//! What a client sent, on its way from the wire to the session: through the transport, then unread until it
//! is parsed. All of it that lies outside of receive buffers is counted.

use std::sync::Arc;

use super::handshakes::Handshakes;
use super::held::Held;
use super::table::Key;
use super::transport::{Decrypted, Fault, Transport};
use super::unread::Unread;
use crate::buffer::{BufferId, Pool};
use crate::limits::UNREAD_BUFFERS_MAX;
use crate::mail::client::TlsFacts;
use crate::tls::{Cause, ServerConfig, Tls};

/// One connection's.
#[derive(Debug)]
pub(super) struct Inflow {
    key: Key,
    pub(super) transport: Transport,
    pub(super) unread: Unread,
    /// What TLS begins with here; none where the listener has none.
    tls_config: Option<Arc<ServerConfig>>,
    /// Octets that it held when that was counted last.
    held: usize,
}

/// What came of octets under TLS, besides what can be parsed now.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The handshake ended.
    pub(super) negotiated: Option<TlsFacts>,
    /// The client sends nothing more.
    pub(super) ended: bool,
}

/// Why nothing more can be taken from a client.
#[derive(Debug)]
pub(super) enum Refusal {
    /// All connections together hold too much.
    NoRoom,
    /// TLS failed.
    Fault(Fault),
}

impl Inflow {
    /// Of a connection in plaintext, of which nothing came yet.
    pub(super) fn new(key: Key, tls_config: Option<Arc<ServerConfig>>) -> Self {
        Self { key, transport: Transport::Plain, unread: Unread::default(), tls_config, held: 0 }
    }

    /// Whether so much waits that nothing more is received.
    pub(super) fn is_full(&self) -> bool {
        self.unread.runs() > UNREAD_BUFFERS_MAX || self.transport.is_handshake_full()
    }

    /// TLS that can begin; none where the listener has none, or it cannot.
    pub(super) fn make_tls(&self) -> Option<Tls> {
        Tls::new(self.tls_config.as_ref()?).ok()
    }

    /// What it held when that was counted last.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Octets that could not be parsed at once are copied out of a buffer that they fill little of, or that
    /// others need. False when there is no room for that.
    pub(super) fn copy_out_last(&mut self, count: usize, pool: &mut Pool, held: &mut Held) -> bool {
        if self.unread.is_empty() || !pool.arena().is_little(count) && !pool.pressure().lacks_buffers() {
            return true;
        }
        let has_room = held.has_room(count);
        if has_room {
            self.unread.copy_out_last(pool);
            self.count(held);
        }
        has_room
    }

    /// Takes a receive under TLS, whose buffer goes back to the pool.
    pub(super) fn receive_encrypted(
        &mut self,
        id: BufferId,
        count: usize,
        pool: &mut Pool,
        held: &Held,
        handshakes: &mut Handshakes,
    ) -> Result<Progress, Refusal> {
        let taken = self.take_encrypted(id, count, pool, held, handshakes);
        pool.unpin(id);
        match taken {
            Ok(decrypted) => Ok(decrypted.map_or_else(Progress::default, |decrypted| self.keep(decrypted))),
            Err(refusal) => Err(refusal),
        }
    }

    /// From here on all is ciphertext, what was received already included; `said` is the last in plaintext.
    /// With implicit TLS what was received is the dear first flight, which waits for its turn like any other.
    pub(super) fn secure(
        &mut self,
        tls: Tls,
        said: Vec<u8>,
        pool: &mut Pool,
        handshakes: &mut Handshakes,
    ) -> Result<Progress, Fault> {
        self.transport.secure(tls, said, self.unread.take(pool));
        if !self.transport.handshake_waits() {
            return Ok(Progress::default());
        }
        if handshakes.take_step() {
            return self.resume_handshake();
        }
        handshakes.wait(self.key);
        Ok(Progress::default())
    }

    /// A turn has time for what waits of the handshake.
    pub(super) fn resume_handshake(&mut self) -> Result<Progress, Fault> {
        match self.transport.decrypt_waiting() {
            Some(decrypted) => Ok(self.keep(decrypted?)),
            None => Ok(Progress::default()),
        }
    }

    /// Counts what it holds now.
    pub(super) fn count(&mut self, held: &mut Held) {
        // Most hold nothing, and never did.
        if self.unread.is_empty() && self.transport.is_plain() && self.held == 0 {
            return;
        }
        let now = self.unread.held_bytes() + self.transport.held_bytes();
        held.recount(&mut self.held, now);
    }

    /// It is over, and holds nothing.
    pub(super) fn end(&mut self, held: &mut Held) {
        held.recount(&mut self.held, 0);
    }

    fn take_encrypted(
        &mut self,
        id: BufferId,
        count: usize,
        pool: &mut Pool,
        held: &Held,
        handshakes: &mut Handshakes,
    ) -> Result<Option<Decrypted>, Refusal> {
        let has_room = held.has_room(count);
        // What cannot be parsed now has to be held.
        if !self.unread.is_empty() && !has_room {
            return Err(Refusal::NoRoom);
        }
        let waits = self.transport.handshake_waits();
        if waits || self.transport.is_handshaking() && !handshakes.take_step() {
            if !has_room || !self.transport.wait_with(pool.bytes(id, 0..count)) {
                return Err(Refusal::Fault(Cause::Misbehaved.into()));
            }
            if !waits {
                handshakes.wait(self.key);
            }
            return Ok(None);
        }
        self.transport.decrypt(pool.bytes_mut(id, 0..count)).transpose().map_err(Refusal::Fault)
    }

    fn keep(&mut self, decrypted: Decrypted) -> Progress {
        let Decrypted { plaintext, negotiated, ended } = decrypted;
        if !plaintext.is_empty() {
            self.unread.push_copied(plaintext);
        }
        Progress { negotiated, ended }
    }
}
