//! Who is asked about recipients while clients wait: a program that serves a map of them, or the next hops
//! that their mail goes to (`recipients = "ask"`).

use std::fmt;
use std::net::SocketAddr;

use super::forward::{Forward, HopPlace, HopTls, NextHop};
use super::recipient_map::{MapAddress, Socketmap, hosts};
use crate::limits::{MAP_GROUPS_MAX, MAP_THREADS, MAP_THREADS_A_ROUTE};
use crate::mail::domain::DomainPattern;

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
    /// `[[forward]]`.
    pub routes: Vec<AskedRoute>,
    /// A recipient about whom none of them can be asked is taken.
    pub takes_unasked: bool,
}

/// What of a route says how recipients are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRoute {
    /// About those of these domains; empty for all.
    pub domains: Vec<DomainPattern>,
    /// The next hops, and where each is.
    pub to: Vec<(NextHop, MapAddress)>,
    /// Whether a session is under TLS.
    pub tls: HopTls,
}

impl RecipientMap {
    /// Where somebody may be connected to.
    pub fn addresses(&self) -> Vec<&MapAddress> {
        match self {
            Self::Socketmap(map) => vec![&map.address],
            Self::NextHops(hops) => {
                hops.routes.iter().flat_map(|route| route.to.iter().map(|(_, address)| address)).collect()
            }
        }
    }
}

impl RecipientMap {
    /// How many groups of threads ask, and of how many threads each: what a next hop does that is slow, or
    /// silent, is no trouble of other routes.
    pub fn thread_groups(&self) -> (usize, usize) {
        let routes = match self {
            Self::Socketmap(_) => 1,
            Self::NextHops(hops) => hops.routes.len(),
        };
        if routes > 1 { (routes.min(MAP_GROUPS_MAX), MAP_THREADS_A_ROUTE) } else { (1, MAP_THREADS) }
    }

    /// Which of the groups asks about the recipients of a domain, which is in lower case as A-labels.
    pub fn group_of(&self, domain: &[u8]) -> usize {
        let Self::NextHops(hops) = self else { return 0 };
        let route = std::str::from_utf8(domain).ok().and_then(|domain| hops.route_of(domain));
        route.map_or(0, |(number, _)| number % self.thread_groups().0)
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
    pub(super) fn of(forward: &Forward, takes_unasked: bool) -> Result<Self, String> {
        if forward.routes.is_empty() {
            return Err("there is no [[forward]], so there is no next hop to ask: write one, or name a file (\"./ask\" if that is its \
                        name)"
                .to_owned());
        }
        let mut routes = Vec::new();
        for route in &forward.routes {
            let to = route.to.iter().map(|hop| Ok((hop.clone(), address(hop)?)));
            let to = to.collect::<Result<_, String>>()?;
            routes.push(AskedRoute { domains: route.domains.clone(), to, tls: route.tls });
        }
        Ok(Self { routes, takes_unasked })
    }

    /// The route of a domain, which is in lower case as A-labels, and its number.
    pub fn route_of(&self, domain: &str) -> Option<(usize, &AskedRoute)> {
        let takes = |asked: &AskedRoute| {
            asked.domains.is_empty() || asked.domains.iter().any(|pattern| pattern.matches(domain))
        };
        self.routes.iter().enumerate().find(|(_, asked)| takes(asked))
    }
}

/// Where a next hop is, if that is known without asking anybody.
pub(super) fn direct_address(hop: &NextHop) -> Option<MapAddress> {
    match &hop.place {
        HopPlace::Unix(path) => Some(MapAddress::Unix(path.clone())),
        HopPlace::Host(host, port) => {
            let hosts = hosts(host).ok()?;
            Some(MapAddress::Tcp(hosts.into_iter().map(|host| SocketAddr::new(host, *port)).collect()))
        }
        HopPlace::Maildir(_) | HopPlace::Mx(..) | HopPlace::Stream(..) => None,
    }
}

fn address(hop: &NextHop) -> Result<MapAddress, String> {
    if let Some(address) = direct_address(hop) {
        return Ok(address);
    }
    match &hop.place {
        // A server that has given up files asks no resolver.
        HopPlace::Host(..) | HopPlace::Unix(_) => Err(format!(
            "{hop} cannot be asked, because a receiver does not look names up: write its IP address (or localhost) in [[forward]], or \
             name a file of recipients here"
        )),
        HopPlace::Maildir(_) => Err(format!(
            "{hop} cannot be asked: every recipient has a maildir there; name a file of recipients here"
        )),
        HopPlace::Stream(..) => Err(format!(
            "{hop} cannot be asked: a stream takes every recipient; name a file of recipients here"
        )),
        HopPlace::Mx(..) => Err(format!(
            "{hop} cannot be asked: servers that are found by MX may take every recipient, or refuse who asks; name a file of \
             recipients here"
        )),
    }
}
