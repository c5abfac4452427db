//! Requests of other protocols that carry a whole SMTP transaction: a browser, a proxy or a service that was
//! led here sends octets that somebody else chose (RFC 5321 §7.8). Nothing of them is mail, in however many
//! pieces they arrive.

use support::exchange::{Exchange, Seen, settings};

/// What such requests begin with. The transaction follows, as part of a body, an argument or a field.
const OPENINGS: [&[u8]; 22] = [
    b"GET /x HTTP/1.1\r\nHost: mx.test\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: mx.test\r\nContent-Length: 999\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: mx.test\r\nContent-Length: 999\r\n\r\n",
    b"HEAD /x HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"EHLO /x HTTP/1.1\r\nHost: mx.test\r\n\r\n",
    b"NOOP /x HTTP/1.1\r\n\r\n",
    b"INVITE sip:a@mx.test SIP/2.0\r\n\r\n",
    b"DESCRIBE rtsp://mx.test/a RTSP/1.0\r\n\r\n",
    b"REQMOD icap://mx.test/a ICAP/1.0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"$4\r\n",
    b"{\"a\":\"\r\n",
    b"<stream>\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n",
    b"Host: mx.test\r\nCookie: a\r\n\r\n",
    b"Subject : x\r\n\r\n",
    b"X\r\nSM\r\nHost: mx.test\r\n\r\n",
    b" folded\r\n",
];

const TRANSACTION: &[u8] =
    b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\nBDAT 6 LAST\r\nhidden";

fn is_refused(seen: &Seen) -> bool {
    seen.stored.is_empty() && seen.closed
}

#[test]
fn requests_of_other_protocols_take_no_mail() {
    for opening in OPENINGS {
        let request = [opening, TRANSACTION].concat();
        let shown = opening.escape_ascii();
        for split in 0..request.len() {
            let (first, second) = request.split_at(split);
            // Answered in between, and not.
            let mut exchange = Exchange::new(settings());
            exchange.receive(first);
            exchange.receive(second);
            assert!(is_refused(&exchange.seen), "{shown} split at {split}");
            let mut exchange = Exchange::new(settings());
            exchange.receive_together(&[first, second]);
            assert!(is_refused(&exchange.seen), "{shown} together, split at {split}");
        }
        let mut exchange = Exchange::new(settings());
        request.chunks(1).for_each(|octet| exchange.receive(octet));
        assert!(is_refused(&exchange.seen), "{shown} octet by octet");
    }
}

/// Nothing tells these from a client that errs, but that they do not wait.
#[test]
fn requests_that_look_like_commands_take_no_mail_in_one_write() {
    for opening in [
        &b""[..],
        b"set x 0 0 99\r\n",
        b"USER x\r\nPASS y\r\n",
        b"HELP\r\n",
        b"\r\n\r\n",
        b"a001 LOGIN x\r\n",
    ] {
        let request = [opening, TRANSACTION].concat();
        let mut exchange = Exchange::new(settings());
        exchange.receive(&request);
        assert!(is_refused(&exchange.seen), "{}", opening.escape_ascii());
        for split in 0..request.len() {
            let (first, second) = request.split_at(split);
            let mut exchange = Exchange::new(settings());
            exchange.receive_together(&[first, second]);
            assert!(is_refused(&exchange.seen), "{} split at {split}", opening.escape_ascii());
        }
    }
}
