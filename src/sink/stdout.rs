//! The stdout sink: one JSON object a line, or one mbox entry, a message. Promises nothing.
//!
//! A reader that closed or does not read is 451, never 250. Where a message was written in part its rest goes out before
//! anything else, so that no octet of another message can pass for a part of it.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::spill::SpillTo;
use super::{Durability, OpenError, Opened, Report, Sink, Surroundings, outcome_of};
use crate::config::StdoutFormat;
use crate::escape::{Json, Word};
use crate::handoff::message::{Message, Outcome};
use crate::smtp::envelope::{BodyType, Envelope, Ret};
use crate::timestamp::{Asctime, Rfc3339};

/// A reader that takes nothing for so long has stalled.
const STALL_MAX: Duration = Duration::from_secs(10);

/// What a pipe or terminal that says it is writable takes without blocking (`PIPE_BUF`).
const SAFE_WRITE_BYTES: usize = 4096;

/// Opens the sink on standard output.
pub(super) fn open(format: StdoutFormat, surroundings: &Surroundings) -> Result<Opened, OpenError> {
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| OpenError {
        what: "use the standard output of",
        path: "ringmx".into(),
        why: error.to_string(),
        cure: "start it with standard output open",
    })?;
    let report = Arc::clone(&surroundings.report);
    let name = match format {
        StdoutFormat::Json => "stdout json",
        StdoutFormat::Mbox => "stdout mbox",
    };
    Ok(Opened {
        description: name.to_owned(),
        durability: Durability::None,
        notes: vec!["stdout promises nothing: what its reader loses is lost".to_owned()],
        // One worker: lines of two would mix.
        workers: vec![Box::new(move || Ok(Box::new(Stdout::new(output, format, STALL_MAX, report))))],
        inline: None,
        spill: SpillTo::Directory(std::env::temp_dir()),
    })
}

/// Writes messages to a file descriptor.
pub struct Stdout {
    output: OwnedFd,
    /// Whether `output` never blocks, so that writes may be of any size.
    never_blocks: bool,
    format: StdoutFormat,
    stall_max: Duration,
    report: Arc<dyn Report>,
    /// What is being written, `written` octets of which are out. Not empty after a failure in mid-message.
    text: Vec<u8>,
    /// `written <= text.len()`
    written: usize,
}

impl Stdout {
    /// Writes to `output`, whose reader may not stall for longer than `stall_max`.
    pub fn new(output: OwnedFd, format: StdoutFormat, stall_max: Duration, report: Arc<dyn Report>) -> Self {
        let (output, never_blocks) = without_blocking(output);
        Self { output, never_blocks, format, stall_max, report, text: Vec::new(), written: 0 }
    }

    /// Writes what is left of `text`.
    fn flush(&mut self) -> io::Result<()> {
        let mut deadline = Instant::now() + self.stall_max;
        while let Some(rest) = self.text.get(self.written..).filter(|rest| !rest.is_empty()) {
            if !self.never_blocks {
                wait(&self.output, deadline)?;
            }
            let bytes = if self.never_blocks { rest.len() } else { rest.len().min(SAFE_WRITE_BYTES) };
            match rustix::io::write(&self.output, &rest[..bytes]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    deadline = Instant::now() + self.stall_max;
                }
                Err(Errno::AGAIN) => wait(&self.output, deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.text.clear();
        self.written = 0;
        Ok(())
    }

    fn store_one(&mut self, message: &Message) -> io::Result<()> {
        // The rest of a message that was cut short.
        self.flush()?;
        match self.format {
            StdoutFormat::Json => self.text.extend_from_slice(json(message).as_bytes()),
            StdoutFormat::Mbox => mbox(message, &mut self.text),
        }
        let result = self.flush();
        if result.is_err() && self.written == 0 {
            // Nothing of it is out, so nothing of it has to follow.
            self.text.clear();
        }
        result
    }
}

impl Sink for Stdout {
    fn durability(&self) -> Durability {
        Durability::None
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let mut stalled = None;
        for message in batch {
            // One wait a batch is enough: whoever stalled for the first message does not get the time of all of them.
            let outcome = stalled.unwrap_or_else(|| match self.store_one(message) {
                Ok(()) => Outcome::Durable,
                Err(error) => {
                    self.report.machine_error("write to", Path::new("standard output"), &error);
                    *stalled.insert(outcome_of(&error))
                }
            });
            message.place.clear();
            message.place.push_str("stdout");
            outcomes.push(outcome);
        }
    }
}

/// A pipe is opened anew so that it does not block us: to set that on the descriptor we were given would set it for everybody
/// who shares it, the shell included.
fn without_blocking(output: OwnedFd) -> (OwnedFd, bool) {
    let kind = rustix::fs::fstat(&output).map(|facts| FileType::from_raw_mode(facts.st_mode));
    if kind != Ok(FileType::Fifo) {
        return (output, false);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&output));
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => (opened, true),
        Err(_) => (output, false),
    }
}

/// Waits until the reader takes something, or the deadline.
fn wait(output: &OwnedFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut waits = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::OUT)];
        match poll(&mut waits, Some(&left)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader has stalled")),
            // An error or a closed reader shows in the write that follows.
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One line: a JSON object. `data_base64` is `Received:` and the mail data.
fn json(message: &Message) -> String {
    let Message { id, envelope, client, received_at, received, data, .. } = message;
    let mut line = String::with_capacity(512 + data.bytes().try_into().unwrap_or(0_usize) / 3 * 4);
    let mut text = |name: &str, value: &[u8]| {
        let before = if line.is_empty() { '{' } else { ',' };
        // Writing to a String does not fail.
        let _ = write!(line, "{before}\"{name}\":{}", Json(value));
    };
    text("id", &id.text());
    text("time", Rfc3339(*received_at).to_string().as_bytes());
    text("client", client.address.to_string().as_bytes());
    text("ehlo", &client.ehlo);
    text("protocol", client.protocol.as_bytes());
    text("reverse_path", envelope.reverse_path());
    line.push_str(",\"recipients\":[");
    for (index, recipient) in envelope.recipients().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let _ = write!(line, "{}", Json(recipient.whole));
    }
    line.push(']');
    dsn(envelope, &mut line);
    let body = match envelope.body {
        BodyType::SevenBit => "7BIT",
        BodyType::EightBitMime => "8BITMIME",
        BodyType::BinaryMime => "BINARYMIME",
    };
    let declared = envelope.size_declared.map_or("null".to_owned(), |size| size.to_string());
    let _ = write!(
        line,
        ",\"body\":\"{body}\",\"smtputf8\":{},\"requiretls\":{},\"bare_line_ends\":{},\"size_declared\":{declared},\"size\":{},\"data_base64\":\"",
        envelope.smtputf8,
        envelope.requiretls,
        envelope.bare_line_ends,
        data.bytes()
    );
    let encoding = BASE64;
    let mut base64 = encoding.new_encoder(&mut line);
    base64.append(received);
    data.pieces().for_each(|piece| base64.append(piece));
    base64.finalize();
    line.push_str("\"}\n");
    line
}

/// The DSN parameters (RFC 3461) as members of the object: `ret`, `envid`, and `recipient_parameters` in the order of the
/// recipients; null where one was not given.
fn dsn(envelope: &Envelope, line: &mut String) {
    fn member(name: &str, value: Option<&[u8]>, line: &mut String) {
        // Writing to a String does not fail.
        let _ = match value {
            Some(value) => write!(line, "\"{name}\":{}", Json(value)),
            None => write!(line, "\"{name}\":null"),
        };
    }
    let ret = envelope.ret.map(|ret| match ret {
        Ret::Full => &b"FULL"[..],
        Ret::Headers => b"HDRS",
    });
    line.push(',');
    member("ret", ret, line);
    line.push(',');
    member("envid", Some(envelope.envid()).filter(|envid| !envid.is_empty()), line);
    line.push_str(",\"recipient_parameters\":[");
    for (index, (_, parameters)) in envelope.recipients_with_parameters().enumerate() {
        line.push_str(if index == 0 { "{" } else { ",{" });
        let notify = parameters.notify.map(|notify| notify.to_string());
        member("notify", notify.as_deref().map(str::as_bytes), line);
        line.push(',');
        member("orcpt", Some(parameters.orcpt).filter(|orcpt| !orcpt.is_empty()), line);
        line.push('}');
    }
    line.push(']');
}

/// One mbox entry: `From ` line, Return-Path, a Delivered-To for each recipient, `Received:` and the mail data octet for octet,
/// but that lines of `>*From ` get one more `>` (mboxrd). A missing line end at the end is added: mbox cannot tell.
fn mbox(message: &Message, out: &mut Vec<u8>) {
    let envelope = &message.envelope;
    let sender = match envelope.reverse_path() {
        b"" => "MAILER-DAEMON".to_owned(),
        path => Word(path).to_string(),
    };
    out.extend_from_slice(format!("From {sender} {}\n", Asctime(message.received_at)).as_bytes());
    out.extend([b"Return-Path: <", envelope.reverse_path(), b">\r\n"].concat());
    for recipient in envelope.recipients() {
        out.extend([b"Delivered-To: ", recipient.whole, b"\r\n"].concat());
    }
    let mut content = message.received.clone();
    message.data.pieces().for_each(|piece| content.extend_from_slice(piece));
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        let quotes = line.iter().take_while(|octet| **octet == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            out.push(b'>');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(if content.ends_with(b"\n") { b"\n" } else { b"\n\n" });
}
