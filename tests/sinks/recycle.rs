//! Segments that are made ahead and recycled: no record that was not consumed is lost, none of an earlier use
//! comes back, whenever the power is cut; numbers only rise; nothing is recycled on a guess.

mod consumed;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::{self, SinkKind};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::executor::Executor;
use ringmx::sink::executor::simulated::{Fault, Image, Simulated};
use ringmx::sink::plan::{Action, FilePath, Owners, Plan};
use ringmx::sink::spool::cursor::{Cursor, write_consumed};
use ringmx::sink::spool::format::{
    PREPARED_SUFFIX, SegmentHeader, message_place, segment_name, segment_sequence,
};
use ringmx::sink::spool::supply::{Maker, Supply, Used};
use ringmx::sink::spool::{Spool, reader, scan};
use ringmx::sink::{self, OpenError, Report, Sink};

use support::sink::{Reports, Sent, store, surroundings};

/// Room for three batches of one small message.
const SEGMENT_BYTES: u64 = 16 * 1024;

/// A supply that recycles what was consumed whenever a segment is needed.
struct Recycling {
    maker: Maker,
    disk: Simulated,
    /// Every segment before this one was consumed.
    consumed: Rc<Cell<u64>>,
}

impl Supply for Recycling {
    fn next(&mut self, needed: u64, executor: &mut dyn Executor) -> Result<SegmentHeader, Outcome> {
        let image = self.disk.seen();
        let used: Vec<Used> = segments(&image)
            .into_iter()
            .filter(|(sequence, _)| *sequence < self.consumed.get())
            .map(|(sequence, octets)| {
                let is_its = |name: &&String| message_place(name).is_some_and(|(its, _)| its == sequence);
                let messages = image.keys().filter(is_its).cloned().collect();
                Used { sequence, bytes: octets.len() as u64, messages }
            })
            .collect();
        self.maker.recycle(&used, executor);
        self.maker.make(needed, executor)
    }
}

fn is_prepared(name: &str) -> bool {
    name.ends_with(PREPARED_SUFFIX)
}

fn segments(image: &Image) -> Vec<(u64, &[u8])> {
    let number = |(name, octets): (&String, _)| Some((segment_sequence(name)?, octets));
    image.iter().map(|(name, octets)| (name, octets.as_slice())).filter_map(number).collect()
}

/// How far a consumer is behind, and how much is stored meanwhile.
#[derive(Clone, Copy)]
struct Pace {
    /// It tells of every so manyth segment that was begun.
    segments: u64,
    messages: u64,
    /// Every other segment has two files with large messages.
    has_large: bool,
}

/// One segment is consumed at a time.
const CLOSE: Pace = Pace { segments: 1, messages: 12, has_large: false };

/// Two are consumed at once.
const FAR: Pace = Pace { segments: 3, messages: 16, has_large: true };

/// Makes two files for large messages of a segment; their names, when they are durable.
fn add_large(disk: &mut Simulated, sequence: u64) -> Vec<String> {
    let names = [1, 2].map(|offset| format!("{sequence:016x}-{offset:016x}.message"));
    let mut plan = Plan::new(1);
    for name in &names {
        let file = Rc::new(FilePath { directory: Rc::from(""), name: name.clone() });
        for action in
            [Action::Create(Rc::clone(&file)), Action::SyncFile(Rc::clone(&file)), Action::Close(file)]
        {
            plan.push(Owners::One(0), action);
        }
    }
    plan.barrier();
    plan.push(Owners::One(0), Action::SyncDirectory(Rc::from("")));
    plan.barrier();
    plan.push(Owners::One(0), Action::ProbeJournal(Rc::from("")));
    if disk.run(&plan).any_failed() { Vec::new() } else { names.into() }
}

/// Messages stored one by one while a consumer follows.
struct Run {
    disk: Simulated,
    sent: Vec<Sent>,
    /// Where each message went, none for those that were not stored, and the point in time of its outcome.
    stored: Vec<(Option<u64>, usize)>,
    /// Files with large messages, their segments, and since when they are durable.
    large: Vec<(usize, u64, String)>,
    /// From which point in time on which segments were consumed.
    consumed: Vec<(usize, u64)>,
}

impl Run {
    fn new(pace: Pace, faults: impl FnMut(usize, &Action<'_>) -> Option<Fault> + 'static) -> Self {
        let mut disk = Simulated::new(3);
        disk.set_faults(faults);
        let report = Arc::new(Reports::default()) as Arc<dyn Report>;
        let mut maker = Maker::new(Path::new("/spool"), SEGMENT_BYTES, 1, Arc::clone(&report));
        maker.keep_spares(2, &mut disk);
        let consumed = Rc::new(Cell::new(0));
        let supply = Recycling { maker, disk: disk.clone(), consumed: Rc::clone(&consumed) };
        let mut spool = Spool::with_supply(Path::new("/spool"), Box::new(supply), disk.clone(), report);
        let sent: Vec<_> =
            (0..pace.messages).map(|number| Sent::new(number, format!("{number}\r\n"))).collect();
        let mut run = Self { disk, sent, stored: Vec::new(), large: Vec::new(), consumed: vec![(0, 0)] };
        for sent in &run.sent {
            let (mut batch, mut outcomes) = (vec![sent.message()], Vec::new());
            spool.store(&mut batch, &mut outcomes);
            let place: Option<Cursor> =
                (outcomes == [Outcome::Stored]).then(|| batch[0].place.parse().expect("a place"));
            let sequence = place.map(|place| place.sequence);
            let is_first = run.stored.last().is_none_or(|(last, _)| *last != sequence);
            run.stored.push((sequence, run.disk.now()));
            if let Some(sequence) =
                sequence.filter(|sequence| pace.has_large && is_first && sequence % 2 == 0)
            {
                let names = add_large(&mut run.disk, sequence);
                run.large.extend(names.into_iter().map(|name| (run.disk.now(), sequence, name)));
            }
            if let Some(place) = place.filter(|place| place.sequence % pace.segments == 0) {
                consumed.set(place.sequence);
                run.consumed.push((run.disk.now(), place.sequence));
            }
        }
        run
    }

    /// Cuts the power everywhere: all that was not synced is kept, or lost; or, when it is to be thorough,
    /// all but each one thing.
    fn check_cuts(&self, thorough: bool) -> Result<(), String> {
        for cut in 0..=self.disk.now() {
            let pending = self.disk.pending(cut);
            let alone = (0..if thorough { pending } else { 0 }).map(Some).chain([None]);
            for (one, others) in alone.flat_map(|one| [(one, false), (one, true)]) {
                let mut number = 0;
                let image = self.disk.image(cut, || {
                    number += 1;
                    others ^ (one == Some(number - 1))
                });
                self.check_image(&image, cut).map_err(|what| format!("cut at {cut}: {what}"))?;
            }
        }
        Ok(())
    }

    fn check_image(&self, image: &Image, cut: usize) -> Result<(), String> {
        let mut found = vec![false; self.sent.len()];
        for (sequence, octets) in segments(image) {
            let scan = scan::scan(octets).expect("memory").map_err(|what| format!("{sequence}: {what:?}"))?;
            if scan.segment.sequence != sequence {
                return Err(format!("{sequence} has the header of {}", scan.segment.sequence));
            }
            for record in &scan.records {
                let start = usize::try_from(record.content_start()).expect("small");
                let content = &octets[start..start + usize::try_from(record.content_bytes).expect("small")];
                let index = self.sent.iter().position(|sent| sent.content() == content);
                let index = index.ok_or_else(|| format!("{sequence}: partial or altered"))?;
                let (place, _) = self.stored[index];
                if found[index] || place.is_some_and(|place| place != sequence) {
                    return Err(format!("message {index} is in segment {sequence}, too"));
                }
                found[index] = true;
            }
        }
        let consumed = self.consumed.iter().rfind(|(at, _)| *at <= cut).map_or(0, |(_, consumed)| *consumed);
        for (index, (place, answered_at)) in self.stored.iter().enumerate() {
            if *answered_at <= cut && place.is_some_and(|place| place >= consumed) && !found[index] {
                return Err(format!("message {index} is lost"));
            }
        }
        for (made_at, sequence, name) in &self.large {
            if *made_at <= cut && *sequence >= consumed && !image.contains_key(name) {
                return Err(format!("{name} is lost"));
            }
        }
        Ok(())
    }
}

#[test]
fn a_power_cut_while_segments_are_recycled_loses_nothing_and_brings_nothing_back() {
    for (pace, segments_used) in [(CLOSE, 4), (FAR, 6)] {
        let run = Run::new(pace, |_, _| None);
        assert!(run.stored.iter().all(|(place, _)| place.is_some()));
        let image = run.disk.seen();
        let used = segments(&image);
        let (sequence, _) = *used.last().expect("a segment");
        assert_eq!(sequence, segments_used);
        let is_recycled = |octets| !scan::scan(octets).expect("memory").expect("a segment").segment.is_zeroed;
        assert!(used.iter().any(|(_, octets)| is_recycled(*octets)));
        let large: Vec<_> = image.keys().filter_map(|name| message_place(name)).collect();
        let left = if pace.has_large { vec![(4, 1), (4, 2), (6, 1), (6, 2)] } else { Vec::new() };
        assert_eq!(large, left, "those of 2 went with it");
        run.check_cuts(true).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn a_journal_given_up_while_segments_are_recycled_alters_none_where_it_is_probed() {
    /// Gives the journal up before each sync in turn; whether probes of files that are kept for another use
    /// are left out.
    fn check(pace: Pace, blind: bool) -> Vec<Result<(), String>> {
        let run_to = |step| {
            let (is_sync, is_kept) = (Rc::new(Cell::new(false)), Cell::new(false));
            let seen = Rc::clone(&is_sync);
            let run = Run::new(pace, move |number, action| match action {
                Action::SyncFile(_) | Action::SyncDirectory(_) if number == step => {
                    seen.set(true);
                    Some(Fault::GiveUp)
                }
                Action::Rename(_, to) => {
                    is_kept.set(is_prepared(&to.name));
                    None
                }
                Action::ProbeJournal(_) => (blind && is_kept.get()).then_some(Fault::Lie),
                _ => None,
            });
            is_sync.get().then(|| run.check_cuts(false))
        };
        (0..Run::new(pace, |_, _| None).disk.performed()).filter_map(run_to).collect()
    }
    for pace in [CLOSE, FAR] {
        for cuts in check(pace, false) {
            cuts.unwrap_or_else(|what| panic!("{what}"));
        }
        let wrong = check(pace, true).into_iter().find_map(Result::err);
        println!("without the probe, as it has to be: {}", wrong.expect("a header in the wrong place"));
    }
}

#[test]
fn without_any_one_of_its_syncs_recycling_would_be_wrong() {
    let steps = Run::new(CLOSE, |_, _| None).disk.performed();
    let mut syncs = 0;
    for step in 0..steps {
        let is_sync = Rc::new(Cell::new(false));
        let seen = Rc::clone(&is_sync);
        let spare: Rc<RefCell<Option<String>>> = Rc::default();
        let run = Run::new(CLOSE, move |number, action| {
            match action {
                Action::Rename(_, to) if is_prepared(&to.name) => {
                    *spare.borrow_mut() = Some(to.name.clone());
                }
                _ => {}
            }
            // From the first recycled segment on; zeros of a new one are no promise.
            let recycles = spare.borrow().is_some();
            let counts = match action {
                Action::SyncFile(file) => {
                    !is_prepared(&file.name) || Some(&file.name) == spare.borrow().as_ref()
                }
                Action::SyncDirectory(_) => true,
                _ => false,
            };
            seen.set(seen.get() || number == step && recycles && counts);
            (number == step && recycles && counts).then_some(Fault::Lie)
        });
        if is_sync.get() {
            syncs += 1;
            assert!(run.check_cuts(true).is_err(), "step {step} could be left out");
        }
    }
    assert!(syncs >= 6, "{syncs} syncs");
}

#[test]
fn every_step_of_recycling_may_fail() {
    for pace in [CLOSE, FAR] {
        let first = Rc::new(Cell::new(None));
        let seen = Rc::clone(&first);
        let steps = Run::new(pace, move |number, action| {
            if matches!(action, Action::Rename(_, to) if is_prepared(&to.name)) {
                seen.set(seen.get().or(Some(number)));
            }
            None
        })
        .disk
        .performed();
        // What comes before, a segment that is made of zeros, fails in tests/sinks/power_cut.rs.
        for step in first.get().expect("something is recycled")..steps {
            let run = Run::new(pace, move |number, _| (number == step).then_some(Fault::Error(libc::EIO)));
            let failed = run.stored.iter().filter(|(place, _)| place.is_none()).count();
            assert!(failed <= 1, "step {step} failed {failed} messages");
            run.check_cuts(false).unwrap_or_else(|what| panic!("step {step}: {what}"));
        }
    }
}

#[test]
fn as_many_spares_are_kept_as_the_load_needs() {
    let mut disk = Simulated::new(3);
    let report = Arc::new(Reports::default()) as Arc<dyn Report>;
    let mut maker = Maker::new(Path::new("/spool"), SEGMENT_BYTES, 1, report);
    let used: Vec<Used> = (0..5)
        .map(|_| maker.make(0, &mut disk).expect("a segment"))
        .map(|header| Used { sequence: header.sequence, bytes: header.bytes, messages: Vec::new() })
        .collect();
    let spares = |disk: &Simulated| disk.seen().keys().filter(|name| is_prepared(name)).count();
    maker.keep_spares(3, &mut disk);
    assert!(maker.recycle(&used, &mut disk));
    assert_eq!((disk.seen().len(), spares(&disk)), (3, 3));
    maker.keep_spares(1, &mut disk);
    assert_eq!((disk.seen().len(), spares(&disk)), (1, 1));
    let is_zeroed = [0, 1].map(|_| maker.make(0, &mut disk).expect("a segment").is_zeroed);
    assert_eq!(is_zeroed, [false, true]);
    // A spare whose name may not be durable is none.
    disk.set_faults(|_, action| {
        matches!(action, Action::SyncDirectory(_)).then_some(Fault::Error(libc::EIO))
    });
    let last = Used { sequence: 7, bytes: SEGMENT_BYTES, messages: Vec::new() };
    assert!(!maker.recycle(&[last], &mut disk));
    assert_eq!(spares(&disk), 0);
    // One that cannot be removed is still known.
    disk.set_faults(|_, _| None);
    let last = Used { sequence: 6, bytes: SEGMENT_BYTES, messages: Vec::new() };
    assert!(maker.recycle(&[last], &mut disk));
    disk.set_faults(|_, action| matches!(action, Action::Remove(_)).then_some(Fault::Error(libc::EIO)));
    assert!(!maker.keep_spares(0, &mut disk));
    disk.set_faults(|_, _| None);
    assert!(maker.keep_spares(0, &mut disk));
    assert_eq!(spares(&disk), 0);
}

fn open(path: &Path, reports: &Arc<Reports>) -> Result<Box<dyn Sink>, OpenError> {
    let kind = SinkKind::Spool(config::Spool {
        path: path.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        direct_writes: true,
    });
    let config = config::Sink {
        kind,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let opened = sink::open(&config, &surroundings(reports))?;
    Ok(opened.workers.into_iter().next().expect("a worker")().expect("a sink"))
}

fn opened(path: &Path) -> Box<dyn Sink> {
    open(path, &Arc::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn numbers(path: &Path) -> Vec<u64> {
    reader::segments(path).expect("a spool").iter().map(|(sequence, _)| *sequence).collect()
}

fn listed(path: &Path) -> usize {
    let mut listing = Vec::new();
    let notes = reader::list(path, None, &mut listing).expect("a spool");
    assert!(notes.is_empty(), "{notes:?}");
    String::from_utf8_lossy(&listing).lines().count()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn many_roll_overs_keep_the_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut sink = opened(directory.path());
    let sent: Vec<_> = (0..60)
        .map(|number| Sent::new(number, vec![b'x'; if number % 7 == 0 { 40_000 } else { 3000 }]))
        .collect();
    for batch in sent.chunks(3) {
        assert_eq!(store(&mut *sink, batch), [Outcome::Stored; 3]);
    }
    let mut listing = Vec::new();
    reader::list(directory.path(), None, &mut listing).expect("a spool");
    let listing = String::from_utf8(listing).expect("text");
    let ids: Vec<_> = listing.lines().map(|line| line.split(' ').next().expect("an id").to_owned()).collect();
    let expected: Vec<_> = sent.iter().map(|sent| sent.id.to_string()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn what_was_consumed_is_recycled_and_the_rest_stays() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let mut sink = opened(path);
    for number in 0..18 {
        assert_eq!(store(&mut *sink, &[Sent::new(number, "x")]), [Outcome::Stored]);
    }
    assert!(numbers(path).starts_with(&[1, 2, 3, 4, 5, 6]));
    let large = |sequence: u64| path.join(format!("{sequence:016x}-{:016x}.message", 4096));
    for sequence in [1, 4, 5] {
        fs::write(large(sequence), "a large message").expect("a file");
    }
    write_consumed(path, Cursor { sequence: 5, offset: 4096 }).expect("written");
    wait_until("the consumed segments are recycled", || !numbers(path).contains(&4));
    wait_until("two spares wait", || {
        fs::read_dir(path)
            .expect("a spool")
            .filter(|entry| is_prepared(&entry.as_ref().expect("a name").file_name().to_string_lossy()))
            .count()
            == 2
    });
    assert!(!large(1).exists() && !large(4).exists() && large(5).exists());
    assert_eq!(listed(path), 6);
    // 7 was ready; 8 and 9 use the spares.
    for number in 18..27 {
        assert_eq!(store(&mut *sink, &[Sent::new(number, "x")]), [Outcome::Stored]);
    }
    assert_eq!(listed(path), 15);
    let salts: Vec<_> = [5, 6, 7, 8, 9]
        .map(|sequence| fs::read(path.join(segment_name(sequence))).expect("a segment"))
        .iter()
        .map(|octets| SegmentHeader::decode(octets).expect("a header"))
        .map(|header| (header.salt, header.is_zeroed))
        .collect();
    let distinct: std::collections::BTreeSet<_> = salts.iter().map(|(salt, _)| salt).collect();
    assert_eq!(distinct.len(), 5);
    assert_eq!(
        salts.iter().map(|(_, is_zeroed)| *is_zeroed).collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
    drop(sink);
    assert_eq!(listed(path), 15);
    // A large message whose segment is gone is removed by the next start.
    fs::write(large(1), "an orphan").expect("a file");
    drop(opened(path));
    assert!(!large(1).exists() && large(5).exists());
}

#[test]
fn a_segment_that_a_kill_left_unused_is_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let mut sink = opened(path);
    store(&mut *sink, &[Sent::new(1, "x")]);
    wait_until("the next segment is ready", || numbers(path) == [1, 2]);
    // What a kill leaves.
    let ready = fs::read(path.join(segment_name(2))).expect("a segment");
    drop(sink);
    fs::write(path.join(segment_name(2)), &ready).expect("a segment");
    drop(opened(path));
    assert_eq!(numbers(path), [1]);
    // One octet that is not zero may be what is left of a message: for the operator to see.
    let mut torn = ready;
    torn[5000] = 1;
    fs::write(path.join(segment_name(2)), &torn).expect("a segment");
    drop(opened(path));
    assert_eq!(numbers(path), [1, 2]);
}

#[test]
fn a_restart_never_counts_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_consumed(directory.path(), Cursor { sequence: 7, offset: 4096 }).expect("written");
    let mut sink = opened(directory.path());
    store(&mut *sink, &[Sent::new(1, "x")]);
    assert_eq!(numbers(directory.path())[0], 8);
}
