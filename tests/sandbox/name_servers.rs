//! A process that asks the DNS may connect to its name servers, and to nobody else.

#![allow(unsafe_code)]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringmx::dns::{Answer, Kind, Name, Question, lookup};
use ringmx::handoff::channel::{Consumer, Receiver};
use ringmx::handoff::lookup::{Answered, Asked};
use ringmx::sandbox::{self, Connects, Places, Plan};
use support::dns_server::{Behaviour, DnsServer};

/// Set for the process that goes in.
const INSIDE: &str = "RINGMX_TEST_SANDBOX_NAME_SERVERS";

/// Sockets that are refused all the same: family, type, protocol.
const REFUSED: &[(&str, i32, i32, i32)] = &[
    ("packets", libc::AF_PACKET, libc::SOCK_RAW, 0),
    ("raw IP", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP),
    ("SCTP", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
    ("MPTCP, which Landlock does not see", libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
    ("UDP-Lite", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
    ("a ping", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
    ("Unix", libc::AF_UNIX, libc::SOCK_DGRAM, 0),
    ("netlink", libc::AF_NETLINK, libc::SOCK_RAW, 0),
];

fn error_of(result: libc::c_long) -> Option<i32> {
    (result < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or_default())
}

fn next(consumer: &Consumer, answers: &Receiver<Answered>) -> Answer {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(1) {
        if let Some(answered) = answers.next() {
            return (*answered.answer).clone();
        }
        consumer.sleep(Some(Duration::from_secs(1)), || answers.is_empty());
    }
    panic!("no answer");
}

/// Only for the process that [`only_name_servers_are_connected_to`] starts.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let server = DnsServer::start();
    server.address_of("x.test", "192.0.2.1").address_of("cut.test", "192.0.2.2");
    server.behave("cut.test", Behaviour::Truncated);
    let others = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, others) = (server.address(), others.local_addr().expect("an address"));
    let connects = Connects { dns: true, tcp_ports: vec![address.port()], ..Connects::default() };
    let places = Places { connects: connects.clone(), ..Places::default() };
    let plan = Plan { places: Some(places), ..Plan::default() };
    let entered = sandbox::enter(&plan).expect("it goes in");
    assert_eq!(entered.lacks, None);
    let (thread, home) = (Consumer::new().expect("a bell"), Consumer::new().expect("a bell"));
    let (ask, asked) = thread.channel(8);
    let (tell, answers) = home.channel(8);
    let (ready, is_ready) = channel();
    let ready = move || ready.send(()).expect("waited for");
    let lookup = std::thread::spawn(move || lookup::run(&thread, &asked, vec![tell], &[address], ready));
    // All threads serve, as in the server.
    is_ready.recv().expect("it serves");
    sandbox::close(&connects).expect("closed");
    // Over UDP, and over TCP after a cut answer.
    for name in ["x.test", "cut.test"] {
        let question = Question::new(Kind::A, Name::new(name.as_bytes()).expect("a name"));
        ask.send_and_ring(Asked { shard: 0, question }).expect("room");
        assert_eq!(next(&home, &answers).v4().len(), 1, "{name}");
    }
    drop(ask);
    lookup.join().expect("no panic").expect("it ended well");

    if entered.landlock >= 4 {
        let error = TcpStream::connect(others).expect_err("not a name server's port");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
    for (what, family, kind, protocol) in REFUSED {
        // SAFETY: numbers only.
        let result = unsafe { libc::syscall(libc::SYS_socket, *family, *kind, *protocol) };
        assert_eq!(error_of(result), Some(libc::EPERM), "{what}");
    }
    // SAFETY: no descriptor and no octets.
    let result =
        unsafe { libc::syscall(libc::SYS_sendto, -1, std::ptr::null::<u8>(), 0, libc::MSG_FASTOPEN, 0, 0) };
    assert_eq!(error_of(result), Some(libc::EPERM), "connect by the first octets");
    println!("inside: name servers answer");
}

#[test]
fn only_name_servers_are_connected_to() {
    if sandbox::landlock_version().is_err() {
        return println!("skipped: this kernel has no Landlock");
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "name_servers::inside", "--nocapture"]).env(INSIDE, "1");
    let output = child.output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("name servers answer"), "{text}");
    println!("{text}");
}
