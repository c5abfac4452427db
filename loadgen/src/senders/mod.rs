//! Who the messages of a run are from, when they are signed: domains that come as often as Zipf's law has it,
//! the way in which each sender signs, what its domain says in the DNS, and what a receiver has to find.
//!
//! All signatures are made at the start, so that a message costs no more than to copy a header section.
//! Nothing but the seed and the date is drawn: the same options give the same senders, keys and zone.

pub mod deal;
pub mod keys;
pub mod kind;
pub mod policy;
mod signature;
pub mod zone;

mod rsa_1024;

use std::collections::BTreeMap;
use std::thread;

use deal::{Deal, Seat};
use keys::Keys;
use kind::{Kind, SignMix};
use policy::{Expected, Policy};
use signature::Signing;
pub use signature::body_hash;

/// Domains of a run, at most.
pub const DOMAINS_MAX: u32 = 99_999;

/// What senders are made of.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// How they sign.
    pub mix: &'a SignMix,
    /// Domains. `1..=DOMAINS_MAX`
    pub domains: usize,
    /// The local-part of the reverse-path and of From:.
    pub local_part: &'a str,
    /// To:.
    pub to: &'a str,
    /// Date:.
    pub date: &'a str,
    /// The same in seconds since 1970.
    pub now: u64,
    /// Of the order of the messages.
    pub seed: u64,
}

/// One who sends.
#[derive(Debug)]
pub struct Sender {
    /// MAIL, with its CRLF.
    pub mail: Vec<u8>,
    /// The header section without the fields that have the id of a message, and without the empty line that
    /// ends it. That of every sender has the same length.
    pub header: Vec<u8>,
    /// Which text the sender's messages have.
    pub text: usize,
}

/// All who send, and whose message is whose.
#[derive(Debug)]
pub struct Senders {
    deal: Deal,
    senders: Vec<Sender>,
}

/// Who sends, before the texts are known.
#[derive(Debug)]
pub struct Unsigned<'a> {
    recipe: Recipe<'a>,
    deal: Deal,
}

/// The domain of this rank, from 0. The names of all have the same length.
fn domain(rank: usize) -> String {
    format!("d{:05}.test", rank + 1)
}

/// The field that says what a receiver has to find. It ends with a comment that fills the header section up.
const EXPECTED: &str = "X-Loadgen-Expect: ";

/// Octets of that field at least, whatever it says.
const EXPECTED_BYTES: usize = 96;

impl<'a> Unsigned<'a> {
    /// Deals the messages out.
    pub fn new(recipe: Recipe<'a>) -> Self {
        Self { deal: Deal::new(recipe.mix, recipe.domains, recipe.seed), recipe }
    }

    /// Octets of the header section of each sender.
    pub fn header_bytes(&self) -> usize {
        let keys = Keys::read();
        let longest = |(kind, _): &(Kind, u32)| {
            let seat = Seat { rank: 0, kind: *kind, number: 0 };
            self.signed_fields(&keys, &seat, &[0; 32]).len()
        };
        self.recipe.mix.0.iter().map(longest).max().unwrap_or(0) + EXPECTED_BYTES
    }

    /// Signs for all senders, over texts with these body hashes, of which there is one at least.
    pub fn sign(self, body_hashes: &[[u8; 32]]) -> Senders {
        let header_bytes = self.header_bytes();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let part = self.deal.seats.len().div_ceil(cores).max(1);
        let signed = |seats: &[Seat]| -> Vec<Sender> {
            let keys = Keys::read();
            let sender = |seat: &Seat| {
                let text = (seat.rank + seat.number) % body_hashes.len();
                let mail = format!("MAIL FROM:<{}@{}>\r\n", self.recipe.local_part, domain(seat.rank));
                let header = self.header(&keys, seat, &body_hashes[text], header_bytes);
                Sender { mail: mail.into_bytes(), header: header.into_bytes(), text }
            };
            seats.iter().map(sender).collect()
        };
        let senders = thread::scope(|scope| {
            let threads: Vec<_> =
                self.deal.seats.chunks(part).map(|seats| scope.spawn(move || signed(seats))).collect();
            let parts = threads.into_iter().map(|thread| thread.join().expect("signing does not panic"));
            parts.flatten().collect()
        });
        Senders { deal: self.deal, senders }
    }

    /// A header section that is filled up to so many octets.
    fn header(&self, keys: &Keys, seat: &Seat, body_hash: &[u8; 32], bytes: usize) -> String {
        let mut header = self.signed_fields(keys, seat, body_hash);
        let expected = Policy::of(seat.rank).expected(seat.kind).to_string();
        let missing = bytes - header.len() - EXPECTED.len() - expected.len() - " ()\r\n".len();
        header.extend([EXPECTED, &expected, " (", &".".repeat(missing), ")\r\n"]);
        header
    }

    /// The signature and what it is of.
    fn signed_fields(&self, keys: &Keys, seat: &Seat, body_hash: &[u8; 32]) -> String {
        let Recipe { local_part, to, date, now, .. } = self.recipe;
        let domain = domain(seat.rank);
        let (from, to) = (format!("loadgen <{local_part}@{domain}>"), format!("<{to}>"));
        let fields = [
            ("Date", date),
            ("From", &from),
            ("To", &to),
            ("Subject", "A message made by loadgen"),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=us-ascii"),
        ];
        let signing = Signing { domain: &domain, kind: seat.kind, body_hash, now };
        let mut header = signature::field(keys, &signing, &fields);
        for (name, value) in fields {
            header.extend([name, ": ", value, "\r\n"]);
        }
        header
    }
}

impl Senders {
    /// All of them.
    pub fn all(&self) -> &[Sender] {
        &self.senders
    }

    /// Who sends a message of this number, as an index.
    pub fn index_of(&self, number: u64) -> usize {
        self.deal.seat_of(number)
    }

    /// The one with this index.
    pub fn at(&self, index: usize) -> &Sender {
        &self.senders[index]
    }
}

/// Of all messages the part that has each result, by check, if a receiver is right.
pub type Shares = BTreeMap<&'static str, BTreeMap<&'static str, f64>>;

/// What a receiver finds of the mail of so many domains that sign in these ways.
pub fn shares(mix: &SignMix, domains: usize) -> Shares {
    // The order of the messages does not matter.
    let deal = Deal::new(mix, domains, 0);
    let mut shares = Shares::new();
    for index in &deal.order {
        let seat = deal.seats[*index as usize];
        let Expected { spf, dkim, dmarc, policy: _ } = Policy::of(seat.rank).expected(seat.kind);
        for (check, result) in [("spf", spf), ("dkim", dkim), ("dmarc", dmarc)] {
            *shares.entry(check).or_default().entry(result).or_default() += 1.0 / deal.order.len() as f64;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn signed(mix: &str, domains: usize) -> Senders {
        let mix = mix.parse().expect("a mix");
        let recipe = Recipe {
            mix: &mix,
            domains,
            local_part: "a",
            to: "b@y.test",
            date: "Thu, 01 Jan 1970 00:00:00 +0000",
            now: 0,
            seed: 1,
        };
        let unsigned = Unsigned::new(recipe);
        let bytes = unsigned.header_bytes();
        let senders = unsigned.sign(&[body_hash(b"one\r\n"), body_hash(b"two\r\n")]);
        assert!(senders.senders.iter().all(|sender| sender.header.len() == bytes));
        senders
    }

    fn header(sender: &Sender) -> &str {
        str::from_utf8(&sender.header).expect("ASCII")
    }

    #[test]
    fn senders_differ_in_domain_kind_and_text_and_not_in_size() {
        let senders = signed("ed25519:3,none", 12);
        let headers: HashSet<&[u8]> = senders.senders.iter().map(|sender| &sender.header[..]).collect();
        assert!(headers.len() > 12);
        for number in 0..500 {
            let sender = senders.at(senders.index_of(number));
            let mail = str::from_utf8(&sender.mail).expect("ASCII").trim_end();
            let mailbox = mail.strip_prefix("MAIL FROM:<a@").and_then(|rest| rest.strip_suffix('>'));
            let domain = mailbox.expect("a path");
            assert!(header(sender).contains(&format!("From: loadgen <a@{domain}>\r\n")));
            let is_signed = header(sender).starts_with("DKIM-Signature: ");
            assert_eq!(is_signed, header(sender).contains(&format!("d={domain};")));
            assert_eq!(header(sender).contains(" dkim=pass "), is_signed);
        }
        for text in [0, 1] {
            assert!(senders.senders.iter().any(|sender| sender.text == text));
        }
    }

    #[test]
    fn shares_are_those_of_all_messages() {
        let shares = shares(&"rsa-2048:8,broken,none".parse().expect("a mix"), 1);
        assert_eq!(shares["spf"], BTreeMap::from([("pass", 1.0)]));
        assert_eq!(shares["dmarc"], BTreeMap::from([("pass", 1.0)]));
        let dkim: Vec<_> =
            shares["dkim"].iter().map(|(result, part)| (*result, (part * 10.0).round())).collect();
        assert_eq!(dkim, [("fail", 1.0), ("none", 1.0), ("pass", 8.0)]);
        let sum: f64 = super::shares(&"none".parse().expect("a mix"), 70)["dmarc"].values().sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
}
