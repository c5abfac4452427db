//! So many lines a second for all clients of a shard, and a share of them for one client: whoever floods
//! leaves the others theirs.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::mail::client::Client;

/// Lines are granted for so long at a time.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// A client has this share of a window's lines.
const CLIENT_SHARE: u32 = 8;

/// Places to count clients in; those that share one by chance share its lines until the window is over. A
/// power of two.
const PLACES: usize = 256;

/// The lines of a window.
#[derive(Debug)]
pub(super) struct LineRate {
    lines_max: u32,
    /// When the window began.
    begun: Option<Instant>,
    /// Lines that the window has left.
    left: u32,
    /// Lines that the clients of each place had in this window.
    had: Box<[u32; PLACES]>,
    /// Chosen anew for each window, so that nobody shares a place for long.
    hasher: RandomState,
}

impl LineRate {
    /// So many lines a second.
    pub(super) fn new(lines_max: u32) -> Self {
        Self { lines_max, begun: None, left: 0, had: Box::new([0; PLACES]), hasher: RandomState::new() }
    }

    /// From the next window on so many lines a second.
    pub(super) fn limit(&mut self, lines_max: u32) {
        self.lines_max = lines_max;
    }

    /// Lines that one client may have in a window.
    pub(super) fn of_a_client(&self) -> u32 {
        self.lines_max.div_ceil(CLIENT_SHARE)
    }

    /// Takes one of the lines of this window, unless its client has had `lines_max` of them.
    pub(super) fn take(&mut self, client: IpAddr, lines_max: u32, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= WINDOW) {
            self.begun = Some(now);
            self.left = self.lines_max;
            self.had.fill(0);
            self.hasher = RandomState::new();
        }
        let place = self.hasher.hash_one(Client::of(client)) % PLACES as u64;
        let Some(had) = usize::try_from(place).ok().and_then(|place| self.had.get_mut(place)) else {
            return false;
        };
        if self.left == 0 || *had >= lines_max {
            return false;
        }
        self.left -= 1;
        *had += 1;
        true
    }
}
