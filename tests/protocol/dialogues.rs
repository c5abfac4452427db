//! Runs every dialogue of `tests/dialogues` against a session in memory: whole, byte by byte, split at every
//! offset, and with all that the client sends at once. Replies, closing and stored messages are the same each
//! time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringmx::config::{self, Listener, SinkKind, aliases};
use ringmx::mail::client::ClientFacts;
use ringmx::mail::domain::DomainPattern;
use ringmx::mail::outcome::TryAgain;
use ringmx::mail::tag::Delimiters;
use ringmx::smtp::extension::ExtensionSet;
use ringmx::smtp::policy::{RecipientEntry, Recipients, Verdict};
use ringmx::smtp::settings::{Settings, TlsPolicy};

use support::dialogue::{Dialogue, Event, Message, Outside, match_reply, milliseconds};
use support::exchange::{self, Exchange, Seen, Trouble};
use support::listed::listed;

/// Dialogues that send more than this are split at this many offsets, evenly.
const SPLITS_MAX: usize = 2000;

/// How the client's octets arrive.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    /// What stands between two replies in one piece.
    Whole,
    /// Each octet by itself.
    Bytewise,
    /// In one piece but for a split after this octet of all.
    Split(usize),
    /// Everything up to the next event from outside at once, without waiting for replies.
    AtOnce,
}

#[test]
fn every_dialogue_is_kept_to_however_it_arrives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder).expect("tests/dialogues") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "smtp") {
            continue;
        }
        count += 1;
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("readable dialogue");
        let result =
            Dialogue::parse(&text).map_err(|bad| bad.to_string()).and_then(|dialogue| run_all(&dialogue));
        if let Err(why) = result {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} dialogues went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 60, "only {count} dialogues were found");
}

/// Runs a dialogue in every way.
fn run_all(dialogue: &Dialogue) -> Result<(), String> {
    let (listener, _) = dialogue.listener()?;
    let sent: usize = dialogue
        .events
        .iter()
        .map(|event| if let Event::Client(octets) = event { octets.len() } else { 0 })
        .sum();
    let step = sent.div_ceil(SPLITS_MAX).max(1);
    if dialogue.arrives_together() {
        let splits = (1..sent).step_by(step).map(Arrival::Split);
        for arrival in [Arrival::Whole, Arrival::Bytewise].into_iter().chain(splits) {
            run(dialogue, &listener, arrival).map_err(|why| format!("together, {arrival:?}: {why}"))?;
        }
        return Ok(());
    }
    let splits = (1..sent).step_by(step).map(Arrival::Split);
    for arrival in [Arrival::Whole, Arrival::Bytewise].into_iter().chain(splits) {
        run(dialogue, &listener, arrival).map_err(|why| format!("{arrival:?}: {why}"))?;
    }
    run_at_once(dialogue, &listener).map_err(|why| format!("{:?}: {why}", Arrival::AtOnce))
}

/// Runs a dialogue event by event and compares after each.
fn run(dialogue: &Dialogue, listener: &Listener, arrival: Arrival) -> Result<(), String> {
    let mut exchange = begin(dialogue, listener)?;
    let (mut sent, mut checked) = (0, Checked::default());
    for event in &dialogue.events {
        match event {
            Event::Client(octets) => {
                checked.nothing_left(&exchange.seen)?;
                if dialogue.arrives_together() {
                    send_together(&mut exchange, octets, arrival, sent);
                } else {
                    send(&mut exchange, octets, arrival, sent);
                }
                sent += octets.len();
            }
            Event::Outside(outside) => {
                checked.nothing_left(&exchange.seen)?;
                happen(&mut exchange, *outside);
            }
            Event::Reply(_) | Event::Close | Event::Message(_) => checked.check(event, &exchange.seen)?,
        }
    }
    checked.all(&exchange.seen)
}

/// Runs a dialogue with all that the client sends between two events from outside in one piece, and compares
/// at the end.
fn run_at_once(dialogue: &Dialogue, listener: &Listener) -> Result<(), String> {
    let mut exchange = begin(dialogue, listener)?;
    let mut pending = Vec::new();
    for event in &dialogue.events {
        match event {
            Event::Client(octets) => pending.extend_from_slice(octets),
            Event::Outside(outside) => {
                exchange.receive(&std::mem::take(&mut pending));
                happen(&mut exchange, *outside);
            }
            Event::Reply(_) if must_wait(&pending) => exchange.receive(&std::mem::take(&mut pending)),
            Event::Reply(_) | Event::Close | Event::Message(_) => {}
        }
    }
    exchange.receive(&pending);
    let mut checked = Checked::default();
    for event in &dialogue.events {
        if matches!(event, Event::Reply(_) | Event::Message(_)) {
            checked.check(event, &exchange.seen)?;
        }
    }
    checked.closed = dialogue.events.contains(&Event::Close);
    checked.all(&exchange.seen)
}

/// A client that speaks first does so before the greeting is sent.
fn begin(dialogue: &Dialogue, listener: &Listener) -> Result<Exchange, String> {
    let settings = settings(dialogue, listener)?;
    let mut exchange =
        if dialogue.begins_early() { Exchange::connected(settings) } else { Exchange::new(settings) };
    if let Some(text) = dialogue.config("mailboxes") {
        exchange.store = store(text)?;
    }
    Ok(if dialogue.config("tls") == Some("true") { exchange.under_tls() } else { exchange })
}

/// A store whose mailboxes are ready but for these, each `verdict:mailbox`.
fn store(text: &str) -> Result<exchange::Store, String> {
    let mut told = HashMap::new();
    for part in text.split_whitespace() {
        let (verdict, mailbox) = part.split_once(':').ok_or_else(|| format!("no verdict: {part:?}"))?;
        let words = [
            ("ready", Verdict::Accept),
            ("unknown", Verdict::UnknownRecipient),
            ("unstorable", Verdict::Unstorable),
            ("full", Verdict::MailboxFull),
            ("trouble", Verdict::TryAgain),
        ];
        told.insert(mailbox.as_bytes().to_vec(), word(verdict, &words)?);
    }
    Ok(Box::new(move |mailbox| told.get(mailbox.whole).copied().unwrap_or(Verdict::Accept)))
}

/// Whether a client has to wait for the answer before it sends more: after DATA, STARTTLS, EHLO and HELO,
/// and where a greeting follows.
fn must_wait(pending: &[u8]) -> bool {
    let line = pending.strip_suffix(b"\r\n").unwrap_or(pending);
    let line = line.rsplit(|octet| *octet == b'\n').next().unwrap_or_default().to_ascii_uppercase();
    pending.starts_with(b"\r\n\r\n\0")
        || line.starts_with(b"DATA")
        || line.starts_with(b"PROXY ")
        || line.starts_with(b"XCLIENT")
        || line.starts_with(b"EHLO")
        || line.starts_with(b"HELO")
        || line.starts_with(b"STARTTLS")
}

fn send_together(exchange: &mut Exchange, octets: &[u8], arrival: Arrival, sent: usize) {
    match arrival {
        Arrival::Whole | Arrival::AtOnce => exchange.receive(octets),
        Arrival::Bytewise => exchange.receive_together(&octets.chunks(1).collect::<Vec<_>>()),
        Arrival::Split(at) => {
            let (first, second) = octets.split_at(at.saturating_sub(sent).min(octets.len()));
            exchange.receive_together(&[first, second]);
        }
    }
}

fn send(exchange: &mut Exchange, octets: &[u8], arrival: Arrival, sent: usize) {
    match arrival {
        Arrival::Whole | Arrival::AtOnce => exchange.receive(octets),
        Arrival::Bytewise => octets.chunks(1).for_each(|octet| exchange.receive(octet)),
        Arrival::Split(at) => {
            let (first, second) = octets.split_at(at.saturating_sub(sent).min(octets.len()));
            exchange.receive(first);
            exchange.receive(second);
        }
    }
}

fn happen(exchange: &mut Exchange, outside: Outside) {
    match outside {
        Outside::Wait(milliseconds) => exchange.wait(Duration::from_millis(milliseconds)),
        Outside::EndOfInput => exchange.end_input(),
        Outside::ShutDown => exchange.shut_down(),
        Outside::Tls => exchange.secure(),
        Outside::Overload => exchange.trouble = Some(Trouble::TryAgain(TryAgain::Overload)),
        Outside::Local => exchange.trouble = Some(Trouble::TryAgain(TryAgain::Local)),
        Outside::NoSpace => exchange.trouble = Some(Trouble::TryAgain(TryAgain::NoSpace)),
        Outside::Refused => exchange.trouble = Some(Trouble::Refused),
        Outside::Unknown => exchange.trouble = Some(Trouble::Unknown),
        Outside::NoMemory => exchange.no_memory = true,
        Outside::TooMany => exchange.too_many = true,
    }
}

/// How much of what was seen was expected.
#[derive(Default)]
struct Checked {
    reply_bytes: usize,
    messages: usize,
    closed: bool,
}

impl Checked {
    fn check(&mut self, event: &Event, seen: &Seen) -> Result<(), String> {
        match event {
            Event::Reply(expected) => {
                let rest = match_reply(&seen.replies[self.reply_bytes..], expected)?;
                self.reply_bytes = seen.replies.len() - rest.len();
            }
            Event::Close if seen.closed => self.closed = true,
            Event::Close => return Err("the server did not close".into()),
            Event::Message(expected) => {
                let stored = seen.stored.get(self.messages).ok_or("no message was stored")?;
                self.messages += 1;
                let Message { reverse_path, recipients, data, client, facts } = expected;
                for fact in facts {
                    if !stored.facts.contains(fact) {
                        return Err(format!("{fact:?} is not among {:?}", stored.facts));
                    }
                }
                if (&stored.reverse_path, &stored.recipients, &stored.data)
                    != (reverse_path, recipients, data)
                {
                    let shown = |reverse_path: &[u8], recipients: &[Vec<u8>], data: &[u8]| {
                        let recipients = recipients.join(&b' ');
                        let [reverse_path, recipients, data] =
                            [reverse_path, &recipients, data].map(|octets| octets.escape_ascii().to_string());
                        format!("<{reverse_path}> {recipients}: {data}")
                    };
                    let stored = shown(&stored.reverse_path, &stored.recipients, &stored.data);
                    return Err(format!(
                        "stored {stored}, expected {}",
                        shown(reverse_path, recipients, data)
                    ));
                }
                let ClientFacts { address, ehlo, protocol, .. } = &stored.client;
                let facts = format!("{address} {} {protocol}", ehlo.escape_ascii());
                if let Some(client) = client.as_ref().filter(|client| **client != facts) {
                    return Err(format!("the client is {facts}, expected {client}"));
                }
            }
            Event::Client(_) | Event::Outside(_) => {}
        }
        Ok(())
    }

    /// Whatever was replied so far was expected.
    fn nothing_left(&self, seen: &Seen) -> Result<(), String> {
        match seen.replies.get(self.reply_bytes..) {
            None | Some([]) => Ok(()),
            Some(rest) => Err(format!("not expected: {}", rest.escape_ascii())),
        }
    }

    fn all(&self, seen: &Seen) -> Result<(), String> {
        self.nothing_left(seen)?;
        if seen.stored.len() != self.messages {
            return Err(format!("{} messages stored, {} expected", seen.stored.len(), self.messages));
        }
        if seen.closed != self.closed {
            return Err(format!("closed: {}, expected: {}", seen.closed, self.closed));
        }
        Ok(())
    }
}

/// The settings that a dialogue asks for, those of its listener besides.
fn settings(dialogue: &Dialogue, listener: &Listener) -> Result<Settings, String> {
    let mut settings = exchange::config().session_settings(listener, Arc::new(policy(dialogue)));
    let Settings { limits, extensions, tls, envelope_json_bytes_max, .. } = &mut settings;
    for (key, value) in &dialogue.config {
        let number = || value.parse::<u64>().map_err(|_| format!("no number: {value:?}"));
        let time = || milliseconds(value).map(Duration::from_millis);
        match key.as_str() {
            "message_size_max" => limits.message_size_max = number()?,
            "recipients_max" => limits.recipients_max = usize::try_from(number()?).expect("small"),
            "envelope_json_bytes_max" => {
                *envelope_json_bytes_max = Some(usize::try_from(number()?).expect("small"));
            }
            "line_bytes_max" => limits.line_bytes_max = usize::try_from(number()?).expect("small"),
            "errors_max" => limits.errors_max = u32::try_from(number()?).expect("small"),
            "idle_commands_max" => limits.idle_commands_max = u32::try_from(number()?).expect("small"),
            "session_without_mail_max" => limits.session_without_mail_max = time()?,
            "command_timeout" => limits.command_timeout = time()?,
            "data_timeout" => limits.data_timeout = time()?,
            "received_max" => limits.received_max = u32::try_from(number()?).expect("small"),
            "data_line_length_max" => {
                limits.data_line_bytes_max = usize::try_from(number()?).expect("small");
            }
            "arrival" => word(value, &[("together", ())])?,
            "promises" => {
                word(value, &[("kept", ())])?;
                *extensions = ExtensionSet::all();
            }
            "tls" => {
                let words = [
                    ("true", TlsPolicy::Offered),
                    ("offered", TlsPolicy::Offered),
                    ("required", TlsPolicy::Required),
                    ("implicit", TlsPolicy::Implicit),
                ];
                *tls = word(value, &words)?;
            }
            "tls_handshake_timeout" => limits.tls_handshake_timeout = time()?,
            // Those of the policy, and keys of the listener.
            _ => {}
        }
    }
    settings.local_part_case_sensitive = is_case_sensitive(dialogue);
    Ok(settings)
}

fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("unknown word {value:?}"))
}

fn policy(dialogue: &Dialogue) -> Recipients {
    let words = |key| dialogue.config(key).into_iter().flat_map(str::split_whitespace);
    let mut config = exchange::config();
    let patterns = |key| {
        let pattern = |domain: &str| match domain.strip_prefix("*.") {
            Some(parent) => DomainPattern::Below(parent.into()),
            None => DomainPattern::Exact(domain.into()),
        };
        words(key).map(pattern).collect()
    };
    config.domains = patterns("domains");
    config.domains_without_mail = patterns("domains_without_mail");
    let entries: Vec<_> = words("recipients")
        .map(|entry| match entry.split_once('@') {
            Some(("", domain)) => RecipientEntry::CatchAll(domain.into()),
            Some((local_part, domain)) => {
                RecipientEntry::Mailbox { local_part: local_part.into(), domain: domain.into() }
            }
            None => panic!("no recipient: {entry:?}"),
        })
        .collect();
    if let SinkKind::Maildir(config::Maildir { template, .. }) = &mut config.sink.kind
        && dialogue.config("mailboxes").is_some()
    {
        *template = "{domain}/{local}".into();
    }
    if let Some(postmaster) = dialogue.config("postmaster") {
        config.postmaster = postmaster.into();
    }
    if let Some(denied) = dialogue.config("local_part_deny") {
        config.local_part_deny = denied.into();
    }
    config.local_part_case_sensitive = is_case_sensitive(dialogue);
    let listed = dialogue.config("recipients").map(|_| listed(&entries, is_case_sensitive(dialogue)));
    if let Some(delimiter) = dialogue.config("recipient_delimiter") {
        config.recipient_delimiter = Delimiters::new(delimiter.as_bytes()).expect("good delimiters");
    }
    let rules = config.recipient_rules();
    let lines = words("aliases").collect::<Vec<_>>().join("\n");
    let aliases = aliases::parse(Path::new("aliases"), lines.as_bytes(), &rules).expect("good aliases").0;
    Recipients::new(&rules, listed).with_aliases(aliases)
}

fn is_case_sensitive(dialogue: &Dialogue) -> bool {
    dialogue.config("local_part_case_sensitive") == Some("true")
}
