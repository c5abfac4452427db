//! What `loadgen compare` compares.

use std::path::PathBuf;

use clap::Args;

/// Compares reports written by --json.
#[derive(Debug, Args)]
#[command(after_help = RULE)]
pub struct CompareArguments {
    /// The report that is 1, and the one that is measured against it; with --with any number of runs of the
    /// first kind
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Runs that are measured against those: compare before-*.json --with after-*.json
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub with: Vec<PathBuf>,

    /// Show every number, not only rate and latency of transactions
    #[arg(long)]
    pub all: bool,
}

const RULE: &str = "\
Numbers are medians of the runs of a side. `noise` stands where the ranges of both sides meet. A range spans the runs of a \
side; while they are fewer than three, the eighths of each run as well, which differ less than runs do: take several runs \
of each side, in turn. `?` stands where there is no range: one run of less than 0.8 s, a ramp, or a number that a report \
holds of the whole run only.

Exit code: 0; 2 if a report cannot be read, or has no result.";
