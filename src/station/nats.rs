//! A message goes to a stream of a NATS cluster before its client has an answer (`[[sink]] kind = "nats"`).
//!
//! ```text
//!  a quorum has it            ──► 250                                    nothing is stored here
//!  no room                    ──► 452, or the sink where that is a spool
//!  no answer for so long      ──► 451, or the sink where that is a spool
//!  too large for every way    ──► 552, or the sink where that is a spool
//! ```
//!
//! What has no acknowledgement is published again with the same id, which the stream keeps once. A message whose
//! answer never came may be in the stream nevertheless: its client, or whoever reads the spool, sends it again
//! then, and it is there twice, never not at all.
//!
//! A cluster that let a message wait in vain is down: no message waits for it any more, until the stream is
//! there again.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::content::Content;
use super::standing::Standing;
use crate::handoff::message::Message;
use crate::handoff::station::{Passage, Rules};
use crate::mail::outcome::TryAgain;
use crate::metrics::{StationAction, StationMetrics};
use crate::nats::{
    Answer, FirstLook, Head, Link, LookError, Object, Octets, OpenError, Plan, StreamFacts, bucket, look,
};
use crate::sink::{Report, Site, envelope_json};
use crate::station::FirstFound;

/// A message waits so long for its acknowledgement where a spool has it then.
const PATIENCE_WITH_SPOOL: Duration = Duration::from_secs(2);

/// And so long where its client has to send it again.
const PATIENCE_ALONE: Duration = Duration::from_secs(20);

/// An attempt that has no answer for so long is made again.
const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(2);

/// What was refused for now is published again after this time.
const REST: Duration = Duration::from_millis(250);

/// All of a message, also of a large one that goes on well.
const VISIT_WAIT_MAX: Duration = Duration::from_mins(4);

/// The stream is looked at so often while all goes well.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// At the start it is looked so often whether the cluster is there.
const GLANCE: Duration = Duration::from_millis(2);

/// Octets of messages that are on their way to the cluster, in units of [`UNIT_BYTES`].
const UNITS_OUT_MAX: usize = 64 * 1024;

const UNIT_BYTES: usize = 1024;

/// Large messages that are on their way at a time.
const LARGE_OUT_MAX: usize = 4;

/// Octets by which a message of the stream is kept below what the servers take.
const MARGIN_BYTES: usize = 256;

/// Which messages it sees: all of them.
pub(super) fn rules(has_fallback: bool) -> Rules {
    let otherwise = if has_fallback { Passage::GoesOn } else { Passage::PutOff(TryAgain::Local) };
    Rules { skips_trusted: false, bytes_max: u64::MAX, timeout: VISIT_WAIT_MAX, otherwise }
}

/// Looks at the cluster before anybody can connect.
///
/// # Errors
/// The stream is not as it has to be, and what to do.
pub(super) fn first_look(plan: &Plan) -> Result<FirstFound, String> {
    let looked = FirstLook::take(plan).map_err(|error| error.to_string())?;
    let mut found = FirstFound::default();
    found.notes.extend(looked.worth());
    for (address, told) in &looked.servers {
        if let Err(why) = told {
            found.warnings.push(format!("the monitoring of {address} does not answer: {why}"));
        }
    }
    match looked.facts {
        Ok(facts) => found.warnings.extend(facts.warnings),
        Err(LookError::Unfit(why)) => return Err(format!("[[sink]] nats: {why}")),
        Err(LookError::Away(why)) => {
            let until = if plan.cluster.has_fallback { "goes to the spool" } else { "is answered 451" };
            let stream = &looked.stream;
            found
                .warnings
                .push(format!("the stream {stream} is not there now ({why}): mail {until} until it is"));
        }
    }
    Ok(found)
}

/// The stream, on the station's thread.
pub(super) struct Stream {
    plan: Plan,
    link: Link,
    facts: RefCell<StreamFacts>,
    standing: Rc<Standing>,
    report: Arc<dyn Report>,
    /// Room for octets that are on their way.
    room: Semaphore,
    large: Semaphore,
    /// Why nothing was published, as it was told last.
    told: RefCell<String>,
    /// Whether it was found once.
    was_found: Cell<bool>,
}

impl Stream {
    pub(super) async fn open(
        plan: &Plan,
        (report, metrics): (&Arc<dyn Report>, &Arc<StationMetrics>),
    ) -> io::Result<Rc<Self>> {
        let complaints = Arc::clone(report);
        let name = plan.cluster.stream.clone();
        let tell =
            move |why: String| complaints.machine_error(WHAT, Site::Named(&name), &io::Error::other(why));
        let stream = Rc::new(Self {
            link: Link::open(plan, Arc::new(tell)).await.map_err(|error| match error {
                OpenError::NotLetIn(why) | OpenError::Away(why) => io::Error::other(why),
            })?,
            plan: plan.clone(),
            facts: RefCell::default(),
            standing: Standing::new(metrics),
            report: Arc::clone(report),
            room: Semaphore::new(UNITS_OUT_MAX),
            large: Semaphore::new(LARGE_OUT_MAX),
            told: RefCell::default(),
            was_found: Cell::new(false),
        });
        // As a rule it is there at once, and then the first message finds it.
        let until = Instant::now() + ATTEMPT_WAIT_MAX;
        while !stream.link.is_connected() && Instant::now() < until {
            tokio::time::sleep(GLANCE).await;
        }
        stream.note_down(false);
        while stream.standing.is_down() && Instant::now() < until {
            tokio::time::sleep(GLANCE).await;
        }
        tokio::task::spawn_local(Rc::clone(&stream).watch());
        Ok(stream)
    }

    pub(super) fn window(&self) -> usize {
        self.plan.cluster.window
    }

    /// Gives a message to the cluster.
    pub(super) async fn publish(
        self: &Rc<Self>,
        message: &mut Message,
        since: Instant,
    ) -> (StationAction, Passage) {
        let has_fallback = self.plan.cluster.has_fallback;
        let unanswered = (StationAction::Unanswered, rules(has_fallback).otherwise);
        if self.standing.is_down() {
            return unanswered;
        }
        let patience = if has_fallback { PATIENCE_WITH_SPOOL } else { PATIENCE_ALONE };
        match self.stored(message, since + patience, patience).await {
            Answer::Stored(sequence) => {
                self.standing.note_well();
                message.place.clear();
                message.place.push_str(&format!("nats {}:{sequence}", self.plan.cluster.stream));
                (StationAction::Delivered, Passage::Delivered)
            }
            Answer::Full(why) => {
                self.tell(&why);
                let refused = Passage::PutOff(TryAgain::NoSpace);
                (StationAction::PutOff, if has_fallback { Passage::GoesOn } else { refused })
            }
            Answer::TooLarge(why) => {
                self.tell(&why);
                let passage = if has_fallback { Passage::GoesOn } else { Passage::TooLarge };
                (StationAction::Refused, passage)
            }
            Answer::Unfit(why) => {
                self.tell(&why);
                self.note_down(false);
                unanswered
            }
            Answer::Unknown(why) => {
                self.tell(&why);
                self.note_down(true);
                unanswered
            }
        }
    }

    /// What becomes of a message until then; what is in the way of a large one while it goes on may take
    /// `patience` each time.
    async fn stored(&self, message: &Message, until: Instant, patience: Duration) -> Answer {
        let cluster = &self.plan.cluster;
        let text = message.id.text();
        let Ok(id) = std::str::from_utf8(&text) else { return Answer::Unknown("its id".to_owned()) };
        let first = message.envelope.recipients().next();
        let recipient = first.map(|mailbox| [mailbox.local_part, b"@", mailbox.domain].concat());
        let subjects = (&*cluster.subject, cluster.partitions);
        let recipient = recipient.unwrap_or_default();
        let head = Head::new(subjects, &cluster.stream, id, &recipient, &envelope_json(message));
        let head = match head {
            Ok(head) => head,
            Err(why) => return Answer::Unknown(why),
        };
        let bytes = whole_bytes(message);
        let most = self.message_bytes_max();
        if head.bytes() as u64 > most {
            return Answer::TooLarge(format!("an envelope of {} octets", head.bytes()));
        }
        if head.bytes() as u64 + bytes > most {
            return self.store_large(message, head, id, (until, patience)).await;
        }
        let Some(_room) = self.room_for(bytes, until).await else { return no_room() };
        let mut payload = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        let mut octets = WholeMessage::new(message);
        loop {
            match octets.read(&mut payload) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Answer::Unknown(error.to_string()),
            }
        }
        if payload.len() as u64 != bytes {
            return Answer::Unknown("its octets are not all there".to_owned());
        }
        self.store_head(&head, payload.into(), until).await
    }

    /// Publishes until there is an answer, or until then.
    async fn store_head(&self, head: &Head, payload: Bytes, until: Instant) -> Answer {
        let mut ticket = self.link.ticket();
        loop {
            let now = Instant::now();
            let attempt = until.min(now + ATTEMPT_WAIT_MAX).into();
            let answer = match self.link.send(&ticket, head, payload.clone(), attempt).await {
                Ok(()) => self.link.answer(&mut ticket, attempt).await,
                Err(answer) => answer,
            };
            let Answer::Unknown(_) = answer else { return answer };
            let next = Instant::now() + REST;
            if next >= until {
                return answer;
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }

    /// Stores the content as an object, and then the message that names it.
    async fn store_large(
        &self,
        message: &Message,
        head: Head,
        id: &str,
        (until, patience): (Instant, Duration),
    ) -> Answer {
        let cluster = &self.plan.cluster;
        if !self.facts.borrow().has_bucket {
            return Answer::Unknown(format!("there is no object store {}", bucket(&cluster.stream)));
        }
        let Ok(Ok(_place)) = tokio::time::timeout_at(until.into(), self.large.acquire()).await else {
            return no_room();
        };
        let head = match head.with_object(&bucket(&cluster.stream), id) {
            Ok(head) => head,
            Err(why) => return Answer::Unknown(why),
        };
        let object = match Object::new(&cluster.stream, id) {
            Ok(object) => object,
            Err(answer) => return answer,
        };
        let each = patience.max(ATTEMPT_WAIT_MAX);
        if let Err(answer) = object.put(&self.link, &mut WholeMessage::new(message), each).await {
            object.remove(&self.link).await;
            return answer;
        }
        let answer = self.store_head(&head, Bytes::new(), Instant::now() + each).await;
        match answer {
            Answer::Stored(_) => {}
            // The stream may have the message that names it.
            Answer::Unknown(_) => {}
            Answer::Full(_) | Answer::TooLarge(_) | Answer::Unfit(_) => object.remove(&self.link).await,
        }
        answer
    }

    fn message_bytes_max(&self) -> u64 {
        let of_servers = self.link.payload_bytes_max().saturating_sub(MARGIN_BYTES) as u64;
        let of_stream = self.facts.borrow().message_bytes_max;
        of_stream.map_or(of_servers, |bytes| bytes.min(of_servers))
    }

    async fn room_for(&self, bytes: u64, until: Instant) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT_BYTES).clamp(1, UNITS_OUT_MAX);
        let units = u32::try_from(units).ok()?;
        tokio::time::timeout_at(until.into(), self.room.acquire_many(units)).await.ok()?.ok()
    }

    fn tell(&self, why: &str) {
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(WHAT, Site::Named(&self.plan.cluster.stream), &error);
    }

    /// No message waits for the cluster any more, until the stream is there.
    fn note_down(self: &Rc<Self>, hangs: bool) {
        let stream = Rc::clone(self);
        self.standing.note_down(hangs, move || Rc::clone(&stream).is_there());
    }

    /// Whether the stream is there, and keeps what it acknowledges.
    async fn is_there(self: Rc<Self>) -> bool {
        match look(&self.link, &self.plan.cluster).await {
            Ok(facts) => {
                self.facts.replace(facts);
                self.told.borrow_mut().clear();
                if self.was_found.replace(true) {
                    let text = format!("the stream {} takes mail again", self.plan.cluster.stream);
                    self.report.note(&text);
                }
                true
            }
            Err(LookError::Unfit(why) | LookError::Away(why)) => {
                if self.told.replace(why.clone()) != why {
                    self.tell(&why);
                }
                false
            }
        }
    }

    /// Sees that the stream stays what it was.
    async fn watch(self: Rc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.standing.is_down() {
                continue;
            }
            match look(&self.link, &self.plan.cluster).await {
                Ok(facts) => drop(self.facts.replace(facts)),
                Err(LookError::Unfit(why)) => {
                    self.tell(&why);
                    self.note_down(false);
                }
                // Whether messages are stored shows when they are.
                Err(LookError::Away(_)) => {}
            }
        }
    }
}

/// What was tried, for the log.
const WHAT: &str = "have mail acknowledged by the stream";

fn no_room() -> Answer {
    Answer::Unknown("too much is on its way to the cluster".to_owned())
}

fn whole_bytes(message: &Message) -> u64 {
    message.received.len() as u64 + message.data.bytes()
}

/// The octets of a message as the spool has them: our fields, and the mail data.
struct WholeMessage<'a> {
    message: &'a Message,
    has_begun: bool,
    content: Content<'a>,
    /// Octets of its spill file that are still to be read, and the CRC-32C of those that were.
    of_file: usize,
    crc32c: u32,
}

impl<'a> WholeMessage<'a> {
    fn new(message: &'a Message) -> Self {
        let of_file = message.data.spilled().map_or(0, |spilled| spilled.file().bytes());
        let of_file = usize::try_from(of_file).unwrap_or(usize::MAX);
        Self { message, has_begun: false, content: Content::new(&message.data), of_file, crc32c: 0 }
    }

    /// What the spill file gave has to be what went there.
    fn check(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.of_file == 0 {
            return Ok(());
        }
        // A portion is of the file, or of memory.
        self.crc32c = crc32c::crc32c_append(self.crc32c, octets);
        self.of_file = self.of_file.saturating_sub(octets.len());
        let expected = self.message.data.spilled().map(|spilled| spilled.file().crc32c());
        if self.of_file == 0 && expected != Some(self.crc32c) {
            return Err(io::Error::other("its spill file holds other octets than were written there"));
        }
        Ok(())
    }
}

impl Octets for WholeMessage<'_> {
    fn bytes(&self) -> u64 {
        whole_bytes(self.message)
    }

    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        if !self.has_begun {
            self.has_begun = true;
            into.extend_from_slice(&self.message.received);
            if !self.message.received.is_empty() {
                return Ok(true);
            }
        }
        let start = into.len();
        let goes_on = self.content.read(into)?;
        self.check(into.get(start..).unwrap_or_default())?;
        Ok(goes_on)
    }
}
