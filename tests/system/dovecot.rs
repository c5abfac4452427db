//! A Dovecot under another uid reads what ringmx stores for its group (docs/maildir.md): each message is
//! there, whole, and as large as its name says.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::Client;
use support::dns_server::DnsServer;
use support::image;
use support::server::Server;

use crate::forward::free_address;

/// The user of ringmx, that of Dovecot, and the group that both are members of.
const RINGMX: u32 = 65534;
const DOVECOT: u32 = 5000;
const GROUP: u32 = 54_321;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Dovecot in a folder of its own; ended by drop.
pub struct Dovecot {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Dovecot {
    /// For the maildirs of a store.
    fn start(store: &Path) -> Self {
        Self::with(|path, port| {
            format!(
                "protocols = imap\nmail_location = maildir:{}/%Ld/%Ln\n\
                 service imap-login {{\n inet_listener imap {{\n  port = {port}\n }}\n}}\n\
                 userdb {{\n driver = static\n args = uid={DOVECOT} gid={GROUP} home={path}/home/%Ld/%Ln\n}}\n",
                store.display()
            )
        })
    }

    /// With settings that are made of its folder and the port of its IMAP; the password of everybody is
    /// `secret`.
    pub fn with(settings: impl Fn(&str, u16) -> String) -> Self {
        // Somebody else may have had one of its ports first.
        (0..5).find_map(|_| Self::try_with(&settings)).expect("a Dovecot that goes on running")
    }

    fn try_with(settings: impl Fn(&str, u16) -> String) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        // It takes no port of the kernel's choice.
        let address = free_address();
        let text = format!(
            "base_dir = {path}/run\nstate_dir = {path}/run\nlog_path = {path}/log\nlisten = 127.0.0.1\n\
             ssl = no\ndisable_plaintext_auth = no\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
             passdb {{\n driver = static\n args = password=secret\n}}\n{}",
            settings(path, address.port()),
        );
        fs::write(folder.path().join("dovecot.conf"), text).expect("a configuration");
        let child = Command::new("/usr/sbin/dovecot")
            .args(["-F", "-c"])
            .arg(folder.path().join("dovecot.conf"))
            .stdin(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut dovecot = Self { child, folder, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = dovecot.child.try_wait().expect("its state") {
                println!("{status}: {}", dovecot.log());
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "{}", dovecot.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(dovecot)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A session of a user, with INBOX selected, which has so many messages.
    pub fn select(&self, user: &str, count: usize) -> Imap {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut imap = Imap(BufReader::new(stream));
        assert!(imap.line().starts_with("* OK"));
        imap.command(&format!("LOGIN {user} secret"));
        let selected = imap.command("SELECT INBOX");
        assert!(selected.contains(&format!("* {count} EXISTS\r\n")), "{user}: {selected}\n{}", self.log());
        imap
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if !self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            return;
        }
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        // Its own processes end with it.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A client of it.
pub struct Imap(BufReader<TcpStream>);

impl Imap {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    /// What is answered, up to the line that says that it is done.
    fn command(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("x {command}\r\n").as_bytes()).expect("sent");
        let mut all = String::new();
        loop {
            let line = self.line();
            let is_last = line.starts_with("x ");
            assert!(!is_last || line.starts_with("x OK"), "{command}: {line}");
            all.push_str(&line);
            if is_last {
                return all;
            }
        }
    }

    /// The size of the first message as it is told, and its octets.
    fn message(&mut self) -> (usize, Vec<u8>) {
        self.fetch(1)
    }

    /// The same of any message.
    pub fn fetch(&mut self, number: usize) -> (usize, Vec<u8>) {
        let size = self.command(&format!("FETCH {number} RFC822.SIZE"));
        let (_, size) = size.split_once("RFC822.SIZE ").expect("a size");
        let size = size.split(')').next().and_then(|size| size.parse().ok()).expect("a number");
        self.0.get_mut().write_all(format!("y FETCH {number} BODY[]\r\n").as_bytes()).expect("sent");
        let line = self.line();
        let count = line.trim_end().trim_end_matches('}').rsplit('{').next().expect("a literal");
        let mut octets = vec![0; count.parse().expect("a count")];
        self.0.read_exact(&mut octets).expect("the literal");
        while !self.line().starts_with("y ") {}
        (size, octets)
    }
}

/// A ringmx as its own user, whose files are for the group, too.
fn ringmx(line_endings: &str, more: &str) -> Server {
    let become_user = format!(
        "chmod 755 . && mkdir mail && chown {RINGMX}:{GROUP} mail && chmod 2770 mail && \
         exec setpriv --reuid={RINGMX} --regid={RINGMX} --groups={GROUP} \"$@\""
    );
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n\
         template = \"{{domain}}/{{local}}\"\ncreate = true\ngroup = \"{GROUP}\"\nline_endings = \"{line_endings}\"\n{more}\n"
    );
    Server::start_under(&["sh", "-c", &become_user, "sh"], &config, &[])
}

/// The one file of a maildir.
fn file(maildir: &Path) -> PathBuf {
    let names = ["new", "cur"].map(|folder| fs::read_dir(maildir.join(folder)).expect("a folder"));
    let mut paths = names.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let path = paths.next().expect("a file");
    assert!(paths.next().is_none(), "one file");
    path
}

#[test]
fn dovecot_under_another_uid_reads_each_message_with_the_size_that_its_name_tells() {
    if image::unavailable(&["dovecot", "setpriv"]).is_some() {
        return;
    }
    for line_endings in ["lf", "crlf"] {
        let server = ringmx(line_endings, "");
        let mut client = Client::greeted(server.address());
        let lines = b"Subject: lines\r\n\r\none\r\n..two\r\n";
        assert!(client.deliver("a@b.test", "lines@x.test", lines).starts_with("250"));
        let bare: &[u8] = b"Subject: bare\r\n\r\na bare\nline end, and\rone\r\n";
        for (user, body) in [("bare", ""), ("binary", " BODY=BINARYMIME")] {
            client.command(&format!("MAIL FROM:<a@b.test>{body}"), "250");
            client.command(&format!("RCPT TO:<{user}@x.test>"), "250");
            client.send(&[format!("BDAT {} LAST\r\n", bare.len()).as_bytes(), bare].concat());
            client.expect("250");
        }
        let store = server.folder().join("mail");
        let dovecot = Dovecot::start(&store);
        for (user, sent) in [("lines", &lines[..]), ("bare", bare), ("binary", bare)] {
            let maildir = store.join("x.test").join(user);
            let (size, octets) = dovecot.select(&format!("{user}@x.test"), 1).message();
            assert!(octets.ends_with(&with_crlf(sent)), "{}", String::from_utf8_lossy(&octets));
            // It was moved by Dovecot, and marked as read.
            let path = file(&maildir);
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let named = name.split_once(",W=").and_then(|(_, rest)| rest.split(':').next()).expect("a size");
            assert_eq!((named, octets.len()), (size.to_string().as_str(), size), "{name}");
            let facts = path.metadata().expect("its facts");
            assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (RINGMX, GROUP, 0o660), "{name}");
            assert_eq!(path.parent(), Some(maildir.join("cur").as_path()), "{name}");
            assert_eq!(facts.len().to_string(), name.split([',', '=']).nth(2).expect("S="), "{name}");
        }
        let log = dovecot.log();
        assert!(!log.contains("Error") && !log.contains("Warning"), "{log}");
        // The log would tell: this name lies.
        let wrong = file(&store.join("x.test/lines"));
        let lie = wrong.display().to_string().replace(",W=", ",W=9");
        fs::rename(&wrong, &lie).expect("renamed");
        for cache in ["dovecot.index", "dovecot.index.cache", "dovecot.index.log"] {
            let _ = fs::remove_file(store.join("x.test/lines").join(cache));
        }
        let mut imap = dovecot.select("lines@x.test", 1);
        imap.0.get_mut().write_all(b"y FETCH 1 BODY[]\r\n").expect("sent");
        // It promised more octets than there are, and gives up.
        imap.0.read_to_end(&mut Vec::new()).expect("the end");
        // Another process of it writes the log.
        let until = Instant::now() + Duration::from_secs(30);
        while !dovecot.log().contains("wrong W value") {
            assert!(Instant::now() < until, "{}", dovecot.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn dovecot_under_another_uid_finds_marked_mail_in_the_folder_junk() {
    if image::unavailable(&["dovecot", "setpriv"]).is_some() {
        return;
    }
    let dns = DnsServer::start();
    let more = format!("quarantine = \"junk\"\n[dns]\nservers = [\"{}\"]\n[auth]", dns.address());
    let server = ringmx("lf", &more);
    let mut client = Client::greeted(server.address());
    let marked = b"From: a@b.test\r\nFrom: c@d.test\r\nSubject: marked\r\n\r\none\r\n";
    let plain = b"From: a@b.test\r\nSubject: plain\r\n\r\none\r\n";
    for (user, data) in [("anna", &marked[..]), ("anna", plain), ("new", marked)] {
        assert!(client.deliver("a@b.test", &format!("{user}@x.test"), data).starts_with("250"));
    }
    let store = server.folder().join("mail");
    let dovecot = Dovecot::start(&store);
    for (user, count) in [("anna", 1), ("new", 0)] {
        let mut imap = dovecot.select(&format!("{user}@x.test"), count);
        assert!(imap.command("LIST \"\" *").contains("Junk\r\n"), "{user}");
        let selected = imap.command("SELECT Junk");
        assert!(selected.contains("* 1 EXISTS\r\n"), "{selected}\n{}", dovecot.log());
        let (_, octets) = imap.message();
        assert!(octets.ends_with(marked), "{}", String::from_utf8_lossy(&octets));
        let junk = store.join("x.test").join(user).join(".Junk");
        let facts = file(&junk).metadata().expect("its facts");
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (RINGMX, GROUP, 0o660));
    }
    let log = dovecot.log();
    assert!(!log.contains("Error") && !log.contains("Warning"), "{log}");
    // A folder that Dovecot made for itself is not ours to write in: the inbox takes the mail.
    dovecot.select("new@x.test", 0).command("DELETE Junk");
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(store.join("x.test/new/.Junk").join(folder)).expect("a directory");
    }
    std::os::unix::fs::chown(store.join("x.test/new/.Junk"), Some(DOVECOT), Some(DOVECOT))
        .expect("given away");
    fs::set_permissions(store.join("x.test/new/.Junk"), fs::Permissions::from_mode(0o700)).expect("kept");
    // The first one meets the loss of the old one.
    for count in 1..=2 {
        assert!(client.deliver("a@b.test", "new@x.test", marked).starts_with("250"));
        assert_eq!(fs::read_dir(store.join("x.test/new/new")).expect("the inbox").count(), count);
    }
    server.wait_for_log(|line| line.contains("x.test/new/.Junk") && line.contains("ermission denied"));
}

/// As IMAP shows it: each LF alone becomes CRLF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for octet in text {
        if *octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}
