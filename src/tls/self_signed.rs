//! A certificate for trying out: self-signed, for a host name.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its key in PEM.
pub struct SelfSigned {
    /// The certificate.
    pub chain: String,
    /// The private key (PKCS #8). A secret.
    pub key: String,
}

/// Makes a certificate for these names, ECDSA on P-256, signed by itself.
pub fn make(names: &[String]) -> Result<SelfSigned, String> {
    let make = || {
        let key = rcgen::KeyPair::generate()?;
        let mut wanted = rcgen::CertificateParams::new(names)?;
        let name = names.first().map_or("ringmx", String::as_str);
        wanted.distinguished_name = rcgen::DistinguishedName::new();
        wanted.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = wanted.self_signed(&key)?;
        Ok(SelfSigned { chain: certificate.pem(), key: key.serialize_pem() })
    };
    make().map_err(|error: rcgen::Error| error.to_string())
}

impl SelfSigned {
    /// In the form that a [`super::certificate::Certificate`] is made of.
    pub fn der(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| error.to_string())?;
        Ok((chain, key))
    }
}
