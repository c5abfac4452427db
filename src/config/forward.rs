//! `[[forward]]` and `[forward_queue]`: where mail goes on to from the spool (`ringmx forward`).

use std::path::Path;
use std::time::Duration;

use super::document::Fallback;
use super::identity::Identity;
use super::names;
use super::next_hop::{HOP_FORM, To, next_hop, to};
use super::section::Section;
use super::sink::{LineEndings, Maildir, Nats, Quarantine, Sink, SinkKind};
use crate::auth::rules::{AuthRules, DmarcUse, SpfUse};
use crate::mail::domain::{self, DomainPattern};

pub use super::next_hop::{HopPlace, HopProtocol, NextHop, maildir_parts};

/// Connections to a next hop that are no harm to any server.
const CONNECTIONS_DEFAULT: usize = 20;

/// More wait for the same disk at the other end.
const CONNECTIONS_MAX: usize = 1000;

/// A route has few next hops; more belong behind one name.
const HOPS_MAX: usize = 16;

/// Domains of one table whose mail goes by MX: each is a destination with its own queue.
const MX_DOMAINS_MAX: usize = 1000;

const DAY: Duration = Duration::from_hours(24);

/// RFC 5321 §4.5.4.1: at least four or five days.
const EXPIRE_DEFAULT: Duration = Duration::from_hours(5 * 24);

/// Where mail goes on to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forward {
    /// The first that matches a recipient's domain is taken; none where nothing is forwarded.
    pub routes: Vec<Route>,
    /// What waits, and for how long.
    pub queue: ForwardQueue,
}

/// Which domains go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Of these domains; empty for all.
    pub domains: Vec<DomainPattern>,
    /// Next hops, at least one.
    pub to: Vec<NextHop>,
    /// Which of them is taken.
    pub balance: Balance,
    /// Whether a connection is under TLS.
    pub tls: HopTls,
    /// Whether the next hop is told of the client by XCLIENT, where it offers that.
    pub tells_client: bool,
    /// Connections to each next hop at a time.
    pub connections_max: usize,
}

impl Route {
    /// All mail goes to this next hop; the rest is as in a table that says no more.
    pub fn all_to(hop: NextHop) -> Self {
        Self {
            domains: Vec::new(),
            to: vec![hop],
            balance: Balance::First,
            tls: HopTls::Offered,
            tells_client: false,
            connections_max: CONNECTIONS_DEFAULT,
        }
    }
}

/// Which next hop of a route is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// The first that is not suspended.
    #[default]
    First,
    /// The one with the fewest connections.
    Spread,
}

/// Whether a connection to a next hop is under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HopTls {
    /// Never.
    Off,
    /// Where the next hop offers it; whose certificate it shows is not looked at (RFC 7435).
    #[default]
    Offered,
    /// Always, and the certificate is for its name.
    Required,
}

/// What waits, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardQueue {
    /// A message that is older is given up.
    pub expire: Duration,
    /// Who is told what became of a message.
    pub dsn: Dsn,
    /// Through whom notices go; none where there is nobody. It may be there although nobody is told: for
    /// those that wait already.
    pub dsn_via: Option<NextHop>,
}

/// Which senders are told what became of their messages (RFC 3464).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dsn {
    /// Nobody.
    #[default]
    Off,
    /// Those whose domain SPF or DMARC vouches for.
    Authenticated,
    /// All, also those whose address was forged.
    All,
}

impl Default for ForwardQueue {
    fn default() -> Self {
        Self { expire: EXPIRE_DEFAULT, dsn: Dsn::Off, dsn_via: None }
    }
}

/// The sink of a maildir, or of those of recipients where the path has `{domain}` or `{local}` in it. What is
/// missing is made.
pub fn maildir_sink(path: &Path) -> Sink {
    let (root, template) = maildir_parts(path);
    Sink {
        kind: SinkKind::Maildir(Maildir {
            path: root,
            template: template.to_string_lossy().into_owned(),
            create: true,
            line_endings: LineEndings::default(),
            quarantine: Quarantine::default(),
            sync: None,
            mode: None,
            group: None,
        }),
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    }
}

impl Route {
    /// Whether it takes a domain, which is in lower case as A-labels.
    pub fn takes(&self, domain: &str) -> bool {
        domain::are_for(&self.domains, domain)
    }

    /// Whether it takes domains that it does not name one by one.
    pub fn takes_more_than_it_names(&self) -> bool {
        let is_pattern = |pattern: &DomainPattern| matches!(pattern, DomainPattern::Below(_));
        self.domains.is_empty() || self.domains.iter().any(is_pattern)
    }

    /// The domains that it names.
    pub fn named_domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().filter_map(|pattern| match pattern {
            DomainPattern::Exact(domain) => Some(domain.as_str()),
            DomainPattern::Below(_) => None,
        })
    }

    /// Whether it takes every domain of this pattern.
    fn takes_all(&self, pattern: &DomainPattern) -> bool {
        self.domains.is_empty()
            || self.domains.iter().any(|own| match (own, pattern) {
                (own, DomainPattern::Exact(domain)) => own.matches(domain),
                (DomainPattern::Below(above), DomainPattern::Below(below)) => {
                    above == below || own.matches(below)
                }
                (DomainPattern::Exact(_), DomainPattern::Below(_)) => false,
            })
    }
}

/// Reads both tables.
pub(super) fn read(
    root: &mut Section<'_>,
    identity: &Identity,
    (sink, nats): (&Sink, Option<&Nats>),
    auth: Option<&AuthRules>,
) -> Forward {
    let is_given = root.given("forward");
    let sections = root.tables(
        "forward",
        "Where mail of the spool goes on to, by `ringmx forward`; as many of these tables as wanted, and the first that matches a recipient's domain is taken.",
    );
    let routes: Vec<Route> = sections.into_iter().flat_map(route).collect();
    let authenticates = auth.is_some_and(|rules| rules.spf != SpfUse::Off || rules.dmarc != DmarcUse::Off);
    // What the cluster did not take at once goes to it from the spool, if nothing else is said.
    let own_stream = nats.filter(|nats| !is_given && nats.has_fallback).and_then(to_stream_of_sink);
    let queue = queue(root, authenticates, (is_given || own_stream.is_some()).then_some(sink));
    if !is_given {
        return Forward { routes: own_stream.into_iter().collect(), queue };
    }
    if identity.recipients.is_none()
        && let Some(hop) =
            routes.iter().flat_map(|route| &route.to).find(|hop| hop.to_string().contains("{local}"))
    {
        let text = format!(
            "{hop} makes a maildir for whoever is named at RCPT, as there are no `recipients`; name them, or everybody can fill the disk \
             with directories"
        );
        root.warn("forward", text);
    }
    let mut maildirs: Vec<&Path> = Vec::new();
    for hop in routes.iter().flat_map(|route| &route.to) {
        let HopPlace::Maildir(path) = &hop.place else { continue };
        if let SinkKind::Spool(spool) = &sink.kind
            && maildir_parts(path).0.starts_with(&spool.path)
        {
            let spool = spool.path.display();
            root.problem("forward", format!("{hop} is in the spool {spool}: give it a directory of its own"));
        }
        let shares = |other: &&&Path| **other != path && maildir_parts(other).0 == maildir_parts(path).0;
        if let Some(other) = maildirs.iter().find(shares) {
            let text = format!(
                "{hop} and maildir:{} are in one directory, which one of them has for itself: write the same for both, or give each a directory",
                other.display()
            );
            root.problem("forward", text);
        }
        maildirs.push(path);
    }
    if !matches!(sink.kind, SinkKind::Spool(_)) {
        let word = sink.kind.word();
        root.problem(
            "forward",
            format!(
                "mail is forwarded from a spool, and the sink is of kind \"{word}\"; write kind = \"spool\""
            ),
        );
    }
    let is_taken = |pattern: &DomainPattern| routes.iter().any(|route| route.takes_all(pattern));
    let missing: Vec<_> = identity.domains.iter().filter(|pattern| !is_taken(pattern)).collect();
    if let Some(first) = missing.first() {
        let more = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
        root.problem(
            "forward",
            format!(
                "mail for {}{more} is accepted and would go nowhere: name them in `domains` of a route, or have one last route without `domains`",
                names::text(first)
            ),
        );
    }
    if identity.any_domain && routes.iter().all(|route| !route.domains.is_empty()) {
        root.problem(
            "forward",
            "mail for any domain is accepted, and no route takes all: have one last route without `domains`"
                .to_owned(),
        );
    }
    Forward { routes, queue }
}

/// What is asked of maildirs and streams, with which there is no SMTP session.
fn rules_without_session(section: &mut Section<'_>, to: &[To]) {
    let is_stream = |to: &To| matches!(to, To::Hop(NextHop { place: HopPlace::Stream(..), .. }));
    if !cfg!(feature = "nats") && to.iter().any(is_stream) {
        section.problem("to", "this ringmx was built without the feature nats".to_owned());
    }
    let is_maildir = |to: &To| matches!(to, To::Hop(NextHop { place: HopPlace::Maildir(_), .. }));
    if !to.is_empty() && to.iter().all(|to| is_stream(to) || is_maildir(to)) {
        for key in ["tls", "xclient"].into_iter().filter(|key| section.given(key)) {
            section.warn(
                key,
                "it does nothing here: there is no SMTP session with a maildir or a stream".to_owned(),
            );
        }
    }
}

/// The route of all mail to the stream of the sink.
fn to_stream_of_sink(nats: &Nats) -> Option<Route> {
    let place = HopPlace::Stream(nats.servers.first()?.clone(), nats.stream.clone());
    Some(Route::all_to(NextHop { protocol: HopProtocol::Smtp, place }))
}

/// The route of a table; by MX one for each of its domains.
fn route(mut section: Section<'_>) -> Vec<Route> {
    section.reloads_but(&[]);
    let base_dir = section.base_dir();
    let domains = section.texts(
        "domains",
        "domains such as \"example.org\", or \"*.example.org\" for every domain below it",
        Fallback::Computed { example: "[\"example.org\"]", default: "every domain" },
        "Of which recipients the mail goes this way.",
        names::pattern,
    );
    if domains.as_ref().is_some_and(Vec::is_empty) && !section.faulty("domains") {
        section
            .problem("domains", "it is empty, so the route takes nothing; leave it out for all".to_owned());
    }
    let to = section.texts(
        "to",
        "next hops such as \"lmtp://unix:/run/dovecot/lmtp\", \"smtp://10.0.0.5:25\", \"maildir:/var/mail/{domain}/{local}\" or \"nats://10.0.0.1:4222/MAIL\"; or \"mx\" alone",
        Fallback::Required { example: "[\"lmtp://unix:/run/dovecot/lmtp\"]" },
        "Servers that take the mail. A name is resolved by the system; port 25 for smtp and 24 for lmtp where none is given. With \"mx\" the servers that the DNS names for each of `domains`. Maildirs are written by the forwarder itself. A JetStream stream is reached as [[sink]] says, where it is the one of a sink of kind nats.",
        |text| to(text, base_dir),
    );
    let to: Vec<To> = to.unwrap_or_default().into_iter().map(|(_, hop)| hop).collect();
    let by_mx = to.iter().find_map(|to| if let To::Mx(port) = to { Some(*port) } else { None });
    if to.is_empty() && section.given("to") && !section.faulty("to") {
        section.problem("to", format!("it is empty, so mail would go nowhere; {HOP_FORM}"));
    }
    if to.len() > HOPS_MAX {
        section.problem("to", format!("{} next hops are named; {HOPS_MAX} are allowed", to.len()));
    }
    let balance = section.choice(
        "balance",
        &[("first", Balance::First), ("spread", Balance::Spread)],
        "Which of them takes a message: `first`, the first that answers, or `spread`, the one with the fewest connections.",
    );
    let tls = section.choice_or(
        "tls",
        &[("off", HopTls::Off), ("offered", HopTls::Offered), ("required", HopTls::Required)],
        Fallback::Value("\"offered\"".to_owned()),
        "TLS by STARTTLS: `offered` takes any certificate, `required` one for the next hop's name.",
    );
    if tls == Some(HopTls::Required)
        && to.iter().any(|to| matches!(to, To::Hop(NextHop { place: HopPlace::Unix(_), .. })))
    {
        section.warn("tls", "a Unix socket needs no TLS, and many servers offer none there".to_owned());
    }
    let tells_client = section.boolean(
        "xclient",
        false,
        "Whether a next hop that offers XCLIENT (Postfix, Dovecot) is told who the client was.",
    );
    rules_without_session(&mut section, &to);
    let connections_max = section.integer(
        "connections_max",
        CONNECTIONS_DEFAULT,
        1..=CONNECTIONS_MAX,
        "Connections to each next hop at a time.",
    );
    let is_given = section.given("domains");
    let domains: Vec<DomainPattern> = domains.unwrap_or_default().into_iter().map(|(_, one)| one).collect();
    if by_mx.is_some() {
        mx_rules(&mut section, (is_given, &domains), to.len(), tells_client);
    }
    let is_faulty = section.faulty("domains");
    section.finish();
    let tls = tls.unwrap_or_default();
    let route = Route { domains, to: Vec::new(), balance, tls, tells_client, connections_max };
    let Some(port) = by_mx.filter(|_| !is_faulty) else {
        let hop = |to| if let To::Hop(hop) = to { Some(hop) } else { None };
        return vec![Route { to: to.into_iter().filter_map(hop).collect(), ..route }];
    };
    let mut all: Vec<Route> = Vec::new();
    for pattern in &route.domains {
        let DomainPattern::Exact(domain) = pattern else { continue };
        if !all.iter().any(|one| one.takes(domain)) {
            let to = NextHop { protocol: HopProtocol::Smtp, place: HopPlace::Mx(domain.clone(), port) };
            all.push(Route { domains: vec![pattern.clone()], to: vec![to], ..route.clone() });
        }
    }
    all
}

/// What is asked of a table whose mail goes by MX.
fn mx_rules(
    section: &mut Section<'_>,
    (is_given, domains): (bool, &[DomainPattern]),
    hops: usize,
    tells_client: bool,
) {
    if hops > 1 {
        let text = "\"mx\" stands alone: it is the servers that the DNS names for each domain; write other next hops in a [[forward]] of \
                    their own";
        section.problem("to", text.to_owned());
    }
    if !is_given {
        let text = "missing: mail goes by MX only for domains that are named; write for example domains = [\"example.org\"]";
        section.problem("domains", text.to_owned());
    }
    if let Some(pattern) = domains.iter().find(|pattern| matches!(pattern, DomainPattern::Below(_))) {
        let pattern = names::text(pattern);
        section.problem(
            "domains",
            format!(
                "{pattern} is no single domain, and each has an MX of its own; with \"mx\" name each domain"
            ),
        );
    }
    if domains.len() > MX_DOMAINS_MAX {
        section.problem(
            "domains",
            format!("{} are named; with \"mx\" {MX_DOMAINS_MAX} are allowed", domains.len()),
        );
    }
    if section.given("balance") {
        section.warn(
            "balance",
            "it has no effect with \"mx\": the preference of the MX records counts".to_owned(),
        );
    }
    if tells_client {
        let text = "servers of others are told of no client: leave it out with \"mx\"";
        section.problem("xclient", text.to_owned());
    }
}

/// `sink`: the one that is forwarded, if it is. `authenticates`: somebody may vouch for senders.
fn queue(root: &mut Section<'_>, authenticates: bool, sink: Option<&Sink>) -> ForwardQueue {
    let mut section = root.table("forward_queue", "What waits for a next hop, and for how long.");
    section.reloads_but(&[]);
    let expire = section.duration(
        "expire",
        EXPIRE_DEFAULT,
        Duration::from_mins(1)..=60 * DAY,
        "A message that could not be delivered for so long is given up: it stays in `forward/dead` of the spool (RFC 5321 §4.5.4.1).",
    );
    let dsn = section.choice_or(
        "dsn",
        &[("off", Dsn::Off), ("authenticated", Dsn::Authenticated), ("all", Dsn::All)],
        Fallback::Computed {
            example: "\"authenticated\"",
            default: "\"authenticated\" with `dsn_via` and SPF or DMARC of [auth], otherwise \"off\"",
        },
        "Which senders get a notice (RFC 3464) of mail that cannot be delivered: those that SPF or DMARC vouched for, or all. With \"off\" RFC 5321 §6.1 is not kept.",
    );
    let base_dir = section.base_dir();
    let dsn_via = section.text(
        "dsn_via",
        "a next hop such as \"smtp://10.0.0.9:25\"",
        Fallback::Computed {
            example: "\"smtp://10.0.0.9:25\"",
            default: "nobody; required unless dsn is \"off\"",
        },
        "The server that takes notices and brings them to their senders.",
        |text| next_hop(text, base_dir),
    );
    let default = if dsn_via.is_some() && authenticates { Dsn::Authenticated } else { Dsn::Off };
    let queue = ForwardQueue { expire, dsn: dsn.unwrap_or(default), dsn_via };
    notice_rules(&mut section, &queue, authenticates, sink);
    section.finish();
    queue
}

/// What is asked of a configuration that promises notices, or none.
fn notice_rules(section: &mut Section<'_>, queue: &ForwardQueue, authenticates: bool, sink: Option<&Sink>) {
    if section.faulty("dsn") || section.faulty("dsn_via") {
        return;
    }
    if queue.dsn != Dsn::Off && queue.dsn_via.is_none() {
        let text = "missing: ringmx keeps no queue to the Internet, so notices need a server that brings them to their senders; write for example \
                    dsn_via = \"smtp://10.0.0.9:25\"";
        section.problem("dsn_via", text.to_owned());
    }
    if queue.dsn == Dsn::Authenticated && !authenticates {
        let text =
            "nobody vouches for senders, so none would get a notice: there is no [auth] with SPF or DMARC";
        section.problem("dsn", text.to_owned());
    }
    let Some(sink) = sink.filter(|_| queue.dsn == Dsn::Off) else { return };
    if sink.dsn {
        let text = "`dsn` of [[sink]] promises notices (RFC 3461), and `ringmx forward` sends none: set dsn and dsn_via here, or \
                    leave that key out";
        section.problem("dsn", text.to_owned());
    } else {
        let text = "no sender is told of mail that cannot be delivered, as RFC 5321 §6.1 asks for; set dsn and dsn_via";
        section.warn("dsn", text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_all_of_a_pattern_or_not() {
        let route = |domains: &[&str]| Route {
            domains: domains.iter().map(|text| names::pattern(text).expect("a pattern")).collect(),
            ..Route::all_to(NextHop { protocol: HopProtocol::Smtp, place: HopPlace::Unix("/a".into()) })
        };
        let mut forward = Forward {
            routes: vec![route(&["x.test", "*.y.test"]), route(&["a.y.test", "z.test"])],
            queue: ForwardQueue::default(),
        };
        let all = |forward: &Forward, text: &str| {
            let pattern = names::pattern(text).expect("a pattern");
            forward.routes.iter().any(|route| route.takes_all(&pattern))
        };
        assert!(all(&forward, "*.y.test") && all(&forward, "*.b.y.test") && all(&forward, "z.test"));
        assert!(!all(&forward, "*.x.test") && !all(&forward, "*.test") && !all(&forward, "y.test"));
        forward.routes.push(route(&[]));
        assert!(all(&forward, "*.test"));
    }
}
