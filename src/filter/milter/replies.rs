//! What a milter says.

use super::agreement::{Agreement, word};
use super::code::{command, reply};
use super::fault::Fault;
use super::packet::{Packet, split_text};
use crate::filter::field::Place;
use crate::mail::foreign_reply::ForeignReply;
use crate::mail::harmless_line::harmless_line;

/// Octets of the reason for a quarantine that are kept.
const REASON_BYTES_MAX: usize = 200;

/// A whole reply.
#[derive(Debug)]
pub(super) enum Said {
    Options(Box<Agreement>),
    Continue,
    Accept,
    Discard,
    /// The command that it answers is refused: what that is about, or the message.
    Refuse(ForeignReply),
    /// The SMTP session is refused.
    Shutdown(ForeignReply),
    /// No more of the same.
    Skip,
    /// It still works.
    Progress,
    Add {
        place: Place,
        name: Box<[u8]>,
        value: Box<[u8]>,
    },
    /// Why: one line of printable ASCII.
    Quarantine(String),
    /// Another change of the message.
    Edit(u8),
}

impl Said {
    pub(super) fn of(packet: Packet<'_>) -> Result<Self, Fault> {
        let Packet { code, data } = packet;
        let malformed = Fault::Malformed(code);
        let said = match code {
            command::NEGOTIATE => return Ok(Self::Options(Box::new(Agreement::parse(data)?))),
            reply::REPLY_CODE => return Ok(Self::Refuse(reply_of(data).ok_or(Fault::ReplyCode)?)),
            reply::QUARANTINE => {
                let reason = split_text(data).map_or(data, |(reason, _)| reason);
                return Ok(Self::Quarantine(harmless_line(reason, REASON_BYTES_MAX)));
            }
            reply::ADD_FIELD => return field(Place::Below, data).ok_or(malformed),
            reply::INSERT_FIELD => {
                let (_, data) = word(data).ok_or(malformed)?;
                return field(Place::Top, data).ok_or(malformed);
            }
            reply::ADD_RECIPIENT
            | reply::ADD_RECIPIENT_WITH_PARAMETERS
            | reply::DELETE_RECIPIENT
            | reply::REPLACE_BODY
            | reply::CHANGE_SENDER
            | reply::CHANGE_FIELD => return Ok(Self::Edit(code)),
            reply::CONTINUE => Self::Continue,
            reply::ACCEPT => Self::Accept,
            reply::DISCARD => Self::Discard,
            reply::REJECT => Self::Refuse(ForeignReply::refused(b"")),
            reply::TEMPORARY_FAILURE => Self::Refuse(ForeignReply::put_off(b"")),
            reply::SHUTDOWN | reply::CONNECTION_FAILURE => Self::Shutdown(ForeignReply::put_off(b"")),
            reply::SKIP => Self::Skip,
            reply::PROGRESS => Self::Progress,
            _ => return Err(Fault::Unknown(code)),
        };
        if data.is_empty() { Ok(said) } else { Err(malformed) }
    }

    /// A reply that says it, for what is told of a fault.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Options(_) => command::NEGOTIATE,
            Self::Continue => reply::CONTINUE,
            Self::Accept => reply::ACCEPT,
            Self::Discard => reply::DISCARD,
            Self::Refuse(reply) if reply.is_permanent() => reply::REJECT,
            Self::Refuse(_) => reply::TEMPORARY_FAILURE,
            Self::Shutdown(_) => reply::SHUTDOWN,
            Self::Skip => reply::SKIP,
            Self::Progress => reply::PROGRESS,
            Self::Add { place: Place::Top, .. } => reply::INSERT_FIELD,
            Self::Add { place: Place::Below, .. } => reply::ADD_FIELD,
            Self::Quarantine(_) => reply::QUARANTINE,
            Self::Edit(code) => *code,
        }
    }
}

fn field(place: Place, data: &[u8]) -> Option<Said> {
    let (name, rest) = split_text(data)?;
    let (value, rest) = split_text(rest)?;
    rest.is_empty().then(|| Said::Add { place, name: name.into(), value: value.into() })
}

/// A reply in the milter's words, as one line: the codes of its first line, the texts of all. Sendmail takes
/// it as a format, so milters write `%` twice.
fn reply_of(data: &[u8]) -> Option<ForeignReply> {
    let text = split_text(data).map_or(data, |(text, _)| text);
    let mut lines = text.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    let (code, rest) = first.split_at_checked(3)?;
    let enhanced = word_of(rest.get(1..).unwrap_or_default());
    let mut line = first.to_vec();
    for more in lines {
        let more = match more.strip_prefix(code) {
            Some([b'-' | b' ', text @ ..]) => text,
            Some([]) => b"",
            _ => more,
        };
        let is_enhanced = !enhanced.is_empty() && is_enhanced(enhanced) && word_of(more) == enhanced;
        line.push(b' ');
        line.extend_from_slice(if is_enhanced {
            more.get(enhanced.len()..).unwrap_or_default()
        } else {
            more
        });
    }
    let mut single = Vec::with_capacity(line.len());
    let mut octets = line.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        single.push(octet);
        if octet == b'%' {
            octets.next_if_eq(&b'%');
        }
    }
    ForeignReply::parse(&single)
}

fn word_of(text: &[u8]) -> &[u8] {
    text.split(|octet| *octet == b' ').next().unwrap_or_default()
}

/// Whether it may be an enhanced status code (RFC 3463).
fn is_enhanced(word: &[u8]) -> bool {
    matches!(word, [b'4' | b'5', b'.', ..]) && word.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'.'))
}
