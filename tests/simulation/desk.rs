//! The thread that looks into mailboxes, in a simulation: its answers come late, in any order, or never while
//! the faults last.

use std::sync::Arc;
use std::time::Duration;

use ringmx::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use ringmx::handoff::mailbox::{Inquiry, MailboxAnswer, MailboxPath, Standing};
use ringmx::mail::envelope::Mailbox;
use ringmx::ring::simulated::World;
use ringmx::shard::mailboxes::Lookup;
use ringmx::sink::mailbox::Naming;

/// The only mailbox that always is ready, if it is asked about in time.
const READY: &str = "b@y.test";

/// See the module.
pub struct Desk {
    from: Receiver<Inquiry>,
    to: Sender<MailboxAnswer>,
    /// Questions and when they are answered.
    waiting: Vec<(Duration, Inquiry)>,
    is_well: bool,
}

struct Names;

impl Naming for Names {
    fn place(&self, recipient: Mailbox<'_>, _: &dyn Fn(Mailbox<'_>) -> bool) -> Option<MailboxPath> {
        Some(MailboxPath { name: String::from_utf8_lossy(recipient.whole).into(), may_make: false })
    }
}

impl Desk {
    /// With the shard's end; answers go to its inbox. `room`: questions that may be on their way.
    pub fn new(to: Sender<MailboxAnswer>, room: usize) -> (Self, Lookup) {
        let (to_keeper, from) = Consumer::new().expect("eventfd").channel(room);
        let desk = Self { from, to, waiting: Vec::new(), is_well: false };
        (desk, Lookup::Keeper(Arc::new(Names), to_keeper))
    }

    /// From now on it answers at once.
    pub fn recover(&mut self) {
        self.is_well = true;
    }

    /// Answers some of what waits, or nothing.
    pub fn work(&mut self, world: &World) {
        while let Waiting::Item(inquiry) = self.from.take() {
            let delay = match world.random(if self.is_well { 2 } else { 20 }) {
                0..=9 => Duration::ZERO,
                10..=15 => Duration::from_micros(world.random(20_000)),
                16..=18 => Duration::from_millis(world.random(40_000)),
                // Longer than anybody waits.
                _ => Duration::from_hours(1),
            };
            self.waiting.push((world.elapsed() + delay, inquiry));
        }
        let now = world.elapsed();
        while let Some(at) = self.waiting.iter().position(|(due, _)| *due <= now || self.is_well) {
            let (_, inquiry) = self.waiting.swap_remove(at);
            let standing = match inquiry.places.first().map_or("", |place| &*place.name) {
                READY => Standing::Ready,
                _ => [Standing::Ready, Standing::Unknown, Standing::Full, Standing::Trouble]
                    [usize::try_from(world.random(4)).expect("small")],
            };
            self.to.answer(MailboxAnswer { inquiry, standing });
            self.to.ring_if_parked();
        }
    }
}
