//! Notices to senders of what became of their messages: delivery status notifications (RFC 3464), as plain
//! values. No socket, file, log or clock.
//!
//! | file | job |
//! | --- | --- |
//! | `policy` | who is owed one, and who may have one |
//! | `vouched` | whether somebody vouched for the sender |
//! | `bounds` | how many there may be |
//! | `report` | the message of a notice |
//! | `fields`, `encoding` | its fields, and octets of anybody made harmless |

mod bounds;
mod encoding;
mod fields;
mod policy;
mod recipient;
mod report;
mod vouched;

pub use self::bounds::{Bounds, Room};
pub use self::policy::{is_owed, may_have};
pub use self::recipient::{Action, Recipient, WAITED_TOO_LONG};
pub use self::report::{About, NOTICE_BYTES_MAX, Report, report};
