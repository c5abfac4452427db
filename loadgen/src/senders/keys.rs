//! The keys that messages are signed with. They are fixed, so that what a name server has to know follows
//! from the command line: it can be started long before the load. All of them were published for tests, and
//! nobody who sees one of them takes it for a secret.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::{BASE64, HEXLOWER};

use super::kind::Kind;
use super::rsa_1024;

/// `testRSA2048` of RFC 9500 §2.1, an RSAPrivateKey.
const RSA_2048: &str = "\
MIIEowIBAAKCAQEAsPnoGUOnrpiSqt4XynxA+HRP7S+BSObI6qJ7fQAVSPtRkqsotWxQYLEYzNEx5ZSHTGypibVsJylvCfuToDTfMul8b/CZjP2O\
b0LdpYrNH6l5hvFE89FU1nZQF15oVLOpUgA7wGiHuEVawrGfey92UE68mOyUVXGweJIVDdxqdMoPvNNUl86BU02vlBiESxOuox+dWmuVV7vfYZ79\
Toh/LUK43YvJh+rhv4nKuF7iHjVjBd9sB6iDjj70HFldzOQ9r8SRI+9NirupPTkF5AKNe6kUhKJ1luB7S27ZkvB3tSTT3P593VVJvnzOjaA1z6Cz\
+4+eRvcysqhrRgFlwI9TEwIDAQABAoIBAEEYiyDP29vCzx/+dS3LqnI5BjUuJhXUnc6AWX/PCgVAO+8A+gZRgvct7PtZb0sM6P9ZcLrweomlGezI\
FrL0/6xQaa8bBr/ve/a8155OgcjFo6fZEw3Dz7ra5fbSiPmu4/b/kvrg+Br1l77Jaun6uUAs1f5B9wW+vbR7tzbT/mxaUeDiBzKpe15GwcvbJtdI\
VMa2YErtRjc1/5B2BGVXyvlJv0SIlcIEMsHgnAFOp1ZgQ08aDzvilLq8XVMOahAhP1O2A3X8hKdXPyrxIVWE9bS9ptTo+eF6eNl+d7htpKGEZHUx\
inoQpWEBTv+iOoHsVunkEJ3vjLP3lyI/fY0NQ1ECgYEA3RBXAjgvIys2gfU3keImF8e/TprLge1I2vbWmV2j6rZCg5r/AS0upii5CvJ5/T5vfJPN\
gPBy8B/yRDs+6PJO1GmnlhOkG9JAIPkv0RBZvR0PMBtbp6nTY3yo1lwamBVBfY6rc0sLTzosZh2aGoLzrHNMQFMGaauORzBFpY5lU50CgYEAzPHl\
u5DI6Xgep1vr8QvCUuEesCOgJg8Yh1UqVoY/SmQh6MYAv1I9bLGwrb3WW/7kqIoDfj0aQV5buVZI2loMomtU9KY5SFIsPV+JuUpy7/+VE01ZQM5F\
dY8wiYCQiVZYju9XWz5LxMNoz+gT7pwlLCsC4N+R8aoBk404aF1gum8CgYAJ7VTq7Zj4TFV7Soa/T1eEk9y8a+kdoYk3BASpCHJ29M5R2KEA7YV9\
wrBklHTz8VzSTFTbKHEQ5W5csAhoL5FoqoHzFFi3Qx7MHESQb9qHyolHEMNx6QdsHUn7rlEnaTTyrXh3ifQtD6C0yTmFXUISCW9wKApOrnyKJ9nI\
0HcuZQKBgQCMtoV6e9VGX4AEfpuHvAAnMYQFgeBiYTkBKltQXwozhH63uMMomUmtSG87Sz1TmrXadjAhy8gsG6I0pWaN7QgBuFnzQ/HOkwTm+qKw\
AsrZt4zeXNwsH7QXHEJCFnCmqw9QzEoZTrNtHJHpNboBuVnYcoueZEJrP8OnUG3rUjmopwKBgAqB2KYYMUqAOvYcBnEfLDmyZv9BTVNHbR2lKkMY\
qv5LlvDaBxVfilE02riO4p6BaAdvzXjKeRrGNEKoHNBpOSfYCOM16NjL8hIZB1CaV3WbT5oY+jp7Mzd57d56RZOE+ERK2uz/7JX9VSsM/LbH9pJi\
bd4e8mikDS9ntciqOH/3";

/// Modulus and private exponent of the RSA key of RFC 8463 §A.1.
const RSA_1024: [&str; 2] = [
    "e41e5390a014f3591886b3957a3693f789d63a5a4d3c6b9aa1751eb0cb96dd38a6f68cb42263f275e89622d10bf1fdbc\
     98cc235bdd6f75cb716eb400837f3c10fc10bf7bff2e06c091fb2cf52f18fe3cbea51efa8c2ab337ac6e21b2d4f9423b\
     c73bd3f3a316725582f305f3b611e0b7229dc6fb692bc8e4c8293fa5fcae30dd",
    "1f47313a11590e0cd75a10e19c0243c39b38ae83973783a18e25daf16ed8deb857dc526a98948fb82f0df6f426e9255b\
     68b004e121b998b32e787961e0a5df7c4a6e2c488da7d4acdcee187cb890a5b46a13b4e6e52c4a8efbd0a1965ecc7a2b\
     8a639a0a144bda2b78ee2b96c73c5289132fe1cfa3ef41a259dc579f17b85281",
];

/// The public key of that (RFC 8463 §A.2), a SubjectPublicKeyInfo.
const RSA_1024_PUBLIC: &str = "\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91\
y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

/// The Ed25519 key of RFC 8463 §A.1.
const ED25519: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

/// All keys.
pub struct Keys {
    rsa_2048: RsaKeyPair,
    rsa_1024: rsa_1024::Key,
    ed25519: Ed25519KeyPair,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// A key of this file is one; a test signs with each.
const GOOD: &str = "the keys are good";

impl Keys {
    /// Takes them out of this file.
    pub fn read() -> Self {
        let base64 = |text: &str| BASE64.decode(text.as_bytes()).expect(GOOD);
        let [modulus, exponent] =
            RSA_1024.map(|hex| HEXLOWER.decode(hex.as_bytes()).expect(GOOD).try_into().expect(GOOD));
        Self {
            rsa_2048: RsaKeyPair::from_der(&base64(RSA_2048)).expect(GOOD),
            rsa_1024: rsa_1024::Key::new(&modulus, &exponent),
            ed25519: Ed25519KeyPair::from_seed_unchecked(&base64(ED25519)).expect(GOOD),
        }
    }

    /// What signs in this way: selector and algorithm (RFC 6376 §3.5), nothing for `none`.
    pub fn names(kind: Kind) -> Option<(&'static str, &'static str)> {
        match kind {
            Kind::Rsa2048 | Kind::Broken => Some(("rsa-2048", "rsa-sha256")),
            Kind::Rsa1024 => Some(("rsa-1024", "rsa-sha256")),
            Kind::Ed25519 => Some(("ed25519", "ed25519-sha256")),
            Kind::Unsigned => None,
        }
    }

    /// The record of the key (RFC 6376 §3.6.1).
    pub fn record(&self, kind: Kind) -> Option<String> {
        let record = match kind {
            Kind::Rsa2048 | Kind::Broken => {
                let key: PublicKeyX509Der<'_> = self.rsa_2048.public_key().as_der().expect(GOOD);
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(key.as_ref()))
            }
            Kind::Rsa1024 => format!("v=DKIM1; k=rsa; p={RSA_1024_PUBLIC}"),
            Kind::Ed25519 => {
                format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(self.ed25519.public_key().as_ref()))
            }
            Kind::Unsigned => return None,
        };
        Some(record)
    }

    /// The signature of these octets in base64; empty for `none`.
    pub fn sign(&self, kind: Kind, octets: &[u8]) -> String {
        let signature = match kind {
            Kind::Rsa2048 => self.sign_rsa_2048(octets),
            Kind::Broken => self.sign_rsa_2048(b"what nobody sent"),
            Kind::Rsa1024 => self.rsa_1024.sign(&hash(octets)).to_vec(),
            // The hash is what is signed (RFC 8463 §3).
            Kind::Ed25519 => self.ed25519.sign(&hash(octets)).as_ref().to_vec(),
            Kind::Unsigned => Vec::new(),
        };
        BASE64.encode(&signature)
    }

    fn sign_rsa_2048(&self, octets: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa_2048.public_modulus_len()];
        self.rsa_2048
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature)
            .expect("an RSA key signs whatever it is given");
        signature
    }
}

/// Its SHA-256 hash.
pub fn hash(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, octets).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ED25519 as VERIFY_ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
    };

    use super::*;

    /// Whether what this kind signs is by the key of its record.
    fn verifies(keys: &Keys, kind: Kind, octets: &[u8]) -> bool {
        let record = keys.record(kind).expect("a record");
        let key = BASE64.decode(record.split("p=").nth(1).expect("a key").as_bytes()).expect("base64");
        let signature = BASE64.decode(keys.sign(kind, octets).as_bytes()).expect("base64");
        let verified = if kind == Kind::Ed25519 {
            UnparsedPublicKey::new(&VERIFY_ED25519, key).verify(&hash(octets), &signature)
        } else {
            UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, key)
                .verify(octets, &signature)
        };
        verified.is_ok()
    }

    #[test]
    fn what_is_signed_is_by_the_key_of_the_record_unless_it_is_broken() {
        let keys = Keys::read();
        for number in 0..20 {
            let octets = format!("text {number}").repeat(number);
            for kind in [Kind::Rsa2048, Kind::Rsa1024, Kind::Ed25519] {
                assert!(verifies(&keys, kind, octets.as_bytes()), "{kind:?} {number}");
            }
            assert!(!verifies(&keys, Kind::Broken, octets.as_bytes()));
        }
        assert_eq!((keys.record(Kind::Unsigned), keys.sign(Kind::Unsigned, b"")), (None, String::new()));
    }

    #[test]
    fn records_are_those_that_the_standard_prints() {
        let record = Keys::read().record(Kind::Ed25519).expect("a record");
        assert_eq!(record, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }
}
