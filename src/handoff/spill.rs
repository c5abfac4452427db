//! The two channels between a shard and the thread that writes spill files: parts of messages out, the same parts home when
//! they are written. Bounded, lock-free, never blocked on, and woken as those to the sinks are.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::channel::MustRing;
use super::doorbell::Doorbell;
use super::message::{Origin, QueueId, TryAgain};
use crate::buffer::{MailData, SpillFile};

/// A part of a message that is to be written out.
#[derive(Debug)]
pub struct Part {
    /// The message.
    pub id: QueueId,
    /// The shard and connection that receive it.
    pub origin: Origin,
    /// Its file so far, and what is to be appended.
    pub data: MailData,
}

/// What a shard asks of the spill thread.
#[derive(Debug)]
pub enum Errand {
    /// Write this out and send it home.
    Write(Box<Part>),
    /// Close this file: the message came to nothing. To free a large file takes long.
    Close(SpillFile),
}

/// A part that comes home.
#[derive(Debug)]
pub struct Written {
    /// With its memory, which only its shard can free.
    pub part: Box<Part>,
    /// Whether its file holds it; the file is gone if not.
    pub result: Result<(), TryAgain>,
}

/// A shard's end towards the spill thread.
#[derive(Debug)]
pub struct ToSpiller {
    errands: Option<Sender<Errand>>,
    bell: Arc<Doorbell>,
}

/// The spill thread's end towards the shards.
#[derive(Debug)]
pub struct Errands {
    errands: Receiver<Errand>,
    bell: Arc<Doorbell>,
}

/// What the spill thread found waiting.
#[derive(Debug)]
pub enum WaitingErrand {
    /// An errand.
    Errand(Errand),
    /// Nothing now.
    Nothing,
    /// Nothing, and no shard is left that could send.
    Ended,
}

/// The spill thread's end towards one shard.
#[derive(Debug, Clone)]
pub struct ToOrigin {
    written: Sender<Written>,
    bell: Arc<Doorbell>,
}

/// A channel for errands to the spill thread; the shards' end is cloned for each of them.
pub fn errands(capacity: usize) -> std::io::Result<(ToSpiller, Errands)> {
    let bell = Arc::new(Doorbell::new()?);
    let (sender, errands) = bounded(capacity);
    Ok((ToSpiller { errands: Some(sender), bell: Arc::clone(&bell) }, Errands { errands, bell }))
}

/// A channel for parts that go home to one shard, which is woken by `bell`. The shard has at most `capacity` of them away.
pub fn written(capacity: usize, bell: Arc<Doorbell>) -> (ToOrigin, Receiver<Written>) {
    let (written, receiver) = bounded(capacity);
    (ToOrigin { written, bell }, receiver)
}

impl ToSpiller {
    /// Sends an errand, or gives it back when the channel is full.
    pub fn try_send(&self, errand: Errand) -> Result<MustRing, Errand> {
        match self.errands.as_ref().map(|errands| errands.try_send(errand)) {
            Some(Ok(())) => Ok(self.bell.must_ring().then(|| self.bell.as_fd().as_raw_fd())),
            Some(Err(TrySendError::Full(errand) | TrySendError::Disconnected(errand))) => Err(errand),
            None => unreachable!("the sender is taken by drop only"),
        }
    }
}

impl Clone for ToSpiller {
    fn clone(&self) -> Self {
        Self { errands: self.errands.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl Drop for ToSpiller {
    fn drop(&mut self) {
        // The thread learns that the last shard has gone only by looking.
        drop(self.errands.take());
        self.bell.ring();
    }
}

impl Errands {
    /// Takes what waits, without blocking.
    pub fn take(&self) -> WaitingErrand {
        match self.errands.try_recv() {
            Ok(errand) => WaitingErrand::Errand(errand),
            Err(TryRecvError::Empty) => WaitingErrand::Nothing,
            Err(TryRecvError::Disconnected) => WaitingErrand::Ended,
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

impl ToOrigin {
    /// Sends a part home and wakes its shard.
    pub fn send(&self, written: Written) {
        match self.written.try_send(written) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => unreachable!("a shard has fewer parts away than its channel holds"),
            // The shard has gone, and its clients with it.
            Err(TrySendError::Disconnected(written)) => drop(written),
        }
        if self.bell.must_ring() {
            self.bell.ring();
        }
    }
}
