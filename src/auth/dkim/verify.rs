//! Whether a signature is by its key: RSA and Ed25519, over SHA-256.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, VerificationAlgorithm,
};

use super::canonical::{Body, Form};
use super::signature::{Algorithm, Problem, Signature};

/// Bits of an RSA key, at least (RFC 8301 §3.2).
pub const RSA_BITS_MIN: usize = 1024;

/// And at most: a longer one costs more time than a message is worth.
pub const RSA_BITS_MAX: usize = 4096;

/// The hash of a body on its way.
pub struct BodyHash {
    body: Body,
    hash: digest::Context,
}

impl BodyHash {
    /// Of an empty body.
    pub fn new(form: Form) -> Self {
        Self { body: Body::new(form), hash: digest::Context::new(&digest::SHA256) }
    }

    /// The body goes on.
    pub fn update(&mut self, piece: &[u8]) {
        let hash = &mut self.hash;
        self.body.update(piece, &mut |octets| hash.update(octets));
    }

    /// The hash of the whole body.
    pub fn finish(self) -> [u8; 32] {
        let Self { body, mut hash } = self;
        body.finish(&mut |octets| hash.update(octets));
        let mut octets = [0; 32];
        octets.copy_from_slice(hash.finish().as_ref());
        octets
    }
}

/// A key, read.
pub struct PublicKey {
    key: ParsedPublicKey,
    algorithm: Algorithm,
    /// Bits of its modulus, or 256.
    pub bits: usize,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("bits", &self.bits).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The key of these octets of a record.
    pub fn new(algorithm: Algorithm, octets: &[u8]) -> Result<Self, Problem> {
        let bits = match algorithm {
            Algorithm::RsaSha256 | Algorithm::RsaSha1 => modulus_bits(octets).ok_or(Problem::BadKey)?,
            Algorithm::Ed25519Sha256 => 256,
        };
        let is_rsa = algorithm != Algorithm::Ed25519Sha256;
        if is_rsa && bits < RSA_BITS_MIN {
            return Err(Problem::ShortKey);
        }
        if is_rsa && bits > RSA_BITS_MAX {
            return Err(Problem::LongKey);
        }
        let of_kind: &'static dyn VerificationAlgorithm =
            if is_rsa { &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY } else { &ED25519 };
        let key = ParsedPublicKey::new(of_kind, octets).map_err(|_| Problem::BadKey)?;
        Ok(Self { key, algorithm, bits })
    }

    /// Whether these octets are a signature by this key, over what has this SHA-256 hash.
    pub fn verify_hashed(&self, signature: &[u8], hash: &digest::Digest) -> bool {
        let verified = match self.algorithm {
            Algorithm::RsaSha256 => self.key.verify_digest_sig(hash, signature),
            // The hash is what is signed (RFC 8463 §3).
            Algorithm::Ed25519Sha256 => self.key.verify_sig(hash.as_ref(), signature),
            Algorithm::RsaSha1 => return false,
        };
        verified.is_ok()
    }

    /// Whether the signature is by this key, over this canonical header section.
    pub fn verify(&self, signature: &Signature<'_>, header: &[u8]) -> bool {
        self.verify_hashed(&signature.signature, &digest::digest(&digest::SHA256, header))
    }
}

/// Bits of the modulus of an RSA key in DER: a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), or an RSAPublicKey
/// (RFC 8017 §A.1.1), as RFC 6376 has it and some write it.
fn modulus_bits(octets: &[u8]) -> Option<usize> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 2;
    const BIT_STRING: u8 = 3;
    let (inner, _) = element(octets, SEQUENCE)?;
    let key = if let Some((_, after)) = element(inner, SEQUENCE) {
        let (bits, _) = element(after, BIT_STRING)?;
        element(bits.strip_prefix(&[0])?, SEQUENCE)?.0
    } else {
        inner
    };
    let (modulus, _) = element(key, INTEGER)?;
    let start = modulus.iter().position(|octet| *octet != 0)?;
    let first = modulus.get(start)?;
    Some((modulus.len() - start) * 8 - first.leading_zeros() as usize)
}

/// The content of an element of DER with this tag, and what follows it.
fn element(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = octets.strip_prefix(&[tag])?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
pub(in crate::auth) mod tests {
    use super::*;
    use crate::auth::header::Header;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use data_encoding::{BASE64, HEXLOWER};

    #[test]
    fn hashes_of_empty_bodies_are_the_standards() {
        let hash = |form| BASE64.encode(&BodyHash::new(form).finish());
        // RFC 6376 §3.4.3, §3.4.4
        assert_eq!(hash(Form::Simple), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
        assert_eq!(hash(Form::Relaxed), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    /// Somebody with a key.
    pub(in crate::auth) enum Signer {
        Rsa(RsaKeyPair),
        Ed25519(Ed25519KeyPair),
    }

    impl Signer {
        pub(in crate::auth) fn record(&self) -> String {
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

        pub(in crate::auth) fn algorithm(&self) -> &'static str {
            match self {
                Self::Rsa(_) => "rsa-sha256",
                Self::Ed25519(_) => "ed25519-sha256",
            }
        }

        pub(in crate::auth) fn sign(&self, header: &[u8]) -> Vec<u8> {
            match self {
                Self::Rsa(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), header, &mut signature)
                        .expect("signed");
                    signature
                }
                Self::Ed25519(pair) => {
                    pair.sign(digest::digest(&digest::SHA256, header).as_ref()).as_ref().to_vec()
                }
            }
        }
    }

    /// A field as RFC 6376 §3.4.2 says, word for word.
    pub(in crate::auth) fn relaxed(field: &str) -> String {
        let (name, value) = field.split_once(':').expect("a field");
        let words: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
        format!("{}:{}\r\n", name.trim_end().to_ascii_lowercase(), words.join(" "))
    }

    /// An RSAPublicKey with a modulus of so many octets; nobody has its other half.
    pub(in crate::auth) fn weak_key(octets: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; octets];
        modulus.insert(0, 0);
        let integer = |content: &[u8]| {
            [&[2, 0x82][..], &u16::try_from(content.len()).expect("short").to_be_bytes(), content].concat()
        };
        let inner = [integer(&modulus), integer(&[1, 0, 1])].concat();
        [&[0x30, 0x82][..], &u16::try_from(inner.len()).expect("short").to_be_bytes(), &inner].concat()
    }

    const HEADER: &str = "From: A <a@x.test>\r\nSubject:  two  words \r\n";
    const BODY: &[u8] = b"one\r\n two \r\n\r\n";

    /// A header section with a signature over [`HEADER`] and [`BODY`].
    fn signed(signer: &Signer, forms: &str) -> String {
        let value = |signature: &str| {
            format!(
                "v=1; a={}; c={forms}; d=x.test; s=s; h=from:subject:from; bh={}; b={signature}",
                signer.algorithm(),
                BASE64.encode(&{
                    let mut body =
                        BodyHash::new(if forms.ends_with("relaxed") { Form::Relaxed } else { Form::Simple });
                    body.update(BODY);
                    body.finish()
                })
            )
        };
        let unsigned = format!("DKIM-Signature: {}\r\n{HEADER}", value("Zm9v"));
        let octets = hashed(&unsigned);
        format!("DKIM-Signature: {}\r\n{HEADER}", value(&BASE64.encode(&signer.sign(&octets))))
    }

    fn hashed(message: &str) -> Vec<u8> {
        let header = Header::new(message.as_bytes());
        let own = header.named("DKIM-Signature").next().expect("a signature");
        let signature = Signature::parse(header.value(own), 0).expect("a good one");
        let mut octets = Vec::new();
        signature.hash_header(&header, own, &mut |part| octets.extend_from_slice(part));
        octets
    }

    fn verifies(message: &str, record: &str, body: &[u8]) -> Result<bool, Problem> {
        let header = Header::new(message.as_bytes());
        let own = header.named("DKIM-Signature").next().expect("a signature");
        let signature = Signature::parse(header.value(own), 0)?;
        let key = super::super::key::parse(record.as_bytes(), &signature)?;
        let key = PublicKey::new(signature.algorithm, &key.octets)?;
        let mut hash = BodyHash::new(signature.body_form);
        body.chunks(3).for_each(|piece| hash.update(piece));
        if hash.finish()[..] != signature.body_hash[..] {
            return Err(Problem::BodyHash);
        }
        Ok(key.verify(&signature, &hashed(message)))
    }

    pub(in crate::auth) fn signers() -> [Signer; 2] {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        [Signer::Rsa(rsa), Signer::Ed25519(Ed25519KeyPair::generate().expect("a key"))]
    }

    #[test]
    fn what_was_signed_verifies_and_what_was_changed_does_not() {
        for signer in signers() {
            for forms in ["simple/simple", "relaxed/relaxed", "simple/relaxed", "relaxed/simple"] {
                let (message, record) = (signed(&signer, forms), signer.record());
                assert_eq!(verifies(&message, &record, BODY), Ok(true), "{forms}");
                let changed = message.replace("two  words", "two other");
                assert_eq!(verifies(&changed, &record, BODY), Ok(false), "{forms}");
                let added = format!("{message}From: b@y.test\r\n");
                assert_eq!(verifies(&added, &record, BODY), Ok(false), "oversigned, {forms}");
                assert_eq!(verifies(&message, &record, b"other"), Err(Problem::BodyHash), "{forms}");
                let respaced = message.replace("two  words ", "two words");
                assert_eq!(verifies(&respaced, &record, BODY), Ok(forms.starts_with("relaxed")), "{forms}");
            }
        }
    }

    #[test]
    fn a_key_of_another_is_none() {
        let [rsa, ed25519] = signers();
        let [other, other_ed25519] = signers();
        assert_eq!(verifies(&signed(&rsa, "relaxed/relaxed"), &other.record(), BODY), Ok(false));
        assert_eq!(verifies(&signed(&ed25519, "relaxed/relaxed"), &other_ed25519.record(), BODY), Ok(false));
        assert_eq!(
            verifies(&signed(&rsa, "relaxed/relaxed"), &ed25519.record(), BODY),
            Err(Problem::ForeignKey)
        );
    }

    #[test]
    fn keys_have_their_lengths() {
        let [rsa, _] = signers();
        let record = rsa.record();
        let octets = BASE64.decode(record.split("p=").nth(1).expect("a key").as_bytes());
        assert_eq!(modulus_bits(&octets.expect("base64")), Some(2048));
        // A modulus of 512 bits, and one of 4104, as RSAPublicKey.
        assert_eq!(PublicKey::new(Algorithm::RsaSha256, &weak_key(64)).err(), Some(Problem::ShortKey));
        assert_eq!(PublicKey::new(Algorithm::RsaSha256, &weak_key(513)).err(), Some(Problem::LongKey));
        for cut in 0..80 {
            assert!(PublicKey::new(Algorithm::RsaSha256, &weak_key(128)[..cut]).is_err());
        }
        let wild = HEXLOWER.decode(b"3084ffffffff").expect("hex");
        assert_eq!(PublicKey::new(Algorithm::RsaSha256, &wild).err(), Some(Problem::BadKey));
        assert_eq!(PublicKey::new(Algorithm::Ed25519Sha256, b"short").err(), Some(Problem::BadKey));
    }
}
