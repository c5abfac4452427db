//! A map of recipients that another program serves: `socketmap:unix:PATH:NAME` or
//! `socketmap:inet:HOST:PORT:NAME`, as Postfix writes it (socketmap_table(5)).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// How the value of `recipients` begins.
const SCHEME: &str = "socketmap:";

/// Octets of the name of a map.
const NAME_BYTES_MAX: usize = 100;

/// Octets of a path of a socket, with its NUL (unix(7)).
const PATH_BYTES_MAX: usize = 108;

const FORM: &str = "write `socketmap:unix:PATH:NAME`, or `socketmap:inet:HOST:PORT:NAME`";

/// A map of recipients, and who serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socketmap {
    /// Who is asked.
    pub address: MapAddress,
    /// Which of its maps.
    pub name: String,
    /// As it is written.
    text: String,
}

/// Where somebody is asked, about recipients or about messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapAddress {
    /// A socket that is a file.
    Unix(PathBuf),
    /// The first of these that takes a connection; they have one port.
    Tcp(Vec<SocketAddr>),
}

impl Socketmap {
    /// Reads the value of `recipients`; none where it is a path. Relative paths start at `base_dir`.
    pub(super) fn parse(text: &str, base_dir: &Path) -> Option<Result<Self, String>> {
        text.strip_prefix(SCHEME).map(|rest| Self::parse_rest(text, rest, base_dir))
    }

    fn parse_rest(text: &str, rest: &str, base_dir: &Path) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no map; {FORM}");
        let (place, name) = rest.rsplit_once(':').ok_or_else(wrong)?;
        if name.is_empty()
            || name.len() > NAME_BYTES_MAX
            || !name.bytes().all(|octet| octet.is_ascii_graphic())
        {
            return Err(format!(
                "{name:?} is no name of a map: it has 1 to {NAME_BYTES_MAX} ASCII letters, digits or signs"
            ));
        }
        let address = match place.split_once(':') {
            Some(("unix", path)) => MapAddress::Unix(unix(path, base_dir, FORM)?),
            Some(("inet", place)) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().ok().filter(|port| *port > 0);
                let port: u16 = port.ok_or_else(|| format!("{text:?} has no port; {FORM}"))?;
                MapAddress::Tcp(hosts(host)?.into_iter().map(|host| SocketAddr::new(host, port)).collect())
            }
            _ => return Err(wrong()),
        };
        Ok(Self { address, name: name.to_owned(), text: text.to_owned() })
    }
}

impl MapAddress {
    /// The TCP port that is connected to.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(addresses) => addresses.first().map(SocketAddr::port),
        }
    }

    /// Whether it is a socket that is a file.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for Socketmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path of a socket; `form` says how its place is written.
pub(super) fn unix(path: &str, base_dir: &Path, form: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.contains('\0') {
        return Err(format!("{path:?} is no path of a socket; {form}"));
    }
    let path = base_dir.join(path);
    if path.as_os_str().len() >= PATH_BYTES_MAX {
        return Err(format!(
            "{} is too long for a socket: {} octets it may have",
            path.display(),
            PATH_BYTES_MAX - 1
        ));
    }
    Ok(path)
}

/// A server that has given up files asks no resolver.
pub(super) fn hosts(host: &str) -> Result<Vec<IpAddr>, String> {
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => Err(format!("{host:?} is no IP address, nor localhost; write its address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Result<MapAddress, String>> {
        let parsed = Socketmap::parse(text, Path::new("/etc"));
        parsed.map(|parsed| parsed.map(|map| map.address))
    }

    #[test]
    fn maps_are_written_as_for_postfix() {
        assert_eq!(parse("recipients.txt"), None);
        let unix = |path: &str| Some(Ok(MapAddress::Unix(path.into())));
        assert_eq!(parse("socketmap:unix:/run/x.sock:mailboxes"), unix("/run/x.sock"));
        assert_eq!(parse("socketmap:unix:x:y:mailboxes"), unix("/etc/x:y"));
        let tcp = |addresses: &[&str]| {
            Some(Ok(MapAddress::Tcp(
                addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            )))
        };
        assert_eq!(parse("socketmap:inet:127.0.0.1:9999:m"), tcp(&["127.0.0.1:9999"]));
        assert_eq!(parse("socketmap:inet:[::1]:9999:m"), tcp(&["[::1]:9999"]));
        assert_eq!(parse("socketmap:inet:localhost:9999:m"), tcp(&["127.0.0.1:9999", "[::1]:9999"]));
        for wrong in [
            "socketmap:",
            "socketmap:unix:/run/x.sock",
            "socketmap:unix::m",
            "socketmap:inet:127.0.0.1:m",
            "socketmap:inet:127.0.0.1:0:m",
            "socketmap:inet:mx.test:9:m",
            "socketmap:tcp:127.0.0.1:9:m",
            "socketmap:unix:/run/x.sock:a b",
            "socketmap:unix:/run/x.sock:",
        ] {
            assert!(matches!(parse(wrong), Some(Err(_))), "{wrong}");
        }
        assert!(matches!(parse(&format!("socketmap:unix:/{}:m", "x".repeat(107))), Some(Err(_))));
    }
}
