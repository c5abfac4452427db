//! What wakes a consumer that sleeps outside of its channels: an eventfd.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// One consumer's bell. A ring that comes before the sleep ends the sleep at once.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

impl Doorbell {
    /// A bell that was not rung.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// What a ring writes to, to ring with its next turn.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Rings, with a system call.
    pub fn ring(&self) {
        // It fails only when the counter is full, and then the consumer is rung already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Sleeps until it is rung or the time has passed. For a consumer without a ring.
    pub fn sleep(&self, wait: Option<Duration>) {
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        // A signal or a time-out ends the sleep early, which a consumer must bear anyway.
        let _ = poll(&mut descriptors, wait.as_ref());
        self.clear();
    }

    /// Takes back what was rung. For a consumer that waits for the descriptor by other means.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::channel::Consumer;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn a_ring_ends_the_sleep() {
        let bell = Arc::new(Doorbell::new().expect("eventfd"));
        let ringer = Arc::clone(&bell);
        let thread = std::thread::spawn(move || ringer.ring());
        let start = Instant::now();
        bell.sleep(Some(Duration::from_mins(1)));
        assert!(start.elapsed() < Duration::from_secs(50));
        thread.join().expect("the ringer");
    }

    #[test]
    fn who_dozes_is_woken_by_a_ring_and_not_by_what_is_sent() {
        let consumer = Consumer::new().expect("eventfd");
        let (sender, receiver) = consumer.channel(2);
        let thread = std::thread::spawn(move || {
            let rings = [1, 2].map(|item| sender.try_send(item).expect("room"));
            sender.ring();
            rings
        });
        let start = Instant::now();
        consumer.doze(Duration::from_mins(1));
        assert!(start.elapsed() < Duration::from_secs(50));
        assert_eq!(thread.join().expect("the sender"), [None, None], "nobody has to be rung");
        assert_eq!((receiver.next(), receiver.next()), (Some(1), Some(2)));
    }

    #[test]
    fn a_sleep_ends_with_its_time() {
        let bell = Doorbell::new().expect("eventfd");
        let start = Instant::now();
        bell.sleep(Some(Duration::from_millis(10)));
        assert!(start.elapsed() >= Duration::from_millis(9));
    }
}
