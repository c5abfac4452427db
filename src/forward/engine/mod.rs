//! The engine: one thread with a ring that owns the connections to next hops, the schedule, and the messages
//! in hand. It never waits for a disk, a name or a lock: those who do are asked, and answer through its
//! inbox.
//!
//! ```text
//!   reader ──► read_on ──► schedule ──► orders ──► connections ──► session ──► settle ──► office
//!                             ▲                        ▲                          │
//!   office ──► take_answers ──┘      messages in later/┘     what became of each recipient
//! ```
//!
//! | file | job |
//! | --- | --- |
//! | `mod` | the turn |
//! | `orders` | what the schedule wants: connections opened, messages begun, connections closed |
//! | `session` | octets to and from a session, and what it needs |
//! | `exchanges`, `servers` | the servers of a domain that goes by its MX, one after the other |
//! | `settle` | what became of each recipient, told to the schedule and the journal |
//! | `letters` | what the office and the reader say |
//! | `operations`, `moves`, `under_way` | what operators ask for; messages that lie somewhere else now |
//! | `notify`, `notices` | what senders are told of that |
//! | `hand` | messages in hand, and what the office was told |
//! | `connection`, `outflow`, `tls` | one connection, the content on its way out, TLS |
//! | `told`, `counted` | what the log is told; what is counted and shown |

mod connection;
mod counted;
mod exchanges;
mod hand;
mod letters;
mod moves;
mod notices;
mod notify;
mod operations;
mod orders;
mod outflow;
mod servers;
mod session;
mod settle;
mod stored;
mod told;
mod under_way;
mod unreadable;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::connection::{Connection, Use};
use self::hand::{Down, Fetch, Kind, Mail, Pending, Refused, key_of, unpacked};
use self::notices::Notices;
use self::servers::Servers;
use self::under_way::{Moves, Operations};
use super::keep::{Change, Recipients};
use super::office::{Answer, Left, Letter};
use super::operations::Asked;
use super::reading::{Ahead, Read};
use super::routes::Routes;
use super::schedule::{
    self, ConnectionId, Deferred, Delivery, DestinationId, DestinationSettings, ExpiryWalk,
    RELEASED_SECONDS_LEAST, Schedule,
};
use super::sought;
use super::stores::Stores;
use crate::buffer::Pool;
use crate::client;
use crate::config::forward::{Balance, Forward, HopPlace, HopProtocol, HopTls, NextHop};
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::log::Log;
use crate::metrics::ForwardMetrics;
use crate::ring::{Event, Ring};
use crate::sink::Report;
use crate::sink::spool::cursor::Cursor;
use crate::timestamp;
use crate::tls::as_client::TlsSettings;

/// The longest turn, so that deadlines and the end are looked at.
const TURN_MAX: Duration = Duration::from_millis(100);

/// How often deadlines of connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// At the end sessions have so long to finish the message that they are at.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

/// Connections at a time, to all next hops.
const CONNECTIONS_MAX: usize = 1000;

/// Changes that are not durable: with so many no message is begun. What is on connections then comes besides.
const PENDING_MAX: usize = 4096;

/// Messages of `later/` that wait to be read: with so many nothing is asked of the schedule.
const FETCHES_WAITING_MAX: usize = 4096;

/// Deliveries that are known at a time.
const DELIVERIES_MAX: u32 = 4_000_000;

/// The engine's ends of all ways.
pub(super) struct Ends {
    pub(super) consumer: Consumer,
    pub(super) read: Receiver<Read>,
    pub(super) ahead: Arc<Ahead>,
    pub(super) letters: Sender<Letter>,
    pub(super) answers: Receiver<Answer>,
    pub(super) questions: Sender<sought::Asked>,
    pub(super) addresses: Receiver<sought::Answered>,
    pub(super) asked: Receiver<Asked>,
    pub(super) stores: Stores,
}

/// What was not settled when the time for that was over. It is delivered again.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// Messages that had no answer.
    pub unanswered: usize,
    /// What became of others and is not on the disk, if there are any.
    pub unnoted: Option<String>,
}

/// See the file's head.
pub(super) struct Engine<R> {
    ring: R,
    /// Buffers for replies.
    pool: Pool,
    ends: Ends,
    routes: Arc<Routes>,
    /// What a session with each host of each destination is told.
    hosts: Vec<Vec<Arc<client::Settings>>>,
    /// Hosts that offer TLS and cannot do it, where that is no must: until then nothing of it is said to
    /// them.
    plain_until: HashMap<(DestinationId, usize), Instant>,
    servers: Servers,
    tls: TlsSettings,
    expire: Duration,
    schedule: Schedule,
    /// By slot; a slot is used again once the kernel is done with its socket.
    connections: Vec<Option<Connection>>,
    free_slots: Vec<usize>,
    /// The slots of connections that the schedule knows.
    by_id: HashMap<ConnectionId, usize>,
    /// Messages of the log in the window, by their keys.
    mail: HashMap<u64, Mail>,
    /// What was settled of messages of the log before this process, until they are read.
    settled: HashMap<Cursor, Recipients>,
    /// Messages of the log that cannot be read, and why.
    unreadable: BTreeMap<Cursor, String>,
    /// A message that the schedule has no room for, or for a part of it.
    refused: Option<Refused>,
    /// What the office is to be told, and has no room for.
    unsent: VecDeque<Letter>,
    /// What the office was told and has not answered, by number.
    pending: HashMap<u64, Pending>,
    /// Messages of `later/` that are to be read, and those that are being read, by number.
    fetches: VecDeque<Fetch>,
    fetching: HashMap<u64, Fetch>,
    /// What it could not do, and is asked for again then.
    again: VecDeque<(Instant, Pending)>,
    /// What has to be copied and could not be read, the same.
    unread: VecDeque<(Instant, Pending)>,
    /// What operators asked for, and messages that were moved.
    operations: Operations,
    moves: Moves,
    /// Connections whose message is being written into a maildir, by the number of its receipt.
    storing: HashMap<u64, usize>,
    next_number: u64,
    /// The disk did not note what became of a message, and has noted nothing since.
    is_unnoted: bool,
    /// The disk did not take a copy: nothing is begun before this.
    paused_until: Option<Instant>,
    /// Next hops that cannot be reached, as the log was told.
    down: HashMap<NextHop, Down>,
    metrics: Arc<ForwardMetrics>,
    /// For the age of the oldest message.
    expiry_walk: ExpiryWalk,
    /// Whether the log is told of each message.
    tells_messages: bool,
    notices: Notices,
    log: Log,
    report: Arc<dyn Report>,
    now: Instant,
    wall_clock: SystemTime,
    is_ending: bool,
}

impl<R: Ring> Engine<R> {
    /// An engine without mail. `pool` is the one that `ring` receives into.
    pub(super) fn new(
        (mut ring, mut pool): (R, Pool),
        (hostname, forward, routes): (&str, &Forward, Arc<Routes>),
        authorities: Option<&Path>,
        ends: Ends,
        (log, tells_messages): (Log, bool),
        (report, metrics): (Arc<dyn Report>, Arc<ForwardMetrics>),
    ) -> Result<Self, String> {
        while let Some(buffer) = pool.take() {
            ring.provide(buffer);
        }
        ring.watch(ends.consumer.bell().as_fd());
        let now = ring.now();
        let seed = u64::from(std::process::id()) ^ timestamp::micros(ring.wall_clock());
        let settings =
            schedule::Settings { seed, connections_max: CONNECTIONS_MAX, deliveries_max: DELIVERIES_MAX };
        let mut schedule = Schedule::new(settings, now);
        for route in routes.all() {
            let settings = DestinationSettings {
                hosts: route.to.len(),
                balance: match route.balance {
                    Balance::First => schedule::Balance::First,
                    Balance::Spread => schedule::Balance::Spread,
                },
                connections_max: u16::try_from(route.connections_max).unwrap_or(u16::MAX),
            };
            schedule.add_destination(settings, now).ok_or("there are too many routes")?;
        }
        let session = |route: &crate::config::forward::Route, hop: &NextHop| {
            let protocol = match hop.protocol {
                HopProtocol::Smtp => client::Protocol::Smtp,
                HopProtocol::Lmtp => client::Protocol::Lmtp,
            };
            let tls = match route.tls {
                HopTls::Off => client::Tls::Off,
                HopTls::Offered => client::Tls::Offered,
                HopTls::Required => client::Tls::Required,
            };
            let usual = client::Settings::of(protocol, hostname);
            let is_elsewhere = matches!(hop.place, HopPlace::Mx(..));
            Arc::new(client::Settings { tls, xclient: route.tells_client, is_elsewhere, ..usual })
        };
        let hosts = routes.all().iter();
        let hosts = hosts.map(|route| route.to.iter().map(|hop| session(route, hop)).collect()).collect();
        let wall_clock = ring.wall_clock();
        Ok(Self {
            ring,
            pool,
            ends,
            hosts,
            plain_until: HashMap::new(),
            servers: Servers::default(),
            tls: TlsSettings::new(authorities)?,
            expire: forward.queue.expire,
            schedule,
            routes,
            connections: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::new(),
            mail: HashMap::new(),
            settled: HashMap::new(),
            unreadable: BTreeMap::new(),
            refused: None,
            unsent: VecDeque::new(),
            pending: HashMap::new(),
            fetches: VecDeque::new(),
            fetching: HashMap::new(),
            again: VecDeque::new(),
            unread: VecDeque::new(),
            operations: Operations::default(),
            moves: Moves::default(),
            storing: HashMap::new(),
            next_number: 0,
            is_unnoted: false,
            paused_until: None,
            down: HashMap::new(),
            metrics,
            expiry_walk: ExpiryWalk::default(),
            tells_messages,
            notices: Notices::new(hostname, forward.queue.dsn)?,
            log,
            report,
            now,
            wall_clock,
            is_ending: false,
        })
    }

    /// Takes what an earlier process left.
    pub(super) fn restore(&mut self, left: Left) {
        self.settled = left.settled;
        self.metrics.engine.unrouted.add(left.unrouted);
        self.metrics.engine.notices_held.set(left.notices);
        self.metrics.engine.unreadable.set(0);
        self.restore_suspended(&left.suspended);
        let seconds = timestamp::seconds(self.wall_clock);
        let until = |second: u64| Duration::from_secs(second.saturating_sub(seconds));
        for one in left.waits {
            let mut expires = u64::from(one.received_at) + self.expire.as_secs();
            // Held for longer than that, it is tried all the same: as what is released (`Schedule::release`).
            if one.is_freed {
                expires = expires.max(seconds.saturating_add(RELEASED_SECONDS_LEAST.into()));
            } else if u64::from(one.next_at) >= expires {
                expires = u64::from(one.next_at).saturating_add(RELEASED_SECONDS_LEAST.into());
            }
            let (attempts, poison) = unpacked(one.tries);
            let deferred = Deferred {
                cursor: key_of(one.cursor),
                destination: one.destination,
                due_in: until(one.next_at.into()),
                expires_in: until(expires),
                attempts,
                poison,
                is_held: one.is_held,
            };
            let name =
                Delivery { place: schedule::Place::Later(deferred.cursor), destination: one.destination };
            // Two waits of a message for one destination are one delivery.
            let is_known = self.schedule.delivery(name, self.now).is_some();
            if is_known && one.is_held {
                // One alone cannot be held.
                self.schedule.hold_one(name);
            }
            if !is_known && !self.schedule.restore(deferred, self.now) {
                self.report.note(&format!("later/{}: there is no room for it in the schedule", one.cursor));
            }
        }
    }

    /// Runs until it shall stop and what was under way is settled. `stops` is called when that begins.
    pub(super) fn run(
        mut self,
        shall_stop: impl Fn() -> bool,
        stops: impl Fn(),
    ) -> std::io::Result<Unsettled> {
        let mut events = Vec::new();
        let mut sweep_at = self.now;
        let mut end_at = None;
        loop {
            if end_at.is_none() && shall_stop() {
                self.is_ending = true;
                stops();
                self.ends.ahead.stop();
                end_at = Some(self.now + END_WAIT_MAX);
            }
            self.take_answers();
            self.take_addresses();
            self.take_receipts();
            self.take_operations();
            if !self.is_ending && !self.is_paused() {
                self.read_on();
                self.carry_out_orders();
                self.fetch_on();
            }
            self.tell_office();
            if end_at.is_some_and(|at| self.now >= at || !self.is_at_work()) {
                break;
            }
            if self.now >= sweep_at {
                sweep_at = self.now + SWEEP_EVERY;
                self.sweep();
                self.learn_moves();
                self.show();
            }
            if let Some(bell) = self.log.flush_if_due(self.now) {
                self.ring.wake(bell);
            }
            self.try_next_exchangers();
            self.turn(&mut events)?;
        }
        self.tell_withheld();
        self.log.flush();
        let is_busy = |one: &&Connection| one.used_for == Use::Busy;
        let unanswered = self.connections.iter().flatten().filter(is_busy).count();
        Ok(Unsettled { unanswered, unnoted: self.unnoted_at_end() })
    }

    /// What the disk has not noted, if it has not noted all.
    fn unnoted_at_end(&self) -> Option<String> {
        let again = self.again.iter().chain(&self.unread).map(|(_, pending)| pending);
        let all = self.pending.values().filter(|one| one.kind == Kind::Settle).chain(again);
        let is_notice_alone =
            |one: &&Pending| matches!(&one.change, Change::Noticed { changes, .. } if changes.is_empty());
        let (notices, changes): (Vec<_>, Vec<_>) = all.partition(is_notice_alone);
        let mut said = Vec::new();
        if !changes.is_empty() {
            let count = changes.len();
            said.push(format!("what became of {count} messages is not noted: they are delivered again"));
        }
        if !notices.is_empty() {
            said.push(format!("{} notices to senders are lost", notices.len()));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }

    fn turn(&mut self, events: &mut Vec<Event>) -> std::io::Result<()> {
        let goes_on = !self.is_ending && self.takes_orders();
        let deadline = self.schedule.next_deadline(self.now).filter(|_| goes_on);
        let until = deadline.map_or(TURN_MAX, |at| at.saturating_duration_since(self.now).min(TURN_MAX));
        // The office has no room: it does not ring when it has.
        let until = if self.unsent.is_empty() { until } else { Duration::from_millis(1) };
        let ends = &self.ends;
        let is_empty = || {
            (ends.read.is_empty() || !self.has_room())
                && ends.answers.is_empty()
                && ends.addresses.is_empty()
                && ends.stores.is_empty()
                && (ends.asked.is_empty() || !self.takes_operations())
        };
        let may_sleep = ends.consumer.park(is_empty);
        self.metrics.engine.turns.add(1);
        self.ring.turn(Some(if may_sleep { until } else { Duration::ZERO }), events)?;
        self.ends.consumer.unpark();
        self.now = self.ring.now();
        self.wall_clock = self.ring.wall_clock();
        for event in events.drain(..) {
            self.handle_event(event);
        }
        Ok(())
    }

    /// While it cannot be noted what becomes of messages, or too much is to be noted, nothing becomes of any.
    fn is_paused(&self) -> bool {
        self.is_unnoted
            || self.pending.len() >= PENDING_MAX
            || self.paused_until.is_some_and(|until| self.now < until)
    }

    /// Whether the schedule is asked what to do.
    fn takes_orders(&self) -> bool {
        !self.is_paused() && self.fetches.len() < FETCHES_WAITING_MAX
    }

    /// Whether a message is on a connection, or something is not durable.
    fn is_at_work(&self) -> bool {
        let is_busy = |one: &Connection| matches!(one.used_for, Use::Busy);
        let is_unnoted = self.pending.values().any(|one| one.kind == Kind::Settle);
        is_unnoted
            || !self.again.is_empty()
            || !self.unsent.is_empty()
            || self.connections.iter().flatten().any(is_busy)
    }

    /// Gives up connections that have waited too long.
    fn sweep(&mut self) {
        self.tell_withheld();
        for slot in 0..self.connections.len() {
            let Some(one) = &mut self.connections[slot] else { continue };
            if one.deadline.is_some_and(|at| at <= self.now) {
                self.time_out(slot);
            }
        }
        let now = self.now;
        let due = |waiting: &mut VecDeque<(Instant, Pending)>| {
            waiting.pop_front_if(|(at, _)| *at <= now).map(|(_, pending)| pending)
        };
        while let Some(pending) = due(&mut self.again).or_else(|| due(&mut self.unread)) {
            self.tell(pending);
        }
    }
}
