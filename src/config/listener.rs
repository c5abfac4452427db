//! `[[listener]]`: where to listen, and what the sessions there are told.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::document::Fallback;
use super::gate;
use super::identity::Identity;
use super::section::Section;
use super::tls;
use crate::mail::network::canonical;
use crate::smtp::extension::{Extension, ExtensionSet, KEYWORDS};
use crate::smtp::settings::{BareLineEnd, ChunkLineEnd, Gate, NulPolicy, Settings, TlsPolicy};

/// Less is not even a few segments of a fast network.
const RECEIVE_BUFFER_BYTES_MIN: usize = 16 * 1024;

/// More than any connection of a real network needs.
const RECEIVE_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What suits 100 Mbit/s with a round trip of 100 ms: with frames of usual size the kernel makes a window of
/// 1.0 to 1.3 MiB of it.
const RECEIVE_BUFFER_BYTES_DEFAULT: usize = 1024 * 1024;

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Octets that wait in the kernel for each connection, at most; it may take twice the memory for them. 0:
    /// its own choice.
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
    /// What is offered after EHLO, as far as the sink keeps what it promises
    /// ([`Config::extensions_of`](super::Config::extensions_of)).
    pub extensions: ExtensionSet,
    /// Who may speak here, for whom, and when.
    pub gate: Gate,
    /// Whether and when TLS is spoken.
    pub tls: TlsPolicy,
    /// Whether TLS 1.3 sessions can be resumed.
    pub tls_tickets: bool,
}

impl Listener {
    /// What its sessions are told: what all listeners have in common, and its own.
    pub(super) fn session_settings(&self, shared: Settings) -> Settings {
        Settings {
            gate: self.gate.clone(),
            bare_lf: self.bare_lf,
            bare_cr: self.bare_cr,
            bdat_bare_lf: self.bdat_bare_lf,
            nul: self.nul,
            tls: self.tls,
            ..shared
        }
    }
}

impl Listener {
    /// Whether mail from other machines comes here, directly or through fronts.
    pub fn is_reached_by_others(&self) -> bool {
        is_reached_by_others(self.address, &self.gate)
    }
}

fn is_reached_by_others(address: SocketAddr, gate: &Gate) -> bool {
    has_fronts(gate) || !address.ip().to_canonical().is_loopback()
}

fn has_fronts(gate: &Gate) -> bool {
    !gate.proxy_from.is_empty() || !gate.xclient_from.is_empty()
}

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_>, identity: &Identity, certificates: bool) -> Vec<Listener> {
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
    section.reloads_but(&[]);
    let address = section.text(
        "address",
        "IP address and port",
        Fallback::Required { example: "\"127.0.0.1:2525\"" },
        "Where to listen; \"[::]:25\" is port 25 of every address, IPv4 included; a listener on an IPv4 address of it serves the clients of that address.",
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
    let gate = gate::read(&mut section);
    let (tls, tls_tickets) = tls_keys(&mut section, address, certificates);
    gate::trust_rules(&mut section, &gate);
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

/// Whether and when TLS is spoken, and whether sessions can be resumed.
fn tls_keys(section: &mut Section<'_>, address: Option<SocketAddr>, certificates: bool) -> (TlsPolicy, bool) {
    let asked = tls::policy(section);
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
    if tls == TlsPolicy::Required && !address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    {
        section.warn(
            "tls",
            "RFC 3207 section 4 forbids a public MX to require TLS: servers that cannot speak it are turned away"
                .to_owned(),
        );
    }
    (tls, tls_tickets)
}

/// All extensions but those that are switched off.
fn extensions(section: &mut Section<'_>) -> ExtensionSet {
    const KEY: &str = "extensions_off";
    let off = section.texts(
        KEY,
        "EHLO keywords such as \"CHUNKING\"",
        Fallback::Value("[]".to_owned()),
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
    if !is_reached_by_others(address, gate) {
        return;
    }
    if identity.any_domain {
        let (reach, cure) = if has_fronts(gate) {
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
