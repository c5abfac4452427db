//! What all connections share: cryptography, certificates and their files, versions, resumption.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::certificate::{Certificate, CertificateFile, Certificates};
use super::client_certificate::TakeAny;
use super::exposure;
use super::self_signed;
use crate::config::{self, CertificateFiles, TlsVersion};
use crate::limits::{TLS_SESSION_BYTES_MAX, TLS_SESSIONS_MAX};
use crate::smtp::settings::TlsPolicy;

/// How many tickets TLS 1.3 connections get where they are on: rustls' own default.
const TICKETS: usize = 2;

/// The cryptography that is used: aws-lc-rs, X25519MLKEM768 preferred.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // Stable: the groups after it keep rustls' order.
    provider.kx_groups.sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
    Arc::new(provider)
}

/// What all listeners share.
pub struct TlsContext {
    provider: Arc<CryptoProvider>,
    minimum: TlsVersion,
    sessions: Arc<Sessions>,
    /// Encrypts tickets, with keys that it changes every six hours. So nothing is kept of a session that has
    /// a ticket: to take one out of rustls' memory of sessions, as TLS 1.3 asks for, costs a search through
    /// all of them, and every shard waits for it.
    tickets: Arc<dyn ProducesTickets>,
    certificates: Arc<Certificates>,
    /// For whom a certificate was made in memory, if it was.
    made_for: Option<String>,
}

/// What connections are to share from now on: certificates that were read, and are not shown yet.
pub struct Renewed {
    context: TlsContext,
    /// `None` when those that are shown stay.
    certificates: Option<Vec<Certificate>>,
    /// What the operator should know of them.
    pub notes: Vec<String>,
}

impl Renewed {
    /// From here on handshakes show them; connections that exist keep what they have. Configurations that are
    /// made of the context go by it.
    pub fn show(self) -> TlsContext {
        if let Some(certificates) = self.certificates {
            self.context.certificates.replace(certificates);
        }
        self.context
    }

    /// As [`TlsContext::server_config`] of the context that it becomes.
    pub fn server_config(&self, listener: &config::Listener) -> Result<Option<Arc<ServerConfig>>, String> {
        self.context.server_config(listener)
    }
}

impl TlsContext {
    /// Reads the certificates, or makes one. Besides, what the operator should know. The error names file and
    /// cure.
    pub fn open(tls: &config::Tls, hostname: &str) -> Result<(Self, Vec<String>), String> {
        let provider = provider();
        let (certificates, notes) = certificates_of(tls, hostname, &provider)?;
        let context = Self {
            provider,
            minimum: tls.minimum,
            sessions: Arc::new(Sessions(ServerSessionMemoryCache::new(TLS_SESSIONS_MAX))),
            tickets: Ticketer::new().map_err(|error| format!("no keys for TLS tickets: {error}"))?,
            certificates: Arc::new(Certificates::new(certificates)),
            made_for: tls.self_signed.then(|| hostname.to_owned()),
        };
        Ok((context, notes))
    }

    /// The same for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        self.with(self.minimum, self.made_for.clone())
    }

    /// As it is.
    pub fn kept(&self) -> Renewed {
        Renewed { context: self.share(), certificates: None, notes: Vec::new() }
    }

    /// The same cryptography, certificates and sessions.
    fn with(&self, minimum: TlsVersion, made_for: Option<String>) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            minimum,
            sessions: Arc::clone(&self.sessions),
            tickets: Arc::clone(&self.tickets),
            certificates: Arc::clone(&self.certificates),
            made_for,
        }
    }

    /// Reads the certificates again, perhaps others than before; sessions can be resumed as before. Nothing
    /// changes until [`Renewed::show`]. The error names file and cure.
    pub fn renewed(&self, tls: &config::Tls, hostname: &str) -> Result<Renewed, String> {
        let made_for = tls.self_signed.then(|| hostname.to_owned());
        // Without any, no session that begins offers TLS; open ones have offered it already.
        let has_none = tls.certificates.is_empty() && !tls.self_signed;
        let (certificates, notes) = if has_none || made_for.is_some() && made_for == self.made_for {
            (None, Vec::new())
        } else {
            let (certificates, notes) = certificates_of(tls, hostname, &self.provider)?;
            (Some(certificates), notes)
        };
        let context = self.with(tls.minimum, made_for);
        Ok(Renewed { context, certificates, notes })
    }

    /// What the connections of a listener are made with; none where TLS is off.
    pub fn server_config(&self, listener: &config::Listener) -> Result<Option<Arc<ServerConfig>>, String> {
        if listener.tls == TlsPolicy::Off {
            return Ok(None);
        }
        let versions: &[&SupportedProtocolVersion] = match self.minimum {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(Arc::new(TakeAny(Arc::clone(&self.provider))))
            .with_cert_resolver(Arc::clone(&self.certificates) as _);
        config.session_storage = Arc::clone(&self.sessions) as _;
        config.send_tls13_tickets = if listener.tls_tickets { TICKETS } else { 0 };
        if listener.tls_tickets {
            config.ticketer = Arc::clone(&self.tickets);
        }
        if listener.tls == TlsPolicy::Implicit {
            // Then a client that offers protocols (ALPN) must offer this one. After STARTTLS the protocol is
            // known.
            config.alpn_protocols = vec![b"smtp".to_vec()];
        }
        Ok(Some(Arc::new(config)))
    }

    /// When each certificate ends that is shown now: by the file of its chain as configured, or by the host
    /// name where it was made at the start. These are the files that they were read from.
    pub fn ends(&self, files: &[CertificateFiles]) -> Vec<(String, SystemTime)> {
        let names = files.iter().map(|files| files.chain.display().to_string()).chain(self.made_for.clone());
        names.zip(self.certificates.current().iter()).map(|(name, one)| (name, one.not_after())).collect()
    }
}

/// Sessions that can be resumed. rustls bounds their number only, and a session holds the certificates that
/// its client showed: 64 KiB of them, if it likes.
#[derive(Debug)]
struct Sessions(Arc<ServerSessionMemoryCache>);

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= TLS_SESSION_BYTES_MAX && self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}

/// What was found out about the files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFinding {
    /// The place of the certificate in the configuration, counted from 0.
    pub certificate: usize,
    /// Which of its files it is about.
    pub file: CertificateFile,
    /// File, what it is, and what to do.
    pub text: String,
    /// Whether the certificate cannot be used.
    pub is_error: bool,
}

/// Everything that the files of all certificates let an operator know; empty where all is well. Changes
/// nothing.
pub fn examine(tls: &config::Tls, hostname: &str) -> Vec<CertificateFinding> {
    read_all(&tls.certificates, hostname, &provider()).1
}

/// The certificates of a configuration, read or made; besides, what the operator should know.
fn certificates_of(
    tls: &config::Tls,
    hostname: &str,
    provider: &CryptoProvider,
) -> Result<(Vec<Certificate>, Vec<String>), String> {
    if !tls.self_signed {
        return usable(read_all(&tls.certificates, hostname, provider));
    }
    let made = self_signed::make(&[hostname.to_owned()]).and_then(|made| made.der());
    let certificate = made.and_then(|(chain, key)| {
        Certificate::new(chain, key, provider).map_err(|error| format!("{error:?}"))
    });
    let certificate =
        certificate.map_err(|why| format!("no certificate can be made for {hostname:?}: {why}"))?;
    Ok((vec![certificate], Vec::new()))
}

fn read_all(
    files: &[CertificateFiles],
    hostname: &str,
    provider: &CryptoProvider,
) -> (Vec<Certificate>, Vec<CertificateFinding>) {
    let now = SystemTime::now();
    let mut certificates = Vec::new();
    let mut found = Vec::new();
    for (number, files) in files.iter().enumerate() {
        let note = |text: String| {
            let text = format!("{}: {text}", files.chain.display());
            CertificateFinding { certificate: number, file: CertificateFile::Chain, text, is_error: false }
        };
        match Certificate::read(files, provider) {
            Ok(certificate) => {
                found.extend(certificate.notes(now).into_iter().map(note));
                found.extend(exposure::of(&files.key).map(|text| {
                    let text = format!("{}: {text}", files.key.display());
                    CertificateFinding {
                        certificate: number,
                        file: CertificateFile::Key,
                        text,
                        is_error: false,
                    }
                }));
                certificates.push(certificate);
            }
            Err(errors) => found.extend(errors.into_iter().map(|error| {
                let (file, text) = (error.file, error.to_string());
                CertificateFinding { certificate: number, file, text, is_error: true }
            })),
        }
    }
    let is_complete = certificates.len() == files.len();
    if let (Some(first), Some(files), true) = (certificates.first(), files.first(), is_complete)
        && !certificates.iter().any(|certificate| certificate.is_for(hostname))
    {
        let names = if first.names().is_empty() { "no name".to_owned() } else { first.names().join(", ") };
        let path = files.chain.display();
        let text = format!(
            "{path}: the certificate is for {names}, and none is for `hostname`, {hostname}: servers that check the name send nothing \
             here; add one for it, or set `hostname` to the name in the MX record"
        );
        found.push(CertificateFinding {
            certificate: 0,
            file: CertificateFile::Chain,
            text,
            is_error: false,
        });
    }
    (certificates, found)
}

/// The certificates with notes on them, or why one cannot be used.
fn usable(
    (certificates, found): (Vec<Certificate>, Vec<CertificateFinding>),
) -> Result<(Vec<Certificate>, Vec<String>), String> {
    let (errors, notes): (Vec<CertificateFinding>, Vec<CertificateFinding>) =
        found.into_iter().partition(|found| found.is_error);
    let text = |found: CertificateFinding| found.text;
    if errors.is_empty() {
        return Ok((certificates, notes.into_iter().map(text).collect()));
    }
    Err(errors.into_iter().map(text).collect::<Vec<_>>().join("; "))
}
