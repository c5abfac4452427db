//! The head of a request.

use super::super::subject::Subject;
/// Octets of the head, at most: rspamd closes the connection on one of more than 80 KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Recipients that are named. rspamd looks at as many itself (`max_recipients`), so it has no use for more.
const RECIPIENTS_MAX: usize = 1024;

/// Octets of all other fields: each holds a bounded text, of which a reverse-path is the longest.
const OTHER_FIELDS_BYTES: usize = 8 * 1024;

/// Octets that are told of one text.
const VALUE_BYTES_MAX: usize = 1024;

const _: () = assert!(VALUE_BYTES_MAX * 6 < OTHER_FIELDS_BYTES && OTHER_FIELDS_BYTES < HEAD_BYTES_MAX);

/// What all requests to one rspamd have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What stands in the `Host` field.
    pub host: &'a str,
    /// The name of the settings that rspamd goes by; empty for none.
    pub settings_id: &'a str,
    /// The password that it wants; empty for none.
    pub password: &'a str,
}

impl Request<'_> {
    /// Appends the head of the request about a message of so many octets, with what stands in front of its
    /// mail data.
    ///
    /// A value never ends its field: each octet that could, which is every control, becomes `?`. RFC 5321 has
    /// none of them in a path or a name, so only what is no address of anybody looks different to rspamd.
    /// Addresses in UTF-8 (RFC 6531) are told as they are. Of very many recipients the first are told.
    pub fn write_head(&self, subject: &Subject<'_>, message_bytes: u64, head: &mut Vec<u8>) {
        let start = head.len();
        let client = subject.client;
        head.extend_from_slice(b"POST /checkv2 HTTP/1.1\r\n");
        field(head, "Host", self.host.as_bytes());
        field(head, "User-Agent", b"ringmx");
        field(head, "Connection", b"keep-alive");
        field(head, "Content-Length", message_bytes.to_string().as_bytes());
        field(head, "Queue-Id", &subject.id.text());
        field(head, "MTA-Name", subject.hostname.as_bytes());
        field(head, "IP", client.address.ip().to_canonical().to_string().as_bytes());
        let optional = [
            ("Helo", &client.ehlo[..]),
            ("Hostname", &client.standing.reverse_name),
            ("Settings-ID", self.settings_id.as_bytes()),
            ("Password", self.password.as_bytes()),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            field(head, name, value);
        }
        if let Some(tls) = &client.tls {
            field(head, "TLS-Version", tls.version.as_bytes());
            field(head, "TLS-Cipher", tls.cipher.as_bytes());
        }
        path_field(head, "From", subject.envelope.reverse_path());
        for recipient in subject.envelope.recipients().take(RECIPIENTS_MAX) {
            let bytes = "Rcpt: <>\r\n\r\n".len() + recipient.whole.len().min(VALUE_BYTES_MAX);
            if head.len() - start + bytes > HEAD_BYTES_MAX {
                break;
            }
            path_field(head, "Rcpt", recipient.whole);
        }
        head.extend_from_slice(b"\r\n");
    }
}

fn field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    write_value(head, value);
    head.extend_from_slice(b"\r\n");
}

/// A path in angle brackets, as MTAs give it to rspamd: so the null reverse-path is told from none.
fn path_field(head: &mut Vec<u8>, name: &str, path: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": <");
    write_value(head, path);
    head.extend_from_slice(b">\r\n");
}

fn write_value(head: &mut Vec<u8>, value: &[u8]) {
    let harmless = |octet: &u8| if octet.is_ascii_control() { b'?' } else { *octet };
    head.extend(value.iter().take(VALUE_BYTES_MAX).map(harmless));
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::mail::client::{ClientFacts, TlsFacts};
    use crate::mail::envelope::Envelope;
    use crate::mail::queue_id::QueueId;

    const PLAIN: Request<'static> = Request { host: "127.0.0.1:11333", settings_id: "", password: "" };

    fn client(address: &str, ehlo: &[u8]) -> ClientFacts {
        let address: SocketAddr = address.parse().expect("an address");
        ClientFacts { address, ehlo: ehlo.to_vec(), ..ClientFacts::unknown() }
    }

    fn head(request: Request<'_>, client: &ClientFacts, envelope: &Envelope, bytes: u64) -> String {
        let subject = Subject { id: QueueId::new(1, 2), envelope, client, hostname: "mx.test" };
        let mut head = Vec::new();
        request.write_head(&subject, bytes, &mut head);
        String::from_utf8(head).expect("UTF-8")
    }

    #[test]
    fn a_head_tells_what_is_known() {
        let mut client = client("[::ffff:192.0.2.7]:4711", b"a.x.test");
        client.standing.reverse_name = b"r.x.test".to_vec();
        client.tls = Some(TlsFacts {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            resumed: false,
            client_certificate: false,
            server_name: None,
        });
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"x.test");
        envelope.push_recipient(b"b", b"y.test");
        envelope.push_recipient("\u{e4}".as_bytes(), "\u{f6}.test".as_bytes());
        let request = Request { settings_id: "mx", password: "word", ..PLAIN };
        let id = QueueId::new(1, 2);
        assert_eq!(
            head(request, &client, &envelope, 4_000_000_000),
            format!(
                "POST /checkv2 HTTP/1.1\r\nHost: 127.0.0.1:11333\r\nUser-Agent: ringmx\r\nConnection: keep-alive\r\n\
                 Content-Length: 4000000000\r\nQueue-Id: {id}\r\nMTA-Name: mx.test\r\nIP: 192.0.2.7\r\nHelo: a.x.test\r\n\
                 Hostname: r.x.test\r\nSettings-ID: mx\r\nPassword: word\r\nTLS-Version: TLSv1.3\r\n\
                 TLS-Cipher: TLS_AES_256_GCM_SHA384\r\nFrom: <a@x.test>\r\nRcpt: <b@y.test>\r\nRcpt: <\u{e4}@\u{f6}.test>\r\n\r\n"
            )
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let head = head(PLAIN, &client("[2001:db8::1]:1", b""), &Envelope::default(), 0);
        assert_eq!(
            head.lines().skip(5).collect::<Vec<_>>(),
            [
                &format!("Queue-Id: {}", QueueId::new(1, 2)),
                "MTA-Name: mx.test",
                "IP: 2001:db8::1",
                "From: <>",
                ""
            ]
        );
    }

    #[test]
    fn no_octet_of_a_client_adds_a_field() {
        let hostile: Vec<u8> = (0..=0x7f).chain(*b"\r\nIP: 127.0.0.1\r\n\r\n").collect();
        let mut client = client("192.0.2.7:1", &hostile);
        client.standing.reverse_name.clone_from(&hostile);
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(&hostile, b"x.test");
        envelope.push_recipient(&hostile, b"y.test");
        let text = std::str::from_utf8(&hostile).expect("ASCII");
        let request = Request { host: text, settings_id: text, password: text };
        let head = head(request, &client, &envelope, 7);
        let names: Vec<&str> =
            head.split("\r\n").map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(
            names,
            [
                "POST /checkv2 HTTP/1.1",
                "Host",
                "User-Agent",
                "Connection",
                "Content-Length",
                "Queue-Id",
                "MTA-Name",
                "IP",
                "Helo",
                "Hostname",
                "Settings-ID",
                "Password",
                "From",
                "Rcpt",
                "",
                ""
            ]
        );
        assert!(head.replace("\r\n", "").bytes().all(|octet| !octet.is_ascii_control()));
    }

    #[test]
    fn a_head_is_bounded_with_any_recipients() {
        let client = client("192.0.2.7:1", &[b'e'; 5000]);
        for (local_part, told) in [(1, RECIPIENTS_MAX), (200, 303)] {
            let mut envelope = Envelope::default();
            envelope.set_reverse_path(&[b'a'; 5000], b"x.test");
            for _ in 0..3000 {
                envelope.push_recipient(&vec![b'b'; local_part], b"y.test");
            }
            let head = head(PLAIN, &client, &envelope, 7);
            assert!(head.len() <= HEAD_BYTES_MAX && head.ends_with("@y.test>\r\n\r\n"), "{}", head.len());
            let rcpts = head.matches("\r\nRcpt: <b").count();
            assert!(rcpts.abs_diff(told) <= 20, "{rcpts}");
        }
    }
}
