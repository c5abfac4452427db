//! Arguments → run → exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    loadgen::main(&loadgen::arguments::CommandLine::parse())
}
