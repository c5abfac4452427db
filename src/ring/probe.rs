//! Whether this machine lets us use io_uring as the shards need it: tried out, never guessed from the
//! version.

use std::fmt;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{Probe, opcode};

use super::kernel::{KernelRing, build};
use super::setup_error::{BATCH_WAIT, SetupError};
use super::{Event, Received, Ring, Socket, Token};
use crate::buffer::Pool;
use crate::config::Shard;

/// Why the shards cannot run here, and what to do about it.
#[derive(Debug)]
pub struct Unusable {
    what: String,
    cure: &'static str,
}

impl Unusable {
    /// What failed, and how.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        self.cure
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring cannot be used here: {}; {}", self.what, self.cure)
    }
}

impl std::error::Error for Unusable {}

const OLD_KERNEL: &str = "ringmx needs the io_uring features of Linux 6.1: boot a newer kernel";

/// Tries everything out that a shard uses. Takes a few milliseconds and leaves nothing behind.
pub fn probe() -> Result<(), Unusable> {
    check_operations()?;
    check_multishot_receive()
}

/// Makes the rings of these shards as the shards will, with room for their buffers, all at a time, and drops
/// them: whether they can be had by this user, within its limits.
pub fn probe_rings(shards: &[Shard]) -> Result<(), Unusable> {
    let make = |shard: &Shard| {
        let pool = Pool::new(shard.buffers, shard.buffer_bytes, 0)
            .map_err(|error| SetupError { step: "mapping memory", error })?;
        KernelRing::new(shard.ring_entries, Arc::clone(pool.arena()))?.with_batch_wait(shard.batch_wait)
    };
    let mut rings = Vec::new();
    for shard in shards {
        match make(shard) {
            Ok(ring) => rings.push(ring),
            Err(error) => {
                let Unusable { what, cure } = explain(&error);
                let what = format!("{} of {} rings can be had: {what}", rings.len(), shards.len());
                return Err(Unusable { what, cure });
            }
        }
    }
    Ok(())
}

/// Explains why a ring could not be made.
pub fn explain(failed: &SetupError) -> Unusable {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let cure = match failed.error.raw_os_error() {
        Some(libc::EPERM) if disabled.trim() == "2" => {
            "the sysctl kernel.io_uring_disabled is 2 (off for everybody): run `sysctl kernel.io_uring_disabled=0`"
        }
        Some(libc::EPERM) if disabled.trim() == "1" => {
            "the sysctl kernel.io_uring_disabled is 1: run `sysctl kernel.io_uring_disabled=0`, or put this user into the \
             group of kernel.io_uring_group"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp filter or security module forbids it: allow io_uring_setup, io_uring_enter and io_uring_register \
             (container runtimes: --security-opt seccomp=PROFILE; systemd: SystemCallFilter=@aio)"
        }
        Some(libc::ENOSYS) => {
            "this kernel is built without io_uring, or a seccomp filter hides it: allow io_uring_setup"
        }
        Some(libc::EINVAL) => OLD_KERNEL,
        Some(libc::ENOMEM) => {
            "this user may lock too little memory, to which rings are charged: raise memlock (systemd: LimitMEMLOCK=infinity; \
             `ulimit -l unlimited` as root, before the start) or lower ring_entries and buffers in [shards]"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no file descriptor is left: raise nofile (`ulimit -n`, systemd: LimitNOFILE=)"
        }
        _ if failed.step == BATCH_WAIT => {
            "batch_wait in [shards] needs Linux 6.12: leave it out, or boot a newer kernel"
        }
        _ => {
            "this is unexpected: `strace -e io_uring_setup,io_uring_register ringmx` shows the call that fails"
        }
    };
    Unusable { what: failed.to_string(), cure }
}

/// Explains an error number of a step of making a ring.
#[cfg(test)]
pub(crate) fn explain_os_error(step: &'static str, errno: i32) -> Unusable {
    explain(&SetupError { step, error: std::io::Error::from_raw_os_error(errno) })
}

fn check_operations() -> Result<(), Unusable> {
    let ring = build(8).map_err(|error| explain(&error))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explain(&SetupError { step: "io_uring_register", error }))?;
    let needed = [
        ("ACCEPT", opcode::AcceptMulti::CODE),
        ("RECV", opcode::RecvMulti::CODE),
        ("SEND", opcode::Send::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
        ("CLOSE", opcode::Close::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("WRITE", opcode::Write::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Unusable { what: format!("the operation {name} is missing"), cure: OLD_KERNEL })
        }
    }
}

/// A multishot receive into provided buffers cannot be asked for, only tried.
fn check_multishot_receive() -> Result<(), Unusable> {
    let machine = |step, error| explain(&SetupError { step, error });
    let mut pool = Pool::new(2, 4096, 0).map_err(|error| machine("mapping memory", error))?;
    let mut ring = KernelRing::new(8, Arc::clone(pool.arena())).map_err(|error| explain(&error))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| machine("socketpair", error))?;
    if let Some(buffer) = pool.take() {
        ring.provide(buffer);
    }
    let socket = Socket::adopt(OwnedFd::from(theirs));
    ring.receive(socket, Token::new(1));
    ours.write_all(b"?").map_err(|error| machine("write", error))?;
    let mut events = Vec::new();
    ring.turn(Some(Duration::from_secs(5)), &mut events).map_err(|error| machine("io_uring_enter", error))?;
    ring.close(socket);
    match events.first() {
        Some(Event::Received { received: Received::Octets { count: 1, .. }, more: true, .. }) => Ok(()),
        other => {
            Err(Unusable { what: format!("multishot receive does not work ({other:?})"), cure: OLD_KERNEL })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn this_machine_has_what_it_takes() {
        probe().expect("the tests need io_uring");
        probe_rings(&Config::embedded_default().shards).expect("the tests need io_uring");
    }

    #[test]
    fn each_refusal_of_the_kernel_names_a_cure() {
        let old = SetupError { step: BATCH_WAIT, error: std::io::ErrorKind::Unsupported.into() };
        assert!(explain(&old).to_string().contains(crate::limits::KERNEL_OF_BATCH_WAIT));
        for (errno, word) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "io_uring_setup"),
            (libc::EINVAL, crate::limits::KERNEL_LEAST),
            (libc::ENOMEM, "memlock"),
        ] {
            let explained = explain_os_error("io_uring_setup", errno).to_string();
            assert!(explained.contains(word), "{explained}");
        }
    }
}
