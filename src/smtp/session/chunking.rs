//! BDAT in a session (RFC 3030 §2): a chunk is received, or passed over and refused; the last one delivers.
//!
//! A refused chunk ends the transaction: whatever belongs to one is `503` from there on, until MAIL begins
//! another.

use std::time::Instant;

use super::handled::Handled;
use super::state::{ChunkState, State};
use super::{Session, Step};
use crate::limits::{CHUNK_BYTES_LITTLE, OVERSIZE_FACTOR};
use crate::mail::envelope::BodyType;
use crate::smtp::chunk::{self, Announced, AnnouncedError, ChunkedData, InChunk};
use crate::smtp::data_watch::DataWatch;
use crate::smtp::extension::Extension;
use crate::smtp::input::Input;
use crate::smtp::message_clock::MessageClock;
use crate::smtp::refusals::Address;
use crate::smtp::reply::{self, Reply, ReplyBuffer};
use crate::smtp::settings::{ChunkLineEnd, NulPolicy};
use crate::smtp::size_limit::SizeLimit;
use crate::smtp::transaction::Transaction;

impl Session {
    /// BDAT. Whatever is said of it, its octets are no commands: where it cannot be known how many there are,
    /// or there are far too many to be passed over, the session is closed.
    pub(super) fn handle_bdat(&mut self, argument: &[u8], now: Instant) -> Handled {
        let (Announced { octets, last }, mut refusal) = match chunk::parse(argument) {
            Ok(announced) => (announced, None),
            Err(AnnouncedError::Keyword(octets)) => {
                (Announced { octets, last: false }, Some(reply::BAD_CHUNK_KEYWORD))
            }
            Err(AnnouncedError::Size) => return Handled::Close(reply::BAD_CHUNK_SIZE),
        };
        let before = self.chunked().map_or(0, |data| data.bytes());
        let total = before.saturating_add(octets);
        if total > self.settings.limits.message_size_max.saturating_mul(OVERSIZE_FACTOR) {
            return Handled::Close(reply::TOO_LARGE);
        }
        if octets < CHUNK_BYTES_LITTLE && !last && !self.may_be_idle() {
            return Handled::Close(reply::TOO_MANY_IDLE_COMMANDS);
        }
        let limit = match &self.transaction {
            Some(transaction) => transaction.size_limit(&self.settings),
            None => SizeLimit::of(&self.settings, 1),
        };
        let too_large = (total > limit.most).then_some(limit.reply);
        refusal = self.out_of_sequence().or(refusal).or(too_large);
        let mut clock = None;
        if let Some(transaction) = &mut self.transaction {
            clock = transaction.clock.take();
            if refusal.is_none() && transaction.chunked.is_none() {
                let is_binary = transaction.envelope.body == BodyType::BinaryMime;
                // What looks like a line end in BINARYMIME is not one (RFC 3030 §3).
                let policy = if is_binary { ChunkLineEnd::Keep } else { self.settings.bdat_bare_lf };
                let limits = &self.settings.limits;
                let line_bytes_max = if is_binary { 0 } else { limits.data_line_bytes_max };
                let watch = DataWatch::new(limits.received_max, line_bytes_max);
                transaction.chunked = Some(ChunkedData::new(policy, watch));
            }
        }
        let clock = clock.unwrap_or_else(|| {
            self.data_at = now;
            MessageClock::new(now)
        });
        let left = octets;
        self.state = State::Chunk(ChunkState { left, last, limit, clock, refusal: None, refused: None });
        self.wait_for_mail_data(now);
        if let Some(refusal) = refusal {
            self.refuse_chunk(refusal);
        }
        Handled::Replied
    }

    /// Why a chunk may not come now, if so.
    fn out_of_sequence(&self) -> Option<Reply> {
        if !self.offered().offers(Extension::Chunking) {
            return Some(reply::NOT_IMPLEMENTED);
        }
        let Some(transaction) = &self.transaction else { return Some(reply::MAIL_FIRST) };
        (!transaction.has_recipients()).then_some(reply::NO_RECIPIENTS)
    }

    /// The mail data in chunks of the transaction, once the first one was accepted.
    fn chunked(&mut self) -> Option<&mut ChunkedData> {
        self.transaction.as_mut()?.chunked.as_mut()
    }

    /// The chunk under way is refused, and with it the transaction. The first reason stands.
    pub(super) fn refuse_chunk(&mut self, why: Reply) {
        if let State::Chunk(chunk) = &mut self.state {
            chunk.refusal.get_or_insert(why);
            if let Some(transaction) = self.transaction.take() {
                self.must_discard |= transaction.chunked.is_some();
                chunk.refused = Some(transaction.envelope);
            }
        }
    }

    /// Takes what has come of the chunk.
    pub(super) fn advance_chunk(
        &mut self,
        input: &mut Input<'_>,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Option<Step> {
        let State::Chunk(state) = &mut self.state else { return None };
        let start = input.position;
        let data = self.transaction.as_mut().and_then(|transaction| transaction.chunked.as_mut());
        let found = if let Some(data) = data.filter(|_| state.refusal.is_none()) {
            let found = data.advance(input, &mut state.left);
            found.or_else(|| {
                if state.left == 0 && state.last { data.finish(&mut input.supplies.run) } else { None }
            })
        } else {
            state.pass_over(input);
            None
        };
        let (all, limit) = (state.left == 0, state.limit);
        let sent = input.bytes.get(start..input.position).unwrap_or_default();
        let nul = self.settings.nul == NulPolicy::Reject && memchr::memchr(0, sent).is_some();
        state.clock.take(sent.len() as u64);
        // Inserted octets count, too, so the announced size alone does not tell.
        let bytes = self.chunked().map_or(0, |data| data.bytes());
        let octets = match &found {
            Some(InChunk::Data(range)) => input.bytes.get(range.clone()).unwrap_or_default(),
            Some(InChunk::Insert) => input.supplies.run.octets(),
            Some(InChunk::Bare) | None => b"",
        };
        let mut steps = 0;
        let too_much = self.chunked().and_then(|data| data.watch.take(octets, &mut steps));
        input.steps += steps;
        if let Some(too_much) = too_much {
            self.refuse_chunk(too_much.reply());
            return None;
        }
        if nul {
            self.refuse_chunk(reply::NUL_IN_DATA);
            return None;
        }
        match found {
            Some(InChunk::Bare) => {
                self.refuse_chunk(reply::BARE_LINE_END_IN_DATA);
                None
            }
            Some(InChunk::Data(_) | InChunk::Insert) if bytes > limit.most => {
                self.refuse_chunk(limit.reply);
                None
            }
            Some(InChunk::Data(range)) => Some(Step::Data(range)),
            Some(InChunk::Insert) => Some(Step::Insert),
            None => {
                self.earn_time(now);
                if all { self.end_chunk(replies, now) } else { Some(Step::NeedInput) }
            }
        }
    }

    /// All octets of the chunk have come. None: go on with what the client sent after it.
    fn end_chunk(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Option<Step> {
        let State::Chunk(state) = std::mem::replace(&mut self.state, State::Command) else { return None };
        if let Some(refusal) = state.refusal {
            let address = state.refused.as_deref().map_or(Address::Transaction, Address::Envelope);
            self.note(refusal, address, replies);
            let open = self.reply_noted(refusal, replies);
            let step = if open { self.end_transaction(replies, now) } else { Step::Close };
            return matches!(step, Step::Close).then_some(step);
        }
        if !state.last {
            // Received, and no more: only the reply to the last chunk promises anything (RFC 3030 §2).
            self.reply(reply::CHUNK_OK, replies);
            if let Some(transaction) = &mut self.transaction {
                transaction.clock = Some(state.clock);
            }
            self.wait_for_command(now);
            return None;
        }
        // A last chunk that is not refused has a transaction.
        let Transaction { mut envelope, chunked, .. } = self.transaction.take()?;
        envelope.bare_line_ends = chunked.is_some_and(|data| data.has_bare_line_ends());
        Some(self.deliver(envelope, now))
    }
}
