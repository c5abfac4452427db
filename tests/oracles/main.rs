//! What the checks of `auth` find, beside what others' libraries find in the same: pyspf, dkimpy, authres.
//! And milters that others made.
//!
//! All is made from seeds: `ORACLE_SEED=7` runs one again, `ORACLE_SEEDS=10000` runs more of them. A library
//! that is not installed is skipped with a word; with `CI` set it has to be there.

mod dkim;
mod milters;
mod python;
mod results;
mod spf;
mod spf_zones;

use std::ops::Range;

use support::load::number_from;

/// The seeds of a test: those that are asked for, or so many.
fn seeds(count: u64) -> Range<u64> {
    match number_from("ORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("ORACLE_SEEDS").unwrap_or(count),
    }
}

/// Says how to run a seed of a test again, if it fails while this lives.
struct Again(&'static str, u64);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("ORACLE_SEED={} cargo test --test oracles {}", self.1, self.0);
        }
    }
}
