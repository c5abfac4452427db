//! What waits and what is dead, with its envelope, for commands. Changes nothing.

use std::io;

use super::copy::find;
use super::files::Files;
use super::place::Place;
use super::replay;
use super::state::Waiting;
use crate::sink::spool::envelope::{self, StoredEnvelope};

/// Recipients that wait, or that do not get their message.
#[derive(Debug)]
pub struct Listed {
    /// Who, where and why.
    pub waiting: Waiting,
    /// The envelope of the message; why it cannot be read otherwise.
    pub envelope: Result<StoredEnvelope, String>,
    /// Octets of the content.
    pub content_bytes: u64,
}

impl Listed {
    /// Who waits or does not get it, as far as the envelope can be read.
    pub fn recipients(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.envelope.iter().flat_map(|stored| stored.envelope.recipients());
        let ours = (0..).zip(all).filter(|(index, _)| self.waiting.recipients.contains(*index));
        ours.map(|(_, mailbox)| mailbox.whole)
    }
}

/// Hands on everything that waits in `later/`, then what is in `dead/`, in the order of places. `visit` ends
/// it with an error. An error of kind `InvalidData` where the journal cannot be believed.
pub fn list(files: &dyn Files, mut visit: impl FnMut(Listed) -> io::Result<()>) -> io::Result<()> {
    let state = replay::look(files)?;
    for waiting in state.waiting().chain(state.dead()) {
        let (envelope, content_bytes) = match envelope_of(files, waiting.place) {
            Ok((envelope, bytes)) => (Ok(envelope), bytes),
            Err(error) => (Err(error.to_string()), 0),
        };
        visit(Listed { waiting, envelope, content_bytes })?;
    }
    Ok(())
}

/// The envelope of a message that lies there, and the octets of its content.
pub(super) fn envelope_of(files: &dyn Files, place: Place) -> io::Result<(StoredEnvelope, u64)> {
    let (segment, record) = find(files, place)?;
    let octets = segment.read_exact_at(record.envelope_start(), record.envelope_bytes as usize)?;
    let decoded = envelope::decode(&octets).map_err(|_| {
        let text = format!("{place}: a newer ringmx wrote its envelope");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let bytes = record.content_bytes.saturating_add(decoded.file.map_or(0, |file| file.bytes));
    Ok((decoded, bytes))
}
