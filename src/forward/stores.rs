//! Maildirs as next hops (`to = ["maildir:PATH"]`): each has a thread with a sink, as a receiver's store has.
//! A message is there when the sink says so, which is what a 250 means elsewhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::{MailData, Pool};
use crate::config::forward::{HopPlace, maildir_parts};
use crate::config::{self, Config, LineEndings, Quarantine, SinkKind};
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::handoff::message::{LogFacts, Message, Origin, Receipt};
use crate::limits::HANDOFF_MESSAGES_MAX;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::metrics::{SinkMetrics, SpoolMetrics};
use crate::sink::spool::envelope::StoredEnvelope;
use crate::sink::{self, Report, Surroundings};
use crate::threads::Threads;

/// Receipts on their way: there are as many connections at most.
const RECEIPTS_MAX: usize = 1024;

/// The ways to all maildirs.
pub(super) struct Stores {
    to: HashMap<PathBuf, Sender<Box<Message>>>,
    /// What they say.
    received: Receiver<Receipt>,
    /// Of mail data that nobody has: all of a message is in front of it.
    nothing: Pool,
}

impl Stores {
    /// Opens the maildirs of this configuration, and starts their threads. What they say comes to `engine`.
    pub(super) fn start(
        config: &Config,
        engine: &Consumer,
        threads: &mut Threads,
        report: &Arc<dyn Report>,
    ) -> Result<Self, String> {
        let (receipts, received) = engine.channel(RECEIPTS_MAX);
        let nothing = Pool::new(1, 512, 0).map_err(|error| error.to_string())?;
        let mut to = HashMap::new();
        for hop in config.forward.routes.iter().flat_map(|route| &route.to) {
            let HopPlace::Maildir(path) = &hop.place else { continue };
            if !to.contains_key(path) {
                let sender = start(config, path, &receipts, threads, report)
                    .map_err(|why| format!("{hop} cannot be opened: {why}"))?;
                to.insert(path.clone(), sender);
            }
        }
        Ok(Self { to, received, nothing })
    }

    /// The next one of what they have said.
    pub(super) fn next_receipt(&self) -> Option<Receipt> {
        self.received.next()
    }

    /// Hands a message over, for these recipients. Its receipt has this number. An error where nobody takes
    /// it.
    pub(super) fn store(
        &self,
        path: &Path,
        number: u64,
        (stored, content): (&StoredEnvelope, &[u8]),
        recipients: impl Fn(u32) -> bool,
    ) -> Result<(), &'static str> {
        let gone = "nobody writes there any more";
        let to = self.to.get(path).ok_or(gone)?;
        let message = Message {
            id: stored.id,
            origin: Origin { shard: 0, connection: number },
            envelope: Box::new(envelope_for(&stored.envelope, recipients)),
            client: ClientFacts::unknown(),
            received_at: stored.received_at,
            received: content.to_vec(),
            authentication: stored.authentication.clone(),
            data: MailData::new(Arc::clone(self.nothing.arena())),
            place: String::new(),
            handed_over: None,
            log: LogFacts::default(),
        };
        to.send_and_ring(Box::new(message)).map_err(|_| gone)
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

/// Opens one and starts its thread.
fn start(
    config: &Config,
    path: &Path,
    receipts: &Sender<Receipt>,
    threads: &mut Threads,
    report: &Arc<dyn Report>,
) -> Result<Sender<Box<Message>>, String> {
    let surroundings = Surroundings {
        hostname: config.hostname.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        recipient_delimiter: config.recipient_delimiter,
        report: Arc::clone(report),
        spool: Arc::new(SpoolMetrics::default()),
        // Whom the receiver has taken is somebody.
        is_named: Arc::new(|_| true),
    };
    let opened = sink::open(&sink_at(path), &surroundings).map_err(|error| error.to_string())?;
    for note in &opened.notes {
        report.note(&format!("{}: {note}", opened.description));
    }
    let make = opened.workers.into_iter().next().ok_or("it has no worker")?;
    let consumer = Consumer::new().map_err(|error| error.to_string())?;
    let (sender, messages) = consumer.channel(HANDOFF_MESSAGES_MAX);
    let (receipts, report) = ([receipts.clone()], Arc::clone(report));
    let (tell, began) = crossbeam_channel::bounded(1);
    let store = move || {
        let sink = match make() {
            Ok(sink) => sink,
            Err(error) => return drop(tell.send(Err(error.to_string()))),
        };
        let _ = tell.send(Ok(()));
        sink::worker::run(sink, &consumer, &messages, &receipts, &*report, &SinkMetrics::default());
    };
    threads.start("ringmx-maildir".to_owned(), store).map_err(|error| error.to_string())?;
    began.recv().map_err(|error| error.to_string())??;
    Ok(sender)
}

/// The sink of a maildir, or of those of recipients where the path has `{domain}` or `{local}` in it.
fn sink_at(path: &Path) -> config::Sink {
    let (root, template) = maildir_parts(path);
    config::Sink {
        kind: SinkKind::Maildir(config::Maildir {
            path: root,
            template: template.to_string_lossy().into_owned(),
            create: true,
            line_endings: LineEndings::default(),
            quarantine: Quarantine::default(),
            sync: None,
            mode: None,
            group: None,
        }),
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
