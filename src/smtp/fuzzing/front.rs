//! What trusted fronts say, for any input: the PROXY header against a reader that has all of it at once, the
//! attributes of XCLIENT against one that takes them apart by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::pieces;
use crate::limits::{EHLO_NAME_BYTES_MAX, PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};
use crate::smtp::input::Input;
use crate::smtp::proxy::{Header, ProxyReader};
use crate::smtp::supplies::Supplies;
use crate::smtp::xclient::{self, Attributes};

/// What a connection from a front begins with: the header is that of the reference, its octets are consumed
/// and no other, however they arrive.
pub fn check_proxy_header(octets: &[u8], sizes: &[usize]) {
    let shown = || octets.escape_ascii().to_string();
    let expected = naive_header(octets);
    for sizes in [&[], &[1][..], sizes] {
        let mut reader = ProxyReader::default();
        let (mut header, mut consumed) = (Header::Incomplete, 0);
        let mut supplies = Supplies::default();
        for piece in pieces(octets, sizes) {
            let mut input = Input::new(piece, &mut supplies);
            header = reader.advance(&mut input);
            consumed += input.position;
            if header != Header::Incomplete {
                break;
            }
            assert_eq!(input.position, piece.len(), "what is incomplete is consumed: {}", shown());
        }
        assert!(consumed <= PROXY_V2_BYTES_MAX, "bounded: {}", shown());
        match expected {
            Naive::Client(client, bytes) => {
                assert_eq!((header, consumed), (Header::Client(client), bytes), "{}", shown());
            }
            Naive::Bad => assert_eq!(header, Header::Bad, "{}", shown()),
            Naive::Incomplete => assert_eq!(header, Header::Incomplete, "{}", shown()),
        }
    }
}

/// What a reference says of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naive {
    Incomplete,
    Bad,
    /// The client, and how many octets the header has.
    Client(Option<SocketAddr>, usize),
}

fn naive_header(octets: &[u8]) -> Naive {
    match octets.first() {
        None => Naive::Incomplete,
        Some(b'P') => naive_version_1(octets),
        Some(_) => naive_version_2(octets),
    }
}

fn naive_version_1(octets: &[u8]) -> Naive {
    let Some(end) = octets.windows(2).position(|two| two == b"\r\n") else {
        let is_possible = b"PROXY ".iter().zip(octets).all(|(expected, octet)| expected == octet);
        return if is_possible && octets.len() <= PROXY_V1_BYTES_MAX {
            Naive::Incomplete
        } else {
            Naive::Bad
        };
    };
    let words = octets.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = words.unwrap_or_default().split(' ').collect();
    let port = |text: &str| {
        let number = text.parse::<u16>().ok()?;
        (number.to_string() == text).then_some(number)
    };
    let client = match words.as_slice() {
        _ if end + 2 > PROXY_V1_BYTES_MAX => None,
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family, source, destination, source_port, destination_port] => {
            let address = |text: &str| match *family {
                "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                _ => None,
            };
            let are_good = address(destination).is_some() && port(destination_port).is_some();
            address(source).zip(port(source_port)).filter(|_| are_good).map(|client| Some(client.into()))
        }
        _ => None,
    };
    client.map_or(Naive::Bad, |client| Naive::Client(client, end + 2))
}

fn naive_version_2(octets: &[u8]) -> Naive {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    if !signature.iter().zip(octets).all(|(expected, octet)| expected == octet) {
        return Naive::Bad;
    }
    let Some((fixed, behind)) = octets.split_first_chunk::<16>() else { return Naive::Incomplete };
    let length = usize::from(fixed[14]) * 256 + usize::from(fixed[15]);
    if 16 + length > PROXY_V2_BYTES_MAX {
        return Naive::Bad;
    }
    let Some(rest) = behind.get(..length) else { return Naive::Incomplete };
    let number = |at: usize| Some(u16::from(*rest.get(at)?) * 256 + u16::from(*rest.get(at + 1)?));
    let (client, addresses) = match (fixed[12], fixed[13]) {
        (0x20, _) | (0x21, 0x00) => return Naive::Client(None, 16 + length),
        (0x21, 0x11) => {
            let address = rest.first_chunk::<4>().map(|four| IpAddr::from(*four));
            (address.zip(number(8)).map(|client| Some(client.into())), 12)
        }
        (0x21, 0x21) => {
            let address = rest.first_chunk::<16>().map(|sixteen| IpAddr::from(*sixteen));
            (address.zip(number(32)).map(|client| Some(client.into())), 36)
        }
        (0x21, 0x31) => (Some(None), 216),
        _ => (None, 0),
    };
    // Each TLV: its kind, its length in two octets, and that many octets (§2.2.7).
    let mut at = addresses;
    while at < rest.len() {
        at += 3 + usize::from(number(at + 1).unwrap_or(u16::MAX));
    }
    match client {
        Some(client) if at == rest.len() => Naive::Client(client, 16 + length),
        Some(_) | None => Naive::Bad,
    }
}

/// The argument of XCLIENT: what is believed is what the reference reads, and can be shown to anybody.
pub fn check_xclient(argument: &[u8]) {
    let read = xclient::parse(argument).ok();
    if let Some(Attributes { helo: Some(name), .. }) = &read {
        let is_bounded = (1..=EHLO_NAME_BYTES_MAX).contains(&name.len());
        assert!(is_bounded && name.iter().all(u8::is_ascii_graphic), "{}", argument.escape_ascii());
    }
    assert_eq!(read, naive_attributes(argument), "{}", argument.escape_ascii());
}

fn naive_attributes(argument: &[u8]) -> Option<Attributes> {
    let mut attributes = Attributes::default();
    let mut any = false;
    for word in argument.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        let (name, value) = word.split_at(word.iter().position(|octet| *octet == b'=')?);
        let mut octets = value.iter().skip(1);
        let mut value = Vec::new();
        while let Some(octet) = octets.next() {
            value.push(if *octet == b'+' {
                let mut digit = || char::from(*octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            } else {
                *octet
            });
        }
        let text = String::from_utf8_lossy(&value);
        let is_unknown =
            ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| word.eq_ignore_ascii_case(&text));
        let number = || text.parse::<u16>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
        let address = || match text.get(..5) {
            Some(prefix) if prefix.eq_ignore_ascii_case("ipv6:") => {
                text.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
            }
            Some(_) | None => text.parse::<IpAddr>().ok(),
        };
        match (String::from_utf8_lossy(name).to_ascii_uppercase().as_str(), is_unknown) {
            _ if value.is_empty() => return None,
            ("ADDR", true) => attributes.address = Some(Ipv4Addr::UNSPECIFIED.into()),
            ("ADDR", false) => attributes.address = Some(address()?),
            ("PORT", true) => attributes.port = Some(0),
            ("PORT", false) => attributes.port = Some(number()?),
            ("HELO", true) => attributes.helo = None,
            ("HELO", false) => {
                value.iter().all(u8::is_ascii_graphic).then_some(())?;
                value.truncate(EHLO_NAME_BYTES_MAX);
                attributes.helo = Some(value.into());
            }
            ("PROTO", _) if text.eq_ignore_ascii_case("SMTP") => attributes.is_esmtp = Some(false),
            ("PROTO", _) if text.eq_ignore_ascii_case("ESMTP") => attributes.is_esmtp = Some(true),
            ("DESTADDR", false) => drop(address()?),
            ("DESTPORT", false) => drop(number()?),
            ("NAME" | "LOGIN", _) | ("DESTADDR" | "DESTPORT", true) => {}
            _ => return None,
        }
        any = true;
    }
    any.then_some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Headers that are right or nearly so, and what may follow.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let address = prop_oneof![
            3 => "(192\\.0\\.2\\.[0-9]{1,3})",
            2 => "(2001:db8::[0-9a-f]{1,5})",
            1 => "[0-9a-f.:]{0,9}"
        ];
        let port = prop_oneof![3 => "[0-9]{1,5}", 1 => "[+0-9]{0,6}"];
        let addresses = (address.clone(), address, port.clone(), port);
        let family =
            prop_oneof![3 => Just("TCP4"), 3 => Just("TCP6"), 1 => Just("UNKNOWN"), 1 => Just("UDP4")];
        let first = (family, addresses, prop_oneof![6 => Just("\r\n"), 1 => Just("\n"), 1 => Just(" \r\n")])
            .prop_map(|(family, (from, to, port, to_port), end)| {
                format!("PROXY {family} {from} {to} {port} {to_port}{end}EHLO").into_bytes()
            });
        let command = prop_oneof![6 => Just(0x21_u8), 1 => Just(0x20), 1 => any::<u8>()];
        let family = prop_oneof![
            3 => Just(0x11_u8), 3 => Just(0x21), 1 => Just(0x31), 1 => Just(0), 1 => any::<u8>()
        ];
        let sizes = prop_oneof![2 => Just(12_usize), 2 => Just(36), 1 => Just(216), 1 => 0..50_usize];
        let tlv = (any::<u8>(), 0..9_u8)
            .prop_map(|(kind, count)| [&[kind, 0, count][..], &vec![7; usize::from(count)]].concat());
        let tlvs = prop::collection::vec(tlv, 0..4).prop_map(|tlvs| tlvs.concat());
        let second =
            (command, family, sizes, tlvs, -2..3_isize).prop_map(|(command, family, size, tlvs, off)| {
                let rest = [vec![1; size], tlvs].concat();
                let length = u16::try_from(rest.len().saturating_add_signed(off)).unwrap_or(u16::MAX);
                let start = [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length.to_be_bytes()].concat();
                [start, rest, b"EH".to_vec()].concat()
            });
        prop_oneof![first, second, prop::collection::vec(any::<u8>(), 0..40)]
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        const PARTS: [&str; 28] = [
            "ADDR=",
            "PORT=",
            "HELO=",
            "PROTO=",
            "NAME=",
            "LOGIN=",
            "DESTADDR=",
            "DESTPORT=",
            "addr=",
            " ",
            "\t",
            "192.0.2.1",
            "IPV6:",
            "2001:db8::1",
            "25",
            "+",
            "+2E",
            "+3d",
            "+XY",
            "ESMTP",
            "smtp",
            "[UNAVAILABLE]",
            "[tempunavail]",
            "x.test",
            "=",
            "65536",
            "\u{e9}",
            "::ffff:192.0.2.1",
        ];
        let part = prop_oneof![
            20 => (0..PARTS.len()).prop_map(|index| PARTS[index].as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|octet| vec![octet]),
            1 => (0..400_usize).prop_map(|count| vec![b'x'; count]),
        ];
        prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { ProptestConfig::default().cases.max(2000) },
            // Miri has no files to remember a failure in.
            failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
            ..ProptestConfig::default()
        })]

        #[test]
        fn claims_on_proxy_headers_hold(octets in header(), sizes in prop::collection::vec(1..40_usize, 1..6)) {
            check_proxy_header(&octets, &sizes);
        }

        #[test]
        fn claims_on_xclient_hold(argument in argument()) {
            check_xclient(&argument);
        }
    }
}
