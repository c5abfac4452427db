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
    /// That of a transaction that its sender could divide into one for each copy. RCPT bounds copies by SIZE;
    /// this bounds them where that was not given, or was too small.
    pub(super) fn of(settings: &Settings, copies: usize) -> Self {
        let most = settings.limits.message_size_max;
        let copies = copies as u64;
        let of_copies = COPIES_BYTES_MAX * COPIES_OVERRUN / copies.max(1);
        if settings.policy.asks_store() && copies > 1 && of_copies < most {
            Self { most: of_copies, reply: reply::COPIES_TOO_LARGE }
        } else {
            Self { most, reply: reply::TOO_LARGE }
        }
    }
}

/// Whether so many copies of a message are too much, by what is known of its size. One copy of any size may
/// be made.
pub(super) fn copies_exceed(envelope: &Envelope, copies: usize) -> bool {
    let size = envelope.size_declared.unwrap_or(SIZE_NOMINAL);
    copies > 1 && size.saturating_mul(copies as u64) > COPIES_BYTES_MAX
}
