//! A listening socket of one shard, in the group of those that share its address (SO_REUSEPORT).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::front_line::FrontLine;
use super::order::Listening;
use crate::limits::SEND_BUFFER_BYTES;
use crate::ring::{Ring, Socket, Token};
use crate::smtp::settings::Settings;
use crate::tls::ServerConfig;

/// After an accept failed, as a rule for want of descriptors or memory, nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// A listener that is removed goes on for so long: a handshake that is under way may have a long round trip,
/// and whoever the kernel has let in is served.
pub const DRAIN_WAIT: Duration = Duration::from_secs(3);

/// A listening socket as the shard sees it.
pub struct Listener {
    descriptor: OwnedFd,
    /// What its connections begin with; this shard's own, so that shards share no count.
    told: Listening,
    armed: bool,
    /// Nothing is accepted any more.
    ended: bool,
    /// Not before then is it armed again.
    paused_until: Option<Instant>,
    /// It is removed: it ends then.
    drained_at: Option<Instant>,
    /// The service manager's, who keeps it.
    is_lent: bool,
}

impl Listener {
    /// A listener whose connections begin with this.
    pub fn new(descriptor: OwnedFd, told: Listening) -> Self {
        Self {
            descriptor,
            told,
            armed: false,
            ended: false,
            paused_until: None,
            drained_at: None,
            is_lent: false,
        }
    }

    /// Whether the service manager opened its socket, and keeps it.
    #[must_use]
    pub fn lent(self, is_lent: bool) -> Self {
        Self { is_lent, ..self }
    }

    /// Names it.
    pub fn number(&self) -> u64 {
        self.told.number
    }

    /// What sessions from here are told.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.told.settings
    }

    /// What clients are checked by that connect here.
    pub fn front(&self) -> Arc<FrontLine> {
        Arc::clone(&self.told.front)
    }

    /// What TLS begins with here.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.told.tls.clone()
    }

    /// Connections that begin from now on begin with this.
    pub fn tell(&mut self, told: Listening) {
        if told.receive_buffer_bytes != self.told.receive_buffer_bytes {
            // The kernel takes any size, as far as it allows any.
            let _ = set_receive_buffer(&self.descriptor, told.receive_buffer_bytes);
        }
        self.told = told;
    }

    /// It is removed: no new connection begins, and those that the kernel has let in are served. A socket of
    /// the service manager's is left as it is, as at the stop.
    pub fn drain(&mut self, now: Instant) {
        if self.drained_at.is_some() {
            return;
        }
        if self.is_lent {
            self.drained_at = Some(now);
        } else {
            self.refuse_new();
            self.drained_at = Some(now + DRAIN_WAIT);
        }
    }

    /// Whether it was removed and nothing of it is left but the socket.
    pub fn is_gone(&self) -> bool {
        self.drained_at.is_some() && self.ended && !self.armed
    }

    /// When it has something to do, if nothing happens.
    pub fn wakes_at(&self) -> Option<Instant> {
        let drained_at = self.drained_at.filter(|_| !self.is_gone());
        // Nothing ends while it pauses, so another time before that would only be in the past.
        self.paused_until.or(drained_at)
    }

    /// Arms the accept when it can run.
    pub fn settle<R: Ring>(&mut self, ring: &mut R, now: Instant) {
        if !self.armed && !self.ended && self.paused_until.is_none_or(|until| until <= now) {
            self.paused_until = None;
            ring.accept(Socket(self.descriptor.as_raw_fd()), self.token());
            self.armed = true;
        }
        // While it pauses somebody may wait in its queue.
        if self.paused_until.is_none() && self.drained_at.is_some_and(|at| at <= now) {
            self.ended = true;
            if self.armed {
                // It may miss an accept that the kernel is arming again, so it is repeated.
                ring.cancel_accept(self.token());
                self.drained_at = Some(now + DRAIN_WAIT);
            }
        }
    }

    /// An accept ended or failed.
    pub fn handle_accept(&mut self, failed: Option<Errno>, more: bool, now: Instant) {
        self.armed = more;
        // A client that went away while it waited is no failure of ours; anything else would fail again at
        // once.
        let is_failure = |error| !matches!(error, Errno::CONNABORTED | Errno::CANCELED | Errno::INTR);
        if !self.ended && failed.is_some_and(is_failure) {
            self.paused_until = Some(now + ACCEPT_PAUSE);
        }
    }

    /// Lets no new connection begin, while those in the accept queue are still taken: each gets its 421, none
    /// a reset.
    pub fn refuse_new(&self) {
        // A filter on a listening socket sees the TCP header of what arrives. It drops a SYN without ACK; its
        // sender tries again later and finds the socket closed. If the kernel does not take the filter, the
        // queue of the last instant gets a reset, as with any other server.
        let _ = drop_new_connections(&self.descriptor);
    }

    /// The server stops. Of its own sockets those in the accept queue are taken until [`Listener::end`]. A
    /// socket of the service manager's is left as it is: whoever comes now waits for the next process.
    pub fn stop<R: Ring>(&mut self, ring: &mut R) {
        if self.is_lent { self.end(ring) } else { self.refuse_new() }
    }

    /// Ends accepting for good. The accept keeps the socket open until its last event.
    pub fn end<R: Ring>(&mut self, ring: &mut R) {
        if self.armed && !self.ended {
            ring.cancel_accept(self.token());
        }
        self.ended = true;
        self.paused_until = None;
    }

    /// Whether an accept is under way.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    fn token(&self) -> Token {
        Token::new(self.told.number)
    }
}

/// Refuses an address on which somebody else listens already: SO_REUSEPORT would let two receivers share it
/// unseen.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    let socket = tcp_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

/// A listening socket that shares its address with those of the other shards. What it accepts inherits
/// TCP_NODELAY and the sizes of the buffers: that of the receive buffer in octets, 0 for the kernel's own
/// choice.
pub fn listen(address: SocketAddr, backlog: i32, receive_buffer: usize) -> io::Result<OwnedFd> {
    let socket = bind(address, receive_buffer)?;
    begin_to_listen(&socket, backlog)?;
    Ok(socket)
}

/// Lets clients connect to a socket that [`bind`] made.
pub fn begin_to_listen(socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    Ok(rustix::net::listen(socket, backlog)?)
}

/// What [`listen`] makes, but nobody can connect yet.
pub fn bind(address: SocketAddr, receive_buffer: usize) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // The kernel's own tuning gives a client that has read fast some MiB, which it then need not read.
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
    if receive_buffer > 0 {
        // Before `listen`, because the handshake tells the client how large the window can become (tcp(7)).
        sockopt::set_socket_recv_buffer_size(&socket, receive_buffer)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Makes a socket that somebody else opened what [`listen`] makes; it may share its address or not.
pub fn adopt(socket: &OwnedFd, receive_buffer: usize) -> io::Result<()> {
    if sockopt::socket_type(socket)? != SocketType::STREAM {
        return Err(Errno::PROTOTYPE.into());
    }
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER_BYTES)?;
    set_receive_buffer(socket, receive_buffer)?;
    // With it an accept would end where it has to wait.
    let flags = rustix::fs::fcntl_getfl(socket)?;
    Ok(rustix::fs::fcntl_setfl(socket, flags - OFlags::NONBLOCK)?)
}

/// Sets what [`listen`] was told on a socket that listens: connections that begin from now on have it. The
/// kernel's own choice is what it chooses for a new socket, from which it goes on by itself.
#[allow(unsafe_code)]
fn set_receive_buffer(socket: &OwnedFd, bytes: usize) -> io::Result<()> {
    /// linux/socket.h: which sizes were set and are not tuned; none of them is 0.
    const SO_BUF_LOCK: libc::c_int = 72;
    const SEND_BUFFER: libc::c_int = 1;
    if bytes > 0 {
        return Ok(sockopt::set_socket_recv_buffer_size(socket, bytes)?);
    }
    let new = tcp_socket(bound_address(socket)?)?;
    // The kernel doubles what it is told.
    sockopt::set_socket_recv_buffer_size(socket, sockopt::socket_recv_buffer_size(&new)? / 2)?;
    let locked = SEND_BUFFER;
    // SAFETY: the value is an int that lives as long as the call, and its length is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BUF_LOCK,
            (&raw const locked).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address a listening socket is bound to.
pub fn bound_address(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| Errno::AFNOSUPPORT.into())
}

fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        // `[::]` is every address of the machine, IPv4 included, whatever `net.ipv6.bindv6only` says. Where
        // another listener has an IPv4 address of the same port, the kernel gives IPv4 connections to that
        // one, as it is the closer match.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}

#[allow(unsafe_code)]
fn drop_new_connections(socket: &OwnedFd) -> io::Result<()> {
    /// Offset of the flags in a TCP header, and the flags looked at (RFC 9293 §3.1).
    const FLAGS_AT: u32 = 13;
    const SYN_AND_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let operation = |code: u32, jump_true: u8, jump_false: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let mut program = [
        operation(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS_AT),
        operation(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN_AND_ACK),
        operation(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        operation(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        operation(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog { len: 5, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to `program` for the length of the call, and its length is that of the array.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use crate::buffer::Arena;
    use crate::config::Config;
    use crate::ring::simulated::{Faults, SimulatedRing, World};
    use crate::smtp::policy::Recipients;

    const WANTED: usize = 128 * 1024;

    /// A listener that pauses, because an accept failed at this time.
    fn paused(is_lent: bool, now: Instant) -> Listener {
        let config = Config::embedded_default();
        let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
        let settings = config.session_settings(&config.listeners[0], policy);
        let told = Listening {
            number: 0,
            settings: Arc::new(settings),
            tls: None,
            front: Arc::default(),
            receive_buffer_bytes: 0,
        };
        let socket = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 0).expect("it listens");
        let mut listener = Listener::new(socket, told).lent(is_lent);
        listener.handle_accept(Some(Errno::MFILE), false, now);
        listener
    }

    /// How often it is served until it wants nothing more; more than a few times is a shard that spins.
    fn times_served(listener: &mut Listener, ring: &mut SimulatedRing, mut now: Instant) -> u32 {
        for times in 0..20 {
            let Some(wakes_at) = listener.wakes_at() else { return times };
            now = now.max(wakes_at);
            listener.settle(ring, now);
            // Whatever is armed and cancelled ends at once.
            if listener.ended && listener.is_armed() {
                listener.handle_accept(Some(Errno::CANCELED), false, now);
            }
        }
        20
    }

    #[test]
    fn a_listener_that_pauses_when_it_ends_asks_for_no_more_turns() {
        let mut ring = World::new(1, Faults::NONE).ring(Arc::new(Arena::new(1, 4096).expect("memory")));
        let now = Instant::now();
        let mut stopped = paused(true, now);
        stopped.stop(&mut ring);
        assert_eq!(times_served(&mut stopped, &mut ring, now), 0);
        let mut failed_late = paused(true, now);
        failed_late.stop(&mut ring);
        failed_late.handle_accept(Some(Errno::MFILE), false, now);
        assert_eq!(failed_late.wakes_at(), None);
        for is_lent in [false, true] {
            let mut removed = paused(is_lent, now);
            removed.drain(now);
            assert_eq!(removed.wakes_at(), Some(now + ACCEPT_PAUSE), "somebody may wait in its queue");
            assert!(times_served(&mut removed, &mut ring, now) < 5 && removed.is_gone());
        }
    }

    /// A connection to a listening socket: the client's end and ours.
    fn connection(receive_buffer: usize) -> (TcpStream, TcpStream) {
        let socket = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16, receive_buffer).expect("it listens");
        let client = TcpStream::connect(bound_address(&socket).expect("bound")).expect("connected");
        let (accepted, _) = TcpListener::from(socket).accept().expect("accepted");
        (client, accepted)
    }

    /// Octets that the kernel keeps for us when the client sends for as long as it can, after we have read
    /// for a while.
    fn unread(receive_buffer: usize) -> u64 {
        const READ_FIRST: usize = 64 << 20;
        let (mut client, mut accepted) = connection(receive_buffer);
        let reader = std::thread::spawn(move || {
            let (mut octets, mut count) = (vec![0; 1 << 20], 0);
            while count < READ_FIRST {
                count += accepted.read(&mut octets).expect("octets");
            }
            accepted
        });
        let octets = vec![b'x'; 1 << 20];
        for _ in 0..READ_FIRST >> 20 {
            client.write_all(&octets).expect("sent");
        }
        let accepted = reader.join().expect("no panic");
        client.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out");
        while client.write(&octets).is_ok() {}
        rustix::io::ioctl_fionread(&accepted).expect("a count")
    }

    #[test]
    fn accepted_sockets_have_the_receive_buffer_of_their_listener() {
        let (_client, accepted) = connection(WANTED);
        // The kernel doubles it, for its own use (socket(7)).
        assert_eq!(sockopt::socket_recv_buffer_size(&accepted).expect("a size"), 2 * WANTED);
    }

    #[test]
    fn a_client_that_read_fast_and_stops_keeps_no_more_unsent_than_the_send_buffer() {
        const READ_FIRST: usize = 64 << 20;
        let (mut client, mut accepted) = connection(0);
        let reader = std::thread::spawn(move || {
            let (mut octets, mut count) = (vec![0; 1 << 20], 0);
            while count < READ_FIRST {
                count += client.read(&mut octets).expect("octets");
            }
            client
        });
        let octets = vec![b'x'; 1 << 20];
        for _ in 0..READ_FIRST >> 20 {
            accepted.write_all(&octets).expect("sent");
        }
        let _client = reader.join().expect("no panic");
        let size = sockopt::socket_send_buffer_size(&accepted).expect("a size");
        // The kernel doubles it, as it does the other.
        assert_eq!(size, 2 * SEND_BUFFER_BYTES, "it has grown");
    }

    #[test]
    fn a_client_that_is_not_read_fills_no_more_than_the_receive_buffer() {
        let (bounded, unbounded) = (unread(WANTED), unread(0));
        println!("unread octets of a client: {bounded} with {WANTED}, {unbounded} with the kernel's tuning");
        assert!(bounded <= 2 * WANTED as u64, "{bounded}");
    }
}
