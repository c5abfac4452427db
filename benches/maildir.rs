//! The maildir sink on a real file system: messages a second for both kinds of sync, one mailbox against
//! fifty.
//!
//! `RINGMX_BENCH_DIR=/mnt/image cargo bench --bench maildir` measures there; without it, in the temporary
//! directory. The figures mean something only on a journaled file system whose disk is not cached (loop
//! device with direct I/O).
#![allow(missing_docs, reason = "a program")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::{self, LineEndings, MaildirSync, SinkKind};
use ringmx::handoff::message::Message;
use ringmx::mail::outcome::Outcome;
use ringmx::sink::{self, Sink};

use support::sink::{Reports, Sent, surroundings};

/// As many as wait for a worker when fifty clients send without pipelining.
const BATCH_MESSAGES: usize = 50;

const DATA_BYTES: usize = 4096;

/// Of each run; the first is not counted.
const RUNS: usize = 6;

const RUN_TIME: Duration = Duration::from_millis(1500);

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let (runs, time) = if is_test { (2, Duration::ZERO) } else { (RUNS, RUN_TIME) };
    let directory = std::env::var_os("RINGMX_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{}: batches of {BATCH_MESSAGES}, {DATA_BYTES} octets; median (lowest to highest)",
        directory.display()
    );
    for (name, sync) in [("each", MaildirSync::Each), ("batch", MaildirSync::Batch)] {
        for mailboxes in mailbox_counts() {
            let store = tempfile::tempdir_in(&directory).expect("a directory");
            let mut sink = match open(store.path(), sync) {
                Ok(sink) => sink,
                Err(why) => {
                    println!("{name:>5} SKIPPED: {why}");
                    break;
                }
            };
            let mut rates: Vec<f64> = (0..runs).map(|_| rate(&mut *sink, mailboxes, time)).skip(1).collect();
            rates.sort_by(f64::total_cmp);
            println!(
                "{name:>5} {mailboxes:>3} mailboxes: {:>6.0} messages/s ({:.0} to {:.0})",
                rates[rates.len() / 2],
                rates[0],
                rates[rates.len() - 1]
            );
        }
    }
}

/// 1 and 50, or those of `RINGMX_BENCH_MAILBOXES`.
fn mailbox_counts() -> Vec<usize> {
    let counts = std::env::var("RINGMX_BENCH_MAILBOXES").unwrap_or_else(|_| "1,50".to_owned());
    counts.split(',').map(|count| count.parse().expect("a number of mailboxes")).collect()
}

fn open(path: &Path, sync: MaildirSync) -> Result<Box<dyn Sink>, String> {
    let kind = SinkKind::Maildir(config::Maildir {
        path: path.to_owned(),
        template: "{local}".to_owned(),
        create: true,
        line_endings: LineEndings::Lf,
        quarantine: config::Quarantine::Inbox,
        sync: Some(sync),
        mode: None,
        group: None,
    });
    let config = config::Sink {
        kind,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let opened =
        sink::open(&config, &surroundings(&Arc::<Reports>::default())).map_err(|error| error.to_string())?;
    let worker = opened.workers.into_iter().next().ok_or("no worker")?;
    worker().map_err(|error| error.to_string())
}

/// Messages a second over whole batches for at least this time.
fn rate(sink: &mut dyn Sink, mailboxes: usize, time: Duration) -> f64 {
    let data =
        b"a line of text as it might stand in any mail of the world, sixty-four\r\n".repeat(DATA_BYTES / 71);
    let mut batch: Vec<Box<Message>> = (0..BATCH_MESSAGES)
        .map(|index| Sent::new(0, data.clone()).to(&[&format!("user{}", index % mailboxes)]).message())
        .collect();
    let mut outcomes = Vec::new();
    let (mut stored, start) = (0_usize, Instant::now());
    loop {
        sink.store(&mut batch, &mut outcomes);
        assert_eq!(outcomes, [Outcome::Stored; BATCH_MESSAGES]);
        outcomes.clear();
        stored += BATCH_MESSAGES;
        if start.elapsed() >= time {
            return stored as f64 / start.elapsed().as_secs_f64();
        }
    }
}
