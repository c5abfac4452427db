//! A server of a map of recipients in the socketmap protocol, with faults.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What the server does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It answers.
    Good,
    /// It never answers, and keeps the connection.
    Mute,
    /// It closes the connection.
    Closes,
    /// It answers half of it and closes.
    CutsOff,
    /// It says this.
    Says(&'static str),
    /// It sends this.
    Sends(&'static [u8]),
    /// It answers, and closes the connection.
    AnswersOnce,
}

/// What a server knows and has seen.
#[derive(Debug)]
struct Shared {
    names: HashSet<String>,
    conduct: Conduct,
    /// `NAME key` of each question.
    questions: Vec<String>,
    connections: usize,
}

/// A server on threads of its own, which end with the program.
#[derive(Debug, Clone)]
pub struct MapServer(Arc<Mutex<Shared>>);

impl MapServer {
    /// Serves these keys of every map.
    pub fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (questions, connections) = (Vec::new(), 0);
        Self(Arc::new(Mutex::new(Shared { names, conduct: Conduct::Good, questions, connections })))
    }

    /// Listens at a socket that is a file; one that is there is replaced.
    pub fn listen_unix(&self, path: &Path) {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket");
        let server = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let writer = stream.try_clone().expect("a second handle");
                server.serve(stream, writer);
            }
        });
    }

    /// Listens at a port of loopback.
    pub fn listen_tcp(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, server) = (listener.local_addr().expect("an address"), self.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let writer = stream.try_clone().expect("a second handle");
                server.serve(stream, writer);
            }
        });
        address
    }

    /// From now on it does this.
    pub fn conduct(&self, conduct: Conduct) {
        self.shared(|shared| shared.conduct = conduct);
    }

    /// From now on it has this key, too.
    pub fn add(&self, name: &str) {
        self.shared(|shared| shared.names.insert(name.to_owned()));
    }

    /// What it was asked since the last time, as `NAME key`.
    pub fn questions(&self) -> Vec<String> {
        self.shared(|shared| std::mem::take(&mut shared.questions))
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared(|shared| shared.connections)
    }

    fn shared<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, stream: impl Read + Send + 'static, mut writer: impl Write + Send + 'static) {
        self.shared(|shared| shared.connections += 1);
        let server = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            while let Some(question) = read_netstring(&mut reader) {
                let (conduct, is_there) = server.shared(|shared| {
                    let key = question.split_once(' ').expect("a name and a key").1;
                    let is_there = shared.names.contains(key);
                    shared.questions.push(question.clone());
                    (shared.conduct, is_there)
                });
                let good = netstring(if is_there { "OK it is here" } else { "NOTFOUND " });
                let (answer, goes_on) = match conduct {
                    Conduct::Good => (good, true),
                    Conduct::AnswersOnce => (good, false),
                    Conduct::Mute => (Vec::new(), true),
                    Conduct::Closes => (Vec::new(), false),
                    Conduct::CutsOff => (good[..good.len() / 2].to_vec(), false),
                    Conduct::Says(text) => (netstring(text), true),
                    Conduct::Sends(octets) => (octets.to_vec(), true),
                };
                if writer.write_all(&answer).is_err() || !goes_on {
                    break;
                }
            }
        });
    }
}

fn netstring(text: &str) -> Vec<u8> {
    format!("{}:{text},", text.len()).into_bytes()
}

/// `None` at the end.
fn read_netstring(reader: &mut impl BufRead) -> Option<String> {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).ok()?;
    let length: usize = std::str::from_utf8(length.strip_suffix(b":")?).ok()?.parse().expect("a length");
    let mut text = vec![0; length + 1];
    reader.read_exact(&mut text).ok()?;
    assert_eq!(text.pop(), Some(b','), "a netstring");
    Some(String::from_utf8(text).expect("UTF-8"))
}
