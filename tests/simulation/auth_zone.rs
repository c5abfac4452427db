//! What the DNS holds in the simulation of authentication. What a domain says of its mail is decided by its
//! number, so that a test can tell what has to become of a message.

use std::sync::OnceLock;

use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::ring::simulated::World;
use support::signer::Signer;

use crate::lookup::Zone;

/// Numbers of domains.
pub const DOMAINS: u64 = 16;

/// See the module.
pub const ZONE: Zone = Zone { truth, stray };

/// What a domain wants to become of mail that it does not vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It has no DMARC record.
    Unsaid,
    None,
    Quarantine,
    Reject,
}

/// What SPF of a domain finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spf {
    None,
    Pass,
    Fail,
    PermError,
    Neutral,
}

/// The selectors: two good keys, one that is another's, and one without a key.
pub const SELECTORS: [&str; 4] = ["rsa", "ed", "other", "nothing"];

/// The key of a selector.
pub fn signer(selector: &str) -> &'static Signer {
    static SIGNERS: OnceLock<[Signer; 2]> = OnceLock::new();
    let [rsa, ed25519] = SIGNERS.get_or_init(|| [Signer::rsa(), Signer::ed25519()]);
    if selector == "rsa" { rsa } else { ed25519 }
}

/// The domain of this number.
pub fn domain(number: u64) -> String {
    format!("d{number}.from.test")
}

/// What a domain wishes.
pub fn wish(number: u64) -> Wish {
    [Wish::Unsaid, Wish::None, Wish::Quarantine, Wish::Reject][index(number % 4)]
}

/// What SPF of a domain finds of the client 198.51.100.`client`.
pub fn spf(number: u64, client: u8) -> Spf {
    match number / 4 % 4 {
        0 => Spf::None,
        1 if client < 128 => Spf::Pass,
        1 => Spf::Fail,
        2 => Spf::PermError,
        _ => Spf::Neutral,
    }
}

fn truth(question: &Question) -> Answer {
    let name = question.name.to_string();
    if question.kind != Kind::Txt {
        return Answer::NoName;
    }
    let text = match name.rsplit_once("._domainkey.") {
        Some(("other", _)) => Some(other_key()),
        Some((selector @ ("rsa" | "ed"), _)) => Some(signer(selector).record()),
        Some(_) => None,
        None => match name.strip_prefix("_dmarc.") {
            Some(of) => number(of).and_then(|number| match wish(number) {
                Wish::Unsaid => None,
                Wish::None => Some("v=DMARC1; p=none".to_owned()),
                Wish::Quarantine => Some("v=DMARC1; p=quarantine".to_owned()),
                Wish::Reject => Some("v=DMARC1; p=reject".to_owned()),
            }),
            None => number(&name).and_then(|number| match spf(number, 0) {
                Spf::None => None,
                Spf::Pass | Spf::Fail => Some("v=spf1 ip4:198.51.100.0/25 -all".to_owned()),
                Spf::PermError => Some("v=spf1 nonsense -all".to_owned()),
                Spf::Neutral => Some("v=spf1 ?all".to_owned()),
            }),
        },
    };
    match text {
        Some(text) => Answer::Records(Records::Txt(vec![text.into_bytes().into()])),
        None => Answer::NoName,
    }
}

/// The record of a key that signed nothing.
fn other_key() -> String {
    static OTHER: OnceLock<String> = OnceLock::new();
    OTHER.get_or_init(|| Signer::ed25519().record()).clone()
}

fn number(name: &str) -> Option<u64> {
    name.strip_prefix('d')?.strip_suffix(".from.test")?.parse().ok()
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

fn stray(world: &World) -> Question {
    let name = format!("_dmarc.{}", domain(world.random(DOMAINS)));
    Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
}
