//! Trace information (RFC 5321 §4.4): `Received:`, `Return-Path:`, and `Delivered-To:`.
//!
//! Nothing that a client sent can begin a line or a field here: octets outside the few that may stand are
//! replaced.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::net::IpAddr;
use std::time::SystemTime;

use super::path::check_literal;
use crate::limits::{BEGINNING_BYTES_MAX, EHLO_NAME_BYTES_MAX};
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;
use crate::timestamp::Rfc5322;

/// Appends our `Received:` field, folded, with CRLF line ends.
pub fn received(
    out: &mut Vec<u8>,
    hostname: &str,
    client: &ClientFacts,
    envelope: &Envelope,
    id: QueueId,
    at: SystemTime,
) {
    out.extend_from_slice(b"Received: from ");
    push_ehlo_name(out, &client.ehlo);
    out.extend_from_slice(b" (");
    if !client.standing.reverse_name.is_empty() {
        push_harmless(out, &client.standing.reverse_name);
        out.push(b' ');
    }
    push_literal(out, client.address.ip());
    out.extend_from_slice(b")\r\n\tby ");
    out.extend_from_slice(hostname.as_bytes());
    out.extend_from_slice(b" (ringmx) with ");
    out.extend_from_slice(client.protocol.as_bytes());
    if let Some(tls) = &client.tls {
        // Writing to a Vec cannot fail.
        let _ = write!(Octets(out), "\r\n\t({} {})", tls.version, tls.cipher);
    }
    out.extend_from_slice(b" id ");
    out.extend_from_slice(&id.text());
    let mut recipients = envelope.recipients();
    // With several recipients the field would tell each of the others, Bcc included.
    if let (1, Some(recipient)) = (recipients.len(), recipients.next()) {
        out.extend_from_slice(b"\r\n\tfor <");
        push_harmless(out, recipient.whole);
        out.push(b'>');
    }
    out.extend_from_slice(b";\r\n\t");
    // Writing to a Vec cannot fail.
    let _ = write!(Octets(out), "{}", Rfc5322(at));
    out.extend_from_slice(b"\r\n");
}

/// Appends what a final delivery puts on top (RFC 5321 §4.4): `Return-Path:`, and `Delivered-To:` for each of
/// these recipients.
pub fn delivery_fields<'a>(
    out: &mut Vec<u8>,
    reverse_path: &[u8],
    recipients: impl IntoIterator<Item = &'a [u8]>,
    line_end: &[u8],
) {
    out.extend_from_slice(b"Return-Path: <");
    push_harmless(out, reverse_path);
    out.push(b'>');
    out.extend_from_slice(line_end);
    for recipient in recipients {
        out.extend_from_slice(b"Delivered-To: ");
        push_harmless(out, recipient);
        out.extend_from_slice(line_end);
    }
}

/// How mail data begins, which decides what has to stand between our fields and it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// With a header field or an empty line: it follows our fields as it is.
    Header,
    /// With the line that divides the messages of an mbox file, `From root@host Thu ...`, also quoted
    /// (`>From `). Scripts and old local mailers leave it in front of the header fields.
    MailboxLine,
    /// With anything else: text without a header.
    Text,
}

impl Beginning {
    /// What mail data in these pieces begins with. Of a mailbox line it is told only where a field follows:
    /// else it is the first line of a text, which nobody may miss there.
    pub fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut pieces = pieces.peekable();
        // Nearly all mail begins so.
        if let Some(first) = pieces.peek()
            && let name = name_bytes(first.get(..BEGINNING_BYTES_MAX).unwrap_or(first))
            && name > 0
            && first.get(name) == Some(&b':')
        {
            return Self::Header;
        }
        let mut octets = pieces.flatten().copied().take(BEGINNING_BYTES_MAX).peekable();
        match Line::next(&mut octets) {
            Line::Field | Line::Empty => return Self::Header,
            Line::Folded | Line::Text => return Self::Text,
            Line::OfMbox => {}
        }
        loop {
            if !octets.by_ref().any(|octet| octet == b'\n') {
                return Self::Text;
            }
            match Line::next(&mut octets) {
                Line::Field => return Self::MailboxLine,
                Line::Folded | Line::OfMbox => {}
                Line::Empty | Line::Text => return Self::Text,
            }
        }
    }

    /// What follows our `Received:` field directly in front of the mail data, so that its fields stay fields
    /// and no octet of it is changed. A mailbox line becomes the value of a field of ours, under the name
    /// that Postfix gives it; text must not continue our field.
    pub const fn lead_in(self) -> &'static [u8] {
        match self {
            Self::Header => b"",
            Self::MailboxLine => b"X-Mailbox-Line: ",
            Self::Text => b"\r\n",
        }
    }
}

/// How many octets at the beginning may be the name of a field (RFC 5322 §3.6.8).
pub(super) fn name_bytes(octets: &[u8]) -> usize {
    let is_end = |octet: &u8| !matches!(octet, b'!'..=b'~') || *octet == b':';
    octets.iter().position(is_end).unwrap_or(octets.len())
}

/// What a line of a header section is.
enum Line {
    /// `name:`
    Field,
    /// Nothing, and CRLF.
    Empty,
    /// It goes on with the one before.
    Folded,
    /// The line that divides the messages of an mbox file.
    OfMbox,
    /// Anything else.
    Text,
}

impl Line {
    /// Reads as much of a line as tells what it is; never its end.
    fn next(octets: &mut Peekable<impl Iterator<Item = u8>>) -> Self {
        let mut mailbox_line = MailboxLine::default();
        let mut is_mailbox_line = false;
        let (mut named, mut spaced) = (false, false);
        while let Some(&octet) = octets.peek() {
            match octet {
                b'\r' if !named => return Self::Empty,
                b':' if named => return Self::Field,
                b' ' | b'\t' if !named => return Self::Folded,
                // Obsolete syntax allows white space before the colon (RFC 5322 §4.5), so `From :` is a
                // field.
                b' ' | b'\t' => {
                    is_mailbox_line |= !spaced && mailbox_line.is_before(octet);
                    spaced = true;
                }
                b'!'..=b'~' if !spaced && octet != b':' => {
                    mailbox_line = mailbox_line.after(octet);
                    named = true;
                }
                _ => break,
            }
            octets.next();
        }
        if is_mailbox_line { Self::OfMbox } else { Self::Text }
    }
}

/// Reads the word that begins a mailbox line octet by octet: any number of `>`, then `From`; a space ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MailboxLine {
    /// Only `>` so far.
    #[default]
    Quoting,
    /// So many octets of the word.
    Word(usize),
    /// It is another word.
    Other,
}

impl MailboxLine {
    const WORD: &'static [u8] = b"From";

    /// With one more octet of the word.
    pub(super) fn after(self, octet: u8) -> Self {
        let read = match self {
            Self::Quoting if octet == b'>' => return Self::Quoting,
            Self::Quoting => 0,
            Self::Word(read) => read,
            Self::Other => return Self::Other,
        };
        if Self::WORD.get(read) == Some(&octet) { Self::Word(read + 1) } else { Self::Other }
    }

    /// Whether this octet, which ends the word, makes it the beginning of a mailbox line.
    pub(super) fn is_before(self, octet: u8) -> bool {
        self == Self::Word(Self::WORD.len()) && octet == b' '
    }
}

/// A domain or literal as the client gave it; what may not stand in one becomes `?`.
fn push_ehlo_name(out: &mut Vec<u8>, name: &[u8]) {
    let name = name.get(..EHLO_NAME_BYTES_MAX).unwrap_or(name);
    if check_literal(name).is_some() {
        return out.extend_from_slice(name);
    }
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    out.extend(name.iter().map(|octet| if fits(*octet) { *octet } else { b'?' }));
    if name.is_empty() {
        out.push(b'?');
    }
}

/// An address literal (RFC 5321 §4.1.3); an IPv4-mapped address is shown as IPv4.
fn push_literal(out: &mut Vec<u8>, address: IpAddr) {
    // Writing to a Vec cannot fail.
    let _ = match address.to_canonical() {
        IpAddr::V4(address) => write!(Octets(out), "[{address}]"),
        IpAddr::V6(address) => write!(Octets(out), "[IPv6:{address}]"),
    };
}

/// Paths hold no controls by their grammar; should one ever do, it does no harm here.
fn push_harmless(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|octet| if octet.is_ascii_control() { b'?' } else { *octet }));
}

struct Octets<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::client::Standing;

    fn field(ehlo: &[u8], recipients: &[&str]) -> String {
        field_of(ehlo, b"", recipients)
    }

    fn field_of(ehlo: &[u8], reverse_name: &[u8], recipients: &[&str]) -> String {
        let mut envelope = Envelope::default();
        for recipient in recipients {
            envelope.push_recipient(recipient.as_bytes(), b"y.test");
        }
        let address = "[::ffff:192.0.2.1]:25".parse().expect("an address");
        let client = ClientFacts {
            address,
            ehlo: ehlo.to_vec(),
            protocol: "ESMTP",
            tls: None,
            standing: Standing { reverse_name: reverse_name.to_vec(), ..Standing::default() },
        };
        let mut out = Vec::new();
        received(&mut out, "mx.test", &client, &envelope, QueueId::new(0, 1), SystemTime::UNIX_EPOCH);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn the_field_says_who_where_and_for_whom() {
        assert_eq!(
            field(b"client.test", &["b"]),
            "Received: from client.test ([192.0.2.1])\r\n\tby mx.test (ringmx) with ESMTP id 00000000000000000000000001\r\n\
             \tfor <b@y.test>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        assert!(!field(b"client.test", &["b", "c"]).contains("for <"), "recipients do not see each other");
        let named = field_of(b"client.test", b"mx.client.test", &["b"]);
        assert!(named.starts_with("Received: from client.test (mx.client.test [192.0.2.1])\r\n"), "{named}");
    }

    #[test]
    fn a_client_cannot_write_into_the_field() {
        let field = field(b"a)\x07 b;c(d\xff", &["b"]);
        assert!(field.starts_with("Received: from a???b?c?d? ([192.0.2.1])"), "{field}");
        assert!(
            self::field(b"[IPv6:2001:db8::1]", &["b"]).starts_with("Received: from [IPv6:2001:db8::1] (")
        );
        assert!(
            self::field(&[b'x'; 400], &["b"]).starts_with(&format!("Received: from {} (", "x".repeat(255)))
        );
    }

    fn beginning(octets: &[u8]) -> Beginning {
        let found: Vec<Beginning> =
            (1..=octets.len().max(1)).map(|piece| Beginning::of(octets.chunks(piece))).collect();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{octets:?}: {found:?}");
        found[0]
    }

    #[test]
    fn mail_data_that_begins_no_header_is_told() {
        for header in [
            &b"Subject: x\r\n"[..],
            b"\r\ntext",
            b"X:\r\n",
            b"Old : x\r\n",
            b"From: a\r\n",
            b"From : a\r\n",
            b"From \t: a\r\n",
            b">From: a\r\n",
        ] {
            assert_eq!(beginning(header), Beginning::Header, "{header:?}");
        }
        for text in [
            &b""[..],
            b" folded: x",
            b"text\r\n",
            b"two words: x",
            b":x",
            b"\x01:",
            b"caf\xc3\xa9: x",
            b"From",
            b"From\r\n",
            b"From\tx\r\n",
            b"from x\r\n",
            b" From x\r\n",
            b"> From x\r\n",
            b"Fromage x\r\n",
            b"|From x\r\n",
        ] {
            assert_eq!(beginning(text), Beginning::Text, "{text:?}");
        }
    }

    #[test]
    fn a_mailbox_line_is_told_quoted_or_not() {
        for line in [
            &b"From root@host Thu Nov 28 10:00:00 2024\r\n"[..],
            b">From root@host Thu Nov 28 10:00:00 2024\r\n",
            b">>>From a\r\n",
            b"From  two spaces\r\n",
            b"From \r\n",
            b"From \n",
            b"From \xff\0\r\n",
            b"From a: b\r\n",
            b"From a\r\n>From b\r\nFrom c\r\n",
            b"From a\r\n\tfolded\r\n",
        ] {
            let whole = |rest: &[u8]| [line, rest].concat();
            assert_eq!(beginning(&whole(b"Received: x\r\n")), Beginning::MailboxLine, "{line:?}");
            assert_eq!(beginning(&whole(b">From : x\r\n")), Beginning::MailboxLine, "{line:?}");
            // Where no field follows it is text, and readers show it as such.
            for rest in [&b""[..], b"\r\nReceived: x\r\n", b"and more\r\n", b"\nx", b"Received"] {
                assert_eq!(beginning(&whole(rest)), Beginning::Text, "{line:?} {rest:?}");
            }
        }
    }
}
