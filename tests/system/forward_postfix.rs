//! A Postfix takes mail from the forwarder at the port of its own that docs/forward.md has for `master.cf`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{Client, stuffed};
use support::image;
use support::server::Server;

use crate::forward::{
    Forwarder, MESSAGE, PATIENCE, below_received, free_address, queue, stored, wait_until_empty,
};

/// The owner of the mailbox.
const OWNER: u32 = 5000;

const DOCS: &str = include_str!("../../docs/forward.md");

/// What every Postfix needs.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// A Postfix with configuration, queue, log and mailbox in a folder of its own; ended by drop.
struct Postfix {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// With the port of the document.
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        image::run(Command::new("chmod").args(["755", path]));
        for (name, owner) in
            [("conf", None), ("queue", None), ("data", Some("postfix")), ("mail", Some("5000"))]
        {
            let name = format!("{path}/{name}");
            fs::create_dir(&name).expect("a directory");
            image::run(Command::new("chmod").args(["755", &name]));
            if let Some(owner) = owner {
                image::run(Command::new("chown").args([owner, &name]));
            }
        }
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {path}/queue\ndata_directory = {path}/data\n\
             mail_owner = postfix\nsetgid_group = postdrop\nmaillog_file = {path}/log\nmaillog_file_prefixes = {path}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = far.example.test\n\
             mydestination =\nalias_maps =\nvirtual_mailbox_domains = example.test\n\
             virtual_mailbox_base = {path}/mail\nvirtual_mailbox_maps = static:box/\nvirtual_minimum_uid = 1\n\
             virtual_uid_maps = static:{OWNER}\nvirtual_gid_maps = static:{OWNER}\nvirtual_mailbox_limit = 0\n\
             message_size_limit = 60000000\n"
        );
        fs::write(folder.path().join("conf/main.cf"), main).expect("written");
        let address = free_address();
        let (_, block) = DOCS.split_once("```text\n127.0.0.1:2525 inet").expect("the block of master.cf");
        let (block, _) = block.split_once("```").expect("its end");
        let master = format!("{SERVICES}{address} inet{block}");
        fs::write(folder.path().join("conf/master.cf"), master).expect("written");
        let child = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(folder.path().join("conf"))
            .arg("start-fg")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let postfix = Self { child, folder, address };
        let start = Instant::now();
        while std::net::TcpStream::connect(postfix.address).is_err() {
            assert!(start.elapsed() < PATIENCE, "{}", postfix.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        postfix
    }

    fn mailbox(&self) -> PathBuf {
        self.folder.path().join("mail/box")
    }

    /// The messages that it has delivered, once there are so many.
    fn mail(&self, count: usize) -> Vec<Vec<u8>> {
        let start = Instant::now();
        let has_come =
            |mailbox: &Path| fs::read_dir(mailbox.join("new")).is_ok_and(|entries| entries.count() >= count);
        while !has_come(&self.mailbox()) {
            assert!(start.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        stored(&self.mailbox())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The child is a script that waits for the master, whose processes end with it.
        let _ = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(self.folder.path().join("conf"))
            .arg("abort")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

/// A receiver in front of it, whose clients are named by XCLIENT.
fn near(postfix: &Postfix, tells: bool) -> Server {
    Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"elsewhere.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nextensions_off = [\"BINARYMIME\"]\nxclient_from = [\"127.0.0.1/32\"]\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n[[forward]]\nto = [\"smtp://{}\"]\ntls = \"off\"\n\
         xclient = {tells}\n",
        postfix.address
    ))
}

#[test]
fn postfix_takes_mail_at_a_port_as_documented_and_logs_the_client() {
    if image::unavailable(&["postfix"]).is_some() {
        return;
    }
    let postfix = Postfix::start();
    let mut count = 0;
    for tells in [false, true] {
        let near = near(&postfix, tells);
        let forwarder = Forwarder::start(&near);
        let clients = ["192.0.2.7", "192.0.2.8", "192.0.2.9"];
        for address in clients {
            let mut client = Client::greeted(near.address());
            client.command(&format!("XCLIENT ADDR={address} PORT=4711 HELO=mx.first.test"), "220");
            client.command("EHLO mx.first.test", "250");
            client.command("MAIL FROM:<a@x.test> BODY=8BITMIME SMTPUTF8", "250");
            client.command("RCPT TO:<b@example.test>", "250");
            client.command("DATA", "354");
            let end = format!("gr\u{fc}n {address} {tells}\r\n.\r\n").into_bytes();
            client.send(&stuffed(&[MESSAGE, &end].concat()));
            client.expect("250");
        }
        wait_until_empty(&near, &forwarder);
        count += clients.len();
        let mail = postfix.mail(count);
        for address in clients {
            let end = format!("gr\u{fc}n {address} {tells}\n.\n").into_bytes();
            let found = mail.iter().find(|message| message.ends_with(&end)).expect("it arrived");
            let text = found.escape_ascii().to_string();
            let by = if tells { address } else { "127.0.0.1" };
            assert!(text.contains(&format!("Received: from near.example.test (unknown [{by}])")), "{text}");
            // Below the fields of Postfix stands what was sent.
            let at = found.windows(9).enumerate().filter(|(_, name)| name == b"Received:").nth(1);
            let ours = &found[at.expect("the trace of the near end").0..];
            let data: Vec<u8> = MESSAGE.iter().copied().filter(|octet| *octet != b'\r').collect();
            assert_eq!(below_received(ours), [&data[..], &end].concat(), "{text}");
        }
        let log = postfix.log();
        for address in clients {
            assert_eq!(log.contains(&format!("client=unknown[{address}]")), tells, "{log}");
        }
        assert!(!log.contains("warning"), "{log}");
        // It takes XCLIENT once a connection, which is nobody's fault.
        let told = forwarder.log();
        assert!(!told.contains("next-hop-down") && !told.contains(" deferred "), "{told}");
        // A domain that it does not know: for a client from outside it is no relay.
        if tells {
            let mut client = Client::greeted(near.address());
            client.command("XCLIENT ADDR=192.0.2.7 PORT=4711 HELO=mx.first.test", "220");
            client.command("EHLO mx.first.test", "250");
            assert!(client.deliver("a@x.test", "b@elsewhere.test", MESSAGE).starts_with("250"));
            let line = forwarder.wait_for(" undeliverable ");
            assert!(line.contains("554 5.7.1") && line.contains("Relay access denied"), "{line}");
            wait_until_dead(&near);
        }
        forwarder.stop();
    }
}

#[test]
fn postfix_is_asked_who_there_is_and_thinks_no_ill_of_it() {
    if image::unavailable(&["postfix"]).is_some() {
        return;
    }
    let postfix = Postfix::start();
    let near = Server::start_whole(&format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\", \"elsewhere.test\"]\nrecipients = \"ask\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[limits]\nrecipients_max = 1000\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n[[forward]]\nto = [\"smtp://{}\"]\ntls = \"off\"\n",
        postfix.address
    ));
    let mut client = Client::greeted(near.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@example.test>", "250");
    // More than it takes of one client with an RSET after each.
    for number in 0..150 {
        client.command(&format!("RCPT TO:<b{number}@example.test>"), "250");
    }
    drop(client);
    let log = postfix.log();
    assert!(!log.contains("too many errors") && !log.contains("warning"), "{log}");
}

fn wait_until_dead(near: &Server) {
    let start = Instant::now();
    while !queue(near, &["list"]).contains(" dead ") {
        assert!(start.elapsed() < PATIENCE, "it is not kept");
        std::thread::sleep(Duration::from_millis(20));
    }
}
