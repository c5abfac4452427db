//! A server that is asked as rspamd is and does what a test says: slow, nonsense, closing in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Manner {
    /// It answers with this JSON and keeps the connection.
    Says(String),
    /// It answers with the JSON that this has for the request, and keeps the connection.
    Judges(fn(&Asked) -> String),
    /// It answers with this JSON, an octet at a time, and keeps the connection.
    Drips(String),
    /// It answers the first request of a connection with this JSON, and closes the connection in the middle
    /// of the second one.
    SaysFirst(String),
    /// It answers with this JSON, in chunks, and closes the connection.
    SaysOnce(String),
    /// It takes so much time before it answers.
    Slow(Duration, String),
    /// It sends these octets, whatever they are, and closes the connection.
    Sends(Vec<u8>),
    /// It takes the request, never answers, and keeps the connection.
    Mute,
    /// It takes the request and closes the connection.
    Closes,
    /// It closes the connection after so many octets of the message.
    ClosesAfter(usize),
    /// It answers with this JSON once it has the head, and takes nothing more.
    SaysEarly(String),
    /// It sends these octets once it has the head, and closes the connection.
    SendsEarly(Vec<u8>),
    /// It takes the head, and never the message.
    TakesNothing,
}

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The head of the request, with its blank line.
    pub head: String,
    /// The message.
    pub message: Vec<u8>,
}

impl Asked {
    /// The values of a field of its head.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| *field == name).map(|(_, value)| value).collect()
    }
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    asked: Vec<Asked>,
    connections: usize,
    /// What closes a connection, by its number.
    open: BTreeMap<usize, TcpStream>,
}

/// A server on threads of its own, which end with the program.
#[derive(Debug, Clone)]
pub struct FakeRspamd {
    shared: Arc<Mutex<Shared>>,
}

impl FakeRspamd {
    /// One that does this, whoever asks.
    pub fn new(manner: Manner) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                manner,
                asked: Vec::new(),
                connections: 0,
                open: BTreeMap::new(),
            })),
        }
    }

    /// One that answers with an action and nothing else.
    pub fn saying(action: &str) -> Self {
        Self::new(Manner::Says(format!("{{\"action\":\"{action}\"}}")))
    }

    /// Listens at a port of loopback, which it gives.
    pub fn listen_tcp(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, server) = (listener.local_addr().expect("an address"), self.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let writer = stream.try_clone().expect("a second handle");
                let closer = stream.try_clone().expect("a third one");
                server.shared(|shared| shared.open.insert(shared.connections + 1, closer));
                server.serve(stream, writer);
            }
        });
        address
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

    /// From now on it does this.
    pub fn does(&self, manner: Manner) {
        self.shared(|shared| shared.manner = manner);
    }

    /// It closes all connections over TCP.
    pub fn hangs_up(&self) {
        let open = self.shared(|shared| std::mem::take(&mut shared.open));
        for stream in open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What it was asked so far, as far as it took that.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared(|shared| shared.asked.clone())
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared(|shared| shared.connections)
    }

    fn shared<T>(&self, with: impl FnOnce(&mut Shared) -> T) -> T {
        with(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves a connection on a thread of its own.
    fn serve(&self, reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) {
        let connection = self.shared(|shared| {
            shared.connections += 1;
            shared.connections
        });
        let server = self.clone();
        std::thread::spawn(move || {
            let (mut reader, mut writer) = (BufReader::new(reader), writer);
            let mut number = 0;
            while server.serve_one(number, &mut reader, &mut writer).is_some() {
                number += 1;
            }
            // Else it would stay open.
            server.shared(|shared| shared.open.remove(&connection));
        });
    }

    /// Serves the request of this number; none where the connection is to be closed.
    fn serve_one(&self, number: usize, reader: &mut impl BufRead, writer: &mut impl Write) -> Option<()> {
        let head = read_head(reader)?;
        if head.starts_with("GET /ping ") {
            let manner = self.shared(|shared| shared.manner.clone());
            if matches!(manner, Manner::Mute | Manner::TakesNothing) {
                forever();
            }
            return writer.write_all(response("pong").as_bytes()).ok();
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        let manner = self.shared(|shared| shared.manner.clone());
        let taken = match &manner {
            Manner::TakesNothing => forever(),
            Manner::ClosesAfter(bytes) => length.min(*bytes),
            Manner::SendsEarly(octets) => {
                let _ = writer.write_all(octets);
                return None;
            }
            Manner::SaysEarly(json) => {
                let _ = writer.write_all(response(json).as_bytes());
                forever()
            }
            // What is read no more makes the end of the connection a reset.
            Manner::SaysFirst(_) if number > 0 => return None,
            _ => length,
        };
        let mut message = vec![0; taken];
        reader.read_exact(&mut message).ok()?;
        let asked = Asked { head, message };
        let judged = if let Manner::Judges(judge) = manner { judge(&asked) } else { String::new() };
        self.shared(|shared| shared.asked.push(asked));
        match manner {
            Manner::Says(json) | Manner::SaysFirst(json) => writer.write_all(response(&json).as_bytes()).ok(),
            Manner::Judges(_) => writer.write_all(response(&judged).as_bytes()).ok(),
            Manner::Drips(json) => {
                response(&json).bytes().try_for_each(|octet| writer.write_all(&[octet])).ok()
            }
            Manner::SaysOnce(json) => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
                let (first, second) = json.split_at(json.len() / 2);
                let chunks = [first, second].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
                let _ = writer.write_all(format!("{head}{}0\r\n\r\n", chunks.concat()).as_bytes());
                None
            }
            Manner::Slow(time, json) => {
                std::thread::sleep(time);
                writer.write_all(response(&json).as_bytes()).ok()
            }
            Manner::Sends(octets) => {
                let _ = writer.write_all(&octets);
                None
            }
            Manner::Mute | Manner::TakesNothing | Manner::SaysEarly(_) => forever(),
            Manner::Closes | Manner::ClosesAfter(_) | Manner::SendsEarly(_) => None,
        }
    }
}

/// An answer with this JSON, after which the connection is kept.
pub fn response(json: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// The head of a request with its blank line; none at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}
