//! DATA in a session: mail data is handed on piece by piece to its end, or refused there (RFC 5321 §4.1.1.4).
//!
//! A refusal is said only where the mail data ends, so the rest is read and dropped; but not without a bound.

use std::time::Instant;

use super::state::{DataState, State};
use super::{Session, Step};
use crate::limits::OVERSIZE_FACTOR;
use crate::mail::envelope::BodyType;
use crate::smtp::data_watch::{DataWatch, TooMuch};
use crate::smtp::input::Input;
use crate::smtp::mail_data::{InMailData, MailData};
use crate::smtp::message_clock::MessageClock;
use crate::smtp::nul_watch::NulWatch;
use crate::smtp::reply::{self, Reply, ReplyBuffer};

impl Session {
    /// DATA (RFC 5321 §4.1.1.4): one good recipient is enough.
    pub(super) fn handle_data(&mut self, now: Instant) -> Reply {
        let Some(transaction) = &mut self.transaction else { return reply::MAIL_FIRST };
        if transaction.chunked.is_some() {
            return reply::CHUNKS_BEGUN;
        }
        // RFC 3030 §3: octets that are no lines cannot be told from the end of mail data.
        if transaction.envelope.body == BodyType::BinaryMime {
            return reply::DATA_FOR_BINARY;
        }
        if !transaction.has_recipients() {
            return reply::NO_RECIPIENTS;
        }
        let limits = &self.settings.limits;
        self.state = State::Data(DataState {
            data: MailData::new(self.settings.bare_lf, self.settings.bare_cr),
            watch: DataWatch::new(limits.received_max, limits.data_line_bytes_max),
            nul: NulWatch::new(self.settings.nul),
            bytes: 0,
            limit: transaction.size_limit(&self.settings),
            refusal: None,
        });
        transaction.clock = Some(MessageClock::new(now));
        self.data_at = now;
        self.wait_for_mail_data(now);
        reply::START_MAIL_DATA
    }

    /// Hands on the next piece of the mail data, or what else becomes of it.
    pub(super) fn advance_data(
        &mut self,
        input: &mut Input<'_>,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Option<Step> {
        let State::Data(state) = &mut self.state else { return None };
        let start = input.position;
        let found = state.data.advance(input);
        let added = match &found {
            InMailData::Data(range) => range.len(),
            InMailData::Insert => input.supplies.run.octets().len(),
            InMailData::Bare | InMailData::End | InMailData::NeedInput => 0,
        };
        let consumed = (input.position - start) as u64;
        let refused_before = state.refusal.is_some();
        // Of what is refused every octet counts: only the end is looked for.
        state.bytes += if refused_before { consumed } else { added as u64 };
        if !refused_before {
            let octets = match &found {
                InMailData::Data(range) => input.bytes.get(range.clone()).unwrap_or_default(),
                InMailData::Insert => input.supplies.run.octets(),
                InMailData::Bare | InMailData::End | InMailData::NeedInput => b"",
            };
            let mut steps = 0;
            state.refusal = state.watch.take(octets, &mut steps).map(TooMuch::reply);
            let sent = input.bytes.get(start..input.position).unwrap_or_default();
            let is_refused = state.nul.take(sent, matches!(found, InMailData::Data(_)), &mut steps);
            input.steps += steps;
            if is_refused {
                state.refusal.get_or_insert(reply::NUL_IN_DATA);
            }
        }
        if state.bytes > state.limit.most {
            state.refusal.get_or_insert(state.limit.reply);
        }
        if found == InMailData::Bare {
            state.refusal.get_or_insert(reply::BARE_LINE_END_IN_DATA);
        }
        if state.refusal.is_some() {
            state.data.refuse();
        }
        let is_endless = state.bytes > self.settings.limits.message_size_max.saturating_mul(OVERSIZE_FACTOR);
        if let Some(clock) = self.transaction.as_mut().and_then(|transaction| transaction.clock.as_mut()) {
            clock.take(consumed);
        }
        if is_endless {
            return Some(self.close_with(reply::ENDLESS, replies));
        }
        match found {
            InMailData::End => self.end_data(replies, now),
            InMailData::NeedInput => {
                self.earn_time(now);
                Some(Step::NeedInput)
            }
            InMailData::Bare => (!refused_before).then_some(Step::Discard),
            InMailData::Data(_) | InMailData::Insert if state.refusal.is_some() => {
                (!refused_before).then_some(Step::Discard)
            }
            InMailData::Data(range) => Some(Step::Data(range)),
            InMailData::Insert => Some(Step::Insert),
        }
    }

    /// The end of the mail data. None: go on with what the client sent after it.
    fn end_data(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Option<Step> {
        let State::Data(state) = std::mem::replace(&mut self.state, State::Command) else {
            return None;
        };
        self.step = "MAIL-DATA";
        match (state.refusal, self.transaction.take()) {
            (None, Some(transaction)) => Some(self.deliver(transaction.envelope, now)),
            (refusal, transaction) => {
                // It is refused as one of this transaction.
                self.transaction = transaction;
                let open = self.reply(refusal.unwrap_or(reply::LOCAL_TROUBLE), replies);
                let step = if open { self.end_transaction(replies, now) } else { Step::Close };
                matches!(step, Step::Close).then_some(step)
            }
        }
    }
}
