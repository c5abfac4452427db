//! SPF (RFC 7208): whether a domain says that a client may send for it.
//!
//! [`check`] runs from its start over the answers that are there. As long as it misses one its result is
//! none, and [`Asking`](crate::dns::Asking) knows what is to be asked.

mod evaluate;
mod expand;
mod record;

use std::net::IpAddr;

pub use self::evaluate::check;
use crate::dns::Name;

/// Terms of all records that ask the DNS (§4.6.4).
pub const TERMS_MAX: u32 = 10;

/// Terms whose name has no records (§4.6.4).
pub const VOID_TERMS_MAX: u32 = 2;

/// Mail exchangers, and names of an address, that are looked at (§4.6.4).
pub const NAMES_MAX: usize = 10;

/// Results (§2.6), named as in RFC 8601 §2.7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfResult {
    /// The domain says nothing.
    None,
    /// The domain does not say whether.
    Neutral,
    /// The client may.
    Pass,
    /// The client may not.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// The DNS did not answer.
    TempError,
    /// What the domain says cannot be understood.
    PermError,
}

impl SpfResult {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Neutral, Self::Pass, Self::Fail, Self::SoftFail, Self::TempError, Self::PermError];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The SMTP client.
    pub client: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: &'a [u8],
    /// Local-part of the identity; empty for `postmaster` (§4.3).
    pub local_part: &'a [u8],
    /// Domain of the identity.
    pub domain: &'a [u8],
    /// Our name, for explanations.
    pub receiver: &'a str,
    /// Seconds since 1970, for explanations.
    pub now: u64,
    /// What the domain says to a fail is of interest: to find that out takes one more question.
    pub explains: bool,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: SpfResult,
    /// The mechanism that matched, as it was written.
    pub mechanism: Option<Box<str>>,
    /// Why the result is an error.
    pub problem: Option<Problem>,
    /// What the domain says to a fail, of printable ASCII. From outside: it is no reply of ours.
    pub explanation: Option<Box<str>>,
}

/// Why a result is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The DNS did not answer to this name.
    NoAnswer(Name),
    /// The record of a name is longer than anybody needs.
    TooLong(Name),
    /// A name has more than one record.
    TwoRecords(Name),
    /// A term that is none.
    Syntax(Box<str>),
    /// More than [`TERMS_MAX`] terms ask the DNS.
    TooManyTerms,
    /// More than [`VOID_TERMS_MAX`] of them find nothing.
    TooManyVoidTerms,
    /// More than [`NAMES_MAX`] mail exchangers.
    TooManyExchangers(Name),
    /// `include` or `redirect` leads to a name without a record.
    NoRecord(Box<str>),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAnswer(name) => write!(f, "no answer for {name}"),
            Self::TooLong(name) => write!(f, "the SPF record of {name} is too long"),
            Self::TwoRecords(name) => write!(f, "{name} has more than one SPF record"),
            Self::Syntax(term) => write!(f, "{term:?} is no term"),
            Self::TooManyTerms => write!(f, "more than {TERMS_MAX} terms ask the DNS"),
            Self::TooManyVoidTerms => write!(f, "more than {VOID_TERMS_MAX} terms find nothing"),
            Self::TooManyExchangers(name) => write!(f, "{name} has more than {NAMES_MAX} mail exchangers"),
            Self::NoRecord(term) => write!(f, "{term:?} leads to no SPF record"),
        }
    }
}

#[cfg(test)]
mod tests;
