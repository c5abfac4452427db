//! What the server gives up before mail comes, as the configuration has it (`[run_as]`), and what is told of
//! it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD};

use super::error::ServeError;
use super::report;
use crate::config::{AdminAddress, Config};
use crate::log::{Log, events};
use crate::sandbox::{self, Account, Places, Plan, directory_of};
use crate::sink;

/// Ports below this one need a capability, where the machine does not say otherwise.
const LOW_PORTS_END: u16 = 1024;

/// How far the process has given things up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confinement {
    is_wanted: bool,
    /// The version of Landlock that holds; 0 for none.
    landlock: u32,
}

/// Becomes the configured user and stays with the files that are needed. What only root can read has been
/// read; the store, threads and rings come afterwards, so that they are the user's.
pub(super) fn enter(config: &Config, file: Option<&Path>, log: &mut Log) -> Result<Confinement, ServeError> {
    let account = Account::to_become(&config.run_as).map_err(|error| ServeError::new(error.to_string()))?;
    let owner = account.as_ref().map(|account| (account.user, account.group));
    // Rules are on what is there.
    sink::make_store(&config.sink, owner).map_err(|error| ServeError::new(error.to_string()))?;
    if let Some(owner) = owner {
        hand_over(config, owner).map_err(ServeError::new)?;
    }
    let places = config.run_as.sandbox.then(|| places(config, file));
    let plan = Plan { account, binds_low_ports: binds_low_ports(config), places };
    let entered = sandbox::enter(&plan).map_err(|error| {
        ServeError::new(format!(
            "{error}; this is [run_as] of the configuration, which only root can carry out"
        ))
    })?;
    report::lacks(entered.lacks.as_slice(), log);
    if let (Some(account), Some(store)) = (&plan.account, config.sink.facts().directory()) {
        check_store(account, store)?;
    }
    Ok(Confinement { is_wanted: config.run_as.sandbox, landlock: entered.landlock })
}

impl Confinement {
    /// Gives up the system calls that are not needed any more: every thread serves.
    pub(super) fn close(self, log: &mut Log) {
        let closed = self.is_wanted.then(sandbox::close);
        if let Some(Err(why)) = &closed {
            report::lacks(std::slice::from_ref(why), log);
        }
        log.record(&events::SANDBOX, SystemTime::now())
            .number("user", u64::from(rustix::process::geteuid().as_raw()))
            .number("landlock", u64::from(self.landlock))
            .boolean("seccomp", closed.is_some_and(|closed| closed.is_ok()))
            .end();
    }
}

/// What is opened from now on.
fn places(config: &Config, file: Option<&Path>) -> Places {
    let mut places = Places { store: sink::writes_in(&config.sink), ..Places::default() };
    let certificates = config.tls.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    places.sockets.extend(socket_directories(config));
    places.log = config.log.file.as_deref().map(directory_of);
    let tables = config.recipients.iter().chain(certificates).map(PathBuf::as_path);
    for file in file.into_iter().chain(tables) {
        places.read_again(file);
    }
    places
}

/// What root has made for the user, or makes for it: the log's file, and the directory of sockets, which is
/// gone after each start of the machine.
fn hand_over(config: &Config, (user, group): sink::Owner) -> Result<(), String> {
    let give = |path: &Path| {
        let given = rustix::fs::chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
        given.map_err(|error| {
            format!(
                "{} cannot be given to user {}: {}",
                path.display(),
                user.as_raw(),
                std::io::Error::from(error)
            )
        })
    };
    // It is open, so it is there.
    config.log.file.as_deref().map_or(Ok(()), give)?;
    for directory in socket_directories(config) {
        // Where it is there, or cannot be made, the socket says what becomes of that.
        if std::fs::create_dir(&directory).is_ok() {
            give(&directory)?;
        }
    }
    Ok(())
}

/// Where there are sockets that are files.
fn socket_directories(config: &Config) -> impl Iterator<Item = PathBuf> {
    let admin = config.admin.as_ref().and_then(|admin| match &admin.address {
        AdminAddress::Unix(path) => Some(path.as_path()),
        AdminAddress::Tcp(_) => None,
    });
    config.control.as_deref().into_iter().chain(admin).map(directory_of)
}

fn binds_low_ports(config: &Config) -> bool {
    let end = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let end = end.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(LOW_PORTS_END);
    let is_low = |address: SocketAddr| (1..end).contains(&address.port());
    // The administration is bound afterwards, too.
    let admin = config.admin.as_ref().and_then(|admin| match admin.address {
        AdminAddress::Tcp(address) => Some(address),
        AdminAddress::Unix(_) => None,
    });
    config.listeners.iter().map(|listener| listener.address).chain(admin).any(is_low)
}

/// A store that was there before belongs to somebody.
fn check_store(account: &Account, store: &Path) -> Result<(), ServeError> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    // For the user that this process has become.
    rustix::fs::accessat(CWD, store, all, AtFlags::EACCESS)
        .map_err(|error| ServeError::new(sandbox::not_its_own(store, account, &error.into())))
}
