//! The start of the forwarder and the order of its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam_channel::RecvTimeoutError;

use super::engine::{Ends, Engine, Unsettled};
use super::keep::{self, Folder, Keeper};
use super::office::{self, Answer, Left, Letter};
use super::reading::{self, Ahead};
use super::routes::Routes;
use super::schedule::DestinationId;
use super::searches::{self, Searches};
use super::stores::Stores;
use super::watched::Watched;
use super::{Desk, desk, names};
use crate::buffer::Pool;
use crate::config::forward::{Forward, HopPlace, HopTls};
use crate::config::{Config, SinkKind};
use crate::dns::lookup;
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::log::{Log, events};
use crate::metrics::ForwardMetrics;
use crate::ring::kernel::KernelRing;
use crate::ring::probe;
use crate::sink::executor::blocking::Blocking;
use crate::sink::spool::reader;
use crate::sink::{self, Report, Root, Site};
use crate::threads::Threads;
use crate::tls::as_client::AUTHORITIES;

/// Entries of the ring: an operation or two for each connection.
const RING_ENTRIES: u32 = 1024;

/// Buffers for replies, which are short.
const BUFFERS: usize = 256;
const BUFFER_BYTES: usize = 4096;

/// At the end what is not durable is waited for so long.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often is told that the state is still being read.
const READING_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Why the forwarder cannot run.
#[derive(Debug)]
pub struct ForwardError(String);

impl std::fmt::Display for ForwardError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ForwardError {}

fn failed(what: &str, error: impl std::fmt::Display) -> ForwardError {
    ForwardError(format!("{what}: {error}"))
}

/// Who surrounds a forwarder: tells others of it.
pub trait Surroundings {
    /// It has the spool for itself, and reads its state next, which may take long. Nothing was changed yet.
    /// An error ends the start.
    fn prepares(&self) -> Result<(), String>;

    /// Its state was read. What is counted from now on is told from now on, and operators ask at the desk. An
    /// error ends the start.
    fn begins(&self, metrics: &Arc<ForwardMetrics>, desk: Desk) -> Result<(), String>;

    /// Asked before anything is changed: false when there shall be no forwarder, because the stop has begun.
    fn may_begin(&self) -> bool;

    /// The state is still being read. Called every now and then.
    fn reads_on(&self);

    /// All threads run: mail goes on.
    fn runs(&self);

    /// Whether it is to end. Asked by the engine in each turn.
    fn shall_stop(&self) -> bool;

    /// The stop begins. Called by the engine, so nobody may wait in it.
    fn stops(&self);

    /// The stop has come to its end: nobody is told any more.
    fn ends(&self);
}

/// Forwards the mail of the configured spool until it shall stop; returns when what was under way is settled
/// and durable, or the time for that is over.
///
/// `surroundings` are told how far it is. They get the desk once the state was read, and before any mail goes
/// on.
pub fn forward(
    config: &Config,
    log: &mut Log,
    report: &Arc<dyn Report>,
    surroundings: &dyn Surroundings,
) -> Result<Unsettled, ForwardError> {
    let SinkKind::Spool(spool) = &config.sink.kind else {
        return Err(ForwardError("mail is forwarded from a spool, and the sink is none".to_owned()));
    };
    if config.forward.routes.is_empty() {
        return Err(ForwardError(
            "there is no [[forward]] in the configuration: nothing says where to".to_owned(),
        ));
    }
    let path = &spool.path;
    reader::require_spool(path).map_err(|error| failed("the spool cannot be read", error))?;
    require_owner(path)?;
    let _lock = lock(path)?;
    if !surroundings.may_begin() {
        return Ok(Unsettled::default());
    }
    surroundings.prepares().map_err(ForwardError)?;
    run(config, path, log, report, surroundings)
}

/// One forwarder at a time.
fn lock(spool: &Path) -> Result<Root, ForwardError> {
    Root::open(&spool.join(keep::FORWARD), "forward").map_err(|error| ForwardError(error.to_string()))
}

/// Whether a forwarder has this spool for itself, also one that reads its state yet.
pub fn reads(spool: &Path) -> bool {
    sink::is_in_use(&spool.join(keep::FORWARD))
}

/// What a rebuild has to say.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Report for Told {
    fn machine_error(&self, what: &str, site: Site<'_>, error: &io::Error) {
        self.note(&format!("{what} {site:?}: {error}"));
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }
}

/// How much waits, and how much was given up.
pub type Counts = (usize, usize);

/// Makes the journal anew from `later/` and `dead/`; what is there, and what was found on the way.
pub fn rebuild(spool: &Path) -> (Result<Counts, ForwardError>, Vec<String>) {
    let told = Arc::new(Told::default());
    let reporter: Arc<dyn Report> = Arc::<Told>::clone(&told);
    let rebuilt = rebuild_and_tell(spool, reporter);
    let told = std::mem::take(&mut *told.0.lock().unwrap_or_else(PoisonError::into_inner));
    (rebuilt, told)
}

fn rebuild_and_tell(spool: &Path, report: Arc<dyn Report>) -> Result<Counts, ForwardError> {
    require_owner(spool)?;
    let _lock = lock(spool)?;
    let (executor, files) = ends(spool)?;
    let rebuilt = keep::rebuild(executor, files, keep::Settings::default(), report);
    let keeper = rebuilt.map_err(|error| failed("the journal cannot be made anew", error))?;
    Ok((keeper.state().waiting_count(), keeper.state().dead_count()))
}

/// What writes below the spool, and what reads there.
fn ends(spool: &Path) -> Result<(Box<Blocking>, Box<Folder>), ForwardError> {
    let root = File::open(spool).map_err(|error| failed("the spool cannot be opened", error))?;
    Ok((Box::new(Blocking::on_one_file_system(root.into())), Box::new(Folder(spool.to_owned()))))
}

/// Whose files these are has to be able to read what is made here, and the other way round.
fn require_owner(spool: &Path) -> Result<(), ForwardError> {
    let owner = std::fs::metadata(spool).map_err(|error| failed("the spool cannot be read", error))?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if owner == ours {
        return Ok(());
    }
    Err(ForwardError(format!(
        "the spool is that of user {owner}, and this is user {ours}: run it as the user of the receiver"
    )))
}

fn open_keeper(
    spool: &Path,
    report: &Arc<dyn Report>,
    metrics: &Arc<ForwardMetrics>,
) -> Result<Keeper, ForwardError> {
    let (executor, files) = ends(spool)?;
    let executor = Box::new(Watched { disk: executor, metrics: Arc::clone(metrics) });
    let files = Box::new(Watched { disk: *files, metrics: Arc::clone(metrics) });
    Keeper::open(executor, files, keep::Settings::default(), Arc::clone(report)).map_err(|error| match error
        .kind()
    {
        // Each start writes the journal anew.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let place = spool.join(keep::FORWARD);
            ForwardError(format!("{}: make room for a journal there: {error}", place.display()))
        }
        _ => failed("the state of the forwarder cannot be read", error),
    })
}

fn run(
    config: &Config,
    spool: &Path,
    log: &mut Log,
    report: &Arc<dyn Report>,
    surroundings: &dyn Surroundings,
) -> Result<Unsettled, ForwardError> {
    let of_machine = |error: io::Error| failed("the forwarder cannot start", error);
    let engine_consumer = Consumer::new().map_err(of_machine)?;
    let (to_engine, read) = engine_consumer.channel(reading::AHEAD_MESSAGES);
    let (to_answers, answers) = engine_consumer.channel(office::LETTERS_MAX);
    let (to_addresses, addresses) = engine_consumer.channel(names::QUESTIONS_MAX);
    let (to_asked, asked) = engine_consumer.channel(desk::OPERATIONS_MAX);
    let office_consumer = Consumer::new().map_err(of_machine)?;
    let (letters, office_letters) = office_consumer.channel(office::LETTERS_MAX);
    let names_consumer = Consumer::new().map_err(of_machine)?;
    let (questions, names_questions) = names_consumer.channel(names::QUESTIONS_MAX);
    let ahead = Arc::new(Ahead::default());
    let routes = Arc::new(Routes::new(&config.forward));
    let names = routes.all().iter().enumerate();
    let names = names.filter_map(|(number, _)| u16::try_from(number).ok());
    let names = names.map(|number| routes.name(DestinationId(number)).to_owned());
    let metrics = Arc::new(ForwardMetrics::new(&config.hostname, names));
    metrics.ask_log(log.lines_dropped());
    let mut threads = Threads::new();
    let office = Office { consumer: office_consumer, letters: office_letters, answers: to_answers };
    let left = office.start(spool, report, &metrics, &routes, &mut threads, surroundings)?;
    let stores = Stores::start(config, &engine_consumer, &mut threads, report).map_err(of_machine)?;
    surroundings.begins(&metrics, Desk::new(to_asked)).map_err(ForwardError)?;
    let pool = Pool::new(BUFFERS, BUFFER_BYTES, 0).map_err(of_machine)?;
    let ring = KernelRing::for_client(RING_ENTRIES, Arc::clone(pool.arena()));
    let ring = ring.map_err(|error| ForwardError(probe::explain(&error).to_string()))?;
    let ends = Ends {
        consumer: engine_consumer,
        read,
        ahead: Arc::clone(&ahead),
        letters,
        answers,
        questions,
        addresses,
        asked,
        stores,
    };
    let authorities = needs_authorities(&config.forward).then(|| Path::new(AUTHORITIES));
    let settings = (config.hostname.as_str(), &config.forward, routes);
    let (told, tells) = (Arc::clone(report), (log.clone(), config.log.messages));
    let counted = Arc::clone(&metrics);
    let mut engine = Engine::new((ring, pool), settings, authorities, ends, tells, (told, counted))
        .map_err(ForwardError)?;
    let (after, waiting, dead) = (left.consumed, left.waits.len(), left.dead);
    engine.restore(left);
    let record = log.record(&events::FORWARDING, SystemTime::now());
    let record = record.text("spool", spool.as_os_str().as_encoded_bytes());
    let record = record.number("routes", config.forward.routes.len() as u64);
    record.number("waiting", waiting as u64).number("dead", dead as u64).end();
    log.flush();
    // The reader ends when it is told to: it is started where nothing else can fail any more.
    let searches = start_searches(config, &names_consumer, &mut threads, report)?;
    let (path, told, reader_ahead) = (spool.to_owned(), Arc::clone(report), Arc::clone(&ahead));
    let read = move || reading::run(&path, after, &to_engine, &reader_ahead, &told, &metrics.reader);
    threads.start("ringmx-reader".to_owned(), read).map_err(of_machine)?;
    let ask = move || names::run(&names_consumer, &names_questions, &to_addresses, searches);
    threads.start("ringmx-names".to_owned(), ask).map_err(of_machine)?;
    surroundings.runs();
    let ran = engine.run(|| surroundings.shall_stop(), || surroundings.stops());
    ahead.stop();
    // A name that is asked for may take longer, and nobody waits for it.
    let late = threads.join(END_WAIT_MAX);
    surroundings.ends();
    if late.iter().any(|name| name == "ringmx-office") {
        return Err(ForwardError(
            "the disk does not answer: what became of the last messages is not noted".into(),
        ));
    }
    ran.map_err(|error| failed("the end", error))
}

/// What the thread of the office has of all ways.
struct Office {
    consumer: Consumer,
    letters: Receiver<Letter>,
    answers: Sender<Answer>,
}

impl Office {
    /// Starts it. Gives what was found when it has opened what is there.
    fn start(
        self,
        spool: &Path,
        report: &Arc<dyn Report>,
        metrics: &Arc<ForwardMetrics>,
        routes: &Arc<Routes>,
        threads: &mut Threads,
        surroundings: &dyn Surroundings,
    ) -> Result<Left, ForwardError> {
        let (path, told, routes) = (spool.to_owned(), Arc::clone(report), Arc::clone(routes));
        let (tell, opened) = crossbeam_channel::bounded(1);
        let counted = Arc::clone(metrics);
        let keep = move || {
            let mut keeper = match open_keeper(&path, &told, &counted) {
                Ok(keeper) => keeper,
                Err(error) => return drop(tell.send(Err(error))),
            };
            office::hold_notices(&mut keeper, &routes, &*told);
            let _ = tell.send(Ok(office::left(&keeper, &routes, &*told)));
            let Self { consumer, letters, answers } = self;
            office::run(keeper, &consumer, &letters, &answers, &told, &counted.office);
        };
        let cannot_start = |error: io::Error| failed("the forwarder cannot start", error);
        threads.start("ringmx-office".to_owned(), keep).map_err(cannot_start)?;
        loop {
            match opened.recv_timeout(READING_TOLD_EVERY) {
                Ok(left) => return left,
                Err(RecvTimeoutError::Timeout) => surroundings.reads_on(),
                Err(error) => return Err(failed("the forwarder cannot start", error)),
            }
        }
    }
}

/// Starts the thread that asks the name servers, if there are domains whose mail goes by MX.
fn start_searches(
    config: &Config,
    names: &Consumer,
    threads: &mut Threads,
    report: &Arc<dyn Report>,
) -> Result<Option<Searches>, ForwardError> {
    if !needs_exchangers(&config.forward) {
        return Ok(None);
    }
    let cannot_ask = |error: io::Error| failed("the name servers cannot be asked", error);
    let servers = config.dns.servers.clone();
    let servers = servers.map_or_else(lookup::name_servers_of_system, Ok).map_err(cannot_ask)?;
    let consumer = Consumer::new().map_err(cannot_ask)?;
    let (asks, asked) = consumer.channel(searches::OUT_MAX);
    let (searches, answers) = Searches::new(&config.hostname, names, asks);
    let report = Arc::clone(report);
    let (tell, began) = crossbeam_channel::bounded(1);
    let ask = move || {
        let begins = || _ = tell.send(Ok(()));
        if let Err(error) = lookup::run(&consumer, &asked, vec![answers], &servers, begins) {
            report.note(&format!("the name servers are not asked any more: {error}"));
            let _ = tell.try_send(Err(error));
        }
    };
    threads.start("ringmx-dns".to_owned(), ask).map_err(cannot_ask)?;
    // The thread says one or the other.
    began.recv().map_err(|error| cannot_ask(io::Error::other(error)))?.map_err(cannot_ask)?;
    Ok(Some(searches))
}

fn needs_exchangers(forward: &Forward) -> bool {
    let mut hops = forward.routes.iter().flat_map(|route| &route.to);
    hops.any(|hop| matches!(hop.place, HopPlace::Mx(..)))
}

fn needs_authorities(forward: &Forward) -> bool {
    forward.routes.iter().any(|route| route.tls == HopTls::Required)
}
