//! System calls that a seccomp filter forbids, as a unit's `SystemCallFilter=` or a container's profile does.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A system call, perhaps only with some bits of an argument set.
#[derive(Debug, Clone, Copy)]
pub struct Forbidden {
    /// For messages.
    pub name: &'static str,
    number: libc::c_long,
    /// Number of the argument and its bits.
    bits: Option<(u32, u32)>,
    /// What the start says, where there is no way round.
    pub why_not: Option<&'static str>,
}

impl Forbidden {
    /// Everything that the sinks can do without, and what they cannot: syncs and locks.
    pub fn optional() -> Vec<Self> {
        let call = |name, number| Self { name, number, bits: None, why_not: None };
        let with = |name, number, argument, bits: i32| Self {
            bits: Some((argument, bits.cast_unsigned())),
            ..call(name, number)
        };
        vec![
            call("openat2", libc::SYS_openat2),
            call("renameat2", libc::SYS_renameat2),
            call("linkat", libc::SYS_linkat),
            call("fallocate", libc::SYS_fallocate),
            call("sync_file_range", libc::SYS_sync_file_range),
            call("syncfs", libc::SYS_syncfs),
            call("pwritev2", libc::SYS_pwritev2),
            call("statx", libc::SYS_statx),
            call("faccessat", libc::SYS_faccessat),
            call("faccessat2", libc::SYS_faccessat2),
            with("openat with O_TMPFILE", libc::SYS_openat, 2, libc::O_TMPFILE),
            with("open to write directly", libc::SYS_fcntl, 2, libc::O_DIRECT),
            Self {
                why_not: Some("cannot sync a file or directory there"),
                ..call("fdatasync", libc::SYS_fdatasync)
            },
            Self { why_not: Some("cannot sync the directory"), ..call("fsync", libc::SYS_fsync) },
            Self { why_not: Some("cannot lock files"), ..call("flock", libc::SYS_flock) },
        ]
    }

    /// Has a program started without this: each such call fails with this error number.
    pub fn forbid(self, command: &mut Command, error: i32) {
        // SAFETY: between fork and exec the closure makes two system calls, whose only memory is on its own
        // stack.
        unsafe { command.pre_exec(move || self.install(error)) };
    }

    fn install(self, error: i32) -> io::Result<()> {
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        // `struct seccomp_data`: the number, the architecture, the instruction, six arguments of 8 octets
        // (little-endian).
        let (argument, bits) = self.bits.unwrap_or_default();
        let step = |code: u32, value: u32, otherwise: u8| libc::sock_filter {
            code: u16::try_from(code).expect("a code"),
            jt: 0,
            jf: otherwise,
            k: value,
        };
        let mut program = [
            step(LOAD, 0, 0),
            step(JUMP_IF_EQUAL, u32::try_from(self.number).expect("a number"), 4),
            step(LOAD, 16 + 8 * argument, 0),
            step(AND, bits, 0),
            step(JUMP_IF_EQUAL, bits, 1),
            step(RETURN, libc::SECCOMP_RET_ERRNO | error.cast_unsigned(), 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let filter = libc::sock_fprog {
            len: u16::try_from(program.len()).expect("few steps"),
            filter: program.as_mut_ptr(),
        };
        // SAFETY: integers, and a program that lives until the call has copied it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
