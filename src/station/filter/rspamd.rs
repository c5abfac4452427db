//! A connection to rspamd.

use std::io;

use tokio::time::Instant;

use super::trouble::Trouble;
use crate::config::MapAddress;
use crate::filter::rspamd::{Request, ResponseError, ResponseReader, ruling};
use crate::filter::{Ruling, Subject};
use crate::handoff::message::Message;
use crate::station::content::{Content, PORTION_BYTES};
use crate::station::stream::Stream;

/// What asks rspamd whether it is there.
const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ringmx\r\n\r\n";

/// What all messages tell rspamd.
#[derive(Debug, Clone)]
pub(super) struct Rspamd {
    pub(super) address: MapAddress,
    pub(super) host: String,
    pub(super) settings_id: String,
    pub(super) password: String,
}

/// A connection between two messages.
pub(super) struct Connection {
    stream: Stream,
    was_used: bool,
    /// It has not taken all of a request: whatever is sent next it would take for the rest.
    is_behind: bool,
}

impl Connection {
    pub(super) async fn open(address: &MapAddress, deadline: Instant) -> Result<Self, Trouble> {
        let stream = Stream::open(address, deadline).await.map_err(Trouble::host)?;
        Ok(Self { stream, was_used: false, is_behind: false })
    }

    /// Whether nothing has come on it since the last message.
    pub(super) async fn is_alive(&mut self) -> bool {
        !self.stream.is_over().await
    }

    /// Whether it is there and answers.
    pub(super) async fn ping(mut self, deadline: Instant) -> Result<(), Trouble> {
        self.stream.write(PING, deadline).await.map_err(Trouble::host)?;
        self.response(deadline).await.map(drop)
    }

    /// What rspamd says of a message. The connection comes back if it can be used again.
    pub(super) async fn ask(
        mut self,
        rspamd: &Rspamd,
        subject: &Subject<'_>,
        message: &Message,
        deadline: Instant,
    ) -> (Result<Ruling, Trouble>, Option<Self>) {
        match self.ask_once(rspamd, subject, message, deadline).await {
            Ok(response) => {
                let judged = ruling(response.body());
                self.was_used = true;
                let kept = (response.is_reusable() && !self.is_behind).then_some(self);
                (judged.map_err(|why| Trouble::Message(why.to_string())), kept)
            }
            Err(why) => (Err(why), None),
        }
    }

    async fn ask_once(
        &mut self,
        rspamd: &Rspamd,
        subject: &Subject<'_>,
        message: &Message,
        deadline: Instant,
    ) -> Result<ResponseReader, Trouble> {
        let Rspamd { host, settings_id, password, .. } = rspamd;
        let Message { received, data, .. } = message;
        let first = usize::try_from(data.bytes()).unwrap_or(PORTION_BYTES).min(PORTION_BYTES);
        let mut output = Vec::with_capacity(2048 + received.len() + first);
        let bytes = received.len() as u64 + data.bytes();
        Request { host, settings_id, password }.write_head(subject, bytes, &mut output);
        output.extend_from_slice(received);
        let mut content = Content::new(data);
        loop {
            let goes_on = content.read(&mut output).map_err(Trouble::message)?;
            // A small message leaves in one write.
            if goes_on && output.len() < PORTION_BYTES {
                continue;
            }
            let sent = self.stream.write(&output, deadline).await;
            output.clear();
            match sent {
                Ok(()) if goes_on => {}
                Ok(()) => return self.response(deadline).await,
                // It may have said why before it closed, and one that was kept may have been closed long ago.
                Err(_) => {
                    self.is_behind = true;
                    return self.response(deadline).await;
                }
            }
        }
    }

    async fn response(&mut self, deadline: Instant) -> Result<ResponseReader, Trouble> {
        let mut reader = ResponseReader::default();
        let mut input = Vec::new();
        let mut has_begun = false;
        loop {
            input.clear();
            let unheard = |error: io::Error, was_used: bool| {
                if was_used && !has_begun { Trouble::Stale(error.to_string()) } else { Trouble::host(error) }
            };
            let count = self.stream.read(&mut input, deadline).await;
            let count = count.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Trouble::host(error),
                _ => unheard(error, self.was_used),
            })?;
            if count == 0 {
                let closed = reader.close();
                return match closed {
                    Ok(()) => Ok(reader),
                    Err(why) => Err(unheard(io::Error::other(why.to_string()), self.was_used)),
                };
            }
            has_begun = true;
            match reader.feed(&input) {
                Ok(true) => return Ok(reader),
                Ok(false) => {}
                // It has answered, and cannot look at this message: others have nothing to do with that.
                Err(why @ (ResponseError::Status(..) | ResponseError::BodyTooLong)) => {
                    return Err(Trouble::Message(why.to_string()));
                }
                Err(why) => return Err(Trouble::Host(why.to_string())),
            }
        }
    }
}
