//! Landlock: of all files those that serving needs, and no TCP connection but to a port that is configured.
//!
//! Rules are on directories, because a file that is written again as a rule gets another inode. What is open
//! already stays open: the log, sockets, the lock of the store.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::connects::Connects;
use super::credentials::errno;
use super::every_thread;

/// What is known to Linux 6.15. Later kernels know more, which stays as it was.
const KNOWN: ABI = ABI::V7;

/// What of the kernel the program reads: limits and mounts, the journal of ext4, what a disk lies on, memory
/// of control groups.
const OF_KERNEL: [&str; 5] = ["/proc", "/sys/fs/ext4", "/sys/fs/cgroup", "/sys/dev/block", "/sys/devices"];

/// The directories that serving needs. One that does not exist needs no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Where mail is stored: files are made, read, written, renamed, linked and removed.
    pub store: Option<PathBuf>,
    /// What is read again on reload.
    pub read: Vec<PathBuf>,
    /// Where sockets of ours are, which are removed at the end.
    pub sockets: Vec<PathBuf>,
    /// Where a file is that is written anew each time and put in the place of the one before.
    pub state: Option<PathBuf>,
    /// To whom connections are made.
    pub connects: Connects,
    /// Where the log's file is, which is opened again after it was moved away.
    pub log: Option<PathBuf>,
}

impl Places {
    /// A file that is read again: its directory, and that of the file that it leads to. A renewed certificate
    /// is a new file beside the old one, and often the target of a symbolic link.
    pub fn read_again(&mut self, file: &Path) {
        let target = file.canonicalize().ok();
        for file in [Some(file), target.as_deref()].into_iter().flatten() {
            let directory = directory_of(file);
            if !self.read.contains(&directory) {
                self.read.push(directory);
            }
        }
    }
}

/// The directory that a file is in.
pub fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// The version of Landlock that this kernel offers, or why it offers none.
pub fn version() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`.
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no memory and gives a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Confines every thread to these places. `no_new_privs` must hold already.
pub(super) fn confine(places: &Places) -> Result<(), String> {
    let ruleset = ruleset(places).map_err(|error| error.to_string())?;
    let ruleset = ruleset.ok_or_else(|| "the kernel has no rules".to_owned())?;
    every_thread::run(restrict_self, ruleset.as_raw_fd()).map_err(|error| error.to_string())
}

fn restrict_self(ruleset: i32) -> i32 {
    // SAFETY: numbers only; the descriptor is open until every thread has done this.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) } == 0 { 0 } else { errno() }
}

fn ruleset(places: &Places) -> Result<Option<OwnedFd>, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let store = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        // A spill file is linked out of its directory, and a message is renamed from one to another.
        | AccessFs::Refer;
    let sockets = read | AccessFs::MakeSock | AccessFs::RemoveFile;
    let log = AccessFs::WriteFile | AccessFs::MakeReg;
    let state = read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        // Ports are bound when listeners are added on reload; ringmx connects to nobody but those below.
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let of_kernel = OF_KERNEL.iter().map(|path| (Path::new(path), read));
    let read = places.read.iter().map(|path| (path.as_path(), read));
    let sockets = places.sockets.iter().map(|path| (path.as_path(), sockets));
    let store = places.store.iter().map(|path| (path.as_path(), store));
    let log = places.log.iter().map(|path| (path.as_path(), log));
    let state = places.state.iter().map(|path| (path.as_path(), state));
    for (path, access) in of_kernel.chain(read).chain(sockets).chain(store).chain(state).chain(log) {
        ruleset = allow(ruleset, path, access)?;
    }
    for port in &places.connects.tcp_ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset.into())
}

fn allow(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(open) => ruleset.add_rule(PathBeneath::new(open, access)),
        Err(_) => Ok(ruleset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_where_it_is_and_where_it_leads() {
        let folder = tempfile::tempdir().expect("a folder");
        let (live, archive) = (folder.path().join("live"), folder.path().join("archive"));
        std::fs::create_dir(&live).expect("made");
        std::fs::create_dir(&archive).expect("made");
        std::fs::write(archive.join("chain1.pem"), "").expect("written");
        std::os::unix::fs::symlink("../archive/chain1.pem", live.join("chain.pem")).expect("linked");
        let mut places = Places::default();
        places.read_again(&live.join("chain.pem"));
        places.read_again(&live.join("missing.pem"));
        let archive = archive.canonicalize().expect("it is there");
        assert_eq!(places.read, [live, archive]);
        assert_eq!(directory_of(Path::new("mx.toml")), Path::new("."));
    }
}
