//! What other threads have for a shard: receipts, parts that were written, answers about recipients, answers
//! of the DNS, messages that were at stations, orders.
//!
//! All of them wake the shard by one bell, and the shard looks into all of them before it sleeps. A new kind
//! of letter is one field here and one in [`Letterbox`]; the compiler then asks for its look in `park`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::order::Order;
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::handoff::lookup::Answered;
use crate::handoff::mailbox::MailboxAnswer;
use crate::handoff::message::Receipt;
use crate::handoff::part::Written;
use crate::handoff::recipient_map::MapAnswer;
use crate::handoff::station::Back;
use crate::limits::{
    HANDOFF_MESSAGES_MAX, INQUIRIES_AWAY_MAX, MAP_INQUIRIES_AWAY_MAX, ORDERS_MAX, SPILLS_AWAY_MAX,
    STATION_MESSAGES_MAX,
};

/// A shard's end.
#[derive(Debug)]
pub struct Inbox {
    consumer: Consumer,
    /// From sinks, for messages that were handed over.
    pub(super) receipts: Receiver<Receipt>,
    /// From the spiller, for parts that were sent away.
    pub(super) written: Receiver<Written>,
    /// From the thread that looks into mailboxes, for inquiries.
    pub(super) found: Receiver<MailboxAnswer>,
    /// From the threads that ask the map of recipients, for inquiries.
    pub(super) mapped: Receiver<MapAnswer>,
    /// From the lookup thread, for questions to the DNS.
    pub(super) answers: Receiver<Answered>,
    /// From stations, for messages that were sent there.
    pub(super) back: Receiver<Back>,
    /// From the control thread.
    pub(super) orders: Receiver<Order>,
}

/// The end of everybody else, to be cloned for each of them.
#[derive(Debug, Clone)]
pub struct Letterbox {
    /// For a sink worker.
    pub receipts: Sender<Receipt>,
    /// For the spiller.
    pub written: Sender<Written>,
    /// For the thread that looks into mailboxes.
    pub found: Sender<MailboxAnswer>,
    /// For the threads that ask the map of recipients.
    pub mapped: Sender<MapAnswer>,
    /// For a lookup thread.
    pub answers: Sender<Answered>,
    /// For the thread of a station.
    pub back: Sender<Back>,
    /// For the control thread.
    pub orders: Sender<Order>,
}

/// One shard's inbox, and the way into it. `answers_max`: answers of the DNS that have room there, 0 where
/// the DNS is not asked.
pub fn inbox(answers_max: usize) -> io::Result<(Letterbox, Inbox)> {
    let consumer = Consumer::new()?;
    let (to_receipts, receipts) = consumer.channel(HANDOFF_MESSAGES_MAX);
    let (to_written, written) = consumer.channel(SPILLS_AWAY_MAX);
    let (to_found, found) = consumer.channel(INQUIRIES_AWAY_MAX);
    let (to_mapped, mapped) = consumer.channel(MAP_INQUIRIES_AWAY_MAX);
    // A channel without any room is another kind, which has a lock.
    let (to_answers, answers) = consumer.channel(answers_max.max(1));
    let (to_back, back) = consumer.channel(STATION_MESSAGES_MAX);
    let (to_orders, orders) = consumer.channel(ORDERS_MAX);
    let letterbox = Letterbox {
        receipts: to_receipts,
        written: to_written,
        found: to_found,
        mapped: to_mapped,
        answers: to_answers,
        back: to_back,
        orders: to_orders,
    };
    Ok((letterbox, Inbox { consumer, receipts, written, found, mapped, answers, back, orders }))
}

impl Inbox {
    /// The shard is going to sleep in its ring; false when a letter is there already and it must not.
    pub(super) fn park(&self) -> bool {
        // Every channel is looked into, or the shard would sleep over its letters.
        let Self { consumer, receipts, written, found, mapped, answers, back, orders } = self;
        let are_done = || receipts.is_empty() && written.is_empty() && found.is_empty() && mapped.is_empty();
        consumer.park(|| are_done() && answers.is_empty() && back.is_empty() && orders.is_empty())
    }

    /// The shard is awake.
    pub(super) fn unpark(&self) {
        self.consumer.unpark();
    }

    /// The bell that the shard's ring watches.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.consumer.bell().as_fd()
    }
}
