//! `ringmx status`: how a running receiver or forwarder does, live on a terminal, once elsewhere.

mod forwarder;
mod lines;
mod place;
mod receiver;
mod said;
mod screen;

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::ExitCode;

use self::lines::Line;
use self::place::Place;
use super::output::{print, print_each};

/// How wide lines are where no terminal says it.
const WIDTH: usize = 80;

/// `ringmx status`. As JSON, and where standard output is no terminal, it is told once.
pub fn status(file: Option<&Path>, of_forwarder: bool, json: bool) -> ExitCode {
    let place = if of_forwarder { Place::of_forwarder(file) } else { Place::of(file) };
    let place = match place {
        Ok(place) => place,
        Err(why) => return failed(&why),
    };
    let told = match place.ask() {
        Ok(told) => told,
        Err(why) => return failed(&why),
    };
    if json {
        // As the server wrote it, so that fields which this version does not know stay.
        return print(&format!("{}\n", told.json.trim_end()));
    }
    let is_live = stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    if !is_live {
        let text: String = told.said.lines(WIDTH).iter().map(Line::plain).collect();
        return print(&text);
    }
    match screen::run(place, told.said) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failed(&format!("the terminal cannot be used: {error}; `ringmx status | cat` tells it once"))
        }
    }
}

fn failed(why: &str) -> ExitCode {
    print_each("", &[why]);
    ExitCode::FAILURE
}
