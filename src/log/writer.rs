//! The thread that writes the log.

use std::io::{ErrorKind, Write};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver as Ended, RecvTimeoutError, Sender as GiveBack, bounded};

use super::events;
use super::lane::{Chunk, Dropped, lines_of};
use super::level::Form;
use super::output::Output;
use super::recent::Recent;
use super::record::Record;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};

/// The writing thread. It ends when every [`Log`](super::Log) has gone, or when it is told to by
/// [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    tell: Sender<Told>,
    /// Nothing is sent here; it is closed when the thread ends.
    ended: Ended<()>,
}

/// What the thread is told besides lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To write what was handed over, and to end.
    Finish,
    /// To open its file again.
    Reopen,
}

impl Writer {
    /// Waits until everything that was handed over is written, but not longer than `within`. False when
    /// standard error did not take all of it. Others may still hold a [`Log`](super::Log); what they say from
    /// now on is lost.
    pub fn finish(self, within: Duration) -> bool {
        // Where it cannot be sent, the thread has ended or was told before.
        let _ = self.tell.send_and_ring(Told::Finish);
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
    pub(super) main: Receiver<Chunk>,
    pub(super) main_dropped: Dropped,
    pub(super) sessions: Receiver<Chunk>,
    pub(super) sessions_dropped: Dropped,
    /// Chunks that were written go back to be used again.
    pub(super) give_back: GiveBack<Chunk>,
    pub(super) tell: Sender<Told>,
    pub(super) told: Receiver<Told>,
    pub(super) form: Form,
    pub(super) output: Output,
    /// The last write ended within a line.
    pub(super) is_in_a_line: bool,
    pub(super) recent: Recent,
}

impl WriterLoop {
    /// Begins the thread.
    pub(super) fn start(self) -> std::io::Result<Writer> {
        let tell = self.tell.clone();
        let (alive, ended) = bounded::<()>(0);
        let run = move || {
            self.run();
            drop(alive);
        };
        let thread = std::thread::Builder::new().name("log".into()).spawn(run)?;
        Ok(Writer { thread, tell, ended })
    }

    fn run(mut self) {
        let mut is_finishing = false;
        loop {
            // Asked first: whoever finishes has handed over all that it had to say before.
            match self.told.next() {
                Some(Told::Finish) => is_finishing = true,
                Some(Told::Reopen) => self.reopen(),
                None => {}
            }
            // A session's line is written only when nothing else waits.
            let (next, dropped) = match self.main.take() {
                Waiting::Item(chunk) => (Waiting::Item(chunk), self.main_dropped.clone()),
                Waiting::Nothing | Waiting::Ended => (self.sessions.take(), self.sessions_dropped.clone()),
            };
            match next {
                Waiting::Item(chunk) => self.write(chunk, &dropped),
                // A [`Log`](super::Log) lets go of both lanes, of this one last.
                Waiting::Ended if self.main.is_empty() => return,
                Waiting::Nothing if is_finishing => return,
                Waiting::Nothing | Waiting::Ended => self
                    .consumer
                    .sleep(None, || self.main.is_empty() && self.sessions.is_empty() && self.told.is_empty()),
            }
        }
    }

    /// Writes a chunk; its lines count as `dropped` where that fails.
    fn write(&mut self, mut chunk: Chunk, dropped: &Dropped) {
        chunk.notable.drain(..).for_each(|event| self.recent.push(event));
        self.tell_dropped();
        // Nobody is left to tell that standard error is broken; mail goes on. What failed is said when it can
        // be written again: the log is a file on a disk that was full, or larger than a file may be.
        if let Err(written) = self.write_whole_lines(&chunk.octets) {
            dropped.lose(lines_of(chunk.octets.get(written..).unwrap_or_default()));
        }
        chunk.clear();
        let _ = self.give_back.try_send(chunk);
    }

    /// Says how many lines were lost, of sessions and of all else.
    pub(super) fn tell_dropped(&mut self) {
        let (lines, sessions) = (self.main_dropped.take(), self.sessions_dropped.take());
        if lines == 0 && sessions == 0 {
            return;
        }
        let mut told = Chunk::default();
        Record::begin(self.form, &mut told, &events::DROPPED, SystemTime::now())
            .number("lines", lines)
            .number("session_lines", sessions)
            .end();
        if self.write_whole_lines(&told.octets).is_err() {
            self.main_dropped.put_back(lines);
            self.sessions_dropped.put_back(sessions);
            return;
        }
        told.notable.drain(..).for_each(|event| self.recent.push(event));
    }

    /// Writes lines. Where that fails it tells how many octets were written before; what is written next
    /// begins on a line of its own.
    fn write_whole_lines(&mut self, lines: &[u8]) -> Result<(), usize> {
        if self.is_in_a_line {
            self.output.write_all(b"\n").map_err(|_| 0_usize)?;
            self.is_in_a_line = false;
        }
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    let last = lines.get(..written).and_then(<[u8]>::last);
                    self.is_in_a_line = last.is_some_and(|octet| *octet != b'\n');
                    return Err(written);
                }
            }
        }
        Ok(())
    }

    /// Opens the log's file again. Where that fails the old one stays, and is told so.
    fn reopen(&mut self) {
        let Err(error) = self.output.reopen() else {
            self.is_in_a_line = false;
            return;
        };
        let path = self.output.path().map(|path| path.as_os_str().as_encoded_bytes().to_owned());
        let mut told = Chunk::default();
        Record::begin(self.form, &mut told, &events::ERROR, SystemTime::now())
            .text("text", b"the log goes on in the file that was open")
            .text("tried", b"open")
            .text("path", &path.unwrap_or_default())
            .text("error", error.to_string().as_bytes())
            .end();
        told.notable.drain(..).for_each(|event| self.recent.push(event));
        let _ = self.write_whole_lines(&told.octets);
    }
}
