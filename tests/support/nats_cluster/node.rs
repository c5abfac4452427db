//! One server of a cluster: its configuration, its process, and what it says of itself.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http;

/// A monitoring that says nothing for so long is that of a server that stands still.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_mins(1);

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// For clients.
    pub client: SocketAddr,
    /// For the other servers.
    pub route: SocketAddr,
    /// For monitoring, by HTTP.
    pub monitor: SocketAddr,
}

impl Ports {
    /// Ports that are free now: a server takes none of the kernel's choice that the others could know.
    pub fn free() -> Self {
        let sockets = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a port"));
        let [client, route, monitor] = sockets.map(|socket| socket.local_addr().expect("an address"));
        Self { client, route, monitor }
    }
}

/// What becomes of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Runs,
    /// It stands still (SIGSTOP).
    Stands,
    /// There is none.
    Gone,
}

/// One server.
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// Where it listens.
    pub ports: Ports,
    /// Its files.
    folder: PathBuf,
    state: State,
    child: Option<Child>,
}

impl Node {
    /// A server that does not run yet. `settings` are lines of its configuration that all servers have.
    pub fn new(folder: &Path, name: &str, ports: Ports, routes: &str, settings: &str) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("store")).expect("a folder");
        let Ports { client, route, monitor } = ports;
        let mut text = String::new();
        write!(
            text,
            "server_name: {name}\nlisten: \"{client}\"\nhttp: \"{monitor}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 4G, max_memory_store: 16M }}\n\
             cluster {{ name: ringmx, listen: \"{route}\", routes: [{routes}] }}\n{settings}",
            folder.join("store").display()
        )
        .expect("a text");
        fs::write(folder.join("conf"), text).expect("a configuration");
        Self { name: name.to_owned(), ports, folder, state: State::Gone, child: None }
    }

    /// Starts it as a process of this group, and waits until it listens; false where it ends instead.
    pub fn run(&mut self, server: &Path, group: i32) -> bool {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut child = Command::new(server)
            .arg("-c")
            .arg(self.folder.join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(group)
            .spawn()
            .expect("it runs");
        let start = Instant::now();
        let is_ready = loop {
            if TcpStream::connect(self.ports.client).is_ok() {
                break true;
            }
            if child.try_wait().expect("its state").is_some() {
                println!("{} ended: {}", self.name, self.log());
                break false;
            }
            assert!(start.elapsed() < START_MAX, "{} does not listen: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        if is_ready {
            (self.child, self.state) = (Some(child), State::Runs);
        }
        is_ready
    }

    /// What becomes of its process.
    pub fn state(&self) -> State {
        self.state
    }

    /// Ends it, at once (KILL) or in order (TERM), and waits for that.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        self.state = State::Gone;
    }

    /// It stands still, and its connections stay.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.state = State::Stands;
    }

    /// It goes on.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.state = State::Runs;
    }

    /// Leaves the process to somebody else.
    pub fn forget(&mut self) {
        (self.child, self.state) = (None, State::Gone);
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let id = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        kill_process(id, signal).expect("it is there");
    }

    /// Where it keeps its streams.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// What its monitoring says of a path, if it runs, answers and has nothing to complain of.
    pub fn monitor(&self, path: &str) -> Option<Value> {
        if self.state != State::Runs {
            return None;
        }
        let answer = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&self.ports.monitor, ANSWER_MAX)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut octets = Vec::new();
            stream.read_to_end(&mut octets)?;
            Ok(octets)
        };
        let answer = http::parse(&answer().ok().filter(|octets| !octets.is_empty())?);
        if answer.status == 200 { serde_json::from_str(&answer.body).ok() } else { None }
    }

    /// Whether it and all its streams are well and current.
    pub fn is_healthy(&self) -> bool {
        self.monitor("/healthz").is_some()
    }

    /// Whether it says that it leads a stream, and since when.
    pub fn leads(&self, stream: &str) -> Option<String> {
        let all = self.monitor("/jsz?accounts=1&streams=1")?;
        let streams = all["account_details"].as_array()?.iter();
        let mut streams = streams.filter_map(|account| account["stream_detail"].as_array()).flatten();
        let cluster = &streams.find(|one| one["name"] == stream)?["cluster"];
        let since = cluster["leader_since"].as_str()?;
        (cluster["leader"] == *self.name).then(|| since.to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
