//! The figures of the last 15 minutes of a forwarder, sampled once a second, and the status that they make.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::status::figures;
use super::super::status::forward::{
    Destination, ForwardRates, ForwardStatus, ForwardThroughput, Host, PROCESS, Queue, SHAPE,
};
use super::super::status::history::{Facts, SAMPLES_MAX, SPREADS_MAX, keep, latency};
use super::judgement;
use crate::metrics::{
    DelayPart, DestinationShown, DestinationValues, ForwardResult, ForwardSnapshot, HostShown, Spread,
};
use crate::timestamp::micros;

/// The sums of all destinations at a moment, in recipients.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    delivered: u64,
    deferred: u64,
    /// Refused, or expired.
    undeliverable: u64,
    held: u64,
}

/// What the last minute is told in detail by.
#[derive(Debug)]
struct Detail {
    delay: [Spread; DelayPart::ALL.len()],
    sync: Spread,
}

/// The last 15 minutes.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The oldest first. `len <= SAMPLES_MAX`
    samples: VecDeque<Sample>,
    /// The oldest first. `len <= SPREADS_MAX`
    details: VecDeque<Detail>,
    last: Option<ForwardSnapshot>,
}

impl History {
    /// Takes a sample: once a second.
    pub(super) fn take(&mut self, snapshot: ForwardSnapshot) {
        let of = |result| snapshot.recipients(result);
        let sample = Sample {
            at: snapshot.now,
            delivered: of(ForwardResult::Delivered),
            deferred: of(ForwardResult::Deferred),
            undeliverable: of(ForwardResult::Undeliverable) + of(ForwardResult::Expired),
            held: of(ForwardResult::Held),
        };
        keep(&mut self.samples, SAMPLES_MAX, sample);
        let delay = DelayPart::ALL.map(|part| snapshot.delay(part).clone());
        keep(&mut self.details, SPREADS_MAX, Detail { delay, sync: snapshot.sync_duration.clone() });
        self.last = Some(snapshot);
    }

    /// The status as of the last sample; none before the first.
    pub(super) fn status(&self, facts: &Facts) -> Option<ForwardStatus> {
        let snapshot = self.last.as_ref()?;
        let throughput = self.throughput(snapshot);
        let mut status = ForwardStatus {
            shape: SHAPE,
            process: PROCESS.to_owned(),
            version: snapshot.version.to_owned(),
            hostname: facts.hostname.clone(),
            pid: std::process::id(),
            at_unix_ms: micros(snapshot.at) / 1000,
            uptime_seconds: seconds(snapshot.at.duration_since(snapshot.started_at).unwrap_or_default()),
            state: judgement::state(&facts.ready, facts.is_draining, throughput.minute.delivered_per_second),
            ready: facts.ready.clone(),
            healthy: facts.healthy.clone(),
            problems: Vec::new(),
            throughput,
            delays: self.delays(),
            destinations: snapshot.destinations().map(|one| destination(snapshot, one)).collect(),
            queue: self.queue(snapshot),
            events: facts.events.clone(),
        };
        status.problems = judgement::problems(&status);
        Some(status)
    }

    fn throughput(&self, snapshot: &ForwardSnapshot) -> ForwardThroughput {
        let by_second = |count: fn(&Sample) -> u64| {
            let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
            // A sample that came late holds more than a second.
            pairs.map(|(old, new)| figures::whole(per_second(old, new, count))).collect()
        };
        let of = |result| snapshot.recipients(result);
        ForwardThroughput {
            now: self.rates(1),
            minute: self.rates(60),
            quarter_hour: self.rates(SAMPLES_MAX - 1),
            delivered_total: of(ForwardResult::Delivered),
            deferred_total: of(ForwardResult::Deferred),
            undeliverable_total: of(ForwardResult::Undeliverable),
            expired_total: of(ForwardResult::Expired),
            held_total: of(ForwardResult::Held),
            unrouted_total: snapshot.unrouted,
            delivered_by_second: by_second(|sample| sample.delivered),
            not_delivered_by_second: by_second(|one| one.deferred + one.undeliverable + one.held),
        }
    }

    /// Means over so many samples, or over those that there are.
    fn rates(&self, samples: usize) -> ForwardRates {
        let place = self.samples.len().saturating_sub(samples + 1);
        let (Some(old), Some(new)) = (self.samples.get(place), self.samples.back()) else {
            return ForwardRates::default();
        };
        ForwardRates {
            delivered_per_second: per_second(old, new, |sample| sample.delivered),
            deferred_per_second: per_second(old, new, |sample| sample.deferred),
            undeliverable_per_second: per_second(old, new, |sample| sample.undeliverable),
        }
    }

    fn delays(&self) -> Vec<super::super::status::Latency> {
        let (Some(old), Some(new)) = (self.details.front(), self.details.back()) else { return Vec::new() };
        let parts = DelayPart::ALL.iter().zip(old.delay.iter().zip(&new.delay));
        parts.map(|(part, (old, new))| latency(part.name(), &new.since(old))).collect()
    }

    fn queue(&self, snapshot: &ForwardSnapshot) -> Queue {
        let ends = self.details.front().zip(self.details.back());
        let sync = ends.map(|(old, new)| new.sync.since(&old.sync)).unwrap_or_default();
        Queue {
            window_bytes: snapshot.shown.window_bytes,
            later_bytes: snapshot.later_bytes,
            dead_bytes: snapshot.dead_bytes,
            dead_messages: snapshot.dead,
            notices_held: snapshot.notices_held,
            unreadable_messages: snapshot.unreadable,
            log_lag_seconds: snapshot.lag.as_secs_f64(),
            journal_sync_p50_us: sync.quantile(0.5),
            journal_sync_p99_us: sync.quantile(0.99),
            journal_failures_total: snapshot.journal_failures,
        }
    }
}

fn destination(
    snapshot: &ForwardSnapshot,
    (values, shown): (&DestinationValues, Option<&DestinationShown>),
) -> Destination {
    let count = |state: &str| {
        let queue = shown.into_iter().flat_map(|shown| &shown.queue);
        queue.filter(|(name, _)| *name == state).map(|(_, count)| count).sum()
    };
    let down_since = shown.and_then(|shown| shown.down_since);
    let oldest = shown.and_then(|shown| shown.oldest);
    Destination {
        destination: values.name.clone(),
        up: down_since.is_none(),
        down_seconds: down_since.map(|since| seconds(snapshot.now.saturating_duration_since(since))),
        fresh: count("fresh"),
        due: count("due"),
        waiting: count("waiting"),
        busy: count("busy"),
        moving: count("moving"),
        held: count("held"),
        oldest_seconds: oldest.map(|at| seconds(snapshot.at.duration_since(at).unwrap_or_default())),
        connections_open: shown.map_or(0, DestinationShown::connections),
        delivered_total: values.recipients(ForwardResult::Delivered),
        deferred_total: values.recipients(ForwardResult::Deferred),
        undeliverable_total: values.recipients(ForwardResult::Undeliverable)
            + values.recipients(ForwardResult::Expired),
        hosts: shown.map_or_else(Vec::new, |shown| {
            shown.hosts.iter().map(|host| self::host(snapshot.now, host)).collect()
        }),
    }
}

fn host(now: Instant, shown: &HostShown) -> Host {
    let until = |at: Instant| seconds(at.saturating_duration_since(now) + Duration::from_millis(999));
    Host {
        next_hop: shown.name.clone(),
        state: shown.state.to_owned(),
        state_seconds: seconds(now.saturating_duration_since(shown.since)),
        why: shown.why.clone(),
        next_probe_in_seconds: shown.next_probe.map(until),
        concurrency: shown.concurrency,
        connections_open: shown.open,
        busy: shown.busy,
    }
}

/// Whole seconds of a time.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

fn per_second(old: &Sample, new: &Sample, count: fn(&Sample) -> u64) -> f64 {
    let seconds = new.at.saturating_duration_since(old.at).as_secs_f64();
    if seconds > 0.0 { count(new).saturating_sub(count(old)) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::super::status::Check;
    use super::super::super::status::forward::ForwardState;
    use super::*;
    use crate::metrics::{ForwardMetrics, Shown};

    fn facts() -> Facts {
        let ok = || Check { ok: true, reasons: Vec::new() };
        Facts { ready: ok(), healthy: ok(), hostname: "mx.test".to_owned(), ..Facts::default() }
    }

    #[test]
    fn rates_are_of_a_second_a_minute_and_a_quarter_of_an_hour() {
        let metrics = ForwardMetrics::new("mx.test", ["a".to_owned(), "b".to_owned()]);
        let mut history = History::default();
        assert!(history.status(&facts()).is_none(), "nothing was sampled");
        let start = Instant::now();
        let mut second = |number: u64| {
            let now = start + Duration::from_secs(number);
            let mut snapshot = metrics.snapshot();
            snapshot.now = now;
            history.take(snapshot);
            history.status(&facts()).expect("a sample")
        };
        assert_eq!(second(0).state, ForwardState::Idle);
        let [a, b] = &metrics.engine.destinations[..] else { panic!("two") };
        let mut last = None;
        for number in 1..=1000 {
            a.count(ForwardResult::Delivered, 3);
            b.count(ForwardResult::Delivered, if number > 940 { 7 } else { 0 });
            b.count(ForwardResult::Expired, 1);
            b.count(ForwardResult::Undeliverable, 1);
            metrics
                .engine
                .delay(DelayPart::Transmit, Duration::from_millis(if number > 940 { 2 } else { 900 }));
            last = Some(second(number));
        }
        let status = last.expect("seconds passed");
        let near = |told: f64, is: f64| assert!((told - is).abs() < 1e-6, "{told} and not {is}");
        near(status.throughput.now.delivered_per_second, 10.0);
        near(status.throughput.minute.delivered_per_second, 10.0);
        near(status.throughput.quarter_hour.delivered_per_second, 3.0 + 7.0 * 60.0 / 900.0);
        near(status.throughput.minute.undeliverable_per_second, 2.0);
        assert_eq!(status.state, ForwardState::Forwarding);
        assert_eq!(status.throughput.delivered_by_second.len(), 900);
        assert_eq!(status.throughput.not_delivered_by_second.last(), Some(&2));
        assert_eq!(status.destinations[1].undeliverable_total, 2000);
        let transmit = status.delays.iter().find(|part| part.phase == "transmit").expect("the part");
        assert_eq!(transmit.count, 60);
        assert!(transmit.p99_us.is_some_and(|most| most < 3_000), "of the last minute: {transmit:?}");
    }

    #[test]
    fn what_the_engine_shows_is_told_as_of_now() {
        let metrics = ForwardMetrics::new("mx.test", ["a".to_owned()]);
        let (now, at) = (Instant::now(), SystemTime::now());
        let past =
            |seconds| now.checked_sub(Duration::from_secs(seconds)).expect("the machine is up for longer");
        let host = HostShown {
            name: "smtp://a".to_owned(),
            state: "suspended",
            since: past(20),
            why: "refused".to_owned(),
            next_probe: Some(now + Duration::from_secs(7)),
            concurrency: 1,
            open: 2,
            busy: 3,
        };
        metrics.show(Box::new(Shown {
            destinations: vec![DestinationShown {
                down_since: Some(past(20)),
                queue: vec![
                    ("fresh", 4),
                    ("due", 5),
                    ("waiting", 6),
                    ("busy", 7),
                    ("moving", 8),
                    ("held", 9),
                ],
                oldest: at.checked_sub(Duration::from_secs(100)),
                hosts: vec![host],
            }],
            window_bytes: 11,
        }));
        let mut history = History::default();
        let mut snapshot = metrics.snapshot();
        (snapshot.now, snapshot.at) = (now, at);
        history.take(snapshot);
        let status = history.status(&facts()).expect("a sample");
        let told = &status.destinations[0];
        assert_eq!((told.up, told.down_seconds, told.oldest_seconds), (false, Some(20), Some(100)));
        let queue = [told.fresh, told.due, told.waiting, told.busy, told.moving, told.held];
        assert_eq!(queue, [4, 5, 6, 7, 8, 9]);
        let host = &told.hosts[0];
        assert_eq!((host.state_seconds, host.next_probe_in_seconds, &*host.why), (20, Some(7), "refused"));
        assert_eq!((told.connections_open, status.queue.window_bytes), (2, 11));
        let read: ForwardStatus =
            serde_json::from_str(&status.to_json()).expect("what is written is read back");
        assert_eq!(read, status);
    }
}
