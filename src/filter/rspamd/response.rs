//! The response to a request, read from octets that come in any pieces (RFC 9112).
//!
//! All is bounded. What is odd about the framing is an error, never a guess: on a connection that is used
//! again a wrong guess would give one message the answer about another.

use std::fmt;
use std::mem;

use httparse::Status;

/// Octets of the head of a response, with what a server sends before it (`100 Continue`) and after the last
/// chunk.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Octets of the body of a response.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Fields of a head.
const FIELDS_MAX: usize = 64;

/// Octets of the line in front of a chunk, with its end.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// Octets of the text of a status that are told.
const REASON_BYTES_MAX: usize = 100;

/// Why there is no answer in what rspamd sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseError {
    /// The connection was closed before anything came: it may have been closed since its last use.
    Nothing,
    /// It was closed before the end.
    CutOff,
    /// What came is no head of HTTP/1.
    NoHttp(&'static str),
    /// The head goes beyond the bound.
    HeadTooLong,
    /// The body goes beyond the bound.
    BodyTooLong,
    /// Where the body ends is not clear.
    Framing(&'static str),
    /// Another status than 200, with its text: printable ASCII.
    Status(u16, String),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("it closed the connection without an answer"),
            Self::CutOff => f.write_str("it closed the connection in the middle of its answer"),
            Self::NoHttp(why) => write!(f, "it does not speak HTTP/1: {why}"),
            Self::HeadTooLong => write!(f, "the head of its answer has more than {HEAD_BYTES_MAX} octets"),
            Self::BodyTooLong => write!(f, "its answer has more than {BODY_BYTES_MAX} octets"),
            Self::Framing(why) => write!(f, "where its answer ends is not clear: {why}"),
            Self::Status(code, reason) => write!(f, "it answered with the HTTP status {code} {reason}"),
        }
    }
}

/// Reads one response.
///
/// ```text
///   Head ─┬─► Counted ────────────────────────────────────────► Whole
///         ├─► SizeLine ─► Chunk ─► ChunkEnd ─► SizeLine …         ▲
///         │      └─► Trailer ─────────────────────────────────────┤
///         └─► UntilClosed ──── end ───────────────────────────────┘
/// ```
#[derive(Debug)]
pub struct ResponseReader {
    state: State,
    /// What has come of the head, or of a line. `<= HEAD_BYTES_MAX`
    carry: Vec<u8>,
    /// Octets of heads and trailers that were read. `<= HEAD_BYTES_MAX`
    head_bytes: usize,
    /// `<= BODY_BYTES_MAX`
    body: Vec<u8>,
    /// The server keeps the connection, and nothing came after the end.
    keeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many octets of the body are to come.
    Counted(usize),
    SizeLine,
    Chunk(usize),
    /// The CRLF after a chunk.
    ChunkEnd,
    Trailer,
    UntilClosed,
    Whole,
}

/// What a head says of what comes after it.
struct Head {
    /// Its own octets.
    bytes: usize,
    code: u16,
    reason: String,
    body: State,
    keeps: bool,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self { state: State::Head, carry: Vec::new(), head_bytes: 0, body: Vec::new(), keeps: false }
    }
}

impl ResponseReader {
    /// Takes what was received; true when the response is whole. After an error nothing more is to be read.
    pub fn feed(&mut self, mut octets: &[u8]) -> Result<bool, ResponseError> {
        while !octets.is_empty() {
            match self.state {
                State::Head => self.take_head(&mut octets)?,
                State::Counted(left) => {
                    let left = left - self.take_body(left, &mut octets);
                    self.state = if left == 0 { State::Whole } else { State::Counted(left) };
                }
                State::Chunk(left) => {
                    let left = left - self.take_body(left, &mut octets);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                }
                State::SizeLine | State::ChunkEnd | State::Trailer => self.take_line(&mut octets)?,
                State::UntilClosed => {
                    if octets.len() > BODY_BYTES_MAX - self.body.len() {
                        return Err(ResponseError::BodyTooLong);
                    }
                    self.take_body(octets.len(), &mut octets);
                }
                State::Whole => {
                    // Nobody asked for it, and it would be taken for the next answer.
                    self.keeps = false;
                    break;
                }
            }
        }
        Ok(self.state == State::Whole)
    }

    /// The connection was closed by its other end, which is the end of some responses.
    pub fn close(&mut self) -> Result<(), ResponseError> {
        self.keeps = false;
        match self.state {
            State::Whole => Ok(()),
            State::UntilClosed => {
                self.state = State::Whole;
                Ok(())
            }
            State::Head if self.carry.is_empty() && self.head_bytes == 0 => Err(ResponseError::Nothing),
            State::Head
            | State::Counted(_)
            | State::SizeLine
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer => Err(ResponseError::CutOff),
        }
    }

    /// The body of a whole response.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the connection may be used for another request, once the response is whole.
    pub fn is_reusable(&self) -> bool {
        self.state == State::Whole && self.keeps
    }

    fn take_head(&mut self, octets: &mut &[u8]) -> Result<(), ResponseError> {
        let before = self.carry.len();
        let room = HEAD_BYTES_MAX - self.head_bytes - before;
        let (taken, _) = octets.split_at_checked(room).unwrap_or((octets, &[]));
        self.carry.extend_from_slice(taken);
        let Some(head) = parse_head(&self.carry)? else {
            if taken.len() < octets.len() {
                return Err(ResponseError::HeadTooLong);
            }
            *octets = &[];
            return Ok(());
        };
        *octets = octets.get(head.bytes.saturating_sub(before)..).unwrap_or_default();
        self.carry.clear();
        self.head_bytes += head.bytes;
        match head.code {
            // It is about the request, and the response is still to come (RFC 9110 §15.2).
            100..=199 if head.code != 101 => Ok(()),
            200 => {
                self.keeps = head.keeps;
                self.state = head.body;
                Ok(())
            }
            code => Err(ResponseError::Status(code, head.reason)),
        }
    }

    /// Takes so many octets of the body, or those that are there. The sum was seen to.
    fn take_body(&mut self, most: usize, octets: &mut &[u8]) -> usize {
        let (taken, rest) = octets.split_at_checked(most).unwrap_or((octets, &[]));
        self.body.extend_from_slice(taken);
        *octets = rest;
        taken.len()
    }

    fn take_line(&mut self, octets: &mut &[u8]) -> Result<(), ResponseError> {
        let end = memchr::memchr(b'\n', octets);
        let (taken, rest) = match end {
            Some(end) => octets.split_at_checked(end + 1).unwrap_or((octets, &[])),
            None => (*octets, &[][..]),
        };
        let is_trailer = self.state == State::Trailer;
        let most = if is_trailer { HEAD_BYTES_MAX - self.head_bytes } else { SIZE_LINE_BYTES_MAX };
        if self.carry.len() + taken.len() > most {
            let long = ResponseError::Framing("a chunk begins with a line without an end");
            return Err(if is_trailer { ResponseError::HeadTooLong } else { long });
        }
        self.carry.extend_from_slice(taken);
        *octets = rest;
        if end.is_none() {
            return Ok(());
        }
        let line = mem::take(&mut self.carry);
        let text = line.strip_suffix(b"\r\n").ok_or(ResponseError::Framing("a line ends without a CR"))?;
        self.state = match self.state {
            State::SizeLine => match chunk_size(text)? {
                0 => State::Trailer,
                size if size > BODY_BYTES_MAX - self.body.len() => return Err(ResponseError::BodyTooLong),
                size => State::Chunk(size),
            },
            State::ChunkEnd if text.is_empty() => State::SizeLine,
            State::ChunkEnd => return Err(ResponseError::Framing("a chunk is longer than it says")),
            State::Trailer if text.is_empty() => State::Whole,
            State::Trailer => {
                self.head_bytes += line.len();
                State::Trailer
            }
            // They have no lines.
            State::Head | State::Counted(_) | State::Chunk(_) | State::UntilClosed | State::Whole => {
                self.state
            }
        };
        Ok(())
    }
}

/// RFC 9112 §7.1: hexadecimal digits, and what nobody needs after a semicolon.
fn chunk_size(line: &[u8]) -> Result<usize, ResponseError> {
    const WRONG: ResponseError = ResponseError::Framing("a chunk has no size");
    let digits = line.split(|octet| *octet == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    // A number that no machine has is too long in any case.
    Ok(usize::from_str_radix(text, 16).unwrap_or(usize::MAX))
}

/// A whole head, if it has come.
fn parse_head(octets: &[u8]) -> Result<Option<Head>, ResponseError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let bytes = match response.parse(octets) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(ResponseError::NoHttp(match error {
                httparse::Error::TooManyHeaders => "it has too many fields",
                httparse::Error::Status => "its first line has no status",
                httparse::Error::Version => "its first line has no version",
                httparse::Error::HeaderName
                | httparse::Error::HeaderValue
                | httparse::Error::NewLine
                | httparse::Error::Token => "a line is no field",
            }));
        }
    };
    let code = response.code.unwrap_or_default();
    let reason = response.reason.unwrap_or_default();
    let reason: String = reason.chars().filter(|c| matches!(c, ' '..='~')).take(REASON_BYTES_MAX).collect();
    let is_old = response.version == Some(0);
    // What has no body, or is an error, is not framed.
    let body = if code == 200 { body_of(response.headers, is_old)? } else { State::UntilClosed };
    let keeps = keeps(response.headers, is_old) && body != State::UntilClosed;
    Ok(Some(Head { bytes, code, reason, body, keeps }))
}

/// The values of a field.
fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// Where the body ends (RFC 9112 §6.3).
fn body_of(fields: &[httparse::Header<'_>], is_old: bool) -> Result<State, ResponseError> {
    if values(fields, "Content-Encoding").any(|value| !value.eq_ignore_ascii_case(b"identity")) {
        return Err(ResponseError::Framing("its body is compressed, which nobody asked for"));
    }
    let mut lengths = values(fields, "Content-Length");
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err(ResponseError::Framing("it has two lengths"));
    }
    let mut encodings = values(fields, "Transfer-Encoding");
    match (encodings.next(), length) {
        (Some(_), Some(_)) => Err(ResponseError::Framing("it has a length and is in chunks, too")),
        (Some(_), None) if is_old => Err(ResponseError::Framing("HTTP/1.0 has no chunks")),
        (Some(encoding), None) => {
            let is_chunked = encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
            let wrong = ResponseError::Framing("its transfer encoding is another than chunked");
            if is_chunked { Ok(State::SizeLine) } else { Err(wrong) }
        }
        (None, Some(length)) => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(length).ok().filter(|_| is_number);
            let text = text.ok_or(ResponseError::Framing("its length is no number"))?;
            match text.parse::<usize>() {
                Ok(0) => Ok(State::Whole),
                Ok(length) if length <= BODY_BYTES_MAX => Ok(State::Counted(length)),
                Ok(_) | Err(_) => Err(ResponseError::BodyTooLong),
            }
        }
        (None, None) => Ok(State::UntilClosed),
    }
}

/// Whether the server says that it keeps the connection (RFC 9112 §9.3).
fn keeps(fields: &[httparse::Header<'_>], is_old: bool) -> bool {
    let has = |wanted: &[u8]| {
        values(fields, "Connection")
            .flat_map(|value| value.split(|octet| *octet == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    !has(b"close") && (!is_old || has(b"keep-alive"))
}

#[cfg(test)]
mod tests;
