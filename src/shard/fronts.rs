//! What is said in the log of fronts that send no PROXY header: a balancer that was told of only one end of
//! it makes every client hang, and nothing else would say why. At most one line a minute, for it may be every
//! connection.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::log::{Log, events};
use crate::smtp::session::NoProxyHeader;

/// Between two lines.
const PAUSE: Duration = Duration::from_mins(1);

/// When the next line may come, and what it has to tell.
#[derive(Debug, Default)]
pub(super) struct FrontNotes {
    /// Not before then.
    paused_until: Option<Instant>,
    /// Connections without a header since the last line.
    count: u64,
}

impl FrontNotes {
    /// A connection of this front is over and had no header.
    pub(super) fn note(
        &mut self,
        front: IpAddr,
        how: NoProxyHeader,
        log: &mut Log,
        now: Instant,
        at: SystemTime,
    ) {
        self.count += 1;
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        let (what, cure) = match how {
            NoProxyHeader::OtherOctets => ("it sent something else", SEND_IT),
            NoProxyHeader::TimedOut => ("none came in time", SEND_IT),
            NoProxyHeader::Ended | NoProxyHeader::Silent => ("it closed first", CHECK_WITH_IT),
        };
        let text = format!("no PROXY header from {front}, which proxy_from requires: {what}; {cure}");
        log.record(&events::WARNING, at).text("text", text.as_bytes()).number("times", self.count).end();
        *self = Self { paused_until: Some(now + PAUSE), count: 0 };
    }
}

const SEND_IT: &str =
    "make it send the header (HAProxy: send-proxy, nginx: proxy_protocol on), or take it out of proxy_from";
const CHECK_WITH_IT: &str = "make it send the header, also when it only looks whether this server is alive (HAProxy: send-proxy, \
                             check-send-proxy), or take it out of proxy_from";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use crate::log;

    #[test]
    fn a_line_comes_at_most_once_a_minute_and_counts_the_others() {
        let (mut log, _writer) = log::start(LogFormat::Text).expect("the log");
        let start = Instant::now();
        let mut notes = FrontNotes::default();
        let front = IpAddr::from([192, 0, 2, 1]);
        for second in [0, 1, 59, 60, 61] {
            let now = start + Duration::from_secs(second);
            notes.note(front, NoProxyHeader::Ended, &mut log, now, SystemTime::UNIX_EPOCH);
        }
        assert_eq!(notes.count, 1, "that of second 61 waits for the next line");
        notes.note(front, NoProxyHeader::Ended, &mut log, start + PAUSE * 2, SystemTime::UNIX_EPOCH);
        assert_eq!(notes.count, 0);
    }
}
