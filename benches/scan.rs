//! Throughput of the search over mail data: the fast one, its naive twin, and memchr and memmem alone; the
//! same text in pieces, and split in two at every octet.

use std::hint::black_box;
use std::time::Instant;

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

/// The search over a text that comes in pieces.
fn scan_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Before {
    pieces.fold(Before::LineStart, |before, piece| {
        let plain = plain_prefix(black_box(piece), before);
        assert_eq!(plain, piece.len(), "all of it is plain");
        before.after(piece)
    })
}

fn pieces(criterion: &mut Criterion) {
    let text = text(76, 16 * 1024);
    let mut group = criterion.benchmark_group("scan, 76 columns in pieces");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for octets in [8192, 1448, 512, 256, 100, 64] {
        group.bench_function(format!("{octets} octets"), |bench| {
            bench.iter(|| scan_pieces(text.chunks(octets)));
        });
    }
    group.finish();
}

/// Prints the slowest and the median of all splits in two, each by the best of its runs: what an interrupt
/// costs is no property of a split.
fn every_split(_: &mut Criterion) {
    const RUNS: usize = 7;
    const REPEATS: u32 = 32;
    // `cargo test --benches` only wants to see that it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let text = text(76, 16 * 1024);
    let rate = |at: usize| {
        let (first, second) = text.split_at(at);
        let run = || {
            let start = Instant::now();
            for _ in 0..REPEATS {
                black_box(scan_pieces([first, second].into_iter()));
            }
            start.elapsed().as_secs_f64() / f64::from(REPEATS)
        };
        let best = (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min);
        text.len() as f64 / best / 1e9
    };
    let mut rates: Vec<(f64, usize)> = (0..=text.len()).map(|at| (rate(at), at)).collect();
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (slowest, at) = rates[0];
    let (median, _) = rates[rates.len() / 2];
    println!(
        "scan, 76 columns, all {} splits in two: slowest {slowest:.1} GB/s (at octet {at}), median {median:.1} GB/s",
        rates.len()
    );
}

criterion_group!(benches, scan, pieces, every_split);
criterion_main!(benches);
