//! The spool after torn writes, flipped bits, stale octets and restarts: what was accepted is found octet for
//! octet, what is wrong is told, and nothing else passes for a record.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ringmx::config::{self, SinkKind};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::executor::simulated::Simulated;
use ringmx::sink::spool::follow::{Followed, Follower};
use ringmx::sink::spool::format::{RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use ringmx::sink::spool::scan::{GapKind, NoSegment, Scan, scan};
use ringmx::sink::spool::{Spool, envelope, reader};
use ringmx::sink::{self, Opened, Report, Sink};

use support::sink::{Reports, Sent, store, surroundings};

const SEGMENT_BYTES: u64 = 32 * 1024;

/// One segment with these batches in it.
fn segment(batches: &[Vec<Sent>]) -> Vec<u8> {
    let disk = Simulated::new(1);
    let report = Arc::new(Reports::default()) as Arc<dyn Report>;
    let mut spool = Spool::new(Path::new("/spool"), SEGMENT_BYTES, 1, disk.clone(), report);
    for batch in batches {
        assert_eq!(store(&mut spool, batch), vec![Outcome::Stored; batch.len()]);
    }
    let mut image = disk.seen();
    assert_eq!(image.len(), 1);
    image.pop_first().expect("a segment").1
}

fn scanned(octets: &[u8]) -> Scan {
    scan(octets).expect("memory").expect("a segment")
}

fn content<'a>(octets: &'a [u8], record: &RecordHeader) -> &'a [u8] {
    let start = usize::try_from(record.content_start()).expect("small");
    &octets[start..start + usize::try_from(record.content_bytes).expect("small")]
}

fn contents(octets: &[u8]) -> Vec<Vec<u8>> {
    scanned(octets).records.iter().map(|record| content(octets, record).to_vec()).collect()
}

fn three() -> Vec<Vec<Sent>> {
    (1..=3).map(|number| vec![Sent::new(number, format!("Subject: {number}\r\n\r\n").repeat(20))]).collect()
}

#[test]
fn a_torn_tail_is_told_and_all_before_it_is_there() {
    let batches = three();
    let whole = segment(&batches);
    let last = scanned(&whole).records[2];
    let (start, end) =
        (usize::try_from(last.offset).expect("small"), last.content_start() + last.content_bytes);
    for cut in start..usize::try_from(end).expect("small") {
        for rest in [0, 0xff] {
            let mut torn = whole.clone();
            torn[cut..].fill(rest);
            let scan = scanned(&torn);
            assert_eq!(contents(&torn), [batches[0][0].content(), batches[1][0].content()], "cut at {cut}");
            let is_unused = cut == start && rest == 0;
            assert_eq!(scan.gaps.iter().map(|gap| gap.kind).next(), (!is_unused).then_some(GapKind::Torn));
        }
        assert_eq!(contents(&whole[..cut]).len(), 2, "the file ends at {cut}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_told_and_never_shown() {
    let batches = three();
    let whole = segment(&batches);
    for index in 0..3 {
        let record = scanned(&whole).records[index];
        let others: Vec<_> =
            (0..3).filter(|other| *other != index).map(|other| batches[other][0].content()).collect();
        let end = usize::try_from(record.content_start() + record.content_bytes).expect("small");
        for at in usize::try_from(record.offset).expect("small")..end {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            let scan = scanned(&flipped);
            assert_eq!(contents(&flipped), others, "octet {at}");
            let kind = if index == 2 { GapKind::Torn } else { GapKind::Damage };
            assert_eq!(scan.gaps.len(), 1, "octet {at}");
            assert_eq!((scan.gaps[0].from, scan.gaps[0].kind), (record.offset, kind), "octet {at}");
        }
        // Padding is covered by nothing and matters to nobody.
        let mut flipped = whole.clone();
        flipped[end] ^= 1;
        assert_eq!(contents(&flipped).len(), 3);
    }
}

#[test]
fn a_flipped_bit_in_the_header_of_a_segment_hides_no_other_segment() {
    let mut octets = segment(&three());
    octets[20] ^= 1;
    assert_eq!(scan(octets.as_slice()).expect("memory"), Err(NoSegment::Damaged));
    assert_eq!(scan(&octets[..10]).expect("memory"), Err(NoSegment::Damaged));
}

#[test]
fn stale_octets_of_an_earlier_use_never_pass_as_records() {
    let before = segment(&three());
    let header = SegmentHeader { salt: 42, sequence: 9, bytes: SEGMENT_BYTES, is_zeroed: false };
    let mut recycled = before.clone();
    recycled[..48].copy_from_slice(&header.encode());
    let scan = scanned(&recycled);
    assert_eq!((scan.records.len(), scan.gaps.len()), (0, 0));
    // The new use has overwritten the first batch of the old one.
    let now = segment(&[vec![Sent::new(7, "new\r\n")]]);
    let mut mixed = before;
    let (header, batch) = (usize::try_from(SEGMENT_HEADER_BYTES).expect("small"), 2 * 4096);
    mixed[..batch].copy_from_slice(&now[..batch]);
    assert!(header < batch);
    assert_eq!(contents(&mixed), [Sent::new(7, "new\r\n").content()]);
}

#[test]
fn mail_data_that_looks_like_records_is_not_taken_for_some() {
    // The worst a sender could do: whole frames at every place, even with the right offsets, but without the
    // salt.
    let forged = segment(&[vec![Sent::new(1, "forged")], vec![Sent::new(2, "forged")]]);
    let hostile = Sent { received: vec![b'x'; 512 - 64 - 200], ..Sent::new(3, &forged[4096..12 * 1024]) };
    let mut octets = segment(&[vec![hostile.clone()], vec![Sent::new(4, "good")]]);
    assert_eq!(contents(&octets), [hostile.content(), Sent::new(4, "good").content()]);
    octets[4096] ^= 1;
    assert_eq!(contents(&octets), [Sent::new(4, "good").content()]);
    assert_eq!(scanned(&octets).gaps[0].kind, GapKind::Damage);
}

fn open(path: &Path) -> Opened {
    let kind = SinkKind::Spool(config::Spool {
        path: path.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        direct_writes: true,
    });
    sink::open(
        &config::Sink {
            kind,
            workers: 1,
            space_reserve: None,
            dsn: false,
            requiretls: false,
            cut_through: false,
        },
        &surroundings(&Arc::default()),
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

fn start(opened: Opened) -> Box<dyn Sink> {
    opened.workers.into_iter().next().expect("a worker")().expect("a sink")
}

#[test]
fn a_restart_tells_of_damage_keeps_it_and_begins_a_new_segment() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let opened = open(path);
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    let mut sink = start(opened);
    for batch in three() {
        store(&mut *sink, &batch);
    }
    drop(sink);
    fs::write(path.join("0000000000000007.segment.new"), "left by a crash").expect("a file");
    let first: PathBuf = reader::segments(path).expect("a spool")[0].1.clone();
    let mut octets = fs::read(&first).expect("a segment");
    octets[4096 + 100] ^= 1;
    fs::write(&first, &octets).expect("a segment");

    let opened = open(path);
    assert_eq!(opened.notes[0], "2 messages in the newest 1 of 1 segments");
    assert!(opened.notes[1].contains("DAMAGE from octet 4096 to 8192"), "{:?}", opened.notes);
    assert!(opened.notes[2].contains("no consumer says what it consumed"), "{:?}", opened.notes);
    let mut sink = start(opened);
    store(&mut *sink, &[Sent::new(9, "after the restart")]);
    assert!(fs::read(&first).expect("a segment") == octets, "nothing is changed in an old segment");
    // Its end takes the segment away that was ready.
    drop(sink);
    let names: Vec<_> = reader::segments(path).expect("a spool").iter().map(|(number, _)| *number).collect();
    assert_eq!(names, [1, 2]);
    assert!(!path.join("0000000000000007.segment.new").exists());
    let mut listing = Vec::new();
    let notes = reader::list(path, None, &mut listing).expect("a spool");
    assert_eq!(notes.len(), 1);
    assert_eq!(String::from_utf8_lossy(&listing).lines().count(), 3);
}

#[test]
fn a_follower_of_a_segment_that_was_removed_unused_goes_on_with_the_next_one_of_its_number() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let mut contents = Vec::new();
    let mut take = |follower: &mut Follower| {
        let mut take = |found: Followed| {
            contents.push(found.content);
            Ok(())
        };
        while follower.advance(&mut |note| panic!("{note}"), &mut take).expect("readable") {}
        contents.len()
    };
    let sink = start(open(path));
    let mut follower = Follower::new(path, None, false, &mut |note| panic!("{note}")).expect("a spool");
    assert_eq!(take(&mut follower), 0);
    assert_eq!(follower.at().map(|at| at.sequence), Some(1), "it is in the segment that was made ahead");
    drop(sink);
    let mut sink = start(open(path));
    let sent: Vec<Sent> = (0..20).map(|number| Sent::new(number, vec![b'x'; 6000])).collect();
    for one in sent.chunks(1) {
        assert_eq!(store(&mut *sink, one), [Outcome::Stored]);
    }
    let until = Instant::now() + Duration::from_mins(1);
    while take(&mut follower) < sent.len() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(contents, sent.iter().map(Sent::content).collect::<Vec<_>>());
}

#[test]
fn a_message_larger_than_a_segment_has_its_own() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut sink = start(open(directory.path()));
    let large = Sent::new(2, vec![b'x'; 100_000]);
    let sent = [Sent::new(1, "a"), large, Sent::new(3, "b")];
    assert_eq!(store(&mut *sink, &sent), [Outcome::Stored; 3]);
    for sent in &sent {
        let mut shown = Vec::new();
        assert!(reader::show(directory.path(), sent.id, reader::View::Content, &mut shown).expect("a spool"));
        assert!(shown == sent.content());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_stored_is_found(batches in prop::collection::vec(prop::collection::vec(
        (prop::collection::vec(any::<u8>(), 0..3000), 1..5_usize), 1..6), 1..6))
    {
        let mut number = 0;
        let batches: Vec<Vec<Sent>> = batches.into_iter().map(|batch| batch.into_iter().map(|(data, recipients)| {
            number += 1;
            Sent::new(number, data).to(&["a", "b", "c", "d"][..recipients])
        }).collect()).collect();
        let disk = Simulated::new(1);
        let report = Arc::new(Reports::default()) as Arc<dyn Report>;
        let mut spool = Spool::new(Path::new("/spool"), SEGMENT_BYTES, 1, disk.clone(), report);
        for batch in &batches {
            store(&mut spool, batch);
        }
        let sent = batches.concat();
        let mut found = Vec::new();
        for octets in disk.seen().values() {
            let scan = scanned(octets);
            prop_assert!(scan.gaps.is_empty());
            for record in &scan.records {
                let start = usize::try_from(record.envelope_start()).expect("small");
                let end = usize::try_from(record.content_start()).expect("small");
                let stored = envelope::decode(&octets[start..end]).expect("readable");
                found.push((stored.id, stored.envelope.recipients().len(), content(octets, record).to_vec()));
            }
        }
        let expected: Vec<_> = sent.iter().map(|sent| (sent.id, sent.recipients.len(), sent.content())).collect();
        prop_assert!(found == expected);
    }

    #[test]
    fn any_octets_are_scanned_without_harm(mut octets in prop::collection::vec(any::<u8>(), 48..20_000)) {
        let header = SegmentHeader { salt: 1, sequence: 1, bytes: u64::MAX, is_zeroed: true };
        octets[..48].copy_from_slice(&header.encode());
        let found = scan(octets.as_slice()).expect("memory").expect("a segment");
        prop_assert!(found.records.is_empty());
    }
}
