//! `ringmx explain`: what a client would be answered, and why: a session with the checks of the
//! configuration, against the live DNS and the tables as they are on the disk. Nothing is sent to anybody but
//! name servers, those who are asked about recipients, and content filters, and nothing is stored. What only
//! the running server knows is left out: who is connected, how often somebody came, how busy it is.

mod filters;
mod message;
mod recipients;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::recipients::Others;
use super::generation::table_of;
use crate::auth::rules::AuthRules;
use crate::config::{Config, Lists};
use crate::dns::by_hand::ByHand;
use crate::dns::lookup;
use crate::front::checks::{Checks, Entry, Explained, Ruling, Subject};
use crate::shard::front_line::{denial, denial_of_client};
use crate::smtp::denial::Denial;
use crate::smtp::policy::{Judgement, Verdict};
use crate::smtp::question::Question;
use crate::smtp::reply::ReplyBuffer;
use crate::smtp::session::{Input, Session, Step};
use crate::smtp::supplies::Supplies;

/// Answers that are not there by then are taken as failed, as a server does.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Who sends what to whom.
#[derive(Debug, Clone)]
pub struct Supposed {
    /// The client's address.
    pub client: IpAddr,
    /// What it calls itself.
    pub ehlo: String,
    /// The reverse-path; empty for the null one.
    pub reverse_path: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The client has proved good.
    pub is_proven: bool,
    /// The message that it sends, with any line ends.
    pub message: Option<Vec<u8>>,
}

/// What would be answered, as text, or as one JSON object whose names are fixed. An error is what keeps it
/// from being found out.
pub fn explain(config: &Config, lists: Lists, supposed: &Supposed, as_json: bool) -> Result<String, String> {
    supposed.check()?;
    let table = Arc::new(table_of(config, lists).map_err(|error| error.to_string())?);
    let listener = config.listeners.first().ok_or("no listener is configured")?;
    let now = Instant::now();
    let checks = Checks::new(config.front.rules.clone(), now);
    let mut settings = config.session_settings(listener, table as _);
    settings.words = checks.words().into();
    settings.gate.greeting_delay = Duration::ZERO;
    settings.tls = crate::smtp::settings::TlsPolicy::Off;
    settings.gate.refuse = None;
    let takes = settings.gate.takes(supposed.client);
    let client = SocketAddr::new(supposed.client, 0);
    let mut explanation = Explanation {
        session: Session::new(Arc::new(settings), client, now),
        checks: &checks,
        dns: dns(config)?,
        others: Others::of(config)?,
        supposed,
        replies: ReplyBuffer::new(),
        ruling: None,
        config,
        auth: config.auth.as_ref(),
        is_trusted: false,
        takes_somebody: false,
        text: String::new(),
        said: String::new(),
        last: String::new(),
    };
    explanation.run(takes);
    if as_json {
        return Ok(explanation.json());
    }
    if supposed.message.is_some() {
        explanation.explain_message();
    }
    Ok(explanation.text + &explanation.said)
}

impl Supposed {
    /// Nothing that would be more than one command, or do something to the terminal.
    fn check(&self) -> Result<(), String> {
        let named = [("--ehlo", &self.ehlo), ("--from", &self.reverse_path)];
        let all = named.into_iter().chain(self.recipients.iter().map(|recipient| ("--rcpt", recipient)));
        match all.into_iter().find(|(_, text)| text.chars().any(char::is_control)) {
            None => Ok(()),
            Some((option, text)) => Err(format!(
                "{option}: \"{}\" has a control character, which no command may have; leave it out",
                text.escape_default()
            )),
        }
    }

    /// What the client says before it names recipients.
    fn beginning(&self) -> [String; 2] {
        let is_ascii = self.reverse_path.is_ascii() && self.recipients.iter().all(|one| one.is_ascii());
        let parameter = if is_ascii { "" } else { " SMTPUTF8" };
        [format!("EHLO {}", self.ehlo), format!("MAIL FROM:<{}>{parameter}", self.reverse_path)]
    }
}

/// The way to the DNS that a server of this configuration has.
fn dns(config: &Config) -> Result<ByHand, String> {
    let started = match &config.dns.servers {
        _ if !config.asks_dns() => ByHand::that_asks_nobody(),
        Some(servers) => ByHand::start(servers.clone()),
        None => lookup::name_servers_of_system().and_then(ByHand::start),
    };
    started.map_err(|error| format!("asking the DNS: {error}"))
}

struct Explanation<'a> {
    session: Session,
    checks: &'a Checks,
    dns: ByHand,
    others: Others,
    supposed: &'a Supposed,
    replies: ReplyBuffer,
    /// What all recipients are told, once it was found out.
    ruling: Option<Ruling>,
    config: &'a Config,
    /// How messages are checked, if they are.
    auth: Option<&'a AuthRules>,
    /// By an access rule.
    is_trusted: bool,
    /// A recipient was taken.
    takes_somebody: bool,
    /// What the checks say.
    text: String,
    /// What the client and the session say.
    said: String,
    /// The last reply.
    last: String,
}

impl Explanation<'_> {
    fn run(&mut self, takes: bool) {
        if !takes {
            self.note("clients_from", "this client is none of those that the first listener serves");
            self.turn_away(Denial::CLIENT);
            return self.tell_replies();
        }
        let (client, is_proven) = (self.session.client().ip(), self.supposed.is_proven);
        let class = if is_proven { "it has proved good" } else { "taken for one that has not proved good" };
        self.note("client", &format!("{client}, {class}"));
        let entry = self.checks.enter(client);
        match entry {
            Entry::Trusted => {
                self.is_trusted = true;
                self.note("access", "trusted by its address: no limits and no checks");
            }
            Entry::Refused(refusal) => {
                self.note("access", "refused by its address");
                self.turn_away(denial_of_client(refusal));
                return self.tell_replies();
            }
            Entry::Served => {
                let delay = self.checks.greeting_delay(is_proven);
                if !delay.is_zero() {
                    let text = format!("waits {} s for early talkers", delay.as_secs_f64());
                    self.note("greeting", &text);
                }
            }
        }
        if entry != Entry::Trusted && self.is_dropped() {
            return self.tell_replies();
        }
        self.session.ask_about_each_recipient(entry != Entry::Trusted);
        self.session.greet(&mut self.replies, Instant::now());
        self.session.handle_sending();
        self.session.handle_sent();
        self.tell_replies();
        self.supposed.beginning().iter().for_each(|command| self.command(command));
        if entry != Entry::Trusted {
            // Over what the session has read, which is what a server checks.
            self.explain_checks();
        }
        // Without recipients nobody refuses any.
        self.takes_somebody = self.supposed.recipients.is_empty() && self.last.starts_with("250");
        for recipient in &self.supposed.recipients {
            self.command(&format!("RCPT TO:<{recipient}>"));
            self.takes_somebody |= self.last.starts_with("250");
        }
    }

    fn command(&mut self, command: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.said, "  C: {command}");
        self.say(command);
        self.tell_replies();
    }

    /// Whether lists speak so much against the client that it is not greeted.
    fn is_dropped(&mut self) -> bool {
        let (checks, client, now) = (self.checks, self.supposed.client, Instant::now());
        let mut news = Vec::new();
        let score = self.dns.run(deadline(), |asking| checks.score(client, asking, now, &mut news));
        let Some(refusal) = score.and_then(|score| checks.drops(&score)) else { return false };
        self.note("score", "so high that the client is not greeted, where lists answer in time");
        self.turn_away(denial_of_client(refusal));
        true
    }

    /// What each check says by itself.
    fn explain_checks(&mut self) {
        let (checks, subject) = (self.checks, subject(&self.session, self.supposed));
        let mut news = Vec::new();
        let now = Instant::now();
        let explained = self.dns.run(deadline(), |asking| {
            news.clear();
            checks.explain(&subject, asking, now, &mut news)
        });
        for Explained { check, text } in explained.into_iter().flatten() {
            self.note(&check, &text);
        }
    }

    fn turn_away(&mut self, why: Denial) {
        self.session.turn_away(why, &mut self.replies);
    }

    fn say(&mut self, command: &str) {
        let octets = format!("{command}\r\n").into_bytes();
        let mut supplies = Supplies::default();
        let mut input = Input::new(&octets, &mut supplies);
        loop {
            let now = Instant::now();
            match self.session.advance(&mut input, &mut self.replies, now) {
                Step::Ask(question) => self.answer(question),
                Step::Flush => self.tell_replies(),
                Step::NeedInput
                | Step::Close
                | Step::Data(_)
                | Step::Insert
                | Step::Discard
                | Step::Deliver(_) => break,
            }
        }
        self.session.handle_sending();
        self.session.handle_sent();
    }

    fn answer(&mut self, question: Question) {
        let now = Instant::now();
        let told = match question {
            Question::Beginning { asked, .. } => self.session.resolve(asked, Ok(()), &mut self.replies, now),
            Question::Admission { asked, .. } => self.session.resolve(asked, Ok(()), &mut self.replies, now),
            Question::Encryption { asked } => self.session.resolve(asked, false, &mut self.replies, now),
            Question::Recipient { asked } => {
                let verdict = self.verdict();
                self.session.resolve(asked, verdict, &mut self.replies, now)
            }
        };
        debug_assert!(told.is_ok(), "what was asked just now is awaited");
    }

    fn verdict(&mut self) -> Verdict {
        let is_checked = self.checks.enter(self.supposed.client) != Entry::Trusted;
        if is_checked && self.ruling.is_none() {
            let (checks, subject) = (self.checks, subject(&self.session, self.supposed));
            let mut news = Vec::new();
            let now = Instant::now();
            self.ruling =
                self.dns.run(deadline(), |asking| checks.judge(&subject, None, asking, now, &mut news));
        }
        if let Some(refusal) = self.ruling.as_ref().and_then(|ruling| ruling.refusal) {
            return Verdict::Denied(denial(refusal));
        }
        let is_greylisted = self.ruling.as_ref().is_some_and(|ruling| ruling.greylist.is_some());
        let has_sender = self.session.reverse_path().is_some_and(|path| !path.is_empty());
        if is_greylisted && has_sender && !self.checks.greylist_warns() {
            self.note(
                "greylisting",
                "this is what the first time is answered; five minutes later it is taken",
            );
            return Verdict::Denied(Denial::GREYLISTED);
        }
        match self.session.judge_proposed() {
            Judgement::Known(verdict) => verdict,
            Judgement::Asks => self.ask_others(),
        }
    }

    /// What the proposed recipient is told, whom the policy accepts.
    fn ask_others(&mut self) -> Verdict {
        let Some(recipient) = self.session.proposed_recipient() else { return Verdict::TryAgain };
        let name = String::from_utf8_lossy(recipient.whole).into_owned();
        let (verdict, notes) = self.others.ask(recipient, &*self.session.settings().policy);
        for text in notes {
            self.note(&format!("recipient {name}"), &text);
        }
        verdict
    }

    fn note(&mut self, check: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{check}: {text}");
    }

    fn tell_replies(&mut self) {
        let said = self.replies.replace(Vec::new());
        for line in String::from_utf8_lossy(&said).lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(self.said, "  S: {line}");
            line.clone_into(&mut self.last);
        }
    }
}

/// When answers that are not there have failed.
fn deadline() -> Instant {
    Instant::now() + WAIT_MAX
}

fn subject<'a>(session: &'a Session, supposed: &Supposed) -> Subject<'a> {
    let client = session.client().ip();
    Subject {
        client,
        asked_as: client,
        is_proven: supposed.is_proven,
        ehlo: session.ehlo_name(),
        reverse_path: session.reverse_path().unwrap_or_default(),
    }
}
