//! Results on standard output, problems and warnings on standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// A result. Standard output may be closed early (`ringmx config | head`): that is no error of ours.
pub(super) fn print(text: &str) -> ExitCode {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            print_each("", &[format!("standard output cannot be written: {error}")]);
            ExitCode::FAILURE
        }
    }
}

/// Problems or warnings, a line each, after these words.
pub(super) fn print_each<T: Display>(before: &str, findings: &[T]) {
    let mut errors = std::io::stderr().lock();
    for finding in findings {
        // Nowhere is left to tell that standard error is closed.
        let _ = writeln!(errors, "{before}{finding}");
    }
}

/// A number with its noun.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
