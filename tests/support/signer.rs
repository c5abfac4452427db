//! Signs messages (RFC 6376) as their senders do.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::BASE64;
use ringmx::auth::dkim::canonical::{Body, Form};
use ringmx::auth::dkim::signature::Signature;
use ringmx::auth::header::Header;

/// A key pair.
pub enum Signer {
    /// RSA of 2048 bits.
    Rsa(RsaKeyPair),
    /// Ed25519 (RFC 8463).
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// A new key of 2048 bits.
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    /// A new key.
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("a key"))
    }

    /// The record of its public key, for `selector._domainkey.domain`.
    pub fn record(&self) -> String {
        match self {
            Self::Rsa(pair) => {
                let key: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(key.as_ref()))
            }
            Self::Ed25519(pair) => {
                format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(pair.public_key().as_ref()))
            }
        }
    }

    /// This message with a signature on top, by `selector` of `domain`, over who wrote to whom about what.
    /// `message` has CRLF line ends and a header section.
    pub fn sign(&self, domain: &str, selector: &str, message: &str) -> String {
        self.sign_fields(domain, selector, "from:to:subject", message)
    }

    /// The same over the fields of these names, with colons between them.
    pub fn sign_fields(&self, domain: &str, selector: &str, names: &str, message: &str) -> String {
        let (header, body) = message.split_once("\r\n\r\n").expect("a header section");
        let mut canonical = Vec::new();
        let mut hashed = Body::new(Form::Relaxed);
        hashed.update(body.as_bytes(), &mut |octets| canonical.extend_from_slice(octets));
        hashed.finish(&mut |octets| canonical.extend_from_slice(octets));
        let algorithm = match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        };
        let body_hash = BASE64.encode(digest(&SHA256, &canonical).as_ref());
        let field = |signature: &str| {
            format!(
                "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n\t\
                 h={names}; bh={body_hash};\r\n\tb={signature}\r\n"
            )
        };
        let unsigned = format!("{}{header}\r\n", field("AAAA"));
        let fields = Header::new(unsigned.as_bytes());
        let own = fields.named("DKIM-Signature").next().expect("a signature");
        let signature = Signature::parse(fields.value(own), 0).expect("a good one");
        let mut octets = Vec::new();
        signature.hash_header(&fields, own, &mut |part| octets.extend_from_slice(part));
        format!("{}{message}", field(&BASE64.encode(&self.octets(&octets))))
    }

    fn octets(&self, header: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), header, &mut signature).expect("signed");
                signature
            }
            Self::Ed25519(pair) => pair.sign(digest(&SHA256, header).as_ref()).as_ref().to_vec(),
        }
    }
}
