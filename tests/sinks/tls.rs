//! What sinks and the commands for a spool tell of the TLS that a message came under.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringmx::config::{self, SinkKind, StdoutFormat};
use ringmx::mail::client::TlsFacts;
use ringmx::mail::outcome::Outcome;
use ringmx::sink::spool::reader::{self, View};
use ringmx::sink::stdout::Stdout;
use ringmx::sink::{self, Report, Sink};
use serde_json::{Value, json};

use support::sink::{Reports, Sent, store, surroundings};

/// One message with all there is to tell, one with little, one that came in plaintext; and what is told of
/// them.
fn messages() -> ([Sent; 3], [Value; 3]) {
    let facts = TlsFacts {
        version: "TLSv1.2",
        cipher: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        resumed: true,
        client_certificate: true,
        server_name: Some("mx\".test".into()),
    };
    let bare = TlsFacts { resumed: false, client_certificate: false, server_name: None, ..facts.clone() };
    let mut number = 0;
    let sent = [Some(facts), Some(bare), None].map(|tls| {
        number += 1;
        let mut sent = Sent::new(number, "Subject: x\r\n\r\n");
        sent.tls = tls;
        sent
    });
    let object = |resumed: bool, certificate: Option<&str>, name: Option<&str>| {
        json!({
            "version": "TLSv1.2", "cipher": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "resumed": resumed, "client_certificate": certificate, "server_name": name,
        })
    };
    (sent, [object(true, Some("unverified"), Some("mx\".test")), object(false, None, None), Value::Null])
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn stdout_tells_it() {
    let (sent, expected) = messages();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let reports = Arc::new(Reports::default()) as Arc<dyn Report>;
    let mut sink = Stdout::new(OwnedFd::from(writer), StdoutFormat::Json, Duration::from_secs(10), reports);
    assert_eq!(store(&mut sink, &sent), [Outcome::Stored; 3]);
    drop(sink);
    let mut text = String::new();
    File::from(OwnedFd::from(reader)).read_to_string(&mut text).expect("a pipe");
    let told: Vec<Value> = text.lines().map(|line| parse(line)["tls"].clone()).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_spool_keeps_it() {
    let (sent, expected) = messages();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kind = SinkKind::Spool(config::Spool {
        path: folder.path().to_owned(),
        segment_bytes: 1024 * 1024,
        direct_writes: false,
    });
    let mut sink = opened(kind);
    assert_eq!(store(&mut *sink, &sent), [Outcome::Stored; 3]);
    for (sent, expected) in sent.iter().zip(expected) {
        let envelope = parse(&shown(folder.path(), sent, View::Envelope));
        assert_eq!(envelope["tls"], expected);
        assert_eq!(envelope["id"].as_str().map(str::to_owned), Some(sent.id.to_string()));
        assert!(envelope["data_base64"].is_null(), "the content is not in it");
        assert_eq!(shown(folder.path(), sent, View::Content).as_bytes(), sent.content());
    }
    let mut list = Vec::new();
    reader::list(folder.path(), None, &mut list).expect("a spool");
    let list = String::from_utf8(list).expect("UTF-8");
    let versions: Vec<_> = list.lines().map(|line| line.split(' ').nth(5)).collect();
    assert_eq!(versions, [Some("TLSv1.2"), Some("TLSv1.2"), Some("-")], "{list}");
}

fn opened(kind: SinkKind) -> Box<dyn Sink> {
    let sink = config::Sink {
        kind,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let mut opened =
        sink::open(&sink, &surroundings(&Arc::default())).unwrap_or_else(|error| panic!("{error}"));
    opened.workers.remove(0)().expect("it starts")
}

fn shown(directory: &Path, sent: &Sent, view: View) -> String {
    let mut shown = Vec::new();
    assert!(reader::show(directory, sent.id, view, &mut shown).expect("a spool"));
    String::from_utf8(shown).expect("UTF-8")
}
