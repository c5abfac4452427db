//! DMARC (RFC 9989): whether the domain that a reader sees in From: vouches for a message, and what it asks
//! for where it does not.
//!
//! [`check`] runs from its start over the answers that are there, as all checks do.

mod evaluate;
mod record;
mod walk;

pub use self::evaluate::{Facts, Found, Outcome, Published, check};
pub use self::record::{Alignment, Policy};

/// Results (RFC 8601 §2.7.6 has them from RFC 7489 §11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmarcResult {
    /// The domain has no policy.
    None,
    /// The domain vouches for the message.
    Pass,
    /// It does not.
    Fail,
    /// The DNS did not answer.
    TempError,
}

impl DmarcResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Pass, Self::Fail, Self::TempError];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
        }
    }
}

/// By what a message is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aligned {
    /// SPF of the reverse-path's domain.
    Spf,
    /// A signature.
    Dkim,
}

impl Aligned {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
        }
    }
}

#[cfg(test)]
mod tests;
