//! A next hop of a forwarder whose answers a test chooses: SMTP or LMTP on a port of the kernel's choice.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it says.
#[derive(Clone)]
pub struct Manner {
    /// A reply to the mail data for each recipient.
    pub is_lmtp: bool,
    /// Lines of the reply to EHLO or LHLO, after the first.
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

/// The running server. It ends with its process.
pub struct NextHop {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// 250 to everything.
pub fn accept(_: &str) -> String {
    "250 2.0.0 Ok".to_owned()
}

impl NextHop {
    /// A server with this manner.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let hop = Self { address, manner: Arc::new(Mutex::new(manner)), taken: Arc::default() };
        let (manner, taken) = (Arc::clone(&hop.manner), Arc::clone(&hop.taken));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, taken) = (Arc::clone(&manner), Arc::clone(&taken));
                // A client that has gone is no fault of the server.
                std::thread::spawn(move || drop(serve(stream, &manner, &taken)));
            }
        });
        hop
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says from now on.
    pub fn set(&self, manner: Manner) {
        *self.manner.lock().expect("no panic") = manner;
    }

    /// What it has taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("no panic").clone()
    }
}

fn serve(stream: TcpStream, manner: &Mutex<Manner>, taken: &Mutex<Vec<Taken>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    out.write_all(b"220 hop.test ready\r\n")?;
    let (mut mail, mut recipients) = (String::new(), Vec::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let chosen = manner.lock().expect("no panic").clone();
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" | "LHLO" => {
                let all = std::iter::once("hop.test").chain(chosen.keywords.iter().copied());
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
                let reply = (chosen.recipient)(&mailbox);
                if reply.starts_with('2') {
                    recipients.push(mailbox);
                }
                format!("{reply}\r\n")
            }
            "DATA" if recipients.is_empty() => "503 5.5.1 Nobody is there\r\n".to_owned(),
            "DATA" => {
                out.write_all(b"354 Go ahead\r\n")?;
                let data = read_data(&mut lines)?;
                let ends: Vec<String> = recipients.iter().map(|mailbox| (chosen.end)(mailbox)).collect();
                let count = if chosen.is_lmtp { ends.len() } else { 1 };
                let accepted = recipients.iter().zip(&ends).filter(|(_, end)| end.starts_with('2'));
                let accepted: Vec<String> = accepted.map(|(mailbox, _)| mailbox.clone()).collect();
                if !accepted.is_empty() {
                    let message = Taken { recipients: accepted, mail: mail.clone(), data };
                    taken.lock().expect("no panic").push(message);
                }
                recipients.clear();
                if ends.iter().any(String::is_empty) {
                    return Ok(());
                }
                ends.iter().take(count).fold(String::new(), |said, end| said + end + "\r\n")
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
