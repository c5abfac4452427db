//! A message goes to a stream of a NATS cluster before its client has an answer (`[[sink]] kind = "nats"`).
//!
//! ```text
//!  a quorum has it            ──► 250                                    nothing is stored here
//!  no room                    ──► 452, or the sink where that is a spool
//!  no answer for so long      ──► 451, or the sink where that is a spool
//!  too large for every way    ──► 552: whoever reads a spool could not publish it either
//! ```
//!
//! What has no acknowledgement is published again with the same id, which the stream keeps once. A message
//! whose answer never came may be in the stream nevertheless: its client, or whoever reads the spool, sends
//! it again then, and it is there twice, never not at all.
//!
//! A cluster that let a message wait in vain is down: no message waits for it any more, until the stream is
//! there again.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handoff::message::Message;
use crate::handoff::station::{Passage, Rules};
use crate::mail::outcome::TryAgain;
use crate::metrics::{StationAction, StationMetrics};
use crate::nats::{ATTEMPT_WAIT_MAX, Answer, FirstLook, LookError, Mail, Octets, Plan, Publisher};
use crate::sink::Report;
use crate::sink::Site;
use crate::sink::envelope_json;
use crate::station::content::Content;
use crate::station::first_found::FirstFound;
use crate::station::standing::Standing;

/// A message waits so long for its acknowledgement where a spool has it then.
const PATIENCE_WITH_SPOOL: Duration = Duration::from_secs(2);

/// And so long where its client has to send it again.
const PATIENCE_ALONE: Duration = Duration::from_secs(20);

/// All of a message, also of a large one that goes on well.
const VISIT_WAIT_MAX: Duration = Duration::from_mins(4);

/// What is not done then is given up, so that the visit ends in time.
const WORK_WAIT_MAX: Duration = Duration::from_secs(235);

const _: () = assert!(WORK_WAIT_MAX.as_secs() < VISIT_WAIT_MAX.as_secs());

/// The stream is looked at so often while all goes well.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// At the start it is looked so often whether the cluster is there.
const GLANCE: Duration = Duration::from_millis(2);

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
    publisher: Publisher,
    standing: Rc<Standing>,
    report: Arc<dyn Report>,
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
        let tell = move |why: String| {
            complaints.machine_error(WHAT_OF_CONNECTION, Site::Named(&name), &io::Error::other(why));
        };
        let stream = Rc::new(Self {
            publisher: Publisher::open(plan, Arc::new(tell)).await.map_err(io::Error::other)?,
            plan: plan.clone(),
            standing: Standing::new(metrics),
            report: Arc::clone(report),
            told: RefCell::default(),
            was_found: Cell::new(false),
        });
        // As a rule it is there at once, and then the first message finds it.
        let until = Instant::now() + ATTEMPT_WAIT_MAX;
        while !stream.publisher.is_connected() && Instant::now() < until {
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
        let otherwise = |passage| if has_fallback { Passage::GoesOn } else { passage };
        let unanswered = (StationAction::Unanswered, rules(has_fallback).otherwise);
        if self.standing.is_down() {
            return unanswered;
        }
        let patience = if has_fallback { PATIENCE_WITH_SPOOL } else { PATIENCE_ALONE };
        let mail = Mail::of(message.id, &message.envelope, envelope_json(message));
        let stored = self.publisher.store(&mail, || WholeMessage::new(message), since + patience);
        let answer = match tokio::time::timeout_at((since + WORK_WAIT_MAX).into(), stored).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                self.tell(&why);
                return unanswered;
            }
            Err(_) => Answer::Unknown("it takes too long".to_owned()),
        };
        match answer {
            Answer::Stored(sequence) => {
                self.standing.note_well();
                message.place.clear();
                // Writing to a String does not fail.
                let _ = write!(message.place, "nats {}:{sequence}", self.plan.cluster.stream);
                (StationAction::Delivered, Passage::Delivered)
            }
            Answer::Full(why) => {
                self.tell(&why);
                (StationAction::PutOff, otherwise(Passage::PutOff(TryAgain::NoSpace)))
            }
            Answer::TooLarge(why) => {
                self.tell(&why);
                (StationAction::Refused, Passage::TooLarge)
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

    fn tell(&self, why: &str) {
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(WHAT, Site::Named(&self.plan.cluster.stream), &error);
    }

    fn tell_of_stream(&self, why: &str) {
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(WHAT_OF_STREAM, Site::Named(&self.plan.cluster.stream), &error);
    }

    /// No message waits for the cluster any more, until the stream is there.
    fn note_down(self: &Rc<Self>, hangs: bool) {
        let stream = Rc::clone(self);
        self.standing.note_down(hangs, move || Rc::clone(&stream).is_there());
    }

    /// Whether the stream is there, and keeps what it acknowledges.
    async fn is_there(self: Rc<Self>) -> bool {
        match self.publisher.look().await {
            Ok(()) => {
                self.told.borrow_mut().clear();
                if self.was_found.replace(true) {
                    let text = format!("the stream {} takes mail again", self.plan.cluster.stream);
                    self.report.note(&text);
                }
                true
            }
            Err(LookError::Unfit(why) | LookError::Away(why)) => {
                if self.told.replace(why.clone()) != why {
                    self.tell_of_stream(&why);
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
            match self.publisher.look().await {
                Err(LookError::Unfit(why)) => {
                    self.tell_of_stream(&why);
                    self.note_down(false);
                }
                // Whether messages are stored shows when they are.
                Ok(()) | Err(LookError::Away(_)) => {}
            }
        }
    }
}

/// What was tried, for the log.
const WHAT: &str = "have mail acknowledged by the stream";

/// The same of what is tried once a second while it is down.
const WHAT_OF_STREAM: &str = "give mail to the stream again";

/// The same of what the connection is about.
const WHAT_OF_CONNECTION: &str = "speak with the cluster of the stream";

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
