//! Keys that were read: reading one costs several microseconds, and most mail is signed by few of them.

use super::signature::{Algorithm, Problem};
use super::verify::PublicKey;
use crate::limits::KEYS_BYTES_MAX;

/// Keys that are kept.
const PLACES: usize = KEYS_BYTES_MAX / KEY_BYTES;

/// What a key takes in memory at most, with its octets.
const KEY_BYTES: usize = 4096;

/// Some of the keys that were used lately, each at the place that its octets say.
#[derive(Debug, Default)]
pub struct Keys {
    /// Without memory as long as none was used; then [`PLACES`].
    places: Vec<Option<Kept>>,
    /// Keys that the message may have looked at still: each costs a verification.
    left: usize,
}

#[derive(Debug)]
struct Kept {
    algorithm: Algorithm,
    octets: Box<[u8]>,
    key: PublicKey,
}

impl Keys {
    /// From now on so many keys may be looked at, for one message.
    pub fn grant(&mut self, count: usize) {
        self.left = count;
    }

    /// The key of these octets of a record.
    pub fn get(&mut self, algorithm: Algorithm, octets: &[u8]) -> Result<&PublicKey, Problem> {
        self.left = self.left.checked_sub(1).ok_or(Problem::OneTooMany)?;
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        // Whoever picks keys that meet here only has them read anew.
        let place = crc32c::crc32c(octets) as usize % PLACES;
        let place = self.places.get_mut(place).ok_or(Problem::BadKey)?;
        if !place.as_ref().is_some_and(|kept| kept.algorithm == algorithm && *kept.octets == *octets) {
            let key = PublicKey::new(algorithm, octets)?;
            *place = Some(Kept { algorithm, octets: octets.into(), key });
        }
        place.as_ref().map(|kept| &kept.key).ok_or(Problem::BadKey)
    }
}
