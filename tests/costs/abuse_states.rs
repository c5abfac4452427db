//! What a connection costs whose client stops: resident memory a connection in every state of a session,
//! beside that of a client that said EHLO and nothing more.
//!
//! The states are those that the session names ([`Standing`]): one that is added without rows here does not
//! compile. Each row is played to a session in memory first, so that it is known to end where it says.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::{self, Config};
use ringmx::limits::{BLOCK_BYTES, ENVELOPE_BYTES_FREE, FIRST_BLOCK_BYTES, HELD_BYTES_MAX, REPLY_BYTES_MAX};
use ringmx::mail::client::TlsFacts;
use ringmx::mail::queue_id::QueueId;
use ringmx::smtp::policy::{Recipients, Verdict};
use ringmx::smtp::question::{Delivered, Question, Storing};
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Input, Session, Standing, Step};
use ringmx::smtp::settings::Settings;
use ringmx::smtp::supplies::Supplies;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use support::client::{Client, open_files};
use support::secure;
use support::server::Server;

/// Connections of a row. Many, so that what a server takes once does not matter.
const CONNECTIONS: usize = 800;

/// What an allocator and the kernel's pages add to what is asked for.
const SLACK_BYTES: usize = 1024;

/// What a TLS session takes: rustls' own state, with its buffers, and what is to be sent of a handshake.
const TLS_BYTES: usize = 12 * 1024;

const LISTENER: &str = "tls = \"offered\"";

/// Where a client stops, and what that may cost.
struct Row {
    name: &'static str,
    /// Lines of the listener.
    listener: &'static str,
    /// What the client sends. Each but the last is answered, and the reply is read before the next.
    sends: Vec<Vec<u8>>,
    /// The last one is answered, too, and what is said is read.
    is_answered: bool,
    how: How,
    /// Octets beyond those of an idle connection.
    bytes_max: usize,
}

/// What else a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    /// The session goes under TLS after all that, and says EHLO.
    Secure,
    /// A whole ClientHello after all that, and no answer to what the server says then.
    HalfSecure,
    /// It reads no reply from the last send on, and its socket takes in little.
    NotReading,
}

impl Row {
    fn new(name: &'static str, sends: &[&str], bytes_max: usize) -> Self {
        let sends = sends.iter().map(|text| text.as_bytes().to_vec()).collect();
        Self { name, listener: LISTENER, sends, is_answered: true, how: How::Plain, bytes_max }
    }

    /// The last send is not whole, so nothing is said to it.
    fn unanswered(self) -> Self {
        Self { is_answered: false, ..self }
    }

    fn at(self, listener: &'static str) -> Self {
        Self { listener, ..self }
    }

    fn how(self, how: How) -> Self {
        Self { how, ..self }
    }
}

const EHLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<a@client.example>\r\n";
const RCPT: &str = "RCPT TO:<b@example.org>\r\n";

/// Where clients can stop while the session waits for this; nowhere, with the reason why.
fn rows(standing: Standing) -> Result<Vec<Row>, &'static str> {
    /// An envelope, and a message with its first block.
    const TRANSACTION: usize = ENVELOPE_BYTES_FREE + FIRST_BLOCK_BYTES + 1024;
    let many: String = (0..2000).fold(String::new(), |mut text, number| {
        let _ = write!(text, "RCPT TO:<recipient-number-{number}@example.org>\r\n");
        text
    });
    let text = "a line of mail data that is followed by others\r\n".repeat(200);
    Ok(match standing {
        Standing::Proxy => {
            let front = "proxy_from = [\"127.0.0.0/8\"]";
            vec![
                Row::new("before the PROXY header", &[""], 0).at(front).unanswered(),
                Row::new("in a PROXY header", &["PROXY TCP4 192.0.2.1 "], 256).at(front).unanswered(),
            ]
        }
        Standing::Delayed => {
            vec![Row::new("in the greeting's delay", &[""], 0).at("greeting_delay = \"30s\"").unanswered()]
        }
        Standing::Command => vec![
            Row::new("before EHLO", &[], 0),
            Row::new("in the line of EHLO", &["EHLO client.exam"], 512).unanswered(),
            Row::new("after EHLO", &[EHLO], 0),
            Row::new("in a long line", &[EHLO, &"x".repeat(1500)], 4096).unanswered(),
            Row::new("in a line without end", &[EHLO, &"x".repeat(20_000)], 4096).unanswered(),
            Row::new("after MAIL", &[EHLO, MAIL], TRANSACTION),
            Row::new("after RCPT", &[EHLO, MAIL, RCPT], TRANSACTION),
            Row::new("in the line of DATA", &[EHLO, MAIL, RCPT, "DATA"], TRANSACTION + 256).unanswered(),
            Row::new("after RSET", &[EHLO, MAIL, RCPT, "RSET\r\n"], 0),
            Row::new("after a message", &[EHLO, MAIL, RCPT, "DATA\r\n", "x\r\n.\r\n"], 0),
            Row::new("after a chunk", &[EHLO, MAIL, RCPT, "BDAT 20\r\n01234567890123456789"], TRANSACTION),
            Row::new("under TLS", &[EHLO, "STARTTLS\r\n"], TLS_BYTES).how(How::Secure),
            Row::new(
                "not reading",
                &[EHLO, MAIL, &many],
                ENVELOPE_BYTES_FREE + 2 * REPLY_BYTES_MAX + HELD_BYTES_MAX / CONNECTIONS + TRANSACTION,
            )
            .how(How::NotReading),
        ],
        Standing::Securing => vec![
            Row::new("before a handshake", &[EHLO, "STARTTLS\r\n"], TLS_BYTES),
            Row::new("in a handshake", &[EHLO, "STARTTLS\r\n", "\u{16}\u{3}\u{1}\u{2}"], TLS_BYTES)
                .unanswered(),
            Row::new("in a handshake that the server answered", &[EHLO, "STARTTLS\r\n"], TLS_BYTES)
                .how(How::HalfSecure),
            Row::new("before a handshake at once", &[""], TLS_BYTES).at("tls = \"implicit\"").unanswered(),
        ],
        Standing::Data => vec![
            Row::new("after DATA", &[EHLO, MAIL, RCPT, "DATA\r\n"], TRANSACTION),
            Row::new("in a line of mail data", &[EHLO, MAIL, RCPT, "DATA\r\n", "Subject: hal"], TRANSACTION)
                .unanswered(),
            Row::new(
                "after 10 KB of mail data",
                &[EHLO, MAIL, RCPT, "DATA\r\n", &text],
                TRANSACTION + BLOCK_BYTES,
            )
            .unanswered(),
            Row::new(
                "in refused mail data",
                &[EHLO, MAIL, RCPT, "DATA\r\n", &"\n".repeat(10_000)],
                TRANSACTION,
            )
            .unanswered(),
            Row::new("before the last LF", &[EHLO, MAIL, RCPT, "DATA\r\n", "x\r\n.\r"], TRANSACTION)
                .unanswered(),
        ],
        Standing::Chunk => vec![
            Row::new("before a chunk's octets", &[EHLO, MAIL, RCPT, "BDAT 20 LAST\r\n"], TRANSACTION)
                .unanswered(),
            Row::new("in a chunk", &[EHLO, MAIL, RCPT, "BDAT 2000 LAST\r\nSubject: hal"], TRANSACTION)
                .unanswered(),
            Row::new("in a refused chunk", &[EHLO, "BDAT 2000000 LAST\r\nSubject: hal"], 512).unanswered(),
        ],
        // For two seconds (`DRAIN_WAIT_MAX`), and then not at all.
        Standing::Closed => vec![Row::new("after QUIT", &[EHLO, "QUIT\r\n"], 512)],
        Standing::Greeted => return Err("the kernel takes a greeting at once, whoever reads it"),
        Standing::Admitting | Standing::Beginning | Standing::AskedTls => {
            return Err("the shard answers at once");
        }
        Standing::Asking => return Err("the store answers, or its time is over"),
        Standing::Delivering => return Err("the sink answers, or its time is over"),
    })
}

fn config_of(listener: &str) -> String {
    let cpu = ringmx::shard::affinity::allowed_cpus().expect("cores")[0];
    format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[sink]]\nkind = \"discard\"\n[tls]\nself_signed = true\n[limits]\nconnections_per_client_max = 10000\n\
         recipients_max = 5000\n[shards]\ncpus = [{cpu}]\nbuffers = 64\nbuffer_size = \"4KiB\"\n\
         [log]\nsessions = false\nmessages = false\n"
    )
}

fn settings(config: &Config) -> Settings {
    config.session_settings(&config.listeners[0], Arc::new(Recipients::new(&config.recipient_rules(), None)))
}

/// Where a session stands after this row, in memory.
fn play(row: &Row) -> Standing {
    let parsed = config::parse(&config_of(row.listener), "test.toml", Path::new(""));
    let (config, _) = parsed.unwrap_or_else(|problems| panic!("{}: {problems:?}", row.name));
    let now = Instant::now();
    let client = "127.0.0.1:4321".parse().expect("an address");
    let mut session = Session::new(Arc::new(settings(&config)), client, now);
    let mut replies = ReplyBuffer::new();
    session.greet(&mut replies, now);
    session.handle_sending();
    session.handle_sent();
    for octets in row.sends.iter().filter(|octets| !octets.is_empty()) {
        if session.standing() == Standing::Securing {
            break;
        }
        let mut supplies = Supplies::default();
        let mut input = Input::new(octets, &mut supplies);
        loop {
            let step = session.advance(&mut input, &mut replies, now);
            let replies = &mut replies;
            let resolved = match step {
                Step::NeedInput | Step::Close => break,
                Step::Data(_) | Step::Insert | Step::Discard => continue,
                Step::Flush => {
                    replies.clear();
                    continue;
                }
                Step::Ask(Question::Beginning { asked, .. }) => session.resolve(asked, Ok(()), replies, now),
                Step::Ask(Question::Admission { asked, .. }) => session.resolve(asked, Ok(()), replies, now),
                Step::Ask(Question::Recipient { asked }) => {
                    session.resolve(asked, Verdict::Accept, replies, now)
                }
                Step::Ask(Question::Encryption { asked }) => session.resolve(asked, true, replies, now),
                Step::Deliver(_) => {
                    let asked = session.asked::<Storing>().expect("it is awaited");
                    session.resolve(asked, Delivered::Accepted(QueueId::default()), replies, now)
                }
            };
            resolved.expect("it is awaited");
        }
        replies.clear();
        session.handle_sending();
        session.handle_sent();
    }
    if row.how == How::Secure {
        let facts = TlsFacts {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            resumed: false,
            client_certificate: false,
            server_name: None,
        };
        session.handle_tls(facts, &mut replies, now);
    }
    session.standing()
}

/// A client that has stopped, whatever has to be kept for that.
enum Stopped {
    Plain { _client: Client },
    Secure { _client: Box<secure::Secure> },
    NotReading { client: Client, left: Vec<u8> },
}

fn stop_at(row: &Row, server: &Server) -> Stopped {
    let mut client = Client::connect(server.address());
    if row.listener == LISTENER {
        client.expect("220");
    }
    for (number, octets) in row.sends.iter().enumerate() {
        let is_last = number + 1 == row.sends.len();
        if is_last && row.how == How::NotReading {
            set_socket_recv_buffer_size(client.stream(), 4096).expect("a small receive buffer");
            client.stream().set_nonblocking(true).expect("non-blocking");
            return Stopped::NotReading { client, left: octets.clone() };
        }
        client.send(octets);
        if !is_last || row.is_answered {
            let reply = client.reply();
            assert!(reply.starts_with(['2', '3']), "{}: {reply}", row.name);
        }
    }
    if row.how == How::Secure {
        let mut client = secure::secure(client.stream().try_clone().expect("a descriptor"));
        secure::command(&mut client, EHLO.as_bytes(), "250");
        return Stopped::Secure { _client: Box::new(client) };
    }
    if row.how == How::HalfSecure {
        let mut client = secure::secure(client.stream().try_clone().expect("a descriptor"));
        client.conn.write_tls(&mut client.sock).expect("sent");
        return Stopped::Secure { _client: Box::new(client) };
    }
    Stopped::Plain { _client: client }
}

/// What a connection that stops there costs in resident memory.
fn cost(row: &Row) -> usize {
    open_files(4096);
    let server = Server::start_whole(&config_of(row.listener));
    // Whatever is made once is made by the first.
    let first = stop_at(row, &server);
    std::thread::sleep(Duration::from_millis(50));
    let before = server.resident_bytes();
    let mut clients: Vec<Stopped> = (0..CONNECTIONS).map(|_| stop_at(row, &server)).collect();
    let mut most = 0;
    // What was sent last is still on its way, and who does not read has still to fill what there is.
    for _ in 0..if row.how == How::NotReading { 40 } else { 8 } {
        for client in &mut clients {
            if let Stopped::NotReading { client, left } = client {
                match client.stream().write(left) {
                    Ok(count) => drop(left.drain(..count)),
                    Err(error) => assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                        ),
                        "{error}"
                    ),
                }
            }
        }
        most = most.max(server.resident_bytes());
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(first);
    usize::try_from(most.saturating_sub(before)).expect("memory") / CONNECTIONS
}

#[test]
fn each_row_stops_where_it_says() {
    let _machine = crate::beside_others();
    for standing in Standing::ALL {
        match rows(*standing) {
            Ok(rows) => {
                assert!(!rows.is_empty(), "{standing:?} has a row, or a reason why it has none");
                for row in rows {
                    assert_eq!(play(&row), *standing, "{}", row.name);
                }
            }
            Err(why) => println!("{standing:?}: {why}"),
        }
    }
}

#[test]
fn a_connection_costs_little_wherever_its_client_stops() {
    let _machine = crate::beside_others();
    let idle = cost(&Row::new("idle", &[EHLO], 0));
    println!("{idle:6} octets: a client that said EHLO, the control");
    assert!(idle < 2048, "the control must not be what grows: {idle}");
    let mut too_much = Vec::new();
    for row in Standing::ALL.iter().filter_map(|standing| rows(*standing).ok()).flatten() {
        let each = cost(&row);
        let bound = idle + row.bytes_max + SLACK_BYTES;
        println!("{each:6} octets, at most {bound}: {}", row.name);
        if each > bound {
            too_much.push(format!("{}: {each} octets, more than {bound}", row.name));
        }
    }
    assert!(too_much.is_empty(), "{too_much:#?}");
}

/// A server closes such a connection in the end; nothing of it stays.
#[test]
fn what_clients_held_comes_back() {
    let _machine = crate::beside_others();
    let row = Row::new("in mail data", &[EHLO, MAIL, RCPT, "DATA\r\n", "Subject: hal"], 0).unanswered();
    let server = Server::start_whole(&config_of(row.listener));
    let round = || {
        let clients: Vec<Stopped> = (0..CONNECTIONS).map(|_| stop_at(&row, &server)).collect();
        let held = server.resident_bytes();
        drop(clients);
        // Accepted only when places are free again is no sign; a session that ends properly comes after all
        // others.
        let mut last = Client::greeted(server.address());
        last.command("QUIT", "221");
        let _ = last.stream().read(&mut [0; 16]);
        held
    };
    let first = round();
    let later = (0..3).map(|_| round()).max().unwrap_or(0);
    println!("resident memory with {CONNECTIONS} held: {first} at first, {later} later");
    assert!(later < first + (2 << 20), "{first} -> {later}");
}
