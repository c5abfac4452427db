//! The envelope and the client of a message, as any filter has a use for them.

use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;

/// What a filter is told of a message besides its octets.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub id: QueueId,
    /// Whom it came from and to whom it goes.
    pub envelope: &'a Envelope,
    /// What is known of the SMTP client.
    pub client: &'a ClientFacts,
    /// What we call ourselves.
    pub hostname: &'a str,
}
