//! A Dovecot takes mail from the forwarder by LMTP (docs/forward.md): what it shows by IMAP and by POP3 is
//! what was sent, and one mailbox that is full holds up no other.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use support::client::{Client, stuffed};
use support::image;
use support::server::Server;

use crate::dovecot::Dovecot;
use crate::forward::{Forwarder, MESSAGE, below_received, free_address, queue, wait_until, wait_until_empty};

/// The owner of the mailboxes, and the user of ringmx, by its name and number.
const OWNER: u32 = 5000;
const RINGMX: &str = "nobody";
const RINGMX_ID: u32 = 65534;

/// The forwarder as its user.
const AS_RINGMX: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// A Dovecot for anna, bert and full, whose mailbox takes ten octets; and its ports for LMTP and POP3.
fn dovecot(temporary: bool) -> (Dovecot, SocketAddr, SocketAddr) {
    let ports = Cell::new(None);
    let dovecot = Dovecot::with(|path, port| {
        let (lmtp, pop3) = (free_address(), free_address());
        ports.set(Some((lmtp, pop3)));
        for folder in ["mail", "home"] {
            let folder = Path::new(path).join(folder);
            fs::create_dir(&folder).expect("a directory");
            std::os::unix::fs::chown(&folder, Some(OWNER), Some(OWNER)).expect("given away");
        }
        let user = |name: &str, more: &str| {
            format!("{name}@example.test::{OWNER}:{OWNER}::{path}/home/{name}::{more}\n")
        };
        let users = [user("anna", ""), user("bert", ""), user("full", "userdb_quota_rule=*:bytes=10")];
        fs::write(Path::new(path).join("users"), users.concat()).expect("the users");
        image::run(std::process::Command::new("chmod").args(["755", path]));
        let tempfail = if temporary { "yes" } else { "no" };
        format!(
            "protocols = imap pop3 lmtp\nmail_location = maildir:{path}/mail/%Ld/%Ln\nmail_plugins = quota\n\
             recipient_delimiter = +\nquota_full_tempfail = {tempfail}\nlogin_trusted_networks = 127.0.0.1\n\
             service imap-login {{\n inet_listener imap {{\n  port = {port}\n }}\n}}\n\
             service pop3-login {{\n inet_listener pop3 {{\n  port = {}\n }}\n}}\n\
             service lmtp {{\n unix_listener {path}/lmtp {{\n  user = {RINGMX}\n  mode = 0600\n }}\n \
             inet_listener lmtp {{\n  address = 127.0.0.1\n  port = {}\n }}\n}}\n\
             plugin {{\n quota = maildir:User quota\n quota_rule = *:storage=1G\n}}\n\
             userdb {{\n driver = passwd-file\n args = {path}/users\n}}\n",
            pop3.port(),
            lmtp.port()
        )
    });
    let (lmtp, pop3) = ports.get().expect("it was configured");
    (dovecot, lmtp, pop3)
}

/// A receiver as its user, whose mail goes on there.
fn near(to: &str, more: &str) -> Server {
    near_with("", to, more)
}

/// The same, with keys at the top.
fn near_with(top: &str, to: &str, more: &str) -> Server {
    let become_user =
        format!("chown {RINGMX_ID}:{RINGMX_ID} . && chmod 755 . && exec {} \"$@\"", AS_RINGMX.join(" "));
    let config = format!(
        "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\nrecipient_delimiter = \"+\"\n{top}\
         [[listener]]\naddress = \"127.0.0.1:0\"\nextensions_off = [\"SMTPUTF8\", \"BINARYMIME\"]\n\
         xclient_from = [\"127.0.0.1/32\"]\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\n[[forward]]\nto = [\"{to}\"]\n{more}"
    );
    Server::start_under(&["sh", "-c", &become_user, "sh"], &config, &[])
}

/// What breaks what carries it.
fn corpus() -> Vec<Vec<u8>> {
    let of = |name: &str, rest: &[u8]| [b"Subject: ", name.as_bytes(), b"\r\n\r\n", rest].concat();
    let mut all = vec![
        of("dots", b".\r\n..\r\n.a\r\n\r\n...\r\n.\r\nend .\r\n."),
        of("8-bit", "gr\u{fc}\u{df}e\r\n".as_bytes()),
        of("latin", b"gr\xfc\xdfe \xff\xfe\x80\r\n"),
        of("long", &[vec![b'x'; 998], b"\r\n".to_vec(), vec![b'.'; 70_000], b"\r\n".to_vec()].concat()),
        of("no line end", b"the end"),
        of("blank lines", b"\r\n\r\n \r\n\t\r\n\r\n"),
        of("mbox", b"From me\r\n>From you\r\n\r\nFrom us\r\n"),
        of("empty", b""),
    ];
    // Each octet but NUL and line ends, before and after each other one of a few.
    let octets = (1..=255_u8).filter(|octet| !matches!(octet, b'\r' | b'\n'));
    let binary = octets.flat_map(|octet| [octet, 0xff, octet, b'.', octet, b'\r', b'\n']);
    all.push(of("binary", &binary.collect::<Vec<u8>>()));
    all
}

/// All messages of a user by POP3, without transparency.
fn by_pop3(address: SocketAddr, user: &str, count: usize) -> Vec<Vec<u8>> {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let mut pop3 = BufReader::new(stream);
    let line = |pop3: &mut BufReader<TcpStream>| {
        let mut line = Vec::new();
        pop3.read_until(b'\n', &mut line).expect("a line");
        assert!(line.ends_with(b"\r\n"), "{}", line.escape_ascii());
        line
    };
    let command = |pop3: &mut BufReader<TcpStream>, command: &str| {
        pop3.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("sent");
        let reply = line(pop3);
        assert!(reply.starts_with(b"+OK"), "{command}: {}", reply.escape_ascii());
    };
    line(&mut pop3);
    command(&mut pop3, &format!("USER {user}"));
    command(&mut pop3, "PASS secret");
    let all = (1..=count).map(|number| {
        command(&mut pop3, &format!("RETR {number}"));
        let mut message = Vec::new();
        loop {
            match line(&mut pop3) {
                end if end == b".\r\n" => break message,
                line => message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line)),
            }
        }
    });
    all.collect()
}

#[test]
fn what_dovecot_shows_of_forwarded_mail_is_what_was_sent() {
    if image::unavailable(&["dovecot", "setpriv"]).is_some() {
        return;
    }
    let (dovecot, lmtp, pop3) = dovecot(false);
    let socket = format!("lmtp://unix:{}/lmtp", dovecot.folder().display());
    for (to, user, trusts) in [(socket, "anna", false), (format!("lmtp://{lmtp}"), "bert", true)] {
        let near = near(&to, &format!("tls = \"off\"\nxclient = {trusts}\n"));
        let forwarder = Forwarder::start_under(&AS_RINGMX, &near);
        let mut client = Client::greeted(near.address());
        client.command("XCLIENT ADDR=192.0.2.7 PORT=4711", "220");
        client.command("EHLO client.example", "250");
        let sent = corpus();
        for message in &sent {
            client.command("MAIL FROM:<a@x.test> BODY=8BITMIME", "250");
            client.command(&format!("RCPT TO:<{user}+tag@example.test>"), "250");
            client.send(&[format!("BDAT {} LAST\r\n", message.len()).as_bytes(), message].concat());
            client.expect("250");
        }
        // The same, as DATA has it.
        assert!(client.deliver("a@x.test", &format!("{user}@example.test"), MESSAGE).starts_with("250"));
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        let mut sent: Vec<Vec<u8>> = sent.into_iter().chain([MESSAGE.to_vec()]).collect();
        sent.sort();
        let mut imap = dovecot.select(&format!("{user}@example.test"), sent.len());
        let fetched = (1..=sent.len()).map(|number| {
            let (size, octets) = imap.fetch(number);
            assert_eq!(size, octets.len());
            let shown = octets.escape_ascii().to_string();
            assert_eq!(shown.contains("Received: from near.example.test ([192.0.2.7])"), trusts, "{shown}");
            below_traces(&octets).to_vec()
        });
        let mut fetched: Vec<Vec<u8>> = fetched.collect();
        fetched.sort();
        assert_same(&fetched, &sent, "IMAP");
        let read = by_pop3(pop3, &format!("{user}@example.test"), sent.len());
        let mut read: Vec<Vec<u8>> = read.iter().map(|message| below_traces(message).to_vec()).collect();
        read.sort();
        // Each of its lines has an end.
        let ended = |message: &Vec<u8>| {
            let end: &[u8] = if message.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            [message, end].concat()
        };
        let mut expected: Vec<Vec<u8>> = sent.iter().map(ended).collect();
        expected.sort();
        assert_same(&read, &expected, "POP3");
    }
    let log = dovecot.log();
    assert!(!log.contains("Error") && !log.contains("Warning"), "{log}");
}

/// What stands below the trace of Dovecot and that of the near end. Dovecot tells of one recipient only.
fn below_traces(message: &[u8]) -> &[u8] {
    let mut rest = message;
    for name in ["Return-Path: <a@x.test>", "Delivered-To: "] {
        if rest.starts_with(name.as_bytes()) {
            rest = &rest[rest.iter().position(|octet| *octet == b'\n').expect("a line end") + 1..];
        }
    }
    let ours = below_received(rest);
    assert!(ours.starts_with(b"Received: from client.example ([1"), "{}", message.escape_ascii());
    below_received(ours)
}

fn assert_same(found: &[Vec<u8>], sent: &[Vec<u8>], by: &str) {
    assert_eq!(found.len(), sent.len(), "{by}");
    for (found, sent) in found.iter().zip(sent) {
        let shown = |octets: &[u8]| octets.get(..2000).unwrap_or(octets).escape_ascii().to_string();
        assert!(found == sent, "{by}: {}\nand not\n{}", shown(found), shown(sent));
    }
}

#[test]
fn a_mailbox_that_is_full_holds_up_no_other_recipient() {
    if image::unavailable(&["dovecot", "setpriv"]).is_some() {
        return;
    }
    for (temporary, code, state) in [(false, "552 5.2.2", " dead "), (true, "452 4.2.2", " waiting ")] {
        let (dovecot, ..) = dovecot(temporary);
        let near = near(&format!("lmtp://unix:{}/lmtp", dovecot.folder().display()), "tls = \"off\"\n");
        let forwarder = Forwarder::start_under(&AS_RINGMX, &near);
        let mut client = Client::greeted(near.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        for name in ["anna", "full", "bert"] {
            client.command(&format!("RCPT TO:<{name}@example.test>"), "250");
        }
        client.command("DATA", "354");
        client.send(&stuffed(MESSAGE));
        client.expect("250");
        wait_until(&forwarder, &dovecot.log(), || queue(&near, &["list"]).contains(state));
        let list = queue(&near, &["list"]);
        assert!(list.lines().count() == 1 && list.contains("<full@example.test>"), "{list}");
        assert!(list.contains(code), "{list}");
        forwarder.stop();
        for name in ["anna", "bert"] {
            let (_, octets) = dovecot.select(&format!("{name}@example.test"), 1).fetch(1);
            assert_eq!(below_traces(&octets), MESSAGE);
        }
        dovecot.select("full@example.test", 0);
    }
}

#[test]
fn dovecot_is_asked_who_there_is() {
    if image::unavailable(&["dovecot", "setpriv"]).is_some() {
        return;
    }
    let (dovecot, lmtp, _) = dovecot(true);
    let config = "tls = \"off\"\n";
    for to in [format!("lmtp://unix:{}/lmtp", dovecot.folder().display()), format!("lmtp://{lmtp}")] {
        let near = near_with("recipients = \"ask\"\n", &to, config);
        let mut client = Client::greeted(near.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<anna@example.test>", "250");
        client.command("RCPT TO:<anna+lists@example.test>", "250");
        client.command("RCPT TO:<nobody@example.test>", "550 5.1.1");
        client.command("RCPT TO:<nobody+lists@example.test>", "550 5.1.1");
        // It looks at the quota when the mail data comes.
        client.command("RCPT TO:<full@example.test>", "250");
        client.command("RCPT TO:<bert@example.test>", "250");
    }
}
