//! A station of the simulation: slow, out of order, sometimes silent for longer than it may be, and of every
//! opinion.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ringmx::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use ringmx::handoff::message::Message;
use ringmx::handoff::station::{Back, Passage, Rules, Visit};
use ringmx::mail::foreign_reply::{ForeignReply, Stranger};
use ringmx::mail::outcome::TryAgain;
use ringmx::ring::simulated::World;
use ringmx::shard::stations::ToStation;

/// So long it may take for a message.
const TIMEOUT: Duration = Duration::from_millis(400);

/// See the module.
pub struct Station {
    visits: Receiver<Visit>,
    back: Sender<Back>,
    under_way: Vec<(Visit, Duration)>,
    /// What it kept as its own, by the first line of the mail data.
    pub delivered: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it let nobody have, by the first line.
    pub discarded: BTreeSet<Vec<u8>>,
    /// Messages that it was asked about.
    pub visits_seen: u64,
    hangs: bool,
}

impl Station {
    /// One with little room, and a shard's way to it.
    pub fn new(world: &World, back: Sender<Back>) -> (Self, ToStation) {
        let consumer = Consumer::new().expect("eventfd");
        let (sender, visits) = consumer.channel(1 + usize::try_from(world.random(6)).expect("small"));
        let otherwise = if world.random(2) == 0 { Passage::GoesOn } else { Passage::Unanswered };
        let bytes_max = if world.random(4) == 0 { 2000 } else { u64::MAX };
        let rules = Rules { skips_trusted: false, bytes_max, timeout: TIMEOUT, otherwise };
        let way = ToStation { sender, rules };
        let hangs = world.random(4) == 0;
        let (delivered, discarded) = Default::default();
        let station =
            Self { visits, back, under_way: Vec::new(), delivered, discarded, visits_seen: 0, hangs };
        (station, way)
    }

    /// Every visit ends from now on.
    pub fn recover(&mut self) {
        self.hangs = false;
        self.under_way.iter_mut().for_each(|(_, until)| *until = Duration::ZERO);
    }

    /// Takes messages, and sends those back whose time has come.
    pub fn work(&mut self, world: &World) {
        while let Waiting::Item(visit) = self.visits.take() {
            let takes = match world.random(if self.hangs { 8 } else { 6 }) {
                0..3 => Duration::ZERO,
                3..6 => Duration::from_micros(world.random(300_000)),
                // For longer than anybody waits.
                _ => Duration::from_secs(6 + world.random(10)),
            };
            self.under_way.push((visit, world.elapsed() + takes));
        }
        let mut index = 0;
        while index < self.under_way.len() {
            if self.under_way[index].1 > world.elapsed() {
                index += 1;
                continue;
            }
            let (Visit { mut message, since }, _) = self.under_way.swap_remove(index);
            assert!(since <= Instant::now() + Duration::from_hours(24 * 365), "it has a time");
            let passage = self.judge(&mut message, world);
            self.back.answer(Back { message, passage });
            self.back.ring_if_parked();
        }
    }

    fn judge(&mut self, message: &mut Message, world: &World) -> Passage {
        self.visits_seen += 1;
        let refusal = |code| ForeignReply::new(code, None, b"No").map(Box::new).expect("it refuses");
        match world.random(12) {
            0 => Passage::Refused(Stranger::Filter, refusal(550)),
            1 => Passage::Refused(Stranger::NextHop, refusal(452)),
            2 => Passage::Greylisted,
            3 => Passage::Unanswered,
            6 => {
                self.discarded.insert(first_line(&octets(message)));
                Passage::Discarded
            }
            4 => {
                let data = octets(message);
                assert_eq!(self.delivered.insert(first_line(&data), data), None, "a message is there once");
                Passage::Delivered
            }
            7 => Passage::PutOff(TryAgain::NoSpace),
            8 => Passage::TooLarge,
            // Fields in front of it.
            5 => {
                message.received.splice(..0, b"X-Seen: yes\r\n".iter().copied());
                Passage::GoesOn
            }
            _ => Passage::GoesOn,
        }
    }
}

/// By this a message is known.
pub fn first_line(data: &[u8]) -> Vec<u8> {
    data.split(|octet| *octet == b'\r').next().unwrap_or_default().to_vec()
}

fn octets(message: &mut Message) -> Vec<u8> {
    message.data.load().expect("the spill file can be read");
    message.data.whole().expect("in memory").pieces().collect::<Vec<_>>().concat()
}
