//! What sessions said and heard, counted: commands by verb, replies by code, recipients by why they were
//! refused. Each list is fixed, so nothing a client does makes it grow.
//!
//! One for all sessions of a thread, which alone writes it.

use super::command;
use super::reason::Reason;
use super::reply::{self, Reply};
use crate::counter::Counter;

/// The counts of all sessions of a thread. Aligned, so that no other thread writes to a cache line of it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// One a row of the table of commands, then one for lines that are no command.
    commands: [Counter; command::COUNT + 1],
    /// One a row of the table of replies.
    replies: [Counter; reply::COUNT],
    recipients_refused: [Counter; Reason::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            commands: [const { Counter::new() }; _],
            replies: [const { Counter::new() }; _],
            recipients_refused: [const { Counter::new() }; _],
        }
    }
}

impl Tally {
    /// A line came that is this command; none when it is no command.
    pub(super) fn command(&self, row: Option<usize>) {
        if let Some(counter) = self.commands.get(row.unwrap_or(command::COUNT)) {
            counter.add(1);
        }
    }

    /// This reply was said.
    pub(super) fn reply(&self, reply: Reply) {
        if let Some(counter) = self.replies.get(reply.index()) {
            counter.add(1);
        }
    }

    /// A recipient was refused by this reply.
    pub(super) fn recipient_refused(&self, reply: Reply) {
        let counter = reply.reason().and_then(|reason| self.recipients_refused.get(reason.index()));
        if let Some(counter) = counter {
            counter.add(1);
        }
    }

    /// A bug of ours ended a session, which counts nothing any more, and this is said of it.
    pub fn bug(&self) {
        self.reply(reply::BUG);
    }

    /// What was counted so far.
    pub fn read(&self) -> TallyValues {
        let read = |counters: &[Counter]| counters.iter().map(Counter::value).collect();
        TallyValues {
            commands: read(&self.commands),
            replies: read(&self.replies),
            recipients_refused: read(&self.recipients_refused),
        }
    }
}

/// What was counted at a moment, by one thread or by several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TallyValues {
    commands: Vec<u64>,
    replies: Vec<u64>,
    recipients_refused: Vec<u64>,
}

impl TallyValues {
    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Self) {
        for (values, more) in [
            (&mut self.commands, &other.commands),
            (&mut self.replies, &other.replies),
            (&mut self.recipients_refused, &other.recipients_refused),
        ] {
            values.resize(values.len().max(more.len()), 0);
            values.iter_mut().zip(more).for_each(|(value, more)| *value += more);
        }
    }

    /// Lines by the command that they are; `other` for those that are none.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let verbs = command::words().chain(["other"]);
        verbs.zip(self.commands.iter().copied().chain(std::iter::repeat(0)))
    }

    /// Replies by code and enhanced code, which is empty where there is none; each pair once, in order.
    pub fn replies(&self) -> Vec<((u16, &'static str), u64)> {
        let counts = self.replies.iter().copied().chain(std::iter::repeat(0));
        let mut codes: Vec<_> = reply::ALL.iter().map(|reply| reply.codes()).zip(counts).collect();
        codes.sort_unstable_by_key(|(codes, _)| *codes);
        codes.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 += if is_same { next.1 } else { 0 };
            is_same
        });
        codes
    }

    /// Recipients that were refused, by why; all reasons that a recipient can be refused for.
    pub fn recipients_refused(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.recipients_refused.iter().copied().chain(std::iter::repeat(0));
        Reason::ALL.iter().copied().zip(counts).filter(|(reason, _)| is_of_recipients(*reason))
    }
}

/// Whether RCPT can be refused for this.
const fn is_of_recipients(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Syntax
            | Reason::OutOfSequence
            | Reason::BadAddress
            | Reason::ForeignDomain
            | Reason::DomainWithoutMail
            | Reason::UnknownRecipient
            | Reason::LocalPartDenied
            | Reason::Unstorable
            | Reason::MailboxFull
            | Reason::Access
            | Reason::Listed
            | Reason::NoReverseName
            | Reason::SenderDomain
            | Reason::Greylisted
            | Reason::ClientLimit
            | Reason::LookupFailed
            | Reason::TooManyRecipients
    )
}
