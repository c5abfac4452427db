//! What is known of a message, as text for another program: a JSON line, an mbox entry, fields of final
//! delivery. The stdout sink writes it, and so do the readers of the spool.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::SystemTime;

use data_encoding::BASE64;

use super::spool::cursor::Cursor;
use crate::escape::{Json, Word};
use crate::handoff::message::Message;
use crate::mail::authentication::Authentication;
use crate::mail::client::{Reason, Standing};
use crate::mail::envelope::{BodyType, Envelope, Ret};
use crate::mail::queue_id::QueueId;
use crate::smtp::trace;
use crate::timestamp::{Asctime, Rfc3339};

/// A message without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// Where it is in a spool, if it is in one.
    pub(super) cursor: Option<Cursor>,
    pub(super) id: QueueId,
    pub(super) received_at: SystemTime,
    pub(super) client: SocketAddr,
    pub(super) ehlo: &'a [u8],
    pub(super) protocol: &'a [u8],
    pub(super) tls: Option<TlsText<'a>>,
    pub(super) standing: &'a Standing,
    pub(super) authentication: &'a Authentication,
    pub(super) envelope: &'a Envelope,
    /// Without `Received:`.
    pub(super) mail_data_bytes: u64,
}

/// What TLS the message came under.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsText<'a> {
    pub(super) version: &'a [u8],
    pub(super) cipher: &'a [u8],
    pub(super) resumed: bool,
    pub(super) client_certificate: bool,
    /// Empty when the client asked for none.
    pub(super) server_name: &'a [u8],
}

impl<'a> Facts<'a> {
    /// What a sink knows of a message.
    pub(super) fn of(message: &'a Message) -> Self {
        let Message { id, envelope, client, received_at, authentication, data, .. } = message;
        Self {
            cursor: None,
            id: *id,
            received_at: *received_at,
            client: client.address,
            ehlo: &client.ehlo,
            protocol: client.protocol.as_bytes(),
            tls: client.tls.as_ref().map(|tls| TlsText {
                version: tls.version.as_bytes(),
                cipher: tls.cipher.as_bytes(),
                resumed: tls.resumed,
                client_certificate: tls.client_certificate,
                server_name: tls.server_name.as_deref().unwrap_or_default().as_bytes(),
            }),
            standing: &client.standing,
            authentication,
            envelope,
            mail_data_bytes: data.bytes(),
        }
    }
}

impl Facts<'_> {
    /// One line: a JSON object. `data_base64` is the content, `Received:` and the mail data.
    pub(super) fn json<'c>(&self, content: impl Iterator<Item = &'c [u8]>) -> String {
        let mut line =
            String::with_capacity(1024 + usize::try_from(self.mail_data_bytes).unwrap_or(0) / 3 * 4);
        self.members(&mut line);
        line.push_str(",\"data_base64\":\"");
        let encoding = BASE64;
        let mut base64 = encoding.new_encoder(&mut line);
        content.for_each(|part| base64.append(part));
        base64.finalize();
        line.push_str("\"}\n");
        line
    }

    /// The same without the content.
    pub(super) fn envelope_json(&self) -> String {
        let mut line = String::new();
        self.members(&mut line);
        line.push_str("}\n");
        line
    }

    fn members(&self, line: &mut String) {
        let mut text = |name: &str, value: &[u8]| {
            let before = if line.is_empty() { '{' } else { ',' };
            // Writing to a String does not fail.
            let _ = write!(line, "{before}\"{name}\":{}", Json(value));
        };
        if let Some(cursor) = self.cursor {
            text("cursor", cursor.to_string().as_bytes());
        }
        text("id", &self.id.text());
        text("time", Rfc3339(self.received_at).to_string().as_bytes());
        text("client", self.client.to_string().as_bytes());
        text("ehlo", self.ehlo);
        text("protocol", self.protocol);
        text("reverse_path", self.envelope.reverse_path());
        self.tls(line);
        self.standing(line);
        self.authentication(line);
        line.push_str(",\"recipients\":[");
        for (index, recipient) in self.envelope.recipients().enumerate() {
            if index > 0 {
                line.push(',');
            }
            let _ = write!(line, "{}", Json(recipient.whole));
        }
        line.push(']');
        self.dsn(line);
        let Envelope { body, smtputf8, requiretls, bare_line_ends, size_declared, .. } = self.envelope;
        let body = match body {
            BodyType::SevenBit => "7BIT",
            BodyType::EightBitMime => "8BITMIME",
            BodyType::BinaryMime => "BINARYMIME",
        };
        let declared = size_declared.map_or("null".to_owned(), |size| size.to_string());
        let _ = write!(
            line,
            ",\"body\":\"{body}\",\"smtputf8\":{smtputf8},\"requiretls\":{requiretls},\"bare_line_ends\":{bare_line_ends},\"size_declared\":{declared},\"size\":{}",
            self.mail_data_bytes
        );
    }

    /// `tls`: an object, or null in plaintext. Nobody verified the client's certificate.
    fn tls(&self, line: &mut String) {
        let Some(TlsText { version, cipher, resumed, client_certificate, server_name }) = self.tls else {
            return line.push_str(",\"tls\":null");
        };
        // Writing to a String does not fail.
        let _ = write!(
            line,
            ",\"tls\":{{\"version\":{},\"cipher\":{},\"resumed\":{resumed},",
            Json(version),
            Json(cipher)
        );
        member("client_certificate", client_certificate.then_some(&b"unverified"[..]), line);
        line.push(',');
        member("server_name", Some(server_name).filter(|name| !name.is_empty()), line);
        line.push('}');
    }

    /// `reverse_name`, `score` and `reasons`, where somebody said something of the client.
    fn standing(&self, line: &mut String) {
        let Standing { reverse_name, reasons } = self.standing;
        if !reverse_name.is_empty() {
            line.push(',');
            member("reverse_name", Some(reverse_name), line);
        }
        if reasons.is_empty() {
            return;
        }
        // Writing to a String does not fail.
        let _ = write!(line, ",\"score\":{},\"reasons\":[", self.standing.score());
        for (index, Reason { name, weight }) in reasons.iter().enumerate() {
            line.push_str(if index == 0 { "{" } else { ",{" });
            member("name", Some(name.as_bytes()), line);
            let _ = write!(line, ",\"weight\":{weight}}}");
        }
        line.push(']');
    }

    /// `auth`: the results as an object, `mark` and `filters`, where the message was checked, is marked, or
    /// was shown to content filters.
    fn authentication(&self, line: &mut String) {
        let Authentication { results, is_suspicious, filters } = self.authentication;
        if !results.is_empty() {
            line.push_str(",\"auth\":");
            line.push_str(results);
        }
        if *is_suspicious {
            line.push(',');
            member("mark", Some(Authentication::SUSPICIOUS.as_bytes()), line);
        }
        if !filters.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(line, ",\"filters\":[{filters}]");
        }
    }

    /// The DSN parameters (RFC 3461) as members of the object: `ret`, `envid`, and `recipient_parameters` in
    /// the order of the recipients; null where one was not given.
    fn dsn(&self, line: &mut String) {
        let ret = self.envelope.ret.map(|ret| match ret {
            Ret::Full => &b"FULL"[..],
            Ret::Headers => b"HDRS",
        });
        line.push(',');
        member("ret", ret, line);
        line.push(',');
        member("envid", Some(self.envelope.envid()).filter(|envid| !envid.is_empty()), line);
        line.push_str(",\"recipient_parameters\":[");
        for (index, (_, parameters)) in self.envelope.recipients_with_parameters().enumerate() {
            line.push_str(if index == 0 { "{" } else { ",{" });
            let notify = parameters.notify.map(|notify| notify.to_string());
            member("notify", notify.as_deref().map(str::as_bytes), line);
            line.push(',');
            member("orcpt", Some(parameters.orcpt).filter(|orcpt| !orcpt.is_empty()), line);
            line.push('}');
        }
        line.push(']');
    }

    /// The fields that final delivery puts on top: Return-Path, and a Delivered-To for each recipient, so
    /// that no recipient is lost.
    pub(super) fn delivery_fields(&self, line_end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let recipients = self.envelope.recipients().map(|recipient| recipient.whole);
        trace::delivery_fields(&mut out, self.envelope.reverse_path(), recipients, line_end);
        out
    }

    /// Appends one mbox entry: `From ` line, Return-Path, a Delivered-To for each recipient, and the content
    /// octet for octet, save that lines of `>*From ` get one more `>` (mboxrd). A missing line end at the end
    /// is added: mbox cannot tell. The fields before the content end in `line_end`.
    pub(super) fn mbox(&self, content: &[u8], line_end: &[u8], out: &mut Vec<u8>) {
        let sender = match self.envelope.reverse_path() {
            b"" => "MAILER-DAEMON".to_owned(),
            path => Word(path).to_string(),
        };
        out.extend_from_slice(format!("From {sender} {}\n", Asctime(self.received_at)).as_bytes());
        out.extend(self.delivery_fields(line_end));
        for line in content.split_inclusive(|octet| *octet == b'\n') {
            let quotes = line.iter().take_while(|octet| **octet == b'>').count();
            if line[quotes..].starts_with(b"From ") {
                out.push(b'>');
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(if content.ends_with(b"\n") { b"\n" } else { b"\n\n" });
    }
}

/// The envelope of a message as a JSON object on one line, without a line end: what `spool show --envelope`
/// says of it but for where it is in a spool.
pub fn envelope_json(message: &Message) -> String {
    let mut line = Facts::of(message).envelope_json();
    line.truncate(line.trim_end().len());
    line
}

/// A member of an object, null where there is nothing.
fn member(name: &str, value: Option<&[u8]>, line: &mut String) {
    // Writing to a String does not fail.
    let _ = match value {
        Some(value) => write!(line, "\"{name}\":{}", Json(value)),
        None => write!(line, "\"{name}\":null"),
    };
}
