//! Questions to the DNS and what is known of their answers, for shards that never wait.
//!
//! A check says which questions it needs answered ([`Question`]); a shard looks into its own table
//! ([`table::Answers`]); what is not there is sent to a lookup thread once, whoever asks for it, and the
//! answer comes home through the shard's inbox.

pub mod answer;
pub mod asking;
#[cfg(feature = "server")]
pub mod by_hand;
#[cfg(feature = "server")]
pub mod lookup;
pub mod name;
#[cfg(feature = "server")]
pub mod probe;
pub mod question;
pub mod table;

/// The port that a name server has where none is named (RFC 1035 §4.2).
pub const DNS_PORT: u16 = 53;

pub use self::answer::{Answer, Failure, Records, Tlsa};
pub use self::asking::Asking;
pub use self::name::Name;
pub use self::question::{Kind, Question};
