//! Whether a sink has a place for a recipient, asked before the 250 to RCPT: what RCPT takes can be stored.
//!
//! A sink whose recipients have mailboxes of their own has a [`Naming`], which the shards ask, and a
//! [`Keeper`], which looks into the store on a thread of its own. It makes nothing: a mailbox that may be
//! made is made when mail is stored, so that recipients that were only asked about cost no directories.

use std::io;
use std::sync::Arc;

use super::worker::AbortOnPanic;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::mailbox::{Inquiry, MailboxAnswer, MailboxPath, Standing};
use crate::mail::envelope::Mailbox;

/// Names the places of recipients. Quick and in memory.
pub trait Naming: Send + Sync {
    /// The place of a recipient. `None` when it cannot have one. `is_named`: whether a mailbox is known by
    /// its name to the session that asks.
    fn place(&self, recipient: Mailbox<'_>, is_named: &dyn Fn(Mailbox<'_>) -> bool) -> Option<MailboxPath>;
}

/// Looks whether mail for a place can be stored.
pub trait Keeper {
    /// Looks into the store. May block. What is wrong with a place is reported once in a while.
    fn look(&mut self, place: &MailboxPath) -> Standing;
}

/// Makes a keeper on the thread that it runs on.
pub type MakeKeeper = Box<dyn FnOnce() -> io::Result<Box<dyn Keeper>> + Send>;

/// How a sink is asked about recipients.
pub struct Mailboxes {
    /// For the shards.
    pub naming: Arc<dyn Naming>,
    /// For the thread that looks.
    pub make_keeper: MakeKeeper,
}

/// Runs until every shard has dropped its end. Each shard's own end for answers is at its number.
pub fn run(
    mut keeper: Box<dyn Keeper>,
    consumer: &Consumer,
    inquiries: &Receiver<Inquiry>,
    shards: &[Sender<MailboxAnswer>],
) {
    let _guard = AbortOnPanic;
    loop {
        match inquiries.take() {
            Waiting::Item(inquiry) => {
                let standings = inquiry.places.iter().map(|place| keeper.look(place));
                let standing = standings.max().unwrap_or(Standing::Trouble);
                let shard = &shards[usize::from(inquiry.origin.shard)];
                shard.answer(MailboxAnswer { inquiry, standing });
                shard.ring_if_parked();
            }
            Waiting::Nothing => consumer.sleep(None, || inquiries.is_empty()),
            Waiting::Ended => break,
        }
    }
}
