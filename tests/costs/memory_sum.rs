//! What `ringmx check` says of memory holds: what a connection takes in each state that a client can stop in,
//! and the sum of all parts when clients drive all of them to their bounds at once.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringmx::dns::table::{ANSWERS_BYTES_MAX, ANSWERS_MAX, Answers};
use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::limits::{ENVELOPES_BYTES_MAX, HELD_BYTES_MAX};
use ringmx::memory_sum::{
    ANSWER_PLACE_BYTES, CONNECTION_BYTES, MESSAGE_BYTES, MemorySum, SocketMemory, TLS_BYTES,
    TLS_HANDSHAKE_BYTES,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, SupportedProtocolVersion, version};
use support::client::{Client, open_files};
use support::control_group::ControlGroup;
use support::secure::{self, Offer, Secure};
use support::server::Server;

const MIB: u64 = 1 << 20;
const LISTENER: &str = "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";

/// A server without a log, on one core, with a certificate of its own.
fn server() -> Server {
    Server::start(&format!(
        "[[sink]]\nkind = \"discard\"\n[tls]\nself_signed = true\n[shards]\ncpus = [{}]\n[log]\nsessions = false\nmessages = false\n",
        core()
    ))
}

fn core() -> usize {
    ringmx::shard::affinity::allowed_cpus().expect("cores")[0]
}

/// Octets of resident memory that each of many connections in this state takes.
fn each<T>(state: &str, mut make: impl FnMut(&Server) -> T) -> u64 {
    const COUNT: usize = 400;
    open_files(2048);
    let server = server();
    // What is made once.
    let first: Vec<T> = (0..20).map(|_| make(&server)).collect();
    let before = server.resident_bytes();
    let more: Vec<T> = (0..COUNT).map(|_| make(&server)).collect();
    let each = server.resident_bytes().saturating_sub(before) / COUNT as u64;
    println!("{state}: {each} octets a connection");
    drop((first, more));
    each
}

fn idle(server: &Server) -> Client {
    Client::greeted(server.address())
}

/// As many recipients as an envelope may have for nothing, and a little mail data.
fn in_mail_data(server: &Server) -> Client {
    let mut client = idle(server);
    client.command("MAIL FROM:<a@client.example>", "250");
    for number in 0..24 {
        client.command(&format!("RCPT TO:<recipient-number-{number:05}@example.org>"), "250");
    }
    client.command("DATA", "354");
    client.send(b"Subject: half\r\n\r\nx\r\n");
    client
}

fn in_a_line(server: &Server) -> Client {
    let mut client = idle(server);
    client.send(&[b'x'; 2000]);
    client
}

fn under_tls(server: &Server, version: &'static SupportedProtocolVersion) -> Secure {
    let offer = Offer { versions: &[version], ..Offer::default() };
    secure::behind_starttls_with(server, &offer.config(), "mx.example")
}

/// A handshake of which the client sends so much of its first message, in per cent, and nothing more.
fn in_a_handshake(server: &Server, share: usize) -> Client {
    let mut client = idle(server);
    client.command("STARTTLS", "220 2.0.0");
    let name = ServerName::try_from("mx.example").expect("a name");
    let mut tls = ClientConnection::new(Offer::default().config(), name).expect("a client");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("memory");
    client.send(&hello[..hello.len() * share / 100]);
    if share == 100 {
        let _ = client.stream().read(&mut [0; 512]).expect("an answer");
    }
    client
}

#[test]
fn a_connection_takes_no_more_than_the_sum_says() {
    let _machine = crate::beside_others();
    let plain = each("idle", idle);
    assert!(plain <= CONNECTION_BYTES, "{plain}");
    let data = each("in mail data", in_mail_data);
    // Its replies were read, but their memory may be there.
    assert!(data <= CONNECTION_BYTES + MESSAGE_BYTES + 1024, "{data}");
    let line = each("in a command line", in_a_line);
    assert!(line <= CONNECTION_BYTES + 2 * 2048, "{line}");
}

#[test]
fn tls_takes_no_more_than_the_sum_says() {
    let _machine = crate::beside_others();
    for (state, version) in [("TLS 1.3", &version::TLS13), ("TLS 1.2", &version::TLS12)] {
        let idle = each(state, |server| under_tls(server, version));
        assert!(idle <= CONNECTION_BYTES + TLS_BYTES, "{state}: {idle}");
    }
    for share in [50, 100] {
        let handshake = each("in a handshake", |server| in_a_handshake(server, share));
        assert!(handshake <= CONNECTION_BYTES + TLS_HANDSHAKE_BYTES, "{share}: {handshake}");
    }
}

/// Short lines take most, for their length.
#[test]
fn the_tables_of_recipients_take_no_more_than_the_sum_says() {
    let _machine = crate::beside_others();
    const LISTENERS: usize = 3;
    let listeners = "[[listener]]\naddress = \"127.0.0.1:0\"\n".repeat(LISTENERS);
    let config = |file: &str| {
        format!(
            "hostname = \"mx.example.org\"\ndomains = [\"a.org\"]\n{file}{listeners}[[sink]]\nkind = \"discard\"\n[shards]\n\
             cpus = [{}]\n",
            core()
        )
    };
    let lines: Vec<String> = (0..100_000).map(|number| format!("u{number}@a.org\n")).collect();
    let lines = lines.concat();
    let file = "recipients = \"recipients.txt\"\n";
    let without = Server::start_whole(&config(""));
    let with = Server::start_with_files(&config(file), &[("recipients.txt", &lines)]);
    let taken = with.resident_bytes_max().saturating_sub(without.resident_bytes_max());
    let (config, _) = ringmx::config::load(&with.folder().join("ringmx.toml")).expect("a good configuration");
    let sum = MemorySum::of(&config, SocketMemory::default());
    let parts = sum.parts().iter().filter(|part| part.name.ends_with("recipients"));
    let part: u64 = parts.map(|part| part.bytes).sum();
    println!("{} MiB of {} MiB for a file of {} KiB", taken / MIB, part / MIB, lines.len() >> 10);
    assert!(taken <= part, "{taken} octets, more than {part}");
}

/// They ask one table, however many they are.
#[test]
fn more_listeners_take_no_more_memory_for_recipients() {
    let _machine = crate::beside_others();
    let lines: Vec<String> = (0..100_000).map(|number| format!("u{number}@a.org\n")).collect();
    let lines = lines.concat();
    let taken = |listeners: usize| {
        let config = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"a.org\"]\nrecipients = \"recipients.txt\"\n{}[[sink]]\nkind = \"discard\"\n\
             [shards]\ncpus = [{}]\n",
            "[[listener]]\naddress = \"127.0.0.1:0\"\n".repeat(listeners),
            core()
        );
        Server::start_with_files(&config, &[("recipients.txt", &lines)]).resident_bytes_max()
    };
    let (one, eight) = (taken(1), taken(8));
    println!("{} MiB with one listener, {} MiB with eight", one / MIB, eight / MIB);
    // A table of these takes 1 MiB.
    assert!(eight <= one + 6 * MIB, "{one} octets, with more listeners {eight}");
}

/// Set for the process that fills a table of answers: with what.
const ANSWERS: &str = "RINGMX_TEST_ANSWERS";

/// What an answer has in a table that is filled with as many as it holds.
const SHAPES: [(&str, usize, usize); 3] =
    [("short", 12, 0), ("long names", 250, 0), ("long texts", 12, 60_000)];

/// Only for the processes that [`a_table_of_answers_takes_no_more_than_the_sum_says`] starts.
#[test]
fn fill_a_table_of_answers() {
    let Some(shape) = std::env::var_os(ANSWERS) else { return };
    let (_, name_bytes, text_bytes) =
        SHAPES.into_iter().find(|(name, ..)| *shape == **name).expect("one of them");
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    };
    let (before, now) = (resident(), Instant::now());
    let mut table = Answers::default();
    for number in 0..2 * ANSWERS_MAX {
        let label = |bytes: usize| "x".repeat(bytes);
        let labels = [label(name_bytes.saturating_sub(200).max(1)), label(60), label(60), label(60)];
        let labels = if name_bytes > 200 { &labels[..] } else { &labels[..1] };
        let name = format!("{number:05}{}", labels.join("."));
        let question = Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"));
        let text = vec![b'x'; text_bytes].into_boxed_slice();
        let answer = if text_bytes > 0 { Answer::Records(Records::Txt(vec![text])) } else { Answer::NoName };
        table.look(&question, 7, now);
        table.arrive(question, answer, Duration::from_hours(1), now);
    }
    println!("taken: {} of {} counted", resident().saturating_sub(before), table.bytes());
}

#[test]
fn a_table_of_answers_takes_no_more_than_the_sum_says() {
    let _machine = crate::beside_others();
    for (shape, ..) in SHAPES {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "memory_sum::fill_a_table_of_answers", "--nocapture"]).env(ANSWERS, shape);
        let output = child.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let taken =
            text.lines().find_map(|line| line.split_once("taken: ")?.1.split_once(" of ")?.0.parse().ok());
        let taken: u64 = taken.unwrap_or_else(|| panic!("{shape}: {text}"));
        println!("{shape}: {taken} octets");
        let most = ANSWERS_BYTES_MAX as u64 + ANSWERS_MAX as u64 * ANSWER_PLACE_BYTES;
        assert!(taken <= most, "{shape}: {taken} octets, more than {most}");
    }
}

/// Little memory and few connections, so that a test can use all of it up.
fn small(sink: &str) -> String {
    format!(
        "{LISTENER}receive_buffer = \"64KiB\"\n[tls]\nself_signed = true\n[[sink]]\n{sink}\n\
         [limits]\nmessage_size_max = \"4MiB\"\nspill_size_max = \"1GiB\"\nconnections_per_client_max = 10000\n\
         [shards]\ncpus = [{}]\nconnections_max = {PLACES}\nbuffers = 128\nbuffer_size = \"32KiB\"\nblock_memory = \"8MiB\"\n\
         [log]\nsessions = false\n",
        core()
    )
}

const PLACES: usize = 1500;

/// What `ringmx check` prints of this configuration: octets of the process, and with the kernel's.
fn printed(config: &str) -> (u64, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringmx.toml");
    std::fs::write(&file, config).expect("written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_ringmx")).arg("check").arg(&file).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    println!("{text}");
    let row = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().split_once("  ").is_some_and(|(_, row)| row.starts_with(name)));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no row {name:?}: {text}")) * MIB
    };
    (row("the process"), row("with what the kernel keeps"))
}

/// Sends what the server takes of this without waiting; false when it has closed.
fn push(mut stream: &TcpStream, octets: &[u8], sent: &mut usize) -> bool {
    while *sent < octets.len() {
        match stream.write(&octets[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// A transaction with as many long recipients as there is room for; how many it got.
fn large_envelope(address: SocketAddr) -> (Client, usize) {
    const GROUP: usize = 50;
    let mut client = Client::greeted(address);
    client.command("MAIL FROM:<a@client.example>", "250");
    let mut accepted = 0;
    for group in 0..20 {
        let commands: Vec<String> = (0..GROUP)
            .map(|number| {
                format!(
                    "RCPT TO:<{:06}{}@{}example.org>\r\n",
                    group * GROUP + number,
                    "x".repeat(50),
                    "y23456789.".repeat(15)
                )
            })
            .collect();
        client.send(commands.concat().as_bytes());
        let replies = (0..GROUP).map(|_| client.reply());
        let taken = replies.filter(|reply| reply.starts_with("250")).count();
        accepted += taken;
        if taken < GROUP {
            break;
        }
    }
    (client, accepted)
}

/// A message that has begun, of which so many octets came.
fn begun_message(address: SocketAddr, octets: &[u8]) -> Option<Client> {
    let mut client = Client::greeted(address);
    client.send(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    let last = (0..3).map(|_| client.reply()).last()?;
    if last.starts_with("354") {
        client.stream().set_write_timeout(Some(Duration::from_secs(2))).expect("a time-out");
        let _ = client.stream().write_all(octets);
    }
    Some(client)
}

/// A client that reads nothing after EHLO and sends commands without an end.
fn never_reads(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("connected");
    set_socket_recv_buffer_size(&stream, 4096).expect("a small receive buffer");
    let mut line = [0; 512];
    stream.read(&mut line).ok().filter(|count| *count > 0)?;
    stream.write_all(b"EHLO client.example\r\n").ok()?;
    stream.read(&mut line).ok().filter(|count| *count > 0)?;
    stream.set_nonblocking(true).expect("non-blocking");
    Some(stream)
}

/// Resident memory when each of these had been driven to its bound, in octets.
struct Seen {
    start: u64,
    envelopes: u64,
    /// Under TLS, in handshakes, and with half a message.
    others: u64,
    /// Clients that never read.
    held: u64,
}

/// Drives every part to its bound at once: large envelopes, TLS sessions and handshakes, half messages, whole
/// ones, clients that never read, and more connections than there are places.
fn attack(server: &Server) -> Seen {
    let address = server.address();
    let body = b"text of a line of mail data that goes on and on\r\n".repeat(40_000);
    let mut commands = String::from("MAIL FROM:<a@client.example>\r\n");
    commands.extend((0..10_000).map(|number| format!("RCPT TO:<recipient-number-{number}@example.org>\r\n")));
    let (stop, stored) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = server.resident_bytes();
    let seen = std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if whole_message(address, &body).is_some_and(|reply| reply.starts_with("250")) {
                        stored.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let large: Vec<_> = (0..110).map(|_| large_envelope(address)).collect();
        println!("{} recipients in {} envelopes", large.iter().map(|one| one.1).sum::<usize>(), large.len());
        let envelopes = server.resident_bytes_max();
        let silent: Vec<_> = (0..PLACES - 360).filter_map(|_| never_reads(address)).collect();
        let mut sent = vec![0; silent.len()];
        let mut send = |count: usize| {
            for (stream, sent) in silent.iter().zip(&mut sent) {
                push(stream, &commands.as_bytes()[..count], sent);
            }
        };
        // While MAIL is still taken.
        send(100);
        let secured: Vec<_> = (0..80).map(|_| under_tls(server, &version::TLS13)).collect();
        let handshakes: Vec<_> = (0..60).map(|_| in_a_handshake(server, 100)).collect();
        let halves: Vec<_> = (0..100).filter_map(|_| begun_message(address, &body[..300_000])).collect();
        let others = server.resident_bytes_max();
        let beyond: Vec<_> = (0..200).map(|_| TcpStream::connect(address)).collect();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            send(commands.len());
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        let held = server.resident_bytes_max();
        drop((large, secured, handshakes, halves, silent, beyond));
        Seen { start, envelopes, others, held }
    });
    println!("{} messages were stored meanwhile", stored.load(Ordering::Relaxed));
    seen
}

/// The reply to a message, or to what of it was refused first; none when the connection ended.
fn whole_message(address: SocketAddr, body: &[u8]) -> Option<String> {
    const COMMANDS: [(&str, &str); 5] = [
        ("", "220"),
        ("EHLO c.example\r\n", "250"),
        ("MAIL FROM:<a@c.example>\r\n", "250"),
        ("RCPT TO:<b@example.org>\r\n", "250"),
        ("DATA\r\n", "354"),
    ];
    let mut stream = BufReader::new(TcpStream::connect(address).ok()?);
    stream.get_ref().set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    for (command, expected) in COMMANDS {
        stream.get_mut().write_all(command.as_bytes()).ok()?;
        let reply = last_line(&mut stream)?;
        if !reply.starts_with(expected) {
            return Some(reply);
        }
    }
    stream.get_mut().write_all(body).ok()?;
    stream.get_mut().write_all(b".\r\n").ok()?;
    last_line(&mut stream)
}

/// The last line of a reply.
fn last_line(stream: &mut impl BufRead) -> Option<String> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Some(line);
        }
    }
}

#[test]
fn all_parts_at_their_bounds_at_once_stay_below_the_sum_that_check_prints() {
    let _machine = crate::beside_others();
    open_files(4096);
    for sink in [
        "kind = \"maildir\"\npath = \"mail\"",
        "kind = \"spool\"\npath = \"spool\"\nsegment_size = \"16MiB\"",
        "kind = \"stdout\"",
    ] {
        stays_below_its_sum(&small(sink));
    }
}

fn stays_below_its_sum(config: &str) {
    let (process, all) = printed(config);
    let group = ControlGroup::with_memory(all);
    let entrance = group.as_ref().map(ControlGroup::entrance);
    let wrapper: Vec<&str> = entrance.iter().flat_map(|entrance| ["sh", "-c", entrance, "sh"]).collect();
    let server = Server::start_under(&wrapper, config, &[]);
    let Seen { start, envelopes, others, held } = attack(&server);
    let most = server.resident_bytes_max();
    let shown = [start, envelopes, others, held, most].map(|bytes| bytes / MIB);
    println!("{shown:?} MiB of {} MiB, {} MiB with the kernel's", process / MIB, all / MIB);
    assert!(most <= process, "{most} octets, more than {process}");
    // What can be driven to its bound was. What was freed meanwhile is used again, so the parts cannot be
    // told apart to the octet.
    let bounded = (ENVELOPES_BYTES_MAX / 3 * 2) as u64;
    assert!(envelopes - start >= bounded, "envelopes: {}", envelopes - start);
    let bounded = bounded + (HELD_BYTES_MAX / 2) as u64;
    assert!(held - start >= bounded, "envelopes and unread commands: {}", held - start);
    assert!(most >= process / 6, "{most} octets of {process}: the sum is no bound");
    let mut good = Client::greeted(server.address());
    let reply = good.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    drop(server);
    if let Some(group) = group {
        assert_eq!(group.killed(), 0);
    }
}
