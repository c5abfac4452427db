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
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    Ok(SelfSigned { chain: made.cert.pem(), key: made.signing_key.serialize_pem() })
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
