//! The ring on a real kernel.

use super::*;
use crate::buffer::Pool;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn ring(buffers: usize) -> (KernelRing, Pool) {
    let pool = Pool::new(buffers, 4096, 1 << 20).expect("memory");
    let ring = KernelRing::new(64, Arc::clone(pool.arena())).expect("io_uring");
    (ring, pool)
}

#[test]
fn a_turn_gathers_events_for_its_least_time_and_no_longer() {
    const LEAST: Duration = Duration::from_millis(200);
    let (ring, _pool) = ring(2);
    let mut ring = match ring.with_batch_wait(LEAST) {
        Err(why) => {
            // Only this is missing before Linux 6.12.
            println!("skipped: {why}");
            assert_eq!(why.error.kind(), io::ErrorKind::Unsupported);
            return;
        }
        Ok(ring) => ring,
    };
    use rustix::event::{EventfdFlags, eventfd};
    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("eventfd");
    let ring_bell = || rustix::io::write(&bell, &1_u64.to_ne_bytes()).expect("write");
    use std::os::fd::AsFd;
    ring.watch(bell.as_fd());
    let mut turn = |wait| {
        let (start, mut events) = (Instant::now(), Vec::new());
        ring.turn(wait, &mut events).expect("turn");
        (start.elapsed(), events.len())
    };
    // What is there already is told after the least time.
    ring_bell();
    let (time, events) = turn(Some(Duration::from_mins(1)));
    assert!(time >= LEAST && events == 1, "{time:?}, {events}");
    // What comes after the least time is told at once.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(LEAST * 2);
            ring_bell();
        });
        for wait in [Some(Duration::from_mins(1)), None] {
            let (time, events) = turn(wait);
            assert!(time < Duration::from_secs(30) && events == 1, "{time:?}, {events}");
            if wait.is_some() {
                ring_bell();
            }
        }
    });
    // A shorter wait ends when it shall; on a busy machine at least once.
    let turns = [(); 5].map(|()| turn(Some(LEAST / 50)));
    assert!(turns.iter().all(|(_, events)| *events == 0), "{turns:?}");
    assert!(turns.iter().any(|(time, _)| *time < LEAST), "{turns:?}");
}

fn wait_for<T>(ring: &mut KernelRing, mut find: impl FnMut(Event) -> Option<T>) -> T {
    for _ in 0..100 {
        let mut events = Vec::new();
        ring.turn(Some(Duration::from_millis(100)), &mut events).expect("turn");
        if let Some(found) = events.into_iter().find_map(&mut find) {
            return found;
        }
    }
    panic!("nothing came");
}

fn accept(ring: &mut KernelRing, listener: &TcpListener) -> (TcpStream, Socket) {
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let socket = wait_for(ring, |event| match event {
        Event::Accepted { result, .. } => result.ok(),
        _ => None,
    });
    (client, socket)
}

#[test]
fn octets_come_in_and_go_out() {
    let (mut ring, mut pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let token = Token::new(7);
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let (mut client, socket) = accept(&mut ring, &listener);
    assert_eq!(ring.peer_address(socket).ok(), client.local_addr().ok());
    ring.provide(pool.take().expect("buffer"));
    ring.receive(socket, token);
    client.write_all(b"hello").expect("write");
    let (buffer, count) = wait_for(&mut ring, |event| match event {
        Event::Received { received: Received::Octets { buffer, count }, .. } => Some((buffer, count)),
        _ => None,
    });
    pool.received(buffer);
    assert_eq!(pool.bytes(buffer, 0..count), b"hello");
    assert_eq!(ring.provided(), 0);
    ring.send(socket, Outgoing { head: b"one ".to_vec(), body: b"two" }, token);
    let sent = wait_for(&mut ring, |event| match event {
        Event::Sent { result, .. } => result.ok(),
        _ => None,
    });
    let mut answer = [0; 7];
    client.read_exact(&mut answer).expect("read");
    assert_eq!((sent, &answer), (7, b"one two"));
}

#[test]
fn without_buffers_a_receive_ends_and_can_be_armed_again() {
    let (mut ring, mut pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let (mut client, socket) = accept(&mut ring, &listener);
    client.write_all(b"hello").expect("write");
    ring.receive(socket, Token::new(7));
    let more = wait_for(&mut ring, |event| match event {
        Event::Received { received: Received::NoBuffers, more, .. } => Some(more),
        _ => None,
    });
    assert!(!more);
    ring.provide(pool.take().expect("buffer"));
    ring.receive(socket, Token::new(7));
    let count = wait_for(&mut ring, |event| match event {
        Event::Received { received: Received::Octets { count, .. }, .. } => Some(count),
        _ => None,
    });
    assert_eq!(count, 5);
}

/// Completions that were taken while an entry was pushed are neither lost nor told after later ones.
#[test]
fn completions_reaped_before_their_turn_are_told_in_it() {
    let (mut ring, _pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let (_client, socket) = accept(&mut ring, &listener);
    // Far more than the ring has room for: the kernel keeps what does not fit, and may want some reaped.
    const COUNT: u64 = 2000;
    for number in 0..COUNT {
        ring.peek(socket, Token::new(number));
        if number % 100 == 99 {
            ring.ring.submitter().submit_and_wait(1).expect("submitted");
            ring.reap();
        }
    }
    let mut told = Vec::new();
    while told.len() < usize::try_from(COUNT).expect("a small number") {
        let mut events = Vec::new();
        ring.turn(Some(Duration::from_secs(10)), &mut events).expect("turn");
        assert!(!events.is_empty(), "{} of them were told", told.len());
        told.extend(events.into_iter().map(|event| match event {
            Event::Peeked { token, waiting: false } => token.value(),
            other => panic!("{other:?}"),
        }));
    }
    assert!(told.into_iter().eq(0..COUNT));
}

#[test]
fn a_cancelled_send_ends_and_no_other_does() {
    let (mut ring, _pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let clients: Vec<_> = (0..3).map(|_| accept(&mut ring, &listener)).collect();
    // More than the kernel takes for a client that does not read.
    static OCTETS: [u8; 64 << 20] = [b'x'; 64 << 20];
    let sends: Vec<SendId> = (0..)
        .zip(&clients)
        .map(|(number, (_, socket))| {
            ring.send(*socket, Outgoing { head: Vec::new(), body: &OCTETS }, Token::new(number))
        })
        .collect();
    ring.cancel_send(Token::new(1), sends[1]);
    // One that has ended, and whose slot another one took since.
    ring.cancel_send(Token::new(7), sends[2]);
    ring.cancel_send(Token::new(0), SendId(99));
    let (token, result) = wait_for(&mut ring, |event| match event {
        Event::Sent { token, result, .. } => Some((token, result)),
        _ => None,
    });
    assert!(token == Token::new(1) && result != Ok(OCTETS.len()), "{token:?}, {result:?}");
    let mut events = Vec::new();
    ring.turn(Some(Duration::ZERO), &mut events).expect("turn");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_cancelled_receive_says_so() {
    let (mut ring, mut pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let (_client, socket) = accept(&mut ring, &listener);
    ring.provide(pool.take().expect("buffer"));
    ring.receive(socket, Token::new(7));
    ring.turn(Some(Duration::ZERO), &mut Vec::new()).expect("turn");
    ring.cancel_receive(Token::new(7));
    let more = wait_for(&mut ring, |event| match event {
        Event::Received { received: Received::Cancelled, more, .. } => Some(more),
        _ => None,
    });
    assert!(!more);
}

#[test]
fn a_turn_that_does_not_wait_still_takes_completions() {
    let (mut ring, mut pool) = ring(4);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    ring.accept(Socket(listener.as_raw_fd()), Token::new(1));
    let (mut client, socket) = accept(&mut ring, &listener);
    ring.provide(pool.take().expect("buffer"));
    ring.receive(socket, Token::new(7));
    client.write_all(b"hello").expect("write");
    let mut events = Vec::new();
    for _ in 0..1000 {
        ring.turn(Some(Duration::ZERO), &mut events).expect("turn");
        if !events.is_empty() {
            return;
        }
    }
    panic!("nothing came");
}

#[test]
fn another_thread_wakes_a_turn() {
    let (mut ring, _pool) = ring(4);
    use rustix::event::{EventfdFlags, eventfd};
    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("eventfd");
    use std::os::fd::AsFd;
    ring.watch(bell.as_fd());
    for _ in 0..3 {
        rustix::io::write(&bell, &1_u64.to_ne_bytes()).expect("write");
        wait_for(&mut ring, |event| matches!(event, Event::Woken).then_some(()));
    }
    ring.wake(bell.as_raw_fd());
    wait_for(&mut ring, |event| matches!(event, Event::Woken).then_some(()));
}

/// What is pushed onto the ring past the shard's own operations ends with this.
fn refused(ring: &mut KernelRing, entry: squeue::Entry) -> Option<i32> {
    ring.push(&entry.user_data(7));
    ring.ring.submit_and_wait(1).expect("entered");
    ring.ring.completion().next().map(|entry| entry.result())
}

#[test]
fn the_kernel_refuses_operations_and_registers_that_no_shard_uses() {
    let (mut ring, _pool) = ring(2);
    let here = Fd(libc::AT_FDCWD);
    let path = c"/proc/self/status";
    let socket = libc::SOCK_STREAM;
    let opened = opcode::OpenAt::new(here, path.as_ptr()).build();
    assert_eq!(refused(&mut ring, opened), Some(-libc::EACCES), "a file");
    let made = opcode::Socket::new(libc::AF_INET, socket, 0).build();
    assert_eq!(refused(&mut ring, made), Some(-libc::EACCES), "a socket");
    let address = SocketAddr::from(([127, 0, 0, 1], 25)).as_any();
    let connected = opcode::Connect::new(Fd(0), address.as_ptr().cast(), address.addr_len()).build();
    assert_eq!(refused(&mut ring, connected), Some(-libc::EACCES), "a connection");
    let removed = opcode::UnlinkAt::new(here, c"/none".as_ptr()).build();
    assert_eq!(refused(&mut ring, removed), Some(-libc::EACCES), "removing a file");
    // An operation of ours with a flag that is not.
    let later = opcode::Close::new(Fd(-1)).build().flags(squeue::Flags::ASYNC);
    assert_eq!(refused(&mut ring, later), Some(-libc::EACCES), "a kernel thread");
    let close = opcode::Close::new(Fd(-1)).build();
    assert_eq!(refused(&mut ring, close), Some(-libc::EBADF), "what is ours is carried out");
    let registered = ring.ring.submitter().register_files(&[0]).expect_err("refused");
    assert_eq!(registered.raw_os_error(), Some(libc::EACCES));
    let again = ring.ring.submitter().register_restrictions(&mut []).expect_err("refused");
    assert!(again.raw_os_error().is_some(), "for good");
}

#[test]
fn a_client_may_connect() {
    let pool = Pool::new(2, 4096, 0).expect("memory");
    let mut ring = KernelRing::for_client(64, Arc::clone(pool.arena())).expect("io_uring");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("bound");
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    ring.connect(Socket::adopt(socket.expect("a socket")), address, Token::new(3));
    let mut events = Vec::new();
    ring.turn(Some(Duration::from_secs(10)), &mut events).expect("turn");
    assert!(matches!(events[..], [Event::Connected { result: Ok(()), .. }]), "{events:?}");
}
