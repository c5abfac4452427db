//! What the DNS answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These records; at least one.
    Records(Records),
    /// The name is there, and has no record of the kind.
    NoRecords,
    /// There is no such name (NXDOMAIN).
    NoName,
    /// It could not be found out.
    Failed(Failure),
}

/// Records of one kind, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// IPv4 addresses.
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    Aaaa(Vec<Ipv6Addr>),
    /// Preference and name of mail exchangers; none as the name is the root: "takes no mail" (RFC 7505).
    Mx(Vec<(u16, Option<Name>)>),
    /// Names of an address.
    Ptr(Vec<Name>),
    /// Texts, each put together of its strings.
    Txt(Vec<Box<[u8]>>),
    /// Keys and certificates of a server.
    Tlsa(Vec<Tlsa>),
}

/// What a domain says of the certificate of a server (RFC 6698 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// Which certificate of the chain: 3 for the server's own, 2 for one that signed it.
    pub usage: u8,
    /// What of it: 0 for all of it, 1 for its key.
    pub selector: u8,
    /// How that is written: 0 as it is, 1 by SHA-256, 2 by SHA-512.
    pub matching: u8,
    /// That, so written.
    pub data: Box<[u8]>,
}

/// Why it could not be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A server said so (SERVFAIL, REFUSED).
    Server,
    /// No answer came in time.
    TimedOut,
    /// What came could not be used.
    Unusable,
    /// So many questions are out that this one was not asked.
    Overload,
}

impl Answer {
    /// About how many octets it takes in memory.
    pub fn bytes(&self) -> usize {
        let records = match self {
            Self::Records(Records::A(addresses)) => size_of_val(&**addresses),
            Self::Records(Records::Aaaa(addresses)) => size_of_val(&**addresses),
            Self::Records(Records::Mx(exchangers)) => {
                let names = exchangers.iter().filter_map(|(_, name)| Some(name.as_ref()?.octets().len()));
                size_of_val(&**exchangers) + names.sum::<usize>()
            }
            Self::Records(Records::Ptr(names)) => {
                size_of_val(&**names) + names.iter().map(|name| name.octets().len()).sum::<usize>()
            }
            Self::Records(Records::Txt(texts)) => {
                size_of_val(&**texts) + texts.iter().map(|text| text.len()).sum::<usize>()
            }
            Self::Records(Records::Tlsa(records)) => {
                size_of_val(&**records) + records.iter().map(|record| record.data.len()).sum::<usize>()
            }
            Self::NoRecords | Self::NoName | Self::Failed(_) => 0,
        };
        size_of::<Self>() + records
    }

    /// Texts; none for any other answer.
    pub fn texts(&self) -> &[Box<[u8]>] {
        if let Self::Records(Records::Txt(texts)) = self { texts } else { &[] }
    }

    /// IPv4 addresses; none for any other answer.
    pub fn v4(&self) -> &[Ipv4Addr] {
        if let Self::Records(Records::A(addresses)) = self { addresses } else { &[] }
    }

    /// IPv6 addresses; none for any other answer.
    pub fn v6(&self) -> &[Ipv6Addr] {
        if let Self::Records(Records::Aaaa(addresses)) = self { addresses } else { &[] }
    }
}
