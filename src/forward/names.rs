//! The thread that finds addresses of next hops. Of one that is named the system's resolver is asked, which
//! may take long: each name has a thread as long as that takes, so that one whose servers are silent keeps
//! nobody else waiting. The servers of domains are [searched for](super::searches).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use super::searches::Searches;
use super::sought::{Answered, Asked, Found, Sought};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};

/// Questions on their way, and answers: one a connection that is made.
pub const QUESTIONS_MAX: usize = 4096;

/// Names that are looked up at a time. The others wait for one of them.
const LOOKUPS_MAX: usize = 64;

/// What a lookup gives.
type Addresses = Result<Vec<IpAddr>, String>;

/// Runs until nobody is left to ask. Lookups that are under way then are left alone.
///
/// `searches` are for domains, of which nothing is found without them.
pub fn run(
    consumer: &Consumer,
    questions: &Receiver<Asked>,
    answers: &Sender<Answered>,
    searches: Option<Searches>,
) {
    run_with(consumer, questions, answers, searches, Arc::new(look_up));
}

fn look_up(host: &str) -> Addresses {
    // The port is that of the question.
    match (host, 0).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
        }
        Err(error) => Err(format!("the address of {host} cannot be found: {error}")),
    }
}

/// Who looks a name up.
type LookUp = Arc<dyn Fn(&str) -> Addresses + Send + Sync>;

fn run_with(
    consumer: &Consumer,
    questions: &Receiver<Asked>,
    answers: &Sender<Answered>,
    mut searches: Option<Searches>,
    look_up: LookUp,
) {
    let (tell, found) = consumer.channel(LOOKUPS_MAX);
    let mut lookups = Lookups { asked: HashMap::new(), waiting: VecDeque::new(), running: 0, look_up, tell };
    loop {
        while let Some((host, addresses)) = found.next() {
            lookups.running -= 1;
            lookups.answer(&host, &addresses, answers);
        }
        lookups.start(answers);
        if let Some(searches) = &mut searches {
            searches.go_on(answers);
        }
        match questions.take() {
            Waiting::Item(asked) => match (asked.sought, &mut searches) {
                (Sought::Addresses, _) => lookups.take(asked),
                (Sought::Exchangers, Some(searches)) => searches.take(asked),
                // Nobody who asks for these starts without.
                (Sought::Exchangers, None) => {}
            },
            Waiting::Nothing => consumer.sleep(None, || {
                questions.is_empty()
                    && found.is_empty()
                    && searches.as_ref().is_none_or(Searches::has_nothing_new)
            }),
            Waiting::Ended => return,
        }
    }
}

struct Lookups {
    /// What was asked of each name that waits or is looked up.
    asked: HashMap<String, Vec<Asked>>,
    /// Names that wait.
    waiting: VecDeque<String>,
    /// How many names are looked up.
    running: usize,
    look_up: LookUp,
    tell: Sender<(String, Addresses)>,
}

impl Lookups {
    /// Who asks for a name that was asked for before gets the same answer.
    fn take(&mut self, asked: Asked) {
        if let Some(others) = self.asked.get_mut(&asked.host) {
            others.retain(Asked::is_awaited);
            others.push(asked);
            return;
        }
        self.waiting.push_back(asked.host.clone());
        self.asked.insert(asked.host.clone(), vec![asked]);
    }

    /// Looks up as many of those that wait as may be.
    fn start(&mut self, answers: &Sender<Answered>) {
        while self.running < LOOKUPS_MAX
            && let Some(host) = self.waiting.pop_front()
        {
            if !self.asked.get(&host).is_some_and(|all| all.iter().any(Asked::is_awaited)) {
                self.asked.remove(&host);
                continue;
            }
            let (look_up, tell, name) = (Arc::clone(&self.look_up), self.tell.clone(), host.clone());
            // There are as many places as lookups; nobody takes from them any more after the end.
            let run = move || _ = tell.send_and_ring((name.clone(), look_up(&name)));
            match thread::Builder::new().name("ringmx-name".to_owned()).spawn(run) {
                Ok(_) => self.running += 1,
                Err(error) => self.answer(&host, &Err(format!("{host}: no thread: {error}")), answers),
            }
        }
    }

    fn answer(&mut self, host: &str, addresses: &Addresses, answers: &Sender<Answered>) {
        let all = self.asked.remove(host).unwrap_or_default();
        for Asked { number, slot, port, .. } in all.into_iter().filter(Asked::is_awaited) {
            let with_port = |found: &Vec<IpAddr>| found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            let found = addresses.as_ref().map(with_port).map(Found::Addresses).map_err(String::clone);
            // It is full of answers to questions that were given up: so is this one, in the end.
            let _ = answers.send_and_ring(Answered { number, slot, found });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::*;

    /// What a test has in place of the system: names that begin with `silent` have an answer when `release`
    /// is dropped.
    struct World {
        questions: Sender<Asked>,
        consumer: Consumer,
        answers: Receiver<Answered>,
        looked_up: Arc<Mutex<Vec<String>>>,
        release: Option<crossbeam_channel::Sender<()>>,
    }

    impl World {
        fn new() -> Self {
            let (release, held) = crossbeam_channel::bounded(0);
            let looked_up = Arc::<Mutex<Vec<String>>>::default();
            let seen = Arc::clone(&looked_up);
            let look_up = move |host: &str| {
                seen.lock().expect("no panic").push(host.to_owned());
                if host.starts_with("silent") {
                    let _ = held.recv();
                    return Err("silent".to_owned());
                }
                Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
            };
            let consumer = Consumer::new().expect("a consumer");
            let (to_us, answers) = consumer.channel(QUESTIONS_MAX);
            let names = Consumer::new().expect("a consumer");
            let (questions, asked) = names.channel(QUESTIONS_MAX);
            thread::spawn(move || run_with(&names, &asked, &to_us, None, Arc::new(look_up)));
            Self { questions, consumer, answers, looked_up, release: Some(release) }
        }

        fn ask(&self, number: u64, host: &str, within: Duration) {
            let (host, deadline) = (host.to_owned(), Instant::now() + within);
            let sought = Sought::Addresses;
            let asked = Asked { number, slot: 0, host, sought, port: 25, deadline };
            self.questions.send_and_ring(asked).expect("room");
        }

        fn answered(&self) -> (u64, bool) {
            let until = Instant::now() + PATIENCE;
            loop {
                if let Some(answered) = self.answers.next() {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
                    let is_right = match &answered.found {
                        Ok(found) => *found == Found::Addresses(vec![address]),
                        Err(why) => why == "silent",
                    };
                    assert!(is_right, "{answered:?}");
                    return (answered.number, answered.found.is_ok());
                }
                assert!(Instant::now() < until, "no answer");
                self.consumer.sleep(Some(Duration::from_millis(10)), || self.answers.is_empty());
            }
        }

        fn times(&self, host: &str) -> usize {
            self.looked_up.lock().expect("no panic").iter().filter(|name| *name == host).count()
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_silent_name_keeps_nobody_else_waiting() {
        let mut world = World::new();
        for number in 1..4 {
            world.ask(number, "silent.test", LONG);
        }
        world.ask(4, "silent.test", Duration::ZERO);
        for number in 5..50 {
            world.ask(number, "b.test", LONG);
            assert_eq!(world.answered(), (number, true));
        }
        world.release = None;
        assert_eq!([(); 3].map(|()| world.answered()), [(1, false), (2, false), (3, false)]);
        world.ask(50, "b.test", LONG);
        assert_eq!(world.answered(), (50, true), "and nobody answers whoever has given up");
        assert_eq!(world.times("silent.test"), 1, "at a time");
    }

    #[test]
    fn so_many_are_looked_up_at_a_time_and_none_that_nobody_waits_for() {
        let mut world = World::new();
        for number in 0..LOOKUPS_MAX {
            world.ask(number as u64, &format!("silent{number}.test"), LONG);
        }
        world.ask(100, "given-up.test", Duration::from_millis(1));
        world.ask(101, "b.test", LONG);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(world.looked_up.lock().expect("no panic").len(), LOOKUPS_MAX);
        world.release = None;
        let mut numbers: Vec<u64> = (0..=LOOKUPS_MAX).map(|_| world.answered().0).collect();
        numbers.sort_unstable();
        assert!((0..LOOKUPS_MAX as u64).chain([101]).eq(numbers));
        assert_eq!((world.times("given-up.test"), world.times("b.test")), (0, 1));
    }
}
