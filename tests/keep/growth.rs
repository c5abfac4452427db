//! Thousands of messages on a real disk: the journal and the directories stay as large as what they hold.

use std::cell::Cell;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringmx::forward::keep::{
    Change, Files, Folder, Keeper, LATER, Opened, Place, Recipients, Refused, Settings, Suspended, Wait,
    Waiting,
};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::Report;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::spool::cursor::Cursor;
use ringmx::sink::spool::{Spool, reader};
use support::sink::{Reports, Sent, store};

use crate::engine::wait;

const COUNT: usize = 1500;

fn open(path: &Path, reports: &Arc<Reports>) -> Keeper {
    open_with(Box::new(Folder(path.to_owned())), path, reports)
}

fn open_with(files: Box<dyn Files>, path: &Path, reports: &Arc<Reports>) -> Keeper {
    let executor = Box::new(Blocking::with_direct_writes(fs::File::open(path).expect("a directory").into()));
    let settings = Settings { segment_bytes: 256 * 1024, ..Settings::default() };
    let report = Arc::clone(reports) as Arc<dyn Report>;
    Keeper::open(executor, files, settings, report).unwrap_or_else(|error| panic!("{error}"))
}

/// A spool with so many messages, and where they are.
fn filled(path: &Path, count: usize, reports: &Arc<Reports>) -> Vec<Cursor> {
    let executor = Blocking::new(fs::File::open(path).expect("a directory").into());
    let mut spool = Spool::new(path, 8 << 20, 1, executor, Arc::clone(reports) as Arc<dyn Report>);
    let sent: Vec<Sent> = (0..count as u64).map(|number| Sent::new(number, vec![b'x'; 900])).collect();
    assert_eq!(store(&mut spool, &sent), vec![Outcome::Stored; count]);
    let mut log = Vec::new();
    reader::for_each_record(path, None, &mut reader::Notes::default(), |segment, record, _| {
        log.push(segment.cursor(record));
        Ok(())
    })
    .expect("a spool");
    log
}

/// Has these recipients of each message wait, one after the other and with the longest texts.
fn wait_one_by_one(keeper: &mut Keeper, log: &[Cursor], recipients: Range<u32>) -> Vec<Place> {
    let wait = |number: u32| Wait {
        destination: format!("lmtp://{}.test", "x".repeat(180)),
        reply: format!("451 4.7.1 {number:>105}"),
        ..Wait::default()
    };
    let mut places = Vec::new();
    for (number, at) in (0..).zip(log) {
        let later = |index| Change::Later {
            place: Place::Log(*at),
            recipients: Recipients::one(index),
            wait: wait(number * recipients.end + index),
        };
        let read = Change::Read { at: *at, recipients: recipients.end };
        let changes: Vec<Change> = [read].into_iter().chain(recipients.clone().map(later)).collect();
        let results = keeper.commit(&changes);
        places.push(
            results.into_iter().filter_map(|result| result.expect("durable")).next_back().expect("a place"),
        );
    }
    places
}

fn waiting(keeper: &Keeper) -> Vec<Waiting> {
    keeper.state().waiting().collect()
}

fn segments(path: &Path) -> usize {
    reader::segments(&path.join(LATER)).expect("a directory").len()
}

#[test]
fn what_is_of_no_use_any_more_goes_away() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path();
    let reports = Arc::new(Reports::default());
    let log = filled(path, COUNT, &reports);
    let mut keeper = open(path, &reports);
    let one = || Recipients::one(0);
    let reads = log.iter().map(|at| Change::Read { at: *at, recipients: 1 });
    let later = |place| Change::Later { place, recipients: one(), wait: wait(1) };
    let changes: Vec<Change> = reads.chain(log.iter().map(|at| later(Place::Log(*at)))).collect();
    let results = keeper.commit(&changes);
    let mut places: Vec<Place> = results.into_iter().filter_map(|result| result.expect("durable")).collect();
    assert_eq!((places.len(), keeper.state().waiting_count()), (COUNT, COUNT));
    assert_eq!(keeper.state().consumed(), log.last().copied());
    let full = segments(path);
    assert!(full > 8, "{full} segments");
    // Each is tried again and again.
    let (mut largest, mut smallest) = (0, u64::MAX);
    for attempts in 2..50 {
        let again = |place: &Place| Change::Later { place: *place, recipients: one(), wait: wait(attempts) };
        assert!(keeper.commit(&places.iter().map(again).collect::<Vec<_>>()).iter().all(Result::is_ok));
        let bytes = fs::metadata(path.join("forward/journal")).expect("a journal").len();
        (largest, smallest) = (largest.max(bytes), smallest.min(bytes));
    }
    assert!(largest < 5 << 20, "the journal grew to {largest} octets");
    assert!(smallest < 1 << 20 && largest > 4 << 20, "{smallest} to {largest}: it was written anew");
    // Nine of ten are sent: what is left moves together.
    let is_sent = |index: usize| !index.is_multiple_of(10);
    let gone: Vec<Change> = (0..COUNT)
        .filter(|index| is_sent(*index))
        .map(|index| Change::Sent { place: places[index], recipients: one() })
        .collect();
    assert!(keeper.commit(&gone).iter().all(Result::is_ok));
    assert_eq!(segments(path), full, "each holds one that waits");
    let old = places.clone();
    loop {
        let moved = keeper.tidy().expect("a sound disk");
        if moved.is_empty() {
            break;
        }
        for place in &mut places {
            *place = moved.iter().find(|moved| moved.from == *place).map_or(*place, |moved| moved.to);
        }
    }
    assert!(segments(path) <= 2, "{} segments", segments(path));
    // The engine may not know yet: the old names are understood.
    let held = Change::Hold { at: old[0].cursor(), recipients: one(), why: "held".to_owned() };
    assert_eq!(keeper.commit(&[held]), [Ok(None)]);
    for place in &old {
        keeper.confirm_move(*place);
    }
    drop(keeper);
    let keeper = open(path, &reports);
    let waiting: Vec<_> = keeper.state().waiting().map(|waiting| (waiting.place, waiting.wait)).collect();
    let mut expected: Vec<Place> =
        (0..COUNT).filter(|index| !is_sent(*index)).map(|index| places[index]).collect();
    expected.sort_unstable();
    assert_eq!(waiting.iter().map(|(place, _)| *place).collect::<Vec<_>>(), expected);
    assert!(waiting.iter().all(|(place, wait)| wait.attempts == 49 && wait.held == (*place == places[0])));
    assert_eq!(reports.take(), [""; 0]);
}

#[test]
fn what_is_suspended_is_known_to_the_next_process() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (path, reports) = (folder.path(), Arc::new(Reports::default()));
    let mut keeper = open(path, &reports);
    assert_eq!(keeper.suspended().expect("no file"), []);
    let one = |hop: &str| Suspended {
        destination: "lmtp://unix:/run/x y lmtp://b:24".to_owned(),
        next_hop: hop.to_owned(),
    };
    let all = [one("lmtp://unix:/run/x y"), one("lmtp://b:24")];
    keeper.suspend(&all).expect("a sound disk");
    drop(keeper);
    let mut keeper = open(path, &reports);
    assert_eq!(keeper.suspended().expect("a file"), all);
    // Where it cannot be replaced it says what it said.
    fs::create_dir_all(path.join("forward/suspended.new/x")).expect("in the way");
    keeper.suspend(&[]).expect_err("no file can be made");
    assert_eq!(keeper.suspended().expect("a file"), all);
    fs::remove_dir_all(path.join("forward/suspended.new")).expect("removed");
    keeper.suspend(&[]).expect("a sound disk");
    assert_eq!(keeper.suspended().expect("a file"), []);
}

#[test]
fn a_journal_of_long_texts_is_not_written_anew_for_each_commit() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (path, reports) = (folder.path(), Arc::new(Reports::default()));
    let log = filled(path, 150, &reports);
    let mut keeper = open(path, &reports);
    let places = wait_one_by_one(&mut keeper, &log, 0..100);
    drop(keeper);
    let mut keeper = open(path, &reports);
    let journal = || fs::read(path.join("forward/journal")).expect("a journal");
    let begun = journal();
    assert!(begun.len() > 5 << 20, "{} octets", begun.len());
    for place in &places[..50] {
        let sent = Change::Sent { place: *place, recipients: Recipients::one(7) };
        assert_eq!(keeper.commit(&[sent]), [Ok(None)]);
    }
    let appended = journal();
    assert!(appended.starts_with(&begun) && appended.len() > begun.len());
    assert_eq!(reports.take(), [""; 0]);
}

#[test]
fn what_is_moved_together_is_never_more_than_a_reader_of_the_journal_takes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (path, reports) = (folder.path(), Arc::new(Reports::default()));
    let log = filled(path, 900, &reports);
    let mut keeper = open(path, &reports);
    // Two that a commit has room for, and not for both, among many others in segments that are full.
    let mut places = wait_one_by_one(&mut keeper, &log[..1], 10_000..10_500);
    places.append(&mut wait_one_by_one(&mut keeper, &log[1..2], 10_000..11_100));
    places.append(&mut wait_one_by_one(&mut keeper, &log[2..], 0..1));
    let gone: Vec<Change> = places[2..]
        .iter()
        .map(|place| Change::Sent { place: *place, recipients: Recipients::one(0) })
        .collect();
    assert!(keeper.commit(&gone).iter().all(Result::is_ok));
    let mut expected = waiting(&keeper);
    assert_eq!(expected.len(), 1600);
    for round in 0.. {
        if keeper.tidy().expect("a sound disk").is_empty() {
            assert!(round > 0 && segments(path) < 3, "{round}: {} segments", segments(path));
            break;
        }
    }
    drop(keeper);
    let keeper = open(path, &reports);
    let mut found = waiting(&keeper);
    for waiting in expected.iter_mut().chain(&mut found) {
        waiting.place = places[0];
    }
    expected.sort_by(|one, other| one.wait.reply.cmp(&other.wait.reply));
    found.sort_by(|one, other| one.wait.reply.cmp(&other.wait.reply));
    assert!(expected == found);
    assert_eq!(reports.take(), [""; 0]);
}

/// Files of which the next one that is opened cannot be read.
struct Unreadable(Folder, Rc<Cell<bool>>);

impl Files for Unreadable {
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.0.names(directory)
    }

    fn open(&self, directory: &str, name: &str) -> io::Result<Opened> {
        if self.1.replace(false) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.0.open(directory, name)
    }

    fn root(&self) -> PathBuf {
        self.0.root()
    }
}

#[test]
fn a_record_that_cannot_be_read_concerns_no_other() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (path, reports) = (folder.path(), Arc::new(Reports::default()));
    let log = filled(path, 2, &reports);
    let fails = Rc::new(Cell::new(false));
    let files = Unreadable(Folder(path.to_owned()), Rc::clone(&fails));
    let mut keeper = open_with(Box::new(files), path, &reports);
    let reads: Vec<Change> = log.iter().map(|at| Change::Read { at: *at, recipients: 1 }).collect();
    assert_eq!(keeper.commit(&reads), [Ok(None), Ok(None)]);
    let later = |at| Change::Later { place: Place::Log(at), recipients: Recipients::one(0), wait: wait(1) };
    fails.set(true);
    let results = keeper.commit(&[later(log[0]), later(log[1])]);
    assert!(matches!(results[..], [Err(Refused::Unread(..)), Ok(Some(_))]), "{results:?}");
    assert_eq!(keeper.state().consumed(), None, "the first one is needed");
    assert!(matches!(keeper.commit(&[later(log[0])])[..], [Ok(Some(_))]));
    assert_eq!((keeper.state().consumed(), waiting(&keeper).len()), (Some(log[1]), 2));
}
