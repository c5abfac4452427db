//! A lookup thread: takes questions of shards, asks the configured name servers, sends the answers home.
//!
//! The resolver is hickory's, which knows time-outs, retries, TCP after a cut answer, CNAMEs and lifetimes.
//! What several shards ask at the same time is asked once. hickory keeps no failures, so they are kept here
//! for a short time: a name server that is dead is not asked again for each session (RFC 9520 §3).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::io::unix::AsyncFd;
use tokio::task::LocalSet;

use super::answer::{Answer, Failure, Records};
use super::name::Name;
use super::question::{Kind, Question};
use super::table::ANSWER_WAIT_MAX;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::lookup::{Answered, Asked};

/// How long one name server has for one try; there are two.
const TRY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Answers that the resolver keeps for all shards.
const CACHE_ANSWERS_MAX: u64 = 65_536;

/// Questions that are with name servers at a time; more wait in the channel.
const OUT_MAX: usize = 1024;

/// How long a failure is told without asking again.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// Failures that are kept.
const FAILURES_MAX: usize = 16 * 1024;

/// "No such name" is told for at most so long, whatever the SOA says: a domain that was made a minute ago is
/// to be found.
const NEGATIVE_MAX: Duration = Duration::from_hours(1);

/// Where a negative answer says nothing of its lifetime.
const NEGATIVE_DEFAULT: Duration = Duration::from_mins(1);

/// Records of an answer that are used: nobody needs more, and whoever sends more wants memory.
const RECORDS_MAX: usize = 64;

/// Octets of texts of an answer that are used.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Asks the name servers, until no shard is left. Does not return before.
pub fn run(
    consumer: &Consumer,
    asked: &Receiver<Asked>,
    to_shards: Vec<Sender<Answered>>,
    servers: Option<&[SocketAddr]>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let served = tasks.run_until(async {
        // The resolver's own tasks belong to this runtime.
        let desk = Rc::new(Desk { resolver: resolver(servers)?, to_shards, state: RefCell::default() });
        serve(consumer, asked, &desk).await
    });
    runtime.block_on(served)
}

/// A resolver of these servers, or of the system's.
fn resolver(servers: Option<&[SocketAddr]>) -> io::Result<TokioResolver> {
    let (config, mut options) = match servers {
        Some(servers) => (of_servers(servers), ResolverOpts::default()),
        None => hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| io::Error::other(format!("reading /etc/resolv.conf: {error}")))?,
    };
    options.timeout = TRY_TIMEOUT;
    options.attempts = 2;
    options.ndots = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.case_randomization = true;
    options.max_active_requests = OUT_MAX;
    options.cache_size = CACHE_ANSWERS_MAX;
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    // Names are whole: nothing is searched for in our own domain.
    let config = ResolverConfig::from_parts(None, Vec::new(), config.name_servers);
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| io::Error::other(format!("making a resolver: {error}")))
}

fn of_servers(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connection = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections = server.connections.into_iter().map(connection).collect();
        server
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

/// What the tasks of the thread share.
struct Desk {
    resolver: TokioResolver,
    /// One a shard.
    to_shards: Vec<Sender<Answered>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Questions that are out, with the shards that wait.
    out: HashMap<Question, Vec<u16>>,
    /// Failures that are told without asking again.
    failed: HashMap<Question, (Failure, Instant)>,
}

/// Takes questions until no shard can ask any more.
#[allow(unsafe_code)]
async fn serve(consumer: &Consumer, asked: &Receiver<Asked>, desk: &Rc<Desk>) -> io::Result<()> {
    // SAFETY: the bell's descriptor is open as long as `consumer`, which outlives this function.
    let bell = unsafe { AsyncFd::register(consumer.bell().as_fd())? };
    loop {
        match asked.take() {
            Waiting::Item(asked) => {
                Desk::ask(desk, asked);
                // The tasks have a turn after each question: else answers would wait for the last one.
                tokio::task::yield_now().await;
                // More questions wait in the channel.
                while desk.is_full() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Waiting::Ended => return Ok(()),
            Waiting::Nothing => {
                if consumer.park(|| asked.is_empty()) {
                    let mut rung = bell.readable().await?;
                    consumer.bell().clear();
                    rung.clear_ready();
                    consumer.unpark();
                }
            }
        }
    }
}

impl Desk {
    fn is_full(&self) -> bool {
        self.state.borrow().out.len() >= OUT_MAX
    }

    /// Asks, unless that is out already or has failed just now.
    fn ask(desk: &Rc<Self>, Asked { shard, question }: Asked) {
        let mut state = desk.state.borrow_mut();
        let now = Instant::now();
        if let Some((failure, until)) = state.failed.get(&question) {
            if *until > now {
                let failure = *failure;
                drop(state);
                return desk.tell(shard, question, Answer::Failed(failure), FAILURE_KEPT);
            }
            state.failed.remove(&question);
        }
        if let Some(shards) = state.out.get_mut(&question) {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
            return;
        }
        state.out.insert(question.clone(), vec![shard]);
        drop(state);
        let desk = Rc::clone(desk);
        tokio::task::spawn_local(async move {
            let (answer, lifetime) = desk.look_up(&question).await;
            desk.finish(question, answer, lifetime);
        });
    }

    async fn look_up(&self, question: &Question) -> (Answer, Duration) {
        let Some(name) = wire_name(&question.name) else {
            // What no name on the wire can be has no records.
            return (Answer::NoName, NEGATIVE_MAX);
        };
        let lookup = self.resolver.lookup(name, record_type(question.kind));
        match tokio::time::timeout(ANSWER_WAIT_MAX, lookup).await {
            Ok(Ok(lookup)) => read(question.kind, &lookup),
            Ok(Err(error)) => read_error(&error),
            Err(_) => (Answer::Failed(Failure::TimedOut), FAILURE_KEPT),
        }
    }

    fn finish(&self, question: Question, answer: Answer, lifetime: Duration) {
        let mut state = self.state.borrow_mut();
        let shards = state.out.remove(&question).unwrap_or_default();
        if let Answer::Failed(failure) = answer {
            let now = Instant::now();
            if state.failed.len() >= FAILURES_MAX {
                state.failed.retain(|_, (_, until)| *until > now);
            }
            if state.failed.len() < FAILURES_MAX {
                state.failed.insert(question.clone(), (failure, now + FAILURE_KEPT));
            }
        }
        drop(state);
        for shard in shards {
            self.tell(shard, question.clone(), answer.clone(), lifetime);
        }
    }

    fn tell(&self, shard: u16, question: Question, answer: Answer, lifetime: Duration) {
        if let Some(shard) = self.to_shards.get(usize::from(shard)) {
            // Where the inbox is full the shard has given up waiting for these answers.
            let _ = shard.send_and_ring(Answered { question, answer, lifetime });
        }
    }
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
        Kind::Txt => RecordType::TXT,
    }
}

fn wire_name(name: &Name) -> Option<rr::Name> {
    let mut name = rr::Name::from_labels(name.labels()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// None of the root, and of what is no name by our rules.
fn text_name(name: &rr::Name) -> Option<Name> {
    let labels: Vec<&[u8]> = name.iter().collect();
    // A dot within a label would make two of it.
    labels.iter().all(|label| !label.contains(&b'.')).then(|| Name::new(&labels.join(&b'.'))).flatten()
}

/// What records say.
fn read(kind: Kind, lookup: &Lookup) -> (Answer, Duration) {
    let lifetime = lookup.valid_until().saturating_duration_since(Instant::now());
    let data = || lookup.answers().iter().map(|record| &record.data).take(4 * RECORDS_MAX);
    let records = match kind {
        Kind::A => {
            let address = |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
            Records::A(data().filter_map(address).take(RECORDS_MAX).collect())
        }
        Kind::Aaaa => {
            let address = |data: &RData| if let RData::AAAA(address) = data { Some(address.0) } else { None };
            Records::Aaaa(data().filter_map(address).take(RECORDS_MAX).collect())
        }
        Kind::Mx => {
            let exchanger = |data: &RData| match data {
                RData::MX(mx) if mx.exchange.is_root() => Some((mx.preference, None)),
                RData::MX(mx) => Some((mx.preference, Some(text_name(&mx.exchange)?))),
                _ => None,
            };
            Records::Mx(data().filter_map(exchanger).take(RECORDS_MAX).collect())
        }
        Kind::Ptr => {
            let name = |data: &RData| if let RData::PTR(name) = data { text_name(name) } else { None };
            Records::Ptr(data().filter_map(name).take(RECORDS_MAX).collect())
        }
        Kind::Txt => {
            let mut left = TEXT_BYTES_MAX;
            let text = |data: &RData| {
                let RData::TXT(text) = data else { return None };
                let whole = text.txt_data.concat();
                left = left.checked_sub(whole.len())?;
                Some(whole.into_boxed_slice())
            };
            Records::Txt(data().filter_map(text).take(RECORDS_MAX).collect())
        }
    };
    let is_empty = match &records {
        Records::A(records) => records.is_empty(),
        Records::Aaaa(records) => records.is_empty(),
        Records::Mx(records) => records.is_empty(),
        Records::Ptr(records) => records.is_empty(),
        Records::Txt(records) => records.is_empty(),
    };
    (if is_empty { Answer::NoRecords } else { Answer::Records(records) }, lifetime)
}

/// What it means that there are no records, and for how long.
fn read_error(error: &NetError) -> (Answer, Duration) {
    let failed = |failure| (Answer::Failed(failure), FAILURE_KEPT);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let seconds = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            let lifetime = seconds.unwrap_or(NEGATIVE_DEFAULT).min(NEGATIVE_MAX);
            match none.response_code {
                ResponseCode::NXDomain => (Answer::NoName, lifetime),
                ResponseCode::NoError => (Answer::NoRecords, lifetime),
                _ => failed(Failure::Server),
            }
        }
        NetError::Dns(_) => failed(Failure::Server),
        NetError::Timeout => failed(Failure::TimedOut),
        NetError::Busy => failed(Failure::Overload),
        _ => failed(Failure::Unusable),
    }
}
