//! Budgets of a session that are too large for a dialogue, and what is said when its time is over.

use std::sync::Arc;
use std::time::Instant;

use ringmx::limits::EXCESS_RECIPIENTS_FREE;
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Session, Step};
use support::exchange::{Exchange, settings};

const IDLE_MAX: u32 = 3;

/// How many RCPT commands past the limit of one recipient are answered 452 until the session ends.
fn put_off(exchange: &mut Exchange) -> u32 {
    exchange.receive(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\n");
    for count in 0.. {
        let before = exchange.seen.replies.len();
        exchange.receive(b"RCPT TO:<c@example.org>\r\n");
        let reply = &exchange.seen.replies[before..];
        if exchange.seen.closed {
            assert!(reply.starts_with(b"421 4.7.0"), "{}", reply.escape_ascii());
            return count;
        }
        assert!(reply.starts_with(b"452 4.5.3"), "{}", reply.escape_ascii());
    }
    unreachable!("it ends")
}

fn session() -> Exchange {
    let mut settings = settings();
    settings.limits.recipients_max = 1;
    settings.limits.idle_commands_max = IDLE_MAX;
    let mut exchange = Exchange::new(settings);
    // An idle command, too.
    exchange.receive(b"EHLO client.test\r\n");
    exchange
}

/// RFC 5321 §4.5.3.1.10: a client that does not know the limit sends all recipients, and the rest again.
#[test]
fn recipients_past_the_limit_are_idle_commands_after_a_thousand() {
    assert_eq!(put_off(&mut session()), EXCESS_RECIPIENTS_FREE + IDLE_MAX - 1);
}

#[test]
fn recipients_past_the_limit_are_forgiven_for_a_message() {
    let mut exchange = session();
    for _ in 0..3 {
        exchange.receive(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\n");
        for _ in 0..EXCESS_RECIPIENTS_FREE {
            exchange.receive(b"RCPT TO:<c@example.org>\r\n");
        }
        exchange.receive(b"BDAT 4 LAST\r\ntext");
        assert!(!exchange.seen.closed);
    }
    assert_eq!(exchange.seen.stored.len(), 3);
    assert_eq!(put_off(&mut exchange), EXCESS_RECIPIENTS_FREE + IDLE_MAX);
}

/// A transaction that is given up forgives nothing.
#[test]
fn recipients_past_the_limit_are_counted_over_transactions() {
    let mut exchange = session();
    exchange.receive(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\n");
    exchange.receive(&b"RCPT TO:<c@example.org>\r\n".repeat(600));
    exchange.receive(b"RSET\r\n");
    assert_eq!(put_off(&mut exchange), EXCESS_RECIPIENTS_FREE - 600 + IDLE_MAX - 2);
}

/// A connection that waits for work may hear of its deadline more than once.
#[test]
fn a_session_whose_time_is_over_says_so_once() {
    let (mut now, mut replies) = (Instant::now(), ReplyBuffer::new());
    let client = "192.0.2.1:25".parse().expect("an address");
    let mut session = Session::new(Arc::new(settings()), client, now);
    session.greet(&mut replies, now);
    replies.replace(Vec::new());
    session.handle_sent();
    now = session.deadline();
    assert!(matches!(session.expire(&mut replies, now), Step::Close));
    assert!(replies.replace(Vec::new()).starts_with(b"421 4.4.2 "));
    assert!(matches!(session.expire(&mut replies, now), Step::Close));
    assert!(replies.is_empty(), "it has said its last");
}
