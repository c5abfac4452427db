//! Where the administration listens, TCP or a Unix socket, and what is accepted there.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::AdminAddress;
use crate::mail::network::canonical;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A socket that listens; a file that it made is removed by drop.
#[derive(Debug)]
pub struct Listening {
    socket: Socket,
    address: AdminAddress,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Listens. Port 0 is a free one.
    pub fn bind(address: &AdminAddress) -> io::Result<Self> {
        match address {
            AdminAddress::Tcp(address) => {
                let socket = TcpListener::bind(address)?;
                let address = AdminAddress::Tcp(socket.local_addr()?);
                Ok(Self { socket: Socket::Tcp(socket), address, file: None })
            }
            AdminAddress::Unix(path) => {
                let (socket, file) = bind_unix(path, MODE)?;
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), file: Some(file) })
            }
        }
    }

    /// Whether a socket that somebody else opened is that of this address.
    pub fn is_of(socket: &OwnedFd, address: &AdminAddress) -> bool {
        let Ok(bound) = rustix::net::getsockname(socket) else { return false };
        match address {
            AdminAddress::Tcp(address) => {
                SocketAddr::try_from(bound).is_ok_and(|bound| canonical(bound) == *address)
            }
            AdminAddress::Unix(path) => SocketAddrUnix::try_from(bound)
                .is_ok_and(|bound| bound.path_bytes() == Some(path.as_os_str().as_bytes())),
        }
    }

    /// A socket that somebody else opened on this address and keeps.
    pub fn lent(socket: OwnedFd, address: &AdminAddress) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::STREAM {
            return Err(Errno::PROTOTYPE.into());
        }
        let socket = match address {
            AdminAddress::Tcp(_) => Socket::Tcp(socket.into()),
            AdminAddress::Unix(_) => Socket::Unix(socket.into()),
        };
        Ok(Self { socket, address: address.clone(), file: None })
    }

    /// Where it listens.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// For the runtime that this is called in.
    pub(super) fn accept_in_runtime(self) -> io::Result<Acceptor> {
        let socket = match self.socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                AsyncSocket::Tcp(tokio::net::TcpListener::from_std(socket)?)
            }
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                AsyncSocket::Unix(tokio::net::UnixListener::from_std(socket)?)
            }
        };
        Ok(Acceptor { socket, _file: self.file })
    }
}

/// Owner and group may connect: the group is that of whoever watches. What is told is read only.
const MODE: u32 = 0o660;

/// Listens on a Unix socket of this mode. A file that a process left there that is gone is replaced; one that
/// is no socket, or that somebody listens on, is not.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    // Of two processes that start at a time, the second must not take away what the first has made.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(folder)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // It holds it for a moment if it starts, too. Whoever may read the directory can hold it for longer.
        Err(Errno::WOULDBLOCK) => {
            let folder = folder.display();
            let text =
                format!("another program holds a lock on the directory {folder} (`fuser {folder}` names it)");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        Err(error) => return Err(error.into()),
    }
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        match knock(path) {
            Err(Errno::CONNREFUSED) => fs::remove_file(path)?,
            Err(Errno::NOENT) => {}
            Err(error @ (Errno::ACCESS | Errno::PERM)) => return Err(error.into()),
            // EAGAIN: somebody listens, and has let as many wait as there is room for.
            Ok(()) | Err(_) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there"));
            }
        }
    }
    let socket = unix_socket(SocketFlags::CLOEXEC)?;
    // The file has this mode from its first moment on, less what the umask takes (unix(7)).
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_os_str().as_bytes())?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = SocketFile::of(path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), file))
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Whether somebody listens there. Nobody is waited for: a program that accepts nothing would be for ever.
fn knock(path: &Path) -> rustix::io::Result<()> {
    let socket = unix_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_os_str().as_bytes())?)
}

/// The file of a Unix socket of ours; removed by drop, unless another one is in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Where it stays it is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|facts| (facts.dev(), facts.ino()))
}

/// A socket that listens, within a runtime.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: AsyncSocket,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum AsyncSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// The next connection, and the address of who is at its other end; none over a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match &self.socket {
            AsyncSocket::Tcp(socket) => {
                let (stream, from): (_, SocketAddr) = socket.accept().await?;
                Ok((Stream::Tcp(stream), Some(from.ip())))
            }
            AsyncSocket::Unix(socket) => Ok((Stream::Unix(socket.accept().await?.0), None)),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_file_is_replaced_only_where_nobody_listens() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let address = AdminAddress::Unix(folder.path().join("admin.sock"));
        let AdminAddress::Unix(path) = &address else { unreachable!("made so") };
        let first = Listening::bind(&address).expect("free");
        assert_eq!(fs::metadata(path).expect("the socket").mode() & 0o7777, 0o660);
        assert_eq!(Listening::bind(&address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(path).is_ok(), "the first one still has it");
        drop(first);
        assert!(!path.exists(), "removed at the end");
        // What a killed process leaves.
        drop(UnixListener::bind(path).expect("free"));
        assert!(path.exists());
        let again = Listening::bind(&address).expect("replaced");
        // Another one in its place is not ours to remove.
        fs::remove_file(path).expect("removed");
        let other = UnixListener::bind(path).expect("free");
        drop(again);
        assert!(path.exists());
        drop(other);
        fs::remove_file(path).expect("removed");
        fs::write(path, "precious").expect("a file");
        assert_eq!(Listening::bind(&address).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path).expect("still there"), b"precious");
    }

    #[test]
    fn a_start_waits_neither_for_who_accepts_nothing_nor_for_a_lock() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("admin.sock");
        let address = AdminAddress::Unix(path.clone());
        let deaf = unix_socket(SocketFlags::CLOEXEC).expect("a socket");
        let name = SocketAddrUnix::new(path.as_os_str().as_bytes()).expect("short");
        rustix::net::bind(&deaf, &name).expect("free");
        rustix::net::listen(&deaf, 0).expect("it listens");
        let mut waiting = Vec::new();
        while waiting.len() < 8 {
            let client = unix_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).expect("a socket");
            let connected = rustix::net::connect(&client, &name);
            waiting.push(client);
            if connected == Err(Errno::AGAIN) {
                break;
            }
        }
        assert_eq!(knock(&path), Err(Errno::AGAIN), "no room for one more");
        let refused = Listening::bind(&address).expect_err("in use").to_string();
        assert!(refused.contains("another program listens there"), "{refused}");
        drop((deaf, waiting));
        let lock = File::open(folder.path()).expect("a directory");
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("free");
        let refused = Listening::bind(&address).expect_err("a lock").to_string();
        assert!(refused.contains("another program holds a lock on the directory"), "{refused}");
        drop(lock);
        Listening::bind(&address).expect("free");
    }
}
