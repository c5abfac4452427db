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
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::buffer::{Arena, MailData};
    use crate::handoff::message::{LogFacts, Origin, Progress};
    use crate::mail::client::{ClientFacts, TlsFacts};
    use crate::mail::envelope::RecipientParameters;

    proptest! {
        #[test]
        fn an_envelope_reads_back(
            id: u128,
            micros in 0..u64::MAX / 2_000,
            address: SocketAddr,
            ehlo: Vec<u8>,
            reverse_path: (Vec<u8>, Vec<u8>),
            recipients: Vec<(Vec<u8>, Vec<u8>, Option<u8>, Vec<u8>)>,
            flags: (bool, bool, bool, Option<bool>),
            tls: Option<(bool, bool, Option<String>)>,
            envid: Vec<u8>,
            size_declared: Option<u64>,
            received: Vec<u8>,
            reverse_name: Vec<u8>,
            reasons: Vec<(String, i32)>,
            authentication: (String, bool, String),
        ) {
            let (results, is_suspicious, filters) = authentication;
            let authentication = Authentication { results, is_suspicious, filters };
            let reason = |(name, weight): &(String, i32)| Reason { name: name.as_str().into(), weight: *weight };
            let standing = Standing { reverse_name, reasons: reasons.iter().map(reason).collect() };
            let mut envelope = Envelope::default();
            envelope.smtputf8 = flags.0;
            envelope.bare_line_ends = flags.1;
            envelope.size_declared = size_declared;
            envelope.body = BodyType::BinaryMime;
            envelope.set_reverse_path(&reverse_path.0, &reverse_path.1);
            envelope.requiretls = flags.2;
            envelope.ret = flags.3.map(|full| if full { Ret::Full } else { Ret::Headers });
            envelope.set_envid(&envid);
            let notify = |bits: Option<u8>| bits.and_then(|bits| Notify::from_bits(bits % 8));
            for (local_part, domain, bits, orcpt) in &recipients {
                envelope.push_recipient(local_part, domain);
                envelope.set_recipient_parameters(RecipientParameters { notify: notify(*bits), orcpt });
            }
            let message = Message {
                id: QueueId(id),
                origin: Origin { shard: 0, connection: 0 },
                envelope: Box::new(envelope),
                client: ClientFacts {
                    address: SocketAddr::new(address.ip(), address.port()),
                    ehlo,
                    protocol: "ESMTP",
                    tls: tls.clone().map(|(resumed, client_certificate, name)| TlsFacts {
                        version: "TLSv1.3",
                        cipher: "TLS_AES_128_GCM_SHA256",
                        resumed,
                        client_certificate,
                        server_name: name.map(Arc::from),
                    }),
                    standing: standing.clone(),
                },
                received_at: timestamp::from_micros(micros),
                received,
                authentication: authentication.clone(),
                data: MailData::new(Arc::new(Arena::new(1, 4096).expect("memory"))),
                place: String::new(),
                log: LogFacts::default(),
                progress: Progress::default(),
            };
            let mut octets = Vec::new();
            encode(&message, None, &mut octets);
            let stored = decode(&octets).expect("readable");
            let expected = StoredEnvelope {
                id: message.id,
                received_at: message.received_at,
                client: canonical(message.client.address),
                ehlo: message.client.ehlo.clone(),
                protocol: b"ESMTP".to_vec(),
                standing,
                authentication,
                tls: tls.map(|(resumed, client_certificate, name)| StoredTls {
                    version: b"TLSv1.3".to_vec(),
                    cipher: b"TLS_AES_128_GCM_SHA256".to_vec(),
                    resumed,
                    client_certificate,
                    server_name: name.unwrap_or_default().into_bytes(),
                }),
                envelope: (*message.envelope).clone(),
                trace_bytes: message.received.len() as u64,
                file: None,
            };
            prop_assert_eq!(&stored, &expected);
            field(&mut octets, 0x7fff, b"from the future");
            prop_assert_eq!(decode(&octets), Ok(expected.clone()));
            field(&mut octets, tag::FILE, &[5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
            let file = Some(MessageFile { bytes: 5, crc32c: 7 });
            prop_assert_eq!(decode(&octets), Ok(StoredEnvelope { file, ..expected }));
            field(&mut octets, 0xffff, b"from the future");
            prop_assert_eq!(decode(&octets), Err(Unreadable));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let _ = decode(&octets);
        }
    }

    /// A message that says everything that an envelope can say.
    fn full_message() -> Message {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"x.test");
        (envelope.body, envelope.smtputf8, envelope.requiretls) = (BodyType::EightBitMime, true, true);
        (envelope.bare_line_ends, envelope.size_declared) = (true, Some(7));
        envelope.ret = Some(Ret::Headers);
        envelope.set_envid(b"QQ+2B");
        envelope.push_recipient("jos\u{e9}".as_bytes(), b"y.test");
        let notify = Some(Notify::SUCCESS.and(Notify::DELAY));
        envelope.set_recipient_parameters(RecipientParameters { notify, orcpt: b"rfc822;b" });
        envelope.push_recipient(b"\"c@d\"", b"y.test");
        Message {
            id: QueueId(0x0123_4567_89ab_cdef),
            origin: Origin { shard: 0, connection: 0 },
            envelope: Box::new(envelope),
            client: ClientFacts {
                address: SocketAddr::from(([192, 0, 2, 1], 25)),
                ehlo: b"client.test".to_vec(),
                protocol: "ESMTPS",
                tls: Some(TlsFacts {
                    version: "TLSv1.3",
                    cipher: "TLS_AES_128_GCM_SHA256",
                    resumed: true,
                    client_certificate: true,
                    server_name: Some(Arc::from("mx.test")),
                }),
                standing: Standing::default(),
            },
            received_at: timestamp::from_micros(1_000_000),
            received: b"Received: x\r\n".to_vec(),
            authentication: Authentication::default(),
            data: MailData::new(Arc::new(Arena::new(1, 4096).expect("memory"))),
            place: String::new(),
            log: LogFacts::default(),
            progress: Progress::default(),
        }
    }

    /// What consumers of the spool read, octet for octet.
    #[test]
    fn the_octets_and_the_json_of_an_envelope_are_those_of_the_version_before() {
        let mut octets = Vec::new();
        encode(&full_message(), None, &mut octets);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&octets),
            [
                "010010000000efcdab89674523010000000000000000",
                "02000800000040420f0000000000",
                "030006000000c00002011900",
                "04000b000000636c69656e742e74657374",
                "05000600000045534d545053",
                "130007000000544c5376312e33",
                "140016000000544c535f4145535f3132385f47434d5f534841323536",
                "150000000000",
                "160000000000",
                "1700070000006d782e74657374",
                "0600080000006140782e74657374",
                "07000c0000006a6f73c3a940792e74657374",
                "0f000100000005",
                "1000080000007266633832323b62",
                "07000c000000226340642240792e74657374",
                "08000100000001",
                "090000000000",
                "0a00080000000700000000000000",
                "0b00080000000d00000000000000",
                "0c0000000000",
                "0d000100000001",
                "0e000500000051512b3242",
                "118000000000",
            ]
            .concat()
        );
        let stored = decode(&octets).expect("readable");
        let json = stored.facts(Cursor { sequence: 1, offset: 4096 }, 20).envelope_json();
        assert_eq!(json, [
            r#"{"cursor":"0000000000000001:4096","id":"0000000000000028t5cy4tqkff","#,
            r#""time":"1970-01-01T00:00:01.000000Z","client":"192.0.2.1:25","ehlo":"client.test","#,
            r#""protocol":"ESMTPS","reverse_path":"a@x.test","#,
            r#""tls":{"version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256","resumed":true,"#,
            r#""client_certificate":"unverified","server_name":"mx.test"},"#,
            r#""recipients":["josé@y.test","\"c@d\"@y.test"],"ret":"HDRS","envid":"QQ+2B","#,
            r#""recipient_parameters":[{"notify":"SUCCESS,DELAY","orcpt":"rfc822;b"},{"notify":null,"orcpt":null}],"#,
            r#""body":"8BITMIME","smtputf8":true,"requiretls":true,"bare_line_ends":true,"size_declared":7,"size":7}"#,
            "\n",
        ].concat());
    }
}
