//! What operators are shown: each destination with its hosts, and deliveries page by page.

use std::time::{Duration, Instant};

use super::delivery::{Delivery, DestinationId};
use super::host::Host;
use super::index::State;
use super::schedule::Schedule;

/// Whether mail goes to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// It does.
    Healthy,
    /// A cohort of attempts failed; it is probed.
    Suspended,
    /// An operator suspended it.
    Stopped,
}

/// What is known of a host.
#[derive(Debug, Clone, Copy)]
pub struct HostView<'a> {
    /// Whether mail goes there.
    pub state: HostState,
    /// Since when it is in this state.
    pub since: Instant,
    /// Why it failed last; empty if it never did.
    pub why: &'a str,
    /// When it is probed next, if mail waits; none if it is healthy or stopped, or a probe is on its way.
    pub next_probe: Option<Instant>,
    /// Deliveries that it may have at a time.
    pub concurrency: u16,
    /// Connections, with those that are being opened or closed.
    pub open: u16,
    /// Deliveries that it has.
    pub busy: u16,
}

/// What is known of a destination, in deliveries.
#[derive(Debug, Clone)]
pub struct DestinationView<'a> {
    /// Since when none of its hosts takes mail; none if one does.
    pub down_since: Option<Instant>,
    /// Read from the log and not tried yet.
    pub fresh: u32,
    /// Retries that could go now.
    pub due: u32,
    /// Retries that wait for their time.
    pub waiting: u32,
    /// On a connection.
    pub busy: u32,
    /// Being copied into `later/`.
    pub moving: u32,
    /// Held.
    pub held: u32,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<HostView<'a>>,
}

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Its turn.
    Turn,
    /// Its time, so long from now.
    Time(Duration),
    /// An answer: it is on a connection.
    Reply,
    /// Being copied into `later/`.
    Copy,
    /// An operator.
    Operator,
}

/// What is known of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryView {
    /// Which one.
    pub delivery: Delivery,
    /// What it waits for.
    pub waits: Waits,
    /// How long until it expires.
    pub expires_in: Duration,
    /// Attempts that the next hop deferred.
    pub attempts: u8,
    /// Connections that were lost inside of it.
    pub poison: u8,
}

impl Schedule {
    /// The destinations, in the order in which they were added.
    pub fn destinations(&self) -> impl Iterator<Item = (DestinationId, DestinationView<'_>)> {
        let all = (0..).zip(&self.destinations);
        all.map(|(number, destination)| {
            let view = DestinationView {
                down_since: destination.down_since(),
                fresh: destination.fresh.count(),
                due: destination.due.count() + destination.alone.count(),
                waiting: destination.waiting,
                busy: destination.busy,
                moving: destination.moving,
                held: destination.held,
                hosts: destination.hosts.iter().map(host_view).collect(),
            };
            (DestinationId(number), view)
        })
    }

    /// Why none of its hosts takes mail: what the last of them failed with, empty where an operator stopped
    /// it. None if one does.
    pub fn why_down(&self, id: DestinationId) -> Option<&str> {
        let destination = self.destinations.get(usize::from(id.0))?;
        destination.down_since()?;
        destination.hosts.iter().max_by_key(|host| host.since()).map(Host::why)
    }

    /// Deliveries from this slot on, at most as many slots as are said; and the slot to go on from, none at
    /// the end. Begin at 0. What comes or goes in between may be seen or not.
    pub fn page(&self, from: u32, slots_max: u32, now: Instant) -> (Vec<DeliveryView>, Option<u32>) {
        let slots = self.index.slots();
        let end = from.saturating_add(slots_max).min(slots);
        let page = (from..end).filter_map(|slot| self.delivery_view(slot, now)).collect();
        (page, (end < slots).then_some(end))
    }

    /// One delivery; none if the schedule does not have it.
    pub fn delivery(&self, delivery: Delivery, now: Instant) -> Option<DeliveryView> {
        self.delivery_view(self.index.find(delivery)?, now)
    }

    /// Whether a host of a destination is suspended: it failed, and is probed.
    pub fn is_suspended(&self, destination: DestinationId, host: usize) -> bool {
        let hosts = self.destinations.get(usize::from(destination.0)).map(|one| &one.hosts);
        hosts.and_then(|hosts| hosts.get(host)).is_some_and(Host::is_suspended)
    }

    /// Octets of what was read from the log and is in the window, in whole pages; a message counts once for
    /// each of its destinations.
    pub fn window_bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Deliveries that it has.
    pub fn count(&self) -> u32 {
        self.index.count()
    }

    /// Octets that the deliveries take.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    fn delivery_view(&self, slot: u32, now: Instant) -> Option<DeliveryView> {
        let entry = &self.index[slot];
        let until = |second: u32| {
            let at = self.start + Duration::from_secs(second.into());
            at.saturating_duration_since(now)
        };
        let waits = match entry.state {
            State::Free => return None,
            State::Fresh | State::Due | State::Alone => Waits::Turn,
            State::Waiting => Waits::Time(until(entry.due)),
            State::Busy => Waits::Reply,
            State::Moving | State::MovingHeld => Waits::Copy,
            State::Held => Waits::Operator,
        };
        Some(DeliveryView {
            delivery: entry.delivery(),
            waits,
            expires_in: until(entry.expires),
            attempts: entry.attempts,
            poison: entry.poison,
        })
    }
}

fn host_view(host: &Host) -> HostView<'_> {
    let state = match (host.is_stopped(), host.is_suspended()) {
        (true, _) => HostState::Stopped,
        (false, true) => HostState::Suspended,
        (false, false) => HostState::Healthy,
    };
    HostView {
        state,
        since: host.since(),
        why: host.why(),
        next_probe: host.probe_at(),
        concurrency: host.concurrency(),
        open: host.open,
        busy: host.busy,
    }
}
