//! Sockets that the service manager opened for us (socket activation): whose they are, and how shards share
//! them.
//!
//! A shard has a socket of its own, and the kernel deals connections to all that share an address. Ours could
//! not share one with those of the service manager: it opened them as another user. So a unit gives as many
//! sockets as there are shards, and each shard has one; or it gives fewer, and shards accept from the same
//! one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::error::ServeError;
use crate::admin::socket::Listening;
use crate::config::AdminAddress;
use crate::mail::network::canonical;
use crate::service_manager::{PassedSocket, passed_sockets};
use crate::shard::listener::{adopt, bound_address};

/// The sockets that nobody has taken yet.
pub(super) struct Lent(Vec<LentSocket>);

struct LentSocket {
    name: String,
    /// None for a socket that has no IP address.
    address: Option<SocketAddr>,
    socket: OwnedFd,
}

impl Lent {
    /// As the environment says.
    pub(super) fn from_environment() -> Result<Self, ServeError> {
        let passed = passed_sockets()
            .map_err(|error| ServeError::of_machine("taking the sockets of the service manager", &error))?;
        let lent = |PassedSocket { name, socket }: PassedSocket| {
            let address = bound_address(&socket).ok().map(canonical);
            LentSocket { name, address, socket }
        };
        Ok(Self(passed.into_iter().map(lent).collect()))
    }

    /// None of them.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there are sockets for this address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|lent| lent.address == Some(address))
    }

    /// One socket a shard for this address, if there are any for it. The error says what to do.
    pub(super) fn deal(
        &mut self,
        address: SocketAddr,
        shards: usize,
        receive_buffer: usize,
    ) -> Result<Option<Vec<OwnedFd>>, String> {
        let sockets: Vec<_> = self.0.extract_if(.., |lent| lent.address == Some(address)).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        if sockets.len() > shards {
            return Err(format!(
                "the service manager opened {} sockets for {address} and there are {shards} shards: nobody would accept from \
                 the others; give the socket unit {shards} or one (`ListenStream=`, with `ReusePort=yes` for more than one)",
                sockets.len()
            ));
        }
        let dealt = (0..shards).map(|shard| {
            let lent = &sockets[shard % sockets.len()];
            let socket = lent.socket.try_clone()?;
            adopt(&socket, receive_buffer)?;
            Ok(socket)
        });
        let dealt = dealt.collect::<io::Result<Vec<_>>>();
        dealt.map(Some).map_err(|error| {
            format!(
                "the service manager's socket for {address} cannot be used: {error}; is it `ListenStream=`?"
            )
        })
    }

    /// The administration's socket, if there is one.
    pub(super) fn for_admin(&mut self, address: &AdminAddress) -> Option<io::Result<Listening>> {
        let index = self.0.iter().position(|lent| Listening::is_of(&lent.socket, address))?;
        Some(Listening::lent(self.0.swap_remove(index).socket, address))
    }

    /// Refuses to go on with a socket that nobody accepts from: its clients would wait for ever.
    pub(super) fn are_all_taken(&self) -> Result<(), ServeError> {
        let Some(LentSocket { name, address, .. }) = self.0.first() else { return Ok(()) };
        let address = address.map_or_else(|| "no IP address".to_owned(), |address| address.to_string());
        Err(ServeError::new(format!(
            "the service manager opened a socket that is no listener's: {name}, {address}; give a [[listener]] (or [admin]) \
             exactly this address, or take it out of the socket unit"
        )))
    }
}
