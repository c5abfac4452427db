//! A sink worker of the simulation: a planned sink over a simulated disk that is slow, hangs and fails while
//! it is told to.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmx::config::LineEndings;
use ringmx::handoff::channel::{Receiver, Sender, Waiting};
use ringmx::handoff::message::{Message, Receipt};
use ringmx::limits::BATCH_MESSAGES_MAX;
use ringmx::mail::outcome::Outcome;
use ringmx::ring::simulated::World;
use ringmx::sink::executor::simulated::{Fault, Image, Simulated};
use ringmx::sink::maildir::{Commit, Maildir, MaildirSettings};
use ringmx::sink::plan::Action;
use ringmx::sink::spool::{Spool, scan};
use ringmx::sink::{Report, Sink};

use support::sink::{Reports, surroundings};

/// What begins every body, so that messages are found again.
const MARK: &[u8] = b"Subject: client ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    MaildirEach,
    MaildirBatch,
    MaildirTwice,
    Spool,
}

/// What goes wrong until [`Storage::recover`].
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    /// One operation in so many fails, with this error number.
    Some(u64, i32),
    /// Syncs say that they succeeded and do nothing.
    Lies,
    /// Writes and syncs fail, with this error number, when so many operations have been done.
    All(usize, i32),
}

/// What a message that reached the sink has to be found as.
struct Handed {
    received: Vec<u8>,
    data: Vec<u8>,
    recipients: usize,
    outcome: Option<Outcome>,
    /// The time on the disk at which it was stored.
    stored_at: usize,
}

pub struct Storage {
    pub kind: Kind,
    disk: Simulated,
    sink: Box<dyn Sink>,
    from: Receiver<Box<Message>>,
    to: Sender<Receipt>,
    batch: Vec<Box<Message>>,
    outcomes: Vec<Outcome>,
    /// When the batch is answered.
    ready_at: Duration,
    /// By the first line of the mail data.
    handed: BTreeMap<Vec<u8>, Handed>,
    is_well: Rc<Cell<bool>>,
    hangs: bool,
}

impl Storage {
    /// With `lies` its disk does not sync, which no sink can bear.
    pub fn new(world: &World, from: Receiver<Box<Message>>, to: Sender<Receipt>, lies: bool) -> Self {
        let kind = [Kind::MaildirEach, Kind::MaildirBatch, Kind::MaildirTwice, Kind::Spool][below(world, 4)];
        let errors = [libc::EIO, libc::ENOSPC, libc::EROFS, libc::EDQUOT];
        let error = errors[below(world, 4)];
        let trouble = match world.random(4) {
            _ if lies => Trouble::Lies,
            0 => Trouble::None,
            1 => Trouble::All(below(world, 100), error),
            _ => Trouble::Some(2 + world.random(60), error),
        };
        let disk = Simulated::new(world.random(u64::MAX));
        let is_well = Rc::new(Cell::new(false));
        disk.set_faults(faults(world.clone(), trouble, Rc::clone(&is_well)));
        Self {
            kind,
            sink: sink(kind, disk.clone()),
            disk,
            from,
            to,
            batch: Vec::new(),
            outcomes: Vec::new(),
            ready_at: Duration::ZERO,
            handed: BTreeMap::new(),
            is_well,
            hangs: world.random(6) == 0,
        }
    }

    /// Nothing goes wrong any more.
    pub fn recover(&mut self) {
        self.is_well.set(true);
        self.hangs = false;
    }

    /// Whether a message that comes now is stored.
    pub fn takes_all(&self) -> bool {
        self.is_well.get()
    }

    /// As the worker's thread does: takes what waits, stores it, and after some time sends the receipts.
    pub fn work(&mut self, world: &World) {
        if self.batch.is_empty() {
            let most = 1 + below(world, BATCH_MESSAGES_MAX);
            while self.batch.len() < most
                && let Waiting::Item(message) = self.from.take()
            {
                self.batch.push(message);
            }
            if self.batch.is_empty() {
                return;
            }
            self.store();
            let delay = match world.random(if self.hangs { 6 } else { 5 }) {
                0 | 1 => Duration::ZERO,
                2 | 3 => Duration::from_micros(world.random(20_000)),
                4 => Duration::from_millis(world.random(5000)),
                _ => Duration::from_secs(world.random(400)),
            };
            self.ready_at = world.elapsed() + delay;
        }
        if world.elapsed() >= self.ready_at {
            for (message, outcome) in self.batch.drain(..).zip(self.outcomes.drain(..)) {
                self.to.answer(Receipt { message, outcome });
            }
            self.to.ring_if_parked();
        }
    }

    fn store(&mut self) {
        let keys: Vec<Vec<u8>> = self
            .batch
            .iter()
            .map(|message| {
                let data = message.data.whole().expect("in memory").pieces().collect::<Vec<_>>().concat();
                let key = key(&data).expect("what the clients send").1.to_vec();
                let handed = Handed {
                    received: message.received.clone(),
                    data,
                    recipients: message.envelope.recipients().len(),
                    outcome: None,
                    stored_at: 0,
                };
                assert!(self.handed.insert(key.clone(), handed).is_none(), "a message is handed over once");
                key
            })
            .collect();
        self.sink.store(&mut self.batch, &mut self.outcomes);
        assert_eq!(self.outcomes.len(), keys.len(), "one outcome a message");
        for (key, outcome) in keys.into_iter().zip(&self.outcomes) {
            let handed = self.handed.get_mut(&key).expect("handed over");
            handed.outcome = Some(*outcome);
            handed.stored_at = self.disk.now();
        }
    }

    /// Whether a batch is on its way.
    pub fn is_busy(&self) -> bool {
        !self.batch.is_empty()
    }

    /// What the sink said of a message; none when it never came here. The mail data must be what the client
    /// sent.
    pub fn outcome(&self, body: &[u8]) -> Option<Outcome> {
        let handed = self.handed.get(key(body).expect("a body").1)?;
        assert!(handed.data == body, "altered on the way to the sink");
        handed.outcome
    }

    /// Events on the disk, for the comparison of two runs.
    pub fn events(&self) -> usize {
        self.disk.now()
    }

    /// Cuts the power at the end and once before, with all that was not synced lost, and with some of it; and
    /// looks at the disk without a cut.
    pub fn check(&self, world: &World) {
        let (end, before) = (self.disk.now(), below(world, self.disk.now() + 1));
        self.check_image(&self.disk.seen(), end);
        for cut in [end, before] {
            self.check_image(&self.disk.image(cut, || false), cut);
            self.check_image(&self.disk.image(cut, || world.random(2) == 0), cut);
        }
    }

    /// What is there is whole, was handed over, and is there once; what was stored by then is there.
    fn check_image(&self, image: &Image, cut: usize) {
        let mut found: BTreeMap<&[u8], usize> = BTreeMap::new();
        let contents = match self.kind {
            Kind::Spool => records(image),
            Kind::MaildirEach | Kind::MaildirBatch | Kind::MaildirTwice => files(image),
        };
        for content in &contents {
            let (_, key) = key(content).unwrap_or_else(|| panic!("a part of a message is there"));
            let (key, handed) = self.handed.get_key_value(key).expect("never handed over, and there");
            assert!(self.is_whole(content, handed), "{} is altered", String::from_utf8_lossy(key));
            *found.entry(key).or_default() += 1;
        }
        for (key, handed) in &self.handed {
            let copies = if self.kind == Kind::Spool { 1 } else { handed.recipients };
            let there = found.get(key.as_slice()).copied().unwrap_or_default();
            let is_promised = handed.outcome == Some(Outcome::Stored) && handed.stored_at <= cut;
            assert!(
                there <= copies && (!is_promised || there == copies),
                "{:?}: {} is there {there} times of {copies}: {:?}",
                self.kind,
                String::from_utf8_lossy(key),
                handed.outcome
            );
        }
    }

    fn is_whole(&self, content: &[u8], handed: &Handed) -> bool {
        let whole = [&handed.received[..], &handed.data].concat();
        if self.kind == Kind::Spool {
            return content == whole;
        }
        let whole = support::sink::replace(&whole, b"\r\n", b"\n");
        let head =
            content.strip_suffix(&whole[..]).and_then(|head| head.strip_prefix(b"Return-Path: <a@x.test>\n"));
        head.is_some_and(|head| head.starts_with(b"Delivered-To: ") && head.ends_with(b"@y.test\n"))
    }
}

fn below(world: &World, bound: usize) -> usize {
    usize::try_from(world.random(bound as u64)).expect("small")
}

fn sink(kind: Kind, disk: Simulated) -> Box<dyn Sink> {
    let reports: Arc<Reports> = Arc::default();
    let root = Path::new("/store");
    let settings = || {
        MaildirSettings::new(root, "{domain}/{local}", true, LineEndings::Lf, surroundings(&reports))
            .expect("a template")
    };
    match kind {
        Kind::MaildirEach => Box::new(Maildir::new(settings(), disk)),
        Kind::MaildirBatch => Box::new(Maildir::new(settings().commit_by(Commit::Batch), disk)),
        Kind::MaildirTwice => Box::new(Maildir::new(settings().commit_by(Commit::Twice), disk)),
        Kind::Spool => {
            let mut spool = Spool::new(root, 16 * 1024, 1, disk, Arc::clone(&reports) as Arc<dyn Report>);
            spool.prepare();
            Box::new(spool)
        }
    }
}

fn faults(
    world: World,
    trouble: Trouble,
    is_well: Rc<Cell<bool>>,
) -> impl FnMut(usize, &Action<'_>) -> Option<Fault> {
    move |number, action| {
        let is_sync = matches!(
            action,
            Action::SyncFile(_)
                | Action::AwaitWriteback(_)
                | Action::SyncDirectory(_)
                | Action::SyncFilesystem
        );
        let stores = is_sync || matches!(action, Action::Write(..));
        let error = match trouble {
            _ if is_well.get() => None,
            Trouble::None => None,
            Trouble::Lies => return is_sync.then_some(Fault::Lie),
            Trouble::Some(chance, error) => (world.random(chance) == 0).then_some(error),
            Trouble::All(after, error) => (stores && number >= after).then_some(error),
        }?;
        Some(Fault::Error(error))
    }
}

/// Where the mail data begins in what is stored, and its first line.
fn key(content: &[u8]) -> Option<(usize, &[u8])> {
    let start = memchr::memmem::find(content, MARK)?;
    let line = content[start..].split(|octet| matches!(octet, b'\r' | b'\n')).next()?;
    Some((start, line))
}

fn files(image: &Image) -> Vec<Vec<u8>> {
    let mut names = BTreeSet::new();
    let delivered = image.iter().filter(|(path, _)| {
        assert!(names.insert(path.as_str()));
        !path.contains("/tmp/") && !path.contains(".ringmx-marker-")
    });
    delivered.map(|(_, octets)| octets.clone()).collect()
}

fn records(image: &Image) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for (_, octets) in image.iter().filter(|(path, _)| path.ends_with(".segment")) {
        let Ok(scan) = scan::scan(octets.as_slice()).expect("memory") else { continue };
        for record in scan.records {
            let start = usize::try_from(record.content_start()).expect("small");
            let bytes = usize::try_from(record.content_bytes).expect("small");
            records.push(octets[start..start + bytes].to_vec());
        }
    }
    records
}
