//! The configuration: TOML → these types, once. They cannot hold a bad value.
//!
//! [`read`] reads a file, [`parse`] a text; both find every problem, not only the first. The types of this
//! module are all
//! that the rest of the program sees.

mod document;
pub mod file;
mod host;
mod invisible;
mod names;
mod problem;
mod read;
pub mod recipients;
mod reference;
mod section;
mod session_limits;
mod shards;
mod tls;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::mail::domain::DomainPattern;
use crate::smtp::extension::ExtensionSet;
use crate::smtp::policy::{Policy, RecipientEntry, RecipientRules};
use crate::smtp::settings::{BareLineEnd, ChunkLineEnd, Gate, Limits, NulPolicy, Settings, TlsPolicy};
use document::Document;
pub use problem::{Finding, Places, Problem, Warning};
pub use reference::{markdown, reference};
pub use tls::{CertificateFiles, Tls, TlsVersion};

/// Everything that `ringmx serve` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting, in EHLO replies and behind `by` in Received:.
    pub hostname: String,
    /// Recipient domains that are accepted; empty means any, which is allowed on loopback listeners only.
    pub domains: Vec<DomainPattern>,
    /// The file of recipients; without it every local-part of an accepted domain is taken.
    pub recipients: Option<PathBuf>,
    /// Where mail for the bare `<postmaster>` goes, as `local-part@domain`.
    pub postmaster: String,
    /// Whether local-parts of recipients are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// Octets that a recipient's local-part may not hold, all of them ASCII punctuation.
    pub local_part_deny: String,
    /// Whether a recipient's local-part may begin with a dot.
    pub local_part_leading_dot: bool,
    /// Where to listen; at least one.
    pub listeners: Vec<Listener>,
    /// Where mail goes.
    pub sink: Sink,
    /// One per CPU core, in the order of the cores; at least one.
    pub shards: Vec<Shard>,
    /// Bounds of sessions and transactions.
    pub limits: Limits,
    /// Versions and certificates.
    pub tls: Tls,
    /// What is logged and how.
    pub log: Log,
}

impl Config {
    /// What the sessions of a listener are told.
    pub fn session_settings(&self, listener: &Listener, policy: Arc<dyn Policy + Send + Sync>) -> Settings {
        Settings {
            hostname: self.hostname.clone(),
            limits: self.limits.clone(),
            gate: listener.gate.clone(),
            bare_lf: listener.bare_lf,
            bare_cr: listener.bare_cr,
            bdat_bare_lf: listener.bdat_bare_lf,
            nul: listener.nul,
            local_part_case_sensitive: self.local_part_case_sensitive,
            tls: listener.tls,
            extensions: listener.extensions,
            policy,
        }
    }

    /// By what the table of recipients is made.
    pub fn recipient_rules(&self) -> RecipientRules<'_> {
        RecipientRules {
            domains: &self.domains,
            hostname: &self.hostname,
            postmaster: &self.postmaster,
            local_part_case_sensitive: self.local_part_case_sensitive,
            local_part_deny: &self.local_part_deny,
            local_part_leading_dot: self.local_part_leading_dot,
            asks_store: self.sink.has_mailboxes(),
        }
    }

    /// What `ringmx` does without a configuration file: it takes mail for anyone on loopback, into one maildir below the
    /// working directory.
    pub fn embedded_default() -> Self {
        let parsed = parse(include_str!("default.toml"), "default.toml", Path::new(""));
        // The text is part of the program and is tested; nothing of the machine can make it bad.
        parsed.expect("the embedded configuration is good").0
    }
}

/// A longer file is no configuration.
const FILE_BYTES_MAX: usize = 16 << 20;

/// A configuration file that was read: what it says, and what is wrong with it.
#[derive(Debug)]
pub struct Reading {
    /// What it says, with defaults in place of what is wrong. None when it is no TOML.
    pub config: Option<Config>,
    /// Why it cannot be used.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Warning>,
    /// Where its keys stand.
    pub places: Places,
    /// The entries of the file of recipients that it names, each with its line. None where it names no file, or not a good one.
    pub recipients: Option<Vec<(usize, RecipientEntry)>>,
}

impl Reading {
    /// The configuration, unless there are problems.
    pub fn result(self) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
        match self.config {
            Some(config) if self.problems.is_empty() => Ok((config, self.warnings)),
            Some(_) | None => Err(self.problems),
        }
    }

    fn no_toml(file: &str, problems: Vec<Problem>) -> Self {
        let places = Places::new(file.to_owned(), Vec::new(), Vec::new());
        Self { config: None, problems, warnings: Vec::new(), places, recipients: None }
    }
}

/// Reads a configuration file, and the file of recipients that it names.
pub fn read(path: &Path) -> Reading {
    let file = path.display().to_string();
    let unusable = |line, text| {
        let finding = Finding { file: file.clone(), line, key: String::new(), text };
        Reading::no_toml(&file, vec![Problem(finding)])
    };
    let octets = match file::read(path, FILE_BYTES_MAX) {
        Ok(octets) => octets,
        Err(error) => return unusable(None, file::unreadable(&error)),
    };
    if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
        return unusable(Some(1), "this file is UTF-16; save it as UTF-8".to_owned());
    }
    let text = match std::str::from_utf8(&octets) {
        Ok(text) => text,
        Err(error) => {
            let before = String::from_utf8_lossy(&octets[..error.valid_up_to()]);
            let line = problem::line_of(&before, before.len());
            return unusable(Some(line), "this is not TOML: it is not UTF-8".to_owned());
        }
    };
    let mut reading = read_text(text, &file, path.parent().unwrap_or(Path::new("")));
    if let Some(config) = &reading.config
        && let Some(recipients) = &config.recipients
    {
        match recipients::read(recipients).map(|octets| recipients::parse(recipients, &octets)) {
            Ok(Ok(entries)) => {
                let (rules, creates) = (config.recipient_rules(), config.sink.creates());
                reading.warnings.extend(recipients::examine(recipients, &entries, &rules, creates));
                reading.recipients = Some(entries);
            }
            Ok(Err(problems)) => reading.problems.extend(problems),
            Err(error) => {
                let text = format!("{} {}", recipients.display(), file::unreadable(&error));
                reading.problems.push(Problem(reading.places.finding("recipients", text)));
            }
        }
    }
    reading
}

/// Reads a configuration file, and the file of recipients that it names: the configuration with its warnings,
/// or its problems.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    read(path).result()
}

/// Reads a configuration. `file` is its name in problems; relative paths in it start at `base_dir`. Opens no other file.
pub fn parse(text: &str, file: &str, base_dir: &Path) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    read_text(text, file, base_dir).result()
}

fn read_text(text: &str, file: &str, base_dir: &Path) -> Reading {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Reading::no_toml(file, problem::syntax_problems(file, text, &errors));
    }
    let document = Document::new(file, text, base_dir, Some(root.get_ref()));
    let (config, certificates) = read::config(&document);
    let (problems, warnings, found) = document.into_findings();
    let places = Places::new(file.to_owned(), found, certificates);
    Reading { config: Some(config), problems, warnings, places, recipients: None }
}

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Octets that wait in the kernel for each connection, at most; it may take twice the memory for them. 0: its own choice.
    pub receive_buffer_bytes: usize,
    /// Address and port.
    pub address: SocketAddr,
    /// What happens to mail data with a bare LF.
    pub bare_lf: BareLineEnd,
    /// What happens to mail data with a bare CR.
    pub bare_cr: BareLineEnd,
    /// What happens to chunks (BDAT) with a bare LF or CR.
    pub bdat_bare_lf: ChunkLineEnd,
    /// What happens to mail data with NUL.
    pub nul: NulPolicy,
    /// What is offered behind EHLO.
    pub extensions: ExtensionSet,
    /// Who may speak here, for whom, and when.
    pub gate: Gate,
    /// Whether and when TLS is spoken.
    pub tls: TlsPolicy,
    /// Whether TLS 1.3 sessions can be resumed.
    pub tls_tickets: bool,
}

/// The sink and its settings.
#[derive(Debug, Clone)]
pub struct Sink {
    /// What it is.
    pub kind: SinkKind,
    /// Threads that store; shards are dealt to them in turn.
    pub workers: usize,
    /// Octets that a disk sink leaves free on its file system; none for the rule of the key's line in the reference.
    pub space_reserve: Option<u64>,
    /// Whether whoever consumes the store keeps the promises of DSN (RFC 3461).
    pub dsn: bool,
    /// Whether whoever consumes the store keeps the promise of REQUIRETLS (RFC 8689).
    pub requiretls: bool,
}

impl Sink {
    /// Whether recipients have mailboxes of their own in the store, so that it may have no place for one.
    pub fn has_mailboxes(&self) -> bool {
        matches!(&self.kind, SinkKind::Maildir { template, .. } if !template.is_empty())
    }

    /// Whether mailboxes are made for recipients whom nobody names.
    pub fn creates(&self) -> bool {
        matches!(self.kind, SinkKind::Maildir { create: true, .. })
    }
}

/// The kinds of sink.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// One file a message in maildirs below `path`.
    Maildir {
        /// The root.
        path: PathBuf,
        /// Below the root, for instance `{domain}/{local}`; empty for one maildir at the root.
        template: String,
        /// Whether a maildir is made for a recipient that no table lists.
        create: bool,
        /// How line ends are stored.
        line_endings: LineEndings,
        /// How files become durable; none for what suits the file system.
        sync: Option<MaildirSync>,
    },
    /// Append-only segments below `path`.
    Spool {
        /// The root.
        path: PathBuf,
        /// Octets of a segment.
        segment_bytes: u64,
        /// Whether batches go past the page cache where that is known to be safe.
        direct_writes: bool,
    },
    /// One line or mbox entry a message on standard output.
    Stdout {
        /// JSON lines or mbox.
        format: StdoutFormat,
    },
    /// Counts messages and drops them.
    Discard,
}

/// Line ends in the files of a maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// CRLF becomes LF where it can be converted back.
    #[default]
    Lf,
    /// As received.
    Crlf,
}

/// How the files of a maildir become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaildirSync {
    /// One sync of the file system for all files of a batch. Only where that is known to make them durable.
    Batch,
    /// One sync for each file and each directory. On every file system.
    Each,
}

/// What the stdout sink writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StdoutFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// mboxrd.
    Mbox,
}

/// One core's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The CPU core it is pinned to.
    pub cpu: usize,
    /// Entries of the submission queue.
    pub ring_entries: u32,
    /// How long it lets events gather before it looks at them.
    pub batch_wait: Duration,
    /// Receive buffers.
    pub buffers: usize,
    /// Octets of one receive buffer.
    pub buffer_bytes: usize,
    /// Octets of mail data that may be copied out of receive buffers at a time.
    pub block_bytes_max: usize,
    /// Connections at a time.
    pub connections_max: usize,
}

/// What is logged and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// One line a session.
    pub sessions: bool,
    /// Lines a second and shard of sessions without an accepted message.
    pub session_lines_max: u32,
    /// One line a message.
    pub messages: bool,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `key=value` lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
