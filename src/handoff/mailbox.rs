//! What crosses between a shard and the thread that looks whether a recipient's mailbox can take mail: a
//! question before the 250 to RCPT, and its answer.

use super::message::Origin;

/// Where a sink would store what a recipient gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxPath {
    /// Its name in the store, the sink's own.
    pub name: Box<str>,
    /// Whether it may be made where it is not there.
    pub may_make: bool,
}

/// A question.
#[derive(Debug)]
pub struct Inquiry {
    /// The shard and connection that ask.
    pub origin: Origin,
    /// Which of the connection's questions it is: the answer to one that it no longer waits for tells it
    /// nothing.
    pub number: u32,
    /// What is asked about: one, or those of an alias.
    pub places: Vec<MailboxPath>,
    /// Whether it is an alias that is asked about.
    pub of_alias: bool,
}

/// The answer.
#[derive(Debug)]
pub struct MailboxAnswer {
    /// The question.
    pub inquiry: Inquiry,
    /// What was found: of several the worst.
    pub standing: Standing,
}

/// Whether mail for a place can be stored. What is worse is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It can: the place is there, or can be made.
    Ready,
    /// There is no such mailbox, and it may not be made.
    Unknown,
    /// It is over its quota, or no space is left for it.
    Full,
    /// Something is wrong with it that its operator has to mend.
    Trouble,
}
