//! [`Ring`] on the kernel's io_uring. One `io_uring_enter` per turn.
//!
//! It owns everything the kernel may read or write while operations are under way: octets being sent, the
//! ring of published buffers, and a share of the arena they lie in.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::{Duration, Instant, SystemTime};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;

use self::restrictions::restrict_and_enable;
use super::buffer_ring::BufferRing;
use super::locked_memory::COMPLETIONS_PER_ENTRY;
use super::setup_error::{BATCH_WAIT, SetupError};
use super::{Event, Outgoing, Received, Ring, SendId, Socket, Token};
use crate::buffer::{Arena, BufferId};

/// Which operation a completion belongs to: the upper 8 bits of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Accept = 1,
    Receive = 2,
    /// The lower bits are the index of a [`SendSlot`], not a token.
    Send = 3,
    /// As `Send`.
    Connect = 4,
    Watch = 5,
    /// Operations whose success posts nothing and whose failure changes nothing.
    Silent = 6,
    Peek = 7,
}

impl Kind {
    const SHIFT: u32 = 56;

    fn with(self, value: u64) -> u64 {
        (self as u64) << Self::SHIFT | value
    }

    fn split(user_data: u64) -> (Option<Self>, u64) {
        let kind = match user_data >> Self::SHIFT {
            1 => Some(Self::Accept),
            2 => Some(Self::Receive),
            3 => Some(Self::Send),
            4 => Some(Self::Connect),
            5 => Some(Self::Watch),
            6 => Some(Self::Silent),
            7 => Some(Self::Peek),
            _ => None,
        };
        (kind, user_data & ((1 << Self::SHIFT) - 1))
    }
}

/// The buffer group of the only buffer ring.
const BUFFER_GROUP: u16 = 0;

/// A turn with a least time ends early with so many events: more would save little, and the first of them
/// waits for them all.
const GATHERED_MAX: usize = 64;

/// What [`Ring::wake`] writes.
static ONE: u64 = 1;

/// Where the octet goes that [`Ring::peek`] looks at, of every ring. Nobody reads it.
static PEEKED: AtomicU8 = AtomicU8::new(0);

/// Io_uring of one thread. Made on the thread that uses it (`SINGLE_ISSUER`).
pub struct KernelRing {
    ring: IoUring,
    buffers: BufferRing,
    sends: Vec<SendSlot>,
    /// Free slots of `sends`.
    free_sends: Vec<u32>,
    /// Completions that were taken before their turn, in their order.
    reaped: VecDeque<cqueue::Entry>,
    /// Turns after which completions had no room in the ring.
    overflows: u64,
    /// How long a turn that waits does so at least.
    batch_wait: Duration,
}

/// Octets under way. The kernel reads them until the completion.
struct SendSlot {
    token: Token,
    outgoing: Outgoing,
    /// For a send of two parts and for a connect; allocated at the first use and kept.
    message: Option<Box<MessageHeader>>,
    busy: bool,
}

/// What a `sendmsg` or a connect points the kernel to; boxed, so that it stays where it is.
struct MessageHeader {
    header: libc::msghdr,
    vectors: [libc::iovec; 2],
    address: rustix::net::SocketAddrAny,
}

impl KernelRing {
    /// Makes a ring with `entries` submission entries that receives into buffers of this arena. The kernel
    /// refuses every operation on it that a receiver does not need, [`Ring::connect`] too.
    pub fn new(entries: u32, arena: Arc<Arena>) -> Result<Self, SetupError> {
        Self::restricted(entries, arena, false)
    }

    /// The same for a client: it may connect.
    pub fn for_client(entries: u32, arena: Arc<Arena>) -> Result<Self, SetupError> {
        Self::restricted(entries, arena, true)
    }

    fn restricted(entries: u32, arena: Arc<Arena>, connects: bool) -> Result<Self, SetupError> {
        let ring = build(entries)?;
        let buffers = BufferRing::new(&ring, BUFFER_GROUP, arena)?;
        restrict_and_enable(&ring, connects)?;
        Ok(Self {
            ring,
            buffers,
            sends: Vec::new(),
            free_sends: Vec::new(),
            reaped: VecDeque::new(),
            overflows: 0,
            batch_wait: Duration::ZERO,
        })
    }

    /// From now on a turn that may wait for this long does so, unless 64 events came: a sleep and a wake-up
    /// cost more than most events. An event after that time ends the turn at once. An error of kind
    /// `Unsupported` before Linux 6.12.
    pub fn with_batch_wait(mut self, time: Duration) -> Result<Self, SetupError> {
        check_batch_wait(&self.ring, time)?;
        self.batch_wait = time;
        Ok(self)
    }

    /// Submits what was queued and waits.
    fn enter(&self, wait: Option<Duration>) -> io::Result<usize> {
        /// A wait without an end of its own would end with the least time.
        const LONG: Duration = Duration::from_hours(1);
        let submitter = self.ring.submitter();
        // Completions are run by an enter that waits for one, even for no time (DEFER_TASKRUN).
        let least = wait.map_or(self.batch_wait, |wait| self.batch_wait.min(wait));
        if !least.is_zero() {
            let timeout = Timespec::from(wait.unwrap_or(LONG));
            let least = u32::try_from(least.as_micros()).unwrap_or(u32::MAX);
            let arguments = SubmitArgs::new().timespec(&timeout).min_wait_usec(least);
            return submitter.submit_with_args(GATHERED_MAX, &arguments);
        }
        match wait.map(Timespec::from) {
            Some(timeout) => submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
            None => submitter.submit_and_wait(1),
        }
    }

    /// Queues an entry; when the queue is full, submits what is in it first.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every entry built in this file points only to memory that lives until its completion: the
        // arena and the buffer ring (owned by `buffers`), send slots (kept until `Kind::Send` completes),
        // statics.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // The kernel may be short of memory for a moment (EAGAIN), or want completions reaped first
            // (EBUSY): then entries stay queued, and this is tried again when there is room for completions.
            if let Err(error) = self.ring.submit() {
                let passing =
                    [libc::EAGAIN, libc::EBUSY, libc::EINTR].contains(&error.raw_os_error().unwrap_or(0));
                assert!(passing, "io_uring_enter cannot submit: {error}");
                self.reap();
            }
        }
    }

    /// Takes completions out of the kernel's ring; the next turn tells of them.
    fn reap(&mut self) {
        self.reaped.extend(self.ring.completion());
    }

    fn silent(&mut self, entry: squeue::Entry) {
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Kind::Silent.with(0)));
    }

    fn cancel(&mut self, user_data: u64) {
        self.silent(opcode::AsyncCancel::new(user_data).build());
    }

    fn take_slot(&mut self, token: Token) -> u32 {
        if let Some(index) = self.free_sends.pop() {
            let slot = &mut self.sends[index as usize];
            slot.token = token;
            slot.busy = true;
            return index;
        }
        let index = u32::try_from(self.sends.len()).expect("fewer sends than file descriptors");
        self.sends.push(SendSlot { token, outgoing: Outgoing::default(), message: None, busy: true });
        index
    }

    fn free_slot(&mut self, index: u64) -> Option<(Token, Outgoing)> {
        let slot = self.sends.get_mut(usize::try_from(index).ok()?)?;
        assert!(slot.busy, "a send completes once");
        slot.busy = false;
        self.free_sends.push(u32::try_from(index).ok()?);
        Some((slot.token, std::mem::take(&mut slot.outgoing)))
    }

    /// Turns a completion into an event, if it is one to tell.
    fn event(&mut self, entry: &cqueue::Entry) -> Option<Event> {
        let (kind, value) = Kind::split(entry.user_data());
        let more = cqueue::more(entry.flags());
        let result = entry.result();
        match kind? {
            Kind::Accept => {
                let result = check(result).map(|descriptor| Socket(descriptor.cast_signed()));
                Some(Event::Accepted { token: Token::new(value), result, more })
            }
            Kind::Receive => {
                let buffer = cqueue::buffer_select(entry.flags()).map(BufferId);
                let received = self.received(buffer, result);
                Some(Event::Received { token: Token::new(value), received, more })
            }
            Kind::Send => {
                let (token, outgoing) = self.free_slot(value)?;
                Some(Event::Sent {
                    token,
                    head: outgoing.head,
                    result: check(result).map(|count| count as usize),
                })
            }
            Kind::Connect => {
                let (token, _) = self.free_slot(value)?;
                Some(Event::Connected { token, result: check(result).map(drop) })
            }
            Kind::Watch => {
                assert!(more, "a multishot poll of an eventfd does not end");
                Some(Event::Woken)
            }
            Kind::Peek => {
                let waiting = check(result).is_ok_and(|count| count > 0);
                Some(Event::Peeked { token: Token::new(value), waiting })
            }
            Kind::Silent => None,
        }
    }

    fn received(&mut self, buffer: Option<BufferId>, result: i32) -> Received {
        if buffer.is_some() {
            self.buffers.take_back();
        }
        match (buffer, check(result)) {
            (Some(buffer), Ok(count)) if count > 0 => Received::Octets { buffer, count: count as usize },
            (unused, outcome) => {
                // A buffer that was chosen and not filled is published again at once.
                if let Some(unused) = unused {
                    self.buffers.provide(unused);
                }
                match outcome {
                    Ok(_) => Received::End,
                    Err(Errno::NOBUFS) => Received::NoBuffers,
                    Err(Errno::CANCELED) => Received::Cancelled,
                    Err(error) => Received::Failed(error),
                }
            }
        }
    }
}

impl Ring for KernelRing {
    fn accept(&mut self, listener: Socket, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener.0)).flags(libc::SOCK_CLOEXEC).build();
        self.push(&entry.user_data(Kind::Accept.with(token.value())));
    }

    fn cancel_accept(&mut self, token: Token) {
        self.cancel(Kind::Accept.with(token.value()));
    }

    fn submit(&mut self) {
        if !self.ring.submission().is_empty() {
            // What cannot leave stays queued, and the turn says why.
            let _ = self.ring.submit();
        }
    }

    fn connect(&mut self, socket: Socket, address: SocketAddr, token: Token) {
        let index = self.take_slot(token);
        let header = self.sends[index as usize].message.get_or_insert_with(MessageHeader::boxed);
        header.address = address.as_any();
        let entry =
            opcode::Connect::new(Fd(socket.0), header.address.as_ptr().cast(), header.address.addr_len());
        self.push(&entry.build().user_data(Kind::Connect.with(u64::from(index))));
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket.0), BUFFER_GROUP).build();
        self.push(&entry.user_data(Kind::Receive.with(token.value())));
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        let entry = opcode::Recv::new(Fd(socket.0), std::ptr::null_mut(), 0).buf_group(BUFFER_GROUP).build();
        let entry = entry.flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(Kind::Receive.with(token.value())));
    }

    fn cancel_receive(&mut self, token: Token) {
        self.cancel(Kind::Receive.with(token.value()));
    }

    fn peek(&mut self, socket: Socket, token: Token) {
        // Without MSG_DONTWAIT it would wait for octets; with it, it ends while it is submitted.
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let entry = opcode::Recv::new(Fd(socket.0), PEEKED.as_ptr(), 1).flags(flags).build();
        self.push(&entry.user_data(Kind::Peek.with(token.value())));
    }

    fn send(&mut self, socket: Socket, outgoing: Outgoing, token: Token) -> SendId {
        /// All or an error: the kernel goes on after a short send by itself.
        const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let index = self.take_slot(token);
        let slot = &mut self.sends[index as usize];
        slot.outgoing = outgoing;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a send is smaller than 4 GiB");
        let entry = if slot.outgoing.head.is_empty() || slot.outgoing.body.is_empty() {
            let bytes = if slot.outgoing.head.is_empty() { slot.outgoing.body } else { &slot.outgoing.head };
            opcode::Send::new(Fd(socket.0), bytes.as_ptr(), length(bytes)).flags(FLAGS).build()
        } else {
            let header = slot.message.get_or_insert_with(MessageHeader::boxed);
            header.vectors = [&slot.outgoing.head, slot.outgoing.body]
                .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
            header.header.msg_iov = header.vectors.as_mut_ptr();
            header.header.msg_iovlen = 2;
            opcode::SendMsg::new(Fd(socket.0), &raw const header.header).flags(FLAGS.cast_unsigned()).build()
        };
        self.push(&entry.user_data(Kind::Send.with(u64::from(index))));
        SendId(index)
    }

    fn cancel_send(&mut self, token: Token, SendId(index): SendId) {
        // It may have ended since, and its slot be another's.
        if self.sends.get(index as usize).is_some_and(|slot| slot.busy && slot.token == token) {
            self.cancel(Kind::Send.with(u64::from(index)));
        }
    }

    fn shut_down(&mut self, socket: Socket) {
        // A system call, because IORING_OP_SHUTDOWN always goes to a kernel thread. It fails only when the
        // connection is gone already.
        // SAFETY: shutdown touches no memory; a wrong descriptor would be an error, not unsoundness.
        unsafe { libc::shutdown(socket.0, libc::SHUT_WR) };
    }

    fn close(&mut self, socket: Socket) {
        self.silent(opcode::Close::new(Fd(socket.0)).build());
    }

    fn watch(&mut self, eventfd: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.push(&entry.user_data(Kind::Watch.with(0)));
    }

    fn wake(&mut self, eventfd: RawFd) {
        /// An eventfd takes 8 octets.
        const COUNT: u32 = 8;
        self.silent(opcode::Write::new(Fd(eventfd), (&raw const ONE).cast(), COUNT).build());
    }

    fn provide(&mut self, buffer: BufferId) {
        self.buffers.provide(buffer);
    }

    fn provided(&self) -> usize {
        self.buffers.published()
    }

    fn turn(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.buffers.publish();
        // What was taken before is told now.
        let wait = if self.reaped.is_empty() { wait } else { Some(Duration::ZERO) };
        match self.enter(wait) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // The time is up; a signal came; completions must be reaped first; memory is short for a
                // moment.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
        self.overflows += u64::from(self.ring.submission().cq_overflow());
        while let Some(entry) = self.reaped.pop_front() {
            events.extend(self.event(&entry));
        }
        while let Some(entry) = { self.ring.completion().next() } {
            events.extend(self.event(&entry));
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }

    fn peer_address(&self, socket: Socket) -> io::Result<SocketAddr> {
        // SAFETY: the socket is open: it was accepted on this thread and only `close` on this thread ends it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(socket.0) };
        let address = rustix::net::getpeername(descriptor)?.ok_or(Errno::NOTCONN)?;
        SocketAddr::try_from(address).map_err(|_| Errno::AFNOSUPPORT.into())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        // The kernel may go on using buffers after the ring's descriptor is closed, so everything is
        // cancelled first and waited for; memory that could still be in use is leaked rather than freed.
        let cancelled =
            self.ring.submitter().register_sync_cancel(Some(Timespec::new().sec(2)), CancelBuilder::any());
        let idle =
            cancelled.is_ok() || cancelled.is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT));
        if !idle {
            self.buffers.leak();
            std::mem::forget(std::mem::take(&mut self.sends));
        }
    }
}

impl MessageHeader {
    fn boxed() -> Box<Self> {
        const NONE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: msghdr is plain data; all zero means no name, no vectors, no control data.
        let header = unsafe { std::mem::zeroed() };
        let address = SocketAddr::from(([0, 0, 0, 0], 0)).as_any();
        Box::new(Self { header, vectors: [NONE; 2], address })
    }
}

/// Makes the ring itself, with what newer kernels add where they have it. It does nothing until it is
/// enabled.
pub(super) fn build(entries: u32) -> Result<IoUring, SetupError> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_r_disabled();
    builder.setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY));
    let newest = builder.clone().setup_no_sqarray().build(entries);
    newest.or_else(|_| builder.build(entries)).map_err(|error| SetupError { step: "io_uring_setup", error })
}

/// Whether turns may have this least time.
fn check_batch_wait(ring: &IoUring, time: Duration) -> Result<(), SetupError> {
    if time.is_zero() || ring.params().is_feature_min_timeout() {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::Unsupported, "this kernel knows no least time of a wait");
    Err(SetupError { step: BATCH_WAIT, error })
}

/// A result of a completion: a count or descriptor, or an errno.
fn check(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

mod restrictions;
#[cfg(test)]
mod tests;
