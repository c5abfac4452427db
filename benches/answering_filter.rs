//! A content filter that answers at once, for `benches/filter.sh`: what is measured beside it is the
//! receiver. It speaks rspamd's protocol as far as that goes, on connections that are kept, and passes
//! everything.
//!
//!   cargo bench --bench answering_filter -- ADDRESS
#![allow(missing_docs)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 78\r\n\r\n\
{\"action\":\"no action\",\"score\":0.5,\"required_score\":15.0,\"symbols\":{},\"x\":\"\"  }";

/// Octets of a head that is looked for its end.
const HEAD_BYTES_MAX: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let Some(address) = std::env::args().skip(1).find(|argument| argument.contains(':')) else {
        println!("skipped: it is started by benches/filter.sh, with an address");
        return Ok(());
    };
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        // A thread for each: a receiver has at most `connections_max`.
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answers each request until the connection ends.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; HEAD_BYTES_MAX + 64 * 1024];
    let mut filled = 0;
    loop {
        let end = loop {
            let head = buffer.get(..filled.min(HEAD_BYTES_MAX)).unwrap_or_default();
            if let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") {
                break end + 4;
            }
            filled += read(&mut stream, &mut buffer[filled..])?;
        };
        let mut left = length(&buffer[..end]);
        let had = left.min(filled - end);
        left -= had;
        buffer.copy_within(end + had..filled, 0);
        filled -= end + had;
        while left > 0 {
            let most = left.min(buffer.len());
            left -= read(&mut stream, &mut buffer[..most])?;
        }
        stream.write_all(ANSWER)?;
    }
}

fn read(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// `Content-Length`; 0 where there is none, as of `GET /ping`.
fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
