//! The page by which a receiver tells readers how far its spool is durable: with it readers hand on what they
//! hand on without it, in the same order, each once; with it they sync nothing that the receiver has synced;
//! and they go by nothing that it does not say.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ringmx::config::{self, SinkKind};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::spool::Spool;
use ringmx::sink::spool::follow::{Followed, Follower};
use ringmx::sink::spool::horizon::{DurableEnd, HorizonWriter};
use ringmx::sink::spool::reader::segments;
use ringmx::sink::spool::scan::{Scan, scan};
use ringmx::sink::{self, Report, Sink};

use support::sink::{Reports, Sent, store, surroundings};

const SEGMENT_BYTES: u64 = 32 * 1024;

/// A receiver as it is started.
fn start(path: &Path) -> Box<dyn Sink> {
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

/// A receiver that says nothing to readers.
fn silent(path: &Path, from: u64) -> Spool<Blocking> {
    let report = Arc::new(Reports::default()) as Arc<dyn Report>;
    let executor = Blocking::new(File::open(path).expect("a directory").into());
    Spool::new(path, SEGMENT_BYTES, from, executor, report)
}

/// Whether there are pages at all where temporary files are. In CI there are.
fn has_pages() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    match HorizonWriter::make(File::open(folder.path()).expect("a directory")) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let why = "temporary files are not on ext4, XFS or Btrfs";
            assert!(std::env::var_os("CI").is_none(), "CI needs pages: {why}");
            println!("skipped: {why}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn follow(path: &Path) -> Follower {
    Follower::new(path, None, false, &mut |note| panic!("{note}")).expect("a spool")
}

/// What is handed on now.
fn take(follower: &mut Follower) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    let mut take = |found: Followed| {
        taken.push(found.content);
        Ok(())
    };
    while follower.advance(&mut |_| {}, &mut take).expect("readable") {}
    taken
}

/// What is handed on until there are so many, or they take too long.
fn take_so_many(follower: &mut Follower, count: usize) -> Vec<Vec<u8>> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut taken = take(follower);
    while taken.len() < count && Instant::now() < until {
        follower.wait(Duration::from_millis(5));
        taken.extend(take(follower));
    }
    taken
}

fn contents(sent: &[Sent]) -> Vec<Vec<u8>> {
    sent.iter().map(Sent::content).collect()
}

fn scanned(path: &Path, sequence: u64) -> Scan {
    let (_, segment) = segments(path)
        .expect("a spool")
        .into_iter()
        .find(|(number, _)| *number == sequence)
        .expect("a segment");
    scan(&File::open(segment).expect("a file")).expect("readable").expect("a segment")
}

#[test]
fn a_reader_beside_a_receiver_that_lives_syncs_nothing() {
    if !has_pages() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = start(folder.path());
    let mut follower = follow(folder.path());
    let first = [Sent::new(0, "first\r\n")];
    assert_eq!(store(&mut *sink, &first), [Outcome::Stored]);
    assert_eq!(take_so_many(&mut follower, 1), contents(&first));
    let before = follower.syncs();
    // Small ones, and one with a file of its own.
    for number in 1..20 {
        let bytes = if number == 7 { 400_000 } else { 300 };
        let sent = [Sent::new(number, vec![b'x'; bytes]), Sent::new(100 + number, "y\r\n")];
        assert_eq!(store(&mut *sink, &sent), [Outcome::Stored, Outcome::Stored]);
        // At once: what was answered is said to be durable before.
        assert_eq!(take(&mut follower), contents(&sent), "{number}");
    }
    // It may have come too late for the end of a segment.
    let at_most = segments(folder.path()).expect("a spool").len() as u64;
    let syncs = follower.syncs() - before;
    assert!(syncs <= at_most, "{syncs} syncs, {at_most} segments");
    drop(sink);
    assert_eq!(take(&mut follower), Vec::<Vec<u8>>::new());
}

#[test]
fn a_reader_that_waits_is_woken() {
    if !has_pages() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = start(folder.path());
    store(&mut *sink, &[Sent::new(0, "x")]);
    let mut follower = follow(folder.path());
    assert_eq!(take_so_many(&mut follower, 1).len(), 1);
    let syncs = follower.syncs();
    let reader = std::thread::spawn(move || {
        let taken = take_so_many(&mut follower, 50);
        (taken, follower.syncs() - syncs, Instant::now())
    });
    let sent: Vec<Sent> = (1..51).map(|number| Sent::new(number, "y\r\n")).collect();
    for one in sent.chunks(1) {
        std::thread::sleep(Duration::from_millis(3));
        store(&mut *sink, one);
    }
    let stored_at = Instant::now();
    let (taken, syncs, taken_at) = reader.join().expect("a reader");
    println!(
        "the last message was handed on {:?} after it was stored",
        taken_at.saturating_duration_since(stored_at)
    );
    assert_eq!(taken, contents(&sent));
    assert!(syncs <= segments(folder.path()).expect("a spool").len() as u64, "{syncs} syncs");
}

#[test]
fn what_is_not_said_to_be_durable_is_not_handed_on_without_a_sync() {
    if !has_pages() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let sent: Vec<Sent> = (0..4).map(|number| Sent::new(number, "z\r\n")).collect();
    let mut spool = silent(path, 1);
    for one in sent.chunks(1) {
        store(&mut spool, one);
    }
    let facts = scanned(path, 1);
    let horizon = HorizonWriter::make(File::open(path).expect("a directory")).expect("a page");
    let end = |index: usize| facts.records[index].offset + facts.records[index].frame_bytes;
    let (sequence, salt) = (facts.segment.sequence, facts.segment.salt);

    // Up to the second one, and within the third one, which is as if it were being written.
    horizon.publish(DurableEnd { sequence, salt, end: end(1) });
    let mut follower = follow(path);
    assert_eq!(take(&mut follower), contents(&sent[..2]));
    assert_eq!((take(&mut follower).len(), follower.syncs()), (0, 0));
    horizon.publish(DurableEnd { sequence, salt, end: end(2) - 1 });
    assert_eq!((take(&mut follower).len(), follower.syncs()), (0, 0));
    horizon.publish(DurableEnd { sequence, salt, end: end(2) });
    assert_eq!((take(&mut follower), follower.syncs()), (contents(&sent[2..3]), 0));
    // A page that stands still keeps nobody's mail for ever: after a while the reader syncs.
    assert_eq!((take_so_many(&mut follower, 1), follower.syncs()), (contents(&sent[3..]), 1));

    // What is said of another use of the file, or of another segment, is nothing.
    for other in
        [DurableEnd { sequence, salt: salt ^ 1, end: end(3) }, DurableEnd { sequence: 2, salt, end: end(3) }]
    {
        horizon.publish(other);
        let mut follower = follow(path);
        assert_eq!(take(&mut follower), contents(&sent));
        assert!(follower.syncs() > 0, "{other:?}");
    }
    // Nor what a receiver has said that has gone.
    horizon.publish(DurableEnd { sequence, salt, end: end(3) });
    let mut believes = follow(path);
    assert_eq!((take(&mut believes), believes.syncs()), (contents(&sent), 0));
    drop(horizon);
    let mut follower = follow(path);
    assert_eq!(take(&mut follower), contents(&sent));
    assert!(follower.syncs() > 0);
    // Who reads once goes by what is there.
    let horizon = HorizonWriter::make(File::open(path).expect("a directory")).expect("a page");
    horizon.publish(DurableEnd { sequence, salt, end: end(0) });
    let mut once = Follower::new(path, None, true, &mut |note| panic!("{note}")).expect("a spool");
    assert_eq!(take(&mut once), contents(&sent));
    assert!(once.syncs() > 0);
}

#[test]
fn a_page_of_a_spool_that_was_wiped_says_nothing_of_the_next_one() {
    if !has_pages() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    // A receiver that was not stopped when somebody removed its mail, and one that began anew.
    let horizon = HorizonWriter::make(File::open(path).expect("a directory")).expect("a page");
    horizon.publish(DurableEnd { sequence: 1, salt: 42, end: SEGMENT_BYTES });
    let mut follower = follow(path);
    assert_eq!(take(&mut follower).len(), 0);
    let sent = [Sent::new(1, "new\r\n")];
    let mut spool = silent(path, 1);
    store(&mut spool, &sent);
    assert_eq!(take_so_many(&mut follower, 1), contents(&sent));
    assert_eq!(follower.syncs(), 1, "it has another salt");
}

/// What happens between two readings.
#[derive(Debug, Clone)]
enum Happening {
    Store(Vec<usize>),
    /// The receiver ends and the next one begins.
    Restart,
    /// The same, with mail stored by one that says nothing.
    WithoutPage(usize),
    /// Somebody does this to the page.
    Remove,
    CutOff,
    Garble(u8),
    Read,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..3000, 1..5).prop_map(Happening::Store),
        4 => Just(Happening::Read),
        1 => Just(Happening::Restart),
        1 => (0_usize..2000).prop_map(Happening::WithoutPage),
        1 => Just(Happening::Remove),
        1 => Just(Happening::CutOff),
        1 => any::<u8>().prop_map(Happening::Garble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_handed_on_is_what_was_stored_whatever_becomes_of_the_page(
        course in prop::collection::vec(happening(), 1..30),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let mut sink = Some(start(path));
        let mut follower = follow(path);
        let (mut sent, mut taken) = (Vec::new(), Vec::new());
        let page = path.join("horizon");
        for happens in course {
            match happens {
                Happening::Store(sizes) => {
                    let batch: Vec<Sent> = sizes
                        .iter()
                        .enumerate()
                        .map(|(index, bytes)| Sent::new((sent.len() + index) as u64, vec![b'x'; *bytes]))
                        .collect();
                    if let Some(sink) = &mut sink {
                        assert_eq!(store(&mut **sink, &batch), vec![Outcome::Stored; batch.len()]);
                    }
                    sent.extend(contents(&batch));
                }
                Happening::Restart => {
                    drop(sink.take());
                    sink = Some(start(path));
                }
                Happening::WithoutPage(bytes) => {
                    drop(sink.take());
                    let next = segments(path).expect("a spool").last().map_or(1, |(number, _)| number + 1);
                    let one = [Sent::new(sent.len() as u64, vec![b'w'; bytes])];
                    store(&mut silent(path, next), &one);
                    sent.extend(contents(&one));
                    sink = Some(start(path));
                }
                Happening::Remove => _ = fs::remove_file(&page),
                Happening::CutOff => {
                    if let Ok(file) = File::options().write(true).open(&page) {
                        file.set_len(0).expect("cut off");
                    }
                }
                Happening::Garble(with) => {
                    if let Ok(file) = File::options().write(true).open(&page) {
                        file.write_all_at(&[with; 64], 0).expect("written");
                    }
                }
                Happening::Read => taken.extend(take(&mut follower)),
            }
        }
        let missing = sent.len() - taken.len().min(sent.len());
        taken.extend(take_so_many(&mut follower, missing));
        // And from the beginning, by whoever comes now.
        let mut another = follow(path);
        let whole = take_so_many(&mut another, sent.len());
        prop_assert!(taken == sent, "{} of {}", taken.len(), sent.len());
        prop_assert!(whole == sent, "{} of {}", whole.len(), sent.len());
    }
}
