//! A connection to another program.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::config::MapAddress;

/// Octets that are received at a time.
const STEP_BYTES: usize = 16 * 1024;

/// Where a socket that is a file has no room for one more it is tried again so often.
const ROOM_EVERY: Duration = Duration::from_millis(20);

/// What octets go through both ways.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A connection. Everything has a deadline.
pub(super) struct Stream {
    socket: Box<dyn Duplex>,
}

impl Stream {
    /// Connects.
    pub(super) async fn open(address: &MapAddress, deadline: Instant) -> io::Result<Self> {
        let socket: Box<dyn Duplex> = match address {
            MapAddress::Unix(path) => Box::new(within(deadline, connect(path)).await?),
            MapAddress::Tcp(addresses) => {
                let mut opened = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
                for address in addresses {
                    opened = within(deadline, TcpStream::connect(address)).await;
                    if opened.is_ok() {
                        break;
                    }
                }
                let stream = opened?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        Ok(Self { socket })
    }

    /// Sends octets, all of them.
    pub(super) async fn write(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        within(deadline, self.socket.write_all(octets)).await
    }

    /// Receives what is there, or comes, and appends it; 0 at the end.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        into.reserve(STEP_BYTES);
        within(deadline, self.socket.read_buf(into)).await
    }

    /// Whether the other end has said something, or has ended, since it was heard last: nothing is awaited
    /// for.
    pub(super) async fn is_over(&mut self) -> bool {
        let mut octet = [0];
        let mut octet = ReadBuf::new(&mut octet);
        poll_fn(|context| Poll::Ready(Pin::new(&mut *self.socket).poll_read(context, &mut octet).is_ready()))
            .await
    }
}

/// Connects. Where as many wait to be taken as may (EAGAIN of unix(7)) it is tried until there is room.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(ROOM_EVERY).await,
            result => return result,
        }
    }
}

/// What this comes to until then.
async fn within<T>(deadline: Instant, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout_at(deadline, what).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")),
    }
}
