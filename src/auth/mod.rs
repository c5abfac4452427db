//! Who vouches for a message: checks as pure functions over facts and the answers of the DNS.
//!
//! Nothing here sees a socket, file, thread, log or clock; time is an argument.

#[cfg(feature = "server")]
pub mod arc;
pub mod author;
#[cfg(all(test, feature = "server"))]
mod cases;
pub mod dkim;
pub mod dmarc;
#[cfg(all(any(test, fuzzing), feature = "server"))]
pub mod fuzzing;
pub mod header;
pub mod lenient;
#[cfg(feature = "server")]
pub mod message;
#[cfg(feature = "server")]
pub mod report;
pub mod results;
pub mod rules;
pub mod sender;
pub mod spf;
#[cfg(feature = "server")]
pub mod verdict;
