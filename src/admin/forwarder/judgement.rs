//! What the figures of a forwarder mean: whether mail goes on, what is wrong, what to do.

use super::super::status::forward::{Destination, ForwardState, ForwardStatus};
use super::super::status::{Check, Problem, Severity, figures};
use crate::metrics::STOPPED;

/// Mail that is so old waits for more than the usual hiccup of a next hop.
const OLDEST_LONG_SECONDS: u64 = 3_600;

/// A destination that is down for so long is a matter for somebody. Before it is a restart, as a rule.
const DOWN_LONG_SECONDS: u64 = 15 * 60;

/// Destinations that are told of by themselves; of the others, how many there are.
const DESTINATIONS_MAX: usize = 10;

/// Whether mail goes on. `is_draining` once the stop has begun.
pub(super) fn state(ready: &Check, is_draining: bool, delivered_per_second_minute: f64) -> ForwardState {
    match (is_draining, ready.ok, delivered_per_second_minute > 0.0) {
        (true, _, _) => ForwardState::Draining,
        (false, false, _) => ForwardState::NotReady,
        (false, true, true) => ForwardState::Forwarding,
        (false, true, false) => ForwardState::Idle,
    }
}

/// What is wrong, worst first. Of `status.problems` it takes no notice.
pub(super) fn problems(status: &ForwardStatus) -> Vec<Problem> {
    let mut found = Vec::new();
    // A forwarder that stops is told of in its state.
    if status.state != ForwardState::Draining {
        checks(status, &mut found);
    }
    destinations(status, &mut found);
    kept(status, &mut found);
    found.sort_by_key(|problem| problem.severity);
    found
}

fn add(found: &mut Vec<Problem>, severity: Severity, what: String, cure: &str) {
    found.push(Problem { severity, what, cure: cure.to_owned() });
}

fn checks(status: &ForwardStatus, found: &mut Vec<Problem>) {
    for reason in &status.healthy.reasons {
        let cure = "See the newest events and `dmesg`; if it stays so, start the service again.";
        add(found, Severity::Error, format!("Not healthy: {reason}"), cure);
    }
    // That something hangs was said above; next hops are told of one by one.
    let is_said =
        |reason: &&String| ["health: ", "next_hops: "].iter().any(|check| reason.starts_with(check));
    for reason in status.ready.reasons.iter().filter(|reason| !is_said(reason)) {
        let cure = "No mail is lost: the spool keeps it. See the newest events for why.";
        add(found, Severity::Error, format!("No mail goes on: {reason}"), cure);
    }
}

fn destinations(status: &ForwardStatus, found: &mut Vec<Problem>) {
    let nobody = status.ready.reasons.iter().any(|reason| reason.starts_with("next_hops: "));
    let down: Vec<_> = status.destinations.iter().filter(|one| !one.up).collect();
    for one in down.iter().take(DESTINATIONS_MAX) {
        let seconds = one.down_seconds.unwrap_or_default();
        // Its mail is meant to wait.
        let is_stopped = !one.hosts.is_empty() && one.hosts.iter().all(|host| host.state == STOPPED);
        let is_long = seconds >= DOWN_LONG_SECONDS && waits(one);
        let is_error = (nobody || is_long) && !is_stopped;
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        let why = one.hosts.iter().map(|host| host.why.as_str()).find(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        let what = format!("{} takes no mail for {}{why}", one.destination, figures::seconds(seconds));
        let cure = if is_stopped {
            "An operator stopped it: `ringmx queue resume`. Its mail waits."
        } else {
            "Is its server running, and does it answer from this host? It is tried again by itself; its mail waits."
        };
        add(found, severity, what, cure);
    }
    if down.len() > DESTINATIONS_MAX {
        let what = format!("{} more destinations take no mail", down.len() - DESTINATIONS_MAX);
        add(found, Severity::Warning, what, "The table of destinations has all of them.");
    }
    let late = |one: &&Destination| one.up && one.oldest_seconds >= Some(OLDEST_LONG_SECONDS) && waits(one);
    for one in status.destinations.iter().filter(late).take(DESTINATIONS_MAX) {
        let age = figures::seconds(one.oldest_seconds.unwrap_or_default());
        let what = format!("The oldest mail for {} was received {age} ago", one.destination);
        let cure = "The lines `deferred` of the log, and `ringmx queue list`, say what its next hop answers.";
        add(found, Severity::Warning, what, cure);
    }
    let held: u64 = status.destinations.iter().map(|one| one.held).sum();
    if held > 0 {
        let what = format!("{} messages are held: nobody tries them", figures::count(held));
        add(found, Severity::Warning, what, "`ringmx queue list` names them, the log says why (`held`).");
    }
}

fn waits(one: &Destination) -> bool {
    one.fresh + one.due + one.waiting + one.busy + one.moving > 0
}

fn kept(status: &ForwardStatus, found: &mut Vec<Problem>) {
    if status.throughput.unrouted_total > 0 {
        let count = figures::count(status.throughput.unrouted_total);
        let what = format!("No route takes the mail of {count} recipients: it is held");
        let cure = "Name their domains in a [[forward]] table, and `ringmx reload`.";
        add(found, Severity::Warning, what, cure);
    }
    if status.queue.unreadable_messages > 0 {
        let count = figures::count(status.queue.unreadable_messages);
        let what = format!("{count} messages of the spool cannot be read: it keeps them, and all after them");
        let cure = "`ringmx queue list` names them and says why; put the file back and `retry`, or `remove`.";
        add(found, Severity::Warning, what, cure);
    }
    if status.queue.notices_held > 0 {
        let count = figures::count(status.queue.notices_held);
        let what = format!("Nobody takes {count} notices to senders: they are held");
        let cure = "Name a server in `dsn_via` of [forward_queue], and `ringmx reload`.";
        add(found, Severity::Warning, what, cure);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::status::forward::{ForwardThroughput, Host, Queue};
    use super::*;

    fn well() -> ForwardStatus {
        let ok = || Check { ok: true, reasons: Vec::new() };
        ForwardStatus { ready: ok(), healthy: ok(), state: ForwardState::Idle, ..ForwardStatus::default() }
    }

    fn up() -> Destination {
        Destination { destination: "smtp://a".into(), up: true, ..Destination::default() }
    }

    fn severities(status: &ForwardStatus) -> Vec<Severity> {
        problems(status).iter().map(|problem| problem.severity).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_forwarder_that_waits() {
        let late = Destination { waiting: 1, oldest_seconds: Some(OLDEST_LONG_SECONDS - 1), ..up() };
        let only_held = Destination { oldest_seconds: Some(OLDEST_LONG_SECONDS), ..up() };
        assert_eq!(problems(&ForwardStatus { destinations: vec![up(), late, only_held], ..well() }), []);
    }

    #[test]
    fn a_destination_that_is_down_is_an_error_once_mail_waits_for_long_or_for_nobody_else() {
        let down = |seconds, waiting| {
            let host = Host { why: "refused".into(), ..Host::default() };
            let hosts = vec![host];
            Destination { up: false, down_seconds: Some(seconds), waiting, hosts, ..up() }
        };
        let of = |destination| severities(&ForwardStatus { destinations: vec![destination], ..well() });
        assert_eq!(of(down(DOWN_LONG_SECONDS - 1, 1)), [Severity::Warning]);
        assert_eq!(of(down(DOWN_LONG_SECONDS, 0)), [Severity::Warning]);
        assert_eq!(of(down(DOWN_LONG_SECONDS, 1)), [Severity::Error]);
        let mut stopped = down(DOWN_LONG_SECONDS, 1);
        stopped.hosts[0].state = STOPPED.to_owned();
        assert_eq!(of(stopped), [Severity::Warning], "an operator stopped it");
        let ready = Check { ok: false, reasons: vec!["next_hops: mail waits".into()] };
        let state = ForwardState::NotReady;
        let found = problems(&ForwardStatus { ready, state, destinations: vec![down(1, 1)], ..well() });
        assert_eq!(found.len(), 1, "it is told once: {found:?}");
        assert!(
            found[0].severity == Severity::Error
                && found[0].what == "smtp://a takes no mail for 1 s (refused)"
        );
        let many = ForwardStatus { destinations: vec![down(1, 0); DESTINATIONS_MAX + 3], ..well() };
        assert!(problems(&many).iter().any(|problem| problem.what == "3 more destinations take no mail"));
    }

    #[test]
    fn each_trouble_is_told_with_a_cure_and_the_worst_first() {
        let bad = |reason: &str| Check { ok: false, reasons: vec![reason.to_owned()] };
        let status = ForwardStatus {
            ready: Check {
                ok: false,
                reasons: ["journal: the disk", "health: office: see /healthz"].map(str::to_owned).to_vec(),
            },
            healthy: bad("office: hangs"),
            state: ForwardState::NotReady,
            throughput: ForwardThroughput { unrouted_total: 1, ..ForwardThroughput::default() },
            queue: Queue { notices_held: 1, unreadable_messages: 1, ..Queue::default() },
            destinations: vec![Destination { held: 2, waiting: 1, oldest_seconds: Some(90_000), ..up() }],
            ..well()
        };
        let found = problems(&status);
        assert!(found.iter().all(|problem| !problem.what.is_empty() && !problem.cure.is_empty()));
        use Severity::{Error, Warning};
        assert_eq!(
            severities(&status),
            [Error, Error, Warning, Warning, Warning, Warning, Warning],
            "{found:?}"
        );
        let stopping = ForwardStatus { state: ForwardState::Draining, ready: bad("draining"), ..well() };
        assert_eq!(problems(&stopping), [], "a forwarder that stops is not called unwell");
    }

    #[test]
    fn the_state_follows_the_stop_the_readiness_and_the_mail() {
        let (yes, no) = (Check { ok: true, reasons: Vec::new() }, Check::default());
        assert_eq!(state(&yes, false, 0.0), ForwardState::Idle);
        assert_eq!(state(&yes, false, 0.1), ForwardState::Forwarding);
        assert_eq!(state(&no, false, 9.0), ForwardState::NotReady);
        assert_eq!(state(&no, true, 9.0), ForwardState::Draining);
    }
}
