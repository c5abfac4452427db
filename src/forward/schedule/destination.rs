//! One destination: its hosts, and whose turn it is among its mail.

use std::time::Instant;

use super::delivery::ConnectionId;
use super::host::Host;
use super::list::List;
use super::window::{Drain, Share};

/// How mail is dealt out among the hosts of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// To the first healthy one; others get mail only while those before them are suspended.
    #[default]
    First,
    /// To the least busy of the healthy ones.
    Spread,
}

/// What is configured of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationSettings {
    /// Its hosts, at least one.
    pub hosts: usize,
    /// How mail is dealt out among them.
    pub balance: Balance,
    /// Connections to one host at a time, at least one.
    pub connections_max: u16,
}

/// Where a message that goes alone is in getting its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AloneConnection {
    None,
    /// It is being opened, or it is busy.
    Taken,
    Ready(ConnectionId),
}

/// How the next delivery gets on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Over an idle connection to this host.
    Idle(usize),
    /// Over a further connection to this host.
    Connect(usize),
}

/// A destination.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) hosts: Vec<Host>,
    balance: Balance,
    /// From the log, not tried yet.
    pub(super) fresh: List,
    /// Retries whose time has come.
    pub(super) due: List,
    /// Retries whose time has come, and which go alone.
    pub(super) alone: List,
    pub(super) alone_connection: AloneConnection,
    /// What it has of the window.
    pub(super) share: Share,
    pub(super) drain: Drain,
    /// Deliveries on connections, and how many of them are retries.
    pub(super) busy: u32,
    pub(super) busy_retries: u32,
    /// Deliveries in the wheel.
    pub(super) waiting: u32,
    /// Deliveries that the engine copies into `later/`.
    pub(super) moving: u32,
    /// Deliveries that nobody tries.
    pub(super) held: u32,
    /// A retry has its turn next, if both wait.
    is_retrys_turn: bool,
    /// Which host `Spread` looks at first, so that equals take turns.
    next_host: usize,
    /// It is in the schedule's ring.
    pub(super) is_in_ring: bool,
    /// Nothing of it is moved until then.
    pub(super) move_pause: Option<Instant>,
}

impl Destination {
    pub(super) fn new(settings: DestinationSettings, now: Instant) -> Self {
        Self {
            hosts: (0..settings.hosts.max(1)).map(|_| Host::new(settings.connections_max, now)).collect(),
            balance: settings.balance,
            fresh: List::EMPTY,
            due: List::EMPTY,
            alone: List::EMPTY,
            alone_connection: AloneConnection::None,
            share: Share::default(),
            drain: Drain::default(),
            busy: 0,
            busy_retries: 0,
            waiting: 0,
            moving: 0,
            held: 0,
            is_retrys_turn: false,
            next_host: 0,
            is_in_ring: false,
            move_pause: None,
        }
    }

    /// Since when none of its hosts takes mail; none if one does.
    pub(super) fn down_since(&self) -> Option<Instant> {
        if self.hosts.iter().any(Host::is_healthy) {
            return None;
        }
        self.hosts.iter().map(Host::since).max()
    }

    /// Deliveries that could go now, those apart that need a connection of their own.
    pub(super) fn ready(&self) -> u32 {
        self.fresh.count() + self.due.count()
    }

    /// A suspended host that may be probed now.
    pub(super) fn host_to_probe(&self, now: Instant) -> Option<usize> {
        self.hosts.iter().position(|host| host.can_probe(now))
    }

    /// A host to which a further connection may be opened for one message.
    pub(super) fn host_for_alone(&self) -> Option<usize> {
        self.choose(Host::can_connect)
    }

    /// The way of the next delivery, if there is one and a host has room for it.
    pub(super) fn way(&mut self) -> Option<Way> {
        let ready = self.ready();
        if ready == 0 {
            return None;
        }
        // More connections than messages are not opened.
        let connecting: u32 = self.hosts.iter().map(|host| u32::from(host.connecting)).sum();
        let may_connect = connecting < ready;
        let host = self.choose(|host| host.can_deliver() || (may_connect && host.can_connect()))?;
        self.next_host = host + 1;
        Some(if self.hosts[host].can_deliver() { Way::Idle(host) } else { Way::Connect(host) })
    }

    /// Whether the next delivery is a retry: these have at most half of the slots while fresh mail waits.
    pub(super) fn takes_retry(&mut self) -> bool {
        if self.fresh.is_empty() || self.due.is_empty() {
            return self.fresh.is_empty();
        }
        let slots = self.slots().max(2);
        let takes_retry = self.is_retrys_turn && (self.busy_retries + 1) * 2 <= slots;
        self.is_retrys_turn = !takes_retry;
        takes_retry
    }

    /// Deliveries that its hosts may have at a time, as mail is dealt out now.
    pub(super) fn slots(&self) -> u32 {
        let mut healthy = self.hosts.iter().filter(|host| host.is_healthy());
        match self.balance {
            Balance::First => healthy.next().map_or(0, |host| u32::from(host.concurrency())),
            Balance::Spread => healthy.map(|host| u32::from(host.concurrency())).sum(),
        }
    }

    fn choose(&self, has_room: impl Fn(&Host) -> bool) -> Option<usize> {
        match self.balance {
            Balance::First => {
                self.hosts.iter().position(Host::is_healthy).filter(|host| has_room(&self.hosts[*host]))
            }
            Balance::Spread => {
                let count = self.hosts.len();
                let turns = (0..count).map(|step| (self.next_host + step) % count);
                turns.filter(|host| has_room(&self.hosts[*host])).min_by_key(|host| {
                    let host = &self.hosts[*host];
                    host.busy + host.connecting
                })
            }
        }
    }
}
