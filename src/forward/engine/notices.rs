//! What the engine has for notices to senders, and what one is about.

use std::sync::Arc;

use crate::config::forward::Dsn;
use crate::forward::notice::Bounds;
use crate::forward::schedule::DestinationId;
use crate::mail::queue_id::{IdKey, KEY_BYTES, QueueIds};
use crate::sink::spool::envelope::StoredEnvelope;
use crate::sink::spool::salt;

/// Who asked for it is told of a delay when a message is put off for this time: some four hours after the
/// first, with the times of [`back_off`](crate::forward::schedule).
pub(super) const DELAYED_AT_ATTEMPT: u8 = 10;

/// What the engine has of notices.
pub(super) struct Notices {
    /// Who gets them.
    pub(super) dsn: Dsn,
    /// From whom they come.
    pub(super) hostname: String,
    /// Their names.
    pub(super) ids: QueueIds,
    /// How many there may be.
    pub(super) bounds: Bounds,
}

/// The session in which a message was tried.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) destination: DestinationId,
    pub(super) host: usize,
    /// The server of its domain, if it goes by MX and there was one.
    pub(super) exchanger: Option<Arc<str>>,
    /// The next hop sends notices itself.
    pub(super) offers_dsn: bool,
}

/// A message of which something is to be told, and how it was tried last, if it was now.
pub(super) struct Ended<'a> {
    pub(super) stored: &'a StoredEnvelope,
    pub(super) content: &'a [u8],
    pub(super) tried: Option<&'a Tried>,
    /// The reply of those who have it.
    pub(super) accepted_by: &'a str,
}

impl Notices {
    /// None were made yet.
    pub(super) fn new(hostname: &str, dsn: Dsn) -> Result<Self, String> {
        let mut octets = [0; KEY_BYTES];
        for part in octets.chunks_mut(size_of::<u64>()) {
            let drawn = salt::draw().map_err(|error| format!("there are no random numbers: {error}"))?;
            part.copy_from_slice(&drawn.to_le_bytes()[..part.len()]);
        }
        let ids = QueueIds::new(IdKey::from_octets(octets), 0);
        Ok(Self { dsn, hostname: hostname.to_owned(), ids, bounds: Bounds::default() })
    }
}
