//! A step that every thread of the process takes for itself.
//!
//! Capabilities, `no_new_privs` and Landlock bind the one thread that asks for them, and the threads that it
//! makes later. The threads of the signals and of the log are there before anything of the configuration is
//! known, because a start that hangs must be stopped and told of. So each thread is interrupted by a signal,
//! whose handler takes the step: it asks nothing of what the thread does, as the C library does for
//! `setuid`. (From ABI 8 on, Linux 7.0, Landlock has a flag for all threads; capabilities have none.)

#![allow(unsafe_code)]

use std::collections::HashSet;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

/// What a thread does: system calls only, for it runs in a signal's handler. Gives an error number, or 0.
pub(super) type Step = fn(i32) -> i32;

/// How long a thread may take to be interrupted. One that waits in the kernel for a disk is not interrupted
/// at all.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the handler is to do; null when nothing.
static STEP: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static ARGUMENT: AtomicI32 = AtomicI32::new(0);
/// What the step gave.
static RESULT: AtomicI32 = AtomicI32::new(0);
/// Threads that have taken the step.
static DONE: AtomicU32 = AtomicU32::new(0);
/// One at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Has every thread take this step, this one last. It stops at the first that fails.
pub(super) fn run(step: Step, argument: i32) -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    install_handler()?;
    ARGUMENT.store(argument, Ordering::Relaxed);
    STEP.store(step as *mut (), Ordering::Release);
    let others = run_on_others();
    STEP.store(ptr::null_mut(), Ordering::Release);
    others?;
    number(step(argument))
}

fn run_on_others() -> io::Result<()> {
    let mut seen = HashSet::from([gettid().as_raw_nonzero().get()]);
    // A thread may have begun another one before it took the step.
    loop {
        let new: Vec<i32> = threads()?.into_iter().filter(|thread| seen.insert(*thread)).collect();
        if new.is_empty() {
            return Ok(());
        }
        new.into_iter().try_for_each(interrupt)?;
    }
}

/// The threads of this process.
fn threads() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc/self/task")?;
    entries.map(|entry| entry?.file_name().to_string_lossy().parse().map_err(io::Error::other)).collect()
}

/// Interrupts a thread, and waits until it has taken the step.
fn interrupt(thread: i32) -> io::Result<()> {
    let done = DONE.load(Ordering::Acquire);
    // SAFETY: numbers only. The signal has our handler.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
    if sent != 0 {
        let error = io::Error::last_os_error();
        // It has ended.
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) };
    }
    let deadline = Instant::now() + ANSWER_MAX;
    while DONE.load(Ordering::Acquire) == done {
        if !std::path::Path::new(&format!("/proc/self/task/{thread}")).exists() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the thread {} stands still in the kernel: does what standard error leads to answer?",
                    name.trim()
                ),
            ));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    number(RESULT.load(Ordering::Acquire))
}

fn number(number: i32) -> io::Result<()> {
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) }
}

/// A signal that nobody else uses. The C library has the first of these for itself.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 4
}

/// Takes the step.
extern "C" fn handle(_: libc::c_int) {
    // SAFETY: the calling thread's own error number, which the interrupted code may be about to read.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let step = STEP.load(Ordering::Acquire);
    if !step.is_null() {
        // SAFETY: nothing but a `Step` is ever stored there, in `run`.
        let step = unsafe { std::mem::transmute::<*mut (), Step>(step) };
        RESULT.store(step(ARGUMENT.load(Ordering::Relaxed)), Ordering::Release);
        DONE.fetch_add(1, Ordering::AcqRel);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// It stays: what was sent may still come, and must not end the process.
fn install_handler() -> io::Result<()> {
    // SAFETY: plain data, all zero: no flags, an empty mask. The handler is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is valid; the handler makes system calls and touches atomics only.
    match unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn threads_that_sleep_take_the_step_and_a_failure_is_told() {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        std::thread::scope(|scope| {
            scope.spawn(|| held.lock().map(|held| held.recv().is_err()));
            scope.spawn(|| std::thread::sleep(Duration::from_millis(50)));
            run(
                |by| {
                    TAKEN.fetch_add(u32::try_from(by).unwrap_or(0), Ordering::AcqRel);
                    0
                },
                2,
            )
            .expect("taken");
            drop(hold);
        });
        // Those two and this one; the test runner has others.
        assert!(TAKEN.load(Ordering::Acquire) >= 6);
        let failed = run(|_| libc::EXDEV, 0).expect_err("it fails");
        assert_eq!(failed.raw_os_error(), Some(libc::EXDEV));
    }
}
