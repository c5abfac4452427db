//! `ringmx reload`: has a running receiver and its forwarder read their files again.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::control::{self, Unanswered};
use super::output::{print, print_each};
use crate::config::SinkKind;
use crate::{forward, server};

/// A forwarder that starts is waited for so long, and asked each so often.
const STARTING_MAX: Duration = Duration::from_mins(1);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Asks, waits for the answers, and prints them. Fails when nothing was changed. With `only_forwarder` the
/// receiver is not asked.
pub fn reload(file: Option<&Path>, only_forwarder: bool) -> ExitCode {
    let mut said = String::new();
    if !only_forwarder {
        match control::socket_of(file).and_then(|socket| ask(&socket).map_err(|why| why.text)) {
            Ok(text) => said = text,
            Err(why) => return failed(why.trim_end()),
        }
        let printed = print(&said);
        if printed != ExitCode::SUCCESS {
            return printed;
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
    match ask_forwarder(&spool.path) {
        // Both have read one file: what the receiver has said of it is said.
        Ok(text) => {
            print(&text.split_inclusive('\n').filter(|line| !said.contains(line)).collect::<String>())
        }
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

/// Asks the forwarder of a spool. One that reads its state yet, after a start or a reload, is waited for:
/// with which configuration it begins is settled already.
fn ask_forwarder(spool: &Path) -> Result<String, Unanswered> {
    let until = Instant::now() + STARTING_MAX;
    loop {
        match ask(&server::control_socket(spool)) {
            Err(Unanswered { kind: ErrorKind::NotFound | ErrorKind::ConnectionRefused, .. })
                if forward::reads(spool) =>
            {
                if Instant::now() >= until {
                    let text =
                        "the forwarder reads its state yet, with the configuration of before: ask again"
                            .to_owned();
                    return Err(Unanswered { text, kind: ErrorKind::TimedOut });
                }
                std::thread::sleep(ASK_AGAIN_AFTER);
            }
            answer => return answer,
        }
    }
}

/// Asks for a reload at this socket. What it says, if it was done.
fn ask(socket: &Path) -> Result<String, Unanswered> {
    let answer = control::ask(socket, "reload", control::RELOADED_MAX)?;
    if answer.is_good {
        Ok(answer.text)
    } else {
        Err(Unanswered { text: answer.text, kind: ErrorKind::Other })
    }
}

fn failed(why: &str) -> ExitCode {
    print_each("", &[why]);
    ExitCode::FAILURE
}
