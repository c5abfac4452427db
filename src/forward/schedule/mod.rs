//! Who is delivered when: hosts and their concurrency, fresh mail, deferred mail, expiry, as values on
//! virtual time.
//!
//! Nothing here sees a socket, file, thread, log or clock. `now` is an argument of each event and never goes
//! back; what is random comes from a seed. [`Schedule`] is the one front: the engine tells it events, and
//! asks it for orders until there is none, then sleeps until [`Schedule::next_deadline`].
//!
//! ```text
//!   reader ── admit ──► fresh ──────────┐                           ┌► Done: over
//!                         │ MoveToLater ├─► Deliver ──► finished ───┼► Deferred, Lost ──► waiting (back-off)
//!   restart ─ restore ─►  ▼             │                           ├► fifth Lost ──────► held
//!             due ◄──── moving          │                           └► Untouched, Part: where it was
//!              ▲ └──────────────────────┘
//!              └── waiting: when its time has come; expiry: one sweep over all, wherever they wait
//! ```
//!
//! A *delivery* is one message for one destination. The schedule has each one exactly once, from
//! [`Schedule::admit`] or [`Schedule::restore`] until it gives it back: [`Fate::Over`], [`Fate::Expired`],
//! [`Order::Expire`] or an operator's removal. One that was read from the log and has to wait goes through
//! *moving*: the engine copies it into `later/` and says [`Schedule::moved`].
//!
//! | file | job |
//! | --- | --- |
//! | `schedule` | the front: orders |
//! | `events`, `operator`, `view` | what happens to it; what operators do; what they are shown |
//! | `host` | concurrency by feedback, suspended hosts, probes |
//! | `destination` | the hosts and the queues of one destination: whose turn it is |
//! | `window` | how much is read from the log; which mail gives way to that of others |
//! | `ages` | when the first one of each destination expires |
//! | `index`, `list`, `lookup` | all deliveries, 32 octets each; queues through them; where one is |
//! | `wheel`, `back_off`, `sweep` | when a deferred one is due; expiry |
//! | `connections` | the connections and what they are for |

mod ages;
mod back_off;
mod connections;
mod delivery;
mod destination;
mod events;
mod host;
mod index;
mod jitter;
mod list;
mod lookup;
mod operator;
#[expect(clippy::module_inception, reason = "the front of the room")]
mod schedule;
mod sweep;
#[cfg(test)]
mod tests;
mod view;
mod wheel;
mod window;

pub use self::ages::ExpiryWalk;
pub use self::back_off::{RETRY_FIRST, RETRY_LONGEST};
pub use self::connections::{CONNECTION_IDLE_MAX, CONNECTION_MESSAGES_MAX};
pub use self::delivery::{
    Admission, Answer, ConnectionId, Deferred, Delivery, DestinationId, Ended, Fate, Fresh, Order,
    POISON_ALONE, POISON_HELD, Place,
};
pub use self::destination::{Balance, DestinationSettings};
pub use self::host::{CONCURRENCY_FIRST, PROBE_LONGEST, PROBE_OFTEN_FOR, WHY_BYTES_MAX};
pub use self::operator::{RELEASED_SECONDS_LEAST, Target};
pub use self::schedule::{Schedule, Settings};
pub use self::view::{DeliveryView, DestinationView, HostState, HostView, Waits};
pub use self::window::{MOVE_MESSAGES_MAX, WINDOW_BYTES, WINDOW_MESSAGES};
