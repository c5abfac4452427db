//! `ringmx explain --message` with content filters: they are asked as by a server.

use std::fs;
use std::process::Command;

use support::fake_rspamd::{FakeRspamd, Manner};
use support::server::program;

const MESSAGE: &str = "From: a@x.test\nSubject: x\n\nText\n";

/// What it says with these filters, and these options besides.
fn explain(filters: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("ringmx.toml");
    let text = format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"discard\"\n[[access]]\nnetworks = [\"192.0.2.9\"]\naction = \"trust\"\n{filters}"
    );
    fs::write(&config, text).expect("a configuration");
    let message = folder.path().join("mail.eml");
    fs::write(&message, MESSAGE).expect("a message");
    let output = Command::new(program())
        .args(["explain", "--from", "a@x.test", "--rcpt", "u@example.test", "--config"])
        .arg(&config)
        .arg("--message")
        .arg(&message)
        .args(more)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn table(name: &str, rspamd: &FakeRspamd, more: &str) -> String {
    let address = rspamd.listen_tcp();
    format!("[[filter]]\nkind = \"rspamd\"\nname = \"{name}\"\nurl = \"http://{address}\"\n{more}")
}

#[test]
fn filters_say_what_they_found_and_the_reply_is_theirs() {
    let (first, second) = (FakeRspamd::saying("no action"), FakeRspamd::saying("reject"));
    let filters = table("first", &first, "") + &table("second", &second, "");
    let said = explain(&filters, &["--client", "192.0.2.1"]);
    for line in ["filter first: pass", "filter second: refuse", "  S: 550 5.7.1 "] {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    let asked = first.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].values("IP"), ["192.0.2.1"]);
    assert_eq!(asked[0].values("Rcpt"), ["<u@example.test>"]);
    let json = explain(&filters, &["--client", "192.0.2.1", "--json"]);
    assert!(json.contains("\"filters\":[{\"filter\":\"first\",\"action\":\"pass\""), "{json}");
    assert!(json.contains("\"reply\":\"550 5.7.1 "), "{json}");
}

#[test]
fn one_that_does_not_answer_is_told_and_what_is_trusted_passes_by() {
    let silent = FakeRspamd::new(Manner::Says("{}".to_owned()));
    let filters = table("odd", &silent, "");
    let said = explain(&filters, &["--client", "192.0.2.1"]);
    assert!(said.contains("filter odd: gives no answer: its answer names no action"), "{said}");
    assert!(said.contains("  S: 451 4.7.1 Cannot check the message now"), "{said}");
    let said = explain(&filters, &["--client", "192.0.2.9"]);
    assert!(said.contains("filter odd: is not asked") && said.contains("  S: 250 2.0.0 Ok"), "{said}");
    let said = explain(&(filters + "on_failure = \"accept\"\n"), &["--client", "192.0.2.1"]);
    assert!(said.contains("  S: 250 2.0.0 Ok"), "{said}");
}
