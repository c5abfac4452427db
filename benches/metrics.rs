//! What counting costs: one value of a histogram, and all that one message adds.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringmx::metrics::{Histogram, Phase, ShardMetrics};

fn metrics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metrics");
    let histogram = Histogram::default();
    // The sizes are spread over many counters, as times are.
    let mut number = 1_u64;
    let mut next = move || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number & 0xf_ffff
    };
    group.bench_function("a number, counted nowhere", |bench| bench.iter(|| black_box(next())));
    group.bench_function("a number in a histogram", |bench| bench.iter(|| histogram.add(black_box(next()))));
    let shard = ShardMetrics::default();
    let phases = [Phase::Envelope, Phase::Data, Phase::HandoffWait, Phase::Store, Phase::Reply];
    group.bench_function("a message on a shard, without its replies", |bench| {
        bench.iter(|| {
            for phase in phases {
                shard.phase(phase).add_duration(Duration::from_micros(black_box(next())));
            }
            shard.messages.add(1);
            shard.message_bytes.add(black_box(2000));
            shard.message_size.add(black_box(2000));
        });
    });
    group.bench_function("a scrape of 16 shards, read and written", |bench| {
        let registry = ringmx::metrics::Registry::new(16, "discard", 0);
        let mut text = String::new();
        bench.iter(|| {
            text.clear();
            ringmx::admin::exposition::write(&registry.snapshot(), &mut text, false);
            text.len()
        });
    });
    group.finish();
}

criterion_group!(benches, metrics);
criterion_main!(benches);
