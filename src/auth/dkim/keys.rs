//! Keys that were read: reading one costs several microseconds, and most mail is signed by few of them.

use super::signature::{Algorithm, Problem};
use super::verify::PublicKey;

/// Keys that are kept. Each is about 2 KiB.
const PLACES: usize = 256;

/// Some of the keys that were used lately, each at the place that its octets say.
#[derive(Debug, Default)]
pub struct Keys {
    /// Without memory as long as none was used; then [`PLACES`].
    places: Vec<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    algorithm: Algorithm,
    octets: Box<[u8]>,
    key: PublicKey,
}

impl Keys {
    /// The most that they take in memory, in octets.
    pub const BYTES_MAX: usize = PLACES * 4096;

    /// The key of these octets of a record.
    pub fn get(&mut self, algorithm: Algorithm, octets: &[u8]) -> Result<&PublicKey, Problem> {
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
