//! What a reload has not settled: what was bad when it was read, and changed files for which there is no room
//! yet.

use super::reload::What;
use super::watch::Watched;

/// What was bad when it was read last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Failures(Vec<What>);

impl Failures {
    pub(super) fn note(&mut self, what: What, is_good: bool) {
        // Everything is what the others are part of.
        self.0.retain(|failed| *failed != what && !(is_good && what == What::Everything));
        if !is_good {
            self.0.push(what);
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// Changed files for which there is no room yet.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    waiting: Vec<(Watched, Until)>,
    /// Those of which the log has a line, until they are read well or are bad.
    told: Vec<Watched>,
}

/// What changed files wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// A reload may begin. They were not read.
    MayBegin,
    /// A generation has ended. They were read, and are too large for now.
    HasEnded,
}

impl HeldBack {
    /// Whether it is told for the first time.
    pub(super) fn hold(&mut self, watched: Watched, until: Until) -> bool {
        self.waiting.retain(|(other, _)| *other != watched);
        self.waiting.push((watched, until));
        let is_new = !self.told.contains(&watched);
        if is_new {
            self.told.push(watched);
        }
        is_new
    }

    /// Files have changed. Whether they are to be read now.
    pub(super) fn handle_changed(&mut self, watched: Watched) -> bool {
        let is_unread = self.waiting.contains(&(watched, Until::MayBegin));
        if !is_unread {
            self.waiting.retain(|(other, _)| *other != watched);
        }
        !is_unread
    }

    /// Those to be tried again.
    pub(super) fn next(&mut self, may_begin: bool, has_ended: bool) -> Vec<Watched> {
        let is_due = |(_, until): &mut (Watched, Until)| match until {
            Until::MayBegin => may_begin,
            Until::HasEnded => may_begin && has_ended,
        };
        self.waiting.extract_if(.., is_due).map(|(watched, _)| watched).collect()
    }

    /// It was read, and there was room for it or no need of any.
    pub(super) fn forget(&mut self, what: What) {
        match what {
            What::Everything => *self = Self::default(),
            What::Only(watched) => {
                self.waiting.retain(|(other, _)| *other != watched);
                self.told.retain(|other| *other != watched);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENTS: What = What::Only(Watched::Recipients);
    const CERTIFICATES: What = What::Only(Watched::Certificates);

    #[test]
    fn a_failure_stays_until_its_own_kind_or_everything_is_read_well() {
        let mut failures = Failures::default();
        failures.note(What::Everything, false);
        failures.note(CERTIFICATES, true);
        assert!(!failures.is_none(), "the configuration is broken as before");
        failures.note(RECIPIENTS, false);
        failures.note(RECIPIENTS, false);
        failures.note(RECIPIENTS, true);
        assert_eq!(failures, Failures(vec![What::Everything]));
        failures.note(CERTIFICATES, false);
        failures.note(What::Everything, true);
        assert!(failures.is_none());
    }

    #[test]
    fn what_there_is_no_room_for_is_told_once_and_tried_again() {
        let mut held = HeldBack::default();
        // Not read: it is noticed again and again.
        assert!(held.hold(Watched::Certificates, Until::MayBegin));
        assert!(!held.handle_changed(Watched::Certificates));
        assert_eq!(held.next(false, true), []);
        assert_eq!(held.next(true, false), [Watched::Certificates]);
        assert!(!held.hold(Watched::Certificates, Until::MayBegin), "told once");
        held.forget(CERTIFICATES);
        assert!(held.hold(Watched::Certificates, Until::MayBegin), "and anew after it went well");
        // Read and too large: it is not noticed again unless it changes.
        assert!(held.hold(Watched::Recipients, Until::HasEnded));
        assert_eq!(held.next(false, true), []);
        assert_eq!(held.next(true, true), [Watched::Certificates, Watched::Recipients]);
        assert!(!held.hold(Watched::Recipients, Until::HasEnded));
        assert!(held.handle_changed(Watched::Recipients), "it may be smaller now");
        assert_eq!(held.next(true, true), []);
        held.forget(What::Everything);
        assert!(held.hold(Watched::Recipients, Until::HasEnded));
    }
}
