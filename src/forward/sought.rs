//! What the engine asks of those who find the addresses of next hops, and what they answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// What is looked up of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// Its addresses, by the system.
    Addresses,
    /// The servers that take mail for this domain, by its MX.
    Exchangers,
}

/// Whose address is asked for.
#[derive(Debug)]
pub struct Asked {
    /// Of the question.
    pub number: u64,
    /// Of whoever asks.
    pub slot: usize,
    /// The name.
    pub host: String,
    /// What of it.
    pub sought: Sought,
    /// The port of the address.
    pub port: u16,
    /// From then on nobody waits for the answer, and none is given.
    pub deadline: Instant,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Of a name: in the order of the system (RFC 6724).
    Addresses(Vec<SocketAddr>),
    /// Of a domain: the best first, at least one.
    Exchangers(Vec<Exchanger>),
    /// The domain says that it takes no mail (RFC 7505): an enhanced status code and a text.
    NoMail(String),
}

/// The answer to a question; why there is none.
#[derive(Debug)]
pub struct Answered {
    /// Of the question.
    pub number: u64,
    /// Of whoever asked.
    pub slot: usize,
    /// That.
    pub found: Result<Found, String>,
}

/// An address of a server that takes mail for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// Its name, for which its certificate is.
    pub name: Arc<str>,
    /// Where it is.
    pub address: IpAddr,
    /// The smaller, the better.
    pub preference: u16,
}

impl fmt::Display for Exchanger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.name, self.address)
    }
}

impl Asked {
    /// Whether somebody waits for the answer still.
    pub fn is_awaited(&self) -> bool {
        Instant::now() < self.deadline
    }
}
