//! Threads of one kind, which end together and are waited for together, for a bounded time.
//!
//! The standard library waits for a thread without a bound. A thread that waits in a system call for a disk
//! that does not answer would keep the whole process.

use std::convert::Infallible;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Threads that were started and not yet waited for.
#[derive(Debug)]
pub struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Each thread holds one of these while it runs; nothing is ever sent.
    alive: Sender<Infallible>,
    ended: Receiver<Infallible>,
}

/// How much less urgent than shards and workers the threads are that only prepare something (nice(2)).
const NICE: i32 = 10;

/// This thread only prepares something: where cores are scarce it leaves them to those that clients wait for.
pub fn give_way() {
    // Without the right to it, as under some filters of system calls, it is as urgent as the others.
    let _ = rustix::process::setpriority_process(None, NICE);
}

impl Threads {
    /// None yet.
    pub fn new() -> Self {
        let (alive, ended) = bounded(0);
        Self { handles: Vec::new(), alive, ended }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Starts one more.
    pub fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let alive = self.alive.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _alive = alive;
            run();
        })?;
        self.handles.push(thread);
        Ok(())
    }

    /// Waits until all have ended, but not longer than `within`. Gives the names of those that go on; they
    /// are left alone.
    pub fn join(self, within: Duration) -> Vec<String> {
        self.join_and_tell(within, Duration::MAX, || {})
    }

    /// The same; each time that so much time has passed, this is called.
    pub fn join_and_tell(self, within: Duration, every: Duration, mut tell: impl FnMut()) -> Vec<String> {
        let Self { handles, alive, ended } = self;
        drop(alive);
        let mut left = within;
        let all_ended = loop {
            let wait = left.min(every);
            match ended.recv_timeout(wait) {
                Err(RecvTimeoutError::Disconnected) => break true,
                // Nothing is ever sent.
                Err(RecvTimeoutError::Timeout) | Ok(_) => left -= wait,
            }
            if left.is_zero() {
                break false;
            }
            tell();
        };
        let (done, left): (Vec<_>, Vec<_>) =
            handles.into_iter().partition(|thread| all_ended || thread.is_finished());
        for thread in done {
            // It told by itself what it had to tell, and a panic is told by the hook.
            let _ = thread.join();
        }
        left.iter().map(|thread| thread.thread().name().unwrap_or("a thread").to_owned()).collect()
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_goes_on_is_named_and_left_alone() {
        let mut threads = Threads::new();
        let (hold, held) = bounded::<()>(0);
        threads.start("short".to_owned(), || {}).expect("a thread");
        threads.start("long".to_owned(), move || assert!(held.recv().is_err())).expect("a thread");
        assert_eq!(threads.count(), 2);
        // The short one has all the time it needs: only the long one can be missing at the end of it.
        let (mut told, each) = (0, Duration::from_millis(100));
        assert_eq!(threads.join_and_tell(5 * each, each, || told += 1), ["long"]);
        assert_eq!(told, 4, "and then it is over");
        drop(hold);
    }

    #[test]
    fn threads_that_end_are_not_waited_for_longer() {
        let mut threads = Threads::new();
        threads.start("panics".to_owned(), || std::panic::resume_unwind(Box::new(()))).expect("a thread");
        threads.start("ends".to_owned(), || {}).expect("a thread");
        assert_eq!(threads.join(Duration::from_hours(1)), Vec::<String>::new());
        assert_eq!(Threads::new().join(Duration::from_hours(1)), Vec::<String>::new());
    }
}
