//! Signals and what the process does with them before it does anything else.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

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

/// From now on SIGTERM, SIGINT, SIGHUP and SIGUSR1 reach neither this thread nor those that it starts: they
/// wait for a thread that called [`let_in`].
///
/// So they are taken by the one thread that is never busy with a disk, and none is lost while handlers are
/// installed. The library installs a handler first and tells it afterwards what it is for; a signal between
/// the two would be taken by nobody, and the process would not end.
pub fn hold_back() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// From now on these signals reach this thread, first those that waited.
pub fn let_in() -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK)
}

fn change_mask(how: libc::c_int) -> io::Result<()> {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given, and fails for no valid pointer.
    let mut signals = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        signals.assume_init()
    };
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
        // SAFETY: the set was initialised above, and these signals exist.
        unsafe { libc::sigaddset(&raw mut signals, signal) };
    }
    // SAFETY: the set is initialised, and nobody asks what the mask was before.
    match unsafe { libc::pthread_sigmask(how, &raw const signals, ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::signal::unix::{SignalKind, signal};

    #[test]
    fn a_signal_that_comes_before_its_handler_is_taken_by_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            hold_back().expect("held back");
            // SAFETY: `raise` takes any number. Without what is tested it ends this process.
            assert_eq!(unsafe { libc::raise(libc::SIGHUP) }, 0);
            let mut hangup = signal(SignalKind::hangup()).expect("a handler");
            let_in().expect("let in");
            assert_eq!(hangup.recv().await, Some(()));
        });
    }
}
