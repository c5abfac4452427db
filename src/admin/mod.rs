//! The administration of a running process: metrics, health and status page over HTTP, the control socket,
//! and the service manager's watchdog. A thread of its own, with one runtime.
//!
//! What is told is the business of a [`Process`]: a receiver (`receiver`) or a forwarder (`forwarder`).
//!
//! It reads what others count and asks nobody: no shard ever waits for it. It is less urgent to the kernel
//! than they are, and takes no more connections a second than it can answer, so that whoever asks too much
//! takes nothing from mail.

mod access;
pub mod control_socket;
pub mod exposition;
pub mod forwarder;
pub mod health;
mod http;
pub mod page;
pub mod process;
pub mod receiver;
mod routes;
pub mod socket;
pub mod status;
pub mod verdict;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::access::Access;
use self::control_socket::{ControlSocket, ControlStart};
use self::process::{Process, SAMPLE_EVERY};
use self::routes::Routes;
use self::socket::{Acceptor, Listening};
use self::verdict::LOOK_EVERY;
use crate::config;
use crate::service_manager::ServiceManager;
use crate::sink::Report;
use crate::sink::Site;
use crate::threads::{self, Threads};

/// Connections at a time. One more ends the oldest: who only holds connections keeps nobody out.
const CONNECTIONS_MAX: usize = 32;

/// One connection each 3 ms, or so many at once.
const ACCEPT_EVERY: Duration = Duration::from_millis(3);
const ACCEPT_BURST: u32 = 64;

/// One that is closed at once costs less: strangers keep nobody else waiting.
const CLOSE_EVERY: Duration = Duration::from_micros(100);

/// After an accept failed, as a rule for want of descriptors, nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// How often it is told that somebody was not let in, at most.
const STRANGERS_TOLD_EVERY: Duration = Duration::from_mins(1);

/// How long its end is waited for.
const END_MAX: Duration = Duration::from_secs(3);

/// Octets of the longest answer: `/metrics?shards=1`, with all histograms of a shard.
const ANSWER_BYTES: u64 = 128 * 1024;
const ANSWER_BYTES_A_SHARD: u64 = 64 * 1024;

/// Octets that its connections take at most where there are so many shards: questions and answers.
pub const fn bytes_max(shards: u64) -> u64 {
    let answer = ANSWER_BYTES + shards * ANSWER_BYTES_A_SHARD;
    CONNECTIONS_MAX as u64 * (answer + 4 * http::HEAD_BYTES_MAX as u64)
}

/// What it is started with.
pub struct AdminStart {
    /// Where it listens, and the configuration that says so; none where it is off.
    pub listening: Option<(Listening, config::Admin)>,
    /// What is told, watched and sampled.
    pub process: Arc<dyn Process>,
    /// Whom the watchdog tells.
    pub service_manager: Arc<ServiceManager>,
    /// Takes its errors to the log.
    pub report: Arc<dyn Report>,
    /// The control socket, if there is one.
    pub control: Option<ControlStart>,
}

/// The running thread; ended by drop.
pub struct Admin {
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    threads: Option<Threads>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(threads) = self.threads.take() {
            let _ = threads.join(END_MAX);
        }
    }
}

/// Starts the thread, if there is something for it to do.
pub fn start(start: AdminStart) -> io::Result<Option<Admin>> {
    if start.listening.is_none() && start.control.is_none() && start.service_manager.watchdog().is_none() {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let mut threads = Threads::new();
    threads.start("admin".to_owned(), move || {
        threads::give_way();
        let report = Arc::clone(&start.report);
        if let Err(error) = runtime.block_on(run(start, stopped)) {
            report.machine_error("listen for", Site::Named("the administration"), &error);
        }
    })?;
    Ok(Some(Admin { stop: Some(stop), threads: Some(threads) }))
}

async fn run(start: AdminStart, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let AdminStart { listening, process, service_manager, report, control } = start;
    let mut control = control.map(ControlSocket::in_runtime).transpose()?;
    let mut door = match listening {
        Some((listening, config)) => Some(Door {
            acceptor: listening.accept_in_runtime()?,
            table: config.table,
            routes: Arc::new(Routes { access: Access::new(&config), process: Arc::clone(&process) }),
            report,
            connections: Connections::default(),
            pace: Pace::new(),
            strangers: Strangers::default(),
        }),
        None => None,
    };
    let mut look = interval(LOOK_EVERY);
    // After a pause of the whole process one look is enough, or shards would seem to have missed many.
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sample = interval(SAMPLE_EVERY);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => {
                drop(door.take());
                if let Some(control) = control {
                    control.end().await;
                }
                return Ok(());
            }
            _ = look.tick() => {
                process.look();
                // With each good look: what the watchdog waits for begins anew when it turns bad, not before.
                if service_manager.watchdog().is_some() && process.healthz().is_good() {
                    service_manager.alive();
                }
            }
            _ = sample.tick() => process.sample(),
            () = take_next_question(control.as_mut()) => {}
            () = take_next(door.as_mut()) => {}
        }
    }
}

/// Takes the next request to the control socket, if there is one.
async fn take_next_question(control: Option<&mut ControlSocket>) {
    match control {
        Some(control) => control.take_next().await,
        None => std::future::pending().await,
    }
}

/// Takes the next connection, if any are taken.
async fn take_next(door: Option<&mut Door>) {
    match door {
        Some(door) => door.take_next().await,
        None => std::future::pending().await,
    }
}

/// Where connections come in.
struct Door {
    acceptor: Acceptor,
    /// The table of the configuration that says who may come.
    table: &'static str,
    routes: Arc<Routes>,
    report: Arc<dyn Report>,
    connections: Connections,
    pace: Pace,
    strangers: Strangers,
}

impl Door {
    /// May be given up at any of its waits.
    async fn take_next(&mut self) {
        sleep_until(self.pace.not_before()).await;
        match self.acceptor.accept().await {
            Ok((stream, from)) => {
                if self.routes.access().lets_in(from) {
                    self.pace.count(ACCEPT_EVERY);
                    self.connections.add(http::serve(stream, Arc::clone(&self.routes)));
                    return;
                }
                self.pace.count(CLOSE_EVERY);
                if let (Some(others), Some(from)) = (self.strangers.count(), from) {
                    let others = if others > 0 { format!(", and {others} before it") } else { String::new() };
                    self.report.note(&format!(
                        "{from} connected to the administration and is of no network of `{}.allow`: closed{others}",
                        self.table
                    ));
                }
            }
            Err(error) => {
                self.pace.pause();
                self.report.machine_error("accept on", Site::Named("the administration's socket"), &error);
            }
        }
    }
}

/// The connections that are open.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first. `len <= CONNECTIONS_MAX`
    open: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, serve: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|task| !task.is_finished());
        if self.open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.abort();
        }
        self.open.push_back(self.tasks.spawn(serve));
    }
}

/// How fast connections are taken.
struct Pace {
    /// When the next one would be taken, if all came evenly.
    even: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { even: Instant::now() }
    }

    fn not_before(&self) -> Instant {
        self.even - ACCEPT_EVERY * (ACCEPT_BURST - 1)
    }

    fn count(&mut self, takes: Duration) {
        self.even = self.even.max(Instant::now()) + takes;
    }

    fn pause(&mut self) {
        self.even = Instant::now() + ACCEPT_EVERY * ACCEPT_BURST + ACCEPT_PAUSE;
    }
}

/// Those who were not let in.
#[derive(Default)]
struct Strangers {
    told_at: Option<Instant>,
    untold: u64,
}

impl Strangers {
    /// One more: how many came before it that nobody was told of, where it is to be told.
    fn count(&mut self) -> Option<u64> {
        if self.told_at.is_some_and(|at| at.elapsed() < STRANGERS_TOLD_EVERY) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}
