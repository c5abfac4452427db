//! The program as a process: signals at every moment, standard streams that nobody reads or that are closed,
//! an end that comes whatever stands still.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use support::client::Client;
use support::faulty::{Fault, Faulty};
use support::image;
use support::server::Server;

/// What should end within seconds has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// From the first signal to the end, at most (`PROCESS_END_MAX`).
const END_MAX: Duration = Duration::from_secs(30);

const MAIL: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

/// A `ringmx serve` whose standard streams are the test's choice, so nobody can read where it listens: it has
/// an address for itself.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path, more: &str, set: impl FnOnce(&mut Command)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Other processes of this test have other ids; 127.0.0.0/8 is all ours.
        let number = std::process::id() * 128 + NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        let address = SocketAddr::from(([127, a | 1, b, c], 2525));
        let file = folder.join("ringmx.toml");
        let config = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n{}[[listener]]\naddress = \"{address}\"\n{more}\n",
            if more.contains("# recipients") { "recipients = \"recipients\"\n" } else { "" }
        );
        fs::write(&file, config).expect("the configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
        command.args(["serve", "--config"]).arg(&file).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        set(&mut command);
        Self { child: command.spawn().expect("it starts"), address }
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(id, signal).expect("the signal is sent");
    }

    /// Waits until it listens.
    fn connect(&mut self) -> TcpStream {
        let address = self.address;
        self.wait_until("it listens", || TcpStream::connect(address).ok())
    }

    fn client(&mut self) -> Client {
        drop(self.connect());
        Client::greeted(self.address)
    }

    /// Waits until it takes this signal by a handler of its own.
    fn wait_until_it_takes(&mut self, signal: Signal) {
        let status = format!("/proc/{}/status", self.child.id());
        let bit = 1_u64 << (signal.as_raw() - 1);
        self.wait_until("it takes the signal", || {
            let status = fs::read_to_string(&status).ok()?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught & bit != 0).then_some(())
        });
    }

    fn wait_until<T>(&mut self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "it ended before {what}: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "not so after a minute: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until its first thread has ended. The process itself lasts as long as a thread stands in the
    /// kernel and cannot be killed.
    fn wait_until_dead(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        let start = Instant::now();
        let is_dead = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z "));
        while !is_dead() {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn maildir() -> &'static str {
    "[[sink]]\nkind = \"maildir\"\npath = \"mail\""
}

fn delivered(client: &mut Client) -> String {
    client.deliver("a@x.test", "b@example.org", MAIL)
}

/// A pipe that is full and whose reader does not read.
fn full_pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    // Opened anew: not to wait is asked for here only, not for the process that gets the other one.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let mut filler = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).expect("opened"));
    for octets in [&[b'x'; 4096][..], b"x"] {
        while filler.write(octets).is_ok() {}
    }
    (reader.into(), writer.into())
}

#[test]
fn a_standard_error_that_nobody_reads_holds_no_end_up() {
    for signals in [&[Signal::TERM][..], &[Signal::INT], &[Signal::TERM, Signal::INT]] {
        let folder = tempfile::tempdir().expect("a folder");
        let (_reader, writer) = full_pipe();
        let mut process = Process::start(folder.path(), maildir(), |command| {
            command.stderr(writer);
        });
        let mut client = process.client();
        assert!(delivered(&mut client).starts_with("250"));
        let begun = Instant::now();
        process.signal(signals[0]);
        client.expect("421 4.3.2");
        client.expect_end();
        if let Some(second) = signals.get(1) {
            process.signal(*second);
        }
        drop(client);
        let status = process.wait();
        // What was lost is not mail. A second signal is not told whether all mail has ended.
        assert!(status.success() || signals.len() > 1 && status.code() == Some(1), "{status}");
        assert!(begun.elapsed() < END_MAX);
        assert_eq!(fs::read_dir(folder.path().join("mail/new")).expect("a maildir").count(), 1);
    }
}

#[test]
fn a_start_that_fails_ends_though_nobody_reads_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_reader, writer) = full_pipe();
    fs::write(folder.path().join("mail"), "no directory").expect("a file");
    let mut process = Process::start(folder.path(), maildir(), |command| {
        command.stderr(writer);
    });
    assert_eq!(process.wait().code(), Some(1));
}

#[test]
fn a_standard_stream_that_is_closed_or_broken_changes_nothing() {
    type Set = fn(&mut Command);
    let broken: Set = |command| {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        command.stderr(writer);
    };
    let full: Set = |command| {
        command.stderr(File::options().write(true).open("/dev/full").expect("/dev/full"));
    };
    for set in [broken, full] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Process::start(folder.path(), maildir(), set);
        let mut client = process.client();
        assert!(delivered(&mut client).starts_with("250"));
        process.signal(Signal::PIPE);
        assert!(delivered(&mut client).starts_with("250"));
        drop(client);
        process.signal(Signal::TERM);
        assert!(process.wait().success());
    }
    // Closed ones: what is opened next must not be taken for them.
    for closed in ["2>&-", "<&-", ">&-", "<&- >&- 2>&-"] {
        let folder = tempfile::tempdir().expect("a folder");
        let line = format!("exec {} serve --config ringmx.toml {closed}", env!("CARGO_BIN_EXE_ringmx"));
        let mut process = Process::start(folder.path(), maildir(), |command| {
            *command = Command::new("sh");
            command.args(["-c", &line]).current_dir(folder.path());
        });
        let mut client = process.client();
        assert!(delivered(&mut client).starts_with("250"), "{closed}");
        drop(client);
        process.signal(Signal::TERM);
        assert!(process.wait().success(), "{closed}");
        let stored = fs::read_dir(folder.path().join("mail/new")).expect("a maildir");
        for mail in stored {
            let text = fs::read(mail.expect("a mail").path()).expect("its text");
            assert!(text.ends_with(b"text\n"), "{closed}: {}", String::from_utf8_lossy(&text));
        }
    }
}

/// A start that stands still: the file of recipients is a pipe that nobody writes to.
fn start_that_waits(folder: &Path) -> (Process, File) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("recipients"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a pipe with a name");
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let process = Process::start(folder, &format!("{}\n# recipients", maildir()), |command| {
        command.stderr(writer);
    });
    (process, reader.into())
}

#[test]
fn a_signal_before_it_listens_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        for goes_on in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let (mut process, mut log) = start_that_waits(folder.path());
            process.wait_until_it_takes(signal);
            // Neither of these ends it.
            process.signal(Signal::HUP);
            process.signal(Signal::PIPE);
            process.signal(signal);
            if goes_on {
                // The step that it stands in comes to its end.
                fs::write(folder.path().join("recipients"), "b@example.org\n").expect("written");
            }
            let status = process.wait();
            assert!(status.success(), "{signal:?}: {status}");
            let mut text = String::new();
            log.read_to_string(&mut text).expect("the log");
            // The step may end before the signal is looked at: then it listened, and stopped in the usual
            // way.
            let listened = text.contains(" listening ");
            assert!(goes_on && listened || text.contains("did not listen") && !listened, "{text}");
        }
    }
}

#[test]
fn a_second_signal_before_it_listens_ends_it_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut process, _log) = start_that_waits(folder.path());
    process.wait_until_it_takes(Signal::INT);
    while process.child.try_wait().expect("its state").is_none() {
        // Two that come together are one.
        process.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(process.wait().success());
}

/// Whatever step of the start it meets: the signals are taken from before anything is opened, locked or
/// listened on. The same store is started again each time, and serves at last.
#[test]
fn a_sigterm_at_any_moment_of_a_start_ends_it_and_leaves_nothing_half_done() {
    for kind in ["maildir", "spool"] {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = format!("[[sink]]\nkind = \"{kind}\"\npath = \"mail\"\n# recipients");
        fs::write(folder.path().join("recipients"), "b@example.org\n".repeat(2000)).expect("written");
        let log = folder.path().join("log");
        for delay in (0..20).map(|step| Duration::from_millis(step * step / 3)) {
            let errors = File::create(&log).expect("a file");
            let mut process = Process::start(folder.path(), &sink, |command| {
                command.stderr(errors);
            });
            std::thread::sleep(delay);
            process.signal(Signal::TERM);
            let status = process.wait();
            let text = fs::read_to_string(&log).expect("the log");
            if status.signal() == Some(Signal::TERM.as_raw()) {
                assert_eq!(text, "", "it was still being loaded, and had begun nothing");
                continue;
            }
            assert!(status.success(), "{kind}, {delay:?}: {status}: {text}");
            let is_told = text.contains(" stopped ") && !text.contains(" error ");
            assert!(is_told, "{kind}, {delay:?}: {text}");
        }
        let mut process = Process::start(folder.path(), &sink, |_| {});
        assert!(delivered(&mut process.client()).starts_with("250"), "{kind}");
        process.signal(Signal::TERM);
        assert!(process.wait().success(), "{kind}");
    }
}

/// From the first `listen` on somebody may be in the queue: who is greeted is also told that it ends.
#[test]
fn who_connects_before_ready_is_told_of_the_stop() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Process::start(folder.path(), maildir(), |_| {});
        let mut stream = process.connect();
        process.signal(Signal::TERM);
        let mut told = String::new();
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.read_to_string(&mut told).expect("the end, not a reset");
        assert!(told.contains("421 4.3.2"), "{told}");
        drop(stream);
        let status = process.wait();
        assert!(status.success(), "{status}: {told}");
    }
}

#[test]
fn sighup_at_any_moment_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start(folder.path(), maildir(), |_| {});
    process.wait_until_it_takes(Signal::HUP);
    for _ in 0..50 {
        process.signal(Signal::HUP);
    }
    let mut client = process.client();
    assert!(delivered(&mut client).starts_with("250"));
    process.signal(Signal::TERM);
    client.expect("421 4.3.2");
    process.signal(Signal::HUP);
    client.expect_end();
    drop(client);
    assert!(process.wait().success());
}

#[test]
fn a_second_signal_ends_it_at_once_and_answers_nothing_more() {
    for second in [Signal::TERM, Signal::INT] {
        let mut server = Server::with_maildir("");
        let mut idle = Client::greeted(server.address());
        let mut busy = Client::greeted(server.address());
        busy.command("MAIL FROM:<a@x.test>", "250");
        busy.command("RCPT TO:<b@y.test>", "250");
        busy.command("DATA", "354");
        busy.send(b"Subject: under way\r\n\r\n");
        server.signal(Signal::TERM);
        idle.expect("421 4.3.2");
        server.signal(second);
        let status = server.wait();
        assert_eq!(status.code(), Some(1), "{second:?}: signal {:?}", status.signal());
        let mut rest = Vec::new();
        // Cut off, by an end or by a reset.
        let _ = busy.stream().read_to_end(&mut rest);
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        server.wait_for_log(|line| line.contains("a second signal") && line.contains("may be stored or not"));
        assert_eq!(server.maildir("mail").len(), 0);
    }
}

#[test]
fn a_stdout_reader_that_stands_still_holds_no_end_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_reader, writer) = full_pipe();
    let sink = "[[sink]]\nkind = \"stdout\"";
    let mut process = Process::start(folder.path(), sink, |command| {
        command.stdout(writer);
    });
    let mut client = process.client();
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@example.org>", "250");
    client.command("DATA", "354");
    client.send(MAIL);
    client.send(b".\r\n");
    let begun = Instant::now();
    process.signal(Signal::TERM);
    // The reader has its time (`STALL_MAX`), and so has the transaction; whichever ends first, it is not
    // accepted.
    let reply = client.reply();
    assert!(reply.starts_with("451") || reply.starts_with("421"), "{reply}");
    drop(client);
    assert!(process.wait().success() && begun.elapsed() < END_MAX);
}

/// Whether the disk answers or not, the process ends; the exit code and the log say what was left.
#[test]
fn a_disk_that_does_not_answer_holds_no_end_up() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    // A second signal ends it at once; without one its bounds do.
    for (kind, is_hasty) in [("spool", true), ("maildir", true), ("spool", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, true).expect("a FUSE file system");
        let sink = format!("[[sink]]\nkind = \"{kind}\"\npath = \"{}\"", front.join("store").display());
        let (mut log, writer) =
            rustix::pipe::pipe().map(|(log, writer)| (File::from(log), writer)).expect("a pipe");
        let mut process = Process::start(folder.path(), &sink, |command| {
            command.stderr(writer);
        });
        let mut client = process.client();
        assert!(delivered(&mut client).starts_with("250"));
        disk.set(Fault::Hang);
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@example.org>", "250");
        client.command("DATA", "354");
        client.send(b"Subject: hangs\r\n\r\n.\r\n");
        process.wait_until("a sync hangs", || (disk.met() > 0).then_some(()));
        let mut idle = Client::greeted(process.address);
        let begun = Instant::now();
        process.signal(Signal::TERM);
        idle.expect("421 4.3.2");
        if is_hasty {
            process.signal(Signal::TERM);
        }
        process.wait_until_dead();
        assert!(begun.elapsed() < END_MAX, "{kind}");
        // A thread that stands in the kernel keeps the process until the disk answers.
        disk.set(Fault::None);
        assert_eq!(process.wait().code(), Some(1), "{kind}");
        let mut rest = String::new();
        let _ = client.stream().read_to_string(&mut rest);
        assert!(!rest.contains("250"), "{rest}");
        let mut text = String::new();
        log.read_to_string(&mut text).expect("the log");
        let expected = if is_hasty { "a second signal" } else { "without waiting for sink-0" };
        assert!(text.contains(expected) && text.contains("may be stored or not"), "{text}");
        // What was answered is there, and the store is good.
        let mut again = Process::start(folder.path(), &sink, |_| {});
        assert!(delivered(&mut again.client()).starts_with("250"));
        again.signal(Signal::TERM);
        assert!(again.wait().success());
    }
}

/// The thread that looks into mailboxes before the 250 to RCPT stands in the kernel as long as the disk
/// likes.
#[test]
fn a_disk_that_does_not_answer_a_recipient_holds_no_end_up() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for is_hasty in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
        let disk = Faulty::mount(&behind, &front, true).expect("a FUSE file system");
        let sink = format!(
            "[[sink]]\nkind = \"maildir\"\npath = \"{}\"\ntemplate = \"{{domain}}/{{local}}\"\ncreate = true",
            front.join("store").display()
        );
        let (mut log, writer) =
            rustix::pipe::pipe().map(|(log, writer)| (File::from(log), writer)).expect("a pipe");
        let mut process = Process::start(folder.path(), &sink, |command| {
            command.stderr(writer);
        });
        let mut client = process.client();
        disk.set(Fault::HangLookups);
        client.command("MAIL FROM:<a@x.test>", "250");
        client.send(b"RCPT TO:<b@example.org>\r\n");
        process.wait_until("a look hangs", || (disk.met() > 0).then_some(()));
        // Who asks for no mailbox is served.
        let mut idle = Client::greeted(process.address);
        let begun = Instant::now();
        process.signal(Signal::TERM);
        idle.expect("421 4.3.2");
        if is_hasty {
            process.signal(Signal::TERM);
        }
        process.wait_until_dead();
        assert!(begun.elapsed() < END_MAX);
        disk.set(Fault::None);
        process.wait();
        let mut rest = String::new();
        let _ = client.stream().read_to_string(&mut rest);
        assert!(!rest.contains("250"), "{rest}");
        let mut text = String::new();
        log.read_to_string(&mut text).expect("the log");
        let expected = if is_hasty { "a second signal" } else { "without waiting for mailboxes" };
        assert!(text.contains(expected), "{text}");
    }
}

/// Nothing else wakes a shard then: no line of a session is logged, nobody connects.
#[test]
fn a_server_that_stops_ends_with_its_last_session() {
    let mut server = Server::start("[[sink]]\nkind = \"discard\"\n[log]\nsessions = false\nmessages = false");
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@example.org>", "250");
    client.command("DATA", "354");
    server.signal(Signal::TERM);
    server.wait_for_log(|line| line.contains(" stopping"));
    // After the time for connections that were under way, so that this does not wake the shard either.
    std::thread::sleep(Duration::from_millis(500));
    drop(client);
    let start = Instant::now();
    assert!(server.wait().success());
    assert!(start.elapsed() < ringmx::limits::SHUTDOWN_WAIT_MAX / 2, "it took {:?}", start.elapsed());
}

/// The stop says what it waits for, again and again.
#[test]
fn a_stop_says_for_what_it_waits() {
    let mut server = Server::start("[[sink]]\nkind = \"discard\"");
    // In the middle of its mail data; it has some time to end it.
    let mut client = Client::greeted(server.address());
    client.send(b"EHLO x.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
    while !client.reply().starts_with("354") {}
    client.send(b"Subject: x\r\n");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let line = server.wait_for_log(|line| line.contains(" stopping "));
    assert!(line.contains("connections=1"), "{line}");
    let line = server.wait_for_log(|line| line.contains(" waiting "));
    assert!(line.contains("connections=1") && begun.elapsed() < Duration::from_secs(20), "{line}");
    drop(client);
    server.wait();
}
