//! How far a connection is: its client is served, or it is on its way to be gone.
//!
//! ```text
//!   Serving ──session or input ends──► Flushing ──all is sent──► Draining ──end, bound, deadline──► Closing
//!      └─────────────── the connection is lost, from any phase ───────────────────────────────────────┘
//! ```
//!
//! Flushing goes on to Closing at once where the client's end has come before, or when its time is over.
//!
//! Draining: our half is shut down and what the client still sends is dropped for a bounded time, because
//! closing a socket with unread octets makes the kernel send a reset that eats the reply just sent. A
//! connection is gone only after its last completion.

use std::time::Instant;

use crate::limits::{CANCEL_WAIT_MAX, DRAIN_WAIT_MAX};

/// The phases, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Flushing,
    Draining,
    Closing,
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Course {
    phase: Phase,
    /// The client closed its half, or said under TLS that it sends nothing more.
    input_ended: bool,
    /// From the end of its service on: when a client that takes too long to go has had its time.
    deadline: Option<Instant>,
}

impl Course {
    /// Its client is served.
    pub(super) fn new() -> Self {
        Self { phase: Phase::Serving, input_ended: false, deadline: None }
    }

    /// How far it is.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the client is served.
    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Whether the client sends nothing more.
    pub(super) fn has_input_ended(&self) -> bool {
        self.input_ended
    }

    /// The client sends nothing more.
    pub(super) fn end_input(&mut self) {
        self.input_ended = true;
    }

    /// Whether something may still be received, if only to be dropped.
    pub(super) fn may_receive(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Draining) && !self.input_ended
    }

    /// Nothing more is read; what was said is sent.
    pub(super) fn flush(&mut self, now: Instant) {
        self.phase = Phase::Flushing;
        self.deadline = Some(now + DRAIN_WAIT_MAX);
    }

    /// Everything was said and sent. Where the client's end has not come, it is waited for: our half is to be
    /// shut down then.
    pub(super) fn drain(&mut self, now: Instant) {
        if self.input_ended {
            self.phase = Phase::Closing;
        } else {
            self.phase = Phase::Draining;
            self.deadline = Some(now + DRAIN_WAIT_MAX);
        }
    }

    /// Nothing is waited for but completions.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Completions are waited for; afterwards what is under way is cancelled once more.
    pub(super) fn wait_for_completions(&mut self, now: Instant) {
        self.deadline = Some(now + CANCEL_WAIT_MAX);
    }

    /// Draining ends with the client's input.
    pub(super) fn settle(&mut self) {
        if self.phase == Phase::Draining && self.input_ended {
            self.phase = Phase::Closing;
        }
    }

    /// When [`Course::expire`] wants to be called; none while the client is served.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A client that does not even read its last replies, or does not go, has had its time.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = self.deadline.is_none_or(|deadline| deadline <= now);
        if matches!(self.phase, Phase::Flushing | Phase::Draining) && is_over {
            self.phase = Phase::Closing;
        }
    }
}
