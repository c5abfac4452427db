//! Maildirs that put marked mail into a folder of its own: the mark costs nothing of the promise.

use ringmx::config::Quarantine;
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink::executor::simulated::{Fault, Image};
use ringmx::sink::maildir::{Commit, Maildir};
use ringmx::sink::plan::Action;
use support::sink::Sent;

use super::shared::SHARED;
use super::{Copies, Kind, Run, maildir_settings};

pub(super) const MAILDIR: Kind = Kind {
    name: "maildir with .Junk",
    make: |disk, reports| {
        Box::new(Maildir::new(maildir_settings(reports).quarantine_in(Quarantine::Junk), disk))
    },
    ..super::MAILDIR
};

pub(super) const MAILDIR_BATCH: Kind = Kind {
    name: "maildir with .Junk, batch",
    make: |disk, reports| {
        let settings = maildir_settings(reports).quarantine_in(Quarantine::Junk);
        Box::new(Maildir::new(settings.commit_by(Commit::Batch), disk))
    },
    ..super::MAILDIR
};

pub(super) const MAILDIR_TWICE: Kind = Kind {
    name: "maildir with .Junk, twice",
    make: |disk, reports| {
        let settings = maildir_settings(reports).quarantine_in(Quarantine::Junk);
        Box::new(Maildir::new(settings.commit_by(Commit::Twice), disk))
    },
    ..super::MAILDIR
};

/// With a mode and a group, too.
pub(super) const MAILDIR_SHARED: Kind = Kind {
    name: "shared maildir with .Junk, batch",
    make: |disk, reports| {
        let settings = maildir_settings(reports).quarantine_in(Quarantine::Junk);
        Box::new(Maildir::new(settings.share_by(Some(SHARED)).commit_by(Commit::Batch), disk))
    },
    permission: Some(SHARED),
    ..super::MAILDIR
};

/// All of them.
pub(super) const MARKED: [Kind; 4] = [MAILDIR, MAILDIR_BATCH, MAILDIR_TWICE, MAILDIR_SHARED];

/// First a maildir and its folder are made in one batch, then a folder in a maildir that is there.
pub(super) fn batches() -> Vec<Vec<Sent>> {
    vec![
        vec![
            Sent::new(1, "Subject: 1\r\n\r\none\r\n").to(&["alice", "bob"]),
            Sent::new(2, "Subject: 2\r\n").marked(),
        ],
        vec![Sent::new(3, vec![b'x'; 1500]).to(&["bob"]).marked()],
    ]
}

/// Where the messages of a run are, without the names of their files.
fn folders(run: &Run) -> Vec<String> {
    let seen = run.disk.seen();
    let mut folders: Vec<_> =
        seen.keys().filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder.to_owned()).collect();
    folders.sort();
    folders
}

/// As for every maildir, but that a copy may be in both places: the one in the folder was made first, and
/// taking it away is not durable by itself.
fn find_either(image: &Image, sent: &[Sent]) -> Result<Copies, String> {
    let is_in_inbox = |maildir: &str, octets: &[u8]| {
        let of_maildir =
            |path: &String| path.strip_prefix(maildir).is_some_and(|rest| rest.starts_with("/new/"));
        image.iter().any(|(path, other)| of_maildir(path) && **other == *octets)
    };
    let is_second = |path: &str, octets: &[u8]| {
        path.split_once("/.Junk/new/").is_some_and(|(maildir, _)| is_in_inbox(maildir, octets))
    };
    let either = image.iter().filter(|(path, octets)| !is_second(path, octets));
    super::find_in_maildirs(&either.map(|(path, octets)| (path.clone(), octets.clone())).collect(), sent)
}

#[test]
fn marked_mail_goes_into_its_folder_and_other_mail_does_not() {
    for kind in MARKED {
        let run = Run::new(&kind, &batches(), super::honest);
        assert_eq!(
            folders(&run),
            ["x.test/alice/.Junk/new", "x.test/alice/new", "x.test/bob/.Junk/new", "x.test/bob/new"],
            "{}",
            kind.name
        );
        run.check_cuts(&kind).unwrap_or_else(|what| panic!("{what}"));
    }
    // Where nothing is said of it, it stays with all other.
    let run = Run::new(&super::MAILDIR, &batches(), super::honest);
    assert!(folders(&run).iter().all(|folder| !folder.contains("Junk")));
}

#[test]
fn what_stands_in_the_way_of_the_folder_costs_no_mail() {
    for kind in MARKED {
        let steps = Run::new(&kind, &batches(), super::honest).disk.performed();
        for error in
            [libc::EACCES, libc::ENOTDIR, libc::ELOOP, libc::EXDEV, libc::ENOENT, libc::EPERM, libc::EMLINK]
        {
            // Always, for every operation in the folder.
            let run = Run::new(&kind, &batches(), move |_, action| {
                action.path().contains(".Junk").then_some(Fault::Error(error))
            });
            let at = format!("{}: error {error}", kind.name);
            assert!(
                run.outcomes.iter().all(|outcome| *outcome == Outcome::Stored),
                "{at}: {:?}",
                run.outcomes
            );
            assert!(folders(&run).iter().all(|folder| !folder.contains("Junk")), "{at}");
            run.check_cuts(&kind).unwrap_or_else(|what| panic!("{at}: {what}"));
            // Once, at each step.
            for step in 0..steps {
                let run = Run::new(&kind, &batches(), move |number, action| {
                    let is_due = number == step && action.path().contains(".Junk");
                    is_due.then_some(Fault::Error(error))
                });
                assert!(run.outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{at} at {step}");
                assert_eq!(folders(&run).len(), 4, "{at} at {step}: {:?}", folders(&run));
                // The images are those of any other error number that concerns the folder.
                if error == libc::ENOTDIR {
                    run.check_cuts(&Kind { find: find_either, ..kind })
                        .unwrap_or_else(|what| panic!("{at} at {step}: {what}"));
                }
            }
        }
    }
}

#[test]
fn a_full_disk_is_no_reason_for_another_folder() {
    for kind in MARKED {
        for (error, why) in [
            (libc::ENOSPC, TryAgain::NoSpace),
            (libc::EDQUOT, TryAgain::NoSpace),
            (libc::EIO, TryAgain::Local),
        ] {
            let run = Run::new(&kind, &batches(), move |_, action| {
                let is_due = matches!(action, Action::Create(file) if file.directory.contains(".Junk"));
                is_due.then_some(Fault::Error(error))
            });
            let again = Outcome::TryAgain(why);
            assert_eq!(run.outcomes, [Outcome::Stored, again, again], "{}: {error}", kind.name);
        }
    }
}
