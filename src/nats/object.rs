//! A large message in the object store beside its stream, as client libraries read it (ADR-20): chunks in
//! their order, then what is known of them.
//!
//! Chunks are sent before those before them are acknowledged, over one connection, and none is sent again:
//! what is not acknowledged in its order makes the object nobody's, and another try makes another one.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use data_encoding::{BASE64URL, HEXLOWER};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Octets;
use super::answer::Answer;
use super::head;
use super::link::{Link, Ticket};
use crate::timestamp::Rfc3339;

/// Octets of a chunk, where a message may have as many.
const CHUNK_BYTES: usize = 512 * 1024;

/// Octets that the header of a chunk has, at most.
const HEADER_BYTES: usize = 512;

/// Chunks that wait for their acknowledgement at a time.
const CHUNKS_OUT_MAX: usize = 4;

/// Removing what nobody refers to has so long.
const REMOVE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The object store beside a stream.
pub fn bucket(stream: &str) -> String {
    format!("{stream}-large")
}

/// An object that is whole and acknowledged, or was begun.
#[derive(Debug)]
pub struct Object {
    bucket: String,
    name: String,
    /// What its chunks are known by.
    nuid: String,
}

impl Object {
    /// One for the message with this id of this stream; nothing of it is stored yet. Its name begins with the
    /// id and is its own: what is still under way of an attempt that had no answer, or of its removal, says
    /// nothing of another attempt.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn new(stream: &str, id: &str) -> Result<Self, String> {
        let mut random = [0; 12];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
        let nuid = HEXLOWER.encode(&random);
        Ok(Self { bucket: bucket(stream), name: format!("{id}-{nuid}"), nuid })
    }

    /// What it is called there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stores these octets. Each acknowledgement has so long.
    ///
    /// # Errors
    /// What stands in the way. What is there of it is to be removed.
    pub async fn put(&self, link: &Link, octets: &mut impl Octets, each: Duration) -> Result<(), PutError> {
        let chunk_bytes = CHUNK_BYTES.min(link.payload_bytes_max().saturating_sub(HEADER_BYTES)).max(1);
        let mut out = Chunks { stream: self.stream(), tickets: VecDeque::new(), last: 0 };
        let mut digest = Context::new(&SHA256);
        let mut buffer = Vec::with_capacity(chunk_bytes);
        let (mut bytes, mut chunks) = (0_u64, 0_u64);
        loop {
            let goes_on =
                octets.read(&mut buffer).map_err(|error| PutError::Unreadable(error.to_string()))?;
            while buffer.len() >= chunk_bytes || !goes_on && !buffer.is_empty() {
                let rest = buffer.split_off(buffer.len().min(chunk_bytes));
                let chunk = std::mem::replace(&mut buffer, rest);
                digest.update(&chunk);
                bytes += chunk.len() as u64;
                chunks += 1;
                if out.tickets.len() == CHUNKS_OUT_MAX {
                    out.next(link, each).await?;
                }
                let ticket = link.ticket();
                let subject = format!("$O.{}.C.{}", self.bucket, self.nuid);
                let headers = id_of_chunk(&self.nuid, chunks)?;
                link.publish(&ticket, subject, headers, chunk.into(), Instant::now() + each).await?;
                out.tickets.push_back(ticket);
            }
            if !goes_on {
                break;
            }
        }
        if bytes != octets.bytes() {
            return Err(PutError::Unreadable("its octets are not all there".to_owned()));
        }
        while !out.tickets.is_empty() {
            out.next(link, each).await?;
        }
        let digest = BASE64URL.encode(digest.finish().as_ref());
        let info = json!({
            "name": self.name,
            "bucket": self.bucket,
            "nuid": self.nuid,
            "size": bytes,
            "chunks": chunks,
            "mtime": Rfc3339(SystemTime::now()).to_string(),
            "digest": format!("SHA-256={digest}"),
            "options": { "max_chunk_size": chunk_bytes },
        });
        Ok(self.tell(link, &info, each).await?)
    }

    /// Removes it: nobody refers to it. What cannot be removed stays.
    pub async fn remove(&self, link: &Link) {
        let info = json!({
            "name": self.name, "bucket": self.bucket, "nuid": self.nuid, "size": 0, "chunks": 0,
            "mtime": Rfc3339(SystemTime::now()).to_string(), "deleted": true,
        });
        // First the chunks: they are what takes room.
        let filter = json!({ "filter": format!("$O.{}.C.{}", self.bucket, self.nuid) });
        let purge = format!("STREAM.PURGE.{}", self.stream());
        let _ = link.ask(&purge, Some(&filter), REMOVE_WAIT_MAX).await;
        let _ = self.tell(link, &info, REMOVE_WAIT_MAX).await;
    }

    /// The stream that a bucket is.
    fn stream(&self) -> String {
        format!("OBJ_{}", self.bucket)
    }

    /// Says what is known of it, instead of what was known of one with this name before.
    async fn tell(&self, link: &Link, info: &Value, each: Duration) -> Result<(), Answer> {
        let subject = format!("$O.{}.M.{}", self.bucket, BASE64URL.encode(self.name.as_bytes()));
        let mut headers = HeaderMap::new();
        let of_this_name: HeaderValue = "sub".parse().map_err(|_| Answer::Unknown("a header".to_owned()))?;
        headers.insert("Nats-Rollup", of_this_name);
        let (mut ticket, until) = (link.ticket(), Instant::now() + each);
        link.publish(&ticket, subject, headers, Bytes::from(info.to_string()), until).await?;
        match link.answer_of(&self.stream(), &mut ticket, until).await {
            Answer::Stored(_) => Ok(()),
            other => Err(other),
        }
    }
}

/// The header of a chunk: sent again by a connection that was made anew, it would still be there once.
fn id_of_chunk(nuid: &str, number: u64) -> Result<HeaderMap, PutError> {
    let id: HeaderValue =
        format!("{nuid}-{number}").parse().map_err(|_| PutError::Unreadable("a header".to_owned()))?;
    let mut headers = HeaderMap::new();
    headers.insert(head::ID, id);
    Ok(headers)
}

/// Why an object is not stored.
#[derive(Debug)]
pub enum PutError {
    /// Its octets cannot be read.
    Unreadable(String),
    /// What the cluster said; never [`Answer::Stored`].
    Said(Answer),
}

impl From<Answer> for PutError {
    fn from(answer: Answer) -> Self {
        Self::Said(answer)
    }
}

/// Chunks that are out, in their order.
struct Chunks {
    stream: String,
    tickets: VecDeque<Ticket>,
    /// The number of the last one that is stored; 0 before the first.
    last: u64,
}

impl Chunks {
    /// The acknowledgement of the first one that is out.
    async fn next(&mut self, link: &Link, each: Duration) -> Result<(), Answer> {
        let Some(mut ticket) = self.tickets.pop_front() else { return Ok(()) };
        match link.answer_of(&self.stream, &mut ticket, Instant::now() + each).await {
            // Whoever reads the object gets the chunks by their numbers.
            Answer::Stored(sequence) if sequence > self.last => {
                self.last = sequence;
                Ok(())
            }
            Answer::Stored(_) => Err(Answer::Unknown("chunks are out of their order".to_owned())),
            other => Err(other),
        }
    }
}
