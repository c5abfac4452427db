//! Names of sessions, for the log.

use std::fmt;

/// Name of a session, unique over the shards of this process; over its starts, too, unless the clock was set
/// back. It is the microsecond of its beginning, made later where the shard had one in it before, and the
/// shard. Shown as 13 characters of Crockford's base 32 in lower case, which sort by time.
///
/// It is told to nobody but the log, so it may say when the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SessionId(u64);

/// Bits of the shard.
const SHARD_BITS: u32 = 10;

/// Characters of the text form.
const TEXT_BYTES: usize = 13;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: [u8; TEXT_BYTES] =
            std::array::from_fn(|place| ALPHABET[(self.0 >> (5 * (TEXT_BYTES - 1 - place)) & 31) as usize]);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Gives the sessions of one shard their names.
#[derive(Debug, Default)]
pub struct SessionIds {
    /// The microsecond in the name that was given last.
    last: u64,
}

impl SessionIds {
    /// The next name, for a session of this shard that begins in this microsecond since 1970.
    pub fn next(&mut self, shard: u16, micros: u64) -> SessionId {
        self.last = micros.max(self.last + 1);
        SessionId(self.last << SHARD_BITS | u64::from(shard) & ((1 << SHARD_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sort_by_time() {
        let mut ids = SessionIds::default();
        let micros =
            [1_800_000_000_000_000, 1_800_000_000_000_000, 1_799_999_999_999_000, 1_800_000_000_000_007];
        let names: Vec<String> = micros.iter().map(|micros| ids.next(3, *micros).to_string()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert!(names.iter().all(|name| name.len() == TEXT_BYTES));
        let other = SessionIds::default().next(4, micros[0]).to_string();
        assert!(!names.contains(&other));
    }
}
