//! The whole program while its disk fails: full, failing writes and syncs, a sync that hangs, a folder that
//! is gone. What is accepted stays, what cannot be stored is put off (4yz), and all resumes by itself when
//! the fault ends.
//!
//! `FAULT_ROUNDS` sets the lives of each file system whose device fails under it, `FAULT_SEED` repeats their
//! choices.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringmx::sink::executor::Executor;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::plan::{Action, Owners, Plan};
use support::client::Client;
use support::faulty::{Fault, Faulty};
use support::image::{self, Mounted};
use support::load::{Random, loadgen, number_from, verify, wait_for_load};
use support::server::Server;

/// How long a receiver may take to notice that a fault has ended.
const PATIENCE: Duration = Duration::from_mins(1);

const SPOOL: &str = "spool";
const MAILDIR: &str = "maildir";

#[test]
fn a_failed_write_or_sync_is_451_or_452_and_passes() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for kind in [SPOOL, MAILDIR] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, false).expect("a FUSE file system");
        let server = start(kind, &front, "");
        let ledger = folder.path().join("ledger");
        let faults = [
            (Fault::Write(libc::EIO), "451 4.3.0"),
            (Fault::Write(libc::EROFS), "451 4.3.0"),
            (Fault::Sync(libc::EIO), "451 4.3.0"),
            // A file handle of NFS that its server knows no more, and a quota, which NFS tells when it is
            // synced.
            (Fault::Write(libc::ESTALE), "451 4.3.0"),
            (Fault::Sync(libc::ESTALE), "451 4.3.0"),
            (Fault::Write(libc::EDQUOT), "452 4.3.1"),
            (Fault::Sync(libc::EDQUOT), "452 4.3.1"),
            (Fault::Write(libc::ENOSPC), "452 4.3.1"),
            (Fault::Sync(libc::ENOSPC), "452 4.3.1"),
        ];
        for (fault, answer) in faults {
            accepts_again(&server);
            // Under load.
            let mut load = load(&server, &ledger, "--duration 700ms --connections 10 --size 4KiB");
            std::thread::sleep(Duration::from_millis(300));
            disk.set(fault);
            let mut client = Client::greeted(server.address());
            let reply = client.deliver("a@x.test", "b@example.test", b"Subject: x\r\n\r\ntext\r\n");
            assert!(reply.starts_with(answer), "{kind}, {fault:?}: {reply}");
            load.wait().expect("loadgen ends");
            assert!(disk.met() > 0, "{fault:?} was met");
            disk.set(Fault::None);
            accepts_again(&server);
        }
        drop(server);
        // The next start repairs, and the folder behind tells what is there.
        drop(start(kind, &front, ""));
        drop(disk);
        all_is_there(kind, "failed writes and syncs", &ledger, &behind);
    }
}

/// Each message has another file, and each file the same error: one line a message would fill the disk that
/// is full.
#[test]
fn equal_errors_of_a_full_disk_are_told_once_and_counted() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    const MESSAGES: u64 = 200;
    for kind in [SPOOL, MAILDIR] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, false).expect("a FUSE file system");
        let mut server = start(kind, &front, "");
        accepts_again(&server);
        disk.set(Fault::Write(libc::ENOSPC));
        let mut client = Client::greeted(server.address());
        for _ in 0..MESSAGES {
            let reply = deliver(&mut client);
            assert!(reply.starts_with("452 4.3.1"), "{kind}: {reply}");
        }
        disk.set(Fault::None);
        accepts_again(&server);
        assert!(server.stop().success());
        let log = server.log();
        let lines: Vec<&String> = log.iter().filter(|line| line.contains("No space left")).collect();
        assert!((2..10).contains(&lines.len()), "{kind}: {lines:#?}");
        let count = |line: &&String| line.split(" count=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        let ended: u64 = lines.iter().filter_map(count).sum();
        assert!(lines[0].contains(" error tried=") && ended >= MESSAGES, "{kind}: {lines:#?}");
    }
}

/// A device that fails writes or flushes for moments: the file system on it tells an error once and goes on,
/// or gives up and takes nothing more. Then it is mounted anew, and its journal recovers.
#[test]
fn a_device_that_fails_for_moments_costs_no_accepted_mail() {
    if image::unavailable(&["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "losetup"]).is_some() {
        return;
    }
    let mut random = Random::from_variable("FAULT_SEED");
    let rounds = number_from("FAULT_ROUNDS").unwrap_or(1);
    for file_system in ["ext4", "xfs", "btrfs"] {
        for (kind, sink, size) in [
            (SPOOL, "", "4KiB"),
            // Each in a file of its own.
            (SPOOL, "", "800KiB"),
            (MAILDIR, "sync = \"batch\"", "4KiB"),
            (MAILDIR, "sync = \"each\"", "4KiB"),
        ] {
            let (mut met, mut accepted) = (0, 0);
            for round in 1..=rounds {
                let life = Life { kind, sink, size, file_system, round };
                for (name, fault) in
                    [("writes", Fault::Write(libc::EIO)), ("flushes", Fault::Sync(libc::EIO))]
                {
                    let counts = life.on_a_failing_device(name, fault, &mut random);
                    (met, accepted) = (met + counts.0, accepted + counts.1);
                }
            }
            assert!(met > 0, "{kind} {sink} on {file_system}: no fault was met");
            // A file system that gives up at the first fault takes nothing in that life.
            assert!(accepted > 0, "{kind} {sink} on {file_system}: nothing was accepted");
        }
    }
}

/// A receiver on a device that fails for moments.
struct Life<'a> {
    kind: &'a str,
    sink: &'a str,
    size: &'a str,
    file_system: &'a str,
    round: u64,
}

impl Life<'_> {
    /// How often the fault was met, and how many messages were accepted.
    fn on_a_failing_device(&self, name: &str, fault: Fault, random: &mut Random) -> (u64, u64) {
        let Self { kind, sink, size, file_system, round } = self;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let (ledger, disk) = (path("ledger"), path("disk"));
        fs::create_dir(path("behind")).expect("a folder");
        image::make(file_system, &path("behind/image"), 512 << 20);
        let device = Faulty::mount(&path("behind"), &path("front"), true).expect("a FUSE file system");
        let mounted = Mounted::new(file_system, &path("front/image"), &disk, false);
        let server = start_with(kind, &disk, sink, "");
        accepts_again(&server);
        let mut load = load(&server, &ledger, &format!("--duration 1500ms --connections 10 --size {size}"));
        wait_for_load(&ledger, 0);
        let mut met = 0;
        for _ in 0..=random.below(3) {
            std::thread::sleep(Duration::from_millis(random.below(500)));
            device.set(fault);
            std::thread::sleep(Duration::from_millis(random.below(60)));
            met += device.met();
            device.set(Fault::None);
        }
        load.wait().expect("loadgen ends");
        drop(server);
        drop(mounted);
        drop(device);
        let _mounted = Mounted::new(file_system, &path("behind/image"), &disk, false);
        drop(start_with(kind, &disk, sink, ""));
        let what = format!("{sink} {size} on {file_system} whose device failed {met} {name}, life {round}");
        (met, promise_is_kept(kind, &what, &ledger, &disk))
    }
}

/// A file system that gave up ends syncs of directories without error: ext4 when the commit that they would
/// wait for has failed already, XFS when it has let go of the changes that it could not write. Here another
/// descriptor's sync is the one that fails.
#[test]
fn a_journal_that_was_given_up_is_found_by_its_probe() {
    if image::unavailable(&["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "losetup"]).is_some() {
        return;
    }
    for file_system in ["ext4", "xfs", "btrfs"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("behind")).expect("a folder");
        image::make(file_system, &path("behind/image"), 512 << 20);
        let device = Faulty::mount(&path("behind"), &path("front"), true).expect("a FUSE file system");
        let mounted = Mounted::new(file_system, &path("front/image"), &path("disk"), false);
        let open_root = || fs::File::open(mounted.path()).expect("the root");
        let (root, other) = (open_root(), open_root());
        let mut executor = Blocking::new(open_root().into());
        let mut probe = Plan::new(1);
        probe.push(Owners::One(0), Action::ProbeJournal("".into()));
        let results = executor.run(&probe);
        assert!(!results.any_failed(), "{file_system}: {:?}", results.error(0));

        fs::write(mounted.path().join("file"), "text").expect("written");
        device.set(Fault::Sync(libc::EIO));
        other.sync_all().expect_err("its device fails");
        device.set(Fault::None);
        // Of these nobody knows what they say in this or another kernel.
        println!(
            "{file_system}: behind the failed commit a sync of the directory says {:?}",
            root.sync_all()
        );
        println!("{file_system}: and one of the file system {:?}", rustix::fs::syncfs(&root));
        let results = executor.run(&probe);
        println!("{file_system}: and the probe {:?}", results.error(0));
        assert!(results.any_failed(), "{file_system}");
    }
}

#[test]
fn while_a_sync_hangs_new_mail_is_put_off_and_all_resumes_by_itself() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for kind in [SPOOL, MAILDIR] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, true).expect("a FUSE file system");
        let server = start(kind, &front, "[shards]\ncpus = [0]\n[limits]\nsink_answer_timeout = \"2s\"");
        let ledger = folder.path().join("ledger");
        accepts_again(&server);
        let mut load = load(&server, &ledger, "--duration 2s --connections 10 --size 4KiB");
        std::thread::sleep(Duration::from_secs(1));
        disk.set(Fault::Hang);
        let mut client = Client::greeted(server.address());
        let reply = client.deliver("a@x.test", "b@example.test", b"Subject: x\r\n\r\ntext\r\n");
        assert!(reply.starts_with("421") || reply.starts_with("451"), "{kind}: {reply}");
        load.wait().expect("loadgen ends");
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@x.test>", "451 4.3.2");
        client.command("RSET", "250");
        client.command("NOOP", "250");
        client.command("QUIT", "221");
        assert!(disk.met() > 0);
        disk.set(Fault::None);
        accepts_again(&server);
        drop(server);
        drop(start(kind, &front, ""));
        drop(disk);
        all_is_there(kind, "a sync that hung", &ledger, &behind);
    }
}

#[test]
fn a_full_disk_is_452_and_with_space_mail_is_accepted_again() {
    if image::unavailable(&["mkfs.ext4", "losetup"]).is_some() {
        return;
    }
    for (kind, file_system) in [SPOOL, MAILDIR].into_iter().flat_map(|kind| [(kind, "ext4"), (kind, "tmpfs")])
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
        let _mounted: (Option<Mounted>, Option<Unmount<'_>>) = if file_system == "tmpfs" {
            fs::create_dir(&disk).expect("a mount point");
            image::run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(&disk));
            (None, Some(Unmount(&disk)))
        } else {
            image::make(file_system, &image, 48 << 20);
            (Some(Mounted::new(file_system, &image, &disk, false)), None)
        };
        let ballast = disk.join("ballast");
        fs::write(&ballast, vec![1; 16 << 20]).expect("ballast");
        let server = start(kind, &disk, "");
        let ledger = folder.path().join("ledger");
        let mut round = 0;
        while !is_full(&server) {
            round += 1;
            assert!(round < 200, "the disk is never full");
            load(&server, &ledger, "--messages 200 --connections 4 --size 64KiB")
                .wait()
                .expect("loadgen ends");
        }
        fs::remove_file(&ballast).expect("space");
        accepts_again(&server);
        load(&server, &ledger, "--messages 20 --connections 4 --size 4KiB").wait().expect("loadgen ends");
        drop(server);
        drop(start(kind, &disk, ""));
        all_is_there(kind, &format!("a full disk ({file_system})"), &ledger, &disk);
    }
}

#[test]
fn a_read_only_maildir_and_one_that_is_removed_are_451_and_pass() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    image::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(folder.path()));
    let _mounted = Unmount(folder.path());
    let server = start(MAILDIR, folder.path(), "");
    accepts_again(&server);
    image::run(Command::new("mount").args(["-o", "remount,ro"]).arg(folder.path()));
    let mut client = Client::greeted(server.address());
    let data = b"Subject: x\r\n\r\ntext\r\n";
    let reply = client.deliver("a@x.test", "b@example.test", data);
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    image::run(Command::new("mount").args(["-o", "remount,rw"]).arg(folder.path()));
    accepts_again(&server);
    for name in ["new", "tmp"] {
        fs::remove_dir_all(folder.path().join("store").join(name)).expect("removed");
        accepts_again(&server);
    }
    assert!(folder.path().join("store/new").is_dir(), "it is made again");
}

#[test]
fn a_store_whose_root_is_removed_is_451_and_the_next_start_makes_it_anew() {
    for kind in [SPOOL, MAILDIR] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = start(kind, folder.path(), "");
        accepts_again(&server);
        if kind == SPOOL {
            // Its files only: it goes on with new ones.
            for entry in fs::read_dir(folder.path().join("store")).expect("the spool") {
                fs::remove_file(entry.expect("a file").path()).expect("removed");
            }
            accepts_again(&server);
        }
        fs::remove_dir_all(folder.path().join("store")).expect("removed");
        for _ in 0..3 {
            let reply = deliver(&mut Client::greeted(server.address()));
            assert!(reply.starts_with("451 4.3.0"), "{kind}: {reply}");
        }
        drop(server);
        accepts_again(&start(kind, folder.path(), ""));
    }
}

#[test]
fn a_worker_without_descriptors_puts_mail_off_and_loses_none() {
    for kind in [SPOOL, MAILDIR] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = start(kind, folder.path(), "");
        accepts_again(&server);
        let mut client = Client::greeted(server.address());
        let mut accepted = 1;
        // No number below three is free.
        limit_descriptors(&server, 3);
        for _ in 0..20 {
            let reply = deliver(&mut client);
            // The segment of a spool is open.
            let is_expected = kind == SPOOL && reply.starts_with("250") || reply.starts_with("451 4.3.0");
            assert!(is_expected, "{kind}: {reply}");
            accepted += u64::from(reply.starts_with("250"));
        }
        limit_descriptors(&server, 1024);
        for _ in 0..20 {
            let reply = deliver(&mut client);
            assert!(reply.starts_with("250"), "{kind}: {reply}");
            accepted += 1;
        }
        drop(server);
        let store = folder.path().join("store");
        let stored = if kind == SPOOL {
            let mut listing = Vec::new();
            ringmx::sink::spool::reader::list(&store, None, &mut listing).expect("a spool");
            String::from_utf8(listing).expect("text").lines().count()
        } else {
            fs::read_dir(store.join("new")).expect("new").count()
        };
        assert_eq!(stored as u64, accepted, "{kind}");
    }
}

/// Delivers a message on a connection and gives the reply to its mail data.
fn deliver(client: &mut Client) -> String {
    client.deliver("a@x.test", "b@example.test", b"Subject: x\r\n\r\ntext\r\n")
}

fn limit_descriptors(server: &Server, count: usize) {
    let pid = format!("--pid={}", server.id());
    image::run(Command::new("prlimit").args([pid, format!("--nofile={count}:1024")]));
}

#[test]
fn without_descriptors_accepting_pauses_without_spinning_and_resumes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = start(MAILDIR, folder.path(), "");
    accepts_again(&server);
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its descriptors").count();
    limit_descriptors(&server, open + 2);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(server.address())).collect();
    let before = ticks(&server);
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(&server) - before;
    assert!(used < 100, "{used} ticks of CPU time in two seconds without descriptors");
    limit_descriptors(&server, 1024);
    for client in &mut clients {
        client.expect("220");
    }
    accepts_again(&server);
    println!(
        "without descriptors: {used} ticks of CPU time in two seconds, then all {} clients were greeted",
        clients.len()
    );
}

/// CPU time of the server in hundredths of a second.
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("its state");
    let behind_name = stat.rsplit(')').next().expect("fields");
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Unmounts by drop.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        image::unmount(self.0);
    }
}

fn start(kind: &str, disk: &Path, more: &str) -> Server {
    start_with(kind, disk, "", more)
}

fn start_with(kind: &str, disk: &Path, sink: &str, more: &str) -> Server {
    let segments = if kind == SPOOL { "segment_size = \"1MiB\"" } else { "" };
    Server::start_whole(&format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"{kind}\"\npath = \"{}/store\"\n{segments}\n{sink}\n[log]\nmessages = false\n{more}",
        disk.display()
    ))
}

fn load(server: &Server, ledger: &Path, arguments: &str) -> std::process::Child {
    let mut command = Command::new(loadgen());
    command.arg(server.address().to_string()).args(arguments.split(' ')).arg("--ledger").arg(ledger);
    command.args(["--to", "user@example.test"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("loadgen runs")
}

/// Mail is accepted, sooner or later, and whatever is said before that is 4yz.
fn accepts_again(server: &Server) {
    let start = Instant::now();
    loop {
        let mut client = Client::greeted(server.address());
        client.send(b"MAIL FROM:<a@x.test>\r\n");
        let mut reply = client.reply();
        if reply.starts_with("250") {
            client.command("RCPT TO:<b@example.test>", "250");
            client.command("DATA", "354");
            client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n");
            reply = client.reply();
        }
        if reply.starts_with("250") {
            return;
        }
        assert!(reply.starts_with('4'), "{reply}");
        assert!(
            start.elapsed() < PATIENCE,
            "mail is not accepted again: {reply}\n{}",
            server.log().join("\n")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a large message is put off for space.
fn is_full(server: &Server) -> bool {
    let mut client = Client::greeted(server.address());
    client.send(b"MAIL FROM:<a@x.test>\r\n");
    let mut reply = client.reply();
    if reply.starts_with("250") {
        client.command("RCPT TO:<b@example.test>", "250");
        client.command("DATA", "354");
        client
            .send(&[b"Subject: x\r\n\r\n".to_vec(), b"text\r\n".repeat(50_000), b".\r\n".to_vec()].concat());
        reply = client.reply();
    }
    assert!(reply.starts_with("250") || reply.starts_with("452 4.3.1"), "{reply}");
    reply.starts_with("452")
}

fn all_is_there(kind: &str, what: &str, ledger: &Path, disk: &Path) {
    let accepted = promise_is_kept(kind, what, ledger, disk);
    assert!(accepted > 0, "{kind}, {what}: nothing was accepted");
}

/// How many messages were accepted; all of them are there.
fn promise_is_kept(kind: &str, what: &str, ledger: &Path, disk: &Path) -> u64 {
    let verdict = verify(ledger, kind, &disk.join("store"), &[]);
    assert!(verdict.holds, "{kind}, {what}: {}", verdict.text);
    println!(
        "{kind}, {what}: {} accepted, {} lost, {} altered",
        verdict.accepted, verdict.lost, verdict.altered
    );
    verdict.accepted
}
