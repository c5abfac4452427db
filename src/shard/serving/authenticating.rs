//! Who vouches for the message under way. Its mail data is looked at while it comes, questions to the DNS go
//! out as soon as they are known, and the end of the mail data waits for their answers, not for ever.
//!
//! ```text
//!   DATA ──► SPF is asked ──► header section ends ──► keys and policies are asked ──► end of mail data
//!                                └─► forged results go                                 │ waits for answers,
//!                                   250, 4yz or 5yz ◄── sink ◄── verdict ◄─────────────┘ not for ever
//! ```

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use super::Serving;
use super::authenticated::{Authenticating, Forged, Looked};
use super::screening::FRUITLESS_MAX;
use crate::auth::header::Header;
use crate::auth::message::{Found, MessageCheck, Piece};
use crate::auth::report;
use crate::auth::results;
use crate::auth::rules::AuthRules;
use crate::auth::sender::Sender;
use crate::auth::verdict::{Applied, Circumstances, ReverseLookup, Verdict, decide};
use crate::buffer::MailData;
use crate::dns::Asking;
use crate::front::moment::Moment;
use crate::front::reverse_dns::ReverseDns;
use crate::front::score::Score;
use crate::mail::outcome::TryAgain;
use crate::metrics::AuthenticationMetrics;
use crate::ring::Ring;
use crate::shard::answers::Checked;
use crate::shard::context::{Context, Turn};
use crate::shard::draft::Draft;
use crate::shard::front_line::{FrontLine, denial_of_message};
use crate::smtp::denial::Denial;
use crate::smtp::question::Storing;
use crate::smtp::session::Session;
use crate::smtp::trace::Beginning;
use crate::timestamp;

/// A complete message waits no longer for answers, counted from the end of its header section.
const ANSWERS_WAIT_MAX: Duration = Duration::from_secs(5);

/// One whose mail data took longer than that waits so long for what was not known to be needed before.
const LATE_ANSWERS_WAIT: Duration = Duration::from_secs(1);

// While the mail data comes.
impl Serving {
    /// Mail data is about to come: what can be asked is asked before its first octet is there.
    pub(in crate::shard) fn foresee<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.front.auth.is_some() && self.session.is_in_data() {
            self.begin_to_authenticate(context);
        }
    }

    /// A message begins to be checked, unless that has begun, or none is.
    pub(super) fn begin_to_authenticate<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.authenticating.is_some() || self.front.auth.is_none() {
            return;
        }
        let Turn { checks, now, .. } = &context.turn;
        let (check, held) = (MessageCheck::new(), checks.begin());
        let new = Authenticating { check, held, asked_at: *now, waits_until: None };
        self.authenticating = Some(Box::new(new));
        self.ask_ahead(context);
    }

    /// Whether the header section goes on, and is to stay in memory until it can be read.
    pub(super) fn reads_header(&self) -> bool {
        self.authenticating.as_ref().is_some_and(|one| one.check.is_in_header()) && !self.draft.is_lost()
    }

    /// The header section cannot leave memory before it was read: it must not fill what others need. Where it
    /// would have to leave, the message is to come again.
    pub(super) fn hold_header<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.draft.presses(&context.parts, &context.pool) {
            self.lose_data(TryAgain::Overload.into(), context);
        }
    }

    /// Looks at mail data before it is kept.
    pub(super) fn look(
        &mut self,
        octets: &[u8],
        whole: &mut Vec<u8>,
        (now, wall_clock): (Instant, SystemTime),
    ) -> Looked {
        let Some(authenticating) = self.authenticating.as_deref_mut().filter(|_| !self.draft.is_lost())
        else {
            return Looked::Done;
        };
        let check = &mut authenticating.check;
        let header_bytes_max = self.front.auth.as_ref().map_or(0, |auth| auth.rules.header_bytes_max);
        let (header_bytes, body) = match check.look(octets) {
            Piece::Body => {
                check.take_body(octets);
                return Looked::Done;
            }
            Piece::HeaderEnds(at) => (at, octets.get(at..).unwrap_or_default()),
            Piece::Header if check.header_bytes() > header_bytes_max => (octets.len(), &b""[..]),
            Piece::Header => return Looked::Done,
        };
        let is_too_long = check.header_bytes() > header_bytes_max;
        fill(whole, &self.draft);
        whole.extend_from_slice(octets.get(..header_bytes).unwrap_or_default());
        // Text without a header section may be as long as it likes.
        if is_too_long && Beginning::of(std::iter::once(&**whole)) != Beginning::Text {
            return Looked::HeaderTooLong;
        }
        let kept = self.take_header(whole, wall_clock);
        if !self.note_header(now) {
            return Looked::NoRoom;
        }
        if let Some(one) = &mut self.authenticating {
            one.check.take_body(body);
        }
        Looked::HeaderEnded(kept)
    }

    /// The header section was taken: what it makes necessary is asked from now on. False where there is no
    /// room for what is kept of it.
    fn note_header(&mut self, now: Instant) -> bool {
        self.authenticating.as_mut().is_none_or(|one| {
            one.asked_at = now;
            one.held.raise_to(one.check.bytes())
        })
    }

    /// The header section is there as a whole; gives what is left of it without what is forged, if some of it
    /// is. That of text is empty, also of what is text only once the forged fields are gone.
    fn take_header(&mut self, whole: &[u8], wall_clock: SystemTime) -> Option<Forged> {
        let rules = rules_of(&self.front, self.is_authenticated())?;
        let is_text = |octets: &[u8]| Beginning::of(std::iter::once(octets)) == Beginning::Text;
        let header = Header::new(if is_text(whole) { b"" } else { whole });
        let keeps = rules.keeps_results_of(self.session.client().ip());
        let ranges = if keeps { Vec::new() } else { results::forged(&header, &rules.authserv_id) };
        let forged =
            (!ranges.is_empty()).then(|| Forged { kept: without(whole, &ranges), count: ranges.len() });
        let leaves_text = forged.as_ref().is_some_and(|forged| is_text(&forged.kept));
        let header = if leaves_text { Header::new(b"") } else { header };
        if let Some(authenticating) = &mut self.authenticating {
            authenticating.check.take_header(&header, rules, timestamp::seconds(wall_clock));
        }
        forged
    }

    /// Does what has to happen once mail data that was looked at is kept.
    pub(super) fn follow_up<R: Ring>(&mut self, looked: &Looked, context: &mut Context<R>) {
        match looked {
            Looked::Done => {}
            Looked::HeaderTooLong => self.lose_data(Denial::HEADER_TOO_LARGE, context),
            Looked::NoRoom => self.lose_data(TryAgain::Overload.into(), context),
            Looked::HeaderEnded(forged) => {
                self.cut(forged.as_ref(), context);
                self.ask_ahead(context);
            }
        }
    }

    /// Takes what is forged out of the header section. All of it is in memory still.
    fn cut<R: Ring>(&mut self, forged: Option<&Forged>, context: &mut Context<R>) {
        let Some(Forged { kept, count }) = forged.filter(|_| !self.draft.is_lost()) else { return };
        let Context { pool, turn, metrics, .. } = context;
        metrics.forged_results.add(*count as u64);
        let Some(message) = self.draft.message_mut() else { return };
        if message.data.replace_beginning(turn.header.len(), kept, pool).is_err() {
            self.lose_data(TryAgain::Overload.into(), context);
        }
    }

    /// Asks for what can be known to be needed. What it finds is looked for again at the end. Whoever begins
    /// message after message and ends none is asked about no more.
    fn ask_ahead<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.screening.as_ref().is_some_and(|screening| screening.fruitless > FRUITLESS_MAX) {
            return;
        }
        let Some(rules) = rules_of(&self.front, self.is_authenticated()).filter(|rules| rules.ask_dns())
        else {
            return;
        };
        let (Some(one), Some(reverse_path)) = (&mut self.authenticating, self.session.reverse_path()) else {
            return;
        };
        let sender = sender_of(&self.session, reverse_path, &context.turn);
        context.run_check(self.key, |asking| {
            one.check.ask_ahead(&sender, rules, asking);
            (!asking.misses_something()).then_some(())
        });
    }
}

// The end of the mail data.
impl Serving {
    /// The mail data is complete: the message goes on with its verdict, now or later.
    pub(super) fn authenticate<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.front.auth.is_none() || self.draft.is_lost() {
            self.authenticating = None;
            return self.pass_on(context);
        }
        self.begin_to_authenticate(context);
        // The header section of a message without a body ends only here.
        if self.authenticating.as_ref().is_some_and(|one| one.check.is_in_header()) {
            fill(&mut context.turn.header, &self.draft);
            let Turn { header, wall_clock, .. } = &context.turn;
            let forged = self.take_header(header, *wall_clock);
            self.cut(forged.as_ref(), context);
            if !self.note_header(context.turn.now) {
                self.lose_data(TryAgain::Overload.into(), context);
            }
        }
        if let Some(authenticating) = &mut self.authenticating {
            authenticating.check.finish();
        }
        self.judge(context);
    }

    /// Looks for the verdict with the answers that are there, and waits if some are not.
    fn judge<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.draft.is_lost() {
            // Nothing that could be found would help it.
            self.authenticating = None;
            return self.pass_on(context);
        }
        let (Some(rules), Some(one)) =
            (rules_of(&self.front, self.is_authenticated()), &mut self.authenticating)
        else {
            return self.pass_on(context);
        };
        let sender = sender_of(&self.session, self.draft.reverse_path(), &context.turn);
        let Context { answers, turn, .. } = context;
        let now = turn.now;
        let check = |asking: &mut Asking<'_>| {
            one.check.judge(&sender, rules, asking, &mut turn.keys).is_some().then_some(())
        };
        let (checked, must_ring) = answers.run_check(self.key.word(), now, check);
        context.ring_if(must_ring);
        if checked == Checked::Waits {
            let until = (one.asked_at + ANSWERS_WAIT_MAX).max(now + LATE_ANSWERS_WAIT);
            let until = *one.waits_until.get_or_insert(until);
            return self.session.wait_until(until, now);
        }
        self.conclude_check(context);
    }

    /// The time for answers is over: the verdict is found without those that are not there.
    fn judge_without_answers<R: Ring>(&mut self, context: &mut Context<R>) {
        if let (Some(rules), Some(one)) =
            (rules_of(&self.front, self.is_authenticated()), &mut self.authenticating)
        {
            let sender = sender_of(&self.session, self.draft.reverse_path(), &context.turn);
            let Context { answers, turn, .. } = context;
            let now = turn.now;
            answers.end_check(now, |asking| {
                let judged = one.check.judge(&sender, rules, asking, &mut turn.keys);
                debug_assert!(judged.is_some(), "every question has an answer now");
            });
        }
        self.conclude_check(context);
    }

    /// All is known that will be: writes it down, and passes the message on or refuses it.
    fn conclude_check<R: Ring>(&mut self, context: &mut Context<R>) {
        let circumstances = self.circumstances(context.turn.moment);
        let is_authenticated = self.is_authenticated();
        let (Some(rules), Some(one)) = (rules_of(&self.front, is_authenticated), self.authenticating.take())
        else {
            return self.pass_on(context);
        };
        let found = one.check.found();
        let verdict = if is_authenticated { decide(found, rules, circumstances) } else { Verdict::default() };
        let Some(message) = self.draft.message_mut() else { return self.pass_on(context) };
        // Their memory is used again, and what they tell is borrowed from the draft that they are in.
        let mut received = std::mem::take(&mut message.received);
        let mut results = std::mem::take(&mut message.authentication.results);
        let sender = sender_of(&self.session, self.draft.reverse_path(), &context.turn);
        let reverse = circumstances.reverse_lookup.filter(|_| is_authenticated);
        report::field(rules, &sender, found, reverse, verdict.applied, &mut received);
        if is_authenticated {
            report::json(&sender, found, verdict, &mut results);
        }
        let Some(message) = self.draft.message_mut() else { return self.pass_on(context) };
        message.received = received;
        message.authentication.results = results;
        if is_authenticated {
            message.authentication.is_suspicious = verdict.applied == Applied::Quarantine;
            let complete = message.log.times.map_or(context.turn.now, |times| times.complete);
            let waited = context.turn.now.saturating_duration_since(complete);
            count(found, verdict, waited, &context.metrics.authentication);
            context.log_verdict(&self.session, (self.name, message), found, verdict);
        }
        if let Some(refusal) = verdict.refusal {
            self.draft.lose(denial_of_message(refusal), &mut context.pool);
        }
        self.pass_on(context);
    }

    /// Whether the message is checked: nobody trusts its client.
    pub(super) fn is_authenticated(&self) -> bool {
        let ruling = self.screening.as_ref().and_then(|screening| screening.ruling.as_ref());
        self.is_checked && !ruling.is_some_and(|ruling| ruling.trusts_client)
    }

    /// What is known of the client besides.
    fn circumstances(&self, moment: Moment) -> Circumstances {
        let Some(screening) = &self.screening else {
            let is_proven = self.seat.as_ref().is_some_and(|seat| seat.is_proven(moment));
            return Circumstances { is_proven, ..Circumstances::default() };
        };
        Circumstances {
            is_listed: screening.score.as_ref().is_some_and(Score::is_suspicious),
            reverse_lookup: screening.reverse_name.as_ref().and_then(|name| match name {
                ReverseDns::Confirmed(_) => Some(ReverseLookup::Pass),
                ReverseDns::None => Some(ReverseLookup::Fail),
                ReverseDns::Failed => None,
            }),
            is_proven: screening.is_proven,
        }
    }

    /// Answers came, or their time is over: a message that waits for them may go on, one that is still coming
    /// may need more.
    pub(super) fn go_on_authenticating<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.authenticating.as_ref().map(|one| one.waits_until) {
            Some(Some(_)) if self.waits_for_verdict() => self.judge(context),
            Some(None) => self.ask_ahead(context),
            Some(Some(_)) | None => {}
        }
    }

    /// The message that waits for answers has waited long enough. False when none does.
    pub(super) fn end_wait_for_verdict<R: Ring>(&mut self, context: &mut Context<R>) -> bool {
        let waits = self.waits_for_verdict();
        if waits {
            self.judge_without_answers(context);
        }
        waits
    }

    /// Whether a complete message waits for answers.
    pub(super) fn waits_for_verdict(&self) -> bool {
        self.authenticating.as_ref().is_some_and(|one| one.waits_until.is_some())
            && self.session.asked::<Storing>().is_some()
    }
}

/// By what a message is checked, if it is: of a client that nobody checks only the fields are looked at.
fn rules_of(front: &FrontLine, is_checked: bool) -> Option<&AuthRules> {
    let auth = front.auth.as_ref()?;
    Some(if is_checked { &auth.rules } else { &auth.for_trusted })
}

fn sender_of<'a>(session: &'a Session, reverse_path: &'a [u8], turn: &Turn) -> Sender<'a> {
    Sender {
        client: session.client().ip(),
        ehlo: session.ehlo_name(),
        reverse_path,
        hostname: &session.settings().hostname,
        now: timestamp::seconds(turn.wall_clock),
    }
}

/// Fills this with the mail data of a message, all of which is in memory.
fn fill(header: &mut Vec<u8>, draft: &Draft) {
    header.clear();
    if let Some(Ok(whole)) = draft.data().map(MailData::whole) {
        whole.pieces().for_each(|piece| header.extend_from_slice(piece));
    }
}

/// Octets without these parts of them.
fn without(octets: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(octets.len());
    let mut at = 0;
    for range in ranges {
        kept.extend_from_slice(octets.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    kept.extend_from_slice(octets.get(at..).unwrap_or_default());
    kept
}

/// Counts what was found. Of a method that was not asked nothing is counted.
fn count(found: &Found, verdict: Verdict, waited: Duration, metrics: &AuthenticationMetrics) {
    if let Some(outcome) = found.spf() {
        metrics.count("spf", outcome.result.word());
    }
    if let Some(signatures) = &found.dkim {
        for signature in signatures {
            metrics.count("dkim", signature.result.word());
        }
        if signatures.is_empty() {
            metrics.count("dkim", "none");
        }
    }
    if let Some(result) = found.dmarc_word() {
        metrics.count("dmarc", result);
    }
    metrics.count("applied", verdict.applied.word());
    metrics.note_wait(waited);
}
