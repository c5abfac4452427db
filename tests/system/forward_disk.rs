//! The forwarder whose disk fails under its notes while mail is on its way: what it could not note is said
//! again, nobody goes without mail or a notice, and nobody has one twice for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::client::{Client, stuffed};
use support::faulty::{Fault, Faulty};
use support::image;
use support::next_hop::{Manner, NextHop, accept};
use support::server::Server;

use crate::forward::{Forwarder, PATIENCE, queue};

/// Messages of each kind before and after the disk fails, and on their way while it does.
const MESSAGES: usize = 8;

/// How long a next hop takes that is slow.
const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// At RCPT: nobody there, not now, or yes.
fn by_name(mailbox: &str) -> String {
    match mailbox.split('.').next() {
        Some("gone") => "550 5.1.1 No such user".to_owned(),
        Some("full") => "452 4.2.2 Over quota".to_owned(),
        _ => accept(mailbox),
    }
}

/// The same after a while: what was sent then is on its way.
fn slowly_by_name(mailbox: &str) -> String {
    std::thread::sleep(ON_ITS_WAY);
    by_name(mailbox)
}

fn manner(recipient: fn(&str) -> String) -> Manner {
    let keywords = vec!["PIPELINING", "ENHANCEDSTATUSCODES"];
    Manner { is_lmtp: false, keywords, recipient, end: accept }
}

/// A receiver and a forwarder on a disk that fails.
struct Setting {
    hop: NextHop,
    /// Takes notices to senders.
    via: NextHop,
    near: Server,
    disk: Faulty,
    sent: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Setting {
    /// None where nothing can be mounted.
    fn new() -> Option<Self> {
        if image::unavailable(&["mount"]).is_some() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let spool = folder.path().join("spool");
        let disk = Faulty::mount(&folder.path().join("behind"), &spool, true);
        let disk = disk.expect("a FUSE file system");
        let [hop, via] = [by_name, accept].map(|recipient| NextHop::start(manner(recipient)));
        let near = Server::start_whole(&format!(
            "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\n\
             address = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"{}\"\nsegment_size = \"1MiB\"\n\
             dsn = true\n[log]\nsessions = false\n[[forward]]\nto = [\"smtp://{}\"]\n\
             [forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://{}\"\n",
            spool.display(),
            hop.address(),
            via.address()
        ));
        Some(Self { hop, via, near, disk, sent: Vec::new(), _folder: folder })
    }

    /// Some messages more of each kind, each with a sender of its own who wants to hear what became of it.
    fn send(&mut self) {
        let mut client = Client::greeted(self.near.address());
        for _ in 0..MESSAGES {
            for kind in ["user", "full", "gone"] {
                let name = format!("{kind}.{}", self.sent.len());
                let data = stuffed(format!("Subject: {name}\r\n\r\n{}\r\n", "text ".repeat(400)).as_bytes());
                let start = Instant::now();
                // The receiver looks again a second after its disk failed.
                let mut reply = String::new();
                while !reply.starts_with("250") {
                    assert!(start.elapsed() < PATIENCE, "{reply}");
                    client.command(&format!("MAIL FROM:<a@{name}.test>"), "250");
                    client.command(&format!("RCPT TO:<{name}@example.test> NOTIFY=SUCCESS,FAILURE"), "250");
                    client.command("DATA", "354");
                    client.send(&data);
                    reply = client.reply();
                }
                self.sent.push(name);
            }
        }
    }

    /// Some that are settled, and others that are on their way when the disk fails.
    fn send_and_break(&mut self, forwarder: &Forwarder, fault: Fault) {
        self.send();
        self.wait_until(forwarder, "the first", |list| list.matches(" dead ").count() == MESSAGES);
        self.hop.set(manner(slowly_by_name));
        self.send();
        self.disk.set(fault);
    }

    /// The disk is well again, and nobody is over quota any more.
    fn mend(&self) {
        self.disk.set(Fault::None);
        self.hop.set(manner(|mailbox| {
            let is_gone = mailbox.starts_with("gone");
            if is_gone { by_name(mailbox) } else { accept(mailbox) }
        }));
    }

    /// How often each message went out.
    fn taken(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for taken in self.hop.taken() {
            let name = taken.recipients.concat().replace("@example.test", "");
            let text = String::from_utf8(taken.data).expect("text");
            assert!(text.ends_with(&format!("Subject: {name}\r\n\r\n{}\r\n", "text ".repeat(400))));
            *all.entry(name).or_default() += 1;
        }
        all
    }

    fn wait_until(&self, forwarder: &Forwarder, what: &str, is_so: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let list = queue(&self.near, &["list"]);
            if is_so(&list) {
                return;
            }
            let (taken, told) = (self.taken(), self.told());
            let lacks: Vec<_> = self.sent.iter().filter(|name| !told.contains_key(*name)).collect();
            let still = format!("{} went out, not told are {lacks:?}", taken.len());
            assert!(start.elapsed() < PATIENCE, "{what}: {still}\n{list}{}", forwarder.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How often each sender was told what became of its message.
    fn told(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for taken in self.via.taken() {
            let recipients = taken.recipients.concat();
            let name =
                recipients.strip_prefix("a@").and_then(|name| name.strip_suffix(".test")).expect("a sender");
            let action = if name.starts_with("gone") { "failed" } else { "relayed" };
            let text = String::from_utf8(taken.data).expect("text");
            assert!(text.contains(&format!("\r\nAction: {action}\r\n")), "{text}");
            *all.entry(name.to_owned()).or_default() += 1;
        }
        all
    }

    /// Whether all are told. A notice of success may be lost with a process that the disk did not let note
    /// it.
    fn are_told(&self, was_killed: bool) -> bool {
        let told = self.told();
        self.sent.iter().all(|name| told.contains_key(name) || (was_killed && !name.starts_with("gone")))
    }

    /// All is where it belongs: what was put off is tried within a minute or two. How many messages, and how
    /// many notices, went out twice.
    fn settle(&self, forwarder: &Forwarder, was_killed: bool) -> [usize; 2] {
        let gone = self.sent.iter().filter(|name| name.starts_with("gone")).count();
        self.wait_until(forwarder, "all is delivered or given up", |list| {
            let is_all_dead =
                list.lines().all(|line| line.contains(" dead ")) && list.lines().count() == gone;
            is_all_dead && self.taken().len() + gone == self.sent.len() && self.are_told(was_killed)
        });
        // None comes after all the others.
        std::thread::sleep(Duration::from_millis(500));
        let [taken, told] = [self.taken(), self.told()];
        for name in &self.sent {
            assert_eq!(taken.contains_key(name), !name.starts_with("gone"), "{name}\n{}", forwarder.log());
        }
        [taken, told].map(|all| all.values().map(|count| count - 1).sum())
    }
}

#[test]
fn a_failed_write_or_sync_is_made_good_when_the_disk_is_well_again() {
    let faults = [
        Fault::Write(libc::ENOSPC),
        Fault::Sync(libc::ENOSPC),
        Fault::Write(libc::EIO),
        Fault::Sync(libc::EIO),
        Fault::Write(libc::EDQUOT),
    ];
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || made_good(fault));
        }
    });
}

fn made_good(fault: Fault) {
    let Some(mut setting) = Setting::new() else { return };
    let forwarder = Forwarder::start(&setting.near);
    setting.send_and_break(&forwarder, fault);
    forwarder.wait_for("note what became");
    std::thread::sleep(Duration::from_secs(2));
    assert!(setting.disk.met() > 0);
    setting.mend();
    setting.send();
    let twice = setting.settle(&forwarder, false);
    assert_eq!(twice, [0; 2], "{fault:?}: nobody died, and yet: {:?} {:?}", setting.taken(), setting.told());
    forwarder.stop();
}

#[test]
fn killed_on_a_disk_that_fails_it_says_again_what_was_not_noted_and_no_more() {
    std::thread::scope(|scope| {
        for fault in [Fault::Write(libc::ENOSPC), Fault::Sync(libc::EIO)] {
            scope.spawn(move || said_again(fault));
        }
    });
}

fn said_again(fault: Fault) {
    let Some(mut setting) = Setting::new() else { return };
    let forwarder = Forwarder::start(&setting.near);
    setting.send_and_break(&forwarder, fault);
    forwarder.wait_for("note what became");
    std::thread::sleep(Duration::from_millis(500));
    forwarder.kill();
    setting.mend();
    let forwarder = Forwarder::start(&setting.near);
    setting.send();
    let twice = setting.settle(&forwarder, true);
    let [messages, notices] = twice;
    println!("{fault:?}: {messages} messages and {notices} notices went out twice");
    // Only what was on its way.
    assert!(messages <= MESSAGES && notices <= 2 * MESSAGES, "{:?} {:?}", setting.taken(), setting.told());
    forwarder.stop();
}
