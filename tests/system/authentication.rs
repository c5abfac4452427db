//! Who vouches for a message, at a running server: SPF, signatures, DMARC, what is refused and marked, the
//! fields that are written and removed. A front names the clients; the DNS is a server of the tests.

use std::time::{Duration, Instant};

use support::client::Client;
use support::dns_server::{Behaviour, DnsServer};
use support::server::Server;
use support::signer::Signer;

/// A server that asks this one, with `[auth]` and these lines in it.
fn server(dns: &DnsServer, auth: &str, tables: &str) -> Server {
    let config = format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n\
         [[sink]]\nkind = \"stdout\"\nformat = \"mbox\"\n[shards]\ncpus = [0]\n[dns]\nservers = [\"{}\"]\n\
         [auth]\n{auth}\n{tables}\n",
        dns.address()
    );
    Server::start_with_files(&config, &[("recipients.txt", "known@example.org\n")])
}

/// A client of this address that has said EHLO.
fn greeted(server: &Server, address: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.send(format!("PROXY TCP4 {address} 192.0.2.254 4321 25\r\n").as_bytes());
    client.expect("220");
    client.command("EHLO mx.x.example", "250");
    client
}

/// What the end of this message is told.
fn told(server: &Server, address: &str, message: &str) -> String {
    let mut client = greeted(server, address);
    let reply = client.deliver("a@x.example", "known@example.org", message.as_bytes());
    client.command("QUIT", "221");
    reply
}

/// The fields of one line of the log, once it is there.
fn logged(server: &Server, with: &str) -> String {
    server.wait_for_log(|line| line.contains(" authenticated ") && line.contains(with))
}

const MESSAGE: &str = "From: A <a@x.example>\r\nTo: known@example.org\r\nSubject: x\r\n\r\nText\r\n";

/// The domain x.example: its client is 192.0.2.1, its key is at `s`.
fn domain(dns: &DnsServer, signer: &Signer, policy: &str) {
    dns.txt("x.example", "v=spf1 ip4:192.0.2.1 -all")
        .txt("mx.x.example", "v=spf1 a -all")
        .address_of("mx.x.example", "192.0.2.1")
        .txt("s._domainkey.x.example", signer.record())
        .txt("_dmarc.x.example", format!("v=DMARC1; p={policy}"));
}

#[test]
fn a_message_that_its_domain_vouches_for_says_so_on_top() {
    let dns = DnsServer::start();
    for signer in [Signer::rsa(), Signer::ed25519()] {
        let algorithm = if matches!(signer, Signer::Rsa(_)) { "rsa-sha256" } else { "ed25519-sha256" };
        dns.forget("s._domainkey.x.example")
            .forget("x.example")
            .forget("mx.x.example")
            .forget("_dmarc.x.example");
        domain(&dns, &signer, "reject");
        let server = server(&dns, "", "");
        let reply = told(&server, "192.0.2.1", &signer.sign("x.example", "s", MESSAGE));
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
        let output = server.output(12).join("\n");
        let expected = format!(
            "Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=a@x.example;\r\n\tspf=pass smtp.helo=mx.x.example;\r\n\t\
             dkim=pass header.d=x.example header.s=s header.a={algorithm};\r\n\t\
             dmarc=pass (p=reject applied=none) header.from=x.example\r\nReceived: from mx.x.example"
        );
        assert!(output.replace('\r', "").contains(&expected.replace('\r', "")), "{output}");
        let line = logged(&server, "dmarc=pass");
        for words in [
            "author=\"x.example\"",
            "spf=pass spf_domain=\"x.example\" spf_helo=pass",
            "aligned=\"spf\",\"dkim\"",
            "policy_domain=\"x.example\" p=reject",
            "applied=none",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
}

#[test]
fn a_message_that_fails_is_refused_only_with_one_more_reason() {
    let dns = DnsServer::start();
    let signer = Signer::rsa();
    domain(&dns, &signer, "reject");
    let server = server(&dns, "", "");
    // SPF speaks against it, too.
    let reply = told(&server, "192.0.2.9", MESSAGE);
    assert!(reply.starts_with("550 5.7.1 Refused by the DMARC policy"), "{reply}");
    logged(&server, "applied=reject");
    // Nothing but the policy does.
    dns.txt("other.example", "v=spf1 ip4:192.0.2.9 -all");
    let mut client = greeted(&server, "192.0.2.9");
    let reply = client.deliver("a@other.example", "known@example.org", MESSAGE.as_bytes());
    assert!(reply.starts_with("250"), "{reply}");
    let line = logged(&server, "applied=quarantine");
    assert!(line.contains("because=no_other_reason"), "{line}");
    // A signature of the domain is enough.
    let reply = client.deliver(
        "a@other.example",
        "known@example.org",
        signer.sign("x.example", "s", MESSAGE).as_bytes(),
    );
    assert!(reply.starts_with("250"), "{reply}");
    // One that was broken is none.
    let broken = signer.sign("x.example", "s", MESSAGE).replace("Text", "text");
    let reply = told(&server, "192.0.2.9", &broken);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
}

#[test]
fn forged_results_are_removed_and_nothing_else() {
    let dns = DnsServer::start();
    let message = "Authentication-Results: mx.example.org; dmarc=pass header.from=bank.example\r\n\
                   From: a@x.example\r\n\
                   Authentication-Results: other.example; spf=pass\r\n\
                   AUTHENTICATION-RESULTS : (a comment)\r\n MX.example.ORG; dkim=pass\r\n\
                   Subject: x\r\n\r\nAuthentication-Results: mx.example.org; none\r\n";
    for (address, kept) in [("192.0.2.1", 0), ("198.51.100.1", 2)] {
        let server = server(&dns, "keep_results_from = [\"198.51.100.0/24\"]", "");
        let reply = told(&server, address, message);
        assert!(reply.starts_with("250"), "{reply}");
        let output = server.output(17).join("\n");
        let forged = output.matches("bank.example").count() + output.matches("MX.example.ORG").count();
        assert_eq!(forged, kept, "{output}");
        let output = output.replace('\r', "");
        assert!(
            output.contains("From: a@x.example\nAuthentication-Results: other.example; spf=pass\n"),
            "{output}"
        );
        assert!(output.contains("Subject: x") && output.contains("mx.example.org; none"), "{output}");
    }
}

#[test]
fn spf_refuses_recipients_where_that_is_wished_for() {
    let dns = DnsServer::start();
    dns.txt("x.example", "v=spf1 ip4:192.0.2.1 -all")
        .txt("error.example", "v=spf1 nonsense -all")
        .behave("late.example", Behaviour::ServerFailure);
    let server = server(&dns, "spf = \"refuse\"\ntemporary_failure = \"refuse\"", "");
    for (address, from, reply) in [
        ("192.0.2.1", "a@x.example", "250 2.1.5"),
        ("192.0.2.2", "a@x.example", "550 5.7.23"),
        ("192.0.2.2", "a@error.example", "550 5.7.24"),
        ("192.0.2.2", "a@late.example", "451 4.7.24"),
        ("192.0.2.2", "a@nothing.example", "250 2.1.5"),
        ("192.0.2.2", "", "250 2.1.5"),
    ] {
        let mut client = greeted(&server, address);
        client.command(&format!("MAIL FROM:<{from}>"), "250");
        client.command("RCPT TO:<known@example.org>", reply);
    }
}

#[test]
fn from_fields_that_nobody_can_vouch_for_are_marked_or_refused() {
    let dns = DnsServer::start();
    for (auth, code) in [("", "250"), ("from = \"refuse\"", "550 5.7.1")] {
        let server = server(&dns, auth, "");
        for header in [
            "From: a@x.example\r\nFrom: b@y.example\r\n",
            "From: a@x.example, b@y.example\r\n",
            "Subject: x\r\n",
        ] {
            let reply = told(&server, "192.0.2.1", &format!("{header}\r\nText\r\n"));
            assert!(reply.starts_with(code), "{header}: {reply}");
        }
        let applied = if code == "250" { "quarantine" } else { "reject" };
        logged(&server, &format!("applied={applied}"));
        // Text without a header section has no author either; all of it is stored.
        let reply = told(&server, "192.0.2.1", "Just text\r\nFrom: a@x.example\r\n");
        assert!(reply.starts_with(code), "{reply}");
    }
}

#[test]
fn a_dns_that_is_silent_keeps_nobody_waiting_for_ever() {
    let dns = DnsServer::start();
    dns.behave_by_default(Behaviour::Silent);
    let server = server(&dns, "", "");
    let begun = Instant::now();
    let reply = told(&server, "192.0.2.1", MESSAGE);
    assert!(reply.starts_with("250"), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let line = logged(&server, "spf=temperror");
    assert!(line.contains("applied=none"), "{line}");
}

#[test]
fn a_header_section_has_a_bound_and_text_without_one_has_none() {
    let dns = DnsServer::start();
    let server = server(&dns, "header_bytes_max = \"16 KiB\"", "");
    let field = format!("X-Long: {}\r\n", "x".repeat(900));
    let reply = told(&server, "192.0.2.1", &format!("From: a@x.example\r\n{}\r\nText\r\n", field.repeat(20)));
    assert!(reply.starts_with("552 5.3.4 Header section too large"), "{reply}");
    let text = format!("just text {}\r\n", "x".repeat(900)).repeat(40);
    let reply = told(&server, "192.0.2.1", &text);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_client_is_trusted_by_its_network_and_not_by_what_it_says() {
    let dns = DnsServer::start();
    domain(&dns, &Signer::ed25519(), "reject");
    let rules = "[[access]]\nnetworks = [\"192.0.2.7\"]\nreverse_path = [\"x.example\"]\naction = \"trust\"\n\
                 [[access]]\nehlo = [\"mx.x.example\"]\naction = \"trust\"\n";
    let server = server(&dns, "dmarc = \"always\"", rules);
    for (address, expected) in [("192.0.2.7", "250"), ("192.0.2.8", "550 5.7.1"), ("192.0.2.1", "250")] {
        let reply = told(&server, address, MESSAGE);
        assert!(reply.starts_with(expected), "{address}: {reply}");
    }
    // The second rule is all that speaks for a message of another reverse-path.
    let mut client = greeted(&server, "192.0.2.7");
    let reply = client.deliver("a@y.example", "known@example.org", MESSAGE.as_bytes());
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    let output = server.output(2).join("\n");
    assert!(output.contains("Authentication-Results: mx.example.org; none"), "{output}");
}

#[test]
fn text_that_is_left_of_a_message_is_text() {
    let dns = DnsServer::start();
    let server = server(&dns, "", "");
    let text = "Authentication-Results: mx.example.org; dmarc=pass\r\nDear Sir,\r\n\r\nText\r\n";
    let reply = told(&server, "192.0.2.1", text);
    assert!(reply.starts_with("250"), "{reply}");
    let output = server.output(12).join("\n").replace('\r', "");
    assert!(output.contains("\n\nDear Sir,\n\nText\n") && !output.contains("dmarc=pass"), "{output}");
}

#[test]
fn explain_says_the_same_as_the_server() {
    let dns = DnsServer::start();
    let signer = Signer::ed25519();
    domain(&dns, &signer, "reject");
    let server = server(&dns, "", "");
    let config = server.folder().join("ringmx.toml");
    let explain = |client: &str, message: &str, more: &[&str]| {
        let file = server.folder().join("message.eml");
        // As files of mail are kept.
        std::fs::write(&file, message.replace("\r\n", "\n")).expect("written");
        let out = std::process::Command::new(support::server::program())
            .args(["explain", "--client", client, "--ehlo", "mx.x.example", "--from", "a@x.example"])
            .args(["--rcpt", "known@example.org"])
            .arg("--config")
            .arg(&config)
            .arg("--message")
            .arg(&file)
            .args(more)
            .output()
            .expect("ringmx runs");
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        text
    };
    let signed = signer.sign("x.example", "s", MESSAGE);
    let json = explain("192.0.2.1", &signed, &["--json"]);
    assert_eq!(
        json,
        "{\"client\":{\"address\":\"192.0.2.1\",\"class\":\"unknown\",\"reverse_name\":null,\"score\":0,\"reasons\":[]},\
         \"spf\":{\"helo\":{\"result\":\"pass\",\"domain\":\"mx.x.example\",\"mechanism\":\"a\",\"problem\":null},\
         \"mailfrom\":{\"result\":\"pass\",\"domain\":\"x.example\",\"mechanism\":\"ip4:192.0.2.1\",\"problem\":null}},\
         \"dkim\":[{\"result\":\"pass\",\"domain\":\"x.example\",\"selector\":\"s\",\"algorithm\":\"ed25519-sha256\",\"bits\":256,\"problem\":null}],\
         \"arc\":{\"result\":\"none\",\"sealers\":[],\"problem\":null},\"from\":{\"domains\":[\"x.example\"],\"problem\":null},\
         \"dmarc\":{\"result\":\"pass\",\"policy_domain\":\"x.example\",\"policy\":\"reject\",\"applied\":\"none\",\"aligned\":[\"spf\",\"dkim\"],\
         \"problem\":null,\"because\":null},\
         \"authentication_results\":\"mx.example.org; spf=pass smtp.mailfrom=a@x.example; spf=pass smtp.helo=mx.x.example; dkim=pass header.d=x.example header.s=s header.a=ed25519-sha256; dmarc=pass (p=reject applied=none) header.from=x.example\",\
         \"reply\":\"250 2.0.0 Ok\"}\n"
    );
    let refused = explain("192.0.2.9", MESSAGE, &[]);
    for words in [
        "SPF of the reverse-path: fail, by -all",
        "DMARC: fail, x.example asks for reject, applied: reject",
        "  S: 550 5.7.1 Refused by the DMARC policy",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
}
