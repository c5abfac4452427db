//! An operator, accounts and users of NATS, as `nsc` makes them: keys (nkeys), what is signed with them
//! (JWT), and the file of credentials of a user who may do everything in one account.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde_json::{Value, json};

/// Kinds of keys: the octet in front of a public key, whose five bits make its first letter.
const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;
const SEED: u8 = 18 << 3;
const SEED_BYTES: usize = 32;

/// Lines of a server's configuration, and a file of credentials.
pub struct Credentials {
    /// For each server.
    pub settings: String,
    /// For clients.
    pub file: String,
}

impl Credentials {
    /// New ones.
    pub fn make() -> Self {
        let [operator, system, account, user] = [OPERATOR, ACCOUNT, ACCOUNT, USER].map(Key::make);
        let of_operator = operator.sign(&operator, "test", json!({ "type": "operator" }));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        });
        let of_system = operator.sign(&system, "SYS", json!({ "type": "account", "limits": limits.clone() }));
        let mut with_streams = limits;
        for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
            with_streams[name] = (-1).into();
        }
        let of_account =
            operator.sign(&account, "mail", json!({ "type": "account", "limits": with_streams }));
        let rights = json!({ "type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
        let of_user = account.sign(&user, "ringmx", rights);
        let settings = format!(
            "operator: {of_operator}\nsystem_account: {0}\nresolver: MEMORY\n\
             resolver_preload: {{ {0}: {of_system}, {1}: {of_account} }}\n",
            system.name(),
            account.name()
        );
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()
        );
        Self { settings, file }
    }
}

struct Key {
    kind: u8,
    seed: [u8; SEED_BYTES],
    pair: Ed25519KeyPair,
}

impl Key {
    fn make(kind: u8) -> Self {
        let mut seed = [0; SEED_BYTES];
        rand::fill(&mut seed).expect("random octets");
        Self { kind, seed, pair: Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key") }
    }

    /// The public key as text.
    fn name(&self) -> String {
        text(&[&[self.kind], self.pair.public_key().as_ref()].concat())
    }

    /// The secret as text.
    fn seed(&self) -> String {
        text(&[&[SEED | (self.kind >> 5), (self.kind & 31) << 3], &self.seed[..]].concat())
    }

    /// What is claimed of somebody, signed with this key.
    fn sign(&self, subject: &Self, name: &str, mut claims: Value) -> String {
        claims["version"] = 2.into();
        let claims = json!({
            "jti": subject.name(), "iat": 1, "iss": self.name(), "name": name, "sub": subject.name(), "nats": claims,
        });
        let encoded = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = encoded(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
        let signed = format!("{head}.{}", encoded(claims));
        let signature = BASE64URL_NOPAD.encode(self.pair.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

/// Octets and their checksum.
fn text(octets: &[u8]) -> String {
    BASE32_NOPAD.encode(&[octets, &checksum(octets).to_le_bytes()].concat())
}

/// CRC-16 of XMODEM.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum = 0u16;
    for octet in octets {
        sum ^= u16::from(*octet) << 8;
        for _ in 0..8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
        }
    }
    sum
}
