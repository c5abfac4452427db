//! The forwarder behind a running receiver: what next hops take, refuse and put off, and what is left after
//! both ends were killed. The judge reads the store of the far end.
//!
//! `FORWARD_ROUNDS` sets the number of kills, `FORWARD_SEED` repeats the choices of a run.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::Client;
use support::load::{Random, loadgen, number_from, verify, wait_for_load};
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program, without_trace};

/// Kills unless told otherwise.
const ROUNDS_DEFAULT: u64 = 4;

/// How long something that should happen may take.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A running forwarder; killed by drop.
pub struct Forwarder {
    child: Child,
    log: std::path::PathBuf,
}

impl Forwarder {
    /// Beside this receiver.
    pub fn start(server: &Server) -> Self {
        Self::start_under(&[], server)
    }

    /// The same by this program, which becomes it.
    pub fn start_under(wrapper: &[&str], server: &Server) -> Self {
        let log = server.folder().join("forward.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a file");
        let program = program();
        let program = program.to_str().expect("a path of UTF-8");
        let mut words = wrapper.iter().copied().chain([program, "forward", "--config"]);
        let child = Command::new(words.next().expect("a program"))
            .args(words)
            .arg(server.folder().join("ringmx.toml"))
            .current_dir(server.folder())
            .stdin(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("it starts");
        Self { child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("an id")).expect("an id");
        kill_process(id, signal).expect("it runs");
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Ends as it should.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.wait(0);
    }

    /// Waits until it has ended, with this code; what it logged.
    pub fn wait(mut self, code: i32) -> String {
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(code), "{}", self.log());
        self.log()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line with this.
    pub fn wait_for(&self, what: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.log().lines().find(|line| line.contains(what)) {
                return line.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A receiver whose mail goes on by these routes.
pub fn near(routes: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"other.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"spool\"\n\
         segment_size = \"1MiB\"\n[log]\nsessions = false\n{routes}"
    ))
}

/// A receiver that keeps mail, on this port: it can be killed and started again.
pub fn far(store: &Path, address: SocketAddr) -> Server {
    let config = format!(
        "hostname = \"far.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"{address}\"\n\
         [[sink]]\nkind = \"maildir\"\npath = \"{}\"\n[limits]\nconnections_per_client_max = 1000\n\
         [log]\nmessages = false\nsessions = false\n",
        store.display()
    );
    Server::start_whole(&config)
}

/// An address that nobody listens at just now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port")
}

/// What `ringmx queue` prints.
pub fn queue(server: &Server, command: &[&str]) -> String {
    let output = Command::new(program())
        .arg("queue")
        .args(command)
        .arg("--config")
        .arg(server.folder().join("ringmx.toml"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until nothing is left to deliver.
pub fn wait_until_empty(server: &Server, forwarder: &Forwarder) {
    wait_until_spool_is_empty(server, &server.folder().join("spool"), forwarder);
}

/// The same where the spool is elsewhere.
pub fn wait_until_spool_is_empty(server: &Server, spool: &Path, forwarder: &Forwarder) {
    let start = Instant::now();
    loop {
        let waits = queue(server, &["list"]);
        let list = Command::new(program()).args(["spool", "list"]).arg(spool).output();
        let list = String::from_utf8_lossy(&list.expect("it runs").stdout).into_owned();
        if waits.is_empty() && !list.contains(" stored ") {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{waits}{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until it is so.
pub fn wait_until(forwarder: &Forwarder, what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}:\n{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives the receiver a message for these recipients.
pub fn send(near: &Server, recipients: &[&str], data: &[u8]) {
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&support::client::stuffed(data));
    client.expect("250");
}

/// A message with a line that begins with a dot.
pub const MESSAGE: &[u8] = b"From: a@x.test\r\nSubject: x\r\n\r\n.A dot\r\nText\r\n";

#[test]
fn mail_goes_on_whole_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let far = far(&store, free_address());
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", far.address()));
    let forwarder = Forwarder::start(&near);
    for arguments in ["-m 300 --size 4KiB --recipients 2", "-m 6 --size 3MiB", "-m 200 --size 700 --bdat=200"]
    {
        let status = Command::new(loadgen())
            .arg(near.address().to_string())
            .args(arguments.split(' '))
            .args(["-c", "5", "--to", "user@example.test", "--ledger"])
            .arg(&ledger)
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("loadgen runs").success(), "{arguments}");
    }
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    let verdict = verify(&ledger, "maildir", &store, &["--no-duplicates"]);
    assert!(verdict.holds && verdict.accepted == 506, "{}", verdict.text);
}

#[test]
fn nothing_is_lost_when_either_end_is_killed_at_any_time() {
    let mut random = Random::from_variable("FORWARD_SEED");
    let rounds = number_from("FORWARD_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let address = free_address();
    let mut far_end = far(&store, address);
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    let mut forwarder = Forwarder::start(&near);
    let mut load = Command::new(loadgen())
        .arg(near.address().to_string())
        .args(["--rate", "200", "--duration", &format!("{}s", rounds * 2), "-c", "5", "--size", "4KiB"])
        .args(["--to", "user@example.test", "--ledger"])
        .arg(&ledger)
        .stdout(Stdio::null())
        .spawn()
        .expect("loadgen runs");
    wait_for_load(&ledger, 0);
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(300 + random.below(1200)));
        if random.below(3) > 0 {
            forwarder.kill();
            forwarder = Forwarder::start(&near);
        } else {
            far_end.signal(Signal::KILL);
            far_end.wait();
            far_end = far(&store, address);
        }
    }
    load.wait().expect("loadgen ends");
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    let verdict = verify(&ledger, "maildir", &store, &[]);
    if !verdict.holds || verdict.accepted == 0 {
        let kept = folder.keep();
        panic!("{}\nkept in {}", verdict.text, kept.display());
    }
    println!("{}", verdict.text);
}

#[test]
fn a_next_hop_that_comes_late_gets_all_that_waited() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let address = free_address();
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    let forwarder = Forwarder::start(&near);
    let mut client = Client::connect(near.address());
    client.expect("220");
    client.command("EHLO mx.x.test", "250");
    let message = |number: u32| [MESSAGE, format!("{number}\r\n").as_bytes()].concat();
    for number in 0..5 {
        assert!(client.deliver("a@x.test", "b@example.test", &message(number)).starts_with("250"));
    }
    forwarder.wait_for("next-hop-down");
    let _far = far(&store, address);
    forwarder.wait_for("next-hop-up");
    forwarder.wait_for(" forwarded ");
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    let mut stored = stored(&store);
    assert_eq!(stored.len(), 5);
    for number in 0..5 {
        // As it lies in a maildir.
        let sent: Vec<u8> = message(number).into_iter().filter(|octet| *octet != b'\r').collect();
        let at = stored.iter().position(|stored| stored.ends_with(&sent)).expect("it arrived");
        // Below the trace of both ends.
        let rest = stored.swap_remove(at);
        let ours = without_trace(&rest);
        assert!(ours.starts_with(b"Received: from mx.x.test"), "{}", ours.escape_ascii());
        assert_eq!(below_received(ours), sent);
    }
}

/// The messages in a maildir.
pub fn stored(store: &Path) -> Vec<Vec<u8>> {
    let names = fs::read_dir(store.join("new")).expect("a maildir");
    names.map(|name| fs::read(name.expect("an entry").path()).expect("a message")).collect()
}

/// Without the field `Received:` on top and its folds.
pub fn below_received(message: &[u8]) -> &[u8] {
    assert!(message.starts_with(b"Received: "), "{}", message.escape_ascii());
    let mut rest = message;
    loop {
        let end = rest.iter().position(|octet| *octet == b'\n').expect("a line end") + 1;
        rest = &rest[end..];
        if !rest.starts_with(b"\t") && !rest.starts_with(b" ") {
            return rest;
        }
    }
}

/// What LMTP says at the end.
pub fn by_name(mailbox: &str) -> String {
    match mailbox.split('@').next() {
        Some("full") => "452 4.2.2 Over quota".to_owned(),
        Some("gone") => "550 5.1.1 No such user".to_owned(),
        _ => accept(mailbox),
    }
}

#[test]
fn each_recipient_has_an_answer_of_its_own() {
    let keywords = vec!["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"];
    let manner = Manner { is_lmtp: true, keywords, recipient: accept, end: by_name };
    for (is_lmtp, recipient, end) in
        [(true, accept as fn(&str) -> String, by_name as fn(&str) -> String), (false, by_name, accept)]
    {
        let hop = NextHop::start(Manner { is_lmtp, recipient, end, ..manner.clone() });
        let scheme = if is_lmtp { "lmtp" } else { "smtp" };
        let near = near(&format!("[[forward]]\nto = [\"{scheme}://{}\"]\n", hop.address()));
        let forwarder = Forwarder::start(&near);
        let mut client = Client::connect(near.address());
        client.expect("220");
        client.command("EHLO mx.x.test", "250");
        client.command("MAIL FROM:<a@x.test>", "250");
        for name in ["full", "known", "gone", "other"] {
            client.command(&format!("RCPT TO:<{name}@example.test>"), "250");
        }
        client.command("DATA", "354");
        client.send(&support::client::stuffed(MESSAGE));
        assert!(client.reply().starts_with("250"));
        forwarder.wait_for(" undeliverable ");
        let start = Instant::now();
        let list = loop {
            let list = queue(&near, &["list"]);
            if list.lines().count() == 2 || start.elapsed() > PATIENCE {
                break list;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let waiting = list.lines().find(|line| line.contains(" waiting ")).expect("it waits");
        assert!(waiting.contains("<full@example.test>") && waiting.contains("452 4.2.2"), "{list}");
        let dead = list.lines().find(|line| line.contains(" dead ")).expect("it is kept");
        assert!(dead.contains("<gone@example.test>") && dead.contains("550 5.1.1"), "{list}");
        let taken = hop.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert_eq!(taken[0].recipients, ["known@example.test", "other@example.test"]);
        assert!(taken[0].data.ends_with(MESSAGE), "{}", taken[0].data.escape_ascii());
        let id = dead.split(' ').next().expect("an id");
        assert!(queue(&near, &["show", id]).as_bytes().ends_with(MESSAGE));
        forwarder.stop();
    }
}

#[test]
fn what_a_next_hop_cannot_take_is_kept_and_never_altered() {
    let keywords = vec!["PIPELINING"];
    let hop = NextHop::start(Manner { is_lmtp: false, keywords, recipient: accept, end: accept });
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let forwarder = Forwarder::start(&near);
    let mut client = Client::connect(near.address());
    client.expect("220");
    client.command("EHLO mx.x.test", "250");
    client.command("MAIL FROM:<a@x.test> BODY=8BITMIME", "250");
    client.command("RCPT TO:<b@example.test>", "250");
    client.command("DATA", "354");
    client.send("Subject: x\r\n\r\n\u{e9}\r\n.\r\n".as_bytes());
    assert!(client.reply().starts_with("250"));
    let line = forwarder.wait_for(" undeliverable ");
    assert!(line.contains("5.6.3"), "{line}");
    // What it can take goes over the same connection.
    assert!(client.deliver("a@x.test", "b@example.test", MESSAGE).starts_with("250"));
    forwarder.wait_for(" forwarded ");
    assert_eq!(hop.taken().len(), 1);
    forwarder.stop();
    assert!(queue(&near, &["list"]).contains(" dead "));
}

#[test]
fn routes_are_taken_by_domain_and_a_dead_one_delays_no_other() {
    let keywords = vec!["PIPELINING"];
    let hop = NextHop::start(Manner { is_lmtp: false, keywords, recipient: accept, end: accept });
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{}\"]\n\
         [[forward]]\nto = [\"lmtp://unix:nobody.sock\"]\n",
        hop.address()
    ));
    let forwarder = Forwarder::start(&near);
    let mut client = Client::connect(near.address());
    client.expect("220");
    client.command("EHLO mx.x.test", "250");
    for recipient in ["b@other.test", "b@example.test", "c@other.test", "c@example.test"] {
        assert!(client.deliver("a@x.test", recipient, MESSAGE).starts_with("250"));
    }
    forwarder.wait_for("nobody.sock");
    let start = Instant::now();
    while hop.taken().len() < 2 {
        assert!(start.elapsed() < PATIENCE, "{}", forwarder.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The end waits for what is under way.
    forwarder.stop();
    let mut taken: Vec<String> = hop.taken().into_iter().flat_map(|taken| taken.recipients).collect();
    taken.sort();
    assert_eq!(taken, ["b@example.test", "c@example.test"]);
    assert_eq!(hop.taken().len(), 2);
}

#[test]
fn a_forwarder_that_cannot_run_says_why() {
    let run = |config: &str, also: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mx.toml");
        fs::write(&file, config).expect("written");
        for (name, text) in also {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let output = Command::new(program()).arg("forward").arg(&file).output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let common = "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let spool = "[[sink]]\nkind = \"spool\"\npath = \"spool\"\n";
    let route = "[[forward]]\nto = [\"smtp://127.0.0.1:1\"]\n";
    for (config, expected) in [
        (format!("{common}{spool}"), "there is no [[forward]] in the configuration"),
        (format!("{common}{spool}{route}"), "the spool cannot be read"),
        (format!("{common}[[sink]]\nkind = \"discard\"\n{route}"), "write kind = \"spool\""),
        (
            format!("{common}{spool}[[forward]]\ndomains = [\"y.test\"]\nto = [\"smtp://127.0.0.1:1\"]\n"),
            "mail for \"x.test\" is accepted and would go nowhere",
        ),
    ] {
        // A line of the log, with quotes in quotes.
        let told = run(&config, &[]).replace('\\', "");
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let near = near(route);
    let first = Forwarder::start(&near);
    first.wait_for("forwarding");
    let output = Command::new(program())
        .arg("forward")
        .arg(near.folder().join("ringmx.toml"))
        .current_dir(near.folder())
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("another ringmx (process "), "{told}");
    first.stop();
}
