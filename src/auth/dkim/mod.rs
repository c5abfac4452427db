//! DKIM signatures (RFC 6376, RFC 8301, RFC 8463).

pub mod canonical;
pub mod key;
pub mod signature;
mod tags;
#[cfg(feature = "server")]
pub mod verify;
