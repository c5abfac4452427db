//! Cuts the power at every step of a keeper's life, in every way the disk may take it; leaves out every sync.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use ringmx::sink::executor::simulated::{Fault, Image, Simulated};
use ringmx::sink::plan::Action;
use support::sink::Sent;

use crate::book::What;
use crate::engine::{Act, Engine, open, store_log};
use crate::image;

/// How many effects are kept alone, of very many.
pub const MANY: usize = 40;

/// Where many disks are cut.
pub const FEW: usize = 4;

/// Which of so many effects a power cut keeps: all subsets of a few; none, all, each one alone, all but each
/// one (of very many some, at most `alone_max`) and some at random of many.
pub fn subsets(count: usize, alone_max: usize) -> Vec<Vec<bool>> {
    if count <= 5.min(alone_max) {
        return (0..1_usize << count)
            .map(|bits| (0..count).map(|bit| bits >> bit & 1 == 1).collect())
            .collect();
    }
    let mut subsets = vec![vec![false; count], vec![true; count]];
    for one in (0..count).step_by(count.div_ceil(alone_max)) {
        subsets.push((0..count).map(|bit| bit == one).collect());
        subsets.push((0..count).map(|bit| bit != one).collect());
    }
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..alone_max.min(8) {
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

pub fn messages() -> Vec<Sent> {
    vec![
        Sent::new(0, "Subject: 0\r\n\r\nzero\r\n"),
        Sent::new(1, "Subject: 1\r\n\r\none\r\n").to(&["alice", "bob", "carol"]),
        Sent::new(2, vec![b'x'; 5000]).to(&["alice", "bob"]),
        Sent::new(3, vec![b'y'; 6000]),
        Sent::new(4, vec![b'z'; 7000]).to(&["dave"]),
        Sent::new(5, "Subject: 5\r\n"),
    ]
}

/// A disk with these messages in its log, and the engine's life on it: everything that a keeper does.
pub fn life(
    sent: &[Sent],
    faults: impl FnMut(usize, &Action<'_>) -> Option<Fault> + 'static,
) -> Option<(Engine, usize)> {
    let disk = Simulated::new(7);
    let log = store_log(&disk, sent);
    assert_eq!(log.len(), sent.len());
    let begun = disk.now();
    disk.set_faults(faults);
    let mut engine = Engine::new(disk.clone(), sent.to_vec(), log.clone());
    if engine.is_err() {
        engine = Engine::new(disk, sent.to_vec(), log);
    }
    let mut engine = engine.ok()?;
    // Nothing that moves `consumed`.
    engine.commit(&[Act::Sent(5, vec![0])]);
    engine.commit(&[
        Act::Sent(0, vec![0]),
        Act::Later(1, vec![0, 1], 1),
        Act::Later(2, vec![0, 1], 1),
        Act::Noticed(3, vec![0], 0),
    ]);
    // The first three are settled but for one recipient.
    engine.commit(&[Act::Later(1, vec![0], 2), Act::Sent(1, vec![2]), Act::Later(4, vec![0], 1)]);
    engine.commit(&[Act::Sent(2, vec![0, 1]), Act::Noticed(1, vec![1], 1), Act::Remove(3, vec![0])]);
    engine.tidy();
    let notice = engine.notice(0);
    // Where the disk did not take it, it is not there.
    let sent = [Act::Sent(4, vec![0]), Act::Sent(notice, vec![0])];
    let count = if engine.places.contains_key(&(notice, 0)) { 2 } else { 1 };
    engine.commit(&sent[..count]);
    // The end; a failure is mended by the next start.
    let _ = engine.keeper.publish();
    Some((engine, begun))
}

pub fn honest(_: usize, _: &Action<'_>) -> Option<Fault> {
    None
}

fn hash_of(image: &Image) -> Vec<(String, u32)> {
    image.iter().map(|(path, octets)| (path.clone(), crc32c::crc32c(octets))).collect()
}

/// Checks everything that the disk may hold after a power cut at any time since.
pub fn check_cuts(engine: &Engine, since: usize, alone_max: usize) -> Result<(), String> {
    let mut checked = HashSet::new();
    (since..=engine.disk.now()).try_for_each(|cut| {
        for kept in subsets(engine.disk.pending(cut), alone_max) {
            let mut bits = kept.iter();
            let image = engine.disk.image(cut, || bits.next().copied().unwrap_or_default());
            // Many are equal, and held against the same promises.
            if !checked.insert((hash_of(&image), engine.book.told_by(cut))) {
                continue;
            }
            engine
                .book
                .check(&image, &engine.sent, &engine.log, cut)
                .map_err(|what| format!("cut at {cut}: {what}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_power_cut_at_any_step_loses_no_message_and_sends_none_again() {
    let (engine, begun) = life(&messages(), honest).expect("an honest disk");
    assert_eq!(engine.refused, 0);
    check_cuts(&engine, begun, MANY).unwrap_or_else(|what| panic!("{what}"));
    let end = engine.book.check(&engine.disk.seen(), &engine.sent, &engine.log, engine.disk.now());
    let end: Vec<What> = end.expect("sound").into_values().take(11).collect();
    assert_eq!(
        end,
        [
            What::Gone,
            What::Later,
            What::Dead,
            What::Gone,
            What::Gone,
            What::Gone,
            What::Gone,
            What::Gone,
            What::Gone,
            // Notices.
            What::Gone,
            What::Later
        ]
    );
}

/// What is kept is a part of everything: a start after a cut, cut in turn, still loses nothing.
#[test]
fn a_start_after_a_power_cut_may_be_cut_too() {
    let (engine, begun) = life(&messages(), honest).expect("an honest disk");
    let mut starts = 0;
    for cut in (begun..=engine.disk.now()).step_by(5) {
        let mut keeps = cut as u64;
        let image = engine.disk.image(cut, || {
            keeps = keeps.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            keeps >> 40 & 1 == 1
        });
        let disk = image::disk_of(&image, 3);
        let begun = disk.now();
        drop(open(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}")));
        for again in begun..=disk.now() {
            for kept in subsets(disk.pending(again), FEW) {
                let mut bits = kept.iter();
                let image = disk.image(again, || bits.next().copied().unwrap_or_default());
                engine
                    .book
                    .check(&image, &engine.sent, &engine.log, cut)
                    .unwrap_or_else(|what| panic!("cut at {cut}, and at {again} of the start: {what}"));
            }
        }
        starts += 1;
    }
    assert!(starts > 30, "{starts}");
}

/// The kind of a sync, and none for any other action.
fn sync_of(action: &Action<'_>) -> Option<String> {
    match action {
        Action::SyncFile(_) | Action::SyncDirectory(_) => {
            let path = action.path();
            let kind = if path.ends_with(".segment") {
                path.rsplit_once('/').map_or("", |(room, _)| room)
            } else {
                &path
            };
            Some(format!("{} {kind:?}", action.verb()))
        }
        _ => None,
    }
}

#[test]
fn without_any_one_of_its_syncs_mail_would_be_lost_or_sent_again() {
    let steps = life(&messages(), honest).expect("an honest disk").0.disk.performed();
    let mut found = Vec::new();
    for step in 0..steps {
        let left_out = Rc::new(Cell::new(None));
        let seen = Rc::clone(&left_out);
        let run = life(&messages(), move |number, action| {
            if number != step {
                return None;
            }
            let sync = sync_of(action);
            seen.set(sync.clone());
            sync.map(|_| Fault::Lie)
        });
        let Some(sync) = left_out.take() else { continue };
        let (engine, begun) = run.expect("a disk that lies about one sync");
        found.push((sync, check_cuts(&engine, begun, MANY)));
    }
    for (sync, cuts) in &found {
        println!("without {sync}: {cuts:?}");
    }
    let needless = found.iter().filter(|(_, cuts)| cuts.is_ok()).map(|(sync, _)| sync.as_str());
    // The name of `consumed` may be lost: the journal says more. docs/spool.md asks every consumer to sync
    // it.
    let asked = "sync directory \"\"";
    assert_eq!(needless.filter(|sync| *sync != asked).collect::<Vec<_>>(), [""; 0]);
    assert!(found.iter().any(|(sync, cuts)| sync == asked && cuts.is_err()), "that of `forward` is needed");
    assert!(found.len() > 15, "{} syncs", found.len());
}
