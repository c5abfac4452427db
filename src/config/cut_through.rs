//! Next hops that get a message before its client is answered (`[[sink]] kind = "forward"`): those of
//! `[[forward]]` whose addresses are known without asking anybody.

use super::forward::{Forward, HopTls, NextHop};
use super::recipient_map::MapAddress;
use super::recipient_source::direct_address;
use crate::mail::domain::{self, DomainPattern};

/// The routes of `[[forward]]`, in their order.
pub type CutThrough = Vec<CutThroughRoute>;

/// What of a route says how a message is handed on at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutThroughRoute {
    /// Of these domains; empty for all.
    pub domains: Vec<DomainPattern>,
    /// Next hops, and where each is; none where its mail always goes to the spool.
    pub to: Vec<(NextHop, MapAddress)>,
    /// Whether a session is under TLS.
    pub tls: HopTls,
    /// Whether the next hop is told of the client by XCLIENT, where it offers that.
    pub tells_client: bool,
    /// Connections to each next hop at a time.
    pub connections_max: usize,
}

impl CutThroughRoute {
    /// Whether it takes a domain, which is in lower case as A-labels.
    pub fn takes(&self, domain: &str) -> bool {
        domain::are_for(&self.domains, domain)
    }
}

/// Those of these routes. A name that the resolver knows, a maildir and MX are for the forwarder: mail of a
/// route with one of them always goes to the spool.
pub(super) fn of(forward: &Forward) -> CutThrough {
    let of_route = |route: &super::forward::Route| {
        let to: Option<Vec<_>> =
            route.to.iter().map(|hop| Some((hop.clone(), direct_address(hop)?))).collect();
        CutThroughRoute {
            domains: route.domains.clone(),
            to: to.unwrap_or_default(),
            tls: route.tls,
            tells_client: route.tells_client,
            connections_max: route.connections_max,
        }
    };
    forward.routes.iter().map(of_route).collect()
}
