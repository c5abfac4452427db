//! DKIM signatures (RFC 6376, RFC 8301, RFC 8463).

#[cfg(feature = "server")]
pub mod bodies;
pub mod canonical;
#[cfg(feature = "server")]
pub mod check;
pub mod key;
#[cfg(feature = "server")]
pub mod keys;
pub mod signature;
pub(in crate::auth) mod tags;
#[cfg(all(test, feature = "server"))]
pub(in crate::auth) mod vectors;
#[cfg(feature = "server")]
pub mod verify;
