//! Tries the interleavings of a receiver that says how far its log is durable and of readers that read that
//! and go to sleep (`src/sink/spool/horizon/page.rs` itself, compiled here against loom): nobody reads a part
//! of what is said, and nobody sleeps while there is something that he has not read.
//!
//! The futex below is as the kernel's: the word is compared, and whoever sleeps is put among those who are
//! woken, under one lock. A reader that sleeps through a change would sleep for ever, and loom says so.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    /// Whoever writes goes on.
    pub(super) use loom::thread::yield_now as spin_loop;
}

#[path = "../src/sink/spool/horizon/page.rs"]
#[expect(dead_code, reason = "the models use a part of it")]
mod page;

use loom::sync::atomic::Ordering;
use loom::sync::{Arc, Condvar, Mutex};

use page::{DurableEnd, Page};

/// A page, and the kernel's queue of those who sleep on its word.
struct Shared {
    page: Page,
    sleepers: Mutex<()>,
    woken: Condvar,
}

impl Shared {
    fn new() -> Arc<Self> {
        let shared = Self { page: Page::default(), sleepers: Mutex::new(()), woken: Condvar::new() };
        shared.page.begin(1);
        Arc::new(shared)
    }

    fn publish(&self, number: u64) {
        if self.page.publish(said(number)) {
            let sleepers = self.sleepers.lock().expect("no panic");
            self.woken.notify_all();
            drop(sleepers);
        }
    }

    /// Sleeps until something is said.
    fn wait(&self) {
        self.wait_for(1);
    }

    /// Sleeps until so much is said.
    fn wait_for(&self, number: u64) {
        loop {
            if let Some((end, seen)) = self.page.read() {
                assert_eq!(end, said(end.sequence), "a part of what was said");
                if end.sequence >= number {
                    return;
                }
                if self.page.may_sleep(seen) {
                    let sleepers = self.sleepers.lock().expect("no panic");
                    if self.page.bell().load(Ordering::Relaxed) == seen {
                        drop(self.woken.wait(sleepers).expect("no panic"));
                    }
                }
            }
            loom::thread::yield_now();
        }
    }
}

/// Of which no part is that of another one.
fn said(number: u64) -> DurableEnd {
    DurableEnd { sequence: number, salt: number * 3, end: number * 7 }
}

/// A thread is interrupted at most three times there where it need not be, or as often as
/// `LOOM_MAX_PREEMPTIONS` says.
fn bounded_model(course: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(3));
    model.check(course);
}

#[test]
fn a_reader_reads_nothing_in_part() {
    bounded_model(|| {
        let shared = Shared::new();
        shared.page.publish(said(1));
        let reader = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.page.read().map(|(end, _)| end))
        };
        shared.page.publish(said(2));
        if let Some(end) = reader.join().expect("the reader") {
            assert_eq!(end, said(end.sequence), "a part of what was said");
        }
        assert_eq!(shared.page.read().map(|(end, _)| end), Some(said(2)));
    });
}

#[test]
fn a_reader_wakes() {
    bounded_model(|| {
        let shared = Shared::new();
        let reader = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.wait())
        };
        shared.publish(1);
        reader.join().expect("the reader");
    });
}

/// Also from the sleep into which it goes while the change before is still being told.
#[test]
fn a_reader_wakes_at_the_second_of_two_changes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(2));
    model.check(|| {
        let shared = Shared::new();
        // A reader has said that it sleeps, so that the first change finds it.
        assert!(shared.page.may_sleep(0));
        let reader = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.wait_for(2))
        };
        shared.publish(1);
        shared.publish(2);
        reader.join().expect("the reader");
    });
}

#[test]
fn of_two_readers_none_sleeps_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(1));
    model.check(|| {
        let shared = Shared::new();
        let reader = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.wait())
        };
        let another = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.publish(1))
        };
        shared.wait();
        reader.join().expect("a reader");
        another.join().expect("the writer");
    });
}

/// Whoever publishes does so for nobody where nobody sleeps.
#[test]
fn nobody_is_woken_who_does_not_sleep() {
    loom::model(|| {
        let page = Page::default();
        page.begin(1);
        assert!(!page.publish(said(1)));
        let (_, seen) = page.read().expect("nobody writes");
        assert!(page.may_sleep(seen));
        assert!(page.publish(said(2)), "one sleeps");
        assert!(!page.publish(said(3)), "and was woken");
        assert!(!page.may_sleep(seen), "too late to sleep");
    });
}
