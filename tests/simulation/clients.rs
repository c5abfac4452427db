//! What clients may do, over several shards, on virtual time. A front names them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::buffer::Pool;
use ringmx::config::{self, Config};
use ringmx::front::checks::Checks;
use ringmx::front::clients::Clients as Table;
use ringmx::ring::Socket;
use ringmx::ring::simulated::{Faults, World};
use ringmx::shard::clients::Clients;
use ringmx::shard::delivery::ToSink;
use ringmx::shard::front_line::FrontLine;
use ringmx::shard::inbox::{Letterbox, inbox};
use ringmx::sink::discard::Discard;

use crate::front_line;
use crate::front_zone::ZONE;
use crate::lookup::SlowLookup;
use crate::shard::{Builder, CONNECTIONS_MAX, Running, settings};

/// A shard with its own network.
struct Shard {
    world: World,
    running: Running,
    /// Its orders come from here.
    _letterbox: Letterbox,
}

/// Shards that count clients together, each in a world of the same time.
struct Simulation {
    shards: Vec<Shard>,
    clients: Arc<Clients>,
}

/// `[client_limits]` with these rates, and with these tables after it.
fn configuration(rates: &str) -> Config {
    let text = format!(
        "hostname = \"mx.test\"\ndomains = [\"y.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n\
         proxy_from = [\"192.0.2.1\"]\n[[sink]]\nkind = \"discard\"\n[client_limits]\n{rates}\n"
    );
    match config::parse(&text, "mx.toml", Path::new("/etc")) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

impl Simulation {
    fn new(shards: usize, faults: Faults, rates: &str) -> Self {
        let config = configuration(rates);
        let clients = Clients::new(Table::new(1 << 16, &[7; 16]), config.limits_of_clients());
        let shard = |number| {
            let world = World::new(number, faults);
            let pool = Pool::new(64, 4096, 4 << 20).expect("memory");
            let (letterbox, inbox) = inbox(0).expect("eventfd");
            let to_sink = ToSink::Inline(Box::new(Discard));
            let builder = Builder::new(pool, settings(&config, "mx.test"), to_sink, inbox);
            let running = builder.counting(Arc::clone(&clients)).start(&world);
            Shard { world, running, _letterbox: letterbox }
        };
        Self { shards: (0..shards as u64).map(shard).collect(), clients }
    }

    /// One shard, whose clients are checked, and its lookup thread.
    fn checking(rates: &str) -> (Self, SlowLookup) {
        let config = configuration(rates);
        let clients = Clients::new(Table::new(1 << 16, &[7; 16]), config.limits_of_clients());
        let world = World::new(0, Faults::NONE);
        let pool = Pool::new(64, 4096, 4 << 20).expect("memory");
        let (letterbox, inbox) = inbox(64).expect("eventfd");
        let (lookup, to_lookup) = SlowLookup::new(letterbox.answers.clone(), 64, ZONE);
        let checks = Arc::new(Checks::new(config.front.rules.clone(), Instant::now()));
        let settings = front_line::settings(&config, &checks, false);
        let running = Builder::new(pool, settings, ToSink::Inline(Box::new(Discard)), inbox)
            .counting(Arc::clone(&clients))
            .checking(FrontLine { checks, ..FrontLine::default() }, to_lookup)
            .start(&world);
        (Self { shards: vec![Shard { world, running, _letterbox: letterbox }], clients }, lookup)
    }

    /// All the time that passes.
    fn pass(&self, time: Duration) {
        self.shards.iter().for_each(|shard| shard.world.pass(time));
    }

    /// A client of this address on a shard, and what it is greeted with.
    fn connect(&mut self, shard: usize, address: &str) -> (Socket, String) {
        let client = self.shards[shard].world.connect();
        let greeting = self.say(shard, client, &format!("PROXY TCP6 {address} ::1 4321 25\r\n"));
        (client, greeting)
    }

    /// One that was greeted and has said EHLO.
    fn greeted(&mut self, shard: usize, address: &str) -> Socket {
        let (client, greeting) = self.connect(shard, address);
        assert!(greeting.starts_with("220 "), "{greeting}");
        assert!(self.say(shard, client, "HELO x.test\r\n").starts_with("250 "));
        client
    }

    /// The replies to what a client says, one a line. No longer than they take: in a turn without anything to
    /// do the time of the next deadline comes.
    fn say(&mut self, shard: usize, client: Socket, said: &str) -> String {
        let Shard { world, running, .. } = &mut self.shards[shard];
        world.write(client, said.as_bytes());
        let mut replies = String::new();
        for _ in 0..100 {
            running.shard.turn().expect("a turn");
            replies.push_str(std::str::from_utf8(&world.read(client)).expect("ASCII"));
            if replies.matches('\n').count() >= said.lines().count() {
                break;
            }
        }
        replies
    }

    /// The codes of the replies to a group of commands.
    fn codes(&mut self, shard: usize, client: Socket, said: &str) -> Vec<String> {
        self.say(shard, client, said).lines().map(|line| line[..3].to_owned()).collect()
    }
}

#[test]
fn shards_count_together_and_time_pays_off() {
    let mut simulation = Simulation::new(2, Faults::NONE, "messages = \"4/min\"");
    let clients = [0, 1].map(|shard| simulation.greeted(shard, "2001:db8::1"));
    let mail = "MAIL FROM:<>\r\nRSET\r\n";
    for _ in 0..2 {
        for (shard, client) in clients.into_iter().enumerate() {
            assert_eq!(simulation.codes(shard, client, mail), ["250", "250"]);
        }
    }
    for (shard, client) in clients.into_iter().enumerate() {
        assert_eq!(simulation.codes(shard, client, mail), ["450", "250"]);
    }
    // One in 15 seconds is paid off, for both together.
    simulation.pass(Duration::from_secs(15));
    assert_eq!(simulation.codes(1, clients[1], mail), ["250", "250"]);
    assert_eq!(simulation.codes(0, clients[0], mail), ["450", "250"]);
    simulation.pass(Duration::from_mins(1));
    assert_eq!(
        simulation.codes(0, clients[0], &mail.repeat(5)).iter().filter(|code| *code == "450").count(),
        1
    );
}

/// Whatever the network does to what is sent and received, nobody has more and nobody less.
#[test]
fn what_is_counted_does_not_depend_on_how_commands_come() {
    let recipients = (0..8).map(|number| format!("RCPT TO:<a{number}@y.test>"));
    let group: Vec<String> = std::iter::once("MAIL FROM:<>".to_owned()).chain(recipients).collect();
    let recipients = format!("{}\r\n", group.join("\r\n"));
    for seed in 0..20 {
        let mut simulation = Simulation::new(1, Faults::ALL, "recipients = \"5/hour\"\nerrors = \"2/hour\"");
        simulation.shards[0].world.random(seed + 1);
        let client = simulation.greeted(0, "2001:db8::1");
        let codes = simulation.codes(0, client, &recipients);
        assert_eq!(codes, ["250", "250", "250", "250", "250", "250", "450", "450", "450"], "seed {seed}");
        let codes = simulation.codes(0, client, "XYZZY\r\nXYZZY\r\n");
        assert_eq!(codes, ["500", "500"]);
        assert_eq!(simulation.codes(0, client, "XYZZY\r\n"), ["500", "421"]);
        assert!(
            simulation.shards[0].world.is_closed(client)
                || simulation.codes(0, client, "NOOP\r\n").is_empty()
        );
    }
}

/// 65,536 clients of one network, each with one connection; a neighbour that proved good, and a stranger.
#[test]
fn bots_of_one_network_have_nine_shares_and_a_proven_neighbour_goes_on() {
    let mut simulation =
        Simulation::new(2, Faults::NONE, "connections = \"20/hour\"\nmessages = \"20/hour\"");
    let message = "MAIL FROM:<>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n";
    for _ in 0..5 {
        let good = simulation.greeted(0, "2001:db8:1:ffff::1");
        assert_eq!(simulation.codes(0, good, message), ["250", "250", "354"]);
        assert_eq!(simulation.codes(0, good, ".\r\nQUIT\r\n"), ["250", "221"]);
        simulation.shards[0].world.finish(good);
        simulation.pass(Duration::from_hours(12));
    }
    let mut granted = 0;
    for number in 0..400_usize {
        let (client, greeting) = simulation.connect(number % 2, &format!("2001:db8:1:{:x}::1", number * 163));
        if greeting.starts_with("220 ") {
            granted += 1;
            simulation.say(number % 2, client, "QUIT\r\n");
        } else {
            assert!(greeting.starts_with("421 4.7.0 "), "{greeting}");
        }
        simulation.shards[number % 2].world.finish(client);
    }
    assert_eq!(granted, 9 * 20);
    let good = simulation.greeted(1, "2001:db8:1:ffff::1");
    assert_eq!(simulation.codes(1, good, message), ["250", "250", "354"]);
    assert_eq!(simulation.codes(1, good, ".\r\n"), ["250"]);
    simulation.greeted(1, "2001:db8:2::1");
    assert!(simulation.clients.count().networks > 180);
}

/// Sessions end in every way; whoever comes afterwards has all connections that a client may have.
#[test]
fn connections_come_back_however_they_end() {
    let mut simulation = Simulation::new(1, Faults::ALL, "connections = \"96000/min\"");
    for round in 0..40_usize {
        let (client, greeting) = simulation.connect(0, "2001:db8::1");
        assert!(greeting.starts_with("220 "), "round {round}: {greeting}");
        match round % 4 {
            0 => drop(simulation.say(0, client, "QUIT\r\n")),
            1 => simulation.shards[0].world.reset(client),
            2 => simulation.shards[0].world.finish(client),
            _ => drop(simulation.say(0, client, &"XYZZY\r\n".repeat(40))),
        }
        simulation.shards[0].world.finish(client);
        simulation.say(0, client, "");
    }
    // 50 is what a client may have.
    let greetings: Vec<String> = (0..51).map(|_| simulation.connect(0, "2001:db8::1").1).collect();
    assert!(greetings[..50].iter().all(|greeting| greeting.starts_with("220 ")), "{greetings:?}");
    assert!(greetings[50].starts_with("421 4.3.2 "), "{}", greetings[50]);
}

/// What a client is told after a wait is what it would be told then: many sessions that wait together for the
/// same answer learn no more than one that asks again and again.
#[test]
fn sessions_that_wait_together_learn_no_more_than_one() {
    let list = "[[dnsbl]]\nzone = \"bad.list.test\"\nweight = 3\n[score]\nrefuse = 3";
    let (mut simulation, mut lookup) =
        Simulation::checking(&format!("unknown_recipients = \"2/hour\"\n{list}"));
    let recipients = ["nobody@y.test", "b@y.test", "nobody@y.test", "nobody@y.test", "b@y.test", "x@y.test"];
    let clients = recipients.map(|recipient| {
        let client = simulation.greeted(0, "2001:db8:0:1::1");
        let Shard { world, running, .. } = &mut simulation.shards[0];
        world.write(client, format!("MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\n").as_bytes());
        running.shard.turn().expect("a turn");
        client
    });
    let lines = |told: &[u8]| String::from_utf8_lossy(told).lines().map(str::to_owned).collect::<Vec<_>>();
    let early = clients.map(|client| lines(&simulation.shards[0].world.read(client)));
    assert!(early.iter().all(|told| told.len() < 2), "they wait: {early:?}");
    lookup.recover();
    lookup.work(&simulation.shards[0].world);
    let told = clients.map(|client| simulation.say(0, client, "QUIT\r\nQUIT\r\n"));
    let codes: Vec<String> = early
        .into_iter()
        .zip(told)
        .map(|(early, told)| [early, lines(told.as_bytes())].concat()[1][..9].to_owned())
        .collect();
    let [unknown, known, over] = ["550 5.1.1", "250 2.1.5", "450 4.7.1"];
    assert_eq!(codes, [unknown, known, unknown, over, over, over]);
}

/// Three quarters of places are for all, seven eighths for clients that nothing speaks against.
#[test]
fn who_is_known_to_be_bad_is_put_off_first_and_who_has_proved_good_never() {
    let list = "[[dnsbl]]\nzone = \"bad.list.test\"\nweight = 3\n[score]\nrefuse = 9";
    let (mut simulation, mut lookup) = Simulation::checking(&format!("connections = \"100/min\"\n{list}"));
    lookup.recover();
    let mut meet = |simulation: &mut Simulation, address: &str| {
        let mut greeting = String::new();
        // The third time its lists have answered before it is greeted.
        for _ in 0..3 {
            let client;
            (client, greeting) = simulation.connect(0, address);
            lookup.work(&simulation.shards[0].world);
            if greeting.starts_with("220 ") {
                simulation.say(0, client, "QUIT\r\n");
            }
            simulation.shards[0].world.finish(client);
            (0..2).for_each(|_| drop(simulation.say(0, client, "")));
        }
        greeting[..3].to_owned()
    };
    let (proven, unknown, suspicious) = ("2001:db8:1:1::1", "2001:db8:0:1::1", "2001:db8:0:5::1");
    for _ in 0..5 {
        meet(&mut simulation, proven);
        let good = simulation.greeted(0, proven);
        let message = "MAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n";
        assert_eq!(simulation.codes(0, good, message)[2], "250");
        simulation.shards[0].world.finish(good);
        simulation.pass(Duration::from_hours(12));
    }
    let mut crowd = 0;
    let all = [proven, unknown, suspicious];
    for (places, expected) in [(0, ["220"; 3]), (76, ["220", "220", "421"]), (100, ["220", "421", "421"])] {
        let greetings = all.map(|address| {
            // Each of another network, until no more are taken. Who is silent is not kept for long then.
            while simulation.shards[0].running.metrics.connections_open.value() < places {
                crowd += 1;
                let (client, greeting) = simulation.connect(0, &format!("2001:db8:{:x}::1", 100 + crowd));
                if !greeting.starts_with("220 ") {
                    assert!(greeting.starts_with("421 4.3.2 "), "{greeting}");
                    simulation.shards[0].world.finish(client);
                    break;
                }
            }
            meet(&mut simulation, address)
        });
        assert_eq!(greetings, expected, "{places} of {CONNECTIONS_MAX} places");
    }
}
