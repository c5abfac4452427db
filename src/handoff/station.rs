//! A complete message on its way to a station, and back from there. A station asks another program about
//! it before the sink gets it: a content filter, or the server that it would go on to.

use std::time::{Duration, Instant};

use super::message::Message;
use crate::mail::foreign_reply::{ForeignReply, Stranger};
use crate::mail::outcome::TryAgain;

/// A message on its way to a station.
#[derive(Debug)]
pub struct Visit {
    /// The message. At a station it is as complete as at the sink, and its mail data can be read.
    pub message: Box<Message>,
    /// When the shard gave it away: its time runs from here.
    pub since: Instant,
}

/// A message that comes back from a station.
#[derive(Debug)]
pub struct Back {
    /// The message, to be handed on or taken apart by its shard.
    pub message: Box<Message>,
    /// What becomes of it.
    pub passage: Passage,
}

/// What becomes of a message that was at a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// It goes on: to the next station, or to the sink.
    GoesOn,
    /// Another server has taken it for all its recipients. 250.
    Delivered,
    /// A filter wants nobody to have it. 250.
    Discarded,
    /// Another program refuses it in its own words.
    Refused(Stranger, Box<ForeignReply>),
    /// A filter wants its client to come back, as by our own greylisting: the first time, where there is one.
    Greylisted,
    /// A filter that has to be asked did not answer: 451.
    Unanswered,
    /// Another program does not take it now: 4yz.
    PutOff(TryAgain),
    /// It is larger than another program takes at all: 552.
    TooLarge,
}

/// Which messages a station sees, and for how long.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Messages of clients that are trusted pass by it.
    pub skips_trusted: bool,
    /// Larger messages pass by it, in octets of what the other program would get.
    pub bytes_max: u64,
    /// It has so long for a message.
    pub timeout: Duration,
    /// What becomes of a message that it has no room or no time for.
    pub otherwise: Passage,
}

impl Rules {
    /// Whether a message is to be seen.
    pub fn see(&self, message: &Message) -> bool {
        let bytes = message.received.len() as u64 + message.data.bytes();
        bytes <= self.bytes_max && !(self.skips_trusted && message.progress.is_trusted)
    }
}
