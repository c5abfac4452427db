//! Searches for the servers of domains: what each needs of the DNS is asked of a lookup thread, which keeps
//! answers for as long as their records say, and what comes home goes to all who need it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::exchangers::{self, find};
use super::sought::{self, Found};
use crate::dns::{Answer, Asking, Failure, Name, Question};
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::handoff::lookup::{Answered, Asked};

/// Searches at a time, of which one whose name servers are silent lasts ten seconds. The others wait for one
/// of them; connections, each of which asks once, are not many more.
const SEARCHES_MAX: usize = 512;

/// Questions on their way to the lookup thread, and answers.
pub const OUT_MAX: usize = 2 * SEARCHES_MAX * exchangers::QUESTIONS_MAX;

/// All that are under way or wait.
pub struct Searches {
    /// Our own name.
    ours: Option<Name>,
    asks: Sender<Asked>,
    answers: Receiver<Answered>,
    running: Vec<Search>,
    waiting: VecDeque<sought::Asked>,
    /// Which of equal exchangers comes first.
    lots: RandomState,
}

struct Search {
    asked: sought::Asked,
    domain: Name,
    known: HashMap<Question, Arc<Answer>>,
    out: HashSet<Question>,
}

impl Searches {
    /// None is under way. `consumer` is rung by answers; `asks` goes to a lookup thread, and the sender that
    /// comes back is where it answers.
    pub fn new(hostname: &str, consumer: &Consumer, asks: Sender<Asked>) -> (Self, Sender<Answered>) {
        let (tell, answers) = consumer.channel(OUT_MAX);
        let (running, waiting) = (Vec::new(), VecDeque::new());
        let (ours, lots) = (Name::new(hostname.as_bytes()), RandomState::new());
        (Self { ours, asks, answers, running, waiting, lots }, tell)
    }

    /// One more.
    pub fn take(&mut self, asked: sought::Asked) {
        self.waiting.push_back(asked);
    }

    /// Whether no answer came home.
    pub fn has_nothing_new(&self) -> bool {
        self.answers.is_empty()
    }

    /// Goes on with all that can go on, and tells what was found.
    pub fn go_on(&mut self, tell: &Sender<sought::Answered>) {
        let mut has_news = false;
        while let Some(Answered { question, answer, .. }) = self.answers.next() {
            has_news = true;
            for search in &mut self.running {
                if search.out.remove(&question) {
                    search.known.insert(question.clone(), Arc::clone(&answer));
                }
            }
        }
        if has_news {
            let running = std::mem::take(&mut self.running);
            self.running = running.into_iter().filter_map(|search| self.advance(search, tell)).collect();
        }
        while let Some(asked) = self.next_waiting() {
            let Some(domain) = Name::new(asked.host.as_bytes()) else {
                answer(&asked, Err(format!("{:?} is no name of the DNS", asked.host)), tell);
                continue;
            };
            let search = Search { asked, domain, known: HashMap::new(), out: HashSet::new() };
            let goes_on = self.advance(search, tell);
            self.running.extend(goes_on);
        }
    }

    /// The next one that waits and that somebody waits for, if there is room for it.
    fn next_waiting(&mut self) -> Option<sought::Asked> {
        if self.waiting.is_empty() {
            return None;
        }
        // One whose answers are lost is given up with whoever waits.
        self.running.retain(|search| search.asked.is_awaited());
        while self.running.len() < SEARCHES_MAX {
            let next = self.waiting.pop_front()?;
            if next.is_awaited() {
                return Some(next);
            }
        }
        None
    }

    /// Runs one over what is known, and asks what it misses. It comes back while it waits for that.
    fn advance(&self, mut search: Search, tell: &Sender<sought::Answered>) -> Option<Search> {
        loop {
            let mut known = |question: &Question| search.known.get(question).cloned();
            let mut asking = Asking::new(&mut known);
            let lot = |name: &Name| self.lots.hash_one((search.asked.number, name));
            if let Some(found) = find(&search.domain, self.ours.as_ref(), lot, &mut asking) {
                answer(&search.asked, found, tell);
                return None;
            }
            let missing = asking.missing();
            let mut has_failed = false;
            for question in missing.into_iter().filter(|one| !search.out.contains(one)).collect::<Vec<_>>() {
                match self.asks.send_and_ring(Asked { shard: 0, question: question.clone() }) {
                    Ok(()) => _ = search.out.insert(question),
                    Err(Asked { question, .. }) => {
                        has_failed = true;
                        search.known.insert(question, Arc::new(Answer::Failed(Failure::Overload)));
                    }
                }
            }
            if !has_failed {
                return Some(search);
            }
        }
    }
}

fn answer(asked: &sought::Asked, found: Result<Found, String>, tell: &Sender<sought::Answered>) {
    // Where it is full, it is of answers to questions that were given up.
    let _ = tell.send_and_ring(sought::Answered { number: asked.number, slot: asked.slot, found });
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::dns::{Kind, Records};

    struct World {
        searches: Searches,
        to_searches: Sender<Answered>,
        asked: Receiver<Asked>,
        to_engine: Sender<sought::Answered>,
        told: Receiver<sought::Answered>,
    }

    impl World {
        fn new(out_max: usize) -> Self {
            let consumer = Consumer::new().expect("a consumer");
            let (asks, asked) = consumer.channel(out_max);
            let (to_engine, told) = consumer.channel(1000);
            let (searches, to_searches) = Searches::new("mx.our.test", &consumer, asks);
            Self { searches, to_searches, asked, to_engine, told }
        }

        fn seek(&mut self, number: u64, domain: &str, within: Duration) {
            let (host, sought) = (domain.to_owned(), sought::Sought::Exchangers);
            let deadline = Instant::now() + within;
            self.searches.take(sought::Asked { number, slot: 0, host, sought, port: 25, deadline });
            self.searches.go_on(&self.to_engine);
        }

        /// All that was asked since.
        fn asked(&self) -> Vec<Question> {
            std::iter::from_fn(|| self.asked.next()).map(|asked| asked.question).collect()
        }

        fn answer(&mut self, question: Question, answer: Answer) {
            let answer = Arc::new(answer);
            let lifetime = Duration::from_mins(1);
            self.to_searches.send_and_ring(Answered { question, answer, lifetime }).expect("room");
            self.searches.go_on(&self.to_engine);
        }

        /// Who was told since, and whether servers were found.
        fn told(&self) -> Vec<(u64, bool)> {
            let all = std::iter::from_fn(|| self.told.next());
            all.map(|told| (told.number, matches!(told.found, Ok(Found::Exchangers(_))))).collect()
        }
    }

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn an_answer_is_for_all_who_need_it_and_silence_keeps_nobody_else_waiting() {
        let mut world = World::new(OUT_MAX);
        world.seek(1, "silent.test", LONG);
        world.seek(2, "a.test", LONG);
        world.seek(3, "a.test", LONG);
        assert_eq!(world.asked().len(), 3);
        let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
        let exchangers = Answer::Records(Records::Mx(vec![(10, Some(name("mx.test")))]));
        world.answer(Question::new(Kind::Mx, name("a.test")), exchangers);
        assert!(world.told().is_empty());
        let address = |kind| Question::new(kind, name("mx.test"));
        assert_eq!(world.asked(), [Kind::Aaaa, Kind::A, Kind::Aaaa, Kind::A].map(address));
        world.answer(address(Kind::Aaaa), Answer::NoRecords);
        world.answer(address(Kind::A), Answer::Records(Records::A(vec![[192, 0, 2, 1].into()])));
        assert_eq!(world.told(), [(2, true), (3, true)]);
        world.answer(Question::new(Kind::Mx, name("silent.test")), Answer::Failed(Failure::TimedOut));
        assert_eq!(world.told(), [(1, false)]);
    }

    #[test]
    fn so_many_run_at_a_time_and_none_that_nobody_waits_for() {
        let mut world = World::new(OUT_MAX);
        for number in 0..SEARCHES_MAX as u64 {
            world.seek(number, &format!("silent{number}.test"), Duration::from_millis(500));
        }
        world.seek(1099, "late.test", LONG);
        world.seek(1100, "given-up.test", Duration::ZERO);
        assert_eq!(world.asked().len(), SEARCHES_MAX);
        std::thread::sleep(Duration::from_millis(600));
        world.seek(1101, "b.test", LONG);
        assert_eq!(
            world.asked().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["MX late.test", "MX b.test"]
        );
    }

    #[test]
    fn what_cannot_be_asked_has_failed() {
        let mut world = World::new(1);
        world.seek(1, "a.test", LONG);
        world.seek(2, "b.test", LONG);
        world.seek(3, "..", LONG);
        assert_eq!(world.told(), [(2, false), (3, false)]);
    }
}
