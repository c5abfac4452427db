//! The page by which a receiver wakes its forwarder: how soon mail goes on, and that a forwarder beside a
//! receiver that lives reads without asking the disk for anything.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::client::Client;
use support::next_hop::{Manner, NextHop, accept};

use super::forward::{Forwarder, PATIENCE, near};

/// How long an idle reader is watched.
const IDLE: Duration = Duration::from_secs(3);

fn reader_thread(forwarder: &Forwarder) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", forwarder.id())).expect("its threads");
    let is_reader = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "ringmx-reader")
    };
    let reader = tasks.flatten().find(is_reader).expect("a reader");
    reader.file_name().to_string_lossy().into_owned()
}

#[test]
fn mail_goes_on_as_soon_as_it_is_durable_and_an_idle_reader_syncs_nothing() {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs strace");
        println!("skipped: strace is not installed");
        return;
    }
    // Without PIPELINING: its replies are writes of their own, which the kernel would hold back.
    let hop = NextHop::start(Manner { is_lmtp: false, keywords: vec![], recipient: accept, end: accept });
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\ntls = \"off\"\n", hop.address()));
    if fs::metadata(near.folder().join("spool/horizon")).is_err() {
        println!("skipped: the temporary directory is not on a file system for the page");
        return;
    }
    let forwarder = Forwarder::start(&near);
    let mut client = Client::greeted(near.address());
    let mut taken = 0;
    let mut deliver = || {
        let reply = client.deliver("a@x.test", "b@example.test", b"Subject: x\r\n\r\nText\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        let (began, before) = (Instant::now(), taken);
        while taken == before {
            assert!(began.elapsed() < PATIENCE, "{}", forwarder.log());
            std::thread::sleep(Duration::from_micros(100));
            taken = hop.taken().len();
        }
        began.elapsed()
    };
    // The first one is found by the reader alone, or opens the page.
    for _ in 0..3 {
        deliver();
    }
    let mut times: Vec<Duration> = (0..100).map(|_| deliver()).collect();
    times.sort_unstable();
    println!("from our 250 to the next hop's: median {:?}, 99 of 100 {:?}", times[50], times[98]);

    let trace = near.folder().join("trace");
    let mut strace = Command::new("strace")
        .args(["-qq", "-e", "trace=fdatasync,fsync,sync_file_range,syncfs,futex,flock", "-o"])
        .arg(&trace)
        .args(["-p", &reader_thread(&forwarder)])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts");
    std::thread::sleep(IDLE);
    let id = rustix::process::Pid::from_raw(strace.id().cast_signed()).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("strace is told to end");
    strace.wait().expect("strace ends");
    let trace = fs::read_to_string(&trace).expect("the trace");
    let of = |name: &str| trace.lines().filter(|line| line.contains(name)).count();
    println!("idle for {IDLE:?}: {} sleeps, {} looks at the lock", of("futex("), of("flock("));
    assert!(of("flock(") > 0, "it looks whether the receiver lives");
    assert_eq!(of("sync"), 0, "{trace}");
    forwarder.stop();
}
