//! PROXY headers (version 1 and 2 of the PROXY protocol), as a load balancer writes them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::network::Network;

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
    /// The network of the client addresses in them.
    pub clients: Network,
}

impl Proxy {
    /// Port of the server in them.
    const SERVER_PORT: u16 = 25;
    /// From one connection's address to the next one's, a prime: clients of an MX are no neighbours, and
    /// receivers may count networks as large as a /20.
    const STRIDE: u64 = 4099;

    /// Appends the header of this connection.
    pub fn write_header(&self, number: u64, octets: &mut Vec<u8>) {
        let address = self.clients.address(number.wrapping_mul(Self::STRIDE));
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

    #[test]
    fn connections_come_from_other_addresses_and_other_networks() {
        let clients = "198.18.0.0/16".parse().expect("a network");
        let proxy = Proxy { version: ProxyVersion::V2, clients };
        let address = |number| {
            let mut octets = Vec::new();
            proxy.write_header(number, &mut octets);
            <[u8; 4]>::try_from(&octets[16..20]).expect("an address")
        };
        let addresses: std::collections::HashSet<[u8; 4]> = (0..60_000).map(address).collect();
        let networks: std::collections::HashSet<u8> = (0..16).map(|number| address(number)[2] >> 4).collect();
        assert_eq!((addresses.len(), networks.len()), (60_000, 16));
    }

    #[test]
    fn headers_are_those_of_the_protocol() {
        let written = |version, clients: &str| {
            let mut octets = Vec::new();
            Proxy { version, clients: clients.parse().expect("a network") }.write_header(0, &mut octets);
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
