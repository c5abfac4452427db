//! A connection to a milter.

use std::io;

use tokio::time::Instant;

use super::trouble::Trouble;
use crate::config::MapAddress;
use crate::filter::milter::{Fault, Loss, Session, Step};
use crate::filter::{Action, Ruling, Subject};
use crate::handoff::message::Message;
use crate::station::content::Content;
use crate::station::stream::Stream;

/// Octets in which the end of a header section is looked for. A longer one is nobody's mail.
pub(super) const HEADER_BYTES_MAX: usize = 256 * 1024;

/// Memory that a connection keeps for the next message: that of usual ones.
const KEPT_BYTES: usize = 16 * 1024;

/// A connection between two messages.
pub(super) struct Connection {
    stream: Stream,
    session: Session,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// Connects, and agrees with the milter on what is spoken.
    pub(super) async fn open(address: &MapAddress, deadline: Instant) -> Result<Self, Trouble> {
        Self::agree(Stream::open(address, deadline).await.map_err(Trouble::host)?, deadline).await
    }

    /// Agrees with the milter on what is spoken.
    pub(super) async fn agree(stream: Stream, deadline: Instant) -> Result<Self, Trouble> {
        let mut connection = Self { stream, session: Session::new(), input: Vec::new(), output: Vec::new() };
        match connection.go_on(deadline).await {
            Step::Over(fault) => Err(Trouble::Host(fault.to_string())),
            _ => Ok(connection),
        }
    }

    /// Whether nothing has come on it since the last message.
    pub(super) async fn is_alive(&mut self) -> bool {
        !self.stream.is_over().await
    }

    /// What the milter says of a message. The connection comes back if it can be used again.
    pub(super) async fn ask(
        mut self,
        subject: &Subject<'_>,
        message: &Message,
        deadline: Instant,
    ) -> (Result<Ruling, Trouble>, Option<Self>) {
        let ruling = match self.tell(subject, message, deadline).await {
            Ok(Step::Done(ruling)) => Ok(self.with_refused(ruling, subject)),
            Ok(Step::Over(fault)) => Err(self.trouble(fault)),
            Ok(step) => Err(Trouble::Host(format!("it stopped in the middle ({step:?})"))),
            Err(why) => {
                self.quit(deadline).await;
                return (Err(why), None);
            }
        };
        if ruling.is_err() {
            return (ruling, None);
        }
        let step = self.go_on(deadline).await;
        // While it rests it holds no memory of the message.
        self.input.shrink_to(KEPT_BYTES);
        self.output.shrink_to(KEPT_BYTES);
        match step {
            Step::Ready => (ruling, Some(self)),
            Step::Over(_) => (ruling, None),
            _ => {
                self.quit(deadline).await;
                (ruling, None)
            }
        }
    }

    /// Says that it ends, and waits for nothing.
    pub(super) async fn quit(mut self, deadline: Instant) {
        self.session.quit(&mut self.output);
        // What stands in the way of it ends the connection as well.
        let _ = self.stream.write(&self.output, deadline).await;
    }

    /// A message that goes on for recipients that the milter refuses says so.
    fn with_refused(&self, mut ruling: Ruling, subject: &Subject<'_>) -> Ruling {
        let refused = self.session.refused_recipients();
        if refused > 0 && matches!(ruling.action, Action::Pass | Action::Mark) {
            let all = subject.envelope.recipients().len();
            ruling.symbols.push(format!("refused {refused} of {all} recipients"));
        }
        ruling
    }

    fn trouble(&self, fault: Fault) -> Trouble {
        if self.session.is_kept_unheard() && matches!(fault, Fault::Lost(Loss::Closed | Loss::Failed, _)) {
            return Trouble::Stale(fault.to_string());
        }
        match fault {
            // What it wants to add may be made of the message.
            Fault::TooMuchAdded | Fault::FieldName | Fault::ReplyCode => Trouble::Message(fault.to_string()),
            fault => Trouble::Host(fault.to_string()),
        }
    }

    /// Tells the milter all of a message, until it is done with it.
    async fn tell(
        &mut self,
        subject: &Subject<'_>,
        message: &Message,
        deadline: Instant,
    ) -> Result<Step, Trouble> {
        let mut content = Content::new(&message.data);
        let mut octets = Vec::new();
        let header = loop {
            if let Some(end) = header_bytes(&octets) {
                break end;
            }
            // What comes after so much is told as body, with all that is no field before it.
            if octets.len() > HEADER_BYTES_MAX || !content.read(&mut octets).map_err(Trouble::message)? {
                break octets.len();
            }
        };
        let body = octets.split_off(header);
        self.session.begin(subject, &octets);
        drop(octets);
        let step = self.go_on(deadline).await;
        self.tell_body(step, body, content, deadline).await
    }

    /// Tells it the body: these octets, and what is left of the content.
    async fn tell_body(
        &mut self,
        mut step: Step,
        mut body: Vec<u8>,
        mut content: Content<'_>,
        deadline: Instant,
    ) -> Result<Step, Trouble> {
        while step == Step::NeedBody {
            // Each piece may cost a round trip: none is short but the last one.
            while body.len() < self.session.body_bytes_max()
                && content.read(&mut body).map_err(Trouble::message)?
            {}
            if body.is_empty() {
                self.session.end_body(&mut self.output);
            } else {
                let mut rest = &body[..];
                self.session.give_body(&mut rest, &mut self.output);
                let given = body.len() - rest.len();
                body.drain(..given);
            }
            step = self.go_on(deadline).await;
        }
        Ok(step)
    }

    /// Sends what is said, and receives, until something is needed.
    async fn go_on(&mut self, deadline: Instant) -> Step {
        loop {
            let mut rest = &self.input[..];
            let step = self.session.advance(&mut rest, &mut self.output);
            let consumed = self.input.len() - rest.len();
            self.input.drain(..consumed);
            let went = if step == Step::NeedInput {
                self.exchange(deadline).await
            } else {
                self.flush(deadline).await
            };
            match went {
                Ok(()) if step == Step::NeedInput => {}
                // What it has said is told.
                Err(_) if matches!(step, Step::Done(_) | Step::Over(_)) => return step,
                Ok(()) => return step,
                Err(error) => self.session.handle_lost(match error.kind() {
                    io::ErrorKind::TimedOut => Loss::TimedOut,
                    io::ErrorKind::UnexpectedEof => Loss::Closed,
                    _ => Loss::Failed,
                }),
            }
        }
    }

    async fn exchange(&mut self, deadline: Instant) -> io::Result<()> {
        self.flush(deadline).await?;
        match self.stream.read(&mut self.input, deadline).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self, deadline: Instant) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write(&self.output, deadline).await?;
            self.output.clear();
        }
        Ok(())
    }
}

/// Octets of the header section with the empty line that ends it; none where that has not come.
fn header_bytes(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memmem::find(octets, b"\r\n\r\n").map(|at| at + 4)
}
