//! Messages of the log that cannot be read: what can be told of them all the same. Changes nothing.

use super::entry::Wait;
use super::fetch;
use super::files::Files;
use super::keeper::Keeper;
use super::list::{Listed, envelope_of};
use super::place::Place;
use super::recipients::{RECIPIENTS_MAX, Recipients};
use super::state::{State, Waiting};
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::StoredEnvelope;
use crate::timestamp;

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

impl Keeper {
    /// Reads a message of the log whole, and says what it found.
    pub fn examine(&self, at: Cursor) -> Examined {
        examine(&*self.files, at)
    }
}
