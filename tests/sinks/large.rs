//! Large messages of the spool: each has a file beside the segments, made from its spill file. What was
//! accepted is found octet for octet, a failure leaves nothing visible, and a start never removes a file that
//! a record may name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::{self, SinkKind};
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink::executor::simulated::{Fault, Simulated};
use ringmx::sink::spool::cursor::{Cursor, write_consumed};
use ringmx::sink::spool::envelope::message_file_name;
use ringmx::sink::spool::format::SegmentHeader;
use ringmx::sink::spool::{Spool, reader, verify};
use ringmx::sink::{self, Report, Sink};

use support::sink::{Reports, Sent, store, surroundings};

const SEGMENT_BYTES: u64 = 32 * 1024;

fn open(path: &Path) -> Box<dyn Sink> {
    let kind = SinkKind::Spool(config::Spool {
        path: path.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        direct_writes: true,
    });
    let sink = config::Sink {
        kind,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let opened = sink::open(&sink, &surroundings(&Arc::default())).unwrap_or_else(|error| panic!("{error}"));
    opened.workers.into_iter().next().expect("a worker")().expect("a sink")
}

/// A small one between two large ones; of one of them all but a little is in the file, of the other
/// everything.
fn mixed(path: &Path) -> Vec<Sent> {
    vec![
        Sent::new(1, b"one\r\n".repeat(50_000)).spilled(249_000, path),
        Sent::new(2, "two\r\n"),
        Sent::new(3, b"three\r\n".repeat(20_000)).spilled(140_000, path),
    ]
}

fn message_files(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).expect("a spool").map(|entry| entry.expect("an entry").path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "message")).collect()
}

fn assert_shown(path: &Path, sent: &[Sent]) {
    for sent in sent {
        let mut shown = Vec::new();
        assert!(reader::show(path, sent.id, reader::View::Content, &mut shown).expect("a spool"));
        assert!(shown == sent.content(), "{} is altered", sent.id);
    }
    let found = verify::verify(path).expect("a spool");
    assert_eq!((found.notes.problems, found.unnamed_files, found.torn), (0, 0, 0), "{:?}", found.notes);
}

#[test]
fn large_messages_have_files_that_last_as_long_as_their_segment() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let mut sink = open(path);
    assert_eq!(sink.inline_bytes_max(), Some(SEGMENT_BYTES / 2));
    let sent = mixed(path);
    assert_eq!(store(&mut *sink, &sent), [Outcome::Stored; 3]);
    assert_eq!(message_files(path).len(), 2);
    assert!(
        reader::segments(path)
            .expect("a spool")
            .iter()
            .all(|(_, segment)| { fs::metadata(segment).expect("a segment").len() == SEGMENT_BYTES })
    );
    assert_shown(path, &sent);
    drop(sink);
    let mut sink = open(path);
    assert_shown(path, &sent);
    let later = Sent::new(4, "in the next segment");
    store(&mut *sink, std::slice::from_ref(&later));
    let newest = reader::segments(path).expect("a spool")[1].0;
    write_consumed(path, Cursor { sequence: newest, offset: 4096 }).expect("written");
    let start = Instant::now();
    while !message_files(path).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "consumed messages keep their files");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_shown(path, &[later]);
}

#[test]
fn a_failure_at_any_step_leaves_no_file_behind() {
    let spool = |disk: Simulated, reports: &Arc<Reports>| {
        let report = Arc::clone(reports) as Arc<dyn Report>;
        Spool::new(Path::new("/spool"), SEGMENT_BYTES, 1, disk, report)
    };
    let sent = [
        Sent::new(1, vec![b'1'; 3000]).spilled(2000, &std::env::temp_dir()),
        Sent::new(2, "two\r\n"),
        Sent::new(3, vec![b'3'; 3000]).spilled(3000, &std::env::temp_dir()),
    ];
    let disk = Simulated::new(1);
    store(&mut spool(disk.clone(), &Arc::default()), &sent);
    for step in 0..disk.performed() {
        let disk = Simulated::new(1);
        disk.set_faults(move |number, _| (number == step).then_some(Fault::Error(libc::EIO)));
        let mut spool = spool(disk.clone(), &Arc::default());
        let outcomes = store(&mut spool, &sent);
        let stored = outcomes.iter().filter(|outcome| **outcome == Outcome::Stored).count();
        let files = || disk.seen().keys().filter(|name| name.ends_with(".message")).count();
        assert!((stored == 0 && files() == 0) || (stored == 3 && files() == 2), "step {step}: {outcomes:?}");
        assert_eq!(store(&mut spool, &sent), [Outcome::Stored; 3], "step {step}: it is as before");
        assert_eq!(files(), 2 + stored.min(2), "step {step}");
    }
}

#[test]
fn a_file_stays_when_its_record_may_be_on_the_disk() {
    let disk = Simulated::new(1);
    let report = Arc::new(Reports::default()) as Arc<dyn Report>;
    let mut spool = Spool::new(Path::new("/spool"), SEGMENT_BYTES, 1, disk.clone(), report);
    spool.prepare();
    // The sync of the segment fails, and then the record cannot be cut off.
    disk.set_faults(|_, action| {
        let of_segment = action.path().ends_with(".segment");
        (of_segment && matches!(action.verb(), "sync" | "truncate")).then_some(Fault::Error(libc::EIO))
    });
    let sent = [Sent::new(1, vec![b'1'; 3000]).spilled(2000, &std::env::temp_dir())];
    assert!(matches!(store(&mut spool, &sent)[..], [Outcome::TryAgain(_)]));
    let seen = disk.seen();
    assert_eq!(seen.get(&message_file_name(1, 4096)), Some(&sent[0].data));
}

/// A spool with one large message at octet 4096 of segment 1, as a stop leaves it.
fn one_large(path: &Path) -> Sent {
    let sent = Sent::new(1, vec![b'1'; 100_000]).spilled(90_000, path);
    let mut sink = open(path);
    assert_eq!(store(&mut *sink, std::slice::from_ref(&sent)), [Outcome::Stored]);
    sent
}

#[test]
fn a_start_removes_the_files_that_never_had_a_record() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let sent = one_large(path);
    // A power cut between the sync of the directory and the write of the record.
    let orphan = path.join(message_file_name(1, 8192));
    fs::write(&orphan, "no record names it").expect("written");
    drop(open(path));
    assert!(!orphan.exists());
    assert_shown(path, &[sent]);
}

#[test]
fn a_start_keeps_every_file_that_a_damaged_record_may_name() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("the segment's header", |octets| octets[20] ^= 1),
        ("the record's header", |octets| octets[4096 + 20] ^= 1),
        ("the envelope", |octets| octets[4096 + 70] ^= 1),
        ("the end of the file", |octets| octets.truncate(4096)),
        ("all of a recycled segment's record", |octets| {
            let header = SegmentHeader::decode(octets).expect("a header");
            octets[..48].copy_from_slice(&SegmentHeader { is_zeroed: false, ..header }.encode());
            octets[4096..8192].fill(0xff);
        }),
    ];
    for (what, damage) in damages {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let sent = one_large(path);
        let segment = reader::segments(path).expect("a spool")[0].1.clone();
        let mut octets = fs::read(&segment).expect("a segment");
        damage(&mut octets);
        fs::write(&segment, octets).expect("written");
        drop(open(path));
        let file =
            fs::read(path.join(message_file_name(1, 4096))).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(file == sent.data, "{what}");
    }
}

/// A message that no file can hold (RLIMIT_FSIZE) comes again and again: it must not take the others of its
/// batch with it.
#[test]
fn a_message_that_fits_no_file_fails_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reports: Arc<Reports> = Arc::default();
    let report = Arc::clone(&reports) as Arc<dyn Report>;
    let mut spool = Spool::new(Path::new("/spool"), SEGMENT_BYTES, 1, Simulated::new(1), report);
    spool.keep_files_beyond(SEGMENT_BYTES / 2);
    spool.write_no_file_beyond(4 * SEGMENT_BYTES);
    let too_large = || b"x\r\n".repeat(50_000);
    let batch = [
        Sent::new(1, "one\r\n"),
        // In a segment of its own, and in a file.
        Sent::new(2, too_large()),
        Sent::new(3, "three\r\n"),
        Sent::new(4, too_large()).spilled(100_000, directory.path()),
        Sent::new(5, b"y\r\n".repeat(40_000)).spilled(100_000, directory.path()),
        Sent::new(6, too_large()),
    ];
    let too_large = Outcome::TryAgain(TryAgain::NoSpace);
    let expected = [Outcome::Stored, too_large, Outcome::Stored, too_large, Outcome::Stored, too_large];
    assert_eq!(store(&mut spool, &batch), expected);
    let told = reports.take();
    assert!(told.len() == 3 && told.iter().all(|error| error.contains("File too large")), "{told:?}");
}
