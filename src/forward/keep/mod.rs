//! The durable state of the forwarder: what is with the next hop, what waits, what nobody took.
//!
//! ```text
//!   SPOOL/forward/journal    what happened to each recipient; a snapshot takes its place now and then
//!   SPOOL/forward/later/     messages that wait, as segments of the spool's own format
//!   SPOOL/forward/dead/      messages that were given up, the same
//!   SPOOL/forward/suspended  next hops that an operator suspended
//!   SPOOL/consumed           how far the receiver may recycle its segments
//!
//!   content durable in later/ or dead/  →  entry durable in the journal  →  `consumed` moved
//! ```
//!
//! Everything is written by plans ([`crate::sink::plan`]) that an executor carries out, so that tests cut the
//! power at each step. [`Keeper`] owns the three; it blocks on the disk and belongs on a thread of its own.
//! `docs/forward.md` has the format, and what a restart does after a crash at each step.

mod change;
mod commit;
mod compaction;
mod copy;
mod entry;
mod fetch;
mod files;
mod journal;
mod keeper;
mod list;
mod opening;
mod place;
mod rebuild;
mod recipients;
mod replay;
mod settings;
mod shelf;
mod state;
mod store;
mod suspended;
mod texts;
mod unreadable;
mod writer;

pub use self::change::{Change, NOTICES, Notice, Refused};
pub use self::compaction::Moved;
pub use self::entry::{DESTINATION_BYTES_MAX, REPLY_BYTES_MAX, Wait, Why};
pub use self::fetch::{Fetched, record};
pub use self::files::{Files, Folder, Opened};
pub use self::journal::JOURNAL_VERSION;
pub use self::keeper::Keeper;
pub use self::list::{Listed, list};
pub use self::place::Place;
pub use self::rebuild::rebuild;
pub use self::recipients::{RECIPIENTS_MAX, Recipients};
pub use self::replay::{look, read};
pub use self::settings::Settings;
pub use self::state::{State, Waiting};
pub use self::suspended::{Suspended, suspended};
pub use self::unreadable::{Examined, examine, listed_unreadable};

/// Where all of it is, below the spool.
pub const FORWARD: &str = "forward";

/// Messages that wait, below the spool.
pub const LATER: &str = "forward/later";

/// Messages that were given up, below the spool.
pub const DEAD: &str = "forward/dead";

/// The name of the journal in [`FORWARD`].
pub const JOURNAL: &str = "journal";
