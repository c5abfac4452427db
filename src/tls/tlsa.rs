//! TLSA records (RFC 6698, RFC 7672): what DNS says of the key of our certificate.
//!
//! One kind is made, `3 1 1`: the digest (SHA-256) of the server's own public key. RFC 7672 §3.1.1 recommends
//! it for SMTP: whoever signed the certificate, its names and its dates do not matter, so a renewal that
//! keeps the key keeps the record. Of others it is told whether they fit.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest::{self, SHA256, SHA512};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{are_for, read_leaf};
use super::pem;

/// The records for the first certificate of a file, a line each as in a zone file: for one host, or for each
/// name that the certificate is good for. The error is the text that the operator reads.
pub fn records(chain: &Path, host: Option<&str>, port: u16) -> Result<String, String> {
    let certificates = pem::certificates(chain)?;
    let leaf = certificates.first().ok_or("no certificate")?;
    let names = match host {
        Some(host) => vec![host.trim_end_matches('.').to_lowercase()],
        // A wildcard is no host that an MX record could name.
        None => read_leaf(leaf)?.names.into_iter().filter(|name| !name.starts_with("*.")).collect(),
    };
    if names.is_empty() {
        return Err("the certificate names no host: say which one by --host NAME".to_owned());
    }
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let digest = sha256(parsed.public_key().raw);
    let mut text = String::new();
    for name in names {
        // Writing to a String does not fail.
        let _ = writeln!(text, "_{port}._tcp.{name}. IN TLSA 3 1 1 {digest}");
    }
    Ok(text)
}

/// What a server shows: its own certificate, then what leads to its root.
#[derive(Debug)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    /// Those of the server's own, lower case.
    names: Vec<String>,
}

impl Chain {
    /// Reads a file of PEM. The error is the text that the operator reads.
    pub fn read(file: &Path) -> Result<Self, String> {
        let certificates = pem::certificates(file)?;
        let leaf = certificates.first().ok_or("no certificate")?;
        let names = read_leaf(leaf)?.names;
        Ok(Self { certificates, names })
    }

    /// Whether it is good for a name, which is given in lower case.
    pub fn is_for(&self, name: &str) -> bool {
        are_for(&self.names, name)
    }

    /// Whether a record with these fields (usage, selector, matching) is of it. None of a record that senders
    /// of mail do not use (RFC 7672 §3.1): of another usage than 2 and 3, or of no known kind.
    pub fn fits(&self, fields: [u8; 3], data: &[u8]) -> Option<bool> {
        fits(&self.certificates, fields, data)
    }
}

fn fits(chain: &[CertificateDer<'_>], [usage, selector, matching]: [u8; 3], data: &[u8]) -> Option<bool> {
    let candidates = match usage {
        // DANE-TA: one of those that lead to the server's own (RFC 7671 §5.2).
        2 => chain.get(1..).unwrap_or_default(),
        // DANE-EE: the server's own.
        3 => chain.get(..1).unwrap_or_default(),
        _ => return None,
    };
    // That there is nothing to compare makes no unknown kind a known one.
    if selector > 1 || matching > 2 {
        return None;
    }
    let is_it = |certificate: &CertificateDer<'_>| {
        let whole: &[u8] = certificate;
        let parsed = X509Certificate::from_der(whole).ok();
        let chosen = if selector == 0 { whole } else { parsed.as_ref()?.1.public_key().raw };
        Some(match matching {
            0 => chosen == data,
            1 => digest::digest(&SHA256, chosen).as_ref() == data,
            _ => digest::digest(&SHA512, chosen).as_ref() == data,
        })
    };
    let told: Option<Vec<bool>> = candidates.iter().map(is_it).collect();
    told.map(|told| told.contains(&true))
}

fn sha256(octets: &[u8]) -> String {
    let digest = digest::digest(&SHA256, octets);
    digest.as_ref().iter().fold(String::new(), |mut text, octet| {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_record_of_each_kind_fits_its_certificate_and_no_other() {
        let made = [1, 2].map(|_| self_signed::make(&["mx.example.org".to_owned()]).expect("a certificate"));
        let [ours, other] =
            made.map(|made| CertificateDer::from_pem_slice(made.chain.as_bytes()).expect("PEM"));
        let data = |certificate: &CertificateDer<'_>, selector, matching| {
            let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
            let chosen = if selector == 0 { certificate.as_ref() } else { parsed.public_key().raw };
            match matching {
                0 => chosen.to_vec(),
                1 => digest::digest(&SHA256, chosen).as_ref().to_vec(),
                _ => digest::digest(&SHA512, chosen).as_ref().to_vec(),
            }
        };
        let chain = [ours.clone(), other.clone()];
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let [own, above] = [&ours, &other].map(|one| data(one, selector, matching));
            assert_eq!(fits(&chain, [3, selector, matching], &own), Some(true));
            assert_eq!(fits(&chain, [3, selector, matching], &above), Some(false));
            assert_eq!(fits(&chain, [2, selector, matching], &above), Some(true));
            assert_eq!(fits(&chain, [2, selector, matching], &own), Some(false));
        }
        for unusable in
            [[0, 1, 1], [1, 1, 1], [4, 1, 1], [3, 2, 1], [3, 1, 3], [2, 2, 1], [2, 1, 3], [2, 255, 255]]
        {
            for chain in [&chain[..], &chain[..1]] {
                assert_eq!(fits(chain, unusable, b""), None, "{unusable:?}");
            }
        }
        assert_eq!(fits(&chain[..1], [2, 1, 1], &data(&other, 1, 1)), Some(false), "it leads to nobody");
    }
}
