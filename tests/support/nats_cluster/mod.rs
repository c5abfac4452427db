//! A real cluster of three `nats-server` on loopback, each with its files in a folder of the test, which
//! syncs each write. Tests kill, stop and start its servers; a stream is read by nats-py, which shares no
//! code with the receiver.

mod credentials;
mod node;
mod programs;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringmx::tls::self_signed;
use rustix::process::Signal;
use serde_json::Value;

use credentials::Credentials;
pub use node::State;
use node::{Node, Ports};
use programs::{Programs, programs};

use crate::image;

/// Servers of a cluster.
pub const NODES: usize = 3;
/// How long a cluster may take to be well again after anything.
const PATIENCE: Duration = Duration::from_mins(2);
/// Somebody else may have had a port first.
const STARTS_MAX: usize = 5;

/// What a cluster is besides three servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Clients come by TLS. The certificate is for 127.0.0.1 and in `tls/certificate.pem` of the folder.
    pub tls: bool,
    /// Clients show a certificate: that of `tls/client.pem` and its key `tls/client.key`.
    pub client_certificates: bool,
    /// The one user who may come, and the password.
    pub user: Option<(&'static str, &'static str)>,
    /// Clients show credentials: those of `user.creds` of the folder, of a user who may do everything.
    pub credentials: bool,
    /// The files of this server are on a disk of so many octets. Only root can make one.
    pub small_disk: Option<(usize, u64)>,
    /// Octets that a message may have, if it is not the server's default, 1 MiB.
    pub max_payload: Option<u32>,
}

/// A running cluster; ended by drop, and with this process in whatever way that ends.
pub struct NatsCluster {
    programs: &'static Programs,
    options: Options,
    nodes: Vec<Node>,
    guard: Child,
    disk: Option<PathBuf>,
    folder: tempfile::TempDir,
    /// Nine servers and more on a small machine elect one another all day.
    _alone: MutexGuard<'static, ()>,
}

impl NatsCluster {
    /// A cluster that is ready; none where the programs are missing, which is said.
    pub fn start() -> Option<Self> {
        Self::start_with(Options::default())
    }

    /// The same with more.
    pub fn start_with(options: Options) -> Option<Self> {
        let programs = programs()?;
        let starts = (0..STARTS_MAX).find_map(|_| Self::try_start(programs, options.clone()));
        let cluster = starts.expect("servers that go on running");
        cluster.wait_until_well();
        Some(cluster)
    }

    fn try_start(programs: &'static Programs, options: Options) -> Option<Self> {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a folder");
        let ports = [(); NODES].map(|()| Ports::free());
        let mut routes = String::new();
        for Ports { route, .. } in &ports {
            write!(routes, "\"nats://{route}\", ").expect("a text");
        }
        let settings = settings(folder.path(), &options);
        let nodes: Vec<Node> = ports
            .into_iter()
            .zip(1..)
            .map(|(ports, number)| Node::new(folder.path(), &format!("n{number}"), ports, &routes, &settings))
            .collect();
        let disk = options.small_disk.map(|(node, bytes)| {
            let disk = nodes[node].store();
            image::run(
                Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
                    .arg(&disk),
            );
            disk
        });
        let guard = guard(disk.as_deref());
        let mut cluster = Self { programs, options, nodes, guard, disk, folder, _alone: alone };
        (0..NODES).all(|node| cluster.run(node)).then_some(cluster)
    }

    fn run(&mut self, node: usize) -> bool {
        let group = self.guard.id().cast_signed();
        self.nodes[node].run(&self.programs.server, group)
    }

    /// Kills a server, in the middle of whatever it does.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].end(Signal::KILL);
    }

    /// Ends a server in order.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].end(Signal::TERM);
    }

    /// Starts a server again where it was, after it has ended.
    pub fn start_again(&mut self, node: usize) {
        assert!(self.run(node), "it goes on running");
    }

    /// A server stands still, and its connections stay.
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].pause();
    }

    /// It goes on.
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].resume();
    }

    /// Where a server is for clients.
    pub fn url(&self, node: usize) -> String {
        let scheme = if self.options.tls { "tls" } else { "nats" };
        format!("{scheme}://{}", self.nodes[node].ports.client)
    }

    /// The same with the user and the password, as nats-py and loadgen take them.
    fn url_of_user(&self, node: usize) -> String {
        let (scheme, address) =
            (if self.options.tls { "tls" } else { "nats" }, self.nodes[node].ports.client);
        let user = self.options.user.map(|(user, password)| format!("{user}:{password}@"));
        format!("{scheme}://{}{address}", user.unwrap_or_default())
    }

    /// A server that runs, with the user and the password.
    pub fn living_url(&self) -> String {
        self.url_of_user(self.living().next().expect("a server that runs"))
    }

    /// All servers, as a list of TOML.
    pub fn servers(&self) -> String {
        let urls: Vec<String> = (0..NODES).map(|node| format!("\"{}\"", self.url(node))).collect();
        format!("[{}]", urls.join(", "))
    }

    /// Where the monitoring of all of them is, as a list of TOML.
    pub fn monitors(&self) -> String {
        let urls = self.nodes.iter().map(|node| format!("\"http://{}\"", node.ports.monitor));
        format!("[{}]", urls.collect::<Vec<_>>().join(", "))
    }

    /// The folder of the cluster, which goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What becomes of a server's process.
    pub fn state(&self, node: usize) -> State {
        self.nodes[node].state()
    }

    /// Forgets the servers, as a process does that is killed: they are left to the guard.
    pub fn abandon(mut self) {
        for node in &mut self.nodes {
            node.forget();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }

    /// Where a server keeps its streams.
    pub fn store(&self, node: usize) -> PathBuf {
        self.nodes[node].store()
    }

    /// What a server logged so far.
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].log()
    }

    /// What the monitoring of a server says, if it runs.
    pub fn monitor(&self, node: usize, path: &str) -> Option<Value> {
        self.nodes[node].monitor(path)
    }

    fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..NODES).filter(|node| self.nodes[*node].state() == State::Runs)
    }

    /// Waits until every server that runs is well, and all its streams are current.
    pub fn wait_until_well(&self) {
        let start = Instant::now();
        while !self.living().all(|node| self.nodes[node].is_healthy()) {
            let logs: Vec<String> = (0..NODES).map(|node| self.log(node)).collect();
            assert!(start.elapsed() < PATIENCE, "the cluster is not well: {}", logs.join("\n\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Who leads a stream now, once somebody does. One that stood still may think so for a moment, too.
    pub fn leader_of(&self, stream: &str) -> usize {
        let start = Instant::now();
        loop {
            let leaders = self.living().filter_map(|node| Some((self.nodes[node].leads(stream)?, node)));
            if let Some((_, node)) = leaders.max() {
                return node;
            }
            assert!(start.elapsed() < PATIENCE, "nobody leads {stream}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A server that runs and does not lead a stream.
    pub fn follower_of(&self, stream: &str) -> usize {
        let leader = self.leader_of(stream);
        self.living().find(|node| *node != leader).expect("another server")
    }

    /// A program of Python with nats-py, and the first server that runs as its first argument.
    pub fn python(&self, script: &str) -> Command {
        let path = format!("{}/../python/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("python3");
        command.arg(path).arg(self.living_url()).env("PYTHONPATH", &self.programs.modules);
        if self.options.tls {
            command.env("NATS_CA", self.folder.path().join("tls/certificate.pem"));
        }
        if self.options.credentials {
            command.env("NATS_CREDENTIALS", self.folder.path().join("user.creds"));
        }
        if self.options.client_certificates {
            command.env("NATS_CERTIFICATE", self.folder.path().join("tls/client.pem"));
            command.env("NATS_KEY", self.folder.path().join("tls/client.key"));
        }
        command
    }

    /// The folder with nats-py, for `PYTHONPATH`.
    pub fn modules(&self) -> &Path {
        &self.programs.modules
    }

    /// `tests/python/nats_stream.py` with these arguments: what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn stream(&self, arguments: &[&str]) -> String {
        let output = self.python("nats_stream.py").args(arguments).output().expect("python3 runs");
        text_of(output)
    }

    /// Every message of a stream as nats-py reads it: a JSON object each.
    pub fn read(&self, stream: &str) -> Vec<Value> {
        let lines = self.stream(&["read", stream]);
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if node.state() != State::Gone {
                node.end(Signal::KILL);
            }
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if let Some(disk) = &self.disk {
            image::unmount(disk);
        }
    }
}

/// Lines of the configuration that all servers have, and the files that they name.
fn settings(folder: &Path, options: &Options) -> String {
    let mut text = String::new();
    if let Some(bytes) = options.max_payload {
        writeln!(text, "max_payload: {bytes}").expect("a text");
    }
    if let Some((user, password)) = options.user {
        writeln!(text, "authorization {{ users: [{{ user: {user}, password: \"{password}\" }}] }}")
            .expect("a text");
    }
    if options.credentials {
        let credentials = Credentials::make();
        text.push_str(&credentials.settings);
        fs::write(folder.join("user.creds"), credentials.file).expect("a file");
    }
    if options.tls {
        let tls = folder.join("tls");
        fs::create_dir(&tls).expect("a folder");
        let write = |name: &str, octets: &str| fs::write(tls.join(name), octets).expect("a file");
        let server = self_signed::make(&["127.0.0.1".to_owned()]).expect("a certificate");
        write("certificate.pem", &server.chain);
        write("key.pem", &server.key);
        let client = self_signed::make(&["client.test".to_owned()]).expect("a certificate");
        write("client.pem", &client.chain);
        write("client.key", &client.key);
        let path = |name: &str| format!("\"{}\"", tls.join(name).display());
        let verify = if options.client_certificates {
            format!(", ca_file: {}, verify: true", path("client.pem"))
        } else {
            String::new()
        };
        let (certificate, key) = (path("certificate.pem"), path("key.pem"));
        writeln!(text, "tls {{ cert_file: {certificate}, key_file: {key}{verify} }}").expect("a text");
    }
    text
}

/// A process that ends all of its group once this process has ended, however that came: its standard input is
/// ours to close. It leaves no disk mounted.
fn guard(disk: Option<&Path>) -> Child {
    let script = "read -r line; [ -z \"$1\" ] || umount --lazy \"$1\"; kill -9 0";
    Command::new("sh")
        .args(["-c", script, "guard"])
        .arg(disk.map(Path::as_os_str).unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell")
}

fn text_of(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}
