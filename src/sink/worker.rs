//! The thread between the shards and a sink: takes everything that waits as one batch, has it stored, sends the receipts.
//!
//! No timer: a lone message waits for nothing, and a batch is what arrived while the last one was on its way.

use crate::handoff::channel::{FromShards, ToShard, Waiting};
use crate::handoff::message::{Message, Outcome, Receipt};
use crate::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};

use super::Sink;

/// Runs until every shard has dropped its end and everything was stored and answered.
///
/// A panic in a sink would leave messages without outcome and durability in doubt, so it ends the process: no 250 was
/// sent for them.
pub fn run(mut sink: Box<dyn Sink>, from: &FromShards, shards: &[ToShard]) {
    let _guard = AbortOnPanic;
    let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
    let mut outcomes = Vec::with_capacity(BATCH_MESSAGES_MAX);
    while fill(&mut batch, from) {
        if batch.is_empty() {
            from.sleep(None);
        } else {
            sink.store(&mut batch, &mut outcomes);
            send_receipts(&mut batch, &mut outcomes, shards);
        }
    }
}

/// Takes what waits, up to the bounds of a batch. False when nothing waits and nothing will come any more.
fn fill(batch: &mut Vec<Box<Message>>, from: &FromShards) -> bool {
    let mut bytes = 0;
    while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
        match from.take() {
            Waiting::Message(message) => {
                bytes += message.data.bytes();
                batch.push(message);
            }
            Waiting::Nothing => break,
            Waiting::Ended => return !batch.is_empty(),
        }
    }
    true
}

fn send_receipts(batch: &mut Vec<Box<Message>>, outcomes: &mut Vec<Outcome>, shards: &[ToShard]) {
    assert_eq!(batch.len(), outcomes.len(), "a sink gives one outcome a message");
    for (message, outcome) in batch.drain(..).zip(outcomes.drain(..)) {
        let shard = usize::from(message.origin.shard);
        shards[shard].send(Receipt { message, outcome });
    }
    for shard in shards {
        shard.ring_if_parked();
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
