//! Whoever gives messages to the stream, whatever becomes of the connection.
//!
//! What has no acknowledgement is published again with the same id, which the stream keeps once. A message
//! whose answer never came may be in the stream nevertheless.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep_until, timeout_at};

use super::answer::Answer;
use super::head::Head;
use super::link::{Link, OpenError};
use super::object::{Object, PutError, bucket};
use super::plan::Plan;
use super::stream::{LookError, StreamFacts, look};
use super::{Mail, Octets};
use crate::config;

/// An attempt that has no answer for so long is made again.
pub const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(2);

/// What was refused for now is published again after this time.
const REST: Duration = Duration::from_millis(250);

/// The acknowledgement of a part of a large message has so long.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Octets of messages that are on their way to the cluster, in units of [`UNIT_BYTES`].
const UNITS_OUT_MAX: usize = 64 * 1024;

const UNIT_BYTES: usize = 1024;

/// Large messages that are on their way at a time.
const LARGE_OUT_MAX: usize = 4;

/// Octets by which a message of the stream is kept below what the servers take.
const MARGIN_BYTES: usize = 256;

/// Octets that the header of a message of a stream may have (JetStream's error 10097).
const HEADER_BYTES_MAX: usize = 65_535;

const NO_ROOM: &str = "too much is on its way to the cluster";

/// See the module. It lives on a runtime with a `LocalSet`, which has to run for answers to come.
pub struct Publisher {
    cluster: config::Nats,
    link: Rc<Link>,
    facts: RefCell<StreamFacts>,
    /// Room for octets that are on their way.
    room: Semaphore,
    large: Semaphore,
}

impl Publisher {
    /// Connects, now or later. `tell` gets what the servers complain of.
    ///
    /// # Errors
    /// The plan is no good.
    pub async fn open(plan: &Plan, tell: Arc<dyn Fn(String) + Send + Sync>) -> Result<Self, String> {
        let link = Link::open(plan, tell).await;
        let link = link.map_err(|(OpenError::NotLetIn(why) | OpenError::Away(why))| why)?;
        Ok(Self {
            cluster: plan.cluster.clone(),
            link: Rc::new(link),
            facts: RefCell::default(),
            room: Semaphore::new(UNITS_OUT_MAX),
            large: Semaphore::new(LARGE_OUT_MAX),
        })
    }

    /// Whether a server is connected.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Looks whether the stream is there, and keeps what it acknowledges.
    ///
    /// # Errors
    /// Why nothing can be published.
    pub async fn look(&self) -> Result<(), LookError> {
        self.facts.replace(look(&self.link, &self.cluster).await?);
        Ok(())
    }

    /// What the stream says of a message until then; a large one that goes on well has longer. Each time that
    /// its octets are needed they are made.
    ///
    /// # Errors
    /// Trouble that is not the stream's: other messages are no worse for it.
    pub async fn store<O: Octets>(
        &self,
        mail: &Mail,
        octets: impl Fn() -> O,
        until: Instant,
    ) -> Result<Answer, String> {
        let cluster = &self.cluster;
        let subjects = (&*cluster.subject, cluster.partitions);
        let head = Head::new(subjects, &cluster.stream, &mail.id, &mail.recipient, &mail.envelope)?;
        if head.bytes() > HEADER_BYTES_MAX {
            return Ok(Answer::TooLarge(format!("an envelope of {} octets is too large", head.bytes())));
        }
        let whole = octets();
        if head.bytes() as u64 + whole.bytes() <= self.message_bytes_max() {
            match self.store_whole(whole, &head, until).await? {
                // The server that is connected now takes less than the one before.
                Answer::TooLarge(_) => {}
                answer => return Ok(answer),
            }
        }
        self.store_large(octets, &head, &mail.id, until).await
    }

    /// Stores a message with its content.
    async fn store_whole(
        &self,
        mut octets: impl Octets,
        head: &Head,
        until: Instant,
    ) -> Result<Answer, String> {
        let bytes = octets.bytes();
        let Some(_room) = self.room_for(bytes, until).await else { return Err(NO_ROOM.to_owned()) };
        let mut payload = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        while octets.read(&mut payload).map_err(|error| error.to_string())? {}
        if payload.len() as u64 != bytes {
            return Err("its octets are not all there".to_owned());
        }
        Ok(self.store_head(head, payload.into(), until).await.0)
    }

    /// Publishes until there is an answer, or until then. Gives with it whether it is the only one that there
    /// can be: no attempt before it was left without one.
    async fn store_head(&self, head: &Head, payload: Bytes, until: Instant) -> (Answer, bool) {
        // What comes late for an attempt is an answer as well.
        let mut ticket = self.link.ticket();
        let mut is_only = true;
        loop {
            let attempt = until.min(Instant::now() + ATTEMPT_WAIT_MAX).into();
            let answer = match self.link.send(&ticket, head, payload.clone(), attempt).await {
                Ok(()) => self.link.answer(&mut ticket, attempt).await,
                Err(answer) => answer,
            };
            let Answer::Unknown(_) = answer else { return (answer, is_only) };
            is_only = false;
            if !rests(until).await {
                return (answer, is_only);
            }
        }
    }

    /// Stores the content as an object, and then the message that names it.
    async fn store_large<O: Octets>(
        &self,
        octets: impl Fn() -> O,
        head: &Head,
        id: &str,
        until: Instant,
    ) -> Result<Answer, String> {
        let stream = &self.cluster.stream;
        if !self.facts.borrow().has_bucket {
            return Err(format!("there is no object store {} for a large message", bucket(stream)));
        }
        let Ok(Ok(_place)) = timeout_at(until.into(), self.large.acquire()).await else {
            return Err(NO_ROOM.to_owned());
        };
        let (object, head) = loop {
            let object = Object::new(stream, id)?;
            let head = head.clone().with_object(&bucket(stream), object.name())?;
            if head.bytes() as u64 > self.message_bytes_max() {
                return Ok(Answer::TooLarge(format!("an envelope of {} octets is too large", head.bytes())));
            }
            let put = object.put(&self.link, &mut octets(), CHUNK_WAIT_MAX).await;
            let Err(failure) = put else { break (object, head) };
            self.remove(object);
            match failure {
                // A chunk that is too large is the fault of the object store.
                PutError::Unreadable(why) | PutError::Said(Answer::TooLarge(why)) => return Err(why),
                PutError::Said(Answer::Unknown(_)) if rests(until).await => {}
                PutError::Said(answer) => return Ok(answer),
            }
        };
        let until = until.max(Instant::now() + CHUNK_WAIT_MAX);
        let (answer, is_only) = self.store_head(&head, Bytes::new(), until).await;
        match answer {
            Answer::Stored(_) | Answer::Unknown(_) => {}
            // Where an attempt had no answer the stream may have the message that names it.
            Answer::Full(_) | Answer::TooLarge(_) | Answer::Unfit(_) if !is_only => {}
            Answer::Full(_) | Answer::TooLarge(_) | Answer::Unfit(_) => self.remove(object),
        }
        Ok(answer)
    }

    /// Removes what nobody refers to. Nobody waits for that.
    fn remove(&self, object: Object) {
        let link = Rc::clone(&self.link);
        tokio::task::spawn_local(async move { object.remove(&link).await });
    }

    fn message_bytes_max(&self) -> u64 {
        let of_servers = self.link.payload_bytes_max().saturating_sub(MARGIN_BYTES) as u64;
        let of_stream = self.facts.borrow().message_bytes_max;
        of_stream.map_or(of_servers, |bytes| bytes.min(of_servers))
    }

    async fn room_for(&self, bytes: u64, until: Instant) -> Option<SemaphorePermit<'_>> {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT_BYTES).clamp(1, UNITS_OUT_MAX);
        let units = u32::try_from(units).ok()?;
        timeout_at(until.into(), self.room.acquire_many(units)).await.ok()?.ok()
    }
}

/// Rests before another attempt; false where there is no time for one.
async fn rests(until: Instant) -> bool {
    let next = Instant::now() + REST;
    if next < until {
        sleep_until(next.into()).await;
    }
    next < until
}
