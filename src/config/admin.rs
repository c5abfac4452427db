//! `[admin]` and `[forward_admin]`: where metrics, health and the status page of the receiver and of the
//! forwarder are read, and by whom.

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

/// The administration of a running process: what it tells, and to whom. Nothing is changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The name of its table.
    pub table: &'static str,
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

/// A table that says where a process is asked.
struct Table {
    name: &'static str,
    about: &'static str,
    port: u16,
    /// A socket that it may have.
    socket: &'static str,
    /// What it is called in sentences.
    process: &'static str,
}

/// Where a forwarder listens whose table says nothing.
pub const FORWARDER_PORT: u16 = 9726;

const RECEIVER: Table = Table {
    name: "admin",
    about: "Metrics, health and status page over HTTP, read only; off when this table is absent.",
    port: 9725,
    socket: "unix:/run/ringmx/admin.sock",
    process: "receiver",
};

const FORWARDER: Table = Table {
    name: "forward_admin",
    about: "Metrics, health and status page of `ringmx forward` over HTTP, read only; off when this table is absent. The forwarder \
            takes a change with its next start.",
    port: FORWARDER_PORT,
    socket: "unix:/run/ringmx-forward/admin.sock",
    process: "forwarder",
};

/// Reads `[admin]`. None when the file does not have it.
pub(super) fn read(root: &mut Section<'_>, listeners: &[Listener]) -> Option<Admin> {
    let is_given = root.given(RECEIVER.name);
    let mut section = root.table(RECEIVER.name, RECEIVER.about);
    section.needs_restart_but(&[]);
    section.fix_presence();
    let admin = keys(&mut section, &RECEIVER, is_given);
    if is_given {
        of_listener(&mut section, &admin.address, listeners);
    }
    section.finish();
    is_given.then_some(admin)
}

/// Reads `[forward_admin]`, beside these. None when the file does not have it.
pub(super) fn read_of_forwarder(
    root: &mut Section<'_>,
    listeners: &[Listener],
    receivers: Option<&Admin>,
) -> Option<Admin> {
    let is_given = root.given(FORWARDER.name);
    let mut section = root.table(FORWARDER.name, FORWARDER.about);
    // The receiver does nothing with it.
    section.reloads_but(&[]);
    let admin = keys(&mut section, &FORWARDER, is_given);
    if is_given {
        of_listener(&mut section, &admin.address, listeners);
        if receivers.is_some_and(|other| other.address == admin.address) && !has_port_0(&admin.address) {
            let text = format!(
                "{} is already the address of [admin], which is the receiver's: the forwarder needs one of its own",
                admin.address
            );
            section.problem("address", text);
        }
    }
    section.finish();
    is_given.then_some(admin)
}

/// The keys of either table.
fn keys(section: &mut Section<'_>, table: &Table, is_given: bool) -> Admin {
    let base_dir = section.base_dir();
    let default = AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], table.port)));
    let address = section.text(
        "address",
        "IP address and port, or \"unix:\" and a path",
        Fallback::Value(format!("\"{default}\"")),
        "Where to listen; a path is relative to the directory of this file.",
        |text| address(text, base_dir, table),
    );
    let address = address.unwrap_or(default);
    let allow = section.networks(
        "allow",
        "[\"10.0.3.0/24\"]",
        "Who may connect besides this machine; required for an address beyond loopback.",
    );
    if is_given {
        rules(section, &address, &allow, table);
    }
    Admin { table: table.name, address, allow }
}

/// An address has one listener.
fn of_listener(section: &mut Section<'_>, address: &AdminAddress, listeners: &[Listener]) {
    let is_taken = |listener: &Listener| AdminAddress::Tcp(listener.address) == *address;
    if !has_port_0(address) && listeners.iter().any(is_taken) {
        section.problem("address", format!("{address} is already the address of a listener"));
    }
}

/// Whether the kernel chooses the port, so that two of them are none the same.
fn has_port_0(address: &AdminAddress) -> bool {
    matches!(address, AdminAddress::Tcp(address) if address.port() == 0)
}

fn address(text: &str, base_dir: &Path, table: &Table) -> Result<AdminAddress, String> {
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
            "{text:?} is neither an IP address and a port, such as \"127.0.0.1:{}\", nor a Unix socket, such as \
             \"{}\"",
            table.port, table.socket
        )
    })?;
    Ok(AdminAddress::Tcp(canonical(address)))
}

/// What is told is not for strangers.
fn rules(section: &mut Section<'_>, address: &AdminAddress, allow: &[Network], table: &Table) {
    let is_public = match address {
        AdminAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        AdminAddress::Unix(_) => false,
    };
    if is_public && allow.is_empty() && !section.faulty("allow") {
        section.problem(
            "address",
            format!(
                "{address} can be reached from other machines, and nobody is named who may connect; set `allow`, or listen on \
                 \"127.0.0.1:{}\" or \"{}\"",
                table.port, table.socket
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
            format!(
                "{network} holds strangers, and each of them sees how this {} does; name your own networks",
                table.process
            ),
        );
    }
}
