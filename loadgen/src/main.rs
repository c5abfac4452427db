//! Arguments → run → exit code; nothing else.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use loadgen::arguments::CommandLine;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::try_parse() {
        Ok(line) => loadgen::program::main(&line),
        Err(told) => tell(&told),
    }
}

/// Prints what clap has to say: the help, the version, or what is wrong with the arguments.
fn tell(told: &clap::Error) -> ExitCode {
    match told.print() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            loadgen::output::complain(format_args!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(u8::MAX)),
    }
}
