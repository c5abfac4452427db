//! A lookup thread: takes questions of shards, asks the configured name servers, sends the answers home.
//!
//! The resolver is hickory's, which knows time-outs, retries, TCP after a cut answer, CNAMEs and lifetimes.
//! It keeps nothing here: its cache is bounded in answers and not in octets, so that strangers with long
//! records could fill gigabytes, and it has no failures. A table as the shards have one keeps both, for all
//! of them: what several shards ask is asked once, and a name server that is dead is not asked again for each
//! session (RFC 9520 §3).

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
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

use super::DNS_PORT;
use super::answer::{Answer, Failure, Records, Tlsa};
use super::name::Name;
use super::question::{Kind, Question};
use super::table::{ANSWER_WAIT_MAX, Answers, Look, QUESTIONS_OUT_MAX, Waiter};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::lookup::{Answered, Asked};

/// How long one name server has for one try; there are two.
const TRY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Answers that a lookup thread keeps for its shards.
pub const KEPT_ANSWERS_MAX: usize = 64 * 1024;

/// Octets that they take.
pub const KEPT_BYTES_MAX: usize = 32 << 20;

/// Questions that are with name servers at a time; more wait in the channel.
pub const OUT_MAX: usize = 1024;

/// Sockets to name servers: two of these are asked at a time.
pub const SOCKETS_MAX: usize = 2 * OUT_MAX;

const _: () = assert!(OUT_MAX <= QUESTIONS_OUT_MAX, "the table has room for all that are out");

/// A failure is kept for as long as the table sees fit.
const AS_LONG_AS_FIT: Duration = Duration::ZERO;

/// What lists of clients say of them holds for no shorter and no longer time.
const LISTING_MIN: Duration = Duration::from_mins(1);
const LISTING_MAX: Duration = Duration::from_hours(1);

/// "No such name" is told for at most so long, whatever the SOA says: a domain that was made a minute ago is
/// to be found.
const NEGATIVE_MAX: Duration = Duration::from_hours(1);

/// Where a negative answer says nothing of its lifetime.
const NEGATIVE_DEFAULT: Duration = Duration::from_mins(1);

/// Records of an answer that are used: nobody needs more, and whoever sends more wants memory.
const RECORDS_MAX: usize = 64;

/// Octets of texts of an answer that are used.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The name servers that the system is configured with (`/etc/resolv.conf`); at least one.
pub fn name_servers_of_system() -> io::Result<Vec<SocketAddr>> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf()
        .map_err(|error| io::Error::other(error.to_string()))?;
    let address = |server: &NameServerConfig| SocketAddr::new(server.ip, DNS_PORT);
    Ok(config.name_servers().iter().map(address).collect())
}

/// Asks these name servers, until no shard is left. Does not return before. `ready` is called when the thread
/// takes questions.
pub fn run(
    consumer: &Consumer,
    asked: &Receiver<Asked>,
    to_shards: Vec<Sender<Answered>>,
    servers: &[SocketAddr],
    ready: impl FnOnce(),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let served = tasks.run_until(async {
        // The resolver's own tasks belong to this runtime.
        let resolver = resolver(servers)?;
        let table = RefCell::new(Answers::new(KEPT_ANSWERS_MAX, KEPT_BYTES_MAX));
        ready();
        serve(consumer, asked, &Rc::new(Desk { resolver, to_shards, table })).await
    });
    runtime.block_on(served)
}

/// A resolver of these servers.
fn resolver(servers: &[SocketAddr]) -> io::Result<TokioResolver> {
    let mut options = ResolverOpts::default();
    options.timeout = TRY_TIMEOUT;
    options.attempts = 2;
    options.ndots = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.case_randomization = true;
    options.max_active_requests = OUT_MAX;
    options.cache_size = 0;
    Resolver::builder_with_config(of_servers(servers), TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| io::Error::other(format!("making a resolver: {error}")))
}

/// Names are whole: nothing is searched for in our own domain.
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
    /// What is known, and which shards wait for what is out.
    table: RefCell<Answers>,
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
        self.table.borrow().out() >= OUT_MAX
    }

    /// Asks, unless that is known or out already.
    fn ask(desk: &Rc<Self>, Asked { shard, question }: Asked) {
        let now = Instant::now();
        let mut table = desk.table.borrow_mut();
        if let Some((answer, lifetime)) = table.known_for(&question, now) {
            return desk.tell(shard.into(), question, answer, lifetime);
        }
        match table.look(&question, shard.into(), now) {
            Look::Waits => return,
            Look::Known(answer) => return desk.tell(shard.into(), question, answer, AS_LONG_AS_FIT),
            Look::Ask(_) => drop(table),
        }
        let desk = Rc::clone(desk);
        tokio::task::spawn_local(async move {
            let (looking, asked) = (Rc::clone(&desk), question.clone());
            // On a task of its own: a panic over what a stranger's name server sent ends nothing but this.
            let looked = tokio::task::spawn_local(async move { looking.look_up(&asked).await }).await;
            let (answer, lifetime) = looked.unwrap_or((Answer::Failed(Failure::Unusable), AS_LONG_AS_FIT));
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
            Err(_) => (Answer::Failed(Failure::TimedOut), AS_LONG_AS_FIT),
        }
    }

    fn finish(&self, question: Question, answer: Answer, lifetime: Duration) {
        let (now, answer) = (Instant::now(), Arc::new(answer));
        let mut table = self.table.borrow_mut();
        let shards = table.arrive(question.clone(), Arc::clone(&answer), lifetime, now);
        let lifetime = table.known_for(&question, now).map_or(lifetime, |(_, lifetime)| lifetime);
        drop(table);
        for shard in shards {
            self.tell(shard, question.clone(), Arc::clone(&answer), lifetime);
        }
    }

    fn tell(&self, shard: Waiter, question: Question, answer: Arc<Answer>, lifetime: Duration) {
        if let Some(shard) = usize::try_from(shard).ok().and_then(|shard| self.to_shards.get(shard)) {
            // The inbox has room for all that the shard waits for: where it is full, the shard has given up
            // waiting for some.
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
        Kind::Tlsa => RecordType::TLSA,
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
    let mut lifetime = lookup.valid_until().saturating_duration_since(Instant::now());
    let data = || lookup.answers().iter().map(|record| &record.data).take(4 * RECORDS_MAX);
    let records = match kind {
        Kind::A => {
            let address = |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
            let addresses: Vec<Ipv4Addr> = data().filter_map(address).take(RECORDS_MAX).collect();
            // Lists of clients answer with addresses of this network (RFC 5782 §2.1).
            if !addresses.is_empty() && addresses.iter().all(Ipv4Addr::is_loopback) {
                lifetime = lifetime.clamp(LISTING_MIN, LISTING_MAX);
            }
            Records::A(addresses)
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
            // The best ones are used, wherever they stand.
            let mut all: Vec<_> = data().filter_map(exchanger).collect();
            all.sort_by_key(|(preference, _)| *preference);
            all.truncate(RECORDS_MAX);
            Records::Mx(all)
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
        Kind::Tlsa => {
            let record = |data: &RData| {
                let RData::TLSA(record) = data else { return None };
                Some(Tlsa {
                    usage: record.cert_usage.into(),
                    selector: record.selector.into(),
                    matching: record.matching.into(),
                    data: record.cert_data.as_slice().into(),
                })
            };
            Records::Tlsa(data().filter_map(record).take(RECORDS_MAX).collect())
        }
    };
    let is_empty = match &records {
        Records::A(records) => records.is_empty(),
        Records::Aaaa(records) => records.is_empty(),
        Records::Mx(records) => records.is_empty(),
        Records::Ptr(records) => records.is_empty(),
        Records::Txt(records) => records.is_empty(),
        Records::Tlsa(records) => records.is_empty(),
    };
    (if is_empty { Answer::NoRecords } else { Answer::Records(records) }, lifetime)
}

/// What it means that there are no records, and for how long.
fn read_error(error: &NetError) -> (Answer, Duration) {
    let failed = |failure| (Answer::Failed(failure), AS_LONG_AS_FIT);
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
