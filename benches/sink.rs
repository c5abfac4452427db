//! Every sink through the trait `Sink`, in batches of 1, 8, 64 and 256 messages of 4 KiB.
//!
//! `RINGMX_BENCH_DIR=/mnt/image cargo bench --bench sink` puts the stores there; without it, into the
//! temporary directory. `discard` is what the measure itself costs. Nothing here waits in a channel: a batch
//! is there at once.
#![allow(missing_docs, reason = "a program")]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::config::{self, LineEndings, SinkKind, StdoutFormat};
use ringmx::handoff::message::Message;
use ringmx::mail::outcome::Outcome;
use ringmx::sink::discard::Discard;
use ringmx::sink::stdout::Stdout;
use ringmx::sink::{self, Sink};

use support::sink::{Reports, Sent, surroundings};

const DATA_BYTES: usize = 4096;

/// As by default. The next one is made ahead while these are measured, as it is beside a receiver.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Opens a sink in a directory.
type Make = fn(&Path) -> Box<dyn Sink>;

const SINKS: [(&str, Make); 5] = [
    ("discard", |_| Box::new(Discard)),
    ("stdout json to /dev/null", |_| stdout(StdoutFormat::Json)),
    ("stdout mbox to /dev/null", |_| stdout(StdoutFormat::Mbox)),
    ("spool", |path| {
        opened(SinkKind::Spool(config::Spool {
            path: path.to_owned(),
            segment_bytes: SEGMENT_BYTES,
            direct_writes: true,
        }))
    }),
    ("maildir", |path| {
        opened(SinkKind::Maildir(config::Maildir {
            path: path.to_owned(),
            template: String::new(),
            create: true,
            line_endings: LineEndings::Lf,
            quarantine: config::Quarantine::Inbox,
            sync: None,
            mode: None,
            group: None,
        }))
    }),
];

fn stdout(format: StdoutFormat) -> Box<dyn Sink> {
    let null = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null");
    Box::new(Stdout::new(null.into(), format, Duration::from_secs(1), Arc::new(Reports::default())))
}

/// The first worker of a sink, opened as the server does it.
fn opened(kind: SinkKind) -> Box<dyn Sink> {
    let config = config::Sink {
        kind,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let opened = sink::open(&config, &surroundings(&Arc::default())).expect("the sink opens");
    let worker = opened.workers.into_iter().next().expect("a worker");
    worker().expect("the worker starts")
}

fn sinks(criterion: &mut Criterion) {
    let directory = std::env::var_os("RINGMX_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let data =
        b"a line of text as it might stand in any mail of the world, sixty-nine\r\n".repeat(DATA_BYTES / 71);
    for (name, make) in SINKS {
        let mut group = criterion.benchmark_group(format!("sink, {name}"));
        group
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .sample_size(20);
        for count in [1, 8, 64, 256] {
            // A store of its own for each, so that none finds a directory that another one filled.
            let store = tempfile::tempdir_in(&directory).expect("a directory");
            let mut sink = make(store.path());
            let mut batch: Vec<Box<Message>> =
                (0..count).map(|number| Sent::new(number, data.clone()).message()).collect();
            let mut outcomes = Vec::new();
            group.throughput(Throughput::Elements(count));
            group.bench_function(format!("{count} a batch"), |bench| {
                bench.iter(|| {
                    outcomes.clear();
                    sink.store(&mut batch, &mut outcomes);
                    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, sinks);
criterion_main!(benches);
