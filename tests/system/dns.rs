//! The lookup thread against a DNS server that answers rightly, late, wrongly or never.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::dns::{Answer, Failure, Kind, Name, Question, Records};
use ringmx::handoff::channel::{Consumer, Receiver, Sender};
use ringmx::handoff::lookup::{Answered, Asked};
use support::dns_server::{Behaviour, DnsServer};

/// Shards' ends of one lookup thread.
struct Shards {
    ask: Sender<Asked>,
    consumers: Vec<(Consumer, Receiver<Answered>)>,
}

impl Shards {
    fn new(count: usize, servers: Vec<SocketAddr>) -> Self {
        let ends = (0..count).map(|_| {
            let consumer = Consumer::new().expect("a bell");
            let (sender, receiver) = consumer.channel(4096);
            (sender, (consumer, receiver))
        });
        let (to_shards, consumers) = ends.unzip();
        let consumer = Consumer::new().expect("a bell");
        let (ask, asked) = consumer.channel(4096);
        std::thread::spawn(move || ringmx::dns::lookup::run(&consumer, &asked, to_shards, Some(&servers)));
        Self { ask, consumers }
    }

    fn ask(&self, shard: u16, question: &Question) {
        self.ask.send_and_ring(Asked { shard, question: question.clone() }).expect("room");
    }

    fn answer(&self, shard: usize) -> Answered {
        let (consumer, answers) = &self.consumers[shard];
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(answered) = answers.next() {
                return answered;
            }
            assert!(Instant::now() < deadline, "no answer");
            consumer.sleep(Some(Duration::from_secs(1)), || answers.is_empty());
        }
    }

    fn look(&self, kind: Kind, name: &str) -> (Answer, Duration) {
        let question = question(kind, name);
        self.ask(0, &question);
        let answered = self.answer(0);
        assert_eq!(answered.question, question);
        (answered.answer, answered.lifetime)
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn question(kind: Kind, text: &str) -> Question {
    Question::new(kind, name(text))
}

fn started() -> (Arc<DnsServer>, Shards) {
    let server = Arc::new(DnsServer::start());
    let shards = Shards::new(2, vec![server.address()]);
    (server, shards)
}

#[test]
fn records_of_every_kind_come_home() {
    let (server, shards) = started();
    server
        .address_of("x.test", "192.0.2.1")
        .address_of("x.test", "192.0.2.2")
        .address_of("x.test", "2001:db8::1");
    server.mx("x.test", 10, "mx.x.test").mx("null.test", 0, ".").ptr("192.0.2.1", "mx.x.test");
    server.txt("x.test", "v=spf1 -all").txt("x.test", [b'a'; 700]).cname("alias.test", "x.test");
    let v4 = |last| std::net::Ipv4Addr::new(192, 0, 2, last);
    let (answer, lifetime) = shards.look(Kind::A, "X.test");
    assert_eq!(answer, Answer::Records(Records::A(vec![v4(1), v4(2)])));
    assert!((Duration::from_secs(280)..=Duration::from_mins(5)).contains(&lifetime), "{lifetime:?}");
    assert_eq!(shards.look(Kind::A, "alias.test").0, answer);
    let v6 = "2001:db8::1".parse().expect("an address");
    assert_eq!(shards.look(Kind::Aaaa, "x.test").0, Answer::Records(Records::Aaaa(vec![v6])));
    let mx = vec![(10, Some(name("mx.x.test")))];
    assert_eq!(shards.look(Kind::Mx, "x.test").0, Answer::Records(Records::Mx(mx)));
    assert_eq!(shards.look(Kind::Mx, "null.test").0, Answer::Records(Records::Mx(vec![(0, None)])));
    let pointer = Name::reverse(v4(1).into()).to_string();
    assert_eq!(shards.look(Kind::Ptr, &pointer).0, Answer::Records(Records::Ptr(vec![name("mx.x.test")])));
    let texts = shards.look(Kind::Txt, "x.test").0;
    assert_eq!(texts.texts().iter().map(|text| text.len()).collect::<Vec<_>>(), [11, 700]);
    assert_eq!(shards.look(Kind::Mx, "alias.test").0, shards.look(Kind::Mx, "x.test").0);
}

#[test]
fn no_name_and_no_records_are_two_answers() {
    let (server, shards) = started();
    server.address_of("x.test", "192.0.2.1");
    assert_eq!(shards.look(Kind::Mx, "x.test").0, Answer::NoRecords);
    let (answer, lifetime) = shards.look(Kind::A, "nobody.test");
    assert_eq!(answer, Answer::NoName);
    assert!(lifetime <= Duration::from_mins(1), "as the SOA says: {lifetime:?}");
}

#[test]
fn failures_have_their_kinds_and_are_not_asked_again_at_once() {
    let (server, shards) = started();
    server.behave("servfail.test", Behaviour::ServerFailure).behave("refused.test", Behaviour::Refused);
    server.behave("silent.test", Behaviour::Silent).behave("wrong.test", Behaviour::WrongId);
    assert_eq!(shards.look(Kind::A, "servfail.test").0, Answer::Failed(Failure::Server));
    assert_eq!(shards.look(Kind::A, "refused.test").0, Answer::Failed(Failure::Server));
    assert_eq!(shards.look(Kind::A, "silent.test").0, Answer::Failed(Failure::TimedOut));
    assert_eq!(shards.look(Kind::A, "wrong.test").0, Answer::Failed(Failure::TimedOut));
    let asked = server.asked_in_all();
    assert_eq!(shards.look(Kind::A, "wrong.test").0, Answer::Failed(Failure::TimedOut));
    assert_eq!(server.asked_in_all(), asked, "the failure is known");
}

#[test]
fn a_long_answer_comes_over_tcp_and_a_late_one_in_time() {
    let (server, shards) = started();
    server.txt("long.test", vec![b'x'; 60_000]).behave("cut.test", Behaviour::Truncated);
    server.address_of("cut.test", "192.0.2.1").address_of("late.test", "192.0.2.1");
    server.behave("late.test", Behaviour::Late(Duration::from_millis(300)));
    assert_eq!(shards.look(Kind::Txt, "long.test").0.texts()[0].len(), 60_000);
    assert_eq!(shards.look(Kind::A, "cut.test").0.v4().len(), 1);
    assert_eq!(shards.look(Kind::A, "late.test").0.v4().len(), 1);
}

#[test]
fn a_loop_of_names_ends() {
    let (server, shards) = started();
    server.cname("a.test", "b.test").cname("b.test", "a.test").cname("self.test", "self.test");
    for looped in ["a.test", "self.test"] {
        assert!(shards.look(Kind::A, looped).0.v4().is_empty());
    }
}

#[test]
fn what_two_shards_ask_at_a_time_is_asked_once() {
    let (server, shards) = started();
    server
        .address_of("late.test", "192.0.2.1")
        .behave("late.test", Behaviour::Late(Duration::from_millis(200)));
    let question = question(Kind::A, "late.test");
    shards.ask(0, &question);
    shards.ask(1, &question);
    assert_eq!((shards.answer(0).answer.v4().len(), shards.answer(1).answer.v4().len()), (1, 1));
    assert_eq!(server.asked("late.test"), 1);
}

#[test]
fn one_server_that_is_dead_leaves_the_other() {
    let server = DnsServer::start();
    server.address_of("x.test", "192.0.2.1");
    // Nobody listens there: the port was free a moment ago.
    let dead = DnsServer::start().address();
    let shards = Shards::new(1, vec![dead, server.address()]);
    assert_eq!(shards.look(Kind::A, "x.test").0.v4().len(), 1);
}
