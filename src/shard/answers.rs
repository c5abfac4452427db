//! A shard's way to ask the DNS, and what it knows from there.
//!
//! A check runs over the answers that are there ([`Answers::run_check`]). What it misses is sent to a lookup
//! thread, all of it at once, and the connection that waits is named when something of it came home: then the
//! check runs again from its start. Nothing here waits. What cannot be sent has failed at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::liveness::Liveness;
use crate::dns::table::{Answers as Table, Look, Waiter};
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
    liveness: Liveness,
}

/// A question that is out for less than this says nothing of whom it is asked.
const SILENCE_MIN: Duration = Duration::from_secs(2);

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
            liveness: Liveness::default(),
        }
    }

    /// The answer, as far as it is known. Nothing is asked.
    pub fn known(&mut self, question: &Question, now: Instant) -> Option<Arc<Answer>> {
        self.table.known(question, now)
    }

    /// The answer, or none: then it is asked for, and the waiter is woken when it came, or when its time is
    /// over. A question that cannot be sent has failed ([`Failure::Overload`]), and that is not kept. One
    /// that failed before has failed until another answer comes, so that nobody waits twice for a dead
    /// server.
    pub fn look(
        &mut self,
        question: &Question,
        waiter: Waiter,
        now: Instant,
    ) -> (Option<Arc<Answer>>, MustRing) {
        if let Some(answer) = self.table.known(question, now) {
            return (Some(answer), None);
        }
        // Whoever is to be rung is to be rung whatever becomes of the question.
        let probe_ring = self.probe(now);
        if self.liveness.is_dead() {
            // It was not asked, which says nothing of whom it would have been asked.
            let answer = Arc::new(Answer::Failed(Failure::Overload));
            self.count(&answer);
            return (Some(answer), probe_ring);
        }
        let before = self.table.last_failure(question);
        match self.table.look(question, waiter, now) {
            Look::Waits => (before, probe_ring),
            Look::Ask(_) => {
                let asked = Asked { shard: self.shard, question: question.clone() };
                let sent = self.to_lookup.as_ref().map(|to_lookup| to_lookup.try_send(asked));
                if let Some(Ok(must_ring)) = sent {
                    self.metrics.dns_questions.add(1);
                    return (before, must_ring.or(probe_ring));
                }
                // Nobody else waits for what is out only now.
                let _ = self.table.cannot_ask(question);
                let answer = Arc::new(Answer::Failed(Failure::Overload));
                self.count(&answer);
                (Some(answer), probe_ring)
            }
            // Too many are out.
            Look::Known(answer) => {
                self.count(&answer);
                (Some(answer), probe_ring)
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

    /// Runs a check whose time is over: what is missing has failed ([`Failure::TimedOut`], or
    /// [`Failure::Overload`] where it was not asked, or only just now), and nothing is asked. Gives what
    /// `check` gives.
    pub fn end_check<T>(&mut self, now: Instant, check: impl FnOnce(&mut Asking<'_>) -> T) -> T {
        let mut known = |question: &Question| {
            let since = self.table.asked_at(question).map(|asked_at| now.saturating_duration_since(asked_at));
            // Who was asked just now has not been silent.
            let was_silent = since.is_some_and(|since| since >= SILENCE_MIN);
            let failure = if was_silent { Failure::TimedOut } else { Failure::Overload };
            Some(self.table.known(question, now).unwrap_or_else(|| Arc::new(Answer::Failed(failure))))
        };
        check(&mut Asking::new(&mut known))
    }

    /// Whom to ask lists about for this client.
    pub fn stand_in(&mut self, client: IpAddr, now: Instant) -> IpAddr {
        self.siblings.stand_in(client, now)
    }

    /// Asks whether anybody answers, where that is in doubt.
    fn probe(&mut self, now: Instant) -> MustRing {
        let question = self.liveness.probe(now)?;
        let asked = Asked { shard: self.shard, question };
        self.to_lookup.as_ref()?.try_send(asked).ok()?
    }

    /// An answer came home.
    pub fn handle_answer(&mut self, answered: Answered, now: Instant) {
        let Answered { question, answer, lifetime } = answered;
        // One that came too late was counted when its time was over, and so was the silence.
        let asked_at = self.table.asked_at(&question);
        if let Some(asked_at) = asked_at {
            self.metrics.dns_duration.add_duration(now.saturating_duration_since(asked_at));
            self.count(&answer);
        }
        let is_silence = *answer == Answer::Failed(Failure::TimedOut);
        if self.liveness.take_answer(&question, is_silence, asked_at.is_some(), now) {
            return;
        }
        self.woken.extend(self.table.arrive(question, answer, lifetime, now));
    }

    /// Ends the wait for answers that are overdue, and gives everybody whose check is to be run again, each
    /// once. Whoever calls gives the memory back by [`Answers::give_back`].
    pub fn take_woken(&mut self, now: Instant, most: usize) -> Vec<Waiter> {
        while let Some(waiters) = self.table.next_overdue(now) {
            self.metrics.dns_answers_timed_out.add(1);
            self.liveness.note_silence(now);
            self.woken.extend(waiters);
        }
        self.woken.sort_unstable();
        self.woken.dedup();
        let left = self.woken.split_off(self.woken.len().min(most));
        std::mem::replace(&mut self.woken, left)
    }

    /// Whether somebody's check is to be run again.
    pub fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Memory for the next who are woken.
    pub fn give_back(&mut self, mut woken: Vec<Waiter>) {
        if self.woken.is_empty() {
            woken.clear();
            self.woken = woken;
        }
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
    use crate::dns::table::ANSWER_WAIT_MAX;
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
        answers.take_woken(now, usize::MAX)
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
        assert_eq!(answers.take_woken(now, usize::MAX), [7, 9]);
        assert!(answers.take_woken(now, usize::MAX).is_empty());
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
    fn what_failed_before_is_asked_again_and_nobody_waits_for_it() {
        let ((mut answers, asked), mut now) = (answers(8), Instant::now());
        let failed = || Answer::Failed(Failure::Server);
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        for name in ["a.test", "b.test", "c.test"] {
            arrive(&mut answers, name, failed(), now);
        }
        assert_eq!(names(&asked).len(), 3);
        now += Duration::from_mins(10);
        assert_eq!(answers.run_check(8, now, check).0, Checked::Done(vec![failed(), failed()]));
        assert_eq!(names(&asked), ["a.test", "b.test", "c.test"], "and asked again");
        assert_eq!(answers.run_check(9, now, check).0, Checked::Done(vec![failed(), failed()]));
        assert!(names(&asked).is_empty(), "once");
        arrive(&mut answers, "a.test", Answer::NoName, now);
        assert_eq!(answers.run_check(8, now, check).0, Checked::Done(vec![Answer::NoName, failed()]));
    }

    #[test]
    fn where_nobody_answers_only_that_is_asked_until_somebody_does() {
        let ((mut answers, asked), mut now) = (answers(64), Instant::now());
        let timed_out = || Arc::new(Answer::Failed(Failure::TimedOut));
        let overload = || Arc::new(Answer::Failed(Failure::Overload));
        let ask = |answers: &mut Answers, name: &str, now| answers.look(&question(name), 7, now).0;
        let fail = |answers: &mut Answers, question: Question, now| {
            answers.handle_answer(Answered { question, answer: timed_out(), lifetime: Duration::ZERO }, now);
        };
        for number in 0..16 {
            let name = format!("{number}.test");
            assert!(ask(&mut answers, &name, now).is_none(), "{number}");
            fail(&mut answers, question(&name), now);
        }
        assert_eq!(names(&asked).len(), 16);
        // One zone may be dead, and a resolver answers at once for its own host.
        assert!(ask(&mut answers, "a.test", now).is_none(), "it is in doubt only");
        let sent: Vec<_> = std::iter::from_fn(|| asked.next()).map(|asked| asked.question).collect();
        let probe = sent.iter().find(|question| question.kind == Kind::Ptr).expect("a probe").clone();
        fail(&mut answers, probe, now);
        assert_eq!(ask(&mut answers, "b.test", now), Some(overload()));
        now += Duration::from_secs(1);
        assert_eq!(ask(&mut answers, "b.test", now), Some(overload()));
        let probe = asked.next().expect("another probe").question;
        assert!(asked.next().is_none(), "and nothing else");
        let answered =
            Answered { question: probe, answer: Arc::new(Answer::NoName), lifetime: Duration::ZERO };
        answers.handle_answer(answered, now);
        assert!(ask(&mut answers, "b.test", now).is_none(), "somebody answers");
    }

    #[test]
    fn who_sleeps_is_rung_for_a_probe_though_the_question_itself_has_no_room() {
        let (consumer, now) = (Consumer::new().expect("eventfd"), Instant::now());
        let (to_lookup, _asked) = consumer.channel(1);
        let mut answers = Answers::new(3, Some(to_lookup), Arc::default());
        for _ in 0..16 {
            answers.liveness.note_silence(now);
        }
        assert!(consumer.park(|| true), "it sleeps");
        let (answer, must_ring) = answers.look(&question("a.test"), 7, now);
        assert_eq!(answer, Some(Arc::new(Answer::Failed(Failure::Overload))));
        assert!(must_ring.is_some(), "the probe had room");
    }

    #[test]
    fn silence_is_counted_once_though_word_of_it_comes_later() {
        let ((mut answers, asked), mut now) = (answers(64), Instant::now());
        for number in 0..8 {
            let name = format!("{number}.test");
            assert!(answers.look(&question(&name), 7, now).0.is_none(), "{number}");
        }
        now += ANSWER_WAIT_MAX;
        assert_eq!(answers.take_woken(now, usize::MAX), [7]);
        for number in 0..8 {
            let (question, lifetime) = (question(&format!("{number}.test")), Duration::ZERO);
            let answer = Arc::new(Answer::Failed(Failure::TimedOut));
            answers.handle_answer(Answered { question, answer, lifetime }, now);
        }
        assert_eq!(names(&asked).len(), 8);
        assert!(answers.look(&question("a.test"), 7, now).0.is_none());
        assert_eq!(names(&asked), ["a.test"], "eight in a row raise no doubt");
    }

    #[test]
    fn a_lost_answer_wakes_who_waits_when_its_time_is_over() {
        let ((mut answers, _asked), now) = (answers(8), Instant::now());
        assert_eq!(answers.due_in(now), None);
        assert_eq!(answers.run_check(7, now, check).0, Checked::Waits);
        assert_eq!(answers.due_in(now), Some(ANSWER_WAIT_MAX));
        assert!(answers.take_woken(now, usize::MAX).is_empty());
        let late = now + ANSWER_WAIT_MAX;
        assert_eq!(answers.take_woken(late, usize::MAX), [7]);
        let failed = || Answer::Failed(Failure::TimedOut);
        assert_eq!(answers.run_check(7, late, check).0, Checked::Done(vec![failed(), failed()]));
        assert_eq!((answers.due_in(late), answers.table.out()), (None, 0));
    }

    #[test]
    fn a_check_whose_time_is_over_ends_with_what_is_known_and_asks_nothing() {
        let ((mut answers, asked), now) = (answers(8), Instant::now());
        arrive(&mut answers, "a.test", Answer::NoRecords, now);
        let failed = Answer::Failed(Failure::Overload);
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
