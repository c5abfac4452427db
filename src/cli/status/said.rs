//! What a receiver or a forwarder says of itself, as lines of text.

use super::lines::{Line, events};
use super::{forwarder, receiver};
use crate::admin::status::forward::ForwardStatus;
use crate::admin::status::{Event, Status};

/// What a process says of itself.
#[derive(Debug)]
pub(super) enum Said {
    Receiver(Box<Status>),
    Forwarder(Box<ForwardStatus>),
}

impl Said {
    /// All but the events, in lines of at most so many columns.
    pub(super) fn figures(&self, width: usize) -> Vec<Line> {
        match self {
            Self::Receiver(status) => receiver::figures(status, width),
            Self::Forwarder(status) => forwarder::figures(status, width),
        }
    }

    /// Newest first.
    pub(super) fn events(&self) -> &[Event] {
        match self {
            Self::Receiver(status) => &status.events,
            Self::Forwarder(status) => &status.events,
        }
    }

    pub(super) fn at_unix_ms(&self) -> u64 {
        match self {
            Self::Receiver(status) => status.at_unix_ms,
            Self::Forwarder(status) => status.at_unix_ms,
        }
    }

    /// All of it.
    pub(super) fn lines(&self, width: usize) -> Vec<Line> {
        let mut all = self.figures(width);
        all.push(Line::empty());
        all.extend(events(self.events(), width));
        all
    }
}
