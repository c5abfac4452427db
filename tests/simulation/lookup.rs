//! The lookup thread, in a simulation: its answers come late, in any order, twice, to questions that nobody
//! asked, or never while the faults last.

use std::sync::Arc;
use std::time::Duration;

use ringmx::dns::{Answer, Failure, Question};
use ringmx::handoff::channel::{Consumer, Receiver, Sender};
use ringmx::handoff::lookup::{Answered, Asked};
use ringmx::ring::simulated::World;

/// See the module.
pub struct SlowLookup {
    from: Receiver<Asked>,
    to: Sender<Answered>,
    /// Questions, and when they are answered.
    waiting: Vec<(Duration, Question)>,
    zone: Zone,
    is_well: bool,
}

/// What there is to be known.
#[derive(Debug, Clone, Copy)]
pub struct Zone {
    /// What holds of a name.
    pub truth: fn(&Question) -> Answer,
    /// A question that nobody asked, or somebody else.
    pub stray: fn(&World) -> Question,
}

impl SlowLookup {
    /// With the shard's end; answers go to its inbox. `room`: questions that may be on their way.
    pub fn new(to: Sender<Answered>, room: usize, zone: Zone) -> (Self, Sender<Asked>) {
        let (to_lookup, from) = Consumer::new().expect("eventfd").channel(room);
        (Self { from, to, waiting: Vec::new(), zone, is_well: false }, to_lookup)
    }

    /// From now on it answers at once.
    pub fn recover(&mut self) {
        self.is_well = true;
    }

    /// When it has something to say next, if nobody asks.
    pub fn next_at(&self) -> Option<Duration> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// Takes questions and answers what is due. Now and then it takes nothing, so that the channel fills.
    pub fn work(&mut self, world: &World) {
        let now = world.elapsed();
        while (self.is_well || world.random(8) > 0)
            && let Some(asked) = self.from.next()
        {
            let delay = match world.random(if self.is_well { 1 } else { 20 }) {
                0..=5 => Duration::ZERO,
                6..=13 => Duration::from_micros(world.random(50_000)),
                14..=17 => Duration::from_millis(world.random(9_000)),
                // It is lost.
                _ => continue,
            };
            self.waiting.push((now + delay, asked.question));
        }
        while let Some(at) = self.waiting.iter().position(|(due, _)| *due <= now) {
            let (_, question) = self.waiting.swap_remove(at);
            if !self.is_well && world.random(10) == 0 {
                self.tell(&(self.zone.stray)(world), world);
            }
            self.tell(&question, world);
            if !self.is_well && world.random(10) == 0 {
                self.tell(&question, world);
            }
        }
    }

    fn tell(&self, question: &Question, world: &World) {
        let answer =
            if !self.is_well && world.random(12) == 0 { failed(world) } else { (self.zone.truth)(question) };
        let lifetime = Duration::from_secs(world.random(300));
        let (question, answer) = (question.clone(), Arc::new(answer));
        // Where the inbox is full, the answer is lost.
        let _ = self.to.send_and_ring(Answered { question, answer, lifetime });
    }
}

fn failed(world: &World) -> Answer {
    let failures = [Failure::Server, Failure::TimedOut, Failure::Unusable, Failure::Overload];
    Answer::Failed(failures[usize::try_from(world.random(4)).expect("small")])
}
