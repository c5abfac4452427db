//! How the main thread writes entries into the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::entry::Entry;
use super::line::{write_begun, write_ended, write_run};
use super::notes::Basket;
use crate::corpus::Corpus;
use crate::corpus::fingerprints::Fingerprints;
use crate::corpus::id::Id;

/// How often the main thread takes entries and writes them: what a killed loadgen may at most have left
/// unwritten.
pub const WRITE_PERIOD: Duration = Duration::from_millis(20);

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
        let fingerprints = Fingerprints::new(corpus);
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
            basket.swap(&mut self.taken);
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
            let cut = fingerprints.cut_of(corpus, number);
            let text = fingerprints.of(corpus, number);
            write_begun(lines, id(number), recipients, &text, cut.as_ref())
        }
        Entry::Ended { number, ending, recipients } => write_ended(lines, id(number), recipients, ending),
    }
}
