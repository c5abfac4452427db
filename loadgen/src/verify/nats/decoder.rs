//! What a server of NATS says, operation by operation: the lines of its client protocol, and the octets that
//! some of them announce. It sees no socket.

use serde_json::Value;

/// The longest line that is read. INFO names all servers of a cluster, and is the longest.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The largest message that is read, headers and all. A message of the interface for streams holds one of the
/// stream in base64.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Ends every line and every message.
const LINE_END: &[u8] = b"\r\n";

/// One thing that the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// What it is and can; the first thing that it says, and again when that changes.
    Info(Value),
    /// A message for a subscription (`MSG`, `HMSG`).
    Message(Message),
    /// Wants a PONG.
    Ping,
    /// The answer to our PING.
    Pong,
    /// The answer to whatever we said, if we asked for such answers.
    Ok,
    /// What it does not like.
    Err(String),
}

/// A message for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: String,
    /// Headers as they are on the wire, with their first line; none of a `MSG`.
    pub headers: Vec<u8>,
    /// What follows the headers.
    pub payload: Vec<u8>,
}

/// What came so far and was not taken yet.
#[derive(Debug, Default)]
pub struct Decoder {
    octets: Vec<u8>,
    /// Where what was not taken begins: `taken <= octets.len()`.
    taken: usize,
}

impl Decoder {
    /// Takes in what the server sent.
    pub fn feed(&mut self, octets: &[u8]) {
        self.octets.drain(..self.taken);
        self.taken = 0;
        self.octets.extend_from_slice(octets);
    }

    /// The next operation, if all of it is there.
    ///
    /// # Errors
    /// It is none of the protocol, or larger than anything that is expected. Nothing can be read after that.
    pub fn next_operation(&mut self) -> Result<Option<Operation>, String> {
        let rest = &self.octets[self.taken..];
        let Some(line_bytes) = rest.windows(LINE_END.len()).position(|octets| octets == LINE_END) else {
            return if rest.len() > LINE_BYTES_MAX { Err("its line has no end".into()) } else { Ok(None) };
        };
        let (line, behind) = (&rest[..line_bytes], &rest[line_bytes + LINE_END.len()..]);
        let line = str::from_utf8(line).map_err(|_| "its line is no text".to_owned())?;
        let (word, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let arguments = arguments.trim();
        let mut bytes = line_bytes + LINE_END.len();
        let operation = match word.to_ascii_uppercase().as_str() {
            "INFO" => Operation::Info(
                serde_json::from_str(arguments).map_err(|error| format!("its INFO is no JSON: {error}"))?,
            ),
            "PING" => Operation::Ping,
            "PONG" => Operation::Pong,
            "+OK" => Operation::Ok,
            "-ERR" => Operation::Err(arguments.trim_matches('\'').to_owned()),
            kind @ ("MSG" | "HMSG") => {
                let announced = Announced::parse(kind == "HMSG", arguments)
                    .ok_or_else(|| format!("this announces no message: {line}"))?;
                let Some(octets) = behind.get(..announced.bytes + LINE_END.len()) else { return Ok(None) };
                let (content, end) = octets.split_at(announced.bytes);
                if end != LINE_END {
                    return Err("a message is longer than announced".into());
                }
                bytes += octets.len();
                let (headers, payload) = content.split_at(announced.header_bytes);
                Operation::Message(Message {
                    subject: announced.subject.to_owned(),
                    headers: headers.to_vec(),
                    payload: payload.to_vec(),
                })
            }
            _ => return Err(format!("this is no word of the protocol: {}", word.escape_debug())),
        };
        self.taken += bytes;
        Ok(Some(operation))
    }
}

/// What the line before a message says of it.
struct Announced<'a> {
    subject: &'a str,
    /// `header_bytes <= bytes`
    header_bytes: usize,
    bytes: usize,
}

impl<'a> Announced<'a> {
    /// `subject sid [reply-to] [octets of headers] octets`.
    fn parse(has_headers: bool, arguments: &'a str) -> Option<Self> {
        let words: Vec<&str> = arguments.split_ascii_whitespace().collect();
        let numbers = if has_headers { 2 } else { 1 };
        let names = words.len().checked_sub(numbers).filter(|names| (2..=3).contains(names))?;
        let bytes = words.last()?.parse().ok().filter(|bytes| *bytes <= MESSAGE_BYTES_MAX)?;
        let header_bytes =
            if has_headers { words[names].parse().ok().filter(|headers| *headers <= bytes)? } else { 0 };
        Some(Self { subject: words[0], header_bytes, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"INFO {\"max_payload\":1048576,\"headers\":true} \r\nPING\r\n+OK\r\n\
        MSG a.b 1 5\r\nhello\r\nMSG a.b 1 reply.to 4\r\n\r\n\r\n\r\n\
        HMSG _INBOX.x.7 1 16 18\r\nNATS/1.0 503\r\n\r\nxy\r\n\
        hmsg a 2 r 12 12\r\nNATS/1.0\r\n\r\n\r\npong\r\n-ERR 'Unknown Protocol Operation'\r\n";

    fn message(subject: &str, headers: &str, payload: &str) -> Operation {
        let (subject, headers, payload) = (subject.into(), headers.into(), payload.into());
        Operation::Message(Message { subject, headers, payload })
    }

    fn all(decoder: &mut Decoder) -> Vec<Operation> {
        std::iter::from_fn(|| decoder.next_operation().expect("of the protocol")).collect()
    }

    #[test]
    fn every_split_of_what_the_server_says_gives_the_same_operations() {
        let expected = [
            Operation::Info(serde_json::json!({"max_payload": 1_048_576, "headers": true})),
            Operation::Ping,
            Operation::Ok,
            message("a.b", "", "hello"),
            message("a.b", "", "\r\n\r\n"),
            message("_INBOX.x.7", "NATS/1.0 503\r\n\r\n", "xy"),
            message("a", "NATS/1.0\r\n\r\n", ""),
            Operation::Pong,
            Operation::Err("Unknown Protocol Operation".into()),
        ];
        for split in 0..=SAID.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for part in [&SAID[..split], &SAID[split..]] {
                decoder.feed(part);
                found.extend(all(&mut decoder));
            }
            assert_eq!(found, expected, "split at {split}");
        }
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for octet in SAID {
            decoder.feed(&[*octet]);
            found.extend(all(&mut decoder));
        }
        assert_eq!(found, expected, "octet by octet");
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for said in [
            "HTTP/1.1 400 Bad Request\r\n",
            "INFO {\r\n",
            "MSG a 1\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 r s 5\r\n",
            "MSG a 1 99999999999\r\n",
            "HMSG a 1 7 5\r\n",
            "MSG a 1 2\r\nabc\r\n",
            "\r\n",
        ] {
            let mut decoder = Decoder::default();
            decoder.feed(said.as_bytes());
            assert!(decoder.next_operation().is_err(), "{said:?}");
        }
        let mut decoder = Decoder::default();
        decoder.feed(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(decoder.next_operation().is_err(), "a line without an end");
    }
}
