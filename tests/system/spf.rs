//! SPF over the DNS itself: the check, a shard's answers, the lookup thread and its resolver, a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringmx::auth::spf::{Outcome, Sender, check};
use ringmx::handoff::channel::{Consumer, Receiver};
use ringmx::handoff::lookup::Answered;
use ringmx::shard::answers::{Answers, Checked};
use serde_json::Value;
use support::dns_server::{Behaviour, DnsServer};

/// A shard that knows nothing yet, and a lookup thread that may.
struct Shard {
    consumer: Consumer,
    answered: Receiver<Answered>,
    ask: ringmx::handoff::channel::Sender<ringmx::handoff::lookup::Asked>,
}

impl Shard {
    fn new(server: SocketAddr) -> Self {
        let (consumer, thread) = (Consumer::new().expect("a bell"), Consumer::new().expect("a bell"));
        let (to_us, answered) = consumer.channel(1024);
        let (ask, asked) = thread.channel(1024);
        thread::spawn(move || ringmx::dns::lookup::run(&thread, &asked, vec![to_us], &[server], || {}));
        Self { consumer, answered, ask }
    }

    /// Runs a check to its end, as a shard does without a deadline of its own.
    fn check(&self, sender: &Sender<'_>) -> Outcome {
        let mut answers = Answers::new(0, Some(self.ask.clone()), Arc::default());
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let now = Instant::now();
            assert!(now < deadline, "a check that has no end");
            let (checked, must_ring) = answers.run_check(0, now, |asking| check(sender, asking));
            if must_ring.is_some() {
                self.ask.ring();
            }
            if let Checked::Done(outcome) = checked {
                return outcome;
            }
            let answered = &self.answered;
            self.consumer.sleep(answers.due_in(now), || answered.is_empty());
            while let Some(answered) = self.answered.next() {
                answers.handle_answer(answered, Instant::now());
            }
            let woken = answers.take_woken(Instant::now(), usize::MAX);
            answers.give_back(woken);
        }
    }
}

/// A server with a zone of `tests/data/rfc7208.json`; its README tells the form.
fn served(lines: &[Value]) -> DnsServer {
    let server = DnsServer::start();
    let has_txt = |name: &str| lines.iter().any(|line| line[0] == name && line[1] == "TXT");
    for line in lines {
        let name = line[0].as_str().expect("a name");
        let value = || line[2].as_str().expect("a text");
        match line[1].as_str().expect("a kind") {
            "TIMEOUT" => server.behave(name, Behaviour::SilentElse),
            "SPF" if has_txt(name) => server.exists(name),
            "SPF" | "TXT" if line[2] == "NONE" => server.exists(name),
            "SPF" | "TXT" => server.txt_strings(name, &strings(&line[2])),
            "A" | "AAAA" => server.address_of(name, value()),
            "MX" => {
                let preference = line[2][0].as_u64().and_then(|number| u16::try_from(number).ok());
                server.mx(name, preference.expect("a preference"), line[2][1].as_str().expect("a name"))
            }
            "PTR" => server.ptr_of(name, value()),
            "CNAME" => server.cname(name, value()),
            other => panic!("{other}"),
        };
    }
    server
}

/// The strings of a text, which are Latin-1 where they are not ASCII.
fn strings(value: &Value) -> Vec<Vec<u8>> {
    let strings = value.as_array().map_or_else(|| vec![value], |strings| strings.iter().collect());
    let octets = |string: &Value| {
        let text = string.as_str().expect("a string").chars();
        text.map(|octet| u8::try_from(u32::from(octet)).expect("an octet")).collect()
    };
    strings.into_iter().map(octets).collect()
}

/// What is wrong in a section of the suite, and how many cases it has.
fn run_section(section: &Value) -> (usize, Vec<String>) {
    let server = served(section["zone"].as_array().expect("a zone"));
    let shard = Shard::new(server.address());
    let cases = section["tests"].as_array().expect("cases");
    let wrong = cases.iter().filter_map(|case| {
        let field = |name: &str| case[name].as_str().unwrap_or_default();
        let (local_part, domain) = match field("from").rsplit_once('@') {
            Some(both) => both,
            None if field("from").is_empty() => ("postmaster", field("helo")),
            None => ("", field("from")),
        };
        let outcome = shard.check(&Sender {
            client: field("client").parse().expect("an address"),
            helo: field("helo").as_bytes(),
            local_part: local_part.as_bytes(),
            domain: domain.as_bytes(),
            receiver: "mx.example.org",
            explains: true,
            now: 1_700_000_000,
        });
        let results = case["results"].as_array().expect("results");
        let is_right = results.iter().any(|result| result == outcome.result.word());
        let ours = outcome.explanation.as_deref();
        let explains = match case["explanation"].as_str() {
            None => true,
            Some("DEFAULT") => ours.is_none(),
            Some(text) => ours.is_some_and(|ours| ours.eq_ignore_ascii_case(text)),
        };
        let told = || format!("{}: {outcome:?}, expected {results:?}", field("name"));
        (!(is_right && explains)).then(told)
    });
    (cases.len(), wrong.collect())
}

/// A server that does not answer is one: a section with such names takes as long as the resolver waits.
#[test]
fn the_openspf_suite_passes_over_the_dns() {
    let suite: Value = serde_json::from_str(include_str!("../data/rfc7208.json")).expect("JSON");
    let sections = suite.as_array().expect("sections");
    let results: Vec<(usize, Vec<String>)> = thread::scope(|scope| {
        let running: Vec<_> =
            sections.iter().map(|section| scope.spawn(move || run_section(section))).collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let cases: usize = results.iter().map(|(cases, _)| cases).sum();
    let wrong: Vec<String> = results.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert_eq!(cases, 203);
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_record_of_many_strings_and_more_octets_than_a_datagram_holds_is_read_whole() {
    let server = DnsServer::start();
    let record = |networks: u8| {
        let networks: Vec<String> = (0..networks).map(|number| format!("ip4:198.51.100.{number}")).collect();
        format!("v=spf1 {} ip4:192.0.2.1 -all", networks.join(" "))
    };
    let (longest, too_long) = (record(215), record(230));
    assert!(longest.len() > 3900 && longest.len() <= 4096 && too_long.len() > 4096);
    // More than any size of EDNS that resolvers announce.
    server.txt("x.test", &longest).txt("x.test", [b'x'; 600]);
    server.txt("y.test", "v=spf1 include:x.test ~all").txt("z.test", &too_long);
    let shard = Shard::new(server.address());
    for (domain, client, expected) in [
        ("x.test", "192.0.2.1", "pass"),
        ("x.test", "192.0.2.2", "fail"),
        ("y.test", "192.0.2.1", "pass"),
        ("y.test", "192.0.2.2", "softfail"),
        ("z.test", "192.0.2.1", "permerror"),
    ] {
        let outcome = shard.check(&Sender {
            client: client.parse().expect("an address"),
            helo: b"mx.x.test",
            local_part: b"a",
            domain: domain.as_bytes(),
            receiver: "mx.example.org",
            explains: true,
            now: 1_700_000_000,
        });
        assert_eq!(outcome.result.word(), expected, "{domain} {client}: {outcome:?}");
    }
}
