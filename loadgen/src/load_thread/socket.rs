//! The socket of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringmx::ring::Socket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// What is not usual about a socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// It has little room for what is received and not read.
    pub is_small: bool,
    /// Its close resets the connection.
    pub resets: bool,
}

/// A socket to connect to `address` with, from `source` if that is given.
pub fn new_socket(address: SocketAddr, source: Option<IpAddr>, manner: Manner) -> rustix::io::Result<Socket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The last part of large mail data must not wait for the acknowledgement of the part before it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if manner.is_small {
        // The kernel makes it as small as it can.
        sockopt::set_socket_recv_buffer_size(&socket, 1)?;
    }
    if manner.resets {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    if let Some(source) = source {
        rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    }
    Ok(Socket::adopt(socket))
}
