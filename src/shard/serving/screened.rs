//! What is known of a client that is checked, and what of it is told with its messages.

use std::net::IpAddr;
use std::time::Instant;

use crate::dns::Name;
use crate::front::checks::Ruling;
use crate::front::reverse_dns::ReverseDns;
use crate::front::score::Score;
use crate::mail::client::Standing;

/// What is known of a client that is checked.
#[derive(Debug)]
pub(super) struct Screening {
    /// It has proved good.
    pub(super) is_proven: bool,
    /// Whom lists are asked about.
    pub(super) asked_as: IpAddr,
    /// What lists say of it, once all have answered, or had their time.
    pub(super) score: Option<Score>,
    /// Its name by its address, once that is known; none where it is not asked for.
    pub(super) reverse_name: Option<ReverseDns>,
    /// When the last facts came that answers are asked for by: the client's address, then the reverse-path.
    pub(super) asked_at: Instant,
    /// What all recipients of the transaction are told, once that is known.
    pub(super) ruling: Option<Ruling>,
    /// The number of the question that waits for it.
    pub(super) waits: Option<u32>,
    /// The number of the question that waited last, and until when at most.
    pub(super) waits_until: Option<(u32, Instant)>,
    /// Transactions since a message was stored.
    pub(super) fruitless: u8,
}

/// Writes down what others say of a client.
pub(super) fn tell_standing(screening: Option<&Screening>, standing: &mut Standing) {
    standing.reverse_name.clear();
    standing.reasons.clear();
    let Some(screening) = screening else { return };
    let name = screening.reverse_name.as_ref().and_then(ReverseDns::plain_name);
    standing.reverse_name.extend(name.into_iter().flat_map(Name::octets));
    standing.reasons.extend(screening.score.iter().flat_map(Score::reasons).cloned());
}
