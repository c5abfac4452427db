//! A disk that fails: each operation once, for good, or with the journal of its file system given up. What
//! was told as durable is; what was refused is asked again and done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use ringmx::sink::executor::simulated::{Fault, Simulated};
use ringmx::sink::plan::Action;

use crate::book::What;
use crate::engine::{Act, Engine, store_log};
use crate::power_cut::{FEW, check_cuts, honest, life, messages};

fn end(engine: &Engine) -> Vec<What> {
    let found = engine.book.check(&engine.disk.seen(), &engine.sent, &engine.log, engine.disk.now());
    found.unwrap_or_else(|what| panic!("{what}")).into_values().collect()
}

#[test]
fn every_operation_may_fail_once_and_nothing_is_lost_by_it() {
    let (sound, _) = life(&messages(), honest).expect("an honest disk");
    let (steps, expected) = (sound.disk.performed(), end(&sound));
    let mut refused = 0;
    for step in 0..steps {
        for error in [libc::EIO, libc::ENOSPC] {
            let run = life(&messages(), move |number, _| (number == step).then_some(Fault::Error(error)));
            let (engine, begun) = run.unwrap_or_else(|| panic!("{step}: a start that failed succeeds then"));
            refused += engine.refused;
            assert_eq!(end(&engine), expected, "error {error} at {step}");
            // The images are those of the other error.
            if error == libc::EIO && step % 10 == 0 {
                check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("error at {step}: {what}"));
            }
        }
    }
    assert!(refused > 20, "{refused} changes were refused");
}

#[test]
fn a_disk_that_fails_for_good_takes_nothing_more_and_loses_nothing() {
    let steps = life(&messages(), honest).expect("an honest disk").0.disk.performed();
    for step in 0..steps {
        let run = life(&messages(), move |number, _| (number >= step).then_some(Fault::Error(libc::EIO)));
        let Some((engine, begun)) = run else { continue };
        if step % 10 == 0 {
            check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("from step {step} on: {what}"));
        }
        end(&engine);
    }
}

/// A commit whose sync failed may be whole on the disk, and name copies in a segment that is full already. A
/// start that finds it has to find them, too.
#[test]
fn copies_of_a_commit_that_failed_stay_until_the_journal_has_forgotten_it() {
    let acts = [Act::Later(2, vec![0, 1], 1), Act::Later(3, vec![0], 1), Act::Later(4, vec![0], 1)];
    let disk = Simulated::new(7);
    let sent = messages();
    let log = store_log(&disk, &sent);
    let begun = disk.now();
    let mut engine = Engine::new(disk.clone(), sent, log).expect("a start");
    let mut failed = false;
    disk.set_faults(move |_, action| match action {
        Action::SyncFile(file) if file.name == "journal" && !failed => {
            failed = true;
            Some(Fault::Error(libc::EIO))
        }
        _ => None,
    });
    assert_eq!(engine.try_commit(&acts).len(), 3, "they share a commit");
    let segments = |engine: &Engine| engine.disk.names("forward/later").len();
    assert_eq!(segments(&engine), 2);
    check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("{what}"));
    assert!(engine.try_commit(&acts).is_empty());
    check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(segments(&engine), 2, "the first ones are gone");
}

/// A full disk takes no copies, and all else goes on: so mail that is delivered makes room.
#[test]
fn where_nothing_can_be_copied_what_is_sent_is_recorded() {
    let run = life(&messages(), |_, action| {
        let is_copy = matches!(action, Action::Create(file) if file.directory.contains('/'));
        is_copy.then_some(Fault::Error(libc::ENOSPC))
    });
    // The script goes on with messages that were not copied from where they are: in the log.
    let (engine, begun) = run.expect("only copies fail");
    let found = end(&engine);
    assert!(found.contains(&What::Gone) && found.contains(&What::Log), "{found:?}");
    assert!(!found.contains(&What::Later) && !found.contains(&What::Dead), "{found:?}");
    check_cuts(&engine, begun, FEW).unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn no_file_is_written_or_synced_again_after_it_failed() {
    let steps = life(&messages(), honest).expect("an honest disk").0.disk.performed();
    for step in 0..steps {
        let failed: Rc<RefCell<Option<String>>> = Rc::default();
        let again = Rc::new(RefCell::new(None));
        let (note, noted) = (Rc::clone(&failed), Rc::clone(&again));
        drop(life(&messages(), move |number, action| {
            let file = match action {
                Action::Write(file, ..) | Action::SyncFile(file) => file.to_string(),
                // Another file has the name from now on.
                Action::Create(file) | Action::Replace(_, file) => {
                    let mut failed = note.borrow_mut();
                    if *failed == Some(file.to_string()) {
                        *failed = None;
                    }
                    return None;
                }
                _ => return None,
            };
            if number == step {
                *note.borrow_mut() = Some(file);
                return Some(Fault::Error(libc::EIO));
            }
            if note.borrow().as_ref() == Some(&file) {
                *noted.borrow_mut() = Some(number);
            }
            None
        }));
        assert_eq!(*again.borrow(), None, "{:?} after step {step}", failed.borrow());
    }
}

/// A sync need not tell that the journal of the file system was given up: what stands after it does.
#[test]
fn a_journal_that_is_given_up_loses_nothing() {
    let syncs: Rc<RefCell<Vec<usize>>> = Rc::default();
    let seen = Rc::clone(&syncs);
    drop(life(&messages(), move |number, action| {
        if matches!(action, Action::SyncFile(_) | Action::SyncDirectory(_)) {
            seen.borrow_mut().push(number);
        }
        None
    }));
    let mut without_probes = BTreeSet::new();
    for step in syncs.take() {
        for probes in [true, false] {
            let room = Rc::new(Cell::new(None));
            let seen = Rc::clone(&room);
            let run = life(&messages(), move |number, action| match action {
                Action::SyncFile(_) | Action::SyncDirectory(_) if number == step => {
                    seen.set(Some(action.path()));
                    Some(Fault::GiveUp)
                }
                Action::ProbeJournal(_) if !probes => Some(Fault::Lie),
                _ => None,
            });
            let (Some(path), Some((engine, begun))) = (room.take(), run) else { continue };
            match check_cuts(&engine, begun, FEW) {
                Err(what) if probes => panic!("given up at {step}, {path}: {what}"),
                Err(_) => _ = without_probes.insert(path),
                Ok(()) => {}
            }
        }
    }
    // A copy is not believed before the journal holds it, and that cannot grow then.
    println!("lost without a probe after: {without_probes:?}");
    assert!(without_probes.contains("forward/journal"), "{without_probes:?}");
}
