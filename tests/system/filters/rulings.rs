//! What becomes of a message by what a filter says of it.

use support::client::Client;
use support::dns_server::DnsServer;
use support::fake_rspamd::{FakeRspamd, Manner};
use support::rspamd::{GTUBE, Rspamd};
use support::server::Server;

use super::{
    MESSAGE, PASSES, SPOOL, config, counted, id, in_front, in_spool, server, server_of, stored, told,
};

/// A message that asks rspamd for this.
fn asking(fields: &str) -> Vec<u8> {
    [fields.as_bytes(), b"\r\n", MESSAGE].concat()
}

fn json(action: &str, rest: &str) -> String {
    format!("{{\"action\":\"{action}\"{rest}}}")
}

fn saying(action: &str, rest: &str) -> FakeRspamd {
    FakeRspamd::new(Manner::Says(json(action, rest)))
}

#[test]
fn what_a_real_rspamd_refuses_is_refused_and_never_stored() {
    let Some(rspamd) = Rspamd::start() else { return };
    let early = "[early]\ngreylist = \"suspicious\"\n";
    let server = Server::start_whole(&config(SPOOL, &rspamd.url(), "", early));
    let spam = format!("Subject: x\r\n\r\n{GTUBE}\r\n");
    for (message, reply) in [
        (spam.into_bytes(), "550 5.7.1 Gtube pattern"),
        (asking("X-Test-Action: reject"), "550 5.7.1 Spam message rejected"),
        (asking("X-Test-Action: reject\r\nX-Test-Text: Not here"), "550 5.7.1 Not here"),
        (asking("X-Test-Action: soft reject"), "451 4.7.1 Try again later"),
        (asking("X-Test-Action: soft reject\r\nX-Test-Text: Later, please"), "451 4.7.1 Later, please"),
        (asking("X-Test-Action: greylist"), "451 4.7.1 Not known yet"),
    ] {
        let told = told(&server, &message);
        assert!(told.starts_with(reply), "{told}");
    }
    assert_eq!(in_spool(&server), 0);
    let line = server.wait_for_log(|line| line.contains("Gtube"));
    for part in [
        " refused ",
        "reason=filter",
        "filters=\"rspamd refuse",
        "GTUBE",
        "step=MAIL-DATA",
        "to=\"b@y.test\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for (action, count) in
        [("refuse", 3.0), ("put_off", 2.0), ("greylist", 1.0), ("pass", 0.0), ("none", 0.0)]
    {
        assert!((counted(&server, "rspamd", action) - count).abs() < 0.1, "{action}");
    }
    // The same client goes on.
    let mut client = Client::greeted(server.address());
    assert!(client.deliver("a@x.test", "b@y.test", &asking("X-Test-Action: reject")).starts_with("550"));
    assert!(client.deliver("a@x.test", "b@y.test", MESSAGE).starts_with("250"));
    client.command("QUIT", "221");
    assert_eq!(in_spool(&server), 1);
}

#[test]
fn what_a_filter_would_greylist_goes_on_where_nobody_is_greylisted() {
    let fake = saying("greylist", "");
    let server = server_of(&fake, "");
    let reply = told(&server, MESSAGE);
    assert!(stored(&server, id(&reply)).0.ends_with(MESSAGE));
    assert!((counted(&server, "rspamd", "greylist") - 1.0).abs() < 0.1);
}

#[test]
fn what_a_real_rspamd_marks_goes_on_with_a_mark_and_no_octet_changed() {
    let Some(rspamd) = Rspamd::start() else { return };
    let server = server(&rspamd.url(), "");
    for (fields, front, mark) in [
        ("X-A: b", "", false),
        ("X-Test-Action: no action", "", false),
        ("X-Test-Action: add header", "X-Spam: Yes\r\n", true),
        ("X-Test-Action: rewrite subject\r\nX-Spam: No", "X-Spam: Yes\r\n", true),
        ("X-Test-Field: hello", "X-Added: hello\r\n", false),
        ("X-Test-Action: add header\r\nX-Test-Field: hello", "X-Spam: Yes\r\nX-Added: hello\r\n", true),
    ] {
        let message = asking(fields);
        let reply = told(&server, &message);
        let (stored, envelope) = stored(&server, id(&reply));
        let rest = in_front(&stored, &message).strip_prefix(front);
        let rest = rest.unwrap_or_else(|| panic!("{fields}: {}", String::from_utf8_lossy(&stored)));
        assert!(rest.starts_with("Received: from client.example "), "{fields}: {rest}");
        assert!(rest.ends_with("\r\n") && rest.matches("Received:").count() == 1, "{fields}: {rest:?}");
        assert_eq!(envelope.contains("\"mark\":\"quarantine\""), mark, "{fields}: {envelope}");
        assert!(envelope.contains("\"filters\":[{\"filter\":\"rspamd\",\"action\":\""), "{envelope}");
        let line = server.wait_for_log(|line| line.contains(" message ") && line.contains(id(&reply)));
        assert_eq!(line.contains("filters=\"rspamd mark"), mark, "{line}");
    }
}

/// The text of the field that tells what rspamd was told.
fn seen(server: &Server, reply: &str, message: &[u8]) -> String {
    let (stored, _) = stored(server, id(reply));
    let front = in_front(&stored, message).to_owned();
    let fields = front.lines().take_while(|line| !line.starts_with("Received:"));
    fields.map(|line| line.replace("X-Seen: ", "") + " ").collect()
}

#[test]
fn a_real_rspamd_is_told_of_messages_of_all_kinds_as_they_are_stored() {
    let Some(rspamd) = Rspamd::start() else { return };
    let server = server(&rspamd.url(), "");
    let mut client = Client::greeted(server.address());
    let message = asking("X-Test-Seen: y");
    let mut told = |from: &str, recipients: &[String], message: &[u8]| {
        client.command(&format!("MAIL FROM:{from}"), "250");
        for to in recipients {
            client.command(&format!("RCPT TO:<{to}>"), "250");
        }
        client.command("DATA", "354");
        client.send(&support::client::stuffed(message));
        client.reply().trim_end().to_owned()
    };
    let one = ["b@y.test".to_owned()];
    let reply = told("<>", &one, &message);
    let text = seen(&server, &reply, &message);
    let start = "from= rcpt=b@y.test ip=127.0.0.1 helo=client.example ";
    assert!(text.starts_with(start) && text.contains(&format!("queue-id={} ", id(&reply))), "{text}");
    let (whole, _) = stored(&server, id(&reply));
    let fields = text.trim_end().split(' ').map(|value| "X-Seen: \r\n".len() + value.len()).sum::<usize>();
    assert!(text.contains(&format!("size={} ", whole.len() - fields)), "{text}, of {}", whole.len());

    let reply = told("<\u{e4}@\u{f6}.test> SMTPUTF8", &["\u{fc}@y.test".to_owned()], &message);
    assert!(reply.starts_with("250"), "{reply}");
    // It knows no such addresses, and loses nothing but them.
    let text = seen(&server, &reply, &message);
    assert!(text.contains("helo=client.example ") && text.contains("queue-id="), "{text}");

    let many: Vec<String> = (0..100).map(|number| format!("b{number}@y.test")).collect();
    let reply = told("<a@x.test>", &many, &message);
    let text = seen(&server, &reply, &message);
    // Of one field with many values as many are taken as a message may have.
    assert_eq!(text.matches("rcpt=b").count(), 63, "{text}");

    // No header section, a line of an mbox, nothing at all.
    for message in [
        &b"just text\r\nand more: of it\r\n"[..],
        b"From a@x.test Mon Jan  1 00:00:00 2024\r\nSubject: x\r\n\r\nText\r\n",
        b"",
        b"\r\n",
        b"\r\nbody\r\n",
        b"Subject: x\r\n",
        b".\r\n..\r\n",
    ] {
        let reply = told("<a@x.test>", &one, message);
        assert!(reply.starts_with("250"), "{reply} to {:?}", String::from_utf8_lossy(message));
        let (stored, _) = stored(&server, id(&reply));
        assert!(in_front(&stored, message).starts_with("Received: "));
    }
}

#[test]
fn what_stands_in_front_is_what_the_filter_saw_and_its_own_fields_above() {
    let dns = DnsServer::start();
    dns.txt("x.test", "v=spf1 ip4:192.0.2.1 -all");
    let fake = saying("add header", ",\"milter\":{\"add_headers\":{\"X-Found\":\"a\\r\\n\\r\\nb: c\"}}");
    for (keys, front) in [("", "X-Spam: Yes\r\nX-Found: a\r\n\tb: c\r\n"), ("add_fields = false", "")] {
        let more = format!("[dns]\nservers = [\"{}\"]\n[auth]\ndmarc = \"mark\"\n", dns.address());
        let url = format!("http://{}", fake.listen_tcp());
        let text =
            config(SPOOL, &url, keys, &more).replace("[admin]", "proxy_from = [\"127.0.0.1\"]\n[admin]");
        let text = format!("domains = [\"y.test\"]\n{text}");
        let server = Server::start_whole(&text);
        for message in
            [MESSAGE, b"text, no field\r\n", b"From a@x.test Mon Jan  1 00:00:00 2024\r\n\r\nx\r\n"]
        {
            let mut client = Client::connect(server.address());
            client.send(b"PROXY TCP4 192.0.2.1 192.0.2.254 4321 25\r\n");
            client.expect("220");
            client.command("EHLO client.example", "250");
            let reply = client.deliver("a@x.test", "b@y.test", message);
            let (stored, envelope) = stored(&server, id(reply.trim_end()));
            let asked = fake.asked().pop().expect("it was asked");
            assert_eq!(asked.values("IP"), ["192.0.2.1"]);
            assert_eq!(asked.values("MTA-Name"), ["mx.example.org"]);
            assert_eq!(
                String::from_utf8_lossy(&stored),
                format!("{front}{}", String::from_utf8_lossy(&asked.message))
            );
            let seen = String::from_utf8(asked.message.clone()).expect("ASCII");
            assert!(seen.starts_with("Authentication-Results: mx.example.org;\r\n\tspf=pass "), "{seen}");
            assert!(
                seen.contains("\r\nReceived: from client.example ") && asked.message.ends_with(message),
                "{seen}"
            );
            assert!(envelope.contains("\"mark\":\"quarantine\""), "{envelope}");
        }
    }
}

#[test]
fn what_a_filter_discards_is_answered_250_and_nobody_gets_it() {
    let fake = saying("discard", "");
    let server = server_of(&fake, "");
    let by_milter = json("reject", ",\"milter\":{\"reject\":\"discard\"}");
    for manner in [None, Some(Manner::Says(by_milter))] {
        if let Some(manner) = manner {
            fake.does(manner);
        }
        let reply = told(&server, MESSAGE);
        let id = id(&reply);
        let line = server.wait_for_log(|line| line.contains(" message ") && line.contains(id));
        assert!(
            line.contains("place=\"discarded by rspamd\"") && line.contains("filters=\"rspamd discard\""),
            "{line}"
        );
    }
    assert_eq!(in_spool(&server), 0);
    assert!((counted(&server, "rspamd", "discard") - 2.0).abs() < 0.1);
}

#[test]
fn marked_mail_goes_into_the_junk_folder_of_a_maildir() {
    let fake = saying("add header", "");
    let url = format!("http://{}", fake.listen_tcp());
    let sink = "kind = \"maildir\"\npath = \"mail\"\nquarantine = \"junk\"\n";
    let server = Server::start_whole(&config(sink, &url, "", ""));
    assert!(told(&server, MESSAGE).starts_with("250"));
    fake.does(Manner::Says(PASSES.to_owned()));
    assert!(told(&server, MESSAGE).starts_with("250"));
    let (junk, inbox) = (server.maildir("mail/.Junk"), server.maildir("mail"));
    assert_eq!((junk.len(), inbox.len()), (1, 1));
    let junk = String::from_utf8_lossy(&junk[0]).into_owned();
    assert!(junk.contains("\nX-Spam: Yes"), "{junk}");
    assert!(!String::from_utf8_lossy(&inbox[0]).contains("X-Spam"));
}

/// Mail data of so many octets whose lines differ.
fn large(bytes: usize) -> Vec<u8> {
    let mut data = b"Subject: large\r\n\r\n".to_vec();
    let mut line = 0_usize;
    while data.len() + 100 < bytes {
        data.extend_from_slice(
            format!("{}line {line} of a long message\r\n", ".".repeat(line % 3)).as_bytes(),
        );
        line += 1;
    }
    data.resize(bytes - 2, b'x');
    data.extend_from_slice(b"\r\n");
    data
}

#[test]
fn a_large_message_is_streamed_and_a_larger_one_goes_on_unasked() {
    const MIB: usize = 1 << 20;
    let fake = saying("add header", "");
    let url = format!("http://{}", fake.listen_tcp());
    let server = Server::start_whole(&config(SPOOL, &url, "", "[limits]\nmessage_size_max = \"60MiB\"\n"));
    // What we write in front counts.
    for (bytes, asked) in [(50 * MIB - 1024, 1), (50 * MIB, 1), (MIB, 2)] {
        let message = large(bytes);
        let reply = told(&server, &message);
        let (stored, _) = stored(&server, id(&reply));
        assert!(stored.ends_with(&message), "{bytes}");
        assert_eq!(stored.starts_with(b"X-Spam: Yes\r\nReceived: "), bytes != 50 * MIB, "{bytes}");
        let all = fake.asked();
        assert_eq!(all.len(), asked, "{bytes}");
        if bytes != 50 * MIB {
            assert!(stored.strip_prefix(b"X-Spam: Yes\r\n") == Some(&all[asked - 1].message[..]), "{bytes}");
        }
    }
    let most = server.resident_bytes_max();
    println!("resident at most: {} MiB", most >> 20);
    assert!(most < 120 << 20, "{most}: it is not held in memory");
}

#[test]
fn who_is_trusted_passes_by_unless_nobody_does() {
    let fake = saying("reject", "");
    let trust = "[[access]]\nnetworks = [\"127.0.0.1\"]\naction = \"trust\"\n";
    for (keys, more, reply) in [
        ("", "", "550"),
        ("", trust, "250"),
        ("skip = \"trusted\"", trust, "250"),
        ("skip = \"nobody\"", trust, "550"),
        ("skip = \"nobody\"", "", "550"),
        // Rules, of which none trusts anybody.
        ("", "[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"trust\"\n", "550"),
    ] {
        let url = format!("http://{}", fake.listen_tcp());
        let server = Server::start_whole(&config(SPOOL, &url, keys, more));
        let told = told(&server, MESSAGE);
        assert!(told.starts_with(reply), "{keys} {more}: {told}");
        assert_eq!(in_spool(&server), usize::from(reply == "250"));
    }
}

#[test]
fn the_first_filter_that_refuses_wins_and_fields_of_both_stand_in_order() {
    let (first, second) = (saying("no action", ""), saying("no action", ""));
    let more = format!(
        "[[filter]]\nname = \"second\"\nkind = \"rspamd\"\nurl = \"http://{}\"\non_failure = \"accept\"\n",
        second.listen_tcp()
    );
    let url = format!("http://{}", first.listen_tcp());
    let server = Server::start_whole(&config(SPOOL, &url, "name = \"first\"", &more));
    let says = |action: &str, text: &str| {
        let field = format!("\"milter\":{{\"add_headers\":{{\"X-{text}\":\"y\"}}}}");
        Manner::Says(json(
            action,
            &format!(",\"messages\":{{\"smtp_message\":\"{text}\"}},{field},\"score\":1.5"),
        ))
    };
    let mut asked = (0, 0);
    for (one, other, reply, seconds) in [
        (says("reject", "One"), says("reject", "Other"), "550 5.7.1 One", 0),
        (says("soft reject", "One"), says("reject", "Other"), "451 4.7.1 One", 0),
        (says("discard", "One"), says("reject", "Other"), "250", 0),
        (says("no action", "One"), says("reject", "Other"), "550 5.7.1 Other", 1),
        (says("add header", "One"), says("no action", "Other"), "250", 1),
        (says("no action", "One"), says("add header", "Other"), "250", 1),
        (says("no action", "One"), Manner::Closes, "250", 1),
    ] {
        first.does(one.clone());
        second.does(other.clone());
        let told = told(&server, MESSAGE);
        assert!(told.starts_with(reply), "{one:?}, {other:?}: {told}");
        asked = (asked.0 + 1, asked.1 + seconds);
        let (firsts, seconds_now) = (first.asked().len(), second.asked().len());
        // One that closes a connection that was kept is asked once more.
        let is_closed = matches!(other, Manner::Closes) && seconds_now == asked.1 + 1;
        assert!((firsts, seconds_now) == asked || is_closed, "{one:?}, {other:?}: {seconds_now}");
        if reply != "250" || seconds == 0 {
            continue;
        }
        let (stored, envelope) = stored(&server, id(&told));
        let front = in_front(&stored, MESSAGE);
        let (front, _) = front.split_once("Received:").expect("our field");
        let marks = |manner: &Manner| {
            if format!("{manner:?}").contains("add header") { "X-Spam: Yes\r\n" } else { "" }
        };
        // Whoever came later stands above, as with trace fields.
        let of_second = if matches!(other, Manner::Closes) { "" } else { "X-Other: y\r\n" };
        assert_eq!(front, format!("{}{of_second}{}X-One: y\r\n", marks(&other), marks(&one)));
        let is_marked = front.contains("X-Spam");
        assert_eq!(envelope.contains("\"mark\":\"quarantine\""), is_marked, "{envelope}");
        assert!(envelope.contains("{\"filter\":\"first\",\"action\":\""), "{envelope}");
    }
    // Both know its name, and the second one sees what the first one has added.
    let (one, other) = (first.asked(), second.asked());
    let (one, other) = (one.last().expect("asked"), other.last().expect("asked"));
    assert_eq!(one.values("Queue-Id"), other.values("Queue-Id"));
    assert!(other.message.starts_with(b"X-One: y\r\nReceived: "));
}
