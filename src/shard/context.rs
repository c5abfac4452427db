//! What all connections of a shard share while one of them is worked on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::clients::Clients;
use super::delivery::Delivery;
use super::fronts::FrontNotes;
use super::mailboxes::Mailboxes;
use super::session_lines::{EndedBy, Seen, SessionLines};
use super::spill::Spill;
use super::table::Key;
use super::work::Work;
use crate::buffer::Pool;
use crate::handoff::channel::MustRing;
use crate::handoff::message::Receipt;
use crate::limits::{REPLY_BYTES_MAX, SPARE_REPLIES_MAX};
use crate::log::{Log, Record};
use crate::mail::client::TlsFacts;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::metrics::ShardMetrics;
use crate::ring::Ring;
use crate::smtp::session::Session;
use crate::smtp::supplies::Supplies;
use crate::tls::Cause;

/// The shard without its connections.
pub(super) struct Context<R> {
    /// Its ring.
    pub(super) ring: R,
    /// Its buffers.
    pub(super) pool: Pool,
    /// Its way to the sink.
    pub(super) delivery: Delivery,
    /// Its way to move mail data out of memory.
    pub(super) spill: Spill,
    /// Its way to ask the store about recipients.
    pub(super) mailboxes: Mailboxes,
    /// Its way to log.
    pub(super) log: Log,
    /// One log line a session.
    pub(super) log_sessions: bool,
    /// One log line a message.
    pub(super) log_messages: bool,
    /// Its counters.
    pub(super) metrics: Arc<ShardMetrics>,
    /// Memory of replies that were sent, to be used again.
    pub(super) spare_replies: Vec<Vec<u8>>,
    /// Steps of TLS handshakes that this turn has taken.
    pub(super) handshake_steps: usize,
    /// Connections whose handshake waits for a turn with time for it, the longest waiting first.
    pub(super) handshakes_waiting: VecDeque<Key>,
    /// Work of this turn, and connections that wait for more of it.
    pub(super) work: Work,
    /// Octets that connections hold outside of receive buffers and messages. `<= HELD_BYTES_MAX`
    pub(super) held: usize,
    /// What the session that is worked on uses.
    pub(super) supplies: Supplies,
    /// Our name, for trace information.
    pub(super) hostname: String,
    /// The connections of each client over all shards.
    pub(super) clients: Arc<Clients>,
    /// What is still to be said of fronts that sent no PROXY header.
    pub(super) front_notes: FrontNotes,
    /// Which sessions have a line in the log.
    pub(super) session_lines: SessionLines,
    /// The time of this turn.
    pub(super) now: Instant,
    /// The wall-clock time of this turn.
    pub(super) wall_clock: SystemTime,
}

impl<R: Ring> Context<R> {
    /// Whether a new transaction has to be refused: the sink does not keep up, memory for mail data is nearly used up, or the
    /// disk has no room for a message of this declared size.
    pub(super) fn refusal(&self, size: Option<u64>) -> Option<TryAgain> {
        self.delivery
            .overload(self.now)
            .or(self.pool.is_nearly_exhausted().then_some(TryAgain::Overload))
            .or_else(|| (!self.delivery.has_room(size)).then_some(TryAgain::NoSpace))
    }

    /// Keeps the memory of replies that were said; not that of a handshake, which is larger.
    pub(super) fn keep_spare(&mut self, mut said: Vec<u8>) {
        said.clear();
        if self.spare_replies.len() < SPARE_REPLIES_MAX && said.capacity() <= 2 * REPLY_BYTES_MAX {
            self.spare_replies.push(said);
        }
    }

    /// Rings a sleeping consumer with the next turn.
    pub(super) fn ring_if(&mut self, must_ring: MustRing) {
        if let Some(descriptor) = must_ring {
            self.ring.wake(descriptor);
        }
    }

    /// Counts and logs a message that came home, and takes it apart. `told`: the client was given the answer.
    pub(super) fn finish(&mut self, receipt: Receipt, told: bool) {
        let Receipt { message, outcome } = receipt;
        let metrics = &self.metrics;
        match outcome {
            _ if !told => metrics.messages_unknown.add(1),
            Outcome::Stored => {
                metrics.messages.add(1);
                metrics.message_bytes.add(message.data.bytes());
            }
            Outcome::TryAgain(_) => metrics.messages_try_again.add(1),
            Outcome::Refused(_) => metrics.messages_refused.add(1),
        }
        if outcome != Outcome::Stored {
            self.mailboxes.doubt();
        }
        if self.log_messages {
            let took = self.wall_clock.duration_since(message.received_at).unwrap_or_default();
            let envelope = &message.envelope;
            let record = self
                .log
                .record("message", self.wall_clock)
                .plain("id", message.id)
                .plain("client", message.client.address)
                .text("ehlo", &message.client.ehlo)
                .plain("with", message.client.protocol);
            tell_tls(record, message.client.tls.as_ref())
                .text("from", envelope.reverse_path())
                .texts("to", envelope.recipients().map(|recipient| recipient.whole))
                .number("bytes", message.data.bytes())
                .plain("outcome", OutcomeName(outcome))
                .boolean("told", told)
                .text("place", message.place.as_bytes())
                .number("stored_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
                .end();
        }
        self.delivery.recycle(message, &mut self.pool);
    }

    /// Counts a session that is over because its front sent no PROXY header, and says so now and then.
    pub(super) fn note_front(&mut self, session: &Session) {
        if let Some(how) = session.no_proxy_header() {
            self.metrics.proxy_headers_missing.add(1);
            let front = session.client().ip();
            self.front_notes.note(front, how, &mut self.log, self.now, self.wall_clock);
        }
    }

    /// Logs a session that is over, or counts it where it has no line of its own.
    pub(super) fn log_session(
        &mut self,
        session: &Session,
        accepted_at: SystemTime,
        ended_by: EndedBy,
        tls_failure: Option<Cause>,
    ) {
        if !self.log_sessions {
            return;
        }
        let summary = session.summary();
        let seen = Seen {
            client: session.client().ip(),
            ended_by,
            brought_mail: summary.accepted > 0,
            // Both are for the operator to mend, so they are worth a line.
            said_nothing: summary.commands == 0
                && tls_failure.is_none()
                && session.no_proxy_header().is_none(),
        };
        if !self.session_lines.grant(seen, self.now) {
            return;
        }
        let took = self.wall_clock.duration_since(accepted_at).unwrap_or_default();
        let record = self.log.session_record("session", self.wall_clock).plain("client", session.client());
        let record = match session.front() {
            Some(front) => record.plain("front", front),
            None => record,
        };
        let record = record.text("ehlo", session.ehlo_name()).plain("with", session.protocol());
        let record = tell_tls(record, session.tls());
        let record = match tls_failure {
            Some(cause) => record.plain("tls_failed", cause),
            None => record,
        };
        let record = match session.no_proxy_header() {
            Some(how) => record.plain("no_proxy_header", how),
            None => record,
        };
        record
            .number("commands", u64::from(summary.commands))
            .number("accepted", u64::from(summary.accepted))
            .number("refused_4yz", u64::from(summary.refused_4yz))
            .number("refused_5yz", u64::from(summary.refused_5yz))
            .plain("ended_by", ended_by.name())
            .number("took_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
            .end();
    }
}

/// What TLS a session or message is under; nothing in plaintext.
fn tell_tls<'a>(record: Record<'a>, tls: Option<&TlsFacts>) -> Record<'a> {
    let Some(TlsFacts { version, cipher, resumed, client_certificate, server_name }) = tls else {
        return record;
    };
    let record = record.plain("tls", version).plain("cipher", cipher).boolean("resumed", *resumed);
    let record = if *client_certificate { record.plain("client_certificate", "unverified") } else { record };
    match server_name {
        Some(name) => record.text("server_name", name.as_bytes()),
        None => record,
    }
}

/// An outcome in one word.
struct OutcomeName(Outcome);

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
