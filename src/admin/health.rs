//! Whether the process goes on (`/healthz`, and the service manager's watchdog) and whether it can take mail
//! (`/readyz`).
//!
//! The admin thread looks twice a second. It rings each shard that has made no turn since the last look: an
//! idle shard then makes one, and one that hangs does not. A worker that hangs is seen by its pulse, which
//! stands while a batch is on its way. What is counted is looks, not time: after a pause of the whole
//! process, or on a machine that is too busy for this thread as well, no shard is taken for one that hangs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::verdict::{Check, Stand, Verdict};
use crate::metrics::Registry;
use crate::sink::space::{Fault, Space};

/// Rings one shard.
type Bell = Box<dyn Fn() + Send + Sync>;

/// Whether the stop has begun.
type Stops = Box<dyn Fn() -> bool + Send + Sync>;

/// What is watched, and what the last looks saw.
pub struct Health {
    registry: Arc<Registry>,
    /// One a shard: wakes it where it sleeps.
    bells: Vec<Bell>,
    space: Option<Arc<Space>>,
    stops: Stops,
    /// All threads serve.
    serves: AtomicBool,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Turns of each shard.
    shards: Vec<Stand>,
    /// Steps of each worker's pulse; no looks while it has no batch.
    workers: Vec<Stand>,
    /// Failed batches of each worker.
    failures: Vec<Stand>,
    /// Looks of the store's file system that were answered.
    space: Stand,
}

impl Health {
    /// Of what is counted here; none of it serves yet. There is a bell a shard; the sink has so many workers.
    pub fn new(
        registry: Arc<Registry>,
        workers: usize,
        bells: Vec<Bell>,
        space: Option<Arc<Space>>,
        stops: Stops,
    ) -> Self {
        let seen = Seen {
            shards: vec![Stand::default(); registry.shards().len()],
            workers: vec![Stand::default(); workers],
            failures: vec![Stand::default(); workers],
            space: Stand::default(),
        };
        Self { registry, bells, space, stops, serves: AtomicBool::new(false), seen: Mutex::new(seen) }
    }

    /// From now on all threads serve.
    pub fn serves(&self) {
        self.serves.store(true, Ordering::Relaxed);
    }

    /// Looks. Only one thread does, every [`LOOK_EVERY`](super::verdict::LOOK_EVERY).
    pub fn look(&self) {
        let mut seen = self.seen();
        let Seen { shards, workers, failures, space } = &mut *seen;
        for ((shard, ring), stand) in self.registry.shards().iter().zip(&self.bells).zip(shards) {
            if !stand.see(shard.turns.value()) {
                ring();
            }
        }
        for (worker, stand) in self.registry.sinks().iter().zip(workers) {
            stand.see_pulse(worker.pulse.steps());
        }
        for (worker, stand) in self.registry.sinks().iter().zip(failures) {
            stand.see(worker.pulse.failed_in_a_row());
        }
        if let Some(looks) = self.space.as_ref().and_then(|space| space.looks()) {
            space.see(looks);
        }
        drop(seen);
        self.registry.set_ready(self.readyz().is_good());
    }

    /// Whether each shard and each worker goes on.
    pub fn healthz(&self) -> Verdict {
        Verdict::new(self.progress())
    }

    /// Whether mail is taken and can be stored.
    pub fn readyz(&self) -> Verdict {
        let (serves, stops) = (self.serves.load(Ordering::Relaxed), (self.stops)());
        let mut checks = vec![
            Check::new("accepting", (!serves).then(|| "not all threads serve yet".to_owned())),
            Check::new(
                "draining",
                stops.then(|| "the stop has begun; new clients are answered 421".to_owned()),
            ),
            Check::new("store", self.store_fault()),
            Check::new("room", self.room_fault()),
            Check::new("health", self.healthz().names_of_bad()),
        ];
        if let Some(is_down) = self.registry.is_cluster_down() {
            let why = "the stream is not there, or has no quorum, and there is no `fallback`: mail is answered 451 (see the log)";
            checks.push(Check::new("cluster", is_down.then(|| why.to_owned())));
        }
        Verdict::new(checks)
    }

    /// Whether the stop has begun.
    pub fn is_draining(&self) -> bool {
        (self.stops)()
    }

    /// Octets that mail may still take on the store's file system; none where it has none, or does not say.
    pub fn room_bytes(&self) -> Option<u64> {
        self.space.as_ref().map(|space| space.beyond_reserve()).filter(|room| *room != u64::MAX)
    }

    fn progress(&self) -> Vec<Check> {
        let seen = self.seen();
        // A shard that has not begun makes no turns, nor does one that has ended; a start and a stop have
        // bounds of their own.
        let is_judged = self.serves.load(Ordering::Relaxed) && !(self.stops)();
        let check = |name: String, stand: &Stand, what: &str| {
            let hangs = is_judged && stand.hangs();
            Check::new(name, hangs.then(|| format!("{what} for {}", stand.time())))
        };
        let shards = seen.shards.iter().enumerate();
        let shards = shards.map(|(number, stand)| {
            check(format!("shard-{number}"), stand, "it was rung and has made no turn")
        });
        let workers = seen.workers.iter().enumerate();
        let workers = workers.map(|(number, stand)| {
            check(
                format!("sink-{number}"),
                stand,
                "its batch is on its way (does the disk, or whoever reads the output, answer?)",
            )
        });
        shards.chain(workers).collect()
    }

    /// Why nothing can be stored now.
    fn store_fault(&self) -> Option<String> {
        let seen = self.seen();
        if let Some(stand) = seen.failures.iter().find(|stand| stand.fails()) {
            return Some(format!(
                "the last {} batches of a worker could not be stored: see the log",
                stand.value()
            ));
        }
        let space = self.space.as_ref()?;
        match space.fault() {
            Some(Fault::ReadOnly) => Some("its file system is mounted read-only".to_owned()),
            Some(Fault::Gone) => Some("its directory is gone".to_owned()),
            Some(Fault::Another) => Some("another directory is in its place".to_owned()),
            None if seen.space.hangs() && space.looks().is_some() => {
                Some(format!("its file system has not answered for {}", seen.space.time()))
            }
            None => None,
        }
    }

    fn room_fault(&self) -> Option<String> {
        let is_full = self.space.as_ref().is_some_and(|space| !space.has_room(None));
        is_full.then(|| {
            "what is free on the store's file system is within space_reserve; MAIL is answered 452".to_owned()
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::verdict::{FAILED_BATCHES_MAX, FAILURE_LOOKS_MAX, LOOKS_MAX};
    use super::*;
    use crate::mail::outcome::{Outcome, TryAgain};

    struct Watched {
        health: Health,
        registry: Arc<Registry>,
        rung: Arc<AtomicUsize>,
        stops: Arc<AtomicBool>,
    }

    impl Watched {
        fn new() -> Self {
            let (registry, rung) = (Arc::new(Registry::new(1, "maildir", 1)), Arc::<AtomicUsize>::default());
            let (ringer, stops) = (Arc::clone(&rung), Arc::<AtomicBool>::default());
            let bell: Bell = Box::new(move || _ = ringer.fetch_add(1, Ordering::Relaxed));
            let asked = Arc::clone(&stops);
            let stops_now: Stops = Box::new(move || asked.load(Ordering::Relaxed));
            let space = Some(Arc::new(Space::fixed(1)));
            let health = Health::new(Arc::clone(&registry), 1, vec![bell], space, stops_now);
            Self { health, registry, rung, stops }
        }

        fn look(&self, times: u32) {
            (0..times).for_each(|_| self.health.look());
        }

        fn turn(&self) {
            self.registry.shards()[0].turns.add(1);
        }

        fn hangs(&self) -> Vec<String> {
            self.health.healthz().bad()
        }

        fn not_ready(&self) -> Vec<String> {
            self.health.readyz().bad()
        }
    }

    #[test]
    fn a_shard_is_rung_while_it_makes_no_turn_and_hangs_when_that_does_not_help() {
        let watched = Watched::new();
        watched.look(2 * LOOKS_MAX);
        assert_eq!(watched.hangs(), [""; 0], "it does not serve yet");
        assert_eq!(watched.not_ready(), ["accepting"]);
        watched.health.serves();
        assert_eq!(watched.hangs(), ["shard-0"]);
        assert_eq!(watched.not_ready(), ["health"]);
        assert!(watched.health.healthz().reasons().all(|reason| reason.starts_with("shard-0: it was rung")));
        watched.turn();
        let rung = watched.rung.load(Ordering::Relaxed);
        watched.look(1);
        assert_eq!((watched.hangs(), watched.rung.load(Ordering::Relaxed)), (Vec::<String>::new(), rung));
        watched.look(LOOKS_MAX - 1);
        assert_eq!(watched.hangs(), [""; 0]);
        watched.look(1);
        assert_eq!(watched.hangs(), ["shard-0"]);
        watched.stops.store(true, Ordering::Relaxed);
        assert_eq!(watched.hangs(), [""; 0], "a shard that has ended makes no turns");
        assert_eq!(watched.not_ready(), ["draining"]);
    }

    #[test]
    fn a_worker_hangs_when_one_batch_does_not_end_and_not_while_it_has_none() {
        let watched = Watched::new();
        watched.health.serves();
        let pulse = &watched.registry.sinks()[0].pulse;
        let look = |times| {
            for _ in 0..times {
                watched.turn();
                watched.look(1);
            }
        };
        look(2 * LOOKS_MAX);
        assert_eq!(watched.hangs(), [""; 0], "it has no batch");
        pulse.begin();
        look(LOOKS_MAX);
        assert_eq!(watched.hangs(), [""; 0]);
        look(1);
        assert_eq!(watched.hangs(), ["sink-0"]);
        pulse.end();
        pulse.begin();
        look(LOOKS_MAX);
        assert_eq!(watched.hangs(), [""; 0], "another batch");
        pulse.advance();
        look(LOOKS_MAX);
        assert_eq!(watched.hangs(), [""; 0], "the next part of it");
    }

    #[test]
    fn batches_that_fail_whole_make_it_not_ready_for_a_while() {
        let watched = Watched::new();
        watched.health.serves();
        let pulse = &watched.registry.sinks()[0].pulse;
        let look = |times| {
            for _ in 0..times {
                watched.turn();
                watched.look(1);
            }
        };
        let fail = |times| (0..times).for_each(|_| pulse.see(&[Outcome::TryAgain(TryAgain::Local)]));
        fail(FAILED_BATCHES_MAX - 1);
        look(1);
        assert_eq!(watched.not_ready(), [""; 0]);
        fail(1);
        look(1);
        assert_eq!(watched.not_ready(), ["store"]);
        pulse.see(&[Outcome::Stored]);
        look(1);
        assert_eq!(watched.not_ready(), [""; 0], "one was stored");
        fail(FAILED_BATCHES_MAX);
        look(FAILURE_LOOKS_MAX);
        assert_eq!(watched.not_ready(), ["store"]);
        look(1);
        assert_eq!(watched.not_ready(), [""; 0], "it may be tried again");
    }
}
