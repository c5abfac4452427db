//! Who is asked about recipients while clients wait: a program that serves a map of them, or the next hops
//! that their mail goes to (`recipients = "ask"`).

use std::fmt;
use std::net::SocketAddr;

use super::forward::{Forward, HopPlace, NextHop, Route};
use super::recipient_map::{MapAddress, Socketmap, hosts};

/// Who is asked about recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientMap {
    /// A program that serves a map of them.
    Socketmap(Socketmap),
    /// The servers that their mail goes to.
    NextHops(NextHops),
}

/// The next hops that are asked about recipients, by routes in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHops {
    /// What we call ourselves.
    pub hostname: String,
    /// `[[forward]]`.
    pub routes: Vec<AskedRoute>,
}

/// A route, and where its next hops are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRoute {
    /// As it was read.
    pub route: Route,
    /// For each next hop of it.
    pub addresses: Vec<MapAddress>,
}

impl RecipientMap {
    /// Where somebody may be connected to.
    pub fn addresses(&self) -> Vec<&MapAddress> {
        match self {
            Self::Socketmap(map) => vec![&map.address],
            Self::NextHops(hops) => hops.routes.iter().flat_map(|route| &route.addresses).collect(),
        }
    }
}

impl fmt::Display for RecipientMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socketmap(map) => map.fmt(f),
            Self::NextHops(_) => f.write_str("\"ask\""),
        }
    }
}

impl NextHops {
    /// Those of these routes. An error says what cannot be asked, and what to do.
    pub(super) fn of(forward: &Forward, hostname: &str) -> Result<Self, String> {
        if forward.routes.is_empty() {
            return Err("there is no [[forward]], so there is no next hop to ask: write one, or name a file (\"./ask\" if that is its \
                        name)"
                .to_owned());
        }
        let mut routes = Vec::new();
        for route in &forward.routes {
            let addresses = route.to.iter().map(address).collect::<Result<_, _>>()?;
            routes.push(AskedRoute { route: route.clone(), addresses });
        }
        Ok(Self { hostname: hostname.to_owned(), routes })
    }

    /// The route of a domain, which is in lower case as A-labels, and its number.
    pub fn route_of(&self, domain: &str) -> Option<(usize, &AskedRoute)> {
        self.routes.iter().enumerate().find(|(_, asked)| asked.route.takes(domain))
    }
}

fn address(hop: &NextHop) -> Result<MapAddress, String> {
    match &hop.place {
        HopPlace::Unix(path) => Ok(MapAddress::Unix(path.clone())),
        HopPlace::Host(host, port) => match hosts(host) {
            Ok(hosts) => {
                Ok(MapAddress::Tcp(hosts.into_iter().map(|host| SocketAddr::new(host, *port)).collect()))
            }
            // A server that has given up files asks no resolver.
            Err(_) => Err(format!(
                "{hop} cannot be asked, because a receiver does not look names up: write its IP address (or localhost) in [[forward]], or \
                 name a file of recipients here"
            )),
        },
        HopPlace::Mx(..) => Err(format!(
            "{hop} cannot be asked: servers that are found by MX may take every recipient, or refuse who asks; name a file of \
             recipients here"
        )),
    }
}
