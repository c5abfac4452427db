//! A small SMTP server on threads, with one thing wrong with it if a test wants so.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is odd about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// Nothing: offers PIPELINING and accepts all.
    None,
    /// Does not offer PIPELINING, and closes when commands come as a group all the same.
    NoPipelining,
    /// Sends every octet of a reply by itself.
    OctetsOneByOne,
    /// Refuses the recipient of every third message of a connection.
    RefusesSome,
    /// Greets with 421 and closes.
    Closed,
    /// Closes without a word instead of answering the second message of a connection.
    ClosesAfterData,
    /// Answers 421 instead of accepting the second message of a connection, then closes.
    ShutsDown,
    /// Listens no more after the first connection.
    GoesAway,
    /// Does not answer mail data.
    Silent,
    /// Answers 552 to every third message of a connection, and 451 to every fifth, and keeps them all the
    /// same.
    RefusesAndKeeps,
    /// Closes when a little of the mail data has come.
    ClosesWithinData,
    /// Refuses each recipient, with a text that is long and differs.
    Wordy,
    /// Refuses each recipient whose local-part begins with `no`.
    RefusesUnknown,
    /// Refuses each recipient, and at the fifth of a connection says 421 and closes.
    BoundsRefusals,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Mail data of accepted messages, transparency removed.
    pub(crate) messages: Vec<Vec<u8>>,
    /// MAIL as it was said, of each accepted message.
    pub(crate) mail: Vec<String>,
    /// Forward-paths as they stood in RCPT.
    pub(crate) recipients: Vec<String>,
    /// Forward-paths that were refused, as they stood in RCPT.
    pub(crate) refused: Vec<String>,
    /// Addresses of its clients.
    pub(crate) clients: HashSet<IpAddr>,
    /// Connections.
    pub(crate) connections: usize,
    /// Sessions that ended with QUIT.
    pub(crate) quits: usize,
}

/// A running server. Its threads end with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Server {
    pub(crate) fn start(oddity: Oddity) -> Self {
        Self::start_on("127.0.0.1:0", oddity)
    }

    pub(crate) fn start_on(address: &str, oddity: Oddity) -> Self {
        let listener = TcpListener::bind(address).expect("bind");
        let server = Self { address: listener.local_addr().expect("address"), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                {
                    let mut seen = seen.lock().expect("lock");
                    seen.connections += 1;
                    seen.clients.extend(stream.peer_addr().map(|address| address.ip()));
                }
                let seen = Arc::clone(&seen);
                thread::spawn(move || Session { stream, oddity, seen, begun: 0, mail: String::new() }.run());
                if oddity == Oddity::GoesAway {
                    break;
                }
            }
        });
        server
    }
}

struct Session {
    stream: TcpStream,
    oddity: Oddity,
    seen: Arc<Mutex<Seen>>,
    /// Messages begun.
    begun: usize,
    /// The last MAIL.
    mail: String,
}

impl Session {
    fn run(mut self) -> Option<()> {
        let mut input = BufReader::new(self.stream.try_clone().ok()?);
        if self.oddity == Oddity::Closed {
            return self.reply("421 4.3.2 mx.test is \x07 closed");
        }
        self.reply("220-mx.test\r\n220 ready")?;
        loop {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&line);
            if self.oddity == Oddity::NoPipelining && !input.buffer().is_empty() {
                return None;
            }
            match line.get(..4)? {
                "EHLO" if self.oddity == Oddity::NoPipelining => self.reply("250 mx.test")?,
                "EHLO" => self.reply("250-mx.test\r\n250-PIPELINING\r\n250 8BITMIME")?,
                "MAIL" => {
                    self.begun += 1;
                    self.mail = line.trim_end().to_owned();
                    self.reply("250 2.1.0 ok")?;
                }
                "RCPT" if self.oddity == Oddity::RefusesSome && self.begun.is_multiple_of(3) => {
                    self.reply("550 5.1.1 \x1b[31mno such mailbox")?;
                }
                "RCPT" if self.oddity == Oddity::Wordy => {
                    let (begun, long) = (self.begun, "no such mailbox ".repeat(9));
                    self.reply(&format!("550 5.1.1 <r+{begun}@x.test>: {long}{}", "x".repeat(200)))?;
                }
                "RCPT" if self.oddity == Oddity::RefusesUnknown && line.starts_with("RCPT TO:<no") => {
                    self.seen.lock().expect("lock").refused.push(line.trim_end().to_owned());
                    self.reply("550 5.1.1 no such mailbox")?;
                }
                "RCPT" if self.oddity == Oddity::BoundsRefusals && self.begun >= 5 => {
                    self.reply("421 4.7.0 too many errors");
                    return None;
                }
                "RCPT" if self.oddity == Oddity::BoundsRefusals => self.reply("550 5.1.1 no")?,
                "RCPT" => {
                    self.seen.lock().expect("lock").recipients.push(line.trim_end().to_owned());
                    self.reply("250 2.1.5 ok")?;
                }
                "DATA" => {
                    self.reply("354 go on")?;
                    self.receive_mail_data(&mut input)?;
                }
                "RSET" => self.reply("250 2.0.0 ok")?,
                "QUIT" => {
                    self.seen.lock().expect("lock").quits += 1;
                    return self.reply("221 2.0.0 bye");
                }
                _ => self.reply("500 5.5.1 what")?,
            }
        }
    }

    fn receive_mail_data(&mut self, input: &mut impl BufRead) -> Option<()> {
        let mut mail_data = Vec::new();
        if self.oddity == Oddity::ClosesWithinData {
            return None;
        }
        loop {
            let mut line = Vec::new();
            input.read_until(b'\n', &mut line).ok()?;
            match &line[..] {
                b"" => return None,
                b".\r\n" => break,
                [b'.', rest @ ..] => mail_data.extend_from_slice(rest),
                whole => mail_data.extend_from_slice(whole),
            }
        }
        match self.oddity {
            Oddity::ClosesAfterData if self.begun == 2 => return None,
            Oddity::ShutsDown if self.begun == 2 => {
                self.reply("421 4.3.2 shutting down");
                return None;
            }
            Oddity::Silent => return Some(()),
            _ => {}
        }
        {
            let mut seen = self.seen.lock().expect("lock");
            seen.messages.push(mail_data);
            seen.mail.push(self.mail.clone());
        }
        match self.oddity {
            Oddity::RefusesAndKeeps if self.begun.is_multiple_of(3) => self.reply("552 5.2.2 no room"),
            Oddity::RefusesAndKeeps if self.begun.is_multiple_of(5) => self.reply("451 4.3.0 later"),
            _ => self.reply("250 2.0.0 accepted"),
        }
    }

    fn reply(&mut self, text: &str) -> Option<()> {
        let octets = format!("{text}\r\n").into_bytes();
        if self.oddity != Oddity::OctetsOneByOne {
            return self.stream.write_all(&octets).ok();
        }
        self.stream.set_nodelay(true).ok()?;
        for octet in octets {
            self.stream.write_all(&[octet]).ok()?;
        }
        Some(())
    }
}
