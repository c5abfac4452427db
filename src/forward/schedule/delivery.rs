//! What goes into the schedule and what comes out of it: deliveries, orders, and how an attempt ended.

use std::time::Duration;

/// A message that lost so many connections goes alone, on a connection of its own, so that no other one is
/// lost with it.
pub const POISON_ALONE: u8 = 3;

/// A message that lost so many connections is held and told.
pub const POISON_HELD: u8 = 5;

const _: () = assert!(POISON_ALONE < POISON_HELD);

/// A destination, by the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub u16);

/// A connection. The number is used again after the connection has failed, was lost or was `closed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Where a message lies. The number is the caller's: a cursor of that store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the spool, where the receiver stored it.
    Log(u64),
    /// In `later/`.
    Later(u64),
}

/// One message for one destination: both together name it, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// Where the message lies.
    pub place: Place,
    /// Where it goes.
    pub destination: DestinationId,
}

/// A delivery that was read from the log.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// Its place in the log.
    pub cursor: u64,
    /// Where it goes.
    pub destination: DestinationId,
    /// Octets of its content.
    pub bytes: u64,
    /// How long until it expires.
    pub expires_in: Duration,
}

/// A delivery that is in `later/` already, after a restart.
#[derive(Debug, Clone, Copy)]
pub struct Deferred {
    /// Its place in `later/`.
    pub cursor: u64,
    /// Where it goes.
    pub destination: DestinationId,
    /// How long until it is tried again; zero if it only waits for its destination.
    pub due_in: Duration,
    /// How long until it expires.
    pub expires_in: Duration,
    /// Attempts that the next hop deferred.
    pub attempts: u8,
    /// Connections that were lost inside of it.
    pub poison: u8,
    /// Whether it is held.
    pub is_held: bool,
}

/// Whether a delivery came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The schedule has it.
    Taken,
    /// There is no room, for it or for its destination: offer it again later, before those after it.
    Full,
    /// The schedule had it before.
    Known,
}

/// What the engine has to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Open a connection up to the last reply before MAIL; then [`connected`](super::Schedule::connected) or
    /// [`connect_failed`](super::Schedule::connect_failed).
    Connect {
        /// What it will be called.
        connection: ConnectionId,
        /// Whose it is.
        destination: DestinationId,
        /// Which of the destination's hosts, counted from 0.
        host: usize,
    },
    /// Deliver this over that connection, which is idle; then [`finished`](super::Schedule::finished).
    Deliver {
        /// The connection.
        connection: ConnectionId,
        /// The delivery.
        delivery: Delivery,
    },
    /// Say QUIT and close; then [`closed`](super::Schedule::closed). Until then the connection counts.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Copy these from the log into `later/`, because other mail waits after them; then
    /// [`moved`](super::Schedule::moved) or [`not_moved`](super::Schedule::not_moved) for each.
    MoveToLater {
        /// At most [`MOVE_MESSAGES_MAX`](super::MOVE_MESSAGES_MAX), all of one destination.
        deliveries: Vec<Delivery>,
    },
    /// It has waited too long, and is out of the schedule now.
    Expire {
        /// The delivery.
        delivery: Delivery,
    },
}

/// How an attempt ended. The text of a lost connection is shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<'a> {
    /// Each recipient has its answer, 2yz or 5yz. The connection is open; if it is not, `closed` follows.
    Done,
    /// At least one recipient has to be tried again, as the next hop said by 4yz. The connection is open; if
    /// it is not, `closed` follows.
    Deferred,
    /// Recipients have their answer, and for the others the connection takes no transaction any more. It is
    /// open; if it is not, `closed` follows.
    Part,
    /// The connection ended before MAIL was said, or was answered 421 there. It is closed.
    Untouched(&'a str),
    /// The connection ended, or a reply did not come in time, after MAIL was said. It is closed.
    Lost(&'a str),
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is out of the schedule.
    Over,
    /// It waits where it was, for those who have no answer; of them nothing has to be written.
    Again,
    /// It is tried again. If it lies in the log, it is *moving* now: copy it into `later/`, then `moved`.
    Later {
        /// When, from now.
        due_in: Duration,
        /// Attempts that the next hop deferred.
        attempts: u8,
        /// Connections that were lost inside of it.
        poison: u8,
    },
    /// It has lost [`POISON_HELD`] connections: nobody tries it again until an operator releases it. If it
    /// lies in the log, it is *moving* now: copy it into `later/`, then `moved`.
    Held {
        /// Attempts that the next hop deferred.
        attempts: u8,
        /// Connections that were lost inside of it.
        poison: u8,
    },
    /// It has to wait, but its time is over. It is out of the schedule.
    Expired,
}

/// What an operator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done, or begun if it concerns many.
    Done,
    /// It is done, and the delivery lies in the log: copy it into `later/`, then `moved`.
    Moving,
    /// The delivery is on a connection or being moved just now, or too much was asked for at a time.
    Busy,
    /// There is no such delivery, or it is not held.
    Unknown,
}
