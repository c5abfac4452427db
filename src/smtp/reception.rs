//! The mail data of a transaction while it is received: what is kept, what is wrong with it, how much it is.
//!
//! Something wrong never ends the mail data: it is read on to its true end, to stay in step with the client, and refused
//! there.

use std::ops::Range;

use super::envelope::Envelope;
use super::input::Input;
use super::mail_data::{Found, MailData};
use super::reply::{self, Reply};
use crate::config::BareLineEnd;
use crate::limits::OVERSIZE_FACTOR;

/// Mail data under way.
#[derive(Debug)]
pub(super) struct Reception {
    envelope: Box<Envelope>,
    data: MailData,
    /// Octets of mail data after transparency, kept or not.
    bytes: u64,
    bytes_max: u64,
    fault: Option<Fault>,
}

/// Why mail data is not kept. Each has exactly one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A CR or LF of its own under `reject` (RFC 5321 §2.3.8).
    BareLineEnd,
    /// Over the limit (RFC 1870 §6.3).
    TooLarge,
    /// Our memory ran out.
    NoMemory,
}

impl Fault {
    /// Its reply.
    pub(super) const fn reply(self) -> Reply {
        match self {
            Self::BareLineEnd => reply::BARE_LINE_END_IN_MAIL_DATA,
            Self::TooLarge => reply::TOO_LARGE,
            Self::NoMemory => reply::OVERLOAD,
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// Keep this range of the input.
    Data(Range<usize>),
    /// Keep these octets.
    Insert(&'static [u8]),
    /// Drop what was kept; nothing more is.
    Discard,
    /// The end of the mail data. Take it apart with [`Reception::finish`].
    End,
    /// So far over the limit that its end is not waited for.
    Endless,
    /// All input is consumed.
    NeedInput,
}

impl Reception {
    /// At the beginning of the mail data of an envelope.
    pub(super) fn new(
        envelope: Box<Envelope>,
        bare_lf: BareLineEnd,
        bare_cr: BareLineEnd,
        bytes_max: u64,
    ) -> Self {
        Self { envelope, data: MailData::new(bare_lf, bare_cr), bytes: 0, bytes_max, fault: None }
    }

    /// Consumes input up to the next thing to do.
    pub(super) fn advance(&mut self, input: &mut Input<'_>) -> Next {
        loop {
            if self.bytes > self.bytes_max.saturating_mul(OVERSIZE_FACTOR) {
                return Next::Endless;
            }
            let (count, next) = match self.data.advance(input) {
                Found::Data(range) => (range.len(), Next::Data(range)),
                Found::Insert(octets) => (octets.len(), Next::Insert(octets)),
                Found::Bare if self.fail(Fault::BareLineEnd) => return Next::Discard,
                Found::Bare => continue,
                Found::End => return Next::End,
                Found::NeedInput => return Next::NeedInput,
            };
            self.bytes += count as u64;
            if self.bytes > self.bytes_max && self.fail(Fault::TooLarge) {
                return Next::Discard;
            }
            if self.fault.is_none() {
                return next;
            }
        }
    }

    /// What was kept is lost for want of memory.
    pub(super) fn handle_no_memory(&mut self) {
        self.fail(Fault::NoMemory);
    }

    /// At the end: the envelope of a message to be delivered, or why there is none.
    pub(super) fn finish(self) -> Result<Box<Envelope>, Fault> {
        self.fault.map_or(Ok(self.envelope), Err)
    }

    /// Notes a fault; true when it is the first, so that something may have been kept. What is wrong with the message
    /// itself is said rather than what was wrong here, for trying again would not help.
    fn fail(&mut self, fault: Fault) -> bool {
        match self.fault {
            None => {
                self.fault = Some(fault);
                return true;
            }
            Some(Fault::NoMemory) => self.fault = Some(fault),
            Some(Fault::BareLineEnd | Fault::TooLarge) => {}
        }
        false
    }
}
