//! `ringmx spool …` as an operator runs it, beside a real receiver: nothing is lost, handed on twice or
//! changed.

mod mistakes;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use data_encoding::BASE64;
use ringmx::mail::queue_id::QueueId;
use ringmx::sink::spool::format::{RecordHeader, SegmentHeader};
use ringmx::sink::spool::reader;
use support::client::Client;
use support::server::Server;

fn server() -> Server {
    Server::start(
        "[[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n[log]\nsessions = false",
    )
}

fn ringmx(arguments: &[&str], directory: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
    command.args(["spool"]).args(arguments).arg(directory).args(more).output().expect("it runs")
}

/// Standard output of a command that succeeds.
fn good(arguments: &[&str], directory: &Path, more: &[&str]) -> String {
    let output = ringmx(arguments, directory, more);
    assert!(output.status.success(), "{arguments:?} {more:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Standard error of a command that fails.
fn bad(arguments: &[&str], directory: &Path, more: &[&str]) -> String {
    let output = ringmx(arguments, directory, more);
    assert_eq!(output.status.code(), Some(1), "{arguments:?} {more:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn member(line: &str, name: &str) -> String {
    let object: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
    object[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned()
}

fn content(line: &str) -> Vec<u8> {
    BASE64.decode(member(line, "data_base64").as_bytes()).expect("base64")
}

fn send(server: &Server, from: u32, to: u32, bytes: usize) {
    let mut client = Client::greeted(server.address());
    for number in from..to {
        let data = format!("Subject: number {number}\r\n\r\n{}\r\n", "x".repeat(bytes));
        assert!(client.deliver("a@x.test", "b@y.test", data.as_bytes()).starts_with("250"));
    }
}

fn number(line: &str) -> u32 {
    let text = String::from_utf8(content(line)).expect("ASCII");
    let behind = text.split("Subject: number ").nth(1).expect("a subject");
    behind.split("\r\n").next().and_then(|digits| digits.parse().ok()).expect("a number")
}

/// A running `follow`, ended by drop.
struct Follow(Child, BufReader<std::process::ChildStdout>);

impl Follow {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmx"))
            .args(["spool", "follow"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let output = BufReader::new(child.stdout.take().expect("standard output"));
        Self(child, output)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.1.read_line(&mut line).expect("a line") > 0, "follow ended");
        line
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn follow_hands_on_every_message_once_and_in_order_beside_a_receiver_and_across_a_restart() {
    const COUNT: u32 = 150;
    let mut first = server();
    let spool = first.folder().join("spool");
    let mut follow = Follow::start(&spool);
    let sender = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&first, 0, COUNT, 20_000));
        let lines: Vec<String> = (0..COUNT).map(|_| follow.line()).collect();
        sending.join().expect("sent");
        lines
    });
    assert_eq!(sender.iter().map(|line| number(line)).collect::<Vec<_>>(), (0..COUNT).collect::<Vec<_>>());
    assert!(reader::segments(&spool).expect("a spool").len() > 2, "several segments");
    assert!(first.stop().success());
    // The same spool under another receiver.
    let config =
        format!("[[sink]]\nkind = \"spool\"\npath = \"{}\"\nsegment_size = \"1MiB\"", spool.display());
    let second = Server::start(&config);
    send(&second, COUNT, COUNT + 5, 9);
    let further: Vec<u32> = (0..5).map(|_| number(&follow.line())).collect();
    assert_eq!(further, (COUNT..COUNT + 5).collect::<Vec<_>>());
    // A lone message comes promptly.
    let start = std::time::Instant::now();
    send(&second, 999, 1000, 9);
    assert_eq!(number(&follow.line()), 999);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    // A consumer that has gone ends it.
    let Follow(child, output) = &mut follow;
    drop(std::mem::replace(output, BufReader::new(spare_output())));
    assert!(child.wait().expect("it ends").success());
}

/// The standard output of a process that is over, to put in the place of another.
fn spare_output() -> std::process::ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().expect("it runs");
    child.wait().expect("it ends");
    child.stdout.take().expect("standard output")
}

#[test]
fn the_consumer_loop_goes_on_where_it_pruned() {
    let mut server = server();
    let spool = server.folder().join("spool");
    send(&server, 0, 60, 40_000);
    // Or it would recycle, sooner or later, what is listed below.
    assert!(server.stop().success());
    let lines = good(&["follow"], &spool, &["--once"]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 60);
    let cursors: Vec<String> = lines.iter().map(|line| member(line, "cursor")).collect();
    let told = good(&["prune"], &spool, &["--through", &cursors[49]]);
    assert!(told.contains(": 50 messages more"), "{told}");
    let rest = good(&["follow"], &spool, &["--once"]);
    assert_eq!(rest.lines().map(number).collect::<Vec<_>>(), (50..60).collect::<Vec<_>>());
    let after = good(&["follow"], &spool, &["--once", "--after", &cursors[57]]);
    assert_eq!(after.lines().map(number).collect::<Vec<_>>(), [58, 59]);
    assert!(bad(&["prune"], &spool, &["--through", &cursors[3]]).contains("consumed already"));
    let wrong = format!("{}1", cursors[59]);
    assert!(bad(&["prune"], &spool, &["--through", &wrong]).contains("no record begins"));
    let list = good(&["list"], &spool, &[]);
    // The receiver may have recycled a segment by now.
    let (consumed, stored): (Vec<&str>, Vec<&str>) =
        list.lines().partition(|line| line.contains(" consumed "));
    assert!(stored.len() == 10 && consumed.len() <= 50, "{list}");
    assert!(
        list.lines()
            .rev()
            .zip(cursors.iter().rev())
            .all(|(line, cursor)| line.ends_with(&format!(" {cursor}")))
    );
    assert_eq!(good(&["list"], &spool, &["--after", &cursors[58]]).lines().count(), 1);
    assert!(bad(&["show"], &spool, &["nonsense"]).contains("no such message"));
    // Segments that somebody pruned and the receiver took away.
    let oldest = reader::segments(&spool).expect("a spool")[0].1.clone();
    fs::remove_file(oldest).expect("removed");
    let output = ringmx(&["follow"], &spool, &["--once", "--after", &cursors[0]]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("is gone"));
    assert!(String::from_utf8_lossy(&output.stdout).lines().map(number).next_back() == Some(59));
}

#[test]
fn verify_tells_damage_and_follow_passes_over_it() {
    let mut server = server();
    let spool = server.folder().join("spool");
    send(&server, 0, 8, 1500);
    assert!(server.stop().success());
    assert!(good(&["verify"], &spool, &[]).contains("8 records"));
    let segment = reader::segments(&spool).expect("a spool")[0].1.clone();
    let mut octets = fs::read(&segment).expect("a segment");
    // In the second record: each came alone, in a batch of 4096 octets.
    octets[8192 + 200] ^= 4;
    fs::write(&segment, &octets).expect("written");
    assert!(bad(&["verify"], &spool, &[]).contains("DAMAGE from octet 8192 to 12288"));
    let rest = good(&["follow"], &spool, &["--once"]);
    assert_eq!(rest.lines().map(number).collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6, 7]);
    octets[8192 + 200] ^= 4;
    // The last record that was written in part: a torn write.
    octets[8 * 4096 + 200] ^= 4;
    fs::write(&segment, &octets).expect("written");
    assert!(good(&["verify"], &spool, &[]).contains("7 records"));
    assert_eq!(good(&["follow"], &spool, &["--once"]).lines().count(), 7);
    // A name that is another segment's.
    octets[8 * 4096 + 200] ^= 4;
    fs::write(spool.join("00000000000000aa.segment"), &octets).expect("written");
    assert!(bad(&["verify"], &spool, &[]).contains("header of the segment is damaged"));
}

#[test]
fn exports_are_whole_safe_and_made_once() {
    let mut server = server();
    let spool = server.folder().join("spool");
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<\"../../x y\"@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.command("RCPT TO:<\"b c\"@y.test>", "250");
    client.command("DATA", "354");
    let hostile = "Subject: \x1b[31m\r\n\r\nFrom the start\r\n>From quoted\r\n\x1b]0;t\x07\r\n";
    client.send(format!("{hostile}.\r\n").as_bytes());
    client.expect("250");
    assert!(client.deliver("", "b@y.test", b"Subject: two\r\n\r\nFrom x\r\n").starts_with("250"));
    drop(client);
    assert!(server.stop().success());

    let eml = server.folder().join("eml");
    let target = |kind: &str, name: &str| [format!("--{kind}"), name.to_owned()];
    for told in ["2 messages exported, 0 were", "0 messages exported, 2 were"] {
        let [kind, path] = target("eml", eml.to_str().expect("UTF-8"));
        assert!(good(&["export"], &spool, &[&kind, &path]).starts_with(told));
    }
    let names: Vec<_> =
        fs::read_dir(&eml).expect("exported").map(|entry| entry.expect("entry").path()).collect();
    assert_eq!(names.len(), 2);
    // Names of one second are in no order.
    let is_first = |name: &&PathBuf| fs::read_to_string(name).expect("UTF-8").contains("b c");
    let first_name = names.iter().find(is_first).expect("the first message");
    let first = fs::read_to_string(first_name).expect("UTF-8");
    let head = "Return-Path: <\"../../x y\"@x.test>\r\nDelivered-To: b@y.test\r\nDelivered-To: \"b c\"@y.test\r\nReceived: ";
    assert!(first.starts_with(head) && first.ends_with(hostile), "{first:?}");

    let maildir = server.folder().join("exported");
    for told in ["2 messages exported, 0 were", "0 messages exported, 2 were"] {
        let [kind, path] = target("maildir", maildir.to_str().expect("UTF-8"));
        assert!(good(&["export"], &spool, &[&kind, &path]).starts_with(told));
    }
    let stored = server.maildir("exported");
    assert!(stored.len() == 2 && stored.contains(&first.replace("\r\n", "\n").into_bytes()));
    assert_eq!(fs::read_dir(maildir.join("tmp")).expect("a maildir").count(), 0);

    let mbox = server.folder().join("all.mbox");
    let [kind, path] = target("mbox", mbox.to_str().expect("UTF-8"));
    assert!(good(&["export"], &spool, &[&kind, &path]).starts_with("2 messages"));
    assert!(bad(&["export"], &spool, &[&kind, &path]).contains("exists"));
    let text = fs::read_to_string(&mbox).expect("UTF-8");
    assert!(text.starts_with("From \"../../x\\x20y\"@x.test "), "{text:?}");
    assert!(text.contains("\n>From the start\n>>From quoted\n") && text.contains("\nFrom MAILER-DAEMON "));
    let listing = good(&["list"], &spool, &[]);
    assert!(listing.lines().count() == 2 && listing.contains("x\\x20y"));
    python_reads(&mbox, &maildir, first_name);
}

/// Python's mailbox and email modules find the same.
fn python_reads(mbox: &Path, maildir: &Path, eml: &Path) {
    let script = "import email, mailbox, sys\n\
        for box in (mailbox.mbox(sys.argv[1]), mailbox.Maildir(sys.argv[2])):\n\
        \x20   subjects = sorted(str(m['Subject']) for m in box)\n\
        \x20   assert len(subjects) == 2 and subjects[1] == 'two', subjects\n\
        m = email.message_from_binary_file(open(sys.argv[3], 'rb'))\n\
        assert len(m.get_all('Delivered-To')) == 2, m\n";
    match Command::new("python3").args(["-c", script]).args([mbox, maildir, eml]).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("skipped: python3 does not run: {error}"),
    }
}

/// A segment with one record whose content goes on in a file, made by hand from `docs/spool.md`.
fn spool_with_a_file(rest: &[u8], more: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let field = |tag: u16, value: &[u8]| {
        [&tag.to_le_bytes()[..], &u32::try_from(value.len()).expect("small").to_le_bytes(), value].concat()
    };
    let file = [&(rest.len() as u64).to_le_bytes()[..], &crc32c::crc32c(rest).to_le_bytes()].concat();
    let id = QueueId::new(1_800_000_000, 1 << 56 | 7);
    let (inline, trace) = (b"Received: x\r\n", 13_u64.to_le_bytes());
    let envelope = [
        field(1, &id.0.to_le_bytes()),
        field(7, b"b@y.test"),
        field(11, &trace),
        field(0x8012, &file),
        more.to_vec(),
    ]
    .concat();
    let header = SegmentHeader { salt: 99, sequence: 3, bytes: 16_384, is_zeroed: true };
    let record = RecordHeader {
        offset: 4096,
        batch: 4096,
        frame_bytes: 4096,
        envelope_bytes: u32::try_from(envelope.len()).expect("small"),
        content_bytes: inline.len() as u64,
        body_crc: crc32c::crc32c(&[&99_u64.to_le_bytes()[..], &envelope, inline].concat()),
    };
    let mut octets = header.encode();
    octets.resize(4096, 0);
    octets.extend(record.encode(99));
    octets.extend(envelope);
    octets.extend(inline);
    octets.resize(16_384, 0);
    fs::write(folder.path().join("0000000000000003.segment"), octets).expect("written");
    fs::write(folder.path().join("0000000000000003-0000000000001000.message"), rest).expect("written");
    folder
}

#[test]
fn a_message_with_a_file_of_its_own_is_read_whole_or_not_at_all() {
    let rest = "Subject: large\r\n\r\n".to_owned() + &"0123456789".repeat(100_000);
    let folder = spool_with_a_file(rest.as_bytes(), b"");
    let spool = folder.path();
    let whole = format!("Received: x\r\n{rest}");
    let list = good(&["list"], spool, &[]);
    assert!(list.contains(&format!(" {} <> ", whole.len())), "{list}");
    let id = list.split(' ').next().expect("an id").to_owned();
    assert!(good(&["show"], spool, &[&id]) == whole);
    assert!(content(&good(&["follow"], spool, &["--once"])) == whole.as_bytes());
    assert!(good(&["verify"], spool, &[]).contains("1 records"));
    let file = spool.join("0000000000000003-0000000000001000.message");
    let mut octets = fs::read(&file).expect("the file");
    octets[500_000] ^= 1;
    fs::write(&file, octets).expect("written");
    assert!(bad(&["verify"], spool, &[]).contains("is damaged"));
    assert!(bad(&["follow"], spool, &["--once"]).contains("stopped before 0000000000000003:4096"));
    fs::remove_file(&file).expect("removed");
    assert!(bad(&["verify"], spool, &[]).contains("cannot be read"));
    let target = folder.path().join("eml");
    let target = target.to_str().expect("UTF-8");
    assert!(bad(&["export"], spool, &["--eml", target]).contains("cannot be read"));
}

#[test]
fn what_a_newer_ringmx_made_critical_is_not_handed_on() {
    let folder = spool_with_a_file(b"x", &[0xff, 0xff, 0, 0, 0, 0]);
    let spool = folder.path();
    let target = folder.path().join("eml");
    assert!(bad(&["export"], spool, &["--eml", target.to_str().expect("UTF-8")]).contains("newer ringmx"));
    assert_eq!(fs::read_dir(target).expect("a folder").count(), 0);
    assert!(bad(&["follow"], spool, &["--once"]).contains("newer ringmx"));
    assert!(bad(&["verify"], spool, &[]).contains("newer ringmx"));
}
