//! The lookup thread against a DNS server that answers rightly, late, wrongly or never; and the server that
//! starts and ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::dns::{Answer, Failure, Kind, Name, Question, Records, Tlsa};
use ringmx::handoff::channel::{Consumer, Receiver, Sender};
use ringmx::handoff::lookup::{Answered, Asked};
use rustix::process::Signal;
use support::client::Client;
use support::dns_server::{Behaviour, DnsServer};
use support::server::Server;

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
        std::thread::spawn(move || ringmx::dns::lookup::run(&consumer, &asked, to_shards, &servers, || {}));
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
        ((*answered.answer).clone(), answered.lifetime)
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
    server.tlsa("_25._tcp.x.test", [3, 1, 1], &[7; 32]);
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
    let tlsa = vec![Tlsa { usage: 3, selector: 1, matching: 1, data: [7; 32].into() }];
    assert_eq!(shards.look(Kind::Tlsa, "_25._tcp.x.test").0, Answer::Records(Records::Tlsa(tlsa)));
    assert_eq!(shards.look(Kind::Mx, "alias.test").0, shards.look(Kind::Mx, "x.test").0);
}

#[test]
fn a_zone_file_is_what_the_server_says() {
    let (server, shards) = started();
    server.load_zone(
        "; a comment\n$ORIGIN z.test.\n$TTL 3600\n@ SOA ns.z.test. root.z.test. 1 2 3 4 5\n@ NS ns\n\
         @ 300 IN A 192.0.2.7 ; behind\na MX 10 mx.x.test.\na MX 20 mx\n\n\
         a TXT \"v=DKIM1; \" \"p=x\"\nb CNAME a\n",
    );
    let v4 = std::net::Ipv4Addr::new(192, 0, 2, 7);
    assert_eq!(shards.look(Kind::A, "z.test").0, Answer::Records(Records::A(vec![v4])));
    let text = Answer::Records(Records::Txt(vec![b"v=DKIM1; p=x".as_slice().into()]));
    assert_eq!(
        (shards.look(Kind::Txt, "a.z.test").0, shards.look(Kind::Txt, "b.z.test").0),
        (text.clone(), text)
    );
    let exchangers = vec![(10, Some(name("mx.x.test"))), (20, Some(name("mx.z.test")))];
    assert_eq!(shards.look(Kind::Mx, "a.z.test").0, Answer::Records(Records::Mx(exchangers)));
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
    server.behave("garbage.test", Behaviour::Garbage);
    assert_eq!(shards.look(Kind::A, "servfail.test").0, Answer::Failed(Failure::Server));
    assert_eq!(shards.look(Kind::A, "refused.test").0, Answer::Failed(Failure::Server));
    assert_eq!(shards.look(Kind::A, "silent.test").0, Answer::Failed(Failure::TimedOut));
    assert_eq!(shards.look(Kind::A, "wrong.test").0, Answer::Failed(Failure::TimedOut));
    assert!(matches!(shards.look(Kind::A, "garbage.test").0, Answer::Failed(_)));
    let asked = server.asked_in_all();
    assert_eq!(shards.look(Kind::A, "wrong.test").0, Answer::Failed(Failure::TimedOut));
    assert_eq!(server.asked_in_all(), asked, "the failure is known");
}

#[test]
fn a_long_answer_comes_over_tcp_and_a_late_one_in_time() {
    let (server, shards) = started();
    // With the lengths of its strings this is the largest message that TCP carries (RFC 1035 §4.2.2), but for
    // 40 octets.
    const LONG: usize = 65_200;
    server.txt("long.test", vec![b'x'; LONG]).behave("cut.test", Behaviour::Truncated);
    server.address_of("cut.test", "192.0.2.1").address_of("late.test", "192.0.2.1");
    server.behave("late.test", Behaviour::Late(Duration::from_millis(300)));
    assert_eq!(shards.look(Kind::Txt, "long.test").0.texts()[0].len(), LONG);
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

#[test]
fn what_one_shard_asked_the_others_are_told_without_a_question() {
    let (server, shards) = started();
    server.address_of("x.test", "192.0.2.1").behave("servfail.test", Behaviour::ServerFailure);
    for name in ["x.test", "nobody.test", "servfail.test"] {
        let question = question(Kind::A, name);
        shards.ask(0, &question);
        let first = shards.answer(0);
        let asked = server.asked(name);
        shards.ask(1, &question);
        let second = shards.answer(1);
        assert_eq!((server.asked(name), &second.answer), (asked, &first.answer), "{name}");
        assert!(second.lifetime <= first.lifetime && !second.lifetime.is_zero(), "{name}");
    }
}

#[test]
fn what_a_list_says_holds_for_a_minute_and_not_for_days() {
    let (server, shards) = started();
    let minute = Duration::from_mins(1);
    for (name, seconds, longest) in [("short.test", 0, minute), ("long.test", 172_800, 60 * minute)] {
        server.set_lifetime(seconds);
        server.address_of(name, "127.0.0.2");
        let (answer, lifetime) = shards.look(Kind::A, name);
        assert_eq!(answer.v4().len(), 1);
        // The thread keeps it, and it has aged a little.
        assert!(lifetime <= longest && lifetime + minute / 2 > longest, "{name}: {lifetime:?}");
    }
    server.address_of("host.test", "192.0.2.1");
    assert!(shards.look(Kind::A, "host.test").1 > 60 * minute, "no list says that");
}

/// A server whose configuration has `[dns]`, with these lines.
fn server_with(dns: &str) -> Server {
    Server::start(&format!(
        "[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n[shards]\ncpus = \"all\"\n[dns]\n{dns}"
    ))
}

fn threads_of(server: &Server) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads");
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.ok()?));
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("dns-")).collect()
}

#[test]
fn lookup_threads_serve_beside_mail_and_end_with_the_server() {
    let name_server = DnsServer::start();
    let mut server = server_with(&format!("threads = 1\nservers = [\"{}\"]\n", name_server.address()));
    assert_eq!(threads_of(&server), ["dns-0"]);
    let mut client = Client::greeted(server.address());
    let reply = client.deliver("a@x.test", "b@example.org", b"Subject: x\r\n\r\ntext\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    drop(client);
    assert!(server.stop().success(), "{}", server.log().join("\n"));
    assert_eq!(name_server.asked_in_all(), 0, "nothing is configured that asks");
}

#[test]
fn without_anything_that_asks_there_is_no_lookup_thread_and_a_reload_names_the_restart() {
    let mut server = server_with("");
    assert_eq!(threads_of(&server), [""; 0]);
    let file = server.folder().join("ringmx.toml");
    let config = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, config + "threads = 1\n").expect("written");
    server.signal(Signal::HUP);
    server.wait_for_log(|line| line.contains("dns.threads") && line.contains("until then it is not given"));
    server.wait_for_log(|line| line.contains(" reloaded "));
    assert_eq!(threads_of(&server), [""; 0]);
    assert!(server.stop().success());
}

#[test]
fn a_reload_is_the_first_to_ask_only_where_threads_were_there_before() {
    let name_server = DnsServer::start();
    let servers = format!("servers = [\"{}\"]\n", name_server.address());
    for (threads, said) in [("", "not-reloaded"), ("threads = 1\n", "reloaded")] {
        let mut server = server_with(&(servers.clone() + threads));
        let file = server.folder().join("ringmx.toml");
        let config = std::fs::read_to_string(&file).expect("the configuration");
        std::fs::write(&file, config + "[early]\nsender_domain = \"refuse\"\n").expect("written");
        server.signal(Signal::HUP);
        server.wait_for_log(|line| line.contains(&format!(" {said} ")));
        if threads.is_empty() {
            let log = server.log().join("\n");
            assert!(log.contains("dns.threads: nothing asked the DNS when the server was started"), "{log}");
        }
        assert!(server.stop().success(), "{}", server.log().join("\n"));
    }
}
