//! How a batch is best made durable in a segment that was pre-written: what the spool does, against its
//! rivals.
//!
//! Needs a directory on the file system in question: `RINGMX_BENCH_DIR=/mnt/x cargo bench --bench segment`.
//! Prints the rate and the CPU time of the whole machine (`/proc/stat`), for the kernel's threads that write
//! back work for the buffered way, too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

const SEGMENT_BYTES: usize = 64 << 20;
const PAGE: usize = 4096;
/// Runs of each way; they take turns, so that a noisy machine is noisy for all.
const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(2);

/// Memory that direct writes take.
#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE]);

#[derive(Clone, Copy)]
enum Way {
    /// `pwritev` and `fdatasync`.
    Buffered,
    /// `pwritev2(RWF_DSYNC)` through the page cache.
    BufferedDsync,
    /// `O_DIRECT` and `RWF_DSYNC`, with the copy into aligned memory that it takes.
    Direct,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Buffered, "buffered + fdatasync"),
    (Way::BufferedDsync, "buffered + RWF_DSYNC"),
    (Way::Direct, "O_DIRECT + RWF_DSYNC"),
];

fn main() -> io::Result<()> {
    let Some(directory) = std::env::var_os("RINGMX_BENCH_DIR") else {
        println!("SKIPPED: RINGMX_BENCH_DIR names no directory on the file system to measure");
        return Ok(());
    };
    let path = Path::new(&directory).join("ringmx-bench.segment");
    prepare(&path)?;
    for pages in [2, 16, 56] {
        let mut figures = [const { Vec::new() }; WAYS.len()];
        for _ in 0..RUNS {
            for (index, (way, _)) in WAYS.iter().enumerate() {
                figures[index].push(run(&path, *way, pages)?);
            }
        }
        for ((_, name), figures) in WAYS.iter().zip(&mut figures) {
            figures.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (rate, cpu) = figures[RUNS / 2];
            let (low, high) = (figures[0].0, figures[RUNS - 1].0);
            println!(
                "{:>4} KiB a batch, {name:<21}: {rate:>6.0} batches/s ({low:.0} to {high:.0}), {cpu:>5.0} us CPU a batch",
                pages * PAGE / 1024
            );
        }
    }
    fs::remove_file(&path)
}

/// Written with zeros, as a segment is before its first batch.
fn prepare(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    for piece in 0..SEGMENT_BYTES >> 20 {
        file.write_all_at(&vec![0; 1 << 20], (piece as u64) << 20)?;
    }
    file.sync_all()
}

/// Batches a second, and microseconds of CPU time that a batch cost the machine.
fn run(path: &Path, way: Way, pages: usize) -> io::Result<(f64, f64)> {
    let flags = if matches!(way, Way::Direct) { OFlags::DIRECT } else { OFlags::empty() };
    let file = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let source = vec![0x5a_u8; pages * PAGE];
    let mut aligned = vec![Page([0; PAGE]); pages];
    let (mut batches, mut offset) = (0_u32, PAGE);
    let (began, cpu) = (Instant::now(), cpu_ticks()?);
    while began.elapsed() < RUN {
        if offset + source.len() > SEGMENT_BYTES {
            offset = PAGE;
        }
        let at = offset as u64;
        let written = match way {
            Way::Buffered => {
                let written = rustix::io::pwritev(&file, &[IoSlice::new(&source)], at)?;
                rustix::fs::fdatasync(&file)?;
                written
            }
            Way::BufferedDsync => {
                rustix::io::pwritev2(&file, &[IoSlice::new(&source)], at, ReadWriteFlags::DSYNC)?
            }
            Way::Direct => {
                for (page, octets) in aligned.iter_mut().zip(source.chunks(PAGE)) {
                    page.0.copy_from_slice(octets);
                }
                let slices: Vec<IoSlice<'_>> = aligned.iter().map(|page| IoSlice::new(&page.0)).collect();
                rustix::io::pwritev2(&file, &slices, at, ReadWriteFlags::DSYNC)?
            }
        };
        assert_eq!(written, source.len());
        offset += source.len();
        batches += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    // A tick is 10 ms on every Linux that ringmx runs on.
    let spent = (cpu_ticks()? - cpu) as f64 * 10_000.0;
    Ok((f64::from(batches) / seconds, spent / f64::from(batches)))
}

/// CPU time of all processors but what they idled and waited for disks.
fn cpu_ticks() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1).map(str::parse::<u64>);
    Ok(fields
        .take(8)
        .enumerate()
        .filter(|(index, _)| ![3, 4].contains(index))
        .filter_map(|(_, ticks)| ticks.ok())
        .sum())
}
