//! How entries come from the load threads into the file. A load thread never waits for it: it keeps its entries, and
//! once a turn puts them where the main thread takes them from, if that is free just then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::corpus::{Corpus, Fingerprints};

use super::{Entry, Id, write_begun, write_ended, write_run};

/// How often the main thread takes entries and writes them: what a killed loadgen may at most have left unwritten.
pub const PERIOD: Duration = Duration::from_millis(20);

/// Entries of one thread that may wait to be written, and again as many that wait to be handed over. Only a file that takes
/// nothing for seconds lets it come to that; further entries are dropped, counted, and the run has no result.
const WAITING_MAX: usize = 1 << 20;

/// Where one load thread puts its entries for the main thread.
#[derive(Debug, Clone, Default)]
pub struct Basket(Arc<Mutex<Vec<Entry>>>);

#[cfg(test)]
impl Basket {
    /// What is in it.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().expect("lock").clone()
    }
}

/// A load thread's side. Without a basket nothing is kept.
#[derive(Debug, Default)]
pub struct Notes {
    basket: Option<Basket>,
    /// Entries not yet in the basket. `kept.len() <= WAITING_MAX`
    kept: Vec<Entry>,
    dropped: u64,
}

impl Notes {
    /// Notes that go into this basket, if there is a ledger.
    pub fn new(basket: Option<Basket>) -> Self {
        Self { basket, ..Self::default() }
    }

    /// Keeps an entry.
    pub fn add(&mut self, entry: Entry) {
        if self.basket.is_none() {
            return;
        }
        if self.kept.len() < WAITING_MAX {
            self.kept.push(entry);
        } else {
            self.dropped += 1;
        }
    }

    /// Puts what is kept into the basket, unless the main thread has its hand in it.
    pub fn hand_over(&mut self) {
        if let Some(Ok(mut basket)) = self.basket.as_ref().map(|basket| basket.0.try_lock())
            && basket.len() + self.kept.len() <= WAITING_MAX
        {
            basket.append(&mut self.kept);
        }
    }

    /// At the end of the run: puts everything into the basket, and gives how many entries were dropped.
    pub fn end(&mut self) -> u64 {
        if let Some(basket) = &self.basket {
            basket.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.kept);
        }
        self.dropped
    }
}

/// The main thread's side: the file.
#[derive(Debug)]
pub struct Writer {
    file: File,
    corpus: &'static Corpus,
    /// Recipients of a message.
    recipients: usize,
    fingerprints: Fingerprints,
    baskets: Vec<Basket>,
    taken: Vec<Entry>,
    lines: String,
}

impl Writer {
    /// Appends a run to the file, which was opened to be read and appended to. `threads` load threads will
    /// have baskets.
    pub fn new(
        mut file: File,
        corpus: &'static Corpus,
        recipients: usize,
        threads: usize,
    ) -> io::Result<Self> {
        let mut lines = String::new();
        // The run before may have been killed within a line.
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                lines.push('\n');
            }
        }
        let _ = write_run(&mut lines, corpus.run());
        file.write_all(lines.as_bytes())?;
        let baskets = std::iter::repeat_with(Basket::default).take(threads).collect();
        let fingerprints = corpus.fingerprints();
        Ok(Self { file, corpus, recipients, fingerprints, baskets, taken: Vec::new(), lines })
    }

    /// The basket of a thread.
    pub fn basket(&self, thread: usize) -> Option<Basket> {
        self.baskets.get(thread).cloned()
    }

    /// Writes what the baskets hold. A thread's entries keep their order.
    pub fn write(&mut self) -> io::Result<()> {
        /// Octets of a write.
        const LINES_BYTES: usize = 1 << 16;
        for basket in &self.baskets {
            std::mem::swap(&mut *basket.0.lock().unwrap_or_else(PoisonError::into_inner), &mut self.taken);
            for entries in self.taken.chunks(LINES_BYTES / 128) {
                self.lines.clear();
                for entry in entries {
                    let _ = write_entry(
                        &mut self.lines,
                        entry,
                        (self.corpus, self.recipients),
                        &self.fingerprints,
                    );
                }
                self.file.write_all(self.lines.as_bytes())?;
            }
            self.taken.clear();
        }
        Ok(())
    }
}

fn write_entry(
    lines: &mut String,
    entry: &Entry,
    (corpus, recipients): (&Corpus, usize),
    fingerprints: &Fingerprints,
) -> std::fmt::Result {
    let id = |number| Id { run: corpus.run(), number };
    match *entry {
        Entry::Begun { number } => {
            let text = fingerprints.of(corpus, number);
            write_begun(lines, id(number), recipients, &text)
        }
        Entry::Ended { number, ending, recipients } => write_ended(lines, id(number), recipients, ending),
    }
}
