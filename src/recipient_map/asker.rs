//! Who asks on a thread.

use std::time::Duration;

use crate::handoff::recipient_map::{Found, MapInquiry};

/// Asks somebody about recipients, one after the other.
pub(super) trait Asker {
    /// Whether there is such a recipient.
    fn look_up(&mut self, inquiry: &MapInquiry) -> Found;

    /// There is nobody to ask about now. After this time it is to be said again, if there is one.
    fn rest(&mut self) -> Option<Duration> {
        None
    }
}
