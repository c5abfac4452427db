//! A milter of others' making: pymilter, on libmilter, whose answers a test chooses.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::python::python_with;

/// How long it may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// `tests/python/milter_filter.py` at a socket that is a file. It ends by drop.
#[derive(Debug)]
pub struct PyMilter {
    child: Child,
    folder: tempfile::TempDir,
    python: &'static str,
    arguments: Vec<String>,
}

impl PyMilter {
    /// Starts it with these arguments, which its first lines tell; none, with a word, where no Python has
    /// pymilter.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let python = python_with("Milter", "python3-milter")?;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = run(python, folder.path(), &arguments);
        let milter = Self { child, folder, python, arguments };
        milter.wait_until_it_listens();
        Some(milter)
    }

    /// Starts it again where it was, after it has ended.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = run(self.python, self.folder.path(), &self.arguments);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let begun = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(begun.elapsed() < START_MAX, "pymilter does not listen");
            sleep(Duration::from_millis(20));
        }
    }

    /// Other arguments, from the next SMTP connection on.
    pub fn rules(&self, arguments: &[&str]) {
        let (new, rules) = (self.folder.path().join("new"), self.folder.path().join("rules"));
        let lines = arguments.iter().flat_map(|argument| [argument, "\n"]).collect::<String>();
        fs::write(&new, lines).and_then(|()| fs::rename(&new, &rules)).expect("rules");
    }

    /// It stands still, and its connections stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        let _ = kill_process(id, signal);
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What it was told so far: a line of JSON for each call.
    pub fn told(&self) -> Vec<String> {
        let said = fs::read_to_string(self.folder.path().join("said")).expect("what it said");
        said.lines().map(str::to_owned).collect()
    }

    /// The same, once a line of it is as wanted.
    ///
    /// # Panics
    /// When that does not come.
    pub fn wait_told(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let told = self.told();
            if told.iter().any(|line| is_wanted(line)) {
                return told;
            }
            assert!(begun.elapsed() < START_MAX, "pymilter was told only {told:#?}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends it, as by a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It runs, and will listen.
fn run(python: &str, folder: &Path, arguments: &[String]) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/milter_filter.py");
    let said = File::options().create(true).append(true).open(folder.join("said")).expect("a file");
    let mut command = Command::new(python);
    command.arg(script).arg(format!("unix:{}", folder.join("socket").display()));
    command.args(arguments).stdin(Stdio::null()).stdout(said).spawn().expect("it runs")
}

impl Drop for PyMilter {
    fn drop(&mut self) {
        self.kill();
    }
}
