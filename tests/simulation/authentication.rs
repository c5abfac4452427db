//! A shard that authenticates messages, on virtual time: SPF, signatures, DMARC, the author's field, forged
//! results. Its lookup thread is late, loses answers, fails, says things twice and in any order, as the seed
//! decides; clients send by DATA and in chunks, rest anywhere, pipeline the next transaction, and go away.
//!
//! After each run: a complete message was answered five seconds after its header section had come, or one
//! second after its end, whatever came later. It was told what a naive model says of it where all answers
//! came in time; else what that says when some are missing. What was answered 250 is stored once: octet for
//! octet what was sent without what `results::forged` names, below a field of ours that says what the model
//! says. What was refused, or has no end, is not stored. A server that is told to stop ends in its time.
//!
//! `SIMULATION_SEED=7` runs one seed again, `SIMULATION_SEEDS=100000` runs more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::auth::header::Header;
use ringmx::auth::results;
use ringmx::auth::rules::{AuthRules, DmarcUse, SpfUse};
use ringmx::buffer::Pool;
use ringmx::config::{self, Config};
use ringmx::front::checks::Checks;
use ringmx::handoff::channel;
use ringmx::limits::{DRAIN_WAIT_MAX, SHUTDOWN_WAIT_MAX};
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::delivery::ToSink;
use ringmx::shard::front_line::{Authentication, FrontLine};
use ringmx::shard::inbox::{Letterbox, inbox};
use ringmx::shard::order::Order;
use ringmx::smtp::settings::Settings;
use ringmx::smtp::trace::Beginning;

use crate::auth_zone::{self, Spf, Wish, ZONE, domain, spf, wish};
use crate::ledger::{Ledger, Stored};
use crate::lookup::SlowLookup;
use crate::sender::{Sender, Sent, section};
use crate::shard::{Builder, Running, settings};
use crate::signed_mail::Seal;
use crate::spiller::SlowSpiller;

/// Seeds of a usual run.
const SEEDS: u64 = 400;

/// A busy machine tries fewer of them, and says how many.
const TIME_MAX: Duration = Duration::from_secs(50);

/// Fewer seeds than these may by chance not show every outcome.
const COUNTED_MIN: u64 = 100;

/// How long a message waits, from the end of its header section and from its own.
const WAIT_MAX: Duration = Duration::from_secs(5);
const LATE_WAIT: Duration = Duration::from_secs(1);

/// How exact the shard's timers are, and some turns that take time.
const SLACK: Duration = Duration::from_millis(125 + 275);

/// Turns in which clients come and the network has faults.
const STORM_TURNS: u64 = 2500;

/// Turns in which everything ends: seconds of virtual time, for those who fall silent.
const CALM_TURNS_MAX: u64 = 20_000;

/// Questions on their way that have room, where nothing is to be refused for the want of it.
const ROOM: usize = 4096;

/// Clients from here on are trusted, and results of those from there on are kept.
const TRUSTED: std::ops::Range<u8> = 64..128;
const KEPT: std::ops::Range<u8> = 32..64;

struct Simulation {
    world: World,
    running: Running,
    lookup: SlowLookup,
    spiller: Option<SlowSpiller>,
    rules: AuthRules,
    ledger: Ledger,
    orders: channel::Sender<Order>,
    /// In which turn it is told to stop.
    stops_in: Option<u64>,
    stopped_at: Option<Duration>,
    /// When the last client was gone.
    ended_at: Duration,
    /// All answers come at once and are right.
    is_calm: bool,
}

fn configuration(world: &World) -> Config {
    let one = |options: &[&str]| {
        options[usize::try_from(world.random(options.len() as u64)).expect("small")].to_owned()
    };
    let text = format!(
        "hostname = \"mx.test\"\ndomains = [\"y.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n\
         proxy_from = [\"192.0.2.1\"]\n[[sink]]\nkind = \"discard\"\n\
         [[access]]\nnetworks = [\"198.51.100.64/26\"]\naction = \"trust\"\n\
         [auth]\nspf = \"{}\"\ndkim = \"{}\"\ndmarc = \"{}\"\nfrom = \"{}\"\ntemporary_failure = \"{}\"\n\
         keep_results_from = [\"198.51.100.32/27\"]\n",
        one(&["off", "mark", "mark", "mark"]),
        one(&["off", "mark", "mark", "mark"]),
        one(&["off", "mark", "with-reason", "with-reason", "always"]),
        one(&["mark", "mark", "refuse"]),
        one(&["accept", "refuse"]),
    );
    match config::parse(&text, "mx.toml", std::path::Path::new("/etc")) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let is_calm = seed.is_multiple_of(3);
        let world = World::new(seed, Faults::ALL);
        let room = |bound| usize::try_from(1 + world.random(bound)).expect("small");
        let (asks, answers) = if is_calm { (ROOM, ROOM) } else { (room(60), room(60)) };
        let config = configuration(&world);
        let mut rules = config.auth.clone().expect("it is given");
        rules.header_bytes_max = 5000 + room(3) * 4096;
        let (letterbox, inbox) = inbox(answers).expect("eventfd");
        let Letterbox { answers: to_shard, orders, written, .. } = letterbox;
        let (mut lookup, to_lookup) = SlowLookup::new(to_shard, asks, ZONE);
        if is_calm {
            lookup.recover();
        }
        let checks = Arc::new(Checks::new(config.front.rules.clone(), Instant::now()));
        let settings = Settings { words: checks.words().into(), ..settings(&config, "mx.test") };
        let front = FrontLine { checks, greylist: None, auth: Some(Authentication::new(rules.clone())) };
        let ledger = Ledger::default();
        let mut pool = Pool::new(128, 4096, 8 << 20).expect("memory");
        let spills = seed % 4 == 1;
        if spills {
            pool.spill_beyond(8 << 10);
        }
        let builder = Builder::new(pool, settings, ToSink::Inline(Box::new(ledger.clone())), inbox);
        let (spiller, builder) = if spills {
            let (spiller, overflow) = SlowSpiller::new(written);
            (Some(spiller), builder.spilling(overflow))
        } else {
            (None, builder)
        };
        let running = builder.checking(front, to_lookup).start(&world);
        let stops_in = (seed % 5 == 2).then(|| world.random(STORM_TURNS / 2));
        Self {
            world,
            running,
            lookup,
            spiller,
            rules,
            ledger,
            orders,
            stops_in,
            stopped_at: None,
            ended_at: Duration::ZERO,
            is_calm,
        }
    }

    fn turn(&mut self) {
        self.lookup.work(&self.world);
        if let Some(spiller) = &mut self.spiller {
            spiller.work(&self.world);
        }
        self.running.shard.turn().expect("a turn");
    }

    /// Clients come one after the other and go; ends when all are gone.
    fn run(&mut self) -> Vec<Sender> {
        let count = 3 + usize::try_from(self.world.random(8)).expect("small");
        let mut senders: Vec<Sender> = Vec::new();
        for turn in 0..STORM_TURNS + CALM_TURNS_MAX {
            if turn < STORM_TURNS {
                self.world.pass(Duration::from_micros(self.world.random(4000)));
            } else {
                // Where all is late now and then, time hardly passes.
                self.world.set_faults(Faults::NONE);
                self.spiller.iter_mut().for_each(SlowSpiller::recover);
            }
            if self.stops_in == Some(turn) {
                assert!(self.orders.try_send(Order::Stop).is_ok());
                self.stopped_at = Some(self.world.elapsed());
            }
            let comes = self.stopped_at.is_none() && senders.len() < count;
            if comes && self.world.random(8) == 0 {
                let max = self.rules.header_bytes_max;
                senders.push(Sender::new(&self.world, senders.len(), max));
            }
            self.turn();
            let busy = senders.iter_mut().filter_map(|sender| sender.act(&self.world).then_some(())).count();
            if busy == 0 && (senders.len() == count || self.stopped_at.is_some()) {
                return senders;
            }
        }
        senders.retain_mut(|sender| sender.act(&self.world));
        panic!("somebody waits for ever, after {:?}: {senders:?}", self.world.elapsed());
    }
}

/// What may be missing of what the DNS knows.
#[derive(Debug, Clone, Copy)]
struct Missing {
    path: bool,
    ehlo: bool,
    key: bool,
    policy: bool,
    /// What is asked to tell whether two domains are of one organisation.
    organisation: bool,
}

impl Missing {
    fn choices(is_calm: bool) -> impl Iterator<Item = Self> {
        (0_u32..if is_calm { 1 } else { 1 << 5 }).map(|bits| {
            let bit = |place: u32| bits >> place & 1 == 1;
            Self { path: bit(0), ehlo: bit(1), key: bit(2), policy: bit(3), organisation: bit(4) }
        })
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    /// What its end is told.
    reply: &'static str,
    is_suspicious: bool,
    /// The result of DMARC, where that is told.
    dmarc: Option<&'static str>,
}

const ACCEPTED: Fate = Fate { reply: "250 2.0.0", is_suspicious: false, dmarc: None };
const MARKED: Fate = Fate { is_suspicious: true, ..ACCEPTED };
const REFUSED: Fate = Fate { reply: "550 5.7.1 Refused by the DMARC", ..ACCEPTED };

/// The naive model.
struct Model<'a> {
    rules: &'a AuthRules,
    sender: &'a Sender,
    sent: &'a Sent,
}

impl Model<'_> {
    fn fate(&self, missing: Missing) -> Fate {
        let Sent { mail, .. } = self.sent;
        let is_text = Beginning::of(std::iter::once(&*mail.octets)) == Beginning::Text;
        if section(&mail.octets) > self.rules.header_bytes_max && !is_text {
            return Fate { reply: "552 5.3.4 Header section", ..ACCEPTED };
        }
        if TRUSTED.contains(&self.sender.number) {
            return ACCEPTED;
        }
        let Some(author) = mail.author else {
            let refused = Fate { reply: "550 5.7.1 From:", ..ACCEPTED };
            let dmarc = (self.rules.dmarc != DmarcUse::Off).then_some("permerror");
            return if self.rules.from_refuses { refused } else { Fate { dmarc, ..MARKED } };
        };
        if self.rules.dmarc == DmarcUse::Off {
            return ACCEPTED;
        }
        let (told, dmarc) = self.dmarc(author, missing);
        Fate { dmarc: Some(dmarc), ..told }
    }

    fn dmarc(&self, author: u64, missing: Missing) -> (Fate, &'static str) {
        let spf_of = |number, is_missing: bool| (!is_missing).then(|| spf(number, self.sender.number));
        let spf = match self.sent.path {
            Some(path) => (path, spf_of(path, missing.path)),
            None => (self.sender.ehlo, spf_of(self.sender.ehlo, missing.ehlo)),
        };
        if missing.policy {
            return (ACCEPTED, "temperror");
        }
        if wish(author) == Wish::Unsaid {
            // Then the domains above are asked.
            return (ACCEPTED, if missing.organisation { "temperror" } else { "none" });
        }
        // Domains, and whether they pass; those that nothing is known of could.
        let mut identifiers = Vec::new();
        if self.rules.spf != SpfUse::Off {
            match spf {
                (domain, Some(Spf::Pass)) => identifiers.push((domain, true)),
                (domain, None) => identifiers.push((domain, false)),
                (_, Some(Spf::None | Spf::Fail | Spf::PermError | Spf::Neutral)) => {}
            }
        }
        if self.rules.dkim {
            match self.sent.mail.signature {
                Some((domain, Seal::Good)) => identifiers.push((domain, !missing.key)),
                Some((domain, Seal::Bad)) if missing.key => identifiers.push((domain, false)),
                Some((_, Seal::Bad | Seal::BrokenBody)) | None => {}
            }
        }
        let passes = identifiers.contains(&(author, true));
        let is_open = identifiers.iter().any(
            |(domain, passes)| {
                if *domain == author { !passes } else { missing.organisation }
            },
        );
        let may_refuse = matches!(self.rules.dmarc, DmarcUse::WithReason | DmarcUse::Always);
        let speaks_against =
            self.rules.spf != SpfUse::Off && matches!(spf.1, Some(Spf::Fail | Spf::PermError));
        if passes {
            return (ACCEPTED, "pass");
        }
        if is_open {
            let comes_again =
                self.rules.temporary_failure_refuses && may_refuse && wish(author) == Wish::Reject;
            let told = if comes_again { "451 4.7.1 Cannot find out" } else { ACCEPTED.reply };
            return (Fate { reply: told, ..ACCEPTED }, "temperror");
        }
        let told = match (wish(author), self.rules.dmarc) {
            (Wish::Unsaid | Wish::None, _) => ACCEPTED,
            (Wish::Reject, DmarcUse::Always) => REFUSED,
            (Wish::Reject, DmarcUse::WithReason) if speaks_against => REFUSED,
            (Wish::Quarantine | Wish::Reject, _) => MARKED,
        };
        (told, "fail")
    }
}

fn check(simulation: &Simulation, senders: &[Sender]) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    let stored = simulation.ledger.all();
    let mut known = 0;
    for sender in senders {
        let is_told_all = simulation.stopped_at.is_none() && sender.hears_all();
        if is_told_all {
            assert!(sender.unanswered().is_empty(), "{sender:?} waits for ever");
        }
        // One that was pipelined is parsed when the one before has its answer.
        let mut before = Duration::ZERO;
        for sent in &sender.sent {
            let kept = stored.get(&sent.recipient);
            known += usize::from(kept.is_some());
            let told = check_message(simulation, sender, sent, kept, before);
            before = sent.reply.as_ref().map_or(before, |(_, at)| *at);
            let waited = sent.end_at.map_or(Duration::ZERO, |end_at| before.saturating_sub(end_at));
            *seen.entry("waited".to_owned()).or_default() += u64::from(waited > LATE_WAIT / 2);
            *seen.entry(told).or_default() += 1;
        }
    }
    assert_eq!(known, stored.len(), "nobody sent these");
    if let Some(stopped_at) = simulation.stopped_at {
        let took = simulation.ended_at.saturating_sub(stopped_at);
        assert!(took <= SHUTDOWN_WAIT_MAX + DRAIN_WAIT_MAX + SLACK, "it stopped in {took:?}: {senders:?}");
        *seen.entry("stopped".to_owned()).or_default() += 1;
    }
    let values = simulation.running.metrics.read();
    assert_eq!((values.connections_open, values.session_panics), (0, 0));
    assert_eq!((values.buffers_pinned, values.block_bytes_used), (0, 0));
    *seen.entry("spilled".to_owned()).or_default() += values.spills;
    seen
}

fn check_message(
    simulation: &Simulation,
    sender: &Sender,
    sent: &Sent,
    kept: Option<&Stored>,
    before: Duration,
) -> String {
    let model = Model { rules: &simulation.rules, sender, sent };
    let fates: BTreeSet<Fate> =
        Missing::choices(simulation.is_calm).map(|missing| model.fate(missing)).collect();
    if let Some(kept) = kept {
        let fate = fate_of(kept);
        assert!(fates.contains(&fate), "{fate:?} is none of {fates:?}: {sender:?}");
        check_octets(simulation, sender, sent, kept);
    }
    let Some((reply, at)) = &sent.reply else {
        // It went before it was told, was cut off, or never sent the end.
        assert!(kept.is_none() || sent.end_at.is_some(), "stored before its end: {sender:?}");
        return "nothing".to_owned();
    };
    let may_lack_memory = simulation.spiller.is_some();
    let is_out_of_memory =
        may_lack_memory && (reply.starts_with("451 4.3.") || reply.starts_with("452 4.3."));
    let is_allowed = is_out_of_memory || fates.iter().any(|fate| reply.starts_with(fate.reply));
    assert!(is_allowed, "{} is told {reply:?} and not {fates:?}: {sender:?}", sent.recipient);
    assert_eq!(reply.starts_with("250"), kept.is_some(), "{reply}: {sender:?}");
    if let (Some(header_at), Some(end_at), None) = (sent.header_at, sent.end_at, &simulation.spiller) {
        let latest = (header_at.max(before) + WAIT_MAX).max(end_at.max(before) + LATE_WAIT) + SLACK;
        assert!(*at <= latest, "{} is answered at {at:?}, not {latest:?}: {sender:?}", sent.recipient);
    }
    reply.get(..9).unwrap_or_default().to_owned()
}

/// What became of a message by what stands on top of it, and beside it.
fn fate_of(kept: &Stored) -> Fate {
    let received = String::from_utf8(kept.received.clone()).expect("UTF-8");
    assert!(received.starts_with("Authentication-Results: mx.test;"), "{received}");
    let results = [
        (" dmarc=pass ", "pass"),
        (" dmarc=fail ", "fail"),
        (" dmarc=none ", "none"),
        (" dmarc=temperror ", "temperror"),
        (" dmarc=permerror ", "permerror"),
    ];
    let words = received.replace("\r\n\t", " ");
    let told: Vec<_> =
        results.iter().filter(|(text, _)| words.contains(text)).map(|(_, word)| *word).collect();
    assert!(told.len() <= 1, "{received}");
    if !kept.results.is_empty() {
        let json: serde_json::Value = serde_json::from_str(&kept.results).expect("JSON");
        let of_json = json["dmarc"]["result"].as_str().expect("a result");
        assert_eq!(told.first().copied().unwrap_or("none"), of_json, "{received} {json}");
        let is_applied = json["dmarc"]["applied"] == "quarantine";
        assert_eq!(is_applied, kept.is_suspicious, "{json}");
    }
    Fate { is_suspicious: kept.is_suspicious, dmarc: told.first().copied(), ..ACCEPTED }
}

/// What is stored is what was sent, without what was forged.
fn check_octets(simulation: &Simulation, sender: &Sender, sent: &Sent, kept: &Stored) {
    let sent_octets = &sent.mail.octets;
    let is_text = Beginning::of(std::iter::once(&**sent_octets)) == Beginning::Text;
    let header = Header::new(&sent_octets[..section(sent_octets)]);
    let forged = results::forged(&header, &simulation.rules.authserv_id);
    let mut expected = sent_octets.clone();
    if !is_text && !KEPT.contains(&sender.number) {
        for range in forged.into_iter().rev() {
            expected.drain(range);
        }
        let section = expected[..section(&expected)].to_ascii_lowercase();
        assert!(!section.windows(27).any(|octets| octets == b"tication-results: mx.test; "), "{sender:?}");
    }
    assert!(
        kept.data == expected,
        "{} was altered: {}\ninstead of {}",
        sent.recipient,
        kept.data.escape_ascii(),
        expected.escape_ascii()
    );
    let received = String::from_utf8(kept.received.clone()).expect("UTF-8");
    let lead_in = Beginning::of(std::iter::once(&*expected)).lead_in();
    let own = received.strip_suffix(std::str::from_utf8(lead_in).expect("ASCII")).expect("what divides them");
    assert!(own.ends_with("\r\n") && !own.contains("\r\n\r\n"), "{own}");
    assert_eq!(own.matches("\r\nReceived: from ").count(), 1, "{own}");
    let fields = Header::new(own.as_bytes());
    assert_eq!(fields.fields().len(), 2, "{own}");
    let from = format!("from {} ", domain(sender.ehlo));
    assert!(own.contains(&from), "{own}");
}

fn run(seed: u64) -> BTreeMap<String, u64> {
    let mut simulation = Simulation::new(seed);
    let senders = simulation.run();
    simulation.ended_at = simulation.world.elapsed();
    // What is out is given up at last, and files are closed.
    simulation.world.pass(Duration::from_secs(6));
    simulation.spiller.iter_mut().for_each(SlowSpiller::recover);
    (0..500).for_each(|_| simulation.turn());
    check(&simulation, &senders)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn what_is_accepted_is_what_was_sent_whatever_becomes_of_the_questions() {
    let (seeds, time_max) = match (variable("SIMULATION_SEED"), variable("SIMULATION_SEEDS")) {
        (Some(seed), _) => (seed..seed + 1, Duration::MAX),
        (None, Some(count)) => (0..count, Duration::MAX),
        (None, None) => (0..SEEDS, TIME_MAX),
    };
    auth_zone::signer("rsa");
    let start = Instant::now();
    let (mut seen, mut tried) = (BTreeMap::<String, u64>::new(), 0_u64);
    for seed in seeds.take_while(|_| start.elapsed() < time_max) {
        tried += 1;
        let Ok(told) = std::panic::catch_unwind(|| run(seed)) else {
            panic!(
                "seed {seed} fails; SIMULATION_SEED={seed} cargo test --test simulation authentication runs it again"
            );
        };
        for (told, times) in told {
            *seen.entry(told).or_default() += times;
        }
    }
    println!("{tried} seeds hold; told: {seen:#?}; {:?}", start.elapsed());
    if tried < COUNTED_MIN {
        println!("{tried} seeds are too few to count what was told");
        return;
    }
    // A simulation in which nothing happens proves nothing.
    let wanted = ["250 2.0.0", "waited", "550 5.7.1", "552 5.3.4", "451 4.7.1", "spilled", "stopped"];
    for told in wanted {
        let times = seen.get(told).copied().unwrap_or_default();
        assert!(times > tried / 200, "{told}: {times}");
    }
}
