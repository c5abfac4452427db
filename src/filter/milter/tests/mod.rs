//! Sessions with milters in memory: what the milter says against what we say and what we find.
//!
//! A script is a text, a line each: `M:` a packet of the milter; `R:` one of ours; `=` what is found. Lines
//! of the milter in succession arrive together, and once more split everywhere; in a script that tells none
//! of our packets each of them arrives by itself. In packets `|` is NUL and `\n` a line end. Above it stand
//! the messages that are asked about:
//!
//! ```text
//! T: to=b@x,c@x header=Subject: x\r\n\r\n body=text        (spaces of the last two are written as _)
//! ```
//!
//! `O 6 1 0` has the version in decimal, actions and protocol options in hexadecimal, and after them macros
//! as `2=i|`; `i0 X-A|1|` its index in decimal. What happens beside packets: `M: <close>`, `M: <timeout>`,
//! `M: <raw>00ff`, octets in hexadecimal.

mod answers;
mod edits;
mod hostile;
mod negotiation;
mod random;
mod telling;

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::*;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;

/// A message that a script names.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    to: Vec<String>,
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Planned {
    fn of(line: &str) -> Self {
        let mut planned =
            Self { to: vec!["b@x".into()], header: b"A: 1\r\n\r\n".to_vec(), body: b"b".to_vec() };
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=').expect("a word");
            match key {
                "to" => planned.to = value.split(',').map(str::to_owned).collect(),
                "header" => planned.header = octets_of(value),
                "body" => planned.body = octets_of(value),
                _ => panic!("{word}"),
            }
        }
        planned
    }

    pub(super) fn begin(&self, session: &mut Session) {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"s");
        self.to.iter().for_each(|mailbox| envelope.push_whole_recipient(mailbox.as_bytes()));
        let client = ClientFacts {
            address: "192.0.2.1:25".parse().expect("an address"),
            ehlo: b"c.test".to_vec(),
            ..ClientFacts::unknown()
        };
        let subject = Subject { id: QueueId(1), envelope: &envelope, client: &client, hostname: "mx" };
        session.begin(&subject, &self.header);
    }
}

/// `_` is a space, `\r`, `\n`, `\t`, `\0` what they are elsewhere.
fn octets_of(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut all = text.bytes();
    while let Some(octet) = all.next() {
        octets.push(match octet {
            b'_' => b' ',
            b'\\' => match all.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                other => panic!("{other:?}"),
            },
            other => other,
        });
    }
    octets
}

/// A session and what it does, as a text.
pub(super) struct Driver {
    pub(super) session: Session,
    planned: VecDeque<Planned>,
    body: Vec<u8>,
    /// Packets are told; else only what is found.
    tells: bool,
    pub(super) said: String,
    pub(super) is_over: bool,
}

impl Driver {
    pub(super) fn new(planned: Vec<Planned>) -> Self {
        let (planned, body, said) = (planned.into(), Vec::new(), String::new());
        Self { session: Session::new(), planned, body, tells: true, said, is_over: false }
    }

    /// The milter's octets arrive.
    pub(super) fn feed(&mut self, mut octets: &[u8]) {
        loop {
            let mut output = Vec::new();
            let step = self.session.advance(&mut octets, &mut output);
            self.note(&output);
            match step {
                Step::NeedInput => return assert!(octets.is_empty(), "all input is consumed"),
                Step::Ready => {
                    let Some(planned) = self.planned.pop_front() else { return };
                    planned.begin(&mut self.session);
                    self.body = planned.body;
                }
                Step::NeedBody => {
                    let mut output = Vec::new();
                    let body = std::mem::take(&mut self.body);
                    let mut rest = &body[..];
                    if rest.is_empty() {
                        self.session.end_body(&mut output);
                    } else {
                        self.session.give_body(&mut rest, &mut output);
                    }
                    self.body = rest.to_vec();
                    self.note(&output);
                }
                Step::Done(ruling) => {
                    let line = format!("= {}", shown(&ruling));
                    self.tell(&line);
                }
                Step::Spent => {
                    if !self.is_over {
                        self.tell("= spent");
                    }
                    self.is_over = true;
                    return;
                }
                Step::Over(fault) => {
                    if !self.is_over {
                        self.tell(&format!("= {fault}"));
                    }
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    fn tell(&mut self, line: &str) {
        self.said.push_str(line.trim_end());
        self.said.push('\n');
    }

    fn note(&mut self, output: &[u8]) {
        let mut rest = output;
        while !rest.is_empty() {
            let packet = packet::first(rest).expect("whole packets");
            rest = &rest[packet.whole.len()..];
            if self.tells {
                let line = format!("R: {}", told(packet.code, packet.data));
                self.tell(&line);
            }
        }
    }
}

/// A packet of ours as a text.
fn told(code: u8, data: &[u8]) -> String {
    let mut text = String::from(char::from(code));
    match (code, data) {
        (command::NEGOTIATE, _) => {
            let words: Vec<u32> =
                data.chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("four"))).collect();
            write!(text, " {} {:x} {:x}", words[0], words[1], words[2]).expect("a string");
        }
        (command::CONNECT, _) => {
            let (name, rest) = packet::split_text(data).expect("a name");
            let port = u16::from_be_bytes([rest[1], rest[2]]);
            let name = String::from_utf8_lossy(name);
            let address = String::from_utf8_lossy(&rest[3..]);
            write!(text, " {name} {} {port} {address}", char::from(rest[0])).expect("a string");
        }
        (command::MACROS, [of, pairs @ ..]) => {
            text.push(char::from(*of));
            let words: Vec<_> = pairs.split(|octet| *octet == 0).map(String::from_utf8_lossy).collect();
            for pair in words.chunks_exact(2) {
                write!(text, " {}={}", pair[0], pair[1]).expect("a string");
            }
        }
        (_, []) => {}
        _ => write!(text, " {}", String::from_utf8_lossy(data)).expect("a string"),
    }
    let version = concat!("ringmx ", env!("CARGO_PKG_VERSION"));
    text.replace(version, "ringmx")
        .replace('\0', "|")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

fn shown(ruling: &Ruling) -> String {
    let mut text = match &ruling.action {
        Action::Pass => "pass".to_owned(),
        Action::Mark => "mark".to_owned(),
        Action::Refuse(reply) => format!("refuse {reply}"),
        Action::Greylist => "greylist".to_owned(),
        Action::Discard => "discard".to_owned(),
    };
    ruling.symbols.iter().for_each(|symbol| write!(text, " [{symbol}]").expect("a string"));
    let fields = String::from_utf8_lossy(&ruling.fields);
    text + " " + &fields.replace("\r\n", "|").replace('\n', "\\n").replace('\t', "\\t")
}

enum Event {
    Octets(Vec<u8>),
    Lost(Loss),
}

/// A packet of a milter that a script says.
fn said(line: &str) -> Event {
    let mut octets = Vec::new();
    match line {
        "<close>" => return Event::Lost(Loss::Closed),
        "<timeout>" => return Event::Lost(Loss::TimedOut),
        _ => {}
    }
    if let Some(digits) = line.strip_prefix("<raw>") {
        let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("an octet");
        return Event::Octets((0..digits.len()).step_by(2).map(octet).collect());
    }
    let text = |text: &str| octets_of(&text.replace('_', " ").replace('|', "\\0"));
    let (code, rest) = line.split_at(1);
    packet::push(&mut octets, code.as_bytes()[0], |data| match code {
        "O" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            data.extend_from_slice(&words[0].parse::<u32>().expect("a number").to_be_bytes());
            for word in &words[1..3] {
                data.extend_from_slice(&u32::from_str_radix(word, 16).expect("a number").to_be_bytes());
            }
            for list in &words[3..] {
                let (place, names) = list.split_once('=').expect("a list");
                data.extend_from_slice(&place.parse::<u32>().expect("a number").to_be_bytes());
                data.extend_from_slice(names.replace('|', "\0").as_bytes());
            }
        }
        "i" => {
            let (index, field) = rest.split_once(' ').expect("an index");
            data.extend_from_slice(&index.parse::<u32>().expect("a number").to_be_bytes());
            data.extend_from_slice(&text(field));
        }
        _ => data.extend_from_slice(&text(rest)),
    });
    Event::Octets(octets)
}

/// A script that was read.
struct Script {
    planned: Vec<Planned>,
    /// What the milter sends at a time, and what was said up to then.
    rounds: Vec<(String, Vec<Event>)>,
    end: String,
    tells: bool,
}

impl Script {
    fn of(text: &str) -> Self {
        let tells = text.contains("R: ");
        let (mut planned, mut rounds, mut ours, mut events) =
            (Vec::new(), Vec::new(), String::new(), Vec::new());
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Some(line) = line.strip_prefix("T:") {
                planned.push(Planned::of(line));
            } else if let Some(line) = line.strip_prefix("M: ") {
                if !tells && !events.is_empty() {
                    rounds.push((std::mem::take(&mut ours), std::mem::take(&mut events)));
                }
                events.push(said(line));
            } else {
                if !events.is_empty() {
                    rounds.push((std::mem::take(&mut ours), std::mem::take(&mut events)));
                }
                ours.push_str(line.trim_end());
                ours.push('\n');
            }
        }
        let end = if events.is_empty() {
            ours
        } else {
            rounds.push((ours, events));
            String::new()
        };
        Self { planned, rounds, end, tells }
    }

    /// Runs it; `cut` tells into which pieces a run of octets is cut, of which so many came before it.
    fn run(&self, shown: &str, cut: impl Fn(usize, &[u8]) -> Vec<Vec<u8>>) {
        let mut driver = Driver::new(self.planned.clone());
        driver.tells = self.tells;
        let mut expected = String::new();
        let mut count = 0;
        driver.feed(b"");
        for (ours, events) in &self.rounds {
            expected += ours;
            if self.tells {
                assert_eq!(driver.said, expected, "before {count} octets of the milter, {shown}");
            }
            let octets: Vec<u8> = events
                .iter()
                .flat_map(|event| match event {
                    Event::Octets(octets) => octets.clone(),
                    Event::Lost(_) => Vec::new(),
                })
                .collect();
            for piece in cut(count, &octets) {
                driver.feed(&piece);
            }
            count += octets.len();
            for event in events {
                if let Event::Lost(loss) = event {
                    driver.session.handle_lost(*loss);
                    driver.feed(b"");
                }
            }
        }
        expected += &self.end;
        assert_eq!(driver.said, expected, "at the end, {shown}");
    }

    fn octets(&self) -> usize {
        let bytes = |event: &Event| match event {
            Event::Octets(octets) => octets.len(),
            Event::Lost(_) => 0,
        };
        self.rounds.iter().flat_map(|(_, events)| events).map(bytes).sum()
    }
}

/// A script in which it matters what arrives together.
fn whole(text: &str) {
    Script::of(text).run(text, |_, octets| vec![octets.to_vec()]);
}

/// A script, whole and split everywhere.
fn script(text: &str) {
    whole(text);
    let script = Script::of(text);
    script.run(text, |_, octets| octets.chunks(1).map(<[u8]>::to_vec).collect());
    for at in 0..script.octets() {
        script.run(text, |before, octets| {
            let at = at.saturating_sub(before).min(octets.len());
            vec![octets[..at].to_vec(), octets[at..].to_vec()]
        });
    }
}

/// Options under which nothing but the end of a message is said and answered (`SMFIP_NO…` of all else).
const ONLY_END: &str = "37f";

/// A milter with these options is asked about one message, of which it is told only the end; it answers.
fn at_end(actions: &str, answers: &str) {
    script(&format!("T: \nM: O 6 {actions} {ONLY_END}\n{answers}"));
}
