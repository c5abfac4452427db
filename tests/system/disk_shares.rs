//! One client cannot take the disk: spill files respect the reserve and a share for each client.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmx::limits;
use support::client::Client;
use support::image::{self, Mounted};
use support::server::Server;

const MIB: u64 = 1024 * 1024;

/// Small memory, so that all but the shortest messages go to spill files.
const SMALL: &str = "[shards]\ncpus = [0]\nbuffers = 64\nbuffer_size = \"16KiB\"\nblock_memory = \"9MiB\"\n\
                     [log]\nsessions = false\n";

fn line(number: usize) -> Vec<u8> {
    format!("a line of a message that never seems to end {number:05}\r\n").into_bytes()
}

/// Sends so many octets of mail data to each connection, a little at a time, and no end.
fn hold(clients: &mut [Client], bytes: usize) {
    const STEP: usize = 64 * 1024;
    let text = line(7).repeat(STEP / 60);
    for client in &mut *clients {
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@example.org>", "250");
        client.command("DATA", "354");
    }
    for _ in 0..bytes.div_ceil(text.len()) {
        for client in &mut *clients {
            client.send(&text);
        }
    }
}

/// A client that a front speaks for.
fn behind_front(front: SocketAddr, client: &str) -> Client {
    let mut connection = Client::connect(front);
    connection.send(format!("PROXY TCP4 {client} 192.0.2.25 4321 25\r\n").as_bytes());
    connection.expect("220");
    connection.command("EHLO client.example", "250");
    connection
}

#[test]
fn spill_files_leave_the_reserve_free() {
    if image::unavailable(&["mkfs.ext4", "losetup"]).is_some() {
        return;
    }
    const RESERVE: u64 = 64 * MIB;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    image::make("ext4", &path("image"), 256 * MIB);
    let disk = Mounted::new("ext4", &path("image"), &path("disk"), false);
    for sink in ["maildir", "spool"] {
        let more = if sink == "spool" { "segment_size = \"1MiB\"\n" } else { "" };
        let server = Server::start(&format!(
            "{SMALL}[limits]\nmessage_size_max = \"8MiB\"\n[[sink]]\nkind = \"{sink}\"\npath = \"{}\"\nspace_reserve = \
             \"64MiB\"\n{more}",
            disk.path().join(sink).display()
        ));
        let mut clients: Vec<Client> = (0..40).map(|_| Client::greeted(server.address())).collect();
        let (held, least) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !held.load(Ordering::Relaxed) {
                    let facts = rustix::fs::statvfs(disk.path()).expect("facts");
                    least.fetch_min(facts.f_bavail * facts.f_frsize, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            hold(&mut clients, 7 << 20);
            // What was sent may wait in the kernel for a server that has little of a core.
            let start = Instant::now();
            while least.load(Ordering::Relaxed) >= RESERVE + 16 * MIB
                && start.elapsed() < Duration::from_mins(1)
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            held.store(true, Ordering::Relaxed);
        });
        let least = least.into_inner();
        // What others wrote between two looks: segments and blocks of the file system's own.
        assert!(least + 4 * MIB >= RESERVE, "{sink}: only {} MiB were free", least / MIB);
        assert!(least < RESERVE + 16 * MIB, "{sink}: {} MiB were free: nothing was tried", least / MIB);
        for client in &mut clients {
            client.send(b".\r\n");
        }
        let replies: Vec<String> = clients.iter_mut().map(Client::reply).collect();
        let count = |start: &str| replies.iter().filter(|reply| reply.starts_with(start)).count();
        assert!(count("250 ") >= 10 && count("452 4.3.1") >= 10, "{sink}: {replies:?}");
        assert_eq!(count("250 ") + count("452 4.3.1"), clients.len(), "{sink}: {replies:?}");
        drop(server);
        std::fs::remove_dir_all(disk.path().join(sink)).expect("removed");
    }
}

#[test]
fn one_client_cannot_take_all_spill_files() {
    let server = Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = \
         [\"127.0.0.0/8\"]\n{SMALL}[limits]\nmessage_size_max = \"8MiB\"\nspill_files_max = 16\n[[sink]]\nkind = \
         \"maildir\"\npath = \"mail\"\n"
    ));
    let mut greedy: Vec<Client> = (0..20).map(|_| behind_front(server.address(), "192.0.2.1")).collect();
    hold(&mut greedy, 1 << 20);
    let mut others: Vec<Client> =
        (0..4).map(|number| behind_front(server.address(), &format!("192.0.2.{}", 2 + number))).collect();
    hold(&mut others, 1 << 20);
    let end = |clients: &mut [Client]| -> Vec<String> {
        for client in &mut *clients {
            client.send(b".\r\n");
        }
        clients.iter_mut().map(Client::reply).collect()
    };
    let replies = end(&mut others);
    assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    let replies = end(&mut greedy);
    let accepted = replies.iter().filter(|reply| reply.starts_with("250 ")).count();
    let refused = replies.iter().filter(|reply| reply.starts_with("451 4.3.2")).count();
    assert!(accepted >= 1 && refused >= 10 && accepted + refused == greedy.len(), "{replies:?}");
    // It is as before once they are closed.
    let start = Instant::now();
    loop {
        hold(&mut greedy[..1], 1 << 20);
        if end(&mut greedy[..1])[0].starts_with("250 ") {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "the share comes back");
    }
}

#[test]
fn a_maildir_holds_a_message_once_however_many_recipients_share_it() {
    for (template, at) in [("", "new"), ("{domain}", "example.org/new")] {
        let server = Server::start_whole(&format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind \
             = \"maildir\"\npath = \"mail\"\ntemplate = \"{template}\"\ncreate = true\n"
        ));
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        for number in 0..1000 {
            client.command(&format!("RCPT TO:<r{number}@example.org>"), "250");
        }
        client.command("DATA", "354");
        client.send(&line(1).repeat(1000));
        client.send(b".\r\n");
        client.expect("250");
        let files: Vec<_> = std::fs::read_dir(server.folder().join("mail").join(at)).expect("new").collect();
        let [Ok(file)] = &files[..] else { panic!("{template}: {} files", files.len()) };
        let content = std::fs::read_to_string(file.path()).expect("the file");
        let (head, _) = content.split_once("\nReceived: ").expect("our fields");
        let recipients: Vec<&str> =
            head.lines().filter_map(|line| line.strip_prefix("Delivered-To: ")).collect();
        let expected: Vec<String> = (0..1000).map(|number| format!("r{number}@example.org")).collect();
        assert_eq!(recipients, expected, "in the order of RCPT");
    }
}

#[test]
fn copies_of_a_message_are_bounded_at_its_end_where_size_was_not_said() {
    let server = Server::start_whole(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \
         \"maildir\"\npath = \"mail\"\ntemplate = \"{local}\"\ncreate = true\n",
    );
    // 512 MiB are for all copies, so 874 KiB for each of these.
    const RECIPIENTS: usize = 600;
    let mut client = Client::greeted(server.address());
    let begin = |client: &mut Client, size: &str| {
        client.command(&format!("MAIL FROM:<a@x.test>{size}"), "250");
        for number in 0..RECIPIENTS {
            client.command(&format!("RCPT TO:<r{number}@example.org>"), "250");
        }
    };
    let (too_large, small) = (line(1).repeat(24_000), line(1).repeat(10));
    let tail = "552 5.3.4 Message too large for so many recipients";
    for size in ["", " SIZE=100"] {
        begin(&mut client, size);
        client.command("DATA", "354");
        client.send(&too_large);
        client.send(b".\r\n");
        client.expect(tail);
        begin(&mut client, size);
        client.send(format!("BDAT {} LAST\r\n", too_large.len()).as_bytes());
        client.send(&too_large);
        client.expect(tail);
    }
    assert_eq!(
        std::fs::read_dir(server.folder().join("mail")).expect("the store").count(),
        1,
        "only its lock"
    );
    begin(&mut client, "");
    client.command("DATA", "354");
    client.send(&small);
    client.send(b".\r\n");
    client.expect("250");
    assert_eq!(std::fs::read_dir(server.folder().join("mail")).expect("the store").count(), 1 + RECIPIENTS);
}

#[test]
fn who_holds_a_spill_file_and_hardly_sends_gives_way_when_they_are_scarce() {
    let server = Server::start(&format!(
        "{SMALL}[limits]\nmessage_size_max = \"8MiB\"\nspill_files_max = 4\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n"
    ));
    // Enough for a file each, and for what is left in memory to be little.
    let mut holders: Vec<Client> = (0..4).map(|_| Client::greeted(server.address())).collect();
    hold(&mut holders, 6 << 20);
    std::thread::sleep(limits::SPILL_IDLE_MAX + Duration::from_secs(1));
    let mut client = Client::greeted(server.address());
    let start = Instant::now();
    let accepted = loop {
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@example.org>", "250");
        client.command("DATA", "354");
        for _ in 0..100 {
            client.send(&line(2).repeat(1200));
        }
        client.send(b".\r\n");
        let reply = client.reply();
        if reply.starts_with("250 ") {
            break reply;
        }
        assert!(reply.starts_with("451 4.3.2"), "{reply}");
        assert!(start.elapsed() < Duration::from_mins(1), "nobody gives way");
    };
    assert!(accepted.starts_with("250 "));
    // One gave way and was told why; no more than was needed.
    let mut told: Vec<String> = Vec::new();
    for holder in &mut holders {
        let wait = Some(Duration::from_millis(200));
        holder.stream().set_read_timeout(wait).expect("a time-out");
        let mut octets = [0; 64];
        let count = (&mut holder.stream()).read(&mut octets).unwrap_or_default();
        told.push(String::from_utf8_lossy(&octets[..count]).into_owned());
    }
    let given_way = told.iter().filter(|text| text.starts_with("421 4.4.2")).count();
    assert!((1..=2).contains(&given_way), "{told:?}");
}
