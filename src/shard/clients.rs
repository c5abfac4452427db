//! How many connections each client address has, over all shards.
//!
//! Looked at when a connection begins and when it ends, and behind a front's word for whom it speaks; never
//! on the path of a message. Many small locks, so that shards seldom meet at one.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::mail::client::Client;

/// Locks; a power of two, so that a hash is dealt out by its low bits.
const LOCKS: usize = 256;

/// The counts. Its size is bounded by the connections of all shards.
#[derive(Debug)]
pub struct Clients {
    /// Looked at when a connection begins.
    connections_max: AtomicUsize,
    hasher: RandomState,
    counts: Box<[Mutex<HashMap<Client, usize>>]>,
}

/// One counted connection; it counts no more when it is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    client: Client,
}

impl Clients {
    /// Each client may have so many connections.
    pub fn new(connections_max: usize) -> Arc<Self> {
        let counts = (0..LOCKS).map(|_| Mutex::default()).collect();
        let connections_max = AtomicUsize::new(connections_max);
        Arc::new(Self { connections_max, hasher: RandomState::new(), counts })
    }

    /// From now on each client may have so many. Those that it has stay.
    pub fn limit(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    /// Counts one more connection. `Ok(None)` for a loopback client, which is exempt; an error when there are
    /// too many.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Option<Seat>, TooMany> {
        let Some(client) = Client::of(address) else { return Ok(None) };
        let mut counts = self.counts_of(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= self.connections_max.load(Ordering::Relaxed) {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Seat { clients: Arc::clone(self), client }))
    }

    fn counts_of(&self, client: Client) -> &Mutex<HashMap<Client, usize>> {
        let hash = usize::try_from(self.hasher.hash_one(client) % LOCKS as u64).unwrap_or(0);
        &self.counts[hash]
    }
}

impl Seat {
    /// Whose connection it is.
    pub fn client(&self) -> Client {
        self.client
    }
}

/// The client has all the connections that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.clients.counts_of(self.client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(clients: &Arc<Clients>, address: &str) -> Result<Option<Seat>, TooMany> {
        clients.enter(address.parse().expect("an address"))
    }

    #[test]
    fn a_client_has_so_many_connections_and_gets_them_back() {
        let clients = Clients::new(2);
        let first = enter(&clients, "192.0.2.1").expect("one");
        let _second = enter(&clients, "::ffff:192.0.2.1").expect("two");
        assert_eq!(enter(&clients, "192.0.2.1").err(), Some(TooMany));
        assert!(enter(&clients, "192.0.2.2").is_ok());
        drop(first);
        assert!(enter(&clients, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let clients = Clients::new(1);
        let _one = enter(&clients, "2001:db8:0:1::1").expect("one");
        assert!(enter(&clients, "2001:db8:0:1:ffff::2").is_err());
        assert!(enter(&clients, "2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn loopback_clients_are_exempt_and_nothing_is_kept() {
        let clients = Clients::new(1);
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(
                matches!(enter(&clients, address), Ok(None)) && matches!(enter(&clients, address), Ok(None))
            );
        }
        drop(enter(&clients, "192.0.2.1"));
        assert!(clients.counts.iter().all(|counts| counts.lock().expect("no panic").is_empty()));
    }
}
