//! The message of a notice: `multipart/report` (RFC 6522) of a text for people, a delivery status (RFC 3464)
//! and the header section of the message that it is about.
//!
//! All of it is ASCII in short lines, save for `To:` where the reverse-path is not ASCII. Whatever was said
//! or sent, nobody but this file begins a field or a part.

use std::fmt::Write as _;
use std::time::SystemTime;

use memchr::memmem;

use super::encoding::{clean_utf8, decoded_xtext, is_seven_bit, push_quoted};
use super::fields::{ADDRESS_BYTES_MAX, push_field, push_field_utf8};
use super::recipient::{Action, Recipient, WAITED_TOO_LONG};
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;
use crate::timestamp::Rfc5322;

/// Octets of a notice. The parts are bounded so that their sum is below it.
pub const NOTICE_BYTES_MAX: usize = 50_000;

/// Octets of the header section that comes with it, encoded.
const HEADER_BYTES_MAX: usize = 13_000;

/// Octets of the delivery status: of its first recipient, and from where on there is no further one.
const STATUS_BYTES: usize = 14_000;

/// Octets that one recipient takes of it at most.
const GROUP_BYTES_MAX: usize = 4_000;

/// Octets of the text from which on no further recipient is named in it.
const TEXT_BYTES: usize = 3_000;

/// Octets that one recipient takes of the text at most; encoded they are three times as many and more.
const NAMED_BYTES_MAX: usize = 1_200;

/// Octets of its sentences.
const SENTENCES_BYTES_MAX: usize = 800;

/// Octets of the fields of the notice and of its parts, and of what stands between these.
const FRAME_BYTES_MAX: usize = 3_000;

const _: () = assert!(
    HEADER_BYTES_MAX
        + STATUS_BYTES
        + GROUP_BYTES_MAX
        + (TEXT_BYTES + NAMED_BYTES_MAX + SENTENCES_BYTES_MAX) * 16 / 5
        + FRAME_BYTES_MAX
        <= NOTICE_BYTES_MAX
);

/// What a notice is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The name of the notice.
    pub id: QueueId,
    /// When it is made.
    pub at: SystemTime,
    /// The name of the message.
    pub message_id: QueueId,
    /// When it was received.
    pub received_at: SystemTime,
    /// Until when it is tried.
    pub retried_until: SystemTime,
    /// Its envelope. Its reverse-path gets the notice.
    pub envelope: &'a Envelope,
    /// Our trace information and its mail data.
    pub content: &'a [u8],
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The message. At most [`NOTICE_BYTES_MAX`].
    pub content: Vec<u8>,
    /// Its header section is not ASCII: it goes with SMTPUTF8 (RFC 6531).
    pub is_utf8: bool,
    /// It tells of so many of the recipients, the first ones; of one at least. The others need one more.
    pub told: usize,
}

/// Makes the notice for these recipients of a message, as many as it has room for.
pub fn report(about: &About<'_>, recipients: &[Recipient<'_>]) -> Report {
    let (status, told) = status(about, recipients);
    let recipients = recipients.get(..told).unwrap_or_default();
    // No quoted-printable holds this, and nobody knows the id before.
    let boundary = format!("=_{}", about.id);
    let mut content = Vec::new();
    let is_utf8 = push_header(about, recipients, &boundary, &mut content);
    let begin = |kind: &str, encoding: &str, content: &mut Vec<u8>| {
        content.extend_from_slice(b"\r\n--");
        content.extend_from_slice(boundary.as_bytes());
        content.extend_from_slice(b"\r\n");
        push_field("Content-Type", kind, content);
        push_field("Content-Transfer-Encoding", encoding, content);
        content.extend_from_slice(b"\r\n");
    };
    let text = text(about, recipients);
    if is_seven_bit(text.as_bytes()) {
        begin("text/plain; charset=us-ascii", "7bit", &mut content);
        content.extend_from_slice(text.as_bytes());
    } else {
        begin("text/plain; charset=utf-8", "quoted-printable", &mut content);
        push_quoted(text.as_bytes(), &mut content);
    }
    begin("message/delivery-status", "7bit", &mut content);
    content.extend_from_slice(&status);
    // RFC 8689 §5: a notice takes the ways that it finds, so it says nothing that TLS was to hide. The third
    // part may be missing (RFC 6522 §3).
    if !about.envelope.requiretls {
        let section = header_section(about.content, HEADER_BYTES_MAX);
        let is_unlike = memmem::find(section, boundary.as_bytes()).is_none();
        if is_seven_bit(section) && is_unlike {
            begin("text/rfc822-headers", "7bit", &mut content);
            content.extend_from_slice(section);
        } else {
            begin("text/rfc822-headers", "quoted-printable", &mut content);
            content.extend_from_slice(&quoted_section(about.content));
        }
    }
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Report { content, is_utf8, told }
}

/// The header section of the notice. True where it is not ASCII.
fn push_header(about: &About<'_>, recipients: &[Recipient<'_>], boundary: &str, out: &mut Vec<u8>) -> bool {
    let all = |action| recipients.iter().all(|recipient| recipient.action == action);
    let subject = if all(Action::Delayed) {
        "Your message is delayed"
    } else if recipients.iter().any(|recipient| recipient.action == Action::Failed) {
        "Your message could not be delivered"
    } else {
        "Your message was handed on"
    };
    let path = about.envelope.reverse_path();
    let hostname = about.hostname;
    push_field("Date", &Rfc5322(about.at).to_string(), out);
    push_field("From", &format!("Mail Delivery System <MAILER-DAEMON@{hostname}>"), out);
    let to = format!("<{}>", clean_utf8(path, ADDRESS_BYTES_MAX));
    push_field_utf8("To", &to, out);
    push_field("Subject", subject, out);
    push_field("Message-ID", &format!("<{}@{hostname}>", about.id), out);
    // RFC 3834 §5.
    push_field("Auto-Submitted", "auto-replied", out);
    push_field("MIME-Version", "1.0", out);
    let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    push_field("Content-Type", &kind, out);
    !to.is_ascii()
}

/// The fields about the message, then groups of as many recipients as there is room for, and how many these
/// are.
fn status(about: &About<'_>, recipients: &[Recipient<'_>]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let envid = decoded_xtext(about.envelope.envid());
    if !envid.is_empty() {
        push_field("Original-Envelope-Id", &String::from_utf8_lossy(&envid), &mut out);
    }
    push_field("Reporting-MTA", &format!("dns; {}", about.hostname), &mut out);
    push_field("Arrival-Date", &Rfc5322(about.received_at).to_string(), &mut out);
    let log_id = about.message_id.to_string();
    let mut told = 0;
    for recipient in recipients {
        if told > 0 && out.len() > STATUS_BYTES {
            break;
        }
        out.extend_from_slice(b"\r\n");
        recipient.push_group(about.at, about.retried_until, &log_id, &mut out);
        told += 1;
    }
    (out, told)
}

/// What each of these became of, for people.
const SENTENCES: [(Action, &str); 4] = [
    (Action::Failed, "Your message could not be delivered to these recipients. It is not tried again:"),
    (
        Action::Delayed,
        "Your message could not be delivered to these recipients yet. It is tried further, and you need \
         not send it\r\nagain:",
    ),
    (Action::Delivered, "Your message was delivered to these recipients:"),
    (
        Action::Relayed,
        "Your message was handed on for these recipients. You may hear no more of it, because the server \
         that took it\r\nsends no notices of success:",
    ),
];

fn text(about: &About<'_>, recipients: &[Recipient<'_>]) -> String {
    let mut text = format!("This is the mail server {}.\r\n", about.hostname);
    let mut unnamed = 0_usize;
    for (action, sentence) in SENTENCES {
        let mut of_action = recipients.iter().filter(|recipient| recipient.action == action).peekable();
        if of_action.peek().is_none() {
            continue;
        }
        let _ = write!(text, "\r\n{sentence}\r\n\r\n");
        for recipient in of_action {
            if text.len() > TEXT_BYTES {
                unnamed += 1;
                continue;
            }
            let _ = write!(text, "  <{}>\r\n", clean_utf8(recipient.mailbox, ADDRESS_BYTES_MAX));
            let said = recipient.said();
            if recipient.is_expired || said == WAITED_TOO_LONG {
                text.push_str("    It waited too long.\r\n");
            }
            if !said.is_empty() && said != WAITED_TOO_LONG {
                let _ = write!(text, "    {said}\r\n");
            }
        }
    }
    if unnamed > 0 {
        let _ = write!(text, "\r\n{unnamed} more recipients are named in the report below.\r\n");
    }
    text.push_str(if about.envelope.requiretls {
        "\r\nNothing of your message comes with this: it was to go over TLS alone, and this may not.\r\n"
    } else {
        "\r\nThe header section of your message comes with this.\r\n"
    });
    text
}

/// The beginning of the header section with its line ends, cut after a whole line, or within a first one that
/// is longer.
fn header_section(content: &[u8], bytes_max: usize) -> &[u8] {
    if content.starts_with(b"\r\n") {
        return &[];
    }
    // Of a message of megabytes nothing else is looked at.
    let beginning = content.get(..bytes_max).unwrap_or(content);
    let end = match memmem::find(beginning, b"\r\n\r\n") {
        Some(at) => at + 2,
        None if beginning.len() == content.len() => content.len(),
        None => memmem::rfind(beginning, b"\r\n").map_or(beginning.len(), |at| at + 2),
    };
    beginning.get(..end).unwrap_or_default()
}

/// As much of it as there is room for in quoted-printable.
fn quoted_section(content: &[u8]) -> Vec<u8> {
    let mut bytes_max = HEADER_BYTES_MAX;
    loop {
        let mut quoted = Vec::new();
        push_quoted(header_section(content, bytes_max), &mut quoted);
        if quoted.len() <= HEADER_BYTES_MAX {
            return quoted;
        }
        bytes_max /= 2;
    }
}

#[cfg(test)]
mod tests;
