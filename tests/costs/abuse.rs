//! One client must not stop a shard: what hostile clients do, and what a good one beside them gets. Bounds
//! are those of `limits.rs` and of the configuration, with room for a noisy machine.

#![allow(clippy::format_push_string)] // Commands are put together from lines.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmx::limits::{ENVELOPE_BYTES_FREE, ENVELOPES_BYTES_MAX, HELD_BYTES_MAX};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use support::client::{Client, open_files};
use support::server::Server;

const MIB: u64 = 1 << 20;

/// One shard with little memory, and as many connections of a client as wanted.
fn server(limits: &str, shards: &str) -> Server {
    let cpu = ringmx::shard::affinity::allowed_cpus().expect("cores")[0];
    Server::start(&format!(
        "[[sink]]\nkind = \"discard\"\n[limits]\nconnections_per_client_max = 10000\n{limits}\n[shards]\ncpus = [{cpu}]\n{shards}\n\
         [log]\nsessions = false\nmessages = false\n"
    ))
}

/// A client whose socket takes in little: what it does not read stays with the server.
fn hostile(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    set_socket_recv_buffer_size(&stream, 4096).expect("a small receive buffer");
    stream.set_nonblocking(true).expect("non-blocking");
    stream
}

/// Sends what the server takes of this; false when it has closed.
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

/// MAIL, then RCPT for ever, and never a look at a reply: 439 KiB a connection once.
#[test]
fn clients_that_never_read_share_a_bounded_memory() {
    let _machine = crate::beside_others();
    const CLIENTS: usize = 400;
    open_files(2048);
    let server = server("", "buffers = 64\nbuffer_size = \"16KiB\"");
    let before = server.resident_bytes();
    let mut commands = String::from("EHLO client.example\r\n");
    let mut rest = String::from("MAIL FROM:<a@client.example>\r\n");
    for number in 0..20_000 {
        rest.push_str(&format!("RCPT TO:<recipient-number-{number}@example.org>\r\n"));
    }
    commands.push_str("NOOP\r\n");
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| hostile(server.address())).collect();
    // The answer to EHLO is waited for: nothing may stand behind the first one.
    for client in &clients {
        client.set_nonblocking(false).expect("blocking");
        let mut line = [0; 512];
        let mut stream = client;
        let _ = stream.read(&mut line).expect("a greeting");
        stream.write_all(b"EHLO client.example\r\n").expect("sent");
        let _ = stream.read(&mut line).expect("a reply");
        client.set_nonblocking(true).expect("non-blocking");
    }
    let mut sent = vec![0; CLIENTS];
    let mut most = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        for (client, sent) in clients.iter().zip(&mut sent) {
            push(client, rest.as_bytes(), sent);
        }
        most = most.max(server.resident_bytes());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Each has its replies, its line, a usual envelope; all together what they hold, what larger envelopes
    // take (how many recipients come through before the replies back up is the kernel's business), and the
    // receive buffers.
    let each = CLIENTS * (ENVELOPE_BYTES_FREE + 16 * 1024);
    let all = HELD_BYTES_MAX + ENVELOPES_BYTES_MAX;
    let bound = (all + each) as u64 + 64 * 16 * 1024 + 12 * MIB;
    let grown = most.saturating_sub(before);
    println!("{CLIENTS} clients that never read: {} MiB, at most {} MiB", grown / MIB, bound / MIB);
    assert!(grown <= bound, "{grown} octets, more than {bound}");
    let mut good = Client::greeted(server.address());
    let reply = good.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
}

/// Twenty octets of mail data and then nothing: each took 16 KiB, and the memory of a shard was gone.
#[test]
fn mail_data_that_stops_keeps_nobody_out() {
    let _machine = crate::beside_others();
    const CLIENTS: usize = 1800;
    open_files(4096);
    let server = server(
        "message_size_max = \"64KiB\"",
        "block_memory = \"1MiB\"\nbuffers = 64\nbuffer_size = \"4KiB\"",
    );
    let mut stopped = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Client::greeted(server.address());
        client.send(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
        let reply = client.reply();
        // The last ones may find little left, and come when others gave way.
        if reply.starts_with("250") {
            client.expect("250");
            client.expect("354");
            client.send(b"Subject: half\r\n\r\nx\r\n");
            stopped.push(client);
        }
        if number == 200 {
            let mut good = Client::greeted(server.address());
            let reply = good.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "beside 200: {reply}");
        }
    }
    assert!(stopped.len() > 1000, "{}", stopped.len());
    // Whoever has been silent longest gives way within seconds, not after five minutes.
    let start = Instant::now();
    loop {
        let mut good = Client::greeted(server.address());
        good.send(b"MAIL FROM:<a@client.example>\r\n");
        if good.reply().starts_with("250") {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "nobody gives way");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{} stopped in mail data; new mail after {:?}", stopped.len(), start.elapsed());
}

/// Good mail beside clients that send the dearest mail data there is, as fast as they can: all of it is
/// taken.
#[test]
fn good_mail_is_taken_beside_mail_data_that_costs_most() {
    let _machine = crate::alone();
    const HOSTILE: usize = 20;
    let server = server("", "");
    let address = server.address();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..HOSTILE {
            scope.spawn(|| {
                let body = b"..\r\n".repeat(64 * 1024);
                let mut client = Client::greeted(address);
                client.command("MAIL FROM:<a@client.example>", "250");
                client.command("RCPT TO:<b@example.org>", "250");
                client.command("DATA", "354");
                let mut stream = client.stream();
                stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a time-out");
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    if stream.write(&body).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                        break;
                    }
                }
            });
        }
        let mut good = Client::greeted(address);
        for _ in 0..50 {
            let reply = good.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "{reply}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// The longest turn of a shard, in microseconds, beside 50 clients that send this line without end as fast as
/// they can. As the counter in the log tells it, of the calmest of several servers: whatever else the machine
/// does makes turns longer and never shorter.
fn longest_turn(line: &[u8], listener: &str) -> u64 {
    const HOSTILE: usize = 50;
    const SERVERS: usize = 2;
    let cpu = ringmx::shard::affinity::allowed_cpus().expect("cores")[0];
    let body = line.repeat((256 << 10) / line.len());
    let attack = |_| {
        let mut server = Server::start(&format!(
            "{listener}\n[[sink]]\nkind = \"discard\"\n[shards]\ncpus = [{cpu}]\n[log]\nsessions = false\nmessages = false\n"
        ));
        let mut clients: Vec<(Client, usize)> = (0..HOSTILE)
            .map(|_| {
                let mut client = Client::greeted(server.address());
                client.command("MAIL FROM:<a@client.example>", "250");
                client.command("RCPT TO:<b@example.org>", "250");
                client.command("DATA", "354");
                client.send(b"Subject: hostile\r\n\r\n");
                client.stream().set_nonblocking(true).expect("non-blocking");
                (client, 0)
            })
            .collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(700) {
            // Mail data that never ends is closed after some time; the others go on.
            clients.retain_mut(|(client, sent)| {
                *sent %= body.len();
                push(client.stream(), &body, sent)
            });
        }
        // What the kernel still has of them goes with them, so that the server need not work it off before it
        // ends.
        for (client, _) in &clients {
            set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("no lingering");
        }
        drop(clients);
        server.stop();
        let stopped = server.wait_for_log(|line| line.contains(" stopped "));
        let value = stopped.split(' ').find_map(|word| word.strip_prefix("turn_us_max="));
        value.and_then(|value| value.parse::<u64>().ok()).expect("the longest turn")
    };
    (0..SERVERS).map(attack).min().unwrap_or(u64::MAX)
}

/// 50 clients with the dearest mail data made turns of a third of a second.
#[test]
fn a_turn_is_about_as_long_whatever_the_mail_data() {
    let _machine = crate::alone();
    let normalize = "bare_lf = \"normalize\"\nbare_cr = \"normalize\"";
    let plain = longest_turn(b"0123456789 123456789 123456789 123456789 123456789 12345678\r\n", "");
    println!("{plain:7} us: plain text, the control");
    // Work is counted in units that are about a nanosecond in a build with optimisation; without, some kinds
    // cost more a unit.
    let bound = 4 * plain + 10_000;
    let mut too_long = Vec::new();
    let kinds: [(&str, &[u8], &str); 6] = [
        ("bare LF", b"\n", ""),
        ("lines of two dots", b"..\r\n", ""),
        ("dots without a line end", b".", ""),
        ("NUL", b"\0", ""),
        ("bare LF, normalized", b"\n", normalize),
        ("everything at once", b"\r\r\n..\n\n.x\r.\0\r\n.\ry\n\0\r\n", normalize),
    ];
    for (name, line, listener) in kinds {
        let turn = longest_turn(line, listener);
        println!("{turn:7} us: {name}");
        if turn > bound {
            too_long.push(format!("{name}: {turn} us"));
        }
    }
    assert!(too_long.is_empty(), "more than {bound} us: {too_long:#?}");
}
