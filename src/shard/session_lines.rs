//! Which sessions get a line of their own in the log: any client can begin as many as it likes, so what it
//! can write on our disk has a bound.
//!
//! A session that brought mail always has one. One that said nothing at all has none, and is counted by how
//! it ended; when we ended it, because of a cap or a time-out, its client has one line a second that says so.
//! A front that only looks whether this server is alive is counted. Of sessions that this machine put off,
//! for want of room or because of an error, one a minute has a line. The others have so many a second, a
//! client at most an eighth of them, and are counted beyond that. Each `PAUSE` the counts are told, if there
//! are any.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::line_rate::LineRate;
use crate::log::{Log, events};
use crate::smtp::ended_by::EndedBy;

/// Between two lines that tell the counts.
const PAUSE: Duration = Duration::from_secs(10);

/// Of sessions that this machine put off one in so long a time has a line.
const PUT_OFF_PAUSE: Duration = Duration::from_mins(1);

/// What decides whether a session has a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The SMTP client.
    pub(super) client: IpAddr,
    pub(super) ended_by: EndedBy,
    /// It had a message answered 250.
    pub(super) brought_mail: bool,
    /// No command, and nothing went wrong before there could be one.
    pub(super) said_nothing: bool,
    /// A front, for itself, that said nothing about mail.
    pub(super) is_health_check: bool,
    /// Refused for reasons of this machine only.
    pub(super) is_put_off: bool,
}

/// The lines of a shard's sessions.
#[derive(Debug)]
pub struct SessionLines {
    rate: LineRate,
    /// When a session that was put off had its line.
    put_off_told: Option<Instant>,
    /// Sessions without a line.
    untold: Untold,
    /// When the first of them was counted.
    since: Option<Instant>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Untold {
    silent_server: u64,
    silent_client: u64,
    silent_lost: u64,
    health_checks: u64,
    put_off: u64,
    over_rate: u64,
}

impl SessionLines {
    /// So many lines a second.
    pub fn new(lines_max: u32) -> Self {
        Self { rate: LineRate::new(lines_max), put_off_told: None, untold: Untold::default(), since: None }
    }

    /// From now on so many lines a second.
    pub(super) fn limit(&mut self, lines_max: u32) {
        self.rate.limit(lines_max);
    }

    /// Whether a session that is over has a line; one that has none is counted.
    pub(super) fn grant(&mut self, seen: Seen, now: Instant) -> bool {
        if seen.brought_mail || seen.ended_by == EndedBy::Bug {
            return true;
        }
        let of_a_client = self.rate.of_a_client();
        let (lines_max, count) = match (seen.said_nothing, seen.ended_by) {
            _ if seen.is_health_check => (0, &mut self.untold.health_checks),
            (true, EndedBy::Client) => (0, &mut self.untold.silent_client),
            (true, EndedBy::Lost) => (0, &mut self.untold.silent_lost),
            (true, _) => (1, &mut self.untold.silent_server),
            (false, _) if seen.is_put_off => {
                let told = self.put_off_told.map(|told| now.saturating_duration_since(told));
                let lines_max = if told.is_none_or(|time| time >= PUT_OFF_PAUSE) { of_a_client } else { 0 };
                (lines_max, &mut self.untold.put_off)
            }
            (false, _) => (of_a_client, &mut self.untold.over_rate),
        };
        if lines_max > 0 && self.rate.take(seen.client, lines_max, now) {
            if seen.is_put_off && !seen.said_nothing {
                self.put_off_told = Some(now);
            }
            return true;
        }
        *count += 1;
        self.since.get_or_insert(now);
        false
    }

    /// When [`SessionLines::tell_if_due`] has something to do; none while every session had a line.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| PAUSE.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Tells the counts when it is time.
    pub(super) fn tell_if_due(&mut self, log: &mut Log, now: Instant, at: SystemTime) {
        if self.due_in(now).is_some_and(|left| left.is_zero()) {
            self.tell(log, now, at);
        }
    }

    /// Tells the counts, if there are any.
    pub(super) fn tell(&mut self, log: &mut Log, now: Instant, at: SystemTime) {
        let Some(since) = self.since.take() else { return };
        let Untold { silent_server, silent_client, silent_lost, health_checks, put_off, over_rate } =
            std::mem::take(&mut self.untold);
        log.record(&events::SESSIONS, at)
            .number("seconds", now.saturating_duration_since(since).as_secs())
            .number("silent_server", silent_server)
            .number("silent_client", silent_client)
            .number("silent_lost", silent_lost)
            .number("health_checks", health_checks)
            .number("put_off", put_off)
            .number("over_rate", over_rate)
            .end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use crate::log;

    const RATE: u32 = 80;

    fn seen(client: [u8; 4]) -> Seen {
        let client = IpAddr::from(client);
        Seen {
            client,
            ended_by: EndedBy::Client,
            brought_mail: false,
            said_nothing: false,
            is_health_check: false,
            is_put_off: false,
        }
    }

    fn granted(lines: &mut SessionLines, now: Instant, each: impl Iterator<Item = Seen>) -> usize {
        each.filter(|seen| lines.grant(*seen, now)).count()
    }

    #[test]
    fn one_client_has_an_eighth_of_the_lines_and_leaves_the_others_theirs() {
        let mut lines = SessionLines::new(RATE);
        let now = Instant::now();
        let flood = granted(&mut lines, now, (0..1000).map(|_| seen([192, 0, 2, 1])));
        assert_eq!(flood, 10);
        // Seven others; two of them may share a place.
        let others = granted(&mut lines, now, (0..1000).map(|number: u32| seen((number % 7).to_be_bytes())));
        assert!((10..=70).contains(&others), "{others}");
        assert_eq!(lines.untold.over_rate, 2000 - 10 - others as u64);
        assert_eq!(granted(&mut lines, now + PAUSE, (0..1000).map(|_| seen([192, 0, 2, 1]))), 10);
    }

    #[test]
    fn all_clients_together_have_no_more_than_the_rate() {
        let mut lines = SessionLines::new(RATE);
        let now = Instant::now();
        let clients = (0..10_000_u32).map(|number| seen(number.to_be_bytes()));
        assert_eq!(granted(&mut lines, now, clients), RATE as usize);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let mut lines = SessionLines::new(RATE);
        let clients = (0..1000_u16).map(|number| Seen {
            client: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, number).into(),
            ..seen([0; 4])
        });
        assert_eq!(granted(&mut lines, Instant::now(), clients), 10);
    }

    #[test]
    fn a_session_with_mail_or_a_panic_of_ours_always_has_a_line() {
        let mut lines = SessionLines::new(1);
        let now = Instant::now();
        let mail = Seen { brought_mail: true, ..seen([192, 0, 2, 1]) };
        let panic = Seen { ended_by: EndedBy::Bug, said_nothing: true, ..seen([192, 0, 2, 1]) };
        for _ in 0..1000 {
            lines.grant(seen([192, 0, 2, 1]), now);
            assert!(lines.grant(mail, now) && lines.grant(panic, now));
        }
    }

    #[test]
    fn silent_sessions_are_counted_and_told_in_one_line() {
        let (mut log, _writer) = log::start(LogFormat::Text).expect("the log");
        let start = Instant::now();
        let (mut lines, mut told) = (SessionLines::new(RATE), false);
        assert_eq!(lines.due_in(start), None);
        for ended_by in [EndedBy::Client, EndedBy::Client, EndedBy::Lost, EndedBy::Idle, EndedBy::Idle] {
            let silent = Seen { ended_by, said_nothing: true, ..seen([192, 0, 2, 1]) };
            // The first that we ended tells which client it is.
            let is_told = ended_by == EndedBy::Idle && !told;
            assert_eq!(lines.grant(silent, start), is_told, "{ended_by:?}");
            told |= is_told;
        }
        lines.tell_if_due(&mut log, start + PAUSE / 2, SystemTime::UNIX_EPOCH);
        let expected = Untold { silent_server: 1, silent_client: 2, silent_lost: 1, ..Untold::default() };
        assert_eq!((lines.due_in(start + PAUSE / 2), &lines.untold), (Some(PAUSE / 2), &expected));
        lines.tell_if_due(&mut log, start + PAUSE, SystemTime::UNIX_EPOCH);
        assert_eq!((lines.due_in(start + PAUSE), &lines.untold), (None, &Untold::default()));
    }

    #[test]
    fn who_only_looks_is_counted_and_who_is_put_off_has_a_line_a_minute() {
        let (start, mut lines) = (Instant::now(), SessionLines::new(RATE));
        let check = Seen { is_health_check: true, said_nothing: true, ..seen([192, 0, 2, 1]) };
        let put_off = Seen { is_put_off: true, ..seen([192, 0, 2, 2]) };
        let mut told = 0;
        for second in 0..90 {
            let now = start + Duration::from_secs(second);
            assert!(!lines.grant(check, now));
            told += usize::from(lines.grant(put_off, now));
        }
        let expected = Untold { health_checks: 90, put_off: 88, ..Untold::default() };
        assert_eq!((told, &lines.untold), (2, &expected));
    }
}
