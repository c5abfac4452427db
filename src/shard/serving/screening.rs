//! The front line of a connection: who the client is, what lists say of it, and what all recipients of its
//! transaction are told. What is asked of the DNS is asked as soon as it is known to be needed, and waited
//! for at RCPT only.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Serving;
use super::screened::Screening;
use super::warnings::Warned;
use crate::front::checks::{Entry, Origin, Refusal, Ruling, Subject};
use crate::front::greylist::{self, Greeting};
use crate::front::reverse_dns::ReverseDns;
use crate::front::score::Score;
use crate::mail::envelope::{Envelope, Mailbox};
use crate::ring::Ring;
use crate::shard::answers::Checked;
use crate::shard::clients::{Seat, denial as denial_of_count};
use crate::shard::context::{Context, Turn};
use crate::shard::front_line::{denial, denial_of_client};
use crate::shard::governor::Class;
use crate::smtp::denial::Denial;
use crate::smtp::policy::Verdict;
use crate::smtp::question::{OpenQuestion, Recipient};

/// A recipient waits no longer for what the DNS says of its client and sender, counted from when it could be
/// asked for.
const ANSWERS_WAIT_MAX: Duration = Duration::from_secs(3);

/// A recipient that comes later than that waits so long for what was not known to be needed before.
const LATE_ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// Transactions of a session without a message stored for which the DNS is asked.
pub(super) const FRUITLESS_MAX: u8 = 16;

/// What the front line says to a recipient.
enum Said {
    /// Others are to be asked now.
    GoOn,
    /// It is refused.
    Denied(Denial),
    /// It waits.
    Waits,
}

// The client.
impl Serving {
    /// Begins the session of a TCP client, or turns it away. A front that connects for many clients is not
    /// checked: those that it speaks for are.
    pub(in crate::shard) fn begin<R: Ring>(&mut self, client: IpAddr, context: &mut Context<R>) {
        let let_in = if self.session.settings().gate.is_front(client) {
            self.go_unchecked();
            Ok(())
        } else {
            self.let_in(client, context)
        };
        match let_in {
            Ok(()) => _ = self.session.greet(&mut self.replies, context.turn.now),
            Err(why) => self.turn_away(why),
        }
    }

    /// Nobody checks or counts this client.
    pub(super) fn go_unchecked(&mut self) {
        self.screening = None;
        self.is_checked = false;
        self.warned = Warned::default();
        self.seat_client(None);
    }

    /// Whether this client is served, and with what checks.
    pub(super) fn let_in<R: Ring>(&mut self, client: IpAddr, context: &mut Context<R>) -> Result<(), Denial> {
        self.go_unchecked();
        if !self.session.settings().gate.takes(client) {
            return Err(Denial::CLIENT);
        }
        if self.front.checks.are_empty() {
            let seat = self.enter(client, context)?;
            self.is_checked = true;
            self.seat_client(seat);
            return Ok(());
        }
        match self.front.checks.enter(client) {
            Entry::Trusted => return Ok(()),
            Entry::Refused(refusal) => return Err(denial_of_client(refusal)),
            Entry::Served => {}
        }
        let seat = self.enter(client, context)?;
        let is_proven = seat.as_ref().is_some_and(|seat| seat.is_proven(context.turn.moment));
        self.is_checked = true;
        self.session.delay_greeting(self.front.checks.greeting_delay(is_proven));
        self.screening = Some(Box::new(Screening {
            is_proven,
            asked_as: context.answers.stand_in(client, context.turn.now),
            score: None,
            reverse_name: None,
            asked_at: context.turn.now,
            ruling: None,
            waits: None,
            waits_until: None,
            fruitless: 0,
        }));
        self.seat_client(seat);
        // Who is put off costs no questions.
        self.is_let_in(context)?;
        self.ask_reverse_name(client, context);
        self.find_score(context)?;
        self.is_let_in(context)
    }

    fn enter<R: Ring>(&mut self, client: IpAddr, context: &mut Context<R>) -> Result<Option<Seat>, Denial> {
        let mut warnings = Vec::new();
        let entered = context.clients.enter(client, context.turn.moment, |why| warnings.push(why));
        for why in warnings {
            self.warn(denial_of_count(why), context);
        }
        entered.map_err(|why| {
            context.metrics.connections_refused_client.add(1);
            denial_of_count(why)
        })
    }

    /// Whether the shard has a place for a client of this one's class. One that is put off is counted.
    fn is_let_in<R: Ring>(&self, context: &Context<R>) -> Result<(), Denial> {
        if self.class().is_none_or(|class| context.turn.governor.lets_in(class)) {
            return Ok(());
        }
        context.metrics.put_off.add(1);
        Err(Denial::OVERLOAD)
    }

    /// Whether a transaction of this client's class may begin. One that is put off is counted.
    pub(super) fn is_served<R: Ring>(&self, context: &Context<R>) -> bool {
        let is_served = self.class().is_none_or(|class| context.turn.governor.serves(class));
        if !is_served {
            context.metrics.put_off.add(1);
        }
        is_served
    }

    /// What is known of the client; none of one that is not checked.
    fn class(&self) -> Option<Class> {
        let screening = self.screening.as_ref()?;
        Some(match &screening.score {
            Some(score) if score.is_suspicious() => Class::Suspicious,
            Some(_) | None if screening.is_proven => Class::Proven,
            Some(_) | None => Class::Unknown,
        })
    }

    /// Asks ahead for the client's name by its address, which nothing waits for before RCPT.
    fn ask_reverse_name<R: Ring>(&mut self, client: IpAddr, context: &mut Context<R>) {
        let checks = &self.front.checks;
        let Some(screening) = &mut self.screening else { return };
        if screening.reverse_name.is_some() || !checks.uses_reverse_names() {
            return;
        }
        let checked = context.run_check(self.key, |asking| checks.look_back(client, asking));
        // What failed is looked for again.
        if let Checked::Done(found @ (ReverseDns::Confirmed(_) | ReverseDns::None)) = checked {
            screening.reverse_name = Some(found);
        }
    }

    /// What lists say of the client. An error when it is not to be greeted.
    fn find_score<R: Ring>(&mut self, context: &mut Context<R>) -> Result<(), Denial> {
        let Some(screening) = self.screening.as_mut().filter(|screening| screening.score.is_none()) else {
            return Ok(());
        };
        let (checks, client) = (&self.front.checks, screening.asked_as);
        let (now, mut news) = (context.turn.now, Vec::new());
        let checked = context.run_check(self.key, |asking| checks.score(client, asking, now, &mut news));
        context.tell_news(&news);
        let Checked::Done(score) = checked else { return Ok(()) };
        let dropped = checks.drops(&score);
        if score.total() < 0 {
            // Somebody speaks for it.
            self.session.delay_greeting(Duration::ZERO);
        }
        screening.score = Some(score);
        dropped.map_or(Ok(()), |refusal| Err(denial_of_client(refusal)))
    }

    /// What lists said of the client, for the log.
    pub(in crate::shard) fn score(&self) -> Option<&Score> {
        self.screening.as_ref()?.score.as_ref()
    }
}

// Its transactions.
impl Serving {
    /// A transaction begins: what it is refused for is not known, and what has to be asked is asked.
    pub(super) fn screen_transaction<R: Ring>(&mut self, context: &mut Context<R>) {
        let Some(screening) = &mut self.screening else { return };
        screening.ruling = None;
        screening.asked_at = context.turn.now;
        screening.fruitless = screening.fruitless.saturating_add(1);
        if screening.fruitless > FRUITLESS_MAX {
            // Each may ask about another domain.
            return self.rule_without_answers(context);
        }
        self.rule(context);
    }

    /// A message of the client was stored: it may go on asking for answers.
    pub(super) fn note_fruit(&mut self) {
        if let Some(screening) = &mut self.screening {
            screening.fruitless = 0;
        }
    }

    /// Tries to find out what all recipients are told.
    fn rule<R: Ring>(&mut self, context: &mut Context<R>) {
        let (front, now, mut news) = (Arc::clone(&self.front), context.turn.now, Vec::new());
        let Some(screening) = &self.screening else { return };
        let subject = self.subject(screening);
        let score = screening.score.as_ref();
        let checked =
            context.run_check(self.key, |asking| front.checks.judge(&subject, score, asking, now, &mut news));
        context.tell_news(&news);
        if let Checked::Done(ruling) = checked {
            self.take_ruling(ruling, context);
        }
    }

    /// The time for answers is over: what all recipients are told without them.
    fn rule_without_answers<R: Ring>(&mut self, context: &mut Context<R>) {
        let (front, now, mut news) = (Arc::clone(&self.front), context.turn.now, Vec::new());
        let Some(screening) = &self.screening else { return };
        let subject = self.subject(screening);
        let ruling = context.answers.end_check(now, |asking| {
            front.checks.judge(&subject, screening.score.as_ref(), asking, now, &mut news)
        });
        context.tell_news(&news);
        self.take_ruling(ruling.unwrap_or_default(), context);
    }

    fn subject(&self, screening: &Screening) -> Subject<'_> {
        Subject {
            client: self.session.client().ip(),
            asked_as: screening.asked_as,
            is_proven: screening.is_proven,
            ehlo: self.session.ehlo_name(),
            reverse_path: self.session.reverse_path().unwrap_or_default(),
        }
    }

    fn take_ruling<R: Ring>(&mut self, mut ruling: Ruling, context: &mut Context<R>) {
        let Some(screening) = &mut self.screening else { return };
        let (warnings, score) = (std::mem::take(&mut ruling.warnings), ruling.score.take());
        // Those that did not answer in time count nothing.
        screening.score = screening.score.take().or(score);
        if let (Some(Refusal::Listed(_)), Some(seat)) = (ruling.refusal, &self.seat) {
            seat.disgrace();
        }
        screening.ruling = Some(ruling);
        for warning in warnings {
            self.warn(denial(warning), context);
        }
    }

    /// Whether the front line lets the recipient pass that the session proposes. Where it does not know yet,
    /// the question is answered later.
    pub(super) fn screen_recipient<R: Ring>(
        &mut self,
        asked: OpenQuestion<Recipient>,
        context: &mut Context<R>,
    ) -> bool {
        match self.says(context) {
            Said::GoOn => true,
            Said::Denied(denial) => {
                self.resolve(asked, Verdict::Denied(denial), context);
                false
            }
            Said::Waits => {
                if let Some(screening) = &mut self.screening {
                    screening.waits = Some(asked.number());
                    let now = context.turn.now;
                    // Answers that come meanwhile do not prolong it.
                    let until = match screening.waits_until {
                        Some((number, until)) if number == asked.number() => until,
                        Some(_) | None => {
                            (screening.asked_at + ANSWERS_WAIT_MAX).max(now + LATE_ANSWERS_WAIT)
                        }
                    };
                    screening.waits_until = Some((asked.number(), until));
                    self.session.wait_until(until, now);
                }
                false
            }
        }
    }

    fn says<R: Ring>(&mut self, context: &mut Context<R>) -> Said {
        if self.screening.as_ref().is_some_and(|screening| screening.ruling.is_none()) {
            self.rule(context);
        }
        let Some(screening) = &self.screening else { return Said::GoOn };
        let Some(ruling) = &screening.ruling else { return Said::Waits };
        if let Some(refusal) = ruling.refusal {
            return Said::Denied(denial(refusal));
        }
        let reverse_path = self.session.reverse_path().unwrap_or_default();
        // Others verify our addresses with the null reverse-path: it waits for the end of the mail data.
        let recipient = self.session.proposed_recipient().filter(|_| !reverse_path.is_empty());
        let greeting = recipient.map(|recipient| self.greet(reverse_path, recipient, &context.turn));
        match greeting {
            Some(Greeting::ComeBack) if self.asks_to_come_back(context) => Said::Denied(Denial::GREYLISTED),
            Some(Greeting::Known | Greeting::ComeBack) | None => Said::GoOn,
        }
    }

    /// Whether a complete message is to come back later: one with the null reverse-path, whose recipients are
    /// greylisted, and all of them came for the first time.
    pub(super) fn is_greylisted<R: Ring>(&mut self, envelope: &Envelope, context: &mut Context<R>) -> bool {
        if self.screening.is_none() || !envelope.reverse_path().is_empty() {
            return false;
        }
        // Each is remembered, so that the next time all are known.
        let greet = |recipient| self.greet(b"", recipient, &context.turn) == Greeting::Known;
        let known = envelope.recipients().filter(|recipient| greet(*recipient)).count();
        known == 0 && self.asks_to_come_back(context)
    }

    /// What the greylist says of a recipient. Without a ruling that greylists it knows everybody.
    fn greet(&self, reverse_path: &[u8], recipient: Mailbox<'_>, turn: &Turn) -> Greeting {
        let (Some(origin), Some(greylist)) = (self.origin(), &self.front.greylist) else {
            return Greeting::Known;
        };
        greylist.greet(origin, reverse_path, recipient.whole, turn.wall_clock)
    }

    /// Under what the ruling greylists; none where it does not.
    fn origin(&self) -> Option<greylist::Origin<'_>> {
        let ruling = self.screening.as_ref().and_then(|screening| screening.ruling.as_ref());
        Some(match ruling?.greylist.as_ref()? {
            Origin::Domain(domain) => greylist::Origin::Domain(domain),
            Origin::Client(client) => greylist::Origin::Client(*client),
        })
    }

    /// Whether a complete message, which a filter would greylist, may go on: one of its recipients is known
    /// from before. Where nobody is greylisted all are.
    pub(super) fn came_before(&self, envelope: &Envelope, turn: &Turn) -> bool {
        let Some(greylist) = &self.front.greylist else { return true };
        let origin = self.origin().unwrap_or(greylist::Origin::Client(self.session.client().ip()));
        // Each is remembered, so that the next time all are known.
        let greet = |recipient: Mailbox<'_>| {
            greylist.greet(origin, envelope.reverse_path(), recipient.whole, turn.wall_clock)
        };
        let known = envelope.recipients().filter(|recipient| greet(*recipient) == Greeting::Known);
        known.count() > 0
    }

    /// Whether somebody who is greylisted is told so. Otherwise the log tells of it.
    fn asks_to_come_back<R: Ring>(&mut self, context: &mut Context<R>) -> bool {
        let only_warns = self.front.checks.greylist_warns();
        if only_warns {
            self.warn(Denial::GREYLISTED, context);
        }
        !only_warns
    }

    /// Answers of the DNS came that a check of this connection waits for, or their time is over.
    pub(in crate::shard) fn handle_answers<R: Ring>(&mut self, context: &mut Context<R>) {
        self.go_on_authenticating(context);
        if self.screening.is_none() {
            return;
        }
        self.ask_reverse_name(self.session.client().ip(), context);
        let waits_to_greet = self.session.waits_to_greet();
        if let Err(why) = self.find_score(context) {
            // Whoever was greeted has its recipients refused.
            if waits_to_greet {
                return self.turn_away(why);
            }
        }
        if waits_to_greet && self.score().is_some_and(|score| score.total() < 0) {
            self.session.end_delay(&mut self.replies, context.turn.now);
        }
        let is_open = |screening: &Screening| screening.ruling.is_none() && screening.waits.is_none();
        if self.session.reverse_path().is_some() && self.screening.as_deref().is_some_and(is_open) {
            self.rule(context);
        }
        self.answer_who_waits(context);
    }

    /// The recipient that waits has waited long enough. False when none does.
    pub(super) fn end_wait_for_answers<R: Ring>(&mut self, context: &mut Context<R>) -> bool {
        let waits = self.screening.as_ref().is_some_and(|screening| screening.waits.is_some())
            && self.session.asked::<Recipient>().is_some();
        if waits {
            self.rule_without_answers(context);
            self.answer_who_waits(context);
        }
        waits
    }

    fn answer_who_waits<R: Ring>(&mut self, context: &mut Context<R>) {
        let waits = self.screening.as_mut().and_then(|screening| screening.waits.take());
        let asked = self.session.asked::<Recipient>().filter(|asked| Some(asked.number()) == waits);
        let Some(asked) = asked else { return };
        // As with any answer that was awaited.
        match self.look_for_guesses(context) {
            Ok(()) => self.consider_recipient(asked, context),
            Err(denial) => _ = self.resolve(asked, Verdict::Denied(denial), context),
        }
    }
}
