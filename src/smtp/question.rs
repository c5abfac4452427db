//! What a session asks of the outside, and what answers it: paired by type, so that no answer can meet
//! another question.
//!
//! ```no_run
//! # use ringmx::smtp::question::{OpenQuestion, Beginning, NotAwaited};
//! # use ringmx::smtp::reply::ReplyBuffer;
//! # use ringmx::smtp::session::{Session, Step};
//! # use std::time::Instant;
//! # fn accept(
//! #     session: &mut Session,
//! #     mail: OpenQuestion<Beginning>,
//! #     replies: &mut ReplyBuffer,
//! #     now: Instant,
//! # ) -> Result<Step, NotAwaited> {
//! session.resolve(mail, Ok(()), replies, now)
//! # }
//! ```
//!
//! A verdict is for a recipient, and here MAIL waits:
//!
//! ```compile_fail,E0308
//! # use ringmx::smtp::policy::Verdict;
//! # use ringmx::smtp::question::{OpenQuestion, Beginning, NotAwaited};
//! # use ringmx::smtp::reply::ReplyBuffer;
//! # use ringmx::smtp::session::{Session, Step};
//! # use std::time::Instant;
//! # fn accept(
//! #     session: &mut Session,
//! #     mail: OpenQuestion<Beginning>,
//! #     replies: &mut ReplyBuffer,
//! #     now: Instant,
//! # ) -> Result<Step, NotAwaited> {
//! session.resolve(mail, Verdict::Accept, replies, now)
//! # }
//! ```
//!
//! A session waits for one answer at a time. Whoever answers later keeps the number of the question. An
//! answer that comes after its time is told so, and changes nothing.

use std::marker::PhantomData;
use std::net::IpAddr;

use super::denial::Denial;
use super::policy::Verdict;
use crate::mail::foreign_reply::{ForeignReply, Stranger};
use crate::mail::outcome::{Refused, TryAgain};
use crate::mail::queue_id::QueueId;

/// A kind of question, with what answers it.
pub trait Answerable: sealed::Sealed {
    /// What answers it.
    type Answer;

    /// Its name.
    const AWAITED: Awaited;

    /// An answer to it, as one of all answers.
    fn wrap(answer: Self::Answer) -> Answer;
}

/// A question of a session that was asked. Only a session makes one, and takes its answer once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenQuestion<Q> {
    number: u32,
    kind: PhantomData<Q>,
}

impl<Q> OpenQuestion<Q> {
    pub(super) fn new(number: u32) -> Self {
        Self { number, kind: PhantomData }
    }

    /// Which of the session's questions it is, for whoever answers later.
    pub fn number(self) -> u32 {
        self.number
    }
}

/// A question to be answered now or later. That for the outcome of a message is
/// [`Step::Deliver`](super::session::Step::Deliver).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// May a transaction begin? At a good MAIL whose SIZE is within the limit.
    Beginning {
        /// Which one.
        asked: OpenQuestion<Beginning>,
        /// SIZE=, if it was given.
        size: Option<u64>,
    },
    /// May a client have one more connection? After a front's PROXY header or XCLIENT.
    Admission {
        /// Which one.
        asked: OpenQuestion<Admission>,
        /// The client that the front speaks for.
        client: IpAddr,
        /// The TCP client. When both are the same, the front speaks for itself.
        front: IpAddr,
    },
    /// Is the recipient that a good RCPT proposes
    /// ([`Session::proposed_recipient`](super::session::Session::proposed_recipient)) accepted?
    Recipient {
        /// Which one.
        asked: OpenQuestion<Recipient>,
    },
    /// Can TLS begin? After STARTTLS.
    Encryption {
        /// Which one.
        asked: OpenQuestion<Encryption>,
    },
}

/// What a session waits for from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Whether a transaction may begin.
    Beginning,
    /// Whether the client may have one more connection.
    Admission,
    /// Whether a recipient is accepted.
    Recipient,
    /// Whether TLS can begin.
    Encryption,
    /// What became of a message. Only this is for the sink to answer.
    Storing,
}

/// What became of a message that a session delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It is as safe as the sink promises: 250.
    Accepted(QueueId),
    /// It may be tried again: 4yz.
    TryAgain(TryAgain),
    /// It is refused for good: 5yz.
    Refused(Refused),
    /// Whoever serves the session refuses it. It was not handed over.
    Denied(Denial),
    /// Another program refuses it, in its own words.
    RefusedBy(Stranger, Box<ForeignReply>),
}

/// Any answer.
#[derive(Debug)]
pub enum Answer {
    /// To [`Beginning`].
    Beginning(Result<(), Denial>),
    /// To [`Admission`].
    Admission(Result<(), Denial>),
    /// To [`Recipient`].
    Recipient(Verdict),
    /// To [`Encryption`].
    Encryption(bool),
    /// To [`Storing`].
    Storing(Delivered),
}

/// The session does not wait for this answer: it never asked, or the time for the answer is over. Nothing was
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAwaited;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident => $answer:ty;)+) => {
        mod sealed {
            /// Nobody else adds a kind of question.
            pub trait Sealed {}
            $(impl Sealed for super::$name {})+
        }
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {}

            impl Answerable for $name {
                type Answer = $answer;
                const AWAITED: Awaited = Awaited::$name;

                fn wrap(answer: $answer) -> Answer {
                    Answer::$name(answer)
                }
            }
        )+
    };
}

kinds! {
    /// Whether a transaction may begin. Answered with yes, or why not now: 4yz.
    Beginning => Result<(), Denial>;
    /// Whether the client may have one more connection. Answered with yes, or why not.
    Admission => Result<(), Denial>;
    /// Whether a recipient is accepted.
    Recipient => Verdict;
    /// Whether TLS can begin. Answered with yes or no.
    Encryption => bool;
    /// What became of a message.
    Storing => Delivered;
}
