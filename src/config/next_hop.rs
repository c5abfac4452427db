//! What stands in `to` of `[[forward]]`: the servers that mail goes to.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::names;
use super::sink::nats::{self, NatsServer};

/// Octets of the path of a socket, with its NUL (unix(7)).
const PATH_BYTES_MAX: usize = 108;

/// The ports where a next hop names none: LMTP has none of its own, 24 is what servers of it listen on.
const PORT_SMTP: u16 = 25;
const PORT_LMTP: u16 = 24;

pub(super) const HOP_FORM: &str = "write \"lmtp://unix:PATH\", \"lmtp://HOST:PORT\" or \"smtp://HOST:PORT\"";

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
    /// None, but maildirs that are written here: a path, which may hold `{domain}` and `{local}`.
    Maildir(PathBuf),
    /// The servers that the MX records of this domain name, in lower case as A-labels; and their port.
    Mx(String, u16),
    /// A JetStream stream of a NATS cluster: a server of it, and the stream's name.
    Stream(NatsServer, String),
}

/// The directory of a maildir or of maildirs, and what is below it for each recipient: empty where all have
/// the same.
pub fn maildir_parts(path: &Path) -> (PathBuf, PathBuf) {
    let has_field = |component: &Component<'_>| component.as_os_str().to_string_lossy().contains('{');
    let root = path.components().take_while(|component| !has_field(component)).collect();
    let template = path.components().skip_while(|component| !has_field(component)).collect();
    (root, template)
}

/// What stands in `to`.
pub(super) enum To {
    Hop(NextHop),
    /// The MX of each domain, at this port.
    Mx(u16),
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            HopProtocol::Smtp => "smtp",
            HopProtocol::Lmtp => "lmtp",
        };
        match &self.place {
            HopPlace::Mx(domain, PORT_SMTP) => write!(f, "mx:{domain}"),
            HopPlace::Mx(domain, port) => write!(f, "mx:{domain}:{port}"),
            HopPlace::Maildir(path) => write!(f, "maildir:{}", path.display()),
            HopPlace::Stream(server, stream) => write!(f, "{server}/{stream}"),
            HopPlace::Unix(path) => write!(f, "{scheme}://unix:{}", path.display()),
            HopPlace::Host(host, port) if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            HopPlace::Host(host, port) => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// A next hop, `maildir:PATH`, `nats://HOST:PORT/STREAM`, `mx`, or `mx:PORT`.
pub(super) fn to(text: &str, base_dir: &Path) -> Result<To, String> {
    if let Some(path) = text.strip_prefix("maildir:") {
        // Delivered is what it has: as a server of LMTP says it.
        return maildir(path, base_dir).map(|place| To::Hop(NextHop { protocol: HopProtocol::Lmtp, place }));
    }
    if text.starts_with("nats://") || text.starts_with("tls://") {
        return stream(text).map(|place| To::Hop(NextHop { protocol: HopProtocol::Smtp, place }));
    }
    let port = match text.strip_prefix("mx") {
        Some("") => PORT_SMTP,
        Some(rest) if rest.starts_with(':') => port_number(&rest[1..])
            .ok_or_else(|| format!("{text:?} names no port; write \"mx\", or \"mx:PORT\""))?,
        Some(_) | None => return next_hop(text, base_dir).map(To::Hop),
    };
    Ok(To::Mx(port))
}

/// `lmtp://unix:PATH`, `lmtp://HOST:PORT`, `smtp://HOST:PORT`.
pub(super) fn next_hop(text: &str, base_dir: &Path) -> Result<NextHop, String> {
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

/// `nats://HOST:PORT/STREAM` or `tls://HOST:PORT/STREAM`.
fn stream(text: &str) -> Result<HopPlace, String> {
    let named = text.rsplit_once('/').filter(|(server, _)| !server.ends_with('/'));
    let (server, name) = named.ok_or_else(|| {
        format!(
            "{text:?} names no stream; write \"nats://HOST:PORT/STREAM\", with an IP address or localhost"
        )
    })?;
    Ok(HopPlace::Stream(nats::server(server)?, nats::stream(name)?))
}

/// A path whose last parts may hold `{domain}` and `{local}`.
fn maildir(path: &str, base_dir: &Path) -> Result<HopPlace, String> {
    if path.is_empty() || path.contains(char::is_control) {
        return Err(format!(
            "{path:?} is no path of a maildir; write \"maildir:/var/mail/all\", or \"maildir:/var/mail/{{domain}}/{{local}}\""
        ));
    }
    if let Some(at) = path.find(['{', '}']) {
        let template = path[..at].rfind('/').map_or(path, |slash| &path[slash + 1..]);
        names::template(template)?;
    }
    Ok(HopPlace::Maildir(base_dir.join(path)))
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
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if after.is_empty() { port } else { port_number(after.strip_prefix(':')?)? };
        return place(address, port);
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => None,
        Some((host, after)) => place(host, port_number(after)?),
        None => place(text, port),
    }
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(text: &str) -> Result<String, String> {
        next_hop(text, Path::new("/etc/ringmx")).map(|hop| hop.to_string())
    }

    #[test]
    fn a_path_with_fields_is_a_root_and_a_template() {
        for (path, root, template) in [
            ("/var/mail/all", "/var/mail/all", ""),
            ("/var/mail/{domain}/{local}", "/var/mail", "{domain}/{local}"),
            ("/var/mail/{domain}/of/{local}", "/var/mail", "{domain}/of/{local}"),
        ] {
            assert_eq!(maildir_parts(Path::new(path)), (root.into(), template.into()));
        }
    }

    #[test]
    fn streams_are_read() {
        let read = |text: &str| match to(text, Path::new("/")) {
            Ok(To::Hop(hop @ NextHop { place: HopPlace::Stream(..), .. })) => hop.to_string(),
            Ok(_) => panic!("{text} is a stream"),
            Err(why) => why,
        };
        assert_eq!(read("nats://127.0.0.1:4222/MAIL"), "nats://127.0.0.1:4222/MAIL");
        assert_eq!(read("tls://[::1]/MAIL"), "tls://[::1]:4222/MAIL");
        for wrong in [
            "nats://127.0.0.1:4222",
            "nats://127.0.0.1/",
            "nats://a.example/MAIL",
            "nats://127.0.0.1/A B",
            "nats:///MAIL",
        ] {
            assert!(!read(wrong).starts_with("nats:"), "{wrong}: {}", read(wrong));
        }
    }

    #[test]
    fn maildirs_are_read() {
        let path = |text: &str| match to(text, Path::new("/etc/ringmx")) {
            Ok(To::Hop(NextHop { place: HopPlace::Maildir(path), .. })) => path.display().to_string(),
            Ok(_) => panic!("{text} is a maildir"),
            Err(why) => why,
        };
        assert_eq!(path("maildir:/var/mail/all"), "/var/mail/all");
        assert_eq!(path("maildir:mail/{domain}/{local}"), "/etc/ringmx/mail/{domain}/{local}");
        assert!(path("maildir:").contains("is no path of a maildir"));
        for wrong in
            ["maildir:/var/mail/{user}", "maildir:/var/{domain}/../{local}", "maildir:/var/mail/local}"]
        {
            assert!(!path(wrong).starts_with('/'), "{wrong}: {}", path(wrong));
        }
    }

    #[test]
    fn mx_is_read() {
        let port = |text: &str| match to(text, Path::new("/etc/ringmx")) {
            Ok(To::Mx(port)) => Ok(port),
            Ok(To::Hop(hop)) => Err(hop.to_string()),
            Err(why) => Err(why),
        };
        assert_eq!((port("mx"), port("mx:2525")), (Ok(25), Ok(2525)));
        for (wrong, said) in [
            ("mx:0", "names no port; write \"mx\""),
            ("mx:", "names no port"),
            ("mx1", "is no next hop"),
            ("lmtp:mx", "is no next hop"),
            ("smtp://mx", "smtp://mx:25"),
        ] {
            assert!(port(wrong).is_err_and(|why| why.contains(said)), "{wrong}");
        }
        let by_mx = |port| NextHop {
            protocol: HopProtocol::Smtp,
            place: HopPlace::Mx("example.org".to_owned(), port),
        };
        assert_eq!(by_mx(25).to_string(), "mx:example.org");
        assert_eq!(by_mx(2525).to_string(), "mx:example.org:2525");
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
}
