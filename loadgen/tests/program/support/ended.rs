//! The program, run to its end.

use std::fmt::Display;
use std::process::{Command, Output};

use super::PROGRAM;
use super::server::Server;

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Ended {
    /// Whether these words stand there, in one line or more.
    pub(crate) fn says(&self, words: &str) -> bool {
        says(&self.text, words)
    }
}

/// Whether a text has these words, in one line or more.
pub(crate) fn says(text: &str, words: &str) -> bool {
    text.split_whitespace().collect::<Vec<_>>().join(" ").contains(words)
}

impl From<Output> for Ended {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = [stdout, stderr].map(|stream| String::from_utf8(stream).expect("UTF-8")).concat();
        Self { code: status.code(), text }
    }
}

pub(crate) fn loadgen(arguments: &[&str]) -> Ended {
    Command::new(PROGRAM).args(arguments).output().expect("loadgen runs").into()
}

pub(crate) fn loadgen_to(server: &Server, arguments: &str) -> Ended {
    loadgen_at(server.address, arguments)
}

/// The same for any target.
pub(crate) fn loadgen_at(target: impl Display, arguments: &str) -> Ended {
    let target = target.to_string();
    loadgen(&[&[target.as_str()][..], &arguments.split_whitespace().collect::<Vec<_>>()].concat())
}
