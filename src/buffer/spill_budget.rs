//! How much the spill files of a server may hold, all together and those of one client.
//!
//! The spiller takes, and whoever closes a file gives back: a sink worker or the spiller. A shard only reads
//! counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::spill_error::SpillError;
use crate::limits::SPILL_CLIENT_PARTS;
use crate::mail::client::Client;

/// The budget of all spill files of a server.
#[derive(Debug)]
pub struct SpillBudget {
    bytes_max: AtomicU64,
    files_max: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    /// Octets that the file system can still take. `u64::MAX` where nobody knows.
    room: AtomicU64,
    /// Only clients that hold a file now. `len <= files_max`
    clients: Mutex<HashMap<Client, Held>>,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    files: u64,
}

impl SpillBudget {
    /// So many octets in so many files. One client may hold one part in [`SPILL_CLIENT_PARTS`] of each.
    pub fn new(bytes_max: u64, files_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(bytes_max),
            files_max: AtomicU64::new(files_max),
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            clients: Mutex::default(),
        })
    }

    /// From now on so many octets in so many files. What is there stays.
    pub fn limit(&self, bytes_max: u64, files_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.files_max.store(files_max, Ordering::Relaxed);
    }

    /// Octets in spill files now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Spill files now.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// The file system can take so many octets more. On a small disk that is what there is to share, not
    /// `spill_size_max`.
    pub fn see_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::Relaxed);
    }

    /// One more file. A client may always have one.
    pub(super) fn take_file(&self, client: Option<Client>) -> Result<(), SpillError> {
        let files_max = self.files_max.load(Ordering::Relaxed);
        take(&self.files, 1, files_max)?;
        let share = (files_max / SPILL_CLIENT_PARTS).max(1);
        let taken = self.change(client, |held| {
            let fits = held.files < share;
            held.files += u64::from(fits);
            fits
        });
        if taken {
            return Ok(());
        }
        self.files.fetch_sub(1, Ordering::Relaxed);
        Err(SpillError::Share)
    }

    /// So many octets more. A client's only file may grow beyond the share, so that a message of any size can
    /// be taken.
    pub(super) fn take_bytes(&self, client: Option<Client>, count: u64) -> Result<(), SpillError> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        take(&self.bytes, count, bytes_max)?;
        let room = self.room.load(Ordering::Relaxed);
        let share = self.bytes().saturating_add(room).min(bytes_max) / SPILL_CLIENT_PARTS;
        let taken = self.change(client, |held| {
            let after = held.bytes.saturating_add(count);
            let fits = held.files <= 1 || after <= share;
            if fits {
                held.bytes = after;
            }
            fits
        });
        if taken {
            return Ok(());
        }
        self.bytes.fetch_sub(count, Ordering::Relaxed);
        Err(SpillError::Share)
    }

    /// A file of so many octets was closed.
    pub(super) fn give_back(&self, client: Option<Client>, bytes: u64) {
        self.change(client, |held| {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.files = held.files.saturating_sub(1);
            true
        });
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// True for a client that is exempt.
    fn change(&self, client: Option<Client>, change: impl FnOnce(&mut Held) -> bool) -> bool {
        let Some(client) = client else { return true };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let held = clients.entry(client).or_default();
        let result = change(held);
        if held.files == 0 {
            clients.remove(&client);
        }
        result
    }
}

fn take(counter: &AtomicU64, count: u64, most: u64) -> Result<(), SpillError> {
    let add = |now: u64| now.checked_add(count).filter(|after| *after <= most);
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    taken.map(drop).map_err(|_| SpillError::Budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Option<Client> {
        Client::of(address.parse().expect("an address"))
    }

    #[test]
    fn one_client_holds_a_quarter_of_files_and_octets_and_others_the_rest() {
        let budget = SpillBudget::new(1000, 8);
        let (one, same, other) = (client("2001:db8::1"), client("2001:db8::2"), client("192.0.2.1"));
        assert!(budget.take_file(one).is_ok() && budget.take_file(same).is_ok());
        assert!(budget.take_file(one).is_err(), "a quarter of 8 files");
        assert!(budget.take_bytes(one, 200).is_ok() && budget.take_bytes(same, 50).is_ok());
        assert!(budget.take_bytes(same, 1).is_err(), "a quarter of 1000 octets");
        assert!(budget.take_file(other).is_ok() && budget.take_bytes(other, 10).is_ok());
        assert_eq!((budget.files(), budget.bytes()), (3, 260), "what was refused is not counted");
        budget.give_back(one, 200);
        assert!(budget.take_file(same).is_ok() && budget.take_bytes(same, 200).is_ok());
        for bytes in [50, 200] {
            budget.give_back(same, bytes);
        }
        budget.give_back(other, 10);
        assert_eq!((budget.files(), budget.bytes()), (0, 0));
        assert!(budget.clients.lock().expect("no panic").is_empty(), "nothing is kept of who holds nothing");
    }

    #[test]
    fn the_share_is_of_what_the_disk_can_take() {
        let budget = SpillBudget::new(1 << 40, 8);
        let one = client("192.0.2.1");
        budget.see_room(1000);
        assert!(budget.take_file(one).is_ok() && budget.take_file(one).is_ok());
        assert!(budget.take_bytes(one, 250).is_ok());
        budget.see_room(750);
        assert!(budget.take_bytes(one, 10).is_err());
    }

    #[test]
    fn a_client_may_always_have_one_file_of_any_size_and_loopback_has_no_share() {
        let budget = SpillBudget::new(1000, 2);
        let one = client("192.0.2.1");
        assert!(budget.take_file(one).is_ok() && budget.take_bytes(one, 600).is_ok());
        assert!(budget.take_file(one).is_err());
        let local = client("::ffff:127.0.0.1");
        assert!(budget.take_file(local).is_ok() && budget.take_bytes(local, 400).is_ok());
        assert!(budget.take_bytes(local, 1).is_err(), "nobody is beyond the whole");
    }
}
