//! A Python that answers, a line of JSON each way.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// The running program; it ends by drop.
pub struct Python {
    child: Child,
    asked: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// `tests/python/oracles.py` for one of its libraries, in the first Python that has that; none, with a
    /// word, where no one has.
    pub fn start(library: &str) -> Option<Self> {
        let mut why = String::from("no python3 runs");
        // Debian's modules are those of Debian's Python.
        for python in ["/usr/bin/python3", "python3"] {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oracles.py");
            let mut command = Command::new(python);
            command.args([script, library]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let Ok(mut child) = command.spawn() else { continue };
            let asked = child.stdin.take();
            let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let mut python = Self { child, asked, answers };
            match python.answer()["missing"].as_str() {
                None => return Some(python),
                Some(missing) => missing.clone_into(&mut why),
            }
        }
        assert!(std::env::var_os("CI").is_none(), "CI needs Python's module for {library}: {why}");
        println!("skipped: {why} (Debian packages: python3-spf, python3-dkim, python3-authres)");
        None
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, asked: &Value) -> Value {
        let pipe = self.asked.as_mut().expect("a pipe");
        pipe.write_all(format!("{asked}\n").as_bytes()).and_then(|()| pipe.flush()).expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let line = self.answers.next().expect("an answer").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends with its input.
        self.asked = None;
        let _ = self.child.wait();
    }
}
