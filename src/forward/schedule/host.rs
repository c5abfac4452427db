//! One next hop: how many connections it gets, and when it is left alone.
//!
//! ```text
//!            +1/N a success, -1/N a failure          probe failed: 1, 2, 4, 4 … 8 … 60 s
//!               ┌────┐                                          ┌────┐
//!               │    ▼     one cohort failed in a row           │    ▼
//!   new ──2──►  healthy  ────────────────────────────────►  suspended
//!                  ▲                                            │
//!                  └──────────── a probe connected: 2 ──────────┘
//! ```
//!
//! A *cohort* is as many failures as the concurrency, without a success among them (as in Postfix's
//! SCHEDULER_README). A probe that connects proves that somebody answers, no more: the probes' interval
//! starts from 1 s again only after a message was answered. So a host that greets and then hangs costs two
//! messages each time, and each time later.

use std::time::{Duration, Instant};

use super::delivery::ConnectionId;
use super::jitter::Jitter;

/// Connections to a new host, or to one that comes back.
pub const CONCURRENCY_FIRST: u16 = 2;

/// The longest time between two probes of a suspended host, but for 25 % either way; the first one is 1 s.
pub const PROBE_LONGEST: Duration = Duration::from_mins(1);

/// For so long after its last answer a host is probed at least each 4 s, so that one which is back after a
/// minute has its mail within seconds. Doubling alone would find it up to a minute later.
pub const PROBE_OFTEN_FOR: Duration = Duration::from_mins(5);

/// Doublings of the interval in that time.
const DOUBLINGS_OFTEN: u32 = 2;

/// Octets of the text that says why a host failed.
pub const WHY_BYTES_MAX: usize = 256;

/// A concurrency of one, in the fixed point that it is counted in.
const ONE: u32 = 1 << 15;

/// Whether mail goes to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    Suspended {
        /// The next probe, not before.
        probe_at: Instant,
        /// A probe is on its way.
        is_probed: bool,
    },
}

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    health: Health,
    /// An operator suspended it: no mail, no probe.
    is_stopped: bool,
    /// `ONE <= concurrency <= connections_max * ONE`.
    concurrency: u32,
    /// The part of a cohort that failed since the last success.
    failed: u32,
    /// Doublings of the next interval between probes.
    doublings: u32,
    /// When it was suspended first since it last answered a message.
    failing_since: Option<Instant>,
    connections_max: u16,
    since: Instant,
    why: String,
    /// Connections that are being opened, are open, or are being closed.
    pub(super) open: u16,
    /// Those that are being opened.
    pub(super) connecting: u16,
    /// Those with a delivery.
    pub(super) busy: u16,
    /// Those without one, with the time since when; the one that was used last is last.
    pub(super) idle: Vec<(Instant, ConnectionId)>,
    /// When the schedule's timer will look at it.
    pub(super) armed: Option<Instant>,
}

impl Host {
    /// A host that nobody knows anything of; at least one connection.
    pub(super) fn new(connections_max: u16, now: Instant) -> Self {
        let connections_max = connections_max.max(1);
        Self {
            health: Health::Healthy,
            is_stopped: false,
            concurrency: u32::from(CONCURRENCY_FIRST.min(connections_max)) * ONE,
            failed: 0,
            doublings: 0,
            failing_since: None,
            connections_max,
            since: now,
            why: String::new(),
            open: 0,
            connecting: 0,
            busy: 0,
            idle: Vec::new(),
            armed: None,
        }
    }

    /// Whether mail may go there.
    pub(super) fn is_healthy(&self) -> bool {
        self.health == Health::Healthy && !self.is_stopped
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.health != Health::Healthy
    }

    /// Since when it is in its state.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// What it said, or what was lost, when it failed last.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Deliveries that it may have at a time.
    pub(super) fn concurrency(&self) -> u16 {
        u16::try_from(self.concurrency / ONE).unwrap_or(self.connections_max)
    }

    /// Whether an idle connection to it may be used.
    pub(super) fn can_deliver(&self) -> bool {
        self.is_healthy() && self.busy + self.connecting < self.concurrency() && !self.idle.is_empty()
    }

    /// Whether a further connection may be opened for mail.
    pub(super) fn can_connect(&self) -> bool {
        self.is_healthy()
            && self.busy + self.connecting < self.concurrency()
            && self.open < self.connections_max
    }

    /// When it is probed next, if it is suspended and nobody probes it at the moment.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.health {
            Health::Suspended { probe_at, is_probed: false } if !self.is_stopped => Some(probe_at),
            Health::Suspended { .. } | Health::Healthy => None,
        }
    }

    /// Whether it may be probed now.
    pub(super) fn can_probe(&self, now: Instant) -> bool {
        self.probe_at().is_some_and(|at| at <= now) && self.open < self.connections_max
    }

    /// A probe leaves.
    pub(super) fn probe(&mut self) {
        if let Health::Suspended { is_probed, .. } = &mut self.health {
            *is_probed = true;
        }
    }

    /// It answered up to the last reply before MAIL. True if it is back with that.
    pub(super) fn handle_connected(&mut self, now: Instant) -> bool {
        let is_back = self.is_suspended();
        if is_back {
            self.health = Health::Healthy;
            self.concurrency = u32::from(CONCURRENCY_FIRST.min(self.connections_max)) * ONE;
            self.failed = 0;
            self.since = now;
        }
        is_back
    }

    /// It answered a message, by whatever reply.
    pub(super) fn handle_success(&mut self) {
        // What ends late says nothing of a host that fails since.
        if self.is_suspended() {
            return;
        }
        self.failed = 0;
        self.doublings = 0;
        self.failing_since = None;
        self.concurrency =
            (self.concurrency + self.one_in_concurrency()).min(u32::from(self.connections_max) * ONE);
    }

    /// It did not answer, or not as it should. True if it is suspended with that, or longer.
    pub(super) fn handle_failure(
        &mut self,
        is_probe: bool,
        why: &str,
        now: Instant,
        jitter: &mut Jitter,
    ) -> bool {
        self.why.clear();
        self.why.push_str(&why[..why.floor_char_boundary(WHY_BYTES_MAX)]);
        if self.is_suspended() {
            if is_probe {
                self.suspend(now, jitter);
            }
            return is_probe;
        }
        let part = self.one_in_concurrency();
        self.failed += part;
        self.concurrency = self.concurrency.saturating_sub(part).max(ONE);
        // Thirds do not add up to one quite.
        if self.failed + ONE / 64 < ONE {
            return false;
        }
        self.since = now;
        self.suspend(now, jitter);
        true
    }

    /// An operator has it left alone, or not any more. Then it is probed at once.
    pub(super) fn stop(&mut self, is_stopped: bool, now: Instant) {
        if self.is_stopped != is_stopped {
            self.is_stopped = is_stopped;
            self.since = now;
        }
        if !is_stopped {
            self.hasten(now);
        }
    }

    /// If it is suspended it is probed at once, and the interval begins anew.
    pub(super) fn hasten(&mut self, now: Instant) {
        if let Health::Suspended { probe_at, .. } = &mut self.health {
            *probe_at = now;
            self.doublings = 0;
            self.failing_since = None;
        }
    }

    fn suspend(&mut self, now: Instant, jitter: &mut Jitter) {
        let interval = Duration::from_secs(1 << self.doublings).min(PROBE_LONGEST);
        let failing_for = now.saturating_duration_since(*self.failing_since.get_or_insert(now));
        let most = if failing_for < PROBE_OFTEN_FOR { DOUBLINGS_OFTEN } else { 6 };
        self.doublings = (self.doublings + 1).min(most);
        self.health = Health::Suspended { probe_at: now + jitter.around(interval), is_probed: false };
    }

    fn one_in_concurrency(&self) -> u32 {
        ONE * ONE / self.concurrency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(connections_max: u16) -> (Host, Jitter, Instant) {
        let now = Instant::now();
        (Host::new(connections_max, now), Jitter::new(3), now)
    }

    #[test]
    fn a_round_of_successes_is_one_connection_more() {
        let (mut host, _, _) = host(20);
        let mut rounds = 0;
        while host.concurrency() < 20 {
            let before = host.concurrency();
            for _ in 0..=before {
                host.handle_success();
            }
            assert!((before + 1..=before + 2).contains(&host.concurrency()), "after {before}");
            rounds += 1;
        }
        assert!((12..=18).contains(&rounds), "{rounds}");
        for _ in 0..1000 {
            host.handle_success();
        }
        assert_eq!(host.concurrency(), 20);
    }

    #[test]
    fn one_cohort_of_failures_suspends() {
        for most in [1, 2, 3, 5, 10, 20, 100] {
            let (mut host, mut jitter, now) = host(most);
            for _ in 0..100_000 {
                host.handle_success();
            }
            assert_eq!(host.concurrency(), most);
            let failures = (1..=200).find(|_| host.handle_failure(false, "timed out", now, &mut jitter));
            let cohort = usize::from(most);
            assert!(failures.is_some_and(|count| (cohort.max(2) - 1..=cohort).contains(&count)), "{most}");
        }
    }

    #[test]
    fn a_success_ends_a_cohort() {
        let (mut host, mut jitter, now) = host(20);
        for _ in 0..1000 {
            assert!(!host.handle_failure(false, "421 too many", now, &mut jitter));
            host.handle_success();
        }
        assert!(host.is_healthy());
    }

    #[test]
    fn probes_come_after_1_2_4_and_in_the_end_each_60_seconds() {
        let (mut host, mut jitter, mut now) = host(2);
        host.handle_failure(false, "refused", now, &mut jitter);
        host.handle_failure(false, "refused", now, &mut jitter);
        let (start, mut chosen_at) = (now, now);
        let mut later = [8, 16, 32, 60, 60, 60].into_iter();
        for number in 0.. {
            // Each failure chooses the interval after the next one.
            let is_early = chosen_at < start + PROBE_OFTEN_FOR;
            chosen_at = now;
            let seconds = match number {
                0 => 1,
                1 => 2,
                _ if is_early => 4,
                _ => match later.next() {
                    Some(seconds) => seconds,
                    None => break,
                },
            };
            let wait = host.probe_at().expect("a probe") - now;
            let plain = Duration::from_secs(seconds);
            assert!(wait >= plain * 3 / 4 && wait <= plain * 5 / 4, "{wait:?} instead of {plain:?}");
            now += wait;
            host.probe();
            assert_eq!(host.probe_at(), None, "one probe at a time");
            assert!(host.handle_failure(true, "refused", now, &mut jitter));
        }
        assert_eq!(host.why(), "refused");
    }

    #[test]
    fn a_host_that_only_greets_is_probed_ever_later() {
        let (mut host, mut jitter, mut now) = host(20);
        let mut waits = Vec::new();
        for _ in 0..20 {
            while !host.handle_failure(false, "timed out after the dot", now, &mut jitter) {}
            waits.push((host.probe_at().expect("a probe") - now).as_secs());
            now = host.probe_at().expect("a probe");
            host.probe();
            assert!(host.handle_connected(now));
            assert_eq!(host.concurrency(), CONCURRENCY_FIRST);
            now += Duration::from_secs(30);
        }
        assert!(waits[0] <= 1 && waits.last() >= Some(&44), "{waits:?}");
        host.handle_success();
        while !host.handle_failure(false, "refused", now, &mut jitter) {}
        assert!(host.probe_at().expect("a probe") - now < Duration::from_millis(1251));
    }

    #[test]
    fn a_stopped_host_is_not_probed_and_a_resumed_one_at_once() {
        let (mut host, mut jitter, now) = host(20);
        host.stop(true, now);
        assert!(!host.is_healthy() && !host.can_probe(now) && !host.can_connect());
        while !host.handle_failure(false, "refused", now, &mut jitter) {}
        assert_eq!(host.probe_at(), None);
        host.stop(false, now);
        assert!(host.can_probe(now));
    }

    #[test]
    fn the_text_is_cut_between_characters() {
        let (mut host, mut jitter, now) = host(20);
        host.handle_failure(false, &"ä".repeat(200), now, &mut jitter);
        assert_eq!(host.why().len(), WHY_BYTES_MAX);
        host.handle_failure(false, &format!("x{}", "ä".repeat(200)), now, &mut jitter);
        assert_eq!(host.why().len(), WHY_BYTES_MAX - 1);
    }
}
