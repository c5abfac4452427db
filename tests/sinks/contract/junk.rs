//! Marked mail in folders of maildirs: where it goes, and what stands in its way.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ringmx::config::{self, LineEndings};
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink;
use support::sink::contract::{self, files, maildir_kind, open, start, usual_sync};
use support::sink::{Reports, Sent, store, surroundings};

/// What a folder of a maildir holds.
fn in_new(folder: &Path) -> usize {
    fs::read_dir(folder.join("new")).map_or(0, Iterator::count)
}

#[test]
fn marked_mail_goes_into_junk_which_is_made_in_every_maildir_that_is_there() {
    for is_usual in [true, false] {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let mut surroundings = surroundings(&Arc::default());
        surroundings.is_named = Arc::new(|recipient| recipient.local_part == b"alice");
        // Nobody lists it, and somebody else made it.
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(store_at.path().join("bob").join(folder)).expect("a directory");
        }
        let kind = contract::with_junk(maildir_kind(store_at.path(), "{local}", LineEndings::Lf));
        let config = config::Sink {
            kind: if is_usual { usual_sync(kind) } else { kind },
            workers: 1,
            space_reserve: None,
            dsn: false,
            requiretls: false,
            cut_through: false,
        };
        let mut sink = start(sink::open(&config, &surroundings).unwrap_or_else(|error| panic!("{error}")));
        let to = |number, recipients: &[&str]| Sent::new(number, "x\r\n").to(recipients);
        let batch = [
            to(1, &["alice", "bob"]).marked(),
            to(2, &["alice"]),
            to(3, &["stranger"]).marked(),
            to(4, &["bob"]).marked(),
        ];
        let expected =
            [Outcome::Stored, Outcome::Stored, Outcome::TryAgain(TryAgain::Local), Outcome::Stored];
        assert_eq!(store(&mut *sink, &batch), expected);
        let counts =
            ["alice", "alice/.Junk", "bob", "bob/.Junk"].map(|path| in_new(&store_at.path().join(path)));
        assert_eq!(counts, [1, 1, 0, 2]);
        assert!(!store_at.path().join("stranger").exists());
        // Whoever reads mail may rename it or take it away: it is made again.
        fs::remove_dir_all(store_at.path().join("alice/.Junk")).expect("removed");
        assert_eq!(store(&mut *sink, &[to(5, &["alice"]).marked()]), [Outcome::Stored]);
        assert_eq!(store(&mut *sink, &[to(6, &["alice"]).marked()]), [Outcome::Stored]);
        let found = ["alice", "alice/.Junk"].map(|path| in_new(&store_at.path().join(path)));
        assert_eq!(found, [2, 1], "the one that met the loss is with all other mail");
    }
}

#[test]
fn where_junk_cannot_be_used_marked_mail_is_with_all_other() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    for sync in [true, false] {
        for obstacle in ["file", "link", "folder without new"] {
            let store_at = tempfile::tempdir().expect("a temporary directory");
            let junk = store_at.path().join("alice/.Junk");
            fs::create_dir_all(store_at.path().join("alice")).expect("a directory");
            match obstacle {
                "file" => fs::write(&junk, "").expect("a file"),
                "link" => std::os::unix::fs::symlink(outside.path(), &junk).expect("a link"),
                _ => {
                    fs::create_dir(&junk).expect("a directory");
                    fs::write(junk.join("new"), "").expect("a file");
                }
            }
            let kind = contract::with_junk(maildir_kind(store_at.path(), "{local}", LineEndings::Lf));
            let reports: Arc<Reports> = Arc::default();
            let mut sink = start(open(if sync { usual_sync(kind) } else { kind }, &reports));
            let outcomes = store(&mut *sink, &[Sent::new(1, "x").to(&["alice", "bob"]).marked()]);
            assert_eq!(outcomes, [Outcome::Stored], "{obstacle}: {:?}", reports.take());
            let told = reports.take();
            assert!(told.iter().any(|text| text.contains("alice/.Junk")), "{obstacle}: {told:?}");
            let files = files(store_at.path());
            let files: Vec<_> = files.keys().filter(|path| !path.contains(".Junk")).collect();
            assert!(files.contains(&&"alice/new".to_owned()), "{obstacle}: {files:?}");
            assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
        }
    }
}

#[test]
fn what_stands_in_the_way_of_one_junk_is_no_reason_for_another() {
    const ALL: [&str; 3] = ["alice", "bob", "carol"];
    let outside = tempfile::tempdir().expect("a temporary directory");
    for (sync, obstacle, obstructed) in [true, false].into_iter().flat_map(|sync| {
        let obstructed = [&ALL[..1], &ALL[1..2], &ALL[2..], &ALL[..2], &ALL[1..]];
        let each = move |obstacle| obstructed.into_iter().map(move |obstructed| (sync, obstacle, obstructed));
        ["file", "link"].into_iter().flat_map(each)
    }) {
        let at = format!("sync = {sync}, {obstacle}, {obstructed:?}");
        let store_at = tempfile::tempdir().expect("a temporary directory");
        for recipient in obstructed {
            let junk = store_at.path().join(recipient).join(".Junk");
            fs::create_dir_all(store_at.path().join(recipient)).expect("a directory");
            match obstacle {
                "file" => fs::write(&junk, "").expect("a file"),
                _ => std::os::unix::fs::symlink(outside.path(), &junk).expect("a link"),
            }
        }
        let kind = contract::with_junk(maildir_kind(store_at.path(), "{local}", LineEndings::Lf));
        let reports: Arc<Reports> = Arc::default();
        let mut sink = start(open(if sync { usual_sync(kind) } else { kind }, &reports));
        // In each batch one message to all of them, and one that is not marked. The second batch finds the
        // maildirs.
        for number in [1, 3] {
            let batch =
                [Sent::new(number, "x\r\n").to(&ALL).marked(), Sent::new(number + 1, "y\r\n").to(&ALL)];
            assert_eq!(store(&mut *sink, &batch), [Outcome::Stored; 2], "{at}: {:?}", reports.take());
        }
        for recipient in ALL {
            let maildir = store_at.path().join(recipient);
            let found = [in_new(&maildir), in_new(&maildir.join(".Junk"))];
            if obstructed.contains(&recipient) {
                assert_eq!(found, [4, 0], "{at}: {recipient}");
            } else if obstructed.len() == 1 {
                assert_eq!(found, [2, 2], "{at}: {recipient}");
            } else {
                // A plan ends at the first folder in the way, and its message has one more try by the mark.
                assert!(found == [2, 2] || found == [4, 0], "{at}: {recipient}: {found:?}");
            }
        }
        let told = reports.take();
        for recipient in ALL {
            let is_told = told.iter().any(|text| text.contains(&format!("{recipient}/.Junk")));
            assert_eq!(is_told, obstructed.contains(&recipient), "{at}: {recipient}: {told:?}");
        }
        assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0, "{at}");
    }
}
