//! Starts sinks, shards and the log; waits for what signals ask for; stops everything in order.
//!
//! This is the control thread: everything that is not per message. At the end it waits for nobody longer than a bound.

mod report;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use crossbeam_channel::{Receiver, Sender, select_biased, tick, unbounded};

use crate::buffer::{Pool, SpillBudget};
use crate::config::recipients;
use crate::config::{self, Config, LogFormat, Problem, Warning};
use crate::handoff::channel::{FromSinks, ToShard, ToSink, messages, receipts};
use crate::handoff::doorbell::Doorbell;
use crate::handoff::errand::{done, errands};
use crate::limits::{
    HANDOFF_MESSAGES_MAX, INQUIRIES_AWAY_MAX, LAST_WORDS_MAX, LISTEN_BACKLOG, LOG_END_MAX, SHARDS_END_MAX,
    SPILLS_AWAY_MAX, WORKERS_END_MAX,
};
use crate::log::{self, Log};
use crate::mail::queue_id::{IdKey, KEY_BYTES};
use crate::metrics::{self, ShardMetrics};
use crate::ring::kernel::KernelRing;
use crate::ring::probe;
use crate::shard::clients::Clients;
use crate::shard::delivery::{Delivery, Route};
use crate::shard::listener::{Listener, bound_address, check_free, listen};
use crate::shard::mailboxes::{self, Mailboxes};
use crate::shard::spill::{self, Spill};
use crate::shard::{Parts, Shard, affinity};
use crate::shutdown::{Asked, Shutdown};
use crate::sink::space::Space;
use crate::sink::spill_file::SpillTo;
use crate::sink::spiller::Spiller;
use crate::sink::{self, Durability, Opened, Report, Sink, Surroundings, file_limit};
use crate::smtp::policy::{RecipientEntry, Recipients};
use crate::smtp::settings::Settings;
use crate::threads::Threads;
use crate::{huge_pages, resource_limits, tls};

use self::report::LogReport;

/// How often the files of certificates are looked at, and what errors were counted.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A panic is waited for so long until it is told.
const PANIC_WORDS_MAX: Duration = Duration::from_millis(100);

/// Why the server could not start or had to stop. Says what happened, to what, and what to do.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

/// Runs the receiver until SIGTERM or SIGINT; returns when every message under way was stored and answered. `warnings` on the
/// configuration are told first. An error was told when this returns, with what was left behind when the time for that was over: in
/// the log, in the configured format, or plainly on standard error where there is no log yet.
pub fn serve(config: &Config, warnings: &[Warning], shutdown: &Arc<Shutdown>) -> Result<(), ServeError> {
    shutdown.speak(config.log.format);
    tell_panics(config.log.format);
    // A huge page for the few KiB that a shard's heap or pool touches costs up to 2 MiB each: 10,000 idle connections took
    // 17 MiB instead of 6, and messages came no faster.
    huge_pages::on_request_only();
    resource_limits::raise();
    let (mut log, writer) = start_log(config.log.format)?;
    log_warnings(warnings, &mut log);
    let probed = probe::probe().map_err(|unusable| ServeError(unusable.to_string()));
    let started = probed.and_then(|()| Server::start(config, shutdown, &mut log));
    let served = started.and_then(|started| {
        if let Some(server) = started {
            return server.run(&mut log);
        }
        log.record("stopped", SystemTime::now()).text("text", b"it did not listen yet").end();
        Ok(())
    });
    if let Err(error) = &served {
        log_error(&error.0, &mut log);
    }
    drop(log);
    // Who does not read standard error loses these lines; nobody else is left to tell.
    let _ = writer.finish(LOG_END_MAX);
    served
}

/// Tells why there is nothing to serve with, as [`serve`] tells its own errors.
pub fn refuse(format: LogFormat, problems: &[Problem], warnings: &[Warning]) -> Result<(), ServeError> {
    let (mut log, writer) = start_log(format)?;
    log_warnings(warnings, &mut log);
    for problem in problems {
        log_error(&problem.to_string(), &mut log);
    }
    drop(log);
    let _ = writer.finish(LOG_END_MAX);
    Err(ServeError("the configuration cannot be used".to_owned()))
}

fn start_log(format: LogFormat) -> Result<(Log, log::Writer), ServeError> {
    log::start(format).map_err(|error| {
        let error = machine("starting the log thread", &error);
        // Not by the standard library: it would wait for a reader that stands still.
        log::write_within(format!("ringmx: {error}\n"), LAST_WORDS_MAX);
        error
    })
}

fn log_warnings(warnings: &[Warning], log: &mut Log) {
    for warning in warnings {
        log.record("warning", SystemTime::now()).text("text", warning.to_string().as_bytes()).end();
    }
    log.flush();
}

fn log_error(text: &str, log: &mut Log) {
    log.record("error", SystemTime::now()).text("text", text.as_bytes()).end();
    log.flush();
}

/// The standard library writes of a panic on standard error and waits for its reader: a panic that is caught (`tls`) would stop a
/// shard, one that is not would stop the end of the process.
fn tell_panics(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let text = format!("thread {}: {panic}", thread.name().unwrap_or("without a name"));
        log::last_words(format, "panic", &text, PANIC_WORDS_MAX);
    }));
}

/// Everything that was started.
struct Server {
    tls: tls::context::Context,
    report: Arc<LogReport>,
    shutdown: Arc<Shutdown>,
    bells: Vec<Arc<Doorbell>>,
    metrics: Vec<Arc<ShardMetrics>>,
    shards: Threads,
    workers: Threads,
    events: Receiver<ThreadEvent>,
}

/// What a shard or worker thread tells the control thread.
enum ThreadEvent {
    Ready,
    /// It ended, as told or because it could not go on.
    Ended(Result<(), String>),
}

impl Server {
    /// None when it was asked to stop before it listened. It looks between its steps; who stands in one is ended by `Shutdown`.
    fn start(config: &Config, shutdown: &Arc<Shutdown>, log: &mut Log) -> Result<Option<Self>, ServeError> {
        check_addresses(config)?;
        let recipients = load_recipients(config)?;
        // Its notes are among the warnings on the configuration.
        let (tls, _) = tls::context::Context::open(&config.tls, &config.hostname).map_err(ServeError)?;
        let report = Arc::new(LogReport::new(log.clone()));
        let surroundings = Surroundings {
            hostname: config.hostname.clone(),
            local_part_case_sensitive: config.local_part_case_sensitive,
            report: Arc::clone(&report) as Arc<dyn Report>,
            is_named: {
                let table = Recipients::new(&config.recipient_rules(), recipients.as_deref());
                Arc::new(move |mailbox| table.is_named(mailbox))
            },
        };
        if shutdown.has_begun() {
            return Ok(None);
        }
        let mut opened =
            sink::open(&config.sink, &surroundings).map_err(|error| ServeError(error.to_string()))?;
        let space = sink::watch_space(&config.sink, &surroundings)
            .map_err(|error| machine("watching the sink's disk", &error))?;
        let (tell, events) = unbounded();
        let mut server = Self {
            tls,
            report,
            shutdown: Arc::clone(shutdown),
            bells: Vec::new(),
            metrics: Vec::new(),
            shards: Threads::new(),
            workers: Threads::new(),
            events,
        };
        if !shutdown.may_listen() {
            return Ok(None);
        }
        let (sockets, addresses) = listen_everywhere(config)?;
        log_start(config, &addresses, &opened, log);
        log_notes(file_limit::log_note(file_limit::bytes_max(), log::is_a_file()).as_slice(), log);
        let inline = opened.inline;
        let mailboxes = opened.mailboxes.take();
        let spill_to = opened.spill.clone();
        let mut to_shards = Vec::new();
        let mut from_sinks = Vec::new();
        for _ in &config.shards {
            let bell = Arc::new(Doorbell::new().map_err(|error| machine("making an eventfd", &error))?);
            let (to_shard, from_sink) = receipts(HANDOFF_MESSAGES_MAX, Arc::clone(&bell));
            shutdown.ring_at_stop(Arc::clone(&bell));
            server.bells.push(bell);
            to_shards.push(to_shard);
            from_sinks.push(from_sink);
        }
        let spills = server.start_spilling(config, spill_to, space.clone(), &surroundings.report, &tell)?;
        let mailboxes = server.start_keeper(mailboxes, &tell)?;
        let routes = server.start_workers(opened, &to_shards, &tell, &surroundings.report)?;
        drop(to_shards);
        let mut routes = routes.iter().cycle();
        let id_key = random_id_key()?;
        let clients = Clients::new(config.limits.connections_per_client_max);
        let parts = config
            .shards
            .iter()
            .zip(sockets)
            .zip(from_sinks)
            .zip(spills.into_iter().zip(mailboxes))
            .enumerate();
        for (number, (((shard, sockets), from_sinks), (spill, mailboxes))) in parts {
            let route = route_to(routes.next().cloned(), inline)?;
            let start = ShardStart {
                number,
                shard: shard.clone(),
                sockets,
                settings: session_settings(config, recipients.as_deref()),
                tls: server.tls_configs(config)?,
                route,
                from_sinks,
                id_key,
                space: space.clone(),
                spill,
                mailboxes,
                log: log.clone(),
                logs: config.log.clone(),
                hostname: config.hostname.clone(),
                clients: Arc::clone(&clients),
                stop: Arc::clone(shutdown.flag()),
            };
            server.start_shard(start, tell.clone())?;
        }
        Ok(Some(server))
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
            Err(why) => log_error(&format!("{why}; the certificates stay as they were"), log),
        }
        log.flush();
    }

    /// Starts the sink workers and gives the way to each.
    fn start_workers(
        &mut self,
        opened: Opened,
        to_shards: &[ToShard],
        tell: &Sender<ThreadEvent>,
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
            start_thread(&mut self.workers, format!("sink-{number}"), run)?;
            ends.push(to_sink);
        }
        Ok(ends)
    }

    /// Starts the spill thread, if the sink needs one, and gives each shard its way to it.
    fn start_spilling(
        &mut self,
        config: &Config,
        spill_to: SpillTo,
        space: Option<Arc<Space>>,
        report: &Arc<dyn Report>,
        tell: &Sender<ThreadEvent>,
    ) -> Result<Vec<spill::Route>, ServeError> {
        let directory = match spill_to {
            SpillTo::Nowhere => return Ok(self.bells.iter().map(|_| spill::Route::Nowhere).collect()),
            SpillTo::Directory(directory) => directory,
        };
        let limits = &config.limits;
        let budget = SpillBudget::new(limits.spill_bytes_max, limits.spill_files_max);
        let spiller = Spiller::new(directory, budget, Arc::clone(report)).with_space(space);
        let (to_spiller, from_shards) =
            errands(SPILLS_AWAY_MAX).map_err(|error| machine("making a channel", &error))?;
        let (to_origins, routes) = self
            .bells
            .iter()
            .map(|bell| {
                let (to_origin, written) = done(SPILLS_AWAY_MAX, Arc::clone(bell));
                (to_origin, spill::Route::Files(to_spiller.clone(), written))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let tell = tell.clone();
        let run = move || {
            let _ = tell.send(ThreadEvent::Ready);
            spiller.run(&from_shards, &to_origins);
            let _ = tell.send(ThreadEvent::Ended(Ok(())));
        };
        start_thread(&mut self.workers, "spill".to_owned(), run)?;
        Ok(routes)
    }

    /// Starts the thread that looks into mailboxes, if the sink has some, and gives each shard its way to it.
    fn start_keeper(
        &mut self,
        mailboxes: Option<sink::mailbox::Mailboxes>,
        tell: &Sender<ThreadEvent>,
    ) -> Result<Vec<mailboxes::Route>, ServeError> {
        let Some(sink::mailbox::Mailboxes { naming, make_keeper }) = mailboxes else {
            return Ok(self.bells.iter().map(|_| mailboxes::Route::Everybody).collect());
        };
        let (to_keeper, inquiries) =
            errands(INQUIRIES_AWAY_MAX).map_err(|error| machine("making a channel", &error))?;
        let (to_askers, routes) = self
            .bells
            .iter()
            .map(|bell| {
                let (to_asker, found) = done(INQUIRIES_AWAY_MAX, Arc::clone(bell));
                (to_asker, mailboxes::Route::Keeper(Arc::clone(&naming), to_keeper.clone(), found))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let tell = tell.clone();
        let run = move || {
            let result = make_keeper().map(|keeper| {
                let _ = tell.send(ThreadEvent::Ready);
                sink::mailbox::run(keeper, &inquiries, &to_askers);
            });
            let result = result.map_err(|error| format!("the sink cannot look into its mailboxes: {error}"));
            let _ = tell.send(ThreadEvent::Ended(result));
        };
        start_thread(&mut self.workers, "mailboxes".to_owned(), run)?;
        Ok(routes)
    }

    fn start_shard(&mut self, start: ShardStart, tell: Sender<ThreadEvent>) -> Result<(), ServeError> {
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
        start_thread(&mut self.shards, format!("shard-{number}"), run)
    }

    /// Waits for a signal or for a thread that could not go on, then stops everything in order.
    fn run(mut self, log: &mut Log) -> Result<(), ServeError> {
        let result = self.wait(log);
        let summary = if result.is_ok() { "stopping" } else { "failing" };
        log.record(summary, SystemTime::now()).end();
        log.flush();
        self.shutdown.begin();
        // Shards first: the workers end when the last shard has dropped its way to them, and have stored all by then.
        let mut left = self.shards.join(SHARDS_END_MAX);
        left.extend(self.workers.join(WORKERS_END_MAX));
        self.report.finish();
        let mut record = log.record("stopped", SystemTime::now());
        for (name, value) in metrics::sum(self.metrics.iter().map(|shard| &**shard)) {
            record = record.number(name, value);
        }
        record.end();
        let ended = all_have_ended(&left);
        if let (Err(_), Err(left)) = (&result, &ended) {
            log.record("error", SystemTime::now()).text("text", left.0.as_bytes()).end();
        }
        result.and(ended).and_then(|()| failed_at_last(&self.events))
    }

    fn wait(&mut self, log: &mut Log) -> Result<(), ServeError> {
        let look = tick(LOOK_EVERY);
        let mut starting = self.shards.count() + self.workers.count();
        loop {
            let event = select_biased! {
                recv(self.shutdown.asked()) -> asked => match asked {
                    Ok(Asked::Reload) => {
                        self.reload_certificates(log);
                        continue;
                    }
                    Ok(Asked::Stop) => return Ok(()),
                    Err(_) => return Err(ServeError("the thread of the signals ended; this is a bug of ringmx".into())),
                },
                recv(self.events) -> event => event.ok(),
                recv(look) -> _ => {
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
                // The shards may learn of a stop before this thread does.
                Some(ThreadEvent::Ended(Ok(()))) if self.shutdown.has_begun() => return Ok(()),
                Some(ThreadEvent::Ended(Ok(()))) | None => {
                    return Err(ServeError(
                        "a thread ended before it was told to; this is a bug of ringmx".into(),
                    ));
                }
            }
        }
    }
}

/// What a thread could not do while all was stopping.
fn failed_at_last(events: &Receiver<ThreadEvent>) -> Result<(), ServeError> {
    let failed = events.try_iter().find_map(|event| match event {
        ThreadEvent::Ready => None,
        ThreadEvent::Ended(result) => result.err(),
    });
    failed.map_or(Ok(()), |text| Err(ServeError(text)))
}

/// Says what was not waited for.
fn all_have_ended(left: &[String]) -> Result<(), ServeError> {
    if left.is_empty() {
        return Ok(());
    }
    Err(ServeError(format!(
        "ended without waiting for {}, which stood still for too long: does the disk of the sink answer (`dmesg`)? Messages that \
         were handed to it and not answered 250 may be stored or not; none that was answered is lost",
        left.join(", ")
    )))
}

/// Makes a shard's route on its thread: a sink belongs to the thread that it runs on.
type MakeRoute = Box<dyn FnOnce() -> Route + Send>;

/// The way to a worker of the sink, or to the sink itself where it has none.
fn route_to(worker: Option<ToSink>, inline: Option<fn() -> Box<dyn Sink>>) -> Result<MakeRoute, ServeError> {
    match (worker, inline) {
        (Some(to_sink), _) => Ok(Box::new(|| Route::Worker(to_sink))),
        (None, Some(make)) => Ok(Box::new(move || Route::Inline(make()))),
        (None, None) => Err(ServeError("the sink has neither workers nor runs inline".into())),
    }
}

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
    id_key: IdKey,
    /// What is left on the sink's disk.
    space: Option<Arc<Space>>,
    spill: spill::Route,
    mailboxes: mailboxes::Route,
    log: Log,
    logs: config::Log,
    hostname: String,
    clients: Arc<Clients>,
    stop: Arc<AtomicBool>,
}

/// The key of the ids of this start.
fn random_id_key() -> Result<IdKey, ServeError> {
    let mut octets = [0; KEY_BYTES];
    // So few octets come whole (getrandom(2)).
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| machine("asking the kernel for random numbers", &error.into()))?;
    Ok(IdKey::from_octets(octets))
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
        let number = u16::try_from(self.number).map_err(|_| "more than 65,535 shards".to_string())?;
        let listeners = self.sockets.into_iter().zip(self.settings).zip(self.tls).enumerate();
        let listeners = listeners.map(|(number, ((socket, settings), tls))| {
            Listener::new(number as u64, socket, Arc::new(settings), tls)
        });
        let parts = Parts {
            ring,
            pool,
            delivery: Delivery::new(number, self.id_key, (self.route)(), self.from_sinks)
                .with_space(self.space),
            spill: Spill::new(self.spill),
            mailboxes: Mailboxes::new(number, self.mailboxes),
            log: self.log,
            log_sessions: self.logs.sessions,
            log_messages: self.logs.messages,
            metrics,
            hostname: self.hostname,
            connections_max: config.connections_max,
            clients: self.clients,
            stop: self.stop,
        };
        Ok(Shard::new(parts, listeners.collect()).with_session_lines(self.logs.session_lines_max))
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
        for (address, listener) in addresses.iter_mut().zip(&config.listeners) {
            let failed = |error: io::Error| ServeError(format!("cannot listen on {address}: {error}"));
            let socket = listen(*address, LISTEN_BACKLOG, listener.receive_buffer_bytes).map_err(failed)?;
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
    let policy = || Box::new(Recipients::new(&config.recipient_rules(), recipients));
    config.listeners.iter().map(|listener| config.session_settings(listener, policy())).collect()
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
    let cpus = config.shards.iter().map(|shard| shard.cpu as u64);
    log.record("shards", at).numbers("cpus", cpus).end();
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

fn start_thread(
    threads: &mut Threads,
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), ServeError> {
    threads.start(name, run).map_err(|error| machine("starting a thread", &error))
}

fn machine(step: &str, error: &io::Error) -> ServeError {
    ServeError(format!("{step}: {error}"))
}
