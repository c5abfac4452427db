//! Where the server listens: addresses that are looked at before anything else is begun, and sockets for each
//! shard.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::error::ServeError;
use super::lent::Lent;
use crate::admin::control_socket;
use crate::admin::socket::{Listening, SocketFile};
use crate::config::{Admin, AdminAddress, Config};
use crate::limits::LISTEN_BACKLOG;
use crate::shard::listener::{DRAIN_WAIT, begin_to_listen, bind, bound_address, check_free};
use crate::shard::order::NewSocket;

/// How long is waited for an address that somebody has, and how long it is left alone in between.
const WAIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Names the listener as long as the process lives.
    pub(super) number: u64,
    /// As configured. By it a listener is known again in another configuration.
    asked: SocketAddr,
    /// The same, with the port that the system chose where 0 was asked for.
    pub(super) bound: SocketAddr,
    /// Its sockets are the service manager's, who keeps them: whoever connects there waits, whether somebody
    /// accepts or not.
    pub(super) is_lent: bool,
}

/// The places of all listeners, in the order of the configuration, and the sockets of those that are new.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) places: Vec<Place>,
    /// Of each shard, one a new listener. They do not listen yet.
    pub(super) sockets: Vec<Vec<NewSocket>>,
}

/// Why there is no socket for a listener.
#[derive(Debug)]
pub(super) struct Unbound {
    /// Which listener of the configuration, counted from 0.
    pub(super) index: usize,
    /// What happened and what to do.
    pub(super) text: String,
}

impl Bound {
    /// Lets clients connect.
    pub(super) fn listen(&self) -> Result<(), String> {
        for NewSocket { number, socket, .. } in self.sockets.iter().flatten() {
            begin_to_listen(socket, LISTEN_BACKLOG).map_err(|error| {
                let place = self.places.iter().find(|place| place.number == *number);
                let address = place.map_or_else(String::new, |place| format!(" on {}", place.bound));
                format!("cannot listen{address}: {error}; {}", cure(error.kind()))
            })?;
        }
        Ok(())
    }
}

/// Refuses to start where somebody else listens. Nothing listens after it.
pub(super) fn check(config: &Config, lent: &Lent) -> Result<(), ServeError> {
    for listener in config.listeners.iter().filter(|listener| !lent.has(listener.address)) {
        wait_until_free(listener.address, WAIT)
            .map_err(|error| ServeError::new(unusable(listener.address, &error)))?;
    }
    Ok(())
}

/// One socket for each listener of each shard, all on the same addresses, which [`check`] has looked at; for
/// some the service manager has opened them.
pub(super) fn bind_all(config: &Config, lent: &mut Lent) -> Result<Bound, ServeError> {
    let bound = bind_new(config, &[], 0, Some(lent), |_| Ok(()));
    bound.map_err(|Unbound { text, .. }| ServeError::new(text))
}

/// The same for a server that listens at these places: only listeners that are not among them have sockets,
/// and their addresses are looked at here. The first new one has this number.
pub(super) fn bind_more(config: &Config, running: &[Place], number: u64) -> Result<Bound, Unbound> {
    bind_new(config, running, number, None, |address| {
        // Where another listener of ours overlaps, only the kernel can tell us from others, and it lets
        // sockets of one user share an address.
        if running.iter().any(|place| overlap(place.bound, address)) {
            return Ok(());
        }
        // It may be that of a listener that was removed a moment ago.
        wait_until_free(address, WAIT + DRAIN_WAIT)
    })
}

fn bind_new(
    config: &Config,
    running: &[Place],
    mut number: u64,
    mut lent: Option<&mut Lent>,
    check: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<Bound, Unbound> {
    let mut places: Vec<Place> = Vec::new();
    let mut sockets: Vec<Vec<NewSocket>> = config.shards.iter().map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let asked = listener.address;
        let is_free = |place: &&Place| place.asked == asked && !places.iter().any(|taken| taken == *place);
        if let Some(place) = running.iter().find(is_free).copied() {
            places.push(place);
            continue;
        }
        let dealt = lent
            .as_mut()
            .map_or(Ok(None), |lent| lent.deal(asked, config.shards.len(), listener.receive_buffer_bytes));
        if let Some(dealt) = dealt.map_err(|text| Unbound { index, text })? {
            for (of_shard, socket) in sockets.iter_mut().zip(dealt) {
                of_shard.push(NewSocket { number, socket, is_lent: true });
            }
            places.push(Place { number, asked, bound: asked, is_lent: true });
            number += 1;
            continue;
        }
        let failed = |error: io::Error| Unbound { index, text: unusable(asked, &error) };
        check(asked).map_err(failed)?;
        let mut bound = asked;
        for of_shard in &mut sockets {
            let socket = bind(bound, listener.receive_buffer_bytes).map_err(failed)?;
            // Port 0 is whatever the first shard got.
            bound = bound_address(&socket).map_err(failed)?;
            of_shard.push(NewSocket { number, socket, is_lent: false });
        }
        places.push(Place { number, asked, bound, is_lent: false });
        number += 1;
    }
    Ok(Bound { places, sockets })
}

/// Whether a socket on one address may have the clients of the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_any || one.ip() == other.ip())
}

fn unusable(address: SocketAddr, error: &io::Error) -> String {
    format!("cannot listen on {address}: {error}; {}", cure(error.kind()))
}

fn cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "another program listens there (`ss -ltnp` shows which): stop it or change the address"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE); a server that gave it \
             up after its start has to be started again"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address: see `ip address`",
        _ => "check the address of this [[listener]]",
    }
}

/// A process that was killed on this address may still be on the way out: the kernel ends a dead process's
/// accepts in the background. A moment is enough.
fn wait_until_free(address: SocketAddr, wait: Duration) -> io::Result<()> {
    let mut left = wait;
    loop {
        match check_free(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !left.is_zero() => {
                std::thread::sleep(PAUSE);
                left = left.saturating_sub(PAUSE);
            }
            result => return result,
        }
    }
}

/// The control socket, if there is to be one.
pub(super) fn listen_for_control(
    path: Option<&Path>,
) -> Result<Option<(UnixListener, SocketFile)>, ServeError> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error: io::Error| {
        let cure = match error.kind() {
            io::ErrorKind::AddrInUse => "another ringmx has it: stop that, or change `socket` in [control]",
            io::ErrorKind::NotFound => "make its directory (systemd: RuntimeDirectory=ringmx)",
            io::ErrorKind::PermissionDenied => "ringmx's user must be able to write into its directory",
            _ => "change `socket` in [control]",
        };
        ServeError::new(format!("cannot make the control socket {}: {error}; {cure}", path.display()))
    };
    control_socket::bind(path).map(Some).map_err(failed)
}

/// The socket of the administration, if it is on.
pub(super) fn listen_for_admin(
    config: Option<&Admin>,
    lent: &mut Lent,
) -> Result<Option<Listening>, ServeError> {
    let Some(Admin { table, address, .. }) = config else { return Ok(None) };
    let failed = |error: io::Error| {
        let cure = match (error.kind(), address) {
            (io::ErrorKind::AddrInUse, AdminAddress::Unix(_)) => {
                format!("stop it, or change `address` in [{table}]")
            }
            (io::ErrorKind::AddrInUse, AdminAddress::Tcp(_)) => {
                format!(
                    "another program listens there, perhaps another ringmx (`ss -ltnp` shows which): stop it, or change `address` in \
                     [{table}]"
                )
            }
            (io::ErrorKind::NotFound, AdminAddress::Unix(_)) => {
                "make its directory (systemd: RuntimeDirectory=)".to_owned()
            }
            (io::ErrorKind::PermissionDenied, AdminAddress::Unix(_)) => {
                "ringmx's user must be able to write into its directory".to_owned()
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                "no interface of this machine has that address: see `ip address`".to_owned()
            }
            _ => format!("change `address` in [{table}]"),
        };
        ServeError::new(format!("cannot listen on {address} for [{table}]: {error}; {cure}"))
    };
    let listening = lent.for_admin(address).unwrap_or_else(|| Listening::bind(address));
    listening.map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_again_by_its_address_and_others_are_new() {
        let mut config = Config::embedded_default();
        config.shards.truncate(1);
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let listeners = |config: &Config, addresses: &[&str]| {
            let of = |text: &&str| crate::config::Listener {
                address: address(text),
                ..config.listeners[0].clone()
            };
            addresses.iter().map(of).collect::<Vec<_>>()
        };
        config.listeners = listeners(&config, &["127.0.0.1:0", "127.0.0.1:0"]);
        let first = bind_all(&config, &mut Lent::none()).expect("bound");
        assert_eq!((first.places.len(), first.sockets[0].len()), (2, 2));
        assert_ne!(first.places[0].bound, first.places[1].bound);
        // One of the two is left, and one comes in front of it.
        config.listeners = listeners(&config, &["127.0.0.2:0", "127.0.0.1:0"]);
        let second = bind_more(&config, &first.places, 2).expect("bound");
        assert_eq!(second.places[1], first.places[0]);
        assert_eq!((second.places[0].number, second.sockets[0].len()), (2, 1));
        second.listen().expect("listens");
        drop(first.sockets);
    }

    #[test]
    fn an_address_overlaps_with_itself_and_with_that_of_every_interface() {
        let overlap = |one: &str, other: &str| {
            overlap(one.parse().expect("an address"), other.parse().expect("an address"))
        };
        assert!(overlap("192.0.2.1:25", "192.0.2.1:25") && overlap("[::]:25", "192.0.2.1:25"));
        assert!(overlap("0.0.0.0:25", "[2001:db8::1]:25"), "one question too many costs nothing");
        assert!(!overlap("[::]:25", "192.0.2.1:26") && !overlap("192.0.2.2:25", "192.0.2.1:25"));
    }
}
