//! What the shard's thread asks of the kernel while mail flows: `io_uring_enter` and nothing else, accepting
//! and closing connections aside.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::client::Client;
use support::server::Server;

/// The thread of the first shard.
fn shard_thread(server: &Server) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads");
    for task in tasks {
        let task = task.expect("a thread").path();
        if fs::read_to_string(task.join("comm")).expect("its name").trim() == "shard-0" {
            return task.file_name().expect("its number").to_string_lossy().into_owned();
        }
    }
    panic!("no shard");
}

#[test]
fn a_loaded_shard_makes_no_system_call_but_io_uring_enter() {
    let _machine = crate::beside_others();
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs strace");
        println!("skipped: strace is not installed");
        return;
    }
    for sink in ["kind = \"discard\"", "kind = \"spool\"\npath = \"spool\"\nsegment_size = \"8MiB\""] {
        let server = Server::start(&format!("[shards]\ncpus = [0]\n[[sink]]\n{sink}"));
        let mut client = Client::greeted(server.address());
        let body = [b"Subject: x\r\n\r\n".to_vec(), b"text text text text\r\n".repeat(400)].concat();
        let mut deliver = |count: usize| {
            for _ in 0..count {
                let reply = client.deliver("a@x.test", "b@y.test", &body);
                assert!(reply.starts_with("250"), "{reply}");
            }
        };
        deliver(20);
        let trace = server.folder().join("trace");
        let mut strace = Command::new("strace")
            .args(["-qq", "-o"])
            .arg(&trace)
            .args(["-p", &shard_thread(&server)])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace starts");
        // Messages flow until strace has begun to see them.
        for _ in 0..100 {
            deliver(5);
            std::thread::sleep(Duration::from_millis(10));
            if fs::metadata(&trace).is_ok_and(|trace| trace.len() > 1000) {
                break;
            }
        }
        deliver(100);
        let id = rustix::process::Pid::from_raw(strace.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("strace is told to end");
        strace.wait().expect("strace ends");
        let trace = fs::read_to_string(&trace).expect("the trace");
        let calls: BTreeSet<&str> =
            trace.lines().filter_map(|line| line.split_once('(').map(|(name, _)| name)).collect();
        println!("{} system calls of kinds {calls:?} for {sink:?}", trace.lines().count());
        assert!(trace.lines().count() > 100, "the trace holds the load");
        assert_eq!(calls, BTreeSet::from(["io_uring_enter"]), "for {sink:?}");
    }
}
