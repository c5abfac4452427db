use std::time::{Duration, Instant, SystemTime};

use super::super::moment::Epoch;
use super::*;

const LIMITS: Limits = Limits {
    connections_max: 2,
    rates: Some(Rates {
        connections: Rate::per_minute(60),
        messages: Rate::per_minute(300),
        recipients: Rate::per_minute(1000),
        unknown_recipients: Rate::per_minute(20),
        errors: Rate::per_minute(30),
    }),
    only_warn: false,
};

fn never(why: Refused) {
    panic!("nothing only warns: {why:?}")
}

struct Clock(Instant, Epoch);

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self(now, Epoch::new(now))
    }

    fn after(&self, time: Duration) -> Moment {
        self.1.moment(self.0 + time, SystemTime::UNIX_EPOCH + Duration::from_hours(480_000) + time)
    }

    fn start(&self) -> Moment {
        self.after(Duration::ZERO)
    }
}

fn table(places: usize) -> Clients {
    Clients::new(places, &[7; 16])
}

fn enter(clients: &Clients, address: &str, now: Moment) -> Result<Option<Seat>, Refused> {
    clients.enter(address.parse().expect("an address"), &LIMITS, now, never)
}

fn seat(clients: &Clients, address: &str, now: Moment) -> Seat {
    enter(clients, address, now).expect("it may enter").expect("it is counted")
}

#[test]
fn a_client_has_so_many_connections_and_gets_them_back() {
    let (clients, now) = (table(64), Clock::new().start());
    let first = seat(&clients, "192.0.2.1", now);
    let second = seat(&clients, "::ffff:192.0.2.1", now);
    assert_eq!(enter(&clients, "192.0.2.1", now), Err(Refused::Open(Over { tier: 0 })));
    clients.leave(first);
    clients.leave(seat(&clients, "192.0.2.1", now));
    clients.leave(second);
}

#[test]
fn a_network_has_three_times_as_many_and_a_wider_one_nine_times() {
    let (clients, now) = (table(1024), Clock::new().start());
    let seats: Vec<Seat> = (0..6).map(|host| seat(&clients, &format!("192.0.2.{host}"), now)).collect();
    assert_eq!(enter(&clients, "192.0.2.99", now), Err(Refused::Open(Over { tier: 1 })));
    let more: Vec<Seat> = (0..12)
        .map(|number| seat(&clients, &format!("192.0.{}.{number}", if number < 6 { 3 } else { 4 }), now))
        .collect();
    assert_eq!(enter(&clients, "192.0.5.1", now), Err(Refused::Open(Over { tier: 2 })));
    seats.into_iter().chain(more).for_each(|seat| clients.leave(seat));
    assert!(enter(&clients, "192.0.5.1", now).is_ok(), "what was refused holds no place");
    let slots = clients.buckets.iter().flat_map(|bucket| &bucket.0);
    let open = slots.filter(|slot| slot.worth(now).is_none()).count();
    assert_eq!(open, 3, "only the last one's three networks are open");
}

#[test]
fn loopback_clients_are_exempt() {
    let (clients, now) = (table(4), Clock::new().start());
    for _ in 0..100 {
        assert_eq!(enter(&clients, "127.0.0.1", now), Ok(None));
    }
}

#[test]
fn events_are_counted_apart_and_paid_off_with_time() {
    let (clients, clock) = (table(64), Clock::new());
    let now = clock.start();
    let one = seat(&clients, "192.0.2.1", now);
    let pay = |event, count, now| clients.pay(&one, event, count, &LIMITS, now);
    assert_eq!(pay(Event::UnknownRecipient, 20, now), Ok(()));
    assert_eq!(pay(Event::UnknownRecipient, 1, now), Err(Over { tier: 0 }));
    assert_eq!(pay(Event::Error, 30, now), Ok(()));
    assert_eq!(pay(Event::Error, 1, now), Err(Over { tier: 0 }));
    assert_eq!((pay(Event::Message, 300, now), pay(Event::Recipient, 1000, now)), (Ok(()), Ok(())));
    assert_eq!(pay(Event::Message, 1, now), Err(Over { tier: 0 }));
    assert_eq!(pay(Event::Recipient, 1, now), Err(Over { tier: 0 }));
    let later = clock.after(Duration::from_secs(30));
    assert_eq!(pay(Event::UnknownRecipient, 10, later), Ok(()));
    assert_eq!(pay(Event::UnknownRecipient, 1, later), Err(Over { tier: 0 }));
    clients.leave(one);
}

/// Each address is within its own share. `good` has proved good, and is in the same networks.
#[test]
fn many_addresses_of_one_network_are_stopped_by_its_share_and_a_proven_neighbour_goes_on() {
    let wide = (0..65_536_u32).filter(|number| *number != 0x7777);
    let wide = wide.map(|number| format!("2001:db8:1:{number:x}::1")).collect::<Vec<_>>();
    let narrow = (0..255_u32).map(|number| format!("192.0.2.{number}")).collect::<Vec<_>>();
    for (addresses, share, good) in [(wide, 9 * 60, "2001:db8:1:7777::5"), (narrow, 3 * 60, "192.0.2.255")] {
        let (clients, clock) = (table(1 << 18), Clock::new());
        prove(&clients, good, &clock);
        let now = clock.after(Duration::from_hours(50));
        let mut granted = 0;
        for address in &addresses {
            if let Ok(Some(seat)) = enter(&clients, address, now) {
                granted += 1;
                clients.leave(seat);
            }
        }
        assert_eq!(granted, share, "one connection of each of {} addresses", addresses.len());
        let seats = [seat(&clients, good, now), seat(&clients, good, now)];
        assert_eq!(clients.pay(&seats[0], Event::Message, 300, &LIMITS, now), Ok(()));
        for seat in seats {
            clients.leave(seat);
        }
    }
}

/// This client proves good within 50 hours.
fn prove(clients: &Clients, address: &str, clock: &Clock) {
    for hour in [0, 12, 24, 36, 48] {
        let now = clock.after(Duration::from_hours(hour));
        let one = seat(clients, address, now);
        clients.note_message(&one, now);
        clients.leave(one);
    }
}

#[test]
fn a_proven_neighbour_goes_on_and_its_disgrace_ends_that() {
    let (clients, clock) = (table(1024), Clock::new());
    let good = seat(&clients, "192.0.2.7", clock.start());
    for day in 0..5 {
        assert!(!clients.is_proven(&good, clock.after(Duration::from_hours(12 * day))));
        clients.note_message(&good, clock.after(Duration::from_hours(12 * day)));
    }
    let now = clock.after(Duration::from_hours(50));
    assert!(clients.is_proven(&good, now));
    clients.leave(good);
    let bots: Vec<Seat> = (20..26).map(|host| seat(&clients, &format!("192.0.2.{host}"), now)).collect();
    assert_eq!(enter(&clients, "192.0.2.99", now), Err(Refused::Open(Over { tier: 1 })));
    let again = seat(&clients, "192.0.2.7", now);
    assert_eq!(clients.pay(&again, Event::Message, 300, &LIMITS, now), Ok(()));
    clients.disgrace(&again);
    assert!(!clients.is_proven(&again, now));
    for seat in bots {
        clients.leave(seat);
    }
    clients.leave(again);
}

#[test]
fn whether_a_client_is_over_is_looked_at_without_paying() {
    let (clients, now) = (table(64), Clock::new().start());
    let one = seat(&clients, "192.0.2.1", now);
    for _ in 0..100 {
        assert!(!clients.is_over(&one, Event::UnknownRecipient, &LIMITS, now));
    }
    assert_eq!(clients.pay(&one, Event::UnknownRecipient, 20, &LIMITS, now), Ok(()));
    assert!(clients.is_over(&one, Event::UnknownRecipient, &LIMITS, now));
    assert!(!clients.is_over(&one, Event::Recipient, &LIMITS, now));
    clients.leave(one);
}

#[test]
fn without_rates_only_the_connections_of_the_client_itself_are_bounded() {
    let (clients, now) = (table(1 << 12), Clock::new().start());
    let limits = Limits { connections_max: 2, rates: None, only_warn: false };
    let enter = |address: String| clients.enter(address.parse().expect("an address"), &limits, now, never);
    let seats: Vec<Seat> = (0..=255)
        .flat_map(|host| [enter(format!("192.0.2.{host}")), enter(format!("192.0.2.{host}"))])
        .map(|seat| seat.expect("neighbours share nothing").expect("it is counted"))
        .collect();
    assert_eq!(enter("192.0.2.7".to_owned()), Err(Refused::Open(Over { tier: 0 })));
    let one = seats.first().expect("a seat");
    for event in [Event::Message, Event::Recipient, Event::UnknownRecipient, Event::Error] {
        assert_eq!(clients.pay(one, event, 1_000_000, &limits, now), Ok(()));
    }
    for seat in seats {
        clients.leave(seat);
    }
    assert!(enter("192.0.2.7".to_owned()).is_ok());
    assert_eq!(size_of::<Seat>(), 12, "an idle connection has one");
}

#[test]
fn five_messages_in_an_hour_prove_nothing_and_a_record_ends_after_30_days() {
    let (clients, clock) = (table(64), Clock::new());
    let one = seat(&clients, "192.0.2.1", clock.start());
    for minute in 0..60 {
        clients.note_message(&one, clock.after(Duration::from_mins(minute)));
    }
    assert!(!clients.is_proven(&one, clock.after(Duration::from_hours(1))));
    assert!(clients.is_proven(&one, clock.after(Duration::from_hours(50))), "the span is what counts");
    clients.leave(one);
    let one = seat(&clients, "192.0.2.1", clock.after(Duration::from_hours(29 * 24)));
    assert!(clients.is_proven(&one, clock.after(Duration::from_hours(29 * 24))));
    clients.leave(one);
    let later = clock.after(Duration::from_hours((29 + 31) * 24));
    let one = seat(&clients, "192.0.2.1", later);
    assert!(!clients.is_proven(&one, later));
    clients.leave(one);
}

/// The hours of 16 bits and the units of 13 bits begin anew within these twenty years.
#[test]
fn who_sends_for_twenty_years_stays_proven_and_a_clock_that_goes_back_proves_nothing() {
    let (clients, clock) = (table(64), Clock::new());
    let one = seat(&clients, "192.0.2.1", clock.start());
    for day in 0..20 * 365 {
        let now = clock.after(Duration::from_hours(24 * day));
        assert_eq!(clients.is_proven(&one, now), day >= 5, "day {day}");
        clients.note_message(&one, now);
    }
    let two = seat(&clients, "192.0.2.2", clock.after(Duration::from_hours(100)));
    for hour in (0..=100).rev() {
        let now = clock.after(Duration::from_hours(hour));
        clients.note_message(&two, now);
        assert!(!clients.is_proven(&two, now), "hour {hour}");
    }
    clients.leave(one);
    clients.leave(two);
}

#[test]
fn a_full_bucket_counts_nobody_new_and_an_idle_place_is_given_to_who_comes() {
    // One bucket; a client has three networks.
    let (clients, now) = (table(WAYS), Clock::new().start());
    let first = seat(&clients, "192.0.2.1", now);
    let second = seat(&clients, "198.51.100.1", now);
    assert_eq!(second.places.iter().flatten().count(), 1, "one place was left");
    assert!(clients.pay(&second, Event::Message, 300, &LIMITS, now).is_ok());
    let third = seat(&clients, "203.0.113.1", now);
    assert_eq!(third.places, [None; TIERS], "the table fails open");
    clients.leave(first);
    let fourth = seat(&clients, "203.0.113.1", now);
    assert_eq!(fourth.places.iter().flatten().count(), 3);
    for seat in [second, third, fourth] {
        clients.leave(seat);
    }
}

#[test]
fn proven_clients_are_replaced_last() {
    let (clients, clock) = (table(WAYS), Clock::new());
    let good = seat(&clients, "192.0.2.1", clock.start());
    (0..5).for_each(|_| clients.note_message(&good, clock.start()));
    clients.leave(good);
    let later = clock.after(Duration::from_hours(60));
    for host in 1..100 {
        clients.leave(seat(&clients, &format!("198.51.{host}.1"), later));
    }
    let good = seat(&clients, "192.0.2.1", later);
    assert!(clients.is_proven(&good, later));
    clients.leave(good);
}

#[test]
fn what_is_remembered_comes_back_and_nothing_else_does() {
    let (clients, clock) = (table(1024), Clock::new());
    for host in 0..50 {
        let one = seat(&clients, &format!("192.0.{host}.1"), clock.start());
        if host % 2 == 0 {
            (0..5).for_each(|_| clients.note_message(&one, clock.start()));
        }
        clients.leave(one);
    }
    let remembered: Vec<Remembered> = clients.remembered().collect();
    let later = clock.after(Duration::from_hours(60));
    let restored = table(1024);
    assert_eq!(remembered.iter().filter(|one| restored.restore(**one)).count(), 25);
    assert_eq!(restored.count(later), Count { networks: 25, proven: 25 });
    for host in 0..50 {
        let one = seat(&restored, &format!("192.0.{host}.1"), later);
        assert_eq!(restored.is_proven(&one, later), host % 2 == 0, "{host}");
        restored.leave(one);
    }
    assert_ne!(table(4096).buckets(), restored.buckets());
    assert!(!table(1024).restore([0xff; REMEMBERED_BYTES]), "a bucket that is not there");
    assert!(!table(1024).restore([0; REMEMBERED_BYTES]), "nobody");
}

/// Threads that come and go in one bucket: at the end no connection is counted.
#[test]
fn however_shards_meet_every_connection_is_given_back() {
    let clients = table(WAYS);
    let clock = Clock::new();
    std::thread::scope(|scope| {
        for shard in 0..4_u32 {
            let (clients, clock) = (&clients, &clock);
            scope.spawn(move || {
                for number in 0..5_000_u32 {
                    let now = clock.after(Duration::from_mins(u64::from(number)));
                    let host = number.wrapping_mul(2_654_435_761).wrapping_add(shard) % 5;
                    if let Ok(Some(seat)) = enter(clients, &format!("192.0.2.{host}"), now) {
                        let _ = clients.pay(&seat, Event::Message, 1, &LIMITS, now);
                        clients.note_message(&seat, now);
                        clients.leave(seat);
                    }
                }
            });
        }
    });
    let now = clock.after(Duration::from_hours(100));
    assert!(clients.buckets.iter().flat_map(|bucket| &bucket.0).all(|slot| slot.worth(now).is_some()));
}

#[test]
fn a_million_places_are_32_mib() {
    assert_eq!(size_of::<Slot>(), 32);
    assert_eq!(bytes(1 << 20), 32 << 20);
    assert_eq!(table(1000).buckets.len(), 256);
}

#[test]
fn limits_that_only_warn_let_all_pass_but_what_one_client_has_too_many_of_at_a_time() {
    let clock = Clock::new();
    let now = clock.start();
    let clients = Clients::new(1024, &[3; 16]);
    let rates = LIMITS.rates.map(|rates| Rates { connections: Rate::per_minute(1), ..rates });
    let limits = Limits { rates, only_warn: true, ..LIMITS };
    let enter = |host: u8| {
        let mut told = Vec::new();
        let entered = clients.enter([192, 0, 2, host].into(), &limits, now, |why| told.push(why));
        (entered, told)
    };
    let mut seats = Vec::new();
    for host in 0..4 {
        for turn in 0..2 {
            let (entered, told) = enter(host);
            seats.push(entered.expect("it may").expect("counted"));
            // The /24 may have six open, and three a minute; the client one a minute.
            assert_eq!(told.contains(&Refused::Open(Over { tier: 1 })), host == 3, "{host} {turn}");
            let rate = told.iter().any(|why| matches!(why, Refused::Rate(_)));
            assert_eq!(rate, host == 3 || turn == 1, "{host} {turn}");
        }
    }
    assert_eq!(enter(0).0, Err(Refused::Open(Over { tier: 0 })));
    for seat in seats {
        clients.leave(seat);
    }
    assert!(enter(0).0.is_ok());
}
