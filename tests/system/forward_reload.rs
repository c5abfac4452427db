//! A running forwarder takes a changed configuration: by `ringmx reload`, by SIGHUP, and by that of the
//! receiver that has started it. What is wrong changes nothing; no mail is lost or delivered twice.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use support::client::Client;
use support::load::{loadgen, verify, wait_for_accepted};
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program};

use crate::forward::{Forwarder, MESSAGE, far, free_address, near, queue, wait_until, wait_until_empty};

/// Reloads while mail comes.
const RELOADS: usize = 8;

fn hop() -> NextHop {
    NextHop::start(manner(accept))
}

fn manner(end: fn(&str) -> String) -> Manner {
    Manner { is_lmtp: false, keywords: Vec::new(), recipient: accept, end }
}

fn route(to: &str) -> String {
    format!("[[forward]]\nto = [\"{to}\"]\n")
}

fn smtp(hop: &NextHop) -> String {
    route(&format!("smtp://{}", hop.address()))
}

/// In the configuration of a server, this in place of that.
fn change(server: &Server, from: &str, to: &str) {
    let file = server.folder().join("ringmx.toml");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).expect("written");
}

/// `ringmx reload` with these.
fn reload(server: &Server, more: &[&str]) -> Output {
    let file = server.folder().join("ringmx.toml");
    Command::new(program()).arg("reload").args(more).arg(file).output().expect("it runs")
}

/// The same; what it prints. It succeeds.
fn reloaded(server: &Server, more: &[&str]) -> String {
    let output = reload(server, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn deliver(server: &Server) {
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@example.test", MESSAGE).starts_with("250"));
}

/// How often it began to forward.
fn beginnings(forwarder: &Forwarder) -> usize {
    forwarder.log().matches(" forwarding ").count()
}

/// A forwarder that runs, between a receiver and a next hop.
fn started() -> (NextHop, Server, Forwarder) {
    let hop = hop();
    let server = near(&smtp(&hop));
    let forwarder = Forwarder::start(&server);
    wait_until(&forwarder, "it begins", || beginnings(&forwarder) == 1);
    (hop, server, forwarder)
}

#[test]
fn mail_goes_where_the_changed_file_says_also_what_waited() {
    let (second, down) = (hop(), format!("smtp://{}", free_address()));
    let server = near(&route(&down));
    let forwarder = Forwarder::start(&server);
    deliver(&server);
    wait_until(&forwarder, "nobody takes it", || forwarder.log().contains(" next-hop-down "));
    let id = forwarder.id();
    change(&server, &route(&down), &smtp(&second));
    let said = reloaded(&server, &["--forwarder"]);
    assert!(
        said.ends_with("reloaded: the forwarder begins anew with it, once what is under way is settled\n"),
        "{said}"
    );
    deliver(&server);
    wait_until(&forwarder, "both arrive", || second.taken().len() == 2);
    wait_until_empty(&server, &forwarder);
    assert_eq!(forwarder.id(), id);
    let log = forwarder.log();
    assert!(log.contains(" reloaded by=command took_ms="), "{log}");
    assert!(!log.contains(" stopped "), "{log}");
    forwarder.stop();
    assert_eq!(second.taken().len(), 2, "each once");
}

#[test]
fn what_is_wrong_changes_nothing() {
    let (hop, server, forwarder) = started();
    let refused = |from: &str, to: &str, why: &str| {
        change(&server, from, to);
        let output = reload(&server, &["--forwarder"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(
            said.ends_with("not reloaded: nothing was changed; the forwarder goes on as before\n"),
            "{said}"
        );
        change(&server, to, from);
    };
    refused("[[forward]]", "[[forwards]]", "forwards");
    refused("to = [", "to = [\"smtp:x\", ", "forward.to");
    refused(&smtp(&hop), "# no route\n", "there is no [[forward]] any more");
    deliver(&server);
    wait_until(&forwarder, "it goes on", || hop.taken().len() == 1);
    assert_eq!(beginnings(&forwarder), 1);
    assert_eq!(forwarder.log().matches(" not-reloaded ").count(), 3, "{}", forwarder.log());
    forwarder.stop();
}

#[test]
fn what_only_a_start_finds_wrong_changes_nothing_either() {
    let (hop, server, forwarder) = started();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = format!("[forward_admin]\naddress = \"{}\"\n", other.local_addr().expect("its address"));
    change(&server, &smtp(&hop), &format!("{}{admin}", smtp(&hop)));
    reloaded(&server, &["--forwarder"]);
    let line = forwarder.wait_for(" not-reloaded ");
    assert!(line.contains("goes on as before"), "{line}");
    assert!(forwarder.log().contains("forward_admin"), "{}", forwarder.log());
    deliver(&server);
    wait_until(&forwarder, "it goes on", || hop.taken().len() == 1);
    drop(other);
    // The address is free by now.
    reloaded(&server, &["--forwarder"]);
    wait_until(&forwarder, "it begins with it", || forwarder.log().contains(" admin "));
    deliver(&server);
    wait_until(&forwarder, "mail goes on", || hop.taken().len() == 2);
    forwarder.stop();
}

#[test]
fn a_message_under_way_is_waited_for() {
    fn slow(_: &str) -> String {
        std::thread::sleep(Duration::from_secs(2));
        accept("")
    }
    let hop = NextHop::start(manner(slow));
    let server = near(&smtp(&hop));
    let forwarder = Forwarder::start(&server);
    deliver(&server);
    wait_until(&forwarder, "the mail data", || hop.commands().iter().any(|line| line.starts_with("DATA")));
    forwarder.signal(Signal::HUP);
    wait_until(&forwarder, "it begins anew", || beginnings(&forwarder) == 2);
    assert_eq!(hop.taken().len(), 1);
    wait_until_empty(&server, &forwarder);
    assert!(forwarder.log().contains(" reloaded by=signal "), "{}", forwarder.log());
    forwarder.stop();
    assert_eq!(hop.taken().len(), 1, "once");
}

#[test]
fn mail_that_comes_meanwhile_is_delivered_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let far = far(&store, free_address());
    let server = near(&route(&format!("smtp://{}", far.address())));
    let forwarder = Forwarder::start(&server);
    let mut load = Command::new(loadgen())
        .arg(server.address().to_string())
        .args([
            "-m",
            "4000",
            "--rate",
            "500",
            "-c",
            "5",
            "--size",
            "2KiB",
            "--to",
            "user@example.test",
            "--ledger",
        ])
        .arg(&ledger)
        .stdout(Stdio::null())
        .spawn()
        .expect("loadgen runs");
    for count in 1..=RELOADS {
        wait_for_accepted(&ledger, 100);
        reloaded(&server, &["--forwarder"]);
        wait_until(&forwarder, "it begins anew", || beginnings(&forwarder) == count + 1);
    }
    assert!(load.wait().expect("it ends").success());
    wait_until_empty(&server, &forwarder);
    forwarder.stop();
    let verdict = verify(&ledger, "maildir", &store, &["--no-duplicates"]);
    assert!(verdict.holds && verdict.accepted == 4000, "{}", verdict.text);
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let (hop, server, forwarder) = started();
    change(&server, "path = \"spool\"", "path = \"another\"");
    // The socket is below the spool.
    let output = reload(&server, &["--forwarder"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another/forward/control.sock"), "{said}");
    forwarder.signal(Signal::HUP);
    let line = forwarder.wait_for(" needs-restart ");
    assert!(line.contains("sink.path"), "{line}");
    wait_until(&forwarder, "it begins anew", || beginnings(&forwarder) == 2);
    deliver(&server);
    wait_until(&forwarder, "from where it was", || hop.taken().len() == 1);
    forwarder.stop();
}

#[test]
fn one_command_reloads_receiver_and_forwarder() {
    let (first, second) = (hop(), hop());
    let server = near(&format!("[control]\nsocket = \"control.sock\"\n{}", smtp(&first)));
    // Nobody forwards yet.
    let output = reload(&server, &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "no forwarder runs: it reads its configuration when it starts\n"
    );
    let forwarder = Forwarder::start(&server);
    deliver(&server);
    wait_until(&forwarder, "the first", || first.taken().len() == 1);
    change(&server, &smtp(&first), &smtp(&second));
    let said = reloaded(&server, &[]);
    assert!(said.contains("reloaded: new sessions begin in generation 3"), "{said}");
    assert!(said.contains("reloaded: the forwarder begins anew"), "{said}");
    assert_eq!(
        said.matches("forward_queue.dsn: no sender is told").count(),
        1,
        "both have warned of it: {said}"
    );
    deliver(&server);
    wait_until(&forwarder, "the second", || second.taken().len() == 1);
    forwarder.stop();
}

#[test]
fn operators_are_answered_after_it_and_what_they_ordered_holds() {
    let (hop, server, forwarder) = started();
    let destination = format!("smtp://{}", hop.address());
    queue(&server, &["suspend", &destination]);
    deliver(&server);
    reloaded(&server, &["--forwarder"]);
    wait_until(&forwarder, "it begins anew", || beginnings(&forwarder) == 2);
    std::thread::sleep(Duration::from_secs(1));
    assert!(hop.taken().is_empty(), "it is suspended still");
    queue(&server, &["resume", &destination]);
    wait_until(&forwarder, "it goes on", || hop.taken().len() == 1);
    forwarder.stop();
}

#[test]
fn it_stops_in_order_while_it_begins_anew() {
    let (_hop, server, forwarder) = started();
    deliver(&server);
    forwarder.signal(Signal::HUP);
    forwarder.signal(Signal::HUP);
    forwarder.signal(Signal::TERM);
    let log = forwarder.wait(0);
    assert!(log.contains(" stopped "), "{log}");
}
