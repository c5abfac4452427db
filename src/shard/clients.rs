//! What is counted of each client over all shards, as shards use it: the table (`front::clients`), what a
//! client may have now, and the clock of both.
//!
//! No lock: each shard reads and changes whole words of the table. What a client may have is changed by a
//! reload while shards look at it, word by word; one that sees a part of the change is no worse off than one
//! that came a moment earlier.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crate::front::clients::{self as front, Count, Event, Limits, Over, Rates, Refused};
use crate::front::moment::{Epoch, Moment};
use crate::front::rate::Rate;
use crate::mail::client::Client;
use crate::smtp::denial::Denial;

/// The counts.
#[derive(Debug)]
pub struct Clients {
    table: front::Clients,
    limits: SharedLimits,
    epoch: Epoch,
}

/// What a client is told that may not have a connection.
pub(super) fn denial(why: Refused) -> Denial {
    match why {
        Refused::Open(_) => Denial::TOO_MANY_CONNECTIONS,
        Refused::Rate(_) => Denial::TOO_MANY_CONNECTIONS_LATELY,
    }
}

/// One counted connection; it counts no more when it is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    client: Client,
    held: front::Seat,
}

impl Clients {
    /// Counts in this table; each client may have so much.
    pub fn new(table: front::Clients, limits: Limits) -> Arc<Self> {
        let clients = Self { table, limits: SharedLimits::default(), epoch: Epoch::new(Instant::now()) };
        clients.limit(limits);
        Arc::new(clients)
    }

    /// From now on each client may have so much. The connections that it has stay.
    pub fn limit(&self, limits: Limits) {
        self.limits.store(limits);
    }

    /// The time of a turn as it is counted here.
    pub fn moment(&self, now: Instant, wall_clock: SystemTime) -> Moment {
        self.epoch.moment(now, wall_clock)
    }

    /// A client connects. `Ok(None)` for a loopback client, which is exempt. `would_refuse` is told of what
    /// is passed over because limits only warn.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        now: Moment,
        would_refuse: impl FnMut(Refused),
    ) -> Result<Option<Seat>, Refused> {
        let Some(client) = Client::of(address) else { return Ok(None) };
        let held = self.table.enter(address, &self.limits.load(), now, would_refuse)?;
        Ok(held.map(|held| Seat { clients: Arc::clone(self), client, held }))
    }

    /// The table itself, for what is not a shard's: what is remembered of it across restarts.
    pub fn table(&self) -> &front::Clients {
        &self.table
    }

    /// How many are counted. It takes milliseconds: not for shards.
    pub fn count(&self) -> Count {
        self.table.count(self.moment(Instant::now(), SystemTime::now()))
    }
}

impl Seat {
    /// Whose connection it is.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Whether it is limited how often the client may do what.
    pub fn has_rates(&self) -> bool {
        self.clients.limits.load().rates.is_some()
    }

    /// Whether nothing is refused to a client that does something too often: the log tells of it.
    pub fn only_warns(&self) -> bool {
        self.clients.limits.load().only_warn
    }

    /// Counts events of the client; the error says which of its networks has had too many.
    pub fn pay(&self, event: Event, count: u32, now: Moment) -> Result<(), Over> {
        self.clients.table.pay(&self.held, event, count, &self.clients.limits.load(), now)
    }

    /// Whether the client has had as many of an event as it may. Nothing is counted.
    pub fn is_over(&self, event: Event, now: Moment) -> bool {
        self.clients.table.is_over(&self.held, event, &self.clients.limits.load(), now)
    }

    /// A message of the client was accepted.
    pub fn note_message(&self, now: Moment) {
        self.clients.table.note_message(&self.held, now);
    }

    /// What the client has proved counts no more.
    pub fn disgrace(&self) {
        self.clients.table.disgrace(&self.held);
    }

    /// Whether the client has proved good.
    pub fn is_proven(&self, now: Moment) -> bool {
        self.clients.table.is_proven(&self.held, now)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.clients.table.leave(std::mem::take(&mut self.held));
    }
}

/// [`Limits`] that a reload changes while shards look at them.
#[derive(Debug, Default)]
struct SharedLimits {
    connections_max: AtomicU32,
    /// [`Rate::to_word`] of each rate; 0 where there are none.
    rates: [AtomicU64; 5],
    only_warn: AtomicBool,
}

impl SharedLimits {
    fn store(&self, Limits { connections_max, rates, only_warn }: Limits) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
        self.only_warn.store(only_warn, Ordering::Relaxed);
        let words = rates.map_or([0; 5], |rates| {
            let Rates { connections, messages, recipients, unknown_recipients, errors } = rates;
            [connections, messages, recipients, unknown_recipients, errors].map(Rate::to_word)
        });
        for (rate, word) in self.rates.iter().zip(words) {
            rate.store(word, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Limits {
        let [connections, messages, recipients, unknown_recipients, errors] =
            self.rates.each_ref().map(|rate| Rate::from_word(rate.load(Ordering::Relaxed)));
        let rates = || {
            Some(Rates {
                connections: connections?,
                messages: messages?,
                recipients: recipients?,
                unknown_recipients: unknown_recipients?,
                errors: errors?,
            })
        };
        Limits {
            connections_max: self.connections_max.load(Ordering::Relaxed),
            rates: rates(),
            only_warn: self.only_warn.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        connections: Rate::per_minute(60),
        messages: Rate::per_minute(2),
        recipients: Rate::per_minute(5),
        unknown_recipients: Rate::per_minute(3),
        errors: Rate::per_minute(4),
    };

    fn clients(connections_max: u32, rates: Option<Rates>) -> (Arc<Clients>, Moment) {
        let clients = Clients::new(
            front::Clients::new(1024, &[7; 16]),
            Limits { connections_max, rates, only_warn: false },
        );
        let now = clients.moment(Instant::now(), SystemTime::now());
        (clients, now)
    }

    fn enter(clients: &Arc<Clients>, address: &str, now: Moment) -> Result<Option<Seat>, Refused> {
        clients.enter(address.parse().expect("an address"), now, |_| panic!("nothing only warns"))
    }

    #[test]
    fn a_client_whose_first_connections_come_to_two_shards_at_once_is_one_client() {
        let (clients, now) = clients(2, None);
        let both = std::sync::Barrier::new(2);
        let mut passed_by = 0;
        for number in 0..5000 {
            let address = format!("2001:db8:{:x}:{:x}::1", number / 256, number % 256);
            let enter_with_the_other = || {
                both.wait();
                enter(&clients, &address, now).expect("it may have two")
            };
            let seats = std::thread::scope(|scope| {
                let one = scope.spawn(enter_with_the_other);
                let two = enter_with_the_other();
                (one.join().expect("it enters"), two)
            });
            assert!(seats.0.is_some() && seats.1.is_some(), "both are counted");
            passed_by += u32::from(enter(&clients, &address, now).is_ok());
        }
        // The table fails open where the other thread was stopped by the machine in the middle of it.
        assert!(passed_by <= 5, "{passed_by} times a third one entered");
    }

    #[test]
    fn a_client_has_so_many_connections_and_gets_them_back() {
        let (clients, now) = clients(2, None);
        let first = enter(&clients, "192.0.2.1", now).expect("one");
        let _second = enter(&clients, "::ffff:192.0.2.1", now).expect("two");
        assert!(matches!(enter(&clients, "192.0.2.1", now), Err(Refused::Open(_))));
        assert!(enter(&clients, "192.0.2.2", now).is_ok());
        drop(first);
        assert!(enter(&clients, "192.0.2.1", now).is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let (clients, now) = clients(1, None);
        let _one = enter(&clients, "2001:db8:0:1::1", now).expect("one");
        assert!(enter(&clients, "2001:db8:0:1:ffff::2", now).is_err());
        assert!(enter(&clients, "2001:db8:0:2::1", now).is_ok());
    }

    #[test]
    fn loopback_clients_are_exempt_and_nothing_is_kept() {
        let (clients, now) = clients(1, Some(RATES));
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..100 {
                assert!(matches!(enter(&clients, address, now), Ok(None)));
            }
        }
        assert_eq!(clients.count(), Count::default());
    }

    #[test]
    fn a_reload_changes_what_a_client_may_have_and_takes_nothing_away() {
        let (clients, now) = clients(2, None);
        let seats = [(); 2].map(|()| enter(&clients, "192.0.2.1", now).expect("two").expect("counted"));
        assert_eq!(seats[0].pay(Event::Message, 1000, now), Ok(()));
        let limits = Limits { connections_max: 3, rates: Some(RATES), only_warn: true };
        clients.limit(limits);
        assert_eq!(clients.limits.load(), limits);
        assert!(seats[0].pay(Event::Message, 2, now).is_ok() && seats[1].is_over(Event::Message, now));
        assert_eq!(seats[1].pay(Event::Message, 1, now), Err(Over { tier: 0 }));
        clients.limit(Limits { connections_max: 1, rates: None, only_warn: false });
        assert_eq!(seats[1].pay(Event::Message, 1, now), Ok(()));
        assert!(enter(&clients, "192.0.2.1", now).is_err());
        drop(seats);
        assert!(enter(&clients, "192.0.2.1", now).is_ok());
    }
}
