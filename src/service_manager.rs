//! What the service manager that started the process (systemd) is told, what it asks for, and the sockets
//! that it has opened for it: `sd_notify(3)`, `sd_listen_fds(3)`.
//!
//! Nothing is told where it does not ask, by `NOTIFY_SOCKET`. The socket is connected once, before the
//! process gives up what it may do, and nobody ever waits for it: a service manager that stands still stops
//! no mail. A state that it has no room for is kept, and told when it has: one that never learns of the start
//! would end the process.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The last state, where the service manager had no room for it.
    untold: Mutex<Option<String>>,
}

impl ServiceManager {
    /// As the environment of the process says. The error is for the operator; the process can go on without.
    pub fn from_environment() -> Result<Self, String> {
        let socket = std::env::var_os("NOTIFY_SOCKET").map(|name| {
            connect(&name).map_err(|error| {
                let name = name.display();
                format!("the service manager cannot be told anything: NOTIFY_SOCKET={name}: {error}")
            })
        });
        let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // It may have been meant for the process that started this one.
        let is_ours = variable("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog =
            variable("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        Ok(Self { socket: socket.transpose()?, watchdog, untold: Mutex::default() })
    }

    /// How long it waits for [`ServiceManager::alive`] before it ends the process; none where it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// The start has begun, and this is what takes time.
    pub fn starting(&self, status: impl fmt::Display) {
        self.tell(format!("STATUS={status}\n"));
    }

    /// The start, or a reload, is complete.
    pub fn ready(&self, status: impl fmt::Display) {
        self.tell(format!("READY=1\nSTATUS={status}\n"));
    }

    /// A reload begins; [`ServiceManager::ready`] ends it, whatever came of it. systemd from 253
    /// on waits for it where a unit has `Type=notify-reload`.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again\n"));
    }

    /// The stop begins.
    pub fn stopping(&self, status: impl fmt::Display) {
        self.tell(format!("STOPPING=1\nSTATUS={status}\n"));
    }

    /// All is well: the watchdog begins anew.
    pub fn alive(&self) {
        // The state first, so that this does not take the room that it waits for.
        self.tell_again();
        // Where there is no room, there will be at the next time.
        let _ = self.send("WATCHDOG=1\n");
    }

    /// Tells the last state, where that could not be told before. For whoever comes by now and then.
    pub fn tell_again(&self) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.take_if(|state| self.send(state));
    }

    /// Tells a state, now or later. One that was not told before is not told any more.
    fn tell(&self, state: String) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold = (!self.send(&state)).then_some(state);
    }

    /// False where there is no room for it. Where nobody listens any more, there is nobody to tell that to.
    fn send(&self, state: &str) -> bool {
        let Some(socket) = &self.socket else { return true };
        match socket.send(state.as_bytes()) {
            Ok(_) => true,
            Err(error) => !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)),
        }
    }
}

/// A path, or an abstract name after an `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The first descriptor that a service manager passes on (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// More than any unit has.
const SOCKETS_MAX: RawFd = 4096;

/// A socket that the service manager has opened for this process.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of its unit.
    pub name: String,
    /// The socket. The service manager keeps one of its own, so it goes on when the process has ended.
    pub socket: OwnedFd,
}

/// The sockets that the service manager has opened for this process, as the environment says. They are given
/// once.
pub fn passed_sockets() -> io::Result<Vec<PassedSocket>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // They may have been meant for the process that started this one.
    if variable("LISTEN_PID") != std::process::id().to_string() || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS");
    let count = count.parse::<RawFd>().ok().filter(|count| (0..=SOCKETS_MAX).contains(count));
    let count = count
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "LISTEN_FDS is no count of sockets"))?;
    let names = variable("LISTEN_FDNAMES");
    let names = names.split(':').chain(std::iter::repeat("unknown"));
    let passed = (FIRST..FIRST + count).zip(names).map(|(descriptor, name)| {
        // SAFETY: nobody closes what this number means, if it means anything, while the call runs: it is
        // owned below for the first time. A number that is not open is an error.
        rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(descriptor) }, FdFlags::CLOEXEC)?;
        // SAFETY: it is open, by the call above; whoever started the process says that it is ours, and this
        // function gives it once.
        Ok(PassedSocket { name: name.to_owned(), socket: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    });
    passed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_there_is_no_room_for_is_told_later() {
        let (ours, manager) = UnixDatagram::pair().expect("two sockets");
        for socket in [&ours, &manager] {
            socket.set_nonblocking(true).expect("a flag");
        }
        let told = || {
            let mut octets = [0; 256];
            let all =
                std::iter::from_fn(|| manager.recv(&mut octets).ok().map(|count| octets[..count].to_vec()));
            all.map(|told| String::from_utf8(told).expect("UTF-8")).collect::<Vec<_>>()
        };
        let ours = ServiceManager { socket: Some(ours), ..ServiceManager::default() };
        while ours.send("WATCHDOG=1\n") {}
        ours.reloading();
        ours.ready("accepting mail");
        ours.alive();
        assert!(told().iter().all(|told| told == "WATCHDOG=1\n"));
        // The last state once, and before anything else.
        ours.alive();
        ours.tell_again();
        assert_eq!(told(), ["READY=1\nSTATUS=accepting mail\n", "WATCHDOG=1\n"]);
    }
}
