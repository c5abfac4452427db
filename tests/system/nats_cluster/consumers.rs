//! The consumer of `docs/cluster.md` in Python, run as it stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::nats_cluster::NatsCluster;
use support::server::Server;

use super::{STREAM, lines_of, publish, send};

const PAGE: &str = include_str!("../../../docs/cluster.md");

/// The server that the page names.
const PLACE: &str = "nats://10.0.0.1:4222";

/// The program of the page, for this cluster, in this folder.
fn consumer(cluster: &NatsCluster, folder: &Path) -> Child {
    let program = PAGE.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    let program = program.expect("a program in Python");
    assert_eq!(program.matches(PLACE).count(), 1);
    let file = folder.join("consumer.py");
    fs::write(&file, program.replace(PLACE, &cluster.living_url())).expect("a file");
    let mut command = Command::new("python3");
    command.arg("consumer.py").current_dir(folder).env("PYTHONPATH", cluster.modules());
    command.spawn().expect("python3 runs")
}

fn mail_in(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("UTF-8"));
    names.filter_map(|name| name.strip_suffix(".eml").map(str::to_owned)).collect()
}

fn waiting(cluster: &NatsCluster) -> u64 {
    let state: serde_json::Value = serde_json::from_str(&cluster.stream(&["state", STREAM])).expect("JSON");
    state["messages"].as_u64().expect("a number")
}

#[test]
fn the_program_of_the_page_takes_every_message_though_it_is_killed() {
    let Some(cluster) = NatsCluster::start() else { return };
    let server = Server::start_whole(
        "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n",
    );
    let ledger = server.folder().join("ledger");
    send(&server, &ledger, "--messages 200 --connections 2");
    send(&server, &ledger, "--messages 2 --connections 1 --size 3MiB");
    let lines = lines_of(&server.folder().join("spool"));
    cluster.stream(&["create", STREAM, "-1", "workqueue"]);
    publish(&cluster, &lines);
    let folder = server.folder().join("consumed");
    fs::create_dir(&folder).expect("a folder");

    let mut killed = consumer(&cluster, &folder);
    let begun = Instant::now();
    while mail_in(&folder).len() < 20 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it takes nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().expect("it is there");
    killed.wait().expect("its end");
    let left = waiting(&cluster);
    println!("{left} messages wait after the kill");
    assert!(left > 0, "it was killed at work");

    // What it had and did not acknowledge comes again after `ack_wait`, 30 s.
    let mut second = consumer(&cluster, &folder);
    let begun = Instant::now();
    while waiting(&cluster) > 0 {
        assert!(begun.elapsed() < Duration::from_mins(2), "{} messages wait", waiting(&cluster));
        std::thread::sleep(Duration::from_millis(200));
    }
    second.kill().expect("it is there");
    second.wait().expect("its end");
    let sent: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(mail_in(&folder).len(), sent.len());
    for message in sent {
        let name = format!("{}.eml", message["id"].as_str().expect("an id"));
        let content = message["data_base64"].as_str().expect("base64");
        let content = data_encoding::BASE64.decode(content.as_bytes()).expect("base64");
        assert!(fs::read(folder.join(&name)).expect("a file") == content, "{name} is not what was sent");
    }
}
