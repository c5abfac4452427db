//! The spiller of a simulation: slow, out of order, and now and then it fails or hangs. Its files are
//! real ones.

use std::sync::Arc;

use ringmx::buffer::SpillBudget;
use ringmx::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use ringmx::handoff::part::{Errand, Part, Written};
use ringmx::mail::outcome::TryAgain;
use ringmx::ring::simulated::World;
use ringmx::shard::parts::Overflow;
use ringmx::sink::spiller::Spiller;
use ringmx::sink::{Report, Site};

/// See the module.
pub struct SlowSpiller {
    spiller: Spiller,
    pub budget: Arc<SpillBudget>,
    /// Calls that it does nothing in.
    hangs: u64,
    may_hang: bool,
    from: Receiver<Errand>,
    to: Sender<Written>,
    under_way: Vec<Box<Part>>,
}

impl SlowSpiller {
    /// With the shard's end; parts go home to its inbox.
    pub fn new(to: Sender<Written>) -> (Self, Overflow) {
        let (to_spiller, from) = Consumer::new().expect("eventfd").channel(4);
        // Few files, so that the budget is used up now and then.
        let budget = SpillBudget::new(64 << 20, 6);
        let spiller = Spiller::new(std::env::temp_dir(), Arc::clone(&budget), Arc::new(Silent));
        (
            Self { spiller, budget, from, to, under_way: Vec::new(), hangs: 0, may_hang: true },
            Overflow::Files(to_spiller),
        )
    }

    /// From now on it hangs no more.
    pub fn recover(&mut self) {
        self.hangs = 0;
        self.may_hang = false;
    }

    /// Does some of what waits, or nothing.
    pub fn work(&mut self, world: &World) {
        if self.hangs > 0 {
            self.hangs -= 1;
            return;
        }
        if self.may_hang && world.random(3000) == 0 {
            self.hangs = world.random(3000);
        }
        loop {
            match self.from.take() {
                Waiting::Item(Errand::Close(file)) => self.spiller.close(file),
                Waiting::Item(Errand::Write(part)) => self.under_way.push(part),
                Waiting::Nothing | Waiting::Ended => break,
            }
        }
        while !self.under_way.is_empty() && world.random(4) == 0 {
            let index = usize::try_from(world.random(self.under_way.len() as u64)).expect("small");
            let part = self.under_way.swap_remove(index);
            let written = if world.random(10) == 0 {
                Written { part, result: Err(TryAgain::Local), is_scarce: false }
            } else {
                self.spiller.write(part)
            };
            self.to.answer(written);
            self.to.ring_if_parked();
        }
    }
}

/// It has nothing to tell.
pub struct Silent;

impl Report for Silent {
    fn machine_error(&self, what: &str, site: Site<'_>, error: &std::io::Error) {
        panic!("{what} {site}: {error}");
    }
}
