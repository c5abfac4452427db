//! What all connections share: cryptography, certificates and their files, versions, resumption.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
    files: Vec<CertificateFiles>,
    /// The name that a certificate should be for.
    hostname: String,
    /// How the files looked when they were read last, well or not.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// By what a changed file is told from one that is the same.
type Stamp = (u64, u64, i64, i64);

impl TlsContext {
    /// Reads the certificates, or makes one. Besides, what the operator should know. The error names file and
    /// cure.
    pub fn open(tls: &config::Tls, hostname: &str) -> Result<(Self, Vec<String>), String> {
        let provider = provider();
        let seen = Mutex::new(stamps(&tls.certificates));
        let (certificates, notes) = if tls.self_signed {
            let certificate = self_signed::make(&[hostname.to_owned()])
                .and_then(|made| made.der())
                .and_then(|(chain, key)| {
                    Certificate::new(chain, key, &provider).map_err(|error| format!("{error:?}"))
                })
                .map_err(|why| format!("no certificate can be made for {hostname:?}: {why}"))?;
            (vec![certificate], Vec::new())
        } else {
            usable(read_all(&tls.certificates, hostname, &provider))?
        };
        let context = Self {
            provider,
            minimum: tls.minimum,
            sessions: Arc::new(Sessions(ServerSessionMemoryCache::new(TLS_SESSIONS_MAX))),
            tickets: Ticketer::new().map_err(|error| format!("no keys for TLS tickets: {error}"))?,
            certificates: Arc::new(Certificates::new(certificates)),
            files: tls.certificates.clone(),
            hostname: hostname.to_owned(),
            seen,
        };
        Ok((context, notes))
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

    /// Whether a file of a certificate is another one than when it was read last.
    pub fn has_changed(&self) -> bool {
        let now = stamps(&self.files);
        now != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again: from now on handshakes show what they hold. On an error all stays as it is.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.files);
        let (certificates, notes) = usable(read_all(&self.files, &self.hostname, &self.provider))?;
        self.certificates.replace(certificates);
        Ok(notes)
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

fn stamps(files: &[CertificateFiles]) -> Vec<Option<Stamp>> {
    let stamp = |path: &Path| {
        // What cannot be looked at is told when it is read.
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    files.iter().flat_map(|files| [stamp(&files.chain), stamp(&files.key)]).collect()
}
