//! A real `ringmx` in a folder of its own, listening on a port of the kernel's choice.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running server; ended by drop.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    output: Arc<Mutex<Vec<String>>>,
}

/// How long a server may take to start or stop before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

impl Server {
    /// A server with one listener, and one maildir below its folder.
    pub fn with_maildir(more: &str) -> Self {
        Self::start(&format!("[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n{more}"))
    }

    /// A server with one listener and this sink and further sections.
    pub fn start(config: &str) -> Self {
        Self::start_whole(&format!(
            "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{config}\n"
        ))
    }

    /// A server with a whole configuration.
    pub fn start_whole(config: &str) -> Self {
        Self::start_with_files(config, &[])
    }

    /// A server with a whole configuration, and files that it names.
    pub fn start_with_files(config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_under(&[], config, files)
    }

    /// A server that this program starts, becoming it or standing aside: its process is the server's.
    pub fn start_under(wrapper: &[&str], config: &str, files: &[(&str, &str)]) -> Self {
        Self::launch(wrapper, config, files, |_| {}).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, or what it said when it ended instead.
    pub fn try_start_under(wrapper: &[&str], config: &str) -> Result<Self, String> {
        Self::launch(wrapper, config, &[], |_| {})
    }

    /// A server whose process is prepared by this; or what it said when it ended instead.
    pub fn try_start(config: &str, prepare: impl FnOnce(&mut Command)) -> Result<Self, String> {
        Self::launch(&[], config, &[], prepare)
    }

    fn launch(
        wrapper: &[&str],
        config: &str,
        files: &[(&str, &str)],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let file = folder.path().join("ringmx.toml");
        fs::write(&file, config).expect("the configuration");
        let program = program();
        let program = program.to_str().expect("a path of UTF-8");
        let tracer = tracer();
        let tracer = tracer.iter().map(String::as_str);
        let mut words = tracer.chain(wrapper.iter().copied()).chain([program, "serve", "--config"]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("the server starts");
        let log = collect_lines(child.stderr.take().expect("standard error"));
        let output = collect_lines(child.stdout.take().expect("standard output"));
        let mut server = Self { child, folder, addresses: Vec::new(), log, output };
        server.wait_until_ready().map(|()| server)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while !self.log().iter().any(|line| line.contains(" ready") || line.contains("\"ready\"")) {
            if let Some(status) = self.child.try_wait().expect("the server's state") {
                // What it said last is still to be read: the thread that does it has the other share.
                while Arc::strong_count(&self.log) > 1 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Err(format!("the server ended: {status}\n{}", self.log().join("\n")));
            }
            assert!(start.elapsed() < PATIENCE, "the server is not ready:\n{}", self.log().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = self.log();
        // As text, or as JSON.
        let address = |line: &str| {
            let behind =
                line.split_once("listening address=").or(line.split_once("\"listening\",\"address\":\""));
            behind.map(|(_, address)| address.trim_end_matches("\"}").parse().expect("an address"))
        };
        self.addresses = log.iter().filter_map(|line| address(line)).collect();
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where its listeners listen, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its administration listens.
    pub fn admin_address(&self) -> SocketAddr {
        let log = self.log();
        let behind = log.iter().find_map(|line| {
            line.split_once(" admin address=").or(line.split_once("\"admin\",\"address\":\""))
        });
        let (_, address) = behind.expect("[admin] with a TCP address");
        address.trim_end_matches("\"}").parse().expect("an address")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    /// What it wrote to standard output so far, once these are so many lines.
    pub fn output(&self, lines: usize) -> Vec<String> {
        let start = Instant::now();
        while self.output.lock().expect("the output").len() < lines && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.output.lock().expect("the output").clone()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of the log satisfies the test, and gives it.
    pub fn wait_for_log(&self, find: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.log().into_iter().find(|line| find(line)) {
                return line;
            }
            assert!(start.elapsed() < PATIENCE, "no such line in the log:\n{}", self.log().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(id, signal).expect("the signal is sent");
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the server's state") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not stop:\n{}", self.log().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory in octets.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most that its resident memory ever was, in octets.
    pub fn resident_bytes_max(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    /// The messages in a maildir below its folder, in the order of their names.
    pub fn maildir(&self, path: &str) -> Vec<Vec<u8>> {
        let folder = self.folder().join(path).join("new");
        let mut names: Vec<PathBuf> = fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.expect("entry").path()).collect())
            .unwrap_or_default();
        names.sort();
        names.iter().map(|name| fs::read(name).expect("a message")).collect()
    }
}

/// With `RINGMX_TRACE` set to a directory, every server is watched by strace, which leaves a file for each
/// thread there: the calls that failed. `refused_calls.sh` tells what the sandbox has refused of a whole run
/// of the tests.
fn tracer() -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(directory) = std::env::var_os("RINGMX_TRACE") else { return Vec::new() };
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let file = PathBuf::from(directory).join(name);
    // The server stays a child of ours (-D), and does not stop where nothing is watched (--seccomp-bpf would
    // need it to be the first).
    let words = ["strace", "-D", "-ff", "-qq", "-Z", "-o"].map(str::to_owned);
    words.into_iter().chain([file.to_string_lossy().into_owned()]).collect()
}

/// The program `ringmx` of this build: in the folder above that of the test programs.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let folder = test.parent().and_then(Path::parent).expect("the folder of the build");
    folder.join("ringmx")
}

/// The lines of a pipe, as they come.
fn collect_lines(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            collected.lock().expect("the lines").push(line);
        }
    });
    lines
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without our trace fields, which stand above the message: Return-Path, Delivered-To and Received with its
/// folds.
pub fn without_trace(message: &[u8]) -> &[u8] {
    let mut rest = message;
    for name in [&b"Return-Path:"[..], b"Delivered-To:", b"Received:"] {
        assert!(rest.starts_with(name), "{} is missing", String::from_utf8_lossy(name));
        loop {
            let end = rest.iter().position(|octet| *octet == b'\n').expect("a line end") + 1;
            rest = &rest[end..];
            if !rest.starts_with(b"\t") && !rest.starts_with(b" ") {
                break;
            }
        }
    }
    rest
}
