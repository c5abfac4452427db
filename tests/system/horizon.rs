//! The page by which a receiver wakes its forwarder: how soon mail goes on, and that a forwarder beside a
//! receiver that lives reads without asking the disk for anything.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringmx::sink::spool::horizon::HorizonWriter;
use support::client::Client;
use support::next_hop::{Manner, NextHop, accept};

use super::forward::{Forwarder, PATIENCE, near};

/// How long an idle reader is watched.
const IDLE: Duration = Duration::from_secs(3);

/// Messages that go through it while it is watched.
const BUSY_MESSAGES: usize = 50;

fn reader_thread(forwarder: &Forwarder) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", forwarder.id())).expect("its threads");
    let is_reader = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "ringmx-reader")
    };
    let reader = tasks.flatten().find(is_reader).expect("a reader");
    reader.file_name().to_string_lossy().into_owned()
}

/// What a thread asks the kernel for that has to do with the page or a disk, while something happens.
fn watched(thread: &str, trace: &Path, happens: impl FnOnce()) -> String {
    let mut strace = Command::new("strace")
        .args(["-qq", "-e", "trace=fdatasync,fsync,sync_file_range,syncfs,futex,flock", "-o"])
        .arg(trace)
        .args(["-p", thread])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts");
    let began = Instant::now();
    while fs::metadata(trace).map_or(0, |facts| facts.len()) == 0 {
        assert!(began.elapsed() < PATIENCE, "strace sees nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    happens();
    let id = rustix::process::Pid::from_raw(strace.id().cast_signed()).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("strace is told to end");
    strace.wait().expect("strace ends");
    fs::read_to_string(trace).expect("the trace")
}

/// Whether the spool has a page. It has none only where its file system has none; that of CI has.
fn has_page(folder: &Path) -> bool {
    if fs::exists(folder.join("spool/horizon")).expect("a spool") {
        return true;
    }
    let refused =
        HorizonWriter::make(File::open(folder).expect("a directory")).expect_err("a page elsewhere");
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    let why = "temporary files are not on ext4, XFS or Btrfs";
    assert!(std::env::var_os("CI").is_none(), "CI needs pages: {why}");
    println!("skipped: {why}");
    false
}

#[test]
fn mail_goes_on_as_soon_as_it_is_durable_and_the_reader_syncs_nothing() {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs strace");
        println!("skipped: strace is not installed");
        return;
    }
    // Without PIPELINING: its replies are writes of their own, which the kernel would hold back.
    let hop = NextHop::start(Manner { is_lmtp: false, keywords: vec![], recipient: accept, end: accept });
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\ntls = \"off\"\n", hop.address()));
    if !has_page(near.folder()) {
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

    let thread = reader_thread(&forwarder);
    let of = |trace: &str, words: [&str; 2]| {
        trace.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    let busy = watched(&thread, &near.folder().join("busy"), || {
        for _ in 0..BUSY_MESSAGES {
            deliver();
        }
    });
    let woken = of(&busy, ["FUTEX_WAIT, ", ") = 0"]);
    println!("{BUSY_MESSAGES} messages: woken {woken} times");
    assert!(woken > 0, "{busy}");
    assert_eq!(of(&busy, ["sync", ""]), 0, "{busy}");

    let idle = watched(&thread, &near.folder().join("idle"), || std::thread::sleep(IDLE));
    let (sleeps, looks) = (of(&idle, ["futex(", ""]), of(&idle, ["flock(", ""]));
    println!("idle for {IDLE:?}: {sleeps} sleeps, {looks} looks at the lock");
    assert!(looks > 0, "it looks whether the receiver lives");
    assert_eq!(of(&idle, ["sync", ""]), 0, "{idle}");
    forwarder.stop();
}
