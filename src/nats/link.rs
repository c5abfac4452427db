//! A connection to the cluster, and who waits for an answer on it. It connects again by itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::Head;
use super::answer::Answer;
use super::plan::Plan;

/// Who waits, each at the number that its replies bear.
type Waiting = Rc<RefCell<HashMap<u64, UnboundedSender<Message>>>>;

/// See the module. It lives on a runtime with a `LocalSet`, which has to run for answers to come.
pub struct Link {
    client: Client,
    /// What replies come to, with a dot at its end.
    inbox: String,
    waiting: Waiting,
    next: Cell<u64>,
    stream: String,
    dispatch: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.dispatch.abort();
    }
}

impl Link {
    /// Connects, now or later: a cluster that is not there is tried again for ever. `tell` gets what the
    /// servers complain of.
    ///
    /// # Errors
    /// The plan is no good.
    pub async fn open(plan: &Plan, tell: Arc<dyn Fn(String) + Send + Sync>) -> Result<Self, OpenError> {
        let options = plan.options().map_err(OpenError::Away)?.retry_on_initial_connect().event_callback(
            move |event| {
                match event {
                    Event::ServerError(error) => tell(error.to_string()),
                    Event::ClientError(error) => tell(error.to_string()),
                    Event::SlowConsumer(_) => tell("answers came faster than they were read".to_owned()),
                    Event::Connected
                    | Event::Disconnected
                    | Event::LameDuckMode
                    | Event::Draining
                    | Event::Closed => {}
                }
                std::future::ready(())
            },
        );
        Self::connect(plan, options).await
    }

    /// Connects now or not at all.
    ///
    /// # Errors
    /// Why not.
    pub async fn open_once(plan: &Plan) -> Result<Self, OpenError> {
        Self::connect(plan, plan.options().map_err(OpenError::Away)?).await
    }

    async fn connect(plan: &Plan, options: ConnectOptions) -> Result<Self, OpenError> {
        let client = options.connect(plan.servers()).await.map_err(|error| {
            use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
            match error.kind() {
                Authentication | AuthorizationViolation => OpenError::NotLetIn(text_of(&error)),
                _ => OpenError::Away(text_of(&error)),
            }
        })?;
        let inbox = format!("{}.", client.new_inbox());
        let away = |error: async_nats::SubscribeError| OpenError::Away(error.to_string());
        let replies = client.subscribe(format!("{inbox}*")).await.map_err(away)?;
        let waiting = Waiting::default();
        let dispatched = Rc::clone(&waiting);
        let from = inbox.len();
        let dispatch = tokio::task::spawn_local(replies.for_each(move |reply| {
            let number = reply.subject.get(from..).and_then(|number| number.parse().ok());
            if let Some(one) = number.and_then(|number: u64| dispatched.borrow().get(&number).cloned()) {
                // Who does not wait any more is gone.
                let _ = one.send(reply);
            }
            std::future::ready(())
        }));
        let dispatch = dispatch.abort_handle();
        let stream = plan.cluster.stream.clone();
        Ok(Self { client, inbox, waiting, next: Cell::new(0), stream, dispatch })
    }

    /// Whether a server is connected.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Octets that a message may have, header and all. Known of the server that is connected.
    pub fn payload_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    /// A place to wait for answers at.
    pub fn ticket(&self) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        let (sender, answers) = unbounded_channel();
        self.waiting.borrow_mut().insert(number, sender);
        let reply = format!("{}{number}", self.inbox);
        Ticket { number, reply, answers, waiting: Rc::clone(&self.waiting) }
    }

    /// Sends a message for the stream; its answer comes to the ticket. Of one ticket it may be sent again.
    ///
    /// # Errors
    /// Why it is not on its way; a time-out leaves that open.
    pub async fn send(
        &self,
        ticket: &Ticket,
        head: &Head,
        payload: Bytes,
        until: Instant,
    ) -> Result<(), Answer> {
        self.publish(ticket, head.subject.clone(), head.headers.clone(), payload, until).await
    }

    pub(super) async fn publish(
        &self,
        ticket: &Ticket,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        until: Instant,
    ) -> Result<(), Answer> {
        // What is given to a client without a connection goes out whenever it has one again.
        if !self.is_connected() {
            return Err(Answer::Unknown("no server of the cluster is connected".to_owned()));
        }
        let reply = ticket.reply.clone();
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        match timeout_at(until, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                Err(Answer::TooLarge(error.to_string()))
            }
            Ok(Err(error)) => Err(Answer::Unknown(error.to_string())),
            Err(_) => Err(Answer::Unknown("the connection takes nothing".to_owned())),
        }
    }

    /// The stream's next answer to what was sent with this ticket.
    pub async fn answer(&self, ticket: &mut Ticket, until: Instant) -> Answer {
        self.answer_of(&self.stream, ticket, until).await
    }

    pub(super) async fn answer_of(&self, stream: &str, ticket: &mut Ticket, until: Instant) -> Answer {
        match ticket.next(until).await {
            Ok(message) => Answer::read(&message.payload, stream),
            Err(why) => Answer::Unknown(why),
        }
    }

    /// Asks JetStream something.
    ///
    /// # Errors
    /// Nobody answered, or nothing that is JSON.
    pub(super) async fn ask(
        &self,
        what: &str,
        question: Option<&Value>,
        within: Duration,
    ) -> Result<Value, String> {
        let until = Instant::now() + within;
        let mut ticket = self.ticket();
        let payload = question.map_or_else(Bytes::new, |question| question.to_string().into());
        let subject = format!("$JS.API.{what}");
        let sent = self.publish(&ticket, subject, HeaderMap::new(), payload, until).await;
        if let Err(answer) = sent {
            return Err(answer.why());
        }
        let message = ticket.next(until).await?;
        serde_json::from_slice(&message.payload)
            .map_err(|error| format!("an answer that is no JSON: {error}"))
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// We may not connect as who we are.
    NotLetIn(String),
    /// Nobody is there.
    Away(String),
}

/// What it says, and what its source does.
fn text_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        Some(_) | None => error.to_string(),
    }
}

/// A place to wait for answers at. What comes when it is gone is nobody's.
pub struct Ticket {
    number: u64,
    reply: String,
    answers: UnboundedReceiver<Message>,
    waiting: Waiting,
}

impl Ticket {
    async fn next(&mut self, until: Instant) -> Result<Message, String> {
        match timeout_at(until, self.answers.recv()).await {
            Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err("nobody there has the subject now".to_owned())
            }
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the connection is gone".to_owned()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.borrow_mut().remove(&self.number);
    }
}
