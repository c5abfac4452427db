//! The two channels between the shards and a thread that does something for them: errands out, what came of each back to the
//! shard that sent it. Bounded, lock-free, never blocked on, and woken as the channels to the sinks are.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::channel::MustRing;
use super::doorbell::Doorbell;

/// A shard's end towards the thread.
#[derive(Debug)]
pub struct ToThread<T> {
    errands: Option<Sender<T>>,
    bell: Arc<Doorbell>,
}

/// The thread's end towards the shards.
#[derive(Debug)]
pub struct Errands<T> {
    errands: Receiver<T>,
    bell: Arc<Doorbell>,
}

/// What the thread found waiting.
#[derive(Debug)]
pub enum Waiting<T> {
    /// An errand.
    Errand(T),
    /// Nothing now.
    Nothing,
    /// Nothing, and no shard is left that could send.
    Ended,
}

/// The thread's end towards one shard.
#[derive(Debug)]
pub struct ToOrigin<T> {
    done: Sender<T>,
    bell: Arc<Doorbell>,
}

/// A channel for errands to one thread; the shards' end is cloned for each of them.
pub fn errands<T>(capacity: usize) -> std::io::Result<(ToThread<T>, Errands<T>)> {
    let bell = Arc::new(Doorbell::new()?);
    let (sender, errands) = bounded(capacity);
    Ok((ToThread { errands: Some(sender), bell: Arc::clone(&bell) }, Errands { errands, bell }))
}

/// A channel for what goes back to one shard, which is woken by `bell`. The shard has at most `capacity` errands out.
pub fn done<T>(capacity: usize, bell: Arc<Doorbell>) -> (ToOrigin<T>, Receiver<T>) {
    let (done, receiver) = bounded(capacity);
    (ToOrigin { done, bell }, receiver)
}

impl<T> ToThread<T> {
    /// Sends an errand, or gives it back when the channel is full.
    pub fn try_send(&self, errand: T) -> Result<MustRing, T> {
        match self.errands.as_ref().map(|errands| errands.try_send(errand)) {
            Some(Ok(())) => Ok(self.bell.must_ring().then(|| self.bell.as_fd().as_raw_fd())),
            Some(Err(TrySendError::Full(errand) | TrySendError::Disconnected(errand))) => Err(errand),
            None => unreachable!("the sender is taken by drop only"),
        }
    }
}

impl<T> Clone for ToThread<T> {
    fn clone(&self) -> Self {
        Self { errands: self.errands.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Drop for ToThread<T> {
    fn drop(&mut self) {
        // The thread learns that the last shard has gone only by looking.
        drop(self.errands.take());
        self.bell.ring();
    }
}

impl<T> Errands<T> {
    /// Takes what waits, without blocking.
    pub fn take(&self) -> Waiting<T> {
        match self.errands.try_recv() {
            Ok(errand) => Waiting::Errand(errand),
            Err(TryRecvError::Empty) => Waiting::Nothing,
            Err(TryRecvError::Disconnected) => Waiting::Ended,
        }
    }

    /// Sleeps until an errand may be waiting.
    pub fn sleep(&self) {
        self.bell.park();
        if self.errands.is_empty() {
            self.bell.sleep(None);
        }
        self.bell.unpark();
    }
}

impl<T> ToOrigin<T> {
    /// Sends back what came of an errand, and wakes its shard.
    pub fn send(&self, done: T) {
        match self.done.try_send(done) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                unreachable!("a shard has fewer errands out than its channel holds")
            }
            // The shard has gone, and its clients with it.
            Err(TrySendError::Disconnected(done)) => drop(done),
        }
        if self.bell.must_ring() {
            self.bell.ring();
        }
    }
}

impl<T> Clone for ToOrigin<T> {
    fn clone(&self) -> Self {
        Self { done: self.done.clone(), bell: Arc::clone(&self.bell) }
    }
}
