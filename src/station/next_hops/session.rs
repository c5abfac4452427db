//! A session of SMTP or LMTP with a next hop that gets a message before its client has an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::MailData;
use crate::client::transparency::Transparency;
use crate::client::{
    Client, End, Form, Loss, Phase, Recipient, RecipientResult, Reply, Settings, Step, Transaction,
};
use crate::config::MapAddress;
use crate::handoff::message::Message;
use crate::mail::foreign_reply::ForeignReply;
use crate::station::stream::Stream;
use crate::tls::as_client::{Channel, TlsSettings};

/// Octets of content that are sent at a time.
const PORTION_BYTES: usize = 64 * 1024;

/// How TLS is spoken in a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secured<'a> {
    pub(super) settings: &'a TlsSettings,
    /// What the server is called.
    pub(super) name: &'a str,
    /// Its certificate is to be for that name.
    pub(super) must_verify: bool,
}

/// How long a next hop has: to say whether it takes a message, and to take it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// Until it is known whether it takes the message at all, and the content is sent.
    pub(super) content: Instant,
    /// Until the answer to it.
    pub(super) answer: Instant,
}

/// Why a session cannot begin.
#[derive(Debug)]
pub(super) enum Trouble {
    /// TLS cannot begin.
    Tls(String),
    /// Anything else.
    Other(String),
}

/// What became of a recipient.
#[derive(Debug)]
pub(super) enum Fate {
    /// The next hop has the message for it.
    Taken,
    /// It never will.
    Refused(Option<ForeignReply>),
    /// It has not, and may yet.
    Open,
    /// The session ended, and the next hop has not taken the message.
    Untouched,
}

/// What came of a delivery.
#[derive(Debug)]
pub(super) struct Delivered {
    /// What became of each recipient, in their order.
    pub(super) fates: Vec<Fate>,
    /// Why the session ended in it; none where it did not.
    pub(super) lost: Option<Lost>,
}

/// How a session ended in a delivery.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    /// Nothing was heard of this message: it may have been over before.
    pub(super) is_unheard: bool,
    /// The next hop did not answer in time.
    pub(super) hangs: bool,
    /// The message cannot be sent to it, whoever it is.
    pub(super) is_unsendable: bool,
}

/// A session.
pub(super) struct Session {
    stream: Stream,
    client: Client,
    channel: Option<Box<Channel>>,
    /// What was received and not consumed yet.
    input: Vec<u8>,
    output: Vec<u8>,
    /// What goes to the socket and comes from there under TLS, while it does.
    ciphertext: Vec<u8>,
    /// It takes no transaction more, or is over.
    is_spent: bool,
    /// Transactions so far.
    pub(super) messages: u32,
}

impl Session {
    /// Begins one.
    pub(super) async fn open(
        address: &MapAddress,
        settings: &Arc<Settings>,
        secured: Secured<'_>,
        deadline: Instant,
    ) -> Result<Self, Trouble> {
        let stream = Stream::open(address, deadline).await;
        let stream = stream.map_err(|error| Trouble::Other(error.to_string()))?;
        let mut session = Self {
            stream,
            client: Client::new(Arc::clone(settings)),
            channel: None,
            input: Vec::new(),
            output: Vec::new(),
            ciphertext: Vec::new(),
            is_spent: false,
            messages: 0,
        };
        let deadlines = Deadlines { content: deadline, answer: deadline };
        match session.go_on(None, Some(secured), deadlines).await? {
            Step::Over(end) => Err(session.over(end)),
            Step::Spent => Err(Trouble::Other("it takes no transaction".to_owned())),
            _ => Ok(session),
        }
    }

    /// Whether it can have one message more.
    pub(super) fn is_fit(&self) -> bool {
        !self.is_spent
    }

    /// Whether nothing has come on it since the last message: a server ends a session that rests for long.
    pub(super) async fn is_alive(&mut self) -> bool {
        !self.stream.is_over().await
    }

    /// Hands a message over. None where the next hop cannot take it, and nothing was said of it.
    pub(super) async fn deliver(
        &mut self,
        message: &Message,
        tells_client: bool,
        deadlines: Deadlines,
    ) -> Option<Delivered> {
        let Message { envelope, data, received, client, .. } = message;
        let content_bytes = received.len() as u64 + data.bytes();
        let transaction = Transaction::of(envelope, content_bytes, tells_client.then_some(client));
        let recipients = envelope
            .recipients_with_parameters()
            .map(|(mailbox, parameters)| Recipient { mailbox: mailbox.whole, parameters });
        self.client.begin(&transaction, recipients, &mut self.output).ok()?;
        self.messages += 1;
        // Until it is known to be ready again.
        self.is_spent = true;
        let replies = self.client.replies();
        let step = self.go_on(Some((received, data)), None, deadlines).await;
        let is_unheard = self.client.replies() == replies;
        let lost = match step {
            Ok(Step::Over(end)) => Some(Lost {
                why: self.text_of(end),
                is_unheard,
                hangs: matches!(end, End::Lost(Loss::TimedOut, _)),
                is_unsendable: matches!(end, End::Lost(Loss::GivenUp, _)),
            }),
            Ok(step) => {
                self.is_spent = step != Step::Ready || self.client.is_for_one_client();
                None
            }
            Err(Trouble::Tls(why) | Trouble::Other(why)) => {
                Some(Lost { why, is_unheard, hangs: false, is_unsendable: false })
            }
        };
        Some(Delivered { fates: self.client.results().map(fate).collect(), lost })
    }

    /// Says that it ends, and waits for nothing.
    pub(super) async fn quit(mut self) {
        self.client.quit(&mut self.output);
        // What stands in the way of it ends the session as well.
        let _ = self.flush(Instant::now() + Duration::from_millis(100)).await;
    }

    /// Sends what is said, and receives, until a transaction can begin, or the session is over. A connection
    /// that is lost is an end as any other: the client says what that means.
    async fn go_on(
        &mut self,
        content: Option<(&[u8], &MailData)>,
        secured: Option<Secured<'_>>,
        deadlines: Deadlines,
    ) -> Result<Step, Trouble> {
        loop {
            let mut rest = &self.input[..];
            let step = self.client.advance(&mut rest, &mut self.output);
            let consumed = self.input.len() - rest.len();
            self.input.drain(..consumed);
            // What was not refused until the end of the content may have been taken.
            let is_at_end = self.client.phase() == Phase::End;
            let deadline = if is_at_end { deadlines.answer } else { deadlines.content };
            let went = match step {
                Step::NeedInput(_) => self.exchange(deadline).await,
                Step::StartTls => {
                    self.secure(secured, deadline).await?;
                    Ok(())
                }
                Step::SendContent(form) => self.send_content(form, content, deadline).await,
                Step::Done => Ok(()),
                Step::Ready | Step::Spent => return Ok(step),
                Step::Over(_) => {
                    // QUIT, or nothing: what stands in the way of it is no matter.
                    let _ = self.flush(Instant::now() + Duration::from_millis(100)).await;
                    return Ok(step);
                }
            };
            match went {
                Ok(()) => {}
                Err(error) if matches!(self.client.phase(), Phase::Ready) => {
                    return Err(Trouble::Other(error.to_string()));
                }
                Err(error) => self.client.handle_lost(loss_of(&error)),
            }
        }
    }

    /// Sends what is to be sent, and receives something.
    async fn exchange(&mut self, deadline: Instant) -> io::Result<()> {
        self.flush(deadline).await?;
        self.receive(deadline).await
    }

    async fn send_content(
        &mut self,
        form: Form,
        content: Option<(&[u8], &MailData)>,
        deadline: Instant,
    ) -> io::Result<()> {
        let whole = content.and_then(|(received, data)| Some((received, data.whole().ok()?)));
        let (received, whole) = whole.ok_or_else(|| io::Error::other("its mail data is not in memory"))?;
        let mut transparency = match form {
            Form::Dot => Some(Transparency::new()),
            Form::Chunk => None,
        };
        for piece in std::iter::once(received).chain(whole.pieces()) {
            match &mut transparency {
                None => self.output.extend_from_slice(piece),
                Some(transparency) => {
                    for slice in transparency.slices(piece) {
                        self.output.extend_from_slice(slice.map_err(unsendable)?);
                    }
                }
            }
            if self.output.len() >= PORTION_BYTES {
                self.flush(deadline).await?;
            }
        }
        if let Some(transparency) = transparency {
            self.output.extend_from_slice(transparency.end().map_err(unsendable)?);
        }
        // From here on the next hop may have the message, whatever is heard of it.
        self.client.handle_content_sent();
        self.flush(deadline).await
    }

    async fn secure(&mut self, secured: Option<Secured<'_>>, deadline: Instant) -> Result<(), Trouble> {
        let Some(Secured { settings, name, must_verify }) = secured else {
            return Err(Trouble::Tls("it was not to".to_owned()));
        };
        let of_tls = |error: io::Error| Trouble::Tls(error.to_string());
        self.flush(deadline).await.map_err(of_tls)?;
        let channel = Channel::new(settings, name, must_verify).map_err(Trouble::Tls)?;
        self.channel = Some(Box::new(channel));
        loop {
            let is_new = self.channel.as_mut().is_some_and(|channel| channel.take_established());
            if is_new {
                let is_authenticated = self.channel.as_ref().is_some_and(|channel| channel.is_authenticated);
                self.client.handle_secured(is_authenticated);
                return Ok(());
            }
            self.exchange(deadline).await.map_err(of_tls)?;
        }
    }

    async fn flush(&mut self, deadline: Instant) -> io::Result<()> {
        let Some(channel) = &mut self.channel else {
            if !self.output.is_empty() {
                self.stream.write(&self.output, deadline).await?;
                self.output.clear();
            }
            return Ok(());
        };
        if !self.output.is_empty() {
            channel.say(&self.output).map_err(of_tls)?;
            self.output.clear();
        }
        self.ciphertext.clear();
        channel.take_ciphertext(&mut self.ciphertext).map_err(of_tls)?;
        if self.ciphertext.is_empty() {
            return Ok(());
        }
        self.stream.write(&self.ciphertext, deadline).await
    }

    /// Receives something. The end is an error.
    async fn receive(&mut self, deadline: Instant) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let Some(channel) = &mut self.channel else {
            return match self.stream.read(&mut self.input, deadline).await? {
                0 => Err(ended()),
                _ => Ok(()),
            };
        };
        self.ciphertext.clear();
        let count = self.stream.read(&mut self.ciphertext, deadline).await?;
        let goes_on = channel.receive(&self.ciphertext, &mut self.input).map_err(of_tls)? && count > 0;
        if goes_on || !self.input.is_empty() { Ok(()) } else { Err(ended()) }
    }

    fn over(&self, end: End) -> Trouble {
        let text = self.text_of(end);
        if end.is_of_tls() { Trouble::Tls(text) } else { Trouble::Other(text) }
    }

    fn text_of(&self, end: End) -> String {
        let by = self.client.end_reply().map_or_else(String::new, |reply| format!(": {reply}"));
        format!("{end}{by}")
    }
}

fn fate(result: RecipientResult<'_>) -> Fate {
    match result {
        RecipientResult::Accepted(_) => Fate::Taken,
        RecipientResult::Permanent(reply) => Fate::Refused(in_words_of(&reply)),
        RecipientResult::Lost => Fate::Untouched,
        RecipientResult::Temporary(_)
        | RecipientResult::Welcome
        | RecipientResult::Untried
        | RecipientResult::Unknown => Fate::Open,
    }
}

fn in_words_of(reply: &Reply<'_>) -> Option<ForeignReply> {
    let enhanced = reply.enhanced.map_or((0, 0), |enhanced| (enhanced.subject, enhanced.detail));
    ForeignReply::new(reply.code, Some(enhanced), reply.text)
}

fn loss_of(error: &io::Error) -> Loss {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Loss::Closed,
        io::ErrorKind::TimedOut => Loss::TimedOut,
        io::ErrorKind::InvalidData => Loss::Tls,
        io::ErrorKind::InvalidInput => Loss::GivenUp,
        _ => Loss::Failed,
    }
}

fn of_tls(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn unsendable(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_string())
}
