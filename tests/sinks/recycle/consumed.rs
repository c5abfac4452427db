//! What was consumed decides what is recycled, and is not believed when it cannot be: a cursor of nothing, a
//! segment that is not read.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ringmx::mail::outcome::Outcome;
use ringmx::sink::spool::cursor::Cursor;
use ringmx::sink::spool::follow::{Followed, Follower};
use ringmx::sink::spool::{prune, reader};
use support::sink::{Reports, Sent, store};

use super::{numbers, open, opened, wait_until};

/// A spool with nine messages in the segments 1 to 3, the first one consumed.
fn nine_messages(path: &Path) {
    let mut sink = opened(path);
    for number in 0..9 {
        assert_eq!(store(&mut *sink, &[Sent::new(number, "x")]), [Outcome::Stored]);
    }
    say(path, "0000000000000001:4096");
}

/// As a consumer does that syncs nothing.
fn say(path: &Path, consumed: &str) {
    fs::write(path.join("consumed.new"), format!("{consumed}\n")).expect("written");
    fs::rename(path.join("consumed.new"), path.join("consumed")).expect("renamed");
}

fn said(path: &Path) -> Option<String> {
    fs::read_to_string(path.join("consumed")).ok().map(|text| text.trim_end().to_owned())
}

/// Two looks of the receiver at what was consumed.
fn let_it_look() {
    std::thread::sleep(Duration::from_millis(2500));
}

#[test]
fn nothing_is_recycled_when_it_cannot_be_read_what_was_consumed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    let reports: Arc<Reports> = Arc::default();
    let mut sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    store(&mut *sink, &[Sent::new(20, "x")]);
    say(path, "nonsense");
    let_it_look();
    store(&mut *sink, &[Sent::new(21, "x")]);
    assert!(numbers(path).starts_with(&[1, 2, 3]));
    assert_eq!((reports.take().len(), reports.take_notes().len()), (1, 0));
    assert_eq!(said(path).as_deref(), Some("nonsense"));
    drop(sink);
    // Without any segment nothing tells how far the numbers went; nor can they go on behind one that ringmx
    // never gives.
    for (_, segment) in reader::segments(path).expect("a spool") {
        fs::remove_file(segment).expect("removed");
    }
    for wrong in ["nonsense", "ffffffffffffffff:4096"] {
        say(path, wrong);
        assert!(open(path, &Arc::default()).err().expect("no start").to_string().contains("consumed"));
    }
}

#[test]
fn a_cursor_of_nothing_is_put_aside_and_not_believed_later_either() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    let is_whole = || numbers(path).starts_with(&[1, 2, 3]);
    let reports: Arc<Reports> = Arc::default();
    let mut sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    let newest = || numbers(path).last().copied().expect("a segment");
    let is_put_aside = |wrong: &str| {
        say(path, wrong);
        wait_until("it is put aside", || said(path).is_none());
        let refused = fs::read_to_string(path.join("consumed.refused")).expect("a file");
        assert_eq!(refused.trim_end(), wrong);
        assert_eq!((reports.take().len(), reports.take_notes().len()), (0, 1), "{wrong}");
        assert!(is_whole(), "{wrong}");
    };
    // Where nothing is, where no record begins, and in the segment that is ready.
    is_put_aside("0000000000000fff:4096");
    is_put_aside("0000000000000003:4608");
    let first_of_next = format!("{:016x}:4096", newest());
    is_put_aside(&first_of_next);
    // A record comes to be there: neither now nor after a restart is anything recycled.
    store(&mut *sink, &[Sent::new(22, "x")]);
    assert!(holds(path, &first_of_next), "the test stores where it said");
    let_it_look();
    drop(sink);
    let sink = opened(path);
    let_it_look();
    assert!(is_whole());
    // Until a consumer says so now.
    say(path, &first_of_next);
    wait_until("what was consumed is recycled", || !numbers(path).contains(&3));
    assert_eq!(said(path).as_deref(), Some(&*first_of_next));
    // Nor is one believed that gives nothing away.
    say(path, &first_of_next.replace(":4096", ":4608"));
    wait_until("it is put aside", || said(path).is_none());
    drop(sink);
}

#[test]
fn a_cursor_of_nothing_that_could_not_be_put_aside_is_when_it_can_be() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    fs::create_dir(path.join("consumed.refused")).expect("a directory");
    let sink = opened(path);
    let wrong = format!("{:016x}:4096", numbers(path).last().expect("a segment"));
    say(path, &wrong);
    let_it_look();
    // What a consumer says meanwhile is looked at all the same, and what it said before means nothing any
    // more.
    say(path, "0000000000000002:4096");
    wait_until("what was consumed is recycled", || !numbers(path).contains(&1));
    fs::remove_dir(path.join("consumed.refused")).expect("removed");
    say(path, &wrong);
    wait_until("it is put aside", || said(path).is_none());
    assert!(numbers(path).starts_with(&[2, 3]));
    drop(sink);
}

#[test]
fn a_cursor_of_nothing_is_put_aside_where_there_is_no_segment_yet() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI needs this: only root can mount");
        println!("skipped: only root can mount");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    // Too small for a segment.
    let done = |command: &mut Command| assert!(command.arg(path).status().expect("a program").success());
    done(Command::new("mount").args(["-t", "tmpfs", "-o", "size=12k", "none"]));
    let reports: Arc<Reports> = Arc::default();
    let sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    assert!(numbers(path).is_empty());
    say(path, "0000000000000fff:4096");
    let_it_look();
    let (left, notes) = (said(path), reports.take_notes().len());
    drop(sink);
    done(Command::new("umount").arg("--lazy"));
    assert_eq!((left, notes), (None, 1));
}

#[test]
fn a_cursor_whose_segment_cannot_be_read_is_kept_and_recycles_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    let cursor = "0000000000000003:4096";
    say(path, cursor);
    let segment = path.join("0000000000000003.segment");
    let mut octets = fs::read(&segment).expect("a segment");
    // Of another version.
    octets[8] += 1;
    fs::write(&segment, octets).expect("written");
    let reports: Arc<Reports> = Arc::default();
    let sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    let_it_look();
    assert!(numbers(path).starts_with(&[1, 2, 3]));
    assert_eq!(said(path).as_deref(), Some(cursor));
    assert_eq!(
        (
            reports.take().len(),
            reports.take_notes().iter().filter(|note| note.contains("consumed.refused")).count()
        ),
        (1, 0)
    );
    // Nor does a follower begin anew.
    assert_eq!(followed(path), (vec![], vec![]));
    drop(sink);
}

#[test]
fn a_follower_and_a_prune_do_not_believe_a_cursor_of_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    let (behind_first, notes) = followed(path);
    assert_eq!((behind_first.len(), notes.len()), (8, 0), "{notes:?}");
    for wrong in ["0000000000000fff:4096", "0000000000000003:4608", "ffffffffffffffff:4096"] {
        say(path, wrong);
        let (all, notes) = followed(path);
        assert_eq!((all.len(), notes.len()), (9, 1), "{wrong}: {notes:?}");
        let prune_through = |cursor: &str| prune::prune(path, cursor.parse().expect("a cursor"));
        prune_through(wrong).expect_err("no such record");
        // And it does not stand in the way of one that is right, nor of a start.
        let pruned = prune_through("0000000000000002:4096").expect("a record");
        assert!(pruned.records > 0, "{pruned:?}");
        say(path, wrong);
        drop(opened(path));
        assert_eq!(said(path), None);
        assert!(numbers(path).starts_with(&[1, 2, 3]));
    }
}

/// The cursors that a consumer without a memory of its own is given now, and what it is told.
fn followed(path: &Path) -> (Vec<Cursor>, Vec<String>) {
    let (mut cursors, mut notes) = (Vec::new(), Vec::new());
    let mut note = |text| notes.push(text);
    let mut take = |found: Followed| {
        cursors.push(found.cursor);
        Ok(())
    };
    let mut follower = Follower::behind_consumed(path, true, &mut note).expect("a spool");
    while follower.advance(&mut note, &mut take).expect("readable") {}
    (cursors, notes)
}

/// Whether the list names this cursor.
fn holds(path: &Path, cursor: &str) -> bool {
    let mut listing = Vec::new();
    reader::list(path, None, &mut listing).expect("a spool");
    String::from_utf8_lossy(&listing).lines().any(|line| line.ends_with(cursor))
}

#[test]
fn a_cursor_of_nothing_that_cannot_be_put_aside_is_not_believed_while_the_receiver_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    // Nothing can be renamed over a directory.
    fs::create_dir(path.join("consumed.refused")).expect("a directory");
    let reports: Arc<Reports> = Arc::default();
    let mut sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    let first_of_next = format!("{:016x}:4096", numbers(path).last().expect("a segment"));
    say(path, &first_of_next);
    let_it_look();
    store(&mut *sink, &[Sent::new(22, "x")]);
    assert!(holds(path, &first_of_next), "the test stores where it said");
    let_it_look();
    assert!(numbers(path).starts_with(&[1, 2, 3]));
    assert_eq!((reports.take().len(), reports.take_notes().len()), (1, 1));
    assert_eq!(said(path).as_deref(), Some(&*first_of_next));
}

#[test]
fn the_next_start_counts_on_behind_a_cursor_of_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    nine_messages(path);
    say(path, "0000000000000fff:4096");
    let reports: Arc<Reports> = Arc::default();
    let mut sink = open(path, &reports).unwrap_or_else(|error| panic!("{error}"));
    store(&mut *sink, &[Sent::new(23, "x")]);
    assert!(numbers(path).starts_with(&[1, 2, 3]) && numbers(path).contains(&0x1000), "{:?}", numbers(path));
    assert_eq!((said(path), reports.take_notes().len()), (None, 1));
}
