//! Channels between threads: bounded, lock-free, and nobody blocks inside one. The protocol of going to sleep
//! stands here alone.
//!
//! A [`Consumer`] has one bell and any number of channels. It takes what is there, sets its *parked* flag,
//! looks into each channel once more, and sleeps outside of them. A producer sends, then looks at the flag,
//! and rings only a parked consumer: by a system call, or by a write that rides in the next turn of its ring.
//!
//! ```text
//!   consumer                          producer
//!   parked = true                     send
//!   ───────────── full fence ─────────────────
//!   is there anything? no: sleep      parked? true: parked = false, ring
//! ```
//!
//! Both write first and read second, so at least one of them sees the other. `tests/loom.rs` compiles this
//! file against loom and tries the interleavings.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use super::atomic::{AtomicBool, Ordering, fence};
use super::doorbell::Doorbell;
use super::queue::{self, TryRecvError, TrySendError};

/// Whether a producer has to ring somebody: the descriptor to write to. It is open as long as the sender that
/// gave it.
pub type MustRing = Option<RawFd>;

/// Who takes from one or more channels, and sleeps while all of them are empty.
#[derive(Debug)]
pub struct Consumer {
    sleeper: Arc<Sleeper>,
}

/// What a consumer and its producers share.
#[derive(Debug)]
struct Sleeper {
    /// The consumer is about to sleep, or sleeps, and nobody has rung.
    parked: AtomicBool,
    bell: Doorbell,
}

/// A producer's end of a channel.
#[derive(Debug)]
pub struct Sender<T> {
    /// Taken by drop only.
    queue: Option<queue::Sender<T>>,
    sleeper: Arc<Sleeper>,
}

/// The consumer's end of a channel.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: queue::Receiver<T>,
}

/// What a consumer found in a channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Waiting<T> {
    /// This.
    Item(T),
    /// Nothing now.
    Nothing,
    /// Nothing, and no producer is left that could send.
    Ended,
}

impl Consumer {
    /// One that is awake and has no channel yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { sleeper: Arc::new(Sleeper { parked: AtomicBool::new(false), bell: Doorbell::new()? }) })
    }

    /// A channel to this consumer that holds at most `capacity` items.
    pub fn channel<T>(&self, capacity: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = queue::bounded(capacity);
        (Sender { queue: Some(sender), sleeper: Arc::clone(&self.sleeper) }, Receiver { queue: receiver })
    }

    /// From here on it is rung; call [`Consumer::unpark`] when it is awake again. False when it must not
    /// sleep: `is_empty`, which looks into all of its channels, says that something is there.
    pub fn park(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.sleeper.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = is_empty();
        if !may_sleep {
            self.unpark();
        }
        may_sleep
    }

    /// It is awake, and needs no ringing.
    pub fn unpark(&self) {
        self.sleeper.parked.store(false, Ordering::Relaxed);
    }

    /// Sleeps until something may be there, or until the time has passed. For a thread without a ring.
    pub fn sleep(&self, wait: Option<Duration>, is_empty: impl FnOnce() -> bool) {
        if self.park(is_empty) {
            self.sleeper.bell.sleep(wait);
            self.unpark();
        }
    }

    /// Sleeps for this time, whatever is sent meanwhile, so that it is taken all at once: only
    /// [`Sender::ring`] ends it early. For a thread without a ring.
    pub fn doze(&self, wait: Duration) {
        self.sleeper.bell.sleep(Some(wait));
    }

    /// What is rung, for a consumer that sleeps in its ring.
    pub fn bell(&self) -> &Doorbell {
        &self.sleeper.bell
    }
}

impl<T> Sender<T> {
    /// Sends an item, or gives it back when the channel is full or nobody takes from it any more.
    pub fn try_send(&self, item: T) -> Result<MustRing, T> {
        match self.queue.as_ref().map(|queue| queue.try_send(item)) {
            Some(Ok(())) => Ok(self.sleeper.must_ring().then(|| self.sleeper.bell.descriptor())),
            Some(Err(TrySendError::Full(item) | TrySendError::Disconnected(item))) => Err(item),
            None => unreachable!("the queue is taken by drop only"),
        }
    }

    /// Answers a consumer that has asked for fewer items than the channel holds. It is not woken: call
    /// [`Sender::ring_if_parked`] after the last of several. Where the consumer has gone, so has whoever
    /// waited there.
    pub fn answer(&self, item: T) {
        match self.queue.as_ref().map(|queue| queue.try_send(item)) {
            Some(Ok(()) | Err(TrySendError::Disconnected(_))) => {}
            Some(Err(TrySendError::Full(_))) => {
                unreachable!("whoever asks has fewer questions out than its channel holds")
            }
            None => unreachable!("the queue is taken by drop only"),
        }
    }

    /// Wakes the consumer if it sleeps, by a system call.
    pub fn ring_if_parked(&self) {
        if self.sleeper.must_ring() {
            self.sleeper.bell.ring();
        }
    }

    /// Sends an item and wakes the consumer by a system call; gives the item back as [`Sender::try_send`]
    /// does. Not for shards.
    pub fn send_and_ring(&self, item: T) -> Result<(), T> {
        if self.try_send(item)?.is_some() {
            self.sleeper.bell.ring();
        }
        Ok(())
    }

    /// Wakes the consumer by a system call, also one that dozes.
    pub fn ring(&self) {
        self.sleeper.bell.ring();
    }

    /// Items on their way.
    pub fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, queue::Sender::len)
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), sleeper: Arc::clone(&self.sleeper) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // The consumer learns that the last producer has gone only by looking.
        drop(self.queue.take());
        self.sleeper.bell.ring();
    }
}

impl<T> Receiver<T> {
    /// Takes what waits, without blocking.
    pub fn take(&self) -> Waiting<T> {
        match self.queue.try_recv() {
            Ok(item) => Waiting::Item(item),
            Err(TryRecvError::Empty) => Waiting::Nothing,
            Err(TryRecvError::Disconnected) => Waiting::Ended,
        }
    }

    /// The next item, for a consumer that does not care whether anybody is left.
    pub fn next(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// Whether nothing is there. Producers that have gone are no reason to stay awake.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Sleeper {
    /// After something was sent: whether this producer has to ring. At most one is told so each time the
    /// consumer parks.
    fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed)
    }
}
