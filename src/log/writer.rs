//! The thread that writes the log.

use std::io::Write;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver as Ended, RecvTimeoutError, Sender as GiveBack, bounded};

use super::lane::Dropped;
use super::record::Record;
use crate::config::LogFormat;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};

/// The writing thread. It ends when every [`Log`](super::Log) has gone, or when it is told to by
/// [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    finish: Sender<()>,
    /// Nothing is sent here; it is closed when the thread ends.
    ended: Ended<()>,
}

impl Writer {
    /// Waits until everything that was handed over is written, but not longer than `within`. False when
    /// standard error did not take all of it. Others may still hold a [`Log`](super::Log); what they say from
    /// now on is lost.
    pub fn finish(self, within: Duration) -> bool {
        // Where it cannot be sent, the thread has ended or was told before.
        let _ = self.finish.send_and_ring(());
        if self.ended.recv_timeout(within) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        // Its only panic would be a bug; there is nobody left to tell.
        let _ = self.thread.join();
        true
    }
}

/// What the thread works on.
pub(super) struct WriterLoop {
    pub(super) consumer: Consumer,
    /// Mail, errors, what the program says of itself.
    pub(super) main: Receiver<Vec<u8>>,
    pub(super) main_dropped: Dropped,
    pub(super) sessions: Receiver<Vec<u8>>,
    pub(super) sessions_dropped: Dropped,
    /// Chunks that were written go back to be used again.
    pub(super) give_back: GiveBack<Vec<u8>>,
    pub(super) format: LogFormat,
}

impl WriterLoop {
    /// Begins the thread.
    pub(super) fn start(self) -> std::io::Result<Writer> {
        let (finish, finishing) = self.consumer.channel(1);
        let (alive, ended) = bounded::<()>(0);
        let run = move || {
            self.run(&finishing);
            drop(alive);
        };
        let thread = std::thread::Builder::new().name("log".into()).spawn(run)?;
        Ok(Writer { thread, finish, ended })
    }

    fn run(self, finishing: &Receiver<()>) {
        let mut is_finishing = false;
        loop {
            // Asked first: whoever finishes has handed over all that it had to say before.
            is_finishing |= finishing.take() == Waiting::Item(());
            // A session's line is written only when nothing else waits.
            let (next, dropped) = match self.main.take() {
                Waiting::Item(chunk) => (Waiting::Item(chunk), &self.main_dropped),
                Waiting::Nothing | Waiting::Ended => (self.sessions.take(), &self.sessions_dropped),
            };
            match next {
                Waiting::Item(chunk) => self.write(chunk, dropped),
                // A [`Log`](super::Log) lets go of both lanes, of this one last.
                Waiting::Ended if self.main.is_empty() => return,
                Waiting::Nothing if is_finishing => return,
                Waiting::Nothing | Waiting::Ended => self
                    .consumer
                    .sleep(None, || self.main.is_empty() && self.sessions.is_empty() && finishing.is_empty()),
            }
        }
    }

    /// Writes a chunk; its lines count as `dropped` where that fails.
    fn write(&self, mut chunk: Vec<u8>, dropped: &Dropped) {
        // Nobody is left to tell that standard error is broken; mail goes on.
        let mut out = std::io::stderr();
        self.tell_dropped(&mut out);
        if out.write_all(&chunk).is_err() {
            // Said when it can be written again: the log is a file on a disk that was full, or larger than a
            // file may be.
            dropped.count(&chunk);
        }
        chunk.clear();
        let _ = self.give_back.try_send(chunk);
    }

    /// Says how many lines were lost, of sessions and of all else.
    pub(super) fn tell_dropped(&self, out: &mut impl Write) {
        let (lines, sessions) = (self.main_dropped.take(), self.sessions_dropped.take());
        if lines == 0 && sessions == 0 {
            return;
        }
        let mut told = Vec::new();
        Record::begin(self.format, &mut told, "dropped", SystemTime::now())
            .number("lines", lines)
            .number("session_lines", sessions)
            .end();
        if out.write_all(&told).is_err() {
            self.main_dropped.put_back(lines);
            self.sessions_dropped.put_back(sessions);
        }
    }
}
