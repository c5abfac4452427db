//! A session of SMTP or LMTP with a next hop, in which it is asked about recipients and gets no mail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::client::{Client, End, Enhanced, Loss, Phase, Recipient, RecipientResult, Reply, Settings, Step};
use crate::config::MapAddress;
use crate::mail::envelope::{Mailbox, RecipientParameters};
use crate::tls::as_client::{Channel, TlsSettings};

/// Octets that are read at a time.
const STEP_BYTES: usize = 4096;

/// Questions on one connection. RSET comes between them, and Postfix counts more than a hundred of these as
/// errors (`smtpd_junk_command_limit`).
const QUESTIONS_MAX: u32 = 50;

/// The same with the answer no: after ten Postfix makes who asks wait (`smtpd_soft_error_limit`).
const REFUSALS_MAX: u32 = 8;

/// The reply code with which a server closes the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

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

impl Trouble {
    /// For the log, which tells each kind of error once in a while.
    pub(super) fn as_error(&self) -> io::Error {
        let kind = match self {
            Self::Ended(_) => io::ErrorKind::ConnectionAborted,
            Self::Silent => io::ErrorKind::TimedOut,
            Self::Tls(_) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self.to_string())
    }
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
    /// It takes no transaction more, or is over.
    is_spent: bool,
    /// The domain whose postmaster was taken.
    vouched: Vec<u8>,
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
            vouched: Vec::new(),
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

    /// Asks about a mailbox. A refusal that might as well be one of all mail of its domain says no only if
    /// its postmaster is taken, which every domain has (RFC 5321 §4.5.1).
    pub(super) fn ask(&mut self, mailbox: &[u8], deadline: Instant) -> Result<Said, Trouble> {
        let (said, is_sure) = self.ask_once(mailbox, deadline)?;
        let domain = Mailbox::of_whole(mailbox).domain;
        if said != Said::No || is_sure || self.vouched == domain {
            return Ok(said);
        }
        if self.is_spent {
            return Ok(Said::NotNow);
        }
        let postmaster = [b"postmaster@", domain].concat();
        Ok(match self.ask_once(&postmaster, deadline)?.0 {
            Said::Yes => {
                self.vouched = domain.to_vec();
                Said::No
            }
            Said::NotNow => Said::NotNow,
            Said::No | Said::Refuses(_) => {
                let domain = String::from_utf8_lossy(domain);
                Said::Refuses(format!("it refuses a recipient of {domain}, and its postmaster as well"))
            }
        })
    }

    /// The same with one RCPT; and whether a no is about nobody else.
    fn ask_once(&mut self, mailbox: &[u8], deadline: Instant) -> Result<(Said, bool), Trouble> {
        self.questions += 1;
        self.asked_at = Instant::now();
        let recipient = Recipient { mailbox, parameters: RecipientParameters::default() };
        let mut output = Vec::new();
        // Its name cannot be said there, so its mail could not go there.
        if self.client.ask([recipient], &mut output).is_err() {
            return Ok((Said::NotNow, true));
        }
        let step = self.go_on(output, None, deadline)?;
        self.is_spent = !matches!(step, Step::Ready);
        let was_mail_refused = self.client.was_mail_refused();
        let said = match self.client.results().next() {
            Some(RecipientResult::Welcome) => Some((Said::Yes, true)),
            Some(RecipientResult::Permanent(reply)) if !was_mail_refused => Some(judged(&reply)),
            // 421 is the end of the session, and may be about that.
            Some(RecipientResult::Temporary(reply)) if !was_mail_refused && reply.code != CLOSING => {
                Some((judged_for_now(&reply), true))
            }
            Some(RecipientResult::Permanent(reply) | RecipientResult::Temporary(reply))
                if reply.code != CLOSING =>
            {
                Some((Said::Refuses(format!("it said {reply} to MAIL FROM:<>")), true))
            }
            _ => None,
        };
        self.refusals += u32::from(!matches!(said, Some((Said::Yes, _))));
        match (said, step) {
            (Some(said), _) => Ok(said),
            (None, Step::Over(end)) => Err(self.over(end)),
            (None, _) => Ok((Said::NotNow, true)),
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
                Step::NeedInput(phase) => self.receive(deadline).map_err(|trouble| match phase {
                    Phase::StartTls => Trouble::Tls(trouble.to_string()),
                    _ => trouble,
                })?,
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
            self.receive(deadline).map_err(|trouble| Trouble::Tls(trouble.to_string()))?;
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
        if end.is_of_tls() { Trouble::Tls(text) } else { Trouble::Ended(text) }
    }
}

fn of_connection(error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::TimedOut { Trouble::Silent } else { Trouble::Ended(error.to_string()) }
}

/// What a refusal of RCPT says, and whether it is surely about this recipient. What is about us, or a fault
/// of the server, is no answer: one that is set up wrong for an hour is to lose nobody's mail.
fn judged(reply: &Reply<'_>) -> (Said, bool) {
    let parts = reply.enhanced.map(|enhanced| (enhanced.subject, enhanced.detail));
    match parts {
        // A mailbox that is not there, has moved, or takes no mail any more (RFC 3463 §3.2, §3.3).
        Some((1, 1 | 3 | 6) | (2, 1)) => (Said::No, true),
        // It is full, or its mail is too much for it.
        Some((2, _)) => (Said::NotNow, true),
        // Said of mailboxes, and of whole domains as well; 5.4.1 so by servers of Microsoft.
        Some((1, 0 | 2 | 10) | (4, 1) | (0, _)) => (Said::No, false),
        None if matches!(reply.code, 550 | 551 | 553) => (Said::No, false),
        Some(_) | None => (Said::Refuses(format!("it said {reply} to RCPT")), true),
    }
}

/// The same of a refusal for now.
fn judged_for_now(reply: &Reply<'_>) -> Said {
    match reply.enhanced {
        Some(Enhanced { subject: 1 | 2, .. }) | None => Said::NotNow,
        Some(_) => Said::Refuses(format!("it said {reply} to RCPT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_recipient_says_no() {
        let enhanced = |subject, detail| Some(Enhanced { class: 5, subject, detail });
        let (sure, perhaps) = (Some((Said::No, true)), Some((Said::No, false)));
        for (code, enhanced, expected) in [
            (550, enhanced(1, 1), sure.clone()),
            (550, enhanced(1, 6), sure.clone()),
            (550, enhanced(2, 1), sure),
            (552, enhanced(2, 2), Some((Said::NotNow, true))),
            (550, enhanced(4, 1), perhaps.clone()),
            (550, enhanced(1, 2), perhaps.clone()),
            (550, None, perhaps.clone()),
            (551, None, perhaps.clone()),
            (553, None, perhaps.clone()),
            (550, enhanced(0, 0), perhaps),
            (550, enhanced(7, 1), None),
            (550, enhanced(1, 8), None),
            (554, None, None),
            (554, enhanced(7, 1), None),
            (503, enhanced(5, 1), None),
        ] {
            let reply = Reply { code, enhanced, text: b"" };
            let found = judged(&reply);
            match expected {
                Some(expected) => assert_eq!(found, expected, "{reply}"),
                None => assert!(matches!(found, (Said::Refuses(_), true)), "{reply}: {found:?}"),
            }
        }
    }
}
