//! The PROXY protocol, versions 1 and 2: the header with which a trusted front tells whom it speaks for.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. Octets go in one by one or in any pieces;
//! nothing after the header is looked at. Whether the front may be believed is not judged here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::input::Input;
use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};

/// What a version 2 header begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of a version 2 header in front of its addresses.
const FIXED_BYTES: usize = 16;

/// What a version 1 header begins with (§2.1).
const V1_START: &[u8] = b"PROXY ";

/// Why a front that has to send a PROXY header did not send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProxyHeader {
    /// What it sent is no header, or a bad one.
    OtherOctets,
    /// Its time was over.
    TimedOut,
    /// It closed, or the connection broke.
    Ended,
    /// The same, and it had sent nothing: it only looked whether somebody listens here.
    Silent,
}

impl fmt::Display for NoProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherOctets => "other-octets",
            Self::TimedOut => "timed-out",
            Self::Ended => "ended",
            Self::Silent => "silent",
        })
    }
}

/// A header under way.
#[derive(Debug, Default)]
pub(super) struct ProxyReader {
    /// What came of it. `<= PROXY_V2_BYTES_MAX`.
    carry: Vec<u8>,
}

/// What the input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// The rest of it is still to come; all input is consumed.
    Incomplete,
    /// No header, or a bad one.
    Bad,
    /// The header is consumed. The front speaks for this client; none: for itself (LOCAL, UNKNOWN).
    Client(Option<SocketAddr>),
}

impl ProxyReader {
    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.carry.is_empty()
    }

    /// Reads on.
    pub(super) fn advance(&mut self, input: &mut Input<'_>) -> Header {
        loop {
            let wanted = match self.wanted() {
                Ok(0) => return self.finish(),
                Ok(wanted) => wanted,
                Err(Malformed) => return Header::Bad,
            };
            let rest = input.rest();
            let Some(part) = rest.get(..wanted.min(rest.len())).filter(|part| !part.is_empty()) else {
                return Header::Incomplete;
            };
            self.carry.extend_from_slice(part);
            input.consume(part.len());
        }
    }

    /// How many octets certainly belong to the header beyond those that came: 0 when it is whole.
    fn wanted(&self) -> Result<usize, Malformed> {
        let carry = self.carry.as_slice();
        if carry.first() == Some(&b'P') {
            if !begins_alike(carry, V1_START) || carry.len() > PROXY_V1_BYTES_MAX {
                return Err(Malformed);
            }
            let whole = carry.ends_with(b"\r\n");
            // Only its CRLF ends it, so what comes after it can only be found one octet at a time.
            return if whole { Ok(0) } else { Ok(1) };
        }
        if !begins_alike(carry, SIGNATURE) {
            return Err(Malformed);
        }
        let Some(head) = carry.first_chunk::<FIXED_BYTES>() else {
            return Ok(if carry.is_empty() { 1 } else { FIXED_BYTES - carry.len() });
        };
        let whole = FIXED_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
        if whole > PROXY_V2_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(whole.saturating_sub(carry.len()))
    }

    fn finish(&mut self) -> Header {
        let carry = std::mem::take(&mut self.carry);
        let client = if carry.starts_with(V1_START) { version_1(&carry) } else { version_2(&carry) };
        client.map_or(Header::Bad, Header::Client)
    }
}

/// Not a header.
struct Malformed;

/// Whether one is the beginning of the other.
fn begins_alike(text: &[u8], start: &[u8]) -> bool {
    text.iter().zip(start).all(|(octet, expected)| octet == expected)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 25`, or `PROXY UNKNOWN` and anything (§2.1).
fn version_1(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let line =
        header.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Malformed)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let words: Vec<&str> = words.collect();
    let &[source, destination, source_port, destination_port] = words.as_slice() else {
        return Err(Malformed);
    };
    let address = |text: &str| -> Result<IpAddr, Malformed> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Malformed),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    };
    address(destination)?;
    port(destination_port)?;
    Ok(Some(SocketAddr::new(address(source)?, port(source_port)?)))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits).ok_or(Malformed)
}

/// The binary header (§2.2). What it says in TLVs is not used, but they have to be well-formed.
fn version_2(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    let (head, rest) = header.split_first_chunk::<FIXED_BYTES>().ok_or(Malformed)?;
    let (command, family) = (head[12], head[13]);
    if command == LOCAL {
        // A health check of the front itself: what follows is to be skipped.
        return Ok(None);
    }
    if command != PROXY {
        return Err(Malformed);
    }
    let octets = |from: usize, count: usize| rest.get(from..from + count).ok_or(Malformed);
    let port =
        |from: usize| octets(from, 2).map(|port| port.iter().fold(0, |all, one| all << 8 | u16::from(*one)));
    let (client, addresses_bytes) = match family {
        0x11 => {
            let address = octets(0, 4)?.first_chunk::<4>().ok_or(Malformed)?;
            (Some(SocketAddr::from((*address, port(8)?))), 12)
        }
        0x21 => {
            let address = octets(0, 16)?.first_chunk::<16>().ok_or(Malformed)?;
            (Some(SocketAddr::from((*address, port(32)?))), 36)
        }
        // Unspecified: the receiver must take it and use the real addresses; the same goes for a front's Unix
        // socket.
        0x00 => return Ok(None),
        0x31 => (None, 216),
        _ => return Err(Malformed),
    };
    check_tlvs(rest.get(addresses_bytes..).ok_or(Malformed)?)?;
    Ok(client)
}

fn check_tlvs(mut rest: &[u8]) -> Result<(), Malformed> {
    while let Some(([_, high, low], behind)) = rest.split_first_chunk::<3>() {
        rest = behind.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(Malformed)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::supplies::Supplies;

    /// What is read of the octets however they arrive, and how many of them are consumed when a header was
    /// found.
    fn read(octets: &[u8]) -> (Header, usize) {
        let mut results = Vec::new();
        for piece in 1..=octets.len().max(1) {
            let mut reader = ProxyReader::default();
            let (mut header, mut consumed) = (Header::Incomplete, 0);
            let mut supplies = Supplies::default();
            for part in octets.chunks(piece) {
                let mut input = Input::new(part, &mut supplies);
                header = reader.advance(&mut input);
                consumed += input.position;
                if header != Header::Incomplete {
                    break;
                }
            }
            results.push((header, if header == Header::Bad { 0 } else { consumed }));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{octets:?}: {results:?}");
        results[0]
    }

    fn client(text: &str) -> Header {
        Header::Client(Some(text.parse().expect("an address")))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_1_is_read_and_nothing_behind_it() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n";
        assert_eq!(read(&[header, &b"EHLO"[..]].concat()), (client("192.0.2.1:56324"), header.len()));
        let header = b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n";
        assert_eq!(read(header), (client("[2001:db8::1]:1"), header.len()));
        assert_eq!(read(b"PROXY UNKNOWN\r\n").0, Header::Client(None));
        assert_eq!(read(b"PROXY UNKNOWN ffff:f...f:ffff 1 x\r\n").0, Header::Client(None));
        assert_eq!(read(b"PROXY TCP4 192.0.2.1").0, Header::Incomplete);
    }

    #[test]
    fn bad_version_1_headers_are_none() {
        for bad in [
            &b"EHLO client.test\r\n"[..],
            b"PROXY\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 \r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 056324 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 1 25\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.1 1 25\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.1 1 25\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.1 1 25\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.1 1 25\r\n",
        ] {
            assert_eq!(read(bad).0, Header::Bad, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn version_1_has_at_most_107_octets() {
        let line =
            |count: usize| [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; count - 16], b"\r\n".to_vec()].concat();
        assert_eq!(read(&line(107)), (Header::Client(None), 107));
        assert_eq!(read(&line(108)).0, Header::Bad);
    }

    #[test]
    fn version_2_is_read_with_its_tlvs() {
        let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 25];
        let tlvs = [0xEE, 0, 2, 7, 7, 0x04, 0, 0];
        let header = v2(0x21, 0x11, &[addresses.as_slice(), &tlvs].concat());
        assert_eq!(read(&[header.as_slice(), b"EHLO"].concat()), (client("192.0.2.1:56324"), header.len()));
        let mut addresses = [0; 36];
        (addresses[0], addresses[1], addresses[15], addresses[33]) = (0x20, 1, 1, 9);
        assert_eq!(read(&v2(0x21, 0x21, &addresses)).0, client("[2001::1]:9"));
        assert_eq!(read(&v2(0x20, 0x11, &[])).0, Header::Client(None), "LOCAL");
        assert_eq!(read(&v2(0x20, 0, &[1, 2, 3])).0, Header::Client(None), "LOCAL with something to skip");
        assert_eq!(read(&v2(0x21, 0, &[])).0, Header::Client(None), "unspecified");
        assert_eq!(read(&v2(0x21, 0x31, &[0; 216])).0, Header::Client(None), "Unix");
    }

    #[test]
    fn bad_version_2_headers_are_none() {
        let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 25];
        for bad in [
            v2(0x11, 0x11, &addresses),
            v2(0x22, 0x11, &addresses),
            v2(0x21, 0x12, &addresses),
            v2(0x21, 0x11, &addresses[..11]),
            v2(0x21, 0x21, &addresses),
            v2(0x21, 0x11, &[addresses.as_slice(), &[4, 0]].concat()),
            v2(0x21, 0x11, &[addresses.as_slice(), &[4, 0, 2, 1]].concat()),
            v2(0x20, 0, &vec![0; PROXY_V2_BYTES_MAX - FIXED_BYTES + 1]),
        ] {
            assert_eq!(read(&bad).0, Header::Bad, "{}", bad.escape_ascii());
        }
    }
}
