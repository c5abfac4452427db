//! A stream of JetStream, asked by its interface: what it holds, and one message after another, from its
//! leader. Nothing is changed and no consumer is made, so that any stream can be read, whatever its
//! retention.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::client::Client;
use super::headers::Headers;

/// Octets of answers that may be under way at once: the server cuts off who does not read 64 MiB.
const UNDER_WAY_BYTES_MAX: u64 = 16 << 20;
/// Questions that may be open at once.
const OPEN_MAX: u64 = 256;
/// "no message found", of the server's list of errors.
const NO_MESSAGE: u64 = 10037;

/// A message of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers, as [`Headers`] reads them.
    pub headers: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Hands over every message that is in the stream now, in any order.
pub fn read(
    client: &mut Client,
    stream: &str,
    mut take: impl FnMut(Stored) -> Result<(), String>,
) -> Result<(), String> {
    let info = client.ask_and_wait(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}))?;
    let (first, last) = bounds(&info)?;
    let subject = get(stream);
    let open_max = (UNDER_WAY_BYTES_MAX / client.payload_bytes_max().max(1)).clamp(1, OPEN_MAX);
    let (mut next, mut open) = (first, 0);
    while next <= last || open > 0 {
        while next <= last && open < open_max {
            client.ask(&subject, &json!({ "seq": next }))?;
            (next, open) = (next + 1, open + 1);
        }
        let (_, answer) = client.answer()?;
        open -= 1;
        if let Some(stored) = message_in(answer)? {
            take(stored)?;
        }
    }
    Ok(())
}

/// The last message with this subject.
pub fn last_of(client: &mut Client, stream: &str, subject: &str) -> Result<Option<Stored>, String> {
    message_in(client.ask_and_wait(&get(stream), &json!({ "last_by_subj": subject }))?)
}

/// The first message with this subject from there on.
pub fn next_of(
    client: &mut Client,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<Option<Stored>, String> {
    let question = json!({ "seq": sequence, "next_by_subj": subject });
    message_in(client.ask_and_wait(&get(stream), &question)?)
}

fn get(stream: &str) -> String {
    format!("$JS.API.STREAM.MSG.GET.{stream}")
}

/// The numbers of the first and the last message; none if the last one is less.
fn bounds(info: &Value) -> Result<(u64, u64), String> {
    check(info)?;
    let number = |name: &str| info["state"][name].as_u64();
    number("first_seq")
        .zip(number("last_seq"))
        .ok_or_else(|| format!("this is not the state of a stream: {info}"))
}

/// The message in an answer; none: it was deleted.
fn message_in(mut answer: Value) -> Result<Option<Stored>, String> {
    if answer["error"]["err_code"] == json!(NO_MESSAGE) {
        return Ok(None);
    }
    check(&answer)?;
    let message = answer["message"].take();
    let octets = |name: &str| match &message[name] {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => BASE64.decode(text.as_bytes()).map_err(|error| format!("{name}: {error}")),
        _ => Err(format!("{name} is no text")),
    };
    let sequence = message["seq"].as_u64().ok_or("a message without a number")?;
    let subject = message["subject"].as_str().ok_or("a message without a subject")?.to_owned();
    Ok(Some(Stored { sequence, subject, headers: octets("hdrs")?, payload: octets("data")? }))
}

/// The server's own words, if it refused.
fn check(answer: &Value) -> Result<(), String> {
    match &answer["error"] {
        Value::Null => Ok(()),
        error => Err(error["description"].as_str().unwrap_or("an error without a description").to_owned()),
    }
}

/// The headers of a message that was stored.
impl Stored {
    /// Reads them.
    pub fn headers(&self) -> Result<Headers<'_>, &'static str> {
        Headers::parse(&self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_messages_absences_or_refusals() {
        let answer = json!({"message": {
            "subject": "mail.default.0", "seq": 3, "hdrs": "TkFUUy8xLjANCmE6IGINCg0K", "data": "WFg=",
        }});
        let stored = message_in(answer).expect("an answer").expect("a message");
        assert_eq!((stored.sequence, stored.subject.as_str()), (3, "mail.default.0"));
        assert_eq!(
            (stored.headers.as_slice(), stored.payload.as_slice()),
            (&b"NATS/1.0\r\na: b\r\n\r\n"[..], &b"XX"[..])
        );
        let empty = message_in(json!({"message": {"subject": "a", "seq": 1}})).expect("an answer");
        assert_eq!(empty.expect("a message").payload, b"");
        let refused =
            |code: u64, words: &str| json!({"error": {"code": 404, "err_code": code, "description": words}});
        assert_eq!(message_in(refused(10037, "no message found")), Ok(None));
        assert_eq!(message_in(refused(10059, "stream not found")), Err("stream not found".into()));
        assert!(message_in(json!({"message": {"subject": "a", "seq": 1, "data": "?"}})).is_err());
        assert!(message_in(json!({})).is_err());
    }
}
