//! Names of messages, which tell the time and nothing else.
//!
//! What makes an id unique is a nonce of the start, the shard and a counter. A client that saw these in its
//! replies could tell how many shards there are, how much mail others send, and when the server started. So
//! they go through a permutation that a key of the start chooses: two of them are never the same before it,
//! so they are never the same after it.

use std::fmt;

/// Name of a message, unique over all shards and starts of this host.
///
/// From the top: 40 bits of seconds since 1970, 88 bits that are unique and say nothing ([`QueueIds`]). Shown
/// as 26 characters of Crockford's base 32 in lower case, which sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct QueueId(pub u128);

impl QueueId {
    /// Length of the text form.
    pub const TEXT_BYTES: usize = 26;
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// Bits below the time.
    pub const OPAQUE_BITS: u32 = 88;

    /// Puts an id together; each part is cut to its width.
    pub fn new(seconds: u64, opaque: u128) -> Self {
        let seconds = u128::from(seconds & ((1 << 40) - 1));
        Self(seconds << Self::OPAQUE_BITS | opaque & ((1 << Self::OPAQUE_BITS) - 1))
    }

    /// The text form.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        std::array::from_fn(|place| {
            let shift = 5 * (Self::TEXT_BYTES - 1 - place);
            Self::ALPHABET[(self.0 >> shift & 31) as usize]
        })
    }

    /// Reads the text form; none when it is not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_BYTES {
            return None;
        }
        text.iter()
            .try_fold(0_u128, |value, character| {
                let digit = Self::ALPHABET.iter().position(|letter| letter == character)?;
                value.checked_mul(32)?.checked_add(digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().iter().try_for_each(|character| fmt::Write::write_char(f, char::from(*character)))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bits of each half that the permutation swaps.
const HALF_BITS: u32 = QueueId::OPAQUE_BITS / 2;

const HALF_MASK: u64 = (1 << HALF_BITS) - 1;

/// Rounds of the permutation: four are enough even against whoever chooses what goes in (Luby and Rackoff),
/// and nobody does here.
const ROUNDS: u64 = 4;

/// Octets of random numbers that a key is made of.
pub const KEY_BYTES: usize = 20;

/// What the ids of one start have in common: the same for all its shards, and never another's.
#[derive(Clone, Copy)]
pub struct IdKey {
    key: [u64; 2],
    /// Tells this start from others whose clock says the same.
    nonce: u32,
}

impl IdKey {
    /// From random numbers.
    pub fn from_octets(octets: [u8; KEY_BYTES]) -> Self {
        let [nonce @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = octets;
        let [_, _, _, _, low @ .., _, _, _, _, _, _, _, _] = octets;
        let [_, _, _, _, _, _, _, _, _, _, _, _, high @ ..] = octets;
        let key = [low, high].map(u64::from_le_bytes);
        Self { key, nonce: u32::from_le_bytes(nonce) }
    }

    /// A permutation of `OPAQUE_BITS` bits: a Feistel network, whose two halves are mixed in turn.
    fn permute(self, value: u128) -> u128 {
        let (mut left, mut right) = halves(value);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(round, right));
        }
        u128::from(left) << HALF_BITS | u128::from(right)
    }

    fn mix(self, round: u64, half: u64) -> u64 {
        siphash(self.key, round << HALF_BITS | half) & HALF_MASK
    }
}

/// SipHash-1-3 of one word: the one of the standard library takes no key.
fn siphash([low, high]: [u64; 2], word: u64) -> u64 {
    const LENGTH: u64 = 8 << 56;
    let mut state = [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ];
    for word in [word, LENGTH] {
        state[3] ^= word;
        state = sip_round(state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    let [a, b, c, d] = sip_round(sip_round(sip_round(state)));
    a ^ b ^ c ^ d
}

fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// The upper and the lower half of the opaque bits.
fn halves(value: u128) -> (u64, u64) {
    let half = |value: u128| u64::try_from(value & u128::from(HALF_MASK)).unwrap_or_default();
    (half(value >> HALF_BITS), half(value))
}

/// The ids of one shard.
pub struct QueueIds {
    key: IdKey,
    shard: u16,
    counter: u64,
}

impl QueueIds {
    /// Those of this shard.
    pub fn new(key: IdKey, shard: u16) -> Self {
        Self { key, shard, counter: 0 }
    }

    /// The next one, at this many seconds since 1970.
    pub fn next(&mut self, seconds: u64) -> QueueId {
        self.counter += 1;
        let counter = u128::from(self.counter & ((1 << 40) - 1));
        let unique = u128::from(self.key.nonce) << 56 | u128::from(self.shard) << 40 | counter;
        QueueId::new(seconds, self.key.permute(unique))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KEY: IdKey = IdKey { key: [1, 2], nonce: 7 };

    /// The opposite of `permute`: that there is one shows that it is a permutation.
    fn undo(key: IdKey, value: u128) -> u128 {
        let (mut left, mut right) = halves(value);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ key.mix(round, left), left);
        }
        u128::from(left) << HALF_BITS | u128::from(right)
    }

    /// The standard library's, whose key is zero.
    #[test]
    fn the_hash_is_siphash() {
        use std::hash::Hasher;
        for word in [0_u64, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&word.to_le_bytes());
            assert_eq!(siphash([0, 0], word), hasher.finish());
        }
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let end = (1_u128 << QueueId::OPAQUE_BITS) - 1;
        for value in (0..1000).chain([end, end - 1, 1 << HALF_BITS, (1 << HALF_BITS) - 1]) {
            let permuted = KEY.permute(value);
            assert!(permuted <= end);
            assert_eq!(undo(KEY, permuted), value);
        }
        let mut seen = HashSet::new();
        for (nonce, shard) in [(7, 0), (7, 1), (8, 0), (7, u16::MAX)] {
            let mut ids = QueueIds::new(IdKey { nonce, ..KEY }, shard);
            assert!((0..10_000).all(|_| seen.insert(ids.next(1_800_000_000))), "{nonce} {shard}");
        }
    }

    /// Half of the bits change from one id to the next, whatever changes.
    #[test]
    fn an_id_tells_the_time_and_nothing_else() {
        let opaque = |id: QueueId| id.0 & ((1 << QueueId::OPAQUE_BITS) - 1);
        let other_key = IdKey { key: [1, 3], ..KEY };
        let other_nonce = IdKey { nonce: 6, ..KEY };
        let (mut ids, mut next_shard) = (QueueIds::new(KEY, 0), QueueIds::new(KEY, 1));
        let (mut another_start, mut another_key) =
            (QueueIds::new(other_nonce, 0), QueueIds::new(other_key, 0));
        let mut changed = [0; 4];
        let mut last = ids.next(1_800_000_000);
        for second in 0..1000 {
            let id = ids.next(1_800_000_000 + second / 100);
            assert_eq!(id.0 >> QueueId::OPAQUE_BITS, u128::from(1_800_000_000 + second / 100));
            let others = [last, next_shard.next(0), another_start.next(0), another_key.next(0)];
            for (changed, other) in changed.iter_mut().zip(others) {
                *changed += (opaque(id) ^ opaque(other)).count_ones();
            }
            last = id;
        }
        // 44,000 is expected; the deviation is about 150.
        assert!(changed.iter().all(|bits| (43_000..45_000).contains(bits)), "{changed:?}");
    }

    #[test]
    fn every_octet_of_the_random_numbers_counts() {
        let id = |octets| QueueIds::new(IdKey::from_octets(octets), 0).next(0);
        let zeros = [0; KEY_BYTES];
        for place in 0..KEY_BYTES {
            let mut octets = zeros;
            octets[place] = 1;
            assert_ne!(id(octets), id(zeros), "{place}");
        }
    }

    #[test]
    fn a_queue_id_sorts_by_time_and_reads_back() {
        let id = QueueId::new(1_800_000_000, 7 << 56 | 0x2a);
        assert!(id.to_string() < QueueId::new(1_800_000_001, 0).to_string());
        assert_eq!(QueueId::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(QueueId::parse(b"too short"), None);
        assert_eq!(QueueId::parse(&[b'z'; QueueId::TEXT_BYTES]), None, "over 128 bits");
    }
}
