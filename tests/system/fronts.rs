//! Who is at the other end: clients over IPv4 at an IPv6 socket, and fronts that say in whose name they
//! speak, or forget to.

use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::process::Command;

use ringmx::config::Config;
use ringmx::shard::listener::check_free;
use support::client::Client;
use support::server::Server;

/// The same address over IPv4.
fn over_ipv4(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

fn server(listener: &str, sink: &str) -> Server {
    Server::start_whole(&format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\naddress = \"[::]:0\"\n{listener}\n\
         [[sink]]\n{sink}\n"
    ))
}

/// What else must never be seen of an IPv4 address.
const MAPPED: &str = "::ffff:";

#[test]
fn a_client_over_ipv4_is_named_as_one_by_an_ipv6_listener() {
    let server = server("", "kind = \"stdout\"");
    let mut client = Client::greeted(over_ipv4(server.address()));
    let own = client.stream().local_addr().expect("an address").to_string();
    client.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\n");
    client.command("QUIT", "221");
    let session = server.wait_for_log(|line| line.contains(" session "));
    assert!(session.contains(&format!("client={own} ")), "{session}");
    assert!(!session.contains("front="), "{session}");
    assert!(
        server.wait_for_log(|line| line.contains(" message session=")).contains(&format!("client={own} "))
    );
    let output = server.output(1).remove(0);
    let json: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    assert!(json.to_string().contains(&format!("\"{own}\"")), "{output}");
    assert!(!server.log().join("\n").contains(MAPPED) && !output.contains(MAPPED));
}

#[test]
fn a_client_over_ipv4_is_named_as_one_by_the_spool() {
    let server = server("", "kind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"");
    let mut client = Client::greeted(over_ipv4(server.address()));
    let own = client.stream().local_addr().expect("an address").to_string();
    let reply = client.deliver("a@client.example", "b@example.org", b"Subject: x\r\n\r\n");
    let id = reply.trim_end().rsplit(' ').next().expect("a queue id").to_owned();
    let spool = server.folder().join("spool");
    let spool = spool.to_str().expect("UTF-8");
    for words in [&["show", "--envelope", spool, &id][..], &["show", spool, &id], &["list", spool]] {
        let out = Command::new(env!("CARGO_BIN_EXE_ringmx"))
            .arg("spool")
            .args(words)
            .output()
            .expect("ringmx runs");
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        assert!(out.status.success() && !text.is_empty() && !text.contains(MAPPED), "{words:?}: {text}");
        assert!(
            words[0] == "list" || text.contains(&own) || text.contains("([127.0.0.1])"),
            "{words:?}: {text}"
        );
    }
}

#[test]
fn a_client_that_a_front_names_in_ipv6_is_named_in_ipv4() {
    let server = server("proxy_from = [\"127.0.0.0/8\"]\nxclient_from = [\"::1\"]", "kind = \"discard\"");
    let mut front = Client::connect(over_ipv4(server.address()));
    front.send(b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.8 4321 25\r\n");
    front.expect("220");
    front.command("QUIT", "221");
    let line = server.wait_for_log(|line| line.contains(" session "));
    assert!(line.contains("client=192.0.2.7:4321 front=127.0.0.1:"), "{line}");

    let mut front = Client::connect(over_ipv4(server.address()));
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    for last in [9_u8, 10] {
        header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, last]);
    }
    header.extend([0x10, 0xe1, 0, 25]);
    front.send(&header);
    front.expect("220");
    front.command("QUIT", "221");
    server.wait_for_log(|line| line.contains("client=192.0.2.9:4321 front=127.0.0.1:"));

    let mut front = Client::greeted(SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port())));
    front.command("XCLIENT ADDR=IPV6:::ffff:192.0.2.11 PORT=4321", "220");
    front.command("QUIT", "221");
    server.wait_for_log(|line| line.contains("client=192.0.2.11:4321 front=[::1]:"));
    assert!(!server.log().join("\n").contains(MAPPED), "{}", server.log().join("\n"));
}

/// What a balancer that was not told to send a header does, and how the log names it.
fn without_header(how: &str, limits: &str, misbehave: impl FnOnce(&mut Client)) {
    let sink = format!("kind = \"discard\"\n{limits}");
    let mut server = server("proxy_from = [\"127.0.0.0/8\"]", &sink);
    let mut client = Client::connect(over_ipv4(server.address()));
    misbehave(&mut client);
    client.expect_end();
    let note = server.wait_for_log(|line| line.contains(" warning ") && line.contains("no PROXY header"));
    let start = "text=\"no PROXY header from 127.0.0.1, which proxy_from requires: ";
    assert!(note.contains(start) && note.contains("send-proxy") && note.ends_with(" times=1"), "{note}");
    let session = server.wait_for_log(|line| line.contains(" session "));
    assert!(session.contains(&format!(" no_proxy_header={how} ")), "{session}");
    server.stop();
    assert!(server.wait_for_log(|line| line.contains(" stopped ")).contains(" proxy_headers_missing=1 "));
}

#[test]
fn a_front_that_sends_something_else_than_a_header_is_named() {
    without_header("other-octets", "", |client| client.send(b"EHLO client.example\r\n"));
}

#[test]
fn a_front_that_sends_no_header_in_time_is_named() {
    without_header("timed-out", "[limits]\ncommand_timeout = \"1s\"", |_| ());
}

#[test]
fn a_front_that_closes_without_a_header_is_named() {
    without_header("ended", "", |client| {
        client.send(b"PROXY TCP4 ");
        client.stream().shutdown(Shutdown::Write).expect("shut down");
    });
}

#[test]
fn fronts_without_a_header_are_not_named_for_each_connection() {
    // The pause is each shard's own.
    let cpu = Config::embedded_default().shards[0].cpu;
    let sink = format!("kind = \"discard\"\n[shards]\ncpus = [{cpu}]");
    let mut server = server("proxy_from = [\"127.0.0.0/8\"]", &sink);
    for _ in 0..20 {
        let mut client = Client::connect(over_ipv4(server.address()));
        client.send(b"\x16\x03\x01");
        client.expect_end();
    }
    server.stop();
    let log = server.log();
    assert_eq!(log.iter().filter(|line| line.contains("no PROXY header")).count(), 1, "{}", log.join("\n"));
    assert!(server.wait_for_log(|line| line.contains(" stopped ")).contains(" proxy_headers_missing=20 "));
}

/// One balancer with a PROXY header before another front with XCLIENT: neither is a client.
#[test]
fn a_front_behind_a_proxy_header_is_counted_for_those_that_it_names_only() {
    let gate = "proxy_from = [\"127.0.0.0/8\"]\nxclient_from = [\"192.0.2.1\"]";
    let server = server(gate, "kind = \"discard\"\n[limits]\nconnections_per_client_max = 1");
    let mut fronts: Vec<Client> = (0..3)
        .map(|_| {
            let mut front = Client::connect(over_ipv4(server.address()));
            front.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4321 25\r\n");
            front.expect("220");
            front.send(b"EHLO front.example\r\n");
            front.expect("250");
            // Of whom it speaks it has not said yet.
            front.send(b"XCLIENT HELO=client.example\r\n");
            front.expect("220");
            front
        })
        .collect();
    for (front, reply) in fronts.iter_mut().zip(["220", "421"]) {
        front.send(b"XCLIENT ADDR=198.51.100.7\r\n");
        front.expect(reply);
    }
}

#[test]
fn a_server_that_stops_blames_no_front() {
    let mut server = server("proxy_from = [\"127.0.0.0/8\"]", "kind = \"discard\"");
    let _client = Client::connect(over_ipv4(server.address()));
    let mut other = Client::connect(over_ipv4(server.address()));
    other.send(b"PROXY UNKNOWN\r\n");
    other.expect("220");
    server.stop();
    let log = server.log().join("\n");
    assert!(!log.contains("no PROXY header") && !log.contains("proxy_headers_missing"), "{log}");
}

#[test]
fn an_ipv6_listener_takes_ipv4_whatever_the_machine_says() {
    // In a network namespace of its own: the setting of this machine stays as it is.
    let script = "ip link set lo up && echo 1 >/proc/sys/net/ipv6/bindv6only || exit 77; exec \"$1\" --exact --ignored fronts::inner --nocapture";
    let inner = std::env::current_exe().expect("this program");
    let words = ["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"];
    match Command::new("unshare").args(words).arg(inner).output() {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        other => println!("skipped: no network namespace of its own (unshare, ip): {other:?}"),
    }
}

#[test]
#[ignore = "run by an_ipv6_listener_takes_ipv4_whatever_the_machine_says"]
fn inner() {
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").expect("the setting"), "1\n");
    let server = server("", "kind = \"discard\"");
    Client::greeted(over_ipv4(server.address())).command("QUIT", "221");
    Client::greeted(SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port()))).command("QUIT", "221");
    // Whoever has the port for IPv4 only is in the way: to serve IPv6 alone would be silence towards IPv4
    // clients.
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let error = check_free(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(server);
    a_listener_of_ipv4_beside_one_of_all_addresses_has_the_ipv4_clients();
}

/// Here every port is free.
fn a_listener_of_ipv4_beside_one_of_all_addresses_has_the_ipv4_clients() {
    const PORT: u16 = 2525;
    for order in [["[::]", "0.0.0.0"], ["127.0.0.1", "[::]"]] {
        let listener = |address: &str| {
            let refuse = if address == "[::]" { "" } else { "refuse = \"521\"" };
            format!("[[listener]]\naddress = \"{address}:{PORT}\"\n{refuse}\n")
        };
        let _server = Server::start_whole(&format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n{}{}[[sink]]\nkind = \"discard\"\n",
            listener(order[0]),
            listener(order[1]),
        ));
        for _ in 0..20 {
            Client::connect(SocketAddr::from(([127, 0, 0, 1], PORT))).expect("521");
            Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, PORT))).expect("220");
        }
    }
}
