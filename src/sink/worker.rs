//! The thread between the shards and a sink: takes everything that waits as one batch, has it stored, sends the receipts.
//!
//! No timer: a lone message waits for nothing, and a batch is what arrived while the last one was on its way.

use std::path::Path;

use crate::handoff::channel::{FromShards, ToShard, Waiting};
use crate::handoff::message::{Message, Outcome, Receipt};
use crate::limits::{BATCH_BYTES_MAX, BATCH_LOADED_BYTES_MAX, BATCH_MESSAGES_MAX};

use super::{Report, Sink, outcome_of};

/// Runs until every shard has dropped its end and everything was stored and answered.
///
/// A panic in a sink would leave messages without outcome and durability in doubt, so it ends the process: no 250 was
/// sent for them.
pub fn run(mut sink: Box<dyn Sink>, from: &FromShards, shards: &[ToShard], report: &dyn Report) {
    let _guard = AbortOnPanic;
    let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
    let mut outcomes = Vec::with_capacity(BATCH_MESSAGES_MAX);
    let inline_bytes_max = sink.inline_bytes_max().unwrap_or(u64::MAX);
    while fill(&mut batch, from, shards, report, inline_bytes_max) {
        if batch.is_empty() {
            from.sleep(None);
        } else {
            sink.store(&mut batch, &mut outcomes);
            send_receipts(&mut batch, &mut outcomes, shards);
        }
    }
}

/// Takes what waits, up to the bounds of a batch. False when nothing waits and nothing will come any more.
fn fill(
    batch: &mut Vec<Box<Message>>,
    from: &FromShards,
    shards: &[ToShard],
    report: &dyn Report,
    inline_bytes_max: u64,
) -> bool {
    let (mut bytes, mut loaded) = (0, 0);
    while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX && loaded < BATCH_LOADED_BYTES_MAX {
        match from.take() {
            Waiting::Message(mut message) => {
                bytes += message.data.bytes();
                if message.data.bytes() > inline_bytes_max {
                    batch.push(message);
                    continue;
                }
                // The sink reads it from memory. What was written out comes back for one batch at a time.
                match message.data.load() {
                    Ok(count) => {
                        loaded += count;
                        batch.push(message);
                    }
                    Err(error) => {
                        report.machine_error("read mail data back into", Path::new("memory"), &error);
                        send(message, outcome_of(&error), shards);
                        shards.iter().for_each(ToShard::ring_if_parked);
                    }
                }
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
        send(message, outcome, shards);
    }
    for shard in shards {
        shard.ring_if_parked();
    }
}

fn send(mut message: Box<Message>, outcome: Outcome, shards: &[ToShard]) {
    message.data.let_go();
    let shard = usize::from(message.origin.shard);
    shards[shard].send(Receipt { message, outcome });
}

pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
