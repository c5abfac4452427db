//! Messages of the log that cannot be read. Nobody tries them, and the spool keeps them and all that comes
//! after, until an operator has them read again or gives them up. Nothing here gives up one by itself.

use super::Engine;
use super::hand::{Kind, Pending, key_of};
use super::letters::unrouted;
use super::operations::{BUSY, GONE};
use super::under_way::What;
use crate::forward::keep::{Change, Place, Recipients};
use crate::forward::office::Known;
use crate::forward::operations::Done;
use crate::forward::reading::Unreadable;
use crate::ring::Ring;
use crate::sink::spool::cursor::Cursor;

const READABLE: &str = "the spool holds it and it can be read, as far as is known: only what waits, was given up or \
                        cannot be read is changed";
const ONLY_READ_OR_REMOVED: &str = "it cannot be read, and nobody tries it: there are `retry` and `remove`";
const READ_AFTER_ALL: &str = "it can be read after all: it is delivered, and was not removed";

impl<R: Ring> Engine<R> {
    /// The reader could not read this one, and goes on.
    pub(super) fn pass_over(&mut self, found: Unreadable) {
        let Unreadable { cursor: at, recipients, why } = found;
        let settled = self.settled.remove(&at).unwrap_or_else(Recipients::none);
        self.tell(Pending { kind: Kind::Settle, change: Change::Read { at, recipients } });
        // Each of them has it, or an operator gave it up, before this process.
        if !settled.contains_all(&Recipients::first(recipients.max(1))) {
            self.list_unreadable(at, why);
        }
    }

    /// From now on an operator sees it.
    pub(super) fn list_unreadable(&mut self, at: Cursor, why: String) {
        let note = format!(
            "the message at {at} cannot be read and is passed over ({why}); the spool keeps it, and all after it, until \
             `ringmx queue remove {at}` gives it up or `ringmx queue retry {at}` can read it"
        );
        // What was to be settled of it is tried again and again.
        if self.unreadable.insert(at, why).is_none() {
            self.report.note(&note);
        }
        self.count_unreadable();
    }

    fn count_unreadable(&self) {
        self.metrics.engine.unreadable.set(self.unreadable.len() as u64);
    }

    /// All of them, and why they cannot be read.
    pub(super) fn all_unreadable(&self) -> Done {
        let failed = self.unreadable.iter().map(|(at, why)| (Place::Log(*at), why.clone())).collect();
        Done { count: 0, failed }
    }

    /// Whether a message of the log is one that this may be done with; why not, otherwise.
    pub(super) fn may_change(&self, what: What, at: Cursor) -> Result<(), &'static str> {
        if !self.unreadable.contains_key(&at) {
            return Err(READABLE);
        }
        // Others of its recipients are being delivered, out of memory.
        if self.mail.contains_key(&key_of(at)) {
            return Err(BUSY);
        }
        match what {
            What::Retry | What::Remove => Ok(()),
            What::Hold | What::Release | What::Revive => Err(ONLY_READ_OR_REMOVED),
        }
    }

    /// The office has read it once more, for an operator.
    pub(super) fn handle_examined(&mut self, number: u64, at: Cursor, known: Known) {
        let Some(step) = self.operations.steps.get_mut(&number) else { return };
        let recipients = known.waits.iter().fold(Recipients::none(), |all, (_, some)| all.with(some));
        let place = Place::Log(at);
        match (step.what, known.unreadable, known.stored) {
            _ if recipients.is_empty() => {
                self.end_step(number, Some(GONE.to_owned()));
                self.forget_unreadable(at);
            }
            (What::Remove, Some(_), _) => self.tell_step(number, Change::Remove { place, recipients }),
            (_, Some(why), _) | (_, None, Err(why)) => {
                self.end_step(number, Some(format!("it still cannot be read: {why}")));
                self.unreadable.insert(at, why);
            }
            (what, None, Ok(stored)) => {
                step.instead = (what == What::Remove).then_some(READ_AFTER_ALL);
                step.what = What::Revive;
                let count = stored.envelope.recipients().count();
                let all = Recipients::first(u32::try_from(count).unwrap_or(u32::MAX));
                let change = Change::Read { at, recipients: all.count() };
                self.tell(Pending { kind: Kind::Settle, change });
                let recipients = recipients.both(&all);
                let parts = self.routes.parts(&stored.envelope, |index| recipients.contains(index));
                if !parts.unrouted.is_empty() {
                    self.tell_unrouted(&stored, parts.unrouted.count());
                    let (recipients, wait) = (parts.unrouted, unrouted(&stored));
                    self.tell_step(number, Change::Later { place, recipients, wait });
                }
                for (destination, recipients) in parts.destined {
                    let wait = self.tried_again(destination);
                    self.tell_step(number, Change::Later { place, recipients, wait });
                }
                // Each of them had it before it could not be read.
                if self.operations.steps.get(&number).is_some_and(|step| step.open == 0) {
                    self.end_step(number, None);
                }
            }
        }
    }

    /// A step with it has done all that it was to do: nobody needs it in the log any more.
    pub(super) fn forget_unreadable(&mut self, at: Cursor) {
        self.unreadable.remove(&at);
        self.count_unreadable();
    }
}
