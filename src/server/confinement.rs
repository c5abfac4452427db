//! What the server gives up before mail comes, as the configuration has it (`[run_as]`), and what is told of
//! it.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};

use super::error::ServeError;
use super::report;
use crate::config::{AdminAddress, Config, Nats, RecipientMap};
use crate::log::{Log, events};
use crate::sandbox::{self, Account, Connects, Places, Plan, directory_of};
use crate::sink;

/// Ports below this one need a capability, where the machine does not say otherwise.
const LOW_PORTS_END: u16 = 1024;

/// Where systems have the certificates of those whom they trust. The client library of a cluster reads them
/// for each connection under TLS, also where it is told whom to trust, and makes none where it may not.
const AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/security/certificates",
];

/// How far the process has given things up.
#[derive(Debug, Clone)]
pub(super) struct Confinement {
    is_wanted: bool,
    /// To whom it goes on to connect.
    connects: Connects,
    /// The version of Landlock that holds; 0 for none.
    landlock: u32,
}

/// Becomes the configured user and stays with the files that are needed. What only root can read has been
/// read; the store, threads and rings come afterwards, so that they are the user's. `log_file` is the log's
/// file, open; `name_servers` are those that are asked, none where nothing asks.
pub(super) fn enter(
    config: &Config,
    file: Option<&Path>,
    log_file: Option<&File>,
    name_servers: &[SocketAddr],
    log: &mut Log,
) -> Result<Confinement, ServeError> {
    let account = Account::to_become(&config.run_as).map_err(|error| ServeError::new(error.to_string()))?;
    let owner = account.as_ref().map(|account| (account.user, account.group));
    // Rules are on what is there.
    sink::make_store(&config.sink, owner).map_err(|error| ServeError::new(error.to_string()))?;
    if let Some(owner) = owner {
        hand_over(config, log_file, owner).map_err(ServeError::new)?;
    }
    let places = config.run_as.sandbox.then(|| places(config, file, name_servers));
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
    let connects = connects(config, name_servers);
    Ok(Confinement { is_wanted: config.run_as.sandbox, connects, landlock: entered.landlock })
}

impl Confinement {
    /// Gives up the system calls that are not needed any more: every thread serves.
    pub(super) fn close(&self, log: &mut Log) {
        let closed = self.is_wanted.then(|| sandbox::close(&self.connects));
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
fn places(config: &Config, file: Option<&Path>, name_servers: &[SocketAddr]) -> Places {
    let mut places = Places { store: sink::writes_in(&config.sink), ..Places::default() };
    let certificates = config.tls.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    places.sockets.extend(socket_directories(config));
    places.state = config.state().map(directory_of);
    places.log = config.log.file.as_deref().map(directory_of);
    let lists = config.recipients.iter().chain(&config.aliases).chain(&config.front.network_files);
    let tables = lists.chain(certificates).map(PathBuf::as_path);
    places.connects = connects(config, name_servers);
    for file in file.into_iter().chain(tables) {
        places.read_again(file);
    }
    if config.nats.as_ref().is_some_and(Nats::speaks_tls) {
        places.read.extend(AUTHORITIES.map(PathBuf::from));
    }
    places
}

/// Whoever is asked about recipients or about messages, next hops that get mail at once, servers of a
/// cluster, and name servers.
fn connects(config: &Config, name_servers: &[SocketAddr]) -> Connects {
    let of_recipients = config.recipient_map.iter().flat_map(RecipientMap::addresses);
    let of_messages = config.filters.iter().map(|filter| filter.kind.address());
    let next_hops = config.cut_through.iter().flatten().flat_map(|route| &route.to);
    let next_hops = next_hops.map(|(_, address)| address);
    let asked: Vec<_> = of_recipients.chain(of_messages).chain(next_hops).collect();
    let ports = asked.iter().filter_map(|address| address.port());
    let cluster = config.nats.iter().flat_map(|nats| &nats.servers).map(|server| server.address.port());
    let ports = ports.chain(cluster).chain(name_servers.iter().map(SocketAddr::port));
    let mut tcp_ports: Vec<u16> = ports.collect();
    tcp_ports.sort_unstable();
    tcp_ports.dedup();
    let unix = asked.iter().any(|address| address.is_unix());
    Connects { unix, tcp_ports, dns: !name_servers.is_empty() }
}

/// What root has made for the user, or makes for it: the log's file, and the directory of sockets, which is
/// gone after each start of the machine. Only what is open is given away, never a name: whoever may write in
/// its directory could put another file under that.
fn hand_over(config: &Config, log_file: Option<&File>, owner: sink::Owner) -> Result<(), String> {
    if let (Some(path), Some(file)) = (&config.log.file, log_file) {
        give_log(file, path, owner)?;
    }
    for directory in socket_directories(config) {
        // Where it is there, or cannot be made, the socket says what becomes of that.
        if std::fs::create_dir(&directory).is_ok() {
            let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::open(&directory, how, Mode::empty());
            let opened = opened.map_err(|error| not_given(&directory, owner, &error.into()))?;
            give(opened, &directory, owner)?;
        }
    }
    Ok(())
}

/// Gives the log's file to the user. A device is everybody's; a file with another name may be another
/// program's.
fn give_log(file: &File, path: &Path, owner: sink::Owner) -> Result<(), String> {
    let facts = rustix::fs::fstat(file).map_err(|error| not_given(path, owner, &error.into()))?;
    let (user, group) = owner;
    let is_its_own = facts.st_uid == user.as_raw() && facts.st_gid == group.as_raw();
    if is_its_own || !FileType::from_raw_mode(facts.st_mode).is_file() {
        return Ok(());
    }
    if facts.st_nlink > 1 {
        let why = "it has another name (a hard link), so it may be another program's; give it to that user \
                   yourself, or remove one of the names";
        return Err(not_given(path, owner, &std::io::Error::other(why)));
    }
    give(file, path, owner)
}

fn give(file: impl AsFd, path: &Path, owner: sink::Owner) -> Result<(), String> {
    let (user, group) = owner;
    let given = rustix::fs::fchown(file, Some(user), Some(group));
    given.map_err(|error| not_given(path, owner, &error.into()))
}

fn not_given(path: &Path, (user, _): sink::Owner, why: &std::io::Error) -> String {
    format!("{} cannot be given to user {}: {why}", path.display(), user.as_raw())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_can_be_connected_to() {
        let connects_of = |asked: &str| {
            let text = format!(
                "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n{asked}\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\n\
                 kind = \"discard\"\n"
            );
            let (config, _) = crate::config::parse(&text, "mx.toml", Path::new("/etc")).expect("good");
            connects(&config, &[])
        };
        let filter = |kind: &str, place: &str| {
            format!("[[filter]]\nname = \"{kind}{}\"\nkind = \"{kind}\"\n{place}\n", place.len())
        };
        assert!(connects_of("").is_none());
        let all = connects_of(
            &[
                "recipients = \"socketmap:inet:127.0.0.1:9:m\"\n",
                &filter("rspamd", "url = \"http://localhost\""),
                &filter("milter", "socket = \"inet:8891@127.0.0.1\""),
                &filter("milter", "socket = \"inet:9@127.0.0.1\""),
            ]
            .concat(),
        );
        assert_eq!(all, Connects { unix: false, tcp_ports: vec![9, 8891, 11333], dns: false });
        for unix in [filter("rspamd", "url = \"unix:/run/a\""), filter("milter", "socket = \"unix:/run/a\"")]
        {
            assert_eq!(connects_of(&unix), Connects { unix: true, tcp_ports: vec![], dns: false });
        }
    }
}
