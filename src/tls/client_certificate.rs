//! Client certificates are asked for and never decide anything: MX senders show self-signed and expired ones,
//! of keys of any size, and what is no certificate at all.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, InvalidMessage, PeerMisbehaved, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::limits::CLIENT_CERTIFICATES_MAX;

/// Takes every certificate, but no more than [`CLIENT_CERTIFICATES_MAX`] of them. Where we can check that the
/// client holds its key, we do, because TLS asks for that (RFC 8446 §4.4.3). All that is told of a
/// certificate is that it was shown, so one that cannot be checked changes nothing.
#[derive(Debug)]
pub(super) struct TakeAny(pub(super) Arc<CryptoProvider>);

impl ClientCertVerifier for TakeAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() >= CLIENT_CERTIFICATES_MAX {
            return Err(InvalidMessage::CertificatePayloadTooLarge.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tolerate(
            verify_tls12_signature(
                message,
                certificate,
                signature,
                &self.0.signature_verification_algorithms,
            ),
            certificate,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tolerate(
            verify_tls13_signature(
                message,
                certificate,
                signature,
                &self.0.signature_verification_algorithms,
            ),
            certificate,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What cannot be checked must not fail the handshake; a signature that was checked and is wrong does. Cannot
/// be checked: a certificate that webpki cannot read (no DER, version 1, odd extensions), a kind of key or
/// signature that is not supported, and a key that the library does not take. Of the last it only says that
/// the signature is bad.
fn tolerate(
    verified: Result<HandshakeSignatureValid, Error>,
    certificate: &CertificateDer<'_>,
) -> Result<HandshakeSignatureValid, Error> {
    use rustls::CertificateError::BadSignature;
    match verified {
        Err(Error::InvalidCertificate(BadSignature)) if is_usable(certificate) => verified,
        Err(
            Error::InvalidCertificate(_)
            | Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme),
        ) => Ok(HandshakeSignatureValid::assertion()),
        verified => verified,
    }
}

/// Whether the key is one that signatures can be checked with: RSA within bounds, an elliptic curve's in the
/// usual form, all others.
fn is_usable(certificate: &CertificateDer<'_>) -> bool {
    /// Bits of the moduli that rustls' algorithms take.
    const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
    /// Bits of the largest public exponent that aws-lc takes.
    const EXPONENT_BITS_MAX: usize = 33;
    /// How a point begins that is written with both coordinates (SEC 1 §2.3.3).
    const UNCOMPRESSED: u8 = 4;
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let is_odd = |number: &[u8]| number.last().is_some_and(|octet| octet % 2 == 1);
            MODULUS_BITS.contains(&bits(key.modulus))
                && (2..=EXPONENT_BITS_MAX).contains(&bits(key.exponent))
                && is_odd(key.modulus)
                && is_odd(key.exponent)
        }
        Ok(PublicKey::EC(point)) => point.data().first() == Some(&UNCOMPRESSED),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Bits of a number, the most significant octet first, without its leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    let rest = number.get(zeros..).unwrap_or_default();
    rest.first().map_or(0, |first| rest.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_without_leading_zeros() {
        for (number, count) in
            [(&[][..], 0), (&[0, 0], 0), (&[1], 1), (&[0, 0x80], 8), (&[1, 0, 1], 17), (&[0, 0x7f, 0xff], 15)]
        {
            assert_eq!(bits(number), count, "{number:?}");
        }
    }
}
