//! Milters of others, which run on libmilter: what they are told, and what becomes of their answers.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ringmx::filter::milter::{Fault, Loss, Phase, Session, Step};
use ringmx::filter::{Action, Ruling, Subject};
use ringmx::mail::client::{ClientFacts, Standing, TlsFacts};
use ringmx::mail::envelope::{BodyType, Envelope, Notify, RecipientParameters};
use ringmx::mail::queue_id::QueueId;
use support::opendkim::OpenDkim;
use support::py_milter::PyMilter;
use support::signer::Signer;

/// One connection, with as much of a caller as a test needs.
struct Connection {
    stream: UnixStream,
    session: Option<Session>,
}

struct Message<'a> {
    recipients: &'a [&'a str],
    header: &'a [u8],
    body: &'a [u8],
}

const MESSAGE: Message<'static> = Message {
    recipients: &["b@example.org", "c@example.org"],
    header: b"From: a@example.net\r\nSubject: one\r\n\ttwo\r\nX-Tight:three\r\n\r\n",
    body: b"Hello\r\n\r\nworld\r\n",
};

impl Connection {
    fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Self { stream, session: Some(Session::new()) }
    }

    /// Goes on to the next step that is no input.
    fn step(&mut self) -> Step {
        self.step_after(Vec::new())
    }

    fn step_after(&mut self, mut output: Vec<u8>) -> Step {
        let session = self.session.as_mut().expect("one that was not ended");
        let mut octets = [0; 4096];
        let mut got = 0;
        loop {
            let mut input = &octets[..got];
            let step = session.advance(&mut input, &mut output);
            self.stream.write_all(&output).expect("it reads");
            output.clear();
            if step != Step::NeedInput {
                assert!(input.is_empty() || matches!(step, Step::Done(_)), "{step:?}");
                return step;
            }
            got = match self.stream.read(&mut octets) {
                Ok(0) => {
                    session.handle_lost(Loss::Closed);
                    0
                }
                Ok(got) => got,
                Err(error) => panic!("{error} ({})", session.phase().name()),
            };
        }
    }

    fn ask(&mut self, message: &Message<'_>) -> Result<Ruling, Fault> {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"example.net");
        envelope.body = BodyType::EightBitMime;
        envelope.size_declared = Some(123);
        for recipient in message.recipients {
            envelope.push_whole_recipient(recipient.as_bytes());
            envelope
                .set_recipient_parameters(RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"" });
        }
        let client = ClientFacts {
            address: "192.0.2.7:2525".parse().expect("an address"),
            ehlo: b"sender.example.net".to_vec(),
            protocol: "ESMTPS",
            tls: Some(TlsFacts {
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                resumed: false,
                client_certificate: false,
                server_name: None,
            }),
            standing: Standing { reverse_name: b"mail.example.net".to_vec(), reasons: Vec::new() },
        };
        let subject =
            Subject { id: QueueId(7), envelope: &envelope, client: &client, hostname: "mx.example.org" };
        self.session.as_mut().expect("one").begin(&subject, message.header);
        let mut body = message.body;
        let mut step = self.step();
        loop {
            let session = self.session.as_mut().expect("one");
            let mut output = Vec::new();
            match step {
                Step::NeedBody if body.is_empty() => session.end_body(&mut output),
                Step::NeedBody => session.give_body(&mut body, &mut output),
                Step::Done(ruling) => return Ok(ruling),
                Step::Over(fault) => return Err(fault),
                Step::Ready | Step::Spent | Step::NeedInput => panic!("{step:?}"),
            }
            step = self.step_after(output);
        }
    }

    fn quit(mut self) {
        let mut output = Vec::new();
        self.session.take().expect("one").quit(&mut output);
        self.stream.write_all(&output).expect("it reads");
    }
}

/// What a milter with these arguments says of a message; and the calls that it was told, once it was told of
/// the end of the connection.
fn asked(arguments: &[&str]) -> Option<(String, Vec<String>)> {
    let milter = PyMilter::start(arguments)?;
    let mut connection = Connection::to(&milter.socket());
    assert_eq!(connection.step(), Step::Ready, "{arguments:?}");
    let result = connection.ask(&MESSAGE);
    connection.quit();
    let told = if arguments.contains(&"eom=crash") {
        milter.told()
    } else {
        milter.wait_told(|line| line.contains("close"))
    };
    Some((shown(&result), told))
}

fn shown(result: &Result<Ruling, Fault>) -> String {
    let ruling = match result {
        Err(fault) => return format!("fault: {fault}"),
        Ok(ruling) => ruling,
    };
    let mut text = match &ruling.action {
        Action::Pass => "pass".to_owned(),
        Action::Mark => "mark".to_owned(),
        Action::Refuse(reply) => reply.to_string(),
        Action::Greylist => "greylist".to_owned(),
        Action::Discard => "discard".to_owned(),
    };
    for symbol in &ruling.symbols {
        write!(text, " [{symbol}]").expect("a string");
    }
    let fields = String::from_utf8_lossy(&ruling.fields).replace("\r\n", "|").replace('\t', "\\t");
    format!("{text} {fields}").trim_end().to_owned()
}

/// The calls of which a milter was told, without the first, which tells what it may do.
fn calls(told: &[String]) -> String {
    let names = told.iter().skip(1).map(|line| line.split('"').nth(1).unwrap_or_default());
    names.collect::<Vec<_>>().join(" ")
}

const ALL: &str = "connect hello mail rcpt rcpt data header header header eoh body eom close";

#[test]
fn libmilter_is_told_all_of_a_message() {
    let symbols = "symbols=j,i,_,{tls_version},{mail_addr},{rcpt_addr}";
    let Some((result, told)) = asked(&[symbols, "silent=header"]) else { return };
    assert_eq!((&*result, &*calls(&told)), ("pass", ALL));
    let mut client = vec![("j", "mx.example.org"), ("_", "mail.example.net [192.0.2.7]")];
    let secure = [("{tls_version}", "TLSv1.3")];
    let sender = [("i", "00000000000000000000000007"), ("{mail_addr}", "a@example.net")];
    let recipient = [("{rcpt_addr}", "c@example.org")];
    let mut expect = |line: usize, call: serde_json::Value, more: &[(&'static str, &'static str)]| {
        client.extend_from_slice(more);
        let mut call: Vec<serde_json::Value> = serde_json::from_value(call).expect("a list");
        let names = ["j", "i", "_", "{tls_version}", "{mail_addr}", "{rcpt_addr}"];
        let symbols = names.iter().map(|name| {
            let value = client.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).into());
            ((*name).to_owned(), value.unwrap_or(serde_json::Value::Null))
        });
        call.push(serde_json::Value::Object(symbols.collect()));
        let told: serde_json::Value = serde_json::from_str(&told[line]).expect("JSON");
        assert_eq!(told, serde_json::Value::Array(call));
    };
    expect(1, serde_json::json!(["connect", "mail.example.net", ["192.0.2.7", 2525]]), &[]);
    expect(2, serde_json::json!(["hello", "sender.example.net"]), &secure);
    expect(3, serde_json::json!(["mail", "<a@example.net>", "SIZE=123", "BODY=8BITMIME"]), &sender);
    expect(5, serde_json::json!(["rcpt", "<c@example.org>", "NOTIFY=NEVER"]), &recipient);
    expect(6, serde_json::json!(["data"]), &[]);
    expect(7, serde_json::json!(["header", "From", "a@example.net"]), &[]);
    expect(8, serde_json::json!(["header", "Subject", "one\n\ttwo"]), &[]);
    expect(9, serde_json::json!(["header", "X-Tight", "three"]), &[]);
    expect(10, serde_json::json!(["eoh"]), &[]);
    expect(11, serde_json::json!(["body", 16, "Hello\r\n\r\nworld\r\n"]), &[]);
    expect(12, serde_json::json!(["eom"]), &[]);
}

#[test]
fn each_answer_of_libmilter_becomes_a_ruling() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["connect=accept"], "pass", "connect close"),
        (&["connect=discard", "eom=accept"], "pass", ALL),
        (&["hello=tempfail"], "451 4.7.1 Not now, try again later", "connect hello close"),
        (
            &["mail=reject", "reply=554 5.7.8 Not 100%% wanted|and never"],
            "554 5.7.8 Not 100% wanted and never",
            "connect hello mail close",
        ),
        (&["rcpt=reject"], "550 5.7.1 Refused", "connect hello mail rcpt rcpt abort close"),
        (&["rcpt=b@example.org:reject"], "pass", ALL),
        (
            &["rcpt=b@example.org:tempfail", "rcpt=c@example.org:reject"],
            "451 4.7.1 Not now, try again later",
            "connect hello mail rcpt rcpt abort close",
        ),
        (
            &["data=tempfail", "reply=450 4.2.0 Later"],
            "450 4.2.0 Later",
            "connect hello mail rcpt rcpt data close",
        ),
        (&["header=skip"], "pass", "connect hello mail rcpt rcpt data header eoh body eom close"),
        (&["eoh=discard"], "discard", "connect hello mail rcpt rcpt data header header header eoh close"),
        (&["body=skip", "eom=discard", "progress=3"], "discard", ALL),
        (
            &[
                "add=X-A: 1",
                "add=X-B: 2\\n\tmore\\nX-C: 3",
                "insert=0 X-D: 4",
                "insert=1 X-E: 5",
                "quarantine=an odd one",
            ],
            "mark [an odd one] X-Quarantine: an odd one|X-E: 5|X-D: 4|X-A: 1|X-B: 2|\\tmore|\\tX-C: 3|",
            ALL,
        ),
        (&["silent=connect,hello,mail,rcpt,data,header,eoh,body", "add=X-A: 1"], "pass X-A: 1|", ALL),
        (
            &["unwanted=connect,hello,mail,rcpt,data,header,eoh,body", "add=X-A: 1"],
            "pass X-A: 1|",
            "eom close",
        ),
        (&["leadspace=1", "add=X-A: 1", "add=X-B:  2"], "pass X-A:1|X-B: 2|", ALL),
        (&["eom=crash"], "fault: the milter closed the connection (end of message)", &ALL[..ALL.len() - 6]),
        (&["actions=all", "eom=reject"], "550 5.7.1 Refused", ALL),
    ];
    std::thread::scope(|threads| {
        for (arguments, ruling, told) in cases {
            threads.spawn(move || {
                let Some((found, calls_found)) = asked(arguments) else { return };
                assert_eq!((&*found, &*calls(&calls_found)), (*ruling, *told), "{arguments:?}");
            });
        }
    });
}

#[test]
fn a_milter_that_insists_on_changing_messages_is_found_at_once() {
    let Some(milter) = PyMilter::start(&["actions=addhdrs,chghdrs"]) else { return };
    let mut connection = Connection::to(&milter.socket());
    // libmilter closes without a word.
    let Step::Over(fault) = connection.step() else { panic!("it closes") };
    assert!(fault.to_string().contains("it may insist on more than adding header fields"), "{fault}");
}

/// Who is asked which messages on one connection: that is kept only where libmilter begins anew.
#[test]
fn a_connection_is_kept_while_libmilter_begins_anew() {
    for (arguments, is_kept) in [
        (&["add=X-A: 1"][..], true),
        (&["silent=connect"], true),
        (&["eom=accept"], false),
        (&["unwanted=connect"], false),
    ] {
        let Some(milter) = PyMilter::start(arguments) else { return };
        let mut connection = Connection::to(&milter.socket());
        assert_eq!(connection.step(), Step::Ready);
        let first = shown(&connection.ask(&MESSAGE));
        if is_kept {
            for _ in 0..3 {
                assert_eq!(connection.step(), Step::Ready);
                assert_eq!(shown(&connection.ask(&MESSAGE)), first, "{arguments:?}");
            }
        } else {
            assert_eq!(connection.step(), Step::Spent);
        }
        connection.quit();
    }
}

#[test]
fn opendkim_verifies_what_it_is_told() {
    let signer = Signer::rsa();
    let text = "From: a@example.net\r\nTo: b@example.org\r\nSubject: one\r\n\ttwo\r\nDate: Mon, 30 Nov 2026 08:00:00 \
                +0000\r\nMessage-ID: <1@example.net>\r\n\r\nHello\r\n\r\nworld\r\n";
    let signed = signer.sign("example.net", "s", text);
    let Some(opendkim) = OpenDkim::start(&signer.record(), "KeepAuthResults yes") else { return };
    for (message, result) in [(signed.clone(), "dkim=pass"), (signed.replace("world", "wor1d"), "dkim=fail")]
    {
        let end = message.find("\r\n\r\n").expect("a header section") + 4;
        let (header, body) = message.as_bytes().split_at(end);
        let mut connection = Connection::to(&opendkim.socket());
        assert_eq!(connection.step(), Step::Ready);
        let ruling =
            connection.ask(&Message { recipients: &["b@example.org"], header, body }).expect("a ruling");
        let fields = String::from_utf8_lossy(&ruling.fields).into_owned();
        println!("{fields:?}");
        assert_eq!(ruling.action, Action::Pass);
        let is_first = fields.starts_with("Authentication-Results: mx.example.org;\r\n\t");
        assert!(is_first && fields.contains(result) && fields.ends_with("\r\n"), "{fields:?}");
        assert_eq!(connection.step(), Step::Spent);
        connection.quit();
    }
}

/// As Debian has it, opendkim takes forged Authentication-Results away, and closes where it may not.
#[test]
fn opendkim_has_to_keep_what_is_there() {
    let Some(opendkim) = OpenDkim::start("v=DKIM1; p=", "KeepAuthResults no") else { return };
    let Step::Over(fault) = Connection::to(&opendkim.socket()).step() else { panic!("it closes") };
    assert!(matches!(fault, Fault::Lost(Loss::Closed, Phase::Negotiation)), "{fault}");
}
