//! The last notable events, for the status page: what the program said of itself, never a client's lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::level::Level;

/// So many are kept.
pub const RECENT_MAX: usize = 50;

/// Longer texts are cut.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

/// A notable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentEvent {
    /// When it was told.
    pub at: SystemTime,
    /// How much an operator has to know of it. Never [`Level::Info`].
    pub level: Level,
    /// Its word.
    pub event: &'static str,
    /// Its fields, `key=value`, as in a log in text.
    pub text: String,
}

/// The last [`RECENT_MAX`] notable events of the log. Written by the thread of the log only, so that nobody
/// who logs takes a lock; to be read by any thread that may wait.
#[derive(Debug, Clone, Default)]
pub struct Recent(Arc<Mutex<VecDeque<RecentEvent>>>);

impl Recent {
    /// All of them, the oldest first.
    pub fn events(&self) -> Vec<RecentEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// One more.
    pub(super) fn push(&self, event: RecentEvent) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == RECENT_MAX {
            events.pop_front();
        }
        events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fifty_stay() {
        let recent = Recent::default();
        for number in 0..120 {
            let at = SystemTime::UNIX_EPOCH;
            recent.push(RecentEvent { at, level: Level::Notice, event: "note", text: number.to_string() });
        }
        let events = recent.events();
        assert_eq!(events.len(), RECENT_MAX);
        assert_eq!((events[0].text.as_str(), events[RECENT_MAX - 1].text.as_str()), ("70", "119"));
    }
}
