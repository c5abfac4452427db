//! How much is read from the log, and which destination's mail has to give way to that of the others.
//!
//! The log is read in order. So a destination whose mail stays in the window would hold up all the others
//! once the window is full of it. Two bounds prevent that: one destination has a quarter of the window while
//! others have mail in it, and before it comes to that, mail of a destination that is down or slow is moved
//! to `later/` in bulk. If nobody else's mail comes, nothing is copied: the log itself is the queue.

use std::time::{Duration, Instant};

use super::delivery::DestinationId;

/// Messages that are read from the log and not yet delivered or moved.
pub const WINDOW_MESSAGES: u32 = 20_000;

/// Octets of their content.
pub const WINDOW_BYTES: u64 = 256 * 1024 * 1024;

/// One destination has at most one part in so many while others have mail in the window.
const SHARE_PARTS: u32 = 4;

/// Content is counted in pages, so that a delivery keeps its size in 16 bits; a larger one fills the window.
const PAGE_BYTES: u64 = 4096;
const PAGES_MAX: u32 = 65_536;
const _: () = assert!(PAGES_MAX as u64 * PAGE_BYTES == WINDOW_BYTES);

/// From so many messages or pages on, a destination's mail may have to give way: half of its share, so that
/// reading goes on while it is moved.
const FULL_MESSAGES: u32 = WINDOW_MESSAGES / SHARE_PARTS / 2;
const FULL_PAGES: u32 = PAGES_MAX / SHARE_PARTS / 2;

/// Deliveries that are moved at a time.
pub const MOVE_MESSAGES_MAX: usize = 1000;

/// A destination is down or slow for so long before its mail is moved.
pub(super) const MOVE_AFTER: Duration = Duration::from_secs(1);

/// After a move that failed nothing is moved for so long.
pub(super) const MOVE_PAUSE: Duration = Duration::from_secs(10);

/// Mail in the window that would take longer than this at its present rate makes its destination a slow one.
const DRAIN_SLOW: Duration = Duration::from_secs(4);

/// Others whose mail came so long before a destination went down count as those who wait after it.
pub(super) const OTHERS_SEEN: Duration = Duration::from_mins(1);

const _: () = assert!(MOVE_MESSAGES_MAX < FULL_MESSAGES as usize);

/// What one destination has of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) messages: u32,
    pub(super) pages: u32,
}

/// What is in the window.
#[derive(Debug, Default)]
pub(super) struct Window {
    all: Share,
    /// Something was refused, and nothing admitted since.
    pub(super) is_blocked: bool,
    /// The two destinations whose mail came last, while they were not down; the latest one first.
    seen: [Option<(DestinationId, Instant)>; 2],
}

/// The pages that content of this size counts.
pub(super) fn pages(bytes: u64) -> u16 {
    u16::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(u16::MAX)
}

impl Window {
    /// Octets of what is in it, in whole pages.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.all.pages) * PAGE_BYTES
    }

    /// Whether anything more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.all.messages < WINDOW_MESSAGES && self.all.pages < PAGES_MAX
    }

    /// Whether a message of so many pages may come in for a destination that has this share.
    pub(super) fn fits(&self, share: Share, pages: u16) -> bool {
        let pages = u32::from(pages);
        if self.all.messages == 0 {
            return true;
        }
        let others_wait = self.all.messages > share.messages;
        let within_share = share.messages < WINDOW_MESSAGES / SHARE_PARTS
            && (share.pages + pages <= PAGES_MAX / SHARE_PARTS || share.messages == 0);
        self.all.messages < WINDOW_MESSAGES
            && self.all.pages + pages <= PAGES_MAX
            && (!others_wait || within_share)
    }

    pub(super) fn enter(&mut self, share: &mut Share, pages: u16) {
        for share in [&mut self.all, share] {
            share.messages += 1;
            share.pages += u32::from(pages);
        }
        self.is_blocked = false;
    }

    pub(super) fn leave(&mut self, share: &mut Share, pages: u16) {
        for share in [&mut self.all, share] {
            share.messages -= 1;
            share.pages -= u32::from(pages);
        }
    }

    /// Mail came for a destination that is not down, or is known to wait in the log.
    pub(super) fn see(&mut self, destination: DestinationId, now: Instant) {
        if self.seen[0].is_some_and(|(latest, _)| latest != destination) {
            self.seen[1] = self.seen[0];
        }
        self.seen[0] = Some((destination, now));
    }

    /// Who else had mail since then.
    pub(super) fn others_since(
        &self,
        destination: DestinationId,
        since: Instant,
    ) -> impl Iterator<Item = DestinationId> {
        let seen = self.seen.into_iter().flatten();
        seen.filter(move |(other, at)| *other != destination && *at >= since).map(|(other, _)| other)
    }
}

/// Whether a destination with so many untried deliveries and this share has enough to give way.
pub(super) fn is_full(fresh: u32, share: Share) -> bool {
    fresh >= FULL_MESSAGES || (share.pages >= FULL_PAGES && fresh > 0)
}

/// How fast a destination's mail leaves the window, while there is much of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drain {
    /// Since when there is much of it, or the rate was looked at.
    since: Option<Instant>,
    /// Deliveries taken since.
    taken: u32,
    is_slow: bool,
}

impl Drain {
    /// One was taken out for delivery.
    pub(super) fn take(&mut self) {
        self.taken = self.taken.saturating_add(1);
    }

    /// Whether the destination is slow, as it was found by its rate over the last [`MOVE_AFTER`] or more.
    pub(super) fn is_slow(&mut self, is_full: bool, fresh: u32, now: Instant) -> bool {
        if !is_full {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert_with(|| {
            self.taken = 0;
            now
        });
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= MOVE_AFTER {
            // fresh / (taken / elapsed) > DRAIN_SLOW
            let is_slow =
                elapsed.as_millis() * u128::from(fresh) > DRAIN_SLOW.as_millis() * u128::from(self.taken);
            *self = Self { since: Some(now), taken: 0, is_slow };
        }
        self.is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(window: &mut Window, share: &mut Share, pages: u16) -> u32 {
        let mut count = 0;
        while window.fits(*share, pages) && count <= WINDOW_MESSAGES {
            window.enter(share, pages);
            count += 1;
        }
        count
    }

    #[test]
    fn one_destination_alone_has_all_of_the_window() {
        let (mut window, mut share) = (Window::default(), Share::default());
        assert_eq!(fill(&mut window, &mut share, 1), WINDOW_MESSAGES);
        assert!(!window.has_room());
        let (mut window, mut share) = (Window::default(), Share::default());
        assert_eq!(fill(&mut window, &mut share, 2560), 25, "256 MiB by 10 MiB");
    }

    #[test]
    fn beside_others_it_has_a_quarter() {
        let mut window = Window::default();
        let (mut one, mut other) = (Share::default(), Share::default());
        window.enter(&mut other, 1);
        assert_eq!(fill(&mut window, &mut one, 1), WINDOW_MESSAGES / 4);
        assert!(window.has_room());
        window.leave(&mut other, 1);
        assert_eq!(fill(&mut window, &mut one, 1), WINDOW_MESSAGES * 3 / 4);
        assert!(!window.fits(other, 1));
    }

    #[test]
    fn a_message_as_large_as_the_window_comes_in_alone() {
        let mut window = Window::default();
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(window.fits(one, pages(u64::MAX)));
        window.enter(&mut one, pages(u64::MAX));
        assert!(!window.fits(other, 2) && !window.fits(one, 2));
        window.leave(&mut one, pages(u64::MAX));
        window.enter(&mut other, 1);
        assert!(window.fits(one, 40_000), "the first of its destination may be over its share");
        assert_eq!((one, window.all), (Share::default(), other));
    }

    #[test]
    fn who_takes_more_than_four_seconds_is_slow() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!drain.is_slow(true, 2500, start));
        (0..500).for_each(|_| drain.take());
        assert!(!drain.is_slow(true, 2500, start + second / 2), "not known yet");
        assert!(drain.is_slow(true, 2500, start + second));
        (0..700).for_each(|_| drain.take());
        assert!(!drain.is_slow(true, 2500, start + second * 2));
        assert!(!drain.is_slow(false, 0, start + second * 9));
    }
}
