//! Where the server listens: addresses that are looked at before anything else is begun, and sockets for each
//! shard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::error::ServeError;
use crate::admin::socket::Listening;
use crate::config::{Admin, AdminAddress, Config};
use crate::limits::LISTEN_BACKLOG;
use crate::shard::listener::{bound_address, check_free, listen};

/// How often an address is tried that somebody has, and how long it is left alone in between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// The sockets of each shard, one a listener, and the addresses of the listeners. Where port 0 was asked for,
/// they say which it is.
pub(super) type Everywhere = (Vec<Vec<OwnedFd>>, Vec<SocketAddr>);

/// Refuses to start where somebody else listens. Nothing listens after it.
pub(super) fn check(config: &Config) -> Result<(), ServeError> {
    for listener in &config.listeners {
        let address = listener.address;
        wait_until_free(address).map_err(|error| {
            ServeError::new(format!("cannot listen on {address}: {error}; {}", cure(error.kind())))
        })?;
    }
    Ok(())
}

fn cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "another program listens there (`ss -ltnp` shows which): stop it or change the address"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address: see `ip address`",
        _ => "check the address of this [[listener]]",
    }
}

/// A process that was killed on this address may still be on the way out: the kernel ends a dead process's
/// accepts in the background. A moment is enough.
fn wait_until_free(address: SocketAddr) -> io::Result<()> {
    for _ in 0..TRIES {
        match check_free(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    check_free(address)
}

/// One socket for each listener of each shard, all on the same addresses.
pub(super) fn listen_everywhere(config: &Config) -> Result<Everywhere, ServeError> {
    let mut addresses: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    let mut sockets = Vec::new();
    for _ in &config.shards {
        let mut of_shard = Vec::new();
        for (address, listener) in addresses.iter_mut().zip(&config.listeners) {
            let failed = |error: io::Error| ServeError::new(format!("cannot listen on {address}: {error}"));
            let socket = listen(*address, LISTEN_BACKLOG, listener.receive_buffer_bytes).map_err(failed)?;
            // Port 0 is whatever the first shard got.
            *address = bound_address(&socket)
                .map_err(|error| ServeError::of_machine("asking for a bound address", &error))?;
            of_shard.push(socket);
        }
        sockets.push(of_shard);
    }
    Ok((sockets, addresses))
}

/// The socket of the administration, if it is on.
pub(super) fn listen_for_admin(config: Option<&Admin>) -> Result<Option<Listening>, ServeError> {
    let Some(Admin { address, .. }) = config else { return Ok(None) };
    let failed = |error: io::Error| {
        let cure = match (error.kind(), address) {
            (io::ErrorKind::AddrInUse, AdminAddress::Unix(_)) => "stop it, or change `address` in [admin]",
            (io::ErrorKind::AddrInUse, AdminAddress::Tcp(_)) => {
                "another program listens there, perhaps another ringmx (`ss -ltnp` shows which): stop it, or change `address` in \
                 [admin]"
            }
            (io::ErrorKind::NotFound, AdminAddress::Unix(_)) => {
                "make its directory (systemd: RuntimeDirectory=ringmx)"
            }
            (io::ErrorKind::PermissionDenied, AdminAddress::Unix(_)) => {
                "ringmx's user must be able to write into its directory"
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                "no interface of this machine has that address: see `ip address`"
            }
            _ => "change `address` in [admin]",
        };
        ServeError::new(format!("cannot listen on {address} for [admin]: {error}; {cure}"))
    };
    Listening::bind(address).map(Some).map_err(failed)
}
