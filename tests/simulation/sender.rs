//! A client of the simulation of authentication: comes through a front that names it, sends messages by DATA
//! and in chunks, in pieces and with rests anywhere, and notes what was answered and when.

use std::collections::VecDeque;
use std::time::Duration;

use ringmx::ring::Socket;
use ringmx::ring::simulated::World;

use crate::auth_zone::{DOMAINS, domain};
use crate::signed_mail::Mail;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Polite,
    /// Closes its half when all is sent.
    HalfCloses,
    /// Its connection breaks at some time.
    Resets,
    /// Says nothing more at some time.
    FallsSilent,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Greeting,
    Command,
    GoAhead,
    /// A chunk of this message that is not its last.
    Chunk(usize),
    /// The end of the mail data of this message.
    End(usize),
    Quit,
}

/// A message under way.
#[derive(Debug)]
pub struct Sent {
    pub mail: Mail,
    /// The domain of the reverse-path; none of the null one.
    pub path: Option<u64>,
    /// Who gets it, and nobody else.
    pub recipient: String,
    /// When its header section had come, and all of it.
    pub header_at: Option<Duration>,
    pub end_at: Option<Duration>,
    /// What its end was told, or a chunk that was refused, and when.
    pub reply: Option<(String, Duration)>,
}

/// What the client does next.
#[derive(Debug)]
struct Step {
    octets: Vec<u8>,
    asks: Vec<Asked>,
    after: After,
    /// Offsets where the header section of this message ends, and the message.
    ends: Option<(usize, usize, usize)>,
    /// Offset where it rests, and how long.
    rest: Option<(usize, Duration)>,
}

/// When a step may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// At once.
    Nothing,
    /// When all is answered.
    Replies,
    /// When 354 came; else it is left out.
    GoAhead,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    pub manner: Manner,
    /// It is 198.51.100.`number`.
    pub number: u8,
    /// The domain that it calls itself.
    pub ehlo: u64,
    pub sent: Vec<Sent>,
    pub replies: Vec<String>,
    asked: VecDeque<Asked>,
    steps: VecDeque<Step>,
    unsent: VecDeque<u8>,
    /// Octets that were written, and those that the next step begins after.
    written: usize,
    queued: usize,
    /// Where in all that it sends header sections and messages end: the message, and whether it is its end.
    marks: VecDeque<(usize, usize, bool)>,
    rests: VecDeque<(usize, Duration)>,
    rests_until: Duration,
    is_gone: bool,
    unread: Vec<u8>,
}

impl Sender {
    pub fn new(world: &World, name: usize, header_bytes_max: usize) -> Self {
        let manner = match world.random(10) {
            0 => Manner::Resets,
            1 => Manner::HalfCloses,
            2 => Manner::FallsSilent,
            _ => Manner::Polite,
        };
        let number = u8::try_from(world.random(256)).expect("small");
        let ehlo = world.random(DOMAINS);
        let socket = world.connect();
        let mut sender = Self {
            socket,
            manner,
            number,
            ehlo,
            sent: Vec::new(),
            replies: Vec::new(),
            asked: VecDeque::from([Asked::Greeting]),
            steps: VecDeque::new(),
            unsent: VecDeque::new(),
            written: 0,
            queued: 0,
            marks: VecDeque::new(),
            rests: VecDeque::new(),
            rests_until: Duration::ZERO,
            is_gone: false,
            unread: Vec::new(),
        };
        let header = format!("PROXY TCP4 198.51.100.{number} 192.0.2.1 4321 25\r\n").into_bytes();
        sender.queue(Step { octets: header, ..Step::after(After::Nothing) });
        let hello = format!("EHLO {}\r\n", domain(ehlo)).into_bytes();
        sender.steps.push_back(Step {
            octets: hello,
            asks: vec![Asked::Command],
            ..Step::after(After::Replies)
        });
        for number in 0..=random(world, 4) {
            sender.add_message(world, name, number, header_bytes_max);
        }
        if manner != Manner::HalfCloses {
            let quit = b"QUIT\r\n".to_vec();
            sender.steps.push_back(Step {
                octets: quit,
                asks: vec![Asked::Quit],
                ..Step::after(After::Replies)
            });
        }
        sender
    }

    fn add_message(&mut self, world: &World, name: usize, number: usize, header_bytes_max: usize) {
        let recipient = format!("s{name}m{number}@y.test");
        let mail = Mail::new(world, &recipient, header_bytes_max);
        let path = (world.random(5) > 0).then(|| world.random(DOMAINS));
        let reverse_path = path.map_or_else(String::new, |path| format!("a@{}", domain(path)));
        let mut group = format!("MAIL FROM:<{reverse_path}>\r\nRCPT TO:<{recipient}>\r\n").into_bytes();
        let mut asks = vec![Asked::Command; 2];
        // The next transaction may follow a message before that is answered.
        let after = if number > 0 && world.random(2) == 0 { After::Nothing } else { After::Replies };
        let rest = (world.random(4) == 0).then(|| Duration::from_millis(world.random(9000)));
        let rest_at =
            |begin: usize, length: usize| rest.map(|rest| (begin + random(world, length as u64 + 1), rest));
        let header_end = section(&mail.octets);
        if mail.needs_chunks || world.random(2) == 0 {
            if world.random(4) == 0 {
                // A transaction that comes to nothing between its chunks.
                group.extend(b"BDAT 9\r\nFrom: a@bRSET\r\n");
                asks.extend([Asked::Chunk(number), Asked::Command]);
                group.extend(format!("MAIL FROM:<{reverse_path}>\r\nRCPT TO:<{recipient}>\r\n").into_bytes());
                asks.extend([Asked::Command; 2]);
            }
            let begin = group.len();
            let mut rest_of_mail = &mail.octets[..];
            let mut header_ends_at = begin;
            loop {
                let is_last = rest_of_mail.is_empty() || world.random(3) == 0;
                let count =
                    if is_last { rest_of_mail.len() } else { 1 + random(world, rest_of_mail.len() as u64) };
                let before = mail.octets.len() - rest_of_mail.len();
                group.extend(format!("BDAT {count}{}\r\n", if is_last { " LAST" } else { "" }).into_bytes());
                if (before..=before + count).contains(&header_end) {
                    header_ends_at = group.len() + header_end - before;
                }
                group.extend(&rest_of_mail[..count]);
                rest_of_mail = &rest_of_mail[count..];
                asks.push(if is_last { Asked::End(number) } else { Asked::Chunk(number) });
                if is_last {
                    break;
                }
            }
            let (ends, rest) =
                (Some((number, header_ends_at, group.len())), rest_at(begin, group.len() - begin));
            self.steps.push_back(Step { octets: group, asks, after, ends, rest });
        } else {
            group.extend(b"DATA\r\n");
            asks.push(Asked::GoAhead);
            self.steps.push_back(Step { octets: group, asks, ..Step::after(after) });
            let (header, body) = mail.octets.split_at(header_end);
            let mut octets = stuffed(header);
            let header_ends_at = octets.len();
            octets.extend(stuffed(body));
            octets.extend(b".\r\n");
            let (ends, rest) = (Some((number, header_ends_at, octets.len())), rest_at(0, octets.len()));
            let asks = vec![Asked::End(number)];
            self.steps.push_back(Step { octets, asks, after: After::GoAhead, ends, rest });
        }
        self.sent.push(Sent { mail, path, recipient, header_at: None, end_at: None, reply: None });
    }

    /// Reads what came, and goes on. False once it has nothing more to do.
    pub fn act(&mut self, world: &World) -> bool {
        self.listen(world);
        if world.is_closed(self.socket) {
            return false;
        }
        self.note_arrival(world);
        let may_go = matches!(self.manner, Manner::Resets | Manner::FallsSilent) && self.written > 100;
        if may_go && !self.is_gone && world.random(100) == 0 {
            self.is_gone = true;
            if self.manner == Manner::Resets {
                world.reset(self.socket);
            }
        }
        if self.is_gone || world.elapsed() < self.rests_until {
            return true;
        }
        while self.unsent.len() < 4096 && self.take_step() {}
        if world.random(2) == 0 {
            self.write(world);
        }
        let all_is_said = self.unsent.is_empty() && self.steps.is_empty();
        if all_is_said && (self.manner == Manner::HalfCloses || self.asked.is_empty()) {
            world.finish(self.socket);
        }
        true
    }

    fn write(&mut self, world: &World) {
        let mut most = random(world, if world.random(4) == 0 { 20 } else { 6000 }).min(self.unsent.len());
        if let Some((at, rest)) = self.rests.front().copied()
            && self.written + most >= at
        {
            self.rests.pop_front();
            most = at.saturating_sub(self.written);
            self.rests_until = world.elapsed() + rest;
        }
        let octets: Vec<u8> = self.unsent.drain(..most).collect();
        self.written += octets.len();
        world.write(self.socket, &octets);
    }

    /// Takes the next step; false when it has to wait for a reply first, or has done its part.
    fn take_step(&mut self) -> bool {
        let is_answered = self.asked.is_empty() && self.unsent.is_empty();
        match self.steps.front().map(|step| step.after) {
            None => return false,
            Some(After::Replies | After::GoAhead) if !is_answered => return false,
            Some(After::Nothing | After::Replies | After::GoAhead) => {}
        }
        let Some(step) = self.steps.pop_front() else { return false };
        let goes_ahead = self.replies.last().is_some_and(|reply| reply.starts_with("354"));
        if step.after == After::Nothing || goes_ahead == (step.after == After::GoAhead) {
            self.queue(step);
        }
        true
    }

    fn queue(&mut self, step: Step) {
        if let Some((number, header_end, end)) = step.ends {
            self.marks.push_back((self.queued + header_end, number, false));
            self.marks.push_back((self.queued + end, number, true));
        }
        self.rests.extend(step.rest.map(|(at, rest)| (self.queued + at, rest)));
        self.queued += step.octets.len();
        self.unsent.extend(step.octets);
        self.asked.extend(step.asks);
    }

    /// Notes when the ends of header sections and messages had come.
    fn note_arrival(&mut self, world: &World) {
        let came = self.written - world.waiting(self.socket);
        while let Some((_, number, is_end)) = self.marks.pop_front_if(|(at, ..)| *at <= came) {
            let Sent { header_at, end_at, .. } = &mut self.sent[number];
            *(if is_end { end_at } else { header_at }) = Some(world.elapsed());
        }
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
            match self.asked.pop_front() {
                Some(Asked::End(number)) if !is_last => {
                    self.sent[number].reply.get_or_insert((text.clone(), world.elapsed()));
                }
                // What follows in its other chunks is passed over.
                Some(Asked::Chunk(number)) if !text.starts_with('2') && !is_last => {
                    self.sent[number].reply.get_or_insert((text.clone(), world.elapsed()));
                }
                Some(_) => {}
                None => assert!(is_last, "a reply to nothing: {text} after {:?}", self.replies),
            }
            self.replies.push(text);
            if is_last {
                self.asked.clear();
                self.steps.clear();
                self.unsent.clear();
                world.finish(self.socket);
            }
        }
    }

    /// Whether it had to hear an answer to all that it said, unless it was told 421.
    pub fn hears_all(&self) -> bool {
        matches!(self.manner, Manner::Polite | Manner::HalfCloses) || !self.is_gone
    }

    /// Commands that were never answered.
    pub fn unanswered(&self) -> &VecDeque<Asked> {
        &self.asked
    }
}

impl Step {
    fn after(after: After) -> Self {
        Self { octets: Vec::new(), asks: Vec::new(), after, ends: None, rest: None }
    }
}

/// How long the header section is, with the empty line after it; all of what has no such line.
pub fn section(octets: &[u8]) -> usize {
    match memchr::memmem::find(octets, b"\r\n\r\n") {
        _ if octets.starts_with(b"\r\n") => 2,
        Some(at) => at + 4,
        None => octets.len(),
    }
}

/// As DATA carries lines that begin with a dot.
fn stuffed(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.flat_map(|line| [if line.starts_with(b".") { &b"."[..] } else { b"" }, line].concat()).collect()
}

fn random(world: &World, bound: u64) -> usize {
    usize::try_from(world.random(bound)).expect("small")
}
