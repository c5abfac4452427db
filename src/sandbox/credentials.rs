//! Who the process is and what it may do beyond that: user, groups, capabilities. Given up for good.

#![allow(unsafe_code)]

use std::io;

use rustix::process::{Gid, Uid};

use super::account::Account;
use super::every_thread;

/// Binding ports below 1024 (capabilities(7)).
const NET_BIND_SERVICE: u32 = 1 << 10;

/// Keeps the capability to bind ports below 1024, or none.
pub(super) const fn kept(binds_low_ports: bool) -> u32 {
    if binds_low_ports { NET_BIND_SERVICE } else { 0 }
}

/// Becomes this user, in every thread.
pub(super) fn become_user(account: &Account) -> io::Result<()> {
    // While it may: nothing that could ever be executed gets a capability back.
    every_thread::run(empty_bounding_set, 0)?;
    let groups: Vec<libc::gid_t> = account.groups.iter().copied().map(Gid::as_raw).collect();
    let (user, group) = (account.user.as_raw(), account.group.as_raw());
    // By the C library, which does it in every thread; the system calls themselves bind one thread.
    // SAFETY: as many groups as the length says.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::setresgid(group, group, group) })?;
    // Capabilities outlive the change in this thread and those that it makes, until `give_up_capabilities`.
    rustix::thread::set_keep_capabilities(true)?;
    // SAFETY: numbers only.
    check(unsafe { libc::setresuid(user, user, user) })?;
    rustix::thread::set_keep_capabilities(false)?;
    Ok(())
}

/// Gives up every capability but these, in every thread, and what would bring them back.
pub(super) fn give_up_capabilities(kept: u32) -> io::Result<()> {
    every_thread::run(keep_capabilities, kept.cast_signed())
}

/// From now on nothing that this process executes gains anything by it. Landlock and seccomp want this.
pub(super) fn no_new_privileges() -> io::Result<()> {
    every_thread::run(set_no_new_privileges, 0)
}

/// Whether the process is this user and cannot become root again.
pub(super) fn is_for_good(account: &Account) -> bool {
    let user = account.user.as_raw();
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three numbers that the call fills.
    let asked = unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
    let root = Uid::ROOT.as_raw();
    // SAFETY: a number only. It has to fail.
    let went_back = unsafe { libc::setuid(root) } == 0;
    asked == 0 && [real, effective, saved] == [user; 3] && !went_back
}

fn empty_bounding_set(_: i32) -> i32 {
    for capability in 0..64 {
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return match errno() {
                // This kernel has no more.
                libc::EINVAL => 0,
                // Root without the capability to do it, as in some containers, has few others, too.
                libc::EPERM => 0,
                other => other,
            };
        }
    }
    0
}

fn set_no_new_privileges(_: i32) -> i32 {
    // SAFETY: numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0 { 0 } else { errno() }
}

fn keep_capabilities(kept: i32) -> i32 {
    /// `_LINUX_CAPABILITY_VERSION_3`: two times 32 bits a set.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        process: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: VERSION, process: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: the calling thread's sets, into as many as this version has.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } != 0 {
        return errno();
    }
    let kept = sets[0].permitted & kept.cast_unsigned();
    let sets = [Sets { effective: kept, permitted: kept, inheritable: 0 }, Sets::default()];
    // SAFETY: as above, read only.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } != 0 {
        return errno();
    }
    // SAFETY: numbers only.
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    if cleared == 0 { 0 } else { errno() }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The calling thread's error number. In a signal's handler, too.
pub(super) fn errno() -> i32 {
    // SAFETY: the address is valid for as long as the thread is.
    unsafe { *libc::__errno_location() }
}
