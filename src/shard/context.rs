//! What all connections of a shard share while one of them is worked on.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::clients::Clients;
use super::delivery::Delivery;
use super::fronts::FrontNotes;
use super::handshakes::Handshakes;
use super::held::Held;
use super::inbox::Inbox;
use super::mailboxes::Mailboxes;
use super::parts::Parts;
use super::session_lines::{EndedBy, Seen, SessionLines};
use super::work::Work;
use crate::buffer::Pool;
use crate::handoff::channel::MustRing;
use crate::handoff::message::Receipt;
use crate::limits::{ENVELOPES_BYTES_MAX, REPLY_BYTES_MAX, SPARE_REPLIES_MAX};
use crate::log::{Log, Record, events};
use crate::mail::client::TlsFacts;
use crate::mail::envelope_budget::EnvelopeBudget;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::metrics::{Phase, ShardMetrics};
use crate::ring::Ring;
use crate::smtp::session::Session;
use crate::smtp::supplies::Supplies;
use crate::tls::Cause;

/// The shard without its listeners and connections. Made on its thread, because its ring belongs to that.
pub struct Context<R> {
    /// Its ring, receiving into the pool's arena.
    pub ring: R,
    /// Its buffers.
    pub pool: Pool,
    /// What others have for it.
    pub inbox: Inbox,
    /// Its way to the sink.
    pub delivery: Delivery,
    /// Its way to move mail data out of memory.
    pub parts: Parts,
    /// Its way to ask the store about recipients.
    pub mailboxes: Mailboxes,
    /// Its way to log.
    pub log: Log,
    /// One log line a session, or as many as these are granted.
    pub session_lines: Option<SessionLines>,
    /// One log line a message.
    pub log_messages: bool,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// The connections of each client over all shards.
    pub clients: Arc<Clients>,
    /// Its turn.
    pub turn: Turn,
}

/// The time of a turn, and what its connections leave to each other.
pub struct Turn {
    /// The time of this turn.
    pub(super) now: Instant,
    /// The wall-clock time of this turn.
    pub(super) wall_clock: SystemTime,
    /// Steps of TLS handshakes, and connections that wait for more of them.
    pub(super) handshakes: Handshakes,
    /// Work, and connections that wait for more of it.
    pub(super) work: Work,
    /// What connections hold outside of receive buffers and messages.
    pub(super) held: Held,
    /// What the session that is worked on uses.
    pub(super) supplies: Supplies,
    /// Memory of replies that were sent, to be used again.
    spare_replies: Vec<Vec<u8>>,
    /// What is still to be said of fronts that sent no PROXY header.
    front_notes: FrontNotes,
}

impl Turn {
    /// The first turn of a shard on this ring.
    pub fn first<R: Ring>(ring: &R) -> Self {
        Self {
            now: ring.now(),
            wall_clock: ring.wall_clock(),
            handshakes: Handshakes::default(),
            work: Work::default(),
            held: Held::default(),
            supplies: Supplies::within(&EnvelopeBudget::new(ENVELOPES_BYTES_MAX)),
            spare_replies: Vec::new(),
            front_notes: FrontNotes::default(),
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.work.begin_turn();
        self.handshakes.begin_turn();
    }

    /// Memory for replies.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare_replies.pop().unwrap_or_default()
    }

    /// Keeps the memory of replies that were said; not that of a handshake, which is larger.
    pub(super) fn keep_spare(&mut self, mut said: Vec<u8>) {
        said.clear();
        if self.spare_replies.len() < SPARE_REPLIES_MAX && said.capacity() <= 2 * REPLY_BYTES_MAX {
            self.spare_replies.push(said);
        }
    }
}

impl<R: Ring> Context<R> {
    /// Whether a new transaction has to be refused: the sink does not keep up, memory for mail data is nearly
    /// used up, or the disk has no room for a message of this declared size.
    pub(super) fn refusal(&self, size: Option<u64>) -> Option<TryAgain> {
        self.delivery
            .overload(self.turn.now)
            .or(self.pool.pressure().refuses_new().then_some(TryAgain::Overload))
            .or_else(|| (!self.delivery.has_room(size)).then_some(TryAgain::NoSpace))
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
        let phases = [Phase::Envelope, Phase::Data, Phase::HandoffWait, Phase::Store];
        for (phase, took) in phases.into_iter().zip(message.timeline.phases()) {
            if let Some(took) = took {
                metrics.phase(phase).add_duration(took);
            }
        }
        match outcome {
            _ if !told => metrics.messages_unknown.add(1),
            Outcome::Stored => {
                metrics.messages.add(1);
                metrics.message_bytes.add(message.data.bytes());
                metrics.message_size.add(message.data.bytes());
            }
            Outcome::TryAgain(_) => metrics.messages_try_again.add(1),
            Outcome::Refused(_) => metrics.messages_refused.add(1),
        }
        if outcome != Outcome::Stored {
            self.mailboxes.doubt();
        }
        if self.log_messages {
            let took = self.turn.wall_clock.duration_since(message.received_at).unwrap_or_default();
            let envelope = &message.envelope;
            let record = self
                .log
                .record(&events::MESSAGE, self.turn.wall_clock)
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
            let Turn { front_notes, now, wall_clock, .. } = &mut self.turn;
            front_notes.note(front, how, &mut self.log, *now, *wall_clock);
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
        let Some(lines) = &mut self.session_lines else { return };
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
        if !lines.grant(seen, self.turn.now) {
            return;
        }
        let took = self.turn.wall_clock.duration_since(accepted_at).unwrap_or_default();
        let record =
            self.log.session_record(&events::SESSION, self.turn.wall_clock).plain("client", session.client());
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
