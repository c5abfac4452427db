//! The keys of the configuration file, table by table, with the rules between them.
//!
//! Every function gives a usable value whatever the file says; whether there were problems is the document's to tell.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{Default, Document};
use super::section::Section;
use super::units::{GIB, MIB};
use super::{
    Config, LineEndings, Listener, Log, LogFormat, MaildirSync, Sink, SinkKind, StdoutFormat, host, names,
    session_limits, shards, tls,
};
use crate::limits::LOG_SESSION_LINES_DEFAULT;
use crate::mail::domain::DomainPattern;
use crate::mail::network::canonical;
use crate::smtp::extension::{Extension, ExtensionSet, KEYWORDS};
use crate::smtp::settings::{
    BareLineEnd, ChunkLineEnd, EarlyTalkers, Gate, NulPolicy, Pipelining, Refusal, TlsPolicy,
};

/// Threads of one sink, at most.
const WORKERS_MAX: usize = 256;

/// A greeting that comes later finds clients gone that give up after a minute (RFC 5321 §4.5.3.2.1 allows five).
const GREETING_DELAY_MAX: Duration = Duration::from_secs(30);

/// Less is not even a few segments of a fast network.
const RECEIVE_BUFFER_BYTES_MIN: usize = 16 * 1024;

/// More than any connection of a real network needs.
const RECEIVE_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What suits 100 Mbit/s with a round trip of 100 ms: with frames of usual size the kernel makes a window of 1.0 to 1.3 MiB of it.
const RECEIVE_BUFFER_BYTES_DEFAULT: usize = 1024 * 1024;

/// Whose mail is accepted: the keys at the top of the file.
struct Identity {
    hostname: String,
    /// Whether the host name was found, not given.
    hostname_given: bool,
    /// Whether a host name was given that is none.
    hostname_faulty: bool,
    domains: Vec<DomainPattern>,
    /// No `domains` at all, as opposed to bad ones.
    any_domain: bool,
    recipients: Option<PathBuf>,
    postmaster: String,
    local_part_case_sensitive: bool,
    local_part_deny: String,
    local_part_leading_dot: bool,
}

/// Reads the whole file. The result is good only if the document has no problems afterwards. Besides, where
/// certificates stand.
pub(super) fn config(document: &Document<'_>) -> (Config, Vec<tls::CertificateLines>) {
    let mut root = Section::root(document);
    let identity = identity(&mut root);
    let (tls, certificate_lines) = tls::read(&mut root);
    let mut listeners = listeners(&mut root, &identity, tls.is_possible());
    let sink = sink(&mut root, &identity);
    for Listener { extensions, .. } in &mut listeners {
        // mboxrd quotes lines and adds a line end, which mail data that is no lines does not survive (RFC 3030 §3).
        let octets_kept = !matches!(sink.kind, SinkKind::Stdout { format: StdoutFormat::Mbox });
        // A promise is made only where whoever consumes the store keeps it.
        for (extension, kept) in [
            (Extension::Dsn, sink.dsn),
            (Extension::RequireTls, sink.requiretls),
            (Extension::BinaryMime, octets_kept),
        ] {
            *extensions = if kept { *extensions } else { extensions.without(extension) };
        }
    }
    postmaster_rule(&root, &identity);
    recipients_rule(&root, &identity, &listeners, &sink);
    let limits = session_limits::read(root.table("limits", "Bounds of sessions and transactions."));
    let shards = shards::read(&mut root, limits.message_size_max);
    let log = log(root.table("log", "What is logged, to standard error, and how."));
    root.finish();
    let config = Config {
        hostname: identity.hostname,
        domains: identity.domains,
        recipients: identity.recipients,
        postmaster: identity.postmaster,
        local_part_case_sensitive: identity.local_part_case_sensitive,
        local_part_deny: identity.local_part_deny,
        local_part_leading_dot: identity.local_part_leading_dot,
        listeners,
        sink,
        shards,
        limits,
        tls,
        log,
    };
    (config, certificate_lines)
}

fn identity(root: &mut Section<'_>) -> Identity {
    let hostname = root.text(
        "hostname",
        "fully-qualified domain name",
        Default::Computed {
            example: "\"mx1.example.org\"",
            default: "the system's host name, or \"localhost\"",
        },
        "The name in the greeting, in EHLO replies and behind `by` in Received: (RFC 5321 §2.3.5).",
        names::domain,
    );
    let domains = domains(root);
    let any_domain = domains.is_empty() && !root.faulty("domains");
    let recipients = root.path(
        "recipients",
        Default::Computed {
            example: "\"recipients.txt\"",
            default: "every local-part of an accepted domain is taken",
        },
        "File of recipients: one address, or @domain for a catch-all, a line; comments have lines of their own, which begin with #.",
    );
    let postmaster = root.text(
        "postmaster",
        "address",
        Default::Computed {
            example: "\"postmaster@example.org\"",
            default: "postmaster at the first of `domains` without `*`, or at `hostname`",
        },
        "Where mail for the bare <postmaster> goes (RFC 5321 §4.5.1).",
        |text| names::mailbox(text).map(|(local, domain)| format!("{local}@{domain}")),
    );
    let hostname_given = hostname.is_some();
    let hostname = hostname.unwrap_or_else(host::hostname);
    let first = domains.iter().find_map(|domain| match domain {
        DomainPattern::Exact(domain) => Some(domain),
        DomainPattern::Below(_) => None,
    });
    let postmaster = postmaster.unwrap_or_else(|| format!("postmaster@{}", first.unwrap_or(&hostname)));
    Identity {
        postmaster,
        hostname,
        hostname_given,
        hostname_faulty: root.faulty("hostname"),
        domains,
        any_domain,
        recipients,
        local_part_case_sensitive: root.boolean(
            "local_part_case_sensitive",
            false,
            "Whether local-parts of recipients are compared octet for octet. The sink sees them as sent in any case.",
        ),
        local_part_deny: local_part_deny(root),
        local_part_leading_dot: root.boolean(
            "local_part_leading_dot",
            false,
            "Whether a recipient's local-part may begin with a dot.",
        ),
    }
}

/// Mail for the bare `<postmaster>` is always taken (RFC 5321 §4.5.1): it should be for a mailbox that is
/// ours.
fn postmaster_rule(root: &Section<'_>, identity: &Identity) {
    let Some((_, domain)) = identity.postmaster.rsplit_once('@') else { return };
    if identity.domains.is_empty() || identity.domains.iter().any(|accepted| accepted.matches(domain)) {
        return;
    }
    let stored = format!("mail for the bare <postmaster> is stored for {}", identity.postmaster);
    if root.given("postmaster") {
        let text =
            format!("{stored}, and `domains` does not accept {domain:?}: name a mailbox in one of `domains`");
        root.warn("postmaster", text);
    } else if !root.faulty("domains") {
        let text =
            format!("{stored}, which they do not accept: set `postmaster` to a mailbox in one of them");
        root.warn("domains", text);
    }
}

/// That every local-part is taken is a fact that the operator of a public listener should have meant.
fn recipients_rule(root: &Section<'_>, identity: &Identity, listeners: &[Listener], sink: &Sink) {
    let takes_from_others = |listener: &Listener| {
        let has_fronts = !listener.gate.proxy_from.is_empty() || !listener.gate.xclient_from.is_empty();
        listener.gate.refuse.is_none() && (has_fronts || !listener.address.ip().to_canonical().is_loopback())
    };
    // Without `create` such a maildir is a table itself, and has a warning of its own.
    let is_table =
        matches!(&sink.kind, SinkKind::Maildir { template, create: false, .. } if !template.is_empty());
    if !root.given("recipients")
        && !identity.domains.is_empty()
        && !is_table
        && listeners.iter().any(takes_from_others)
    {
        root.warn(
            "recipients",
            "there is no file of recipients, so every local-part of `domains` is taken; name one to have others refused \
             (550 5.1.1)"
                .to_owned(),
        );
    }
}

fn domains(root: &mut Section<'_>) -> Vec<DomainPattern> {
    let found = root.texts(
        "domains",
        "domains such as \"example.org\", or \"*.example.org\" for every domain below it",
        Default::Computed { example: "[\"example.org\"]", default: "any domain, on loopback listeners only" },
        "Recipient domains that are accepted, as A-labels (xn--…) or in Unicode.",
        names::pattern,
    );
    let mut domains = Vec::new();
    for (_, domain) in found.unwrap_or_default() {
        if domains.contains(&domain) {
            root.warn("domains", format!("{} is listed twice", domain_text(&domain)));
        } else {
            domains.push(domain);
        }
    }
    domains
}

fn domain_text(domain: &DomainPattern) -> String {
    match domain {
        DomainPattern::Exact(domain) => format!("\"{domain}\""),
        DomainPattern::Below(above) => format!("\"*.{above}\""),
    }
}

fn local_part_deny(root: &mut Section<'_>) -> String {
    const DEFAULT: &str = "%!@/|";
    let deny = root.text(
        "local_part_deny",
        "string of ASCII punctuation, may be empty",
        Default::Value(format!("\"{DEFAULT}\"")),
        "Octets that a recipient's local-part may not hold: something behind ringmx may route them.",
        |text| match text.chars().find(|c| !c.is_ascii_punctuation()) {
            Some(odd) => Err(format!("{odd:?} is not ASCII punctuation")),
            None => Ok(text.to_owned()),
        },
    );
    deny.unwrap_or_else(|| DEFAULT.to_owned())
}

fn listeners(root: &mut Section<'_>, identity: &Identity, certificates: bool) -> Vec<Listener> {
    let sections = root.tables("listener", "One address to listen on; as many of these tables as wanted.");
    if sections.is_empty() && !root.faulty("listener") {
        root.problem(
            "listener",
            "nothing to listen on; write for example\n    | [[listener]]\n    | address = \"127.0.0.1:2525\""
                .to_owned(),
        );
    }
    let mut taken = HashSet::new();
    sections.into_iter().map(|section| listener(section, identity, &mut taken, certificates)).collect()
}

fn listener(
    mut section: Section<'_>,
    identity: &Identity,
    taken: &mut HashSet<SocketAddr>,
    certificates: bool,
) -> Listener {
    let address = section.text(
        "address",
        "IP address and port",
        Default::Required { example: "\"127.0.0.1:2525\"" },
        "Where to listen; \"[::]:25\" is port 25 of every address, IPv4 included; a listener on an IPv4 address of it has the clients of that.",
        |text| {
            let address: SocketAddr = text.parse().map_err(|_| {
                format!("{text:?} is not an IP address and a port, such as \"[::]:25\" or \"192.0.2.1:25\"")
            })?;
            // So that no address is taken twice.
            Ok(canonical(address))
        },
    );
    let receive_buffer_bytes = section.size(
        "receive_buffer",
        RECEIVE_BUFFER_BYTES_DEFAULT,
        0..=RECEIVE_BUFFER_BYTES_MAX,
        "Unread octets of one connection in the kernel, which may take twice the memory (SO_RCVBUF). 0: the kernel's own tuning, several MiB.",
    );
    if (1..RECEIVE_BUFFER_BYTES_MIN).contains(&receive_buffer_bytes) {
        section
            .problem("receive_buffer", "less than 16KiB is slow for everybody; write 0 or more".to_owned());
    }
    let words = [("reject", BareLineEnd::Reject), ("normalize", BareLineEnd::Normalize)];
    let bare_lf = section.choice(
        "bare_lf",
        &words,
        "Mail data (DATA) with an LF without CR: refused after its true end, or stored with CRLF in its place.",
    );
    let bare_cr = section.choice("bare_cr", &words, "Mail data (DATA) with a CR without LF, likewise.");
    let bdat_bare_lf = section.choice(
        "bdat_bare_lf",
        &[
            ("keep", ChunkLineEnd::Keep),
            ("normalize", ChunkLineEnd::Normalize),
            ("reject", ChunkLineEnd::Reject),
        ],
        "Chunks (BDAT) with a bare LF or a bare CR: stored as sent, with CRLF in its place, or refused. BINARYMIME is stored as sent.",
    );
    let nul = section.choice(
        "nul",
        &[("keep", NulPolicy::Keep), ("reject", NulPolicy::Reject)],
        "Mail data (DATA, BDAT) with NUL: stored as sent, or refused, and BINARYMIME is not offered. A line of DATA that is a lone dot but for NUL is always refused.",
    );
    let extensions = extensions(&mut section);
    let extensions =
        if nul == NulPolicy::Reject { extensions.without(Extension::BinaryMime) } else { extensions };
    let gate = gate(&mut section);
    let asked = tls::policy(&mut section);
    if asked.is_some_and(|asked| asked != TlsPolicy::Off) && !certificates {
        section.problem(
            "tls",
            "there is no certificate; write for example\n    | [[tls.certificate]]\n    | chain = \"mx1.pem\"\n    | key = \"mx1.key\""
                .to_owned(),
        );
    }
    let tls = asked.unwrap_or(if certificates { TlsPolicy::Offered } else { TlsPolicy::Off });
    let tls_tickets = section.boolean(
        "tls_tickets",
        false,
        "Whether tickets are sent, without which TLS 1.3 sessions cannot be resumed; outlook.com's sender has failed on servers that send them.",
    );
    if tls == TlsPolicy::Required
        && !address.is_some_and(|address: SocketAddr| address.ip().to_canonical().is_loopback())
    {
        section.warn(
            "tls",
            "RFC 3207 section 4 forbids a public MX to require TLS: servers that cannot speak it are turned away"
                .to_owned(),
        );
    }
    trust_rules(&mut section, &gate);
    if let Some(address) = address {
        address_rules(&mut section, address, &gate, identity, taken);
    }
    section.finish();
    let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    Listener {
        receive_buffer_bytes,
        address,
        bare_lf,
        bare_cr,
        bdat_bare_lf,
        nul,
        extensions,
        gate,
        tls,
        tls_tickets,
    }
}

/// All extensions but those that are switched off.
fn extensions(section: &mut Section<'_>) -> ExtensionSet {
    const KEY: &str = "extensions_off";
    let off = section.texts(
        KEY,
        "EHLO keywords such as \"CHUNKING\"",
        Default::Value("[]".to_owned()),
        "Extensions that are not offered, nor taken.",
        |text| {
            let known: Vec<&str> = KEYWORDS.iter().map(|(_, keyword)| *keyword).collect();
            Extension::from_keyword(text)
                .ok_or_else(|| format!("{text:?} is none of the extensions: {}", known.join(", ")))
        },
    );
    let off = off.unwrap_or_default().into_iter();
    let set = off.fold(ExtensionSet::all(), |set, (_, extension)| set.without(extension));
    if let Some((extension, needed, rfc)) = set.contradiction() {
        let (extension, needed) = (extension.keyword(), needed.keyword());
        let text =
            format!("{extension} cannot be offered without {needed} ({rfc}); switch {extension} off, too");
        section.problem(KEY, text);
    }
    set
}

fn gate(section: &mut Section<'_>) -> Gate {
    Gate {
        proxy_from: section.networks(
            "proxy_from",
            "[\"10.0.1.0/24\"]",
            "Whose PROXY protocol header (version 1 or 2) is required and believed: the TCP client's own address counts.",
        ),
        xclient_from: section.networks(
            "xclient_from",
            "[\"10.0.2.0/24\"]",
            "Whose XCLIENT is believed: the TCP client's own address counts, or the one that its PROXY header names; none of `proxy_from`.",
        ),
        refuse: section.choice_or(
            "refuse",
            &[("521", Refusal::Never), ("554", Refusal::NotNow)],
            Default::Computed { example: "\"521\"", default: "mail is taken" },
            "Refuses all mail: greets with 521 and closes (RFC 7504), or with 554 and takes nothing until QUIT.",
        ),
        greeting_delay: section.duration(
            "greeting_delay",
            Duration::ZERO,
            Duration::ZERO..=GREETING_DELAY_MAX,
            "How long the greeting waits for clients that speak too early; every session waits.",
        ),
        early_talkers: section.choice(
            "early_talkers",
            &[("reject", EarlyTalkers::Reject), ("tolerate", EarlyTalkers::Tolerate)],
            "Clients that speak before the greeting was sent: 554 and close, or read as if they had waited.",
        ),
        pipelining: section.choice(
            "unauthorized_pipelining",
            &[
                ("reject-data", Pipelining::RejectData),
                ("reject", Pipelining::Reject),
                ("tolerate", Pipelining::Tolerate),
            ],
            "Input before a reply that ends a command group (RFC 2920 §3.1): 554 and close behind DATA and the session's first EHLO or HELO, everywhere, or nowhere.",
        ),
    }
}

/// Whom a listener believes what a front says of clients.
fn trust_rules(section: &mut Section<'_>, gate: &Gate) {
    for proxy in &gate.proxy_from {
        if let Some(xclient) = gate.xclient_from.iter().find(|xclient| xclient.overlaps(proxy)) {
            section.problem(
                "xclient_from",
                format!(
                    "{xclient} and {proxy} of `proxy_from` have addresses in common, and a front speaks in one way only: take \
                     these out of one of them"
                ),
            );
        }
    }
    for (key, networks) in [("proxy_from", &gate.proxy_from), ("xclient_from", &gate.xclient_from)] {
        for network in networks.iter().filter(|network| network.holds_strangers()) {
            section.warn(
                key,
                format!(
                    "{network} holds strangers, and each of them may say that its mail comes from any address: name the \
                     addresses of your fronts"
                ),
            );
        }
    }
}

fn address_rules(
    section: &mut Section<'_>,
    address: SocketAddr,
    gate: &Gate,
    identity: &Identity,
    taken: &mut HashSet<SocketAddr>,
) {
    if address.port() != 0 && !taken.insert(address) {
        section.problem("address", format!("{address} is already the address of another listener"));
    }
    let has_fronts = !gate.proxy_from.is_empty() || !gate.xclient_from.is_empty();
    if address.ip().to_canonical().is_loopback() && !has_fronts {
        return;
    }
    if identity.any_domain {
        let (reach, cure) = if has_fronts {
            ("through its fronts", "set `domains`, or take out `proxy_from` and `xclient_from`")
        } else {
            (
                "from other machines",
                "set `domains`, or listen on loopback, for instance on \"127.0.0.1:2525\"",
            )
        };
        section.problem(
            "address",
            format!("{address} can be reached {reach}, and without `domains` every recipient would be taken; {cure}"),
        );
    }
    if !identity.hostname_faulty && !identity.hostname.contains('.') {
        let origin = if identity.hostname_given { "`hostname`" } else { "the system's host name" };
        section.warn(
            "address",
            format!(
                "{origin}, {:?}, is not fully qualified, and other servers will see it (RFC 5321 section 2.3.5)",
                identity.hostname
            ),
        );
    }
}

fn sink(root: &mut Section<'_>, identity: &Identity) -> Sink {
    let mut sections = root.tables("sink", "Where mail goes; exactly one for now.").into_iter();
    let first = sections.next();
    for more in sections {
        more.refuse("this version of ringmx has exactly one sink; take out all [[sink]] but one".to_owned());
    }
    if let Some(section) = first {
        return one_sink(section, identity);
    }
    if !root.faulty("sink") {
        let example =
            "write for example\n    | [[sink]]\n    | kind = \"maildir\"\n    | path = \"ringmx-data\"";
        root.problem("sink", format!("nowhere to store mail; {example}"));
    }
    Sink { kind: SinkKind::Discard, workers: 1, space_reserve: None, dsn: false, requiretls: false }
}

/// The kinds by name; what belongs to them is read whatever the kind, so that a misplaced key is told from an unknown one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Maildir,
    Spool,
    Stdout,
    Discard,
}

fn one_sink(mut section: Section<'_>, identity: &Identity) -> Sink {
    let kind = section.choice_or(
        "kind",
        &[
            ("maildir", Kind::Maildir),
            ("spool", Kind::Spool),
            ("stdout", Kind::Stdout),
            ("discard", Kind::Discard),
        ],
        Default::Required { example: "\"maildir\"" },
        "What it is. Only maildir and spool are durable; stdout and discard promise nothing.",
    );
    let path = section.path(
        "path",
        Default::Depends { example: "\"ringmx-data\"", required: "for maildir and spool" },
        "The directory of a maildir or spool sink.",
    );
    let workers = section.optional_integer(
        "workers",
        1..=WORKERS_MAX,
        Default::Computed { example: "2", default: "2 for maildir, 1 otherwise" },
        "Threads that store; shards are dealt to them in turn, so no more are started than there are shards.",
    );
    let workers = workers.unwrap_or(if kind == Some(Kind::Maildir) { 2 } else { 1 });
    let template = section.text(
        "template",
        "path below `path` with {domain} and {local}",
        Default::Computed { example: "\"{domain}/{local}\"", default: "\"\", one maildir at `path` itself" },
        "Maildir: where a recipient's maildir is.",
        names::template,
    );
    let template = template.unwrap_or_default();
    let create =
        section.boolean("create", false, "Maildir: whether one is made for a recipient that no table lists.");
    let line_endings = section.choice(
        "line_endings",
        &[("lf", LineEndings::Lf), ("crlf", LineEndings::Crlf)],
        "Maildir: CRLF stored as LF where that can be undone, or as received.",
    );
    let sync = section.choice_or(
        "sync",
        &[("batch", MaildirSync::Batch), ("each", MaildirSync::Each)],
        Default::Computed {
            example: "\"batch\"",
            default: "\"batch\" on ext4, XFS and Btrfs, else \"each\"",
        },
        "Maildir: one sync of the whole file system for a batch of messages, or one for each file.",
    );
    let (segment_bytes, direct_writes) = segments(&mut section);
    let space_reserve = space_reserve(&mut section);
    let format = section.choice(
        "format",
        &[("json", StdoutFormat::Json), ("mbox", StdoutFormat::Mbox)],
        "Stdout: one JSON object a line, or mboxrd.",
    );
    let dsn = section.boolean(
        "dsn",
        false,
        "Spool: whether whoever consumes it sends the notifications that DSN promises (RFC 3461); then it is offered.",
    );
    let requiretls = section.boolean(
        "requiretls",
        false,
        "Whether whoever consumes the store hands mail on as REQUIRETLS asks (RFC 8689); then it is offered under TLS.",
    );
    if let Some(kind) = kind {
        kind_rules(&mut section, kind, workers);
    }
    if dsn && kind.is_some_and(|kind| kind != Kind::Spool) {
        section.problem(
            "dsn",
            "nobody behind this kind of sink sends the notifications that DSN promises; only a spool may have it"
                .to_owned(),
        );
    }
    if kind == Some(Kind::Maildir) {
        template_rules(&section, &template, create, identity);
    }
    section.finish();
    let path = path.unwrap_or_default();
    let kind = match kind {
        Some(Kind::Maildir) => SinkKind::Maildir { path, template, create, line_endings, sync },
        Some(Kind::Spool) => SinkKind::Spool { path, segment_bytes, direct_writes },
        Some(Kind::Stdout) => SinkKind::Stdout { format },
        Some(Kind::Discard) | None => SinkKind::Discard,
    };
    Sink { kind, workers, space_reserve, dsn, requiretls }
}

/// How a spool is written.
fn segments(section: &mut Section<'_>) -> (u64, bool) {
    let segment_bytes =
        section.size("segment_size", 64 * MIB, MIB..=4 * GIB, "Spool: octets of one segment file.");
    let direct_writes = section.boolean(
        "direct_writes",
        true,
        "Spool: batches go to the disk past the page cache where that is known to be safe (ext4, XFS).",
    );
    (segment_bytes, direct_writes)
}

fn space_reserve(section: &mut Section<'_>) -> Option<u64> {
    section.optional_size(
        "space_reserve",
        0..=1024 * 1024 * GIB,
        Default::Computed { example: "\"512MiB\"", default: "the lesser of 1GiB and 5 % of the file system" },
        "Maildir and spool: octets left free on the file system, by temporary files too. With less, or less than SIZE beyond it, MAIL is answered 452.",
    )
}

/// A key that means nothing to this kind of sink is a slip, and is not ignored.
fn kind_rules(section: &mut Section<'_>, kind: Kind, workers: usize) {
    const KEYS: [(&str, &[Kind], &str); 9] = [
        ("path", &[Kind::Maildir, Kind::Spool], "\"maildir\" or \"spool\""),
        ("template", &[Kind::Maildir], "\"maildir\""),
        ("create", &[Kind::Maildir], "\"maildir\""),
        ("line_endings", &[Kind::Maildir], "\"maildir\""),
        ("sync", &[Kind::Maildir], "\"maildir\""),
        ("segment_size", &[Kind::Spool], "\"spool\""),
        ("direct_writes", &[Kind::Spool], "\"spool\""),
        ("space_reserve", &[Kind::Maildir, Kind::Spool], "\"maildir\" or \"spool\""),
        ("format", &[Kind::Stdout], "\"stdout\""),
    ];
    for (key, kinds, text) in KEYS {
        if section.given(key) && !kinds.contains(&kind) {
            section.problem(key, format!("this key is for a sink of kind {text}"));
        }
    }
    // A spool has one writer; two would have segments of their own and mix the order. Lines on one stream would mix.
    if kind != Kind::Maildir && workers > 1 {
        section.problem("workers", "only a maildir can have more than 1 worker".to_owned());
    }
    if matches!(kind, Kind::Maildir | Kind::Spool) && !section.given("path") {
        section.problem(
            "path",
            "missing; this sink stores into a directory, write for example path = \"ringmx-data\"".to_owned(),
        );
    }
}

fn template_rules(section: &Section<'_>, template: &str, create: bool, identity: &Identity) {
    let many_domains = identity.domains.len() > 1
        || identity.domains.iter().any(|domain| matches!(domain, DomainPattern::Below(_)));
    if template.contains("{local}") && !template.contains("{domain}") && (many_domains || identity.any_domain)
    {
        section.warn(
            "template",
            "without {domain}, the same local-part of two domains shares a maildir".to_owned(),
        );
    }
    if !template.is_empty() && !create && identity.recipients.is_none() {
        section.warn(
            "template",
            "without `recipients` and without `create = true`, only maildirs that exist and postmaster get mail; all other \
             recipients are refused"
                .to_owned(),
        );
    }
}

fn log(mut section: Section<'_>) -> Log {
    let log = Log {
        format: section.choice(
            "format",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            "key=value lines, or one JSON object a line.",
        ),
        sessions: section.boolean("sessions", true, "One line a session, but for those without a command, which are counted."),
        session_lines_max: section.integer(
            "session_lines_max",
            LOG_SESSION_LINES_DEFAULT,
            1..=1_000_000,
            "Lines a second and shard of sessions without an accepted message, a client an eighth; others are counted.",
        ),
        messages: section.boolean("messages", true, "One line a message."),
    };
    section.finish();
    log
}
