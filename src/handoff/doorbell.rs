//! How a producer wakes the consumer of a channel that nobody blocks in: a flag and an eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::park::ParkFlag;

/// One consumer's bell. Many producers may hold it.
#[derive(Debug)]
pub struct Doorbell {
    flag: ParkFlag,
    eventfd: OwnedFd,
}

impl Doorbell {
    /// The bell of a consumer that is awake.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { flag: ParkFlag::new(), eventfd })
    }

    /// Consumer: it is going to sleep. It must look into its channel once more first.
    pub fn park(&self) {
        self.flag.park();
    }

    /// Consumer: awake again.
    pub fn unpark(&self) {
        self.flag.unpark();
    }

    /// Producer, after it sent: whether it has to ring, by [`Doorbell::ring`] or by a write that rides in a ring's turn.
    pub fn must_ring(&self) -> bool {
        self.flag.must_ring()
    }

    /// Rings, with a system call.
    pub fn ring(&self) {
        // It fails only when the counter is full, and then the consumer is rung already.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Consumer without a ring: sleeps until it is rung or the time has passed, then is awake.
    pub fn sleep(&self, wait: Option<Duration>) {
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut descriptors = [PollFd::new(&self.eventfd, PollFlags::IN)];
        // A signal or a time-out ends the sleep early, which a consumer must bear anyway.
        let _ = poll(&mut descriptors, wait.as_ref());
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        self.unpark();
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn a_parked_consumer_is_rung_and_an_awake_one_is_not() {
        let bell = Arc::new(Doorbell::new().expect("eventfd"));
        assert!(!bell.must_ring());
        bell.park();
        let producer = Arc::clone(&bell);
        let thread = std::thread::spawn(move || {
            assert!(producer.must_ring());
            assert!(!producer.must_ring(), "one ring a park");
            producer.ring();
        });
        bell.sleep(Some(Duration::from_secs(10)));
        thread.join().expect("producer");
    }

    #[test]
    fn a_sleep_ends_with_its_time() {
        let bell = Doorbell::new().expect("eventfd");
        let start = Instant::now();
        bell.sleep(Some(Duration::from_millis(10)));
        assert!(start.elapsed() >= Duration::from_millis(9));
    }
}
