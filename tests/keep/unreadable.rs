//! Messages of the log that nobody can read: only an operator's *Removed* lets the log go behind them, and
//! that is as durable as all else.

use ringmx::forward::keep::{Change, Keeper, Place, RECIPIENTS_MAX, Recipients, Refused};
use ringmx::sink::executor::simulated::Simulated;
use ringmx::sink::spool::cursor::Cursor;

use crate::engine::{open, store_log, wait};
use crate::image::disk_of;
use crate::power_cut::{FEW, messages, subsets};

/// The recipients of the messages of the log, of which the second and the third cannot be read.
const COUNTS: [u32; 6] = [1, RECIPIENTS_MAX, RECIPIENTS_MAX, 1, 1, 1];

fn read(at: Cursor, recipients: u32) -> Change {
    Change::Read { at, recipients }
}

fn remove(at: Cursor, recipients: u32) -> Change {
    Change::Remove { place: Place::Log(at), recipients: Recipients::first(recipients) }
}

/// A log whose other messages are sent.
fn begun() -> (Simulated, Vec<Cursor>, Keeper) {
    let disk = Simulated::new(11);
    let log = store_log(&disk, &messages());
    let mut keeper = open(&disk).expect("a start");
    let mut changes: Vec<Change> = log.iter().zip(COUNTS).map(|(at, count)| read(*at, count)).collect();
    let readable = log.iter().zip(COUNTS).filter(|(_, count)| *count == 1);
    changes.extend(
        readable.map(|(at, _)| Change::Sent { place: Place::Log(*at), recipients: Recipients::one(0) }),
    );
    assert!(keeper.commit(&changes).iter().all(Result::is_ok));
    assert_eq!(keeper.state().consumed(), Some(log[0]));
    (disk, log, keeper)
}

#[test]
fn only_an_order_lets_the_log_go_and_a_power_cut_leaves_all_of_it_or_nothing() {
    let (disk, log, mut keeper) = begun();
    // In one commit with the other one: the log may go as far as both.
    let since = disk.now();
    let given_up = [remove(log[2], RECIPIENTS_MAX), remove(log[1], RECIPIENTS_MAX)];
    assert_eq!(keeper.commit(&given_up), [Ok(None), Ok(None)]);
    keeper.publish().expect("a sound disk");
    let told = disk.now();
    assert_eq!(keeper.state().consumed(), log.last().copied());
    assert_eq!(keeper.commit(&given_up), [Err(Refused::Unknown), Err(Refused::Unknown)]);
    let (mut with, mut without) = (0, 0);
    for cut in since..=told {
        for kept in subsets(disk.pending(cut), FEW) {
            let mut bits = kept.iter();
            let image = disk.image(cut, || bits.next().copied().unwrap_or_default());
            let found = open(&disk_of(&image, 3)).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            match found.state().consumed() {
                consumed if consumed == log.last().copied() => with += 1,
                consumed => {
                    assert!(cut < told && consumed == Some(log[0]), "cut at {cut}: {consumed:?}");
                    let kept = |at: &Cursor| found.state().settled(*at).is_empty();
                    assert!(log[1..3].iter().all(kept), "cut at {cut}: a part of the order");
                    without += 1;
                }
            }
        }
    }
    assert!(with > 0 && without > 0, "{with} with it, {without} without");
}

#[test]
fn what_was_given_up_for_all_stays_so_when_it_can_be_read() {
    let (disk, log, mut keeper) = begun();
    assert_eq!(keeper.commit(&[remove(log[2], RECIPIENTS_MAX)]), [Ok(None)]);
    assert_eq!(keeper.state().consumed(), Some(log[0]), "another one is before it");
    // Twice: the second start reads the snapshot of the first.
    drop(open(&disk).expect("a start"));
    let mut keeper = open(&disk).expect("a start");
    assert!(keeper.state().settled(log[2]).contains_all(&Recipients::first(RECIPIENTS_MAX)));
    // A newer ringmx wrote both, and runs now.
    let counts = [3, 2, 1, 1, 1];
    let reads: Vec<Change> = log[1..].iter().zip(counts).map(|(at, count)| read(*at, count)).collect();
    assert_eq!(keeper.commit(&reads), [Ok(None), Ok(None), Ok(None), Ok(None), Ok(None)]);
    assert_eq!(keeper.commit(&[remove(log[2], 1)]), [Err(Refused::Unknown)], "nobody needs it");
    let sent = Change::Sent { place: Place::Log(log[1]), recipients: Recipients::first(3) };
    assert_eq!(keeper.commit(&[sent]), [Ok(None)]);
    assert_eq!(keeper.state().consumed(), log.last().copied());
}

#[test]
fn one_that_is_read_after_all_has_its_own_recipients() {
    let (_, log, mut keeper) = begun();
    keeper.commit(&[remove(log[2], RECIPIENTS_MAX)]);
    let later = Change::Later { place: Place::Log(log[1]), recipients: Recipients::first(3), wait: wait(1) };
    let results = keeper.commit(&[read(log[1], 3), later]);
    assert!(matches!(results[..], [Ok(None), Ok(Some(Place::Later(_)))]), "{results:?}");
    assert_eq!(keeper.state().consumed(), log.last().copied());
    // That is told once, and of no other one.
    let again = [read(log[1], 3), read(log[3], 2)];
    assert_eq!(keeper.commit(&again), [Err(Refused::Unknown), Err(Refused::Unknown)]);
}
