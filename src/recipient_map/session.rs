//! A session of SMTP or LMTP with a next hop, in which it is asked about recipients and gets no mail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::client::{Client, End, Enhanced, Loss, Phase, Recipient, RecipientResult, Reply, Settings, Step};
use crate::config::MapAddress;
use crate::mail::envelope::RecipientParameters;
use crate::tls::as_client::{Channel, TlsSettings};

/// Octets that are read at a time.
const STEP_BYTES: usize = 4096;

/// Questions on one connection. RSET comes between them, and Postfix counts more than a hundred of these as
/// errors (`smtpd_junk_command_limit`).
const QUESTIONS_MAX: u32 = 50;

/// The same with the answer no: after ten Postfix makes who asks wait (`smtpd_soft_error_limit`).
const REFUSALS_MAX: u32 = 8;

/// How TLS is spoken in a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secured<'a> {
    pub(super) settings: &'a TlsSettings,
    /// What the server is called.
    pub(super) name: &'a str,
    /// Its certificate is to be for that name.
    pub(super) must_verify: bool,
}

/// What a next hop says of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It would take its mail.
    Yes,
    /// There is no such mailbox.
    No,
    /// Neither, for now: a mailbox that is full, or a server that is busy.
    NotNow,
    /// It refuses, and not because of the recipient.
    Refuses(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It ended before the server answered what was said last: a session that was at rest for long may have
    /// ended before.
    Ended(String),
    /// The server says nothing.
    Silent,
    /// TLS cannot begin with it.
    Tls(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(why) => f.write_str(why),
            Self::Silent => f.write_str("it did not answer in time"),
            Self::Tls(why) => write!(f, "TLS cannot begin: {why}"),
        }
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    client: Client,
    channel: Option<Box<Channel>>,
    /// What was received and not consumed yet.
    input: Vec<u8>,
    questions: u32,
    refusals: u32,
    /// The server takes no transaction more.
    is_spent: bool,
    /// When it was asked last.
    pub(super) asked_at: Instant,
}

impl Session {
    /// Begins one.
    pub(super) fn open(
        address: &MapAddress,
        settings: &Arc<Settings>,
        secured: Option<Secured<'_>>,
        deadline: Instant,
    ) -> Result<Self, Trouble> {
        let connection = Connection::open(address, deadline).map_err(of_connection)?;
        let mut session = Self {
            connection,
            client: Client::new(Arc::clone(settings)),
            channel: None,
            input: Vec::new(),
            questions: 0,
            refusals: 0,
            is_spent: false,
            asked_at: Instant::now(),
        };
        match session.go_on(Vec::new(), secured, deadline)? {
            Step::Over(end) => Err(session.over(end)),
            Step::Spent => Err(Trouble::Ended("it takes no transaction".to_owned())),
            _ => Ok(session),
        }
    }

    /// Whether it is to be asked no more.
    pub(super) fn is_used_up(&self) -> bool {
        self.is_spent || self.questions >= QUESTIONS_MAX || self.refusals >= REFUSALS_MAX
    }

    /// Asks about a mailbox.
    pub(super) fn ask(&mut self, mailbox: &[u8], deadline: Instant) -> Result<Said, Trouble> {
        self.questions += 1;
        self.asked_at = Instant::now();
        let recipient = Recipient { mailbox, parameters: RecipientParameters::default() };
        let mut output = Vec::new();
        if let Err(unfit) = self.client.ask([recipient], &mut output) {
            return Ok(Said::Refuses(format!(
                "it cannot be asked about all recipients: {}",
                unfit.enhanced()
            )));
        }
        let step = self.go_on(output, None, deadline)?;
        self.is_spent = step == Step::Spent;
        let was_mail_refused = self.client.was_mail_refused();
        let said = match self.client.results().next() {
            Some(RecipientResult::Welcome) => Some(Said::Yes),
            Some(RecipientResult::Permanent(reply)) if !was_mail_refused && is_about_recipient(&reply) => {
                Some(Said::No)
            }
            Some(RecipientResult::Permanent(reply)) => {
                let to = if was_mail_refused { "MAIL FROM:<>" } else { "RCPT" };
                Some(Said::Refuses(format!("it said {reply} to {to}")))
            }
            Some(RecipientResult::Temporary(reply)) if was_mail_refused => {
                Some(Said::Refuses(format!("it said {reply} to MAIL FROM:<>")))
            }
            // 421 is the end of the session, and may be about that.
            Some(RecipientResult::Temporary(_)) if !matches!(step, Step::Over(_)) => Some(Said::NotNow),
            _ => None,
        };
        self.refusals += u32::from(!matches!(said, Some(Said::Yes)));
        match (said, step) {
            (Some(said), _) => Ok(said),
            (None, Step::Over(end)) => Err(self.over(end)),
            (None, _) => Ok(Said::NotNow),
        }
    }

    /// Says that it ends, and waits for nothing.
    pub(super) fn quit(mut self) {
        let mut output = Vec::new();
        self.client.quit(&mut output);
        // What stands in the way of it ends the session as well.
        let _ = self.send(&output, Instant::now() + std::time::Duration::from_millis(1));
    }

    /// Sends what is said, and receives, until a question can be asked, or it is over.
    fn go_on(
        &mut self,
        said: Vec<u8>,
        secured: Option<Secured<'_>>,
        deadline: Instant,
    ) -> Result<Step, Trouble> {
        let mut output = said;
        loop {
            let mut rest = &self.input[..];
            let step = self.client.advance(&mut rest, &mut output);
            let consumed = self.input.len() - rest.len();
            self.input.drain(..consumed);
            self.send(&output, deadline)?;
            output.clear();
            match step {
                Step::NeedInput(_) => self.receive(deadline)?,
                Step::StartTls => self.secure(secured, deadline)?,
                // Nothing is sent where it is only asked.
                Step::SendContent(_) => self.client.handle_lost(Loss::GivenUp),
                Step::Done => {}
                Step::Ready | Step::Spent | Step::Over(_) => return Ok(step),
            }
        }
    }

    fn secure(&mut self, secured: Option<Secured<'_>>, deadline: Instant) -> Result<(), Trouble> {
        let Some(Secured { settings, name, must_verify }) = secured else {
            return Err(Trouble::Tls("it was not to".to_owned()));
        };
        let channel = Channel::new(settings, name, must_verify).map_err(Trouble::Tls)?;
        self.channel = Some(Box::new(channel));
        self.send(&[], deadline)?;
        loop {
            let established = self.channel.as_mut().and_then(|channel| {
                let is_new = channel.take_established();
                is_new.then_some(channel.is_authenticated)
            });
            if let Some(is_authenticated) = established {
                self.client.handle_secured(is_authenticated);
                return Ok(());
            }
            match self.receive(deadline) {
                Ok(()) => {}
                Err(Trouble::Silent) => return Err(Trouble::Silent),
                Err(Trouble::Ended(why) | Trouble::Tls(why)) => return Err(Trouble::Tls(why)),
            }
            if matches!(self.client.phase(), Phase::Ready) {
                return Err(Trouble::Tls("it closed the connection".to_owned()));
            }
        }
    }

    fn send(&mut self, octets: &[u8], deadline: Instant) -> Result<(), Trouble> {
        let Some(channel) = &mut self.channel else {
            return if octets.is_empty() {
                Ok(())
            } else {
                self.connection.write(octets, deadline).map_err(of_connection)
            };
        };
        let of_tls = |error: rustls::Error| Trouble::Tls(error.to_string());
        if !octets.is_empty() {
            channel.say(octets).map_err(of_tls)?;
        }
        let mut ciphertext = Vec::new();
        channel.take_ciphertext(&mut ciphertext).map_err(of_tls)?;
        if ciphertext.is_empty() {
            return Ok(());
        }
        self.connection.write(&ciphertext, deadline).map_err(of_connection)
    }

    /// Receives something, or that the server has ended.
    fn receive(&mut self, deadline: Instant) -> Result<(), Trouble> {
        let mut step = [0; STEP_BYTES];
        let count = self.connection.read(&mut step, deadline).map_err(of_connection)?;
        let octets = step.get(..count).unwrap_or_default();
        let goes_on = match &mut self.channel {
            None => {
                self.input.extend_from_slice(octets);
                count > 0
            }
            Some(channel) => {
                let goes_on = channel
                    .receive(octets, &mut self.input)
                    .map_err(|error| Trouble::Tls(error.to_string()))?;
                goes_on && count > 0
            }
        };
        // A handshake goes on.
        self.send(&[], deadline)?;
        if !goes_on && self.input.is_empty() {
            self.client.handle_lost(Loss::Closed);
        }
        Ok(())
    }

    fn over(&self, end: End) -> Trouble {
        let by = self.client.end_reply().map_or_else(String::new, |reply| format!(": {reply}"));
        let text = format!("{end}{by}");
        match end {
            End::Refused(Phase::StartTls) | End::Lost(Loss::Tls, _) => Trouble::Tls(text),
            _ => Trouble::Ended(text),
        }
    }
}

fn of_connection(error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::TimedOut { Trouble::Silent } else { Trouble::Ended(error.to_string()) }
}

/// Whether a refusal of RCPT says that there is no such mailbox, and not that we may not send, or that the
/// server has a fault: a next hop that is set up wrong for an hour is to lose nobody's mail.
fn is_about_recipient(reply: &Reply<'_>) -> bool {
    match reply.enhanced {
        // The sender's address, which is none.
        Some(Enhanced { subject: 1, detail: 7 | 8, .. }) => false,
        // A mailbox that is not there, or takes no mail any more (RFC 3463 §3.2, §3.3); and 5.4.1, by which
        // servers of Microsoft mean the former.
        Some(
            Enhanced { subject: 1, .. }
            | Enhanced { subject: 2, detail: 1, .. }
            | Enhanced { subject: 4, detail: 1, .. },
        ) => true,
        Some(Enhanced { subject: 0, .. }) | None => matches!(reply.code, 550 | 551 | 553 | 556),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_recipient_says_no() {
        let enhanced = |subject, detail| Some(Enhanced { class: 5, subject, detail });
        for (code, enhanced, is_no) in [
            (550, enhanced(1, 1), true),
            (550, enhanced(1, 6), true),
            (550, enhanced(2, 1), true),
            (550, enhanced(4, 1), true),
            (550, None, true),
            (551, None, true),
            (553, None, true),
            (550, enhanced(0, 0), true),
            (550, enhanced(7, 1), false),
            (550, enhanced(1, 8), false),
            (552, enhanced(2, 2), false),
            (554, None, false),
            (554, enhanced(7, 1), false),
            (503, enhanced(5, 1), false),
            (530, None, false),
        ] {
            let reply = Reply { code, enhanced, text: b"" };
            assert_eq!(is_about_recipient(&reply), is_no, "{reply}");
        }
    }
}
