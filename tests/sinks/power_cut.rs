//! Cuts the power at every step of a plan and looks at what the disk may hold then; fails every operation;
//! takes away every sync. The simulated disk keeps or loses each effect that was not synced for itself.

mod doubt;
mod marked;
mod shared;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ringmx::config::LineEndings;
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink::executor::simulated::{Fault, Image, Simulated};
use ringmx::sink::maildir::{Commit, Maildir, MaildirSettings};
use ringmx::sink::permission::Permission;
use ringmx::sink::plan::Action;
use ringmx::sink::spool::format::RecordHeader;
use ringmx::sink::spool::{Spool, envelope, scan};
use ringmx::sink::{Report, Sink};

use support::sink::{Reports, Sent, store, surroundings};

/// How often each message is there, by its index.
type Copies = BTreeMap<usize, usize>;

/// A sink on a simulated disk, and how to find messages in what is left of it.
struct Kind {
    name: &'static str,
    make: fn(Simulated, &Arc<Reports>) -> Box<dyn Sink>,
    /// The messages in an image with how often each is there, or what should not be there.
    find: fn(&Image, &[Sent]) -> Result<Copies, String>,
    /// How often a message is there when it is stored.
    copies: fn(&Sent) -> usize,
    /// What files are given, if anything.
    permission: Option<Permission>,
}

const MAILDIR: Kind = Kind {
    name: "maildir",
    make: |disk, reports| Box::new(Maildir::new(maildir_settings(reports), disk)),
    find: find_in_maildirs,
    copies: |sent| sent.recipients.len(),
    permission: None,
};

/// One sync of the file system for all files and names of a batch.
const MAILDIR_BATCH: Kind = Kind {
    name: "maildir, batch",
    make: |disk, reports| Box::new(Maildir::new(maildir_settings(reports).commit_by(Commit::Batch), disk)),
    ..MAILDIR
};

/// One for the files, one for the names.
const MAILDIR_TWICE: Kind = Kind {
    name: "maildir, twice",
    make: |disk, reports| Box::new(Maildir::new(maildir_settings(reports).commit_by(Commit::Twice), disk)),
    ..MAILDIR
};

fn maildir_settings(reports: &Arc<Reports>) -> MaildirSettings {
    MaildirSettings::new(
        Path::new("/store"),
        "{domain}/{local}",
        false,
        LineEndings::Lf,
        surroundings(reports),
    )
    .expect("a template")
}

fn find_in_maildirs(image: &Image, sent: &[Sent]) -> Result<Copies, String> {
    let mut found = BTreeMap::new();
    for (path, octets) in image {
        let Some((directory, _)) = path.split_once("/new/") else {
            assert!(path.contains("/tmp/") || path.contains(".ringmx-marker-"), "{path}");
            continue;
        };
        let of = sent.iter().position(|sent| {
            (0..sent.recipients.len()).any(|recipient| {
                let local_part = String::from_utf8_lossy(&sent.recipients[recipient].0);
                directory.strip_suffix("/.Junk").filter(|_| sent.is_suspicious).unwrap_or(directory)
                    == format!("x.test/{local_part}")
                    && *octets == sent.file(recipient, true)
            })
        });
        *found.entry(of.ok_or_else(|| format!("{path} is partial or altered"))?).or_default() += 1;
    }
    Ok(found)
}

const SPOOL: Kind = Kind { name: "spool", make: spool, find: find_in_spool, copies: |_| 1, permission: None };

/// Batches with large messages, each in a file of its own.
const SPOOL_FILES: Kind = Kind { name: "spool, files", ..SPOOL };

fn spool(disk: Simulated, reports: &Arc<Reports>) -> Box<dyn Sink> {
    let report = Arc::clone(reports) as Arc<dyn Report>;
    let mut spool = Spool::new(Path::new("/store"), 16 * 1024, 1, disk, report);
    spool.prepare();
    Box::new(spool)
}

fn find_in_spool(image: &Image, sent: &[Sent]) -> Result<Copies, String> {
    let mut found = BTreeMap::new();
    for (path, octets) in image {
        if !path.ends_with(".segment") {
            assert!(path.ends_with(".segment.new") || path.ends_with(".message"), "{path}");
            continue;
        }
        let Ok(scan) = scan::scan(octets.as_slice()).expect("memory") else { continue };
        if let Some(gap) = scan.gaps.iter().find(|gap| gap.kind == scan::GapKind::Damage) {
            return Err(format!("{path}: a power cut is no damage: {gap:?}"));
        }
        for record in scan.records {
            let Some(content) = whole_content(image, octets, scan.segment.sequence, &record) else {
                continue;
            };
            let of = sent.iter().position(|sent| sent.content() == content);
            *found.entry(of.ok_or_else(|| format!("{path}: partial or altered"))?).or_default() += 1;
        }
    }
    Ok(found)
}

/// The content of a record with that of its file. None where the file is not what the record says: the
/// message is not there.
fn whole_content(image: &Image, segment: &[u8], sequence: u64, record: &RecordHeader) -> Option<Vec<u8>> {
    let at = |offset| usize::try_from(offset).expect("small");
    let (start, end) = (at(record.content_start()), at(record.content_start() + record.content_bytes));
    let envelope = envelope::decode(&segment[at(record.envelope_start())..start]).expect("readable");
    let mut content = segment[start..end].to_vec();
    if let Some(facts) = envelope.file {
        let file = image.get(&envelope::message_file_name(sequence, record.offset))?;
        if file.len() as u64 != facts.bytes || crc32c::crc32c(file) != facts.crc32c {
            return None;
        }
        content.extend_from_slice(file);
    }
    Some(content)
}

const KINDS: [Kind; 11] = [
    MAILDIR,
    MAILDIR_BATCH,
    MAILDIR_TWICE,
    shared::MAILDIR,
    shared::MAILDIR_BATCH,
    shared::MAILDIR_TWICE,
    marked::MAILDIR,
    marked::MAILDIR_BATCH,
    marked::MAILDIR_TWICE,
    SPOOL,
    SPOOL_FILES,
];

/// A run: batches stored on a disk, and when each was answered.
struct Run {
    disk: Simulated,
    sent: Vec<Sent>,
    outcomes: Vec<Outcome>,
    /// The point in time at which the outcome of each message was known.
    answered_at: Vec<usize>,
}

impl Run {
    fn new(
        kind: &Kind,
        batches: &[Vec<Sent>],
        faults: impl FnMut(usize, &Action<'_>) -> Option<Fault> + 'static,
    ) -> Self {
        let disk = Simulated::new(7);
        disk.set_faults(faults);
        let reports = Arc::new(Reports::default());
        let mut sink = (kind.make)(disk.clone(), &reports);
        let (mut outcomes, mut answered_at) = (Vec::new(), Vec::new());
        for batch in batches {
            outcomes.extend(store(&mut *sink, batch));
            answered_at.resize(outcomes.len(), disk.now());
        }
        Self { disk, sent: batches.concat(), outcomes, answered_at }
    }

    /// Checks everything that the disk may hold after a power cut at any time.
    fn check_cuts(&self, kind: &Kind) -> Result<(), String> {
        (0..=self.disk.now()).try_for_each(|cut| {
            let pending = self.disk.pending(cut);
            for kept in subsets(pending) {
                let mut bits = kept.iter();
                let (mut image, permissions) =
                    self.disk.cut(cut, || bits.next().copied().unwrap_or_default());
                if let Some(permission) = kind.permission {
                    image = shared::of_use(permission, image, &permissions);
                }
                self.check_image(kind, &image, cut)
                    .map_err(|what| format!("{}: cut at {cut}: {what}", kind.name))?;
            }
            Ok(())
        })
    }

    /// Everything there is whole, and everything answered by then is there.
    fn check_image(&self, kind: &Kind, image: &Image, cut: usize) -> Result<(), String> {
        let found = (kind.find)(image, &self.sent)?;
        for (index, sent) in self.sent.iter().enumerate() {
            let copies = found.get(&index).copied().unwrap_or_default();
            let is_promised = self.outcomes[index] == Outcome::Stored && self.answered_at[index] <= cut;
            if copies > (kind.copies)(sent) || is_promised && copies < (kind.copies)(sent) {
                return Err(format!("message {index} is there {copies} times"));
            }
        }
        Ok(())
    }
}

/// Which of so many effects a power cut keeps: all subsets of a few; none, all, each one alone, all but each
/// one and some at random of many.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    if count <= 7 {
        return (0..1_usize << count)
            .map(|bits| (0..count).map(|bit| bits >> bit & 1 == 1).collect())
            .collect();
    }
    let mut subsets = vec![vec![false; count], vec![true; count]];
    for one in 0..count {
        subsets.push((0..count).map(|bit| bit == one).collect());
        subsets.push((0..count).map(|bit| bit != one).collect());
    }
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..16 {
        subsets.push(
            (0..count)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random & 1 == 1
                })
                .collect(),
        );
    }
    subsets
}

/// Batches for a kind of sink.
fn batches(kind: &Kind) -> Vec<Vec<Sent>> {
    if marked::MARKED.iter().any(|marked| marked.name == kind.name) {
        return marked::batches();
    }
    let mut batches = small_batches();
    if kind.name == SPOOL_FILES.name {
        // The first batch stays small, so that nothing but its own syncs makes the segment durable.
        let large = |number| {
            let data = vec![b'0' + u8::try_from(number).expect("small"); 1500];
            Sent::new(number, data).spilled(1100, &std::env::temp_dir())
        };
        batches[1] = vec![large(3), Sent::new(4, "Subject: 4\r\n"), large(5)];
    }
    batches
}

fn small_batches() -> Vec<Vec<Sent>> {
    vec![
        vec![Sent::new(1, "Subject: 1\r\n\r\none\r\n").to(&["alice", "bob"]), Sent::new(2, "Subject: 2\r\n")],
        vec![Sent::new(3, vec![b'x'; 1500])],
    ]
}

fn honest(_: usize, _: &Action<'_>) -> Option<Fault> {
    None
}

#[test]
fn a_power_cut_at_any_step_loses_no_accepted_message_and_shows_no_part_of_one() {
    for kind in KINDS {
        let run = Run::new(&kind, &batches(&kind), honest);
        assert!(run.outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{}", kind.name);
        run.check_cuts(&kind).unwrap_or_else(|what| panic!("{what}"));
    }
    for kind in [MAILDIR_BATCH, MAILDIR_TWICE] {
        let run = Run::new(&kind, &batches_to_many(), honest);
        assert_eq!(run.outcomes, [Outcome::Stored]);
        run.check_cuts(&kind).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn a_maildir_keeps_a_bounded_number_of_files_open_however_many_recipients_there_are() {
    let names: Vec<String> = (0..300).map(|number| format!("user{number}")).collect();
    let sent = Sent::new(1, "Subject: 1\r\n").to(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for kind in [MAILDIR, MAILDIR_BATCH, MAILDIR_TWICE] {
        let run = Run::new(&kind, &[vec![sent.clone()]], honest);
        assert_eq!(run.outcomes, [Outcome::Stored], "{}", kind.name);
        assert_eq!((kind.find)(&run.disk.seen(), &run.sent).map(|found| found[&0]), Ok(300), "{}", kind.name);
        assert!((1..=128).contains(&run.disk.most_open()), "{}: {}", kind.name, run.disk.most_open());
        // Of a message that fails with many files open they are closed before those of the next.
        for is_last in [(|action| matches!(action, Action::Write(..))) as fn(&Action<'_>) -> bool, |action| {
            matches!(action, Action::AwaitWriteback(_) | Action::Close(_))
        }] {
            let mut left = 100;
            let run = Run::new(&kind, &[vec![sent.clone(), sent.clone()]], move |_, action| {
                left -= i32::from(is_last(action));
                (left == 0 && is_last(action)).then_some(Fault::Error(libc::EIO))
            });
            // Which one depends on the order in which files were written.
            let failed =
                run.outcomes.iter().filter(|outcome| **outcome == Outcome::TryAgain(TryAgain::Local));
            assert_eq!(failed.count(), 1, "{}: {:?}", kind.name, run.outcomes);
            assert!((1..=128).contains(&run.disk.most_open()), "{}: {}", kind.name, run.disk.most_open());
        }
    }
}

/// The kind of a sync, or of a wait for what is written back; none for any other action.
fn sync_kind(action: &Action<'_>) -> Option<&'static str> {
    match action {
        // The sync of a fresh segment saves the first batch its size and its zeros; that batch's own sync
        // would make them durable too.
        Action::SyncFile(file) => (!file.name.contains(".new")).then_some("file"),
        Action::SyncFileWhole(_) => Some("whole file"),
        Action::AwaitWriteback(_) => Some("written-back file"),
        Action::SyncDirectory(_) => Some("directory"),
        Action::SyncFilesystem => Some("file system"),
        _ => None,
    }
}

/// Runs with each sync left out in turn: its kind, what it was of, and what the power cuts found.
fn without_each_sync(kind: &Kind, batches: &[Vec<Sent>]) -> Vec<(&'static str, String, Result<(), String>)> {
    let steps = Run::new(kind, batches, honest).disk.performed();
    let mut found = Vec::new();
    for step in 0..steps {
        let left_out = Rc::new(Cell::new(None));
        let seen = Rc::clone(&left_out);
        let run = Run::new(kind, batches, move |number, action| {
            if number != step {
                return None;
            }
            let sync = sync_kind(action);
            seen.set(sync.map(|sync| (sync, action.path())));
            sync.map(|_| Fault::Lie)
        });
        if let Some((sync, path)) = left_out.take() {
            found.push((sync, path, run.check_cuts(kind)));
        }
    }
    found
}

/// To many mailboxes, so that a batch syncs the file system for its directories too.
fn batches_to_many() -> Vec<Vec<Sent>> {
    vec![vec![
        Sent::new(1, "Subject: 1\r\n\r\none\r\n").to(&["alice", "bob", "carol", "dave", "erin", "frank"]),
    ]]
}

#[test]
fn without_any_one_of_its_syncs_a_plan_would_lose_messages() {
    let kinds_of = |found: &[(&'static str, String, Result<(), String>)]| {
        found.iter().map(|(sync, ..)| *sync).collect::<BTreeSet<_>>()
    };
    for (kind, batches, expected) in [
        (MAILDIR, batches(&MAILDIR), ["directory", "file"].as_slice()),
        (MAILDIR_BATCH, batches(&MAILDIR_BATCH), &["file system", "written-back file"]),
        (MAILDIR_TWICE, batches(&MAILDIR_TWICE), &["directory", "file system"]),
        (MAILDIR_TWICE, batches_to_many(), &["directory", "file system"]),
        (shared::MAILDIR, batches(&shared::MAILDIR), &["directory", "whole file"]),
        (shared::MAILDIR_BATCH, batches(&shared::MAILDIR_BATCH), &["file system", "written-back file"]),
        (shared::MAILDIR_TWICE, batches(&shared::MAILDIR_TWICE), &["directory", "file system"]),
        (marked::MAILDIR, marked::batches(), &["directory", "file"]),
        (marked::MAILDIR_BATCH, marked::batches(), &["file system", "written-back file"]),
        (marked::MAILDIR_TWICE, marked::batches(), &["directory", "file system"]),
        (marked::MAILDIR_SHARED, marked::batches(), &["file system", "written-back file"]),
        (SPOOL, batches(&SPOOL), &["directory", "file"]),
        (SPOOL_FILES, batches(&SPOOL_FILES), &["directory", "file"]),
    ] {
        let found = without_each_sync(&kind, &batches);
        for (sync, path, cuts) in &found {
            match cuts {
                Err(what) => println!("without the sync of the {sync} {path:?}, as it has to be: {what}"),
                // After a sync of the file system it flushes a disk whose ext4 has no journal, which the
                // simulated one is not.
                Ok(()) if kind.name.ends_with(MAILDIR_TWICE.name) && path.is_empty() => {}
                Ok(()) => panic!("{}: the sync of the {sync} {path:?} could be left out", kind.name),
            }
        }
        assert_eq!(kinds_of(&found), expected.iter().copied().collect(), "{}", kind.name);
        assert!(found.len() >= 2, "{}: {} syncs", kind.name, found.len());
    }
}

#[test]
fn every_operation_may_fail_and_only_its_messages_fail_with_it() {
    for kind in KINDS {
        let steps = Run::new(&kind, &batches(&kind), honest).disk.performed();
        for (error, why) in [
            (libc::EIO, TryAgain::Local),
            (libc::EROFS, TryAgain::Local),
            (libc::ENOSPC, TryAgain::NoSpace),
            (libc::EDQUOT, TryAgain::NoSpace),
        ] {
            for step in 0..steps {
                let run = Run::new(&kind, &batches(&kind), move |number, _| {
                    (number == step).then_some(Fault::Error(error))
                });
                let at = format!("{}: error {error} at {step}", kind.name);
                for outcome in &run.outcomes {
                    let is_expected = match outcome {
                        Outcome::Stored => true,
                        Outcome::TryAgain(given) => *given == why,
                        Outcome::Refused(_) => false,
                    };
                    assert!(is_expected, "{at}: {outcome:?}");
                }
                // Nothing of a message that failed stays visible.
                let found =
                    (kind.find)(&run.disk.seen(), &run.sent).unwrap_or_else(|what| panic!("{at}: {what}"));
                for (index, outcome) in run.outcomes.iter().enumerate() {
                    assert_eq!(
                        found.contains_key(&index),
                        *outcome == Outcome::Stored,
                        "{at}: message {index}"
                    );
                }
                // A failure in one batch is over in the next.
                assert!(
                    run.outcomes[..2].contains(&Outcome::Stored)
                        || run.outcomes[2..].contains(&Outcome::Stored),
                    "{at}: {:?}",
                    run.outcomes
                );
                // The images are those of the honest run but for the failure, so one error number is enough.
                if error == libc::EIO {
                    run.check_cuts(&kind).unwrap_or_else(|what| panic!("{at}: {what}"));
                }
            }
        }
    }
}

#[test]
fn a_disk_that_fails_for_good_accepts_nothing_more_and_loses_nothing() {
    for kind in KINDS {
        let steps = Run::new(&kind, &batches(&kind), honest).disk.performed();
        for step in 0..steps {
            let run = Run::new(&kind, &batches(&kind), move |number, _| {
                (number >= step).then_some(Fault::Error(libc::EIO))
            });
            assert!(
                step + 1 >= steps || run.outcomes.contains(&Outcome::TryAgain(TryAgain::Local)),
                "step {step}"
            );
            run.check_cuts(&kind).unwrap_or_else(|what| panic!("from step {step} on: {what}"));
        }
    }
}

#[test]
fn no_file_is_written_or_synced_again_after_it_failed() {
    for kind in KINDS {
        let steps = Run::new(&kind, &batches(&kind), honest).disk.performed();
        for step in 0..steps {
            let failed: Rc<RefCell<Option<String>>> = Rc::default();
            let again = Rc::new(RefCell::new(false));
            let (note, noted) = (Rc::clone(&failed), Rc::clone(&again));
            Run::new(&kind, &batches(&kind), move |number, action| {
                let file = match action {
                    Action::Write(file, ..)
                    | Action::StartWriteback(file)
                    | Action::AwaitWriteback(file)
                    | Action::SyncFile(file)
                    | Action::SyncFileWhole(file) => file.to_string(),
                    _ => return None,
                };
                if number == step {
                    *note.borrow_mut() = Some(file);
                    return Some(Fault::Error(libc::EIO));
                }
                if note.borrow().as_ref() == Some(&file) {
                    *noted.borrow_mut() = true;
                }
                None
            });
            assert!(!*again.borrow(), "{}: {:?} after step {step}", kind.name, failed.borrow());
        }
    }
}
