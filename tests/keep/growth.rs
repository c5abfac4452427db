//! Thousands of messages on a real disk: the journal and the directories stay as large as what they hold.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ringmx::forward::keep::{Change, Folder, Keeper, LATER, Place, Recipients, Settings};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::Report;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::spool::{Spool, reader};
use support::sink::{Reports, Sent, store};

use crate::engine::wait;

const COUNT: usize = 1500;

fn open(path: &Path, reports: &Arc<Reports>) -> Keeper {
    let executor = Box::new(Blocking::with_direct_writes(fs::File::open(path).expect("a directory").into()));
    let settings = Settings { segment_bytes: 256 * 1024, ..Settings::default() };
    let report = Arc::clone(reports) as Arc<dyn Report>;
    Keeper::open(executor, Box::new(Folder(path.to_owned())), settings, report)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn segments(path: &Path) -> usize {
    reader::segments(&path.join(LATER)).expect("a directory").len()
}

#[test]
fn what_is_of_no_use_any_more_goes_away() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path();
    let reports = Arc::new(Reports::default());
    let executor = Blocking::new(fs::File::open(path).expect("a directory").into());
    let mut spool = Spool::new(path, 8 << 20, 1, executor, Arc::clone(&reports) as Arc<dyn Report>);
    let sent: Vec<Sent> = (0..COUNT as u64).map(|number| Sent::new(number, vec![b'x'; 900])).collect();
    assert_eq!(store(&mut spool, &sent), vec![Outcome::Stored; COUNT]);
    let mut log = Vec::new();
    reader::for_each_record(path, None, &mut reader::Notes::default(), |segment, record, _| {
        log.push(segment.cursor(record));
        Ok(())
    })
    .expect("a spool");
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
    keeper.confirm_moves();
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
