//! An SMTP client as it is counted, wherever one client may have only so much of something.

use std::net::IpAddr;

/// An IPv4 address, or the /64 of an IPv6 address, because whoever has one address of it has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// The address.
    V4(u32),
    /// The upper half of the address.
    V6(u64),
}

impl Client {
    /// The client at this address. None for a loopback address, which is exempt from every count.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::V4(address.to_bits())),
            IpAddr::V6(address) => Some(Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default())),
        }
    }
}
