//! Signals that would end the process although the system call that raised them tells the same by its error.

#![allow(unsafe_code)]

/// Ignores SIGXFSZ, so that a write beyond the largest file that this process may have (RLIMIT_FSIZE;
/// `LimitFSIZE=` of a unit) fails with EFBIG, as one message's failure, instead of ending the process with
/// all its sessions.
///
/// The standard library ignores SIGPIPE for the same reason. Call it before the first thread is started.
pub fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN installs no handler, so no code of ours runs in a signal's context. The call fails only
    // for signals that do not exist or cannot be ignored; this one does and can.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
