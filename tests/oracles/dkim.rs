//! DKIM beside dkimpy: it signs random messages in all forms and with both algorithms, and we verify them at
//! every split of the body. Messages that were changed afterwards fail in both, or pass in both.
//!
//! What dkimpy reads otherwise, and these messages therefore leave out: a bare LF is a line end to it; blanks
//! at the end of a body without a last CRLF stay in its relaxed form (RFC 6376 §3.4.4 ignores them); a blank
//! before a field's colon is an error to it (RFC 5322 §4.5 allows it to be read).

use std::time::SystemTime;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RsaKeyPair};
use data_encoding::BASE64;
use ringmx::auth::dkim::signature::Signature;
use ringmx::auth::dkim::verify::{BodyHash, PublicKey};
use ringmx::auth::header::Header;
use serde_json::{Value, json};
use support::load::Random;

use crate::python::Python;
use crate::{Again, seeds};

/// A key as dkimpy takes it, and its record.
struct Key {
    algorithm: &'static str,
    private: String,
    record: String,
}

impl Key {
    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let private: Pkcs8V1Der<'_> = pair.as_der().expect("DER");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
        Self {
            algorithm: "rsa-sha256",
            private: format!(
                "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
                BASE64.encode(content_of_last(private.as_ref()))
            ),
            record: format!("v=DKIM1; k=rsa; p={}", BASE64.encode(public.as_ref())),
        }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let seed = pair.seed().expect("a seed");
        let octets =
            aws_lc_rs::encoding::AsBigEndian::<aws_lc_rs::encoding::Curve25519SeedBin<'_>>::as_be_bytes(
                &seed,
            );
        Self {
            algorithm: "ed25519-sha256",
            private: BASE64.encode(octets.expect("octets").as_ref()),
            record: format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(pair.public_key().as_ref())),
        }
    }
}

/// The content of the last element of a sequence in DER. In a PrivateKeyInfo without attributes that is the
/// RSAPrivateKey (RFC 5208 §5).
fn content_of_last(sequence: &[u8]) -> &[u8] {
    let (mut rest, mut last) = (element(sequence).0, &[][..]);
    while !rest.is_empty() {
        (last, rest) = element(rest);
    }
    last
}

/// The content of the first element, and what follows it.
fn element(octets: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = (octets[1], &octets[2..]);
    if length < 0x80 {
        return rest.split_at(length.into());
    }
    let (digits, rest) = rest.split_at(usize::from(length & 0x7f));
    rest.split_at(digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
}

/// A message before it is signed.
struct Message {
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
}

fn pick<'a, T: ?Sized>(random: &mut Random, all: &[&'a T]) -> &'a T {
    all[index(random, all.len())]
}

fn index(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("an index")
}

impl Message {
    fn random(random: &mut Random) -> Self {
        let mut fields = vec![field("From", random)];
        for _ in 0..random.below(6) {
            let name = pick(random, &["To", "Subject", "subject", "X", "x", "Date", "X-Long-Name"]);
            fields.insert(index(random, fields.len() + 1), field(name, random));
        }
        let parts: &[&[u8]] =
            &[b"a", b"word", b" ", b"  ", b"\t", b"\r\n", b"\r\n", b"\r", b".", b"\xff", b"="];
        let mut body: Vec<u8> = (0..random.below(40)).flat_map(|_| pick(random, parts)).copied().collect();
        // A CR before the last CRLF is no part of it, and a bare one at the end would be with a LF after it.
        while body.last().is_some_and(|octet| b" \t\r".contains(octet)) {
            body.pop();
        }
        if random.below(4) > 0 && !body.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
        Self { fields, body }
    }

    fn octets(&self) -> Vec<u8> {
        [&self.fields.concat()[..], b"\r\n", &self.body].concat()
    }
}

/// A field with odd blanks, folds and octets.
fn field(name: &str, random: &mut Random) -> Vec<u8> {
    let parts: &[&[u8]] =
        &[b"a", b"word", b" ", b"  ", b"\t", b"\r\n x", b"\r\n\t", b":", b";", b"\xc3\xa9", b"\x01"];
    let mut field = format!("{name}:").into_bytes();
    field.extend((0..random.below(10)).flat_map(|_| pick(random, parts)));
    // A line of blanks only ends no field, but is one for nobody else.
    field.extend_from_slice(b"z\r\n");
    field
}

/// Names that are signed: dkimpy's own choice, or some with `From`, also more often than they are there.
fn signed_names(random: &mut Random) -> Vec<&'static str> {
    if random.below(3) == 0 {
        return Vec::new();
    }
    let mut names = vec!["from"];
    for _ in 0..random.below(5) {
        names.insert(
            index(random, names.len() + 1),
            pick(random, &["from", "To", "subject", "x", "X", "date", "none"]),
        );
    }
    names
}

/// Whether we verify the first signature of a message, with the body cut in two here.
fn verifies(message: &[u8], record: &str, split: Option<usize>) -> bool {
    let header = Header::new(message);
    let Some(own) = header.named("DKIM-Signature").next() else { return false };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let Ok(signature) = Signature::parse(header.value(own), now) else { return false };
    let key = ringmx::auth::dkim::key::parse(record.as_bytes(), &signature).expect("a key");
    let key = PublicKey::new(signature.algorithm, &key.octets).expect("a key");
    let body_start = header.fields().last().map_or(0, |field| header.place(field).end) + b"\r\n".len();
    let body = message.get(body_start..).unwrap_or_default();
    let mut hash = BodyHash::new(signature.body_form);
    let (first, second) = body.split_at(split.unwrap_or_default().min(body.len()));
    hash.update(first);
    hash.update(second);
    let mut octets = Vec::new();
    signature.hash_header(&header, own, &mut |part| octets.extend_from_slice(part));
    hash.finish()[..] == signature.body_hash[..] && key.verify(&signature, &octets)
}

fn dkimpy_verifies(dkimpy: &mut Python, message: &[u8], record: &str) -> bool {
    let asked = json!({"do": "verify", "message": BASE64.encode(message), "record": record});
    dkimpy.ask(&asked)["good"] == Value::Bool(true)
}

/// What became of a signed message on its way, what was done to it, and whether that has to break the
/// signature.
fn change(message: &[u8], random: &mut Random) -> (Vec<u8>, &'static str, bool) {
    let mut changed = message.to_vec();
    let body_start = message.windows(4).position(|window| window == b"\r\n\r\n").expect("a body") + 4;
    let signature_end = message.windows(3).position(|window| window == b"\r\nF").unwrap_or(0);
    match random.below(6) {
        0 => {
            let more = pick(random, &[&b"Subject: more\r\n"[..], b"X: more\r\n", b"To: c@y.test\r\n"]);
            changed.splice(0..0, more.iter().copied());
            (changed, "a field above", false)
        }
        1 => {
            changed.splice(body_start - 2..body_start - 2, b"From: b@y.test\r\n".iter().copied());
            (changed, "a field below", true)
        }
        2 => {
            let more = pick(random, &[&b"\r\n"[..], b" \r\n", b"more\r\n"]);
            changed.extend_from_slice(more);
            (changed, "more at the end", more.starts_with(b"m"))
        }
        3 => {
            let more = pick(random, &[&b" "[..], b"\r\n", b"x"]);
            changed.splice(body_start..body_start, more.iter().copied());
            (changed, "more at the beginning of the body", more == b"x")
        }
        4 => {
            let at = index(random, signature_end.max(1));
            if changed[at].is_ascii_alphanumeric() {
                changed[at] = if changed[at] == b'Q' { b'R' } else { b'Q' };
            }
            (changed, "a letter of the signature", false)
        }
        _ => {
            let at = signature_end + index(random, changed.len() - signature_end);
            // What makes or ends a line is read otherwise by dkimpy, and so is a field that becomes none.
            let kept: &[u8] = if at < body_start { b" \t\r\n:" } else { b"\r\n" };
            let is_kept = kept.contains(&changed[at]);
            if !is_kept {
                changed[at] = if at < body_start { b'q' } else { b" \tq"[index(random, 3)] };
            }
            (changed, "an octet", false)
        }
    }
}

#[test]
fn what_dkimpy_signs_verifies_at_every_split_and_what_was_changed_does_as_dkimpy_says() {
    let Some(mut dkimpy) = Python::start("dkim") else { return };
    let keys = [Key::rsa(), Key::ed25519()];
    let (mut messages, mut splits, mut good, mut bad) = (0_u32, 0, 0_u32, 0_u32);
    for seed in seeds(200) {
        let _again = Again("dkim", seed);
        let mut random = Random::new(seed);
        let message = Message::random(&mut random);
        let key = &keys[index(&mut random, 2)];
        let forms = [pick(&mut random, &["simple", "relaxed"]), pick(&mut random, &["simple", "relaxed"])];
        let asked = json!({
            "do": "sign", "message": BASE64.encode(&message.octets()), "key": key.private,
            "algorithm": key.algorithm, "header": forms[0], "body": forms[1], "include": signed_names(&mut random),
        });
        let told = dkimpy.ask(&asked);
        let signature = told["field"].as_str().unwrap_or_else(|| panic!("{told}"));
        let signature = BASE64.decode(signature.as_bytes()).expect("base64");
        let signed = [signature, message.octets()].concat();
        for split in 0..=message.body.len() {
            let shown = || format!("split at {split}: {}", signed.escape_ascii());
            assert!(verifies(&signed, &key.record, Some(split)), "{}", shown());
            splits += 1;
        }
        messages += 1;
        for _ in 0..4 {
            let (mut changed, how, breaks) = change(&signed, &mut random);
            // Blanks at the end of a body without a last CRLF: see above.
            if changed.ends_with(b" ") || changed.ends_with(b"\t") {
                changed.extend_from_slice(b"\r\n");
            }
            let (ours, theirs) =
                (verifies(&changed, &key.record, None), dkimpy_verifies(&mut dkimpy, &changed, &key.record));
            assert_eq!(ours, theirs, "{how}: {}", changed.escape_ascii());
            assert!(!(ours && breaks), "{how}: {}", changed.escape_ascii());
            if ours { good += 1 } else { bad += 1 }
        }
    }
    println!("{messages} messages, {splits} splits; after changes {good} were still good and {bad} were not");
}
