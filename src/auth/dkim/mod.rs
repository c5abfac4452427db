//! DKIM signatures (RFC 6376, RFC 8301, RFC 8463).

pub mod canonical;
pub mod key;
pub mod signature;
pub(in crate::auth) mod tags;
#[cfg(all(test, feature = "server"))]
mod vectors;
#[cfg(feature = "server")]
pub mod verify;
