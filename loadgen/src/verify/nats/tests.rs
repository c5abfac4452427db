//! A stream by hand, behind a server that knows the three questions that are asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use data_encoding::{BASE64, BASE64URL};
use serde_json::json;

use super::*;
use crate::ledger::reader::Ledger;

/// A message of a stream: stream, subject, headers, payload. Its number is its place in the list, from 1; one
/// without a subject was deleted.
type Held = (&'static str, String, String, Vec<u8>);

const CONTENT: &[u8] = b"Received: by x\r\nSubject: 1\r\n\r\nbody\r\n";

fn headers(fields: &[(&str, &str)]) -> String {
    let lines = fields.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect::<String>();
    format!("NATS/1.0\r\n{lines}\r\n")
}

fn envelope(id: &str) -> String {
    json!({"id": id, "recipients": ["a@b", "c@d"], "size": 20}).to_string()
}

fn whole(id: &str) -> Held {
    let envelope = envelope(id);
    let fields = headers(&[("Nats-Msg-Id", id), ("Ringmx-Envelope", &envelope)]);
    ("MAIL", "mail.default.0".into(), fields, CONTENT.to_vec())
}

/// The address of a server with these messages, for one client. It pings before each answer.
fn serve(held: Vec<Held>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        talk(stream, &held).expect("it stays");
    });
    format!("nats://{address}")
}

fn talk(mut stream: TcpStream, held: &[Held]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    stream.write_all(b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n")?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "PING" => stream.write_all(b"PONG\r\n")?,
            "PUB" => {
                let mut question = vec![0; words[3].parse::<usize>().expect("octets") + 2];
                lines.read_exact(&mut question)?;
                let question: Value = serde_json::from_slice(&question).expect("JSON");
                let answer = answer(words[1], &question, held).to_string();
                write!(stream, "PING\r\nMSG {} 1 {}\r\n{answer}\r\n", words[2], answer.len())?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
}

fn answer(subject: &str, question: &Value, held: &[Held]) -> Value {
    let stream = subject.rsplit('.').next().unwrap_or_default();
    if !held.iter().any(|(of, ..)| *of == stream) {
        return json!({"error": {"err_code": 10059, "description": "stream not found"}});
    }
    if subject.starts_with("$JS.API.STREAM.INFO.") {
        return json!({"state": {"first_seq": 1, "last_seq": held.len()}});
    }
    let sequence = question["seq"].as_u64().unwrap_or(1);
    let wanted = question["next_by_subj"].as_str().or(question["last_by_subj"].as_str());
    let mut fitting: Vec<_> = held
        .iter()
        .zip(1u64..)
        .filter(|((of, about, ..), number)| {
            *of == stream
                && wanted.map_or(*number == sequence, |wanted| about == wanted && *number >= sequence)
        })
        .collect();
    if question["last_by_subj"].is_string() {
        fitting.reverse();
    }
    let Some(((_, about, headers, payload), number)) =
        fitting.first().filter(|((_, about, ..), _)| !about.is_empty())
    else {
        return json!({"error": {"err_code": 10037, "description": "no message found"}});
    };
    let (headers, payload) = (BASE64.encode(headers.as_bytes()), BASE64.encode(payload));
    json!({"message": {"subject": about, "seq": number, "hdrs": headers, "data": payload}})
}

fn found(held: Vec<Held>) -> Result<super::super::verdict::Verdict, String> {
    let mut findings = Findings::new(Ledger::default(), None);
    read(&serve(held), "MAIL", &mut findings)?;
    Ok(findings.verdict())
}

/// What the message at this place is handed on as: its facts and what is wrong.
fn facts(held: &Held) -> Result<Facts, String> {
    let (_, subject, headers, payload) = held.clone();
    Facts::of(&Stored { sequence: 1, subject, headers: headers.into_bytes(), payload })
}

#[test]
fn a_stream_is_read_past_what_was_deleted() {
    let deleted = ("MAIL", String::new(), String::new(), Vec::new());
    let held = vec![whole("a"), deleted, whole("b"), whole("a")];
    let verdict = found(held).expect("readable");
    assert_eq!(verdict.foreign.count, 3);
    assert_eq!(verdict.foreign.first[0], "MAIL at 1 (mail.default.0)");
    assert_eq!(verdict.remarks, ["the Nats-Msg-Id a is at 1 and at 4"]);
}

#[test]
fn a_stream_that_is_not_there_is_no_verdict() {
    assert_eq!(found(vec![]).err(), Some("reading the stream MAIL: stream not found".into()));
    assert!(read("nats://127.0.0.1:1", "MAIL", &mut Findings::new(Ledger::default(), None)).is_err());
}

#[test]
fn what_the_headers_lack_is_told() {
    let good = whole("a");
    let facts_of_good = facts(&good).expect("facts");
    assert_eq!(facts_of_good.recipients, [Some(b"a@b".to_vec()), Some(b"c@d".to_vec())]);
    assert_eq!(facts_of_good.mail_data_bytes, 20);
    let envelope = envelope("a");
    let with = |fields: &[(&str, &str)]| facts(&(good.0, good.1.clone(), headers(fields), Vec::new()));
    for wrong in [
        &[("Ringmx-Envelope", envelope.as_str())][..],
        &[("Nats-Msg-Id", "a")],
        &[("Nats-Msg-Id", "b"), ("Ringmx-Envelope", &envelope)],
        &[("Nats-Msg-Id", "a"), ("Ringmx-Envelope", "{\"id\":\"a\",\"recipients\":[],\"size\":1}")],
        &[("Nats-Msg-Id", "a"), ("Ringmx-Envelope", "{\"id\":\"a\",\"recipients\":[\"x@y\"]}")],
        &[("Nats-Msg-Id", "a"), ("Ringmx-Envelope", "{")],
        &[("Nats-Msg-Id", "a"), ("Ringmx-Envelope", &envelope), ("Ringmx-Object", "a")],
    ] {
        assert!(with(wrong).is_err(), "{wrong:?}");
    }
}

/// A large message whose object has these chunks, of which the store says that they are `CONTENT`.
fn large(chunks: &[&[u8]]) -> Vec<Held> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, CONTENT);
    let meta = json!({
        "name": "a", "nuid": "N", "size": CONTENT.len(), "chunks": 2,
        "digest": format!("SHA-256={}", BASE64URL.encode(digest.as_ref())),
    });
    let of_bucket =
        |subject: String, payload: &[u8]| ("OBJ_MAIL-large", subject, String::new(), payload.to_vec());
    let mut held = vec![whole("a")];
    held[0].3.clear();
    held[0].2 = held[0].2.replace("\r\n\r\n", "\r\nRingmx-Object: MAIL-large/a\r\n\r\n");
    held.extend(chunks.iter().map(|chunk| of_bucket("$O.MAIL-large.C.N".into(), chunk)));
    let subject = format!("$O.MAIL-large.M.{}", BASE64URL.encode(b"a"));
    held.push(of_bucket(subject, meta.to_string().as_bytes()));
    held
}

#[test]
fn a_large_message_is_its_object() {
    let (first, second) = CONTENT.split_at(7);
    let verdict = found(large(&[first, second])).expect("readable");
    assert_eq!((verdict.foreign.count, verdict.remarks.len()), (1, 0), "{:?}", verdict.remarks);
    let missing = found(large(&[first])).expect("readable");
    assert!(
        missing.remarks.concat().contains("its object has 7 octets in 1 chunks"),
        "{:?}",
        missing.remarks
    );
    let altered = found(large(&[first, &[b'x'; 29]])).expect("readable");
    assert!(altered.remarks.concat().contains("another checksum"), "{:?}", altered.remarks);
}
