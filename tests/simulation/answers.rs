//! A shard's questions to the DNS, on virtual time: answers are late, lost, wrong, come twice and in any
//! order, and both channels are full now and then.
//!
//! While the faults last, and after them: each check ends, at the latest with its deadline; it uses answers
//! as they are or failures, never another name's; whoever waits is woken before an answer is overdue, once a
//! turn; nothing is waited for that is not out. Without a deadline each check ends as well.
//!
//! `SIMULATION_SEED=7` runs one seed again, `SIMULATION_SEEDS=100000` runs more of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::dns::table::{ANSWER_WAIT_MAX, Waiter};
use ringmx::dns::{Answer, Asking, Kind, Name, Question, Records};
use ringmx::handoff::channel::{Consumer, Receiver};
use ringmx::handoff::lookup::Answered;
use ringmx::metrics::ShardMetrics;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::answers::{Answers, Checked};

use crate::lookup::{SlowLookup, Zone};

/// Names that lead to others.
const NAMES: Zone = Zone { truth, stray: |world| name_of(world.random(40)) };

/// The name of this number.
fn name_of(number: u64) -> Question {
    Question::new(Kind::Mx, Name::new(format!("n{number}.test").as_bytes()).expect("a name"))
}

/// What holds of a name: a third of them have no records, the others lead to two more.
fn truth(question: &Question) -> Answer {
    let name = question.name.to_string();
    let number = name.strip_prefix('n').and_then(|rest| rest.strip_suffix(".test")?.parse::<u64>().ok());
    // Others are asked for as well, to find out whether anybody answers.
    let Some(number) = number else { return Answer::NoName };
    match number % 3 {
        0 => Answer::NoName,
        _ => Answer::Records(Records::Mx(vec![
            (0, Some(name_of(number / 2).name)),
            (1, Some(name_of(number / 3).name)),
        ])),
    }
}

/// Follows the names that a name leads to, all that it knows at once, as far as they go: what it came to,
/// by name. Failures lead nowhere.
fn check(start: &Question, asking: &mut Asking<'_>) -> Option<BTreeMap<Question, Answer>> {
    let (mut found, mut next) = (BTreeMap::new(), vec![start.clone()]);
    let mut is_whole = true;
    while let Some(question) = next.pop() {
        if found.contains_key(&question) {
            continue;
        }
        let Some(answer) = asking.ask(&question) else {
            is_whole = false;
            continue;
        };
        if let Answer::Records(Records::Mx(names)) = &*answer {
            let names = names.iter().filter_map(|(_, name)| name.clone());
            next.extend(names.map(|name| Question::new(question.kind, name)));
        }
        found.insert(question, (*answer).clone());
    }
    is_whole.then_some(found)
}

/// A check under way.
struct UnderWay {
    start: Question,
    /// When it ends with what is known.
    deadline: Option<Instant>,
    begun: Instant,
    /// When it ran last.
    ran_at: Instant,
}

struct Simulation {
    world: World,
    now: Instant,
    answers: Answers,
    inbox: Receiver<Answered>,
    lookup: SlowLookup,
    under_way: BTreeMap<Waiter, UnderWay>,
    ended: usize,
    metrics: Arc<ShardMetrics>,
}

/// A check follows names downwards, as many times as a number can be halved; what it knew may be asked again
/// meanwhile.
const STEPS_MAX: u32 = 30;

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, Faults::NONE);
        let random = |bound| usize::try_from(world.random(bound)).expect("small");
        // Few places, so that there is none now and then.
        let (to, inbox) = Consumer::new().expect("eventfd").channel(1 + random(20));
        let (lookup, to_lookup) = SlowLookup::new(to, 1 + random(20), NAMES);
        let metrics = Arc::new(ShardMetrics::default());
        let answers = Answers::new(0, Some(to_lookup), Arc::clone(&metrics));
        let under_way = BTreeMap::new();
        Self { world, now: Instant::now(), answers, inbox, lookup, under_way, ended: 0, metrics }
    }

    fn begin(&mut self, waiter: Waiter) {
        let start = name_of(self.world.random(500));
        let deadline =
            (self.world.random(2) == 0).then(|| self.now + Duration::from_millis(self.world.random(4_000)));
        self.under_way.insert(waiter, UnderWay { start, deadline, begun: self.now, ran_at: self.now });
        self.run(waiter);
    }

    fn run(&mut self, waiter: Waiter) {
        // Who is woken may have ended meanwhile.
        let Some(one) = self.under_way.get_mut(&waiter) else { return };
        one.ran_at = self.now;
        let (checked, _) = self.answers.run_check(waiter, self.now, |asking| check(&one.start, asking));
        if let Checked::Done(found) = checked {
            self.end(waiter, &found);
        }
    }

    fn end(&mut self, waiter: Waiter, found: &BTreeMap<Question, Answer>) {
        let one = self.under_way.remove(&waiter).expect("under way");
        self.ended += 1;
        for (question, answer) in found {
            assert!(
                *answer == truth(question) || matches!(answer, Answer::Failed(_)),
                "{question}: {answer:?}"
            );
        }
        let took = self.now - one.begun;
        assert!(took <= STEPS_MAX * ANSWER_WAIT_MAX, "{took:?}");
        assert!(one.deadline.is_none_or(|deadline| self.now <= deadline), "after its deadline");
    }

    /// What a shard does in a turn.
    fn turn(&mut self) {
        while let Some(answered) = self.inbox.next() {
            self.answers.handle_answer(answered, self.now);
        }
        let woken = self.answers.take_woken(self.now, usize::MAX);
        assert!(woken.is_sorted_by(|one, next| one < next), "each is woken once: {woken:?}");
        for waiter in &woken {
            self.run(*waiter);
        }
        self.answers.give_back(woken);
        let is_over = |one: &UnderWay| one.deadline.is_some_and(|deadline| deadline <= self.now);
        let over: Vec<Waiter> =
            self.under_way.iter().filter(|(_, one)| is_over(one)).map(|(waiter, _)| *waiter).collect();
        for (waiter, one) in &self.under_way {
            assert!(self.now - one.ran_at <= ANSWER_WAIT_MAX, "{waiter} was not woken");
        }
        for waiter in over {
            let start = self.under_way[&waiter].start.clone();
            let found = self.answers.end_check(self.now, |asking| check(&start, asking));
            self.end(waiter, &found.expect("nothing is missing"));
        }
    }

    /// Sleeps until something is due. A check that waits while nothing is due would wait for ever.
    fn sleep(&mut self) {
        let deadlines = self.under_way.values().filter_map(|one| one.deadline);
        let deadline = deadlines.min().map(|deadline| deadline - self.now);
        let due = self.answers.due_in(self.now);
        assert!(self.under_way.is_empty() || due.is_some(), "checks wait and nothing is out");
        let said = self.lookup.next_at().map(|at| at.saturating_sub(self.world.elapsed()));
        let wait = [deadline, due, said].into_iter().flatten().min().unwrap_or_default();
        // The thread does not take everything at once.
        let wait = wait.min(Duration::from_millis(1 + self.world.random(500)));
        self.world.pass(wait);
        self.now += wait;
    }

    fn step(&mut self) {
        self.lookup.work(&self.world);
        self.turn();
        self.sleep();
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let checks = 20 + simulation.world.random(60);
    for waiter in 0..checks {
        simulation.begin(waiter);
        for _ in 0..simulation.world.random(4) {
            simulation.step();
        }
    }
    if simulation.world.random(2) == 0 {
        simulation.lookup.recover();
    }
    for _ in 0..10_000 {
        if simulation.under_way.is_empty() {
            break;
        }
        simulation.step();
    }
    assert_eq!((simulation.ended as u64, simulation.under_way.len()), (checks, 0), "all checks end");
    // What is out ends as well, and each question was answered or is overdue: none is counted twice.
    simulation.now += ANSWER_WAIT_MAX;
    simulation.turn();
    let values = simulation.metrics.read();
    simulation.answers.update_gauges();
    assert_eq!(simulation.metrics.dns_questions_out.value(), 0);
    let answers = values.dns_answers_records
        + values.dns_answers_no_name
        + values.dns_answers_server_failure
        + values.dns_answers_timed_out
        + values.dns_answers_unusable
        + values.dns_answers_overload;
    assert!(values.dns_questions > 0 && answers >= values.dns_questions, "{values:?}");
}

#[test]
fn each_check_ends_whatever_becomes_of_its_questions() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let ended = std::panic::catch_unwind(|| run(seed));
        assert!(ended.is_ok(), "SIMULATION_SEED={seed}");
    }
}
