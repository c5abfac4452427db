//! A plain SMTP client that sends what it is told, to the octet.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads nothing.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
        Self { stream: BufReader::with_capacity(512, stream) }
    }

    /// Connects, reads the greeting and says EHLO.
    pub fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.expect("220");
        client.command("EHLO client.example", "250");
        client
    }

    /// Sends octets.
    pub fn send(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).expect("sent");
    }

    /// Sends a line and expects a reply that begins so.
    pub fn command(&mut self, line: &str, expected: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(expected)
    }

    /// Reads one reply, all its lines.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let count = self.stream.read_line(&mut reply).expect("a reply line");
            if count == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Reads one reply that must begin so.
    pub fn expect(&mut self, expected: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(expected), "expected {expected}, got {reply:?}");
        reply
    }

    /// The server closed the connection without another octet.
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the end, not a reset");
        assert!(rest.is_empty(), "unexpected {:?}", String::from_utf8_lossy(&rest));
    }

    /// Sends a whole message, dot-stuffed, and gives the reply to its end.
    pub fn deliver(&mut self, from: &str, to: &str, data: &[u8]) -> String {
        self.command(&format!("MAIL FROM:<{from}>"), "250");
        self.command(&format!("RCPT TO:<{to}>"), "250");
        self.command("DATA", "354");
        self.send(&stuffed(data));
        self.reply()
    }

    /// The stream itself.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// Mail data with CRLF line ends made ready for DATA: transparency (RFC 5321 §4.5.2) and the end of mail
/// data.
pub fn stuffed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    let mut line_start = true;
    for &octet in data {
        if line_start && octet == b'.' {
            out.push(b'.');
        }
        out.push(octet);
        line_start = octet == b'\n';
    }
    if !line_start && !data.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Lets this process, and servers that it starts, have so many open files: as many as it may have at all,
/// because others of this program need theirs at the same time.
pub fn open_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("more open files");
    }
}
