//! A plain HTTP client that sends what it is told, to the octet.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    /// The number of its status.
    pub status: u16,
    /// The fields of its header, as they came.
    pub head: String,
    /// What followed them.
    pub body: String,
}

/// Asks for a path, by GET and the address as its name.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// Sends octets and gives the one answer to them.
pub fn ask(address: SocketAddr, octets: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(octets).expect("sent");
    answer(stream)
}

/// Connects, and reads no longer than anybody would wait.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
    stream
}

/// The answer that comes until the end of the connection.
pub fn answer(mut stream: impl Read) -> Answer {
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).expect("an answer and the end");
    parse(&octets)
}

/// Takes an answer apart.
pub fn parse(octets: &[u8]) -> Answer {
    let text = String::from_utf8(octets.to_vec()).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).and_then(|number| number.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {text:?}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
