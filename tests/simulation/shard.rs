//! The shard of a simulation: what all of them share is said here, what differs is said by who makes one.

use std::path::Path;
use std::sync::Arc;

use ringmx::buffer::Pool;
use ringmx::config::{self, Config};
use ringmx::front::clients::{Clients as Table, Limits};
use ringmx::handoff::channel::Sender;
use ringmx::handoff::lookup::Asked;
use ringmx::log::{self, Output};
use ringmx::mail::queue_id::IdKey;
use ringmx::metrics::ShardMetrics;
use ringmx::ring::simulated::{SimulatedRing, World};
use ringmx::shard::Shard;
use ringmx::shard::answers::Answers;
use ringmx::shard::clients::Clients;
use ringmx::shard::context::{Context, Turn};
use ringmx::shard::delivery::{Delivery, ToSink};
use ringmx::shard::front_line::FrontLine;
use ringmx::shard::inbox::Inbox;
use ringmx::shard::lines::Lines;
use ringmx::shard::listener::listen;
use ringmx::shard::mailboxes::{Lookup, Mailboxes};
use ringmx::shard::order::{Listening, NewSocket, Service};
use ringmx::shard::parts::{Overflow, Parts};
use ringmx::shard::recipient_map::RecipientMap;
use ringmx::shard::stations::{Stations, ToStation};
use ringmx::smtp::policy::Recipients;
use ringmx::smtp::settings::Settings;
use rustls::ServerConfig;

pub const CONNECTIONS_MAX: usize = 100;

/// The work that makes somebody busy in half of all simulations: that of one event or two.
const LITTLE: u64 = 10_000;

/// A shard that runs, and what it counts.
pub struct Running {
    pub shard: Shard<SimulatedRing>,
    pub metrics: Arc<ShardMetrics>,
}

/// What a shard is made of.
pub struct Builder {
    pool: Pool,
    settings: Settings,
    to_sink: ToSink,
    inbox: Inbox,
    overflow: Overflow,
    lookup: Lookup,
    tls: Option<Arc<ServerConfig>>,
    clients: Arc<Clients>,
    front: Arc<FrontLine>,
    to_lookup: Option<Sender<Asked>>,
    stations: Vec<ToStation>,
    has_usual_shares: bool,
}

impl Builder {
    /// A shard whose mail data stays in memory, with a listener without TLS and a store that takes every
    /// recipient.
    pub fn new(pool: Pool, settings: Settings, to_sink: ToSink, inbox: Inbox) -> Self {
        Self {
            pool,
            settings,
            to_sink,
            inbox,
            overflow: Overflow::Memory,
            lookup: Lookup::Everybody,
            tls: None,
            clients: Clients::new(
                Table::new(1024, &[7; 16]),
                Limits { connections_max: 100, rates: None, only_warn: false },
            ),
            front: Arc::default(),
            to_lookup: None,
            stations: Vec::new(),
            has_usual_shares: false,
        }
    }

    /// Who takes little of it does so by the usual measure, in all seeds.
    pub fn with_usual_shares(self) -> Self {
        Self { has_usual_shares: true, ..self }
    }

    /// Mail data moves out of memory this way.
    pub fn spilling(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }

    /// The store is asked about recipients this way.
    pub fn asking(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// Messages pass these stations before they go to the sink.
    pub fn passing(self, stations: Vec<ToStation>) -> Self {
        Self { stations, ..self }
    }

    /// It counts clients together with others.
    pub fn counting(self, clients: Arc<Clients>) -> Self {
        Self { clients, ..self }
    }

    /// Clients are checked by this, and the DNS is asked this way.
    pub fn checking(self, front: FrontLine, to_lookup: Sender<Asked>) -> Self {
        Self { front: Arc::new(front), to_lookup: Some(to_lookup), ..self }
    }

    /// The listener has TLS.
    pub fn with_tls(self, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { tls, ..self }
    }

    /// The shard, whose connections come from the world.
    pub fn start(self, world: &World) -> Running {
        let Self {
            pool,
            settings,
            to_sink,
            inbox,
            overflow,
            lookup,
            tls,
            clients,
            front,
            to_lookup,
            stations,
            has_usual_shares,
        } = self;
        let logs = std::env::var_os("SIMULATION_LOG").is_some();
        let nowhere = || Output::open(Path::new("/dev/null")).expect("it is there");
        let output = if logs { Output::Stderr } else { nowhere() };
        let format = Config::embedded_default().log.format;
        let (log, _writer) = log::start_on(format, output).expect("the log");
        let metrics = Arc::new(ShardMetrics::default());
        let logged =
            config::Log { sessions: logs, messages: logs, refusals: logs, ..Config::embedded_default().log };
        // The descriptor is never used.
        let descriptor = listen("127.0.0.1:0".parse().expect("an address"), 1, 0).expect("a socket");
        let ring = world.ring(Arc::clone(pool.arena()));
        let mut turn = Turn::first(&ring, &clients);
        if !has_usual_shares && world.random(2) == 0 {
            // Light clients turn busy and back all the time.
            turn = turn.with_lag(LITTLE);
        }
        let context = Context {
            ring,
            pool,
            inbox,
            delivery: Delivery::new(0, IdKey::from_octets([7; 20]), to_sink),
            stations: Stations::new(stations),
            parts: Parts::new(overflow),
            mailboxes: Mailboxes::new(0, lookup),
            recipient_map: RecipientMap::default(),
            answers: Answers::new(0, to_lookup, Arc::clone(&metrics)),
            log,
            lines: Lines::new(&logged),
            metrics: Arc::clone(&metrics),
            clients,
            turn,
        };
        let socket = NewSocket { number: 0, socket: descriptor, is_lent: false };
        let listening = Listening { front, ..listening(0, settings, tls) };
        let service = Service::new(vec![listening], CONNECTIONS_MAX, logged);
        Running { shard: Shard::new(context, &service, vec![socket]), metrics }
    }
}

/// What the connections of a listener begin with.
pub fn listening(number: u64, settings: Settings, tls: Option<Arc<ServerConfig>>) -> Listening {
    Listening { number, settings: Arc::new(settings), tls, front: Arc::default(), receive_buffer_bytes: 0 }
}

/// What sessions are told with this configuration, under this name.
pub fn settings(config: &Config, hostname: &str) -> Settings {
    let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
    Settings { hostname: hostname.into(), ..config.session_settings(&config.listeners[0], policy) }
}
