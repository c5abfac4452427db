//! Filters behind sockets of each kind, in the sandbox of an ordinary user, before each sink; and reloads.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Signal, geteuid};
use support::client::Client;
use support::fake_rspamd::{FakeRspamd, Manner};
use support::next_hop::{Manner as HopManner, NextHop, accept};
use support::rspamd::Rspamd;
use support::server::Server;

use super::{
    MESSAGE, PASSES, SPOOL, config, counted, id, in_spool, server_of, stored, told, wait_until, write,
};

/// A user that is in no database.
const NOBODY: u32 = 3_000_021;

#[test]
fn an_ordinary_user_in_the_sandbox_asks_by_tcp_and_by_a_socket_that_is_a_file() {
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let fake = FakeRspamd::saying("add header");
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let socket = folder.path().join("rspamd.sock");
    fake.listen_unix(&socket);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("open to all");
    let tcp = fake.listen_tcp();
    for url in [
        format!("http://{tcp}"),
        format!("http://localhost:{}", tcp.port()),
        format!("unix:{}", socket.display()),
    ] {
        let more = format!("[run_as]\nuser = \"{NOBODY}\"\ngroup = \"{NOBODY}\"\n");
        let text = config(SPOOL, &url, "password_file = \"word\"\nsettings_id = \"mx\"", &more);
        let server = Server::try_start(&text, |command| {
            let folder = command.get_current_dir().expect("a folder").to_owned();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("open to all");
            fs::write(folder.join("word"), "secret\n").expect("written");
            fs::set_permissions(folder.join("word"), fs::Permissions::from_mode(0o600)).expect("root's own");
        });
        let server = server.unwrap_or_else(|why| panic!("{url}: {why}"));
        let line = server.wait_for_log(|line| line.contains(" sandbox "));
        assert!(line.contains(&format!("user={NOBODY} ")) && line.contains("seccomp=true"), "{line}");
        let reply = told(&server, MESSAGE);
        assert!(reply.starts_with("250"), "{url}: {reply}\n{}", server.log().join("\n"));
        assert!(stored(&server, id(&reply)).0.starts_with(b"X-Spam: Yes\r\n"));
        let asked = fake.asked().pop().expect("it was asked");
        assert_eq!(
            (asked.values("Password"), asked.values("Settings-ID")),
            (vec!["secret"], vec!["mx"]),
            "{url}"
        );
        // A new connection, from inside: the one before is closed.
        fake.does(Manner::Closes);
        assert!(told(&server, MESSAGE).starts_with("451 4.7.1"), "{url}");
        fake.does(Manner::Says("{\"action\":\"add header\"}".to_owned()));
        wait_until("it is there again", || told(&server, MESSAGE).starts_with("250"));
        let large = [b"Subject: x\r\n\r\n".to_vec(), b"text text text text\r\n".repeat(200_000)].concat();
        assert!(told(&server, &large).starts_with("250"), "a spill file");
    }
}

#[test]
fn a_real_rspamd_is_asked_by_its_socket_that_is_a_file() {
    let Some(rspamd) = Rspamd::start() else { return };
    let server = super::server(&format!("unix:{}", rspamd.socket().display()), "");
    let reply = told(&server, &[b"X-Test-Field: hello\r\n", MESSAGE].concat());
    assert!(stored(&server, id(&reply)).0.starts_with(b"X-Added: hello\r\nReceived: "));
}

#[test]
fn a_socket_that_is_replaced_is_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("rspamd.sock");
    let first = FakeRspamd::new(Manner::Sends(support::fake_rspamd::response(PASSES).into_bytes()));
    first.listen_unix(&socket);
    let server = super::server(&format!("unix:{}", socket.display()), "");
    assert!(told(&server, MESSAGE).starts_with("250"));
    fs::remove_file(&socket).expect("it is there");
    wait_until("it is noticed", || told(&server, MESSAGE).starts_with("451 4.7.1"));
    let second = FakeRspamd::saying("no action");
    second.listen_unix(&socket);
    wait_until("it is found", || told(&server, MESSAGE).starts_with("250"));
    assert!(!second.asked().is_empty());
}

#[test]
fn each_sink_gets_what_passed_and_nothing_else() {
    let fake = FakeRspamd::saying("reject");
    let url = format!("http://{}", fake.listen_tcp());
    let sinks = [
        ("kind = \"discard\"\n", false),
        ("kind = \"stdout\"\nformat = \"mbox\"\n", true),
        ("kind = \"stdout\"\nformat = \"json\"\n", true),
        ("kind = \"maildir\"\npath = \"mail\"\n", false),
        (SPOOL, false),
    ];
    for (sink, is_printed) in sinks {
        let server = Server::start_whole(&config(sink, &url, "", ""));
        let mut client = Client::greeted(server.address());
        for (action, reply) in [
            ("reject", "550 5.7.1"),
            ("soft reject", "451 4.7.1"),
            ("add header", "250"),
            ("no action", "250"),
        ] {
            fake.does(Manner::Says(format!("{{\"action\":\"{action}\"}}")));
            let told = client.deliver("a@x.test", "b@y.test", MESSAGE);
            assert!(told.starts_with(reply), "{sink}, {action}: {told}");
        }
        let maildir = server.maildir("mail");
        if sink.contains("maildir") {
            assert_eq!(maildir.len(), 2);
            let marked = maildir
                .iter()
                .filter(|message| message.windows(11).any(|octets| octets == b"X-Spam: Yes"))
                .count();
            assert_eq!(marked, 1);
        }
        if sink == SPOOL {
            assert_eq!(in_spool(&server), 2);
        }
        if is_printed {
            let output = server.output(2).join("\n");
            let marks = if sink.contains("json") { "\"mark\":\"quarantine\"" } else { "X-Spam: Yes" };
            let texts = if sink.contains("json") { "\"filters\":[{" } else { "Subject: x" };
            wait_until("both are there", || server.output(2).join("\n").matches(texts).count() == 2);
            assert_eq!(server.output(2).join("\n").matches(marks).count(), 1, "{output}");
        }
        assert!((counted(&server, "rspamd", "mark") - 1.0).abs() < 0.1);
    }
}

#[test]
fn mail_that_goes_on_at_once_passes_its_filters_before() {
    let fake = FakeRspamd::saying("reject");
    let hop = NextHop::start(HopManner {
        is_lmtp: false,
        keywords: vec!["PIPELINING"],
        recipient: accept,
        end: accept,
    });
    let sink = "kind = \"forward\"\nfallback = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n";
    let more =
        format!("[early]\ngreylist = \"suspicious\"\n[[forward]]\nto = [\"smtp://{}\"]\n", hop.address());
    let text = config(sink, &format!("http://{}", fake.listen_tcp()), "", &more);
    let server = Server::start_whole(&format!("domains = [\"y.test\"]\n{text}"));
    for (action, reply, taken) in [
        ("reject", "550 5.7.1", 0),
        ("greylist", "451 4.7.1", 0),
        ("discard", "250", 0),
        ("add header", "250", 1),
        ("no action", "250", 2),
    ] {
        fake.does(Manner::Says(format!("{{\"action\":\"{action}\"}}")));
        let told = told(&server, MESSAGE);
        assert!(told.starts_with(reply), "{action}: {told}");
        assert_eq!(hop.taken().len(), taken, "{action}");
    }
    let taken = hop.taken();
    assert!(taken[0].data.starts_with(b"X-Spam: Yes\r\nReceived: ") && taken[0].data.ends_with(MESSAGE));
    assert!(taken[1].data.starts_with(b"Received: ") && taken[1].data.ends_with(MESSAGE));
    assert_eq!(in_spool(&server), 0);
}

#[test]
fn a_change_of_a_filter_needs_a_restart_and_says_so() {
    let (one, other) = (FakeRspamd::saying("no action"), FakeRspamd::saying("reject"));
    let server = server_of(&one, "");
    let file = server.folder().join("ringmx.toml");
    let before = fs::read_to_string(&file).expect("its configuration");
    let url = before.lines().find(|line| line.starts_with("url")).expect("a url");
    let second = format!(
        "[[filter]]\nname = \"second\"\nkind = \"rspamd\"\nurl = \"http://{}\"\n",
        other.listen_tcp()
    );
    for (change, told_of) in [
        (before.replace(url, &format!("url = \"http://{}\"", other.listen_tcp())), "filter"),
        (format!("{before}{second}"), "filter"),
        (before.replace("[[filter]]", "[[filter]]\non_failure = \"accept\""), "on_failure"),
    ] {
        let lines = || -> Vec<String> {
            let is_told = |line: &String| line.contains("restart") && line.contains(told_of);
            server.log().into_iter().filter(is_told).collect()
        };
        let reloads = || server.log().iter().filter(|line| line.contains(" reloaded ")).count();
        let (lines_before, reloads_before) = (lines().len(), reloads());
        write(&server, "ringmx.toml", &change);
        server.signal(Signal::HUP);
        wait_until(told_of, || lines().len() > lines_before && reloads() > reloads_before);
        let line = lines().pop().expect("a line");
        assert!(line.contains("filter"), "{line}");
        assert!(told(&server, MESSAGE).starts_with("250"), "the first one is asked as before");
        write(&server, "ringmx.toml", &before);
        server.signal(Signal::HUP);
        wait_until("all is as it was", || reloads() > reloads_before + 1);
    }
    assert!(other.asked().is_empty());
}
