//! A table of answers: no lock, bounded in entries and octets, and one question out once however many wait
//! for it. Each shard has one, and so has each lookup thread, where shards are those who wait.
//!
//! ```text
//!   look ──► known? ───────────────────────────────► Look::Known
//!     │ no
//!     ├─ out already: one waiter more ─────────────► Look::Waits
//!     ├─ too many out ─────────────────────────────► Look::Known (failed: overload)
//!     └─ out now: whoever asked sends it ──────────► Look::Ask(number)
//!
//!   arrive(number, answer, lifetime) ──► kept for its lifetime, its waiters are told
//!   overdue ──► failed: timed out, its waiters are told; what arrives later is kept for the next
//! ```
//!
//! Failures are kept, too (RFC 9520 §3): for as long as whoever tells of them says, or for a short time that
//! doubles while they go on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Answer, Failure};
use super::question::Question;

/// Answers that a shard knows.
pub const ANSWERS_MAX: usize = 16 * 1024;

/// Octets that they take.
pub const ANSWERS_BYTES_MAX: usize = 8 << 20;

/// Questions of a shard that are out.
pub const QUESTIONS_OUT_MAX: usize = 4096;

/// Who waits for one answer.
const WAITERS_MAX: usize = 4096;

/// After this a question has no answer.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long an answer is kept, whatever its records say.
const LIFETIME_MIN: Duration = Duration::from_secs(5);
const LIFETIME_MAX: Duration = Duration::from_hours(24);

/// How long a failure is kept of which nobody says for how long: the first one, and at most, doubled with
/// each.
const FAILURE_LIFETIME_MIN: Duration = Duration::from_secs(5);
const FAILURE_LIFETIME_MAX: Duration = Duration::from_mins(1);

/// Deadlines of questions that were answered are kept for a while, up to this number and as many as are out.
const DEADLINES_SPARE: usize = 256;

/// What an entry takes beside its name and answer.
const ENTRY_BYTES: usize = 2 * size_of::<Question>() + size_of::<Entry>() + 2 * size_of::<usize>();

/// Who waits for an answer: the caller's word for it.
pub type Waiter = u64;

/// The number of a question that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(u64);

/// What the table says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The answer.
    Known(Arc<Answer>),
    /// It is out; the waiter will be told.
    Waits,
    /// As [`Look::Waits`], and the caller has to send it.
    Ask(Number),
}

/// The table.
#[derive(Debug)]
pub struct Answers {
    entries_max: usize,
    bytes_max: usize,
    by_question: HashMap<Question, usize>,
    /// All in use, but for those in `free`.
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    bytes: usize,
    /// Where the search for an entry to give up goes on.
    hand: usize,
    out: HashMap<Question, Out>,
    /// Questions that are out, in the order of their deadlines, and some that were answered since.
    deadlines: VecDeque<(Instant, Number, Question)>,
    numbers: u64,
}

#[derive(Debug)]
struct Entry {
    question: Question,
    answer: Arc<Answer>,
    until: Instant,
    /// Failures in a row.
    failures: u32,
    bytes: usize,
    /// Looked at since the hand passed.
    used: bool,
}

#[derive(Debug)]
struct Out {
    number: Number,
    asked_at: Instant,
    /// Many clients may wait for one answer, and each look again and again.
    waiters: BTreeSet<Waiter>,
}

impl Default for Answers {
    fn default() -> Self {
        Self::new(ANSWERS_MAX, ANSWERS_BYTES_MAX)
    }
}

impl Answers {
    /// An empty table with room for so many answers of so many octets.
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries_max,
            bytes_max,
            by_question: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            hand: 0,
            out: HashMap::new(),
            deadlines: VecDeque::new(),
            numbers: 0,
        }
    }

    /// The answer, as far as it is known. Nothing is asked.
    pub fn known(&mut self, question: &Question, now: Instant) -> Option<Arc<Answer>> {
        self.known_for(question, now).map(|(answer, _)| answer)
    }

    /// The same, and how long it holds from now on.
    pub fn known_for(&mut self, question: &Question, now: Instant) -> Option<(Arc<Answer>, Duration)> {
        let entry = self.entries.get_mut(*self.by_question.get(question)?)?.as_mut()?;
        entry.used = true;
        let left = entry.until.saturating_duration_since(now);
        (!left.is_zero()).then(|| (Arc::clone(&entry.answer), left))
    }

    /// How a question failed last, also where it is time to ask again; none where it did not, or was
    /// forgotten.
    pub fn last_failure(&self, question: &Question) -> Option<Arc<Answer>> {
        let entry = self.entries.get(*self.by_question.get(question)?)?.as_ref()?;
        matches!(*entry.answer, Answer::Failed(_)).then(|| Arc::clone(&entry.answer))
    }

    /// The answer, or who waits for it is told later.
    pub fn look(&mut self, question: &Question, waiter: Waiter, now: Instant) -> Look {
        if let Some(answer) = self.known(question, now) {
            return Look::Known(answer);
        }
        if let Some(out) = self.out.get_mut(question) {
            if out.waiters.len() >= WAITERS_MAX && !out.waiters.contains(&waiter) {
                return Look::Known(Arc::new(Answer::Failed(Failure::Overload)));
            }
            out.waiters.insert(waiter);
            return Look::Waits;
        }
        if self.out.len() >= QUESTIONS_OUT_MAX {
            return Look::Known(Arc::new(Answer::Failed(Failure::Overload)));
        }
        self.numbers += 1;
        let number = Number(self.numbers);
        let out = Out { number, asked_at: now, waiters: BTreeSet::from([waiter]) };
        self.out.insert(question.clone(), out);
        self.deadlines.push_back((now + ANSWER_WAIT_MAX, number, question.clone()));
        Look::Ask(number)
    }

    /// It could not be sent: who waits for it is told at once. Nothing is kept, because the next try may do.
    pub fn cannot_ask(&mut self, question: &Question) -> Vec<Waiter> {
        let waiters = self.out.remove(question).map(|out| out.waiters).unwrap_or_default();
        self.forget_deadlines();
        waiters.into_iter().collect()
    }

    /// An answer came home. It is kept for its lifetime; a failure with a lifetime of zero for longer with
    /// each failure before. Gives those who waited for it.
    pub fn arrive(
        &mut self,
        question: Question,
        answer: impl Into<Arc<Answer>>,
        lifetime: Duration,
        now: Instant,
    ) -> Vec<Waiter> {
        let waiters = self.cannot_ask(&question);
        self.keep(question, answer.into(), lifetime, now);
        waiters
    }

    /// When a question was asked that is out.
    pub fn asked_at(&self, question: &Question) -> Option<Instant> {
        self.out.get(question).map(|out| out.asked_at)
    }

    /// When [`Answers::next_overdue`] has something to do; none while nothing is out.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// The next question whose time is over: it has failed, and those who waited for it are given. None when
    /// there is none more.
    pub fn next_overdue(&mut self, now: Instant) -> Option<Vec<Waiter>> {
        while let Some((_, number, question)) = self.deadlines.pop_front_if(|(deadline, ..)| *deadline <= now)
        {
            if self.out.get(&question).is_some_and(|out| out.number == number) {
                let failed = Answer::Failed(Failure::TimedOut);
                return Some(self.arrive(question, failed, Duration::ZERO, now));
            }
        }
        None
    }

    /// Questions that are out.
    pub fn out(&self) -> usize {
        self.out.len()
    }

    /// Octets that answers take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the deadlines of questions that were answered: those before the first that is out, and all of
    /// them before they are more than those that are out.
    fn forget_deadlines(&mut self) {
        let Self { out, deadlines, .. } = self;
        let is_out = |number: Number, question: &Question| {
            // One that was answered may have been asked again since.
            out.get(question).is_some_and(|out| out.number == number)
        };
        while deadlines.pop_front_if(|(_, number, question)| !is_out(*number, question)).is_some() {}
        if deadlines.len() > 2 * out.len() + DEADLINES_SPARE {
            deadlines.retain(|(_, number, question)| is_out(*number, question));
        }
    }

    fn keep(&mut self, question: Question, answer: Arc<Answer>, lifetime: Duration, now: Instant) {
        let before = self.by_question.get(&question).and_then(|index| self.entries.get(*index)?.as_ref());
        let failures_before = before.map_or(0, |entry| entry.failures);
        let (failures, lifetime) = if matches!(*answer, Answer::Failed(_)) {
            let doubled = FAILURE_LIFETIME_MIN * (1 << failures_before.min(6));
            let wanted = if lifetime.is_zero() { doubled } else { lifetime };
            (failures_before + 1, wanted.min(FAILURE_LIFETIME_MAX))
        } else {
            (0, lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX))
        };
        self.forget(&question);
        let bytes = ENTRY_BYTES + 2 * question.name.octets().len() + answer.bytes();
        while self.by_question.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            if !self.give_up_one(now) {
                // It is larger than the whole table.
                return;
            }
        }
        let entry =
            Entry { question: question.clone(), answer, until: now + lifetime, failures, bytes, used: false };
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
            self.by_question.insert(question, index);
            self.bytes += bytes;
        }
    }

    fn forget(&mut self, question: &Question) {
        let Some(index) = self.by_question.remove(question) else { return };
        if let Some(entry) = self.entries.get_mut(index).and_then(Option::take) {
            self.bytes -= entry.bytes;
            self.free.push(index);
        }
    }

    /// Gives up one that was not looked at since the hand passed last, or is over. False where there is none.
    fn give_up_one(&mut self, now: Instant) -> bool {
        // After one round nothing is marked as used.
        for _ in 0..2 * self.entries.len() {
            self.hand = if self.hand + 1 >= self.entries.len() { 0 } else { self.hand + 1 };
            let Some(Some(entry)) = self.entries.get_mut(self.hand) else { continue };
            if entry.until <= now || !std::mem::take(&mut entry.used) {
                let question = entry.question.clone();
                self.forget(&question);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Name, Records};
    use std::net::Ipv4Addr;

    const HOUR: Duration = Duration::from_hours(1);

    fn question(number: usize) -> Question {
        Question::new(Kind::A, Name::new(format!("n{number}.test").as_bytes()).expect("a name"))
    }

    /// A moment before.
    fn before(moment: Instant) -> Instant {
        moment.checked_sub(Duration::from_millis(1)).expect("not the first moment")
    }

    fn answer(last: u8) -> Answer {
        Answer::Records(Records::A(vec![Ipv4Addr::new(192, 0, 2, last)]))
    }

    #[test]
    fn one_question_is_out_once_and_all_who_wait_are_told() {
        let (mut table, now) = (Answers::default(), Instant::now());
        assert!(matches!(table.look(&question(1), 7, now), Look::Ask(_)));
        assert_eq!(table.look(&question(1), 8, now), Look::Waits);
        assert_eq!(table.look(&question(1), 8, now), Look::Waits, "who waits twice is told once");
        assert_eq!(table.arrive(question(1), answer(1), HOUR, now), [7, 8]);
        assert_eq!(table.look(&question(1), 9, now), Look::Known(Arc::new(answer(1))));
        assert_eq!(table.out(), 0);
    }

    #[test]
    fn an_answer_lives_as_long_as_it_says_within_bounds() {
        let (mut table, now) = (Answers::default(), Instant::now());
        for (lifetime, kept) in [(Duration::ZERO, LIFETIME_MIN), (HOUR, HOUR), (100 * HOUR, LIFETIME_MAX)] {
            table.arrive(question(1), answer(1), lifetime, now);
            assert!(table.known(&question(1), before(now + kept)).is_some());
            assert!(table.known(&question(1), now + kept).is_none());
        }
    }

    #[test]
    fn failures_are_kept_for_longer_each_time_and_forgotten_with_the_first_answer() {
        let (mut table, mut now) = (Answers::default(), Instant::now());
        for seconds in [5, 10, 20, 40, 60, 60] {
            table.arrive(question(1), Answer::Failed(Failure::Server), Duration::ZERO, now);
            let end = now + Duration::from_secs(seconds);
            assert!(table.known(&question(1), before(end)).is_some(), "{seconds}");
            assert!(table.known(&question(1), end).is_none(), "{seconds}");
            now = end;
        }
        table.arrive(question(1), answer(1), HOUR, now);
        table.arrive(question(1), Answer::Failed(Failure::Server), Duration::ZERO, now);
        assert!(table.known(&question(1), now + Duration::from_secs(5)).is_none());
    }

    #[test]
    fn a_failure_lives_as_long_as_it_is_told_to_and_not_for_hours() {
        let (mut table, now) = (Answers::default(), Instant::now());
        let second = Duration::from_secs(1);
        for (lifetime, kept) in [(second, second), (HOUR, FAILURE_LIFETIME_MAX)] {
            table.arrive(question(1), Answer::Failed(Failure::Server), lifetime, now);
            let (_, left) = table.known_for(&question(1), before(now + kept)).expect("known");
            assert_eq!(left, Duration::from_millis(1));
            assert!(table.known(&question(1), now + kept).is_none());
        }
    }

    #[test]
    fn a_question_without_an_answer_has_failed_in_time_and_a_late_answer_serves_the_next() {
        let (mut table, now) = (Answers::default(), Instant::now());
        table.look(&question(1), 7, now);
        assert_eq!(table.next_deadline(), Some(now + ANSWER_WAIT_MAX));
        assert_eq!(table.next_overdue(now), None);
        let late = now + ANSWER_WAIT_MAX;
        assert_eq!(table.next_overdue(late), Some(vec![7]));
        assert_eq!(table.next_overdue(late), None);
        let failed = Answer::Failed(Failure::TimedOut);
        assert_eq!(table.look(&question(1), 8, late), Look::Known(Arc::new(failed)));
        assert!(table.arrive(question(1), answer(1), HOUR, late).is_empty());
        assert_eq!(table.look(&question(1), 9, late), Look::Known(Arc::new(answer(1))));
    }

    #[test]
    fn a_deadline_of_an_answered_question_ends_none_that_was_asked_since() {
        let (mut table, now) = (Answers::default(), Instant::now());
        table.look(&question(1), 7, now);
        table.arrive(question(1), answer(1), Duration::ZERO, now);
        let later = before(now + LIFETIME_MIN);
        assert!(matches!(table.look(&question(1), 8, later), Look::Known(_)));
        assert!(matches!(table.look(&question(1), 8, now + LIFETIME_MIN), Look::Ask(_)));
        assert_eq!(table.next_overdue(now + ANSWER_WAIT_MAX), None);
        assert_eq!(table.next_overdue(now + LIFETIME_MIN + ANSWER_WAIT_MAX), Some(vec![8]));
    }

    #[test]
    fn one_lost_question_keeps_no_deadlines_of_answered_ones() {
        let (mut table, now) = (Answers::default(), Instant::now());
        table.look(&question(0), 7, now);
        for number in 1..10_000 {
            table.look(&question(number), 7, now);
            table.arrive(question(number), answer(1), HOUR, now);
            assert!(table.deadlines.len() <= 2 + DEADLINES_SPARE, "{number}");
        }
        table.arrive(question(0), answer(1), HOUR, now);
        assert_eq!(table.next_deadline(), None, "nothing is out");
    }

    #[test]
    fn too_many_questions_fail_at_once_and_what_could_not_be_sent_is_not_kept() {
        let (mut table, now) = (Answers::default(), Instant::now());
        for number in 0..QUESTIONS_OUT_MAX {
            assert!(matches!(table.look(&question(number), 1, now), Look::Ask(_)));
        }
        let overload = Look::Known(Arc::new(Answer::Failed(Failure::Overload)));
        assert_eq!(table.look(&question(QUESTIONS_OUT_MAX), 1, now), overload);
        assert_eq!(table.cannot_ask(&question(0)), [1]);
        assert!(matches!(table.look(&question(0), 2, now), Look::Ask(_)));
    }

    #[test]
    fn the_table_keeps_its_bounds_and_those_that_are_looked_at() {
        let (mut table, now) = (Answers::new(100, 1 << 20), Instant::now());
        for number in 0..100 {
            table.arrive(question(number), answer(1), HOUR, now);
        }
        for number in 100..1000 {
            assert!(table.known(&question(5), now).is_some(), "it is used all the time");
            table.arrive(question(number), answer(1), HOUR, now);
            assert!(table.by_question.len() <= 100);
        }
        let large = Answer::Records(Records::Txt(vec![vec![b'x'; 64 * 1024].into(); 4]));
        for number in 0..50 {
            table.arrive(question(number), large.clone(), HOUR, now);
            assert!(table.bytes() <= 1 << 20);
        }
        let larger = Answer::Records(Records::Txt(vec![vec![b'x'; 2 << 20].into()]));
        table.arrive(question(1), larger, HOUR, now);
        assert!(table.known(&question(1), now).is_none(), "larger than the table");
        assert_eq!(table.bytes, table.entries.iter().flatten().map(|entry| entry.bytes).sum::<usize>());
    }
}
