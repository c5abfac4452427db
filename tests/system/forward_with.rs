//! `ringmx serve --with-forward`: a receiver and its forwarder of one start, and of one end.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::Client;
use support::held_thread::HeldThread;
use support::image;
use support::next_hop::{Manner, NextHop, accept};
use support::server::{Server, program};

use crate::forward::{Forwarder, MESSAGE, PATIENCE};
use crate::service_manager::start_with_word;

/// The whole stop ends within this time.
const END_MAX: Duration = Duration::from_secs(29);

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
    start_with("exec \"$@\" --with-forward", config)
}

/// The same by this script, whose arguments are the program and its own ones.
fn start_with(script: &str, config: &str) -> Server {
    Server::start_under(&["sh", "-c", script, "sh"], config, &[])
}

/// What is said where it does not start by this script.
fn refused(script: &str, config: &str) -> String {
    match Server::try_start_under(&["sh", "-c", script, "sh"], config) {
        Err(log) => log,
        Ok(_) => panic!("it starts"),
    }
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

/// Minder and forwarder, once there are both.
fn beside(server: &Server) -> [u32; 2] {
    wait_until(server, "there is a forwarder", || {
        children(server.id()).first().is_some_and(|minder| !children(*minder).is_empty())
    });
    let minder = children(server.id())[0];
    [minder, children(minder)[0]]
}

fn runs(id: u32) -> bool {
    // One that has ended and that nobody asked for has no memory.
    fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|status| status.contains("VmRSS:"))
}

fn kill(id: u32) {
    send(id, Signal::KILL);
}

fn send(id: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(id).expect("an id")).expect("an id");
    kill_process(id, signal).expect("it runs");
}

/// What this one has open.
fn open_files(id: u32) -> Vec<PathBuf> {
    let all = fs::read_dir(format!("/proc/{id}/fd")).expect("it runs").flatten();
    all.filter_map(|one| fs::read_link(one.path()).ok()).collect()
}

/// What the kernel says of it.
fn status(id: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.expect("a line").to_owned()
}

#[test]
fn a_forwarder_that_ends_is_started_again_and_ends_with_its_receiver() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    deliver(&server);
    wait_until(&server, "the first", || hop.taken().len() == 1);
    let [minder, forwarder] = beside(&server);
    kill(forwarder);
    deliver(&server);
    wait_until(&server, "the second", || hop.taken().len() >= 2);
    let log = server.log().join("\n");
    assert!(log.contains("the forwarder ended: signal: 9 (SIGKILL); it is started again in 1 s"), "{log}");
    let [same, other] = beside(&server);
    assert!(same == minder && other != forwarder);
    assert!(server.stop().success());
    assert!(!runs(minder) && !runs(other), "the receiver waited for them");
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
fn a_forwarder_that_was_asked_to_end_is_started_again_without_an_error() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    let [minder, forwarder] = beside(&server);
    send(minder, Signal::TERM);
    wait_until(&server, "it runs", || server.folder().join("spool/forward/control.sock").exists());
    send(forwarder, Signal::TERM);
    server.wait_for_log(|line| {
        line.contains(" note ")
            && line.contains("the forwarder ended as it was asked to; it is started again in 1 s")
    });
    let [same, other] = beside(&server);
    assert!(same == minder && other != forwarder, "a minder takes no signal");
    assert!(server.stop().success());
    let log = server.log().join("\n");
    assert!(!log.contains(" error "), "{log}");
}

#[test]
fn a_receiver_tells_that_its_minder_is_gone_and_goes_on() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    let [minder, forwarder] = beside(&server);
    kill(minder);
    let line = server.wait_for_log(|line| line.contains(" error "));
    assert!(line.contains(&format!("process {minder}, which started the forwarder, has ended")), "{line}");
    wait_until(&server, "the forwarder ends, too", || !runs(forwarder));
    deliver(&server);
    assert!(server.stop().success());
}

#[test]
fn a_forwarder_is_started_again_where_an_upgrade_has_replaced_the_program() {
    let hop = hop();
    let copied = "cp \"$1\" program && shift && exec ./program \"$@\" --with-forward";
    let mut server = start_with(copied, &config(&hop, ""));
    deliver(&server);
    wait_until(&server, "the first", || hop.taken().len() == 1);
    let [_, forwarder] = beside(&server);
    let (program, other) = (server.folder().join("program"), server.folder().join("other"));
    fs::write(&other, "no program").expect("a file");
    fs::rename(&other, &program).expect("replaced");
    fs::remove_file(&program).expect("and gone");
    kill(forwarder);
    deliver(&server);
    wait_until(&server, "the second", || hop.taken().len() >= 2);
    assert!(server.stop().success());
    let log = server.log().join("\n");
    assert!(!log.contains("cannot be started"), "{log}");
}

#[test]
fn a_forwarder_that_hangs_is_killed_within_the_stop() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    let both = beside(&server);
    send(both[1], Signal::STOP);
    let begun = Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < END_MAX, "{:?}", begun.elapsed());
    wait_until(&server, "neither is left", || !both.into_iter().any(runs));
    let log = server.log().join("\n");
    assert!(log.contains("the forwarder did not end within 25 s, so it was killed"), "{log}");
}

#[test]
fn a_forwarder_whose_engine_hangs_ends_by_itself_before_that() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    deliver(&server);
    wait_until(&server, "it arrives", || hop.taken().len() == 1);
    let [_, forwarder] = beside(&server);
    // The engine is the main thread.
    let held = match HeldThread::hold(forwarder, "ringmx") {
        Ok(held) => held,
        Err(error) => return println!("skipped: threads cannot be held here: {error}"),
    };
    server.signal(Signal::TERM);
    let expected =
        "the stop took too long and is not waited for; messages that were under way are delivered again";
    server.wait_for_log(|line| line.contains(expected));
    // The kernel keeps it for whoever holds a thread of it.
    drop(held);
    assert!(server.wait().success());
    let log = server.log().join("\n");
    assert!(!log.contains("was killed"), "{log}");
}

#[test]
fn a_minder_that_hangs_is_not_waited_for_longer() {
    let hop = hop();
    let mut server = start(&config(&hop, ""));
    let both = beside(&server);
    send(both[0], Signal::STOP);
    let begun = Instant::now();
    assert!(!server.stop().success());
    assert!(begun.elapsed() < END_MAX, "{:?}", begun.elapsed());
    let log = server.log().join("\n");
    let expected =
        format!("ended without waiting for the forwarder, which process {} should have killed", both[0]);
    assert!(log.contains(&expected), "{log}");
    kill(both[0]);
    wait_until(&server, "neither is left", || !both.into_iter().any(runs));
}

#[test]
fn no_socket_of_a_service_manager_is_left_to_the_processes_beside() {
    let hop = hop();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a flag");
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("its number");
    let config =
        config(&hop, "").replace("127.0.0.1:0", &socket.local_addr().expect("its address").to_string());
    let mut server = start_with_word(&[&socket], "--with-forward", &config).expect("it starts");
    let has = |id| open_files(id).contains(&link);
    assert!(has(server.id()));
    for process in beside(&server) {
        wait_until(&server, "the socket is not the others'", || !has(process));
        let environment = fs::read(format!("/proc/{process}/environ")).expect("it runs");
        assert!(!String::from_utf8_lossy(&environment).contains("LISTEN_"));
    }
    assert!(server.stop().success());
}

#[test]
fn a_receiver_says_that_there_is_no_forwarder_and_only_then() {
    let hop = hop();
    let [without, with] = [(); 2].map(|()| Server::start_whole(&config(&hop, "")));
    let forwarder = Forwarder::start(&with);
    let ready = Instant::now();
    let says = |line: &str| line.contains("no forwarder reads the spool: mail for [[forward]] waits there");
    without.wait_for_log(says);
    assert!(ready.elapsed() > Duration::from_secs(10), "one that starts later is not missed");
    std::thread::sleep(Duration::from_secs(5));
    assert!(!with.log().iter().any(|line| says(line)), "{}", with.log().join("\n"));
    forwarder.stop();
}

#[test]
fn what_no_forwarder_can_run_with_is_refused() {
    let nothing = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n";
    let log = refused("exec \"$@\" --with-forward", nothing);
    assert!(log.contains("--with-forward: there is no [[forward]]"), "{log}");
    let whole = config(&hop(), "");
    for script in [
        // Its last argument is the file.
        "exec \"$1\" serve --with-forward --config /dev/stdin <ringmx.toml",
        "cat ringmx.toml | \"$1\" serve --with-forward --config /dev/stdin",
        "mkfifo pipe; cat ringmx.toml >pipe & exec \"$1\" serve --with-forward --config pipe",
    ] {
        let log = refused(script, &whole);
        assert!(
            log.contains("--with-forward: the forwarder reads the configuration by itself"),
            "{script}: {log}"
        );
    }
}

#[test]
fn a_minder_that_cannot_read_its_file_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringmx.toml");
    let whole = config(&hop(), "[log]\nformat = \"json\"\n[nothing]\n");
    fs::write(&file, whole).expect("a file");
    let minder = Command::new(program())
        .args(["forward", "--minder", "--config"])
        .arg(&file)
        .stdin(Stdio::from(File::open("/dev/null").expect("a file")))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&minder.stderr);
    assert!(!minder.status.success());
    assert!(said.starts_with('{') && said.contains("\"error\"") && said.contains("nothing"), "{said}");
}

#[test]
fn the_forwarder_is_the_user_whose_spool_it_is() {
    if image::unavailable(&["chown", "setpriv"]).is_some() {
        return;
    }
    let hop = hop();
    let own = "mkdir spool && chown 65534:65534 . spool && chmod 755 .";
    let config = config(&hop, "[run_as]\nuser = \"65534\"\ngroup = \"65534\"\n");
    let unit = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+net_bind_service \
                --ambient-caps=+net_bind_service";
    // By root, and by a service manager that gives it the one capability.
    for by in ["", unit] {
        let mut server = start_with(&format!("{own} && exec {by} \"$@\" --with-forward"), &config);
        deliver(&server);
        wait_until(&server, "it arrives", || !hop.taken().is_empty());
        let both = beside(&server);
        for process in both {
            assert_eq!(status(process, "Uid"), "65534\t65534\t65534\t65534");
            assert_eq!(status(process, "NoNewPrivs"), "1");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(status(process, set), "0000000000000000", "{set}, {by}");
            }
        }
        assert!(server.stop().success());
        assert!(!both.into_iter().any(runs));
    }
    for (script, why) in [
        ("chmod 600 ringmx.toml && exec \"$@\" --with-forward", "cannot read this file: Permission denied"),
        (
            "cp \"$1\" program && chmod 700 program && shift && exec ./program \"$@\" --with-forward",
            "program: Permission denied",
        ),
    ] {
        let log = refused(&format!("{own} && {script}"), &config);
        assert!(
            log.contains("--with-forward: the forwarder runs as user 65534") && log.contains(why),
            "{log}"
        );
    }
    let json = format!("{config}[log]\nformat = \"json\"\n");
    let log = refused(
        &format!(
            "{own} && cp \"$1\" program && chmod 700 program && exec ./program forward --config ringmx.toml"
        ),
        &json,
    );
    let said = log.lines().last().unwrap_or_default();
    assert!(said.starts_with('{') && said.contains("of [run_as] cannot run this program"), "{log}");
}

#[test]
fn a_signal_to_the_receiver_has_its_forwarder_read_the_configuration_too() {
    let (first, second) = (hop(), hop());
    let mut server = start(&config(&first, ""));
    deliver(&server);
    wait_until(&server, "the first", || first.taken().len() == 1);
    let beside_it = beside(&server);
    let file = server.folder().join("ringmx.toml");
    let changed = fs::read_to_string(&file).expect("a file");
    fs::write(&file, changed.replace(&first.address().to_string(), &second.address().to_string()))
        .expect("written");
    server.signal(Signal::HUP);
    wait_until(&server, "both have read it", || {
        server.log().iter().filter(|line| line.contains(" reloaded ") && line.contains("by=signal")).count()
            == 2
    });
    deliver(&server);
    wait_until(&server, "the second", || second.taken().len() == 1);
    assert_eq!(beside(&server), beside_it, "the same processes");
    assert!(server.stop().success());
}
