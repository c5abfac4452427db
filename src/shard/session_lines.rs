//! Which sessions get a line of their own in the log: any client can begin as many as it likes, so what it
//! can write on our disk has a bound.
//!
//! A session that brought mail always has one. One that said nothing at all has none, and is counted by how
//! it ended; when we ended it, because of a cap or a time-out, its client has one line a second that says so.
//! The others have so many a second, a client at most an eighth of them, and are counted beyond that. Each
//! `PAUSE` the counts are told, if there are any.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::log::{Log, events};
use crate::mail::client::Client;

/// Between two lines that tell the counts.
const PAUSE: Duration = Duration::from_secs(10);

/// Lines are granted for so long at a time.
const WINDOW: Duration = Duration::from_secs(1);

/// A client has this share of a window's lines.
const CLIENT_SHARE: u32 = 8;

/// Places to count clients in; those that share one by chance share its lines until the window is over. A
/// power of two.
const PLACES: usize = 256;

/// Why a session ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The session said so: QUIT, 421, a policy.
    Server,
    /// The client closed its half first.
    Client,
    /// The connection broke.
    Lost,
    /// A bug of ours.
    Panic,
}

impl EndedBy {
    /// As it stands in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Panic => "panic",
        }
    }
}

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
}

/// The lines of a shard's sessions.
#[derive(Debug)]
pub struct SessionLines {
    /// Lines of a window.
    lines_max: u32,
    /// When the window began.
    begun: Option<Instant>,
    /// Lines that the window has left.
    left: u32,
    /// Lines that the clients of each place had in this window.
    had: Box<[u32; PLACES]>,
    /// Chosen anew for each window, so that nobody shares a place for long.
    hasher: RandomState,
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
    over_rate: u64,
}

impl SessionLines {
    /// From now on so many lines a second.
    pub(super) fn limit(&mut self, lines_max: u32) {
        self.lines_max = lines_max;
    }

    /// So many lines a second.
    pub fn new(lines_max: u32) -> Self {
        Self {
            lines_max,
            begun: None,
            left: 0,
            had: Box::new([0; PLACES]),
            hasher: RandomState::new(),
            untold: Untold::default(),
            since: None,
        }
    }

    /// Whether a session that is over has a line; one that has none is counted.
    pub(super) fn grant(&mut self, seen: Seen, now: Instant) -> bool {
        if seen.brought_mail || seen.ended_by == EndedBy::Panic {
            return true;
        }
        let lines_max = match (seen.said_nothing, seen.ended_by) {
            (true, EndedBy::Client | EndedBy::Lost) => 0,
            (true, EndedBy::Server) => 1,
            (true, EndedBy::Panic) | (false, _) => self.lines_max.div_ceil(CLIENT_SHARE),
        };
        if self.take_line(seen.client, lines_max, now) {
            return true;
        }
        let count = match (seen.said_nothing, seen.ended_by) {
            (true, EndedBy::Server) => &mut self.untold.silent_server,
            (true, EndedBy::Client) => &mut self.untold.silent_client,
            (true, EndedBy::Lost) => &mut self.untold.silent_lost,
            (true, EndedBy::Panic) | (false, _) => &mut self.untold.over_rate,
        };
        *count += 1;
        self.since.get_or_insert(now);
        false
    }

    /// Takes one of the lines of this window, unless its client has had `lines_max` of them.
    fn take_line(&mut self, client: IpAddr, lines_max: u32, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= WINDOW) {
            self.begun = Some(now);
            self.left = self.lines_max;
            self.had.fill(0);
            self.hasher = RandomState::new();
        }
        let place = self.hasher.hash_one(Client::of(client)) % PLACES as u64;
        let Some(had) = usize::try_from(place).ok().and_then(|place| self.had.get_mut(place)) else {
            return false;
        };
        if self.left == 0 || *had >= lines_max {
            return false;
        }
        self.left -= 1;
        *had += 1;
        true
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
        let Untold { silent_server, silent_client, silent_lost, over_rate } =
            std::mem::take(&mut self.untold);
        log.record(&events::SESSIONS, at)
            .number("seconds", now.saturating_duration_since(since).as_secs())
            .number("silent_server", silent_server)
            .number("silent_client", silent_client)
            .number("silent_lost", silent_lost)
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
        Seen { client, ended_by: EndedBy::Client, brought_mail: false, said_nothing: false }
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
        assert_eq!(granted(&mut lines, now + WINDOW, (0..1000).map(|_| seen([192, 0, 2, 1]))), 10);
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
        let panic = Seen { ended_by: EndedBy::Panic, said_nothing: true, ..seen([192, 0, 2, 1]) };
        for _ in 0..1000 {
            lines.grant(seen([192, 0, 2, 1]), now);
            assert!(lines.grant(mail, now) && lines.grant(panic, now));
        }
    }

    #[test]
    fn silent_sessions_are_counted_and_told_in_one_line() {
        let (mut log, _writer) = log::start(LogFormat::Text).expect("the log");
        let start = Instant::now();
        let mut lines = SessionLines::new(RATE);
        assert_eq!(lines.due_in(start), None);
        for ended_by in [EndedBy::Client, EndedBy::Client, EndedBy::Lost, EndedBy::Server, EndedBy::Server] {
            let silent = Seen { ended_by, said_nothing: true, ..seen([192, 0, 2, 1]) };
            // The first that we ended tells which client it is.
            let is_told = ended_by == EndedBy::Server && lines.left == RATE;
            assert_eq!(lines.grant(silent, start), is_told, "{ended_by:?}");
        }
        lines.tell_if_due(&mut log, start + PAUSE / 2, SystemTime::UNIX_EPOCH);
        let expected = Untold { silent_server: 1, silent_client: 2, silent_lost: 1, over_rate: 0 };
        assert_eq!((lines.due_in(start + PAUSE / 2), &lines.untold), (Some(PAUSE / 2), &expected));
        lines.tell_if_due(&mut log, start + PAUSE, SystemTime::UNIX_EPOCH);
        assert_eq!((lines.due_in(start + PAUSE), &lines.untold), (None, &Untold::default()));
    }
}
