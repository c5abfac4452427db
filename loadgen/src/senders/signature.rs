//! Header sections with a signature (RFC 6376). Written from the standard, and sharing nothing with the
//! receiver, so that signer and verifier do not share a mistake.
//!
//! The fields that are signed are the same in all messages of a sender. Those with the id of a message are
//! not signed, and a receiver may add and remove trace fields.

use data_encoding::BASE64;

use super::keys::{Keys, hash};
use super::kind::Kind;

/// Columns of a line with a part of a signature.
const SIGNATURE_COLUMNS: usize = 72;

/// A fold within the field. In the relaxed form it is one blank.
const FOLD: &str = "\r\n\t";

/// What is signed besides the fields of the header section.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The domain that signs.
    pub domain: &'a str,
    /// How.
    pub kind: Kind,
    /// Hash of the body in its relaxed form.
    pub body_hash: &'a [u8; 32],
    /// Seconds since 1970.
    pub now: u64,
}

/// The signature field over these fields and a body, with its CRLF; empty if nothing is signed.
///
/// Each field is a name and a value without folds, without blanks at its ends and without two of them
/// together: so it is in its relaxed form already, but for the name. From: is named once more than it is
/// there, so that none can be added.
pub fn field(keys: &Keys, signing: &Signing<'_>, fields: &[(&str, &str)]) -> String {
    let Signing { domain, kind, body_hash, now } = *signing;
    let Some((selector, algorithm)) = Keys::names(kind) else { return String::new() };
    let names: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    let unsigned = [
        format!("v=1; a={algorithm}; c=relaxed/relaxed; d={domain};"),
        format!("s={selector}; t={now};"),
        format!("h={}:from;", names.join(":")),
        format!("bh={};", BASE64.encode(body_hash)),
        "b=".to_owned(),
    ]
    .join(FOLD);
    let mut signed = String::new();
    for (name, (_, value)) in names.iter().zip(fields) {
        signed.extend([name, ":", value, "\r\n"]);
    }
    signed.extend(["dkim-signature:", &unsigned.replace(FOLD, " ")]);
    let signature = keys.sign(kind, signed.as_bytes());
    let mut field = format!("DKIM-Signature: {unsigned}");
    for (index, part) in signature.as_bytes().chunks(SIGNATURE_COLUMNS).enumerate() {
        if index > 0 {
            field.push_str(FOLD);
        }
        field.extend(part.iter().map(|octet| char::from(*octet)));
    }
    field.push_str("\r\n");
    field
}

/// The hash of a body in its relaxed form (RFC 6376 §3.4.4). Its lines end in CRLF, the last one, too.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut relaxed = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut has_blank = false;
        for octet in line {
            if matches!(octet, b' ' | b'\t') {
                has_blank = true;
            } else {
                if std::mem::take(&mut has_blank) {
                    relaxed.push(b' ');
                }
                relaxed.push(*octet);
            }
        }
        relaxed.extend_from_slice(b"\r\n");
    }
    // Empty lines at the end are not signed.
    while relaxed.ends_with(b"\r\n\r\n") {
        relaxed.truncate(relaxed.len() - 2);
    }
    if relaxed == b"\r\n" {
        relaxed.clear();
    }
    hash(&relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_hash_is_of_the_relaxed_form() {
        // RFC 6376 §3.4.5: " C <SP><CRLF> D <HTAB><SP> E <CRLF><CRLF><CRLF>" becomes " C<CRLF> D E<CRLF>".
        assert_eq!(body_hash(b" C \r\nD \t E\r\n\r\n\r\n"), hash(b" C\r\nD E\r\n"));
        // §3.4.4: a body without octets has the hash of nothing.
        for empty in [&b""[..], b"\r\n", b" \r\n\t\r\n"] {
            assert_eq!(BASE64.encode(&body_hash(empty)), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        }
    }

    #[test]
    fn a_field_names_what_it_signs_and_its_lines_are_short() {
        let signing = Signing { domain: "x.test", kind: Kind::Rsa2048, body_hash: &[7; 32], now: 12 };
        let field = field(&Keys::read(), &signing, &[("From", "a <b@x.test>"), ("Subject", "y")]);
        assert!(field.starts_with("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.test;\r\n\t"));
        assert!(field.contains("\ts=rsa-2048; t=12;\r\n\th=from:subject:from;\r\n\tbh=BwcH"), "{field}");
        assert!(field.lines().all(|line| line.len() <= 78) && field.ends_with("==\r\n"), "{field}");
        let unsigned = Signing { kind: Kind::Unsigned, ..signing };
        assert_eq!(super::field(&Keys::read(), &unsigned, &[]), "");
    }
}
