//! Mail that is handed to its next hop before its client is answered (`[[sink]] kind = "forward"`): what the
//! next hop refuses is refused at the door, and whatever else it does nothing is lost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{Client, stuffed};
use support::load::{Random, loadgen, number_from, verify, wait_for_load};
use support::next_hop::{Manner, NextHop, accept, listen_on};
use support::server::Server;

use crate::forward::{
    Forwarder, MESSAGE, PATIENCE, below_received, by_name, far, free_address, queue, send, wait_until,
    wait_until_empty, wait_until_spool_is_empty,
};

/// Kills unless told otherwise.
const ROUNDS_DEFAULT: u64 = 4;

/// A receiver that hands mail on at once by these routes.
fn near(routes: &str) -> Server {
    near_with("", routes)
}

/// The same with more keys of its sink.
fn near_with(keys: &str, routes: &str) -> Server {
    Server::start_whole(&near_config("spool", keys, routes))
}

/// Its configuration, with a spool there.
fn near_config(spool: &str, keys: &str, routes: &str) -> String {
    format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"other.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"forward\"\nfallback = \"spool\"\n\
         path = \"{spool}\"\nsegment_size = \"1MiB\"\n{keys}[log]\nsessions = false\n{routes}"
    )
}

fn to(hop: &NextHop) -> String {
    format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address())
}

fn manner() -> Manner {
    Manner { is_lmtp: false, keywords: vec!["PIPELINING", "8BITMIME"], recipient: accept, end: accept }
}

/// Messages that are in the spool.
fn in_spool(server: &Server) -> usize {
    let list = Command::new(support::server::program())
        .args(["spool", "list"])
        .arg(server.folder().join("spool"))
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&list.stdout).lines().filter(|line| line.contains(" stored ")).count()
}

/// The reply to a message for these recipients, which are taken.
fn reply_to(near: &Server, recipients: &[&str]) -> String {
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.command("DATA", "354");
    client.send(&stuffed(MESSAGE));
    client.reply()
}

#[test]
fn what_the_next_hop_takes_is_never_stored() {
    let hop = NextHop::start(manner());
    let near = near(&to(&hop));
    let reply = reply_to(&near, &["u@example.test", "v@other.test"]);
    let id = reply.trim_end().strip_prefix("250 2.0.0 Ok: queued as ").expect(&reply).to_owned();
    let taken = hop.taken();
    assert_eq!(taken.len(), 1, "before the client had its answer");
    assert_eq!(taken[0].recipients, ["u@example.test", "v@other.test"]);
    assert_eq!(taken[0].mail, "MAIL FROM:<a@x.test>");
    assert_eq!(below_received(&taken[0].data), MESSAGE);
    assert!(
        String::from_utf8_lossy(&taken[0].data).contains(&id),
        "it has the name that the client was told"
    );
    assert_eq!(in_spool(&near), 0);
    let line = near.wait_for_log(|line| line.contains(" message "));
    assert!(line.contains("outcome=stored") && line.contains(&format!("smtp://{}", hop.address())), "{line}");
    // The session goes on with the next one, and so does that with the next hop.
    send(&near, &["u@example.test"], MESSAGE);
    let sessions = hop.commands().iter().filter(|command| command.starts_with("EHLO")).count();
    assert_eq!((hop.taken().len(), sessions), (2, 1));
}

#[test]
fn what_the_next_hop_refuses_for_good_is_refused_at_the_door() {
    let refused = |_: &str| "550 5.7.9 Not wanted\u{1b}[2J here".to_owned();
    let hop = NextHop::start(Manner { recipient: by_name, ..manner() });
    let near = near(&to(&hop));
    let told = "550 5.1.1 No such user";
    assert_eq!(reply_to(&near, &["gone@example.test"]).trim_end(), told);
    assert_eq!(reply_to(&near, &["gone@example.test", "gone@other.test"]).trim_end(), told);
    hop.set(Manner { end: refused, ..manner() });
    assert_eq!(reply_to(&near, &["u@example.test"]).trim_end(), "550 5.7.9 Not wanted?[2J here");
    assert_eq!((in_spool(&near), hop.taken().len()), (0, 0));
    let line = near.wait_for_log(|line| line.contains("Not wanted"));
    for part in [" refused ", "reason=next-hop", "to=\"u@example.test\"", "step=MAIL-DATA"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // 5yz without an enhanced code.
    hop.set(Manner { end: |_| "554 no".to_owned(), ..manner() });
    assert_eq!(reply_to(&near, &["u@example.test"]).trim_end(), "554 5.0.0 no");
}

#[test]
fn what_it_does_not_take_yet_is_stored_and_goes_on_later() {
    let hop = NextHop::start(manner());
    let near = near(&to(&hop));
    let put_off = |_: &str| "451 4.3.0 Not now".to_owned();
    let closes = |_: &str| String::new();
    let closing = |_: &str| "421 4.3.2 Closing".to_owned();
    let manners = [
        Manner { recipient: put_off, ..manner() },
        Manner { end: put_off, ..manner() },
        // It may have the message, or not.
        Manner { end: closes, ..manner() },
        Manner { end: closing, ..manner() },
        Manner { recipient: closing, ..manner() },
        // One is refused, the other is not.
        Manner { recipient: by_name, ..manner() },
    ];
    for (number, manner) in manners.into_iter().enumerate() {
        hop.set(manner);
        let reply = reply_to(&near, &["gone@example.test", "full@example.test"]);
        assert!(reply.starts_with("250 2.0.0 "), "{number}: {reply}");
        assert_eq!((in_spool(&near), hop.taken().len()), (number + 1, 0), "{number}");
        // A host that ended the session is tried again after a second.
        std::thread::sleep(Duration::from_millis(1500));
    }
    hop.set(manner());
    let forwarder = Forwarder::start(&near);
    wait_until_empty(&near, &forwarder);
    assert_eq!(hop.taken().len(), 6);
    assert!(hop.taken().iter().all(|taken| taken.recipients.len() == 2));
    forwarder.stop();
}

#[test]
fn who_has_a_message_does_not_get_it_twice() {
    let hop = NextHop::start(Manner { is_lmtp: true, end: by_name, ..manner() });
    let near = near(&format!("[[forward]]\nto = [\"lmtp://{}\"]\n", hop.address()));
    let reply = reply_to(&near, &["u@example.test", "full@example.test", "v@example.test"]);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(hop.taken().len(), 1);
    assert_eq!(hop.taken()[0].recipients, ["u@example.test", "v@example.test"]);
    assert_eq!(in_spool(&near), 1);
    hop.set(Manner { is_lmtp: true, ..manner() });
    let forwarder = Forwarder::start(&near);
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    let taken = hop.taken();
    assert_eq!((taken.len(), &*taken[1].recipients), (2, &["full@example.test".to_owned()][..]));
    // All are refused, each in its own words: the first is told.
    hop.set(Manner { is_lmtp: true, end: by_name, ..manner() });
    assert_eq!(reply_to(&near, &["gone@example.test"]).trim_end(), "550 5.1.1 No such user");
    // Some have it, and the others never will: who sent it is owed a notice.
    let reply = reply_to(&near, &["gone@example.test", "u@example.test"]);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!((hop.taken().len(), in_spool(&near)), (3, 1));
}

#[test]
fn recipients_of_several_routes_and_notices_of_success_are_for_the_queue() {
    let (one, other) = (NextHop::start(manner()), NextHop::start(manner()));
    let route = |domain: &str, hop: &NextHop| {
        format!("[[forward]]\ndomains = [\"{domain}\"]\nto = [\"smtp://{}\"]\n", hop.address())
    };
    let notices = format!("[forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://{}\"\n", one.address());
    let routes = route("example.test", &one) + &route("other.test", &other) + &notices;
    let near = near_with("dsn = true\n", &routes);
    for recipients in [&["u@example.test"][..], &["v@other.test", "w@other.test"]] {
        assert!(reply_to(&near, recipients).starts_with("250"));
    }
    assert_eq!((one.taken().len(), other.taken().len(), in_spool(&near)), (1, 1, 0));
    assert!(reply_to(&near, &["u@example.test", "v@other.test"]).starts_with("250"));
    assert_eq!((one.taken().len(), other.taken().len(), in_spool(&near)), (1, 1, 1));
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<u@example.test> NOTIFY=SUCCESS", "250");
    client.command("DATA", "354");
    client.send(&stuffed(MESSAGE));
    client.expect("250");
    assert_eq!((one.taken().len(), in_spool(&near)), (1, 2), "its sender is owed a notice");
}

#[test]
fn a_next_hop_that_is_down_keeps_nobody_waiting_and_is_found_again() {
    let address = free_address();
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    for _ in 0..3 {
        let began = Instant::now();
        send(&near, &["u@example.test"], MESSAGE);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    assert_eq!(in_spool(&near), 3);
    // One that listens and says nothing: a probe waits for it, and no client does.
    let listener = std::net::TcpListener::bind(address).expect("the port is free");
    let silent = listener.try_clone().expect("a descriptor");
    let hop = listen_on(listener, |stream| {
        std::thread::sleep(Duration::from_secs(1));
        drop(stream);
        Ok(())
    });
    assert_eq!(hop, address);
    std::thread::sleep(Duration::from_millis(2500));
    let began = Instant::now();
    send(&near, &["u@example.test"], MESSAGE);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}: it is known to be down", began.elapsed());
    let _ = silent;
}

#[test]
fn a_next_hop_that_comes_back_has_mail_at_once_again() {
    let address = free_address();
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    send(&near, &["u@example.test"], MESSAGE);
    assert_eq!(in_spool(&near), 1);
    let hop = NextHop::on(std::net::TcpListener::bind(address).expect("the port is free"), manner());
    let began = Instant::now();
    wait_until_it_goes_at_once(&near, &hop);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let stored = in_spool(&near);
    send(&near, &["u@example.test"], MESSAGE);
    assert_eq!((in_spool(&near), hop.taken().len()), (stored, 2));
}

#[test]
fn what_is_down_may_be_a_socket_that_is_a_file_and_comes_back_inside_the_sandbox() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("lmtp");
    let near = near(&format!("[[forward]]\nto = [\"lmtp://unix:{}\"]\n", socket.display()));
    send(&near, &["u@example.test"], MESSAGE);
    assert_eq!(in_spool(&near), 1, "nobody is there");
    let hop = NextHop::at(&socket, Manner { is_lmtp: true, ..manner() });
    wait_until_it_goes_at_once(&near, &hop);
    let (stored, taken) = (in_spool(&near), hop.taken().len());
    send(&near, &["u@example.test"], MESSAGE);
    assert_eq!((in_spool(&near), hop.taken().len()), (stored, taken + 1));
}

#[test]
fn a_next_hop_whose_sessions_are_all_taken_holds_nobody_up() {
    fn slow(_: &str) -> String {
        std::thread::sleep(Duration::from_secs(2));
        accept("")
    }
    let hop = NextHop::start(Manner { end: slow, ..manner() });
    let near = near(&(to(&hop) + "connections_max = 1\n"));
    std::thread::scope(|threads| {
        let first = threads.spawn(|| reply_to(&near, &["u@example.test"]));
        wait_for(|| hop.commands().iter().any(|command| command.starts_with("DATA")));
        let began = Instant::now();
        send(&near, &["v@example.test"], MESSAGE);
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert_eq!((in_spool(&near), hop.taken().len()), (1, 0));
        assert!(first.join().expect("a reply").starts_with("250"));
    });
    assert_eq!((in_spool(&near), hop.taken().len()), (1, 1));
}

fn wait_for(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends until the next hop, which was down, has a message.
fn wait_until_it_goes_at_once(near: &Server, hop: &NextHop) {
    let began = Instant::now();
    while hop.taken().is_empty() {
        assert!(began.elapsed() < PATIENCE, "{}", near.log().join("\n"));
        send(near, &["u@example.test"], MESSAGE);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nothing_is_lost_when_the_receiver_is_killed() {
    let mut random = Random::from_variable("FORWARD_SEED");
    let rounds = number_from("FORWARD_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let address = free_address();
    let _far_end = far(&store, address);
    let spool = folder.path().join("spool");
    let routes = format!("[[forward]]\nto = [\"smtp://{address}\"]\nconnections_max = 3\n");
    let config = near_config(spool.to_str().expect("UTF-8"), "", &routes);
    let mut direct = 0;
    for _ in 0..rounds {
        let mut near = Server::start_whole(&config);
        let bytes_before = std::fs::metadata(&ledger).map_or(0, |facts| facts.len());
        let mut load = Command::new(loadgen())
            .arg(near.address().to_string())
            .args(["--rate", "400", "--duration", "20s", "-c", "8", "--size", "4KiB"])
            .args(["--to", "user@example.test", "--ledger"])
            .arg(&ledger)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("loadgen runs");
        wait_for_load(&ledger, bytes_before);
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        near.signal(Signal::KILL);
        near.wait();
        load.wait().expect("loadgen ends");
        direct += near.log().iter().filter(|line| line.contains("place=\"smtp://")).count();
    }
    let near = Server::start_whole(&config);
    let forwarder = Forwarder::start(&near);
    wait_until_spool_is_empty(&near, &spool, &forwarder);
    forwarder.stop();
    let verdict = verify(&ledger, "maildir", &store, &[]);
    if !verdict.holds || verdict.accepted == 0 || direct == 0 {
        let kept = folder.keep();
        panic!("{}\n{direct} at once, kept in {}", verdict.text, kept.display());
    }
    println!("{}, {direct} of them at once", verdict.text);
}

#[test]
fn nothing_is_lost_when_the_next_hop_or_the_forwarder_is_killed() {
    let mut random = Random::from_variable("FORWARD_SEED");
    let rounds = number_from("FORWARD_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let address = free_address();
    let mut far_end = far(&store, address);
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\n"));
    let mut forwarder = Forwarder::start(&near);
    let mut load = Command::new(loadgen())
        .arg(near.address().to_string())
        .args(["--rate", "200", "--duration", &format!("{}s", rounds * 3), "-c", "5", "--size", "4KiB"])
        .args(["--to", "user@example.test", "--ledger"])
        .arg(&ledger)
        .stdout(Stdio::null())
        .spawn()
        .expect("loadgen runs");
    wait_for_load(&ledger, 0);
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(1000 + random.below(1500)));
        if random.below(3) == 0 {
            forwarder.kill();
            forwarder = Forwarder::start(&near);
        } else {
            far_end.signal(Signal::KILL);
            far_end.wait();
            std::thread::sleep(Duration::from_millis(random.below(300)));
            far_end = far(&store, address);
        }
    }
    load.wait().expect("loadgen ends");
    wait_until_empty(&near, &forwarder);
    let direct = near.log().iter().filter(|line| line.contains("place=\"smtp://")).count();
    wait_until(&forwarder, "some went at once", || direct > 0);
    forwarder.stop();
    let _ = queue(&near, &["list"]);
    let verdict = verify(&ledger, "maildir", &store, &[]);
    if !verdict.holds || verdict.accepted == 0 {
        let kept = folder.keep();
        panic!("{}\nkept in {}", verdict.text, kept.display());
    }
    println!("{}, {direct} of them at once", verdict.text);
}
