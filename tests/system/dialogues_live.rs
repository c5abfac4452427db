//! Runs every dialogue of `tests/dialogues` against a real server on loopback: one server a dialogue, told
//! what the dialogue's settings say, storing to standard output. What needs events that only a simulation has
//! is skipped, and printed with why.

#![allow(clippy::format_push_string)] // A configuration is put together from lines.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringmx::config;
use ringmx::smtp::trace::Beginning;

use support::dialogue::{Dialogue, Event, Expected, Message, Outside, match_reply};
use support::server::Server;

/// Longer waits are left to the dialogues in memory, where time costs nothing.
const WAIT_MAX_MS: u64 = 2500;

/// Dialogues that send more are not sent octet by octet.
const BYTEWISE_MAX: usize = 2000;

/// Threads that run dialogues; most of the time they wait for servers to start.
const THREADS: usize = 6;

/// What became of a dialogue.
enum Ran {
    Kept,
    Skipped(String),
    Broken(String),
}

#[test]
fn a_real_server_keeps_to_every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("tests/dialogues").map(|entry| entry.expect("entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    paths.sort();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = path.file_name().expect("name").to_string_lossy().into_owned();
                    let ran = run_file(path);
                    results.lock().expect("the results").push((name, ran));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("the results");
    results.sort_by(|one, other| one.0.cmp(&other.0));
    let mut broken = Vec::new();
    let mut kept = 0;
    for (name, ran) in results {
        match ran {
            Ran::Kept => kept += 1,
            Ran::Skipped(why) => println!("skipped: {name}: {why}"),
            Ran::Broken(why) => broken.push(format!("{name}: {why}")),
        }
    }
    println!("{kept} of {} dialogues were kept", paths.len());
    assert!(broken.is_empty(), "{} dialogues went wrong:\n{}", broken.len(), broken.join("\n"));
    assert!(kept >= 80, "only {kept} dialogues ran");
}

fn run_file(path: &Path) -> Ran {
    let text = fs::read_to_string(path).expect("readable dialogue");
    let dialogue = match Dialogue::parse(&text) {
        Ok(dialogue) => dialogue,
        Err(bad) => return Ran::Broken(bad.to_string()),
    };
    let plan = match Plan::of(&dialogue) {
        Ok(plan) => plan,
        Err(why) => return Ran::Skipped(why),
    };
    let sent: usize = dialogue.events.iter().map(|event| octets_of(event).len()).sum();
    for bytewise in [false, true] {
        if bytewise && (sent > BYTEWISE_MAX || dialogue.arrives_together() || dialogue.begins_early()) {
            continue;
        }
        let files: Vec<(&str, &str)> = plan.files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let server = Server::start_with_files(&plan.config, &files);
        let mut session = Live::new(&server, bytewise);
        if let Err(why) = dialogue.events.iter().try_for_each(|event| session.follow(event)) {
            return Ran::Broken(format!("bytewise: {bytewise}: {why}"));
        }
        if let Err(why) = session.end(dialogue.events.contains(&Event::Close)) {
            return Ran::Broken(format!("bytewise: {bytewise}: {why}"));
        }
    }
    Ran::Kept
}

fn octets_of(event: &Event) -> &[u8] {
    if let Event::Client(octets) = event { octets } else { b"" }
}

/// What a server has to be told for a dialogue.
struct Plan {
    config: String,
    files: Vec<(&'static str, String)>,
}

impl Plan {
    /// The error says why the dialogue cannot be run for real.
    fn of(dialogue: &Dialogue) -> Result<Self, String> {
        for event in &dialogue.events {
            if let Event::Outside(outside) = event {
                can_happen(*outside)?;
            }
        }
        let (_, listener) = dialogue.listener()?;
        let (mut root, mut limits) = (Vec::new(), Vec::new());
        let (mut recipients, mut aliases) = (None, None);
        let given = |key: &str| dialogue.config(key).is_some();
        for (key, value) in &dialogue.config {
            let quoted =
                || value.split_whitespace().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            match key.as_str() {
                "message_size_max"
                | "recipients_max"
                | "errors_max"
                | "idle_commands_max"
                | "received_max"
                | "data_line_length_max" => limits.push(format!("{key} = {value}")),
                "line_bytes_max" => limits.push(format!("line_length_max = {value}")),
                "command_timeout" | "data_timeout" | "session_without_mail_max" | "tls_handshake_timeout" => {
                    limits.push(format!("{key} = {value:?}"));
                }
                "domains" | "domains_without_mail" => root.push(format!("{key} = [{}]", quoted())),
                "postmaster" | "local_part_deny" | "recipient_delimiter" => {
                    root.push(format!("{key} = {value:?}"));
                }
                "local_part_case_sensitive" => root.push(format!("{key} = {value}")),
                "recipients" => recipients = Some(value.split_whitespace().collect::<Vec<_>>().join("\n")),
                "aliases" => aliases = Some(value.split_whitespace().collect::<Vec<_>>().join("\n")),
                "promises" => return Err("standard output keeps no promise".into()),
                "envelope_json_bytes_max" => return Err("standard output takes any envelope".into()),
                "mailboxes" => return Err("standard output has no mailboxes".into()),
                "tls" => return Err("TLS only in a simulation".into()),
                // How it arrives is the runner's; all else is a key of the listener.
                _ => {}
            }
        }
        let has_fronts = given("proxy_from") || given("xclient_from");
        if dialogue.begins_early() && !given("proxy_from") && !given("greeting_delay") {
            return Err("whether octets or the greeting come first is a race".into());
        }
        if has_fronts && !given("domains") {
            root.push("domains = [\"example.org\"]".to_owned());
        }
        if !given("postmaster") {
            root.push("postmaster = \"postmaster@mx.test\"".to_owned());
        }
        if recipients.is_some() {
            root.push("recipients = \"recipients.txt\"".to_owned());
        }
        if aliases.is_some() {
            root.push("aliases = \"aliases.txt\"".to_owned());
        }
        let cpu = config::Config::embedded_default().shards[0].cpu;
        let config = format!(
            "hostname = \"mx.test\"\n{}\n[[listener]]\naddress = \"127.0.0.1:0\"\n{}\n[[sink]]\nkind = \"stdout\"\n\
             [shards]\ncpus = [{cpu}]\n[limits]\n{}\n",
            root.join("\n"),
            listener,
            limits.join("\n"),
        );
        if let Err(problems) = config::parse(&config, "", Path::new("")) {
            return Err(format!("no server takes this configuration: {}", problems[0]));
        }
        let files = [("recipients.txt", recipients), ("aliases.txt", aliases)];
        let files = files.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        Ok(Self { config, files })
    }
}

/// The error says why it can only be simulated.
fn can_happen(outside: Outside) -> Result<(), String> {
    match outside {
        Outside::Wait(milliseconds) if milliseconds > WAIT_MAX_MS => {
            Err(format!("it takes {} s", milliseconds / 1000))
        }
        Outside::Wait(_) | Outside::EndOfInput | Outside::ShutDown => Ok(()),
        Outside::Tls
        | Outside::Overload
        | Outside::Local
        | Outside::NoSpace
        | Outside::Refused
        | Outside::Unknown => Err("a sink fails on command only in a simulation".into()),
        Outside::NoMemory => Err("memory runs out on command only in a simulation".into()),
        Outside::TooMany => Err("one connection is not too many; tests/system/server.rs opens more".into()),
    }
}

/// A connection to a server that follows a dialogue.
struct Live<'a> {
    server: &'a Server,
    stream: TcpStream,
    bytewise: bool,
    /// Received and not yet expected.
    replies: Vec<u8>,
    ended: bool,
    messages: usize,
}

impl<'a> Live<'a> {
    fn new(server: &'a Server, bytewise: bool) -> Self {
        let stream = TcpStream::connect(server.address()).expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        Self { server, stream, bytewise, replies: Vec::new(), ended: false, messages: 0 }
    }

    fn follow(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Client(octets) => {
                // A server that has closed does not take them, which is for the replies to show.
                let size = if self.bytewise { 1 } else { octets.len().max(1) };
                let _ = octets.chunks(size).try_for_each(|piece| self.stream.write_all(piece));
            }
            Event::Reply(expected) => self.expect(expected)?,
            Event::Close => self.expect_end()?,
            Event::Message(expected) => self.expect_message(expected)?,
            Event::Outside(Outside::Wait(milliseconds)) => {
                std::thread::sleep(Duration::from_millis(*milliseconds));
            }
            Event::Outside(Outside::EndOfInput) => {
                self.stream.shutdown(Shutdown::Write).expect("half closed");
            }
            Event::Outside(Outside::ShutDown) => {
                self.server.signal(rustix::process::Signal::TERM);
                self.server.wait_for_log(|line| line.contains(" stopping"));
            }
            Event::Outside(outside) => return Err(format!("{outside:?} cannot happen here")),
        }
        Ok(())
    }

    fn expect(&mut self, expected: &[Expected]) -> Result<(), String> {
        loop {
            let is_whole = self
                .replies
                .split_inclusive(|octet| *octet == b'\n')
                .any(|line| line.ends_with(b"\r\n") && line.get(3) != Some(&b'-'));
            if is_whole || !self.read()? {
                break;
            }
        }
        let left = match_reply(&self.replies, expected)?.len();
        self.replies.drain(..self.replies.len() - left);
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), String> {
        while self.read()? {}
        if self.replies.is_empty() {
            Ok(())
        } else {
            Err(format!("not expected: {}", self.replies.escape_ascii()))
        }
    }

    /// Whether something came before the end.
    fn read(&mut self) -> Result<bool, String> {
        let mut octets = [0; 4096];
        if self.ended {
            return Ok(false);
        }
        let count = self.stream.read(&mut octets).map_err(|error| format!("reading: {error}"))?;
        self.replies.extend_from_slice(&octets[..count]);
        self.ended = count == 0;
        Ok(count > 0)
    }

    /// Compares the next message on standard output.
    fn expect_message(&mut self, expected: &Message) -> Result<(), String> {
        self.messages += 1;
        let output = self.server.output(self.messages);
        let line = output.get(self.messages - 1).ok_or("no message was stored")?;
        let stored: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |key: &str| stored[key].as_str().unwrap_or_default().to_owned();
        let recipients: Vec<&str> =
            stored["recipients"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
        let wanted: Vec<_> = expected.recipients.iter().map(|one| String::from_utf8_lossy(one)).collect();
        if text("reverse_path") != String::from_utf8_lossy(&expected.reverse_path) || recipients != wanted {
            return Err(format!("stored {line}"));
        }
        let data = data_encoding::BASE64
            .decode(text("data_base64").as_bytes())
            .map_err(|error| error.to_string())?;
        let data = without_received(&data, &expected.data)?;
        if data != expected.data {
            return Err(format!("stored {}, expected {}", data.escape_ascii(), expected.data.escape_ascii()));
        }
        let facts = format!("{} {} {}", text("client"), text("ehlo"), text("protocol"));
        match &expected.client {
            Some(client) if *client != facts => Err(format!("the client is {facts}, expected {client}")),
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing more comes, and nothing more is stored.
    fn end(mut self, closed: bool) -> Result<(), String> {
        if !closed {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        self.expect_end()?;
        let stored = self.server.output(self.messages).len();
        if stored == self.messages { Ok(()) } else { Err(format!("{stored} messages stored")) }
    }
}

/// The mail data after our `Received:` and what stands between the two where it begins with no header field.
fn without_received<'a>(data: &'a [u8], expected: &[u8]) -> Result<&'a [u8], String> {
    let mut rest = data.strip_prefix(b"Received: from ").ok_or("no Received field")?;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("no line end")? + 2;
        rest = &rest[end..];
        if !rest.starts_with(b"\t") {
            break;
        }
    }
    let lead_in = Beginning::of([expected].into_iter()).lead_in();
    rest.strip_prefix(lead_in).ok_or_else(|| format!("no {:?} after our Received", lead_in.escape_ascii()))
}
