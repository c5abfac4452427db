//! Addresses that connections come from, or say they come from: networks to draw them from in turn, and PROXY headers
//! (version 1 and 2 of the PROXY protocol).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network such as 127.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(net, bits)| (net, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
        Ok(Self { first, prefix: prefix.ok_or_else(wrong)? })
    }
}

impl Network {
    /// The address of this number, modulo those that there are. The first and the last of an IPv4 network are left out
    /// where there are others.
    pub fn address(&self, number: u64) -> IpAddr {
        let bits = if self.first.is_ipv4() { 32 } else { 128 } - self.prefix;
        // More than 2^48 addresses are not told apart from 2^48.
        let count = 1_u64 << bits.min(48);
        let number = if count > 2 { 1 + number % (count - 2) } else { number % count };
        match self.first {
            IpAddr::V4(first) => {
                let network = u64::from(u32::from(first)) >> bits << bits;
                let whole = u32::try_from(network + number).unwrap_or(u32::MAX);
                IpAddr::V4(Ipv4Addr::from(whole))
            }
            IpAddr::V6(first) => {
                let network = u128::from(first).checked_shr(bits).unwrap_or(0).checked_shl(bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(network + u128::from(number)))
            }
        }
    }

    /// Whether all of it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.first.is_loopback() && self.prefix >= if self.first.is_ipv4() { 8 } else { 128 }
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// PROXY headers of a run's connections.
#[derive(Debug, Clone, Copy)]
pub struct Proxy {
    /// How they are written.
    pub version: ProxyVersion,
    /// Client addresses they tell.
    pub clients: Network,
}

impl Proxy {
    /// Port of the server that headers tell.
    const SERVER_PORT: u16 = 25;

    /// Appends the header of this connection.
    pub fn write_header(&self, number: u64, octets: &mut Vec<u8>) {
        let address = self.clients.address(number);
        let port = 1024 + u16::try_from(number % 60_000).unwrap_or(0);
        let client = SocketAddr::new(address, port);
        match self.version {
            ProxyVersion::V1 => write_line(client, octets),
            ProxyVersion::V2 => write_binary(client, octets),
        }
    }
}

fn server_address(client: IpAddr) -> IpAddr {
    // Addresses of documentation (RFC 5737, RFC 3849): nobody's.
    match client {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 25)),
    }
}

fn write_line(client: SocketAddr, octets: &mut Vec<u8>) {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), server_address(client.ip()));
    let mut line = String::new();
    let _ = write!(line, "PROXY {family} {from} {to} {} {}\r\n", client.port(), Proxy::SERVER_PORT);
    octets.extend_from_slice(line.as_bytes());
}

fn write_binary(client: SocketAddr, octets: &mut Vec<u8>) {
    const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
    /// Version 2, command PROXY.
    const PROXY: u8 = 0x21;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    octets.extend_from_slice(SIGNATURE);
    let mut addresses = Vec::new();
    for address in [client.ip(), server_address(client.ip())] {
        match address {
            IpAddr::V4(address) => addresses.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => addresses.extend_from_slice(&address.octets()),
        }
    }
    for port in [client.port(), Proxy::SERVER_PORT] {
        addresses.extend_from_slice(&port.to_be_bytes());
    }
    octets.extend_from_slice(&[PROXY, if client.is_ipv4() { TCP4 } else { TCP6 }]);
    octets.extend_from_slice(&u16::try_from(addresses.len()).unwrap_or(0).to_be_bytes());
    octets.extend_from_slice(&addresses);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn addresses_are_those_of_the_network_in_turn() {
        let slash_30 = network("127.0.0.4/30");
        let addresses: Vec<String> = (0..3).map(|number| slash_30.address(number).to_string()).collect();
        assert_eq!(addresses, ["127.0.0.5", "127.0.0.6", "127.0.0.5"]);
        assert_eq!(network("127.0.0.9").address(5).to_string(), "127.0.0.9");
        assert_eq!(network("2001:db8::/32").address(0).to_string(), "2001:db8::1");
        assert_eq!(network("::/0").address(0).to_string(), "::1");
        assert!(network("127.0.0.0/8").is_loopback() && !network("127.0.0.0/7").is_loopback());
        for wrong in ["", "x", "127.0.0.1/33", "127.0.0.1/-1", "127.0.0.1/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_those_of_the_protocol() {
        let written = |version, clients: &str| {
            let mut octets = Vec::new();
            Proxy { version, clients: network(clients) }.write_header(0, &mut octets);
            octets
        };
        assert_eq!(
            String::from_utf8_lossy(&written(ProxyVersion::V1, "198.18.0.0/15")),
            "PROXY TCP4 198.18.0.1 192.0.2.25 1024 25\r\n"
        );
        let binary = written(ProxyVersion::V2, "198.18.0.0/15");
        assert_eq!(binary[12..], [0x21, 0x11, 0, 12, 198, 18, 0, 1, 192, 0, 2, 25, 4, 0, 0, 25]);
        assert_eq!(written(ProxyVersion::V2, "2001:db8::/32").len(), 16 + 36);
    }
}
