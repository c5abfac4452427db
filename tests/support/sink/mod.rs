//! Messages to store, and what must be found of them afterwards. Shared by the tests of the sinks.

pub mod contract;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use ringmx::buffer::{MailData, Pool, SpillBudget};
use ringmx::handoff::message::{LogFacts, Message, Origin, Progress};
use ringmx::mail::authentication::Authentication;
use ringmx::mail::client::{ClientFacts, Standing, TlsFacts};
use ringmx::mail::envelope::{BodyType, Envelope, Notify, RecipientParameters, Ret};
use ringmx::mail::outcome::Outcome;
use ringmx::mail::queue_id::QueueId;
use ringmx::mail::tag::Delimiters;
use ringmx::sink::{Report, Sink, Site, Surroundings};
use rustix::fs::{Mode, OFlags};

/// What a test sends.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The queue id that it was given.
    pub id: QueueId,
    /// Local-part and domain of the reverse-path.
    pub reverse_path: (&'static [u8], &'static [u8]),
    /// Local-parts and domains of the recipients, in order.
    pub recipients: Vec<(Vec<u8>, &'static [u8])>,
    /// Our Received: field.
    pub received: Vec<u8>,
    /// The mail data, after transparency.
    pub data: Vec<u8>,
    /// BODY= of MAIL.
    pub body: BodyType,
    /// Whether the envelope says that bare CR or LF came.
    pub bare_line_ends: bool,
    /// It is marked as suspicious.
    pub is_suspicious: bool,
    /// With every parameter of DSN, and REQUIRETLS.
    pub promises: bool,
    /// What TLS it came under.
    pub tls: Option<TlsFacts>,
    /// So many octets of the mail data are in a spill file.
    pub spilled: usize,
    /// The directory of that file.
    pub spilled_in: PathBuf,
}

impl Sent {
    /// A message with these octets of mail data for one recipient.
    pub fn new(number: u64, data: impl Into<Vec<u8>>) -> Self {
        let id = QueueId::new(1_700_000_000, 1 << 56 | u128::from(number));
        Self {
            id,
            reverse_path: (b"sender", b"client.test"),
            recipients: vec![(b"alice".to_vec(), b"x.test")],
            received: format!("Received: from client.test\r\n\tby mx.test id {id}\r\n").into_bytes(),
            data: data.into(),
            body: BodyType::SevenBit,
            bare_line_ends: false,
            is_suspicious: false,
            promises: false,
            tls: None,
            spilled: 0,
            spilled_in: std::env::temp_dir(),
        }
    }

    /// With these recipients in `x.test`.
    #[must_use]
    pub fn to(mut self, local_parts: &[&str]) -> Self {
        self.recipients =
            local_parts.iter().map(|local| (local.as_bytes().to_vec(), &b"x.test"[..])).collect();
        self
    }

    /// Marked as suspicious.
    #[must_use]
    pub fn marked(mut self) -> Self {
        self.is_suspicious = true;
        self
    }

    /// With so many octets of its mail data in a spill file in this directory.
    #[must_use]
    pub fn spilled(mut self, octets: usize, directory: &Path) -> Self {
        (self.spilled, self.spilled_in) = (octets, directory.to_owned());
        self
    }

    /// As it comes from a shard.
    pub fn message(&self) -> Box<Message> {
        let mut pool = Pool::new(1, 4096, self.data.len() + 64 * 1024).expect("memory");
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let (spilled, rest) = self.data.split_at(self.spilled);
        if !spilled.is_empty() {
            data.append_copied(&mut pool, spilled).expect("memory");
            let mut away = data.send_away();
            let budget = SpillBudget::new(1 << 30, 1);
            away.write_out(&budget, None, || temporary(&self.spilled_in)).expect("written");
            data.take_home(away, &mut pool);
        }
        data.append_copied(&mut pool, rest).expect("memory");
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(self.reverse_path.0, self.reverse_path.1);
        for (local_part, domain) in &self.recipients {
            envelope.push_recipient(local_part, domain);
            if self.promises {
                let notify = Some(Notify::SUCCESS.and(Notify::FAILURE));
                envelope.set_recipient_parameters(RecipientParameters { notify, orcpt: b"rfc822;a+2Bb" });
            }
        }
        if self.promises {
            envelope.requiretls = true;
            envelope.ret = Some(Ret::Headers);
            envelope.set_envid(b"id\"1");
        }
        envelope.body = self.body;
        envelope.bare_line_ends = self.bare_line_ends;
        Box::new(Message {
            id: self.id,
            origin: Origin { shard: 3, connection: 0 },
            envelope: Box::new(envelope),
            client: ClientFacts {
                address: ([192, 0, 2, 1], 4711).into(),
                ehlo: b"client.\x1b\xff\"\\\x7f\xc2\x85".to_vec(),
                protocol: "ESMTP",
                tls: self.tls.clone(),
                standing: Standing::default(),
            },
            received_at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042),
            authentication: Authentication { is_suspicious: self.is_suspicious, ..Authentication::default() },
            received: self.received.clone(),
            data,
            place: String::new(),
            log: LogFacts::default(),
            progress: Progress::default(),
        })
    }

    /// Received: and the mail data.
    pub fn content(&self) -> Vec<u8> {
        [&self.received[..], &self.data].concat()
    }

    /// The reverse-path as in an envelope.
    pub fn sender(&self) -> Vec<u8> {
        match self.reverse_path {
            (b"", b"") => Vec::new(),
            (local_part, domain) => [local_part, b"@", domain].concat(),
        }
    }

    /// The file in the maildir of one recipient, the naive way.
    pub fn file(&self, recipient: usize, to_lf: bool) -> Vec<u8> {
        self.shared_file(&[recipient], to_lf)
    }

    /// The file in a maildir that these recipients share.
    pub fn shared_file(&self, recipients: &[usize], to_lf: bool) -> Vec<u8> {
        let mut whole = [b"Return-Path: <", &self.sender()[..], b">\r\n"].concat();
        for recipient in recipients {
            let (local_part, domain) = &self.recipients[*recipient];
            whole.extend_from_slice(&[b"Delivered-To: ", &local_part[..], b"@", domain, b"\r\n"].concat());
        }
        whole.extend_from_slice(&self.content());
        let bare = |text: &[u8]| {
            let without: Vec<u8> = replace(text, b"\r\n", b"");
            without.contains(&b'\r') || without.contains(&b'\n')
        };
        if !to_lf || self.body == BodyType::BinaryMime || self.bare_line_ends || bare(&self.data) {
            return whole;
        }
        replace(&whole, b"\r\n", b"\n")
    }
}

fn temporary(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// The text with each occurrence of one text replaced by another.
pub fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// Collects what a sink reports.
#[derive(Debug, Default)]
pub struct Reports {
    errors: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Report for Reports {
    fn machine_error(&self, what: &str, site: Site<'_>, error: &io::Error) {
        self.errors.lock().expect("no panic").push(format!("{what} {site}: {error}"));
    }

    fn note(&self, text: &str) {
        self.notes.lock().expect("no panic").push(text.to_owned());
    }
}

impl Reports {
    /// What failed since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock().expect("no panic"))
    }

    /// What else was told since the last call.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().expect("no panic"))
    }
}

/// Every recipient is listed.
pub fn surroundings(reports: &Arc<Reports>) -> Surroundings {
    Surroundings {
        local_part_case_sensitive: true,
        recipient_delimiter: Delimiters::default(),
        hostname: "mx.test".to_owned(),
        report: Arc::clone(reports) as Arc<dyn Report>,
        spool: Arc::default(),
        is_named: Arc::new(|_| true),
    }
}

/// Stores a batch.
pub fn store(sink: &mut (impl Sink + ?Sized), batch: &[Sent]) -> Vec<Outcome> {
    let mut messages: Vec<_> = batch.iter().map(Sent::message).collect();
    let mut outcomes = Vec::new();
    sink.store(&mut messages, &mut outcomes);
    assert_eq!(outcomes.len(), batch.len(), "one outcome a message");
    for (message, sent) in messages.iter().zip(batch) {
        assert_eq!(message.id, sent.id, "order");
    }
    outcomes
}
