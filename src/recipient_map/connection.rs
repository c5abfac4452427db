//! A connection to whoever serves a map. Everything has a deadline.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::protocol::{self, Read, Reply};
use crate::config::MapAddress;

/// Octets that are read at a time.
const STEP_BYTES: usize = 1024;

pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Whether a connection turned out to be closed before anything of a reply came.
pub(super) fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
    )
}

impl Connection {
    /// Connects.
    pub(super) fn open(address: &MapAddress, deadline: Instant) -> io::Result<Self> {
        match address {
            MapAddress::Unix(path) => open_unix(path, deadline).map(Self::Unix),
            MapAddress::Tcp(addresses) => {
                let mut result = Err(io::Error::from(ErrorKind::AddrNotAvailable));
                for address in addresses {
                    result = TcpStream::connect_timeout(address, left(deadline)?);
                    if result.is_ok() {
                        break;
                    }
                }
                let stream = result?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    /// Sends a question and reads its reply. An error of [`is_closed`] comes only where nothing of it was
    /// read.
    pub(super) fn exchange(&mut self, asked: &[u8], deadline: Instant) -> io::Result<Reply> {
        self.write(asked, deadline)?;
        let mut octets = Vec::new();
        loop {
            let mut step = [0; STEP_BYTES];
            let count = match self.read(&mut step, deadline) {
                Ok(0) if octets.is_empty() => {
                    let why = "it closed the connection and did not answer";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
                }
                Ok(0) => return Err(io::Error::other("its reply was cut off")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            octets.extend_from_slice(step.get(..count).unwrap_or_default());
            match protocol::read(&octets) {
                Read::More => {}
                Read::Whole(reply) => return Ok(reply),
                Read::Garbage => return Err(io::Error::other("its reply is none of the socketmap protocol")),
            }
        }
    }

    fn write(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        let wait = Some(left(deadline)?);
        let result = match self {
            Self::Unix(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write_all(octets)),
            Self::Tcp(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write_all(octets)),
        };
        result.map_err(timed_out)
    }

    fn read(&mut self, octets: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let wait = Some(left(deadline)?);
        let result = match self {
            Self::Unix(stream) => stream.set_read_timeout(wait).and_then(|()| stream.read(octets)),
            Self::Tcp(stream) => stream.set_read_timeout(wait).and_then(|()| stream.read(octets)),
        };
        result.map_err(timed_out)
    }
}

/// A connect waits while too many others do; the library has no limit on that for a socket that is a file.
fn open_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left(deadline)?))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?).map_err(|error| timed_out(error.into()))?;
    Ok(socket.into())
}

/// The time that is left, which is some.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out(ErrorKind::WouldBlock.into())) } else { Ok(left) }
}

fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, "it did not answer in time")
        }
        _ => error,
    }
}
