//! The connections that the engine has, by number, and what each one is doing.

use std::time::Duration;

use super::delivery::{ConnectionId, DestinationId};

/// An idle connection is kept so long.
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_mins(1);

/// Messages of one connection; then it is closed.
pub const CONNECTION_MESSAGES_MAX: u16 = 1000;

/// Messages after which a connection gives way, if other destinations have none and there may be no more.
pub(super) const CONNECTION_TURN_MESSAGES: u16 = 50;

/// What a connection is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For any mail of its destination.
    Mail,
    /// To see whether a suspended host is back; then for any mail.
    Probe,
    /// For one message that has lost connections before.
    Alone,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Connecting,
    /// In `idle` of its host, or set aside for a message that goes alone.
    Idle,
    /// This delivery, by its slot in the index, and whether it is a retry.
    Busy {
        slot: u32,
        is_retry: bool,
    },
    /// It is to be closed, or the engine was told.
    Closing,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) destination: DestinationId,
    /// Which of the destination's hosts.
    pub(super) host: usize,
    pub(super) purpose: Purpose,
    pub(super) used_for: Use,
    /// Messages that were answered on it.
    pub(super) messages: u16,
    /// It takes none after the one that it has.
    pub(super) is_used_up: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Vec<Option<Connection>>,
    free: Vec<u32>,
}

impl Connections {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn open(&mut self, destination: DestinationId, host: usize, purpose: Purpose) -> ConnectionId {
        let (used_for, messages, is_used_up) = (Use::Connecting, 0, false);
        let connection = Some(Connection { destination, host, purpose, used_for, messages, is_used_up });
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = connection;
            return ConnectionId(number);
        }
        self.all.push(connection);
        ConnectionId(u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX))
    }

    /// The engine speaks of connections that it was told of; anything else is its fault or ours.
    pub(super) fn find(&mut self, id: ConnectionId) -> &mut Connection {
        let found = self.all.get_mut(id.0 as usize).and_then(Option::as_mut);
        found.unwrap_or_else(|| panic!("{id:?} is no connection"))
    }

    /// It is gone.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.all.get_mut(id.0 as usize).and_then(Option::take).is_some() {
            self.free.push(id.0);
        }
    }
}
