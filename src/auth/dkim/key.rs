//! The record of a key (RFC 6376 §3.6.1).

use super::signature::{Algorithm, Problem, Signature};
use super::tags::{Tags, base64, elements};

/// A longer record is none.
const RECORD_BYTES_MAX: usize = 4096;

/// A key that may have made a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `p=`.
    pub octets: Vec<u8>,
    /// The domain only tests its signatures.
    pub is_test: bool,
}

/// Reads a record for this signature.
pub fn parse(record: &[u8], signature: &Signature<'_>) -> Result<Key, Problem> {
    if record.len() > RECORD_BYTES_MAX {
        return Err(Problem::BadKey);
    }
    let tags = Tags::parse(record).ok_or(Problem::BadKey)?;
    if tags.value("v").is_some_and(|version| version != b"DKIM1" || tags.first() != Some(b"v")) {
        return Err(Problem::BadKey);
    }
    let octets = tags.value("p").ok_or(Problem::BadKey)?;
    if octets.is_empty() {
        return Err(Problem::Revoked);
    }
    let kind: &[u8] = match signature.algorithm {
        Algorithm::RsaSha256 | Algorithm::RsaSha1 => b"rsa",
        Algorithm::Ed25519Sha256 => b"ed25519",
    };
    let is_for_us = tags.value("k").is_none_or(|key| key == kind)
        && (tags.value("k").is_some() || kind == b"rsa")
        && tags.value("h").is_none_or(|hashes| elements(hashes).any(|hash| hash == b"sha256"))
        && tags
            .value("s")
            .is_none_or(|services| elements(services).any(|one| one == b"*" || one == b"email"));
    let has_flag = |flag: &[u8]| tags.value("t").is_some_and(|flags| elements(flags).any(|one| one == flag));
    if !is_for_us || has_flag(b"s") && signature.identity != signature.domain {
        return Err(Problem::ForeignKey);
    }
    let octets = base64(octets).ok_or(Problem::BadKey)?;
    Ok(Key { octets, is_test: has_flag(b"y") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(record: &str, algorithm: &str, identity: &str) -> Result<(Vec<u8>, bool), Problem> {
        let value = format!("v=1; a={algorithm}; d=x.test; s=s; h=from; bh=Zm9v; b=YmFy; i={identity}");
        let signature = Signature::parse(value.as_bytes(), 0).expect("a signature");
        parse(record.as_bytes(), &signature).map(|key| (key.octets, key.is_test))
    }

    #[test]
    fn a_record_is_for_the_signature_or_not() {
        let good = Ok((b"foo".to_vec(), false));
        for (record, algorithm, identity, expected) in [
            ("v=DKIM1; k=rsa; p=Zm9v", "rsa-sha256", "@x.test", good.clone()),
            ("p=Zm9v", "rsa-sha256", "@x.test", good.clone()),
            ("v=DKIM1; p=Zm\r\n 9v;", "rsa-sha256", "@x.test", good.clone()),
            ("v=DKIM1; k=ed25519; p=Zm9v", "ed25519-sha256", "@x.test", good.clone()),
            ("h=sha1:sha256; s=email; p=Zm9v; n=note", "rsa-sha256", "@x.test", good.clone()),
            ("t=y:s; p=Zm9v", "rsa-sha256", "@x.test", Ok((b"foo".to_vec(), true))),
            ("p=Zm9v", "ed25519-sha256", "@x.test", Err(Problem::ForeignKey)),
            ("k=ed25519; p=Zm9v", "rsa-sha256", "@x.test", Err(Problem::ForeignKey)),
            ("h=sha1; p=Zm9v", "rsa-sha256", "@x.test", Err(Problem::ForeignKey)),
            ("s=other; p=Zm9v", "rsa-sha256", "@x.test", Err(Problem::ForeignKey)),
            ("t=s; p=Zm9v", "rsa-sha256", "@mail.x.test", Err(Problem::ForeignKey)),
            ("v=DKIM1; p=", "rsa-sha256", "@x.test", Err(Problem::Revoked)),
            ("v=DKIM2; p=Zm9v", "rsa-sha256", "@x.test", Err(Problem::BadKey)),
            ("p=Zm9v; v=DKIM1", "rsa-sha256", "@x.test", Err(Problem::BadKey)),
            ("v=DKIM1; k=rsa", "rsa-sha256", "@x.test", Err(Problem::BadKey)),
            ("v=DKIM1; p=?", "rsa-sha256", "@x.test", Err(Problem::BadKey)),
            ("v=DKIM1; p=Zm9v; p=Zm9v", "rsa-sha256", "@x.test", Err(Problem::BadKey)),
        ] {
            assert_eq!(parsed(record, algorithm, identity), expected, "{record} {algorithm} {identity}");
        }
        assert_eq!(
            parsed(&format!("p=Zm9v; n={}", "x".repeat(4096)), "rsa-sha256", "@x.test"),
            Err(Problem::BadKey)
        );
    }
}
