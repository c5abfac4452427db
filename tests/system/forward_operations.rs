//! What operators do with the queue of a running forwarder.

use std::process::Command;
use std::time::Duration;

use support::client::Client;
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program};

use crate::forward::{Forwarder, MESSAGE, near, queue, wait_until};

fn defer(_: &str) -> String {
    "451 4.3.0 Later".to_owned()
}

fn refuse(_: &str) -> String {
    "550 5.1.1 No".to_owned()
}

fn manner(end: fn(&str) -> String) -> Manner {
    Manner { is_lmtp: false, keywords: vec!["PIPELINING"], recipient: accept, end }
}

fn send(near: &Server, count: usize) {
    let mut client = Client::greeted(near.address());
    for _ in 0..count {
        assert!(client.deliver("a@x.test", "b@example.test", MESSAGE).starts_with("250"));
    }
}

/// What a command says that is not done: its error.
fn refused(near: &Server, command: &[&str]) -> String {
    let mut program = Command::new(program());
    program.arg("queue").args(command).arg("--config").arg(near.folder().join("ringmx.toml"));
    let output = program.output().expect("it runs");
    assert!(!output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The ids of those in this state.
fn ids(near: &Server, state: &str) -> Vec<String> {
    let list = queue(near, &["list"]);
    let lines = list.lines().filter(|line| line.contains(&format!(" {state} ")));
    lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// A next hop, and so many messages that it put off or refused.
fn with(end: fn(&str) -> String, state: &str, count: usize) -> (NextHop, Server, Forwarder) {
    let hop = NextHop::start(manner(end));
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let forwarder = Forwarder::start(&near);
    send(&near, count);
    wait_until(&forwarder, state, || ids(&near, state).len() == count);
    (hop, near, forwarder)
}

#[test]
fn deferred_mail_is_tried_when_an_operator_says_so() {
    let (hop, near, forwarder) = with(defer, "waiting", 6);
    let all = ids(&near, "waiting");
    hop.set(manner(accept));
    let text = queue(&near, &["retry", &all[0]]);
    assert_eq!(text, "1 message is tried now\n");
    wait_until(&forwarder, "one", || hop.taken().len() == 1);
    let name = format!("smtp://{}", hop.address());
    let unknown = refused(&near, &["retry", "--destination", "smtp://nobody:25"]);
    assert!(unknown.contains("is no destination") && unknown.contains(&name), "{unknown}");
    assert!(refused(&near, &["retry", "0000000000000000"]).contains("no such message waits"));
    assert!(refused(&near, &["retry"]).contains("--destination NAME"));
    wait_until(&forwarder, "five wait", || ids(&near, "waiting").len() == 5);
    assert_eq!(queue(&near, &["retry", "--destination", &name]), "5 messages are tried now\n");
    wait_until(&forwarder, "all", || hop.taken().len() == 6 && ids(&near, "waiting").is_empty());
    assert!(forwarder.log().contains(" operation operation=retry"), "{}", forwarder.log());
    forwarder.stop();
    let nobody = refused(&near, &["retry", "--all"]);
    assert!(nobody.contains("no forwarder runs with the spool"), "{nobody}");
}

#[test]
fn what_is_held_is_tried_by_nobody_until_it_is_released() {
    let (hop, near, forwarder) = with(defer, "waiting", 3);
    let all = ids(&near, "waiting");
    assert_eq!(queue(&near, &["hold", &all[0], &all[1]]), "2 messages are held\n");
    assert_eq!(ids(&near, "held").len(), 2);
    assert!(queue(&near, &["list"]).contains("an operator holds it"));
    hop.set(manner(accept));
    assert!(refused(&near, &["retry", &all[0]]).contains("it is held: release it"));
    queue(&near, &["retry", "--all"]);
    wait_until(&forwarder, "the third", || hop.taken().len() == 1 && ids(&near, "waiting").is_empty());
    assert!(refused(&near, &["release", &all[2]]).contains("no such message"));
    // It is held over restarts, too.
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for(" forwarding ");
    wait_until(&forwarder, "the desk", || near.folder().join("spool/forward/control.sock").exists());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((ids(&near, "held").len(), hop.taken().len()), (2, 1));
    assert_eq!(queue(&near, &["release", &all[1]]), "1 message is tried now\n");
    wait_until(&forwarder, "the second", || hop.taken().len() == 2);
    assert_eq!(queue(&near, &["release", "--all"]), "1 message is tried now\n");
    wait_until(&forwarder, "all", || hop.taken().len() == 3 && queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn what_is_removed_is_delivered_to_nobody() {
    let (hop, near, forwarder) = with(defer, "waiting", 3);
    let all = ids(&near, "waiting");
    queue(&near, &["hold", &all[1]]);
    assert_eq!(queue(&near, &["remove", &all[0], &all[1]]), "2 messages are removed\n");
    assert_eq!(ids(&near, "waiting"), [all[2].clone()]);
    hop.set(manner(accept));
    queue(&near, &["retry", "--all"]);
    wait_until(&forwarder, "the third", || hop.taken().len() == 1);
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for(" forwarding ");
    send(&near, 1);
    wait_until(&forwarder, "one after them", || hop.taken().len() == 2);
    assert!(queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn what_was_given_up_is_tried_again_or_removed() {
    let (hop, near, forwarder) = with(refuse, "dead", 3);
    let all = ids(&near, "dead");
    let unknown = refused(&near, &["retry", &all[0]]);
    assert!(unknown.contains("no such message waits"), "{unknown}");
    hop.set(manner(accept));
    assert_eq!(queue(&near, &["retry", "--dead", &all[0]]), "1 message is tried now\n");
    wait_until(&forwarder, "the first", || hop.taken().len() == 1 && ids(&near, "dead").len() == 2);
    assert!(hop.taken()[0].data.ends_with(MESSAGE));
    // A shell that found no ids throws nothing away.
    assert!(refused(&near, &["remove", "--dead"]).contains("name queue ids, or --all"));
    assert_eq!(queue(&near, &["remove", "--dead", &all[1]]), "1 message is removed\n");
    assert_eq!(queue(&near, &["retry", "--dead", "--all"]), "1 message is tried now\n");
    wait_until(&forwarder, "the third", || hop.taken().len() == 2 && queue(&near, &["list"]).is_empty());
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for(" forwarding ");
    send(&near, 1);
    wait_until(&forwarder, "one after them", || hop.taken().len() == 3);
    forwarder.stop();
}

/// A message with a recipient for each of two destinations, which wait.
fn send_to_both(near: &Server, forwarder: &Forwarder) {
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for name in ["b@example.test", "c@other.test"] {
        client.command(&format!("RCPT TO:<{name}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&support::client::stuffed(MESSAGE));
    assert!(client.reply().starts_with("250"));
    wait_until(forwarder, "both wait", || ids(near, "waiting").len() == 2);
}

#[test]
fn a_destination_is_changed_and_no_other_one_of_the_same_message() {
    let hops = [(); 2].map(|()| NextHop::start(manner(defer)));
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{}\"]\n[[forward]]\nto = [\"smtp://{}\"]\n",
        hops[0].address(),
        hops[1].address()
    ));
    let forwarder = Forwarder::start(&near);
    send_to_both(&near, &forwarder);
    let names = [0, 1].map(|index: usize| format!("smtp://{}", hops[index].address()));
    assert_eq!(queue(&near, &["hold", "--destination", &names[0]]), "1 message is held\n");
    assert_eq!((ids(&near, "waiting").len(), ids(&near, "held").len()), (1, 1));
    assert_eq!(queue(&near, &["remove", "--destination", &names[0]]), "1 message is removed\n");
    wait_until(&forwarder, "its line", || forwarder.log().contains(" removed place=\"later/"));
    for hop in &hops {
        hop.set(manner(accept));
    }
    queue(&near, &["retry", "--all"]);
    wait_until(&forwarder, "the other one", || hops[1].taken().len() == 1);
    assert_eq!(hops[1].taken()[0].recipients, ["c@other.test"]);
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    forwarder.stop();
    assert!(hops[0].taken().is_empty());
}

#[test]
fn who_waits_under_a_name_that_is_none_any_more_goes_with_others_and_is_changed_alone() {
    let hops = [(); 2].map(|()| NextHop::start(manner(defer)));
    let [name, old] = [0, 1].map(|index: usize| format!("smtp://{}", hops[index].address()));
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"{name}\"]\n[[forward]]\nto = [\"{old}\"]\n"
    ));
    let forwarder = Forwarder::start(&near);
    send_to_both(&near, &forwarder);
    forwarder.stop();
    let file = near.folder().join("ringmx.toml");
    let config = std::fs::read_to_string(&file).expect("a configuration");
    let (before, _) = config.split_once("[[forward]]").expect("its routes");
    std::fs::write(&file, format!("{before}[[forward]]\nto = [\"{name}\"]\n")).expect("a configuration");
    let forwarder = Forwarder::start(&near);
    wait_until(&forwarder, "the desk", || near.folder().join("spool/forward/control.sock").exists());
    // They go together now: both are held, for one alone cannot be.
    assert_eq!(queue(&near, &["hold", "--destination", &old]), "1 message is held\n");
    assert_eq!(ids(&near, "held").len(), 2);
    assert_eq!(queue(&near, &["remove", "--destination", &old]), "1 message is removed\n");
    assert_eq!(ids(&near, "held").len(), 1);
    hops[0].set(manner(accept));
    assert_eq!(queue(&near, &["release", "--all"]), "1 message is tried now\n");
    wait_until(&forwarder, "the other one", || hops[0].taken().len() == 1);
    assert_eq!(hops[0].taken()[0].recipients, ["b@example.test"]);
    wait_until(&forwarder, "nothing waits", || queue(&near, &["list"]).is_empty());
    forwarder.stop();
}

#[test]
fn no_mail_goes_to_what_is_suspended_until_it_is_resumed() {
    let hop = NextHop::start(manner(accept));
    let other = NextHop::start(manner(accept));
    let near = near(&format!(
        "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{}\"]\n[[forward]]\nto = [\"smtp://{}\"]\n",
        hop.address(),
        other.address()
    ));
    let forwarder = Forwarder::start(&near);
    let name = format!("smtp://{}", hop.address());
    wait_until(&forwarder, "the desk", || near.folder().join("spool/forward/control.sock").exists());
    assert!(refused(&near, &["suspend", "smtp://nobody:25"]).contains("is no destination"));
    assert!(queue(&near, &["suspend", &name]).contains("no mail goes to 1 next hop"));
    send(&near, 1);
    let mut client = Client::greeted(near.address());
    assert!(client.deliver("a@x.test", "b@other.test", MESSAGE).starts_with("250"));
    wait_until(&forwarder, "the other one", || other.taken().len() == 1);
    assert!(queue(&near, &["summary"]).contains(&format!("suspended by an operator: {name}")));
    // So it stays over a restart.
    forwarder.stop();
    let forwarder = Forwarder::start(&near);
    assert!(client.deliver("a@x.test", "b@other.test", MESSAGE).starts_with("250"));
    wait_until(&forwarder, "the other one", || other.taken().len() == 2);
    assert!(hop.taken().is_empty());
    assert!(queue(&near, &["resume", &name]).contains("mail goes to 1 next hop again"));
    wait_until(&forwarder, "its mail", || hop.taken().len() == 1);
    assert!(!queue(&near, &["summary"]).contains("suspended"));
    forwarder.stop();
}

/// Who sees an empty list may think that nothing waits.
#[test]
fn what_waits_in_the_spool_itself_is_told_of() {
    let address = crate::forward::free_address();
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    let forwarder = Forwarder::start(&near);
    let told = |command: &[&str]| {
        let mut program = Command::new(program());
        program.arg("queue").args(command).arg("--config").arg(near.folder().join("ringmx.toml"));
        let output = program.output().expect("it runs");
        assert!(output.status.success());
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(told(&["list"]), (String::new(), String::new()), "nothing waits");
    send(&near, 3);
    wait_until(&forwarder, "it is down", || forwarder.log().contains(" next-hop-down "));
    let (list, note) = told(&["list"]);
    assert!(list.is_empty() && note.starts_with("ringmx: 3 messages in the spool itself, "), "{list}{note}");
    assert_eq!(told(&["summary"]).1, note);
    assert_eq!(told(&["list", "--json"]), (String::new(), String::new()));
    let _hop = NextHop::on(std::net::TcpListener::bind(address).expect("the port"), manner(accept));
    wait_until(&forwarder, "they are gone", || told(&["list"]).1.is_empty());
    forwarder.stop();
}
