//! What of a shard has a line in the log, and what is counted there instead: whoever floods is counted, and
//! what is the same for everybody is said once.

use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use super::fronts::FrontNotes;
use super::refusal_lines::RefusalLines;
use super::repeated_lines::{Counted, RepeatedLines};
use super::session_lines::SessionLines;
use crate::config;
use crate::log::{Log, events};
use crate::mail::outcome::{Outcome, TryAgain};

/// The lines of a shard.
#[derive(Debug)]
pub struct Lines {
    /// None: sessions have no lines.
    pub(super) sessions: Option<SessionLines>,
    /// None: refusals have no lines.
    pub(super) refusals: Option<RefusalLines>,
    /// Of messages that could not be stored; none: messages have no lines.
    messages: Option<RepeatedLines>,
    /// Of accepts that failed.
    accepts: RepeatedLines,
    /// Why the last one failed.
    accept_error: Option<Errno>,
    /// What is still to be said of fronts that sent no PROXY header.
    pub(super) fronts: FrontNotes,
}

/// Why a message can be tried again, by the number of its lines.
const TRY_AGAIN: [TryAgain; 3] = [TryAgain::Overload, TryAgain::Local, TryAgain::NoSpace];

impl Lines {
    /// As configured.
    pub fn new(log: &config::Log) -> Self {
        Self {
            sessions: log.sessions.then(|| SessionLines::new(log.session_lines_max)),
            refusals: log.refusals.then(|| RefusalLines::new(log.session_lines_max)),
            messages: log.messages.then(|| RepeatedLines::new(TRY_AGAIN.len())),
            accepts: RepeatedLines::new(1),
            accept_error: None,
            fronts: FrontNotes::default(),
        }
    }

    /// From now on as configured here. What was counted goes on, where there are lines still; else it is told
    /// now.
    pub(super) fn go_by(&mut self, logged: &config::Log, log: &mut Log, now: Instant, at: SystemTime) {
        let new = Self::new(logged);
        match (&mut self.sessions, new.sessions) {
            (Some(lines), Some(_)) => lines.limit(logged.session_lines_max),
            (lines, new) => {
                if let Some(mut lines) = std::mem::replace(lines, new) {
                    lines.tell(log, now, at);
                }
            }
        }
        match (&mut self.refusals, new.refusals) {
            (Some(lines), Some(_)) => lines.limit(logged.session_lines_max),
            (lines, new) => {
                if let Some(mut lines) = std::mem::replace(lines, new) {
                    lines.tell(true, log, now, at);
                }
            }
        }
        if self.messages.is_some() != new.messages.is_some() {
            self.tell_messages(true, log, now, at);
            self.messages = new.messages;
        }
    }

    /// Whether messages have lines.
    pub(super) fn has_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// Whether a message with this outcome has a line. One that could not be stored may be counted instead.
    pub(super) fn grant_message(&mut self, outcome: Outcome, now: Instant) -> bool {
        let Some(lines) = &mut self.messages else { return false };
        match outcome {
            Outcome::Stored | Outcome::Refused(_) => true,
            Outcome::TryAgain(why) => {
                TRY_AGAIN.iter().position(|one| *one == why).is_none_or(|kind| lines.grant(kind, now))
            }
        }
    }

    /// An accept failed.
    pub(super) fn note_accept_failure(&mut self, error: Errno, log: &mut Log, now: Instant, at: SystemTime) {
        // Another error is told at once.
        if Some(error) != self.accept_error {
            self.tell_accepts(true, log, now, at);
            self.accepts = RepeatedLines::new(1);
            self.accept_error = Some(error);
        }
        if self.accepts.grant(0, now) {
            let record = log.record(&events::ERROR, at).text("tried", b"accept");
            record.text("error", error.to_string().as_bytes()).end();
        }
    }

    /// How long nothing is to be told; none while nothing is counted.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let sessions = self.sessions.as_ref().and_then(|lines| lines.due_in(now));
        let due = [
            self.refusals.as_ref().and_then(RefusalLines::due),
            self.messages.as_ref().and_then(RepeatedLines::due),
            self.accepts.due(),
        ];
        let others = due.into_iter().flatten().map(|due| due.saturating_duration_since(now));
        sessions.into_iter().chain(others).min()
    }

    /// Tells the counts; those that are due, or all of them.
    pub(super) fn tell(&mut self, all: bool, log: &mut Log, now: Instant, at: SystemTime) {
        if let Some(sessions) = &mut self.sessions {
            if all {
                sessions.tell(log, now, at);
            } else {
                sessions.tell_if_due(log, now, at);
            }
        }
        if let Some(refusals) = &mut self.refusals {
            refusals.tell(all, log, now, at);
        }
        self.tell_messages(all, log, now, at);
        self.tell_accepts(all, log, now, at);
    }

    fn tell_messages(&mut self, all: bool, log: &mut Log, now: Instant, at: SystemTime) {
        let Some(messages) = &mut self.messages else { return };
        while let Some(Counted { kind, more, seconds }) =
            if all { messages.take_any(now) } else { messages.take_due(now) }
        {
            let Some(why) = TRY_AGAIN.get(kind) else { continue };
            log.record(&events::MESSAGES, at)
                .plain("outcome", OutcomeName(Outcome::TryAgain(*why)))
                .number("more", more)
                .number("seconds", seconds)
                .end();
        }
    }

    fn tell_accepts(&mut self, all: bool, log: &mut Log, now: Instant, at: SystemTime) {
        let counted = if all { self.accepts.take_any(now) } else { self.accepts.take_due(now) };
        let (Some(Counted { more, seconds, .. }), Some(error)) = (counted, self.accept_error) else { return };
        log.record(&events::ERROR, at)
            .text("tried", b"accept")
            .text("error", error.to_string().as_bytes())
            .number("more", more)
            .number("seconds", seconds)
            .end();
    }
}

/// An outcome in one word.
pub(super) struct OutcomeName(pub(super) Outcome);

impl std::fmt::Display for OutcomeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Outcome::Stored => "stored",
            Outcome::TryAgain(TryAgain::Overload) => "try-again-overload",
            Outcome::TryAgain(TryAgain::Local) => "try-again-local",
            Outcome::TryAgain(TryAgain::NoSpace) => "try-again-no-space",
            Outcome::Refused(_) => "refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LogFormat};
    use crate::log::{Output, start_on};
    use crate::smtp::reason::Reason;

    #[test]
    fn what_was_counted_is_told_when_its_lines_are_turned_off_and_goes_on_when_they_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        let output = Output::open(&file).expect("a file");
        let (mut log, writer) = start_on(LogFormat::Text, output).expect("the log");
        let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let on = Config::embedded_default().log;
        let off = config::Log { sessions: false, messages: false, refusals: false, ..on.clone() };
        let mut lines = Lines::new(&on);
        let no_space = Outcome::TryAgain(TryAgain::NoSpace);
        assert!(lines.grant_message(no_space, now) && !lines.grant_message(no_space, now));
        let refusals = lines.refusals.as_mut().expect("they have lines");
        let granted =
            (0..2000).filter(|_| refusals.grant([192, 0, 2, 1].into(), Reason::Syntax, now)).count();
        assert!(granted < 2000);
        lines.go_by(&on, &mut log, now, at);
        assert!(lines.due_in(now).is_some());
        lines.go_by(&off, &mut log, now, at);
        assert_eq!(lines.due_in(now), None);
        drop(log);
        assert!(writer.finish(Duration::from_mins(1)));
        let told = std::fs::read_to_string(file).expect("the log");
        let events: Vec<_> = told.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(events, ["refusals", "messages"], "{told}");
    }
}
