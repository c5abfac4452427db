//! The thread between the shards and a sink: takes what waits as one batch, has it stored, sends the
//! receipts.
//!
//! No timer: a lone message waits for nothing, and a batch is what arrived while the last one was on its way.
//! A message that costs the disk more than a whole batch may is stored alone, and others go first: between
//! two such messages there is always a batch of whatever else waits, so nobody waits for more than one.

use std::collections::VecDeque;
use std::time::Instant;

use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::message::{Message, Receipt};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_FILES_MAX, BATCH_LOADED_BYTES_MAX, BATCH_MESSAGES_MAX, COSTLY_MESSAGES_MAX,
};
use crate::mail::outcome::Outcome;
use crate::metrics::SinkMetrics;

use super::contract::{Cost, Sink};
use super::report::{Report, Site, outcome_of};

/// Runs until every shard has dropped its end and everything was stored and answered.
///
/// A panic in a sink would leave messages without outcome and durability in doubt, so it ends the process: no
/// 250 was sent for them.
pub fn run(
    mut sink: Box<dyn Sink>,
    consumer: &Consumer,
    from: &Receiver<Box<Message>>,
    shards: &[Sender<Receipt>],
    report: &dyn Report,
    metrics: &SinkMetrics,
) {
    let _guard = AbortOnPanic;
    sink.watched(&metrics.pulse);
    let inline_bytes_max = sink.inline_bytes_max().unwrap_or(u64::MAX);
    let mut gatherer = Gatherer { from, shards, report, inline_bytes_max, costly: VecDeque::new() };
    let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
    let mut outcomes = Vec::with_capacity(BATCH_MESSAGES_MAX);
    loop {
        metrics.pulse.begin();
        let has_ended = gatherer.fill(&mut batch, &*sink);
        let mut was_idle = batch.is_empty();
        if !batch.is_empty() {
            metrics.pulse.advance();
            store(&mut *sink, &mut batch, &mut outcomes, metrics);
            send_receipts(&mut batch, &mut outcomes, shards);
        }
        if let Some(message) = gatherer.costly.pop_front() {
            was_idle = false;
            metrics.pulse.advance();
            if gatherer.load(message, &mut batch).is_some() {
                metrics.pulse.advance();
                store(&mut *sink, &mut batch, &mut outcomes, metrics);
                send_receipts(&mut batch, &mut outcomes, shards);
            }
        }
        metrics.pulse.end();
        match (was_idle, has_ended) {
            (true, true) => break,
            (true, false) => consumer.sleep(None, || from.is_empty()),
            (false, _) => {}
        }
    }
}

/// Makes batches of what the shards hand over.
struct Gatherer<'a> {
    from: &'a Receiver<Box<Message>>,
    shards: &'a [Sender<Receipt>],
    report: &'a dyn Report,
    inline_bytes_max: u64,
    /// Messages that are stored alone, the longest waiting first. `len <= COSTLY_MESSAGES_MAX`
    costly: VecDeque<Box<Message>>,
}

impl Gatherer<'_> {
    /// Takes what waits, up to the bounds of a batch. True when nothing will come any more.
    fn fill(&mut self, batch: &mut Vec<Box<Message>>, sink: &dyn Sink) -> bool {
        let (mut sum, mut loaded) = (Cost::default(), 0);
        while batch.len() < BATCH_MESSAGES_MAX
            && sum.bytes < BATCH_BYTES_MAX
            && sum.files < BATCH_FILES_MAX
            && loaded < BATCH_LOADED_BYTES_MAX
            && self.costly.len() < COSTLY_MESSAGES_MAX
        {
            match self.from.take() {
                Waiting::Item(message) => {
                    let cost = sink.cost(&message);
                    if cost.bytes > BATCH_BYTES_MAX || cost.files > BATCH_FILES_MAX {
                        self.costly.push_back(message);
                        continue;
                    }
                    sum.bytes += cost.bytes;
                    sum.files += cost.files;
                    loaded += self.load(message, batch).unwrap_or_default();
                }
                Waiting::Nothing => return false,
                Waiting::Ended => return true,
            }
        }
        false
    }

    /// Puts a message into the batch; gives the octets that were read back for it. None when that failed: it
    /// was answered.
    fn load(&self, mut message: Box<Message>, batch: &mut Vec<Box<Message>>) -> Option<u64> {
        if message.data.bytes() > self.inline_bytes_max {
            batch.push(message);
            return Some(0);
        }
        // The sink reads it from memory. What was written out comes back for one batch at a time.
        match message.data.load() {
            Ok(count) => {
                batch.push(message);
                Some(count)
            }
            Err(error) => {
                self.report.machine_error("read mail data back into", Site::Named("memory"), &error);
                send(message, outcome_of(&error), self.shards);
                self.shards.iter().for_each(Sender::ring_if_parked);
                None
            }
        }
    }
}

/// Has a batch stored, and counts it.
fn store(
    sink: &mut dyn Sink,
    batch: &mut [Box<Message>],
    outcomes: &mut Vec<Outcome>,
    metrics: &SinkMetrics,
) {
    let began = Instant::now();
    // What others took before is not the sink's wait.
    let since =
        |message: &Message| message.progress.passed_at.or(message.log.times.map(|times| times.complete));
    let oldest = batch.iter().filter_map(|message| since(message)).min();
    metrics.begin_batch(oldest.unwrap_or(began), began);
    sink.store(batch, outcomes);
    let failures = outcomes.iter().filter(|outcome| **outcome != Outcome::Stored).count();
    metrics.end_batch(batch.len(), failures, began.elapsed());
    metrics.pulse.see(outcomes);
}

fn send_receipts(batch: &mut Vec<Box<Message>>, outcomes: &mut Vec<Outcome>, shards: &[Sender<Receipt>]) {
    assert_eq!(batch.len(), outcomes.len(), "a sink gives one outcome a message");
    for (message, outcome) in batch.drain(..).zip(outcomes.drain(..)) {
        send(message, outcome, shards);
    }
    for shard in shards {
        shard.ring_if_parked();
    }
}

fn send(mut message: Box<Message>, outcome: Outcome, shards: &[Sender<Receipt>]) {
    message.data.let_go();
    let shard = usize::from(message.origin.shard);
    shards[shard].answer(Receipt { message, outcome });
}

/// A panic of a thread that has it ends the process.
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::buffer::{MailData, Pool};
    use crate::handoff::message::{LogFacts, Origin, Progress};
    use crate::mail::client::ClientFacts;
    use crate::mail::envelope::Envelope;
    use crate::mail::queue_id::QueueId;
    use crate::metrics::Pulse;

    /// Remembers who was stored together, and where the pulse stood then. What a message costs stands in its
    /// name.
    #[derive(Default)]
    struct Batches {
        seen: Arc<Mutex<Vec<Vec<u128>>>>,
        steps: Arc<Mutex<Vec<u64>>>,
        pulse: Arc<Pulse>,
    }

    impl Sink for Batches {
        fn cost(&self, message: &Message) -> Cost {
            match message.id.0 / 1000 {
                0 => Cost { bytes: 1, files: 1 },
                1 => Cost { bytes: BATCH_BYTES_MAX + 1, files: 1 },
                2 => Cost { bytes: 1, files: BATCH_FILES_MAX + 1 },
                _ => Cost { bytes: BATCH_BYTES_MAX / 2, files: 1 },
            }
        }

        fn watched(&mut self, pulse: &Arc<Pulse>) {
            self.pulse = Arc::clone(pulse);
        }

        fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
            self.steps.lock().expect("no panic").push(self.pulse.steps());
            let names = batch.iter().map(|message| message.id.0).collect();
            self.seen.lock().expect("no panic").push(names);
            outcomes.extend(batch.iter().map(|_| Outcome::Stored));
        }
    }

    struct Silent;

    impl Report for Silent {
        fn machine_error(&self, _: &str, _: Site<'_>, _: &io::Error) {}
    }

    /// Hands these over before the worker begins, and gives its batches.
    fn batches(names: &[u128]) -> Vec<Vec<u128>> {
        batches_and_steps(names).0
    }

    /// The same, and where the pulse stood at each of them.
    fn batches_and_steps(names: &[u128]) -> (Vec<Vec<u128>>, Vec<u64>) {
        let (worker, shard) = [(); 2].map(|()| Consumer::new().expect("an eventfd")).into();
        let (to_sink, from) = worker.channel(1024);
        let (to_shard, home) = shard.channel(1024);
        let pool = Pool::new(1, 4096, 0).expect("memory");
        for name in names {
            let message = Message {
                id: QueueId(*name),
                origin: Origin { shard: 0, connection: 0 },
                envelope: Box::new(Envelope::default()),
                client: ClientFacts::unknown(),
                received_at: std::time::UNIX_EPOCH,
                received: Vec::new(),
                authentication: crate::mail::authentication::Authentication::default(),
                data: MailData::new(Arc::clone(pool.arena())),
                place: String::new(),
                log: LogFacts::default(),
                progress: Progress::default(),
            };
            assert!(to_sink.try_send(Box::new(message)).is_ok());
        }
        drop(to_sink);
        let sink = Batches::default();
        let (seen, steps) = (Arc::clone(&sink.seen), Arc::clone(&sink.steps));
        run(Box::new(sink), &worker, &from, &[to_shard], &Silent, &SinkMetrics::default());
        assert_eq!(std::iter::from_fn(|| home.next()).count(), names.len(), "each has its receipt");
        (seen.lock().expect("no panic").clone(), steps.lock().expect("no panic").clone())
    }

    /// Else a slow disk that does go on would be told as one that hangs.
    #[test]
    fn a_batch_and_the_costly_message_after_it_are_two_steps_of_the_pulse() {
        let (batches, steps) = batches_and_steps(&[1, 1000]);
        assert_eq!(batches, [vec![1], vec![1000]]);
        assert!(
            matches!(*steps, [first, second] if first < second && first % 2 == 1 && second % 2 == 1),
            "{steps:?}"
        );
    }

    #[test]
    fn what_costs_more_than_a_batch_is_stored_alone_and_others_go_first() {
        assert_eq!(
            batches(&[1000, 2000, 1, 1001, 2]),
            [vec![1, 2], vec![1000], vec![2000], vec![1001]],
            "each of them once, in their order"
        );
        let many: Vec<u128> = (1000..1003).chain(1..600).collect();
        let sizes: Vec<usize> = batches(&many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [BATCH_MESSAGES_MAX, 1, BATCH_MESSAGES_MAX, 1, 599 - 2 * BATCH_MESSAGES_MAX, 1]);
    }

    #[test]
    fn a_batch_is_bounded_in_what_is_written() {
        assert_eq!(batches(&[3000, 3001, 3002, 1]), [vec![3000, 3001], vec![3002, 1]]);
    }

    #[test]
    fn costly_messages_are_held_up_to_a_bound() {
        let many: Vec<u128> =
            (0..COSTLY_MESSAGES_MAX as u128 + 5).map(|number| 1000 + number % 1000).collect();
        assert_eq!(batches(&many).concat(), many);
    }
}
