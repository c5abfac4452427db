//! TLS: `[tls]`, its certificates, and what a listener does with them.

use std::path::PathBuf;

use super::document::Fallback;
use super::section::Section;
use crate::smtp::settings::TlsPolicy;

/// The lowest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Where a certificate is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then what leads to its root.
    pub chain: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// What all listeners share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The lowest version.
    pub minimum: TlsVersion,
    /// In order of preference; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// A certificate is made in memory at each start.
    pub self_signed: bool,
}

impl Tls {
    /// Whether there is a certificate to show.
    pub fn is_possible(&self) -> bool {
        self.self_signed || !self.certificates.is_empty()
    }
}

/// The lines of `chain` and `key` of one certificate.
pub(super) type CertificateLines = [Option<usize>; 2];

pub(super) fn read(root: &mut Section<'_>) -> (Tls, Vec<CertificateLines>) {
    let mut section = root.table("tls", "TLS: what all listeners share.");
    section.reloads_but(&[]);
    let minimum = section.choice(
        "minimum",
        &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
        "The lowest version that is spoken.",
    );
    let self_signed = section.boolean(
        "self_signed",
        false,
        "Makes a certificate for `hostname` in memory at each start: for trying out, and for senders that check none.",
    );
    let (certificates, lines): (Vec<_>, Vec<_>) = section
        .tables(
            "tls.certificate",
            "A certificate, chosen by the name that the client asks for; the first one is the default. They are read again by a reload and when the files change.",
        )
        .into_iter()
        .filter_map(certificate)
        .unzip();
    if self_signed && !certificates.is_empty() {
        section.problem("self_signed", "there are certificates; take out one or the other".to_owned());
    }
    section.finish();
    (Tls { minimum, certificates, self_signed }, lines)
}

fn certificate(mut section: Section<'_>) -> Option<(CertificateFiles, CertificateLines)> {
    section.reloads_but(&[]);
    let chain = section.path(
        "chain",
        Fallback::Required { example: "\"mx1.pem\"" },
        "PEM file: the certificate, then what leads to its root.",
    );
    let key =
        section.path("key", Fallback::Required { example: "\"mx1.key\"" }, "PEM file: its private key.");
    let lines = ["chain", "key"].map(|key| section.line_of(key));
    section.finish();
    Some((CertificateFiles { chain: chain?, key: key? }, lines))
}

/// What a listener does. `None`: TLS is offered if there is a certificate.
pub(super) fn policy(section: &mut Section<'_>) -> Option<TlsPolicy> {
    section.choice_or(
        "tls",
        &[
            ("off", TlsPolicy::Off),
            ("offered", TlsPolicy::Offered),
            ("required", TlsPolicy::Required),
            ("implicit", TlsPolicy::Implicit),
        ],
        Fallback::Computed { example: "\"offered\"", default: "offered where there is a certificate, else off" },
        "Offered and required: with STARTTLS; implicit: from the first octet (a port of its own, such as 465).",
    )
}
