//! Whether a forwarder goes on (`/healthz`, and the service manager's watchdog) and whether mail goes on with
//! it (`/readyz`).
//!
//! Each of its threads has a number that moves: the engine makes a turn each 100 ms at least, the reader
//! looks as often, and the office has a pulse, which stands while the disk does one step of what it was
//! asked. As in the receiver, looks are counted and not seconds.
//!
//! Whether mail goes on is told by next hops and what they have answered, and not by what waits at a moment:
//! mail that goes out within milliseconds is never seen to wait, and at night there may be none for hours.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::verdict::{Check, Stand, Verdict};
use crate::metrics::{ForwardMetrics, NOTICES};

/// Whether the stop has begun.
type Stops = Box<dyn Fn() -> bool + Send + Sync>;

/// Mail of which no next hop has answered any for so many looks (a minute) does not go on.
const UNANSWERED_LOOKS: u32 = 120;

/// Destinations that are named in a reason; there may be hundreds.
const NAMED_MAX: usize = 3;

/// What is watched, and what the last looks saw.
pub struct ForwardHealth {
    metrics: Arc<ForwardMetrics>,
    stops: Stops,
    /// All threads run.
    runs: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    engine: Stand,
    office: Stand,
    reader: Stand,
    failures: Stand,
    /// Attempts that were answered; no looks while a destination is up, or no mail waits.
    answered: Stand,
}

impl ForwardHealth {
    /// Of what is counted here; not all of it runs yet.
    pub fn new(metrics: Arc<ForwardMetrics>, stops: Stops) -> Self {
        Self { metrics, stops, runs: AtomicBool::new(false), seen: Mutex::default() }
    }

    /// From now on all threads run.
    pub fn runs(&self) {
        self.runs.store(true, Ordering::Relaxed);
    }

    /// Whether the stop has begun.
    pub fn is_draining(&self) -> bool {
        (self.stops)()
    }

    /// Looks. Only one thread does, every [`LOOK_EVERY`](super::super::verdict::LOOK_EVERY).
    pub fn look(&self) {
        let is_unanswered = !self.waited_for().is_empty();
        let mut seen = self.seen();
        let (engine, office, reader) = (&self.metrics.engine, &self.metrics.office, &self.metrics.reader);
        seen.engine.see(engine.turns.value());
        seen.office.see_pulse(office.pulse.steps());
        seen.reader.see(reader.steps.value());
        seen.failures.see(office.pulse.failed_in_a_row());
        seen.answered.see_if_due(engine.answered(), is_unanswered);
    }

    /// Whether each thread goes on.
    pub fn healthz(&self) -> Verdict {
        let seen = self.seen();
        // A start and a stop have bounds of their own.
        let is_judged = self.runs.load(Ordering::Relaxed) && !self.is_draining();
        let check = |name: &str, stand: Stand, what: &str| {
            let hangs = is_judged && stand.hangs();
            Check::new(name, hangs.then(|| format!("{what} for {}", stand.time())))
        };
        Verdict::new(vec![
            check("engine", seen.engine, "it has made no turn"),
            check("office", seen.office, "one read or write is on its way (does the disk answer?)"),
            check("reader", seen.reader, "it has not looked for mail (does the disk of the spool answer?)"),
        ])
    }

    /// Whether mail goes on, or would if some came.
    pub fn readyz(&self) -> Verdict {
        let runs = self.runs.load(Ordering::Relaxed);
        Verdict::new(vec![
            Check::new("running", (!runs).then(|| "not all threads run yet".to_owned())),
            Check::new(
                "draining",
                self.is_draining().then(|| "the stop has begun; no delivery begins any more".to_owned()),
            ),
            Check::new("journal", self.journal_fault()),
            Check::new("next_hops", self.next_hops_fault()),
            Check::new("health", self.healthz().names_of_bad()),
        ])
    }

    /// Why nothing is noted now; then nothing is delivered either.
    fn journal_fault(&self) -> Option<String> {
        let failures = self.seen().failures;
        failures.fails().then(|| {
            format!(
                "the disk did not take the last {} notes of what was delivered: see the log",
                failures.value()
            )
        })
    }

    /// Mail waits, and nobody has taken any for a while. One destination that is down while another is up is
    /// for an alert, not for this: the forwarder does its work, also where there is no mail for the other.
    fn next_hops_fault(&self) -> Option<String> {
        let answered = self.seen().answered;
        let names = self.waited_for();
        if names.is_empty() || !answered.stood(UNANSWERED_LOOKS) {
            return None;
        }
        let more = names.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = names.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        Some(format!("mail waits, and no next hop has taken any for {}: {named}{more}", answered.time()))
    }

    /// The destinations that mail waits for, where all destinations are down. One that an operator stopped
    /// counts for neither: its mail is meant to wait. Nor does that of notices, which takes no other mail.
    fn waited_for(&self) -> Vec<String> {
        let shown = self.metrics.shown();
        let named = shown.destinations.iter().zip(&self.metrics.engine.destinations);
        let mut names = Vec::new();
        for (shown, named) in named.filter(|(shown, named)| !shown.is_stopped() && named.name != NOTICES) {
            if shown.down_since.is_none() {
                return Vec::new();
            }
            if shown.waiting() > 0 {
                names.push(named.name.clone());
            }
        }
        names
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::super::verdict::{FAILED_BATCHES_MAX, FAILURE_LOOKS_MAX, LOOKS_MAX};
    use super::*;
    use crate::metrics::{Attempt, DestinationShown, HostShown, STOPPED, Shown};

    struct Watched {
        health: ForwardHealth,
        metrics: Arc<ForwardMetrics>,
        stops: Arc<AtomicBool>,
    }

    impl Watched {
        fn new() -> Self {
            let names = ["a", "b", "c", "d", "e", NOTICES].map(str::to_owned);
            let metrics = Arc::new(ForwardMetrics::new("mx.test", names));
            let stops = Arc::<AtomicBool>::default();
            let asked = Arc::clone(&stops);
            let health =
                ForwardHealth::new(Arc::clone(&metrics), Box::new(move || asked.load(Ordering::Relaxed)));
            Self { health, metrics, stops }
        }

        /// Looks so often, while all threads but these move.
        fn look(&self, times: u32, but: &[&str]) {
            for _ in 0..times {
                if !but.contains(&"engine") {
                    self.metrics.engine.turns.add(1);
                }
                if !but.contains(&"reader") {
                    self.metrics.reader.steps.add(1);
                }
                self.health.look();
            }
        }

        fn show(&self, destinations: &[(u64, u64, bool)]) {
            let of = |&(waiting, held, is_down): &(u64, u64, bool)| DestinationShown {
                down_since: is_down.then(Instant::now),
                queue: vec![("waiting", waiting), ("held", held)],
                oldest: None,
                hosts: Vec::new(),
            };
            let destinations = destinations.iter().map(of).collect();
            self.metrics.show(Box::new(Shown { destinations, window_bytes: 0 }));
        }
    }

    #[test]
    fn each_thread_that_stands_still_is_named_once_all_run_and_until_the_stop() {
        let watched = Watched::new();
        let all = ["engine", "reader"];
        watched.metrics.office.pulse.begin();
        watched.look(2 * LOOKS_MAX, &all);
        assert_eq!(watched.health.healthz().bad(), [""; 0]);
        assert_eq!(watched.health.readyz().bad(), ["running"]);
        watched.health.runs();
        assert_eq!(watched.health.healthz().bad(), ["engine", "office", "reader"]);
        assert_eq!(watched.health.readyz().bad(), ["health"]);
        watched.metrics.office.pulse.end();
        watched.look(1, &[]);
        assert_eq!(watched.health.healthz().bad(), [""; 0]);
        watched.look(2 * LOOKS_MAX, &["reader"]);
        assert_eq!(watched.health.healthz().bad(), ["reader"], "an office at rest does not hang");
        watched.stops.store(true, Ordering::Relaxed);
        assert_eq!(watched.health.healthz().bad(), [""; 0]);
        assert_eq!(watched.health.readyz().bad(), ["draining"]);
    }

    #[test]
    fn notes_that_the_disk_does_not_take_make_it_not_ready_until_one_is_taken() {
        let watched = Watched::new();
        watched.health.runs();
        let pulse = &watched.metrics.office.pulse;
        (1..FAILED_BATCHES_MAX).for_each(|_| pulse.see_whole(true));
        watched.look(1, &[]);
        assert_eq!(watched.health.readyz().bad(), [""; 0]);
        pulse.see_whole(true);
        watched.look(FAILURE_LOOKS_MAX, &[]);
        assert_eq!(watched.health.readyz().bad(), ["journal"]);
        pulse.see_whole(false);
        watched.look(1, &[]);
        assert_eq!(watched.health.readyz().bad(), [""; 0]);
    }

    #[test]
    fn it_is_not_ready_where_mail_waits_and_nobody_takes_any() {
        let watched = Watched::new();
        watched.health.runs();
        let bad_after = |looks| {
            watched.look(looks, &[]);
            watched.health.readyz().bad()
        };
        assert_eq!(bad_after(1), [""; 0], "nothing was shown");
        for (shown, why) in [
            (&[(0, 5, true), (0, 0, true)], "nothing waits but for an operator"),
            (&[(1, 0, true), (1, 0, false)], "some mail may go on"),
            (&[(1, 0, true), (0, 0, false)], "some would if it came"),
        ] {
            watched.show(shown);
            assert_eq!(bad_after(2 * UNANSWERED_LOOKS), [""; 0], "{why}");
        }
        watched.show(&[(1, 0, true), (0, 0, true)]);
        assert_eq!(bad_after(UNANSWERED_LOOKS - 1), [""; 0], "not for long");
        assert_eq!(bad_after(1), ["next_hops"]);
        let mut with_notices = [(1, 0, true); 6];
        with_notices[5] = (0, 0, false);
        watched.show(&with_notices);
        assert_eq!(bad_after(1), ["next_hops"]);
        let reasons: Vec<_> = watched.health.readyz().reasons().collect();
        let expected = "next_hops: mail waits, and no next hop has taken any for 60 s: a, b, c and 2 more";
        assert_eq!(reasons, [expected]);
    }

    #[test]
    fn it_is_ready_where_mail_is_taken_between_two_failures() {
        let watched = Watched::new();
        watched.health.runs();
        let [dead, flaps, ..] = &watched.metrics.engine.destinations[..] else { panic!("six") };
        watched.show(&[(1, 0, true), (0, 0, true)]);
        for ended in [Attempt::Done, Attempt::Deferred].into_iter().cycle().take(6) {
            watched.look(UNANSWERED_LOOKS / 2, &[]);
            assert_eq!(watched.health.readyz().bad(), [""; 0]);
            flaps.attempt(ended);
        }
        for ended in [Attempt::Lost, Attempt::Untouched, Attempt::NoSession, Attempt::Lost] {
            watched.look(UNANSWERED_LOOKS / 4, &[]);
            dead.attempt(ended);
        }
        watched.look(1, &[]);
        assert_eq!(watched.health.readyz().bad(), ["next_hops"], "what failed is no answer");
        flaps.attempt(Attempt::Done);
        watched.look(1, &[]);
        assert_eq!(watched.health.readyz().bad(), [""; 0], "mail goes on again");
    }

    #[test]
    fn mail_that_an_operator_stopped_may_wait() {
        let watched = Watched::new();
        watched.health.runs();
        let host = |state| HostShown {
            name: "a".to_owned(),
            state,
            since: Instant::now(),
            why: String::new(),
            next_probe: None,
            concurrency: 1,
            open: 0,
            busy: 0,
        };
        let bad_with = |states: [&'static str; 2]| {
            let destination = DestinationShown {
                down_since: Some(Instant::now()),
                queue: vec![("waiting", 1)],
                oldest: None,
                hosts: states.map(host).to_vec(),
            };
            watched.metrics.show(Box::new(Shown { destinations: vec![destination], window_bytes: 0 }));
            watched.look(UNANSWERED_LOOKS + 1, &[]);
            watched.health.readyz().bad()
        };
        assert_eq!(bad_with([STOPPED, STOPPED]), [""; 0]);
        assert_eq!(bad_with([STOPPED, "suspended"]), ["next_hops"]);
    }
}
