//! Trace information: Received:, Return-Path: and the Delivered-To: of the sinks (RFC 5321 §4.4).
//!
//! Appends to memory given. Whatever the client sent, no field can be ended or begun by it: of its octets only those of a
//! domain or literal (EHLO name), or printable ones (mailboxes), come out as they are.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::envelope::{Envelope, Mailbox};
use super::text::Text;
use crate::handoff::message::{ClientFacts, QueueId};
use crate::limits::EHLO_NAME_BYTES_MAX;

/// Octets of a line without its CRLF (RFC 5322 §2.1.1): what looks for a field name gives up there.
const FIELD_NAME_BYTES_MAX: usize = 998;

/// Appends our `Received:` field with its CRLF (§4.4). `for` only with exactly one recipient (§7.2).
pub fn received(
    field: &mut Vec<u8>,
    hostname: &str,
    client: &ClientFacts,
    envelope: &Envelope,
    id: QueueId,
    at: SystemTime,
) {
    field.extend_from_slice(b"Received: from ");
    push_literal_or_name(&client.ehlo, client.address.ip(), field);
    field.extend_from_slice(b" (");
    push_literal(client.address.ip(), field);
    field.extend_from_slice(b")\r\n\tby ");
    push_name(hostname.as_bytes(), field);
    field.extend_from_slice(b" with ");
    field.extend_from_slice(client.protocol.as_bytes());
    field.extend_from_slice(b" id ");
    field.extend_from_slice(&id.text());
    let mut recipients = envelope.recipients();
    if let (Some(only), None) = (recipients.next(), recipients.next()) {
        field.extend_from_slice(b"\r\n\tfor <");
        push_mailbox(only.whole, field);
        field.push(b'>');
    }
    field.extend_from_slice(b";\r\n\t");
    push_date(at, field);
    field.extend_from_slice(b"\r\n");
}

/// Appends `Return-Path: <…>` with its CRLF (§4.4); `<>` for the null reverse-path.
pub fn return_path(envelope: &Envelope, field: &mut Vec<u8>) {
    field.extend_from_slice(b"Return-Path: <");
    push_mailbox(envelope.reverse_path(), field);
    field.extend_from_slice(b">\r\n");
}

/// Appends `Delivered-To: …` with its CRLF (RFC 9228).
pub fn delivered_to(mailbox: Mailbox<'_>, field: &mut Vec<u8>) {
    field.extend_from_slice(b"Delivered-To: ");
    push_mailbox(mailbox.whole, field);
    field.extend_from_slice(b"\r\n");
}

/// Whether mail data begins with a header field (RFC 5322 §2.2) or an empty line. Otherwise an empty line must follow our
/// trace information, or the first line would continue it.
pub fn begins_header<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut octets = pieces.flatten().take(FIELD_NAME_BYTES_MAX);
    let Some(&first) = octets.next() else { return false };
    if first == b'\r' {
        return octets.next() == Some(&b'\n');
    }
    let is_name = |octet: u8| (b'!'..=b'~').contains(&octet) && octet != b':';
    if !is_name(first) {
        return false;
    }
    // The obsolete syntax allows white space between the name and its colon (RFC 5322 §4.5).
    let mut behind_name =
        octets.skip_while(|octet| is_name(**octet)).skip_while(|octet| matches!(octet, b' ' | b'\t'));
    behind_name.next() == Some(&b':')
}

fn push_literal_or_name(name: &[u8], address: IpAddr, field: &mut Vec<u8>) {
    if name.is_empty() { push_literal(address, field) } else { push_name(name, field) }
}

/// A name as sent, with `?` for what is in no domain and no literal.
fn push_name(name: &[u8], field: &mut Vec<u8>) {
    let name = name.get(..EHLO_NAME_BYTES_MAX).unwrap_or(name);
    field.extend(name.iter().map(|octet| match octet {
        b'.' | b'-' | b'_' | b'[' | b']' | b':' => *octet,
        _ if octet.is_ascii_alphanumeric() => *octet,
        _ => b'?',
    }));
}

/// Paths hold no control since they were parsed; should one ever get here, it still ends no field.
fn push_mailbox(mailbox: &[u8], field: &mut Vec<u8>) {
    field.extend(mailbox.iter().map(|octet| if octet.is_ascii_control() { b'?' } else { *octet }));
}

/// An address literal (§4.1.3); an IPv4-mapped address is shown as the IPv4 address that it is.
fn push_literal(address: IpAddr, field: &mut Vec<u8>) {
    let mut text = Text(field);
    match address {
        IpAddr::V4(address) => text.push(format_args!("[{address}]")),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => text.push(format_args!("[{address}]")),
            None => text.push(format_args!("[IPv6:{address}]")),
        },
    }
}

/// RFC 5322 §3.3, in UTC.
fn push_date(at: SystemTime, field: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or("???")
    };
    let (weekday, month) = (name(&DAYS, days % 7), name(&MONTHS, month - 1));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Text(field)
        .push(format_args!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000"));
}

/// Days since 1970 → year, month, day of the Gregorian calendar. Years are counted from 1 March, so that a leap day is the
/// last day of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// From 1 March 0000 to 1 January 1970.
    const SHIFT: u64 = 719_468;
    let shifted = days + SHIFT;
    let (era, day_of_era) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(ehlo: &[u8], address: &str) -> ClientFacts {
        ClientFacts { address: address.parse().expect("address"), ehlo: ehlo.to_vec(), protocol: "ESMTP" }
    }

    fn field(client: &ClientFacts, recipients: &[(&[u8], &[u8])]) -> String {
        let mut envelope = Envelope::default();
        for (local_part, domain) in recipients {
            envelope.push_recipient(local_part, domain);
        }
        let mut field = Vec::new();
        let at = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        received(&mut field, "mx.test", client, &envelope, QueueId(1), at);
        String::from_utf8(field).expect("ASCII")
    }

    #[test]
    fn the_field_is_folded_and_names_a_single_recipient() {
        let text = field(&client(b"client.test", "192.0.2.1:4321"), &[(b"a", b"b.test")]);
        let expected = "Received: from client.test ([192.0.2.1])\r\n\tby mx.test with ESMTP id \
                        00000000000000000000000001\r\n\tfor <a@b.test>;\r\n\tTue, 01 Jan 2030 00:00:00 +0000\r\n";
        assert_eq!(text, expected);
        let two =
            field(&client(b"client.test", "[::ffff:192.0.2.1]:1"), &[(b"a", b"b.test"), (b"c", b"b.test")]);
        assert!(!two.contains("for <") && two.contains("([192.0.2.1])"));
    }

    #[test]
    fn nothing_a_client_sent_ends_the_field() {
        let hostile = client(b"a\r\nX: y (\xff) <;>\0", "[2001:db8::1]:1");
        let text = field(&hostile, &[(b"\"a\r\nb\"", b"b.test")]);
        assert!(text.starts_with("Received: from a??X:?y????????? ([IPv6:2001:db8::1])\r\n\tby"), "{text}");
        assert!(text.contains("for <\"a??b\"@b.test>"));
        assert!(text.trim_end().lines().skip(1).all(|line| line.starts_with('\t')));
        let long = field(&client(&[b'x'; 2000], "192.0.2.1:1"), &[]);
        assert!(long.lines().all(|line| line.len() < 400));
    }

    #[test]
    fn a_header_field_or_an_empty_line_begins_a_header() {
        let begins = |text: &[u8]| {
            let whole = begins_header([text].into_iter());
            assert_eq!(begins_header(text.chunks(1)), whole, "in pieces");
            whole
        };
        for good in [&b"Subject: x"[..], b"X:", b"Subject \t: x", b"\r\n", b"\r\nbody"] {
            assert!(begins(good), "{}", good.escape_ascii());
        }
        for bad in [
            &b""[..],
            b" folded: x",
            b"\tx: y",
            b"From a@b Mon:",
            b"text\r\n",
            b":x",
            b"\rx",
            b"\xc3\xa9: x",
            b"x",
        ] {
            assert!(!begins(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ];
        for (seconds, expected) in cases {
            let mut field = Vec::new();
            push_date(UNIX_EPOCH + Duration::from_secs(seconds), &mut field);
            assert_eq!(String::from_utf8_lossy(&field), expected);
        }
    }

    #[test]
    fn the_null_reverse_path_is_shown() {
        let mut field = Vec::new();
        return_path(&Envelope::default(), &mut field);
        delivered_to(Mailbox { local_part: b"a", domain: b"b", whole: b"a@b" }, &mut field);
        assert_eq!(field, b"Return-Path: <>\r\nDelivered-To: a@b\r\n");
    }
}
