//! The shard of a simulation: what all of them share is said here, what differs is said by who makes one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringmx::buffer::Pool;
use ringmx::config::Config;
use ringmx::handoff::channel::FromSinks;
use ringmx::log;
use ringmx::mail::queue_id::IdKey;
use ringmx::metrics::ShardMetrics;
use ringmx::ring::simulated::{SimulatedRing, World};
use ringmx::shard::clients::Clients;
use ringmx::shard::delivery::{Delivery, Route};
use ringmx::shard::listener::{Listener, listen};
use ringmx::shard::mailboxes::{self, Mailboxes};
use ringmx::shard::spill::{self, Spill};
use ringmx::shard::{Parts, Shard};
use ringmx::smtp::policy::Recipients;
use ringmx::smtp::settings::Settings;
use rustls::ServerConfig;

const CONNECTIONS_MAX: usize = 100;

/// A shard that runs, and how it is looked at and stopped.
pub struct Running {
    pub shard: Shard<SimulatedRing>,
    pub metrics: Arc<ShardMetrics>,
    pub stop: Arc<AtomicBool>,
}

/// What a shard is made of.
pub struct Builder {
    pool: Pool,
    settings: Settings,
    delivery: Delivery,
    spill: spill::Route,
    mailboxes: mailboxes::Route,
    tls: Option<Arc<ServerConfig>>,
}

impl Builder {
    /// A shard whose mail data stays in memory, with a listener without TLS and a store that takes every recipient.
    pub fn new(pool: Pool, settings: Settings, to_sink: Route, from_sinks: FromSinks) -> Self {
        Self {
            pool,
            settings,
            delivery: Delivery::new(0, IdKey::from_octets([7; 20]), to_sink, from_sinks),
            spill: spill::Route::Memory,
            mailboxes: mailboxes::Route::Everybody,
            tls: None,
        }
    }

    /// Mail data moves out of memory this way.
    pub fn spilling(self, spill: spill::Route) -> Self {
        Self { spill, ..self }
    }

    /// The store is asked about recipients this way.
    pub fn asking(self, mailboxes: mailboxes::Route) -> Self {
        Self { mailboxes, ..self }
    }

    /// The listener has TLS.
    pub fn with_tls(self, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { tls, ..self }
    }

    /// The shard, whose connections come from the world.
    pub fn start(self, world: &World) -> Running {
        let Self { pool, settings, delivery, spill, mailboxes, tls } = self;
        let (log, _writer) = log::start(Config::embedded_default().log.format).expect("the log");
        let metrics = Arc::new(ShardMetrics::default());
        let stop = Arc::new(AtomicBool::new(false));
        let logs = std::env::var_os("SIMULATION_LOG").is_some();
        // The descriptor is never used.
        let descriptor = listen("127.0.0.1:0".parse().expect("an address"), 1, 0).expect("a socket");
        let parts = Parts {
            ring: world.ring(Arc::clone(pool.arena())),
            pool,
            delivery,
            spill: Spill::new(spill),
            mailboxes: Mailboxes::new(0, mailboxes),
            log,
            log_sessions: logs,
            log_messages: logs,
            metrics: Arc::clone(&metrics),
            hostname: settings.hostname.clone(),
            connections_max: CONNECTIONS_MAX,
            clients: Clients::new(CONNECTIONS_MAX),
            stop: Arc::clone(&stop),
        };
        let shard = Shard::new(parts, vec![Listener::new(0, descriptor, Arc::new(settings), tls)]);
        Running { shard, metrics, stop }
    }
}

/// What sessions are told with this configuration, under this name.
pub fn settings(config: &Config, hostname: &str) -> Settings {
    let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
    Settings { hostname: hostname.into(), ..config.session_settings(&config.listeners[0], policy) }
}
