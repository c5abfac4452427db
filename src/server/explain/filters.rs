//! What content filters say of the message: they are asked as a server asks them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::recipients::Why;
use crate::buffer::{MailData, Pool};
use crate::config::Config;
use crate::handoff::message::{LogFacts, Message, Origin, Progress};
use crate::handoff::station::Passage;
use crate::limits::BLOCK_BYTES;
use crate::mail::authentication::Authentication;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;
use crate::sink::Report;
use crate::smtp::trace::{self, Beginning};
use crate::station;

/// What filters said.
#[derive(Debug, Default)]
pub(super) struct Filtered {
    /// For each filter its name, and what it found, or why it was not asked or said nothing.
    pub(super) notes: Vec<(String, String)>,
    /// JSON objects of those that answered, as in the spool.
    pub(super) found: String,
    /// What becomes of the message.
    pub(super) passage: Option<Passage>,
}

/// A message as a filter sees it.
pub(super) struct Shown<'a> {
    pub(super) client: SocketAddr,
    pub(super) ehlo: &'a [u8],
    pub(super) envelope: Envelope,
    pub(super) reverse_name: Option<&'a str>,
    /// Our `Authentication-Results:` field with its CRLF; empty where there is none.
    pub(super) field: &'a [u8],
    pub(super) is_trusted: bool,
    /// With the line ends of SMTP.
    pub(super) octets: &'a [u8],
}

/// Asks all filters of the configuration, in their order, until one of them keeps the message.
pub(super) fn ask(config: &Config, shown: &Shown<'_>) -> Result<Filtered, String> {
    let failed = |error: io::Error| format!("asking the filters: {error}");
    let mut pool = Pool::new(1, 4096, shown.octets.len() + 2 * BLOCK_BYTES).map_err(failed)?;
    let mut message = message(config, shown, &mut pool)?;
    let why = Arc::new(Why::default());
    let report: Arc<dyn Report> = Arc::clone(&why) as _;
    let mut filtered = Filtered::default();
    let asked = station::ask_by_hand(config, &mut message, &report, |name, passage, message| {
        let note = match (passage, message.log.filters.last()) {
            (None, _) => "is not asked about this message (skip, bytes_max)".to_owned(),
            (Some(Passage::Unanswered), _) => {
                format!("gives no answer: {}", why.take())
            }
            (Some(_), Some(found)) => found.strip_prefix(name).unwrap_or(found).trim_start().to_owned(),
            (Some(_), None) => "passes it".to_owned(),
        };
        filtered.notes.push((name.to_owned(), note));
    });
    let passage = asked.map_err(failed)?;
    filtered.passage = Some(passage);
    filtered.found.clone_from(&message.authentication.filters);
    message.data.release(&mut pool);
    Ok(filtered)
}

fn message(config: &Config, shown: &Shown<'_>, pool: &mut Pool) -> Result<Box<Message>, String> {
    let mut data = MailData::new(Arc::clone(pool.arena()));
    data.append_copied(pool, shown.octets).map_err(|_| "the message is too large".to_owned())?;
    let mut client = ClientFacts::unknown();
    client.address = shown.client;
    client.ehlo.extend_from_slice(shown.ehlo);
    client.protocol = "ESMTP";
    client.standing.reverse_name = shown.reverse_name.map_or_else(Vec::new, |name| name.as_bytes().to_vec());
    let (id, now) = (QueueId::default(), SystemTime::now());
    let mut received = shown.field.to_vec();
    trace::received(&mut received, &config.hostname, &client, &shown.envelope, id, now);
    received.extend_from_slice(Beginning::of(std::iter::once(shown.octets)).lead_in());
    Ok(Box::new(Message {
        id,
        origin: Origin { shard: 0, connection: 0 },
        envelope: Box::new(shown.envelope.clone()),
        client,
        received_at: now,
        received,
        authentication: Authentication::default(),
        data,
        place: String::new(),
        progress: Progress { is_trusted: shown.is_trusted, ..Progress::default() },
        log: LogFacts::default(),
    }))
}
