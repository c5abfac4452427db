//! TLS between a session and its socket: what is said passes the channel. What is received does so in `connection.rs`.

use ringmx::ring::{Outgoing, Ring, Socket};

use super::connection::{Connection, State};
use super::{LoadThread, token_of};
use crate::tls::channel::Channel;
use crate::tls::mode::Mode;

/// Octets of a send buffer that a connection keeps for the next send: those of a short message. Larger ones are freed, so that idle
/// connections hold little.
const KEPT_BYTES_MAX: usize = 16 * 1024;

impl<R: Ring> LoadThread<'_, R> {
    /// Sends what TLS and the session have to say on a connection that is under TLS or is to be; tells whether it is one.
    pub(super) fn advance_secure(&mut self, index: usize, socket: Socket) -> bool {
        let connection = &mut self.connections[index];
        if connection.channel.is_none() && !connection.client.awaits_handshake() {
            return false;
        }
        if let Err(error) = self.prepare(index) {
            self.fail_secure(index, &error);
        } else if self.connections[index].head.is_empty() {
            self.rest(index);
        } else {
            self.send_head(index, socket);
        }
        true
    }

    /// Puts into the connection's head what is to be sent.
    fn prepare(&mut self, index: usize) -> Result<(), rustls::Error> {
        let connection = &mut self.connections[index];
        let Connection { channel, client, head, .. } = connection;
        let channel = match (channel, &self.plan.tls, &self.tls) {
            (Some(channel), ..) => channel,
            (none, Some(tls), Some(config)) => {
                client.begin_handshake(head);
                none.insert(Box::new(Channel::new(config, &tls.name, self.now)?))
            }
            (None, ..) => return Ok(()),
        };
        channel.take_pending(head);
        if !channel.is_established() {
            return Ok(());
        }
        let said = client.next_send(&mut self.plaintext, &mut self.work, self.now, &mut self.tally);
        let encrypted = said.map_or(Ok(()), |body| {
            connection.sent_whole = false;
            channel.say(&self.plaintext, body, head)
        });
        self.plaintext.clear();
        encrypted
    }

    /// A send ended; sends the next portion of a message that goes in several, and tells whether there is one.
    pub(super) fn go_on_sending(&mut self, index: usize, whole: bool) -> bool {
        let connection = &mut self.connections[index];
        if connection.head.capacity() > KEPT_BYTES_MAX {
            connection.head = Vec::new();
        }
        let (Some(channel), Some(socket)) = (&mut connection.channel, connection.socket) else {
            return false;
        };
        if !channel.take_carries() || !whole {
            return false;
        }
        if !channel.has_rest() {
            connection.sent_whole = true;
            connection.client.handle_sent(self.now, &mut self.tally);
            return false;
        }
        if connection.state != State::Open {
            return false;
        }
        if let Err(error) = channel.say_rest(&mut connection.head) {
            self.fail_secure(index, &error);
            return false;
        }
        self.send_head(index, socket);
        true
    }

    /// Sends close_notify, if the connection is under TLS and it was not sent yet.
    pub(super) fn say_farewell(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Connection { channel: Some(channel), head, socket: Some(socket), sending: false, .. } =
            connection
        else {
            return;
        };
        let socket = *socket;
        channel.close(head);
        if !head.is_empty() {
            self.send_head(index, socket);
        }
    }

    /// TLS cannot go on: a failure of the run, whatever the scenario lets the server do.
    pub(super) fn fail_secure(&mut self, index: usize, error: &rustls::Error) {
        let connection = &self.connections[index];
        let handshaking = connection.channel.as_ref().is_none_or(|channel| !channel.is_established());
        if connection.client.ending().is_none() {
            self.tally.failures.add(|| {
                let stage = connection.client.waits_for();
                match (handshaking, error, connection.scenario.tls) {
                    (true, rustls::Error::InvalidMessage(_), Some(Mode::Implicit)) => {
                        format!(
                            "{stage}: {error} (with --tls implicit the server must not begin in plaintext)"
                        )
                    }
                    (true, ..) => format!("{stage}: {error}"),
                    (false, ..) => format!("{stage}: TLS: {error}"),
                }
            });
        }
        self.begin_close(index);
    }

    fn send_head(&mut self, index: usize, socket: Socket) {
        let connection = &mut self.connections[index];
        connection.sending = true;
        connection.send_bytes = connection.head.len();
        connection.since = self.now;
        let outgoing = Outgoing { head: std::mem::take(&mut connection.head), body: b"" };
        connection.last_send = Some(self.ring.send(socket, outgoing, token_of(index)));
    }
}
