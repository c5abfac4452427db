//! What the parameters of MAIL and RCPT say that are kept with a message.

use std::fmt;

/// RET= of MAIL (RFC 3461 §4.3): what a delivery status notification returns of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// NOTIFY= of RCPT (RFC 3461 §4.1): bits of `SUCCESS`, `FAILURE`, `DELAY`. Without any bit it is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify(u8);

impl Notify {
    /// `NEVER`
    pub const NEVER: Self = Self(0);
    /// `SUCCESS`
    pub const SUCCESS: Self = Self(1);
    /// `FAILURE`
    pub const FAILURE: Self = Self(2);
    /// `DELAY`
    pub const DELAY: Self = Self(4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sender is to be told of a success.
    pub const fn asks_for_success(self) -> bool {
        self.0 & Self::SUCCESS.0 > 0
    }

    /// The bits, as they are stored.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From stored bits. `None` when there are others.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 8 { Some(Self(bits)) } else { None }
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORDS: [(Notify, &str); 3] =
            [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let mut separator = "";
        for (bit, word) in WORDS {
            if self.0 & bit.0 != 0 {
                write!(f, "{separator}{word}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// The parameters of one accepted RCPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecipientParameters<'a> {
    /// NOTIFY=, if it was given.
    pub notify: Option<Notify>,
    /// ORCPT= as sent, `type;xtext` (RFC 3461 §4.2); empty when it was not given.
    pub orcpt: &'a [u8],
}

/// BODY= of MAIL.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`, or nothing said (RFC 6152).
    #[default]
    SevenBit,
    /// `8BITMIME` (RFC 6152).
    EightBitMime,
    /// `BINARYMIME` (RFC 3030).
    BinaryMime,
}
