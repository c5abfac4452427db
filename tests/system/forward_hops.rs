//! The forwarder and next hops of every kind: under TLS and without, with XCLIENT, at a socket that is a
//! file; and hops that are no servers at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
use support::next_hop::{BrokenTls, Manner, NextHop, accept, listen};
use support::server::{Server, without_trace};

use crate::forward::{Forwarder, MESSAGE, below_received, near, queue, stored, wait_until, wait_until_empty};

/// A server that offers these and takes everything.
fn offering(keywords: Vec<&'static str>) -> Manner {
    Manner { is_lmtp: false, keywords, recipient: accept, end: accept }
}

/// A far end with these further lines: of its listener, then sections.
fn far_with(listener: &str, sections: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"far.example.test\"\ndomains = [\"example.test\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"\n{sections}\n"
    ))
}

/// The `Received:` of the far end and that of the near end, of the one message that there is.
fn traces(far: &Server) -> (String, String) {
    let mail = far.maildir("mail");
    assert_eq!(mail.len(), 1, "one message");
    let ours = without_trace(&mail[0]);
    let data = below_received(ours);
    assert_eq!(data, MESSAGE);
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("ASCII");
    let above = mail[0].len() - ours.len();
    (text(&mail[0][..above]), text(&ours[..ours.len() - data.len()]))
}

/// A client of the near end delivers [`MESSAGE`].
fn deliver(near: &Server, recipient: &str) {
    let mut client = Client::greeted(near.address());
    assert!(client.deliver("a@x.test", recipient, MESSAGE).starts_with("250"));
}

#[test]
fn mail_goes_under_tls_where_it_is_offered() {
    for (tls, sections, protocol) in [
        ("", "[tls]\nself_signed = true", "with ESMTPS"),
        ("tls = \"offered\"\n", "", "with ESMTP id"),
        ("tls = \"off\"\n", "[tls]\nself_signed = true", "with ESMTP id"),
    ] {
        let far = far_with("", sections);
        let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n{tls}", far.address()));
        let forwarder = Forwarder::start(&near);
        deliver(&near, "b@example.test");
        forwarder.wait_for(" forwarded ");
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        let (trace, ours) = traces(&far);
        assert!(trace.contains(protocol) && trace.contains("from near.example.test ("), "{tls}{trace}");
        assert!(ours.contains("with ESMTP id") && ours.contains("by near.example.test"), "{ours}");
    }
}

#[test]
fn where_tls_is_a_must_mail_waits_and_nothing_of_it_goes_in_plaintext() {
    let plain = NextHop::start(offering(vec!["PIPELINING"]));
    let refusing = NextHop::start(offering(vec!["PIPELINING", "STARTTLS"]));
    let unknown = far_with("", "[tls]\nself_signed = true");
    let other = NextHop::start(offering(vec!["PIPELINING"]));
    for (address, why, is_large) in [
        (plain.address(), "TLS is required and not offered", true),
        (refusing.address(), "454 4.7.0", false),
        (unknown.address(), "UnknownIssuer", false),
    ] {
        let near = near(&format!(
            "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{address}\"]\ntls = \"required\"\n\
             [[forward]]\nto = [\"smtp://{}\"]\n",
            other.address()
        ));
        let forwarder = Forwarder::start(&near);
        if is_large {
            let large = [MESSAGE, &b"0123456789\r\n".repeat(3_000_000)].concat();
            let mut client = Client::greeted(near.address());
            assert!(client.deliver("a@x.test", "b@example.test", &large).starts_with("250"));
        } else {
            deliver(&near, "b@example.test");
        }
        let line = forwarder.wait_for("next-hop-down");
        assert!(line.contains(why), "{line}");
        // Mail of another route goes, and makes much of it move.
        let before = other.taken().len();
        deliver(&near, "c@other.test");
        wait_until(&forwarder, "the other one", || other.taken().len() == before + 1);
        if is_large {
            wait_until(&forwarder, "it moves", || queue(&near, &["list"]).contains(" waiting "));
            let list = queue(&near, &["list"]);
            assert!(list.lines().count() == 1 && list.contains("<b@example.test>"), "{list}");
            assert!(list.contains(why), "{list}");
        }
        // It is tried again, and not in plaintext.
        std::thread::sleep(Duration::from_secs(3));
        forwarder.stop();
    }
    for hop in [&plain, &refusing] {
        let commands = hop.commands();
        assert!(commands.iter().filter(|command| command.starts_with("EHLO")).count() > 1, "{commands:?}");
        let is_opening =
            |command: &String| command.starts_with("EHLO") || command == "STARTTLS" || command == "QUIT";
        assert!(commands.iter().all(is_opening), "{commands:?}");
    }
    assert!(unknown.maildir("mail").is_empty());
    assert!(!unknown.log().iter().any(|line| line.contains(" message ")), "{:?}", unknown.log());
}

#[test]
fn who_offers_tls_and_cannot_do_it_gets_mail_in_plaintext() {
    for broken in [BrokenTls::Refuses, BrokenTls::Closes, BrokenTls::Talks] {
        let hop = NextHop::with_tls(offering(vec!["PIPELINING", "STARTTLS"]), broken);
        let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
        let forwarder = Forwarder::start(&near);
        deliver(&near, "b@example.test");
        wait_until(&forwarder, "it arrives", || hop.taken().len() == 1);
        assert!(hop.taken()[0].data.ends_with(MESSAGE), "{broken:?}");
        deliver(&near, "c@example.test");
        wait_until(&forwarder, "the next one", || hop.taken().len() == 2);
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        let asked = hop.commands().iter().filter(|command| *command == "STARTTLS").count();
        assert!(asked > 0 && asked <= 2, "{broken:?}: {asked} times, not each time");
    }
}

#[test]
fn a_next_hop_that_is_told_of_the_client_names_it() {
    let far = far_with("xclient_from = [\"127.0.0.1/32\"]", "[tls]\nself_signed = true");
    let routes =
        |tells: bool| format!("[[forward]]\nto = [\"smtp://{}\"]\nxclient = {tells}\n", far.address());
    for (tells, address) in [(true, "192.0.2.7]"), (false, "127.0.0.1]")] {
        let config = format!(
            "hostname = \"near.example.test\"\ndomains = [\"example.test\"]\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nxclient_from = [\"127.0.0.1/32\"]\n\
             [[sink]]\nkind = \"spool\"\npath = \"spool\"\n{}",
            routes(tells)
        );
        let near = Server::start_whole(&config);
        let forwarder = Forwarder::start(&near);
        // On one connection: each is told for itself.
        for (number, name, client_address) in
            [(0, "mx.first.test", "192.0.2.7"), (1, "mx.second.test", "IPV6:2001:db8::9")]
        {
            let mut client = Client::greeted(near.address());
            client.command(&format!("XCLIENT ADDR={client_address} PORT=4711 HELO={name}"), "220");
            client.command(&format!("EHLO {name}"), "250");
            let message = [MESSAGE, format!("{tells}{number}\r\n").as_bytes()].concat();
            assert!(client.deliver("a@x.test", "b@example.test", &message).starts_with("250"));
        }
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        let mail = stored(&far.folder().join("mail"));
        let find = |number: u32| {
            let end = format!("{tells}{number}\r\n").into_bytes();
            let found = mail.iter().find(|message| message.ends_with(&end)).expect("it arrived");
            let trace = &found[..found.len() - without_trace(found).len()];
            String::from_utf8(trace.to_vec()).expect("ASCII")
        };
        let (first, second) = (find(0), find(1));
        assert!(first.contains(address), "{first}");
        assert_eq!(second.contains("2001:db8::9]"), tells, "{second}");
    }
}

#[test]
fn mail_goes_to_a_socket_that_is_a_file() {
    for (scheme, is_lmtp) in [("lmtp", true), ("smtp", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hop.sock");
        let near = near(&format!("[[forward]]\nto = [\"{scheme}://unix:{}\"]\n", path.display()));
        let forwarder = Forwarder::start(&near);
        deliver(&near, "b@example.test");
        let line = forwarder.wait_for("next-hop-down");
        assert!(line.contains("hop.sock") && line.contains("No such file"), "{line}");
        let hop = NextHop::at(&path, Manner { is_lmtp, ..offering(vec!["PIPELINING", "STARTTLS"]) });
        wait_until(&forwarder, "it arrives", || hop.taken().len() == 1);
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        assert!(hop.taken()[0].data.ends_with(MESSAGE));
        assert_eq!(hop.taken()[0].recipients, ["b@example.test"]);
        let hello = if is_lmtp { "LHLO near.example.test" } else { "EHLO near.example.test" };
        assert_eq!(hop.commands()[0], hello);
    }
}

/// Octets that a hop sends in place of a greeting.
fn rude(kind: &'static str) -> std::net::SocketAddr {
    listen(move |mut stream| match kind {
        "garbage" => {
            stream.write_all(&(0..=255).cycle().take(100_000).collect::<Vec<u8>>())?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
        "an endless banner" => loop {
            stream.write_all(b"220-Welcome to this server\r\n")?;
        },
        "an endless line" => loop {
            stream.write_all(b"220 Welcome to this server ")?;
        },
        "nothing" => stream.read_to_end(&mut Vec::new()).map(drop),
        "the end" => Ok(()),
        _ => stream.write_all(b"554 No service\r\n"),
    })
}

#[test]
fn whoever_is_no_server_is_told_of_harms_nobody_and_holds_up_no_end() {
    let other = NextHop::start(offering(vec!["PIPELINING"]));
    for (kind, why) in [
        ("garbage", "no reply"),
        ("an endless banner", "too many lines"),
        ("an endless line", "without an end"),
        ("the end", "closed by the server"),
        ("a refusal", "554"),
        ("nothing", ""),
    ] {
        let near = near(&format!(
            "[[forward]]\ndomains = [\"example.test\"]\nto = [\"smtp://{}\"]\n\
             [[forward]]\nto = [\"smtp://{}\"]\n",
            rude(kind),
            other.address()
        ));
        let forwarder = Forwarder::start(&near);
        deliver(&near, "b@example.test");
        if !why.is_empty() {
            let line = forwarder.wait_for("next-hop-down");
            assert!(line.contains(why), "{kind}: {line}");
        }
        let before = other.taken().len();
        deliver(&near, "c@other.test");
        wait_until(&forwarder, kind, || other.taken().len() == before + 1);
        let status = std::fs::read_to_string(format!("/proc/{}/status", forwarder.id())).expect("its status");
        let resident = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        let kib: u64 = resident.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        assert!(kib < 100 * 1024, "{kind}: {kib} KiB");
        let begun = Instant::now();
        forwarder.stop();
        assert!(begun.elapsed() < Duration::from_secs(12), "{kind}: {:?}", begun.elapsed());
        // What waited is still there.
        let list = std::process::Command::new(support::server::program())
            .args(["spool", "list"])
            .arg(near.folder().join("spool"))
            .output()
            .expect("it runs");
        let list = String::from_utf8_lossy(&list.stdout).into_owned() + &queue(&near, &["list"]);
        assert!(list.contains("<b@example.test>"), "{kind}: {list}");
    }
}

/// A hop whose connections take one message each, and that answers no QUIT. It counts those that are open
/// now, and how many were at most.
fn slow_to_close(counts: &Arc<[AtomicUsize; 2]>) -> std::net::SocketAddr {
    let counts = Arc::clone(counts);
    listen(move |mut stream| {
        // Of one that was closed for it the end is seen by then.
        std::thread::sleep(Duration::from_millis(300));
        let open = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
        counts[1].fetch_max(open, Ordering::SeqCst);
        let mut serve = || -> std::io::Result<()> {
            stream.write_all(b"220 hop.test ready\r\n")?;
            for line in BufReader::new(stream.try_clone()?).split(b'\n') {
                let line = line?;
                let reply: &[u8] = match line.trim_ascii_end() {
                    b"QUIT" => b"",
                    b"DATA" => b"354 Go ahead\r\n",
                    line if line.starts_with(b"EHLO") => b"250-hop.test\r\n250 LIMITS MAILMAX=1\r\n",
                    line if line.starts_with(b"MAIL") || line.starts_with(b"RCPT") || line == b"." => {
                        b"250 2.0.0 Ok\r\n"
                    }
                    _ => b"",
                };
                stream.write_all(reply)?;
            }
            Ok(())
        };
        let served = serve();
        counts[0].fetch_sub(1, Ordering::SeqCst);
        served
    })
}

#[test]
fn connections_that_are_slow_to_end_are_no_more_than_there_may_be() {
    let counts = Arc::default();
    let address = slow_to_close(&counts);
    let near = near(&format!("[[forward]]\nto = [\"smtp://{address}\"]\nconnections_max = 2\n"));
    let forwarder = Forwarder::start(&near);
    for _ in 0..6 {
        deliver(&near, "b@example.test");
    }
    wait_until_empty(&near, &forwarder);
    forwarder.stop();
    assert_eq!(counts[1].load(Ordering::SeqCst), 2);
}

#[test]
fn those_for_whom_a_connection_has_no_transaction_left_have_the_next_one_at_once() {
    let limits = "LIMITS MAILMAX=1 RCPTMAX=2";
    let deferring = Manner { recipient: |_| "451 4.3.0 Later".to_owned(), ..offering(vec![limits]) };
    for is_deferred_first in [false, true] {
        let hop = NextHop::start(if is_deferred_first { deferring.clone() } else { offering(vec![limits]) });
        let near = near(&format!("[[forward]]\nto = [\"smtp://{}\"]\n", hop.address()));
        let forwarder = Forwarder::start(&near);
        let mut client = Client::greeted(near.address());
        client.command("MAIL FROM:<a@x.test>", "250");
        let all: Vec<String> = (0..7).map(|number| format!("b{number}@example.test")).collect();
        for mailbox in &all {
            client.command(&format!("RCPT TO:<{mailbox}>"), "250");
        }
        client.command("DATA", "354");
        client.send(&support::client::stuffed(MESSAGE));
        assert!(client.reply().starts_with("250"));
        if is_deferred_first {
            wait_until(&forwarder, "it waits", || queue(&near, &["list"]).contains(" waiting "));
            hop.set(offering(vec![limits]));
            queue(&near, &["retry", "--all"]);
        }
        let begun = Instant::now();
        let count = || hop.taken().iter().map(|taken| taken.recipients.len()).sum::<usize>();
        wait_until(&forwarder, "all have it", || count() >= all.len());
        // Sooner than anything is tried again.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        wait_until_empty(&near, &forwarder);
        forwarder.stop();
        let taken = hop.taken();
        assert!(taken.len() == 4 && taken.iter().all(|taken| taken.data.ends_with(MESSAGE)), "{taken:?}");
        let mut recipients: Vec<String> = taken.into_iter().flat_map(|taken| taken.recipients).collect();
        recipients.sort();
        assert_eq!(recipients, all, "each once");
    }
}
