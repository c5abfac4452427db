//! A client of the simulation of the front line: comes through a front that names it, sends its commands in
//! groups, and notes what each was answered, and when.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ringmx::ring::Socket;
use ringmx::ring::simulated::World;

use crate::front_zone::{NUMBERS, address};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Polite,
    /// Says EHLO before it was greeted.
    Early,
    /// Its connection breaks after a group of commands, or in the middle of it.
    Resets,
    /// Closes its half after a group of commands.
    HalfCloses,
    /// Says nothing more after a group of commands.
    FallsSilent,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Greeting,
    /// EHLO or RSET.
    Hello,
    Mail,
    /// Of this transaction; whether it exists.
    Recipient(usize, bool),
    Data,
    /// The end of the mail data of this transaction.
    End(usize),
    Quit,
}

/// A reply, and when it came.
#[derive(Debug, Clone)]
pub struct Reply {
    pub asked: Asked,
    pub text: String,
    pub at: Duration,
}

#[derive(Debug, Clone)]
struct Step {
    octets: Vec<u8>,
    asks: Vec<Asked>,
    /// It is sent after a 354 only.
    is_data: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Visitor {
    socket: Socket,
    pub manner: Manner,
    pub address: IpAddr,
    pub ehlo: String,
    pub connected_at: Duration,
    /// The reverse-path of each transaction, and when it was sent.
    pub transactions: Vec<(String, Option<Duration>)>,
    /// The mail data of each transaction.
    pub mails: Vec<Vec<u8>>,
    pub replies: Vec<Reply>,
    asked: VecDeque<Asked>,
    unread: Vec<u8>,
    steps: VecDeque<Step>,
    is_gone: bool,
}

/// Recipients that exist, and that do not.
pub const KNOWN: &str = "b@y.test";
const UNKNOWN: &str = "nobody@y.test";

impl Visitor {
    pub fn new(world: &World, name: usize) -> Self {
        let manner = match world.random(10) {
            0 => Manner::Early,
            1 => Manner::Resets,
            2 => Manner::HalfCloses,
            3 => Manner::FallsSilent,
            _ => Manner::Polite,
        };
        let address = address(world.random(NUMBERS), world.random(3), world.random(4));
        let ehlo = ["client.test", "A.Dyn.Test", "friend.test"][random(world, 3)].to_owned();
        let family = if address.is_ipv4() { "TCP4 " } else { "TCP6 " };
        let front = if address.is_ipv4() { "192.0.2.1" } else { "::1" };
        let socket = world.connect();
        world.write(socket, format!("PROXY {family}{address} {front} 4321 25\r\n").as_bytes());
        let mut visitor = Self {
            socket,
            manner,
            address: address.to_canonical(),
            ehlo,
            connected_at: world.elapsed(),
            transactions: Vec::new(),
            mails: Vec::new(),
            replies: Vec::new(),
            asked: VecDeque::from([Asked::Greeting]),
            unread: Vec::new(),
            steps: VecDeque::new(),
            is_gone: false,
        };
        let hello = format!("EHLO {}\r\n", visitor.ehlo).into_bytes();
        if manner == Manner::Early {
            world.write(socket, &hello);
            visitor.asked.push_back(Asked::Hello);
            return visitor;
        }
        visitor.steps.push_back(Step { octets: hello, asks: vec![Asked::Hello], is_data: false });
        for number in 0..=random(world, 3) {
            visitor.add_transaction(world, name, number);
        }
        visitor.steps.push_back(Step {
            octets: b"QUIT\r\n".to_vec(),
            asks: vec![Asked::Quit],
            is_data: false,
        });
        visitor
    }

    fn add_transaction(&mut self, world: &World, name: usize, number: usize) {
        let from = match world.random(6) {
            0 => String::new(),
            _ => format!("a@S{}.from.test", world.random(NUMBERS)),
        };
        let body = format!("Subject: client {name} message {number}\r\n\r\n").into_bytes();
        let mut group = format!("RSET\r\nMAIL FROM:<{from}>\r\n").into_bytes();
        let mut asks = vec![Asked::Hello, Asked::Mail];
        let known = (KNOWN, true);
        let recipients = match world.random(4) {
            0 => vec![known],
            1 => vec![known, (UNKNOWN, false)],
            2 => vec![(UNKNOWN, false), known],
            _ => vec![(UNKNOWN, false), known, (KNOWN, true)],
        };
        for (recipient, exists) in recipients {
            group.extend(format!("RCPT TO:<{recipient}>\r\n").into_bytes());
            asks.push(Asked::Recipient(number, exists));
        }
        if world.random(2) == 0 {
            // In two chunks, behind recipients that nobody has said anything of.
            group.extend(format!("BDAT 9\r\nSubject: BDAT {} LAST\r\n", body.len() - 9).into_bytes());
            group.extend(&body[9..]);
            asks.extend([Asked::Data, Asked::End(number)]);
            self.steps.push_back(Step { octets: group, asks, is_data: false });
        } else {
            group.extend(b"DATA\r\n");
            asks.push(Asked::Data);
            self.steps.push_back(Step { octets: group, asks, is_data: false });
            let octets = [&body[..], b".\r\n"].concat();
            self.steps.push_back(Step { octets, asks: vec![Asked::End(number)], is_data: true });
        }
        self.transactions.push((from, None));
        self.mails.push(body);
    }

    /// Reads what came, and goes on if all is answered. False once it has nothing more to do.
    pub fn act(&mut self, world: &World) -> bool {
        self.listen(world);
        if world.is_closed(self.socket) {
            return false;
        }
        if self.is_gone && self.manner == Manner::Resets && world.random(4) == 0 {
            // By now some of what it said has arrived.
            world.reset(self.socket);
        }
        if self.is_gone || !self.asked.is_empty() || world.random(4) == 0 {
            return true;
        }
        let goes_ahead = self.replies.last().is_some_and(|reply| reply.text.starts_with("354"));
        let Some(step) = self.steps.pop_front() else {
            world.finish(self.socket);
            return true;
        };
        if step.is_data && !goes_ahead {
            return true;
        }
        if let Some(Asked::Recipient(number, _)) = step.asks.get(2) {
            self.transactions[*number].1 = Some(world.elapsed());
            // In the middle of what may take time.
            if self.manner != Manner::Polite && world.random(2) == 0 {
                self.is_gone = true;
            }
        }
        let mut octets = step.octets;
        if self.is_gone && self.manner == Manner::Resets {
            octets.truncate(random(world, octets.len() as u64 + 1));
        }
        world.write(self.socket, &octets);
        self.asked.extend(step.asks);
        if self.is_gone && self.manner == Manner::HalfCloses {
            world.finish(self.socket);
        }
        true
    }

    fn listen(&mut self, world: &World) {
        self.unread.extend(world.read(self.socket));
        while let Some(end) = memchr::memchr(b'\n', &self.unread) {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let text = String::from_utf8(line).expect("replies are ASCII").trim_end().to_owned();
            if text.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let is_last = text.starts_with("421") || text.starts_with("221");
            let asked = match self.asked.pop_front() {
                Some(asked) => asked,
                None if is_last => Asked::Quit,
                None => panic!("a reply to nothing: {text} after {:?}", self.replies),
            };
            let ends =
                is_last || (matches!(asked, Asked::Greeting | Asked::Hello) && text.starts_with("554"));
            self.replies.push(Reply { asked, text, at: world.elapsed() });
            if ends {
                self.asked.clear();
                self.steps.clear();
                world.finish(self.socket);
            }
        }
    }

    /// What became of the mail data of a transaction, when that was said.
    pub fn outcome(&self, number: usize) -> Option<&str> {
        let reply = self.replies.iter().find(|reply| reply.asked == Asked::End(number))?;
        Some(&reply.text)
    }

    /// Whether it had to hear an answer to all that it said.
    pub fn hears_all(&self) -> bool {
        matches!(self.manner, Manner::Polite | Manner::HalfCloses) || !self.is_gone
    }

    /// Commands that were never answered.
    pub fn unanswered(&self) -> &VecDeque<Asked> {
        &self.asked
    }
}

fn random(world: &World, bound: u64) -> usize {
    usize::try_from(world.random(bound)).expect("small")
}
