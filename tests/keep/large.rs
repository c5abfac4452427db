//! Large messages, which have a file beside their record: copied piece by piece, or linked on a real disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringmx::forward::keep::{Change, Folder, Keeper, LATER, Place, Recipients, Settings, Why, list, read};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::Report;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::spool::{Spool, reader};
use support::sink::{Reports, Sent, store};

use crate::engine::{Act, wait};
use crate::power_cut::{FEW, check_cuts, honest, life};

fn large(number: u64) -> Sent {
    let data = vec![b'0' + u8::try_from(number).expect("small"); 2500];
    Sent::new(number, data).to(&["alice", "bob"]).spilled(1100, &std::env::temp_dir())
}

#[test]
fn files_of_large_messages_are_durable_before_their_records() {
    let mut messages = crate::power_cut::messages();
    for number in [1, 2, 3] {
        let few = messages[number].recipients.clone();
        messages[number] = large(number as u64);
        messages[number].recipients = few;
    }
    let (mut engine, begun) = life(&messages, honest).expect("an honest disk");
    engine.commit(&[Act::Later(1, vec![1], 9)]);
    check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("{what}"));
    let seen = engine.disk.seen();
    assert!(seen.keys().any(|path| path.starts_with("forward/dead/") && path.ends_with(".message")));
}

fn open(path: &Path, reports: &Arc<Reports>, settings: Settings) -> Keeper {
    let root = fs::File::open(path).expect("a directory").into();
    let report = Arc::clone(reports) as Arc<dyn Report>;
    let executor = Box::new(Blocking::with_direct_writes(root));
    Keeper::open(executor, Box::new(Folder(path.to_owned())), settings, report)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn message_files(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "message")).collect()
}

/// The log and the keeper on a real disk; every reader of a spool reads `later/`.
#[test]
fn on_a_real_disk_files_are_linked_and_readers_of_the_spool_read_them() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path();
    let reports = Arc::new(Reports::default());
    let executor = Blocking::new(fs::File::open(path).expect("a directory").into());
    let report = Arc::clone(&reports) as Arc<dyn Report>;
    let mut spool = Spool::new(path, 64 * 1024, 1, executor, report);
    let sent: Vec<Sent> = (0..6)
        .map(|number| {
            let data = vec![b'a' + u8::try_from(number).expect("small"); 200_000];
            Sent::new(number, data).to(&["alice", "bob"]).spilled(150_000, path)
        })
        .collect();
    assert_eq!(store(&mut spool, &sent), vec![Outcome::Stored; 6]);
    let mut log = Vec::new();
    reader::for_each_record(path, None, &mut reader::Notes::default(), |segment, record, _| {
        log.push(segment.cursor(record));
        Ok(())
    })
    .expect("a spool");
    let settings = Settings { segment_bytes: 16 * 1024, ..Settings::default() };
    let mut keeper = open(path, &reports, settings);
    let mut changes: Vec<Change> = log.iter().map(|at| Change::Read { at: *at, recipients: 2 }).collect();
    for (number, at) in (0..).zip(&log) {
        let (place, recipients, wait) = (Place::Log(*at), Recipients::first(2), wait(number));
        changes.push(Change::Later { place, recipients, wait });
    }
    let results = keeper.commit(&changes);
    let places: Vec<Place> = results.into_iter().filter_map(|result| result.expect("durable")).collect();
    assert_eq!((places.len(), keeper.state().consumed()), (6, log.last().copied()));
    let later = path.join(LATER);
    let files = message_files(&later);
    assert!(files.len() == 6 && files.iter().all(|file| file.metadata().expect("a file").nlink() == 2));
    for sent in &sent {
        let mut shown = Vec::new();
        assert!(reader::show(&later, sent.id, reader::View::Content, &mut shown).expect("a spool"));
        assert!(shown == sent.content());
    }
    let mut listing = Vec::new();
    assert_eq!(reader::list(&later, None, &mut listing).expect("a spool"), [""; 0]);
    assert_eq!(String::from_utf8(listing).expect("text").lines().count(), 6);
    // The receiver recycles the log.
    for file in message_files(path) {
        fs::remove_file(file).expect("removed");
    }
    // Killed; and one of them is given up, out of `later/`.
    keeper = open(path, &reports, settings);
    let given_up = Change::Dead {
        place: places[0],
        recipients: Recipients::one(1),
        died_at: 7,
        why: Why::Expired,
        reply: "451 later".to_owned(),
    };
    assert!(matches!(keeper.commit(&[given_up])[..], [Ok(Some(Place::Dead(_)))]));
    let all = |keeper: &mut Keeper, places: &[Place]| {
        let sent: Vec<Change> = places
            .iter()
            .map(|place| Change::Sent { place: *place, recipients: Recipients::one(0) })
            .collect();
        assert!(keeper.commit(&sent).iter().all(Result::is_ok));
    };
    all(&mut keeper, &places);
    let files = Folder(path.to_owned());
    let mut listed = Vec::new();
    list(&files, |found| {
        let envelope = found.envelope.expect("readable");
        listed.push((found.waiting.place, envelope.id, found.content_bytes, found.waiting.recipients));
        Ok(())
    })
    .expect("a journal");
    assert_eq!(listed.len(), 6);
    assert_eq!(listed[0], (places[1], sent[1].id, sent[1].content().len() as u64, Recipients::one(1)));
    assert!(matches!(listed[5].0, Place::Dead(_)) && listed[5].1 == sent[0].id);
    // Everything is sent, and nothing is left but the segment that is written to.
    let rest: Vec<Change> = places[1..]
        .iter()
        .map(|place| Change::Sent { place: *place, recipients: Recipients::one(1) })
        .collect();
    assert!(keeper.commit(&rest).iter().all(Result::is_ok));
    assert!(message_files(&later).is_empty());
    assert_eq!(read(&files).expect("a journal").waiting_count(), 0);
    assert_eq!(reports.take(), [""; 0]);
}
