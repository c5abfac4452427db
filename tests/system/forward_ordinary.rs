//! The forwarder as an ordinary user has it: little locked memory, a log that nobody reads, signals, a disk
//! that is full.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::Client;
use support::image;
use support::load::loadgen;
use support::next_hop::{Manner, NextHop, accept, listen};
use support::server::{Server, program};

use crate::forward::{Forwarder, MESSAGE, by_name, near, queue, wait_until, wait_until_empty};

/// It stops within this: ten seconds for messages without an answer, and what the machine takes.
const END_MAX: Duration = Duration::from_secs(20);

/// It offers nothing and takes everything.
const TAKES_ALL: Manner = Manner { is_lmtp: false, keywords: Vec::new(), recipient: accept, end: accept };

/// A receiver as nobody.
fn near_of_nobody(routes: &str) -> Server {
    let become_user = "chown 65534:65534 . && chmod 755 . && exec setpriv --reuid=65534 --regid=65534 \
                       --clear-groups \"$@\"";
    let config = format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n{routes}"
    );
    Server::start_under(&["sh", "-c", become_user, "sh"], &config, &[])
}

fn deliver(near: &Server, count: usize) {
    let mut client = Client::greeted(near.address());
    for _ in 0..count {
        assert!(client.deliver("a@x.test", "b@example.test", MESSAGE).starts_with("250"));
    }
}

/// What a forwarder says that cannot run.
fn refused(wrapper: &[&str], near: &Server) -> String {
    let program = program();
    let words = wrapper.iter().copied().chain([program.to_str().expect("UTF-8"), "forward", "ringmx.toml"]);
    let words: Vec<&str> = words.collect();
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).current_dir(near.folder()).stdin(Stdio::null()).output();
    let output = output.expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

#[test]
fn an_ordinary_user_forwards_with_the_locked_memory_that_is_usual() {
    if image::unavailable(&["setpriv"]).is_some() {
        return;
    }
    let hop = NextHop::start(TAKES_ALL);
    let near = near_of_nobody(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let limited = |kib: u32| {
        format!("ulimit -l {kib} && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"")
    };
    // Kernels of 5.12 to 6.13 charge nothing.
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a version");
    let mut numbers = kernel.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) >= (Some(6), Some(18)) {
        let told = refused(&["sh", "-c", &limited(16), "sh"], &near);
        assert!(told.contains("LimitMEMLOCK=infinity") && !told.contains(" forwarding "), "{told}");
    }
    let told = refused(&[], &near);
    assert!(told.contains("run it as the user of the receiver"), "{told}");
    let forwarder = Forwarder::start_under(&["sh", "-c", &limited(8192), "sh"], &near);
    deliver(&near, 1);
    wait_until(&forwarder, "it arrives", || hop.taken().len() == 1);
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_mail_nor_the_end() {
    let hop = NextHop::start(TAKES_ALL);
    let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    image::run(Command::new("mkfifo").arg(near.folder().join("fifo")));
    let forwarder = Forwarder::start_under(&["sh", "-c", "exec \"$@\" 2<>fifo", "sh"], &near);
    // Some times more lines than a pipe takes.
    let status = Command::new(loadgen())
        .arg(near.address().to_string())
        .args(["-m", "1500", "--size", "700", "-c", "5", "--to", "user@example.test"])
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("loadgen runs").success());
    wait_until_empty(&near, &forwarder);
    assert_eq!(hop.taken().len(), 1500);
    let begun = Instant::now();
    forwarder.stop();
    assert!(begun.elapsed() < END_MAX, "{:?}", begun.elapsed());
}

#[test]
fn one_signal_waits_for_answers_within_bounds_and_a_second_one_for_nothing() {
    // Says nothing to the end of mail data.
    let mute = listen(|stream| {
        let (mut lines, mut data) = (BufReader::new(stream.try_clone()?), false);
        let mut out = stream;
        out.write_all(b"220 hop.test\r\n")?;
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let reply: &[u8] = if line == b"DATA\r\n" { b"354 Go\r\n" } else { b"250 Ok\r\n" };
            if !data {
                out.write_all(reply)?;
            }
            data |= line == b"DATA\r\n";
        }
    });
    let near = near(&format!("[[forward]]\nto = [\"smtp://{mute}\"]\n"));
    deliver(&near, 1);
    let waits_at_hop = |forwarder: &Forwarder| {
        forwarder.wait_for(" forwarding ");
        // It is on a connection soon.
        std::thread::sleep(Duration::from_secs(1));
    };
    let forwarder = Forwarder::start(&near);
    waits_at_hop(&forwarder);
    let begun = Instant::now();
    forwarder.signal(Signal::INT);
    let log = forwarder.wait(0);
    assert!(log.contains("1 messages had no answer in time and are delivered again"), "{log}");
    assert!(begun.elapsed() >= Duration::from_secs(9) && begun.elapsed() < END_MAX, "{:?}", begun.elapsed());
    let forwarder = Forwarder::start(&near);
    waits_at_hop(&forwarder);
    let begun = Instant::now();
    forwarder.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    forwarder.signal(Signal::TERM);
    let log = forwarder.wait(1);
    assert!(log.contains("messages that were under way are delivered again"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let list = Command::new(program()).args(["spool", "list"]).arg(near.folder().join("spool")).output();
    assert!(String::from_utf8_lossy(&list.expect("it runs").stdout).contains(" stored "));
}

/// A file system in memory; unmounted by drop.
struct Small<'a>(&'a Path);

impl Small<'_> {
    /// Takes all its room.
    fn fill(&self) {
        let zeros = vec![0; 4096];
        let mut file = fs::File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&zeros).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        image::unmount(self.0);
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_or_sent_twice() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("hop.sock");
    let at = folder.path().join("fs");
    fs::create_dir(&at).expect("a directory");
    image::run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(&at));
    let disk = Small(&at);
    let near = Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"{}/spool\"\nsegment_size = \"1MiB\"\n\
         [[forward]]\nto = [\"smtp://unix:{}\"]\n",
        at.display(),
        socket.display()
    ));
    deliver(&near, 4);
    let mut client = Client::greeted(near.address());
    assert!(client.deliver("a@x.test", "full@example.test", MESSAGE).starts_with("250"));
    disk.fill();
    let told = refused(&[], &near);
    assert!(told.contains("make room for a journal there") && told.contains("spool/forward: "), "{told}");
    disk.make_room();
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for("next-hop-down");
    disk.fill();
    let hop = NextHop::at(&socket, Manner { recipient: by_name, ..TAKES_ALL });
    wait_until(&forwarder, "they arrive", || !hop.taken().is_empty());
    let line = forwarder.wait_for("No space left on device");
    assert!(line.contains(" error ") && line.contains("spool/forward/"), "{line}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(forwarder.log().lines().count() < 100, "it is told of now and then:\n{}", forwarder.log());
    disk.make_room();
    wait_until(&forwarder, "it is noted", || queue(&near, &["list"]).contains(" waiting "));
    wait_until(&forwarder, "all arrive", || hop.taken().len() >= 4);
    forwarder.stop();
    assert_eq!(hop.taken().len(), 4, "none twice");
    let list = queue(&near, &["list"]);
    assert!(list.lines().count() == 1 && list.contains("<full@example.test>"), "{list}");
    // Another start finds it so.
    let forwarder = Forwarder::start(&near);
    forwarder.wait_for("waiting=1 dead=0");
    std::thread::sleep(Duration::from_secs(1));
    forwarder.stop();
    assert_eq!(hop.taken().len(), 4, "none twice");
}

#[test]
fn the_cores_of_the_receiver_are_not_asked_for() {
    if image::unavailable(&["taskset"]).is_some() {
        return;
    }
    let hop = NextHop::start(TAKES_ALL);
    let near = near(&format!("[shards]\ncpus = [0]\n[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
    let forwarder = Forwarder::start_under(&["taskset", "-c", "1"], &near);
    deliver(&near, 1);
    wait_until(&forwarder, "it arrives", || hop.taken().len() == 1);
    let mut list = Command::new("taskset");
    list.args(["-c", "1"]).arg(program()).args(["queue", "list", "ringmx.toml"]).current_dir(near.folder());
    assert!(list.status().expect("it runs").success());
    forwarder.stop();
}
