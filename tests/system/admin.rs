//! The administration of a running receiver: what it answers, to whom, what it bears, and that it sees what
//! hangs.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::client::Client;
use support::faulty::{Fault, Faulty};
use support::held_thread::HeldThread;
use support::http::{Answer, answer, ask, connect, get, parse};
use support::image;
use support::server::Server;

/// What should be so within seconds has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How soon `/healthz` tells that something hangs.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection lasts at most.
const CONNECTION_MAX: Duration = Duration::from_secs(5);

/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(3);

const CONNECTIONS_MAX: usize = 32;

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"";

const MAIL: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

#[test]
fn health_and_readiness_are_json_with_a_check_a_thing() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    wait_until("it is ready", || get(address, "/readyz").status == 200);
    let checks = |path: &str| {
        let Answer { status, head, body } = get(address, path);
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let told: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(told["ok"], true);
        let checks = told["checks"].as_array().expect("a list").clone();
        assert!(checks.iter().all(|check| check["ok"] == true && check.get("reason").is_none()), "{body}");
        checks.iter().map(|check| check["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let names = checks("/healthz");
    assert!(names.contains(&"shard-0".to_owned()) && names.contains(&"sink-0".to_owned()), "{names:?}");
    assert_eq!(checks("/readyz"), ["accepting", "draining", "store", "room", "health"]);
}

#[test]
fn only_questions_that_are_well_asked_are_answered() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let asked = |text: &str| ask(address, text.as_bytes());
    let long = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: x\r\n".repeat(100));
    let host = format!("Host: {address}");
    for (text, status) in [
        (format!("GET /healthz HTTP/1.1\r\n{host}\r\n\r\n"), 200),
        ("GET /healthz HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 200),
        ("GET /healthz?x=%00 HTTP/1.1\r\nHost: [::1]\r\n\r\n".to_owned(), 200),
        // Another name may be a stranger's, who has it resolve to this machine.
        ("GET /healthz HTTP/1.1\r\nHost: evil.example:9725\r\n\r\n".to_owned(), 421),
        ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 421),
        ("GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: \r\n\r\n".to_owned(), 421),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
        ("GET /healthz/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
        ("GET /../healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
        ("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
        ("garbage\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
        (long, 431),
        (many, 431),
    ] {
        let told = asked(&text);
        assert_eq!(told.status, status, "{text:?}: {told:?}");
    }
}

#[test]
fn an_answer_may_do_nothing_in_a_browser_and_is_kept_nowhere() {
    let server = Server::with_maildir(ADMIN);
    for path in ["/healthz", "/readyz", "/nothing"] {
        let Answer { head, .. } = get(server.admin_address(), path);
        for field in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "cross-origin-resource-policy: same-origin",
            "connection: close",
        ] {
            assert!(head.contains(field), "{path}: {field}: {head}");
        }
        assert!(!head.to_lowercase().contains("access-control-"), "{head}");
    }
}

#[test]
fn whoever_sends_too_much_gets_a_whole_answer() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    // A body that nobody reads would end the connection with a reset, which overtakes the answer.
    let head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n";
    let told = ask(address, &[&head[..], &vec![b'x'; 50_000]].concat());
    assert_eq!(told.status, 405);
    assert!(told.head.contains("allow: GET, HEAD") && told.body.starts_with("only GET"), "{told:?}");
    // Only the first of several questions is answered.
    let question = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let told = ask(address, question.repeat(10).as_bytes());
    assert_eq!((told.status, told.body.matches("HTTP/1.1").count()), (200, 0));
    // HEAD has the header and no body.
    let told = ask(address, format!("HEAD /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(told.status == 200 && told.body.is_empty() && told.head.contains("content-length: "), "{told:?}");
    // A client that has said all it has to say.
    let mut stream = connect(address);
    stream.write_all(question.as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    assert_eq!(answer(stream).status, 200);
    // HTTP/2 is not spoken.
    let mut stream = connect(address);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    assert!(octets.is_empty() || parse(&octets).status >= 400, "{octets:?}");
}

/// Scrapes cost little: in octets, and in time of the one thread that makes them.
#[test]
fn a_scrape_is_small_and_is_text_for_prometheus() {
    const SCRAPES: u64 = 50;
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let worked = || {
        let ran = |folder: &Path| fs::read_to_string(folder.join("schedstat")).ok();
        let ran = ran(&thread_folder(server.id(), "admin")?)?;
        ran.split(' ').next()?.parse::<u64>().ok()
    };
    let before = worked();
    for _ in 0..SCRAPES {
        let Answer { status, head, body } = get(address, "/metrics");
        assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.len() <= 64 * 1024, "{} octets", body.len());
    }
    if let Some((before, after)) = before.zip(worked()) {
        println!("a scrape took {} us of the thread", (after - before) / SCRAPES / 1000);
    }
}

/// Who holds connections and says nothing, or little, keeps nobody out, neither here nor from mail.
#[test]
fn slow_clients_are_cut_off_and_keep_nobody_out() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let start = Instant::now();
    let mut slow: Vec<TcpStream> = (0..2 * CONNECTIONS_MAX).map(|_| connect(address)).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        // Some begin to ask; those that were cut off already say so.
        let begun: &[u8] = if number % 2 == 0 { b"GET /metr" } else { b"" };
        let _ = stream.write_all(begun);
    }
    assert_eq!(get(address, "/healthz").status, 200, "one more is answered");
    // The oldest made room.
    assert!(ended(&mut slow[0]));
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("250"));
    for stream in &mut slow {
        while !ended(stream) {
            let _ = stream.write_all(b"x");
            assert!(start.elapsed() < CONNECTION_MAX + SLACK + PATIENCE / 4, "it is not cut off");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(start.elapsed() >= CONNECTION_MAX, "some had their time");
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn clients_that_do_not_read_are_cut_off() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let question = format!("GET /metrics?shards=1 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let slow: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(question.as_bytes()).expect("sent");
            stream
        })
        .collect();
    assert_eq!(get(address, "/healthz").status, 200, "one more is answered");
    let open = || descriptors(server.id());
    wait_until("their connections are closed", || open() < CONNECTIONS_MAX + 40);
    drop(slow);
}

#[test]
fn a_flood_of_questions_delays_neither_mail_nor_a_reload() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    let asked: &[u8] = match number {
                        0 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
                        1 => b"\0\xff garbage \r\n\r\n\r\n",
                        2 => b"GET / HTTP/1.1\r\n",
                        _ => b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
                    };
                    let _ = stream.write_all(asked);
                }
            });
        }
        let mut client = Client::greeted(server.address());
        for _ in 0..50 {
            let start = Instant::now();
            assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("250"));
            assert!(start.elapsed() < SLACK, "mail waits");
        }
        server.signal(Signal::HUP);
        server.wait_for_log(|line| line.contains("reloaded"));
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    wait_until("it answers", || get(address, "/healthz").status == 200);
    let lines = server.log().len();
    assert!(lines < 100, "hostile clients fill the log: {lines} lines");
}

#[test]
fn a_shard_that_hangs_is_told_within_5_s_and_so_is_that_it_goes_on() {
    let mut server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    wait_until("it is ready", || get(address, "/readyz").status == 200);
    let held = match HeldThread::hold(server.id(), "shard-0") {
        Ok(held) => held,
        Err(error) => return println!("skipped: threads cannot be held here: {error}"),
    };
    let start = Instant::now();
    let told = failing(address, "/healthz", "shard-0");
    assert!(start.elapsed() < TOLD_WITHIN + SLACK / 3, "told after {:?}", start.elapsed());
    println!("told after {:?}: {told}", start.elapsed());
    failing(address, "/readyz", "health");
    drop(held);
    wait_until("it goes on", || get(address, "/healthz").status == 200);
    assert_eq!(get(address, "/readyz").status, 200);
    // A process that was stopped as a whole has no shard that hangs.
    server.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(6));
    server.signal(Signal::CONT);
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(server.stop().success());
}

#[test]
fn a_worker_whose_disk_hangs_is_told_within_5_s_and_so_is_that_it_goes_on() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for kind in ["spool", "maildir"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, false).expect("a FUSE file system");
        let server = Server::start(&format!(
            "[[sink]]\nkind = \"{kind}\"\npath = \"{}/store\"\n{ADMIN}",
            front.display()
        ));
        let address = server.admin_address();
        wait_until("it is ready", || get(address, "/readyz").status == 200);
        disk.set(Fault::Hang);
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@example.org>", "250");
        client.command("DATA", "354");
        let start = Instant::now();
        client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n");
        let told = failing(address, "/healthz", "sink-");
        assert!(start.elapsed() < TOLD_WITHIN + SLACK / 3, "{kind}: told after {:?}", start.elapsed());
        println!("{kind}: told after {:?}: {told}", start.elapsed());
        disk.set(Fault::None);
        client.expect("250");
        wait_until("it goes on", || get(address, "/healthz").status == 200);
    }
}

#[test]
fn a_store_that_takes_nothing_is_not_ready_and_one_that_takes_mail_again_is() {
    let server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    let (store, moved) = (server.folder().join("mail"), server.folder().join("moved"));
    wait_until("it is ready", || get(address, "/readyz").status == 200);
    fs::rename(&store, &moved).expect("moved away");
    failing(address, "/readyz", "store");
    assert_eq!(get(address, "/healthz").status, 200, "the process goes on");
    fs::rename(&moved, &store).expect("moved back");
    wait_until("it is there again", || get(address, "/readyz").status == 200);
}

#[test]
fn a_store_whose_writes_fail_is_not_ready_until_one_does_not() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
    let disk = Faulty::mount(&behind, &front, false).expect("a FUSE file system");
    let server =
        Server::start(&format!("[[sink]]\nkind = \"spool\"\npath = \"{}/store\"\n{ADMIN}", front.display()));
    let address = server.admin_address();
    disk.set(Fault::Write(libc::EIO));
    let mut client = Client::greeted(server.address());
    for _ in 0..3 {
        assert!(client.deliver("a@x.test", "b@example.org", MAIL).starts_with("451"));
    }
    failing(address, "/readyz", "store");
    disk.set(Fault::None);
    wait_until("mail is taken", || {
        Client::greeted(server.address()).deliver("a@x.test", "b@example.org", MAIL).starts_with("250")
    });
    wait_until("it is ready", || get(address, "/readyz").status == 200);
}

#[test]
fn a_store_without_room_is_not_ready() {
    let server = Server::start(&format!(
        "[[sink]]\nkind = \"maildir\"\npath = \"mail\"\nspace_reserve = \"1000000GiB\"\n{ADMIN}"
    ));
    failing(server.admin_address(), "/readyz", "room");
    assert_eq!(get(server.admin_address(), "/healthz").status, 200);
}

#[test]
fn a_server_that_stops_is_not_ready_and_is_alive_to_its_end() {
    let mut server = Server::with_maildir(ADMIN);
    let address = server.admin_address();
    wait_until("it is ready", || get(address, "/readyz").status == 200);
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@example.org>", "250");
    client.command("DATA", "354");
    server.signal(Signal::TERM);
    failing(address, "/readyz", "draining");
    assert_eq!(get(address, "/healthz").status, 200);
    client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n");
    client.expect("250");
    assert!(server.wait().success());
    assert!(TcpStream::connect(address).is_err(), "it has ended, too");
}

#[test]
fn a_unix_socket_is_for_owner_and_group_and_is_removed_at_the_end() {
    let config = "[admin]\naddress = \"unix:admin.sock\"";
    let mut server = Server::with_maildir(config);
    let path = server.folder().join("admin.sock");
    assert_eq!(fs::metadata(&path).expect("a socket").mode() & 0o7777, 0o660);
    let mut stream = UnixStream::connect(&path).expect("connected");
    // Browsers cannot come this way, so any name will do.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: any.example\r\n\r\n").expect("sent");
    assert_eq!(answer(stream).status, 200);
    // A second one does not take it away.
    let other = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \
         \"mail\"\n[admin]\naddress = \"unix:{}\"\n",
        path.display()
    );
    let told = Server::try_start(&other, |_| {}).err().expect("in use");
    assert!(told.contains("admin.sock") && told.contains("another program listens there"), "{told}");
    assert!(UnixStream::connect(&path).is_ok(), "the first one still has it");
    assert!(server.stop().success());
    assert!(!path.exists(), "removed");
    // What a killed one leaves is replaced.
    drop(UnixListener::bind(&path).expect("bound"));
    let again = Server::try_start(&other, |_| {}).expect("it starts");
    assert!(UnixStream::connect(&path).is_ok());
    drop(again);
}

#[test]
fn a_port_that_is_taken_is_told_with_its_cure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \
         \"mail\"\n[admin]\naddress = \"{address}\"\n"
    );
    let told = Server::try_start(&config, |_| {}).err().expect("in use");
    assert!(told.contains(&format!("cannot listen on {address} for [admin]")), "{told}");
    assert!(told.contains("another program listens there") && !told.contains("listening"), "{told}");
}

#[test]
fn a_socket_that_cannot_be_made_is_told_with_its_cure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(folder.path().join("file"), "precious").expect("a file");
    for (name, cure) in [("none/admin.sock", "RuntimeDirectory"), ("file", "no socket")] {
        let config = format!(
            "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \
             \"mail\"\n[admin]\naddress = \"unix:{}/{name}\"\n",
            folder.path().display()
        );
        let told = Server::try_start(&config, |_| {}).err().expect("it cannot be made");
        assert!(told.contains(cure), "{name}: {told}");
    }
    assert_eq!(fs::read(folder.path().join("file")).expect("still there"), b"precious");
}

/// Strangers are closed before they can say anything, and told of once.
#[test]
fn strangers_are_not_let_in() {
    let Some(own) = own_address() else {
        return println!("skipped: this machine has no address besides loopback");
    };
    let start =
        |allow: &str| Server::with_maildir(&format!("[admin]\naddress = \"{own}:0\"\nallow = [\"{allow}\"]"));
    let server = start("198.51.100.0/24");
    for _ in 0..100 {
        let mut stream = connect(server.admin_address());
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets);
        assert!(octets.is_empty(), "answered");
    }
    let told = server.wait_for_log(|line| line.contains("admin.allow"));
    assert!(told.contains(&own), "{told}");
    assert_eq!(server.log().iter().filter(|line| line.contains("admin.allow")).count(), 1);
    let server = start(&own);
    // Names of other machines are not known here.
    let question = b"GET /healthz HTTP/1.1\r\nHost: mx1.example.org:9725\r\n\r\n";
    assert_eq!(ask(server.admin_address(), question).status, 200);
}

/// Without descriptors each accept fails again, some times a second.
#[test]
fn accepts_that_fail_are_told_once_and_pass() {
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \
         \"mail\"\n{ADMIN}\n"
    );
    let server = Server::start_under(&["prlimit", "--nofile=80"], &config, &[]);
    let address = server.admin_address();
    wait_until("it is ready", || get(address, "/readyz").status == 200);
    let mut clients: Vec<TcpStream> = (0..80).map(|_| connect(server.address())).collect();
    wait_until("no descriptor is left", || descriptors(server.id()) >= 80);
    let waiting = connect(address);
    let is_told = |line: &str| line.contains("administration") && line.contains("accept");
    server.wait_for_log(is_told);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(server.log().iter().filter(|line| is_told(line)).count(), 1);
    clients.clear();
    drop(waiting);
    wait_until("it answers again", || get(address, "/healthz").status == 200);
}

/// Waits until this path fails with a check of this name, and gives what it told.
fn failing(address: SocketAddr, path: &str, name: &str) -> String {
    let mut found = String::new();
    wait_until("it fails", || {
        let Answer { status, body, .. } = get(address, path);
        let told: Value = serde_json::from_str(&body).expect("JSON");
        let checks = told["checks"].as_array().expect("a list");
        let fails = |check: &&Value| {
            let is_named = check["name"].as_str().is_some_and(|found| found.starts_with(name));
            is_named && check["ok"] == false && check["reason"].as_str().is_some_and(|why| !why.is_empty())
        };
        let is_told = status == 503 && told["ok"] == false && checks.iter().any(|check| fails(&check));
        found = body;
        is_told
    });
    found
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so after a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the other end has closed the connection.
fn ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

/// Descriptors that a process has open.
fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors").count()
}

fn thread_folder(process: u32, name: &str) -> Option<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let is_named = |folder: &PathBuf| {
        fs::read_to_string(folder.join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    threads.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(is_named)
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<String> {
    // Nothing is sent.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}
