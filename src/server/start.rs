//! What is built once, in this order: what an operator can have got wrong is found before anybody can
//! connect.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::client_state::{self, Found, GreylistPlace, Keeper, State};
use super::control::Control;
use super::error::ServeError;
use super::event::ThreadEvent;
use super::generation::{Generation, Generations, Tables, table_of};
use super::lent::Lent;
use super::log_report::LogReport;
use super::reloader::{Audience, Reloader, Shared, lists_of};
use super::shard_start::{Ends, MakeToSink, ShardStart};
use super::watch::{Watch, Watched};
use super::workers::Workers;
use super::{addresses, confinement, report, watch};
use crate::admin::control_socket::{ControlStart, ReceiverDesk, Request};
use crate::admin::health::Health;
use crate::admin::receiver;
use crate::admin::socket::{Listening, SocketFile};
use crate::admin::status::source::Source;
use crate::admin::{self, Admin, AdminStart};
use crate::buffer::SpillBudget;
use crate::check::no_name_servers;
use crate::config::{Config, Lists};
use crate::dns::lookup;
use crate::dns::table::QUESTIONS_OUT_MAX;
use crate::front::checks::Greylisting;
use crate::front::clients::{self as front, Count};
use crate::handoff::channel::{Sender as ToShard, Sender as ToWorker};
use crate::handoff::lookup::Asked;
use crate::handoff::message::Message;
use crate::log::{self, Log};
use crate::mail::queue_id::{IdKey, KEY_BYTES};
use crate::metrics::{ClientValues, Registry};
use crate::recipient_map;
use crate::ring::probe;
use crate::service_manager::ServiceManager;
use crate::shard::clients::Clients;
use crate::shard::delivery::ToSink;
use crate::shard::inbox::{Inbox, Letterbox, inbox};
use crate::shard::mailboxes::Lookup;
use crate::shard::order::{NewSocket, Order};
use crate::shard::parts::Overflow;
use crate::shard::recipient_map::ToThreads;
use crate::shard::stations::ToStation;
use crate::shutdown::Shutdown;
use crate::sink::space::Space;
use crate::sink::{self, Opened, Report, Sink, Surroundings, file_limit};
use crate::station::{self, Station};
use crate::threads::Threads;
use crate::tls::context::TlsContext;

/// Builds and starts everything. None when it was asked to stop before it listened. It looks between its
/// steps; a step that stands still is ended by `Shutdown`. `lent` are the sockets of the service manager;
/// `log_file` is what the log is written to, where that is not standard error.
pub(super) fn start(
    config: &Config,
    file: Option<&Path>,
    lists: Lists,
    lent: Lent,
    shutdown: &Arc<Shutdown>,
    service_manager: Arc<ServiceManager>,
    (log, log_file): (&mut Log, Option<&File>),
) -> Result<Option<Control>, ServeError> {
    let read_at = watch::now();
    addresses::check(config, &lent)?;
    let table = Arc::new(table_of(config, lists)?);
    let tables = Tables::default();
    // Its notes are among the warnings on the configuration.
    let (certificates, _) = TlsContext::open(&config.tls, &config.hostname).map_err(ServeError::new)?;
    let log_report = Arc::new(LogReport::new(log.clone()));
    let sink_workers = config.sink.facts().workers(config.sink.workers).min(config.shards.len());
    let registry = Arc::new(Registry::new(config.shards.len(), config.sink.kind.word(), sink_workers));
    registry.ask_log(log.lines_dropped());
    let surroundings = surroundings(config, &log_report, &registry, &tables);
    if shutdown.has_begun() {
        return Ok(None);
    }
    let outside = outside(config, log)?;
    let confinement = confinement::enter(config, file, log_file, &outside.name_servers, log)?;
    probe::probe().map_err(|unusable| ServeError::new(unusable.to_string()))?;
    let (opened, space) = open_sink(config, &surroundings)?;
    let (clients, greylist, keeper) = count_clients(config, &registry, &log_report, log)?;
    if !shutdown.may_listen() {
        return Ok(None);
    }
    let Open { bound, admin, control } = listen(config, lent)?;
    let places = bound.places;
    introduce(config, &places, (&opened, &outside), admin.as_ref(), log);
    registry.set_certificates(certificates.ends(&config.tls.certificates));
    let (tell, events) = unbounded();
    let (letterboxes, inboxes) = inboxes(config, shutdown)?;
    let mut workers = Workers::new(letterboxes, surroundings.report, tell.clone(), &registry);
    let (ways, spill) = start_workers(&mut workers, config, opened, space.clone(), &outside)?;
    let ends = ways.ends(inboxes, bound.sockets)?;
    let tls_of = |listener: &_| certificates.server_config(listener);
    let started = config.clone().started();
    let first =
        Generation::new(1, started, table, None, greylist, places, &tls_of).map_err(ServeError::new)?;
    registry.ask_lists(lists_of(&first.checks));
    let (watch, changed) = watch_files(config, read_at)?;
    let remembering = workers.start_remembering(keeper)?;
    let shared = Shared { clients: Arc::clone(&clients), space: space.clone(), spill };
    let common = Common {
        generation: &first,
        id_key: random_id_key()?,
        clients,
        space: space.clone(),
        log,
        registry: &registry,
    };
    let shards = common.start_shards(ends, &tell)?;
    let orders: Vec<_> = workers.letterboxes.iter().map(|letterbox| letterbox.orders.clone()).collect();
    let health = Arc::new(health(&registry, ways.to_workers.len(), &orders, space, shutdown));
    let generations = Generations::new(first, tables);
    let audience =
        Audience { registry: Arc::clone(&registry), service_manager: Arc::clone(&service_manager) };
    let file = file.map(Path::to_owned);
    let reloader = Reloader::new(file, generations, certificates, shared, audience, watch, orders);
    let (ask, requests) = unbounded();
    let control = control.map(|socket| (socket, ask));
    let admin = Administration { config, log, registry: &registry, health: &health }.start(
        admin,
        control,
        &service_manager,
        &log_report,
    )?;
    let (workers, shutdown) = (workers.threads, Arc::clone(shutdown));
    Ok(Some(Control {
        reloader,
        changed,
        requests,
        report: log_report,
        remembering,
        shutdown,
        registry,
        shards,
        workers,
        events,
        health,
        service_manager,
        admin,
        confinement,
    }))
}

/// What the sink is opened with.
fn surroundings(
    config: &Config,
    log_report: &Arc<LogReport>,
    registry: &Arc<Registry>,
    tables: &Tables,
) -> Surroundings {
    let tables = tables.clone();
    Surroundings {
        hostname: config.hostname.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        recipient_delimiter: config.recipient_delimiter,
        report: Arc::clone(log_report) as Arc<dyn Report>,
        spool: Arc::clone(registry.spool()),
        is_named: Arc::new(move |mailbox| tables.name(mailbox)),
    }
}

/// Whom threads ask beside the sink.
struct Outside {
    /// None where nothing asks.
    name_servers: Vec<SocketAddr>,
    recipients: Option<recipient_map::Asked>,
    /// In the order in which messages pass them.
    stations: Vec<Station>,
    /// What the operator should know of them.
    notes: Vec<String>,
}

/// Finds out whom to ask, before files are given up.
fn outside(config: &Config, log: &mut Log) -> Result<Outside, ServeError> {
    let name_servers = name_servers(config)?;
    let asked = |map| recipient_map::Asked::new(map, &config.hostname);
    let asked = config.recipient_map.as_ref().map(asked);
    let stations = Station::all(config).map_err(ServeError::new)?;
    let found = station::first_look(&stations).map_err(ServeError::new)?;
    report::lacks(&found.warnings, log);
    let recipients = asked.transpose().map_err(ServeError::new)?;
    Ok(Outside { name_servers, recipients, stations, notes: found.notes })
}

/// The name servers that are asked; none where nothing asks.
fn name_servers(config: &Config) -> Result<Vec<SocketAddr>, ServeError> {
    if !config.asks_dns() {
        return Ok(Vec::new());
    }
    match &config.dns.servers {
        Some(servers) => Ok(servers.clone()),
        None => lookup::name_servers_of_system().map_err(|why| ServeError::new(no_name_servers(&why))),
    }
}

/// Starts what works for shards, and gives the ways there, and the budget of spill files.
fn start_workers(
    workers: &mut Workers,
    config: &Config,
    mut opened: Opened,
    space: Option<Arc<Space>>,
    outside: &Outside,
) -> Result<(Ways, Option<Arc<SpillBudget>>), ServeError> {
    let (overflow, spill) = workers.start_spiller(config, opened.spill.clone(), space)?;
    let lookup = workers.start_keeper(opened.mailboxes.take())?;
    let to_workers = workers.start_sink(opened.workers)?;
    let to_map = workers.start_map(outside.recipients.as_ref())?;
    let to_dns = workers.start_lookups(config.lookup_threads(), &outside.name_servers)?;
    let stations = workers.start_stations(&outside.stations)?;
    Ok((Ways { to_workers, to_map, to_dns, inline: opened.inline, overflow, lookup, stations }, spill))
}

/// Opens the sink, and watches the space of its file system, if it has one.
fn open_sink(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<(Opened, Option<Arc<Space>>), ServeError> {
    let opened =
        sink::open(&config.sink, surroundings).map_err(|error| ServeError::new(error.to_string()))?;
    let space = sink::watch_space(&config.sink, surroundings)
        .map_err(|error| ServeError::of_machine("watching the sink's disk", &error))?;
    Ok((opened, space))
}

/// Says in the log where it listens, and what the operator should know.
fn introduce(
    config: &Config,
    places: &[addresses::Place],
    (opened, outside): (&Opened, &Outside),
    admin: Option<&Listening>,
    log: &mut Log,
) {
    report::banner(config, places.iter().map(|place| place.bound), opened, log);
    report::notes(&outside.notes, log);
    report::admin(admin.map(Listening::address), log);
    let logs_to_file = config.log.file.is_some() || log::is_a_file();
    report::notes(file_limit::log_note(file_limit::bytes_max(), logs_to_file).as_slice(), log);
}

/// Where clients and operators can connect.
struct Open {
    bound: addresses::Bound,
    admin: Option<Listening>,
    control: Option<(UnixListener, SocketFile)>,
}

/// Makes every socket, and lets clients connect when all of them could be made.
fn listen(config: &Config, mut lent: Lent) -> Result<Open, ServeError> {
    let bound = addresses::bind_all(config, &mut lent)?;
    let admin = addresses::listen_for_admin(config.admin.as_ref(), &mut lent)?;
    lent.are_all_taken()?;
    let control = addresses::listen_for_control(config.control.as_deref())?;
    bound.listen().map_err(ServeError::new)?;
    Ok(Open { bound, admin, control })
}

/// Watches the files that are taken over when they change. They were read at this time.
fn watch_files(config: &Config, read_at: SystemTime) -> Result<(Arc<Watch>, Receiver<Watched>), ServeError> {
    let (tell, changed) = unbounded();
    let watch = Watch::start(tell)
        .map_err(|error| ServeError::of_machine("watching files of recipients and certificates", &error))?;
    watch.replace(Watch::look_at(config, read_at));
    Ok((watch, changed))
}

/// What the administration tells of.
struct Administration<'a> {
    config: &'a Config,
    log: &'a Log,
    registry: &'a Arc<Registry>,
    health: &'a Arc<Health>,
}

impl Administration<'_> {
    /// Starts its thread, if anybody is to be told.
    fn start(
        self,
        listening: Option<Listening>,
        control: Option<((UnixListener, SocketFile), Sender<Request>)>,
        service_manager: &Arc<ServiceManager>,
        log_report: &Arc<LogReport>,
    ) -> Result<Option<Admin>, ServeError> {
        let Self { config, log, registry, health } = self;
        let (counted, watched) = (Arc::clone(registry), Arc::clone(health));
        registry.set_hostname(&config.hostname);
        let status = Arc::new(Source::new(counted, watched, log.recent()));
        let told = Arc::clone(&status);
        let control = control.map(|(socket, ask)| ControlStart {
            socket,
            desk: Arc::new(ReceiverDesk { ask, status: Arc::new(move || told.status().to_json()) }),
        });
        let start = AdminStart {
            listening: listening.zip(config.admin.clone()),
            process: Arc::new(receiver::Receiver {
                registry: Arc::clone(registry),
                health: Arc::clone(health),
                status,
            }),
            service_manager: Arc::clone(service_manager),
            report: Arc::clone(log_report) as _,
            control,
        };
        admin::start(start).map_err(|error| ServeError::of_machine("starting the administration", &error))
    }
}

/// What is watched of all that was started.
fn health(
    registry: &Arc<Registry>,
    workers: usize,
    orders: &[ToShard<Order>],
    space: Option<Arc<Space>>,
    shutdown: &Arc<Shutdown>,
) -> Health {
    let bells = orders.iter().cloned().map(|bell| Box::new(move || bell.ring_if_parked()) as _);
    let shutdown = Arc::clone(shutdown);
    Health::new(Arc::clone(registry), workers, bells.collect(), space, Box::new(move || shutdown.has_begun()))
}

/// The inbox of each shard. A stop is ordered there.
fn inboxes(config: &Config, shutdown: &Shutdown) -> Result<(Vec<Letterbox>, Vec<Inbox>), ServeError> {
    let answers_max = if config.asks_dns() { QUESTIONS_OUT_MAX } else { 0 };
    let made = config.shards.iter().map(|_| inbox(answers_max)).collect::<Result<Vec<_>, _>>();
    let made = made.map_err(|error| ServeError::of_machine("making an eventfd", &error))?;
    for (letterbox, _) in &made {
        shutdown.order_at_stop(letterbox.orders.clone());
    }
    Ok(made.into_iter().unzip())
}

/// Where what shards have for others goes.
struct Ways {
    to_workers: Vec<ToWorker<Box<Message>>>,
    to_dns: Vec<ToWorker<Asked>>,
    inline: Option<fn() -> Box<dyn Sink>>,
    overflow: Overflow,
    lookup: Lookup,
    to_map: ToThreads,
    stations: Vec<ToStation>,
}

impl Ways {
    /// The ends of each shard.
    fn ends(&self, inboxes: Vec<Inbox>, sockets: Vec<Vec<NewSocket>>) -> Result<Vec<Ends>, ServeError> {
        let ends = inboxes.into_iter().zip(sockets).enumerate().map(|(number, (inbox, sockets))| {
            let to_dns = self.to_dns.iter().cycle().nth(number).cloned();
            let (overflow, lookup, to_map) =
                (self.overflow.clone(), self.lookup.clone(), self.to_map.clone());
            let (to_sink, stations) = (self.to_sink(number)?, self.stations.clone());
            Ok(Ends { sockets, inbox, to_sink, overflow, lookup, to_map, stations, to_dns })
        });
        ends.collect()
    }

    /// A shard's way to its worker of the sink, or to the sink itself where that has no worker. Shards are
    /// dealt to workers in turn.
    fn to_sink(&self, shard: usize) -> Result<MakeToSink, ServeError> {
        let worker = self.to_workers.iter().cycle().nth(shard).cloned();
        match (worker, self.inline) {
            (Some(to_sink), _) => Ok(Box::new(|| ToSink::Worker(to_sink))),
            (None, Some(make)) => Ok(Box::new(move || ToSink::Inline(make()))),
            (None, None) => Err(ServeError::new("the sink has neither workers nor runs inline")),
        }
    }
}

/// The key of the ids of this start.
fn random_id_key() -> Result<IdKey, ServeError> {
    Ok(IdKey::from_octets(random_octets::<KEY_BYTES>()?))
}

/// Nobody knows them.
fn random_octets<const COUNT: usize>() -> Result<[u8; COUNT], ServeError> {
    let mut octets = [0; COUNT];
    // So few octets come whole (getrandom(2)).
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| ServeError::of_machine("asking the kernel for random numbers", &error.into()))?;
    Ok(octets)
}

/// The table of clients, with what is remembered of them; and who keeps that, where it is kept.
fn count_clients(
    config: &Config,
    registry: &Registry,
    report: &Arc<LogReport>,
    log: &mut Log,
) -> Result<(Arc<Clients>, GreylistPlace, Option<Keeper>), ServeError> {
    let found = config.state().map_or(Found::Nothing, |path| client_state::read(path, config.client_places));
    let (found, note) = match found {
        Found::State(state) => (Some(state), None),
        Found::Nothing => (None, None),
        Found::Unusable(why) => (None, Some(why)),
    };
    report::lacks(note.as_slice(), log);
    let State { table, secret, greylist } = if let Some(found) = found {
        found
    } else {
        let secret = random_octets()?;
        State { table: front::Clients::new(config.client_places, &secret), secret, greylist: None }
    };
    // Where nobody is greylisted it is forgotten.
    let greylist = greylist.filter(|_| config.front.rules.greylisting != Greylisting::Off);
    let place = greylist.map_or_else(OnceLock::new, |greylist| OnceLock::from(Arc::new(greylist)));
    let place = GreylistPlace::new(place);
    let clients = Clients::new(table, config.limits_of_clients());
    let counted = Arc::clone(&clients);
    registry.ask_clients(move || {
        let Count { networks, proven } = counted.count();
        ClientValues { networks, proven }
    });
    let keeper = config.state().map(|path| Keeper {
        path: path.to_owned(),
        secret,
        clients: Arc::clone(&clients),
        greylist: Arc::clone(&place),
        report: Arc::clone(report) as _,
    });
    Ok((clients, place, keeper))
}

/// What all shards are started with.
struct Common<'a> {
    generation: &'a Generation,
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
        let Generation { config, services, .. } = self.generation;
        let shards = config.shards.iter().zip(services).zip(ends).zip(self.registry.shards());
        for (number, (((shard, service), ends), metrics)) in shards.enumerate() {
            let start = ShardStart {
                number,
                shard: shard.clone(),
                ends,
                service: Arc::clone(service),
                id_key: self.id_key,
                space: self.space.clone(),
                log: self.log.clone(),
                clients: Arc::clone(&self.clients),
                metrics: Arc::clone(metrics),
            };
            let tell = tell.clone();
            threads
                .start(format!("shard-{number}"), move || start.run(&tell))
                .map_err(|error| ServeError::of_machine("starting a thread", &error))?;
        }
        Ok(threads)
    }
}
