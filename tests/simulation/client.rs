//! A client of the simulation: sends commands in groups, waits where it has to, and knows which replies it
//! may get.

use std::collections::VecDeque;

use ringmx::ring::Socket;
use ringmx::ring::simulated::World;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Polite,
    /// Closes its half in the middle of its last message.
    HalfCloses,
    /// Its connection breaks in the middle of its last message.
    Resets,
    /// Says nothing more in the middle of its last message.
    FallsSilent,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Greeting,
    Ehlo,
    Reset,
    Mail,
    Recipient,
    Data,
    /// The end of the mail data of a message, by its index.
    End(usize),
    Quit,
}

impl Asked {
    fn may_be(self, code: &str) -> bool {
        match self {
            Self::Greeting => code == "220",
            Self::Ehlo | Self::Reset => code == "250",
            Self::Mail => matches!(code, "250" | "451" | "452"),
            // The store may have no place for it, or not say so in time.
            Self::Recipient => matches!(code, "250" | "451" | "452" | "503" | "550"),
            Self::Data => matches!(code, "354" | "503" | "554"),
            // 503 to a chunk of a transaction that was refused at MAIL, 554 where no recipient was taken.
            Self::End(_) => matches!(code, "250" | "451" | "452" | "503" | "554"),
            Self::Quit => code == "221",
        }
    }
}

/// A step of a client's part.
enum Step {
    Say(Asked, Vec<u8>),
    /// Mail data behind a DATA that was answered 354; nothing behind another one.
    Send(usize, Vec<u8>),
    /// Mail data that is cut off; the client then does what its manner says.
    Break(Vec<u8>),
}

pub struct Client {
    pub socket: Socket,
    pub manner: Manner,
    /// The mail data of its messages.
    pub mails: Vec<Vec<u8>>,
    pub asked: Vec<Asked>,
    /// What the server said, and of its whole replies the codes.
    pub replies: Vec<u8>,
    codes: Vec<String>,
    /// Octets of `replies` whose codes are known.
    heard: usize,
    steps: VecDeque<Step>,
    unsent: VecDeque<u8>,
    is_broken: bool,
    /// For how many acts it does not read.
    deaf_acts: u64,
    /// Whether it ever did not: then the server may have given up sending to it.
    was_deaf: bool,
}

impl Client {
    pub fn new(world: &World, number: usize) -> Self {
        let manner = match world.random(8) {
            0 => Manner::HalfCloses,
            1 => Manner::Resets,
            2 => Manner::FallsSilent,
            _ => Manner::Polite,
        };
        let count = 1 + usize::try_from(world.random(4)).expect("small");
        let mut client = Self::connect(world, manner);
        for message in 0..count {
            let last = message + 1 == count;
            client.add_mail(world, number, message, last && manner != Manner::Polite);
        }
        client.steps.push_back(Step::Say(Asked::Quit, b"QUIT\r\n".to_vec()));
        client
    }

    /// A client that sends one small message when the faults are over.
    pub fn probe(world: &World) -> Self {
        let mut client = Self::connect(world, Manner::Polite);
        client.add_mail(world, 999, 0, false);
        client.steps.push_back(Step::Say(Asked::Quit, b"QUIT\r\n".to_vec()));
        client
    }

    fn connect(world: &World, manner: Manner) -> Self {
        Self {
            socket: world.connect(),
            manner,
            mails: Vec::new(),
            asked: vec![Asked::Greeting],
            replies: Vec::new(),
            codes: Vec::new(),
            heard: 0,
            steps: VecDeque::from([Step::Say(Asked::Ehlo, b"EHLO client.test\r\n".to_vec())]),
            unsent: VecDeque::new(),
            is_broken: false,
            deaf_acts: 0,
            was_deaf: false,
        }
    }

    fn add_mail(&mut self, world: &World, client: usize, message: usize, breaks: bool) {
        let mut body = format!("Subject: client {client} message {message}\r\n\r\n").into_bytes();
        for _ in 0..world.random(300) {
            match world.random(4) {
                0 => body.extend_from_slice(b".\r\n"),
                1 => body.extend_from_slice(b"..dots\r\n"),
                _ => body.extend_from_slice(b"a line of text as it might stand in any mail\r\n"),
            }
        }
        let mut recipients = vec!["b@y.test".to_owned()];
        if world.random(3) == 0 {
            recipients.push(format!("c{}@y.test", world.random(3)));
        }
        let mut say = |asked, line: &str| self.steps.push_back(Step::Say(asked, line.as_bytes().to_vec()));
        // A transaction without a recipient stands until then.
        say(Asked::Reset, "RSET\r\n");
        say(Asked::Mail, "MAIL FROM:<a@x.test>\r\n");
        for recipient in &recipients {
            say(Asked::Recipient, &format!("RCPT TO:<{recipient}>\r\n"));
        }
        if world.random(3) == 0 {
            let mut chunk = format!("BDAT {} LAST\r\n", body.len()).into_bytes();
            chunk.extend_from_slice(&body);
            if breaks {
                chunk.truncate(chunk.len() - 1);
                self.steps.push_back(Step::Break(chunk));
            } else {
                self.steps.push_back(Step::Say(Asked::End(message), chunk));
            }
        } else {
            say(Asked::Data, "DATA\r\n");
            let mut data = Vec::new();
            for line in body.split_inclusive(|octet| *octet == b'\n') {
                if line.starts_with(b".") {
                    data.push(b'.');
                }
                data.extend_from_slice(line);
            }
            if breaks {
                data.truncate(data.len() - 1);
                self.steps.push_back(Step::Break(data));
            } else {
                data.extend_from_slice(b".\r\n");
                self.steps.push_back(Step::Send(message, data));
            }
        }
        self.mails.push(body);
    }

    /// It sends a little and reads what came.
    pub fn act(&mut self, world: &World) {
        if self.deaf_acts > 0 {
            self.deaf_acts -= 1;
            if self.deaf_acts == 0 {
                world.set_deaf(self.socket, false);
            }
        } else if world.random(200) == 0 {
            self.deaf_acts = 1 + world.random(20);
            self.was_deaf = true;
            world.set_deaf(self.socket, true);
        }
        self.listen(world);
        while self.unsent.len() < 4096 && self.take_step() {}
        let most = usize::try_from(world.random(6000)).expect("small").min(self.unsent.len());
        let now: Vec<u8> = self.unsent.drain(..most).collect();
        world.write(self.socket, &now);
        if self.is_broken && self.unsent.is_empty() {
            match self.manner {
                Manner::HalfCloses => world.finish(self.socket),
                Manner::Resets => world.reset(self.socket),
                Manner::FallsSilent | Manner::Polite => {}
            }
        }
        // Who was told 221 or 421 closes.
        if self.codes.last().is_some_and(|code| code == "221" || code == "421") {
            world.finish(self.socket);
        }
    }

    /// It reads what came.
    pub fn listen(&mut self, world: &World) {
        self.replies.extend(world.read(self.socket));
        while let Some(end) = memchr::memchr(b'\n', &self.replies[self.heard..]) {
            let line = &self.replies[self.heard..=self.heard + end];
            if line.get(3) == Some(&b' ') {
                self.codes.push(String::from_utf8_lossy(&line[..3]).into_owned());
            }
            self.heard += line.len();
        }
    }

    /// Takes the next step; false when it has to wait for a reply first, or has done its part.
    fn take_step(&mut self) -> bool {
        let all_answered = self.codes.len() >= self.asked.len();
        let goes_ahead = self.codes.last().is_some_and(|code| code == "354");
        match self.steps.front() {
            None => return false,
            // After greeting, DATA and the end of mail data a client waits (RFC 2920 §3.1); so does this one
            // behind EHLO.
            Some(Step::Say(..))
                if !all_answered
                    && matches!(
                        self.asked.last(),
                        Some(Asked::Greeting | Asked::Ehlo | Asked::Data | Asked::End(_))
                    ) =>
            {
                return false;
            }
            Some(Step::Send(..) | Step::Break(_)) if !all_answered => return false,
            Some(_) => {}
        }
        match self.steps.pop_front() {
            Some(Step::Say(asked, octets)) => {
                self.asked.push(asked);
                self.unsent.extend(octets);
            }
            Some(Step::Send(message, octets)) if goes_ahead => {
                self.asked.push(Asked::End(message));
                self.unsent.extend(octets);
            }
            Some(Step::Send(..)) | None => {}
            Some(Step::Break(octets)) => {
                // In a transaction that was refused there is nothing to break off: it breaks where it is.
                if goes_ahead || octets.starts_with(b"BDAT") {
                    // A chunk may be refused before its end.
                    if octets.starts_with(b"BDAT") {
                        self.asked.push(Asked::End(self.mails.len() - 1));
                    }
                    self.unsent.extend(octets);
                }
                self.is_broken = true;
                self.steps.clear();
            }
        }
        true
    }

    /// The answer to the end of a message's mail data, when one came. Panics unless every reply fits what was
    /// asked, in order, one a command; 421 may come at any time and ends it.
    pub fn check_replies(&self) -> Vec<Option<String>> {
        let codes = &self.codes;
        let mut answers = vec![None; self.mails.len()];
        for (index, code) in codes.iter().enumerate() {
            if code == "421" {
                assert_eq!(index + 1, codes.len(), "421 is the last word: {codes:?}");
                return answers;
            }
            let asked = self.asked.get(index);
            let asked = *asked.unwrap_or_else(|| panic!("a reply to nothing: {codes:?} to {:?}", self.asked));
            assert!(asked.may_be(code), "{code} answers {asked:?}: {codes:?} to {:?}", self.asked);
            if let Asked::End(message) = asked {
                answers[message] = Some(code.clone());
            }
        }
        if self.manner == Manner::Polite && !self.was_deaf {
            assert_eq!(
                codes.len(),
                self.asked.len(),
                "every command is answered: {codes:?} to {:?}",
                self.asked
            );
            assert_eq!(self.asked.last(), Some(&Asked::Quit));
        }
        answers
    }
}
