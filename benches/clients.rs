//! What it costs to count clients: a million of them in a table of 32 MiB, in any order, and two shards at
//! one place.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use ringmx::front::clients::{Clients, Event, Limits, Rates, Seat};
use ringmx::front::moment::{Epoch, Moment};
use ringmx::front::rate::Rate;

const PLACES: usize = 1 << 20;

/// So many that nobody is refused.
fn limits() -> Limits {
    let rate = Rate::parse("5760000/hour").expect("a rate");
    let rates =
        Rates { connections: rate, messages: rate, recipients: rate, unknown_recipients: rate, errors: rate };
    Limits { connections_max: 50, rates: Some(rates), only_warn: false }
}

struct Clock(Instant, Epoch, SystemTime);

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self(now, Epoch::new(now), SystemTime::now())
    }

    fn after(&self, time: Duration) -> Moment {
        self.1.moment(self.0 + time, self.2 + time)
    }
}

/// Numbers in any order, from a generator that costs nearly nothing.
fn next(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state >> 8
}

/// A client of a /24 and /20 of its own, so that each takes its three places.
fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0100_0001 + (number << 12)))
}

fn clients(criterion: &mut Criterion) {
    let (clock, limits) = (Clock::new(), limits());
    let now = clock.after(Duration::ZERO);
    let clients = Clients::new(PLACES, &[7; 16]);
    let known = 200_000_u32;
    let seats: Vec<Seat> = (0..known)
        .filter_map(|number| clients.enter(address(number), &limits, now, |_| {}).ok().flatten())
        .collect();
    let mut state = 1;
    let mut group = criterion.benchmark_group("clients, a million places");
    group.bench_function("pay, any client", |bench| {
        bench.iter(|| {
            let seat = &seats[next(&mut state) as usize % seats.len()];
            black_box(clients.pay(seat, Event::Recipient, 1, &limits, now))
        });
    });
    group.bench_function("is_over, any client", |bench| {
        bench.iter(|| {
            let seat = &seats[next(&mut state) as usize % seats.len()];
            black_box(clients.is_over(seat, Event::UnknownRecipient, &limits, now))
        });
    });
    group.bench_function("note_message, any client", |bench| {
        bench.iter(|| clients.note_message(&seats[next(&mut state) as usize % seats.len()], now));
    });
    group.bench_function("enter and leave, any client", |bench| {
        bench.iter(|| {
            let number = next(&mut state) % known;
            if let Ok(Some(seat)) = clients.enter(black_box(address(number)), &limits, now, |_| {}) {
                clients.leave(seat);
            }
        });
    });
    group.finish();
    for seat in seats {
        clients.leave(seat);
    }
}

/// Each event is paid off before the next, so that each is written.
fn one_place(criterion: &mut Criterion) {
    let (clock, limits) = (Clock::new(), limits());
    let clients = Clients::new(1024, &[7; 16]);
    let seat = clients
        .enter(address(1), &limits, clock.after(Duration::ZERO), |_| {})
        .ok()
        .flatten()
        .expect("a seat");
    let mut passed = Duration::ZERO;
    let mut pay = || {
        passed += Duration::from_micros(1300);
        clients.pay(&seat, Event::Message, 1, &limits, clock.after(passed))
    };
    let mut group = criterion.benchmark_group("clients, one place");
    group.bench_function("pay, one shard", |bench| bench.iter(|| black_box(pay())));
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut passed = Duration::ZERO;
            while goes_on.load(Ordering::Relaxed) {
                passed += Duration::from_micros(1300);
                let _ = black_box(clients.pay(&seat, Event::Message, 1, &limits, clock.after(passed)));
            }
        });
        group.bench_function("pay, another shard does the same", |bench| bench.iter(|| black_box(pay())));
        goes_on.store(false, Ordering::Relaxed);
    });
    group.finish();
    clients.leave(seat);
}

criterion_group!(benches, clients, one_place);
criterion_main!(benches);
