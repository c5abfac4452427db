//! What waits, what is dead and what cannot be read, with its envelope, for commands. Changes nothing.

use std::io;

use super::copy::find;
use super::entry::Wait;
use super::fetch;
use super::files::Files;
use super::place::Place;
use super::recipients::{RECIPIENTS_MAX, Recipients};
use super::replay;
use super::state::{State, Waiting};
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::{self, StoredEnvelope};
use crate::timestamp;

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

/// A message of the log that cannot be read, for this reason. Of its recipients those who need it there.
pub fn listed_unreadable(files: &dyn Files, state: &State, at: Cursor, why: String) -> Listed {
    let place = Place::Log(at);
    let (envelope, content_bytes) = match envelope_of(files, place) {
        Ok((envelope, bytes)) => (Ok(envelope), bytes),
        Err(error) => (Err(error.to_string()), 0),
    };
    let count = envelope.as_ref().map_or(0, recipients_of);
    let received_at = envelope.as_ref().map_or(0, |known| timestamp::seconds(known.received_at));
    let received_at = u32::try_from(received_at).unwrap_or(u32::MAX);
    let wait = Wait { received_at, next_at: received_at, reply: why, ..Wait::default() };
    let recipients = Recipients::first(count).without(&state.settled(at));
    let waiting = Waiting { place, recipients, octets: 0, wait, why: None };
    Listed { waiting, envelope, content_bytes }
}

/// What a message of the log is found to be.
#[derive(Debug)]
pub struct Examined {
    /// Its envelope, or why it cannot be read.
    pub envelope: Result<StoredEnvelope, String>,
    /// Why it cannot be read as a whole; none where it can.
    pub why: Option<String>,
}

impl Examined {
    /// How many recipients it has, as [`Change::Read`](super::Change::Read) tells it.
    pub fn recipients(&self) -> u32 {
        self.envelope.as_ref().map_or(RECIPIENTS_MAX, recipients_of)
    }
}

/// Reads a message of the log whole.
pub fn examine(files: &dyn Files, at: Cursor) -> Examined {
    let place = Place::Log(at);
    match fetch::record(files, place) {
        Ok((envelope, _)) => Examined { envelope: Ok(envelope), why: None },
        Err(error) => {
            let envelope = envelope_of(files, place).map(|(envelope, _)| envelope);
            Examined { envelope: envelope.map_err(|error| error.to_string()), why: Some(error.to_string()) }
        }
    }
}

fn recipients_of(stored: &StoredEnvelope) -> u32 {
    u32::try_from(stored.envelope.recipients().count()).unwrap_or(RECIPIENTS_MAX)
}

fn envelope_of(files: &dyn Files, place: Place) -> io::Result<(StoredEnvelope, u64)> {
    let (segment, record) = find(files, place)?;
    let octets = segment.read_exact_at(record.envelope_start(), record.envelope_bytes as usize)?;
    let decoded = envelope::decode(&octets).map_err(|_| {
        let text = format!("{place}: a newer ringmx wrote its envelope");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let bytes = record.content_bytes.saturating_add(decoded.file.map_or(0, |file| file.bytes));
    Ok((decoded, bytes))
}
