//! How a message is signed, and how often each way comes.

use std::fmt;
use std::str::FromStr;

use crate::weights::{weighted, write_weighted};

/// A way to sign (DKIM, RFC 6376).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// rsa-sha256 with a key of 2,048 bits.
    Rsa2048,
    /// rsa-sha256 with a key of 1,024 bits, the least that counts (RFC 8301 §3.2).
    Rsa1024,
    /// ed25519-sha256 (RFC 8463).
    Ed25519,
    /// Like `Rsa2048`, but the signature is that of other octets. The body hash is right, so that a receiver
    /// has all the work of a good one.
    Broken,
    /// No signature.
    Unsigned,
}

impl Kind {
    /// All. A kind's index is its place in here.
    pub const ALL: [Self; 5] = [Self::Rsa2048, Self::Rsa1024, Self::Ed25519, Self::Broken, Self::Unsigned];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa1024 => "rsa-1024",
            Self::Ed25519 => "ed25519",
            Self::Broken => "broken",
            Self::Unsigned => "none",
        }
    }
}

/// Kinds with weights; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignMix(pub Vec<(Kind, u32)>);

impl FromStr for SignMix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        weighted(text, &Kind::ALL, Kind::name, "kind of signature").map(Self)
    }
}

impl fmt::Display for SignMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_weighted(f, &self.0, Kind::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_weights_and_what_is_none_is_told() {
        let mix: SignMix = "rsa-2048:6,none".parse().expect("a mix");
        assert_eq!(
            (mix.0.as_slice(), mix.to_string()),
            (&[(Kind::Rsa2048, 6), (Kind::Unsigned, 1)][..], "rsa-2048:6,none:1".to_owned())
        );
        for wrong in ["", "rsa", "rsa-2048=6", "none:0"] {
            assert!(wrong.parse::<SignMix>().is_err(), "{wrong}");
        }
        assert!(Kind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }
}
