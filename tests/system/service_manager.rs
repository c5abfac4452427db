//! What a service manager is told, by a datagram socket, and that sockets are used which it opened.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use support::client::Client;
use support::held_thread::HeldThread;
use support::http::{answer, get};
use support::server::Server;

/// What should come has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

const MAIL: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

const CONFIG: &str = "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \
                      \"maildir\"\npath = \"mail\"\n";

/// What is told until one of these comes, and that one.
fn told_until(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    manager.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut told = Vec::new();
    loop {
        let mut octets = [0; 4096];
        let count =
            manager.recv(&mut octets).unwrap_or_else(|error| panic!("{wanted}: {error}, after {told:?}"));
        told.push(String::from_utf8(octets[..count].to_vec()).expect("UTF-8"));
        if told.last().is_some_and(|last| last.contains(wanted)) {
            return told;
        }
    }
}

/// What is told within a time.
fn told_within(manager: &UnixDatagram, wait: Duration) -> Vec<String> {
    let start = Instant::now();
    let mut told = Vec::new();
    while let Some(left) = wait.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        manager.set_read_timeout(Some(left)).expect("a time-out");
        let mut octets = [0; 4096];
        match manager.recv(&mut octets) {
            Ok(count) => told.push(String::from_utf8_lossy(&octets[..count]).into_owned()),
            Err(error) => {
                assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
            }
        }
    }
    told
}

fn manager_at_a_path(folder: &tempfile::TempDir) -> (UnixDatagram, String) {
    let path = folder.path().join("notify");
    (UnixDatagram::bind(&path).expect("a socket"), path.to_str().expect("UTF-8").to_owned())
}

#[test]
fn a_service_manager_is_told_of_start_and_stop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = format!("ringmx-test-{}", std::process::id());
    let abstract_one = UnixAddr::from_abstract_name(&name).expect("a name");
    let managers = [
        manager_at_a_path(&folder),
        (UnixDatagram::bind_addr(&abstract_one).expect("a socket"), format!("@{name}")),
    ];
    for (manager, name) in managers {
        let set = |command: &mut Command| {
            command.env("NOTIFY_SOCKET", &name);
        };
        let mut server = Server::try_start(CONFIG, set).expect("it starts");
        let told = told_until(&manager, "READY=1");
        assert_eq!(told.len(), 1, "nothing before: {told:?}");
        assert!(told[0].contains("STATUS="), "{told:?}");
        assert!(told_within(&manager, Duration::from_secs(1)).is_empty(), "no watchdog was asked for");
        assert!(server.stop().success());
        assert!(told_until(&manager, "STOPPING=1").len() == 1);
    }
}

#[test]
fn a_service_manager_that_is_gone_or_reads_nothing_stops_no_mail() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (manager, name) = manager_at_a_path(&folder);
    let set = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "1000");
    };
    let mut server = Server::try_start(CONFIG, set).expect("it starts");
    // It is told with each look and takes nothing; its queue is full after some seconds.
    std::thread::sleep(Duration::from_secs(8));
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("250"));
    drop(manager);
    assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("250"));
    assert!(server.stop().success());
    // One that is not there is noted.
    let set = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", "/nonexistent/notify");
    };
    let mut server = Server::try_start(CONFIG, set).expect("it starts");
    server.wait_for_log(|line| line.contains("NOTIFY_SOCKET"));
    assert!(server.stop().success());
}

/// The watchdog sees what `/healthz` sees, also where no administration is configured.
#[test]
fn the_watchdog_is_told_while_all_goes_on_and_not_while_a_shard_hangs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (manager, name) = manager_at_a_path(&folder);
    let set = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "2000000");
    };
    let mut server = Server::try_start(CONFIG, set).expect("it starts");
    for _ in 0..3 {
        told_until(&manager, "WATCHDOG=1");
    }
    let held = match HeldThread::hold(server.id(), "shard-0") {
        Ok(held) => held,
        Err(error) => return println!("skipped: threads cannot be held here: {error}"),
    };
    // Some seconds later it is seen; then nothing comes, where it came each second.
    let start = Instant::now();
    loop {
        let told = told_within(&manager, Duration::from_secs(3));
        if told.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "a shard hangs, and it is told {told:?}");
    }
    drop(held);
    told_until(&manager, "WATCHDOG=1");
    assert!(server.stop().success());
    told_until(&manager, "STOPPING=1");
    // Meant for another process.
    let set = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "1000000").env("WATCHDOG_PID", "1");
    };
    let _server = Server::try_start(CONFIG, set).expect("it starts");
    told_until(&manager, "READY=1");
    assert_eq!(told_within(&manager, Duration::from_secs(2)), Vec::<String>::new());
}

/// A listening socket that others may share an address with.
fn shared(address: SocketAddr) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseport(&socket, true).expect("shared");
    rustix::net::bind(&socket, &address).expect("bound");
    rustix::net::listen(&socket, 16).expect("it listens");
    socket
}

fn config(listener: &str, more: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"{listener}\"\n[[sink]]\nkind = \"maildir\"\npath = \
         \"mail\"\n{more}"
    )
}

/// Starts a server that these sockets are passed to, as a service manager does.
fn start_with(sockets: &[&dyn AsFd], config: &str) -> Result<Server, String> {
    start_with_word(sockets, "", config)
}

/// The same, with this word behind the program's arguments.
pub fn start_with_word(sockets: &[&dyn AsFd], word: &str, config: &str) -> Result<Server, String> {
    // Where they are in the way of nothing; they live as long as the server's start.
    let copies: Vec<OwnedFd> = sockets
        .iter()
        .map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 100).expect("a copy"))
        .inspect(|copy| rustix::io::fcntl_setfd(copy, FdFlags::empty()).expect("passed on"))
        .collect();
    let redirects: Vec<String> = copies
        .iter()
        .zip(3..)
        .map(|(copy, number)| format!("{number}<&{0} {0}<&-", copy.as_raw_fd()))
        .collect();
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES=first:second; exec \"$@\" {word} {}",
        sockets.len(),
        redirects.join(" ")
    );
    Server::try_start_under(&["bash", "-c", &script, "bash"], config)
}

fn delivers(server: &Server) {
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("250"));
}

#[test]
fn a_socket_of_the_service_manager_is_the_listeners_and_outlives_the_process() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    // As systemd has it.
    socket.set_nonblocking(true).expect("a flag");
    let address = socket.local_addr().expect("its address");
    let config = config(&address.to_string(), "");
    let mut server = start_with(&[&socket], &config).expect("it starts");
    assert_eq!(server.address(), address);
    for _ in 0..20 {
        delivers(&server);
    }
    assert!(server.stop().success());
    // Nobody accepts now, and nobody is turned away.
    let mut client = Client::connect(address);
    let mut server = start_with(&[&socket], &config).expect("it starts again");
    client.expect("220");
    delivers(&server);
    assert!(server.stop().success());
}

#[test]
fn with_a_socket_a_shard_each_has_its_own_and_one_too_many_is_refused() {
    let first = shared("127.0.0.1:0".parse().expect("an address"));
    let address = rustix::net::getsockname(&first).expect("its address");
    let address = SocketAddr::try_from(address).expect("an IP address");
    let second = shared(address);
    let cpus = |cpus: &str| config(&address.to_string(), &format!("[shards]\ncpus = {cpus}\n"));
    let shards = ringmx::config::Config::embedded_default().shards;
    if let [one, other, ..] = &shards[..] {
        let both = cpus(&format!("[{}, {}]", one.cpu, other.cpu));
        let server = start_with(&[&first, &second], &both).expect("it starts");
        for _ in 0..50 {
            delivers(&server);
        }
    }
    let one = cpus(&format!("[{}]", shards[0].cpu));
    let told = start_with(&[&first, &second], &one).err().expect("refused");
    assert!(told.contains("opened 2 sockets") && told.contains("there are 1 shards"), "{told}");
}

#[test]
fn a_socket_that_is_nobodys_is_refused_by_its_name() {
    let [socket, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = socket.local_addr().expect("its address");
    let told = start_with(&[&socket, &other], &config(&address.to_string(), "")).err().expect("refused");
    assert!(told.contains("no listener's: second") && told.contains("[[listener]]"), "{told}");
}

#[test]
fn the_administrations_socket_may_be_the_service_managers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("admin.sock");
    let socket = UnixListener::bind(&path).expect("bound");
    let more = format!("[admin]\naddress = \"unix:{}\"", path.display());
    let mut server = start_with(&[&socket], &config("127.0.0.1:0", &more)).expect("it starts");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connected");
    io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(answer(stream).status, 200);
    assert!(server.stop().success());
    assert!(path.exists(), "it is not ours to remove");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    let more = format!("[admin]\naddress = \"{address}\"");
    let server = start_with(&[&socket], &config("127.0.0.1:0", &more)).expect("it starts");
    assert_eq!((server.admin_address(), get(address, "/healthz").status), (address, 200));
}

#[test]
fn systemds_own_program_starts_it_with_its_first_client() {
    const PROGRAM: &str = "systemd-socket-activate";
    const TRIES_MAX: usize = 5;
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is missing (package systemd)");
        return println!("skipped: {PROGRAM} is not installed (package systemd)");
    }
    // Between the look for a free port and its binding by the program somebody else may take it.
    let mut told = String::new();
    for _ in 0..TRIES_MAX {
        match started_by_its_first_client(PROGRAM) {
            Ok(mut server) => {
                delivers(&server);
                return assert!(server.stop().success());
            }
            Err(why) => told = why,
        }
        assert!(told.contains("Address already in use"), "{told}");
    }
    panic!("no port could be had: {told}");
}

/// A server that the program starts on a free port when its first client comes, who has delivered a message.
fn started_by_its_first_client(program: &str) -> Result<Server, String> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let gives_up = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&gives_up);
    let first = std::thread::spawn(move || {
        let start = Instant::now();
        while std::net::TcpStream::connect(port).is_err() {
            if until.load(Ordering::Relaxed) {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "nobody listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Who has taken the port need not speak SMTP.
        (!until.load(Ordering::Relaxed))
            .then(|| Client::greeted(port).deliver("a@x.test", "b@example.org", MAIL))
    });
    let wrapper = [program, "-l", &port.to_string()];
    let server = Server::try_start_under(&wrapper, &config(&port.to_string(), ""));
    gives_up.store(server.is_err(), Ordering::Relaxed);
    let first = first.join();
    let server = server?;
    assert!(first.expect("no panic").is_some_and(|reply| reply.starts_with("250")));
    Ok(server)
}
