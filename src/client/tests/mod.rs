//! Sessions with servers in memory: what the server says against what the client says and what it finds.
//!
//! A script is a text, a line each: `S:` what the server says; `C:` what the client says; `=` what it
//! finds. Lines of the server in succession arrive together, and once more split everywhere. Above it stand
//! the settings and the transactions:
//!
//! ```text
//! settings: lmtp tls=off                              (also: xclient no-pipelining no-chunking insecure)
//! T: from=a@b to=c@d,e@f bytes=7 8bit binary bare utf8 requiretls dsn client=192.0.2.1    (or: ask to=c@d)
//! ```
//!
//! What happens beside that is said by lines of the server: `S: <close>`, `S: <timeout>`, `S: <raw>TEXT`
//! without a line end. Content is said as `C: <dot>` or `C: <chunk>`, a handshake as `C: <tls>`.

mod hostile;
mod lmtp;
mod opening;
mod random;
mod steps;
mod transactions;
mod unfit;
mod xclient;

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::mail::client::{ClientFacts, Standing};
use crate::mail::envelope::{BodyType, Notify, RecipientParameters, Ret};

/// A transaction that a script names.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    from: String,
    to: Vec<String>,
    bytes: u64,
    body: BodyType,
    bare: bool,
    utf8: bool,
    requiretls: bool,
    dsn: bool,
    client: Option<String>,
    asks: bool,
}

impl Planned {
    fn of(line: &str) -> Self {
        let mut planned = Self { bytes: 5, ..Self::default() };
        for word in line.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("from", from) => planned.from = from.to_owned(),
                ("to", to) => planned.to = to.split(',').map(str::to_owned).collect(),
                ("bytes", bytes) => planned.bytes = bytes.parse().expect("a number"),
                ("client", client) => planned.client = Some(client.to_owned()),
                ("8bit", _) => planned.body = BodyType::EightBitMime,
                ("binary", _) => planned.body = BodyType::BinaryMime,
                ("bare", _) => planned.bare = true,
                ("utf8", _) => planned.utf8 = true,
                ("requiretls", _) => planned.requiretls = true,
                ("dsn", _) => planned.dsn = true,
                ("ask", _) => planned.asks = true,
                _ => panic!("{word}"),
            }
        }
        planned
    }

    pub(super) fn begin(&self, client: &mut Client, output: &mut Vec<u8>) -> Result<(), Unfit> {
        let facts = self.client.as_ref().map(|address| ClientFacts {
            address: format!("{address}:25000").parse().expect("an address"),
            ehlo: b"sender.test".to_vec(),
            protocol: "ESMTPS",
            tls: None,
            standing: Standing::default(),
        });
        let transaction = Transaction {
            reverse_path: self.from.as_bytes(),
            body: self.body,
            smtputf8: self.utf8,
            requiretls: self.requiretls,
            ret: self.dsn.then_some(Ret::Headers),
            envid: if self.dsn { b"QQ+2B" } else { b"" },
            content: Content { bytes: self.bytes, bare_line_ends: self.bare },
            client: facts.as_ref(),
        };
        let parameters = RecipientParameters {
            notify: self.dsn.then_some(Notify::SUCCESS.and(Notify::DELAY)),
            orcpt: if self.dsn { b"rfc822;o@x" } else { b"" },
        };
        let recipients = self.to.iter().map(|mailbox| Recipient { mailbox: mailbox.as_bytes(), parameters });
        if self.asks {
            client.ask(recipients, output)
        } else {
            client.begin(&transaction, recipients, output)
        }
    }
}

/// A client and what it does, as a text.
pub(super) struct Driver {
    pub(super) client: Client,
    planned: VecDeque<Planned>,
    is_authenticated: bool,
    /// What is done with the content: nothing sends it where it is false.
    pub(super) sends_content: bool,
    pub(super) said: String,
    pub(super) is_over: bool,
}

impl Driver {
    pub(super) fn new(settings: Settings, planned: Vec<Planned>) -> Self {
        Self {
            client: Client::new(Arc::new(settings)),
            planned: planned.into(),
            is_authenticated: true,
            sends_content: true,
            said: String::new(),
            is_over: false,
        }
    }

    /// The server's octets arrive.
    pub(super) fn feed(&mut self, mut octets: &[u8]) {
        loop {
            let mut output = Vec::new();
            let step = self.client.advance(&mut octets, &mut output);
            self.note(&output);
            match step {
                Step::NeedInput(_) => return assert!(octets.is_empty(), "all input is consumed"),
                Step::StartTls => {
                    self.tell("C: <tls>");
                    self.client.handle_secured(self.is_authenticated);
                }
                Step::SendContent(form) => {
                    self.tell(if form == Form::Dot { "C: <dot>" } else { "C: <chunk>" });
                    if self.sends_content {
                        self.client.handle_content_sent();
                    }
                }
                Step::Done => {
                    let results: Vec<String> = self.client.results().map(shown).collect();
                    self.tell(&format!("= {}", results.join("; ")));
                }
                Step::Ready if octets.is_empty() => {
                    let Some(planned) = self.planned.pop_front() else { return };
                    let mut output = Vec::new();
                    if planned.from == "quit" {
                        self.client.quit(&mut output);
                    } else if let Err(unfit) = planned.begin(&mut self.client, &mut output) {
                        self.tell(&format!("= unfit {}", unfit.enhanced()));
                    }
                    self.note(&output);
                }
                Step::Spent => {
                    self.tell("= spent");
                    let mut output = Vec::new();
                    self.client.quit(&mut output);
                    self.note(&output);
                }
                Step::Ready => {}
                Step::Over(end) => {
                    if !self.is_over {
                        self.tell(&format!("= {end}"));
                        if let Some(reply) = self.client.end_reply().map(|reply| reply.to_string()) {
                            self.tell(&format!("= by {reply}"));
                        }
                    }
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    fn tell(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }

    fn note(&mut self, output: &[u8]) {
        let output = String::from_utf8(output.to_vec()).expect("UTF-8");
        assert!(output.is_empty() || output.ends_with("\r\n"), "whole lines: {output:?}");
        for line in output.split_inclusive("\r\n").map(str::trim_end) {
            assert!(!line.contains(['\r', '\n']), "{line:?}");
            self.tell(&format!("C: {line}"));
        }
    }
}

fn shown(result: RecipientResult<'_>) -> String {
    match result {
        RecipientResult::Accepted(reply) => format!("accepted {reply}"),
        RecipientResult::Temporary(reply) => format!("temporary {reply}"),
        RecipientResult::Permanent(reply) => format!("permanent {reply}"),
        RecipientResult::Welcome => "welcome".into(),
        RecipientResult::Untried => "untried".into(),
        RecipientResult::Lost => "lost".into(),
        RecipientResult::Unknown => "unknown".into(),
    }
}

/// A script that was read.
struct Script {
    settings: Settings,
    is_authenticated: bool,
    planned: Vec<Planned>,
    /// What the server sends at a time, and what was said up to then.
    rounds: Vec<(String, Vec<Event>)>,
    end: String,
}

enum Event {
    Octets(Vec<u8>),
    Lost(Loss),
}

impl Script {
    fn of(text: &str) -> Self {
        let mut settings = Settings { tls: Tls::Off, ..Settings::of(Protocol::Smtp, "client.test") };
        let (mut is_authenticated, mut planned) = (true, Vec::new());
        let (mut rounds, mut said, mut events) = (Vec::new(), String::new(), Vec::new());
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Some(words) = line.strip_prefix("settings:") {
                for word in words.split_whitespace() {
                    match word {
                        "lmtp" => settings.protocol = Protocol::Lmtp,
                        "tls=off" => settings.tls = Tls::Off,
                        "tls=offered" => settings.tls = Tls::Offered,
                        "tls=required" => settings.tls = Tls::Required,
                        "xclient" => settings.xclient = true,
                        "no-pipelining" => settings.pipelining = false,
                        "no-chunking" => settings.chunking = false,
                        "insecure" => is_authenticated = false,
                        _ => panic!("{word}"),
                    }
                }
            } else if let Some(line) = line.strip_prefix("T: ") {
                planned.push(Planned::of(line));
            } else if let Some(line) = line.strip_prefix("S: ") {
                events.push(match line {
                    "<close>" => Event::Lost(Loss::Closed),
                    "<timeout>" => Event::Lost(Loss::TimedOut),
                    _ => Event::Octets(match line.strip_prefix("<raw>") {
                        Some(raw) => raw.as_bytes().to_vec(),
                        None => format!("{line}\r\n").into_bytes(),
                    }),
                });
            } else {
                if !events.is_empty() {
                    rounds.push((std::mem::take(&mut said), std::mem::take(&mut events)));
                }
                said.push_str(line);
                said.push('\n');
            }
        }
        rounds.push((said, events));
        let end = if rounds.last().is_some_and(|(_, events)| events.is_empty()) {
            rounds.pop().expect("one").0
        } else {
            String::new()
        };
        Self { settings, is_authenticated, planned, rounds, end }
    }

    /// Runs it; `cut` tells into which pieces a run of octets is cut, of which so many came before it.
    fn run(&self, shown: &str, cut: impl Fn(usize, &[u8]) -> Vec<Vec<u8>>) {
        let mut driver = Driver::new(self.settings.clone(), self.planned.clone());
        driver.is_authenticated = self.is_authenticated;
        let mut expected = String::new();
        let mut count = 0;
        for (said, events) in &self.rounds {
            expected += said;
            assert_eq!(driver.said, expected, "before {count} octets of the server, {shown}");
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
                    driver.client.handle_lost(*loss);
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

/// The opening of a session with these keywords.
fn opened(settings: &str, transactions: &str, keywords: &[&str]) -> String {
    let hello = if settings.contains("lmtp") { "LHLO" } else { "EHLO" };
    let mut text = format!("settings: {settings}\n{transactions}\nS: 220 mx.test\nC: {hello} client.test\n");
    let lines: Vec<&str> = [&["mx.test"], keywords].concat();
    for (at, line) in lines.iter().enumerate() {
        text.push_str(if at + 1 < lines.len() { "S: 250-" } else { "S: 250 " });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A script after that opening.
fn with(settings: &str, transactions: &str, keywords: &[&str], rest: &str) {
    script(&(opened(settings, transactions, keywords) + rest));
}
