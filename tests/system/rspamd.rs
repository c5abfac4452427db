//! What a real rspamd makes of our requests, and we of its answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringmx::filter::rspamd::{Request, ResponseReader, ruling};
use ringmx::filter::{Action, Ruling, Subject};
use ringmx::mail::client::ClientFacts;
use ringmx::mail::envelope::Envelope;
use ringmx::mail::queue_id::QueueId;
use support::fake_rspamd::{FakeRspamd, Manner};
use support::rspamd::{GTUBE, Rspamd};

const PATIENCE: Duration = Duration::from_secs(30);

fn client() -> ClientFacts {
    let mut client = ClientFacts::unknown();
    client.address = SocketAddr::from(([192, 0, 2, 7], 4711));
    client.ehlo = b"helo.x.test".to_vec();
    client.standing.reverse_name = b"reverse.x.test".to_vec();
    client
}

/// What it says of a message, on a connection of its own.
fn ask(mut stream: impl Read + Write, envelope: &Envelope, message: &[u8]) -> Ruling {
    let subject = Subject { id: QueueId::new(1, 2), envelope, client: &client(), hostname: "mx.test" };
    let mut octets = Vec::new();
    let request = Request { host: "localhost", settings_id: "", password: "word" };
    request.write_head(&subject, message.len() as u64, &mut octets);
    octets.extend_from_slice(message);
    stream.write_all(&octets).expect("sent");
    let mut reader = ResponseReader::default();
    let mut received = [0; 500];
    loop {
        let count = stream.read(&mut received).expect("a response");
        if count == 0 {
            reader.close().expect("whole");
            break;
        }
        if reader.feed(&received[..count]).expect("HTTP") {
            break;
        }
    }
    ruling(reader.body()).expect("a ruling")
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    envelope.push_recipient(b"b", b"y.test");
    envelope.push_recipient(b"\"c c\"", b"y.test");
    envelope
}

fn ask_at(rspamd: &Rspamd, envelope: &Envelope, message: &str) -> Ruling {
    let stream = TcpStream::connect(rspamd.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    ask(stream, envelope, message.as_bytes())
}

#[test]
fn a_real_rspamd_understands_us_and_is_understood() {
    let Some(mut rspamd) = Rspamd::start() else { return };
    let told = |envelope: &Envelope, message: &str| {
        let ruling = ask_at(&rspamd, envelope, message);
        String::from_utf8(ruling.fields).expect("ASCII").replace("X-Seen: ", "").replace("\r\n", " ")
    };
    let message = "X-Test-Seen: y\r\n\r\nhi\r\n";
    let (id, bytes) = (QueueId::new(1, 2), message.len());
    let rest = format!("ip=192.0.2.7 helo=helo.x.test hostname=reverse.x.test queue-id={id} size={bytes} ");
    assert_eq!(told(&envelope(), message), format!("from=a@x.test rcpt=b@y.test rcpt=c c@y.test {rest}"));
    let mut nobody = Envelope::default();
    nobody.push_recipient(b"b", b"y.test");
    assert_eq!(told(&nobody, message), format!("from= rcpt=b@y.test {rest}"));

    let action = |message: &str| match ask_at(&rspamd, &envelope(), message).action {
        Action::Refuse(reply) => reply.to_string(),
        other => format!("{other:?}"),
    };
    for (header, expected) in [
        ("X-A: b", "Pass"),
        ("X-Test-Action: soft reject\r\nX-Test-Text: Later, please", "451 4.7.1 Later, please"),
        ("X-Test-Action: reject", "550 5.7.1 Spam message rejected"),
        ("X-Test-Action: greylist", "Greylist"),
        ("X-Test-Action: add header", "Mark"),
        ("X-Test-Action: rewrite subject", "Mark"),
    ] {
        assert_eq!(action(&format!("{header}\r\nSubject: hi\r\n\r\nhi\r\n")), expected, "{header}");
    }
    assert_eq!(action(&format!("Subject: hi\r\n\r\n{GTUBE}\r\n")), "550 5.7.1 Gtube pattern");
    assert_eq!(action(""), "Pass", "nothing at all");
    let large = format!("Subject: hi\r\n\r\n{}", "0123456789\r\n".repeat(200_000));
    assert_eq!(action(&large), "Pass");

    let stream = UnixStream::connect(rspamd.socket()).expect("it listens");
    let ruling = ask(stream, &envelope(), b"X-Test-Field: hello\r\n\r\nhi\r\n");
    assert_eq!(ruling.fields, b"X-Added: hello\r\n");

    rspamd.kill();
    assert!(TcpStream::connect(rspamd.address()).is_err());
    rspamd.start_again();
    rspamd.pause();
    rspamd.resume();
    assert_eq!(ask_at(&rspamd, &envelope(), "X-A: b\r\n\r\n").action, Action::Pass);
    rspamd.stop();
    assert!(TcpStream::connect(rspamd.address()).is_err());
}

/// It closes the connection on a head that is too long.
#[test]
fn a_real_rspamd_takes_the_longest_head_that_we_write() {
    let Some(rspamd) = Rspamd::start() else { return };
    let mut many = Envelope::default();
    many.set_reverse_path(&[b'a'; 64], b"x.test");
    for number in 0..3000 {
        many.push_recipient(format!("{}{number}", "b".repeat(80)).as_bytes(), b"y.test");
    }
    let ruling = ask_at(&rspamd, &many, "X-Test-Seen: y\r\n\r\nhi\r\n");
    let seen = String::from_utf8(ruling.fields).expect("ASCII");
    assert!(seen.matches("X-Seen: rcpt=").count() > 50, "{seen}");
}

/// Whoever tests with it goes by what it does.
#[test]
fn the_rspamd_that_does_what_a_test_says_does_it() {
    let says = |action: &str| format!("{{\"action\":\"{action}\"}}");
    let fake = FakeRspamd::saying("greylist");
    let address = fake.listen_tcp();
    let connect = || {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        stream
    };
    let kept = connect();
    for _ in 0..2 {
        assert_eq!(ask(&kept, &envelope(), b"hi\r\n").action, Action::Greylist, "on one connection");
    }
    assert_eq!(fake.connections(), 1);
    let asked = fake.asked();
    assert_eq!((asked.len(), &asked[0].message[..]), (2, &b"hi\r\n"[..]));
    assert_eq!(asked[0].values("Rcpt"), ["<b@y.test>", "<\"c c\"@y.test>"]);
    let ends = |manner: Manner, message: &[u8]| {
        fake.does(manner);
        let mut stream = connect();
        let mut octets = Vec::new();
        let subject =
            Subject { id: QueueId::new(1, 2), envelope: &envelope(), client: &client(), hostname: "mx.test" };
        let request = Request { host: "localhost", settings_id: "", password: "" };
        request.write_head(&subject, message.len() as u64, &mut octets);
        stream.write_all(&[octets, message.to_vec()].concat()).expect("sent");
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received).map(drop).map_err(|error| error.kind());
        (String::from_utf8(received).expect("ASCII"), end)
    };
    assert_eq!(ends(Manner::Sends(b"HTTP/1.1 2".to_vec()), b""), ("HTTP/1.1 2".to_owned(), Ok(())));
    assert_eq!(ends(Manner::Closes, b"hi"), (String::new(), Ok(())));
    let (received, end) = ends(Manner::ClosesAfter(1), b"hi");
    assert!(received.is_empty() && !matches!(end, Err(ErrorKind::WouldBlock)), "{end:?}");
    for manner in [Manner::Mute, Manner::TakesNothing] {
        assert_eq!(ends(manner.clone(), b"hi"), (String::new(), Err(ErrorKind::WouldBlock)), "{manner:?}");
    }
    fake.does(Manner::SaysOnce(says("discard")));
    assert_eq!(ask(connect(), &envelope(), b"hi").action, Action::Discard);
    fake.does(Manner::Slow(Duration::from_millis(100), says("add header")));
    let start = Instant::now();
    assert_eq!(ask(connect(), &envelope(), b"hi").action, Action::Mark);
    assert!(start.elapsed() >= Duration::from_millis(100));
}
