//! What all connections of a shard share while one of them is worked on.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::answers::{Answers, Checked};
use super::checks_budget::ChecksBudget;
use super::clients::Clients;
use super::delivery::Delivery;
use super::front_line::news_text;
use super::governor::Governor;
use super::handshakes::Handshakes;
use super::held::Held;
use super::inbox::Inbox;
use super::lines::{Lines, OutcomeName};
use super::mailboxes::Mailboxes;
use super::parts::Parts;
use super::recipient_map::RecipientMap;
use super::session_lines::Seen;
use super::shares::Shares;
use super::stations::Stations;
use super::table::Key;
use super::work::Work;
use crate::auth::dkim::keys::Keys;
use crate::buffer::Pool;
use crate::dns::Asking;
use crate::front::checks::News;
use crate::front::moment::Moment;
use crate::front::score::Score;
use crate::handoff::channel::MustRing;
use crate::handoff::message::{Message, Receipt, Times};
use crate::limits::{ENVELOPES_BYTES_MAX, REPLY_BYTES_MAX, SPARE_REPLIES_MAX};
use crate::log::{Log, Record, events};
use crate::mail::client::TlsFacts;
use crate::mail::envelope_budget::EnvelopeBudget;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::mail::session_id::{SessionId, SessionIds};
use crate::metrics::{Phase, ShardMetrics};
use crate::ring::Ring;
use crate::smtp::denial::Denial;
use crate::smtp::ended_by::EndedBy;
use crate::smtp::message_id;
use crate::smtp::reason::Reason;
use crate::smtp::refusals::{Refusal, Refusals};
use crate::smtp::session::{NoProxyHeader, Session};
use crate::smtp::supplies::Supplies;
use crate::timestamp;
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
    /// Its ways to whom messages pass before.
    pub stations: Stations,
    /// Its way to move mail data out of memory.
    pub parts: Parts,
    /// Its way to ask the store about recipients.
    pub mailboxes: Mailboxes,
    /// Its way to ask the map of recipients.
    pub recipient_map: RecipientMap,
    /// Its way to ask the DNS, and what it knows from there.
    pub answers: Answers,
    /// Its way to log.
    pub log: Log,
    /// What has a line there.
    pub lines: Lines,
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
    /// The same time as clients are counted by.
    pub(super) moment: Moment,
    /// Whom the shard serves with what it has to do.
    pub(super) governor: Governor,
    /// Steps of TLS handshakes, and connections that wait for more of them.
    pub(super) handshakes: Handshakes,
    /// Work, and connections that wait for more of it.
    pub(super) work: Work,
    /// What each connection had, and which of them have to wait.
    pub(super) shares: Shares,
    /// What connections hold outside of receive buffers and messages.
    pub(super) held: Held,
    /// What the session that is worked on uses.
    pub(super) supplies: Supplies,
    /// Memory of replies that were sent, to be used again.
    spare_replies: Vec<Vec<u8>>,
    /// The names of its sessions.
    pub(super) session_ids: SessionIds,
    /// What the checks of messages under way hold.
    pub(super) checks: ChecksBudget,
    /// Keys of signatures that were used lately.
    pub(super) keys: Keys,
    /// The header section that is read.
    pub(super) header: Vec<u8>,
}

impl Turn {
    /// The first turn of a shard on this ring.
    pub fn first<R: Ring>(ring: &R, clients: &Clients) -> Self {
        let (now, wall_clock) = (ring.now(), ring.wall_clock());
        Self {
            now,
            wall_clock,
            moment: clients.moment(now, wall_clock),
            governor: Governor::IDLE,
            handshakes: Handshakes::default(),
            work: Work::default(),
            shares: Shares::new(now),
            held: Held::default(),
            supplies: Supplies::within(&EnvelopeBudget::new(ENVELOPES_BYTES_MAX)),
            spare_replies: Vec::new(),
            session_ids: SessionIds::default(),
            checks: ChecksBudget::default(),
            keys: Keys::default(),
            header: Vec::new(),
        }
    }

    /// From now on somebody takes little, and is served first, who is only so many units behind those that
    /// take most (`shares`). For simulations, which never do as much work as makes the difference otherwise.
    #[must_use]
    pub fn with_lag(mut self, units: u64) -> Self {
        self.shares.set_lag(units);
        self
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.shares.begin_turn(self.now);
        self.work.begin_turn(self.shares.are_turns_short());
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

    /// Runs a check of this connection over what the DNS is known to say, and asks for all that it misses.
    /// While it waits, the connection's `handle_answers` is called when something of that came. Whoever has a
    /// deadline of its own ends the check with [`Answers::end_check`].
    pub(super) fn run_check<T>(
        &mut self,
        connection: Key,
        check: impl FnMut(&mut Asking<'_>) -> Option<T>,
    ) -> Checked<T> {
        let (checked, must_ring) = self.answers.run_check(connection.word(), self.turn.now, check);
        self.ring_if(must_ring);
        checked
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
        let mut from = message.log.times.map(|times| times.begun);
        let ends = message.log.times.map(|times| [times.data, times.complete]);
        let ends = ends.into_iter().flatten().chain(message.progress.handed_over).chain([self.turn.now]);
        for (phase, to) in phases.into_iter().zip(ends) {
            let began = from.replace(to).unwrap_or(to);
            // What stations took is counted there.
            let passed = message.progress.passed_at.filter(|_| phase == Phase::HandoffWait);
            let began = passed.unwrap_or(began);
            metrics.phase(phase).add_duration(to.saturating_duration_since(began));
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
        if self.lines.grant_message(outcome, self.turn.now) {
            self.log_message(&message, outcome, told);
        }
        self.delivery.recycle(message, &mut self.pool);
    }

    fn log_message(&mut self, message: &Message, outcome: Outcome, told: bool) {
        let Message { client, envelope, log: facts, .. } = message;
        let now = self.turn.now;
        let whole = message.data.whole().ok().filter(|_| facts.message_id.is_none());
        let found = whole.and_then(|data| message_id::find(data.pieces()));
        let record = self
            .log
            .record(&events::MESSAGE, self.turn.wall_clock)
            .plain("session", facts.session)
            .plain("id", message.id);
        let record = match (&facts.message_id, &found) {
            (Some(id), _) => record.text("message_id", id),
            (None, Some(id)) => record.text("message_id", id.as_slice()),
            (None, None) => record,
        };
        let record =
            record.plain("client", client.address).text("ehlo", &client.ehlo).plain("with", client.protocol);
        let record = tell_tls(record, client.tls.as_ref())
            .text("from", envelope.reverse_path())
            .texts("to", envelope.recipients().map(|recipient| recipient.whole))
            .number("bytes", message.data.bytes());
        let record = tell_filters(record, &facts.filters)
            .plain("outcome", OutcomeName(outcome))
            .boolean("told", told)
            .text("place", message.place.as_bytes());
        let Some(Times { begun, data, complete }) = facts.times else { return record.end() };
        record
            .number("envelope_ms", millis(begun, data))
            .number("data_ms", millis(data, complete))
            .number("stored_ms", millis(complete, now))
            .end();
    }

    /// The name of a session that begins.
    pub(super) fn name_session(&mut self) -> SessionId {
        let micros = timestamp::micros(self.turn.wall_clock);
        self.turn.session_ids.next(self.delivery.shard(), micros)
    }

    /// Logs what a session refused. `delivered`: the message of which it was told what became, if one of them
    /// is about that.
    pub(super) fn log_refusals(
        &mut self,
        session: &Session,
        name: SessionId,
        refusals: &Refusals,
        delivered: Option<&Message>,
    ) {
        let Some(lines) = &mut self.lines.refusals else { return };
        for refusal in refusals.iter() {
            let Some(reason) = refusal.reply.reason() else { continue };
            if !lines.grant(session.client().ip(), reason, self.turn.now) {
                continue;
            }
            let Refusal { reply, step, from, recipients, is_of_delivered, .. } = refusal;
            let record = self.log.session_record(&events::REFUSED, self.turn.wall_clock);
            let record = record.plain("session", name);
            let delivered = delivered.filter(|_| is_of_delivered);
            let record = match delivered {
                Some(message) => record.plain("id", message.id),
                None => record,
            };
            let record = tell_client(record, session).text("ehlo", session.ehlo_name());
            let record = match from {
                Some(from) => record.text("from", from),
                None => record,
            };
            let record = if recipients > 0 { record.texts("to", refusal.to()) } else { record };
            let record =
                record.number_if_any("recipients", if recipients > 1 { recipients as u64 } else { 0 });
            let record = match delivered {
                Some(message) => tell_filters(record, &message.log.filters),
                None => record,
            };
            record
                .plain("step", step)
                .text("reply", session.wording(reply).as_bytes())
                .plain("reason", reason.name())
                .end();
        }
    }

    /// Logs what would have been refused by a rule that only warns.
    pub(super) fn log_warning(&mut self, session: &Session, name: SessionId, denial: Denial) {
        self.metrics.front_warnings.add(1);
        let (client, now) = (session.client().ip(), self.turn.now);
        if !self.lines.refusals.as_mut().is_some_and(|lines| lines.grant_more(client, 1, now)) {
            return;
        }
        let record = self.log.session_record(&events::WOULD_REFUSE, self.turn.wall_clock);
        let record = tell_client(record.plain("session", name), session).text("ehlo", session.ehlo_name());
        let record = match session.reverse_path() {
            Some(from) => record.text("from", from),
            None => record,
        };
        let reason = denial.reason().map_or("", Reason::name);
        record.text("reply", session.wording_of(denial).as_bytes()).plain("reason", reason).end();
    }

    /// Tells of lists that began or ceased to work.
    pub(super) fn tell_news(&mut self, news: &[News]) {
        for one in news {
            let event = if one.fault.is_some() { &events::LIST_OFF } else { &events::LIST_ON };
            let record = self.log.record(event, self.turn.wall_clock);
            record.text("list", one.list.as_bytes()).text("text", news_text(one).as_bytes()).end();
        }
    }

    /// Counts a session that is over because its front sent no PROXY header, and says so now and then.
    pub(super) fn note_front(&mut self, session: &Session) {
        if let Some(how) = session.no_proxy_header() {
            self.metrics.proxy_headers_missing.add(1);
            let front = session.client().ip();
            let Turn { now, wall_clock, .. } = self.turn;
            self.lines.fronts.note(front, how, &mut self.log, now, wall_clock);
        }
    }

    /// Logs a session that is over, or counts it where it has no line of its own.
    pub(super) fn log_session(&mut self, session: &Session, ended: &Ended, score: Option<&Score>) {
        let Ended { name, accepted_at, ended_by, tls_failure } = *ended;
        let summary = session.summary();
        self.log_more_refusals(session, name);
        let Some(lines) = &mut self.lines.sessions else { return };
        let refused = summary.refused_4yz + summary.refused_5yz;
        let is_silent = matches!(session.no_proxy_header(), None | Some(NoProxyHeader::Silent));
        let seen = Seen {
            client: session.client().ip(),
            ended_by,
            brought_mail: summary.accepted > 0,
            // Both are for the operator to mend, so they are worth a line.
            said_nothing: summary.commands == 0
                && tls_failure.is_none()
                && session.no_proxy_header().is_none(),
            is_health_check: session.comes_from_a_front()
                && session.front().is_none()
                && summary.commands_of_use == 0
                && refused == 0
                && tls_failure.is_none()
                && is_silent,
            is_put_off: refused > 0 && refused == summary.refused_ours,
        };
        if !lines.grant(seen, self.turn.now) {
            return;
        }
        let took = self.turn.wall_clock.duration_since(accepted_at).unwrap_or_default();
        let record = self.log.session_record(&events::SESSION, self.turn.wall_clock).plain("session", name);
        let record = tell_client(record, session);
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
        let record = record
            .number("commands", u64::from(summary.commands))
            .number("accepted", u64::from(summary.accepted))
            .number("refused_4yz", u64::from(summary.refused_4yz))
            .number("refused_5yz", u64::from(summary.refused_5yz))
            .plain("ended_by", ended_by.name())
            .number("took_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        tell_score(record, score).end();
    }

    /// Tells how many refusals of a session that is over were too many to have lines.
    fn log_more_refusals(&mut self, session: &Session, name: SessionId) {
        let Some(lines) = &mut self.lines.refusals else { return };
        if let Some((reason, more)) = session.summary().refusals_more_ours {
            lines.count_ours(reason, more, self.turn.now);
        }
        let more = session.summary().refusals_more;
        if more > 0 && lines.grant_more(session.client().ip(), more, self.turn.now) {
            let record = self.log.session_record(&events::REFUSED_MORE, self.turn.wall_clock);
            let record = tell_client(record.plain("session", name), session);
            record.text("ehlo", session.ehlo_name()).number("more", u64::from(more)).end();
        }
    }
}

/// How a session ended.
pub(super) struct Ended {
    pub(super) name: SessionId,
    pub(super) accepted_at: SystemTime,
    pub(super) ended_by: EndedBy,
    pub(super) tls_failure: Option<Cause>,
}

/// What speaks for or against the client; nothing where nobody says anything.
fn tell_score<'a>(record: Record<'a>, score: Option<&Score>) -> Record<'a> {
    let Some(score) = score.filter(|score| !score.reasons().is_empty()) else { return record };
    let reasons: Vec<String> =
        score.reasons().iter().map(|reason| format!("{} {}", reason.weight, reason.name)).collect();
    record.plain("score", score.total()).texts("score_reasons", reasons.iter().map(String::as_bytes))
}

/// What content filters found; nothing where none was asked.
fn tell_filters<'a>(record: Record<'a>, filters: &[String]) -> Record<'a> {
    if filters.is_empty() { record } else { record.texts("filters", filters.iter().map(String::as_bytes)) }
}

/// Who the client is, and who speaks for it.
fn tell_client<'a>(record: Record<'a>, session: &Session) -> Record<'a> {
    let record = record.plain("client", session.client());
    match session.front() {
        Some(front) => record.plain("front", front),
        None => record,
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
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
