//! The format of `tests/dialogues/*.smtp`, read. `tests/dialogues/README.md` describes it.

use std::fmt;
use std::path::Path;

use ringmx::config::{self, Listener};

/// Settings that are no keys of the listener: bounds, what is true of all listeners, what only a test has.
const NOT_OF_THE_LISTENER: &[&str] = &[
    "aliases",
    "arrival",
    "command_timeout",
    "data_line_length_max",
    "data_timeout",
    "domains",
    "domains_without_mail",
    "errors_max",
    "idle_commands_max",
    "line_bytes_max",
    "local_part_case_sensitive",
    "local_part_deny",
    "mailboxes",
    "message_size_max",
    "postmaster",
    "promises",
    "received_max",
    "recipient_delimiter",
    "recipients",
    "recipients_max",
    "envelope_json_bytes_max",
    "session_without_mail_max",
    "tls",
    "tls_handshake_timeout",
];

/// One dialogue.
#[derive(Debug, Clone, Default)]
pub struct Dialogue {
    /// The first comment: what is claimed, with its section.
    pub claim: String,
    /// `config:` lines: key and value.
    pub config: Vec<(String, String)>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// One thing that happens in a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client sends these octets (`C:` with CRLF, `c:` without). Neighbours are one.
    Client(Vec<u8>),
    /// The server replies (`S:`): one whole reply.
    Reply(Vec<Expected>),
    /// The server closes (`S: close`).
    Close,
    /// The server has stored a message (`M:`, `D:`, `d:`).
    Message(Message),
    /// Something happens outside of the session (`E:`).
    Outside(Outside),
}

/// One line of a reply as expected: code, `-` or space, and how the text begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether further lines follow in the same reply.
    pub more: bool,
    /// The line begins so; the code alone stands for any reply with this code.
    pub start: Vec<u8>,
}

/// A stored message as expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The reverse-path; empty for `<>`.
    pub reverse_path: Vec<u8>,
    /// The recipients in order.
    pub recipients: Vec<Vec<u8>>,
    /// The mail data.
    pub data: Vec<u8>,
    /// Address and port, EHLO name and protocol of the client, where they are said.
    pub client: Option<String>,
    /// What else is said of it (`P:`), word by word.
    pub facts: Vec<String>,
}

/// What can happen outside of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The client closes its half.
    EndOfInput,
    /// The server is told to stop.
    ShutDown,
    /// The next MAIL or message is answered 4yz: no memory or place, trouble, no space.
    Overload,
    /// A TLS handshake is done.
    Tls,
    /// See [`Outside::Overload`].
    Local,
    /// See [`Outside::Overload`].
    NoSpace,
    /// The next message is refused by the sink.
    Refused,
    /// The next message's outcome is unknown at the deadline.
    Unknown,
    /// No more mail data can be kept.
    NoMemory,
    /// The next client that a front speaks for has too many connections.
    TooMany,
}

/// Why a dialogue cannot be read.
#[derive(Debug)]
pub struct BadDialogue {
    line: usize,
    why: String,
}

impl fmt::Display for BadDialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The listener that these keys make.
fn read_listener(keys: &str) -> Result<Listener, String> {
    // With fronts there have to be domains.
    let text = format!(
        "hostname = \"mx.test\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n{keys}\n\
         [[sink]]\nkind = \"stdout\"\n"
    );
    let (config, _) = config::parse(&text, "", Path::new("")).map_err(|problems| problems[0].to_string())?;
    config.listeners.into_iter().next().ok_or_else(|| "no listener".to_owned())
}

impl Dialogue {
    /// Reads a dialogue.
    pub fn parse(text: &str) -> Result<Self, BadDialogue> {
        let mut dialogue = Self::default();
        for (index, line) in text.lines().enumerate() {
            dialogue.push(line).map_err(|why| BadDialogue { line: index + 1, why })?;
        }
        if dialogue.claim.contains("RFC") {
            Ok(dialogue)
        } else {
            Err(BadDialogue {
                line: 1,
                why: "the first line says what is claimed, with its section of an RFC".into(),
            })
        }
    }

    /// The value of a `config:` line; the last one counts.
    pub fn config(&self, key: &str) -> Option<&str> {
        self.config.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Its listener, and the keys of that as the configuration has them: all settings that are nothing else.
    /// Each value is written in the form that its key takes: text, a number or a truth, a list of words.
    pub fn listener(&self) -> Result<(Listener, String), String> {
        let mut keys = String::new();
        let mut listener = read_listener("")?;
        for (key, value) in &self.config {
            if NOT_OF_THE_LISTENER.contains(&key.as_str()) {
                continue;
            }
            let words: Vec<String> = value.split_whitespace().map(|word| format!("{word:?}")).collect();
            let forms = [format!("{value:?}"), value.clone(), format!("[{}]", words.join(", "))];
            let mut read = forms.iter().map(|form| {
                let keys = format!("{keys}{key} = {form}\n");
                read_listener(&keys).map(|listener| (listener, keys))
            });
            (listener, keys) =
                read.find_map(Result::ok).ok_or_else(|| format!("unknown setting {key} = {value}"))?;
        }
        Ok((listener, keys))
    }

    /// Whether what the client sends between two replies arrives before anything is answered, in however many
    /// pieces.
    pub fn arrives_together(&self) -> bool {
        self.config("arrival") == Some("together")
    }

    /// Whether the client speaks first.
    pub fn begins_early(&self) -> bool {
        matches!(self.events.first(), Some(Event::Client(_)))
    }

    fn push(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            if self.claim.is_empty() {
                self.claim = comment.trim().into();
            }
            return Ok(());
        }
        if line.trim().is_empty() {
            return Ok(());
        }
        let (kind, rest) = line.split_once(':').ok_or("no `kind:`")?;
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "config" => {
                let (key, value) = text.split_once('=').ok_or("config: key = value")?;
                self.config.push((key.trim().into(), value.trim().into()));
            }
            "C" => self.push_client(text, b"\r\n")?,
            "c" => self.push_client(text, b"")?,
            "S" if text == "close" => self.events.push(Event::Close),
            "S" => self.push_reply(text)?,
            "M" => self.events.push(Event::Message(message(text)?)),
            "D" => self.push_data(text, b"\r\n")?,
            "d" => self.push_data(text, b"")?,
            "P" => {
                let Some(Event::Message(message)) = self.events.last_mut() else {
                    return Err("P: stands behind M:".into());
                };
                message.facts.extend(text.split_whitespace().map(str::to_owned));
            }
            "F" => match self.events.last_mut() {
                Some(Event::Message(message)) => message.client = Some(text.into()),
                _ => return Err("F: stands behind M:".into()),
            },
            "E" => self.events.push(Event::Outside(outside(text)?)),
            _ => return Err(format!("unknown kind {kind:?}")),
        }
        Ok(())
    }

    fn push_client(&mut self, text: &str, end: &[u8]) -> Result<(), String> {
        let octets = [&unescape(text)?, end].concat();
        match self.events.last_mut() {
            Some(Event::Client(before)) => before.extend(octets),
            _ => self.events.push(Event::Client(octets)),
        }
        Ok(())
    }

    fn push_reply(&mut self, text: &str) -> Result<(), String> {
        let start = unescape(text)?;
        if start.len() < 3 || !start[..3].iter().all(u8::is_ascii_digit) {
            return Err("S: three digits, or close".into());
        }
        let line = Expected { more: start.get(3) == Some(&b'-'), start };
        match self.events.last_mut() {
            Some(Event::Reply(lines)) if lines.last().is_some_and(|last| last.more) => lines.push(line),
            _ => self.events.push(Event::Reply(vec![line])),
        }
        Ok(())
    }

    fn push_data(&mut self, text: &str, end: &[u8]) -> Result<(), String> {
        let Some(Event::Message(message)) = self.events.last_mut() else {
            return Err("D: and d: stand behind M:".into());
        };
        message.data.extend([&unescape(text)?, end].concat());
        Ok(())
    }
}

/// `<reverse-path> recipient recipient`; spaces inside a mailbox as `\x20`.
fn message(text: &str) -> Result<Message, String> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let reverse_path =
        words.next().and_then(|word| word.strip_prefix('<')).and_then(|word| word.strip_suffix('>'));
    let reverse_path = unescape(reverse_path.ok_or("M: <reverse-path> recipient …")?)?;
    let recipients = words.map(unescape).collect::<Result<_, _>>()?;
    Ok(Message { reverse_path, recipients, ..Message::default() })
}

fn outside(text: &str) -> Result<Outside, String> {
    Ok(match text {
        "end of input" => Outside::EndOfInput,
        "shut down" => Outside::ShutDown,
        "tls" => Outside::Tls,
        "overload" => Outside::Overload,
        "local trouble" => Outside::Local,
        "no space" => Outside::NoSpace,
        "refused" => Outside::Refused,
        "unknown outcome" => Outside::Unknown,
        "no memory" => Outside::NoMemory,
        "too many connections" => Outside::TooMany,
        _ => {
            let wait = text.strip_prefix("wait ").ok_or_else(|| format!("unknown event {text:?}"))?;
            Outside::Wait(milliseconds(wait)?)
        }
    })
}

/// `300s` or `20ms`.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').ok_or("a time ends in s or ms")?, 1000),
    };
    digits.parse::<u64>().map(|value| value * unit).map_err(|_| format!("no time: {text:?}"))
}

/// `\r`, `\n`, `\0`, `\t`, `\\`, `\xHH`, and `\{count*text}` for repetition.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        let kind = behind.chars().next().ok_or("a single \\ at the end")?;
        let after = &behind[kind.len_utf8()..];
        rest = match kind {
            'r' | 'n' | '0' | 't' | '\\' => {
                octets.push(match kind {
                    'r' => b'\r',
                    'n' => b'\n',
                    '0' => 0,
                    't' => b'\t',
                    _ => b'\\',
                });
                after
            }
            'x' => {
                let digits = after.get(..2).ok_or("\\x and two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x and two digits")?);
                &after[2..]
            }
            '{' => {
                let (inside, after) = after.split_once('}').ok_or("\\{count*text}")?;
                let (count, repeated) = inside.split_once('*').ok_or("\\{count*text}")?;
                let count = count.parse().map_err(|_| "\\{count*text}")?;
                octets.extend(unescape(repeated)?.repeat(count));
                after
            }
            _ => return Err(format!("unknown escape \\{kind}")),
        };
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// Compares the octets of replies with what is expected; what is left behind them, or what is wrong.
pub fn match_reply<'a>(replies: &'a [u8], expected: &[Expected]) -> Result<&'a [u8], String> {
    let mut rest = replies;
    let mut lines = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Err(format!("no whole reply where {} was expected", shown(expected)));
        };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        lines.push(line);
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    let fits = match expected {
        // One line expected: the last line of the reply, which says what the others say.
        [only] => lines.last().is_some_and(|line| line.starts_with(&only.start)),
        _ => {
            lines.len() == expected.len()
                && lines.iter().zip(expected).all(|(line, one)| line.starts_with(&one.start))
        }
    };
    if fits {
        Ok(rest)
    } else {
        let got: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
        Err(format!("expected {}, got {}", shown(expected), got.join(" / ")))
    }
}

fn shown(expected: &[Expected]) -> String {
    expected.iter().map(|line| line.start.escape_ascii().to_string()).collect::<Vec<_>>().join(" / ")
}
