//! A Python that answers, a line of JSON each way.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use support::python::python_with;

/// The running program; it ends by drop.
pub struct Python {
    child: Child,
    asked: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// `tests/python/oracles.py` with one of its oracles; none, with a word, where no Python has its library.
    pub fn start(oracle: &str) -> Option<Self> {
        let (modules, packages) = match oracle {
            "spf" => ("spf", "python3-spf"),
            // With both algorithms.
            "dkim" => ("dkim, nacl.signing", "python3-dkim, python3-nacl"),
            "results" => ("authres", "python3-authres"),
            other => panic!("{other} is no oracle"),
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oracles.py");
        let mut command = Command::new(python_with(modules, packages)?);
        command.args([script, oracle]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let asked = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Some(Self { child, asked, answers })
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
