//! What the figures mean: whether mail is received, what is wrong, what to do.
//!
//! A pure function of the figures, so that the page, the terminal and whoever reads the JSON are told the
//! same.

use super::figures;
use super::words::day_count;
use super::{Check, Problem, Severity, State, Status};

/// A sink that keeps a message for so long hangs, or is about to.
const WAIT_SLOW_SECONDS: f64 = 2.0;
/// The same, and clients notice.
const WAIT_HANGING_SECONDS: f64 = 10.0;
/// A disk that is full so soon needs a hand today.
const FULL_SOON_SECONDS: u64 = 24 * 3_600;
/// A disk that is full so soon needs a hand now.
const FULL_NOW_SECONDS: u64 = 3_600;
/// A consumer that is so far behind has stopped, as a rule.
const LAG_LONG_SECONDS: f64 = 15.0 * 60.0;
/// A certificate that ends in less was not renewed when it should have been: ACME clients renew 30 days
/// before the end.
const DAYS_LEFT_FEW: i64 = 14;
/// The share of the receive buffers that may be pinned, in per cent.
const PINNED_PERCENT_HIGH: u64 = 90;

/// Whether mail is received. `is_draining` once the stop has begun.
pub fn state(ready: &Check, is_draining: bool, messages_per_second_minute: f64) -> State {
    match (is_draining, ready.ok, messages_per_second_minute > 0.0) {
        (true, _, _) => State::Draining,
        (false, false, _) => State::NotReady,
        (false, true, true) => State::Receiving,
        (false, true, false) => State::Idle,
    }
}

/// What is wrong, worst first. Of `status.problems` it takes no notice.
pub fn problems(status: &Status) -> Vec<Problem> {
    let mut found = Vec::new();
    // A server that stops is told of in its state.
    if status.state != State::Draining {
        checks(status, &mut found);
    }
    filters(status, &mut found);
    cluster(status, &mut found);
    sinks(status, &mut found);
    store(status, &mut found);
    certificates(status, &mut found);
    memory(status, &mut found);
    found.sort_by_key(|problem| problem.severity);
    found
}

fn add(found: &mut Vec<Problem>, severity: Severity, what: String, cure: &str) {
    found.push(Problem { severity, what, cure: cure.to_owned() });
}

fn checks(status: &Status, found: &mut Vec<Problem>) {
    for reason in &status.healthy.reasons {
        let cure = "See the newest events and `dmesg`; if it stays so, start the service again.";
        add(found, Severity::Error, format!("Not healthy: {reason}"), cure);
    }
    // That something hangs was said above; what to do about a full disk is said with the store.
    let is_said = |reason: &&String| ["health: ", "room: "].iter().any(|check| reason.starts_with(check));
    for reason in status.ready.reasons.iter().filter(|reason| !is_said(reason)) {
        let cure = "Senders are told to try again. See the newest events for why; `ringmx check` names what the file has wrong.";
        add(found, Severity::Error, format!("No mail is taken: {reason}"), cure);
    }
}

fn filters(status: &Status, found: &mut Vec<Problem>) {
    for filter in status.filters.iter().filter(|filter| !filter.up) {
        let what = format!("The content filter {} does not answer", filter.filter);
        let cure = "Is it running? The newest events say what is wrong. Mail is answered 451, or taken unchecked, as `on_failure` says.";
        add(found, Severity::Error, what, cure);
    }
}

/// Without a fallback no mail is taken, which a check says.
fn cluster(status: &Status, found: &mut Vec<Problem>) {
    let is_down = status.cluster.as_ref().is_some_and(|cluster| !cluster.up);
    if is_down && status.spool.is_some() {
        let what = "The stream of the cluster takes no mail: the spool has it".to_owned();
        let cure = "Has the stream a majority of its servers? The newest events say what is wrong. The forwarder brings what the spool has to it later.";
        add(found, Severity::Warning, what, cure);
    }
}

fn sinks(status: &Status, found: &mut Vec<Problem>) {
    for sink in &status.sinks {
        if sink.oldest_wait_seconds < WAIT_SLOW_SECONDS {
            continue;
        }
        let hangs = sink.oldest_wait_seconds >= WAIT_HANGING_SECONDS;
        let severity = if hangs { Severity::Error } else { Severity::Warning };
        let wait = figures::wait(sink.oldest_wait_seconds);
        let what = format!("The sink {} has not stored a message that it got {wait} ago", sink.sink);
        let cure = "Does its disk answer? See `dmesg` and `iostat -x 1`. Clients wait, then are told to try again; no mail is lost.";
        add(found, severity, what, cure);
    }
}

fn store(status: &Status, found: &mut Vec<Problem>) {
    let cure = "Make room, or see why nobody takes the mail that is stored.";
    match status.room.map(|room| (room.free_bytes, room.full_in_seconds)) {
        Some((0, _)) => {
            let what = "The store's disk has no room beyond the reserve: MAIL is answered 452".to_owned();
            add(found, Severity::Error, what, cure);
        }
        Some((_, Some(left))) if left < FULL_SOON_SECONDS => {
            let severity = if left < FULL_NOW_SECONDS { Severity::Error } else { Severity::Warning };
            let left = figures::seconds(left);
            add(found, severity, format!("The store's disk is full in {left} if it goes on like this"), cure);
        }
        Some(_) | None => {}
    }
    if let Some(lag) = status.spool.as_ref().map(|spool| spool.consumer_lag_seconds)
        && lag >= LAG_LONG_SECONDS
    {
        let lag = figures::wait(lag);
        let what = format!("The consumer of the spool has taken nothing for {lag}, though there is mail");
        add(found, Severity::Warning, what, "Is it running? `ringmx spool list` shows what it has not read.");
    }
}

fn certificates(status: &Status, found: &mut Vec<Problem>) {
    for certificate in &status.certificates {
        let (name, days) = (&certificate.name, certificate.days_left);
        let cure = "Renew it (`certbot renew`); ringmx reads the new files by itself.";
        if days < 0 {
            let what = format!("The certificate {name} has ended: senders that check it do not deliver");
            add(found, Severity::Error, what, cure);
        } else if days < DAYS_LEFT_FEW {
            let what = format!("The certificate {name} ends in {}", day_count(days));
            add(found, Severity::Warning, what, cure);
        }
    }
}

fn memory(status: &Status, found: &mut Vec<Problem>) {
    let memory = &status.memory;
    if memory.buffers == 0 || memory.buffers_pinned * 100 < memory.buffers * PINNED_PERCENT_HIGH {
        return;
    }
    let (pinned, all) = (figures::count(memory.buffers_pinned), figures::count(memory.buffers));
    let what = format!("{pinned} of {all} receive buffers are in use: clients are read from more slowly");
    let cure = "If the sink keeps up, raise `buffers` in [shards]; `ringmx check` prints what that takes.";
    add(found, Severity::Warning, what, cure);
}

#[cfg(test)]
mod tests {
    use super::super::{Certificate, Cluster, Memory, Room, Sink, Spool};
    use super::*;

    fn well() -> Status {
        let ok = || Check { ok: true, reasons: Vec::new() };
        Status { ready: ok(), healthy: ok(), state: State::Idle, ..Status::default() }
    }

    fn severities(status: &Status) -> Vec<Severity> {
        problems(status).iter().map(|problem| problem.severity).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_server_that_waits() {
        assert_eq!(problems(&well()), []);
        let full = Memory { buffers: 100, buffers_pinned: 89, ..Memory::default() };
        let room = Some(Room { free_bytes: 1, full_in_seconds: Some(90_000) });
        let sinks = vec![Sink { oldest_wait_seconds: 1.9, ..Sink::default() }];
        assert_eq!(problems(&Status { memory: full, room, sinks, ..well() }), []);
    }

    #[test]
    fn the_state_follows_the_stop_the_readiness_and_the_mail() {
        let (yes, no) = (Check { ok: true, reasons: Vec::new() }, Check::default());
        assert_eq!(state(&yes, false, 0.0), State::Idle);
        assert_eq!(state(&yes, false, 0.1), State::Receiving);
        assert_eq!(state(&no, false, 9.0), State::NotReady);
        assert_eq!(state(&no, true, 9.0), State::Draining);
    }

    #[test]
    fn each_trouble_is_told_with_a_cure_and_the_worst_first() {
        let certificate =
            |days_left| Certificate { name: "mx.example".into(), days_left, ..Certificate::default() };
        let status = Status {
            ready: Check {
                ok: false,
                reasons: [
                    "store: its directory is gone",
                    "room: within space_reserve",
                    "health: shard-1: see /healthz",
                ]
                .map(str::to_owned)
                .to_vec(),
            },
            healthy: Check { ok: false, reasons: vec!["shard 1 does not answer".into()] },
            state: State::NotReady,
            sinks: vec![
                Sink { sink: "spool".into(), oldest_wait_seconds: 2.0, ..Sink::default() },
                Sink { sink: "maildir".into(), oldest_wait_seconds: 12.0, ..Sink::default() },
            ],
            room: Some(Room { free_bytes: 0, full_in_seconds: None }),
            spool: Some(Spool { consumer_lag_seconds: 900.0, ..Spool::default() }),
            certificates: vec![certificate(-1), certificate(1), certificate(14)],
            memory: Memory { buffers: 100, buffers_pinned: 90, ..Memory::default() },
            ..well()
        };
        let found = problems(&status);
        assert!(found.iter().all(|problem| !problem.what.is_empty() && !problem.cure.is_empty()));
        assert!(found.is_sorted_by_key(|problem| problem.severity), "{found:?}");
        assert_eq!(
            found.iter().filter(|problem| problem.severity == Severity::Error).count(),
            5,
            "{found:?}"
        );
        assert_eq!(found.len(), 9, "{found:?}");
        assert!(found.iter().any(|problem| problem.what.contains("ends in 1 day")), "{found:?}");
    }

    #[test]
    fn a_stream_that_takes_no_mail_is_trouble_of_its_own_only_where_the_spool_has_it() {
        let with = |up, spool| Status {
            cluster: Some(Cluster { up, ..Cluster::default() }),
            // That of a stream without a fallback only refuses.
            sinks: vec![Sink { sink: "nats".into(), ..Sink::default() }],
            spool,
            ..well()
        };
        assert_eq!(severities(&with(true, Some(Spool::default()))), []);
        assert_eq!(severities(&with(false, Some(Spool::default()))), [Severity::Warning]);
        assert_eq!(severities(&with(false, None)), [], "a check says it");
    }

    #[test]
    fn a_disk_that_fills_is_told_in_time() {
        let filling = |seconds| {
            let room = Some(Room { free_bytes: 1 << 30, full_in_seconds: seconds });
            severities(&Status { room, ..well() })
        };
        assert_eq!(filling(None), []);
        assert_eq!(filling(Some(FULL_SOON_SECONDS)), []);
        assert_eq!(filling(Some(FULL_NOW_SECONDS)), [Severity::Warning]);
        assert_eq!(filling(Some(FULL_NOW_SECONDS - 1)), [Severity::Error]);
    }

    #[test]
    fn a_server_that_stops_is_not_called_unwell() {
        let not_ready = Check { ok: false, reasons: vec!["draining".into()] };
        assert_eq!(problems(&Status { ready: not_ready, state: State::Draining, ..well() }), []);
    }
}
