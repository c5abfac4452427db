//! ARC (RFC 8617): those who passed a message on say how it was authenticated when it came to them. A chain
//! of their seals shows that they said so, and whether the message is as the last of them had it.
//!
//! A chain is worth as much as the word of its sealers: anybody can make one, over any message. What is not
//! trusted by name counts for nothing. [`Chain`] is taken from a header section once; its check runs over the
//! answers that are there, as all checks do. Nothing is ever sealed here.

mod chain;
mod sets;

pub use self::chain::{Chain, Outcome, SETS_MAX};
pub use self::sets::{INSTANCES_MAX, Problem};

/// Results (RFC 8617 §4.4).
///
/// The RFC knows no word for a key that the DNS does not answer for. Such a chain did not pass, and to call
/// it broken would be untrue: sealers who read our field had to say so for good (§5.2.1). So it has the word
/// that all other methods have (RFC 8601 §2.7). `permerror` is not needed: a chain that cannot be read, or
/// whose keys cannot be used, is one that fails (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArcResult {
    /// There is no chain.
    None,
    /// All seals are by their sealers, and the message is as the last of them had it.
    Pass,
    /// It is broken.
    Fail,
    /// The DNS did not answer.
    TempError,
}

impl ArcResult {
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

#[cfg(test)]
mod tests;
