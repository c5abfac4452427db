//! Recipients that the next hop knows (`recipients = "ask"`): asked by RCPT, remembered, and never guessed.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use support::client::Client;
use support::next_hop::{BrokenTls, Manner, NextHop, accept, listen};
use support::server::{Server, program};

use crate::recipient_map::{begun, explains, rcpt};

/// A server whose recipients the next hops of these routes know.
fn near(routes: &str) -> Server {
    Server::start_whole(&config(routes))
}

fn config(routes: &str) -> String {
    let cpu = ringmx::config::Config::embedded_default().shards[0].cpu;
    format!(
        "hostname = \"near.test\"\ndomains = [\"x.test\", \"other.test\"]\nrecipients = \"ask\"\n\
         recipient_delimiter = \"+\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[control]\nsocket = \"control.sock\"\n\
         [[sink]]\nkind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n[shards]\ncpus = [{cpu}]\n{routes}"
    )
}

fn route(to: &str) -> String {
    format!("[[forward]]\nto = [{to}]\n")
}

fn smtp(address: SocketAddr) -> String {
    format!("\"smtp://{address}\"")
}

/// What a next hop says of these.
fn by_name(mailbox: &str) -> String {
    match mailbox.split(['@', '+']).next().unwrap_or_default() {
        "anna" | "Anna" | "bert" | "carl" => accept(mailbox),
        "full" => "452 4.2.2 Mailbox full".to_owned(),
        "closed" => "550 5.7.1 Not from you".to_owned(),
        "locked" => "530 5.7.0 Authenticate first".to_owned(),
        "old" => "550 5.2.1 Mailbox disabled".to_owned(),
        _ => "550 5.1.1 Nobody of that name".to_owned(),
    }
}

fn manner(keywords: &[&'static str]) -> Manner {
    Manner { is_lmtp: false, keywords: keywords.to_vec(), recipient: by_name, end: accept }
}

#[test]
fn a_next_hop_is_asked_once_and_what_it_said_is_remembered() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let hop = NextHop::start(manner(keywords));
        let near = near(&route(&smtp(hop.address())));
        for _ in 0..2 {
            let mut client = begun(&near);
            rcpt(&mut client, "Anna@x.test", "250 2.1.5");
            rcpt(&mut client, "bert+lists@x.test", "250 2.1.5");
            rcpt(&mut client, "nobody@x.test", "550 5.1.1");
            rcpt(&mut client, "old@x.test", "550 5.1.1");
            rcpt(&mut client, "anna@elsewhere.test", "550 5.7.1");
            rcpt(&mut client, "postmaster@x.test", "250 2.1.5");
            rcpt(&mut client, "postmaster", "250 2.1.5");
        }
        let commands = hop.commands();
        let asked: Vec<_> = commands.iter().filter(|command| command.starts_with("RCPT")).collect();
        // As they came, with their tags; postmaster is ours.
        let all = ["Anna@x.test", "bert+lists@x.test", "nobody@x.test", "old@x.test"];
        assert_eq!(asked, all.map(|name| format!("RCPT TO:<{name}>")).iter().collect::<Vec<_>>());
        assert!(commands.iter().all(|command| !command.starts_with("DATA")), "{commands:?}");
        let mails = commands.iter().filter(|command| command.starts_with("MAIL"));
        assert!(mails.clone().all(|command| command == "MAIL FROM:<>"), "{commands:?}");
        assert!(hop.taken().is_empty());
    }
}

#[test]
fn what_is_not_about_the_recipient_is_451_and_neither_yes_nor_no() {
    let hop = NextHop::start(manner(&[]));
    let near = near(&route(&smtp(hop.address())));
    let mut client = begun(&near);
    for name in ["full@x.test", "closed@x.test", "locked@x.test"] {
        for _ in 0..2 {
            rcpt(&mut client, name, "451 4.3.0");
        }
    }
    let line = near.wait_for_log(|line| line.contains("Not from you"));
    assert!(
        line.contains("ask about recipients, who get 451 until that is mended, at")
            && line.contains("smtp://"),
        "{line}"
    );
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
}

#[test]
fn a_next_hop_that_is_away_is_451_until_it_is_back() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let near = near(&route(&smtp(address)));
    let mut client = begun(&near);
    rcpt(&mut client, "anna@x.test", "451 4.3.0");
    rcpt(&mut client, "postmaster@x.test", "250 2.1.5");
    near.wait_for_log(|line| line.contains("ask about recipients") && line.contains("onnection refused"));
    let _hop = NextHop::on(TcpListener::bind(address).expect("the port"), manner(&["PIPELINING"]));
    let start = Instant::now();
    loop {
        client.send(b"RCPT TO:<anna@x.test>\r\n");
        let reply = client.reply();
        if reply.starts_with("250") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{reply}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The configuration that takes whom nobody can be asked about.
fn taking(routes: &str) -> String {
    config(routes).replace("recipients = \"ask\"", "recipients = \"ask\"\nrecipients_down = \"accept\"")
}

#[test]
fn who_cannot_be_asked_about_is_taken_where_that_is_wanted_and_only_then() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let near = Server::start_whole(&taking(&route(&smtp(address))));
    let mut client = begun(&near);
    rcpt(&mut client, "nobody@x.test", "250 2.1.5");
    rcpt(&mut client, "closed@x.test", "250 2.1.5");
    rcpt(&mut client, "anna@elsewhere.test", "550 5.7.1");
    near.wait_for_log(|line| line.contains("who are taken unasked until that is mended"));
    let _hop = NextHop::on(TcpListener::bind(address).expect("the port"), manner(&["PIPELINING"]));
    // It was not remembered; and what is said is believed. In one transaction it is not asked about again.
    let start = Instant::now();
    loop {
        client = begun(&near);
        client.send(b"RCPT TO:<nobody@x.test>\r\n");
        let reply = client.reply();
        if reply.starts_with("550 5.1.1") {
            break;
        }
        assert!(reply.starts_with("250") && start.elapsed() < Duration::from_secs(3), "{reply}");
        std::thread::sleep(Duration::from_millis(50));
    }
    rcpt(&mut client, "closed@x.test", "451 4.3.0");
    rcpt(&mut client, "full@x.test", "451 4.3.0");
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
}

#[test]
fn a_silent_next_hop_is_waited_for_once_by_each_thread() {
    let mute = listen(|stream| {
        let _ = BufReader::new(stream).read_line(&mut String::new());
        Ok(())
    });
    let near = Server::start_whole(&taking(&route(&smtp(mute))));
    let mut client = begun(&near);
    let start = Instant::now();
    for name in 0..40 {
        rcpt(&mut client, &format!("name{name}@x.test"), "250 2.1.5");
    }
    let took = start.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(26)).contains(&took), "{took:?}");
}

#[test]
fn a_silent_next_hop_keeps_no_other_routes_clients_waiting() {
    let mute = listen(|stream| {
        let _ = BufReader::new(stream).read_line(&mut String::new());
        Ok(())
    });
    let hop = NextHop::start(manner(&["PIPELINING"]));
    let silent = format!("[[forward]]\ndomains = [\"other.test\"]\nto = [{}]\n", smtp(mute));
    let near = near(&format!("{silent}{}", route(&smtp(hop.address()))));
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let mut client = begun(&near);
            client.send(format!("RCPT TO:<name{number}@other.test>\r\n").as_bytes());
            client
        })
        .collect();
    // All threads of that route wait by now.
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let mut client = begun(&near);
    for number in 0..8 {
        rcpt(&mut client, &format!("nobody{number}@x.test"), "550 5.1.1");
    }
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for mut client in waiting {
        client.expect("451 4.3.0");
    }
}

#[test]
fn the_second_is_asked_where_the_first_is_away_or_silent() {
    let mute = listen(|stream| {
        let _ = BufReader::new(stream).read_line(&mut String::new());
        Ok(())
    });
    let closed = listen(|stream| stream.shutdown(Shutdown::Both));
    for first in [mute, closed] {
        let hop = NextHop::start(manner(&["PIPELINING"]));
        let near = near(&route(&format!("{}, {}", smtp(first), smtp(hop.address()))));
        let mut client = begun(&near);
        rcpt(&mut client, "anna@x.test", "250 2.1.5");
        rcpt(&mut client, "nobody@x.test", "550 5.1.1");
    }
}

#[test]
fn each_route_asks_its_own_and_lmtp_at_a_socket_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("lmtp");
    let _lmtp = NextHop::at(&socket, Manner { is_lmtp: true, ..manner(&["PIPELINING"]) });
    let other = NextHop::start(Manner { recipient: accept, ..manner(&["PIPELINING"]) });
    let near = near(&format!(
        "[[forward]]\ndomains = [\"x.test\"]\nto = [\"lmtp://unix:{}\"]\n{}",
        socket.display(),
        route(&smtp(other.address()))
    ));
    let mut client = begun(&near);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    rcpt(&mut client, "nobody@x.test", "550 5.1.1");
    rcpt(&mut client, "nobody@other.test", "250 2.1.5");
    assert!(other.commands().contains(&"RCPT TO:<nobody@other.test>".to_owned()));
}

#[test]
fn under_tls_where_it_works_and_without_where_it_is_only_offered() {
    // One of ours, with a certificate that it made itself. Without TLS it takes no MAIL.
    let far = Server::start_with_files(
        "hostname = \"far.test\"\ndomains = [\"x.test\"]\nrecipients = \"recipients.txt\"\n[[listener]]\n\
         address = \"127.0.0.1:0\"\ntls = \"required\"\n[[sink]]\nkind = \"discard\"\n[tls]\nself_signed = true\n",
        &[("recipients.txt", "anna@x.test\n")],
    );
    let near_far = near(&route(&smtp(far.address())));
    let mut client = begun(&near_far);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    rcpt(&mut client, "nobody@x.test", "550 5.1.1");
    for broken in [BrokenTls::Refuses, BrokenTls::Closes, BrokenTls::Talks] {
        let hop = NextHop::with_tls(manner(&["PIPELINING", "STARTTLS"]), broken);
        let offered = near(&route(&smtp(hop.address())));
        rcpt(&mut begun(&offered), "anna@x.test", "250 2.1.5");
        let required = near(&format!("{}tls = \"required\"\n", route(&smtp(hop.address()))));
        rcpt(&mut begun(&required), "anna@x.test", "451 4.3.0");
        let asked = hop.commands().iter().filter(|command| command.starts_with("RCPT")).count();
        assert_eq!(asked, 1, "never without, where it is required");
    }
}

/// A server that does this with each command, until it says that it ends.
fn doing(
    with: impl Fn(&str, &mut TcpStream) -> std::io::Result<ControlFlow<()>> + Send + Sync + 'static,
) -> SocketAddr {
    listen(move |mut stream| {
        stream.write_all(b"220 hop.test\r\n")?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 && with(line.trim_end(), &mut stream)?.is_continue() {
            line.clear();
        }
        Ok(())
    })
}

/// A server that answers each command by this.
fn scripted(reply: fn(&str) -> &'static str) -> SocketAddr {
    doing(move |line, stream| {
        stream.write_all(reply(line).as_bytes())?;
        Ok(ControlFlow::Continue(()))
    })
}

#[test]
fn whatever_a_server_says_is_no_yes_but_a_yes() {
    let scripts: [fn(&str) -> &'static str; 9] = [
        |line| if line.starts_with("MAIL") { "550 5.7.1 No empty senders here\r\n" } else { "250 Ok\r\n" },
        |line| if line.starts_with("RCPT") { "354 Go ahead\r\n" } else { "250 Ok\r\n" },
        |line| if line.starts_with("RCPT") { "yes\r\n" } else { "250 Ok\r\n" },
        |line| if line.starts_with("RCPT") { "421 4.3.2 Not now\r\n" } else { "250 Ok\r\n" },
        |_| "554 5.7.1 You are listed\r\n",
        // Two replies to one command: the second one is to nothing.
        |line| if line.starts_with("MAIL") { "250 Ok\r\n250 Ok\r\n" } else { "550 5.1.1 No\r\n" },
        // What is said of everybody says nothing of anybody.
        |line| if line.starts_with("RCPT") { "550 relay not permitted\r\n" } else { "250 Ok\r\n" },
        |line| if line.starts_with("RCPT") { "550 5.4.1 Access denied\r\n" } else { "250 Ok\r\n" },
        |line| if line.starts_with("RCPT") { "450 4.7.25 Who are you?\r\n" } else { "250 Ok\r\n" },
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let near = near(&route(&smtp(scripted(script))));
        let mut client = begun(&near);
        for name in ["anna", "anna", "bert", "carl"] {
            client.send(format!("RCPT TO:<{name}@x.test>\r\n").as_bytes());
            let reply = client.reply();
            assert!(reply.starts_with("451 4.3.0"), "{number}: {reply}");
        }
    }
}

#[test]
fn a_refusal_in_words_is_believed_where_postmaster_is_taken() {
    let hop = scripted(|line| match line.get(.."RCPT TO:<post".len()) {
        Some("RCPT TO:<post") => "250 Ok\r\n",
        _ if line.starts_with("RCPT") => "550 Unknown user\r\n",
        _ => "250 Ok\r\n",
    });
    let near = near(&route(&smtp(hop)));
    let mut client = begun(&near);
    for number in 0..20 {
        rcpt(&mut client, &format!("user{number}@x.test"), "550 5.1.1");
    }
}

#[test]
fn an_answer_with_the_end_of_the_session_is_one_and_the_session_is_over() {
    let hop =
        scripted(|line| if line.starts_with("RCPT") { "550 5.1.1 No\r\n421 Bye\r\n" } else { "250 Ok\r\n" });
    let near = near(&route(&smtp(hop)));
    let mut client = begun(&near);
    // More than there are threads.
    for number in 0..20 {
        rcpt(&mut client, &format!("user{number}@x.test"), "550 5.1.1");
    }
}

#[test]
fn a_spelling_that_is_nobodys_keeps_nobody_else_out() {
    let hop = NextHop::start(manner(&["PIPELINING"]));
    let near = near(&route(&smtp(hop.address())));
    let mut client = begun(&near);
    rcpt(&mut client, "BERT@x.test", "550 5.1.1");
    rcpt(&mut client, "bert@x.test", "250 2.1.5");
    rcpt(&mut begun(&near), "BERT@x.test", "550 5.1.1");
}

#[test]
fn a_next_hop_that_is_slow_is_asked_on() {
    let recipient = |mailbox: &str| {
        std::thread::sleep(Duration::from_millis(1300));
        by_name(mailbox)
    };
    let hop = NextHop::start(Manner { recipient, ..manner(&["PIPELINING"]) });
    let near = near(&route(&smtp(hop.address())));
    let mut clients: Vec<Client> = (0..20).map(|_| begun(&near)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("RCPT TO:<anna+{number}@x.test>\r\n").as_bytes());
    }
    for client in &mut clients {
        client.reply();
    }
    // Four threads have no time for all of them; that says nothing of the next hop.
    rcpt(&mut begun(&near), "anna@x.test", "250 2.1.5");
}

#[test]
fn a_question_that_has_waited_for_others_takes_nobody() {
    let recipient = |mailbox: &str| {
        std::thread::sleep(Duration::from_millis(1300));
        by_name(mailbox)
    };
    let hop = NextHop::start(Manner { recipient, ..manner(&["PIPELINING"]) });
    let near = Server::start_whole(&taking(&route(&smtp(hop.address()))));
    let mut clients: Vec<Client> = (0..40).map(|_| begun(&near)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("RCPT TO:<nobody{number}@x.test>\r\n").as_bytes());
    }
    let replies: Vec<_> = clients.iter_mut().map(Client::reply).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("550") || reply.starts_with("451")), "{replies:?}");
    assert!(replies.iter().any(|reply| reply.starts_with("451")), "the next hop has no time for all");
}

#[test]
fn tls_that_does_not_come_to_be_is_left_out_the_next_time() {
    let hop = doing(|line, stream| {
        match line.get(..4) {
            Some("EHLO") => stream.write_all(b"250-hop.test\r\n250 STARTTLS\r\n")?,
            // It begins, and goes no further.
            Some("STAR") => {
                stream.write_all(b"220 Go ahead\r\n")?;
                std::thread::sleep(Duration::from_mins(1));
            }
            _ => stream.write_all(b"250 Ok\r\n")?,
        }
        Ok(ControlFlow::Continue(()))
    });
    let near = near(&route(&smtp(hop)));
    let mut client = begun(&near);
    let start = Instant::now();
    loop {
        client.send(b"RCPT TO:<anna@x.test>\r\n");
        if client.reply().starts_with("250") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(40));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_log_tells_of_each_next_hop() {
    let hops = [(); 2]
        .map(|()| scripted(|line| if line.starts_with("RCPT") { "554 5.7.1 No\r\n" } else { "250 Ok\r\n" }));
    let near = near(&format!(
        "[[forward]]\ndomains = [\"x.test\"]\nto = [{}]\n{}",
        smtp(hops[0]),
        route(&smtp(hops[1]))
    ));
    let mut client = begun(&near);
    rcpt(&mut client, "anna@x.test", "451 4.3.0");
    rcpt(&mut client, "anna@other.test", "451 4.3.0");
    for hop in hops {
        near.wait_for_log(|line| line.contains("ask about recipients") && line.contains(&hop.to_string()));
    }
}

#[test]
fn a_session_that_the_next_hop_ended_is_no_answer() {
    // One question, and then it is gone.
    let hop = doing(|line, stream| {
        stream.write_all(b"250 Ok\r\n")?;
        Ok(if line.starts_with("RCPT") { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    let near = near(&route(&smtp(hop)));
    let mut client = begun(&near);
    for number in 0..20 {
        rcpt(&mut client, &format!("user{number}@x.test"), "250 2.1.5");
    }
}

#[test]
fn many_questions_at_once_have_their_answers() {
    let hop = NextHop::start(manner(&["PIPELINING"]));
    let near = near(&route(&smtp(hop.address())));
    let mut clients: Vec<Client> = (0..40).map(|_| begun(&near)).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            let name = if number % 2 == 0 { "anna" } else { "nobody" };
            client.send(format!("RCPT TO:<{name}+{round}.{number}@x.test>\r\n").as_bytes());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect(if number % 2 == 0 { "250 2.1.5" } else { "550 5.1.1" });
        }
    }
    let asked = hop.commands().iter().filter(|command| command.starts_with("RCPT")).count();
    assert_eq!(asked, 200, "each once");
    let sessions = hop.commands().iter().filter(|command| command.starts_with("EHLO")).count();
    // Eight refusals a session.
    assert!((4..=20).contains(&sessions), "{sessions} sessions");
}

#[test]
fn what_cannot_be_asked_is_told_by_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringmx.toml");
    let check = |routes: &str| {
        std::fs::write(&file, config(routes)).expect("written");
        let mut command = std::process::Command::new(program());
        let output = command.arg("check").arg(&file).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    for (routes, why) in [
        ("", "there is no [[forward]]"),
        (
            "[[forward]]\ndomains = [\"x.test\", \"other.test\"]\nto = [\"mx\"]\n",
            "cannot be asked: servers that are found by MX",
        ),
        (
            "[[forward]]\nto = [\"smtp://hop.test:25\"]\n",
            "smtp://hop.test:25 cannot be asked, because a receiver",
        ),
    ] {
        let said = check(routes);
        assert!(said.contains(why) && said.contains("recipients"), "{said}");
    }
    let text = taking("").replace("recipients = \"ask\"\n", "");
    std::fs::write(&file, text).expect("written");
    let output = std::process::Command::new(program()).arg("check").arg(&file).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains(":3: recipients_down: nobody is asked about recipients"), "{said}");
    let said = check("[[forward]]\nto = [\"smtp://127.0.0.1:1\"]\n");
    assert!(said.contains("smtp://127.0.0.1:1 is not there now"), "{said}");
}

#[test]
fn other_next_hops_need_a_restart() {
    let hop = NextHop::start(manner(&[]));
    let near = near(&route(&smtp(hop.address())));
    let file = near.folder().join("ringmx.toml");
    let reload = |routes: &str| {
        std::fs::write(&file, config(routes)).expect("written");
        let mut command = std::process::Command::new(program());
        let output = command.arg("reload").arg(&file).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    let said = reload(&route("\"smtp://127.0.0.1:1\""));
    assert!(said.contains("recipients: ") && said.contains("others than at the start"), "{said}");
    rcpt(&mut begun(&near), "anna@x.test", "250 2.1.5");
    let said = reload(&route(&smtp(hop.address())));
    assert!(said.contains("reloaded"), "{said}");
}

#[test]
fn explain_asks_the_next_hop_as_a_server_does() {
    let hop = NextHop::start(manner(&["PIPELINING"]));
    let near = near(&route(&smtp(hop.address())));
    explains(&near, "anna@x.test", "the next hop has it");
    explains(&near, "nobody@x.test", "the next hop does not have it");
    explains(&near, "full@x.test", "the next hop gives no answer");
    explains(&near, "closed@x.test", "the next hop gives no answer: ");
    assert!(hop.taken().is_empty());
}
