//! A shard's way to ask the DNS, and what it knows from there.
//!
//! A check runs over the answers that are there ([`Answers::run_check`]). What it misses is sent to a lookup
//! thread, all of it at once, and the connection that waits is named when something of it came home: then the
//! check runs again from its start. Nothing here waits. What cannot be sent has failed at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dns::table::{ANSWER_WAIT_MAX, Answers as Table, Look, Waiter};
use crate::dns::{Answer, Asking, Failure, Question};
use crate::front::siblings::Siblings;
use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::lookup::{Answered, Asked};
use crate::metrics::{Counter, ShardMetrics};

/// One shard's questions and answers.
#[derive(Debug)]
pub struct Answers {
    shard: u16,
    /// To the lookup thread; none where nothing is configured that asks.
    to_lookup: Option<Sender<Asked>>,
    /// Without memory as long as nothing was asked.
    table: Table,
    siblings: Siblings,
    /// Who waits for what came home.
    woken: Vec<Waiter>,
    metrics: Arc<ShardMetrics>,
    /// Questions in a row that had no answer in time.
    silent: u32,
    /// When a question had an answer last.
    answered_at: Option<Instant>,
    /// As long as nobody answers, one question is sent from then on, and no other.
    asks_again_at: Option<Instant>,
}

/// So many questions in a row without an answer mean that nobody answers any, if that has lasted for a while.
const SILENT_MAX: u32 = 16;

/// So long there was no answer to anybody. A client may name as many domains as it likes whose name servers
/// are silent: their questions end together, between two answers to others, and must not keep those from
/// being asked about.
const SILENCE_MIN: Duration = ANSWER_WAIT_MAX;

/// Whether somebody answers again is tried after this.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<T> {
    /// It is over, with this result.
    Done(T),
    /// Answers are missing. The waiter is woken when some of them are there.
    Waits,
}

impl Answers {
    /// Those of this shard, which asks this lookup thread and counts so.
    pub fn new(shard: u16, to_lookup: Option<Sender<Asked>>, metrics: Arc<ShardMetrics>) -> Self {
        Self {
            shard,
            to_lookup,
            table: Table::default(),
            siblings: Siblings::default(),
            woken: Vec::new(),
            metrics,
            silent: 0,
            answered_at: None,
            asks_again_at: None,
        }
    }

    /// The answer, as far as it is known. Nothing is asked.
    pub fn known(&mut self, question: &Question, now: Instant) -> Option<Arc<Answer>> {
        self.table.known(question, now)
    }

    /// The answer, or none: then it is asked for, and the waiter is woken when it came, or when its time is
    /// over. A question that cannot be sent has failed ([`Failure::Overload`]), and that is not kept.
    pub fn look(
        &mut self,
        question: &Question,
        waiter: Waiter,
        now: Instant,
    ) -> (Option<Arc<Answer>>, MustRing) {
        if let Some(answer) = self.table.known(question, now) {
            return (Some(answer), None);
        }
        if !self.may_ask(now) {
            let answer = Arc::new(Answer::Failed(Failure::TimedOut));
            self.count(&answer);
            return (Some(answer), None);
        }
        match self.table.look(question, waiter, now) {
            Look::Waits => (None, None),
            Look::Ask(_) => {
                let asked = Asked { shard: self.shard, question: question.clone() };
                let sent = self.to_lookup.as_ref().map(|to_lookup| to_lookup.try_send(asked));
                if let Some(Ok(must_ring)) = sent {
                    self.metrics.dns_questions.add(1);
                    return (None, must_ring);
                }
                // Nobody else waits for what is out only now.
                let _ = self.table.cannot_ask(question);
                let answer = Arc::new(Answer::Failed(Failure::Overload));
                self.count(&answer);
                (Some(answer), None)
            }
            // Too many are out.
            Look::Known(answer) => {
                self.count(&answer);
                (Some(answer), None)
            }
        }
    }

    /// Runs a check over the answers that are there, and asks for all that it misses. `check` gives none only
    /// if something is missing. Whoever waits runs the same check again when it is woken.
    pub fn run_check<T>(
        &mut self,
        waiter: Waiter,
        now: Instant,
        mut check: impl FnMut(&mut Asking<'_>) -> Option<T>,
    ) -> (Checked<T>, MustRing) {
        let mut must_ring = None;
        // What could not be sent, for this run only.
        let mut failed: Vec<(Question, Arc<Answer>)> = Vec::new();
        loop {
            let mut known = |question: &Question| {
                let of_this_run = failed.iter().find(|(one, _)| one == question);
                of_this_run.map(|(_, answer)| Arc::clone(answer)).or_else(|| self.table.known(question, now))
            };
            let mut asking = Asking::new(&mut known);
            if let Some(result) = check(&mut asking) {
                return (Checked::Done(result), must_ring);
            }
            let (missing, failed_before) = (asking.missing(), failed.len());
            debug_assert!(!missing.is_empty(), "a check that waits for nothing would wait for ever");
            for question in missing {
                let (answer, ring) = self.look(&question, waiter, now);
                must_ring = must_ring.or(ring);
                failed.extend(answer.map(|answer| (question, answer)));
            }
            if failed.len() == failed_before {
                return (Checked::Waits, must_ring);
            }
        }
    }

    /// Runs a check whose time is over: what is missing has failed ([`Failure::TimedOut`]), and nothing is
    /// asked. Gives what `check` gives.
    pub fn end_check<T>(&mut self, now: Instant, check: impl FnOnce(&mut Asking<'_>) -> T) -> T {
        let timed_out = Arc::new(Answer::Failed(Failure::TimedOut));
        let mut known = |question: &Question| {
            Some(self.table.known(question, now).unwrap_or_else(|| Arc::clone(&timed_out)))
        };
        check(&mut Asking::new(&mut known))
    }

    /// Whom to ask lists about for this client.
    pub fn stand_in(&mut self, client: IpAddr, now: Instant) -> IpAddr {
        self.siblings.stand_in(client, now)
    }

    /// Whether there is anybody who answers. Where nobody does, a question a second finds out when somebody
    /// does again, and no client waits for the others.
    fn may_ask(&mut self, now: Instant) -> bool {
        match self.asks_again_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                self.asks_again_at = Some(now + TRY_EVERY);
                true
            }
        }
    }

    /// Whether a question had an answer of any kind in time.
    fn note_answered(&mut self, is_answered: bool, now: Instant) {
        if is_answered {
            (self.silent, self.answered_at, self.asks_again_at) = (0, Some(now), None);
            return;
        }
        self.silent = self.silent.saturating_add(1);
        let has_lasted = self.answered_at.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE_MIN);
        if self.silent >= SILENT_MAX && has_lasted {
            self.asks_again_at.get_or_insert(now + TRY_EVERY);
        }
    }

    /// An answer came home.
    pub fn handle_answer(&mut self, answered: Answered, now: Instant) {
        let Answered { question, answer, lifetime } = answered;
        // One that came too late was counted when its time was over.
        if let Some(asked_at) = self.table.asked_at(&question) {
            self.metrics.dns_duration.add_duration(now.saturating_duration_since(asked_at));
            self.count(&answer);
        }
        self.note_answered(*answer != Answer::Failed(Failure::TimedOut), now);
        self.woken.extend(self.table.arrive(question, answer, lifetime, now));
    }

    /// Ends the wait for answers that are overdue, and gives everybody whose check is to be run again, each
    /// once. Whoever calls gives the memory back by [`Answers::give_back`].
    pub fn take_woken(&mut self, now: Instant) -> Vec<Waiter> {
        while let Some(waiters) = self.table.next_overdue(now) {
            self.metrics.dns_answers_timed_out.add(1);
            self.note_answered(false, now);
            self.woken.extend(waiters);
        }
        self.woken.sort_unstable();
        self.woken.dedup();
        std::mem::take(&mut self.woken)
    }

    /// Memory for the next who are woken.
    pub fn give_back(&mut self, mut woken: Vec<Waiter>) {
        woken.clear();
        self.woken = woken;
    }

    /// How long until an answer is overdue; none while nothing is out.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.table.next_deadline().map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Tells what is out and what is kept.
    pub fn update_gauges(&self) {
        self.metrics.dns_questions_out.set(self.table.out() as u64);
        self.metrics.dns_answer_bytes.set(self.table.bytes() as u64);
    }

    fn count(&self, answer: &Answer) {
        outcome(&self.metrics, answer).add(1);
    }
}

fn outcome<'a>(metrics: &'a ShardMetrics, answer: &Answer) -> &'a Counter {
    match answer {
        Answer::Records(_) => &metrics.dns_answers_records,
        Answer::NoRecords => &metrics.dns_answers_no_records,
        Answer::NoName => &metrics.dns_answers_no_name,
        Answer::Failed(Failure::Server) => &metrics.dns_answers_server_failure,
        Answer::Failed(Failure::TimedOut) => &metrics.dns_answers_timed_out,
        Answer::Failed(Failure::Unusable) => &metrics.dns_answers_unusable,
        Answer::Failed(Failure::Overload) => &metrics.dns_answers_overload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Name};
    use crate::handoff::channel::{Consumer, Receiver};

    fn question(name: &str) -> Question {
        Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
    }

    /// A shard's answers, and what it asks.
    fn answers(room: usize) -> (Answers, Receiver<Asked>) {
        let (to_lookup, asked) = Consumer::new().expect("eventfd").channel(room);
        (Answers::new(3, Some(to_lookup), Arc::default()), asked)
    }

    /// Needs the first two, and asks the third ahead.
    fn check(asking: &mut Asking<'_>) -> Option<Vec<Answer>> {
        let asked = ["a.test", "b.test", "c.test"].map(|name| asking.ask(&question(name)));
        asked.into_iter().take(2).map(|answer| answer.map(|answer| (*answer).clone())).collect()
    }

    fn arrive(answers: &mut Answers, name: &str, answer: Answer, now: Instant) -> Vec<Waiter> {
        let (question, lifetime) = (question(name), Duration::from_mins(1));
        answers.handle_answer(Answered { question, answer: Arc::new(answer), lifetime }, now);
        answers.take_woken(now)
    }

    fn names(asked: &Receiver<Asked>) -> Vec<String> {
        std::iter::from_fn(|| asked.next()).map(|asked| asked.question.name.to_string()).collect()
    }

    #[test]
    fn a_check_asks_all_that_it_misses_once_and_runs_again_when_something_came() {
        let ((mut answers, asked), now) = (answers(8), Instant::now());
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        assert_eq!(names(&asked), ["a.test", "b.test", "c.test"]);
        assert_eq!(arrive(&mut answers, "b.test", Answer::NoName, now), [7]);
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        assert_eq!(arrive(&mut answers, "a.test", Answer::NoRecords, now), [7]);
        let result = Checked::Done(vec![Answer::NoRecords, Answer::NoName]);
        assert_eq!(answers.run_check(7, now, check).0, result);
        assert!(names(&asked).is_empty() && answers.table.out() == 1, "what is out is not asked again");
    }

    #[test]
    fn who_waits_for_several_answers_of_a_turn_is_woken_once() {
        let ((mut answers, _asked), now) = (answers(8), Instant::now());
        for waiter in [9, 7] {
            assert_eq!(answers.run_check(waiter, now, check).0, Checked::Waits);
        }
        for name in ["a.test", "b.test", "c.test"] {
            let (question, lifetime) = (question(name), Duration::from_mins(1));
            let answer = Arc::new(Answer::NoName);
            answers.handle_answer(Answered { question, answer, lifetime }, now);
        }
        assert_eq!(answers.take_woken(now), [7, 9]);
        assert!(answers.take_woken(now).is_empty());
    }

    #[test]
    fn what_cannot_be_sent_has_failed_at_once_and_is_asked_by_the_next() {
        let overload = || Answer::Failed(Failure::Overload);
        let ((mut answers, asked), now) = (answers(1), Instant::now());
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits, "one had room");
        assert_eq!(arrive(&mut answers, "a.test", Answer::NoName, now), [7]);
        let result = Checked::Done(vec![Answer::NoName, overload()]);
        assert_eq!(answers.run_check(7, now, check).0, result, "the room is not free again");
        assert_eq!(names(&asked), ["a.test"]);
        assert_eq!(answers.run_check(8, now, check).0, Checked::Waits);
        assert_eq!(names(&asked), ["b.test"]);
        let mut nobody = Answers::new(3, None, Arc::default());
        assert_eq!(nobody.run_check(7, now, check).0, Checked::Done(vec![overload(), overload()]));
        assert_eq!((nobody.table.out(), nobody.table.bytes(), nobody.due_in(now)), (0, 0, None));
    }

    #[test]
    fn where_nobody_answers_one_question_a_second_is_asked_until_somebody_does() {
        let ((mut answers, asked), mut now) = (answers(64), Instant::now());
        let timed_out = || Arc::new(Answer::Failed(Failure::TimedOut));
        for number in 0..SILENT_MAX {
            let name = format!("{number}.test");
            assert!(answers.look(&question(&name), 7, now).0.is_none(), "{number}");
            let answered =
                Answered { question: question(&name), answer: timed_out(), lifetime: Duration::ZERO };
            answers.handle_answer(answered, now);
        }
        assert_eq!(names(&asked).len(), SILENT_MAX as usize);
        assert_eq!(answers.look(&question("a.test"), 7, now).0, Some(timed_out()));
        assert!(names(&asked).is_empty());
        now += TRY_EVERY;
        assert!(answers.look(&question("a.test"), 7, now).0.is_none(), "one finds out");
        assert_eq!(answers.look(&question("b.test"), 7, now).0, Some(timed_out()));
        arrive(&mut answers, "a.test", Answer::NoName, now);
        assert!(answers.look(&question("b.test"), 7, now).0.is_none());
        assert_eq!(names(&asked), ["a.test", "b.test"]);
    }

    #[test]
    fn many_domains_that_are_silent_keep_nobody_else_from_being_asked_about() {
        let ((mut answers, asked), mut now) = (answers(256), Instant::now());
        let timed_out = || Arc::new(Answer::Failed(Failure::TimedOut));
        let is_silent = |answers: &mut Answers, round: u32, now| {
            for number in 0..2 * SILENT_MAX {
                let name = format!("{round}.{number}.test");
                answers.look(&question(&name), 7, now);
                let (question, lifetime) = (question(&name), Duration::ZERO);
                answers.handle_answer(Answered { question, answer: timed_out(), lifetime }, now);
            }
            answers.look(&question("other.test"), 7, now).0.is_some()
        };
        arrive(&mut answers, "a.test", Answer::NoName, now);
        now += SILENCE_MIN - Duration::from_millis(1);
        assert!(!is_silent(&mut answers, 0, now), "others were answered a moment ago");
        assert_eq!(names(&asked).last().map(String::as_str), Some("other.test"));
        now += Duration::from_millis(1);
        assert!(is_silent(&mut answers, 1, now));
    }

    #[test]
    fn a_lost_answer_wakes_who_waits_when_its_time_is_over() {
        let ((mut answers, _asked), now) = (answers(8), Instant::now());
        assert_eq!(answers.due_in(now), None);
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        assert_eq!(answers.due_in(now), Some(ANSWER_WAIT_MAX));
        assert!(answers.take_woken(now).is_empty());
        let late = now + ANSWER_WAIT_MAX;
        assert_eq!(answers.take_woken(late), [7]);
        let failed = || Answer::Failed(Failure::TimedOut);
        assert_eq!(answers.run_check(7, late, check).0, Checked::Done(vec![failed(), failed()]));
        assert_eq!((answers.due_in(late), answers.table.out()), (None, 0));
    }

    #[test]
    fn a_check_whose_time_is_over_ends_with_what_is_known_and_asks_nothing() {
        let ((mut answers, asked), now) = (answers(8), Instant::now());
        arrive(&mut answers, "a.test", Answer::NoRecords, now);
        let failed = Answer::Failed(Failure::TimedOut);
        assert_eq!(answers.end_check(now, check), Some(vec![Answer::NoRecords, failed]));
        assert!(names(&asked).is_empty());
        assert_eq!(answers.known(&question("b.test"), now), None, "that is not kept");
    }

    #[test]
    fn each_question_is_counted_once_and_so_is_what_became_of_it() {
        let ((mut answers, _asked), now) = (answers(2), Instant::now());
        let metrics = Arc::clone(&answers.metrics);
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        answers.update_gauges();
        let read = || metrics.read();
        assert_eq!((read().dns_questions, read().dns_answers_overload, read().dns_questions_out), (2, 1, 2));
        let later = now + Duration::from_millis(20);
        arrive(&mut answers, "a.test", Answer::NoRecords, later);
        arrive(&mut answers, "b.test", Answer::NoName, now + ANSWER_WAIT_MAX);
        let values = read();
        assert_eq!((values.dns_answers_no_records, values.dns_answers_no_name), (1, 1));
        assert_eq!((values.dns_duration.count(), values.dns_answers_timed_out), (2, 0));
        assert_eq!(
            answers.run_check(7, now, check).0,
            Checked::Done(vec![Answer::NoRecords, Answer::NoName])
        );
        answers.update_gauges();
        assert!(read().dns_answer_bytes > 0 && read().dns_questions_out == 0);
    }
}
