//! Milters, asked by a real server: what clients are answered, what is stored, and what operators read of it.

mod others;
mod passing_load;
mod told;
mod trouble;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, stuffed};
use support::py_milter::PyMilter;
use support::server::{Server, program};

const HOSTNAME: &str = "mx.example.test";

/// A message in which nothing is odd.
const MESSAGE: &[u8] = b"From: a@x.test\r\nSubject: one\r\n\ttwo\r\n\r\nHello\r\n.dot\r\n\r\nworld\r\n";

/// A receiver with a spool, these tables of filters, and more keys of `[shards]`, and more tables.
fn receiver(filters: &str, more: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"{HOSTNAME}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{filters}[[sink]]\nkind = \
         \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n[log]\nformat = \"json\"\n[shards]\ncpus = [0]\n{more}"
    ))
}

/// The table of a milter.
fn milter(socket: &Path, keys: &str) -> String {
    format!("[[filter]]\nkind = \"milter\"\nsocket = \"unix:{}\"\n{keys}\n", socket.display())
}

/// The reply to a message.
fn send_to(server: &Server, recipients: &[&str], data: &[u8]) -> String {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&stuffed(data));
    client.reply().trim_end().to_owned()
}

fn send(server: &Server) -> String {
    send_to(server, &["b@y.test", "c@y.test"], MESSAGE)
}

/// The queue id in a reply that accepts.
fn id_of(reply: &str) -> &str {
    reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"))
}

/// What `ringmx spool show` says of a message, if it is stored.
fn shown(server: &Server, words: &[&str], id: &str) -> Option<Vec<u8>> {
    let mut command = Command::new(program());
    command.args(["spool", "show"]).args(words).arg(server.folder().join("spool")).arg(id);
    let output = command.output().expect("it runs");
    output.status.success().then_some(output.stdout)
}

/// What is stored of an accepted message: the fields in front of our own `Received:`, what follows that, and
/// the envelope.
fn stored(server: &Server, reply: &str) -> Option<(String, Vec<u8>, Value)> {
    let octets = shown(server, &[], id_of(reply))?;
    let envelope = shown(server, &["--envelope"], id_of(reply)).expect("its envelope");
    let start = format!("Received: from client.example ([127.0.0.1])\r\n\tby {HOSTNAME} (ringmx) with ");
    let at = memchr::memmem::find(&octets, start.as_bytes()).expect("our field");
    let (fields, rest) = octets.split_at(at);
    let fields = String::from_utf8(fields.to_vec()).expect("UTF-8");
    let below = crate::forward::below_received(rest).to_vec();
    Some((fields, below, serde_json::from_slice(&envelope).expect("JSON")))
}

/// The last record of the log of this event, once there are so many.
fn logged(server: &Server, event: &str, count: usize) -> Value {
    let name = format!("\"event\":\"{event}\"");
    let start = Instant::now();
    loop {
        let lines: Vec<String> = server.log().into_iter().filter(|line| line.contains(&name)).collect();
        if lines.len() >= count {
            assert_eq!(lines.len(), count, "{lines:#?}");
            return serde_json::from_str(lines.last().expect("a line")).expect("JSON");
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:#?}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a case comes to.
enum Ends {
    /// It goes on, with these fields in front.
    Passes(&'static str),
    /// The same, marked for this reason.
    Marked(&'static str, &'static str),
    /// It is refused with this reply.
    Refused(&'static str),
    Discarded,
}
use Ends::{Discarded, Marked, Passes, Refused};

const REJECTED: Ends = Refused("550 5.7.1 Refused");
const PUT_OFF: Ends = Refused("451 4.7.1 Not now, try again later");
/// At the connection and at HELO there is no message to discard.
const STEPS: [&str; 9] = ["connect", "hello", "mail", "rcpt", "data", "header", "eoh", "body", "eom"];

/// Each answer that libmilter has, at each step where it may come.
fn answers() -> Vec<(Vec<String>, Ends)> {
    let mut cases = Vec::new();
    for step in STEPS {
        let has_message = !["connect", "hello"].contains(&step);
        // What is discarded for one recipient is discarded.
        let discarded = if has_message { Discarded } else { Passes("") };
        for (answer, ends) in [
            ("continue", Passes("")),
            ("accept", Passes("")),
            ("reject", REJECTED),
            ("tempfail", PUT_OFF),
            ("discard", discarded),
        ] {
            cases.push((vec![format!("{step}={answer}")], ends));
        }
        let word = |answer: &str| format!("{step}={answer}");
        cases.push((
            vec![word("reject"), "reply=554 5.7.8 Not 100%% wanted|and never \u{e9}".to_owned()],
            Refused("554 5.7.8 Not 100% wanted and never ??"),
        ));
        cases.push((
            vec![word("tempfail"), "reply=421 4.3.2 Later|5.7.1|please".to_owned()],
            Refused("451 4.3.2 Later 5.7.1 please"),
        ));
    }
    for step in ["rcpt", "header", "body"] {
        cases.push((vec![format!("{step}=skip"), "add=X-A: 1".to_owned()], Passes("X-A: 1\r\n")));
    }
    cases
}

const MORE: [(&[&str], Ends); 10] = [
    (
        &["add=X-A: 1", "add=X-B:  2\\n\tmore\\nX-C: 3\\n\\n\\nX"],
        Passes("X-A: 1\r\nX-B:  2\r\n\tmore\r\n\tX-C: 3\r\n\tX\r\n"),
    ),
    (
        &["insert=0 X-D: 4", "insert=1 X-E: 5", "insert=99 X-F: 6", "add=X-A: 1"],
        Passes("X-F: 6\r\nX-E: 5\r\nX-D: 4\r\nX-A: 1\r\n"),
    ),
    (&["add=X-A: 1", "eom=accept"], Passes("X-A: 1\r\n")),
    (
        &["add=X-A: 1", "quarantine=an odd one"],
        Marked("an odd one", "X-Quarantine: an odd one\r\nX-A: 1\r\n"),
    ),
    (
        &["quarantine=an \"odd\"\\none", "eom=accept"],
        Marked("an \"odd\" one", "X-Quarantine: an \"odd\" one\r\n"),
    ),
    (&["add=X-A: 1", "quarantine=odd", "eom=reject"], REJECTED),
    (&["progress=1000", "wait=0.2"], Passes("")),
    (&["progress=3", "wait=0.2", "eom=tempfail"], PUT_OFF),
    (&["rcpt=c@y.test:tempfail", "rcpt=b@y.test:reject"], PUT_OFF),
    (&["rcpt=c@y.test:discard"], Discarded),
];

#[test]
fn each_answer_of_a_milter_is_the_clients_and_the_operators() {
    let Some(pymilter) = PyMilter::start(&[]) else { return };
    let server = receiver(&milter(&pymilter.socket(), ""), "");
    let more =
        MORE.into_iter().map(|(words, ends)| (words.iter().map(|word| (*word).to_owned()).collect(), ends));
    let (mut messages, mut refused) = (0, 0);
    for (arguments, ends) in answers().into_iter().chain(more) {
        pymilter.rules(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let reply = send(&server);
        let (action, fields, reason) = match ends {
            Refused(expected) => {
                assert_eq!(reply, expected, "{arguments:?}");
                refused += 1;
                let line = logged(&server, "refused", refused);
                let word = if expected.starts_with('5') { "refuse" } else { "put_off" };
                let found = ["filters", "reason", "reply", "step"].map(|name| line[name].clone());
                let expected =
                    [json!([format!("milter {word}")]), json!("filter"), json!(expected), json!("MAIL-DATA")];
                assert_eq!(found, expected, "{arguments:?}");
                continue;
            }
            Passes(fields) => ("pass", Some(fields), ""),
            Marked(reason, fields) => ("mark", Some(fields), reason),
            Discarded => ("discard", None, ""),
        };
        messages += 1;
        assert!(reply.starts_with("250 "), "{arguments:?}: {reply}");
        let line = logged(&server, "message", messages);
        let words = format!("milter {action} {reason}");
        assert_eq!(line["filters"], json!([words.trim_end()]), "{arguments:?}");
        let found = stored(&server, &reply);
        assert_eq!(found.is_some(), fields.is_some(), "{arguments:?}");
        let (Some((front, below, envelope)), Some(fields)) = (found, fields) else {
            assert_eq!(line["place"], "discarded by milter");
            continue;
        };
        assert_eq!((&*front, below.as_slice()), (fields, MESSAGE), "{arguments:?}");
        let symbols: Vec<&str> = Some(reason).filter(|reason| !reason.is_empty()).into_iter().collect();
        let noted = json!([{"filter": "milter", "action": action, "symbols": symbols}]);
        assert_eq!(envelope["filters"], noted, "{arguments:?}");
        let mark = if action == "mark" { json!("quarantine") } else { Value::Null };
        assert_eq!(envelope["mark"], mark, "{arguments:?}");
    }
    assert!(messages > 20 && refused > 30, "{messages}, {refused}");
    assert!(!server.log().iter().any(|line| line.contains("\"level\":\"error\"")), "{:#?}", server.log());
}

#[test]
fn a_recipient_that_a_milter_refuses_among_others_has_the_message_and_the_log_says_so() {
    let Some(pymilter) = PyMilter::start(&["rcpt=b@y.test:reject", "quarantine=odd"]) else { return };
    let server = receiver(&milter(&pymilter.socket(), "add_fields = false"), "");
    let reply = send(&server);
    let (_, _, envelope) = stored(&server, &reply).expect("stored");
    let recipients: Vec<&Value> = envelope["recipients"].as_array().expect("a list").iter().collect();
    assert_eq!(recipients.len(), 2, "{envelope}");
    let line = logged(&server, "message", 1);
    assert_eq!(line["filters"], json!(["milter mark odd,refused 1 of 2 recipients"]));
    // Of those who were refused one by one, nobody is left.
    assert_eq!(send_to(&server, &["b@y.test"], MESSAGE), "550 5.7.1 Refused");
}

#[test]
fn fields_of_a_milter_are_left_out_where_the_configuration_says_so() {
    let Some(pymilter) = PyMilter::start(&["add=X-A: 1", "insert=0 X-B: 2", "quarantine=odd"]) else {
        return;
    };
    let server = receiver(&milter(&pymilter.socket(), "add_fields = false\nname = \"other\""), "");
    let (front, below, envelope) = stored(&server, &send(&server)).expect("stored");
    assert_eq!((&*front, below.as_slice()), ("", MESSAGE));
    assert_eq!(envelope["filters"], json!([{"filter": "other", "action": "mark", "symbols": ["odd"]}]));
}
