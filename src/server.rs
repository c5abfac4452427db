//! Starts sinks, shards and the log; waits for signals; stops everything in order.
//!
//! This is the control thread: everything that is not per message. It runs on tokio-uring's tokio.

mod report;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::buffer::{Pool, SpillBudget};
use crate::config::recipients::{self, RecipientEntry};
use crate::config::{self, Config};
use crate::handoff::channel::{FromSinks, ToShard, ToSink, messages, receipts};
use crate::handoff::doorbell::Doorbell;
use crate::handoff::spill::{errands, written};
use crate::huge_pages;
use crate::limits::{HANDOFF_MESSAGES_MAX, LISTEN_BACKLOG, SPILLS_AWAY_MAX};
use crate::log::{self, Log};
use crate::metrics::{self, ShardMetrics};
use crate::ring::kernel::KernelRing;
use crate::ring::probe;
use crate::shard::clients::Clients;
use crate::shard::delivery::{Delivery, Route};
use crate::shard::listener::{Listener, bound_address, check_free, listen};
use crate::shard::spill::{self, Spill};
use crate::shard::{Parts, Shard, affinity};
use crate::sink::space::Space;
use crate::sink::spill::{SpillTo, Spiller};
use crate::sink::{self, Durability, Opened, Report, Surroundings, file_limit};
use crate::smtp::policy::Recipients;
use crate::smtp::session::Settings;
use crate::tls;

use self::report::LogReport;

/// How often the files of certificates are looked at, and what errors were counted.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why the server could not start or had to stop. Says what happened, to what, and what to do.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

/// Runs the receiver until SIGTERM or SIGINT; returns when every message under way was stored and answered, or its time
/// was over.
pub fn serve(config: &Config) -> Result<(), ServeError> {
    // A huge page for the few KiB that a shard's heap or pool touches costs up to 2 MiB each: 10,000 idle connections took
    // 17 MiB instead of 6, and messages came no faster.
    huge_pages::on_request_only();
    probe::probe().map_err(|unusable| ServeError(unusable.to_string()))?;
    let (mut log, writer) =
        log::start(config.log.format).map_err(|error| machine("starting the log thread", &error))?;
    let served = Server::start(config, &mut log).and_then(|server| server.run(&mut log));
    if let Err(error) = &served {
        log.record("error", SystemTime::now()).text("text", error.0.as_bytes()).end();
    }
    drop(log);
    writer.join();
    served
}

/// Everything that was started.
struct Server {
    tls: tls::context::Context,
    report: Arc<LogReport>,
    stop: Arc<AtomicBool>,
    bells: Vec<Arc<Doorbell>>,
    metrics: Vec<Arc<ShardMetrics>>,
    shards: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    events: UnboundedReceiver<ThreadEvent>,
}

/// What a shard or worker thread tells the control thread.
enum ThreadEvent {
    Ready,
    /// It ended, as told or because it could not go on.
    Ended(Result<(), String>),
}

impl Server {
    fn start(config: &Config, log: &mut Log) -> Result<Self, ServeError> {
        check_addresses(config)?;
        let recipients = load_recipients(config)?;
        let (tls, tls_notes) =
            tls::context::Context::open(&config.tls, &config.hostname).map_err(ServeError)?;
        let report = Arc::new(LogReport::new(log.clone()));
        let surroundings = Surroundings {
            hostname: config.hostname.clone(),
            local_part_case_sensitive: config.local_part_case_sensitive,
            report: Arc::clone(&report) as Arc<dyn Report>,
            is_listed: {
                let table = Recipients::new(config, recipients.as_deref());
                Arc::new(move |mailbox| table.lists_by_name(mailbox))
            },
        };
        let opened =
            sink::open(&config.sink, &surroundings).map_err(|error| ServeError(error.to_string()))?;
        let space = sink::watch_space(&config.sink, &surroundings)
            .map_err(|error| machine("watching the sink's disk", &error))?;
        let (tell, events) = unbounded_channel();
        let mut server = Self {
            tls,
            report,
            stop: Arc::new(AtomicBool::new(false)),
            bells: Vec::new(),
            metrics: Vec::new(),
            shards: Vec::new(),
            workers: Vec::new(),
            events,
        };
        let (sockets, addresses) = listen_everywhere(config)?;
        log_start(config, &addresses, &opened, log);
        log_notes(&tls_notes, log);
        log_notes(&file_limit::notes(config, file_limit::bytes_max(), log::is_a_file()), log);
        let inline = opened.inline;
        let spill_to = opened.spill.clone();
        let mut to_shards = Vec::new();
        let mut from_sinks = Vec::new();
        for _ in &config.shards {
            let bell = Arc::new(Doorbell::new().map_err(|error| machine("making an eventfd", &error))?);
            let (to_shard, from_sink) = receipts(HANDOFF_MESSAGES_MAX, Arc::clone(&bell));
            server.bells.push(bell);
            to_shards.push(to_shard);
            from_sinks.push(from_sink);
        }
        let spills = server.start_spilling(config, spill_to, &surroundings.report, &tell)?;
        let routes = server.start_workers(opened, &to_shards, &tell, &surroundings.report)?;
        drop(to_shards);
        let mut routes = routes.iter().cycle();
        let clients = Clients::new(config.limits.connections_per_client_max);
        let parts = config.shards.iter().zip(sockets).zip(from_sinks).zip(spills).enumerate();
        for (number, (((shard, sockets), from_sinks), spill)) in parts {
            let route: MakeRoute = match (routes.next().cloned(), inline) {
                (Some(to_sink), _) => Box::new(|| Route::Worker(to_sink)),
                (None, Some(make)) => Box::new(move || Route::Inline(make())),
                (None, None) => {
                    return Err(ServeError("the sink has neither workers nor runs inline".into()));
                }
            };
            let start = ShardStart {
                number,
                shard: shard.clone(),
                sockets,
                settings: session_settings(config, recipients.as_deref()),
                tls: server.tls_configs(config)?,
                route,
                from_sinks,
                space: space.clone(),
                spill,
                log: log.clone(),
                logs: config.log.clone(),
                hostname: config.hostname.clone(),
                clients: Arc::clone(&clients),
                stop: Arc::clone(&server.stop),
            };
            server.start_shard(start, tell.clone())?;
        }
        Ok(server)
    }

    /// What the connections of each listener begin TLS with.
    fn tls_configs(&self, config: &Config) -> Result<Vec<Option<Arc<tls::ServerConfig>>>, ServeError> {
        let of_listener = |listener| self.tls.server_config(listener);
        config.listeners.iter().map(of_listener).collect::<Result<_, _>>().map_err(ServeError)
    }

    /// Reads the certificates again. Connections keep what they have; a bad file changes nothing.
    fn reload_certificates(&self, log: &mut Log) {
        match self.tls.reload() {
            Ok(notes) => {
                log.record("certificates", SystemTime::now()).text("text", b"read again").end();
                log_notes(&notes, log);
            }
            Err(why) => log
                .record("error", SystemTime::now())
                .text("text", format!("{why}; the certificates stay as they were").as_bytes())
                .end(),
        }
        log.flush();
    }

    /// Starts the sink workers and gives the way to each.
    fn start_workers(
        &mut self,
        opened: Opened,
        to_shards: &[ToShard],
        tell: &UnboundedSender<ThreadEvent>,
        report: &Arc<dyn Report>,
    ) -> Result<Vec<ToSink>, ServeError> {
        let mut ends = Vec::new();
        // A shard keeps to one worker, so that its messages stay in order; more workers than shards would have nothing to do.
        let workers = opened.workers.into_iter().take(to_shards.len());
        for (number, make) in workers.enumerate() {
            let (to_sink, from_shards) =
                messages(HANDOFF_MESSAGES_MAX).map_err(|error| machine("making a channel", &error))?;
            let (to_shards, tell, report) = (to_shards.to_vec(), tell.clone(), Arc::clone(report));
            let run = move || {
                let result = make().map(|sink| {
                    let _ = tell.send(ThreadEvent::Ready);
                    sink::worker::run(sink, &from_shards, &to_shards, &*report);
                });
                // The control thread listens as long as threads run.
                let _ = tell.send(ThreadEvent::Ended(
                    result.map_err(|error| format!("the sink cannot start: {error}")),
                ));
            };
            self.workers.push(spawn(format!("sink-{number}"), run)?);
            ends.push(to_sink);
        }
        Ok(ends)
    }

    /// Starts the spill thread, if the sink needs one, and gives each shard its way to it.
    fn start_spilling(
        &mut self,
        config: &Config,
        spill_to: SpillTo,
        report: &Arc<dyn Report>,
        tell: &UnboundedSender<ThreadEvent>,
    ) -> Result<Vec<spill::Route>, ServeError> {
        let directory = match spill_to {
            SpillTo::Nowhere => return Ok(self.bells.iter().map(|_| spill::Route::Nowhere).collect()),
            SpillTo::Directory(directory) => directory,
        };
        let limits = &config.limits;
        let budget = SpillBudget::new(limits.spill_bytes_max, limits.spill_files_max);
        let spiller = Spiller::new(directory, budget, Arc::clone(report));
        let (to_spiller, from_shards) =
            errands(SPILLS_AWAY_MAX).map_err(|error| machine("making a channel", &error))?;
        let (to_origins, routes) = self
            .bells
            .iter()
            .map(|bell| {
                let (to_origin, written) = written(SPILLS_AWAY_MAX, Arc::clone(bell));
                (to_origin, spill::Route::Files(to_spiller.clone(), written))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let tell = tell.clone();
        let run = move || {
            let _ = tell.send(ThreadEvent::Ready);
            spiller.run(&from_shards, &to_origins);
            let _ = tell.send(ThreadEvent::Ended(Ok(())));
        };
        self.workers.push(spawn("spill".to_owned(), run)?);
        Ok(routes)
    }

    fn start_shard(
        &mut self,
        start: ShardStart,
        tell: UnboundedSender<ThreadEvent>,
    ) -> Result<(), ServeError> {
        let metrics = Arc::new(ShardMetrics::default());
        self.metrics.push(Arc::clone(&metrics));
        let number = start.number;
        let run = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let shard = start.make(metrics)?;
                let _ = tell.send(ThreadEvent::Ready);
                shard.run().map_err(|error| format!("io_uring_enter: {error}"))
            }));
            let result = result.unwrap_or_else(|_| Err("a shard panicked; this is a bug of ringmx".into()));
            let _ = tell.send(ThreadEvent::Ended(result.map_err(|text| format!("shard {number}: {text}"))));
        };
        self.shards.push(spawn(format!("shard-{number}"), run)?);
        Ok(())
    }

    /// Waits for a signal or for a thread that could not go on, then stops everything in order.
    fn run(mut self, log: &mut Log) -> Result<(), ServeError> {
        let result = tokio_uring::start(self.wait(log));
        let summary = if result.is_ok() { "stopping" } else { "failing" };
        log.record(summary, SystemTime::now()).end();
        log.flush();
        self.stop.store(true, Ordering::Release);
        self.bells.iter().for_each(|bell| bell.ring());
        // Shards first: the workers end when the last shard has dropped its way to them, and have stored all by then.
        for thread in self.shards.into_iter().chain(self.workers) {
            let _ = thread.join();
        }
        self.report.finish();
        let mut record = log.record("stopped", SystemTime::now());
        for (name, value) in metrics::sum(self.metrics.iter().map(|shard| &**shard)) {
            record = record.number(name, value);
        }
        record.end();
        result
    }

    async fn wait(&mut self, log: &mut Log) -> Result<(), ServeError> {
        let listen = |kind| signal(kind).map_err(|error| machine("listening for signals", &error));
        let (mut terminate, mut interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let mut reload = listen(SignalKind::hangup())?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut starting = self.shards.len() + self.workers.len();
        loop {
            let event = tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                event = self.events.recv() => event,
                _ = reload.recv() => {
                    self.reload_certificates(log);
                    continue;
                }
                _ = look.tick() => {
                    self.report.look();
                    if self.tls.has_changed() {
                        self.reload_certificates(log);
                    }
                    continue;
                }
            };
            match event {
                Some(ThreadEvent::Ready) => {
                    starting -= 1;
                    if starting == 0 {
                        log.record("ready", SystemTime::now()).end();
                        log.flush();
                    }
                }
                Some(ThreadEvent::Ended(Err(text))) => return Err(ServeError(text)),
                Some(ThreadEvent::Ended(Ok(()))) | None => {
                    return Err(ServeError(
                        "a thread ended before it was told to; this is a bug of ringmx".into(),
                    ));
                }
            }
        }
    }
}

/// Makes a shard's route on its thread: a sink belongs to the thread that it runs on.
type MakeRoute = Box<dyn FnOnce() -> Route + Send>;

/// What a shard's thread needs to make its shard.
struct ShardStart {
    number: usize,
    shard: config::Shard,
    sockets: Vec<OwnedFd>,
    /// One a listener.
    settings: Vec<Settings>,
    /// One a listener; none where TLS is off. The shard's own, so that shards share no count.
    tls: Vec<Option<Arc<tls::ServerConfig>>>,
    route: MakeRoute,
    from_sinks: FromSinks,
    /// What is left on the sink's disk.
    space: Option<Arc<Space>>,
    spill: spill::Route,
    log: Log,
    logs: config::Log,
    hostname: String,
    clients: Arc<Clients>,
    stop: Arc<AtomicBool>,
}

impl ShardStart {
    /// Makes the shard on its own thread: a ring belongs to the thread that made it, and memory to the core that touches it.
    fn make(self, metrics: Arc<ShardMetrics>) -> Result<Shard<KernelRing>, String> {
        let config = &self.shard;
        affinity::pin_to(config.cpu).map_err(|error| format!("cannot run on CPU {}: {error}", config.cpu))?;
        let pool =
            Pool::new(config.buffers, config.buffer_bytes, config.block_bytes_max).map_err(|error| {
                format!("cannot map {} buffers of {} octets: {error}", config.buffers, config.buffer_bytes)
            })?;
        let ring = KernelRing::new(config.ring_entries, Arc::clone(pool.arena()))
            .and_then(|ring| ring.with_batch_wait(config.batch_wait))
            .map_err(|error| probe::explain(&error).to_string())?;
        let mut nonce = [0; 4];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| format!("no random numbers: {error}"))?;
        let number = u16::try_from(self.number).map_err(|_| "more than 65,535 shards".to_string())?;
        let listeners = self.sockets.into_iter().zip(self.settings).zip(self.tls).enumerate();
        let listeners = listeners.map(|(number, ((socket, settings), tls))| {
            Listener::new(number as u64, socket, Arc::new(settings), tls)
        });
        let parts = Parts {
            ring,
            pool,
            delivery: Delivery::new(number, u32::from_ne_bytes(nonce), (self.route)(), self.from_sinks)
                .with_space(self.space),
            spill: Spill::new(self.spill),
            log: self.log,
            log_sessions: self.logs.sessions,
            log_messages: self.logs.messages,
            metrics,
            hostname: self.hostname,
            connections_max: config.connections_max,
            clients: self.clients,
            stop: self.stop,
        };
        Ok(Shard::new(parts, listeners.collect()))
    }
}

/// Refuses to start where somebody else listens.
fn check_addresses(config: &Config) -> Result<(), ServeError> {
    for listener in &config.listeners {
        let address = listener.address;
        wait_until_free(address).map_err(|error| {
            let cure = match error.kind() {
                io::ErrorKind::AddrInUse => "another program listens there (`ss -ltnp` shows which): stop it or change the address",
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
                }
                io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address: see `ip address`",
                _ => "check the address of this [[listener]]",
            };
            ServeError(format!("cannot listen on {address}: {error}; {cure}"))
        })?;
    }
    Ok(())
}

/// Somebody who was killed on this address may still be on the way out: the kernel ends a dead process's accepts in the
/// background. A moment is enough.
fn wait_until_free(address: SocketAddr) -> io::Result<()> {
    const STEP: Duration = Duration::from_millis(50);
    for _ in 0..20 {
        match check_free(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(STEP),
            result => return result,
        }
    }
    check_free(address)
}

/// One socket for each listener of each shard, all on the same addresses.
fn listen_everywhere(config: &Config) -> Result<(Vec<Vec<OwnedFd>>, Vec<SocketAddr>), ServeError> {
    let mut addresses: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    let mut sockets = Vec::new();
    for _ in &config.shards {
        let mut of_shard = Vec::new();
        for address in &mut addresses {
            let failed = |error: io::Error| ServeError(format!("cannot listen on {address}: {error}"));
            let socket = listen(*address, LISTEN_BACKLOG).map_err(failed)?;
            // Port 0 is whatever the first shard got.
            *address =
                bound_address(&socket).map_err(|error| machine("asking for a bound address", &error))?;
            of_shard.push(socket);
        }
        sockets.push(of_shard);
    }
    Ok((sockets, addresses))
}

/// What the sessions of each listener are told. Each shard gets its own, so that shards share no memory they count in.
fn session_settings(config: &Config, recipients: Option<&[RecipientEntry]>) -> Vec<Settings> {
    let settings = |listener: &config::Listener| Settings {
        hostname: config.hostname.clone(),
        limits: config.limits.clone(),
        gate: listener.gate.clone(),
        bare_lf: listener.bare_lf,
        bare_cr: listener.bare_cr,
        local_part_case_sensitive: config.local_part_case_sensitive,
        bdat_bare_lf: listener.bdat_bare_lf,
        tls: listener.tls,
        extensions: listener.extensions,
        policy: Box::new(Recipients::new(config, recipients)),
    };
    config.listeners.iter().map(settings).collect()
}

/// Reads the file of recipients; at start a table that cannot be read is an error.
fn load_recipients(config: &Config) -> Result<Option<Vec<RecipientEntry>>, ServeError> {
    let Some(path) = &config.recipients else { return Ok(None) };
    recipients::load(path).map(Some).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        ServeError(format!("the file of recipients cannot be used: {}", lines.join("; ")))
    })
}

fn log_start(config: &Config, addresses: &[SocketAddr], opened: &Opened, log: &mut Log) {
    let at = SystemTime::now();
    for address in addresses {
        log.record("listening", at).plain("address", address).end();
    }
    let cpus: Vec<String> = config.shards.iter().map(|shard| shard.cpu.to_string()).collect();
    log.record("shards", at).plain("cpus", cpus.join(",")).end();
    let promise = match opened.durability {
        Durability::Disk => "250 means: on disk",
        Durability::Memory => "250 means: in memory, gone when the machine stops",
        Durability::None => "nothing: a message answered 250 may be lost",
    };
    log.record("sink", at)
        .text("to", opened.description.as_bytes())
        .text("promise", promise.as_bytes())
        .end();
    let domains =
        if config.domains.is_empty() { "any domain (loopback only)" } else { "the configured domains" };
    log.record("accepting", at).text("for", domains.as_bytes()).end();
    log_notes(&opened.notes, log);
}

fn log_notes(notes: &[String], log: &mut Log) {
    for note in notes {
        log.record("note", SystemTime::now()).text("text", note.as_bytes()).end();
    }
    log.flush();
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ServeError> {
    let built = std::thread::Builder::new().name(name).spawn(run);
    built.map_err(|error| machine("starting a thread", &error))
}

fn machine(step: &str, error: &io::Error) -> ServeError {
    ServeError(format!("{step}: {error}"))
}
