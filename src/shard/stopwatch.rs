//! How long the phases of a connection take, from the clock of its shard's turns.

use std::time::Instant;

use crate::metrics::{Phase, ShardMetrics};

/// When the phases of a connection began.
#[derive(Debug)]
pub(super) struct Stopwatch {
    accepted: Instant,
    /// The TLS handshake that is under way.
    handshake: Option<Instant>,
    /// The send that is under way has the greeting.
    sends_greeting: bool,
    /// When the outcome came that the send under way tells the client.
    sends_outcome: Option<Instant>,
}

impl Stopwatch {
    /// A connection was accepted now.
    pub(super) fn new(now: Instant) -> Self {
        Self { accepted: now, handshake: None, sends_greeting: false, sends_outcome: None }
    }

    /// A handshake begins.
    pub(super) fn begin_handshake(&mut self, now: Instant) {
        self.handshake = Some(now);
    }

    /// It is done.
    pub(super) fn end_handshake(&mut self, now: Instant, metrics: &ShardMetrics) {
        if let Some(began) = self.handshake.take() {
            metrics.phase(Phase::TlsHandshake).add_duration(now.saturating_duration_since(began));
        }
    }

    /// A send begins, with the greeting or not, and with the outcome of a message that came then or not.
    pub(super) fn begin_send(&mut self, is_greeting: bool, outcome: Option<Instant>) {
        self.sends_greeting = is_greeting;
        self.sends_outcome = outcome;
    }

    /// Everything of it is sent.
    pub(super) fn end_send(&mut self, now: Instant, metrics: &ShardMetrics) {
        if std::mem::take(&mut self.sends_greeting) {
            metrics.phase(Phase::Banner).add_duration(now.saturating_duration_since(self.accepted));
        }
        if let Some(came) = self.sends_outcome.take() {
            metrics.phase(Phase::Reply).add_duration(now.saturating_duration_since(came));
        }
    }

    /// The connection is gone.
    pub(super) fn end(&self, now: Instant, metrics: &ShardMetrics) {
        metrics.phase(Phase::Session).add_duration(now.saturating_duration_since(self.accepted));
    }
}
