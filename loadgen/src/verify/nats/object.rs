//! A large message in the object store: what the store says of it, and its chunks (the layout of NATS'
//! architecture decision 20).

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::BASE64URL;
use serde_json::Value;

use super::client::Client;
use super::stream;

/// Why there is no object.
pub enum Missing {
    /// The server could not be asked.
    Unanswered(String),
    /// It is not there, or not whole.
    Wrong(String),
}

/// The octets of an object, which are as many as the store says, with the checksum that it says.
pub fn read(client: &mut Client, bucket: &str, name: &str) -> Result<Vec<u8>, Missing> {
    let of_bucket = format!("OBJ_{bucket}");
    let meta_subject = format!("$O.{bucket}.M.{}", BASE64URL.encode(name.as_bytes()));
    let meta = stream::last_of(client, &of_bucket, &meta_subject).map_err(Missing::Unanswered)?;
    let meta = meta.ok_or_else(|| Missing::Wrong(format!("there is no object {name} in {bucket}")))?;
    let meta = Meta::parse(&meta.payload, name).map_err(Missing::Wrong)?;
    let chunk_subject = format!("$O.{bucket}.C.{}", meta.nuid);
    let (mut content, mut chunks, mut sequence) = (Vec::new(), 0, 1);
    while let Some(chunk) =
        stream::next_of(client, &of_bucket, &chunk_subject, sequence).map_err(Missing::Unanswered)?
    {
        content.extend(chunk.payload);
        (chunks, sequence) = (chunks + 1, chunk.sequence + 1);
    }
    meta.check(&content, chunks).map_err(Missing::Wrong)?;
    Ok(content)
}

/// What the store says of an object.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    /// Names its chunks.
    nuid: String,
    bytes: u64,
    chunks: u64,
    /// `SHA-256=` and base64.
    digest: String,
}

impl Meta {
    fn parse(text: &[u8], name: &str) -> Result<Self, String> {
        let meta: Value = serde_json::from_slice(text)
            .map_err(|error| format!("what is said of {name} is no JSON: {error}"))?;
        if meta["deleted"] == Value::Bool(true) {
            return Err(format!("the object {name} was deleted"));
        }
        if meta["name"] != *name {
            return Err(format!("the object {name} calls itself {}", meta["name"]));
        }
        let text = |member: &str| meta[member].as_str().map(str::to_owned);
        let number = |member: &str| meta[member].as_u64();
        let whole = || {
            Some(Self {
                nuid: text("nuid")?,
                bytes: number("size")?,
                chunks: number("chunks")?,
                digest: text("digest")?,
            })
        };
        whole().ok_or_else(|| format!("what is said of the object {name} lacks a member"))
    }

    fn check(&self, content: &[u8], chunks: u64) -> Result<(), String> {
        if (content.len() as u64, chunks) != (self.bytes, self.chunks) {
            let (bytes, found) = (self.bytes, content.len());
            let should = self.chunks;
            return Err(format!("its object has {found} octets in {chunks} chunks, not {bytes} in {should}"));
        }
        let mut digest = Context::new(&SHA256);
        digest.update(content);
        let sum = BASE64URL.encode(digest.finish().as_ref());
        // Some clients leave the padding out.
        let told = self.digest.strip_prefix("SHA-256=").map(|sum| sum.trim_end_matches('='));
        if told == Some(sum.trim_end_matches('=')) {
            Ok(())
        } else {
            Err("its object has another checksum than is said of it".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, of FIPS 180-2 appendix B.1.
    const META: &str = r#"{"name":"id","bucket":"b","nuid":"N","size":3,"chunks":2,
        "digest":"SHA-256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0="}"#;

    #[test]
    fn an_object_is_what_the_store_says_of_it_or_wrong() {
        let meta = Meta::parse(META.as_bytes(), "id").expect("meta");
        assert_eq!(meta.check(b"abc", 2), Ok(()));
        let without = META.replace("Fa0=", "Fa0");
        assert_eq!(Meta::parse(without.as_bytes(), "id").expect("meta").check(b"abc", 2), Ok(()));
        assert!(meta.check(b"abc", 1).is_err());
        assert!(meta.check(b"ab", 2).is_err());
        assert!(meta.check(b"abd", 2).is_err());
        assert!(Meta::parse(META.as_bytes(), "other").is_err());
        assert!(Meta::parse(META.replace("size", "sise").as_bytes(), "id").is_err());
        let deleted = META.replace("\"bucket\"", "\"deleted\":true,\"bucket\"");
        assert!(Meta::parse(deleted.as_bytes(), "id").is_err());
    }
}
