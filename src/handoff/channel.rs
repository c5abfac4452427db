//! The two channels between a shard and a sink worker: messages out, receipts back. Bounded, lock-free, never blocked on.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::doorbell::Doorbell;
use super::message::{Message, Receipt};

/// Whether a producer has to ring somebody: the descriptor to write to.
pub type MustRing = Option<RawFd>;

/// A shard's end towards its sink worker.
#[derive(Debug)]
pub struct ToSink {
    messages: Option<Sender<Box<Message>>>,
    bell: Arc<Doorbell>,
}

/// A sink worker's end towards its shards.
#[derive(Debug)]
pub struct FromShards {
    messages: Receiver<Box<Message>>,
    bell: Arc<Doorbell>,
}

/// What a sink worker found waiting.
#[derive(Debug)]
pub enum Waiting {
    /// A message.
    Message(Box<Message>),
    /// Nothing now.
    Nothing,
    /// Nothing, and no shard is left that could send.
    Ended,
}

/// A sink worker's end towards one shard.
#[derive(Debug, Clone)]
pub struct ToShard {
    receipts: Sender<Receipt>,
    bell: Arc<Doorbell>,
}

/// A shard's end for receipts of all its sinks.
#[derive(Debug)]
pub struct FromSinks {
    receipts: Receiver<Receipt>,
    bell: Arc<Doorbell>,
}

/// A channel for messages to one sink worker; the shards' end is cloned for each of them.
pub fn messages(capacity: usize) -> std::io::Result<(ToSink, FromShards)> {
    let bell = Arc::new(Doorbell::new()?);
    let (sender, receiver) = bounded(capacity);
    Ok((ToSink { messages: Some(sender), bell: Arc::clone(&bell) }, FromShards { messages: receiver, bell }))
}

/// A channel for receipts to one shard, which is woken by `bell`. The shard never has more than `capacity` messages out.
pub fn receipts(capacity: usize, bell: Arc<Doorbell>) -> (ToShard, FromSinks) {
    let (sender, receiver) = bounded(capacity);
    (ToShard { receipts: sender, bell: Arc::clone(&bell) }, FromSinks { receipts: receiver, bell })
}

impl ToSink {
    /// Hands a message over, or gives it back when the channel is full.
    pub fn try_send(&self, message: Box<Message>) -> Result<MustRing, Box<Message>> {
        match self.messages.as_ref().map(|messages| messages.try_send(message)) {
            Some(Ok(())) => Ok(self.bell.must_ring().then(|| self.bell.as_fd().as_raw_fd())),
            // A worker ends only after its shards; should it die, the process aborts.
            Some(Err(TrySendError::Full(message) | TrySendError::Disconnected(message))) => Err(message),
            None => unreachable!("the sender is taken by drop only"),
        }
    }
}

impl Clone for ToSink {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl Drop for ToSink {
    fn drop(&mut self) {
        // The worker learns that the last shard has gone only by looking.
        drop(self.messages.take());
        self.bell.ring();
    }
}

impl FromShards {
    /// Takes what waits, without blocking.
    pub fn take(&self) -> Waiting {
        match self.messages.try_recv() {
            Ok(message) => Waiting::Message(message),
            Err(TryRecvError::Empty) => Waiting::Nothing,
            Err(TryRecvError::Disconnected) => Waiting::Ended,
        }
    }

    /// Sleeps until a message may be waiting.
    pub fn sleep(&self, wait: Option<Duration>) {
        self.bell.park();
        if self.messages.is_empty() {
            self.bell.sleep(wait);
        }
        self.bell.unpark();
    }
}

impl ToShard {
    /// Sends a receipt. The channel has room for every message that its shard has out.
    pub fn send(&self, receipt: Receipt) {
        match self.receipts.try_send(receipt) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                unreachable!("a shard has fewer messages out than its channel holds")
            }
            // The shard has gone; with it went the client that waits. The message is as durable as its outcome said.
            Err(TrySendError::Disconnected(receipt)) => drop(receipt),
        }
    }

    /// After one or more receipts: wakes the shard if it sleeps.
    pub fn ring_if_parked(&self) {
        if self.bell.must_ring() {
            self.bell.ring();
        }
    }
}

impl FromSinks {
    /// Takes the next receipt, if one is there.
    pub fn take(&self) -> Option<Receipt> {
        self.receipts.try_recv().ok()
    }

    /// The shard is going to sleep in its turn; false when a receipt is there already and it must not.
    pub fn park(&self) -> bool {
        self.bell.park();
        let empty = self.receipts.is_empty();
        if !empty {
            self.bell.unpark();
        }
        empty
    }

    /// The shard is awake.
    pub fn unpark(&self) {
        self.bell.unpark();
    }

    /// The bell that the shard's ring watches.
    pub fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }
}
