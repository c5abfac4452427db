//! `[[forward]]` and `[forward_queue]`: where mail goes on to from the spool (`ringmx forward`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Fallback;
use super::identity::Identity;
use super::names;
use super::section::Section;
use super::sink::{Sink, SinkKind};
use crate::auth::rules::{AuthRules, DmarcUse, SpfUse};
use crate::mail::domain::DomainPattern;

/// Connections to a next hop that are no harm to any server.
const CONNECTIONS_DEFAULT: usize = 20;

/// More wait for the same disk at the other end.
const CONNECTIONS_MAX: usize = 1000;

/// A route has few next hops; more belong behind one name.
const HOPS_MAX: usize = 16;

const DAY: Duration = Duration::from_hours(24);

/// RFC 5321 §4.5.4.1: at least four or five days.
const EXPIRE_DEFAULT: Duration = Duration::from_hours(5 * 24);

/// Octets of the path of a socket, with its NUL (unix(7)).
const PATH_BYTES_MAX: usize = 108;

/// The ports where a next hop names none: LMTP has none of its own, 24 is what servers of it listen on.
const PORT_SMTP: u16 = 25;
const PORT_LMTP: u16 = 24;

const HOP_FORM: &str = "write \"lmtp://unix:PATH\", \"lmtp://HOST:PORT\" or \"smtp://HOST:PORT\"";

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

/// A server that takes mail from us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// What it speaks.
    pub protocol: HopProtocol,
    /// Where it is.
    pub place: HopPlace,
}

/// What a next hop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HopProtocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply for each recipient after the mail data.
    Lmtp,
}

/// Where a next hop is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopPlace {
    /// A socket that is a file.
    Unix(PathBuf),
    /// An address, or a name that the system resolves, in lower case; and a port.
    Host(String, u16),
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

impl Forward {
    /// The route of a domain, which is in lower case as A-labels, by its number.
    pub fn route_of(&self, domain: &[u8]) -> Option<usize> {
        let domain = std::str::from_utf8(domain).ok()?;
        self.routes.iter().position(|route| route.takes(domain))
    }
}

impl Route {
    fn takes(&self, domain: &str) -> bool {
        self.domains.is_empty() || self.domains.iter().any(|pattern| pattern.matches(domain))
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

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            HopProtocol::Smtp => "smtp",
            HopProtocol::Lmtp => "lmtp",
        };
        match &self.place {
            HopPlace::Unix(path) => write!(f, "{scheme}://unix:{}", path.display()),
            HopPlace::Host(host, port) if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            HopPlace::Host(host, port) => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// Reads both tables.
pub(super) fn read(
    root: &mut Section<'_>,
    identity: &Identity,
    sink: &Sink,
    auth: Option<&AuthRules>,
) -> Forward {
    let is_given = root.given("forward");
    let sections = root.tables(
        "forward",
        "Where mail of the spool goes on to, by `ringmx forward`; as many of these tables as wanted, and the first that matches a recipient's domain is taken.",
    );
    let routes: Vec<Route> = sections.into_iter().map(route).collect();
    let authenticates = auth.is_some_and(|rules| rules.spf != SpfUse::Off || rules.dmarc != DmarcUse::Off);
    let queue = queue(root, authenticates, is_given.then_some(sink));
    if !is_given {
        return Forward { routes: Vec::new(), queue };
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

fn route(mut section: Section<'_>) -> Route {
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
        "next hops such as \"lmtp://unix:/run/dovecot/lmtp\" or \"smtp://10.0.0.5:25\"",
        Fallback::Required { example: "[\"lmtp://unix:/run/dovecot/lmtp\"]" },
        "Servers that take the mail. A name is resolved by the system; port 25 for smtp and 24 for lmtp where none is given.",
        |text| next_hop(text, base_dir),
    );
    let to: Vec<NextHop> = to.unwrap_or_default().into_iter().map(|(_, hop)| hop).collect();
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
    if tls == Some(HopTls::Required) && to.iter().any(|hop| matches!(hop.place, HopPlace::Unix(_))) {
        section.warn("tls", "a Unix socket needs no TLS, and many servers offer none there".to_owned());
    }
    let tells_client = section.boolean(
        "xclient",
        false,
        "Whether a next hop that offers XCLIENT (Postfix, Dovecot) is told who the client was.",
    );
    let connections_max = section.integer(
        "connections_max",
        CONNECTIONS_DEFAULT,
        1..=CONNECTIONS_MAX,
        "Connections to each next hop at a time.",
    );
    section.finish();
    Route {
        domains: domains.unwrap_or_default().into_iter().map(|(_, pattern)| pattern).collect(),
        to,
        balance,
        tls: tls.unwrap_or_default(),
        tells_client,
        connections_max,
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
        let text = "missing: ringmx looks up no MX, so notices need a server that brings them to their senders; write for example \
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

/// `lmtp://unix:PATH`, `lmtp://HOST:PORT`, `smtp://HOST:PORT`.
fn next_hop(text: &str, base_dir: &Path) -> Result<NextHop, String> {
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| format!("{text:?} is no next hop; {HOP_FORM}"))?;
    let (protocol, port) = match scheme {
        "smtp" => (HopProtocol::Smtp, PORT_SMTP),
        "lmtp" => (HopProtocol::Lmtp, PORT_LMTP),
        _ => return Err(format!("{scheme:?} is nothing that can be spoken to a next hop; {HOP_FORM}")),
    };
    let place = match rest.strip_prefix("unix:") {
        Some(path) => HopPlace::Unix(unix(path, base_dir)?),
        None => {
            host_and_port(rest, port).ok_or_else(|| format!("{text:?} names no host and port; {HOP_FORM}"))?
        }
    };
    Ok(NextHop { protocol, place })
}

fn unix(path: &str, base_dir: &Path) -> Result<PathBuf, String> {
    let is_empty = path.is_empty();
    let path = base_dir.join(path);
    // It is a part of names, which stand in lines.
    let name = if is_empty { "".into() } else { path.to_string_lossy() };
    if is_empty || name.contains(char::is_control) {
        return Err(format!("{name:?} is no path of a socket; {HOP_FORM}"));
    }
    if path.as_os_str().len() >= PATH_BYTES_MAX {
        let allowed = PATH_BYTES_MAX - 1;
        return Err(format!("{} is too long for a socket: {allowed} octets it may have", path.display()));
    }
    Ok(path)
}

/// A name, an address, or an IPv6 address in brackets; with a port or without.
fn host_and_port(text: &str, port: u16) -> Option<HopPlace> {
    let place = |host: &str, port: u16| {
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let host = if is_address { host.to_owned() } else { names::domain(host).ok()? };
        Some(HopPlace::Host(host, port))
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if after.is_empty() { port } else { number(after.strip_prefix(':')?)? };
        return place(address, port);
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => None,
        Some((host, after)) => place(host, number(after)?),
        None => place(text, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(text: &str) -> Result<String, String> {
        next_hop(text, Path::new("/etc/ringmx")).map(|hop| hop.to_string())
    }

    #[test]
    fn next_hops_are_read() {
        for (text, expected) in [
            ("lmtp://unix:/run/dovecot/lmtp", "lmtp://unix:/run/dovecot/lmtp"),
            ("lmtp://unix:lmtp", "lmtp://unix:/etc/ringmx/lmtp"),
            ("smtp://10.0.0.5:2525", "smtp://10.0.0.5:2525"),
            ("smtp://10.0.0.5", "smtp://10.0.0.5:25"),
            ("lmtp://Mail.Example.ORG", "lmtp://mail.example.org:24"),
            ("smtp://[2001:db8::1]", "smtp://[2001:db8::1]:25"),
            ("smtp://[2001:db8::1]:26", "smtp://[2001:db8::1]:26"),
        ] {
            assert_eq!(hop(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "10.0.0.5:25",
            "http://10.0.0.5:25",
            "smtp://",
            "smtp://2001:db8::1",
            "smtp://[10.0.0.5]:25",
            "smtp://10.0.0.5:0",
            "smtp://10.0.0.5:65536",
            "smtp://10.0.0.5:+25",
            "smtp://a b:25",
            "lmtp://unix:",
        ] {
            assert!(hop(wrong).is_err_and(|why| why.contains("write \"lmtp://unix:PATH\"")), "{wrong}");
        }
        assert!(hop(&format!("lmtp://unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn the_first_route_that_matches_is_taken() {
        let route = |domains: &[&str]| Route {
            domains: domains.iter().map(|text| names::pattern(text).expect("a pattern")).collect(),
            to: Vec::new(),
            balance: Balance::First,
            tls: HopTls::Off,
            tells_client: false,
            connections_max: 1,
        };
        let mut forward = Forward {
            routes: vec![route(&["x.test", "*.y.test"]), route(&["a.y.test", "z.test"])],
            queue: ForwardQueue::default(),
        };
        for (domain, expected) in
            [("x.test", Some(0)), ("a.y.test", Some(0)), ("y.test", None), ("z.test", Some(1)), ("", None)]
        {
            assert_eq!(forward.route_of(domain.as_bytes()), expected, "{domain}");
        }
        let all = |forward: &Forward, text: &str| {
            let pattern = names::pattern(text).expect("a pattern");
            forward.routes.iter().any(|route| route.takes_all(&pattern))
        };
        assert!(all(&forward, "*.y.test") && all(&forward, "*.b.y.test") && all(&forward, "z.test"));
        assert!(!all(&forward, "*.x.test") && !all(&forward, "*.test") && !all(&forward, "y.test"));
        forward.routes.push(route(&[]));
        assert_eq!(forward.route_of(b"y.test"), Some(2));
        assert!(all(&forward, "*.test"));
    }
}
