//! `ringmx serve --with-forward`: a receiver and its forwarder of one start, and of one end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::Client;
use support::image;
use support::next_hop::{Manner, NextHop, accept};
use support::server::Server;

use crate::forward::{MESSAGE, PATIENCE};

fn hop() -> NextHop {
    NextHop::start(Manner { is_lmtp: false, keywords: Vec::new(), recipient: accept, end: accept })
}

fn config(hop: &NextHop, more: &str) -> String {
    format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n\
         [[forward]]\nto = [\"smtp://{}\"]\n{more}",
        hop.address()
    )
}

/// A receiver with its forwarder.
fn start(config: &str) -> Server {
    Server::start_under(&["sh", "-c", "exec \"$@\" --with-forward", "sh"], config, &[])
}

fn deliver(server: &Server) {
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@example.test", MESSAGE).starts_with("250"));
}

fn wait_until(server: &Server, what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}:\n{}", server.log().join("\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that this one has started.
fn children(id: u32) -> Vec<u32> {
    let all = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    all.split_ascii_whitespace().map(|id| id.parse().expect("an id")).collect()
}

/// Keeper and forwarder, once there are both.
fn beside(server: &Server) -> [u32; 2] {
    wait_until(server, "there is a forwarder", || {
        children(server.id()).first().is_some_and(|keeper| !children(*keeper).is_empty())
    });
    let keeper = children(server.id())[0];
    [keeper, children(keeper)[0]]
}

fn runs(id: u32) -> bool {
    // One that has ended and that nobody asked for has no memory.
    fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|status| status.contains("VmRSS:"))
}

fn kill(id: u32) {
    let id = Pid::from_raw(i32::try_from(id).expect("an id")).expect("an id");
    kill_process(id, Signal::KILL).expect("it runs");
}

#[test]
fn a_forwarder_that_ends_is_started_again_and_ends_with_its_receiver() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    deliver(&server);
    wait_until(&server, "the first", || hop.taken().len() == 1);
    let [keeper, forwarder] = beside(&server);
    kill(forwarder);
    deliver(&server);
    wait_until(&server, "the second", || hop.taken().len() >= 2);
    let log = server.log().join("\n");
    assert!(log.contains("the forwarder ended: signal: 9 (SIGKILL); it is started again in 1 s"), "{log}");
    assert!(!log.contains("no forwarder runs now"), "{log}");
    let [same, other] = beside(&server);
    assert!(same == keeper && other != forwarder);
    assert!(server.stop().success());
    assert!(!runs(keeper) && !runs(other), "the receiver waited for them");
}

#[test]
fn a_receiver_that_is_killed_takes_its_forwarder_along() {
    let hop = hop();
    let server = start(&config(&hop, ""));
    deliver(&server);
    wait_until(&server, "it arrives", || hop.taken().len() == 1);
    let all = beside(&server);
    kill(server.id());
    wait_until(&server, "both end", || !all.into_iter().any(runs));
}

#[test]
fn a_receiver_says_that_there_is_no_forwarder() {
    let hop = hop();
    let server = Server::start_whole(&config(&hop, ""));
    server.wait_for_log(|line| line.contains("no forwarder runs now: mail for [[forward]] waits"));
    drop(server);
    let with = ["sh", "-c", "exec \"$@\" --with-forward", "sh"];
    let nothing = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n";
    let Err(log) = Server::try_start_under(&with, nothing) else { panic!("there is nothing to run") };
    assert!(log.contains("--with-forward: there is no [[forward]]"), "{log}");
}

#[test]
fn the_forwarder_is_the_user_whose_spool_it_is() {
    if image::unavailable(&["chown"]).is_some() {
        return;
    }
    let hop = hop();
    let become_user = "mkdir spool && chown 65534:65534 . spool && chmod 755 . && exec \"$@\" --with-forward";
    let config = config(&hop, "[run_as]\nuser = \"65534\"\ngroup = \"65534\"\n");
    let mut server = Server::start_under(&["sh", "-c", become_user, "sh"], &config, &[]);
    deliver(&server);
    wait_until(&server, "it arrives", || hop.taken().len() == 1);
    let [_, forwarder] = beside(&server);
    let status = fs::read_to_string(Path::new("/proc").join(forwarder.to_string()).join("status"));
    assert!(status.expect("it runs").contains("Uid:\t65534\t65534\t65534\t65534\n"));
    assert!(server.stop().success());
    assert!(!runs(forwarder));
}
