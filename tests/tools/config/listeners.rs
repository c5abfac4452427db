//! Listeners: who is listened to and believed, and what each may do.

use std::net::IpAddr;
use std::time::Duration;

use ringmx::mail::network::Network;
use ringmx::smtp::settings::{EarlyTalkers, Gate, Pipelining, Refusal, TlsPolicy};

use super::{REST, assert_problems, assert_warnings, good, parsed};

#[test]
fn a_public_listener_needs_domains() {
    let with = |top: &str, address: &str| {
        format!("hostname = \"mx.example\"\n{top}\n{REST}").replace("127.0.0.1:2525", address)
    };
    for address in ["127.0.0.1:25", "127.8.8.8:25", "[::1]:25", "[::ffff:127.0.0.1]:25", "127.0.0.1:0"] {
        good(&with("", address));
    }
    for address in ["[::]:25", "0.0.0.0:25", "192.0.2.1:25"] {
        let every = ": recipients: there is no file of recipients, so every local-part of `domains` is taken; name one to have others \
                     refused (550 5.1.1)";
        assert_warnings(&with("domains = [\"example.org\"]", address), &[every]);
        for top in ["", "domains = []"] {
            let problem = format!(
                ":4: listener.address: {address} can be reached from other machines, and without `domains` every \
                 recipient would be taken; set `domains`, or listen on loopback, for instance on \"127.0.0.1:2525\""
            );
            assert_problems(&with(top, address), &[&problem]);
        }
    }
    // Bad domains are not no domains: one slip, one problem.
    assert_problems(
        &with("domains = [\"a b\"]", "[::]:25"),
        &[":2: domains: \"a b\" is not a domain: ' ' is not a letter, digit, hyphen or underscore"],
    );
}

#[test]
fn listener_addresses_are_good_and_differ() {
    let more = |address: &str| format!("{REST}[[listener]]\naddress = \"{address}\"\n");
    good(&more("127.0.0.1:2526"));
    good(&more("127.0.0.1:0").replace("127.0.0.1:2525", "127.0.0.1:0"));
    assert_problems(
        &more("127.0.0.1:2525"),
        &[":6: listener.address: 127.0.0.1:2525 is already the address of another listener"],
    );
    assert_problems(
        &more("[::ffff:127.0.0.1]:2525"),
        &[":6: listener.address: 127.0.0.1:2525 is already the address of another listener"],
    );
    assert_problems(
        &more("localhost:25"),
        &[":6: listener.address: \"localhost:25\" is not an IP address and a port, such as \"[::]:25\" or \
           \"192.0.2.1:25\""],
    );
    assert_problems(
        &format!("{REST}[[listener]]\n"),
        &[":5: listener.address: missing; write for example address = \"127.0.0.1:2525\""],
    );
}

#[test]
fn fronts_are_networks_and_make_a_loopback_listener_public() {
    let with = |keys: &str| REST.replace("[[sink]]", &format!("{keys}\n[[sink]]"));
    let fronts = "proxy_from = [\"127.0.0.0/8\", \"::1\"]\nxclient_from = [\"10.0.0.0/8\"]";
    let top = "hostname = \"mx.example\"\ndomains = [\"a.example\"]\nrecipients = \"r\"\n";
    let config = good(&format!("{top}{}", with(fronts)));
    let gate = &config.listeners[0].gate;
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert!(
        gate.expects_proxy_header(address("::ffff:127.0.0.1")) && gate.expects_proxy_header(address("::1"))
    );
    assert!(!gate.expects_proxy_header(address("10.0.0.1")) && gate.trusts_xclient(address("10.0.0.1")));
    let why = "127.0.0.1:2525 can be reached through its fronts, and without `domains` every recipient would be taken; \
               set `domains`, or take out `proxy_from` and `xclient_from`";
    assert_problems(
        &format!("hostname = \"mx.example\"\n{}", with(fronts)),
        &[&format!(":3: listener.address: {why}")],
    );
    assert_problems(
        &with("proxy_from = [\"10.0.0.1/8\"]\nxclient_from = \"10.0.0.1\""),
        &[
            ":3: listener.proxy_from: \"10.0.0.1/8\" has bits set behind its prefix; the network is 10.0.0.0/8",
            ":4: listener.xclient_from: expected a list of strings: networks such as \"10.0.0.0/8\" or \
             \"2001:db8::/32\"; this is a string",
        ],
    );
}

#[test]
fn a_front_is_trusted_in_one_way_and_strangers_are_none() {
    let with = |keys: &str| REST.replace("[[sink]]", &format!("{keys}\n[[sink]]"));
    let top = "hostname = \"mx.example\"\ndomains = [\"a.example\"]\nrecipients = \"r\"\n";
    for (proxy, xclient) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8:5::/48"),
        ("::ffff:10.0.0.0/104", "10.9.0.0/16"),
    ] {
        let text =
            format!("{top}{}", with(&format!("proxy_from = [\"{proxy}\"]\nxclient_from = [\"{xclient}\"]")));
        let (proxy, xclient) = (network(proxy), network(xclient));
        let why =
            "have addresses in common, and a front speaks in one way only: take these out of one of them";
        assert_problems(
            &text,
            &[&format!(":7: listener.xclient_from: {xclient} and {proxy} of `proxy_from` {why}")],
        );
    }
    for key in ["proxy_from", "xclient_from"] {
        for wide in ["0.0.0.0/0", "::/0", "0.0.0.0/1", "2000::/3"] {
            let text = format!("{top}{}", with(&format!("{key} = [\"{wide}\"]")));
            let (_, warnings) = parsed(&text).expect("a good configuration");
            let start = format!(":6: listener.{key}: {wide} holds strangers");
            assert!(warnings.iter().any(|warning| warning.contains(&start)), "{warnings:?}");
        }
        let text = format!("{top}{}", with(&format!("{key} = [\"10.0.0.0/8\", \"fc00::/7\"]")));
        good(&text);
    }
}

fn network(text: &str) -> Network {
    Network::parse(text).expect("a network")
}

#[test]
fn what_clients_may_do_has_safe_defaults() {
    let gate = &good(REST).listeners[0].gate;
    assert_eq!(*gate, Gate::default());
    assert_eq!((gate.early_talkers, gate.pipelining), (EarlyTalkers::Reject, Pipelining::RejectData));
    assert_eq!((gate.refuse, gate.greeting_delay), (None, Duration::ZERO));
    let limits = good(REST).limits;
    assert_eq!((limits.received_max, limits.data_line_bytes_max), (100, 0));
    let keys = "refuse = \"554\"\ngreeting_delay = \"2s\"\nearly_talkers = \"tolerate\"\n\
                unauthorized_pipelining = \"reject\"\n[[sink]]";
    let gate = &good(&REST.replace("[[sink]]", keys)).listeners[0].gate;
    assert_eq!((gate.refuse, gate.greeting_delay), (Some(Refusal::NotNow), Duration::from_secs(2)));
    assert_eq!((gate.early_talkers, gate.pipelining), (EarlyTalkers::Tolerate, Pipelining::Reject));
    assert_warnings(
        &format!("{REST}[limits]\ndata_line_length_max = 998\n"),
        &[":6: limits.data_line_length_max: RFC 5321 section 4.5.3.1.6 asks for at least 1000"],
    );
}

#[test]
fn tls_needs_a_certificate() {
    let with_listener = |listener: &str| REST.replace("[[sink]]", &format!("{listener}\n[[sink]]"));
    let why = "there is no certificate; write for example\n    | [[tls.certificate]]\n    | chain = \"mx1.pem\"\n    | key = \"mx1.key\"";
    assert_problems(&with_listener("tls = \"offered\""), &[&format!(":3: listener.tls: {why}")]);
    assert_problems(
        &format!("{REST}[[tls.certificate]]\nkey = \"k\"\n"),
        &[":5: tls.certificate.chain: missing; write for example chain = \"mx1.pem\""],
    );
    let policy = |text: &str| good(text).listeners[0].tls;
    assert_eq!(policy(REST), TlsPolicy::Off);
    let certificate = "[tls]\nminimum = \"1.3\"\n[[tls.certificate]]\nchain = \"c\"\nkey = \"k\"\n";
    assert_eq!(policy(&format!("{REST}{certificate}")), TlsPolicy::Offered);
    assert_eq!(policy(&format!("{}{certificate}", with_listener("tls = \"off\""))), TlsPolicy::Off);
    assert_eq!(policy(&format!("{REST}[tls]\nself_signed = true\n")), TlsPolicy::Offered);
    let both = format!("{REST}{certificate}").replace("[tls]", "[tls]\nself_signed = true");
    assert_problems(&both, &[":6: tls.self_signed: there are certificates; take out one or the other"]);
}
