//! Authentication under load: signed mail of many domains, a part of it with forged results, and loadgen that
//! compares what was found and what was cut with what its messages tell.

use std::process::Command;

use support::dns_server::DnsServer;
use support::load::{loadgen, verify};
use support::server::Server;

const SENDERS: [&str; 4] =
    ["--sign", "rsa-2048:4,rsa-1024,ed25519:2,broken:2,none:2", "--sign-domains", "70"];

/// The number after a word at the start of a line.
fn count(text: &str, word: &str) -> u64 {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(word));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

#[test]
fn every_result_is_right_and_every_forged_one_is_cut() {
    let dns = DnsServer::start();
    let zone = Command::new(loadgen()).arg("zone").args(SENDERS).output().expect("loadgen runs");
    dns.load_zone(std::str::from_utf8(&zone.stdout).expect("ASCII"));
    let server = Server::start_with_files(
        &format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[sink]]\nkind = \"spool\"\npath = \"spool\"\n[shards]\ncpus = [0]\n[dns]\nservers = [\"{}\"]\n\
             [auth]\ndmarc = \"mark\"\n[log]\nsessions = false\nmessages = false\n",
            dns.address()
        ),
        &[],
    );
    let (ledger, spool) = (server.folder().join("ledger"), server.folder().join("spool"));
    for more in [&["--size", "3000"][..], &["--size", "200KiB", "--bdat=50000", "--pipelining"]] {
        let mut load = Command::new(loadgen());
        load.arg(server.address().to_string()).args(SENDERS).args(more).arg("--ledger").arg(&ledger);
        load.args(["--messages", "300", "-c", "10", "--forged-results", "MX.example.org:50"]);
        let output = load.output().expect("loadgen runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let verdict = verify(&ledger, "spool", &spool, &["--results", "mx.example.org", "--no-forged-results"]);
    let text = &verdict.text;
    assert!(verdict.holds, "{text}");
    assert_eq!((verdict.accepted, count(text, "judged"), count(text, "forged")), (600, 600, 0), "{text}");
    // Of seven blocks of fields one only looks as if it were forged.
    assert!((200..300).contains(&count(text, "cut")), "{text}");
}
