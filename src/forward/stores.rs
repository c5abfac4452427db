//! Next hops without a session: maildirs (`to = ["maildir:PATH"]`), each with a thread and a sink, as a
//! receiver's store has, and streams (`streams.rs`). A message is there when the sink, or the stream, says
//! so, which is what a 250 means elsewhere.
//!
//! A sink takes a message for all its recipients or for none. Where recipients have maildirs of their own
//! each is handed over by itself, so that one that cannot be written is nobody else's trouble.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "nats")]
use super::streams;
use crate::buffer::{MailData, Pool};
use crate::config::forward::{HopPlace, maildir_parts, maildir_sink};
use crate::config::{self, Config};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::message::{LogFacts, Message, Origin, Progress, Receipt};
use crate::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, HANDOFF_MESSAGES_MAX};
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::metrics::SpoolMetrics;
#[cfg(feature = "nats")]
use crate::nats::Plan;
use crate::sink::spool::envelope::StoredEnvelope;
use crate::sink::worker::AbortOnPanic;
use crate::sink::{self, Report, Sink, Site, Surroundings};
use crate::threads::Threads;

/// Receipts on their way: there are as many connections at most, and each waits for one.
const RECEIPTS_MAX: usize = 1024;

/// A store that cannot be opened, or that takes nothing, is opened anew after this time.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The ways to streams.
#[cfg(feature = "nats")]
type ToStreams = HashMap<HopPlace, (Arc<streams::Standing>, Sender<streams::Outgoing>)>;

/// What a directory is, whatever it is called.
type Identity = (u64, u64);

/// Who of a message is handed over together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    /// All: there is one maildir.
    All,
    /// Those of a domain.
    OfDomain,
    /// Nobody.
    Nobody,
}

/// The ways to all of them. Their threads begin nothing more when this is dropped.
pub(super) struct Stores {
    maildirs: HashMap<PathBuf, Sender<Box<Message>>>,
    #[cfg(feature = "nats")]
    streams: ToStreams,
    /// What they say.
    receipts: Receiver<Receipt>,
    is_over: Arc<AtomicBool>,
    /// Of mail data that nobody has: all of a message is in front of it.
    nothing: Pool,
}

impl Drop for Stores {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        #[cfg(feature = "nats")]
        self.streams.values().for_each(|(standing, _)| standing.is_over.store(true, Ordering::Relaxed));
    }
}

impl Stores {
    /// Starts the threads of the maildirs and streams of this configuration. What they say comes to `engine`.
    /// One that cannot be opened is tried again and again, and the report is told.
    pub(super) fn start(
        config: &Config,
        engine: &Consumer,
        threads: &mut Threads,
        report: &Arc<dyn Report>,
    ) -> io::Result<Self> {
        let (to_engine, receipts) = engine.channel(RECEIPTS_MAX);
        let is_over = Arc::<AtomicBool>::default();
        let mut maildirs = HashMap::new();
        #[cfg(feature = "nats")]
        let streams = streams_of(config, &to_engine, threads, report)?;
        for hop in config.forward.routes.iter().flat_map(|route| &route.to) {
            let HopPlace::Maildir(path) = &hop.place else { continue };
            if maildirs.contains_key(path) {
                continue;
            }
            let consumer = Consumer::new()?;
            let (sender, messages) = consumer.channel(HANDOFF_MESSAGES_MAX);
            let (hop, place, settings) = (hop.to_string(), maildir_parts(path).0, maildir_sink(path));
            let surroundings = surroundings(config, report);
            let (to_engine, is_over) = (to_engine.clone(), Arc::clone(&is_over));
            let run = move || {
                let (sink, tried_at, identity) = (None, None, None);
                let store = Store { hop, place, settings, surroundings, sink, tried_at, identity };
                store.run(&consumer, &messages, &to_engine, &is_over);
            };
            threads.start("ringmx-maildir".to_owned(), run)?;
            maildirs.insert(path.clone(), sender);
        }
        let nothing = Pool::new(1, 512, 0)?;
        Ok(Self {
            maildirs,
            #[cfg(feature = "nats")]
            streams,
            receipts,
            is_over,
            nothing,
        })
    }

    /// The next one of what they have said.
    pub(super) fn next_receipt(&self) -> Option<Receipt> {
        self.receipts.next()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty()
    }

    /// Hands a message over, for these recipients. Its receipt has this number. An error where nobody takes
    /// it. `now`: of the file's name, which an earlier try had as well if it were that of the message.
    pub(super) fn store(
        &self,
        place: &HopPlace,
        (number, now): (u64, SystemTime),
        (stored, content): (&StoredEnvelope, &[u8]),
        recipients: impl Fn(u32) -> bool,
    ) -> Result<(), &'static str> {
        let gone = "nobody writes there any more";
        let message = Box::new(Message {
            id: stored.id,
            origin: Origin { shard: 0, connection: number },
            envelope: Box::new(envelope_for(&stored.envelope, &recipients)),
            client: ClientFacts::unknown(),
            received_at: now,
            received: content.to_vec(),
            authentication: stored.authentication.clone(),
            data: MailData::new(Arc::clone(self.nothing.arena())),
            place: String::new(),
            progress: Progress::default(),
            log: LogFacts::default(),
        });
        #[cfg(feature = "nats")]
        if let Some((_, to)) = self.streams.get(place) {
            let envelope = stored.json_for(content.len() as u64, recipients);
            return to.send_and_ring(streams::Outgoing { message, envelope }).map_err(|_| gone);
        }
        let HopPlace::Maildir(path) = place else { return Err(gone) };
        self.maildirs.get(path).ok_or(gone)?.send_and_ring(message).map_err(|_| gone)
    }

    /// Why nothing can be handed over there; none where it can.
    pub(super) fn why_not(&self, place: &HopPlace) -> Option<&'static str> {
        match place {
            HopPlace::Maildir(_) => None,
            #[cfg(feature = "nats")]
            HopPlace::Stream(..)
                if self.streams.get(place).is_some_and(|(standing, _)| standing.is_there()) =>
            {
                None
            }
            _ => Some("the stream is not there, which the log tells"),
        }
    }
}

/// Starts the threads of the streams.
#[cfg(feature = "nats")]
fn streams_of(
    config: &Config,
    engine: &Sender<Receipt>,
    threads: &mut Threads,
    report: &Arc<dyn Report>,
) -> io::Result<ToStreams> {
    let mut all = HashMap::new();
    for hop in config.forward.routes.iter().flat_map(|route| &route.to) {
        let HopPlace::Stream(server, name) = &hop.place else { continue };
        if all.contains_key(&hop.place) {
            continue;
        }
        let cluster = config.cluster_of(server, name);
        let plan = Plan::new(&cluster, &config.hostname).map_err(io::Error::other)?;
        let consumer = Consumer::new()?;
        let (sender, messages) = consumer.channel(HANDOFF_MESSAGES_MAX);
        let standing = Arc::<streams::Standing>::default();
        let (hop_name, known, report) = (hop.to_string(), Arc::clone(&standing), Arc::clone(report));
        let engine = engine.clone();
        let run = move || {
            let stream = streams::Stream { hop: hop_name, plan, standing: known, report };
            stream.run(&consumer, &messages, engine);
        };
        threads.start("ringmx-stream".to_owned(), run)?;
        all.insert(hop.place.clone(), (standing, sender));
    }
    Ok(all)
}

/// Who is handed over together to this place.
pub(super) fn together(place: &HopPlace) -> Together {
    let HopPlace::Maildir(path) = place else { return Together::All };
    let template = maildir_parts(path).1;
    let template = template.to_string_lossy();
    match (template.contains("{local}"), template.contains("{domain}")) {
        (true, _) => Together::Nobody,
        (false, true) => Together::OfDomain,
        (false, false) => Together::All,
    }
}

/// The envelope for some of its recipients.
fn envelope_for(whole: &Envelope, is_meant: impl Fn(u32) -> bool) -> Envelope {
    let mut envelope = Envelope::default();
    envelope.write_reverse_path(|out| out.extend_from_slice(whole.reverse_path()));
    envelope.body = whole.body;
    envelope.smtputf8 = whole.smtputf8;
    envelope.bare_line_ends = whole.bare_line_ends;
    for (_, recipient) in (0..).zip(whole.recipients()).filter(|(index, _)| is_meant(*index)) {
        envelope.push_whole_recipient(recipient.whole);
    }
    envelope
}

fn surroundings(config: &Config, report: &Arc<dyn Report>) -> Surroundings {
    Surroundings {
        hostname: config.hostname.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        recipient_delimiter: config.recipient_delimiter,
        report: Arc::clone(report),
        spool: Arc::new(SpoolMetrics::default()),
        // Who is listed with a tag is known to the receiver alone: a tag is one here.
        is_named: Arc::new(|_| false),
    }
}

/// One thread's maildir, or maildirs below one directory.
struct Store {
    /// What it is called.
    hop: String,
    /// The directory that has the maildirs, or is the one.
    place: PathBuf,
    settings: config::Sink,
    surroundings: Surroundings,
    /// None where it cannot be opened.
    sink: Option<Box<dyn Sink>>,
    /// When that was tried last.
    tried_at: Option<Instant>,
    /// The directory that was opened last. Where the path leads to another one by now, that was moved away or
    /// mounted over, and its mail would be where nobody looks for it.
    identity: Option<Identity>,
}

impl Store {
    /// Runs until the engine has ended. What is waiting then has no answer.
    fn run(
        mut self,
        consumer: &Consumer,
        messages: &Receiver<Box<Message>>,
        engine: &Sender<Receipt>,
        is_over: &AtomicBool,
    ) {
        // As a receiver's worker: what it has begun is in doubt, and nobody is to say that it is stored.
        let _guard = AbortOnPanic;
        self.open();
        let (mut batch, mut outcomes) = (Vec::new(), Vec::new());
        loop {
            let has_ended = fill(&mut batch, messages);
            if is_over.load(Ordering::Relaxed) || (has_ended && batch.is_empty()) {
                return;
            }
            if batch.is_empty() {
                consumer.sleep(None, || messages.is_empty());
                continue;
            }
            self.store(&mut batch, &mut outcomes);
            for (message, outcome) in batch.drain(..).zip(outcomes.drain(..)) {
                engine.answer(Receipt { message, outcome });
            }
            engine.ring_if_parked();
        }
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        if self.sink.is_some() && self.identity != identity_of(&self.place) {
            (self.sink, self.tried_at) = (None, None);
        }
        self.open();
        let Some(sink) = &mut self.sink else {
            return outcomes.extend(batch.iter().map(|_| Outcome::TryAgain(TryAgain::Overload)));
        };
        sink.store(batch, outcomes);
        let is_refused = outcomes.iter().all(|outcome| matches!(outcome, Outcome::TryAgain(_)));
        // Its directory may be another one than it was.
        if is_refused && self.tried_at.is_none_or(|at| at.elapsed() >= OPEN_AGAIN_AFTER) {
            self.sink = None;
        }
    }

    /// Opens it, if it is not, and was not tried just now.
    fn open(&mut self) {
        if self.sink.is_some() || self.tried_at.is_some_and(|at| at.elapsed() < OPEN_AGAIN_AFTER) {
            return;
        }
        let is_first = self.tried_at.is_none();
        self.tried_at = Some(Instant::now());
        // Before it is opened: what takes its place meanwhile is another.
        let before = identity_of(&self.place);
        match self.opened(is_first) {
            Ok(sink) => {
                self.sink = Some(sink);
                self.identity = before.or_else(|| identity_of(&self.place));
            }
            Err(why) => {
                let error = io::Error::other(why);
                self.surroundings.report.machine_error("open the maildir", Site::Named(&self.hop), &error);
            }
        }
    }

    fn opened(&self, tells: bool) -> Result<Box<dyn Sink>, String> {
        let opened = sink::open(&self.settings, &self.surroundings).map_err(|error| error.to_string())?;
        for note in opened.notes.iter().filter(|_| tells) {
            self.surroundings.report.note(&format!("{}: {note}", opened.description));
        }
        let make = opened.workers.into_iter().next().ok_or("it has no worker")?;
        make().map_err(|error| error.to_string())
    }
}

/// That of the directory that a path leads to; none where there is none.
fn identity_of(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

/// Takes what waits, up to the bounds of a batch. True when nothing will come any more.
fn fill(batch: &mut Vec<Box<Message>>, messages: &Receiver<Box<Message>>) -> bool {
    let mut bytes = 0;
    while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
        match messages.take() {
            Waiting::Item(message) => {
                bytes += message.received.len() as u64;
                batch.push(message);
            }
            Waiting::Nothing => return false,
            Waiting::Ended => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_maildir_of_his_own_is_handed_over_alone() {
        for (path, expected) in [
            ("/var/mail/all", Together::All),
            ("/var/mail/{domain}", Together::OfDomain),
            ("/var/mail/{domain}/{local}", Together::Nobody),
            ("/var/mail/{local}@{domain}", Together::Nobody),
        ] {
            assert_eq!(together(&HopPlace::Maildir(path.into())), expected, "{path}");
        }
    }

    #[test]
    fn an_envelope_has_those_who_are_meant_and_what_the_content_needs() {
        let mut whole = Envelope::default();
        whole.set_reverse_path(b"a", b"x.test");
        for name in [b"b", b"c", b"d"] {
            whole.push_recipient(name, b"y.test");
        }
        whole.bare_line_ends = true;
        let envelope = envelope_for(&whole, |index| index != 1);
        let found: Vec<_> = envelope.recipients().map(|mailbox| mailbox.whole.to_vec()).collect();
        assert_eq!(found, [b"b@y.test".to_vec(), b"d@y.test".to_vec()]);
        assert!(envelope.bare_line_ends && envelope.reverse_path() == b"a@x.test");
    }
}
