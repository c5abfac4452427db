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

/// SIGTERM, SIGINT and SIGHUP held back: until this is dropped they reach neither this thread nor those that
/// it starts.
///
/// For the time in which handlers are installed. The library installs a handler first and tells it afterwards
/// what it is for; a signal between the two would be taken and lost, and the process would not end.
pub struct Held {
    before: libc::sigset_t,
}

impl Held {
    /// From now on.
    pub fn begin() -> io::Result<Self> {
        let mut held = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set that it is given, and fails for no valid pointer.
        let mut held = unsafe {
            libc::sigemptyset(held.as_mut_ptr());
            held.assume_init()
        };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: the set was initialised above, and these signals exist.
            unsafe { libc::sigaddset(&raw mut held, signal) };
        }
        let mut before = MaybeUninit::uninit();
        // SAFETY: both point to sets; the second one is written before the call succeeds.
        let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held, before.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        // SAFETY: the call succeeded, so it has written what was held back before.
        Ok(Self { before: unsafe { before.assume_init() } })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the set is one that the kernel gave. The call fails only for a first argument that there is
        // not.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
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
            let held = Held::begin().expect("held back");
            // SAFETY: `raise` takes any number. Without what is tested it ends this process.
            assert_eq!(unsafe { libc::raise(libc::SIGHUP) }, 0);
            let mut hangup = signal(SignalKind::hangup()).expect("a handler");
            drop(held);
            assert_eq!(hangup.recv().await, Some(()));
        });
    }
}
