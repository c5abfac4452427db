//! A state that cannot be believed stops the start, and says what to do; what is rebuilt loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmx::forward::keep::{NOTICES, Recipients, read, rebuild};
use ringmx::sink::executor::simulated::Image;
use support::sink::Reports;

use crate::engine::{Act, Engine, SETTINGS, open};
use crate::image;
use crate::power_cut::{honest, life, messages};

const JOURNAL: &str = "forward/journal";

/// A disk on which something waits, something is dead, and a part of the log is consumed.
fn damaged_life() -> (Engine, Image) {
    let (mut engine, _) = life(&messages(), honest).expect("an honest disk");
    engine.commit(&[Act::Later(1, vec![0], 7)]);
    let image = engine.disk.seen();
    assert!(read(&image).is_ok() && image.contains_key("consumed"));
    (engine, image)
}

fn refused(image: &Image) -> String {
    let before = image.clone();
    let disk = image::disk_of(image, 1);
    let why = match open(&disk) {
        Ok(_) => panic!("it was believed"),
        Err(error) => error.to_string(),
    };
    for (path, octets) in before.iter().filter(|(path, _)| path.starts_with("forward/")) {
        assert!(disk.seen().get(path) == Some(octets), "{path} was changed by a start that failed");
    }
    why
}

#[test]
fn damage_in_the_middle_of_the_journal_stops_the_start() {
    let (_, image) = damaged_life();
    let blocks = image[JOURNAL].len() / 4096;
    assert!(blocks > 5);
    for block in 0..blocks - 1 {
        let mut image = image.clone();
        let journal = image.get_mut(JOURNAL).expect("a journal");
        journal[4096 * block + 20] ^= 1;
        let why = refused(&image);
        assert!(
            why.starts_with("/simulated/forward/journal: ") && why.contains("ringmx queue rebuild"),
            "{why}"
        );
        assert!(why.contains("DAMAGE") || block == 0, "{why}");
    }
}

/// The last commits of a journal cannot be told from torn ones; but what was done on the strength of them
/// can.
#[test]
fn a_journal_that_lost_its_end_is_found_out_where_mail_would_be_lost() {
    let (engine, image) = damaged_life();
    let whole = image[JOURNAL].len();
    // Each journal that there was, with the last time at which it was so.
    let lengths = (0..=engine.disk.now()).filter_map(|time| {
        let journal = engine.disk.image(time, || true).remove(JOURNAL)?;
        image[JOURNAL].starts_with(&journal).then_some((journal.len(), time))
    });
    let times: BTreeMap<usize, usize> = lengths.collect();
    let mut reasons = BTreeSet::new();
    let mut believed = 0;
    for blocks in 1..whole / 4096 {
        let mut image = image.clone();
        image.get_mut(JOURNAL).expect("a journal").truncate(4096 * blocks);
        match read(&image) {
            // What was told as durable by then, and nothing of later.
            Ok(_) => {
                let (_, time) = times.range(..=4096 * blocks).next_back().expect("a journal");
                let checked = engine.book.check(&image, &engine.sent, &engine.log, *time);
                checked.unwrap_or_else(|what| panic!("{blocks} blocks: {what}"));
                believed += 1;
            }
            Err(error) => {
                let what = error.to_string();
                let file = what.split(": ").next().expect("a name").trim_start_matches("/simulated/");
                reasons.insert(file.to_owned());
            }
        }
    }
    assert!(believed > 0);
    let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
    assert!(reasons.contains(&"consumed"), "{reasons:?}");
    assert!(reasons.contains(&JOURNAL), "{reasons:?}");
}

#[test]
fn what_is_missing_stops_the_start() {
    let (_, image) = damaged_life();
    let segment = image.keys().rfind(|path| path.starts_with("forward/later/")).expect("a segment").clone();
    for (path, said) in [(JOURNAL, "it is missing, and forward/"), (&segment, "it is missing or damaged")] {
        let mut image = image.clone();
        image.remove(path);
        let why = refused(&image);
        assert!(why.contains(said) && why.contains("ringmx queue rebuild"), "{why}");
    }
    let mut damaged = image.clone();
    damaged.get_mut(&segment).expect("a segment")[16] ^= 1;
    assert!(refused(&damaged).contains("it is missing or damaged"));
}

#[test]
fn a_cursor_or_a_log_of_somebody_else_stops_the_start() {
    let (_, image) = damaged_life();
    let mut ahead = image.clone();
    ahead.insert("consumed".to_owned(), b"0000000000000009:4096\n".to_vec());
    assert!(refused(&ahead).contains("`ringmx spool prune`"));
    let mut another = image.clone();
    another.retain(|path, _| path.contains('/') || path.contains("0000000000000001.segment"));
    let why = refused(&another);
    assert!(why.contains("this is another spool"), "{why}");
}

#[test]
fn a_forwarder_begins_after_what_was_consumed_before_it_came() {
    let disk = ringmx::sink::executor::simulated::Simulated::new(5);
    let log = crate::engine::store_log(&disk, &messages());
    let mut image = disk.seen();
    image.insert("consumed".to_owned(), format!("{}\n", log[1]).into_bytes());
    let keeper = open(&image::disk_of(&image, 5)).expect("a start");
    assert_eq!(keeper.state().consumed(), Some(log[1]));
}

#[test]
fn what_is_rebuilt_repeats_mail_and_loses_none() {
    let (engine, image) = damaged_life();
    let expected = engine.book.check(&image, &engine.sent, &engine.log, engine.disk.now()).expect("sound");
    let mut image = image;
    image.get_mut(JOURNAL).expect("a journal")[4096 + 20] ^= 1;
    let disk = image::disk_of(&image, 1);
    let report = Arc::new(Reports::default());
    let keeper = rebuild(Box::new(disk.clone()), Box::new(disk.clone()), SETTINGS, report).expect("rebuilt");
    let seen = disk.seen();
    assert!(seen.contains_key("forward/journal.damaged"));
    // Whoever needed a message in later/ or dead/ still does.
    let (mut found, mut notices) = (BTreeSet::new(), 0);
    for waiting in keeper.state().waiting().chain(keeper.state().dead()) {
        let (envelope, _) = image::record(&seen, waiting.place).expect("whole");
        let of = engine.sent.iter().position(|sent| sent.id == envelope.id).expect("one of them");
        assert_eq!(
            waiting.recipients,
            Recipients::first(u32::try_from(engine.sent[of].recipients.len()).expect("few"))
        );
        found.extend(waiting.recipients.iter().map(|recipient| (of, recipient)));
        // Notices have no route that they could be given to again.
        let is_notice = of >= engine.log.len();
        let destination = if is_notice { NOTICES } else { "" };
        assert!(waiting.why.is_some() || waiting.wait.destination == destination, "{waiting:?}");
        notices += usize::from(is_notice && waiting.why.is_none());
    }
    for (recipient, what) in expected {
        assert!(
            matches!(what, crate::book::What::Gone | crate::book::What::Log) || found.contains(&recipient),
            "{recipient:?}"
        );
    }
    assert!(notices > 0);
    drop(keeper);
    assert!(open(&disk).is_ok(), "it is believed from now on");
}
