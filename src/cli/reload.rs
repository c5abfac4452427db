//! `ringmx reload`: has a running receiver and its forwarder read their files again.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use super::control::{self, Unanswered};
use super::output::{print, print_each};
use crate::config::SinkKind;
use crate::server;

/// Asks, waits for the answers, and prints them. Fails when nothing was changed. With `only_forwarder` the
/// receiver is not asked.
pub fn reload(file: Option<&Path>, only_forwarder: bool) -> ExitCode {
    if !only_forwarder {
        match control::socket_of(file).and_then(|socket| ask(&socket).map_err(|why| why.text)) {
            Ok(ExitCode::SUCCESS) => {}
            Ok(printed) => return printed,
            Err(why) => return failed(why.trim_end()),
        }
    }
    let Some(file) = file else {
        // Where its spool is nobody says.
        return if only_forwarder {
            failed("name the configuration file of the forwarder")
        } else {
            ExitCode::SUCCESS
        };
    };
    let config = match control::configuration(file) {
        Ok(config) => config,
        Err(why) => return failed(&why),
    };
    // Also where its routes are gone from the file: one that runs has something to say to that.
    let SinkKind::Spool(spool) = &config.sink.kind else {
        return if only_forwarder {
            failed(&format!("{}: the sink is no spool, so there is no forwarder", file.display()))
        } else {
            ExitCode::SUCCESS
        };
    };
    match ask(&server::control_socket(&spool.path)) {
        Ok(printed) => printed,
        Err(Unanswered { kind: ErrorKind::NotFound | ErrorKind::ConnectionRefused, .. })
            if !only_forwarder =>
        {
            if !config.forward.routes.is_empty() {
                print_each("", &["no forwarder runs: it reads its configuration when it starts"]);
            }
            ExitCode::SUCCESS
        }
        Err(why) => failed(why.text.trim_end()),
    }
}

/// Asks for a reload at this socket, and prints what it says.
fn ask(socket: &Path) -> Result<ExitCode, Unanswered> {
    let answer = control::ask(socket, "reload", control::RELOADED_MAX)?;
    if answer.is_good {
        Ok(print(&answer.text))
    } else {
        Err(Unanswered { text: answer.text, kind: ErrorKind::Other })
    }
}

fn failed(why: &str) -> ExitCode {
    print_each("", &[why]);
    ExitCode::FAILURE
}
