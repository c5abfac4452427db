//! The administration of a running forwarder: what it counts of real deliveries, that it sees what hangs and
//! what is down, and what its service manager is told.

#![allow(clippy::float_cmp)] // They are counts, which are exact.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::client::Client;
use support::faulty::{Fault, Faulty};
use support::held_thread::HeldThread;
use support::http::get;
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program};

use super::metrics::{has, lint, values_of};

/// What should be so within seconds has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

const MAIL: &[u8] = b"From: a@x.test\r\nSubject: x\r\n\r\ntext\r\n";

/// A running forwarder; killed by drop.
struct Forwarder {
    child: Child,
    log: std::path::PathBuf,
}

impl Forwarder {
    /// By this configuration file, prepared so.
    fn start(config: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = config.parent().expect("a folder");
        let log = folder.join("forward.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a file");
        let mut command = Command::new(program());
        command.args(["forward", "--config"]).arg(config).current_dir(folder);
        command.stdin(Stdio::null()).stderr(file);
        prepare(&mut command);
        Self { child: command.spawn().expect("it starts"), log }
    }

    fn beside(server: &Server) -> Self {
        Self::start(&server.folder().join("ringmx.toml"), |_| {})
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line with this.
    fn wait_for(&self, what: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.log().lines().find(|line| line.contains(what)) {
                return line.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where its administration listens.
    fn admin(&self) -> SocketAddr {
        let line = self.wait_for(" admin address=");
        line.split_once(" admin address=").expect("an address").1.parse().expect("an address")
    }

    fn scrape(&self) -> BTreeMap<String, f64> {
        values_of(&get(self.admin(), "/metrics").body)
    }

    /// Waits until the value of a metric, with its labels, is this.
    fn wait_for_value(&self, name: &str, value: f64) -> BTreeMap<String, f64> {
        let start = Instant::now();
        loop {
            let values = self.scrape();
            if values.get(name) == Some(&value) {
                return values;
            }
            assert!(start.elapsed() < PATIENCE, "{name} {value}: {values:#?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a path is answered with this status; its JSON.
    fn wait_for_status(&self, path: &str, status: u16) -> Value {
        let start = Instant::now();
        loop {
            let answer = get(self.admin(), path);
            if answer.status == status {
                return serde_json::from_str(&answer.body).expect("JSON");
            }
            assert!(start.elapsed() < PATIENCE, "{path} {status}: {}\n{}", answer.body, self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the status, which is of the last second, says so.
    fn status_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.wait_for_status("/status.json", 200);
            if is_so(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `ringmx status --forwarder` prints. The configuration leaves the port to the kernel, and nobody
    /// could ask there.
    fn said_on_a_terminal(&self, near: &Server) -> String {
        let config = fs::read_to_string(near.folder().join("ringmx.toml")).expect("its configuration");
        let (before, after) =
            config.split_once("[forward_admin]\naddress = \"127.0.0.1:0\"").expect("it is there");
        let file = near.folder().join("asked.toml");
        let text = format!("{before}[forward_admin]\naddress = \"{}\"{after}", self.admin());
        fs::write(&file, text).expect("a file");
        let told = Command::new(program()).args(["status", "--forwarder", "--config"]).arg(&file).output();
        let told = told.expect("it runs");
        assert!(told.status.success(), "{told:?}");
        String::from_utf8(told.stdout).expect("UTF-8")
    }

    fn stop(mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("an id")).expect("an id");
        kill_process(id, Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}\n{}", self.log());
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration whose spool is there, with these routes.
fn config(spool: &str, routes: &str) -> String {
    format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"other.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"{spool}\"\n\
         segment_size = \"1MiB\"\n[log]\nsessions = false\n[forward_admin]\naddress = \"127.0.0.1:0\"\n{routes}"
    )
}

fn near(routes: &str) -> Server {
    Server::start_whole(&config("spool", routes))
}

fn hop() -> NextHop {
    NextHop::start(Manner { is_lmtp: false, keywords: vec!["PIPELINING"], recipient: accept, end: accept })
}

/// An address that nobody listens at just now.
fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port")
}

fn deliver(server: &Server, to: &str) {
    let mut client = Client::greeted(server.address());
    let reply = client.deliver("a@x.test", to, MAIL);
    assert!(reply.starts_with("250"), "{reply}");
}

fn failing(verdict: &Value) -> Vec<String> {
    let checks = verdict["checks"].as_array().expect("a list");
    let bad = checks.iter().filter(|check| check["ok"] == false);
    bad.map(|check| format!("{}: {}", check["name"], check["reason"])).collect()
}

#[test]
fn what_became_of_each_recipient_is_counted_by_destination() {
    let hop = NextHop::start(Manner {
        is_lmtp: true,
        keywords: vec!["PIPELINING"],
        recipient: |mailbox| match mailbox.split('@').next() {
            Some("later") => "450 4.2.1 Not now".to_owned(),
            Some("never") => "550 5.1.1 No such user".to_owned(),
            _ => accept(mailbox),
        },
        end: accept,
    });
    let near = near(&format!("[[forward]]\nto = [\"lmtp://{}\"]\n", hop.address()));
    let forwarder = Forwarder::beside(&near);
    for to in ["b@example.test", "later@example.test", "never@example.test", "c@other.test"] {
        deliver(&near, to);
    }
    let name = format!("destination=\"lmtp://{}\"", hop.address());
    forwarder.wait_for_value(&format!("ringmx_forward_results_total{{{name},result=\"delivered\"}}"), 2.0);
    forwarder
        .wait_for_value(&format!("ringmx_forward_results_total{{{name},result=\"undeliverable\"}}"), 1.0);
    forwarder.wait_for_value(&format!("ringmx_forward_results_total{{{name},result=\"deferred\"}}"), 1.0);
    forwarder.wait_for_value("ringmx_forward_dead_messages", 1.0);
    let values =
        forwarder.wait_for_value(&format!("ringmx_forward_queue_messages{{{name},state=\"waiting\"}}"), 1.0);
    for (metric, value) in [
        ("ringmx_forward_attempts_total{D,result=\"done\"}", 3.0),
        ("ringmx_forward_attempts_total{D,result=\"deferred\"}", 1.0),
        ("ringmx_forward_attempts_total{D,result=\"lost\"}", 0.0),
        ("ringmx_forward_attempts_total{D,result=\"no_session\"}", 0.0),
        ("ringmx_forward_results_total{D,result=\"held\"}", 0.0),
        ("ringmx_forward_destination_up{D}", 1.0),
        ("ringmx_forward_queue_messages{D,state=\"fresh\"}", 0.0),
        ("ringmx_forward_delay_seconds_count{part=\"transmit\"}", 4.0),
        ("ringmx_forward_delay_seconds_count{part=\"queue\"}", 4.0),
        ("ringmx_forward_messages_read_total", 4.0),
        ("ringmx_forward_log_lag_seconds", 0.0),
        ("ringmx_ready", 1.0),
    ] {
        let metric = metric.replace('D', &name);
        assert_eq!(values.get(&metric), Some(&value), "{metric}: {values:#?}");
    }
    let connects = values["ringmx_forward_delay_seconds_count{part=\"connect\"}"];
    assert!(
        (1.0..=2.0).contains(&connects),
        "only the first message of each connection waited for it: {connects}"
    );
    assert!(values["ringmx_forward_journal_sync_seconds_count"] >= 1.0);
    let oldest = values[&format!("ringmx_forward_oldest_seconds{{{name}}}")];
    assert!(oldest > 0.0 && oldest < PATIENCE.as_secs_f64(), "{oldest}");
    assert!(values["ringmx_forward_queue_bytes{place=\"later\"}"] > 0.0, "{values:#?}");
    assert!(values["ringmx_forward_queue_bytes{place=\"dead\"}"] > 0.0, "{values:#?}");
    if has("promtool") {
        lint(&get(forwarder.admin(), "/metrics").body);
    }
    // What is said of the message in the log has its parts.
    let line = forwarder.wait_for(" forwarded ");
    for field in ["queue_ms=", "took_ms=", "age_ms="] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(forwarder.log().contains("connect_ms="));
    let status = forwarder.status_when("it waits", |status| status["destinations"][0]["waiting"] == 1);
    assert_eq!((&status["process"], &status["shape"]), (&"forwarder".into(), &1.into()));
    assert_eq!(status["throughput"]["delivered_total"], 2);
    assert_eq!(status["destinations"][0]["hosts"][0]["state"], "up");
    let page = get(forwarder.admin(), "/");
    assert!(
        page.head.contains("content-security-policy: default-src 'none'; script-src 'sha256-"),
        "{}",
        page.head
    );
    assert!(page.body.contains(&format!("lmtp://{}", hop.address())) && page.body.contains("1 waiting"));
    forwarder.stop();
}

#[test]
fn a_next_hop_that_is_down_is_told_and_is_no_reason_to_be_not_ready_at_once() {
    let (dead, live) = (free_address(), hop());
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{dead}\"]\n\
         [[forward]]\nto = [\"smtp://{}\"]\n",
        live.address()
    ));
    let forwarder = Forwarder::beside(&near);
    forwarder.wait_for_status("/readyz", 200);
    deliver(&near, "b@example.test");
    let up = format!("ringmx_forward_destination_up{{destination=\"smtp://{dead}\"}}");
    let values = forwarder.wait_for_value(&up, 0.0);
    assert_eq!(values["ringmx_ready"], 1.0, "{values:#?}");
    forwarder.wait_for_status("/readyz", 200);
    forwarder.wait_for_status("/healthz", 200);
    assert_eq!(
        values[&format!("ringmx_forward_destination_up{{destination=\"smtp://{}\"}}", live.address())],
        1.0
    );
    let no_session =
        format!("ringmx_forward_attempts_total{{destination=\"smtp://{dead}\",result=\"no_session\"}}");
    assert!(values[&no_session] >= 2.0, "{values:#?}");
    let status = forwarder.status_when("it is suspended", |status| {
        status["destinations"][0]["hosts"][0]["state"] == "suspended"
    });
    let host = &status["destinations"][0]["hosts"][0];
    assert!(host["why"].as_str().is_some_and(|why| why.contains("refused")), "{status}");
    assert!(
        status["problems"][0]["what"].as_str().is_some_and(|what| what.contains("takes no mail")),
        "{status}"
    );
    assert!(
        status["events"].as_array().expect("a list").iter().any(|event| event["event"] == "next-hop-down")
    );
    let said = forwarder.said_on_a_terminal(&near);
    for part in ["ringmx forwarder near.example.test", "Warning: ", "takes no mail for ", "suspended for "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // It comes back.
    let listener = TcpListener::bind(dead).expect("still free");
    let again =
        NextHop::on(listener, Manner { is_lmtp: false, keywords: vec![], recipient: accept, end: accept });
    forwarder.wait_for("next-hop-up");
    forwarder.wait_for_status("/readyz", 200);
    assert_eq!(again.taken().len(), 1);
    forwarder.stop();
}

#[test]
fn a_server_that_ends_each_session_within_a_message_is_down_though_each_begins_well() {
    let rude = NextHop::start(Manner {
        is_lmtp: false,
        keywords: vec!["PIPELINING"],
        recipient: accept,
        end: |_| String::new(),
    });
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", rude.address()));
    let forwarder = Forwarder::beside(&near);
    for _ in 0..2 {
        deliver(&near, "b@example.test");
    }
    let line = forwarder.wait_for("next-hop-down");
    assert!(line.contains(&format!("smtp://{}", rude.address())), "{line}");
    let name = format!("destination=\"smtp://{}\"", rude.address());
    let values = forwarder.wait_for_value(&format!("ringmx_forward_destination_up{{{name}}}"), 0.0);
    assert!(
        values[&format!("ringmx_forward_attempts_total{{{name},result=\"lost\"}}")] >= 2.0,
        "{values:#?}"
    );
    assert_eq!(values[&format!("ringmx_forward_results_total{{{name},result=\"delivered\"}}")], 0.0);
    // Mail that waits has it probed: its greeting is good again and again, and that alone is no mail.
    deliver(&near, "c@example.test");
    let lost = format!("ringmx_forward_attempts_total{{{name},result=\"lost\"}}");
    let start = Instant::now();
    while forwarder.scrape()[&lost] <= values[&lost] {
        assert!(start.elapsed() < PATIENCE, "it is probed with mail: {}", forwarder.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!forwarder.log().contains("next-hop-up"), "{}", forwarder.log());
    forwarder.stop();
}

#[test]
fn mail_that_no_route_takes_is_told_and_counted() {
    let hop = hop();
    // The receiver takes mail for both, and the forwarder has a route for one.
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    deliver(&near, "b@example.test");
    deliver(&near, "c@other.test");
    let text = fs::read_to_string(near.folder().join("ringmx.toml")).expect("the configuration");
    let text = text.replace("domains = [\"example.test\", \"other.test\"]", "domains = [\"example.test\"]");
    let file = near.folder().join("forward.toml");
    fs::write(&file, text.replace("[[forward]]\n", "[[forward]]\ndomains = [\"example.test\"]\n"))
        .expect("written");
    let forwarder = Forwarder::start(&file, |_| {});
    forwarder.wait_for_value("ringmx_forward_unrouted_total", 1.0);
    assert!(forwarder.wait_for(" unrouted ").contains(" recipients=1"));
    forwarder.stop();
    // It waits still, and the next process counts it, too.
    fs::remove_file(near.folder().join("forward.log")).expect("removed");
    let forwarder = Forwarder::start(&file, |_| {});
    forwarder.wait_for_value("ringmx_forward_unrouted_total", 1.0);
    assert_eq!(forwarder.log().matches("1 recipients are held, because no route takes them").count(), 1);
    forwarder.stop();
}

#[test]
fn an_address_that_somebody_has_stops_the_start_before_anything_is_changed() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("an address");
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", free_address()));
    let file = near.folder().join("ringmx.toml");
    let text = fs::read_to_string(&file).expect("the configuration");
    let (before, after) = text.split_once("[forward_admin]\naddress = \"127.0.0.1:0\"").expect("its address");
    fs::write(&file, format!("{before}[forward_admin]\naddress = \"{address}\"{after}")).expect("written");
    let mut forwarder = Forwarder::beside(&near);
    assert!(!forwarder.child.wait().expect("it ends").success());
    assert!(forwarder.log().contains(&address.to_string()), "{}", forwarder.log());
    assert!(!near.folder().join("spool/forward/journal").exists());
}

/// A disk that hangs: the office's note is on its way and does not end.
#[test]
fn a_disk_that_hangs_turns_health_bad_and_good_again_and_the_watchdog_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (behind, at) = (folder.path().join("behind"), folder.path().join("spool"));
    let faulty = match Faulty::mount(&behind, &at, true) {
        Ok(faulty) => faulty,
        Err(error) => return println!("skipped: FUSE cannot be used here: {error}"),
    };
    // A message is on its way for some time.
    let end = |_: &str| {
        std::thread::sleep(Duration::from_secs(2));
        "250 2.0.0 Ok".to_owned()
    };
    let hop = NextHop::start(Manner { is_lmtp: false, keywords: vec![], recipient: accept, end });
    let text =
        config(&at.display().to_string(), &format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let near = Server::start_whole(&text);
    deliver(&near, "b@example.test");
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    let config = near.folder().join("ringmx.toml");
    let notify = folder.path().join("notify");
    let forwarder = Forwarder::start(&config, |command| {
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "2000000");
    });
    forwarder.wait_for(" forwarded ");
    assert!(told_within(&manager, Duration::from_secs(2)).iter().any(|told| told.contains("WATCHDOG=1")));
    forwarder.wait_for_status("/healthz", 200);
    deliver(&near, "b@example.test");
    // It has been read and is on its connection; that it was taken cannot be noted.
    std::thread::sleep(Duration::from_secs(1));
    faulty.set(Fault::Hang);
    let start = Instant::now();
    loop {
        let verdict = forwarder.wait_for_status("/healthz", 503);
        if failing(&verdict).iter().any(|check| check.contains("office")) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the office waits for the disk: {verdict}");
        std::thread::sleep(Duration::from_millis(100));
    }
    forwarder.wait_for_status("/readyz", 503);
    let start = Instant::now();
    while !told_within(&manager, Duration::from_secs(3)).is_empty() {
        assert!(start.elapsed() < PATIENCE, "it hangs, and the watchdog is told that all is well");
    }
    faulty.set(Fault::None);
    forwarder.wait_for_status("/healthz", 200);
    assert!(!told_within(&manager, Duration::from_secs(3)).is_empty());
    forwarder.stop();
    drop(near);
}

/// What is told within a time.
fn told_within(manager: &UnixDatagram, wait: Duration) -> Vec<String> {
    let start = Instant::now();
    let mut told = Vec::new();
    while let Some(left) = wait.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        manager.set_read_timeout(Some(left)).expect("a time-out");
        let mut octets = [0; 4096];
        if let Ok(count) = manager.recv(&mut octets) {
            told.push(String::from_utf8_lossy(&octets[..count]).into_owned());
        }
    }
    told
}

#[test]
fn a_service_manager_is_told_of_start_and_stop_and_not_while_a_thread_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    let hop = hop();
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let config = near.folder().join("ringmx.toml");
    let notify = folder.path().join("notify");
    let forwarder = Forwarder::start(&config, |command| {
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "2000000");
    });
    forwarder.wait_for_status("/readyz", 200);
    let told = told_within(&manager, Duration::from_secs(2));
    assert_eq!(told[0], "STATUS=reading what waits\n");
    assert!(told.iter().any(|told| told.starts_with("READY=1\nSTATUS=")), "{told:?}");
    assert!(told.iter().filter(|told| *told == "WATCHDOG=1\n").count() >= 2, "{told:?}");
    // The engine is the main thread.
    for (thread, check) in [("ringmx", "engine"), ("ringmx-reader", "reader")] {
        let held = match HeldThread::hold(forwarder.child.id(), thread) {
            Ok(held) => held,
            Err(error) => return println!("skipped: threads cannot be held here: {error}"),
        };
        let verdict = forwarder.wait_for_status("/healthz", 503);
        assert!(failing(&verdict)[0].contains(check), "{verdict}");
        let start = Instant::now();
        while !told_within(&manager, Duration::from_secs(3)).is_empty() {
            assert!(start.elapsed() < PATIENCE, "{thread} hangs, and the watchdog is told that all is well");
        }
        drop(held);
        forwarder.wait_for_status("/healthz", 200);
        let start = Instant::now();
        while told_within(&manager, Duration::from_secs(1)).is_empty() {
            assert!(start.elapsed() < PATIENCE, "it goes on, and the watchdog is not told");
        }
    }
    forwarder.stop();
    let told = told_within(&manager, Duration::from_secs(1));
    assert!(told.iter().any(|told| told.starts_with("STOPPING=1\n")), "{told:?}");
}
