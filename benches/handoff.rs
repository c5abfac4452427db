//! A message to another thread, and its receipt back: the real channels, doorbells and worker loop, with a
//! sink that does nothing.
//!
//! *One way*: how long until the other thread has taken a run of messages, a message. *Round trip*: with so
//! many messages out at a time, how long until each has its receipt, a message; the sending thread sleeps in
//! between as a shard does, but by poll(2) where a shard waits in its ring.
#![allow(missing_docs, reason = "a program")]

use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::handoff::channel::{Consumer, Sender, Waiting};
use ringmx::handoff::message::Message;
use ringmx::limits::HANDOFF_MESSAGES_MAX;
use ringmx::metrics::SinkMetrics;
use ringmx::shard::affinity::{allowed_cpus, pin_to};
use ringmx::sink::discard::Discard;
use ringmx::sink::worker;

use support::sink::{Reports, Sent};

fn made(count: usize) -> Vec<Box<Message>> {
    // The support says shard 3; the worker answers to a shard by its number.
    let message = |number: usize| {
        let mut message = Sent::new(number as u64, &b"mail data\r\n"[..]).message();
        message.origin.shard = 0;
        message
    };
    (0..count).map(message).collect()
}

/// The two threads on cores of their own, where there are two.
fn pin(place: usize) {
    let cpus = allowed_cpus().unwrap_or_default();
    if let Some(cpu) = cpus.get(place).filter(|_| cpus.len() > 1) {
        pin_to(*cpu).expect("an allowed core");
    }
}

/// Sends as a shard does, but that the write to the worker's doorbell rides in no ring.
#[allow(unsafe_code)]
fn send(to_sink: &Sender<Box<Message>>, message: Box<Message>) {
    let must_ring = to_sink.try_send(message).expect("no more messages are out than the channel holds");
    if let Some(descriptor) = must_ring {
        // SAFETY: it is the worker's eventfd, which `to_sink` keeps open.
        let bell = unsafe { BorrowedFd::borrow_raw(descriptor) };
        rustix::io::write(bell, &1_u64.to_ne_bytes()).expect("an eventfd");
    }
}

fn one_way(criterion: &mut Criterion) {
    pin(0);
    let worker = Consumer::new().expect("an eventfd");
    let (to_sink, from_shards) = worker.channel(HANDOFF_MESSAGES_MAX);
    let (give_back, home) = mpsc::channel();
    let consumer = thread::spawn(move || {
        pin(1);
        let mut taken = Vec::with_capacity(HANDOFF_MESSAGES_MAX);
        loop {
            match from_shards.take() {
                Waiting::Item(message) => taken.push(message),
                Waiting::Nothing => worker.sleep(None, || from_shards.is_empty()),
                Waiting::Ended => break,
            }
            if taken.len() == HANDOFF_MESSAGES_MAX {
                let at = Instant::now();
                give_back.send((at, std::mem::take(&mut taken))).expect("the bench listens");
            }
        }
    });
    let mut waiting = made(HANDOFF_MESSAGES_MAX);
    let mut group = criterion.benchmark_group("handoff");
    group.throughput(Throughput::Elements(HANDOFF_MESSAGES_MAX as u64));
    group.bench_function(format!("one way, {HANDOFF_MESSAGES_MAX} messages"), |bench| {
        bench.iter_custom(|runs| {
            let mut time = Duration::ZERO;
            for _ in 0..runs {
                let start = Instant::now();
                for message in waiting.drain(..) {
                    send(&to_sink, message);
                }
                let (end, taken) = home.recv().expect("the consumer runs");
                time += end - start;
                waiting = taken;
            }
            time
        });
    });
    group.finish();
    drop(to_sink);
    consumer.join().expect("the consumer");
}

fn round_trip(criterion: &mut Criterion) {
    pin(0);
    let [consumer, shard] = [(); 2].map(|()| Consumer::new().expect("an eventfd"));
    let (to_sink, from_shards) = consumer.channel(HANDOFF_MESSAGES_MAX);
    let (to_shard, from_sinks) = shard.channel(HANDOFF_MESSAGES_MAX);
    let worker = thread::spawn(move || {
        pin(1);
        let metrics = SinkMetrics::default();
        let reports = Reports::default();
        worker::run(Box::new(Discard), &consumer, &from_shards, &[to_shard], &reports, &metrics);
    });
    let mut group = criterion.benchmark_group("handoff, round trip");
    for out in [1, 8, 64, 256] {
        let mut waiting = made(out);
        group.throughput(Throughput::Elements(out as u64));
        group.bench_function(format!("{out} out"), |bench| {
            bench.iter(|| {
                for message in waiting.drain(..) {
                    send(&to_sink, message);
                }
                while waiting.len() < out {
                    match from_sinks.next() {
                        Some(receipt) => waiting.push(receipt.message),
                        None => shard.sleep(None, || from_sinks.is_empty()),
                    }
                }
            });
        });
    }
    group.finish();
    drop(to_sink);
    worker.join().expect("the worker");
}

criterion_group!(benches, one_way, round_trip);
criterion_main!(benches);
