//! Stations: the threads that ask other programs about complete messages before the sink gets them.
//!
//! ```text
//!  shard ──► Visit ──► a task for each message, so many at a time ──► another program
//!    ▲                      │
//!    └──────── Back ◄───────┘  goes on · done · refused · greylisted · unanswered
//! ```
//!
//! A shard gives a message away and takes it back, and never waits. Each station is a thread with a runtime
//! of its own; whatever goes wrong there has an answer, and each message comes back once. At most so many
//! are with the other program at a time, the others wait in the channel, and whose time is over is answered
//! without it. A program that is down is known to be: messages wait for it no more until a probe finds it.

mod caught;
mod content;
mod filter;
mod first_found;
mod idle;
#[cfg(feature = "nats")]
mod nats;
mod next_hops;
mod standing;
mod stream;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use self::caught::caught;
use self::filter::{Filter, Plan};
pub use self::first_found::FirstFound;
use self::next_hops::NextHops;
use crate::config::{Config, CutThrough};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::message::Message;
use crate::handoff::station::{Back, Passage, Rules, Visit};
use crate::metrics::{StationAction, StationMetrics, StationName};
use crate::sink::Report;
use crate::sink::Site;
use crate::tls::as_client::TlsSettings;

/// A station, with what of files is needed for it: a server that has given up files makes it before.
#[derive(Debug, Clone)]
pub struct Station {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// A content filter.
    Filter(Plan),
    /// The next hops of `[[forward]]`.
    NextHops { routes: CutThrough, hostname: String, tls: TlsSettings },
    /// A stream of a cluster.
    #[cfg(feature = "nats")]
    Nats(Box<crate::nats::Plan>),
}

impl Station {
    /// Those that the configuration has, in the order in which messages pass them.
    ///
    /// # Errors
    /// What is missing for one of them.
    pub fn all(config: &Config) -> Result<Vec<Self>, String> {
        let plan = |filter| Plan::new(filter, &config.hostname);
        let of_filters = config.filters.iter().map(|filter| Ok(Self { kind: Kind::Filter(plan(filter)?) }));
        let mut all = of_filters.collect::<Result<Vec<_>, String>>()?;
        if let Some(routes) = config.cut_through.clone() {
            let hostname = config.hostname.clone();
            let tls = next_hops::tls(&routes)?;
            all.push(Self { kind: Kind::NextHops { routes, hostname, tls } });
        }
        #[cfg(feature = "nats")]
        if let Some(cluster) = &config.nats {
            let plan = crate::nats::Plan::new(cluster, &config.hostname)?;
            all.push(Self { kind: Kind::Nats(Box::new(plan)) });
        }
        Ok(all)
    }

    /// What it is called.
    pub fn name(&self) -> StationName {
        match &self.kind {
            Kind::Filter(plan) => StationName::Filter(plan.name.clone()),
            Kind::NextHops { .. } => StationName::NextHops,
            #[cfg(feature = "nats")]
            Kind::Nats(_) => StationName::Nats,
        }
    }

    /// Which messages it sees.
    pub fn rules(&self) -> Rules {
        match &self.kind {
            Kind::Filter(plan) => plan.rules(),
            Kind::NextHops { .. } => Rules {
                skips_trusted: false,
                bytes_max: u64::MAX,
                timeout: next_hops::DELIVERY_WAIT_MAX,
                otherwise: Passage::GoesOn,
            },
            #[cfg(feature = "nats")]
            Kind::Nats(plan) => nats::rules(plan.cluster.has_fallback),
        }
    }
}

/// Looks at those that have to be as they should before a server listens. It waits for them.
///
/// # Errors
/// What forbids to start.
pub fn first_look(stations: &[Station]) -> Result<FirstFound, String> {
    let mut all = FirstFound::default();
    for station in stations {
        let found = match &station.kind {
            Kind::Filter(plan) => filter::first_look(plan).map_err(|error| error.to_string())?,
            Kind::NextHops { .. } => continue,
            #[cfg(feature = "nats")]
            Kind::Nats(plan) => nats::first_look(plan)?,
        };
        all.notes.extend(found.notes);
        all.warnings.extend(found.warnings);
    }
    Ok(all)
}

/// Who asks, on the station's own thread.
enum Asker {
    Filter(Rc<Filter>),
    NextHops(NextHops),
    #[cfg(feature = "nats")]
    Nats(Rc<nats::Stream>),
}

impl Asker {
    #[allow(clippy::unused_async)]
    async fn new(
        station: &Station,
        report: &Arc<dyn Report>,
        metrics: &Arc<StationMetrics>,
    ) -> io::Result<Self> {
        Ok(match &station.kind {
            Kind::Filter(plan) => Self::Filter(Filter::new(plan, report, metrics)),
            Kind::NextHops { routes, hostname, tls } => {
                Self::NextHops(NextHops::new(routes, hostname, tls, (report, metrics)))
            }
            #[cfg(feature = "nats")]
            Kind::Nats(plan) => Self::Nats(nats::Stream::open(plan, (report, metrics)).await?),
        })
    }

    /// Messages that are with the other program at a time.
    fn visits_max(&self) -> usize {
        match self {
            Self::Filter(filter) => filter.connections_max(),
            Self::NextHops(hops) => hops.connections_max(),
            #[cfg(feature = "nats")]
            Self::Nats(stream) => stream.window(),
        }
    }

    /// What becomes of a message. Whatever it does it ends before the message's time is over.
    async fn visit(&self, message: &mut Message, since: Instant) -> (StationAction, Passage) {
        match self {
            Self::Filter(filter) => filter.judge(message, since).await,
            Self::NextHops(hops) => hops.deliver(message, since).await,
            #[cfg(feature = "nats")]
            Self::Nats(stream) => stream.publish(message, since).await,
        }
    }
}

/// Runs until no shard is left. `ready` is called when messages are taken. Each shard's own end is at its
/// number.
pub fn run(
    station: &Station,
    consumer: &Consumer,
    visits: &Receiver<Visit>,
    shards: Vec<Sender<Back>>,
    (report, metrics): (&Arc<dyn Report>, &Arc<StationMetrics>),
    ready: impl FnOnce(),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let served = tasks.run_until(async {
        let asker = Asker::new(station, report, metrics).await?;
        let desk = Desk {
            free: Cell::new(asker.visits_max()),
            asker,
            rules: station.rules(),
            shards,
            report: Arc::clone(report),
            metrics: Arc::clone(metrics),
            freed: Notify::new(),
        };
        ready();
        serve(consumer, visits, &Rc::new(desk)).await
    });
    runtime.block_on(served)
}

/// Asks the filters of a configuration about a message, as a server does, until one keeps it from going on.
/// Each is told of with what becomes of the message by it; none where it need not see the message.
pub fn ask_by_hand(
    config: &Config,
    message: &mut Message,
    report: &Arc<dyn Report>,
    mut tell: impl FnMut(&str, Option<&Passage>, &Message),
) -> io::Result<Passage> {
    let stations = Station::all(config).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        for station in &stations {
            let StationName::Filter(name) = station.name() else { continue };
            let rules = station.rules();
            if !rules.see(message) {
                tell(&name, None, message);
                continue;
            }
            let asker = Asker::new(station, report, &Arc::default()).await?;
            let (action, passage) = asker.visit(message, Instant::now()).await;
            tell(&name, Some(&passage), message);
            match (action, passage) {
                (StationAction::Unanswered, _) if rules.otherwise == Passage::GoesOn => {}
                (_, Passage::GoesOn) => {}
                (_, passage) => return Ok(passage),
            }
        }
        Ok(Passage::GoesOn)
    }))
}

/// What the tasks of a station share.
struct Desk {
    asker: Asker,
    rules: Rules,
    /// One a shard.
    shards: Vec<Sender<Back>>,
    report: Arc<dyn Report>,
    metrics: Arc<StationMetrics>,
    /// Messages that may be taken yet.
    free: Cell<usize>,
    freed: Notify,
}

/// Takes messages until no shard can send any more. What is under way then is nobody's: no shard is left.
#[allow(unsafe_code)]
async fn serve(consumer: &Consumer, visits: &Receiver<Visit>, desk: &Rc<Desk>) -> io::Result<()> {
    // SAFETY: the bell's descriptor is open as long as `consumer`, which outlives this function.
    let bell = unsafe { AsyncFd::register(consumer.bell().as_fd())? };
    // Messages that wait for others. No more than all shards may have away.
    let mut waiting = VecDeque::new();
    loop {
        while desk.free.get() > 0
            && let Some(visit) = waiting.pop_front()
        {
            // It only begins: so all that came together leave together, too.
            Desk::take(desk, visit);
        }
        match visits.take() {
            Waiting::Item(visit) => waiting.push_back(visit),
            Waiting::Ended => return Ok(()),
            Waiting::Nothing => {
                if consumer.park(|| visits.is_empty()) {
                    tokio::select! {
                        rung = bell.readable() => {
                            let mut rung = rung?;
                            consumer.bell().clear();
                            rung.clear_ready();
                        }
                        () = desk.freed.notified() => {}
                    }
                    consumer.unpark();
                }
            }
        }
    }
}

impl Desk {
    /// Begins a visit. Its message comes back whatever happens.
    fn take(desk: &Rc<Self>, Visit { mut message, since }: Visit) {
        if since.elapsed() >= desk.rules.timeout {
            return desk.give_back(message, since, StationAction::Unanswered, desk.rules.otherwise.clone());
        }
        desk.free.set(desk.free.get() - 1);
        desk.metrics.in_flight.add(1);
        let desk = Rc::clone(desk);
        tokio::task::spawn_local(async move {
            let (action, passage) = match caught(desk.asker.visit(&mut message, since)).await {
                Some((StationAction::Unanswered, _)) => {
                    (StationAction::Unanswered, desk.rules.otherwise.clone())
                }
                Some(judged) => judged,
                None => {
                    let error = io::Error::other("this is a bug of ringmx");
                    let what = "ask about a message, which is treated as if nobody had answered,";
                    desk.report.machine_error(what, Site::Named("a station"), &error);
                    (StationAction::Unanswered, desk.rules.otherwise.clone())
                }
            };
            desk.give_back(message, since, action, passage);
            desk.free.set(desk.free.get() + 1);
            desk.metrics.in_flight.set(desk.metrics.in_flight.value().saturating_sub(1));
            desk.freed.notify_one();
        });
    }

    fn give_back(&self, message: Box<Message>, since: Instant, action: StationAction, passage: Passage) {
        self.metrics.note(action, since.elapsed());
        if let Some(shard) = self.shards.get(usize::from(message.origin.shard)) {
            shard.answer(Back { message, passage });
            shard.ring_if_parked();
        }
    }
}
