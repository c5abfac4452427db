//! Certificates: read from PEM files, checked, chosen by name and signature scheme, replaced while serving.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::CertificateFiles;

/// A certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    /// The DNS names it is good for, lower case, perhaps beginning with `*.`.
    names: Vec<String>,
    not_after: SystemTime,
}

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Reads and checks a certificate and its key.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let failed = |path: &Path, why: String| CertificateError { path: path.to_owned(), why };
        let chain = CertificateDer::pem_file_iter(&files.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(&files.chain, pem_error(&error, "CERTIFICATE")))?;
        if chain.is_empty() {
            return Err(failed(&files.chain, pem_error(&pem::Error::NoItemsFound, "CERTIFICATE")));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| failed(&files.key, pem_error(&error, "PRIVATE KEY")))?;
        Self::new(chain, key, provider).map_err(|error| match error {
            CheckError::Chain(why) => failed(&files.chain, why),
            CheckError::Key(why) => failed(&files.key, why),
            CheckError::Mismatch => {
                failed(&files.key, format!("the key is not that of {}", files.chain.display()))
            }
        })
    }

    /// Checks that the key is that of the first certificate of the chain.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, CheckError> {
        let first = chain.first().ok_or_else(|| CheckError::Chain("no certificate".to_owned()))?;
        let (names, not_after) = read_leaf(first).map_err(CheckError::Chain)?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CheckError::Mismatch,
            rustls::Error::InvalidCertificate(_) => CheckError::Chain(error.to_string()),
            error => CheckError::Key(error.to_string()),
        })?;
        Ok(Self { certified: Arc::new(certified), names, not_after })
    }

    /// When it ends to be valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The DNS names it is good for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            // A wildcard stands for one label (RFC 6125 §6.4.3).
            Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => own == name,
        })
    }
}

/// Why a chain and a key are no certificate.
#[derive(Debug)]
pub enum CheckError {
    /// The chain cannot be read.
    Chain(String),
    /// The key cannot be read, or is of a kind that is not supported.
    Key(String),
    /// The key is another certificate's.
    Mismatch,
}

/// Names and end of validity of the certificate that the server shows.
fn read_leaf(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, SystemTime), String> {
    let (_, leaf) =
        X509Certificate::from_der(leaf).map_err(|error| format!("not an X.509 certificate: {error}"))?;
    let mut names: Vec<String> = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        // Old certificates say their name there only.
        names.extend(
            leaf.subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    let not_after = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
    Ok((names, SystemTime::UNIX_EPOCH + Duration::from_secs(not_after)))
}

fn pem_error(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds no `-----BEGIN {wanted}-----`; a PEM file is needed"),
        error => format!("is not good PEM: {error}"),
    }
}

/// The certificates that are served, in the order of the configuration.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<[Certificate]>>);

impl Certificates {
    /// These; the first one is the default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        Self(RwLock::new(certificates.into()))
    }

    /// From now on these; connections that exist keep what they have.
    pub fn replace(&self, certificates: Vec<Certificate>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificates.into();
    }

    /// Those that are served now.
    pub fn current(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

thread_local! {
    /// rustls shows the name to the resolver and to nobody else, where its unbuffered interface is used. It does so on the thread, and
    /// within the call, that takes the ClientHello.
    static ASKED: Cell<Option<Arc<str>>> = const { Cell::new(None) };
}

/// The name that the ClientHello taken last on this thread asked for. Given once.
pub(super) fn take_asked_name() -> Option<Arc<str>> {
    ASKED.take()
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name that the client can check; without a name, or with one that is nobody's, the first of
    /// all that it can check: DANE and old senders ask for whatever, and rustls would end the handshake. Who can check none gets the
    /// default, for which rustls then tells what is not in common; of no certificate it says `access_denied`.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.current();
        let usable = || {
            certificates
                .iter()
                .filter(|one| one.certified.key.choose_scheme(hello.signature_schemes()).is_some())
        };
        let name = hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        ASKED.set(name.as_deref().map(Arc::from));
        name.and_then(|name| usable().find(|one| one.is_for(&name)))
            .or_else(|| usable().next())
            .or_else(|| certificates.first())
            .map(|one| Arc::clone(&one.certified))
    }
}

/// The names in a certificate, for tests.
#[cfg(test)]
pub(super) fn tests_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    read_leaf(leaf).expect("a certificate").0
}
