//! A stream in the format of `docs/cluster.md`, which nats-py has filled: `loadgen verify --nats` finds what
//! is wrong with it, and nats-py reads the same.

use std::path::Path;

use support::load::verify;
use support::nats_cluster::NatsCluster;
use support::server::Server;

use super::{STREAM, lines_of, publish, send};

/// What `loadgen verify` says of the stream: the counts of lost, altered and duplicated mail, and all of it.
fn judged(cluster: &NatsCluster, ledger: &Path) -> ([u64; 3], String) {
    let verdict = verify(ledger, "nats", Path::new(&cluster.living_url()), &["--stream", STREAM]);
    let lines = verdict.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let count = |name: &str| {
        let found = lines.clone().find(|words| words.first() == Some(&name) && words.len() > 2);
        found.and_then(|words| words[1].parse().ok()).unwrap_or(u64::MAX)
    };
    (["lost", "altered", "duplicated"].map(count), verdict.text)
}

#[test]
fn what_is_wrong_with_a_stream_is_found_by_name() {
    let Some(cluster) = NatsCluster::start() else { return };
    let server = Server::start_whole(
        "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n",
    );
    let ledger = server.folder().join("ledger");
    send(&server, &ledger, "--messages 40 --connections 3 --recipients 2");
    send(&server, &ledger, "--messages 2 --connections 1 --size 5MiB");
    let lines = lines_of(&server.folder().join("spool"));
    let all: Vec<&str> = lines.split_inclusive('\n').collect();
    assert_eq!(all.len(), 42);

    cluster.stream(&["create", STREAM]);
    publish(&cluster, &all[1..].concat());
    let (counts, text) = judged(&cluster, &ledger);
    assert_eq!(counts, [1, 0, 0], "the first one is missing: {text}");
    publish(&cluster, &lines);
    let (counts, text) = judged(&cluster, &ledger);
    assert_eq!(counts, [0; 3], "the stream knows the ids of the others: {text}");
    assert_eq!(cluster.read(STREAM).len(), 42);

    // The same message under another id; one for fewer recipients; another octet.
    let id = |line: &str| line.split("\"id\":\"").nth(1).expect("an id")[..26].to_owned();
    let other =
        |line: &str, number: u8| line.replace(&id(line), &format!("0000000000000000000000000{number}"));
    publish(&cluster, &other(all[5], 1));
    let (counts, text) = judged(&cluster, &ledger);
    assert_eq!(counts, [0, 0, 1], "{text}");
    cluster.stream(&["remove", STREAM, &id(all[7])]);
    cluster.stream(&["remove", STREAM, &id(all[8])]);
    let altered = all[8].replacen("\"size\":", "\"size\":1", 1);
    publish(&cluster, &other(&altered, 2));
    let (counts, text) = judged(&cluster, &ledger);
    assert_eq!(counts, [1, 1, 1], "{text}");
    cluster.stream(&["remove-object", STREAM, &id(all[41])]);
    let (counts, text) = judged(&cluster, &ledger);
    assert_eq!(counts, [2, 1, 1], "{text}");
    assert!(text.contains("was deleted") || text.contains("there is no object"), "{text}");
}

#[test]
fn nats_py_reads_what_the_spool_had() {
    let Some(cluster) = NatsCluster::start() else { return };
    let server = Server::start_whole(
        "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n",
    );
    let ledger = server.folder().join("ledger");
    send(&server, &ledger, "--messages 3 --connections 1 --size 3MiB");
    send(&server, &ledger, "--messages 3 --connections 1");
    let lines = lines_of(&server.folder().join("spool"));
    cluster.stream(&["create", STREAM]);
    publish(&cluster, &lines);
    let folder = server.folder().join("read");
    std::fs::create_dir(&folder).expect("a folder");
    let read = cluster.stream(&["read", STREAM, folder.to_str().expect("UTF-8")]);
    for (line, sent) in read.lines().zip(lines.lines()) {
        let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let mut sent: serde_json::Value = serde_json::from_str(sent).expect("JSON");
        let content = sent["data_base64"].take();
        let sent = sent.as_object_mut().expect("an object");
        sent.remove("data_base64");
        sent.remove("cursor");
        assert_eq!(read["envelope"], serde_json::Value::Object(sent.clone()));
        let octets = std::fs::read(folder.join(read["sequence"].to_string())).expect("a payload");
        let content = data_encoding::BASE64.decode(content.as_str().expect("base64").as_bytes());
        assert_eq!(octets, content.expect("base64"));
    }
    let objects = cluster.stream(&["objects", STREAM]);
    assert_eq!((read.lines().count(), objects.lines().count()), (6, 3));
}
