//! seccomp: the system calls that serving makes, and no other.
//!
//! A refused call fails with EPERM and is no reason to end the process: a call that was forgotten here costs
//! one message or one reload, with an error that says so, and not every session. Calls that are newer than
//! this list, and `clone3`, look missing (ENOSYS), so that the C library does it in the way that it did
//! before. The kernel writes what is refused into its audit log, where that is on; what looks missing it does
//! not, because each new thread would have a line.
//!
//! For calls whose arguments do not matter the kernel keeps the answer in a bitmap (Linux 5.11), so neither
//! `io_uring_enter` nor `read` runs the filter.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::connects::Connects;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[libc::c_long] = &[
    // The shards, and what is submitted to rings that exist.
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Files.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    // Waiting.
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Sockets that are there; new ones below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads, and what a thread is told of itself.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
];

/// The same by the names that this machine still has for them.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_link,
    libc::SYS_chmod,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// The newest call that this list was made with (Linux 6.18). Calls have the same numbers everywhere from 403
/// on.
const NEWEST: libc::c_long = 470;

/// As many newer ones look missing. Linux adds some ten a year.
const NEWER: libc::c_long = 130;

/// What is compared of an argument.
enum Wanted {
    /// The whole of it, of 32 bits.
    Is(u64),
    /// The bits of this mask are this.
    Bits(u64, u64),
    /// A pointer that leads nowhere.
    Null,
}

/// Closes every thread, and those that they make, to all other calls. Nothing opens them again.
pub(super) fn close(connects: &Connects) -> io::Result<()> {
    let errno = |number: libc::c_int| SeccompAction::Errno(number.cast_unsigned());
    // The other one would refuse this one to be installed.
    let missing = compiled(missing(), SeccompAction::Allow, errno(libc::ENOSYS))?;
    install(&missing, 0)?;
    let allowed = compiled(allowed(connects), errno(libc::EPERM), SeccompAction::Allow)?;
    install(&allowed, libc::SECCOMP_FILTER_FLAG_LOG)
}

/// Calls that look missing: the C library can do without.
fn missing() -> BTreeMap<i64, Vec<SeccompRule>> {
    // Its arguments are in memory, where a filter does not see whether a thread is asked for or a process.
    (NEWEST + 1..=NEWEST + NEWER).chain([libc::SYS_clone3]).map(|call| (call, Vec::new())).collect()
}

/// Calls that are allowed, some of them with certain arguments only.
fn allowed(connects: &Connects) -> BTreeMap<i64, Vec<SeccompRule>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    // The other filter says what becomes of these.
    rules.extend(missing());
    let number = |number: libc::c_int| u64::from(number.cast_unsigned());
    let kind = number(0xf);
    // SCTP and MPTCP are streams as well, and Landlock sees none of the connections that they make.
    let socket = |family, type_, protocol| {
        rule(&[
            (0, Wanted::Is(number(family))),
            (1, Wanted::Bits(kind, number(type_))),
            (2, Wanted::Is(number(protocol))),
        ])
    };
    let internet =
        |type_, protocol| [libc::AF_INET, libc::AF_INET6].map(|family| socket(family, type_, protocol));
    // Listeners that a reload adds.
    let mut sockets = Vec::from(internet(libc::SOCK_STREAM, USUAL_PROTOCOL));
    if connects.unix {
        sockets.push(socket(libc::AF_UNIX, libc::SOCK_STREAM, USUAL_PROTOCOL));
    }
    if connects.dns {
        sockets.extend(internet(libc::SOCK_DGRAM, USUAL_PROTOCOL));
        sockets.extend(internet(libc::SOCK_STREAM, libc::IPPROTO_TCP));
    }
    // To which ports is for Landlock to say.
    if !connects.is_none() {
        rules.insert(libc::SYS_connect, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets);
    // MSG_FASTOPEN connects.
    let fast_open = number(libc::MSG_FASTOPEN);
    rules.insert(libc::SYS_sendto, vec![rule(&[(3, Wanted::Bits(fast_open, 0))])]);
    rules.insert(libc::SYS_sendmsg, vec![rule(&[(2, Wanted::Bits(fast_open, 0))])]);
    // No memory is ever executable that was not from the start.
    let executable = number(libc::PROT_EXEC);
    rules.insert(libc::SYS_mmap, vec![rule(&[(2, Wanted::Bits(executable, 0))])]);
    rules.insert(libc::SYS_mprotect, vec![rule(&[(2, Wanted::Bits(executable, 0))])]);
    // A thread, never a process.
    let thread = number(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND);
    rules.insert(libc::SYS_clone, vec![rule(&[(0, Wanted::Bits(thread, thread))])]);
    // To this process only: what ends it when it aborts.
    let process = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(&[(0, Wanted::Is(process))])]);
    // A thread makes itself less urgent; no other, and no process.
    let own = [(0, Wanted::Is(number(libc::PRIO_PROCESS.cast_signed()))), (1, Wanted::Is(0))];
    rules.insert(libc::SYS_setpriority, vec![rule(&own)]);
    // Limits are read.
    rules.insert(libc::SYS_prlimit64, vec![rule(&[(2, Wanted::Null)])]);
    let named = |operation| rule(&[(0, Wanted::Is(number(operation)))]);
    rules
        .insert(libc::SYS_prctl, vec![named(libc::PR_SET_NAME), named(libc::PR_GET_NAME), named(PR_SET_VMA)]);
    let control = |number: u64| rule(&[(1, Wanted::Is(number))]);
    rules.insert(
        libc::SYS_ioctl,
        [FICLONE, FS_IOC_GETFLAGS, libc::FIONREAD, libc::FIONBIO, libc::TCGETS, libc::TIOCGWINSZ]
            .map(control)
            .into(),
    );
    rules
}

/// The usual protocol of a type of sockets: of streams TCP, of datagrams UDP.
const USUAL_PROTOCOL: libc::c_int = 0;
/// Names a mapping (Linux 5.17); the C library does for its own.
const PR_SET_VMA: libc::c_int = 0x5356_4d41;
/// Shares the blocks of a file.
const FICLONE: u64 = 0x4004_9409;
const FS_IOC_GETFLAGS: u64 = 0x8008_6601;

/// All of these hold.
fn rule(wanted: &[(u8, Wanted)]) -> SeccompRule {
    let condition = |(argument, wanted): &(u8, Wanted)| {
        let (length, operator, value) = match wanted {
            Wanted::Is(value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value),
            Wanted::Bits(mask, value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(*mask), *value),
            Wanted::Null => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
        };
        SeccompCondition::new(*argument, length, operator, value).expect("a call has six arguments")
    };
    SeccompRule::new(wanted.iter().map(condition).collect()).expect("there are conditions")
}

fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatched: SeccompAction,
    matched: SeccompAction,
) -> io::Result<BpfProgram> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, mismatched, matched, machine).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// Installs a program in every thread, with these flags besides.
fn install(program: &BpfProgram, flags: libc::c_ulong) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let flags = flags | libc::SECCOMP_FILTER_FLAG_TSYNC;
    // SAFETY: the program lives until the call has copied it, and its length is the one that is told. The
    // instructions of the library are laid out as those of the kernel.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        0 => Ok(()),
        thread if thread > 0 => Err(io::Error::other(format!("thread {thread} has a filter of its own"))),
        _ => Err(io::Error::last_os_error()),
    }
}
