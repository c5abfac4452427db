//! Messages that wait for their verdict, one case a test: the DNS is answered by hand, time passes when the
//! test says so. `authentication` has them in any order, under faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::auth::rules::AuthRules;
use ringmx::buffer::Pool;
use ringmx::config;
use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::front::checks::Checks;
use ringmx::handoff::channel::{Consumer, Receiver, Sender};
use ringmx::handoff::lookup::{Answered, Asked};
use ringmx::handoff::part::{Errand, Written};
use ringmx::limits::{SHUTDOWN_WAIT_MAX, SPILL_IDLE_MAX};
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::front_line::{Authentication, FrontLine};
use ringmx::shard::inbox::inbox;
use ringmx::shard::order::Order;
use ringmx::shard::parts::Overflow;
use ringmx::sink::spiller::Spiller;

use crate::ledger::{Ledger, Stored};
use crate::shard::{Builder, Running, settings};
use crate::spiller::Silent;

/// A shard, and what surrounds it.
struct Scene {
    world: World,
    running: Running,
    orders: Sender<Order>,
    asked: Receiver<Asked>,
    answers: Sender<Answered>,
    errands: Receiver<Errand>,
    written: Sender<Written>,
    spiller: Spiller,
    ledger: Ledger,
}

/// A client and what it was told.
struct Client {
    socket: Socket,
    told: String,
}

impl Scene {
    /// With these lines in `[auth]`.
    fn new(auth: &str) -> Self {
        let mut pool = Pool::new(64, 4096, 4 << 20).expect("memory");
        pool.spill_beyond(8 << 10);
        Self::with_pool(auth, pool)
    }

    fn with_pool(auth: &str, pool: Pool) -> Self {
        let text = format!(
            "hostname = \"mx.test\"\ndomains = [\"y.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n\
             [[sink]]\nkind = \"discard\"\n[auth]\n{auth}\n"
        );
        let (config, _) = config::parse(&text, "mx.toml", std::path::Path::new("/etc")).expect("good");
        let rules: AuthRules = config.auth.clone().expect("it is given");
        let world = World::new(7, Faults::NONE);
        let (letterbox, inbox) = inbox(100).expect("eventfd");
        let (to_lookup, asked) = Consumer::new().expect("eventfd").channel(100);
        let (to_spiller, errands) = Consumer::new().expect("eventfd").channel(64);
        let checks = Arc::new(Checks::new(config.front.rules.clone(), Instant::now()));
        let front = FrontLine { checks, greylist: None, auth: Some(Authentication::new(rules)) };
        let ledger = Ledger::default();
        let sink = ToSink::Inline(Box::new(ledger.clone()));
        let running = Builder::new(pool, settings(&config, "mx.test"), sink, inbox)
            .checking(front, to_lookup)
            .spilling(Overflow::Files(to_spiller))
            .start(&world);
        let budget = ringmx::buffer::SpillBudget::new(64 << 20, 100);
        let spiller = Spiller::new(std::env::temp_dir(), budget, Arc::new(Silent));
        let (orders, answers, written) = (letterbox.orders, letterbox.answers, letterbox.written);
        Self { world, running, orders, asked, answers, errands, written, spiller, ledger }
    }

    /// Some turns, in which no time passes but what they take.
    fn turns(&mut self) {
        for _ in 0..12 {
            // Something happens, or it would sleep.
            self.world.wake();
            self.running.shard.turn().expect("a turn");
        }
    }

    /// Time passes, and the shard wakes up in it as it likes.
    fn pass(&mut self, time: Duration) {
        let until = self.world.elapsed() + time;
        while self.world.elapsed() < until {
            self.world.pass(until.saturating_sub(self.world.elapsed()).min(Duration::from_millis(50)));
            self.turns();
        }
    }

    /// A client that was greeted and has said EHLO.
    fn client(&mut self) -> Client {
        let mut client = Client { socket: self.world.connect(), told: String::new() };
        self.turns();
        self.say(&mut client, "EHLO mx.x.test\r\n");
        assert!(client.told.ends_with("250 HELP\r\n"), "{}", client.told);
        client.told.clear();
        client
    }

    fn say(&mut self, client: &mut Client, text: &str) {
        self.world.write(client.socket, text.as_bytes());
        self.hear(client);
    }

    fn hear(&mut self, client: &mut Client) {
        self.turns();
        client.told.push_str(&String::from_utf8(self.world.read(client.socket)).expect("ASCII"));
    }

    /// What it was told since this was asked last: reply codes with enhanced ones.
    fn codes(&mut self, client: &mut Client) -> Vec<String> {
        self.hear(client);
        let told = std::mem::take(&mut client.told);
        let code = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        told.lines().map(code).collect()
    }

    fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.next()).map(|asked| asked.question.name.to_string()).collect()
    }

    /// Answers a question: with this text, or that there is none.
    fn answer(&mut self, name: &str, text: Option<&str>) {
        let question = Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"));
        let answer = match text {
            Some(text) => Answer::Records(Records::Txt(vec![text.as_bytes().into()])),
            None => Answer::NoName,
        };
        let lifetime = Duration::from_mins(5);
        let _ = self.answers.send_and_ring(Answered { question, answer: Arc::new(answer), lifetime });
        self.turns();
    }

    /// Does what the spiller is to do. `is_scarce`: it has no room for more.
    fn spill(&mut self, is_scarce: bool) -> usize {
        let mut count = 0;
        while let Some(errand) = self.errands.next() {
            match errand {
                Errand::Close(file) => self.spiller.close(file),
                Errand::Write(part) => {
                    count += 1;
                    let written = Written { is_scarce, ..self.spiller.write(part) };
                    self.written.answer(written);
                    self.written.ring_if_parked();
                }
            }
        }
        self.turns();
        count
    }

    fn stored(&self, recipient: &str) -> Option<Stored> {
        self.ledger.all().get(recipient).cloned()
    }

    /// Nobody holds anything any more.
    fn end(mut self) {
        self.turns();
        self.spill(false);
        let values = self.running.metrics.read();
        assert_eq!((values.buffers_pinned, values.block_bytes_used, values.session_panics), (0, 0, 0));
    }
}

/// A transaction whose mail data comes in one chunk.
fn chunk(from: &str, recipient: &str, message: &str) -> String {
    format!("MAIL FROM:<{from}>\r\nRCPT TO:<{recipient}@y.test>\r\nBDAT {} LAST\r\n{message}", message.len())
}

fn results(stored: Option<Stored>) -> String {
    String::from_utf8(stored.expect("it is stored").received).expect("UTF-8").replace("\r\n\t", " ")
}

const MESSAGE: &str = "From: a@x.test\r\nSubject: x\r\n\r\nText\r\n";
const REJECT: Option<&str> = Some("v=DMARC1; p=reject");
const NOTHING: [&str; 0] = [];
const TAKEN: [&str; 2] = ["250 2.1.0", "250 2.1.5"];

#[test]
fn a_client_that_goes_away_while_its_message_waits_leaves_nothing() {
    let mut scene = Scene::new("");
    let mut client = scene.client();
    scene.say(&mut client, &chunk("a@x.test", "b", MESSAGE));
    assert_eq!(scene.codes(&mut client), TAKEN);
    scene.world.reset(client.socket);
    scene.turns();
    assert!(scene.world.is_closed(client.socket));
    for name in ["x.test", "mx.x.test", "_dmarc.x.test", "_dmarc.test"] {
        scene.answer(name, None);
    }
    scene.pass(Duration::from_secs(10));
    assert!(scene.stored("b@y.test").is_none());
    scene.end();
}

#[test]
fn a_client_that_closes_its_half_has_its_answer() {
    let mut scene = Scene::new("");
    let mut client = scene.client();
    scene.say(&mut client, &chunk("a@x.test", "b", MESSAGE));
    scene.world.finish(client.socket);
    scene.turns();
    assert_eq!(scene.codes(&mut client), TAKEN);
    for name in ["x.test", "mx.x.test", "_dmarc.x.test", "_dmarc.test"] {
        scene.answer(name, None);
    }
    assert_eq!(scene.codes(&mut client), ["250 2.0.0"]);
    assert!(scene.stored("b@y.test").is_some());
    scene.pass(Duration::from_secs(5));
    scene.end();
}

#[test]
fn pipelined_messages_have_each_their_own_verdict_in_order() {
    let mut scene = Scene::new("");
    let mut client = scene.client();
    let other = "From: a@other.test\r\nSubject: x\r\n\r\nText\r\n";
    let both = [chunk("a@x.test", "first", MESSAGE), chunk("a@other.test", "second", other)].concat();
    scene.say(&mut client, &both);
    assert_eq!(scene.codes(&mut client), TAKEN);
    assert_eq!(scene.asked(), ["mx.x.test", "x.test", "_dmarc.x.test"], "the second is not read");
    scene.answer("mx.x.test", None);
    scene.answer("_dmarc.x.test", REJECT);
    assert_eq!(scene.codes(&mut client), NOTHING);
    scene.answer("x.test", Some("v=spf1 -all"));
    let expected = ["550 5.7.1", "250 2.1.0", "250 2.1.5"];
    assert_eq!(scene.codes(&mut client), expected, "the second waits for its own");
    assert_eq!(scene.asked(), ["other.test", "_dmarc.other.test"]);
    scene.answer("_dmarc.other.test", REJECT);
    scene.answer("other.test", Some("v=spf1 +all"));
    assert_eq!(scene.codes(&mut client), ["250 2.0.0"]);
    assert!(scene.stored("first@y.test").is_none());
    let field = results(scene.stored("second@y.test"));
    assert!(field.contains("dmarc=pass (p=reject applied=none) header.from=other.test"), "{field}");
    scene.say(&mut client, "QUIT\r\n");
    scene.end();
}

#[test]
fn a_transaction_that_is_reset_between_chunks_is_forgotten() {
    let mut scene = Scene::new("");
    let mut client = scene.client();
    let half =
        "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=Zm9v; b=Zm9v\r\nFrom: a@x.test\r\n";
    scene.say(
        &mut client,
        &format!("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT {}\r\n{half}RSET\r\n", half.len()),
    );
    assert_eq!(scene.codes(&mut client), [TAKEN[0], TAKEN[1], "250 2.0.0", "250 2.0.0"]);
    let other = "\r\nFrom: a@x.test\r\n";
    scene.say(&mut client, &chunk("", "c", other));
    scene.answer("mx.x.test", None);
    assert_eq!(scene.codes(&mut client), [TAKEN[0], TAKEN[1], "250 2.0.0"]);
    let stored = scene.stored("c@y.test").expect("it is stored");
    assert_eq!(stored.data, other.as_bytes());
    let json: serde_json::Value = serde_json::from_str(&stored.results).expect("JSON");
    assert_eq!(json["from"]["problem"], "there is no From: field", "{json}");
    assert_eq!(
        (&json["dkim"], &json["spf"]["mailfrom"]["domain"]),
        (&serde_json::json!([]), &"mx.x.test".into())
    );
    scene.say(&mut client, "QUIT\r\n");
    scene.end();
}

#[test]
fn a_dns_that_is_silent_refuses_nothing_unless_that_is_wished_for() {
    for (auth, code) in [("", "250 2.0.0"), ("temporary_failure = \"refuse\"", "451 4.7.1")] {
        let mut scene = Scene::new(auth);
        let mut client = scene.client();
        scene.say(&mut client, &chunk("a@x.test", "b", MESSAGE));
        scene.answer("_dmarc.x.test", REJECT);
        let begun = scene.world.elapsed();
        assert_eq!(scene.codes(&mut client), TAKEN);
        scene.pass(Duration::from_millis(4800));
        assert_eq!(scene.codes(&mut client), NOTHING);
        scene.pass(Duration::from_millis(500));
        assert_eq!(
            scene.codes(&mut client),
            [code],
            "after {:?}",
            scene.world.elapsed().saturating_sub(begun)
        );
        // Answers that come now are too late.
        scene.answer("x.test", Some("v=spf1 +all"));
        assert_eq!(scene.codes(&mut client), NOTHING);
        assert_eq!(scene.stored("b@y.test").is_some(), code.starts_with("250"));
        scene.say(&mut client, "QUIT\r\n");
        scene.end();
    }
}

/// What is asked only when the message is complete, because only an answer that comes late leads to it.
const AT_THE_END: &str = "late.test";

/// An SPF record that leads there.
const TO_THE_END: Option<&str> = Some("v=spf1 include:late.test -all");

#[test]
fn a_message_that_took_long_waits_for_a_second_and_one_without_a_body_as_long_as_others() {
    for (message, rest, waits) in [
        (MESSAGE, "more\r\n", Duration::from_secs(1)),
        ("From: a@x.test\r\n", "To: b@y.test\r\n", Duration::from_secs(5)),
    ] {
        let mut scene = Scene::new("");
        let mut client = scene.client();
        scene.say(
            &mut client,
            &format!("MAIL FROM:<a@other.test>\r\nRCPT TO:<b@y.test>\r\nBDAT {}\r\n{message}", message.len()),
        );
        scene.answer("mx.x.test", None);
        scene.answer("_dmarc.x.test", REJECT);
        scene.pass(Duration::from_secs(20));
        scene.asked();
        scene.answer("other.test", TO_THE_END);
        client.told.clear();
        scene.say(&mut client, &format!("BDAT {} LAST\r\n{rest}", rest.len()));
        assert!(scene.asked().iter().any(|name| name == AT_THE_END));
        scene.pass(waits.saturating_sub(Duration::from_millis(200)));
        assert_eq!(scene.codes(&mut client), NOTHING, "{message}");
        scene.pass(Duration::from_millis(500));
        assert_eq!(scene.codes(&mut client), ["250 2.0.0"], "{message}");
        let field = results(scene.stored("b@y.test"));
        assert!(field.contains("dmarc=temperror (p=reject applied=none)"), "{field}");
        scene.say(&mut client, "QUIT\r\n");
        scene.end();
    }
}

#[test]
fn a_server_that_stops_gives_the_verdict_and_ends() {
    for is_answered in [true, false] {
        let mut scene = Scene::new("");
        let mut client = scene.client();
        scene.say(&mut client, &chunk("a@x.test", "b", MESSAGE));
        assert!(scene.orders.try_send(Order::Stop).is_ok());
        scene.turns();
        let stopped_at = scene.world.elapsed();
        assert_eq!(scene.codes(&mut client), TAKEN);
        if is_answered {
            for name in ["x.test", "mx.x.test", "_dmarc.x.test", "_dmarc.test"] {
                scene.answer(name, None);
            }
        } else {
            scene.pass(Duration::from_millis(5300));
        }
        assert_eq!(scene.codes(&mut client), ["250 2.0.0", "421 4.3.2"]);
        scene.world.finish(client.socket);
        scene.turns();
        assert!(scene.world.is_closed(client.socket));
        assert!(scene.world.elapsed().saturating_sub(stopped_at) < SHUTDOWN_WAIT_MAX);
        let field = results(scene.stored("b@y.test"));
        assert!(field.contains(if is_answered { "spf=none" } else { "spf=temperror" }), "{field}");
        scene.end();
    }
}

/// It waits for us, however slowly it came.
#[test]
fn a_message_that_waits_for_its_verdict_does_not_give_way_to_others_that_spill() {
    let mut scene = Scene::new("");
    let (mut slow, mut other) = (scene.client(), scene.client());
    let text = "Text of a mail\r\n".repeat(2000);
    let message = format!("{MESSAGE}{text}");
    let begin = |client: &mut Client, scene: &mut Scene, recipient: &str| {
        scene.say(client, &format!("MAIL FROM:<a@other.test>\r\nRCPT TO:<{recipient}@y.test>\r\nDATA\r\n"));
        scene.say(client, &message);
    };
    begin(&mut slow, &mut scene, "slow");
    while scene.spill(false) > 0 {}
    scene.answer("mx.x.test", None);
    scene.answer("_dmarc.x.test", REJECT);
    scene.pass(SPILL_IDLE_MAX + Duration::from_secs(1));
    scene.answer("other.test", TO_THE_END);
    slow.told.clear();
    scene.say(&mut slow, ".\r\n");
    begin(&mut other, &mut scene, "other");
    assert!(scene.spill(true) > 0);
    scene.pass(Duration::from_millis(100));
    assert_eq!(scene.codes(&mut slow), NOTHING, "it is not judged for others");
    for name in ["_dmarc.other.test", "_dmarc.test"] {
        scene.answer(name, None);
    }
    scene.answer(AT_THE_END, Some("v=spf1 +all"));
    while scene.spill(false) > 0 {}
    assert_eq!(scene.codes(&mut slow), ["250 2.0.0"]);
    let stored = scene.stored("slow@y.test");
    assert_eq!(stored.as_ref().map(|stored| &*stored.data), Some(message.as_bytes()));
    assert!(results(stored).contains("dmarc=fail (p=reject applied=quarantine)"));
    scene.world.reset(other.socket);
    scene.world.finish(slow.socket);
    scene.end();
}

#[test]
fn mail_data_leaves_memory_only_after_its_header_section() {
    let mut scene = Scene::new("header_bytes_max = \"256 KiB\"");
    let mut client = scene.client();
    scene.say(&mut client, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
    let forged = "Authentication-Results: mx.test; dmarc=pass\r\n";
    let field = format!("X-Long: {}\r\n", "x".repeat(900));
    let header = format!("From: a@x.test\r\n{forged}{}{forged}", field.repeat(100));
    scene.say(&mut client, &header);
    assert_eq!(scene.spill(false), 0, "it is to be read first");
    let body = "Text of a mail\r\n".repeat(3000);
    scene.say(&mut client, &format!("\r\n{body}"));
    assert!(scene.spill(false) > 0, "then it goes");
    while scene.spill(false) > 0 {}
    scene.say(&mut client, ".\r\n");
    for name in ["x.test", "mx.x.test", "_dmarc.x.test", "_dmarc.test"] {
        scene.answer(name, None);
    }
    while scene.spill(false) > 0 {}
    let codes = scene.codes(&mut client);
    assert_eq!(codes.last().map(String::as_str), Some("250 2.0.0"));
    let stored = scene.stored("b@y.test").expect("it is stored");
    assert!(stored.data == format!("{header}\r\n{body}").replace(forged, "").into_bytes());
    scene.say(&mut client, "QUIT\r\n");
    scene.end();
}

/// A header section stays in memory until its end. Many that never end must not keep others out.
#[test]
fn half_header_sections_cannot_fill_the_memory_of_others() {
    const CLIENTS: usize = 90;
    let blocks = 4 << 20;
    let mut scene = Scene::with_pool("", Pool::new(64, 4096, blocks).expect("memory"));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| scene.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        scene.say(client, &format!("MAIL FROM:<>\r\nRCPT TO:<c{number}@y.test>\r\nDATA\r\n"));
        client.told.clear();
    }
    let part = format!("X-Long: {}\r\n", "x".repeat(900)).repeat(4);
    let (mut most, mut sent) = (0, 0);
    for round in 0..50 {
        for client in &clients {
            scene.world.write(client.socket, part.as_bytes());
        }
        sent += CLIENTS * part.len();
        scene.turns();
        let values = scene.running.metrics.read();
        most = most.max(values.block_bytes_used + values.buffers_pinned * 4096);
        assert!(
            values.block_bytes_used < blocks as u64 / 8 * 7,
            "round {round}: {}",
            values.block_bytes_used
        );
    }
    println!("{CLIENTS} half header sections of {sent} octets took {most} octets of {blocks}");
    let mut good = scene.client();
    scene.answer("mx.x.test", None);
    scene.say(&mut good, &chunk("", "good", MESSAGE));
    for name in ["_dmarc.x.test", "_dmarc.test"] {
        scene.answer(name, None);
    }
    assert_eq!(scene.codes(&mut good), [TAKEN[0], TAKEN[1], "250 2.0.0"]);
    // Whoever pressed too much is told so, at the end.
    let mut refused = 0;
    for client in &mut clients {
        scene.say(client, "\r\n.\r\n");
        refused += usize::from(scene.codes(client).iter().any(|code| code == "451 4.3.2"));
        scene.world.reset(client.socket);
    }
    println!("{refused} of them were refused");
    assert!(refused > CLIENTS / 2, "{refused}");
    scene.world.reset(good.socket);
    scene.end();
}
