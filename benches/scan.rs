//! Throughput of the search over mail data: the fast one, its naive twin, and memchr and memmem alone.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::scan::{Before, naive, plain_prefix};

fn text(line: usize, bytes: usize) -> Vec<u8> {
    let line = [vec![b'x'; line], b"\r\n".to_vec()].concat();
    line.iter().copied().cycle().take(bytes).collect()
}

fn scan(criterion: &mut Criterion) {
    for (name, line) in [("76 columns", 76), ("998 columns", 998)] {
        let text = text(line, 16 * 1024);
        let mut group = criterion.benchmark_group(format!("scan, {name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group
            .bench_function("fast", |bench| bench.iter(|| plain_prefix(black_box(&text), Before::LineStart)));
        group.bench_function("naive", |bench| {
            bench.iter(|| naive::plain_prefix(black_box(&text), Before::LineStart));
        });
        group.bench_function("memchr2 of CR and LF", |bench| {
            bench.iter(|| memchr::memchr2_iter(b'\r', b'\n', black_box(&text)).count());
        });
        group.bench_function("memmem of CRLF and dot", |bench| {
            bench.iter(|| memchr::memmem::find(black_box(&text), b"\r\n."));
        });
        group.finish();
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
