//! TLSA records (RFC 6698, RFC 7672): what DNS says of the key of our certificate.
//!
//! One kind is made, `3 1 1`: the digest (SHA-256) of the server's own public key. RFC 7672 §3.1.1 recommends
//! it for SMTP: whoever signed the certificate, its names and its dates do not matter, so a renewal that
//! keeps the key keeps the record.

use std::fmt::Write as _;
use std::path::Path;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::read_leaf;
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
    let digest = sha256(parsed.public_key().raw)?;
    let mut text = String::new();
    for name in names {
        // Writing to a String does not fail.
        let _ = writeln!(text, "_{port}._tcp.{name}. IN TLSA 3 1 1 {digest}");
    }
    Ok(text)
}

fn sha256(octets: &[u8]) -> Result<String, String> {
    // The digest of a cipher suite: no crate more.
    let suite = TLS13_AES_128_GCM_SHA256.tls13().ok_or("SHA-256 is missing; this is a bug of ringmx")?;
    let digest = suite.common.hash_provider.hash(octets);
    Ok(digest.as_ref().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256() {
        let digest = sha256(b"abc").expect("a digest");
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
