//! What is counted, over HTTP, of a real server: after hostile clients, and beside a real Prometheus.

#![allow(clippy::float_cmp)] // They are counts, which are exact.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::client::Client;
use support::dialogue::{Dialogue, Event};
use support::http::{ask, get};
use support::load::{loadgen, number_from};
use support::server::Server;

/// What should be so within seconds has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a scrape may have, for the cores that most machines have.
const SCRAPE_BYTES_MAX: usize = 64 * 1024;

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"";

/// The values of a scrape, by name and labels as they stand there.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let answer = get(server.admin_address(), "/metrics");
    assert_eq!(answer.status, 200);
    values_of(&answer.body)
}

/// The values of a text for Prometheus, the same.
pub(super) fn values_of(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    samples.map(pair).collect()
}

/// The sum of a metric over all its labels.
fn sum(values: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of_it = |key: &str| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    values.iter().filter(|(key, _)| of_it(key)).map(|(_, value)| value).sum()
}

/// Scrapes until the values are as they should be.
fn scrape_until(
    server: &Server,
    what: &str,
    is_so: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let start = Instant::now();
    loop {
        let values = scrape(server);
        if is_so(&values) {
            return values;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {values:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a program is there. With CI set it has to be.
pub(super) fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "{program} is missing: apt-get install prometheus");
    if !is_there {
        println!("skipped: {program} is not there (apt-get install prometheus)");
    }
    is_there
}

pub(super) fn lint(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("the text is read");
    let output = promtool.wait_with_output().expect("promtool ends");
    let told = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
    assert!(output.status.success() && told.iter().all(String::is_empty), "{told:?}");
}

/// Sends all that the client of a dialogue says, at once, and reads to the end. Gives how many replies there
/// were, and whether the last one was that to QUIT: then there were no others.
fn say_all(address: SocketAddr, dialogue: &Dialogue) -> (u64, bool) {
    let mut stream = TcpStream::connect(address).expect("connected");
    let said: Vec<u8> = dialogue
        .events
        .iter()
        .flat_map(|event| if let Event::Client(octets) = event { &octets[..] } else { b"" })
        .copied()
        .collect();
    // The server may close before it has read all.
    let _ = stream.write_all(&said);
    let _ = stream.shutdown(Shutdown::Write);
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    let is_last =
        |line: &&[u8]| line.len() > 3 && line[3] == b' ' && line[..3].iter().all(u8::is_ascii_digit);
    let replies: Vec<_> = told.split(|octet| *octet == b'\n').filter(is_last).collect();
    (replies.len() as u64, replies.last().is_some_and(|reply| reply.starts_with(b"221 ")))
}

#[test]
fn what_hostile_clients_do_is_counted_and_no_label_is_theirs() {
    let server = Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\", \"example.com\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\nearly_talkers = \"tolerate\"\nunauthorized_pipelining = \"tolerate\"\n[[sink]]\nkind = \"discard\"\n[limits]\nmessage_size_max = \"1MiB\"\n{ADMIN}"
    ));
    let before: Vec<String> = scrape(&server).into_keys().collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let (mut connections, mut replies, mut said, mut quit) = (0, 0, 0.0, 0);
    for entry in fs::read_dir(folder).expect("tests/dialogues") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("readable dialogue");
        if path.extension().is_none_or(|extension| extension != "smtp") {
            continue;
        }
        let (seen, has_quit) = say_all(server.address(), &Dialogue::parse(&text).expect("a dialogue"));
        replies += seen;
        connections += 1;
        let values = scrape_until(&server, "the session has ended", |values| {
            sum(values, "ringmx_sessions_ended_total") >= f64::from(connections)
        });
        let before = std::mem::replace(&mut said, sum(&values, "ringmx_replies_total"));
        #[allow(clippy::cast_precision_loss)]
        let seen = seen as f64;
        assert!(!has_quit || said - before == seen, "{}: {} and {seen}", path.display(), said - before);
        quit += i32::from(has_quit);
    }
    assert!(connections > 80 && quit > 10, "the dialogues were found, {quit} of {connections} end with QUIT");
    let values = scrape(&server);
    assert_eq!(sum(&values, "ringmx_connections_accepted_total"), f64::from(connections));
    assert_eq!(sum(&values, "ringmx_sessions_ended_total"), f64::from(connections));
    assert_eq!(values["ringmx_phase_duration_seconds_count{phase=\"session\"}"], f64::from(connections));
    assert_eq!(sum(&values, "ringmx_connections_open"), 0.0);
    assert_eq!(sum(&values, "ringmx_session_panics_total"), 0.0);
    // Who sends on after the last reply may never see it: its end of the connection was reset.
    #[allow(clippy::cast_precision_loss)]
    let seen = replies as f64;
    assert!(said >= seen && seen > said * 0.8, "{said} replies were said and {seen} seen");
    assert!(sum(&values, "ringmx_recipients_refused_total") > 0.0);
    assert!(values["ringmx_commands_total{verb=\"other\"}"] > 0.0);
    for phase in ["envelope", "data", "handoff_wait", "store"] {
        let count = values[&format!("ringmx_phase_duration_seconds_count{{phase=\"{phase}\"}}")];
        assert_eq!(count, sum(&values, "ringmx_messages_total"), "{phase}");
    }
    // Nothing that a client does makes a line more.
    assert_eq!(values.keys().collect::<Vec<_>>(), before.iter().collect::<Vec<_>>());
    for query in ["", "?shards=1"] {
        let text = get(server.admin_address(), &format!("/metrics{query}")).body;
        assert!(!query.is_empty() || text.len() <= SCRAPE_BYTES_MAX, "{} octets", text.len());
        if has("promtool") {
            lint(&text);
        }
    }
}

#[test]
fn each_refusal_and_each_end_has_its_counter() {
    let server = Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n[limits]\nrecipients_max = 100\n{ADMIN}"
    ));
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@example.org>", "250");
    client.command("RCPT TO:<b@elsewhere.test>", "550 5.7.1");
    client.command("RCPT TO:<>", "501");
    client.command("RCPT FROM:<b@example.org>", "501");
    client.command("DATA", "354");
    client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n");
    assert!(client.reply().starts_with("250 2.0.0"));
    client.command("QUIT", "221");
    drop(TcpStream::connect(server.address()).expect("connected"));
    let values = scrape_until(&server, "both sessions have ended", |values| {
        sum(values, "ringmx_sessions_ended_total") >= 2.0
    });
    for (name, count) in [
        ("ringmx_recipients_refused_total{reason=\"foreign-domain\"}", 1.0),
        ("ringmx_recipients_refused_total{reason=\"bad-address\"}", 1.0),
        ("ringmx_recipients_refused_total{reason=\"syntax\"}", 1.0),
        ("ringmx_commands_total{verb=\"RCPT\"}", 4.0),
        ("ringmx_replies_total{code=\"550\",enhanced=\"5.7.1\"}", 1.0),
        ("ringmx_replies_total{code=\"250\",enhanced=\"2.0.0\"}", 1.0),
        ("ringmx_replies_total{code=\"354\",enhanced=\"\"}", 1.0),
        ("ringmx_messages_total{outcome=\"stored\"}", 1.0),
        ("ringmx_message_bytes_total", 20.0),
        ("ringmx_message_size_bytes_sum", 20.0),
        ("ringmx_sessions_ended_total{outcome=\"quit\"}", 1.0),
        ("ringmx_sessions_ended_total{outcome=\"silent\"}", 1.0),
        ("ringmx_ready", 1.0),
        ("ringmx_generation", 1.0),
    ] {
        assert_eq!(values[name], count, "{name}");
    }
}

/// A running Prometheus; ended by drop.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// It takes no port of the kernel's choice. One that was free may be another program's meanwhile: then it
    /// ends, and has another one.
    fn watch(target: SocketAddr) -> Self {
        const TRIES: usize = 5;
        let prometheus = (0..TRIES).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            Self::watch_from(port.expect("a port"), target)
        });
        prometheus.expect("prometheus stays")
    }

    /// None where it ends.
    fn watch_from(port: SocketAddr, target: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: ringmx\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        fs::write(&file, text).expect("its configuration");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        let mut prometheus = Self { child, address: port, _folder: folder };
        let start = Instant::now();
        while !is_ready(port) {
            if let Some(status) = prometheus.child.try_wait().expect("its state") {
                println!("prometheus ended: {status}");
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "prometheus does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(prometheus)
    }

    /// The one value of a query; none while there is none.
    fn ask(&self, query: &str) -> Option<f64> {
        let escaped = query.bytes().fold(String::new(), |text, octet| text + &format!("%{octet:02X}"));
        // HTTP/1.0, so that the end of the answer is that of the connection.
        let asked = format!("GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n");
        let answer = ask(self.address, asked.as_bytes());
        let told: Value = serde_json::from_str(answer.body.trim()).ok()?;
        told["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

/// Whether a Prometheus answers here; whoever else has the port says something else.
fn is_ready(port: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(port) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n");
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    told.starts_with(b"HTTP/1.0 200 ")
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The load lasts 4 s; `RINGMX_PROMETHEUS_SECONDS=60` makes it last a minute.
#[test]
fn the_sums_of_a_real_prometheus_are_those_of_loadgen() {
    if !has("prometheus") {
        return;
    }
    let server = Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"store\"\nsegment_size = \"16MiB\"\n[log]\nmessages = false\n{ADMIN}"
    ));
    let prometheus = Prometheus::watch(server.admin_address());
    let file = server.folder().join("report.json");
    let seconds = number_from("RINGMX_PROMETHEUS_SECONDS").unwrap_or(4);
    let output = Command::new(loadgen())
        .arg(server.address().to_string())
        .args(["--to", "user@example.test", "--connections", "8", "--per-connection", "7", "--size", "2KiB"])
        .args(["--messages", "10000000", "--duration", &format!("{seconds}s"), "--json"])
        .arg(&file)
        .output()
        .expect("loadgen runs");
    let told = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let report: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let accepted = report["messages_accepted"].as_f64().unwrap_or_else(|| panic!("{report:#}"));
    assert!(output.status.success() && accepted > 0.0, "{report:#}");
    let stored = "sum(ringmx_messages_total{outcome=\"stored\"})";
    let start = Instant::now();
    while prometheus.ask(stored) != Some(accepted)
        || prometheus.ask("sum(ringmx_connections_open)") != Some(0.0)
    {
        assert!(start.elapsed() < PATIENCE, "{:?} and not {accepted}", prometheus.ask(stored));
        std::thread::sleep(Duration::from_millis(200));
    }
    for (query, count) in [
        ("sum(ringmx_messages_total)", accepted),
        ("ringmx_message_size_bytes_count", accepted),
        ("ringmx_message_size_bytes_bucket{le=\"+Inf\"}", accepted),
        ("ringmx_phase_duration_seconds_count{phase=\"store\"}", accepted),
        ("ringmx_phase_duration_seconds_bucket{phase=\"data\",le=\"+Inf\"}", accepted),
        ("ringmx_sink_batch_messages_sum", accepted),
        ("ringmx_commands_total{verb=\"DATA\"}", accepted),
        ("ringmx_commands_total{verb=\"RCPT\"}", accepted),
        ("sum(ringmx_replies_total{code=\"354\"})", accepted),
        ("ringmx_sink_queue_messages", 0.0),
    ] {
        assert_eq!(prometheus.ask(query), Some(count), "{query}");
    }
    let connections = report["connections_made"].as_f64();
    for query in ["sum(ringmx_connections_accepted_total)", "sum(ringmx_sessions_ended_total)"] {
        assert_eq!(prometheus.ask(query), connections, "{query}");
    }
    assert!(prometheus.ask("up").is_some_and(|up| up == 1.0));
    let scrapes = prometheus.ask("count_over_time(up[10m])");
    println!("{accepted} messages in {seconds} s, {scrapes:?} scrapes");
}
