//! `ringmx reload`: has a running server read its files again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::control;
use super::output::{print, print_each};

/// Asks, waits for the answer, and prints it. Fails when nothing was changed.
pub fn reload(file: Option<&Path>) -> ExitCode {
    let ask = |socket: PathBuf| {
        control::ask(&socket, "reload", control::RELOADED_MAX).map_err(|unanswered| unanswered.text)
    };
    match control::socket_of(file).and_then(ask) {
        Ok(answer) if answer.is_good => print(&answer.text),
        Ok(answer) => failed(answer.text.trim_end()),
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    print_each("", &[why]);
    ExitCode::FAILURE
}
