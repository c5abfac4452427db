//! Whom we take mail for: a trait the session asks, and the table of domains and recipients that implements
//! it.

mod aliases;
mod listed;
mod recipients;

pub use self::aliases::{Aliases, Targets};
pub use self::listed::{ListBuilder, Listed, RecipientEntry};
pub use self::recipients::{RecipientRules, Recipients};
use super::denial::Denial;
use crate::mail::envelope::Mailbox;

/// What a policy says of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours.
    Accept,
    /// Its domain is not ours: `550 5.7.1`.
    ForeignDomain,
    /// Its domain is ours and takes no mail: `556 5.1.10`.
    DomainWithoutMail,
    /// Nobody of that name: `550 5.1.1`.
    UnknownRecipient,
    /// A local-part that whoever gets the mail from us may route elsewhere: `550 5.1.3`.
    DeniedLocalPart,
    /// The store cannot name a place for it: `550 5.1.3`.
    Unstorable,
    /// Its mailbox is full: `452 4.2.2`.
    MailboxFull,
    /// It could not be found out: `451`, never accept and never `550`.
    TryAgain,
    /// Whoever serves the session refuses it, whether it exists or not.
    Denied(Denial),
}

/// What a policy says of a recipient at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// This is the last word on it.
    Known(Verdict),
    /// Somebody else has the last word, and may take time:
    /// [`Question::Recipient`](super::question::Question::Recipient) is asked.
    Asks,
}

/// Says what to do with a mailbox. In memory and quick: it is asked on the shard. What takes time is asked of
/// somebody else.
pub trait Policy {
    /// What is known of a recipient by its final mailbox, after a source route was stripped.
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict;

    /// Judges a recipient: whether what is known of it is the last word.
    fn judge(&self, mailbox: Mailbox<'_>) -> Judgement {
        match self.recipient(mailbox) {
            Verdict::Accept => self.judge_accepted(),
            refused => Judgement::Known(refused),
        }
    }

    /// Judges a recipient that by what is known is accepted.
    fn judge_accepted(&self) -> Judgement {
        if self.asks_store() { Judgement::Asks } else { Judgement::Known(Verdict::Accept) }
    }

    /// Where mail for the bare `<postmaster>` goes (RFC 5321 §4.5.1): local-part and domain.
    fn postmaster(&self) -> (&[u8], &[u8]);

    /// Whether a mailbox is known by its name, so that a place in the store may be made for it: a file of
    /// recipients names it, an alias stands for it, or it is a postmaster, who is always reachable (RFC 5321
    /// §4.5.1). One that only a catch-all takes is not.
    fn is_named(&self, _mailbox: Mailbox<'_>) -> bool {
        false
    }

    /// The same of one whose domain only a map has, which did not name it.
    fn is_named_without_map(&self, mailbox: Mailbox<'_>) -> bool {
        self.is_named(mailbox)
    }

    /// The mailboxes that this one stands for, where it is an alias: they get its mail, and it gets none.
    fn aliased(&self, _mailbox: Mailbox<'_>) -> Option<Targets<'_>> {
        None
    }

    /// Gives what a map that another program serves is to be asked about a recipient whom the policy accepts:
    /// its mailbox, the same without its tag, and `@domain`, in this order. False where it is not to be
    /// asked.
    fn map_keys(&self, _mailbox: Mailbox<'_>, _each: &mut dyn FnMut(&[u8])) -> bool {
        false
    }

    /// Whether the store keeps a copy for each recipient, and has the last word on one that the policy
    /// accepts: it may have no place for it.
    fn asks_store(&self) -> bool {
        false
    }
}
