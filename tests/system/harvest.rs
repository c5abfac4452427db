//! An open relay and a directory of who exists are what attackers look for: every form of address that
//! confused a server once, to a real server. It relays nothing, and tells no more than the limits allow.

use std::time::Duration;

use support::client::Client;
use support::dns_server::{Behaviour, DnsServer};
use support::server::Server;

const RECIPIENTS: &str = "known@example.org\nmember@example.org\n@all.example\n";
const ALIASES: &str = "staff@example.org: known@example.org, member@example.org\n";

/// Of recipients that exist, as many ways to write them as there are.
const KNOWN: [&str; 14] = [
    "known@example.org",
    "KNOWN@EXAMPLE.ORG",
    "known@example.org.",
    "\"known\"@example.org",
    "\"k\\nown\"@example.org",
    "known+tag@example.org",
    "@elsewhere.example:known@example.org",
    "@one.example,@two.example:known@Example.org",
    "member@example.org",
    "staff@example.org",
    "Staff+tag@example.org",
    "anybody@all.example",
    "postmaster",
    "PostMaster@example.org",
];

/// Of recipients that do not, and of others.
const UNKNOWN: [&str; 10] = [
    "nobody@example.org",
    "NOBODY@EXAMPLE.ORG",
    "\"nobody\"@example.org",
    "known.@example.org",
    "knownn@example.org",
    "nobody+known@example.org",
    "@elsewhere.example:nobody@example.org",
    "staff1@example.org",
    "victim@elsewhere.example",
    "known@elsewhere.example",
];

fn config(more: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\", \"all.example\", \"*.below.example\"]\n\
         recipients = \"recipients.txt\"\naliases = \"aliases.txt\"\nrecipient_delimiter = \"+\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n[[sink]]\nkind = \"stdout\"\n\
         [limits]\nerrors_max = 1000\nidle_commands_max = 1000\n[shards]\ncpus = [0]\n{more}\n"
    )
}

fn server(more: &str) -> Server {
    Server::start_with_files(&config(more), &[("recipients.txt", RECIPIENTS), ("aliases.txt", ALIASES)])
}

/// A client of this address that has said EHLO.
fn greeted(server: &Server, address: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.send(format!("PROXY TCP4 {address} 192.0.2.254 4321 25\r\n").as_bytes());
    client.expect("220");
    client.command("EHLO client.example", "250");
    client
}

fn told(client: &mut Client, recipient: &str) -> String {
    client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
    client.reply()
}

/// All of them are told the same, and so: to the octet.
fn all_are_told(client: &mut Client, beginning: &str) {
    let expected = told(client, UNKNOWN[0]);
    assert!(expected.starts_with(beginning), "{expected}");
    for recipient in KNOWN.iter().chain(&UNKNOWN) {
        assert_eq!(told(client, recipient), expected, "{recipient}");
    }
}

#[test]
fn no_form_of_address_makes_it_relay() {
    let server = server("");
    let mut client = greeted(&server, "192.0.2.1");
    client.command("MAIL FROM:<a@client.example> SMTPUTF8", "250");
    client.command("RCPT TO:<known@example.org>", "250");
    for (recipient, code) in [
        ("@example.org:victim@elsewhere.example", "550 5.7.1"),
        ("@elsewhere.example,@example.org:victim@elsewhere.example", "550 5.7.1"),
        ("@example.org:@elsewhere.example:victim@example.org", "501"),
        ("victim%elsewhere.example@example.org", "550 5.1.3"),
        ("victim%elsewhere.example@all.example", "550 5.1.3"),
        ("victim%elsewhere.example+x@all.example", "550 5.1.3"),
        ("x+victim%elsewhere.example@all.example", "550 5.1.3"),
        ("victim%elsewhere.example@[127.0.0.1]", "550 5.7.1"),
        ("victim%elsewhere.example", "501"),
        ("elsewhere.example!victim@example.org", "550 5.1.3"),
        ("elsewhere.example!victim@all.example", "550 5.1.3"),
        ("elsewhere.example!victim", "501"),
        ("\"victim@elsewhere.example\"@example.org", "550 5.1.3"),
        ("\"victim@elsewhere.example\"@all.example", "550 5.1.3"),
        ("\"victim\\@elsewhere.example\"@all.example", "550 5.1.3"),
        ("\"victim%elsewhere.example\"@all.example", "550 5.1.3"),
        ("\"@elsewhere.example:victim\"@all.example", "550 5.1.3"),
        ("\"victim@elsewhere.example\"", "501"),
        ("victim@elsewhere.example@example.org", "501"),
        ("victim@[127.0.0.1]", "550 5.7.1"),
        ("known@[127.0.0.1]", "550 5.7.1"),
        ("known@[IPv6:::1]", "550 5.7.1"),
        ("known@[IPv6:::ffff:127.0.0.1]", "550 5.7.1"),
        ("known@127.0.0.1", "550 5.7.1"),
        ("known@2130706433", "550 5.7.1"),
        ("known@localhost", "550 5.7.1"),
        ("known@mx.example.org", "550 5.7.1"),
        ("victim@ELSEWHERE.EXAMPLE", "550 5.7.1"),
        ("victim@elsewhere.example.", "550 5.7.1"),
        ("victim@example.org.elsewhere.example", "550 5.7.1"),
        ("victim@notexample.org", "550 5.7.1"),
        ("victim@org", "550 5.7.1"),
        ("victim@.example.org", "501"),
        ("victim@example..org", "501"),
        ("victim@below.example", "550 5.7.1"),
        ("victim@", "501"),
        ("@example.org", "501"),
        ("victim", "501"),
        ("", "501"),
        ("<known@example.org>", "501"),
        ("victim@elsewhere.example> <known@example.org", "501"),
        ("victim@elsewhere.example,known@example.org", "501"),
        ("victim@elsewhere.example\u{3002}example", "550 5.7.1"),
        ("victim@b\u{fc}cher.example", "550 5.7.1"),
        ("victim@exampl\u{435}.org", "550 5.7.1"),
        ("victim@\u{ff3b}127.0.0.1\u{ff3d}", "501"),
        ("victim\u{ff20}elsewhere.example", "501"),
    ] {
        let reply = told(&mut client, recipient);
        assert!(reply.starts_with(code), "{recipient}: {reply}");
    }
    // Other spellings of what is ours are that, and nothing else.
    for recipient in ["known@\u{ff45}xample.org", "@elsewhere.example:anybody@all.example"] {
        let reply = told(&mut client, recipient);
        assert!(reply.starts_with("250"), "{recipient}: {reply}");
    }
    client.command("DATA", "354");
    client.send(b"To: victim@elsewhere.example\r\nBcc: other@elsewhere.example\r\n\r\n.\r\n");
    client.expect("250");
    let json: serde_json::Value = serde_json::from_str(&server.output(1)[0]).expect("JSON");
    let text = json["recipients"].to_string();
    assert!(text.contains("known@example.org") && text.contains("anybody@all.example"), "{text}");
    assert_eq!((text.matches('@').count(), text.contains("elsewhere")), (2, false), "{text}");
}

#[test]
fn a_client_that_is_refused_does_not_learn_who_exists() {
    let dns = DnsServer::start();
    dns.address_of("2.0.0.127.bad.test", "127.0.0.2").address_of("2.2.0.192.bad.test", "127.0.0.2");
    dns.ptr("192.0.2.1", "mx.client.example").address_of("mx.client.example", "192.0.2.1");
    dns.ptr("192.0.2.2", "mx.client.example").address_of("mx.client.example", "192.0.2.2");
    dns.behave("4.2.0.192.in-addr.arpa", Behaviour::ServerFailure);
    dns.ptr("192.0.2.5", "mx5.client.example").address_of("mx5.client.example", "192.0.2.5");
    dns.mx("client.example", 10, "mx.client.example").mx("null.example", 0, ".");
    let tables = "[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"refuse\"\ntext = \"Go away\"\n\
         [[dnsbl]]\nzone = \"bad.test\"\nweight = 3\nname = \"Bad List\"\n[score]\nrefuse = 3\n\
         [early]\nreverse_dns = \"refuse\"\nsender_domain = \"refuse\"\ngreylist = \"unknown\"\n";
    let server = server(&format!("[dns]\nservers = [\"{}\"]\n{tables}", dns.address()));
    for (address, from, beginning) in [
        ("192.0.2.1", "a@client.example", "550 5.7.1 Go away"),
        ("192.0.2.2", "a@client.example", "550 5.7.1 The client is listed by Bad List"),
        ("192.0.2.3", "a@client.example", "550 5.7.25"),
        ("192.0.2.4", "a@client.example", "451 4.7.25"),
        ("192.0.2.5", "a@nowhere.example", "550 5.1.8"),
        ("192.0.2.5", "a@null.example", "550 5.7.27"),
        ("192.0.2.5", "a@client.example", "451 4.7.1"),
    ] {
        let mut client = greeted(&server, address);
        client.command(&format!("MAIL FROM:<{from}>"), "250");
        all_are_told(&mut client, beginning);
        client.command("DATA", "554");
    }
}

#[test]
fn once_a_client_has_guessed_too_often_nothing_tells_who_exists() {
    let server = server("[client_limits]\nunknown_recipients = \"3/hour\"");
    let mut client = greeted(&server, "192.0.2.1");
    client.command("MAIL FROM:<>", "250");
    client.command("RCPT TO:<staff@example.org>", "250");
    for _ in 0..3 {
        client.command("RCPT TO:<nobody@example.org>", "550 5.1.1");
    }
    // Neither the alias that is in the envelope already, nor those that it brought there.
    all_are_told(&mut client, "450 4.7.1");
    // Nor on another connection, nor in another transaction.
    let mut other = greeted(&server, "192.0.2.1");
    other.command("MAIL FROM:<a@client.example> SIZE=1000", "250");
    all_are_told(&mut other, "450 4.7.1");
    client.command("RSET", "250");
    client.command("MAIL FROM:<>", "250");
    all_are_told(&mut client, "450 4.7.1");
    client.command("DATA", "554");
    // The network has three shares: the fourth client finds them used up by its neighbours.
    for address in ["192.0.2.2", "192.0.2.3"] {
        let mut neighbour = greeted(&server, address);
        neighbour.command("MAIL FROM:<>", "250");
        neighbour.command("RCPT TO:<known@example.org>", "250");
        (0..3).for_each(|_| _ = neighbour.command("RCPT TO:<nobody@example.org>", "550 5.1.1"));
        neighbour.command("RSET", "250");
        neighbour.command("MAIL FROM:<>", "250");
        all_are_told(&mut neighbour, "450 4.7.1");
    }
    let mut new = greeted(&server, "192.0.2.99");
    new.command("MAIL FROM:<>", "250");
    all_are_told(&mut new, "450 4.7.1");
    let mut elsewhere = greeted(&server, "198.51.100.1");
    elsewhere.command("MAIL FROM:<>", "250");
    elsewhere.command("RCPT TO:<known@example.org>", "250");
}

#[test]
fn no_command_but_rcpt_says_anything_about_a_recipient() {
    let config = config("").replace("kind = \"stdout\"", "kind = \"spool\"\npath = \"spool\"\ndsn = true");
    let files = [("recipients.txt", RECIPIENTS), ("aliases.txt", ALIASES)];
    let server = Server::start_with_files(&config, &files);
    let mut client = greeted(&server, "192.0.2.1");
    for verb in ["VRFY", "EXPN", "HELP", "NOOP", "VRFY <", "TURN", "ETRN"] {
        let mut said = |recipient: &str| {
            client.send(format!("{verb} {recipient}\r\n").as_bytes());
            client.reply()
        };
        let expected = said("nobody@example.org");
        for recipient in KNOWN.iter().chain(&UNKNOWN) {
            assert_eq!(said(recipient), expected, "{verb} {recipient}");
        }
    }
    // Nor does MAIL: who sends is not looked up.
    let replies = ["known@example.org", "nobody@example.org", "staff@example.org"].map(|from| {
        let reply = client.command(&format!("MAIL FROM:<{from}> SIZE=1000"), "250");
        client.command("RSET", "250");
        reply
    });
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    // A parameter is judged before its recipient.
    client.command("MAIL FROM:<>", "250");
    for parameters in ["NOTIFY=SOMETIMES", "NOTIFY=NEVER,FAILURE", "ORCPT=x", "SIZE=1", "X=Y"] {
        let replies =
            ["known@example.org", "nobody@example.org", "staff@example.org", "postmaster"].map(|to| {
                client.send(format!("RCPT TO:<{to}> {parameters}\r\n").as_bytes());
                client.reply()
            });
        assert!(
            replies[0].starts_with('5') && replies.iter().all(|reply| *reply == replies[0]),
            "{replies:?}"
        );
    }
}

#[test]
fn odd_names_are_read_as_what_they_mean() {
    let dns = DnsServer::start();
    dns.address_of("2.0.0.127.bad.test", "127.0.0.2").address_of("9.2.0.192.bad.test", "127.0.0.2");
    dns.mx("xn--bcher-kva.example", 10, "mx.client.example").mx("client.example", 10, "mx.client.example");
    let odd = "evil)\r\nX: y(\u{1b}[0m.example";
    dns.ptr("192.0.2.7", odd).address_of(odd, "192.0.2.7");
    let tables = "[[access]]\nehlo = [\"*.dyn.example\"]\naction = \"refuse\"\ntext = \"Dynamic\"\n\
         [[access]]\nreverse_path = [\"*.b\u{fc}cher.example\", \"\u{e4}.example\"]\naction = \"refuse\"\ntext = \"Sender\"\n\
         [[access]]\nnetworks = [\"192.0.2.8\"]\naction = \"refuse\"\ntext = \"Network\"\n\
         [[dnsbl]]\nzone = \"bad.test\"\nweight = 3\nname = \"Bad List\"\n[score]\nrefuse = 3\n\
         [early]\nreverse_dns = \"mark\"\nsender_domain = \"refuse\"\n";
    let server = server(&format!("[dns]\nservers = [\"{}\"]\n{tables}", dns.address()));
    let long = format!("{}.DYN.EXAMPLE", "A.".repeat(121).trim_end_matches('.'));
    for (address, ehlo, from, beginning) in [
        ("192.0.2.1", &*long, "a@client.example", "550 5.7.1 Dynamic"),
        ("192.0.2.1", "X.Dyn.Example.", "a@client.example", "550 5.7.1 Dynamic"),
        ("192.0.2.1", "dyn.example", "a@client.example", "250"),
        ("192.0.2.1", "x", "a@x.B\u{fc}cher.example", "550 5.7.1 Sender"),
        ("192.0.2.1", "x", "a@x.xn--BCHER-kva.example.", "550 5.7.1 Sender"),
        ("192.0.2.1", "x", "a@\u{c4}.example", "550 5.7.1 Sender"),
        ("192.0.2.1", "x", "\"a@x.xn--bcher-kva.example\"@client.example", "250"),
        ("192.0.2.1", "x", "a@b\u{fc}cher.example", "250"),
        ("192.0.2.1", "x", "a@b\u{f6}se.example", "550 5.1.8"),
        ("::ffff:192.0.2.8", "x", "a@client.example", "550 5.7.1 Network"),
        ("::ffff:192.0.2.9", "x", "a@client.example", "550 5.7.1 The client is listed"),
        ("192.0.2.7", "x", "a@client.example", "250"),
    ] {
        let mut client = Client::connect(server.address());
        let (family, front) = if address.contains(':') { ("TCP6", "::1") } else { ("TCP4", "192.0.2.254") };
        client.send(format!("PROXY {family} {address} {front} 4321 25\r\n").as_bytes());
        client.expect("220");
        client.command(&format!("EHLO {ehlo}"), "250");
        client.command(&format!("MAIL FROM:<{from}> SMTPUTF8"), "250");
        let reply = told(&mut client, "known@example.org");
        assert!(reply.starts_with(beginning), "{address} {ehlo} {from}: {reply}");
        if address == "192.0.2.7" {
            client.command("DATA", "354");
            client.send(b"Subject: x\r\n\r\n.\r\n");
            client.expect("250");
            client.command("QUIT", "221");
        }
    }
    assert_eq!(dns.asked("xn--bcher-kva.example"), 1, "a name is asked for as A-labels");
    let line = &server.output(1)[0];
    let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let data = data_encoding::BASE64.decode(json["data_base64"].as_str().expect("text").as_bytes());
    let data = String::from_utf8(data.expect("base64")).expect("ASCII");
    assert!(data.contains("([192.0.2.7])") && !data.contains("evil"), "{data}");
    assert!(json["reverse_name"].is_null() && !server.log().join("\n").contains("evil"), "{line}");
}

#[test]
fn explain_reads_what_it_is_given_as_a_server_does() {
    let dns = DnsServer::start();
    dns.mx("xn--bcher-kva.example", 10, "mx.client.example");
    let tables = "[[access]]\nnetworks = [\"192.0.2.8\"]\naction = \"refuse\"\ntext = \"Network\"\n\
         [[access]]\nehlo = [\"*.dyn.example\"]\naction = \"refuse\"\ntext = \"Dynamic\"\n\
         [early]\nsender_domain = \"refuse\"\n";
    let server = server(&format!("[dns]\nservers = [\"{}\"]\n{tables}", dns.address()));
    let config = server.folder().join("ringmx.toml");
    let explain = |client: &str, ehlo: &str, from: &str, rcpt: &str| {
        let mut command = std::process::Command::new(support::server::program());
        command.arg("explain").arg("--config").arg(&config).args(["--client", client, "--ehlo", ehlo]);
        let out = command.args(["--from", from, "--rcpt", rcpt]).output().expect("it runs");
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(said).expect("UTF-8"))
    };
    let known = "known@example.org";
    for (client, ehlo, from, words) in [
        ("::ffff:192.0.2.8", "x", "", "  S: 550 5.7.1 Network"),
        ("192.0.2.1", "X.DYN.example.", "", "  S: 550 5.7.1 Dynamic"),
        ("192.0.2.1", "x", "a@B\u{fc}cher.example.", "sender's domain: nothing speaks against it"),
        ("192.0.2.1", "x", "a@B\u{fc}cher.example", "  S: 250 2.1.5"),
        ("192.0.2.1", "x", "@one.example:a@nowhere.example", "  S: 550 5.1.8"),
        ("192.0.2.1", "x", "a@", "  S: 501 5.1.7"),
        ("192.0.2.1", "x", "a@", "  S: 503 5.5.1"),
    ] {
        let (is_good, said) = explain(client, ehlo, from, known);
        assert!(is_good && said.contains(words), "{words}: {said}");
    }
    // What is no command is not said, and does nothing to a terminal.
    for (ehlo, from, rcpt, option) in [
        ("x", "", "known@example.org>\r\nDATA\r\n<", "--rcpt"),
        ("x", "", "known@example.org\u{1b}[2J", "--rcpt"),
        ("x", "a@x\r\nRCPT TO:<b@example.org>", known, "--from"),
        ("x\nMAIL FROM:<>", "", known, "--ehlo"),
        ("x\u{9b}2J", "", known, "--ehlo"),
    ] {
        let (is_good, said) = explain("192.0.2.1", ehlo, from, rcpt);
        assert!(!is_good && said.contains(&format!("{option}: ")), "{said}");
        assert!(said.lines().all(|line| !line.contains(char::is_control)), "{said:?}");
    }
    let long = format!("{}@example.org", "a".repeat(5_000));
    let (is_good, said) = explain("192.0.2.1", "x", "", &long);
    assert!(is_good && said.contains("  S: 500 5.5.2"), "{}", &said[said.len() - 200..]);
}

#[test]
fn guesses_that_wait_together_are_counted_together() {
    let dns = DnsServer::start();
    dns.address_of("2.0.0.127.bad.test", "127.0.0.2");
    dns.behave("1.2.0.192.bad.test", Behaviour::Late(Duration::from_millis(1200)));
    let tables = "[[dnsbl]]\nzone = \"bad.test\"\nweight = 3\n[score]\nrefuse = 3\n\
         [client_limits]\nunknown_recipients = \"3/hour\"";
    let server = server(&format!("[dns]\nservers = [\"{}\"]\n{tables}", dns.address()));
    let mut guessing: Vec<Client> = (0..8).map(|_| greeted(&server, "192.0.2.1")).collect();
    for client in &mut guessing {
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\n");
    }
    // Nobody else is held up.
    let mut good = greeted(&server, "198.51.100.1");
    good.deliver("a@client.example", "known@example.org", b"Subject: x\r\n\r\n");
    let replies = guessing.iter_mut().map(|client| {
        client.expect("250");
        client.reply()
    });
    let replies: Vec<String> = replies.collect();
    let count = |beginning| replies.iter().filter(|reply| reply.starts_with(beginning)).count();
    assert_eq!((count("550 5.1.1"), count("450 4.7.1")), (3, 5), "{replies:?}");
}
