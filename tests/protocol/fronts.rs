//! What a front may do where no configuration lets it come to that: the session does not rely on the rule
//! that forbids it.

use ringmx::mail::network::Network;
use ringmx::smtp::settings::Gate;

use support::exchange::{Exchange, settings};

/// Postfix XCLIENT_README: a client that comes through a front is no front, whatever the front's address.
#[test]
fn trust_is_not_passed_on() {
    let fronts = vec![Network::parse("127.0.0.0/8").expect("a network")];
    let mut settings = settings();
    settings.gate = Gate { proxy_from: fronts.clone(), xclient_from: fronts, ..Gate::default() };
    let mut exchange = Exchange::connected(settings);
    exchange.receive(b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 25\r\n");
    exchange.receive(b"EHLO client.test\r\n");
    exchange.receive(b"XCLIENT ADDR=198.51.100.9\r\n");
    let replies = String::from_utf8_lossy(&exchange.seen.replies);
    assert!(replies.starts_with("220 mx.test"), "{replies}");
    assert!(!replies.contains("XCLIENT") && replies.ends_with("\r\n550 5.7.0 Not for you\r\n"), "{replies}");
    // The session goes on, for the client that the header named.
    exchange.receive(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    exchange.receive(b"text\r\n.\r\n");
    let [stored] = &exchange.seen.stored[..] else { panic!("it has one message") };
    assert_eq!((stored.data.as_slice(), stored.recipients.len()), (&b"text\r\n"[..], 1));
    assert_eq!(stored.client.address.to_string(), "192.0.2.7:4321");
    assert_eq!((stored.client.protocol, stored.client.ehlo.as_slice()), ("ESMTP", &b"client.test"[..]));
}
