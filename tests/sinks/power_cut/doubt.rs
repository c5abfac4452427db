//! File systems whose journal was given up, and names that are in doubt since a sync failed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink::executor::simulated::{Fault, Simulated};
use ringmx::sink::plan::Action;
use support::sink::{Sent, store};

use super::{KINDS, Kind, MAILDIR, MAILDIR_BATCH, MAILDIR_TWICE, Run, batches, honest};

/// Counts stages with probes: a maildir whose files are synced each for itself probes every directory that it
/// used.
#[derive(Default)]
struct ProbeStages {
    begun: usize,
    is_in_one: bool,
}

impl ProbeStages {
    /// The number of the stage that this probe is in; none for any other action.
    fn next(&mut self, action: &Action<'_>) -> Option<usize> {
        let is_probe = matches!(action, Action::ProbeJournal(_));
        self.begun += usize::from(is_probe && !self.is_in_one);
        self.is_in_one = is_probe;
        is_probe.then(|| self.begun - 1)
    }
}

/// Runs in which the journal is given up just before each sync in turn, which then says that all is well. The
/// probes of the stage of that number, if one is given, find nothing. What the power cuts found in each run.
fn with_a_journal_given_up(kind: &Kind, blind: Option<usize>) -> Vec<Result<(), String>> {
    let steps = Run::new(kind, &batches(kind), honest).disk.performed();
    let run_to = |step| {
        let is_sync = Rc::new(Cell::new(false));
        let seen = Rc::clone(&is_sync);
        let mut stages = ProbeStages::default();
        let run = Run::new(kind, &batches(kind), move |number, action| {
            let stage = stages.next(action);
            match action {
                Action::SyncFile(_) | Action::SyncDirectory(_) | Action::SyncFilesystem if number == step => {
                    seen.set(true);
                    Some(Fault::GiveUp)
                }
                _ => (stage.is_some() && stage == blind).then_some(Fault::Lie),
            }
        });
        is_sync.get().then(|| run.check_cuts(kind))
    };
    (0..steps).filter_map(run_to).collect()
}

#[test]
fn a_journal_given_up_behind_our_back_loses_nothing_where_it_is_probed() {
    for kind in KINDS {
        let found = with_a_journal_given_up(&kind, None);
        assert!(found.len() >= 2, "{}: {} syncs", kind.name, found.len());
        for cuts in found {
            cuts.unwrap_or_else(|what| panic!("{what}"));
        }
        let probed = Rc::new(Cell::new(0));
        let seen = Rc::clone(&probed);
        let mut stages = ProbeStages::default();
        Run::new(&kind, &batches(&kind), move |_, action| {
            seen.set(stages.next(action).map_or(seen.get(), |stage| stage + 1));
            None
        });
        assert!(probed.get() >= 1, "{}", kind.name);
        for blind in 0..probed.get() {
            let lost = with_a_journal_given_up(&kind, Some(blind)).into_iter().find_map(Result::err);
            println!("without probe {blind}, as it has to be: {}", lost.expect("mail is lost"));
        }
    }
}

#[test]
fn a_maildir_whose_files_are_synced_each_probes_every_directory_for_it_may_be_a_mount_point() {
    for (kind, expected) in [
        (MAILDIR, ["x.test/alice/new", "x.test/bob/new"].as_slice()),
        (MAILDIR_BATCH, &[""]),
        (MAILDIR_TWICE, &[""]),
    ] {
        let probed = Rc::new(RefCell::new(BTreeSet::new()));
        let seen = Rc::clone(&probed);
        Run::new(&kind, &[vec![Sent::new(1, "Subject: 1\r\n").to(&["alice", "bob"])]], move |_, action| {
            if let Action::ProbeJournal(directory) = action {
                seen.borrow_mut().insert(directory.to_string());
            }
            None
        });
        let probed: Vec<_> = probed.take().into_iter().collect();
        assert_eq!(probed, expected, "{}", kind.name);
    }
}

/// Stores to mailboxes of one domain, one after the other, while the first sync that their names depend on
/// fails and, when told so, markers are not made. Gives the run and the markers that were asked for.
fn with_names_in_doubt(kind: &Kind, makes_markers: bool) -> (Run, usize) {
    let to = |number, recipient| Sent::new(number, "Subject: x\r\n").to(&[recipient]);
    let batches = [vec![to(1, "alice")], vec![to(2, "alice")], vec![to(3, "alice")]];
    let failed = Cell::new(false);
    let markers = Rc::new(Cell::new(0));
    let seen = Rc::clone(&markers);
    let run = Run::new(kind, &batches, move |_, action| match action {
        Action::SyncDirectory(_) | Action::SyncFilesystem if !failed.replace(true) => {
            Some(Fault::Error(libc::EIO))
        }
        Action::Create(file) if file.name.contains("marker") => {
            seen.set(seen.get() + 1);
            (!makes_markers).then_some(Fault::Lie)
        }
        _ => None,
    });
    let markers = markers.get();
    (run, markers)
}

#[test]
fn names_in_doubt_are_settled_by_a_new_change_that_is_synced_and_by_nothing_less() {
    for kind in [MAILDIR, MAILDIR_BATCH, MAILDIR_TWICE] {
        let (run, markers) = with_names_in_doubt(&kind, true);
        let expected = [Outcome::TryAgain(TryAgain::Local), Outcome::Stored, Outcome::Stored];
        assert_eq!(run.outcomes, expected, "{}", kind.name);
        assert!(markers > 0, "{}", kind.name);
        run.check_cuts(&kind).unwrap_or_else(|what| panic!("{what}"));
        assert!(run.disk.seen().keys().all(|path| !path.contains("marker")), "{}", kind.name);
        // Without the change the next sync succeeds, and mail is lost.
        let (run, _) = with_names_in_doubt(&kind, false);
        assert_eq!(run.outcomes, expected, "{}", kind.name);
        let lost = run.check_cuts(&kind).expect_err("a sync after a failed one proves nothing");
        println!("without the change, as it has to be: {lost}");
    }
}

#[test]
fn a_failed_sync_of_the_file_system_puts_names_in_doubt_that_an_earlier_message_made() {
    for kind in [MAILDIR_BATCH, MAILDIR_TWICE] {
        let to = |number, recipient| Sent::new(number, "Subject: x\r\n").to(&[recipient]);
        let batches = [vec![to(1, "alice")], vec![to(2, "bob")], vec![to(3, "alice")], vec![to(4, "bob")]];
        let failed = Cell::new(0);
        // The second message makes directories and then no file; the third finds its sync failing.
        let run = Run::new(&kind, &batches, move |_, action| {
            let is_due = match action {
                Action::Create(file) => failed.get() == 0 && file.directory.contains("bob"),
                Action::SyncFilesystem => failed.get() == 1,
                _ => false,
            };
            failed.set(failed.get() + u32::from(is_due));
            is_due.then_some(Fault::Error(libc::EIO))
        });
        let again = Outcome::TryAgain(TryAgain::Local);
        assert_eq!(run.outcomes, [Outcome::Stored, again, again, Outcome::Stored], "{}", kind.name);
        run.check_cuts(&kind).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn while_names_stay_in_doubt_mail_for_known_maildirs_is_stored_and_no_other() {
    let (disk, fails) = (Simulated::new(7), Rc::new(Cell::new(false)));
    let is_failing = Rc::clone(&fails);
    disk.set_faults(move |_, action| match action {
        Action::SyncDirectory(directory) if is_failing.get() && !directory.ends_with("/new") => {
            Some(Fault::Error(libc::ENOSPC))
        }
        _ => None,
    });
    let mut sink = (MAILDIR.make)(disk, &Arc::default());
    let to = |number, recipient| Sent::new(number, "Subject: x\r\n").to(&[recipient]);
    assert_eq!(store(&mut *sink, &[to(1, "alice")]), [Outcome::Stored]);
    fails.set(true);
    let put_off = Outcome::TryAgain(TryAgain::NoSpace);
    for number in [2, 4] {
        let batch = [to(number, "alice"), to(number + 1, "bob")];
        assert_eq!(store(&mut *sink, &batch), [Outcome::Stored, put_off]);
    }
    fails.set(false);
    assert_eq!(store(&mut *sink, &[to(6, "alice"), to(7, "bob")]), [Outcome::Stored, Outcome::Stored]);
}
