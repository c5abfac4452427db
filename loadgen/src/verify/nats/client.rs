//! A connection to a server of NATS: questions to its interface, any number of them at once, and their
//! answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::decoder::{Decoder, Message, Operation};
use super::headers::Headers;
use super::url::{Credentials, Url};

/// How long the server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// What is read at a time.
const READ_BYTES: usize = 256 << 10;
/// The one subscription.
const SUBSCRIPTION: &str = "1";

/// See the file's head.
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    /// Answers come to subjects that begin with this.
    inbox: String,
    /// Questions that were asked.
    asked: u64,
    /// The largest message that the server takes.
    payload_bytes_max: u64,
}

impl Client {
    /// Connects.
    pub fn connect(url: &str) -> Result<Self, String> {
        let url = Url::parse(url)?;
        let stream = TcpStream::connect(&url.address)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                Ok(stream)
            })
            .map_err(|error| format!("connecting to {}: {error}", url.address))?;
        let inbox = format!("_INBOX.{:016x}.", fastrand::u64(..));
        let mut client = Self { stream, decoder: Decoder::default(), inbox, asked: 0, payload_bytes_max: 0 };
        client.greet(&url.credentials).map_err(|why| format!("the server at {}: {why}", url.address))?;
        Ok(client)
    }

    fn greet(&mut self, credentials: &Credentials<'_>) -> Result<(), String> {
        let Operation::Info(info) = self.operation()? else {
            return Err("it does not begin with INFO".into());
        };
        if info["tls_required"] == json!(true) {
            return Err("it wants TLS, which is not spoken here".into());
        }
        let maximum = info["max_payload"].as_u64();
        self.payload_bytes_max = maximum.ok_or("its INFO tells no max_payload")?;
        let mut connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "lang": "loadgen", "version": env!("CARGO_PKG_VERSION"), "name": "loadgen verify",
        });
        match *credentials {
            Credentials::None => {}
            Credentials::Token(token) => connect["auth_token"] = token.into(),
            Credentials::User(user, password) => {
                connect["user"] = user.into();
                connect["pass"] = password.into();
            }
        }
        self.write(&format!("CONNECT {connect}\r\nSUB {}* {SUBSCRIPTION}\r\nPING\r\n", self.inbox))?;
        loop {
            match self.operation()? {
                Operation::Pong => return Ok(()),
                Operation::Ping => self.write("PONG\r\n")?,
                Operation::Info(_) | Operation::Ok | Operation::Message(_) => {}
                Operation::Err(why) => return Err(why),
            }
        }
    }

    /// The largest message that the server takes, in octets.
    pub fn payload_bytes_max(&self) -> u64 {
        self.payload_bytes_max
    }

    /// Asks, and gives the number of the question.
    pub fn ask(&mut self, subject: &str, question: &Value) -> Result<u64, String> {
        let text = question.to_string();
        self.asked += 1;
        self.write(&format!("PUB {subject} {}{} {}\r\n{text}\r\n", self.inbox, self.asked, text.len()))?;
        Ok(self.asked)
    }

    /// The next answer, with the number of its question.
    pub fn answer(&mut self) -> Result<(u64, Value), String> {
        loop {
            match self.operation()? {
                Operation::Message(message) => return self.answer_in(&message),
                Operation::Ping => self.write("PONG\r\n")?,
                Operation::Info(_) | Operation::Pong | Operation::Ok => {}
                Operation::Err(why) => return Err(why),
            }
        }
    }

    /// Asks, and waits for the answer. No other question may be open.
    pub fn ask_and_wait(&mut self, subject: &str, question: &Value) -> Result<Value, String> {
        let number = self.ask(subject, question)?;
        let (answered, answer) = self.answer()?;
        if answered == number { Ok(answer) } else { Err("an answer that nobody asked for".into()) }
    }

    fn answer_in(&self, message: &Message) -> Result<(u64, Value), String> {
        let number = message.subject.strip_prefix(&self.inbox).and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| format!("a message for {}", message.subject))?;
        match Headers::parse(&message.headers)?.status {
            Some("503") => Err("nobody answers: is JetStream on, and has the stream a leader?".into()),
            Some(status) => Err(format!("status {status} in place of an answer")),
            None => {
                let answer = serde_json::from_slice(&message.payload);
                Ok((number, answer.map_err(|error| format!("an answer is no JSON: {error}"))?))
            }
        }
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        self.stream.write_all(text.as_bytes()).map_err(|error| format!("writing: {error}"))
    }

    fn operation(&mut self) -> Result<Operation, String> {
        let mut octets = vec![0; READ_BYTES];
        loop {
            if let Some(operation) = self.decoder.next_operation()? {
                return Ok(operation);
            }
            match self.stream.read(&mut octets) {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(count) => self.decoder.feed(&octets[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(format!("it says nothing for {} s", SILENCE_MAX.as_secs()));
                }
                Err(error) => return Err(format!("reading: {error}")),
            }
        }
    }
}
