//! Which refusals get a line of their own in the log: so many a second, a client at most an eighth of them;
//! where this machine is the reason, one a minute for each reason. The others are counted, and the counts are
//! told.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::line_rate::LineRate;
use super::repeated_lines::{Counted, RepeatedLines};
use crate::limits::REFUSAL_LINES_MAX;
use crate::log::{Log, events};
use crate::smtp::reason::Reason;

/// Between two lines that tell how many there were over the rate.
const PAUSE: Duration = Duration::from_secs(10);

/// The lines of a shard's refusals.
#[derive(Debug)]
pub(super) struct RefusalLines {
    rate: LineRate,
    /// By the reason.
    ours: RepeatedLines,
    over_rate: u64,
    /// When the first of them was counted.
    since: Option<Instant>,
}

impl RefusalLines {
    /// So many lines a second.
    pub(super) fn new(lines_max: u32) -> Self {
        Self {
            rate: LineRate::new(lines_max),
            ours: RepeatedLines::new(Reason::ALL.len()),
            over_rate: 0,
            since: None,
        }
    }

    /// From now on so many lines a second.
    pub(super) fn limit(&mut self, lines_max: u32) {
        self.rate.limit(lines_max);
    }

    /// Whether a refusal for this reason has a line; one that has none is counted.
    pub(super) fn grant(&mut self, client: IpAddr, reason: Reason, now: Instant) -> bool {
        if reason.is_ours() {
            return self.ours.grant(reason.index(), now);
        }
        self.grant_for(client, 1, now)
    }

    /// Whether there is a line that tells of so many refusals, which their session did not note; where there
    /// is none, they are counted.
    pub(super) fn grant_more(&mut self, client: IpAddr, more: u32, now: Instant) -> bool {
        self.grant_for(client, more, now)
    }

    fn grant_for(&mut self, client: IpAddr, refusals: u32, now: Instant) -> bool {
        // All that one session may have come at once, where it names many recipients that do not exist: the
        // lines of its refusals, and the one that counts the rest.
        let of_a_client = self.rate.of_a_client().max(u32::from(REFUSAL_LINES_MAX) + 1);
        let is_granted = self.rate.take(client, of_a_client, now);
        if !is_granted {
            self.over_rate += u64::from(refusals);
            self.since.get_or_insert(now);
        }
        is_granted
    }

    /// So many more for this reason of this machine, which their session did not note.
    pub(super) fn count_ours(&mut self, reason: Reason, more: u32, now: Instant) {
        self.ours.count(reason.index(), u64::from(more), now);
    }

    /// When something is to be told; none while nothing is counted.
    pub(super) fn due(&self) -> Option<Instant> {
        let over_rate = self.since.map(|since| since + PAUSE);
        over_rate.into_iter().chain(self.ours.due()).min()
    }

    /// Tells the counts; those that are due, or all of them.
    pub(super) fn tell(&mut self, all: bool, log: &mut Log, now: Instant, at: SystemTime) {
        if let Some(since) = self.since.take_if(|since| all || *since + PAUSE <= now) {
            log.record(&events::REFUSALS, at)
                .number("over_rate", std::mem::take(&mut self.over_rate))
                .number("seconds", now.saturating_duration_since(since).as_secs())
                .end();
        }
        let ours = &mut self.ours;
        while let Some(Counted { kind, more, seconds }) =
            if all { ours.take_any(now) } else { ours.take_due(now) }
        {
            let reason = Reason::ALL.get(kind).map_or("", |reason| reason.name());
            log.record(&events::REFUSALS, at)
                .plain("reason", reason)
                .number("more", more)
                .number("seconds", seconds)
                .end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_client_leaves_the_others_their_lines_and_is_counted() {
        let (start, mut lines) = (Instant::now(), RefusalLines::new(80));
        let flood: IpAddr = [192, 0, 2, 1].into();
        let granted = (0..1000).filter(|_| lines.grant(flood, Reason::UnknownRecipient, start)).count();
        assert_eq!((granted, lines.over_rate), (21, 979));
        assert!(!lines.grant_more(flood, 500, start));
        assert_eq!(lines.over_rate, 1479, "what one line would have told is not lost with it");
        let other = (2..=250).find(|host| lines.grant([192, 0, 2, *host].into(), Reason::Syntax, start));
        assert!(other.is_some());
        assert_eq!(lines.due(), Some(start + PAUSE));
    }

    #[test]
    fn a_session_with_all_its_lines_has_the_one_that_counts_the_rest() {
        for rate in [21, 80, 1000] {
            let (start, mut lines) = (Instant::now(), RefusalLines::new(rate));
            let client: IpAddr = [192, 0, 2, 1].into();
            assert!((0..20).all(|_| lines.grant(client, Reason::UnknownRecipient, start)), "{rate}");
            assert!(lines.grant_more(client, 10, start), "{rate}");
            assert_eq!((lines.over_rate, lines.due()), (0, None));
        }
    }

    #[test]
    fn what_this_machine_refuses_is_told_once_a_minute_whoever_is_refused() {
        let (start, mut lines) = (Instant::now(), RefusalLines::new(80));
        let granted = (0..=255).filter(|host| lines.grant([192, 0, 2, *host].into(), Reason::NoSpace, start));
        assert_eq!(granted.count(), 1);
        assert!(lines.grant([192, 0, 2, 1].into(), Reason::Overload, start), "another reason");
        let (mut log, _writer) = crate::log::start(crate::config::LogFormat::Text).expect("the log");
        lines.tell(false, &mut log, start, SystemTime::UNIX_EPOCH);
        assert!(lines.due().is_some(), "not yet");
        lines.tell(true, &mut log, start, SystemTime::UNIX_EPOCH);
        assert_eq!(lines.due(), None);
    }
}
