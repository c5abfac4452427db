//! A connection to whoever is asked. Everything has a deadline.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::MapAddress;

/// A connection.
#[derive(Debug)]
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

    /// Sends octets, all of them.
    pub(super) fn write(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        let wait = Some(left(deadline)?);
        let result = match self {
            Self::Unix(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write_all(octets)),
            Self::Tcp(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write_all(octets)),
        };
        result.map_err(timed_out)
    }

    /// Receives what is there, or comes; none at the end.
    pub(super) fn read(&mut self, octets: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let wait = Some(left(deadline)?);
        loop {
            let result = match self {
                Self::Unix(stream) => stream.set_read_timeout(wait).and_then(|()| stream.read(octets)),
                Self::Tcp(stream) => stream.set_read_timeout(wait).and_then(|()| stream.read(octets)),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map_err(timed_out),
            }
        }
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
