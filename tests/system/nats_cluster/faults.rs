//! Servers that are killed, stand still and come back while mail comes: what was answered 250 is in the
//! stream, whole and once.

use std::time::Duration;

use support::client::Client;
use support::http;
use support::nats_cluster::{NODES, NatsCluster};
use support::server::Server;

use super::STREAM;
use super::load::{Load, expect_whole, lasts, receiver};

/// No mail is accepted for so long at most when a leader is lost.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Moderate: the servers sync each message, and the tests have little of the machine.
const LOAD: &str = "--rate 100/s --connections 40 --size lognormal:3KiB --to user@example.test --timeout 90s";

const CREATE: &str = "create = true\n";

fn seconds(count: u64) {
    std::thread::sleep(Duration::from_secs(count));
}

fn load_for(seconds: u64) -> String {
    format!("{LOAD} --duration {seconds}s")
}

fn is_ready(server: &Server) -> bool {
    http::get(server.admin_address(), "/readyz").status == 200
}

fn wait_until_ready(server: &Server) {
    let begun = std::time::Instant::now();
    while !is_ready(server) {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "it is not ready again:\n{}",
            server.log().join("\n")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The reply to a small message.
fn reply_of(server: &Server) -> String {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<user@example.test>", "250");
    client.command("DATA", "354");
    client.send(b"Subject: x\r\n\r\n.\r\n");
    client.reply()
}

#[test]
fn a_leader_and_a_follower_that_are_killed_lose_nothing_and_stall_mail_for_seconds() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, CREATE);
    let ledger = server.folder().join("ledger");
    let load = Load::start(&server, &ledger, &load_for(lasts(16, 30)));
    let leader = cluster.leader_of(STREAM);
    cluster.kill(leader);
    println!("killed the leader");
    seconds(lasts(7, 12));
    cluster.start_again(leader);
    cluster.wait_until_well();
    let follower = cluster.follower_of(STREAM);
    cluster.kill(follower);
    println!("killed a follower");
    let outcome = load.finish();
    cluster.start_again(follower);
    expect_whole(&cluster, &ledger, &[]);
    assert!(outcome.stall <= STALL_MAX, "{outcome:?}");
    assert_eq!(outcome.replies("451"), 0, "{outcome:?}");
    assert!(outcome.accepted > 500, "{outcome:?}");
}

#[test]
fn a_leader_that_stands_still_is_replaced() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, CREATE);
    let ledger = server.folder().join("ledger");
    let load = Load::start(&server, &ledger, &load_for(lasts(16, 45)));
    let leader = cluster.leader_of(STREAM);
    cluster.pause(leader);
    seconds(lasts(10, 30));
    cluster.resume(leader);
    let outcome = load.finish();
    expect_whole(&cluster, &ledger, &[]);
    assert!(outcome.stall <= STALL_MAX, "{outcome:?}");
    assert_eq!(outcome.replies("451"), 0, "{outcome:?}");
}

#[test]
fn without_a_quorum_mail_is_put_off_and_what_was_accepted_is_there_when_they_are_back() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, CREATE);
    let ledger = server.folder().join("ledger");
    let load = Load::start(&server, &ledger, &load_for(lasts(32, 50)));
    let gone = [cluster.leader_of(STREAM), cluster.follower_of(STREAM)];
    for node in gone {
        cluster.kill(node);
    }
    seconds(lasts(23, 25));
    assert!(!is_ready(&server));
    for node in gone {
        cluster.start_again(node);
    }
    let outcome = load.finish();
    assert!(outcome.replies("451") > 0, "{outcome:?}");
    expect_whole(&cluster, &ledger, &[]);
    wait_until_ready(&server);
    assert!(reply_of(&server).starts_with("250 "));
}

#[test]
fn all_servers_killed_at_once_keep_what_was_accepted() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, CREATE);
    let ledger = server.folder().join("ledger");
    let load = Load::start(&server, &ledger, &load_for(lasts(20, 30)));
    seconds(lasts(2, 5));
    (0..NODES).for_each(|node| cluster.kill(node));
    (0..NODES).for_each(|node| cluster.start_again(node));
    seconds(lasts(4, 10));
    // And one after the other in order, as an upgrade does.
    for node in 0..NODES {
        cluster.stop(node);
        cluster.start_again(node);
        cluster.wait_until_well();
    }
    let outcome = load.finish();
    expect_whole(&cluster, &ledger, &[]);
    assert!(outcome.accepted > 300, "{outcome:?}");
}

#[test]
fn large_messages_survive_the_loss_of_the_leader_of_their_bucket() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, CREATE);
    let ledger = server.folder().join("ledger");
    let duration = lasts(12, 30);
    let arguments =
        format!("--duration {duration}s --connections 2 --size 4MiB --to user@example.test --timeout 90s");
    let load = Load::start(&server, &ledger, &arguments);
    let leader = cluster.leader_of("OBJ_MAIL-large");
    cluster.kill(leader);
    seconds(lasts(6, 10));
    cluster.start_again(leader);
    let outcome = load.finish();
    assert!(outcome.accepted > 5, "{outcome:?}");
    expect_whole(&cluster, &ledger, &[]);
}

#[test]
fn a_stream_that_is_deleted_puts_mail_off_until_there_is_one() {
    let Some(cluster) = NatsCluster::start() else { return };
    cluster.stream(&["create", STREAM]);
    let server = receiver(&cluster, "");
    assert!(reply_of(&server).starts_with("250 "));
    assert!(is_ready(&server));
    cluster.stream(&["delete", STREAM]);
    let reply = reply_of(&server);
    assert!(reply.starts_with("451 "), "{reply}");
    assert!(!is_ready(&server));
    let line = server.wait_for_log(|line| line.contains("there is no stream MAIL"));
    assert!(line.contains(" error "), "{line}");
    cluster.stream(&["create-stream", STREAM]);
    wait_until_ready(&server);
    let ledger = server.folder().join("ledger");
    Load::start(&server, &ledger, &load_for(5)).finish();
    expect_whole(&cluster, &ledger, &[]);
}
