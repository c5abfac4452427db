//! Tries the interleavings of shards that open, leave, pay in and give away one place of the table of clients
//! (`src/front/clients/slot.rs` itself, compiled here against loom): no connection is lost or counted twice,
//! and a place with an open connection belongs to its client.

#[expect(dead_code, reason = "the models use a part of it")]
#[path = "."]
mod front {
    mod atomic {
        pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    }

    #[path = "../src/front/moment.rs"]
    pub mod moment;

    #[path = "../src/front/rate.rs"]
    pub mod rate;

    pub mod prefix {
        pub const SHARES: [u32; 3] = [1, 3, 9];
    }

    #[path = "."]
    pub mod clients {
        #[path = "../src/front/clients/slot.rs"]
        mod slot;

        /// The models are beside the place, as the table is.
        mod models {
            use std::time::{Duration, Instant, SystemTime};

            use loom::sync::Arc;
            use loom::thread;

            use super::super::moment::{Epoch, Moment};
            use super::super::rate::Rate;
            use super::slot::{Event, OPEN_MAX, Open, Slot, SlotKey};

            fn now() -> Moment {
                let start = Instant::now();
                Epoch::new(start).moment(start, SystemTime::UNIX_EPOCH + Duration::from_hours(480_000))
            }

            fn key(number: u64) -> SlotKey {
                SlotKey::new(number << 16)
            }

            /// A place of client 1, whose last connection has ended.
            fn place(now: Moment) -> Arc<Slot> {
                let slot = Slot::default();
                assert!(slot.replace(key(1), now));
                slot.leave();
                Arc::new(slot)
            }

            fn is_empty(slot: &Slot, now: Moment) -> bool {
                slot.worth(now).is_some()
            }

            #[test]
            fn a_place_is_opened_or_given_away_and_never_both() {
                loom::model(|| {
                    let now = now();
                    let slot = place(now);
                    let other = {
                        let slot = Arc::clone(&slot);
                        thread::spawn(move || slot.replace(key(2), now))
                    };
                    let opened = slot.open(key(1), OPEN_MAX, now) == Open::Opened;
                    if opened {
                        assert_eq!(slot.key(), Some(key(1)), "while it is open it is its own");
                    }
                    let replaced = other.join().expect("no panic");
                    assert!(!(opened && replaced), "both have it");
                    // Both may fail, where one saw the other's hand on it; each tries again then.
                    if replaced {
                        assert_eq!(slot.key(), Some(key(2)));
                    }
                    if opened || replaced {
                        assert!(!is_empty(&slot, now));
                        slot.leave();
                    }
                    assert!(is_empty(&slot, now), "nothing is left open");
                });
            }

            /// Afterwards the place looks as before, but for its key.
            #[test]
            fn a_place_that_was_given_away_and_left_is_not_opened_for_who_had_it() {
                loom::model(|| {
                    let now = now();
                    let slot = place(now);
                    let other = {
                        let slot = Arc::clone(&slot);
                        thread::spawn(move || {
                            if slot.replace(key(2), now) {
                                slot.leave();
                            }
                        })
                    };
                    if slot.open(key(1), OPEN_MAX, now) == Open::Opened {
                        assert_eq!(slot.key(), Some(key(1)), "while it is open it is its own");
                        slot.leave();
                    }
                    other.join().expect("no panic");
                    assert!(is_empty(&slot, now), "nothing is left open");
                });
            }

            #[test]
            fn of_two_that_want_to_give_a_place_away_one_does() {
                loom::model(|| {
                    let now = now();
                    let slot = place(now);
                    let other = {
                        let slot = Arc::clone(&slot);
                        thread::spawn(move || slot.replace(key(2), now))
                    };
                    let mine = slot.replace(key(3), now);
                    let others = other.join().expect("no panic");
                    assert!(mine != others, "exactly one");
                    assert_eq!(slot.key(), Some(key(if mine { 3 } else { 2 })));
                    slot.leave();
                    assert!(is_empty(&slot, now));
                });
            }

            #[test]
            fn of_two_connections_one_is_the_last_that_may_be() {
                loom::model(|| {
                    let now = now();
                    let slot = place(now);
                    let other = {
                        let slot = Arc::clone(&slot);
                        thread::spawn(move || slot.open(key(1), 1, now))
                    };
                    let mine = slot.open(key(1), 1, now);
                    let others = other.join().expect("no panic");
                    assert!(matches!(
                        (mine, others),
                        (Open::Opened, Open::TooMany) | (Open::TooMany, Open::Opened)
                    ));
                    slot.leave();
                    assert!(is_empty(&slot, now));
                });
            }

            /// Unknown recipients and open connections are in one word.
            #[test]
            fn what_is_paid_and_what_is_open_do_not_overwrite_each_other() {
                loom::model(|| {
                    let now = now();
                    let slot = place(now);
                    let rate = Rate::parse("2/hour").expect("a rate");
                    assert_eq!(slot.open(key(1), OPEN_MAX, now), Open::Opened);
                    let other = {
                        let slot = Arc::clone(&slot);
                        thread::spawn(move || {
                            let paid = slot.pay(Event::UnknownRecipient, rate, 1, 1, now);
                            slot.note_message(now);
                            paid
                        })
                    };
                    assert_eq!(slot.open(key(1), OPEN_MAX, now), Open::Opened);
                    let paid = slot.pay(Event::UnknownRecipient, rate, 1, 1, now);
                    slot.leave();
                    assert!(paid && other.join().expect("no panic"), "two are allowed");
                    assert!(!slot.pay(Event::UnknownRecipient, rate, 1, 1, now), "and both were counted");
                    slot.leave();
                    assert!(is_empty(&slot, now));
                    assert!(slot.remembered().is_some(), "the message is in the record");
                });
            }
        }
    }
}
