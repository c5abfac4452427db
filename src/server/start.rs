//! What is built once, in this order: what an operator can have got wrong is found before anybody can
//! connect.

use std::sync::Arc;

use crossbeam_channel::{Sender, unbounded};

use super::control::Control;
use super::error::ServeError;
use super::event::ThreadEvent;
use super::log_report::LogReport;
use super::shard_start::{Ends, MakeToSink, ShardStart};
use super::workers::Workers;
use super::{addresses, report};
use crate::admin::health::{Health, WatchedShard};
use crate::admin::socket::Listening;
use crate::admin::{self, AdminStart};
use crate::config::{self, Config};
use crate::handoff::channel::Sender as ToWorker;
use crate::handoff::channel::Sender as ToShard;
use crate::handoff::message::Message;
use crate::log::{self, Log};
use crate::mail::queue_id::{IdKey, KEY_BYTES};
use crate::metrics::{Registry, ShardMetrics};
use crate::service_manager::ServiceManager;
use crate::shard::clients::Clients;
use crate::shard::delivery::ToSink;
use crate::shard::inbox::{Inbox, Letterbox, inbox};
use crate::shard::order::Order;
use crate::shutdown::Shutdown;
use crate::sink::space::Space;
use crate::sink::{self, Report, Sink, Surroundings, file_limit};
use crate::smtp::policy::{RecipientEntry, Recipients};
use crate::smtp::settings::Settings;
use crate::threads::Threads;
use crate::tls;
use crate::tls::context::TlsContext;

/// Builds and starts everything. None when it was asked to stop before it listened. It looks between its
/// steps; a step that stands still is ended by `Shutdown`.
pub(super) fn start(
    config: &Config,
    recipients: Option<Vec<(usize, RecipientEntry)>>,
    shutdown: &Arc<Shutdown>,
    service_manager: Arc<ServiceManager>,
    log: &mut Log,
) -> Result<Option<Control>, ServeError> {
    addresses::check(config)?;
    let table = Arc::new(table_of(config, recipients)?);
    // Its notes are among the warnings on the configuration.
    let (certificates, _) = TlsContext::open(&config.tls, &config.hostname).map_err(ServeError::new)?;
    let log_report = Arc::new(LogReport::new(log.clone()));
    let registry = registry_for(config, &certificates, log);
    let surroundings = Surroundings {
        hostname: config.hostname.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        report: Arc::clone(&log_report) as Arc<dyn Report>,
        spool: Arc::clone(registry.spool()),
        is_named: {
            let table = Arc::clone(&table);
            Arc::new(move |mailbox| table.is_named(mailbox))
        },
    };
    if shutdown.has_begun() {
        return Ok(None);
    }
    let mut opened =
        sink::open(&config.sink, &surroundings).map_err(|error| ServeError::new(error.to_string()))?;
    let space = sink::watch_space(&config.sink, &surroundings)
        .map_err(|error| ServeError::of_machine("watching the sink's disk", &error))?;
    if !shutdown.may_listen() {
        return Ok(None);
    }
    let (sockets, addresses) = addresses::listen_everywhere(config)?;
    let admin = addresses::listen_for_admin(config.admin.as_ref())?;
    report::banner(config, &addresses, &opened, log);
    report::admin(admin.as_ref().map(Listening::address), log);
    let logs_to_file = config.log.file.is_some() || log::is_a_file();
    report::notes(file_limit::log_note(file_limit::bytes_max(), logs_to_file).as_slice(), log);
    let (tell, events) = unbounded();
    let (letterboxes, inboxes) = inboxes(config.shards.len(), shutdown)?;
    let report = surroundings.report;
    let bells: Vec<_> = letterboxes.iter().map(|shard| shard.orders.clone()).collect();
    let mut workers = Workers {
        threads: Threads::new(),
        letterboxes,
        report,
        tell: tell.clone(),
        registry: Arc::clone(&registry),
    };
    let overflow = workers.start_spiller(config, opened.spill.clone(), space.clone())?;
    let lookup = workers.start_keeper(opened.mailboxes.take())?;
    let (to_workers, pulses) = workers.start_sink(opened.workers)?;
    let ends = inboxes.into_iter().zip(sockets).enumerate().map(|(number, (inbox, sockets))| {
        let to_sink = make_to_sink(number, &to_workers, opened.inline)?;
        Ok(Ends { sockets, inbox, to_sink, overflow: overflow.clone(), lookup: lookup.clone() })
    });
    let ends = ends.collect::<Result<Vec<_>, ServeError>>()?;
    let common = Common {
        config,
        table: &table,
        certificates: &certificates,
        id_key: random_id_key()?,
        clients: Clients::new(config.limits.connections_per_client_max),
        space: space.clone(),
        log,
        registry: &registry,
    };
    let shards = common.start_shards(ends, &tell)?;
    let (workers, shutdown) = (workers.threads, Arc::clone(shutdown));
    let watched = watched(registry.shards(), bells);
    let health = Arc::new(Health::new(watched, pulses, space, Arc::clone(&shutdown)));
    let admin = admin::start(AdminStart {
        listening: admin.zip(config.admin.clone()),
        health: Arc::clone(&health),
        registry: Arc::clone(&registry),
        service_manager: Arc::clone(&service_manager),
        report: Arc::clone(&log_report) as _,
    })
    .map_err(|error| ServeError::of_machine("starting the administration", &error))?;
    Ok(Some(Control {
        certificates,
        report: log_report,
        shutdown,
        registry,
        shards,
        workers,
        events,
        health,
        service_manager,
        admin,
    }))
}

/// The shards as health watches them.
fn watched(metrics: &[Arc<ShardMetrics>], bells: Vec<ToShard<Order>>) -> Vec<WatchedShard> {
    let watched = metrics.iter().zip(bells).map(|(metrics, bell)| WatchedShard {
        metrics: Arc::clone(metrics),
        ring: Box::new(move || bell.ring_if_parked()),
    });
    watched.collect()
}

/// What all threads will count in.
fn registry_for(config: &Config, certificates: &TlsContext, log: &Log) -> Arc<Registry> {
    let shards = config.shards.len();
    let registry = Registry::new(shards, config.sink.kind.word(), config.sink.workers.min(shards));
    registry.set_certificates(certificates.ends());
    registry.ask_log(log.lines_dropped());
    Arc::new(registry)
}

/// The table of recipients, which all listeners of all shards and the sink ask.
fn table_of(
    config: &Config,
    entries: Option<Vec<(usize, RecipientEntry)>>,
) -> Result<Recipients, ServeError> {
    // Without entries every local-part is taken.
    if let (Some(file), None) = (&config.recipients, &entries) {
        return Err(ServeError::new(format!("{} was not read; this is a bug of ringmx", file.display())));
    }
    let entries: Option<Vec<RecipientEntry>> =
        entries.map(|entries| entries.into_iter().map(|(_, entry)| entry).collect());
    Ok(Recipients::new(&config.recipient_rules(), entries.as_deref()))
}

/// The inbox of each shard. A stop is ordered there.
fn inboxes(shards: usize, shutdown: &Shutdown) -> Result<(Vec<Letterbox>, Vec<Inbox>), ServeError> {
    let made = (0..shards).map(|_| inbox()).collect::<Result<Vec<_>, _>>();
    let made = made.map_err(|error| ServeError::of_machine("making an eventfd", &error))?;
    for (letterbox, _) in &made {
        shutdown.order_at_stop(letterbox.orders.clone());
    }
    Ok(made.into_iter().unzip())
}

/// A shard's way to its worker of the sink, or to the sink itself where that has no worker. Shards are dealt
/// to workers in turn.
fn make_to_sink(
    shard: usize,
    workers: &[ToWorker<Box<Message>>],
    inline: Option<fn() -> Box<dyn Sink>>,
) -> Result<MakeToSink, ServeError> {
    let worker = workers.iter().cycle().nth(shard).cloned();
    match (worker, inline) {
        (Some(to_sink), _) => Ok(Box::new(|| ToSink::Worker(to_sink))),
        (None, Some(make)) => Ok(Box::new(move || ToSink::Inline(make()))),
        (None, None) => Err(ServeError::new("the sink has neither workers nor runs inline")),
    }
}

/// The key of the ids of this start.
fn random_id_key() -> Result<IdKey, ServeError> {
    let mut octets = [0; KEY_BYTES];
    // So few octets come whole (getrandom(2)).
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| ServeError::of_machine("asking the kernel for random numbers", &error.into()))?;
    Ok(IdKey::from_octets(octets))
}

/// What all shards are started with.
struct Common<'a> {
    config: &'a Config,
    table: &'a Arc<Recipients>,
    certificates: &'a TlsContext,
    id_key: IdKey,
    clients: Arc<Clients>,
    space: Option<Arc<Space>>,
    log: &'a Log,
    registry: &'a Registry,
}

impl Common<'_> {
    /// Starts a shard for each of these ends.
    fn start_shards(&self, ends: Vec<Ends>, tell: &Sender<ThreadEvent>) -> Result<Threads, ServeError> {
        let mut threads = Threads::new();
        let shards = self.config.shards.iter().zip(ends).zip(self.registry.shards());
        for (number, ((shard, ends), metrics)) in shards.enumerate() {
            let start = self.shard_start(number, shard, ends, Arc::clone(metrics))?;
            let tell = tell.clone();
            threads
                .start(format!("shard-{number}"), move || start.run(&tell))
                .map_err(|error| ServeError::of_machine("starting a thread", &error))?;
        }
        Ok(threads)
    }

    fn shard_start(
        &self,
        number: usize,
        shard: &config::Shard,
        ends: Ends,
        metrics: Arc<ShardMetrics>,
    ) -> Result<ShardStart, ServeError> {
        let config = self.config;
        Ok(ShardStart {
            number,
            shard: shard.clone(),
            ends,
            settings: self.session_settings(),
            tls: self.tls_configs()?,
            id_key: self.id_key,
            space: self.space.clone(),
            log: self.log.clone(),
            logs: config.log.clone(),
            hostname: config.hostname.clone(),
            clients: Arc::clone(&self.clients),
            metrics,
        })
    }

    /// What the sessions of each listener are told.
    fn session_settings(&self) -> Vec<Settings> {
        let settings = |listener| self.config.session_settings(listener, Arc::clone(self.table) as _);
        self.config.listeners.iter().map(settings).collect()
    }

    /// What the connections of each listener begin TLS with.
    fn tls_configs(&self) -> Result<Vec<Option<Arc<tls::ServerConfig>>>, ServeError> {
        let of_listener = |listener| self.certificates.server_config(listener);
        self.config.listeners.iter().map(of_listener).collect::<Result<_, _>>().map_err(ServeError::new)
    }
}
