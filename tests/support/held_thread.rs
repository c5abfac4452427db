//! A thread of another process that stands still, while the others go on: what a signal cannot do, a debugger
//! can (ptrace(2)).

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::ptr;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A thread that is held; goes on with the drop.
pub struct HeldThread {
    release: Option<Sender<()>>,
    debugger: Option<JoinHandle<()>>,
}

impl HeldThread {
    /// Holds the thread of this name in a process that this one started. The error says why it cannot be done
    /// here.
    pub fn hold(process: u32, name: &str) -> io::Result<Self> {
        let id = thread_of(process, name)?;
        let (tell, told) = channel();
        let (release, released) = channel::<()>();
        // Only the thread that holds another one may let it go.
        let debugger = std::thread::spawn(move || {
            let held = trace(libc::PTRACE_SEIZE, id).and_then(|()| {
                trace(libc::PTRACE_INTERRUPT, id)?;
                // SAFETY: it writes no status where it is given none.
                let stopped = unsafe { libc::waitpid(id, ptr::null_mut(), libc::__WALL) };
                if stopped == id { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
            let is_held = held.is_ok();
            let _ = tell.send(held);
            if is_held {
                let _ = released.recv();
                let _ = trace(libc::PTRACE_DETACH, id);
            }
        });
        told.recv().map_err(io::Error::other)??;
        Ok(Self { release: Some(release), debugger: Some(debugger) })
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(debugger) = self.debugger.take() {
            let _ = debugger.join();
        }
    }
}

fn thread_of(process: u32, name: &str) -> io::Result<i32> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = entry?.path();
        if fs::read_to_string(folder.join("comm")).is_ok_and(|found| found.trim_end() == name) {
            let id = folder.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
            return id.ok_or_else(|| io::Error::other("no number"));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no thread {name}")))
}

fn trace(what: libc::c_uint, id: i32) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: these operations read and write no memory of ours: both pointers are unused.
    if unsafe { libc::ptrace(what, id, none, none) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
