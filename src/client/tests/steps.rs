//! Steps: bounds on what is said at a time, times, memory.

use super::*;

const OPENED: &[u8] = b"250-mx\r\n250-PIPELINING\r\n250-DSN\r\n250 CHUNKING\r\n";

/// A client that is ready, with a server that offers this.
fn ready(protocol: Protocol, offers: &[u8]) -> Client {
    let settings = Settings { tls: Tls::Off, ..Settings::of(protocol, "client.test") };
    let mut client = Client::new(Arc::new(settings));
    let mut output = Vec::new();
    assert_eq!(client.advance(&mut &b"220 mx\r\n"[..], &mut output), Step::NeedInput(Phase::Hello));
    assert_eq!(client.advance(&mut &offers[..], &mut output), Step::Ready);
    client
}

fn transaction(bytes: u64) -> Transaction<'static> {
    Transaction {
        reverse_path: b"a@b",
        body: BodyType::SevenBit,
        smtputf8: false,
        requiretls: false,
        ret: None,
        envid: b"",
        content: Content { bytes, bare_line_ends: false },
        client: None,
    }
}

fn recipient(mailbox: &str) -> Recipient<'_> {
    Recipient { mailbox: mailbox.as_bytes(), parameters: RecipientParameters::default() }
}

#[test]
fn ten_thousand_recipients_are_said_in_bounded_runs() {
    let mailboxes: Vec<String> =
        (0..10_000).map(|number| format!("recipient-{number}@example.org")).collect();
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        let mut client = ready(protocol, OPENED);
        let mut output = Vec::new();
        let recipients = mailboxes.iter().map(|mailbox| recipient(mailbox));
        client.begin(&transaction(4096), recipients, &mut output).expect("it fits");
        let (mut runs, mut said, mut replies) = (0, 0, Vec::new());
        let accepted = |number: usize| !number.is_multiple_of(3);
        let step = loop {
            let step = client.advance(&mut &replies[..], &mut output);
            let sends = step == Step::SendContent(Form::Chunk);
            if sends {
                client.handle_content_sent();
            }
            if output.is_empty() && !sends {
                break step;
            }
            assert!(output.len() < 70 * 1024, "{} octets in a run", output.len());
            runs += usize::from(!output.is_empty());
            // One reply for each command; BDAT has its own later.
            replies.clear();
            for line in output.split_inclusive(|octet| *octet == b'\n') {
                if line.starts_with(b"MAIL") {
                    replies.extend_from_slice(b"250 ok\r\n");
                } else if line.starts_with(b"RCPT") {
                    replies.extend_from_slice(if accepted(said) { b"250 ok\r\n" } else { b"550 no\r\n" });
                    said += 1;
                }
            }
            output.clear();
        };
        assert_eq!((step, said), (Step::NeedInput(Phase::End), 10_000));
        assert!((4..20).contains(&runs), "{runs} runs");
        let count =
            if protocol == Protocol::Smtp { 1 } else { (0..10_000).filter(|at| accepted(*at)).count() };
        let end = b"250 queued\r\n".repeat(count);
        assert_eq!(client.advance(&mut &end[..], &mut output), Step::Done);
        for (number, result) in client.results().enumerate() {
            let is_accepted = matches!(result, RecipientResult::Accepted(_));
            assert_eq!(is_accepted, accepted(number), "{number}");
        }
        assert_eq!(client.advance(&mut &b""[..], &mut output), Step::Ready);
        // What such a transaction took is given back.
        client.begin(&transaction(1), [recipient("c@d")], &mut output).expect("it fits");
        assert!(client.exchange.recipients.capacity() <= 16 * 1024);
    }
}

#[test]
fn a_whole_session_keeps_its_bounds_in_memory() {
    let mut client = ready(Protocol::Smtp, OPENED);
    let mut output = Vec::new();
    // The longest replies that are taken.
    let line = |mark: char| format!("550{mark}{}\r\n", "x".repeat(4000));
    let long = line('-').repeat(63) + &line(' ');
    for reset in ["", "250 ok\r\n", "250 ok\r\n"] {
        client.begin(&transaction(1), [recipient("c@d")], &mut output).expect("it fits");
        let replies = format!("{reset}{long}{long}{long}");
        assert_eq!(client.advance(&mut &b""[..], &mut output), Step::SendContent(Form::Chunk));
        client.handle_content_sent();
        assert_eq!(client.advance(&mut replies.as_bytes(), &mut output), Step::Done);
        let results: Vec<RecipientResult<'_>> = client.results().collect();
        let [RecipientResult::Permanent(reply)] = results[..] else { panic!("{results:?}") };
        assert_eq!((reply.code, reply.text.len()), (550, REPLY_TEXT_BYTES_MAX));
        assert_eq!(client.advance(&mut &b""[..], &mut output), Step::Ready);
    }
}

#[test]
fn every_phase_has_its_time() {
    use std::time::Duration;
    let minutes = |phase: Phase| phase.wait_max().map(|wait| wait.as_secs() / 60);
    for (phase, expected) in [
        (Phase::Greeting, 5),
        (Phase::Hello, 5),
        (Phase::Mail, 5),
        (Phase::Recipient, 5),
        (Phase::Data, 2),
        (Phase::Content, 3),
        (Phase::End, 10),
    ] {
        assert_eq!(minutes(phase), Some(expected), "{phase:?}");
    }
    assert_eq!(Phase::Ready.wait_max(), None);
    assert!(Phase::Quit.wait_max() < Some(Duration::from_secs(10)));
}

#[test]
fn a_reply_that_trickles_in_does_not_begin_the_time_anew() {
    let mut client = ready(Protocol::Smtp, OPENED);
    let before = client.replies();
    for octet in b"421 4.4.2 idle\r" {
        assert_eq!(client.advance(&mut &[*octet][..], &mut Vec::new()), Step::Ready);
    }
    assert_eq!(client.replies(), before);
    let end = Step::Over(End::Closing(Phase::Ready));
    assert_eq!(client.advance(&mut &b"\n"[..], &mut Vec::new()), end);
    assert_eq!(client.replies(), before + 1);
}

#[test]
fn a_session_is_over_once() {
    let mut client = ready(Protocol::Smtp, OPENED);
    let mut output = Vec::new();
    client.begin(&transaction(1), [recipient("c@d")], &mut output).expect("it fits");
    client.handle_lost(Loss::GivenUp);
    client.handle_lost(Loss::Closed);
    assert_eq!(client.advance(&mut &b""[..], &mut output), Step::Done);
    assert_eq!(client.results().next(), Some(RecipientResult::Lost));
    client.handle_lost(Loss::TimedOut);
    for _ in 0..2 {
        let end = End::Lost(Loss::GivenUp, Phase::Content);
        assert_eq!(client.advance(&mut &b"250 ok\r\n"[..], &mut output), Step::Over(end));
    }
}

#[test]
fn tls_may_begin_with_the_connection() {
    let settings = Settings { tls: Tls::Required, ..Settings::of(Protocol::Smtp, "client.test") };
    let mut client = Client::new(Arc::new(settings));
    client.handle_secured(true);
    let mut output = Vec::new();
    assert_eq!(client.advance(&mut &b"220 mx\r\n"[..], &mut output), Step::NeedInput(Phase::Hello));
    assert_eq!(client.advance(&mut &b"250-mx\r\n250 REQUIRETLS\r\n"[..], &mut output), Step::Ready);
    let needs = Transaction { requiretls: true, ..transaction(1) };
    assert_eq!(client.begin(&needs, [recipient("c@d")], &mut output), Ok(()));
}

#[test]
#[should_panic(expected = "a transaction begins after Step::Ready")]
fn a_transaction_begins_when_it_may() {
    let settings = Arc::new(Settings::of(Protocol::Smtp, "client.test"));
    let _ = Client::new(settings).begin(&transaction(1), [recipient("c@d")], &mut Vec::new());
}
