//! Random lives against a plain model: what the keeper says after any start is what was told as durable, with
//! every fact of it.

use std::collections::BTreeMap;
use std::ops::Range;

use ringmx::forward::keep::{Place, Wait, Why};
use ringmx::sink::executor::simulated::Simulated;
use support::sink::Sent;

use crate::book::Recipient;
use crate::engine::{Act, Engine, store_log, wait};
use crate::image;

/// What the model knows of a recipient whose message is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Log,
    Later(Wait),
    Dead(Why),
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a bound")
    }
}

type Model = BTreeMap<Recipient, Known>;

fn messages(random: &mut Random) -> Vec<Sent> {
    let names: Vec<String> = (0..70).map(|number| format!("user{number}")).collect();
    (0..20)
        .map(|number| {
            let octets = [20, 700, 3000, 9000][random.below(4)];
            let count = [1, 1, 2, 5, 70][random.below(5)];
            let names: Vec<&str> = names[..count].iter().map(String::as_str).collect();
            Sent::new(number, vec![b'a' + u8::try_from(number).expect("small"); octets]).to(&names)
        })
        .collect()
}

/// Some recipients whose message is at one place, and what happens to them.
fn act(
    random: &mut Random,
    places: &BTreeMap<Recipient, Place>,
    attempt: u16,
    notices: &mut Range<usize>,
) -> Option<Act> {
    let all: Vec<(&Recipient, &Place)> = places.iter().collect();
    let (first, place) = *all.get(random.below(all.len().max(1)))?;
    let together = all.iter().filter(|(recipient, of)| recipient.0 == first.0 && *of == place);
    let mut recipients: Vec<u32> = together.map(|(recipient, _)| recipient.1).collect();
    if random.below(3) == 0 {
        recipients.retain(|recipient| random.next() & 1 == 0 || *recipient == first.1);
    }
    Some(match (random.below(10), place) {
        (0..=2, _) => Act::Sent(first.0, recipients),
        (3, _) => Act::Remove(first.0, recipients),
        (4, Place::Log(_) | Place::Later(_)) => match notices.next() {
            Some(notice) => Act::Noticed(first.0, recipients, notice),
            None => Act::Dead(first.0, recipients),
        },
        (5, Place::Later(_)) => Act::Hold(first.0, recipients),
        (6, Place::Later(_)) => Act::Release(first.0, recipients),
        _ => Act::Later(first.0, recipients, attempt),
    })
}

fn learn(model: &mut Model, act: &Act, log: usize) {
    if let Act::Noticed(.., notice) = act {
        model.insert((log + notice, 0), Known::Later(wait(0)));
    }
    let mut each = |of: usize, recipients: &[u32], change: &mut dyn FnMut(&mut Known)| {
        for recipient in recipients {
            change(model.get_mut(&(of, *recipient)).expect("it is needed"));
        }
    };
    match act {
        Act::Sent(of, recipients) | Act::Remove(of, recipients) => {
            for recipient in recipients {
                model.remove(&(*of, *recipient));
            }
        }
        Act::Later(of, recipients, attempts) => {
            each(*of, recipients, &mut |known| *known = Known::Later(wait(*attempts)));
        }
        Act::Dead(of, recipients) | Act::Noticed(of, recipients, _) => {
            each(*of, recipients, &mut |known| *known = Known::Dead(Why::Refused));
        }
        Act::Hold(of, recipients) => each(*of, recipients, &mut |known| {
            if let Known::Later(wait) = known {
                (wait.held, wait.reply) = (true, "held".to_owned());
            }
        }),
        Act::Release(of, recipients) => each(*of, recipients, &mut |known| {
            if let Known::Later(wait) = known {
                (wait.held, wait.next_at) = (false, 5);
            }
        }),
    }
}

/// What the keeper knows.
fn known(engine: &Engine) -> Model {
    let image = engine.disk.seen();
    let of = |place| {
        let (envelope, content) = image::record(&image, place).expect("whole");
        let of = engine.sent.iter().position(|sent| sent.id == envelope.id).expect("one of them");
        assert!(engine.sent[of].content() == content, "{place}");
        of
    };
    let state = engine.keeper.state();
    let mut model = Model::new();
    for (index, cursor) in
        engine.log.iter().enumerate().filter(|(_, cursor)| Some(**cursor) > state.consumed())
    {
        let settled = state.settled(*cursor);
        let count = u32::try_from(engine.sent[index].recipients.len()).expect("few");
        for recipient in (0..count).filter(|recipient| !settled.contains(*recipient)) {
            assert_eq!(model.insert((index, recipient), Known::Log), None);
        }
    }
    let waiting =
        state.waiting().map(|waiting| (waiting.place, waiting.recipients, Known::Later(waiting.wait)));
    let dead = state.dead().map(|dead| (dead.place, dead.recipients, Known::Dead(dead.why.expect("dead"))));
    for (place, recipients, known) in waiting.chain(dead) {
        let of = of(place);
        for recipient in recipients.iter() {
            assert_eq!(model.insert((of, recipient), known.clone()), None, "{place}");
        }
    }
    model
}

fn live(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let sent = messages(&mut random);
    let disk = Simulated::new(seed);
    let log = store_log(&disk, &sent);
    let mut engine = Engine::new(disk, sent.clone(), log.clone()).expect("a start");
    let mut model: Model = (0..sent.len())
        .flat_map(|index| {
            let count = u32::try_from(sent[index].recipients.len()).expect("few");
            (0..count).map(move |recipient| ((index, recipient), Known::Log))
        })
        .collect();
    let (mut starts, mut moved, mut notices) = (0, 0, 0..12);
    for round in 0..60 {
        let mut acts: Vec<Act> = Vec::new();
        let mut places = engine.places.clone();
        for _ in 0..random.below(6) {
            let Some(act) = act(&mut random, &places, round, &mut notices) else { break };
            // Each once a commit.
            let (Act::Sent(of, of_act)
            | Act::Later(of, of_act, _)
            | Act::Dead(of, of_act)
            | Act::Noticed(of, of_act, _)
            | Act::Remove(of, of_act)
            | Act::Hold(of, of_act)
            | Act::Release(of, of_act)) = &act;
            places.retain(|recipient, _| recipient.0 != *of || !of_act.contains(&recipient.1));
            acts.push(act);
        }
        assert!(engine.try_commit(&acts).is_empty());
        for act in &acts {
            learn(&mut model, act, log.len());
        }
        match random.below(6) {
            0 => moved += engine.tidy(),
            // Killed, or the power was cut: everything was told as durable.
            what @ 1..=2 => {
                let now = engine.disk.now();
                let image = engine.disk.image(now, || what == 1 || random.next() & 1 == 0);
                let disk = image::disk_of(&image, random.next());
                engine = Engine::new(disk, sent.clone(), log.clone()).expect("a start");
                starts += 1;
            }
            _ => {}
        }
        assert_eq!(known(&engine), model, "seed {seed}, round {round}");
    }
    (starts, moved)
}

#[test]
fn after_any_start_the_state_is_what_was_told_as_durable() {
    let (mut starts, mut moved) = (0, 0);
    for seed in 0..12 {
        println!("seed {seed}");
        let of = live(seed);
        starts += of.0;
        moved += of.1;
    }
    assert!(starts > 50 && moved > 20, "{starts} starts, {moved} records moved");
}
