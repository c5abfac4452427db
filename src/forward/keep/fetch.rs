//! A message that waits, read to be delivered.

use std::io;

use super::copy::{Copied, LastRead};
use super::files::Files;
use super::keeper::Keeper;
use super::place::Place;
use super::recipients::Recipients;
use crate::sink::spool::envelope::{self, StoredEnvelope};

/// A message as it is delivered.
#[derive(Debug)]
pub struct Fetched {
    /// What is known of it.
    pub envelope: StoredEnvelope,
    /// Our trace information and the mail data, octet for octet.
    pub content: Vec<u8>,
    /// Those who wait for it there, with the name of their destination.
    pub waits: Vec<(Box<str>, Recipients)>,
}

impl Keeper {
    /// Reads a message that waits. An error of kind `InvalidData` or `NotFound` where the record is not what
    /// it was.
    pub fn fetch(&self, place: Place) -> io::Result<Fetched> {
        let place = self.place_of(place);
        let (envelope, content) = record(&*self.files, place)?;
        Ok(Fetched { envelope, content, waits: self.waits(place) })
    }

    /// What is known of a message that waits: the file of a large one is not read. Errors as [`Self::fetch`]
    /// has them.
    pub fn envelope(&self, place: Place) -> io::Result<StoredEnvelope> {
        let place = self.place_of(place);
        decoded(place, &load(&*self.files, place)?)
    }

    /// Those who wait for a message in `later/`, with the names of their destinations; those of one in
    /// `dead/`, under no name.
    pub fn waits(&self, place: Place) -> Vec<(Box<str>, Recipients)> {
        let place = self.place_of(place);
        match place {
            Place::Later(cursor) => {
                let waits = self.state.waits_at(cursor);
                waits.map(|(destination, recipients)| (destination.into(), recipients.clone())).collect()
            }
            Place::Log(_) | Place::Dead(_) => {
                let recipients = self.state.pending(place);
                if recipients.is_empty() { Vec::new() } else { vec![("".into(), recipients)] }
            }
        }
    }
}

/// Envelope and content of the record at a place. Errors as [`Keeper::fetch`] has them.
pub fn record(files: &dyn Files, place: Place) -> io::Result<(StoredEnvelope, Vec<u8>)> {
    let copied = load(files, place)?;
    let envelope = decoded(place, &copied)?;
    Ok((envelope, copied.into_content()?))
}

/// Its file is read once, and held against its checksum then.
fn load(files: &dyn Files, place: Place) -> io::Result<Copied> {
    Copied::load(files, &mut LastRead::default(), place, true)
}

fn decoded(place: Place, copied: &Copied) -> io::Result<StoredEnvelope> {
    envelope::decode(&copied.envelope).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{place}: a newer ringmx wrote its envelope"))
    })
}
