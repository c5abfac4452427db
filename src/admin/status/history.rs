//! The figures of the last 15 minutes, sampled once a second from what is counted anyway, and the status that
//! they make.
//!
//! Nobody counts anything for it: a sample is a reading of the registry. Two rings are kept: of each second
//! of 15 minutes a few sums, of each second of the last minute the histograms.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use super::judgement;
use super::refusals::{self, Refused};
use super::{
    Bucket, Certificate, Check, Cluster, Event, Filter, Latency, Memory, Rates, Refusal, Room, SHAPE, Shard,
    Sink, Spool, Status, Throughput,
};
use crate::metrics::{Phase, ShardValues, Snapshot, SpoolValues, Spread, StationAction, StationValues};
use crate::timestamp::micros;

/// Samples of 15 minutes, and the one before the first second.
pub(in crate::admin) const SAMPLES_MAX: usize = 901;

/// Histograms of a minute, and those before its first second.
pub(in crate::admin) const SPREADS_MAX: usize = 61;

/// A trend over less says nothing of when a disk will be full.
const TREND_MIN: Duration = Duration::from_mins(10);

/// Room that fell in fewer samples is no trend: somebody has written one large file.
const FALLS_MIN: usize = 3;

/// Nobody plans for a disk that is full in more than ten years.
const FULL_IN_MAX: f64 = 10.0 * 365.0 * 86_400.0;

/// What is known besides the counters.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The name that the process gives itself.
    pub hostname: String,
    /// What `/readyz` says.
    pub ready: Check,
    /// What `/healthz` says.
    pub healthy: Check,
    /// Whether the stop has begun.
    pub is_draining: bool,
    /// The last notable events, newest first.
    pub events: Vec<Event>,
}

/// The sums of all shards at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    messages: u64,
    bytes: u64,
    connections: u64,
    refusals: u64,
    room_bytes: Option<u64>,
}

/// What the last minute is told in detail by.
#[derive(Debug)]
struct Detail {
    phases: [Spread; Phase::ALL.len()],
    sync: Spread,
    batches: u64,
    batch_messages: u64,
    refused: Vec<u64>,
}

/// A shard a second ago.
#[derive(Debug, Clone, Copy, Default)]
struct ShardBefore {
    messages: u64,
    turns_us: u64,
}

/// The last 15 minutes.
#[derive(Debug, Default)]
pub struct History {
    /// The oldest first. `len <= SAMPLES_MAX`
    samples: VecDeque<Sample>,
    /// The oldest first. `len <= SPREADS_MAX`
    details: VecDeque<Detail>,
    /// The shards at the sample before the last one.
    before: Vec<ShardBefore>,
    last: Option<(Snapshot, ShardValues, SystemTime)>,
}

impl History {
    /// Takes a sample: once a second.
    pub fn take(&mut self, snapshot: Snapshot, room_bytes: Option<u64>, now: Instant, at: SystemTime) {
        let total = snapshot.total();
        let refused = refusals::refused(&total);
        let sum = refused.iter().map(|refused| refused.count).sum();
        if let Some((last, ..)) = &self.last {
            self.before = last.shards.iter().map(before).collect();
        }
        keep(
            &mut self.samples,
            SAMPLES_MAX,
            Sample {
                at: now,
                messages: total.messages,
                bytes: total.message_bytes,
                connections: total.connections,
                refusals: sum,
                room_bytes,
            },
        );
        keep(
            &mut self.details,
            SPREADS_MAX,
            Detail {
                phases: Phase::ALL.map(|phase| total.phase(phase).clone()),
                sync: snapshot.sink.sync_duration.clone(),
                batches: snapshot.sink.batches,
                batch_messages: snapshot.sink.batch_messages.sum,
                refused: refused.iter().map(|refused| refused.count).collect(),
            },
        );
        self.last = Some((snapshot, total, at));
    }

    /// The status as of the last sample; none before the first.
    pub fn status(&self, facts: &Facts) -> Option<Status> {
        let (snapshot, total, at) = self.last.as_ref()?;
        let throughput = self.throughput(total);
        let mut status = Status {
            shape: SHAPE,
            version: snapshot.version.to_owned(),
            hostname: facts.hostname.clone(),
            pid: std::process::id(),
            at_unix_ms: micros(*at) / 1000,
            uptime_seconds: at.duration_since(snapshot.started_at).unwrap_or_default().as_secs(),
            generation: snapshot.config.generation,
            state: judgement::state(&facts.ready, facts.is_draining, throughput.minute.messages_per_second),
            ready: facts.ready.clone(),
            healthy: facts.healthy.clone(),
            problems: Vec::new(),
            throughput,
            latency: self.latency(),
            shards: self.shards(snapshot),
            refusals: self.refusals(total),
            filters: filters(snapshot),
            cluster: snapshot.cluster().map(cluster),
            sinks: (snapshot.sink_workers > 0).then(|| self.sink(snapshot, total)).into_iter().collect(),
            memory: memory(snapshot, total),
            room: self.room(),
            spool: snapshot.spool.as_ref().map(spool),
            certificates: certificates(snapshot, *at),
            events: facts.events.clone(),
        };
        status.problems = judgement::problems(&status);
        Some(status)
    }

    fn throughput(&self, total: &ShardValues) -> Throughput {
        let by_second = |count: fn(&Sample) -> u64| {
            let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
            // A sample that came late holds more than a second.
            pairs.map(|(old, new)| super::figures::whole(per_second(old, new, count))).collect()
        };
        Throughput {
            now: self.rates(1),
            minute: self.rates(60),
            quarter_hour: self.rates(SAMPLES_MAX - 1),
            connections_open: total.connections_open,
            messages_total: total.messages,
            message_bytes_total: total.message_bytes,
            messages_by_second: by_second(|sample| sample.messages),
            refusals_by_second: by_second(|sample| sample.refusals),
        }
    }

    /// Means over so many samples, or over those that there are.
    fn rates(&self, samples: usize) -> Rates {
        let place = self.samples.len().saturating_sub(samples + 1);
        let (Some(old), Some(new)) = (self.samples.get(place), self.samples.back()) else {
            return Rates::default();
        };
        Rates {
            messages_per_second: per_second(old, new, |sample| sample.messages),
            bytes_per_second: per_second(old, new, |sample| sample.bytes),
            connections_per_second: per_second(old, new, |sample| sample.connections),
            refusals_per_second: per_second(old, new, |sample| sample.refusals),
        }
    }

    fn latency(&self) -> Vec<Latency> {
        let (Some(old), Some(new)) = (self.details.front(), self.details.back()) else { return Vec::new() };
        let phases = Phase::ALL.iter().zip(old.phases.iter().zip(&new.phases));
        phases.map(|(phase, (old, new))| latency(phase.name(), &new.since(old))).collect()
    }

    fn shards(&self, snapshot: &Snapshot) -> Vec<Shard> {
        let seconds = match (self.samples.iter().nth_back(1), self.samples.back()) {
            (Some(old), Some(new)) => seconds_between(old, new),
            (_, _) => None,
        };
        let shards = snapshot.shards.iter().enumerate();
        shards
            .map(|(number, values)| {
                let before = self.before.get(number).copied().zip(seconds);
                let now = self::before(values);
                let rate = |count: u64, seconds: f64| count as f64 / seconds;
                Shard {
                    shard: number,
                    connections_open: values.connections_open,
                    messages_per_second: before.map_or(0.0, |(before, seconds)| {
                        rate(now.messages.saturating_sub(before.messages), seconds)
                    }),
                    busy: before.map(|(before, seconds)| {
                        (rate(now.turns_us.saturating_sub(before.turns_us), seconds) / 1e6).min(1.0)
                    }),
                    turn_max_us: values.turn_us_max,
                }
            })
            .collect()
    }

    fn refusals(&self, total: &ShardValues) -> Vec<Refusal> {
        let old = self.details.front().map(|detail| detail.refused.as_slice()).unwrap_or_default();
        let all = refusals::refused(total).into_iter().enumerate();
        let mut found: Vec<Refusal> = all
            .filter(|(_, refused)| refused.count > 0)
            .map(|(row, Refused { what, reason, count })| Refusal {
                what: what.to_owned(),
                reason: reason.to_owned(),
                minute: count.saturating_sub(old.get(row).copied().unwrap_or_default()),
                total: count,
            })
            .collect();
        found.sort_by_key(|refusal| std::cmp::Reverse((refusal.minute, refusal.total)));
        found
    }

    fn sink(&self, snapshot: &Snapshot, total: &ShardValues) -> Sink {
        let ends = self.details.front().zip(self.details.back());
        let sync = ends.map(|(old, new)| new.sync.since(&old.sync)).unwrap_or_default();
        let batch_messages = ends.and_then(|(old, new)| {
            let batches = new.batches.checked_sub(old.batches).filter(|batches| *batches > 0)?;
            Some(new.batch_messages.wrapping_sub(old.batch_messages) as f64 / batches as f64)
        });
        Sink {
            sink: snapshot.sink_kind.to_owned(),
            queue_messages: total.messages_at_sink,
            oldest_wait_seconds: snapshot.sink.oldest_wait.as_secs_f64(),
            batch_messages,
            sync_p50_us: sync.quantile(0.5),
            sync_p99_us: sync.quantile(0.99),
            failures_total: snapshot.sink.failures,
        }
    }

    /// The room for mail, and when it is used up if it shrinks on as it did since the oldest sample.
    fn room(&self) -> Option<Room> {
        let new = self.samples.back()?;
        let free_bytes = new.room_bytes?;
        let falls = self.samples.iter().zip(self.samples.iter().skip(1));
        let falls =
            falls.filter(|(old, new)| new.room_bytes.is_some_and(|new| old.room_bytes > Some(new))).count();
        if falls < FALLS_MIN {
            return Some(Room { free_bytes, full_in_seconds: None });
        }
        let full_in_seconds =
            self.samples.iter().find(|sample| sample.room_bytes.is_some()).and_then(|old| {
                let seconds =
                    seconds_between(old, new).filter(|seconds| *seconds >= TREND_MIN.as_secs_f64())?;
                let used = old.room_bytes?.checked_sub(free_bytes).filter(|used| *used > 0)?;
                let left = free_bytes as f64 / (used as f64 / seconds);
                (left <= FULL_IN_MAX).then(|| super::figures::whole(left))
            });
        Some(Room { free_bytes, full_in_seconds })
    }
}

/// What a histogram says of a phase.
pub(in crate::admin) fn latency(phase: &str, spread: &Spread) -> Latency {
    Latency {
        phase: phase.to_owned(),
        count: spread.count(),
        p50_us: spread.quantile(0.5),
        p90_us: spread.quantile(0.9),
        p99_us: spread.quantile(0.99),
        curve: spread.filled().map(|(up_to_us, count)| Bucket { up_to_us, count }).collect(),
    }
}

/// Appends to a ring of so many.
pub(in crate::admin) fn keep<T>(ring: &mut VecDeque<T>, most: usize, value: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(value);
}

fn seconds_between(old: &Sample, new: &Sample) -> Option<f64> {
    let seconds = new.at.saturating_duration_since(old.at).as_secs_f64();
    (seconds > 0.0).then_some(seconds)
}

fn per_second(old: &Sample, new: &Sample, count: fn(&Sample) -> u64) -> f64 {
    seconds_between(old, new).map_or(0.0, |seconds| count(new).saturating_sub(count(old)) as f64 / seconds)
}

fn before(values: &ShardValues) -> ShardBefore {
    ShardBefore { messages: values.messages, turns_us: values.turn_duration.sum }
}

fn memory(snapshot: &Snapshot, total: &ShardValues) -> Memory {
    Memory {
        buffers_pinned: total.buffers_pinned,
        buffers: total.buffers,
        blocks_used_bytes: total.block_bytes_used,
        spill_files: snapshot.spill.files,
        spill_bytes: snapshot.spill.bytes,
        back_pressure_seconds: total.back_pressure_us as f64 / 1e6,
    }
}

fn spool(values: &SpoolValues) -> Spool {
    Spool {
        segments: values.segments,
        bytes: values.bytes,
        unconsumed_bytes: values.unconsumed_bytes,
        consumer_lag_seconds: values.consumer_lag.as_secs_f64(),
    }
}

/// Messages of a station that came to one of these.
fn sum(values: &StationValues, wanted: &[StationAction]) -> u64 {
    let counts = values.actions.iter().filter(|(action, _)| wanted.contains(action));
    counts.map(|(_, count)| count).sum()
}

fn filters(snapshot: &Snapshot) -> Vec<Filter> {
    let filter = |(name, values): (&str, &StationValues)| {
        let unanswered = sum(values, &[StationAction::Unanswered]);
        let refused = [StationAction::Refused, StationAction::PutOff, StationAction::Greylisted];
        Filter {
            filter: name.to_owned(),
            up: values.down == 0,
            in_flight: values.in_flight,
            answered_total: sum(values, &StationAction::ALL) - unanswered,
            refused_total: sum(values, &refused),
            unanswered_total: unanswered,
            p50_us: values.duration.quantile(0.5),
            p99_us: values.duration.quantile(0.99),
        }
    };
    snapshot.filters().map(filter).collect()
}

fn cluster(values: &StationValues) -> Cluster {
    Cluster {
        up: values.down == 0,
        in_flight: values.in_flight,
        acknowledged_total: sum(values, &[StationAction::Delivered]),
        refused_total: sum(values, &[StationAction::Refused, StationAction::PutOff]),
        unanswered_total: sum(values, &[StationAction::Unanswered]),
        p50_us: values.duration.quantile(0.5),
        p99_us: values.duration.quantile(0.99),
    }
}

fn certificates(snapshot: &Snapshot, now: SystemTime) -> Vec<Certificate> {
    let of = |certificate: &crate::metrics::Certificate| {
        // Both are far from the ends of these types.
        let unix = |time| i64::try_from(micros(time) / 1_000_000).unwrap_or(i64::MAX);
        let expires_unix = unix(certificate.not_after);
        let days_left = (expires_unix - unix(now)).div_euclid(86_400);
        Certificate { name: certificate.name.clone(), expires_unix, days_left }
    };
    let mut certificates: Vec<_> = snapshot.certificates.iter().map(of).collect();
    certificates.sort_by_key(|certificate| certificate.expires_unix);
    certificates
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::metrics::Registry;

    /// A registry whose seconds pass as a test says.
    struct Clocked {
        registry: Registry,
        history: History,
        now: Instant,
        at: SystemTime,
        room: Option<u64>,
    }

    impl Clocked {
        fn new() -> Self {
            let registry = Registry::new(2, "spool", 1);
            Self {
                registry,
                history: History::default(),
                now: Instant::now(),
                at: SystemTime::now(),
                room: None,
            }
        }

        fn second(&mut self) {
            self.now += Duration::from_secs(1);
            self.at += Duration::from_secs(1);
            self.history.take(self.registry.snapshot(), self.room, self.now, self.at);
        }

        fn status(&self) -> Status {
            let ok = || Check { ok: true, reasons: Vec::new() };
            let facts = Facts { ready: ok(), healthy: ok(), ..Facts::default() };
            self.history.status(&facts).expect("a sample")
        }
    }

    #[test]
    fn rates_are_of_a_second_a_minute_and_a_quarter_of_an_hour() {
        let mut clocked = Clocked::new();
        assert!(clocked.history.status(&Facts::default()).is_none(), "nothing was sampled");
        clocked.second();
        assert_eq!(clocked.status().throughput.now, Rates::default(), "one sample is no time");
        assert_eq!(clocked.status().state, State::Idle);
        for second in 1..=1000 {
            let shards = clocked.registry.shards();
            shards[0].messages.add(if second > 940 { 30 } else { 10 });
            shards[1].messages.add(if second == 1000 { 70 } else { 0 });
            shards[1].message_bytes.add(1000);
            clocked.second();
        }
        let status = clocked.status();
        let of = &status.throughput;
        assert!((of.now.messages_per_second - 100.0).abs() < 1e-6, "{of:?}");
        assert!((of.minute.messages_per_second - (59.0 * 30.0 + 100.0) / 60.0).abs() < 1e-6, "{of:?}");
        let quarter = (840.0 * 10.0 + 60.0 * 30.0 + 70.0) / 900.0;
        assert!((of.quarter_hour.messages_per_second - quarter).abs() < 1e-6, "{of:?}");
        assert!((of.minute.bytes_per_second - 1000.0).abs() < 1e-6);
        assert_eq!((of.messages_by_second.len(), of.messages_by_second.last()), (900, Some(&100)));
        assert!((status.shards[1].messages_per_second - 70.0).abs() < 1e-6);
        assert_eq!((status.state, of.messages_total), (State::Receiving, 940 * 10 + 60 * 30 + 70));
    }

    #[test]
    fn latency_and_refusals_are_of_the_last_minute() {
        let mut clocked = Clocked::new();
        clocked.second();
        for second in 0..100 {
            let shard = &clocked.registry.shards()[0];
            shard.phase(Phase::Store).add(if second < 40 { 1_000_000 } else { 1_000 });
            shard.connections_refused_client.add(1);
            shard.turn_duration.add(250_000);
            let sink = &clocked.registry.sinks()[0];
            sink.end_batch(4, 0, Duration::from_micros(500));
            clocked.second();
        }
        let status = clocked.status();
        let store = status.latency.iter().find(|latency| latency.phase == "store").expect("a row");
        assert_eq!((store.count, store.p99_us), (60, Some(1024)));
        assert_eq!(store.curve, [Bucket { up_to_us: 1024, count: 60 }]);
        assert_eq!(status.latency.len(), Phase::ALL.len());
        let refusal = &status.refusals[0];
        assert_eq!((refusal.what.as_str(), refusal.minute, refusal.total), ("connection", 60, 100));
        assert_eq!(status.refusals.len(), 1, "what never happened has no row");
        assert!((status.shards[0].busy.expect("known") - 0.25).abs() < 1e-6);
        assert_eq!((status.sinks[0].batch_messages, status.sinks[0].sync_p50_us), (Some(4.0), Some(512)));
        assert!((status.throughput.now.refusals_per_second - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_disk_that_fills_is_full_when_it_goes_on_so() {
        let mut clocked = Clocked::new();
        clocked.second();
        assert_eq!(clocked.status().room, None, "nobody knows");
        clocked.room = Some(100_000);
        clocked.second();
        for second in 0..700 {
            clocked.room = Some(100_000 - second * 10);
            clocked.second();
            let full = clocked.status().room.expect("known").full_in_seconds;
            assert_eq!(full.is_some(), second >= 599, "{second}: ten minutes at least");
        }
        let full = clocked.status().room.expect("known").full_in_seconds.expect("it shrinks");
        assert!((9_250..9_350).contains(&full), "{full}");
        clocked.room = Some(200_000);
        clocked.second();
        assert_eq!(clocked.status().room, Some(Room { free_bytes: 200_000, full_in_seconds: None }));
    }

    #[test]
    fn one_large_file_is_no_trend() {
        let mut clocked = Clocked::new();
        for second in 0..800 {
            // Nobody but us writes on the disk twice.
            clocked.room =
                Some(1_000_000 - u64::from(second > 100) * 300_000 - u64::from(second > 200) * 300_000);
            clocked.second();
            let room = clocked.status().room.expect("known");
            assert_eq!(room.full_in_seconds, None, "{second}");
        }
        clocked.room = Some(300_000);
        clocked.second();
        assert!(clocked.status().room.expect("known").full_in_seconds.is_some(), "the third step");
    }

    #[test]
    fn a_sink_without_workers_has_no_figures() {
        let mut clocked = Clocked::new();
        clocked.registry = Registry::new(2, "discard", 0);
        clocked.second();
        assert_eq!(clocked.status().sinks, []);
    }

    #[test]
    fn days_of_a_certificate_are_whole_and_negative_once_it_has_ended() {
        let mut clocked = Clocked::new();
        let day = Duration::from_hours(24);
        clocked.at = SystemTime::UNIX_EPOCH + day * 20_000;
        let at = clocked.at;
        let ends = [("later", at + day * 44), ("ended", at - day), ("today", at + day / 2)];
        clocked.registry.set_certificates(ends.map(|(name, end)| (name.to_owned(), end)).to_vec());
        clocked.second();
        let told: Vec<_> =
            clocked.status().certificates.into_iter().map(|found| (found.name, found.days_left)).collect();
        assert_eq!(told, [("ended".to_owned(), -2), ("today".to_owned(), 0), ("later".to_owned(), 43)]);
    }
}
