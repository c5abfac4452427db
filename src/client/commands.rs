//! Commands as they are said. What comes from an envelope holds no controls when it gets here: a CRLF in it
//! would be another command.

use std::fmt;
use std::net::IpAddr;

use super::offers::{Offers, XclientAttributes};
use super::transaction::{Recipient, Transaction, Unfit};
use crate::mail::client::ClientFacts;
use crate::mail::envelope::{BodyType, Notify, Ret};

/// Octets of an XCLIENT command with its CRLF (Postfix's XCLIENT_README).
const XCLIENT_BYTES_MAX: usize = 512;

/// What stands for a value that is not known.
const UNAVAILABLE: &[u8] = b"[UNAVAILABLE]";

/// Appends MAIL. `is_utf8`: SMTPUTF8 is needed, and offered.
pub(super) fn push_mail(
    transaction: &Transaction<'_>,
    is_utf8: bool,
    offers: &Offers,
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    if !is_text(transaction.reverse_path) {
        return Err(Unfit::ReversePath);
    }
    push_all(out, &[b"MAIL FROM:<", transaction.reverse_path, b">"]);
    if offers.size {
        out.extend_from_slice(b" SIZE=");
        push_number(transaction.content.bytes, out);
    }
    match transaction.body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => out.extend_from_slice(b" BODY=8BITMIME"),
        BodyType::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
    }
    if is_utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if transaction.requiretls {
        out.extend_from_slice(b" REQUIRETLS");
    }
    if offers.dsn {
        match transaction.ret {
            None => {}
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
        }
        push_parameter(b" ENVID=", transaction.envid, out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends RCPT, with the parameters of DSN where it is offered.
pub(super) fn push_recipient(recipient: &Recipient<'_>, dsn: bool, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if recipient.mailbox.is_empty() || !is_text(recipient.mailbox) {
        return Err(Unfit::ForwardPath);
    }
    push_all(out, &[b"RCPT TO:<", recipient.mailbox, b">"]);
    if dsn {
        if let Some(notify) = recipient.parameters.notify {
            push_notify(notify, out);
        }
        push_parameter(b" ORCPT=", recipient.parameters.orcpt, out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn push_notify(notify: Notify, out: &mut Vec<u8>) {
    let words: [(Notify, &[u8]); 3] =
        [(Notify::SUCCESS, b"SUCCESS"), (Notify::FAILURE, b"FAILURE"), (Notify::DELAY, b"DELAY")];
    out.extend_from_slice(b" NOTIFY=");
    if notify == Notify::NEVER {
        return out.extend_from_slice(b"NEVER");
    }
    let mut separator: &[u8] = b"";
    for (bit, word) in words {
        if notify.bits() & bit.bits() != 0 {
            push_all(out, &[separator, word]);
            separator = b",";
        }
    }
}

/// A parameter whose value is sent as it was given; nothing where it was not given.
fn push_parameter(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    if value.is_empty() {
        return Ok(());
    }
    if !is_text(value) || value.contains(&b' ') {
        return Err(Unfit::Parameter);
    }
    push_all(out, &[name, value]);
    Ok(())
}

/// Appends the head of the only chunk (RFC 3030 §2).
pub(super) fn push_last_chunk(bytes: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BDAT ");
    push_number(bytes, out);
    out.extend_from_slice(b" LAST\r\n");
}

/// Appends XCLIENT with those attributes that the server takes. Without a client all are unknown. Nothing is
/// appended when the server takes none of ours.
pub(super) fn push_xclient(client: Option<&ClientFacts>, takes: XclientAttributes, out: &mut Vec<u8>) {
    let start = out.len();
    write_xclient(client, takes, true, out);
    if out.len() - start > XCLIENT_BYTES_MAX {
        out.truncate(start);
        write_xclient(client, takes, false, out);
    }
}

/// `names`: the names that the client has are said, too; else they are unknown.
fn write_xclient(client: Option<&ClientFacts>, takes: XclientAttributes, names: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b"XCLIENT");
    let empty = out.len();
    if takes.name {
        let name = client.filter(|_| names).map_or(&b""[..], |client| &client.standing.reverse_name);
        push_xtext(b" NAME=", name, out);
    }
    // A front that does not know its client says the unspecified address.
    let address = client.map(|client| client.address).filter(|address| !address.ip().is_unspecified());
    if takes.addr {
        out.extend_from_slice(b" ADDR=");
        match address.map(|address| address.ip().to_canonical()) {
            None => out.extend_from_slice(UNAVAILABLE),
            Some(IpAddr::V4(address)) => push_display(address, out),
            Some(IpAddr::V6(address)) => {
                out.extend_from_slice(b"IPV6:");
                push_display(address, out);
            }
        }
    }
    if takes.port {
        out.extend_from_slice(b" PORT=");
        match address.map(|address| address.port()).filter(|port| *port > 0) {
            None => out.extend_from_slice(UNAVAILABLE),
            Some(port) => push_number(u64::from(port), out),
        }
    }
    if takes.helo {
        push_xtext(b" HELO=", client.filter(|_| names).map_or(&b""[..], |client| &client.ehlo), out);
    }
    if takes.proto {
        // There are two values. The `with` of ESMTP has more letters: ESMTPS, UTF8SMTP.
        let is_plain = client.is_some_and(|client| client.protocol == "SMTP");
        push_all(out, &[b" PROTO=", if is_plain { b"SMTP" } else { b"ESMTP" }]);
    }
    if out.len() == empty {
        return out.truncate(start);
    }
    out.extend_from_slice(b"\r\n");
}

/// A value in xtext (RFC 3461 §4). One that is empty, or has octets that a server may refuse XCLIENT for, is
/// unknown.
fn push_xtext(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(name);
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return out.extend_from_slice(UNAVAILABLE);
    }
    for octet in value {
        if matches!(octet, b'+' | b'=') {
            let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'+', digit(octet >> 4), digit(octet & 15)]);
        } else {
            out.push(*octet);
        }
    }
}

fn push_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn push_display(value: impl fmt::Display, out: &mut Vec<u8>) {
    struct Appended<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Appended<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Appending to memory does not fail.
    let _ = fmt::write(&mut Appended(out), format_args!("{value}"));
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Whether a text holds no control of ASCII.
fn is_text(text: &[u8]) -> bool {
    !text.iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::client::Standing;

    const ALL: XclientAttributes =
        XclientAttributes { name: true, addr: true, port: true, helo: true, proto: true };

    fn client(address: &str, ehlo: &[u8]) -> ClientFacts {
        let address = address.parse().expect("an address");
        let standing = Standing { reverse_name: b"mx.example".to_vec(), reasons: Vec::new() };
        ClientFacts { address, ehlo: ehlo.to_vec(), protocol: "ESMTPS", standing, ..ClientFacts::unknown() }
    }

    fn said(client: Option<&ClientFacts>, takes: XclientAttributes) -> String {
        let mut out = Vec::new();
        push_xclient(client, takes, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_client_is_told_in_the_syntax_of_xclient() {
        let v4 = client("192.0.2.1:4711", b"a+b=c");
        assert_eq!(
            said(Some(&v4), ALL),
            "XCLIENT NAME=mx.example ADDR=192.0.2.1 PORT=4711 HELO=a+2Bb+3Dc PROTO=ESMTP\r\n"
        );
        let v6 = ClientFacts { protocol: "SMTP", ..client("[2001:db8::1]:0", b"with space") };
        let addr = XclientAttributes { name: false, ..ALL };
        assert_eq!(
            said(Some(&v6), addr),
            "XCLIENT ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] PROTO=SMTP\r\n"
        );
        let mapped = client("[::ffff:192.0.2.1]:1", b"");
        assert_eq!(
            said(Some(&mapped), XclientAttributes { addr: true, ..Default::default() }),
            "XCLIENT ADDR=192.0.2.1\r\n"
        );
        assert_eq!(
            said(None, addr),
            "XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] PROTO=ESMTP\r\n"
        );
        assert_eq!(said(Some(&v4), XclientAttributes::default()), "");
    }

    #[test]
    fn a_client_with_long_names_is_told_without() {
        let long = client("192.0.2.1:4711", &[b'='; 255]);
        assert_eq!(
            said(Some(&long), ALL),
            "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4711 HELO=[UNAVAILABLE] PROTO=ESMTP\r\n"
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 4096, u64::MAX] {
            let mut out = b"x".to_vec();
            push_number(number, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), format!("x{number}"));
        }
    }

    #[test]
    fn no_text_becomes_another_command() {
        let recipient = |mailbox, orcpt| {
            let parameters = crate::mail::envelope::RecipientParameters { notify: None, orcpt };
            push_recipient(&Recipient { mailbox, parameters }, true, &mut Vec::new())
        };
        assert_eq!(recipient(b"a@b", b"rfc822;a+20b"), Ok(()));
        assert_eq!(recipient(b"a@b>\r\nDATA", b""), Err(Unfit::ForwardPath));
        assert_eq!(recipient(b"", b""), Err(Unfit::ForwardPath));
        assert_eq!(recipient(b"a@b", b"rfc822;a b"), Err(Unfit::Parameter));
        assert_eq!(recipient(b"a@b", b"rfc822;a\nb"), Err(Unfit::Parameter));
    }
}
