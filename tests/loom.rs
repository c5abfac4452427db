//! Tries the interleavings of a consumer that goes to sleep and of producers that send
//! (`src/handoff/channel.rs` itself, compiled here against loom): nobody sleeps while something is there for
//! it, and no more bells are rung than needed.
//!
//! The queue below promises less than the product's: looking into it synchronises nothing, so that only the
//! channel's own fences can make a producer and a consumer see each other. A consumer that sleeps through an
//! item would sleep for ever, and loom says so.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as the doorbell of the product is called")]
mod doorbell {
    use std::os::fd::RawFd;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    /// A bell that counts.
    #[derive(Debug)]
    pub(super) struct Doorbell {
        rings: Mutex<(usize, bool)>,
        rung: Condvar,
    }

    impl Doorbell {
        pub(super) fn new() -> std::io::Result<Self> {
            Ok(Self { rings: Mutex::new((0, false)), rung: Condvar::new() })
        }

        pub(super) fn descriptor(&self) -> RawFd {
            -1
        }

        pub(super) fn ring(&self) {
            let mut rings = self.rings.lock().expect("no panic");
            rings.0 += 1;
            rings.1 = true;
            self.rung.notify_one();
        }

        pub(super) fn sleep(&self, _: Option<Duration>) {
            let mut rings = self.rings.lock().expect("no panic");
            while !rings.1 {
                rings = self.rung.wait(rings).expect("no panic");
            }
            rings.1 = false;
        }

        pub(super) fn rings(&self) -> usize {
            self.rings.lock().expect("no panic").0
        }
    }
}

mod queue {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use loom::sync::Mutex;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug)]
    struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        /// What is looked at; relaxed, so that it orders nothing.
        count: AtomicUsize,
        senders: AtomicUsize,
        capacity: usize,
    }

    #[derive(Debug)]
    pub(super) struct Sender<T>(Arc<Queue<T>>);

    #[derive(Debug)]
    pub(super) struct Receiver<T>(Arc<Queue<T>>);

    pub(super) enum TrySendError<T> {
        Full(T),
        #[expect(dead_code, reason = "no model drops its receiver first")]
        Disconnected(T),
    }

    pub(super) enum TryRecvError {
        Empty,
        Disconnected,
    }

    pub(super) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Queue {
            items: Mutex::new(VecDeque::new()),
            count: AtomicUsize::new(0),
            senders: AtomicUsize::new(1),
            capacity,
        });
        (Sender(Arc::clone(&queue)), Receiver(queue))
    }

    impl<T> Sender<T> {
        pub(super) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
            let mut items = self.0.items.lock().expect("no panic");
            if items.len() == self.0.capacity {
                return Err(TrySendError::Full(item));
            }
            items.push_back(item);
            drop(items);
            self.0.count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(super) fn len(&self) -> usize {
            self.0.count.load(Ordering::Relaxed)
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            self.0.senders.fetch_add(1, Ordering::Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.senders.fetch_sub(1, Ordering::Release);
        }
    }

    impl<T> Receiver<T> {
        pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
            // Asked first: what was sent before the last sender went is there.
            let senders = self.0.senders.load(Ordering::Acquire);
            if self.is_empty() {
                return Err(if senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty });
            }
            let item = self.0.items.lock().expect("no panic").pop_front().expect("it was counted");
            self.0.count.fetch_sub(1, Ordering::Relaxed);
            Ok(item)
        }

        pub(super) fn is_empty(&self) -> bool {
            self.0.count.load(Ordering::Relaxed) == 0
        }
    }
}

#[path = "../src/handoff/channel.rs"]
#[expect(dead_code, reason = "the models use a part of it")]
mod channel;

use channel::{Consumer, Waiting};

/// With more than two threads, or a loop, there would be too many courses: a thread is interrupted at most
/// three times there where it need not be, or as often as `LOOM_MAX_PREEMPTIONS` says.
fn bounded_model(course: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(3));
    model.check(course);
}

/// One or two producers with one look of the consumer before it sleeps.
fn nobody_sleeps_through_an_item(producers: usize) {
    let course = move || {
        let consumer = Consumer::new().expect("memory");
        let (sender, receiver) = consumer.channel(producers);
        let threads: Vec<_> = (0..producers)
            .map(|number| {
                let sender = sender.clone();
                loom::thread::spawn(move || {
                    if sender.try_send(number).expect("there is room").is_some() {
                        sender.ring();
                    }
                    // It is kept, because its end would ring.
                    sender
                })
            })
            .collect();
        let sleeps = consumer.park(|| receiver.is_empty());
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a producer")).collect();
        let rings = consumer.bell().rings();
        assert!(rings <= 1, "{rings} rings");
        assert!(!sleeps || rings == 1, "asleep with {producers} items and {rings} rings");
        drop(kept);
    };
    if producers == 1 { loom::model(course) } else { bounded_model(course) }
}

#[test]
fn one_producer_wakes_the_consumer() {
    nobody_sleeps_through_an_item(1);
}

#[test]
fn of_two_producers_one_rings() {
    nobody_sleeps_through_an_item(2);
}

/// A worker's loop takes from its channel until the producer, which sends and goes, has gone. Were it to
/// sleep too long, loom would tell of a deadlock.
#[test]
fn a_worker_takes_everything_and_ends() {
    bounded_model(|| {
        let consumer = Consumer::new().expect("memory");
        let (sender, receiver) = consumer.channel(1);
        let producer = loom::thread::spawn(move || sender.send_and_ring(()).expect("there is room"));
        let mut taken = 0;
        loop {
            match receiver.take() {
                Waiting::Item(()) => taken += 1,
                Waiting::Nothing => consumer.sleep(None, || receiver.is_empty()),
                Waiting::Ended => break,
            }
        }
        assert_eq!(taken, 1);
        producer.join().expect("the producer");
    });
}

/// A shard's inbox: two channels of one consumer, each with a producer of its own. It parks once; of the
/// producers at most one has to ring, and one does if the consumer went to sleep over an item.
#[test]
fn of_two_channels_one_rings() {
    bounded_model(|| {
        let consumer = Consumer::new().expect("memory");
        let (first, received) = consumer.channel(1);
        let (second, received_too) = consumer.channel(1);
        let producers = [first, second].map(|sender| {
            loom::thread::spawn(move || {
                if sender.try_send(()).expect("there is room").is_some() {
                    sender.ring();
                }
                // It is kept, because its end would ring.
                sender
            })
        });
        let sleeps = consumer.park(|| received.is_empty() && received_too.is_empty());
        let senders = producers.map(|producer| producer.join().expect("a producer"));
        let rings = consumer.bell().rings();
        assert!(rings <= 1, "{rings} rings");
        assert!(!sleeps || rings == 1, "asleep with two items and {rings} rings");
        drop(senders);
    });
}
