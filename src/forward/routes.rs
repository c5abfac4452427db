//! Which recipient goes where: the routes of the configuration as destinations with numbers and names.

use std::collections::HashMap;

use super::keep::{DESTINATION_BYTES_MAX, NOTICES, Recipients};
use super::schedule::DestinationId;
use crate::config::forward::{Forward, Route};
use crate::mail::envelope::Envelope;

/// Connections to the server that takes notices, of which there are few.
const NOTICE_CONNECTIONS_MAX: usize = 5;

/// The destinations. One is a route; its name is what the route says of its next hops. The last one is that
/// of notices, if there is somebody who takes them.
#[derive(Debug)]
pub struct Routes {
    all: Vec<Route>,
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, DestinationId>,
    /// The first route that names a domain: there may be a thousand whose mail goes by MX.
    by_domain: HashMap<String, usize>,
    /// The routes that take more than they name, in their order.
    by_pattern: Vec<usize>,
}

/// Where the recipients of a message go.
#[derive(Debug, Default)]
pub struct Parts {
    /// Each destination once, with those who are there.
    pub destined: Vec<(DestinationId, Recipients)>,
    /// Those that no route takes.
    pub unrouted: Recipients,
}

impl Routes {
    /// Those of a configuration.
    pub fn new(forward: &Forward) -> Self {
        let (names, by_name, all) = (Vec::new(), HashMap::new(), Vec::new());
        let (by_domain, by_pattern) = (HashMap::new(), Vec::new());
        let mut routes = Self { all, names, by_name, by_domain, by_pattern };
        for (number, route) in forward.routes.iter().enumerate() {
            if route.takes_more_than_it_names() {
                routes.by_pattern.push(number);
            }
            for domain in route.named_domains() {
                routes.by_domain.entry(domain.to_owned()).or_insert(number);
            }
            let name = name_of(route, |name| routes.by_name.contains_key(name));
            routes.add(name, route.clone());
        }
        if let Some(via) = &forward.queue.dsn_via {
            let route = Route::all_to(via.clone());
            routes.add(NOTICES.into(), Route { connections_max: NOTICE_CONNECTIONS_MAX, ..route });
        }
        routes
    }

    fn add(&mut self, name: Box<str>, route: Route) {
        let id = DestinationId(u16::try_from(self.all.len()).unwrap_or(u16::MAX));
        self.by_name.insert(name.clone(), id);
        self.names.push(name);
        self.all.push(route);
    }

    /// The routes, in the order of their destinations.
    pub fn all(&self) -> &[Route] {
        &self.all
    }

    /// What a destination is called, in the journal and to operators.
    pub fn name(&self, id: DestinationId) -> &str {
        self.names.get(usize::from(id.0)).map_or("", |name| name)
    }

    /// The destination of this name.
    pub fn named(&self, name: &str) -> Option<DestinationId> {
        self.by_name.get(name).copied()
    }

    /// Those of these waits of a message who go to this destination. A wait goes where it was said to go, as
    /// long as there is such a destination; after that, where its recipients would go now.
    pub fn waiting_for(
        &self,
        destination: DestinationId,
        envelope: &Envelope,
        waits: &[(Box<str>, Recipients)],
    ) -> Recipients {
        let mut all = Recipients::none();
        for (name, recipients) in waits {
            match self.named(name) {
                Some(named) if named == destination => all = all.with(recipients),
                Some(_) => {}
                // It is no mail of a route.
                None if **name == *NOTICES => {}
                None => {
                    let parts = self.parts(envelope, |index| recipients.contains(index));
                    let ours = parts.destined.iter().find(|(one, _)| *one == destination);
                    all = ours.map_or(all.clone(), |(_, recipients)| all.with(recipients));
                }
            }
        }
        all
    }

    /// Where the recipients of a notice go, which has no route.
    pub fn notice_parts(&self, recipients: Recipients) -> Parts {
        match self.named(NOTICES) {
            Some(id) => Parts { destined: vec![(id, recipients)], unrouted: Recipients::none() },
            None => Parts { destined: Vec::new(), unrouted: recipients },
        }
    }

    /// The first route that takes a domain, which is in lower case as A-labels, by its number.
    fn route_of(&self, domain: &[u8]) -> Option<usize> {
        let domain = std::str::from_utf8(domain).ok()?;
        let named = self.by_domain.get(domain).copied();
        let before = self.by_pattern.iter().take_while(|number| named.is_none_or(|named| **number < named));
        before.copied().find(|number| self.all[*number].takes(domain)).or(named)
    }

    /// Where these recipients of a message go.
    pub fn parts(&self, envelope: &Envelope, of: impl Fn(u32) -> bool) -> Parts {
        let mut found: Vec<(Option<DestinationId>, Vec<u32>)> = Vec::new();
        for (index, recipient) in (0_u32..).zip(envelope.recipients()).filter(|(index, _)| of(*index)) {
            let route = self.route_of(recipient.domain);
            let id = route.and_then(|route| u16::try_from(route).ok()).map(DestinationId);
            match found.iter_mut().find(|(one, _)| *one == id) {
                Some((_, indices)) => indices.push(index),
                None => found.push((id, vec![index])),
            }
        }
        let mut parts = Parts::default();
        for (id, indices) in found {
            let recipients = indices.into_iter().collect();
            match id {
                Some(id) => parts.destined.push((id, recipients)),
                None => parts.unrouted = recipients,
            }
        }
        parts
    }
}

/// Its next hops; a number behind them where another route has the same.
fn name_of(route: &Route, is_taken: impl Fn(&str) -> bool) -> Box<str> {
    let hops: Vec<String> = route.to.iter().map(ToString::to_string).collect();
    let mut name = hops.join(" ");
    // Room for the number.
    let most = DESTINATION_BYTES_MAX - 8;
    if name.len() > most {
        let end = (0..=most).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
        name.truncate(end);
    }
    let numbered = (2..).map(|number| format!("{name} #{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name)).unwrap_or(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::forward::{HopPlace, HopProtocol, NextHop};
    use crate::mail::domain::DomainPattern;

    #[test]
    fn the_first_route_that_takes_a_domain_is_taken() {
        let route = |domains: &[&str]| Route {
            domains: domains
                .iter()
                .map(|text| match text.strip_prefix("*.") {
                    Some(above) => DomainPattern::Below(above.to_owned()),
                    None => DomainPattern::Exact((*text).to_owned()),
                })
                .collect(),
            ..Route::all_to(NextHop { protocol: HopProtocol::Smtp, place: HopPlace::Unix("/a".into()) })
        };
        let parts: [&[&str]; 6] =
            [&["x.test", "*.y.test"], &["a.y.test", "z.test"], &["x.test"], &["*.z.test"], &[], &["w.test"]];
        let forward = Forward { routes: parts.map(route).to_vec(), ..Forward::default() };
        for (count, domain, expected) in [
            (6, "x.test", Some(0)),
            (6, "a.y.test", Some(0)),
            (6, "z.test", Some(1)),
            (6, "b.z.test", Some(3)),
            (6, "y.test", Some(4)),
            (6, "w.test", Some(4)),
            (6, "", Some(4)),
            (4, "y.test", None),
            (4, "", None),
        ] {
            let some = Forward { routes: forward.routes[..count].to_vec(), ..Forward::default() };
            let found = Routes::new(&some).route_of(domain.as_bytes());
            assert_eq!(found, expected, "{domain}");
            assert_eq!(found, some.routes.iter().position(|route| route.takes(domain)), "{domain}");
        }
    }
}
