//! What the DNS holds in the simulation of the front line: what lists say of a client, its name and what a
//! sender's domain has are decided by a number in each, so that a test can tell what has to become of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::ring::simulated::World;

use crate::lookup::Zone;

/// Numbers of clients and of senders.
pub const NUMBERS: u64 = 64;

/// See the module.
pub const ZONE: Zone = Zone { truth, stray };

/// What of the DNS may fail by itself. Everybody's list of test entries fails with its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Bad,
    Mild,
    Good,
    ReverseName,
    SenderDomain,
    /// What SPF asks; no reply depends on it.
    Spf,
}

/// The client of this number in IPv4, in IPv4 as IPv6 writes it, or in IPv6, where `host` tells neighbours of
/// a /64 apart.
pub fn address(number: u64, family: u64, host: u64) -> IpAddr {
    let v4 = Ipv4Addr::new(198, 51, 100, u8::try_from(number).expect("small"));
    match family {
        0 => v4.into(),
        1 => v4.to_ipv6_mapped().into(),
        _ => {
            Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(number) << 64 | u128::from(host)).into()
        }
    }
}

/// Which part a question belongs to.
pub fn part(question: &Question) -> Part {
    let name = question.name.to_string();
    match question.kind {
        Kind::Mx => Part::SenderDomain,
        Kind::Txt => Part::Spf,
        Kind::Tlsa => unreachable!("no check of a client asks for keys of servers"),
        Kind::A | Kind::Aaaa | Kind::Ptr => match name.rsplit_once('.').map_or("", |(rest, _)| rest) {
            rest if rest.ends_with("bad.list") => Part::Bad,
            rest if rest.ends_with("mild.list") => Part::Mild,
            rest if rest.ends_with("good.list") => Part::Good,
            _ => Part::ReverseName,
        },
    }
}

/// What holds.
pub fn truth(question: &Question) -> Answer {
    let name = question.name.to_string();
    match question.kind {
        Kind::A => match name.split_once(".list.test") {
            Some((entry, "")) => listing(entry),
            Some(_) | None => address_of(&name),
        },
        Kind::Aaaa => v6_of(&name),
        Kind::Ptr => name_of(&name),
        Kind::Mx => match number_between(&name, "s", ".from.test").map(|number| number % 5) {
            Some(1) => Answer::Records(Records::Mx(vec![(0, None)])),
            Some(2) => Answer::NoRecords,
            Some(3 | 4) => Answer::Records(Records::Mx(vec![(10, Name::new(b"mx.from.test"))])),
            Some(_) | None => Answer::NoName,
        },
        Kind::Txt => match number_between(&name, "s", ".from.test") {
            Some(number) if number % 2 == 0 => {
                Answer::Records(Records::Txt(vec![(*b"v=spf1 ip4:198.51.100.0/24 -all").into()]))
            }
            Some(_) | None => Answer::NoName,
        },
        Kind::Tlsa => Answer::NoName,
    }
}

/// What `entry.name` of a list is: a test entry, or one of a client.
fn listing(name: &str) -> Answer {
    let Some((entry, list)) = name.rsplit_once('.') else { return Answer::NoName };
    let is_listed = match (entry, number_of(entry)) {
        ("2.0.0.127", _) => true,
        (_, Some(number)) => match list {
            "bad" => number % 5 == 0,
            "mild" => number % 3 == 0,
            _ => number % 7 == 0,
        },
        (_, None) => false,
    };
    if is_listed { Answer::Records(Records::A(vec![[127, 0, 0, 2].into()])) } else { Answer::NoName }
}

/// The number of a client by its address as the DNS turns it round.
fn number_of(entry: &str) -> Option<u64> {
    if let Some(number) = number_between(entry, "", ".100.51.198") {
        return Some(number);
    }
    let nibbles: Vec<&str> = entry.split('.').collect();
    let nibble = |at: usize| u64::from_str_radix(nibbles.get(at)?, 16).ok();
    (nibbles.len() == 32).then(|| Some(nibble(16)? + 16 * nibble(17)?))?
}

fn name_of(reversed: &str) -> Answer {
    let entry = reversed.trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa");
    let name = match number_of(entry) {
        Some(number) if number % 4 == 3 => return Answer::NoName,
        // Its name is somebody else's.
        Some(number) if number % 11 == 5 => "a250.name.test".to_owned(),
        Some(number) if reversed.ends_with(".in-addr.arpa") => format!("a{number}.name.test"),
        Some(_) => {
            let nibbles: String = entry.split('.').rev().collect();
            format!("x{nibbles}.name.test")
        }
        None => return Answer::NoName,
    };
    Answer::Records(Records::Ptr(Name::new(name.as_bytes()).into_iter().collect()))
}

fn address_of(name: &str) -> Answer {
    match number_between(name, "a", ".name.test") {
        Some(number) => {
            let last = u8::try_from(number).expect("small");
            Answer::Records(Records::A(vec![[198, 51, 100, last].into()]))
        }
        None => Answer::NoName,
    }
}

fn v6_of(name: &str) -> Answer {
    let bits = name.strip_prefix('x').and_then(|rest| rest.strip_suffix(".name.test"));
    match bits.and_then(|bits| u128::from_str_radix(bits, 16).ok()) {
        Some(bits) => Answer::Records(Records::Aaaa(vec![Ipv6Addr::from_bits(bits)])),
        None => Answer::NoName,
    }
}

fn number_between(text: &str, before: &str, after: &str) -> Option<u64> {
    text.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}

fn stray(world: &World) -> Question {
    let name = format!("s{}.from.test", world.random(NUMBERS));
    Question::new(Kind::Mx, Name::new(name.as_bytes()).expect("a name"))
}
