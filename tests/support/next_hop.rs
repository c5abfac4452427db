//! A next hop of a forwarder whose answers a test chooses: SMTP or LMTP on a port of the kernel's choice, or
//! at a socket that is a file. And one that does nothing of what a server does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What it says.
#[derive(Clone)]
pub struct Manner {
    /// A reply to the mail data for each recipient.
    pub is_lmtp: bool,
    /// Lines of the reply to EHLO or LHLO, after the first. It cannot do STARTTLS, whatever it says here.
    pub keywords: Vec<&'static str>,
    /// The reply to RCPT for this mailbox.
    pub recipient: fn(&str) -> String,
    /// The reply to the mail data; of LMTP for this mailbox. Empty: it closes without one.
    pub end: fn(&str) -> String,
}

/// A message that was accepted for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Those who have it.
    pub recipients: Vec<String>,
    /// The arguments of MAIL.
    pub mail: String,
    /// The mail data, without transparency.
    pub data: Vec<u8>,
}

/// How a server fails that was asked for STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenTls {
    /// 454.
    Refuses,
    /// 220, and the end.
    Closes,
    /// 220, and a text in place of a handshake.
    Talks,
}

/// The running server. It ends with its process.
pub struct NextHop {
    address: Option<SocketAddr>,
    shared: Arc<Mutex<Shared>>,
}

/// What it says, and what came.
struct Shared {
    manner: Manner,
    taken: Vec<Taken>,
    commands: Vec<String>,
}

impl Shared {
    fn new(manner: Manner) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { manner, taken: Vec::new(), commands: Vec::new() }))
    }
}

/// 250 to everything.
pub fn accept(_: &str) -> String {
    "250 2.0.0 Ok".to_owned()
}

impl NextHop {
    /// A server with this manner.
    pub fn start(manner: Manner) -> Self {
        Self::with_tls(manner, BrokenTls::Refuses)
    }

    /// The same, which fails in this way when it is asked for STARTTLS.
    pub fn with_tls(manner: Manner, tls: BrokenTls) -> Self {
        Self::on_with_tls(any_port(), manner, tls)
    }

    /// A server where this listens.
    pub fn on(listener: TcpListener, manner: Manner) -> Self {
        Self::on_with_tls(listener, manner, BrokenTls::Refuses)
    }

    /// The same, which fails in this way when it is asked for STARTTLS.
    pub fn on_with_tls(listener: TcpListener, manner: Manner, tls: BrokenTls) -> Self {
        let shared = Shared::new(manner);
        let of_server = Arc::clone(&shared);
        let address = listen_on(listener, move |stream| {
            let lines = BufReader::new(stream.try_clone()?);
            serve(lines, stream, tls, &of_server)
        });
        Self { address: Some(address), shared }
    }

    /// A server at a socket that is a file.
    pub fn at(path: &Path, manner: Manner) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let shared = Shared::new(manner);
        let of_server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let of_server = Arc::clone(&of_server);
                std::thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone()?);
                    serve(lines, stream, BrokenTls::Refuses, &of_server)
                });
            }
        });
        Self { address: None, shared }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When that is a file.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a port")
    }

    /// What it says from now on.
    pub fn set(&self, manner: Manner) {
        self.shared.lock().expect("no panic").manner = manner;
    }

    /// What it has taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.lock().expect("no panic").taken.clone()
    }

    /// The commands of all its clients so far.
    pub fn commands(&self) -> Vec<String> {
        self.shared.lock().expect("no panic").commands.clone()
    }
}

/// Listens, and does this with each connection on a thread of its own.
pub fn listen(with: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    listen_on(any_port(), with)
}

fn any_port() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).expect("a port")
}

/// The same, where this listens.
pub fn listen_on(
    listener: TcpListener,
    with: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let address = listener.local_addr().expect("an address");
    let with = Arc::new(with);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = Arc::clone(&with);
            // A client that has gone is no fault of the server.
            std::thread::spawn(move || drop(with(stream)));
        }
    });
    address
}

fn serve(
    mut lines: BufReader<impl Read>,
    mut out: impl Write,
    tls: BrokenTls,
    shared: &Mutex<Shared>,
) -> std::io::Result<()> {
    out.write_all(b"220 hop.test ready\r\n")?;
    let (mut mail, mut recipients) = (String::new(), Vec::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let manner = {
            let mut shared = shared.lock().expect("no panic");
            shared.commands.push(command.clone());
            shared.manner.clone()
        };
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" | "LHLO" => {
                let all = std::iter::once("hop.test").chain(manner.keywords.iter().copied());
                let all: Vec<_> = all.collect();
                let last = all.len() - 1;
                let mark = |index| if index == last { " " } else { "-" };
                all.iter()
                    .enumerate()
                    .fold(String::new(), |said, (index, text)| said + "250" + mark(index) + text + "\r\n")
            }
            "MAIL" => {
                mail.clone_from(&command);
                recipients.clear();
                "250 2.1.0 Ok\r\n".to_owned()
            }
            "RCPT" => {
                let mailbox = command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                let reply = (manner.recipient)(&mailbox);
                if reply.starts_with('2') {
                    recipients.push(mailbox);
                }
                format!("{reply}\r\n")
            }
            "DATA" if recipients.is_empty() => "503 5.5.1 Nobody is there\r\n".to_owned(),
            "DATA" => {
                out.write_all(b"354 Go ahead\r\n")?;
                let data = read_data(&mut lines)?;
                let ends: Vec<String> = recipients.iter().map(|mailbox| (manner.end)(mailbox)).collect();
                let count = if manner.is_lmtp { ends.len() } else { 1 };
                let accepted = recipients.iter().zip(&ends).filter(|(_, end)| end.starts_with('2'));
                let accepted: Vec<String> = accepted.map(|(mailbox, _)| mailbox.clone()).collect();
                if !accepted.is_empty() {
                    let message = Taken { recipients: accepted, mail: mail.clone(), data };
                    shared.lock().expect("no panic").taken.push(message);
                }
                recipients.clear();
                if ends.iter().any(String::is_empty) {
                    return Ok(());
                }
                ends.iter().take(count).fold(String::new(), |said, end| said + end + "\r\n")
            }
            "STARTTLS" if tls == BrokenTls::Refuses => "454 4.7.0 Not now\r\n".to_owned(),
            "STARTTLS" => {
                out.write_all(b"220 2.0.0 Go ahead\r\n")?;
                let _ = lines.read(&mut [0; 64])?;
                if tls == BrokenTls::Talks {
                    out.write_all(b"220 hop.test ready, once more\r\n")?;
                }
                return Ok(());
            }
            "QUIT" => {
                out.write_all(b"221 2.0.0 Bye\r\n")?;
                return Ok(());
            }
            _ => "250 2.0.0 Ok\r\n".to_owned(),
        };
        out.write_all(reply.as_bytes())?;
    }
}

/// Up to the lone dot.
fn read_data(lines: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
