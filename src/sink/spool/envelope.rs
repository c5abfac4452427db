//! The envelope of a record: fields with a tag and a length, so that later versions can add some and older
//! readers pass over them. See `docs/spool.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

use super::cursor::Cursor;
pub use super::message_file::{MessageFile, message_file_name};
pub use super::tls_fields::StoredTls;
use crate::handoff::message::Message;
use crate::mail::authentication::Authentication;
use crate::mail::client::{Reason, Standing};
use crate::mail::envelope::{BodyType, Envelope, Notify, Ret};
use crate::mail::network::canonical;
use crate::mail::queue_id::QueueId;
use crate::sink::facts::Facts;
use crate::timestamp;

mod tag {
    /// A field with this bit in its tag must be understood by whoever hands the message on.
    pub(super) const CRITICAL: u16 = 0x8000;

    pub(super) const QUEUE_ID: u16 = 1;
    pub(super) const TIME: u16 = 2;
    pub(super) const CLIENT: u16 = 3;
    pub(super) const EHLO: u16 = 4;
    pub(super) const PROTOCOL: u16 = 5;
    pub(super) const REVERSE_PATH: u16 = 6;
    pub(super) const RECIPIENT: u16 = 7;
    pub(super) const BODY: u16 = 8;
    pub(super) const SMTPUTF8: u16 = 9;
    pub(super) const SIZE_DECLARED: u16 = 10;
    pub(super) const TRACE_BYTES: u16 = 11;
    pub(super) const BARE_LINE_ENDS: u16 = 12;
    pub(super) const RET: u16 = 13;
    pub(super) const ENVID: u16 = 14;
    pub(super) const NOTIFY: u16 = 15;
    pub(super) const ORCPT: u16 = 16;
    // 19 to 23: TLS.
    pub(super) const RESULTS: u16 = 24;
    pub(super) const MARK: u16 = 25;
    pub(super) const REVERSE_NAME: u16 = 26;
    pub(super) const REASON: u16 = 27;
    pub(super) const FILTERS: u16 = 28;
    pub(super) const REQUIRETLS: u16 = CRITICAL | 0x11;
    /// Critical: whoever does not know it would take the beginning for the whole message.
    pub(super) const FILE: u16 = CRITICAL | 0x12;
}

/// The protocol of a message of our own: nobody sent it.
pub const OWN_PROTOCOL: &[u8] = b"none";

/// The mark of a message that is suspicious.
const MARK_SUSPICIOUS: u8 = 1;

/// What the spool keeps of a message besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvelope {
    /// Its name.
    pub id: QueueId,
    /// When the mail data ended, to the microsecond.
    pub received_at: SystemTime,
    /// Address and port of the SMTP client.
    pub client: SocketAddr,
    /// EHLO or HELO name as sent. Escape it before it is shown.
    pub ehlo: Vec<u8>,
    /// The `with` of trace information.
    pub protocol: Vec<u8>,
    /// What TLS it came under. `None` in plaintext.
    pub tls: Option<StoredTls>,
    /// What others said of the client.
    pub standing: Standing,
    /// What was found of who vouches for it.
    pub authentication: Authentication,
    /// Reverse-path, recipients, and what their parameters said.
    pub envelope: Envelope,
    /// How many octets of the content are our trace information; the rest is mail data.
    pub trace_bytes: u64,
    /// The file that holds the mail data. `None` when all of it is in the record.
    pub file: Option<MessageFile>,
}

impl StoredEnvelope {
    /// What is known of the message, for text. `content_bytes` are those of the whole content.
    pub(super) fn facts(&self, cursor: Cursor, content_bytes: u64) -> Facts<'_> {
        Facts {
            cursor: Some(cursor),
            id: self.id,
            received_at: self.received_at,
            client: self.client,
            ehlo: &self.ehlo,
            protocol: &self.protocol,
            tls: self.tls.as_ref().map(StoredTls::text),
            standing: &self.standing,
            authentication: &self.authentication,
            envelope: &self.envelope,
            mail_data_bytes: content_bytes.saturating_sub(self.trace_bytes),
        }
    }
}

impl StoredEnvelope {
    /// What is known of the message as a line of JSON without its end, with those of its recipients for whom
    /// this says yes.
    pub fn json_for(&self, content_bytes: u64, is_meant: impl Fn(u32) -> bool) -> String {
        let mut numbers = 0..;
        let mut envelope = self.envelope.clone();
        envelope.retain_recipients(|| numbers.next().is_some_and(&is_meant));
        let mut line =
            Facts { cursor: None, envelope: &envelope, ..self.facts(NOWHERE, content_bytes) }.envelope_json();
        line.truncate(line.trim_end().len());
        line
    }
}

/// In no spool.
const NOWHERE: Cursor = Cursor { sequence: 0, offset: 0 };

/// An envelope that this program cannot read although its checksum is right: a newer one wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Appends the envelope of a message. `file` is the one that holds its mail data; `None` when all of it goes
/// into the record.
pub fn encode(message: &Message, file: Option<MessageFile>, out: &mut Vec<u8>) {
    let Message { id, envelope, client, received_at, received, .. } = message;
    field(out, tag::QUEUE_ID, &id.0.to_le_bytes());
    field(out, tag::TIME, &timestamp::micros(*received_at).to_le_bytes());
    let port = client.address.port().to_le_bytes();
    match client.address.ip() {
        IpAddr::V4(address) => field(out, tag::CLIENT, &[&address.octets()[..], &port].concat()),
        IpAddr::V6(address) => field(out, tag::CLIENT, &[&address.octets()[..], &port].concat()),
    }
    field(out, tag::EHLO, &client.ehlo);
    field(out, tag::PROTOCOL, client.protocol.as_bytes());
    if let Some(tls) = &client.tls {
        super::tls_fields::encode(tls, |tag, value| field(out, tag, value));
    }
    let Standing { reverse_name, reasons } = &client.standing;
    if !reverse_name.is_empty() {
        field(out, tag::REVERSE_NAME, reverse_name);
    }
    for Reason { name, weight } in reasons {
        field(out, tag::REASON, &[&weight.to_le_bytes()[..], name.as_bytes()].concat());
    }
    let Authentication { results, is_suspicious, filters } = &message.authentication;
    if !results.is_empty() {
        field(out, tag::RESULTS, results.as_bytes());
    }
    if *is_suspicious {
        field(out, tag::MARK, &[MARK_SUSPICIOUS]);
    }
    if !filters.is_empty() {
        field(out, tag::FILTERS, filters.as_bytes());
    }
    put_envelope(envelope, received.len() as u64, out);
    if let Some(MessageFile { bytes, crc32c }) = file {
        field(out, tag::FILE, &[&bytes.to_le_bytes()[..], &crc32c.to_le_bytes()].concat());
    }
}

/// Appends the envelope of a message of our own, which no client sent and whose content is all mail data.
pub fn encode_own(id: QueueId, made_at: SystemTime, envelope: &Envelope, out: &mut Vec<u8>) {
    field(out, tag::QUEUE_ID, &id.0.to_le_bytes());
    field(out, tag::TIME, &timestamp::micros(made_at).to_le_bytes());
    // The unspecified address: there was no client.
    field(out, tag::CLIENT, &[0; 6]);
    field(out, tag::EHLO, &[]);
    field(out, tag::PROTOCOL, OWN_PROTOCOL);
    put_envelope(envelope, 0, out);
}

/// What SMTP said of a message.
fn put_envelope(envelope: &Envelope, trace_bytes: u64, out: &mut Vec<u8>) {
    field(out, tag::REVERSE_PATH, envelope.reverse_path());
    for (recipient, parameters) in envelope.recipients_with_parameters() {
        field(out, tag::RECIPIENT, recipient.whole);
        if let Some(notify) = parameters.notify {
            field(out, tag::NOTIFY, &[notify.bits()]);
        }
        if !parameters.orcpt.is_empty() {
            field(out, tag::ORCPT, parameters.orcpt);
        }
    }
    let body = match envelope.body {
        BodyType::SevenBit => 0,
        BodyType::EightBitMime => 1,
        BodyType::BinaryMime => 2,
    };
    field(out, tag::BODY, &[body]);
    if envelope.smtputf8 {
        field(out, tag::SMTPUTF8, &[]);
    }
    if let Some(size) = envelope.size_declared {
        field(out, tag::SIZE_DECLARED, &size.to_le_bytes());
    }
    field(out, tag::TRACE_BYTES, &trace_bytes.to_le_bytes());
    if envelope.bare_line_ends {
        field(out, tag::BARE_LINE_ENDS, &[]);
    }
    if let Some(ret) = envelope.ret {
        let ret = match ret {
            Ret::Full => 0,
            Ret::Headers => 1,
        };
        field(out, tag::RET, &[ret]);
    }
    if !envelope.envid().is_empty() {
        field(out, tag::ENVID, envelope.envid());
    }
    if envelope.requiretls {
        field(out, tag::REQUIRETLS, &[]);
    }
}

/// Tag, length, octets. Every value is bounded far below 4 GiB by the limits on lines and paths.
fn field(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    let bytes = u32::try_from(value.len()).expect("fields of an envelope are short");
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(value);
}

/// Reads the envelope of a record.
pub fn decode(mut octets: &[u8]) -> Result<StoredEnvelope, Unreadable> {
    let mut stored = StoredEnvelope {
        id: QueueId::default(),
        received_at: SystemTime::UNIX_EPOCH,
        client: SocketAddr::from(([0, 0, 0, 0], 0)),
        ehlo: Vec::new(),
        protocol: Vec::new(),
        tls: None,
        standing: Standing::default(),
        authentication: Authentication::default(),
        envelope: Envelope::default(),
        trace_bytes: 0,
        file: None,
    };
    let envelope = &mut stored.envelope;
    while !octets.is_empty() {
        let (tag, value, rest) = split_field(octets).ok_or(Unreadable)?;
        octets = rest;
        match tag {
            tag::QUEUE_ID => stored.id = QueueId(u128::from_le_bytes(fixed(value)?)),
            tag::TIME => stored.received_at = timestamp::from_micros(u64::from_le_bytes(fixed(value)?)),
            tag::CLIENT => stored.client = client(value)?,
            tag::EHLO => stored.ehlo = value.to_vec(),
            tag::PROTOCOL => stored.protocol = value.to_vec(),
            tag::REVERSE_NAME => stored.standing.reverse_name = value.to_vec(),
            tag::REASON => {
                let (weight, name) = value.split_first_chunk().ok_or(Unreadable)?;
                let name = text(name)?.into();
                stored.standing.reasons.push(Reason { name, weight: i32::from_le_bytes(*weight) });
            }
            tag::RESULTS => text(value)?.clone_into(&mut stored.authentication.results),
            tag::FILTERS => text(value)?.clone_into(&mut stored.authentication.filters),
            // Other marks are not known yet.
            tag::MARK => stored.authentication.is_suspicious = value == [MARK_SUSPICIOUS],
            tag::REVERSE_PATH => envelope.write_reverse_path(|text| text.extend_from_slice(value)),
            tag::RECIPIENT => envelope.push_whole_recipient(value),
            // Both belong to the recipient before them.
            tag::NOTIFY => {
                let [bits] = fixed(value)?;
                let notify = Notify::from_bits(bits).ok_or(Unreadable)?;
                if !envelope.set_notify(Some(notify)) {
                    return Err(Unreadable);
                }
            }
            tag::ORCPT => {
                if !envelope.set_orcpt(value) {
                    return Err(Unreadable);
                }
            }
            tag::RET => {
                envelope.ret = match value {
                    [0] => Some(Ret::Full),
                    [1] => Some(Ret::Headers),
                    _ => return Err(Unreadable),
                }
            }
            tag::ENVID => envelope.set_envid(value),
            tag::REQUIRETLS => envelope.requiretls = true,
            tag::BODY => {
                envelope.body = match value {
                    [0] => BodyType::SevenBit,
                    [1] => BodyType::EightBitMime,
                    [2] => BodyType::BinaryMime,
                    _ => return Err(Unreadable),
                }
            }
            tag::SMTPUTF8 => envelope.smtputf8 = true,
            tag::SIZE_DECLARED => envelope.size_declared = Some(u64::from_le_bytes(fixed(value)?)),
            tag::TRACE_BYTES => stored.trace_bytes = u64::from_le_bytes(fixed(value)?),
            tag::BARE_LINE_ENDS => envelope.bare_line_ends = true,
            tag::FILE => stored.file = Some(message_file(value)?),
            unknown if unknown & tag::CRITICAL != 0 => return Err(Unreadable),
            other => StoredTls::take(&mut stored.tls, other, value),
        }
    }
    Ok(stored)
}

/// The file in which the content of a record goes on, by its envelope, also where [`decode`] cannot read
/// that.
pub fn file_of(mut octets: &[u8]) -> Option<MessageFile> {
    while let Some((tag, value, rest)) = split_field(octets) {
        if tag == tag::FILE {
            return message_file(value).ok();
        }
        octets = rest;
    }
    None
}

fn message_file(value: &[u8]) -> Result<MessageFile, Unreadable> {
    let (bytes, crc32c) = value.split_first_chunk().ok_or(Unreadable)?;
    Ok(MessageFile { bytes: u64::from_le_bytes(*bytes), crc32c: u32::from_le_bytes(fixed(crc32c)?) })
}

fn split_field(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, octets) = octets.split_first_chunk()?;
    let (bytes, octets) = octets.split_first_chunk()?;
    let bytes = usize::try_from(u32::from_le_bytes(*bytes)).ok()?;
    let (value, rest) = octets.split_at_checked(bytes)?;
    Some((u16::from_le_bytes(*tag), value, rest))
}

fn text(value: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(value).map_err(|_| Unreadable)
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Unreadable> {
    value.try_into().map_err(|_| Unreadable)
}

fn client(value: &[u8]) -> Result<SocketAddr, Unreadable> {
    let (address, port) = value.split_last_chunk().ok_or(Unreadable)?;
    let address = match address.len() {
        4 => IpAddr::from(Ipv4Addr::from(fixed::<4>(address)?)),
        16 => IpAddr::from(Ipv6Addr::from(fixed::<16>(address)?)),
        _ => return Err(Unreadable),
    };
    // Earlier versions wrote the address of an IPv4 client as the IPv6 socket had it.
    Ok(canonical(SocketAddr::new(address, u16::from_le_bytes(*port))))
}

#[cfg(test)]
mod tests;
