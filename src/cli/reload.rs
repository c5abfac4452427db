//! `ringmx reload`: has a running server read its files again.

use std::path::Path;
use std::process::ExitCode;

use super::control;
use super::output::{print, print_each};

/// Asks, waits for the answer, and prints it. Fails when nothing was changed.
pub fn reload(file: Option<&Path>) -> ExitCode {
    match control::socket_of(file).and_then(|socket| control::ask(&socket, "reload", control::RELOADED_MAX)) {
        Ok(answer) if answer.is_good => print(&answer.text),
        Ok(answer) => failed(answer.text.trim_end()),
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    print_each("", &[why]);
    ExitCode::FAILURE
}
