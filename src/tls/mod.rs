//! TLS on a shard: ciphertext in, plaintext and ciphertext out. No socket, no clock, no thread in here.
//!
//! ```text
//!   received ciphertext ──► Tls::receive ──► plaintext, record by record
//!                               │
//!                               └──────────► ciphertext to send (handshake, alerts)
//!   replies ──────────────► Tls::send ─────► ciphertext to send
//! ```
//!
//! [`Tls`] has no way to read plaintext from the socket: code that holds one can only decrypt (the class of
//! CVE-2011-0411). rustls' unbuffered interface decrypts in the receive buffer; a record that is not whole is
//! assembled in a buffer of its own, which is given up as soon as nothing incomplete is left.

pub mod as_client;
pub mod certificate;
mod client_certificate;
mod connection;
pub mod context;
mod exposure;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod pem;
mod record;
pub mod self_signed;
#[cfg(test)]
pub(crate) mod tests;
pub mod tlsa;

pub use rustls::ServerConfig;

pub use self::connection::{State, TLS12, Tls};
pub use self::failure::{Cause, Failure};
