//! An engine without next hops: asks the keeper for what a script says, and notes the answers in a book.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ringmx::forward::keep::{Change, Keeper, Moved, Notice, Place, Recipients, Refused, Settings, Wait, Why};
use ringmx::mail::outcome::Outcome;
use ringmx::sink::Report;
use ringmx::sink::executor::simulated::Simulated;
use ringmx::sink::spool::Spool;
use ringmx::sink::spool::cursor::Cursor;
use ringmx::sink::spool::envelope;
use support::sink::{Reports, Sent, store};

use crate::book::{Book, Recipient, What};

/// Small segments, so that some end.
pub const SETTINGS: Settings = Settings { segment_bytes: 16 * 1024, copy_bytes: 16 * 1024 };

/// Stores messages in the log, and tells where each is.
pub fn store_log(disk: &Simulated, sent: &[Sent]) -> Vec<Cursor> {
    let reports = Arc::new(Reports::default());
    let report = Arc::clone(&reports) as Arc<dyn Report>;
    let mut spool = Spool::new(Path::new("/simulated"), 16 * 1024, 1, disk.clone(), report);
    for batch in sent.chunks(2) {
        assert_eq!(store(&mut spool, batch), vec![Outcome::Stored; batch.len()], "{:?}", reports.take());
    }
    crate::image::log(&disk.seen())
}

/// Opens a keeper on a simulated disk.
pub fn open(disk: &Simulated) -> std::io::Result<Keeper> {
    let report: Arc<dyn Report> = Arc::new(Reports::default());
    Keeper::open(Box::new(disk.clone()), Box::new(disk.clone()), SETTINGS, report)
}

/// A wait that can be told from others.
pub fn wait(attempts: u16) -> Wait {
    Wait {
        destination: format!("lmtp://{}.test", attempts % 3),
        attempts,
        next_at: 1_000 + u32::from(attempts),
        received_at: 1_700_000_000,
        reply: format!("451 4.7.{attempts} later"),
        held: false,
    }
}

/// Notices that a life may give, each once. They are no messages of the log.
const NOTICES: u64 = 12;

/// What notice of this number says.
fn notice(number: u64) -> Sent {
    Sent::new(1000 + number, vec![b'N'; 700 + usize::try_from(number).expect("small")])
}

/// The engine.
pub struct Engine {
    pub disk: Simulated,
    /// Messages of the log, then notices.
    pub sent: Vec<Sent>,
    pub log: Vec<Cursor>,
    pub keeper: Keeper,
    pub book: Book,
    /// Where the message is for each recipient that needs it.
    pub places: BTreeMap<Recipient, Place>,
    /// Changes that were refused.
    pub refused: usize,
}

/// One of the things that happen.
#[derive(Debug, Clone)]
pub enum Act {
    Sent(usize, Vec<u32>),
    Later(usize, Vec<u32>, u16),
    Dead(usize, Vec<u32>),
    /// They are dead, with this notice.
    Noticed(usize, Vec<u32>, usize),
    Remove(usize, Vec<u32>),
    Hold(usize, Vec<u32>),
    Release(usize, Vec<u32>),
}

impl Act {
    fn of(&self) -> (usize, &[u32], Option<What>) {
        match self {
            Self::Sent(of, recipients) | Self::Remove(of, recipients) => (*of, recipients, Some(What::Gone)),
            Self::Later(of, recipients, _) => (*of, recipients, Some(What::Later)),
            Self::Dead(of, recipients) | Self::Noticed(of, recipients, _) => {
                (*of, recipients, Some(What::Dead))
            }
            Self::Hold(of, recipients) | Self::Release(of, recipients) => (*of, recipients, None),
        }
    }
}

impl Engine {
    /// Begins with all messages in the log, and has read them.
    pub fn new(disk: Simulated, mut sent: Vec<Sent>, log: Vec<Cursor>) -> std::io::Result<Self> {
        sent.extend((0..NOTICES).map(notice));
        let keeper = open(&disk)?;
        let mut engine =
            Self { disk, sent, log, keeper, book: Book::default(), places: BTreeMap::new(), refused: 0 };
        engine.read();
        Ok(engine)
    }

    /// Reads the log from where it is needed on, and learns from the state where everything else is.
    pub fn read(&mut self) {
        self.places.clear();
        let count = |sent: &Sent| u32::try_from(sent.recipients.len()).expect("few");
        for (index, cursor) in self.log.clone().into_iter().enumerate() {
            if Some(cursor) <= self.keeper.state().consumed() {
                continue;
            }
            let count = count(&self.sent[index]);
            let settled = self.keeper.state().settled(cursor);
            for recipient in (0..count).filter(|recipient| !settled.contains(*recipient)) {
                self.places.insert((index, recipient), Place::Log(cursor));
            }
            let results = self.keeper.commit(&[Change::Read { at: cursor, recipients: count }]);
            assert_eq!(results, [Ok(None)]);
        }
        let image = self.disk.seen();
        let state = self.keeper.state();
        for waiting in state.waiting().chain(state.dead()) {
            let (envelope, _) = crate::image::record(&image, waiting.place).expect("whole");
            let of = self.sent.iter().position(|sent| sent.id == envelope.id).expect("one of them");
            for recipient in waiting.recipients.iter() {
                self.places.insert((of, recipient), waiting.place);
            }
        }
    }

    /// The index of the notice of this number among the messages.
    pub fn notice(&self, number: usize) -> usize {
        self.log.len() + number
    }

    /// Where in `dead/` the message is for a recipient.
    fn dead_place(&self, (of, recipient): Recipient) -> Place {
        let image = self.disk.seen();
        let is_it = |place| {
            let (envelope, _) = crate::image::record(&image, place).expect("whole");
            envelope.id == self.sent[of].id
        };
        let found =
            self.keeper.state().dead().find(|dead| dead.recipients.contains(recipient) && is_it(dead.place));
        found.expect("it is dead").place
    }

    fn change(&self, act: &Act) -> Change {
        let (of, recipients, _) = act.of();
        let place = self.places[&(of, recipients[0])];
        assert!(recipients.iter().all(|recipient| self.places[&(of, *recipient)] == place), "{act:?}");
        let recipients: Recipients = recipients.iter().copied().collect();
        let at = place.cursor();
        match act {
            Act::Sent(..) => Change::Sent { place, recipients },
            Act::Later(_, _, attempts) => Change::Later { place, recipients, wait: wait(*attempts) },
            Act::Noticed(of, who, number) => {
                // The first of them by itself.
                let (first, others) = who.split_at(1);
                let parts = [first, others].into_iter().filter(|part| !part.is_empty());
                let changes = parts.map(|part| self.change(&Act::Dead(*of, part.to_vec()))).collect();
                let sent = &self.sent[self.notice(*number)];
                let mut octets = Vec::new();
                envelope::encode_own(sent.id, UNIX_EPOCH, &sent.message().envelope, &mut octets);
                let notice = Notice { envelope: octets, content: sent.content(), wait: wait(0) };
                Change::Noticed { changes, notice: Arc::new(notice) }
            }
            Act::Dead(..) => {
                let reply = "550 5.1.1 nobody".to_owned();
                Change::Dead { place, recipients, died_at: 77, why: Why::Refused, reply }
            }
            Act::Remove(..) => Change::Remove { place, recipients },
            Act::Hold(..) => Change::Hold { at, recipients, why: "held".to_owned() },
            Act::Release(..) => Change::Release { at, recipients, next_at: 5 },
        }
    }

    /// Asks for these once. Gives those that the disk did not do.
    pub fn try_commit(&mut self, acts: &[Act]) -> Vec<Act> {
        let changes: Vec<Change> = acts.iter().map(|act| self.change(act)).collect();
        let since = self.disk.now();
        let results = self.keeper.commit(&changes);
        let now = self.disk.now();
        assert_eq!(results.len(), acts.len());
        let mut again = Vec::new();
        for (act, result) in acts.iter().zip(results) {
            let (of, recipients, what) = act.of();
            for recipient in recipients.iter().map(|recipient| (of, *recipient)) {
                if let Some(what) = what {
                    self.book.note(recipient, what, since, result.is_ok().then_some(now));
                }
                match &result {
                    Ok(Some(_)) if matches!(act, Act::Noticed(..)) => {
                        let place = self.dead_place(recipient);
                        self.places.insert(recipient, place);
                    }
                    Ok(Some(place)) => _ = self.places.insert(recipient, *place),
                    Ok(None) if what.is_some() => _ = self.places.remove(&recipient),
                    Ok(None) | Err(_) => {}
                }
            }
            if let Act::Noticed(of, recipients, number) = act {
                let notice = (self.notice(*number), 0);
                self.book.note(notice, What::Later, since, result.is_ok().then_some(now));
                self.book.note_notice((*of, recipients[0]), notice);
                if let Ok(Some(place)) = result {
                    self.places.insert(notice, place);
                }
            }
            match result {
                Ok(_) => {}
                Err(Refused::Disk(..) | Refused::Unread(..)) => again.push(act.clone()),
                Err(refused) => panic!("{act:?}: {refused}"),
            }
        }
        self.refused += again.len();
        again
    }

    /// Asks until it is done, three times at most.
    pub fn commit(&mut self, acts: &[Act]) {
        let mut again = acts.to_vec();
        for _ in 0..3 {
            if again.is_empty() {
                break;
            }
            again = self.try_commit(&again);
        }
    }

    /// Compacts until nothing is left to do, or that fails.
    pub fn tidy(&mut self) -> usize {
        let mut count = 0;
        for _ in 0..20 {
            let Ok(moved) = self.keeper.tidy() else { break };
            if moved.is_empty() {
                break;
            }
            count += moved.len();
            self.learn(&moved);
        }
        count
    }

    fn learn(&mut self, moved: &[Moved]) {
        for place in self.places.values_mut() {
            if let Some(moved) = moved.iter().find(|moved| moved.from == *place) {
                assert_eq!(self.keeper.place_of(*place), moved.to);
                *place = moved.to;
            }
        }
        for moved in moved {
            self.keeper.confirm_move(moved.from);
        }
    }
}
