//! The most octets that the mail data of a transaction may have.

use super::reply::{self, Reply};
use super::settings::Settings;
use crate::limits::{COPIES_BYTES_MAX, COPIES_OVERRUN, SIZE_NOMINAL};
use crate::mail::envelope::Envelope;

/// The most octets that the mail data of a transaction may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeLimit {
    pub(super) most: u64,
    /// What is said to more.
    pub(super) reply: Reply,
}

impl SizeLimit {
    /// That of this transaction. RCPT bounds copies by SIZE; this bounds them where that was not given, or
    /// was too small.
    pub(super) fn of(settings: &Settings, envelope: Option<&Envelope>) -> Self {
        let most = settings.limits.message_size_max;
        let copies = envelope.map_or(1, |envelope| envelope.recipients().len()) as u64;
        let of_copies = COPIES_BYTES_MAX * COPIES_OVERRUN / copies.max(1);
        if settings.policy.asks_store() && copies > 1 && of_copies < most {
            Self { most: of_copies, reply: reply::COPIES_TOO_LARGE }
        } else {
            Self { most, reply: reply::TOO_LARGE }
        }
    }
}

/// Whether the copies of a message are too much, by what is known of its size. One copy of any size may be
/// made.
pub(super) fn copies_exceed(envelope: &Envelope) -> bool {
    let size = envelope.size_declared.unwrap_or(SIZE_NOMINAL);
    let copies = envelope.recipients().len();
    copies > 1 && size.saturating_mul(copies as u64) > COPIES_BYTES_MAX
}
