//! `[admin]`: where metrics, health and the status page are read, and by whom.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::document::Fallback;
use super::listener::Listener;
use super::section::Section;
use crate::mail::network::{Network, canonical};

/// What a path of a Unix socket begins with.
const UNIX: &str = "unix:";

/// The longest path that a Unix socket has (`sun_path`, with the NUL at its end).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The administration of a running receiver: what it tells, and to whom. Nothing is changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: AdminAddress,
    /// Who may connect besides this machine.
    pub allow: Vec<Network>,
}

/// Where the administration listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Reads the table. None when the file does not have it.
pub(super) fn read(root: &mut Section<'_>, listeners: &[Listener]) -> Option<Admin> {
    let is_given = root.given("admin");
    let mut section = root.table(
        "admin",
        "Metrics, health and status page over HTTP, read only; off when this table is absent.",
    );
    section.needs_restart_but(&[]);
    section.fix_presence();
    let base_dir = section.base_dir();
    let address = section.text(
        "address",
        "IP address and port, or \"unix:\" and a path",
        Fallback::Value("\"127.0.0.1:9725\"".to_owned()),
        "Where to listen; a path is relative to the directory of this file.",
        |text| address(text, base_dir),
    );
    let address = address.unwrap_or(AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9725))));
    let allow = section.networks(
        "allow",
        "[\"10.0.3.0/24\"]",
        "Who may connect besides this machine; required for an address beyond loopback.",
    );
    if is_given {
        rules(&mut section, &address, &allow);
        let is_taken = |listener: &Listener| AdminAddress::Tcp(listener.address) == address;
        if listeners.iter().any(|listener| listener.address.port() != 0 && is_taken(listener)) {
            section.problem("address", format!("{address} is already the address of a listener"));
        }
    }
    section.finish();
    is_given.then_some(Admin { address, allow })
}

fn address(text: &str, base_dir: &Path) -> Result<AdminAddress, String> {
    if let Some(path) = text.strip_prefix(UNIX) {
        if path.is_empty() || path.contains('\0') {
            return Err(format!("{text:?}: after `unix:` comes the path of a socket"));
        }
        let path = base_dir.join(path);
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > UNIX_PATH_BYTES_MAX {
            return Err(format!(
                "{} has {bytes} octets, and the path of a Unix socket at most {UNIX_PATH_BYTES_MAX}",
                path.display()
            ));
        }
        return Ok(AdminAddress::Unix(path));
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        format!(
            "{text:?} is neither an IP address and a port, such as \"127.0.0.1:9725\", nor a Unix socket, such as \
             \"unix:/run/ringmx/admin.sock\""
        )
    })?;
    Ok(AdminAddress::Tcp(canonical(address)))
}

/// What is told is not for strangers.
fn rules(section: &mut Section<'_>, address: &AdminAddress, allow: &[Network]) {
    let is_public = match address {
        AdminAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        AdminAddress::Unix(_) => false,
    };
    if is_public && allow.is_empty() && !section.faulty("allow") {
        section.problem(
            "address",
            format!(
                "{address} can be reached from other machines, and nobody is named who may connect; set `allow`, or listen on \
                 \"127.0.0.1:9725\" or \"unix:/run/ringmx/admin.sock\""
            ),
        );
    }
    if !is_public && !allow.is_empty() {
        section.warn(
            "allow",
            format!("nobody of these networks can reach {address}; take `allow` out, or change `address`"),
        );
    }
    for network in allow.iter().filter(|network| network.holds_strangers()) {
        section.warn(
            "allow",
            format!("{network} holds strangers, and each of them sees how this receiver does; name your own networks"),
        );
    }
}
