//! What the sessions of a listener are told: who may speak, for whom, what is offered, and the bounds of all
//! that.
//!
//! The configuration makes these; nothing here knows where they come from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::extension::ExtensionSet;
use super::policy::Policy;
use crate::limits::REFUSAL_LINES_MAX;
use crate::mail::network::Network;

/// What the sessions of a listener are told.
pub struct Settings {
    /// Our name.
    pub hostname: String,
    /// Bounds.
    pub limits: Limits,
    /// Octets of an envelope that is written out as JSON, but for what the receiver itself finds out. Past it
    /// a recipient is one too many. None where nothing has to hold it.
    pub envelope_json_bytes_max: Option<usize>,
    /// Who may speak, for whom, and when.
    pub gate: Gate,
    /// What becomes of mail data with a bare LF.
    pub bare_lf: BareLineEnd,
    /// What becomes of mail data with a bare CR.
    pub bare_cr: BareLineEnd,
    /// What becomes of chunks with a bare LF or CR.
    pub bdat_bare_lf: ChunkLineEnd,
    /// What becomes of mail data with NUL.
    pub nul: NulPolicy,
    /// Whether local-parts of recipients are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// Whether and when TLS is spoken.
    pub tls: TlsPolicy,
    /// What is offered after EHLO.
    pub extensions: ExtensionSet,
    /// So many refusals of a session are noted for the log; the others are counted.
    pub refusals_noted_max: u8,
    /// What the operator says instead of some of our texts, each of printable ASCII that fits into a line.
    pub words: Box<[Box<str>]>,
    /// Whom we take mail for. One table of recipients serves all listeners and shards, so nothing counts its
    /// holders while mail comes: sessions share these settings and ask through them.
    pub policy: Arc<dyn Policy + Send + Sync>,
}

impl Settings {
    /// Those of a listener that is told nothing of its own: the defaults of its keys, without TLS.
    pub fn of(hostname: String, limits: Limits, policy: Arc<dyn Policy + Send + Sync>) -> Self {
        Self {
            hostname,
            limits,
            envelope_json_bytes_max: None,
            gate: Gate::default(),
            bare_lf: BareLineEnd::default(),
            bare_cr: BareLineEnd::default(),
            bdat_bare_lf: ChunkLineEnd::default(),
            nul: NulPolicy::default(),
            local_part_case_sensitive: false,
            tls: TlsPolicy::default(),
            extensions: ExtensionSet::usual(),
            refusals_noted_max: REFUSAL_LINES_MAX,
            words: Box::default(),
            policy,
        }
    }
}

/// Who may speak on a listener, for whom, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// Networks whose PROXY header is required and believed.
    pub proxy_from: Vec<Network>,
    /// Networks whose XCLIENT is believed.
    pub xclient_from: Vec<Network>,
    /// Networks of clients that are served, and nobody else; all where it is empty.
    pub clients_from: Vec<Network>,
    /// All mail is refused.
    pub refuse: Option<Refusal>,
    /// How long the greeting waits for early talkers to give themselves away.
    pub greeting_delay: Duration,
    /// What becomes of a client that speaks before the greeting.
    pub early_talkers: EarlyTalkers,
    /// What becomes of a client that does not wait for a reply that it has to wait for.
    pub pipelining: Pipelining,
}

impl Gate {
    /// Whether this TCP client has to say in a PROXY header whom it speaks for.
    pub fn expects_proxy_header(&self, client: IpAddr) -> bool {
        self.proxy_from.iter().any(|network| network.contains(client))
    }

    /// Whether this client is served here, wherever it comes through.
    pub fn takes(&self, client: IpAddr) -> bool {
        self.clients_from.is_empty() || self.clients_from.iter().any(|network| network.contains(client))
    }

    /// Whether a TCP client is a front. A front that connects for many clients is none of them.
    pub fn is_front(&self, client: IpAddr) -> bool {
        self.expects_proxy_header(client) || self.trusts_xclient(client)
    }

    /// Whether this client may use XCLIENT: the TCP client, or whom a PROXY header names.
    pub fn trusts_xclient(&self, client: IpAddr) -> bool {
        self.xclient_from.iter().any(|network| network.contains(client))
    }
}

/// How a listener refuses all mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `521` and close: mail is never taken here (RFC 7504).
    Never,
    /// `554`, then `503` to everything until QUIT: not now, or not from this client (RFC 5321 §3.1).
    NotNow,
}

/// Input before the greeting was sent (RFC 5321 §4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyTalkers {
    /// `554 5.5.0` and close.
    #[default]
    Reject,
    /// It is read as if it came later.
    Tolerate,
}

/// Input that was pending at a reply that the client has to wait for (RFC 2920 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pipelining {
    /// `554 5.5.0` and close after DATA and the session's first EHLO or HELO; tolerated after later ones,
    /// NOOP and their like.
    #[default]
    RejectData,
    /// `554 5.5.0` and close after all of them.
    Reject,
    /// It is read as if it came later. After a refused DATA the connection closes all the same.
    Tolerate,
}

/// What DATA does with a CR or an LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLineEnd {
    /// Read on to the true end of mail data, then `550 5.5.2`.
    #[default]
    Reject,
    /// Find the true end first, then store a CRLF in its place.
    Normalize,
}

/// What BDAT does with a CR or an LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkLineEnd {
    /// Store it as sent: a chunk is framed by its length, so nothing can be smuggled in it.
    #[default]
    Keep,
    /// Store a CRLF in its place.
    Normalize,
    /// `550 5.5.2` to the chunk.
    Reject,
}

/// What DATA and BDAT do with NUL. A line of DATA that is a lone dot but for its NULs is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NulPolicy {
    /// Store it as sent.
    #[default]
    Keep,
    /// Read on to the end of the mail data or the chunk, then `550 5.5.2`.
    Reject,
}

/// Whether and when a listener speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsPolicy {
    /// Never.
    #[default]
    Off,
    /// After STARTTLS (RFC 3207), for clients that want it.
    Offered,
    /// After STARTTLS, and no mail without it.
    Required,
    /// From the first octet.
    Implicit,
}

/// Bounds of sessions and transactions.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of mail data after transparency, without our trace information (RFC 1870).
    pub message_size_max: u64,
    /// Accepted RCPT commands of a transaction.
    pub recipients_max: usize,
    /// Connections of one client address over all shards; loopback clients are exempt.
    pub connections_per_client_max: usize,
    /// Octets of a command line with its CRLF.
    pub line_bytes_max: usize,
    /// Replies of 5yz in a session without an accepted message between them.
    pub errors_max: u32,
    /// Commands without progress in a session.
    pub idle_commands_max: u32,
    /// From the greeting, or the last accepted message, to the end of a session that waits for a command.
    pub session_without_mail_max: Duration,
    /// From the start of the wait for a command to its CRLF (RFC 5321 §4.5.3.2.7).
    pub command_timeout: Duration,
    /// From STARTTLS, or the first octet, to the end of the handshake; `command_timeout` bounds it, too.
    pub tls_handshake_timeout: Duration,
    /// Between two reads of mail data (RFC 5321 §4.5.3.2.5).
    pub data_timeout: Duration,
    /// From the end of mail data to its answer, at most `limits::SINK_ANSWER_MAX` (RFC 5321 §4.5.3.2.6).
    pub sink_answer_timeout: Duration,
    /// `Received:` fields in the header section (RFC 5321 §6.3).
    pub received_max: u32,
    /// Octets of a line of mail data with its CRLF; 0 for any length.
    pub data_line_bytes_max: usize,
    /// Octets in temporary files of large and slow messages, over all shards.
    pub spill_bytes_max: u64,
    /// Temporary files of large and slow messages, over all shards.
    pub spill_files_max: u64,
}
