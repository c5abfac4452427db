//! Certificates: read from PEM files, checked, chosen by name and signature scheme, replaced while serving.

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem;
use crate::config::CertificateFiles;

/// An operator is told of a certificate that ends within this time.
const ENDS_SOON: Duration = Duration::from_hours(14 * 24);

/// A certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    /// The DNS names it is good for, lower case, perhaps beginning with `*.`.
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// The first certificate, counted from 1, that the next one of the chain did not sign.
    out_of_order: Option<usize>,
}

/// One of the two files of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFile {
    /// The certificate and what leads to its root.
    Chain,
    /// The private key.
    Key,
}

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    /// Which file is to blame.
    pub file: CertificateFile,
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
    /// Reads and checks a certificate and its key. Where both files are bad, there are two errors.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, Vec<CertificateError>> {
        let failed = |file, why: String| CertificateError {
            file,
            path: match file {
                CertificateFile::Chain => files.chain.clone(),
                CertificateFile::Key => files.key.clone(),
            },
            why,
        };
        let chain = pem::certificates(&files.chain).map_err(|why| failed(CertificateFile::Chain, why));
        let key = pem::private_key(&files.key).map_err(|why| failed(CertificateFile::Key, why));
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        Self::new(chain, key, provider).map_err(|error| {
            vec![match error {
                CheckError::Chain(why) => failed(CertificateFile::Chain, why),
                CheckError::Key(why) => failed(CertificateFile::Key, why),
                CheckError::Mismatch(None) => {
                    let chain = files.chain.display();
                    let why = format!("the key is not that of {chain}: name the two that were made together");
                    failed(CertificateFile::Key, why)
                }
                CheckError::Mismatch(Some(number)) => failed(
                    CertificateFile::Chain,
                    format!("the key is that of certificate {number} in this file: put that first, then what signed it"),
                ),
            }]
        })
    }

    /// Checks that the key is that of the first certificate of the chain.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, CheckError> {
        let leaf = chain.first().ok_or_else(|| CheckError::Chain("no certificate".to_owned()))?;
        let Leaf { names, not_before, not_after } = read_leaf(leaf).map_err(CheckError::Chain)?;
        let out_of_order = out_of_order(&chain).map_err(CheckError::Chain)?;
        let signing_key = provider.key_provider.load_private_key(key).map_err(|error| {
            let error = match error {
                rustls::Error::General(text) => text,
                error => error.to_string(),
            };
            CheckError::Key(format!(
                "the key cannot be used: {error}; ECDSA on P-256 or RSA from 2048 bits on can"
            ))
        })?;
        let certified = CertifiedKey::new(chain, signing_key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let fits = |one: &CertificateDer<'static>| {
                    CertifiedKey::new(vec![one.clone()], Arc::clone(&certified.key)).keys_match().is_ok()
                };
                let number = certified.cert.iter().position(fits).map(|index| index + 1);
                return Err(CheckError::Mismatch(number));
            }
            Err(error) => return Err(CheckError::Chain(error.to_string())),
        }
        Ok(Self { certified: Arc::new(certified), names, not_before, not_after, out_of_order })
    }

    /// When it ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What the operator should know of it. It is served in any case.
    pub fn notes(&self, now: SystemTime) -> Vec<String> {
        let mut notes = Vec::new();
        if self.not_after < now {
            notes.push("the certificate has expired; it is served all the same: renew it".to_owned());
        } else if self.not_after < now + ENDS_SOON {
            notes.push("the certificate expires within two weeks: renew it".to_owned());
        }
        if self.not_before > now {
            let text =
                "the certificate is not valid yet; it is served all the same: see whether the clock is right";
            notes.push(text.to_owned());
        }
        if let Some(number) = self.out_of_order {
            notes.push(format!(
                "certificate {number} of the chain was not signed by the one after it: the first is the server's own, each next one \
                 signed the one before"
            ));
        }
        notes
    }

    /// The DNS names it is good for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is good for a name, which is given in lower case.
    pub fn is_for(&self, name: &str) -> bool {
        are_for(&self.names, name)
    }
}

/// Whether a certificate with these names is good for a name.
pub(super) fn are_for(names: &[String], name: &str) -> bool {
    names.iter().any(|own| match own.strip_prefix("*.") {
        // A wildcard stands for one label (RFC 6125 §6.4.3).
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => own == name,
    })
}

/// Why a chain and a key are no certificate.
#[derive(Debug)]
pub enum CheckError {
    /// The chain cannot be read.
    Chain(String),
    /// The key cannot be read, or is of a kind that is not supported.
    Key(String),
    /// The key is another certificate's: of the one with this number in the chain, counted from 1, or of none
    /// of them.
    Mismatch(Option<usize>),
}

/// What the certificate that the server shows says of itself.
pub(super) struct Leaf {
    /// The DNS names it is good for, lower case.
    pub(super) names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

fn parsed<'a>(number: usize, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let parsed = X509Certificate::from_der(der);
    parsed.map(|(_, certificate)| certificate).map_err(|error| {
        format!(
            "certificate {number} in this file is not one of X.509: {error}; copy the file again, unaltered"
        )
    })
}

/// The number, counted from 1, of the first certificate that the next one did not sign, by their names.
fn out_of_order(chain: &[CertificateDer<'_>]) -> Result<Option<usize>, String> {
    let number_and_der = chain.iter().enumerate().map(|(index, der)| parsed(index + 1, der));
    let certificates = number_and_der.collect::<Result<Vec<_>, _>>()?;
    let mut pairs = certificates.iter().zip(certificates.iter().skip(1));
    Ok(pairs.position(|(one, next)| one.issuer() != next.subject()).map(|index| index + 1))
}

pub(super) fn read_leaf(leaf: &CertificateDer<'_>) -> Result<Leaf, String> {
    let leaf = parsed(1, leaf)?;
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
    let time = |time: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    let validity = leaf.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    Ok(Leaf { names, not_before, not_after })
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
    /// rustls shows the name to the resolver and to nobody else, where its unbuffered interface is used. It
    /// does so on the thread, and within the call, that takes the ClientHello.
    static ASKED: Cell<Option<Arc<str>>> = const { Cell::new(None) };
}

/// The name that the ClientHello taken last on this thread asked for. Given once.
pub(super) fn take_asked_name() -> Option<Arc<str>> {
    ASKED.take()
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name that the client can check. Without a name, or with one that no
    /// certificate has, the first of all that the client can check: DANE and old senders ask for any name,
    /// and rustls would end the handshake. A client that can check none of them gets the default. Then rustls
    /// tells what is not in common; without a certificate it says `access_denied`.
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
