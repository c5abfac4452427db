//! Content filters at a running server: what becomes of messages by what rspamd says of them, whatever it
//! says, and while it is not there.

mod crowds;
mod failures;
mod places;
mod rulings;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Client, stuffed};
use support::fake_rspamd::FakeRspamd;
use support::http;
use support::server::{Server, program};

use crate::metrics::values_of;

/// What should come has this long before a test gives up: machines of CI are slow.
const PATIENCE: Duration = Duration::from_secs(30);

const MESSAGE: &[u8] = b"From: a@x.test\r\nSubject: x\r\n\r\nText\r\n.with a dot\r\n";

const SPOOL: &str = "kind = \"spool\"\npath = \"spool\"\nsegment_size = \"1MiB\"\n";

const PASSES: &str = "{\"action\":\"no action\"}";

/// The file of a server with this sink, an rspamd there, and more keys of its table and sections after it.
fn config(sink: &str, url: &str, keys: &str, more: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\n{sink}[[filter]]\nkind = \"rspamd\"\nurl = \"{url}\"\n{keys}\n{more}"
    )
}

/// A server with a spool.
fn server(url: &str, keys: &str) -> Server {
    Server::start_whole(&config(SPOOL, url, keys, ""))
}

/// A server with a spool, whose filter is this one.
fn server_of(fake: &FakeRspamd, keys: &str) -> Server {
    server(&format!("http://{}", fake.listen_tcp()), keys)
}

/// The reply to this message, from a client of its own.
fn told(server: &Server, message: &[u8]) -> String {
    Client::greeted(server.address()).deliver("a@x.test", "b@y.test", message).trim_end().to_owned()
}

/// A client whose message is complete, but for the last octets of its script.
fn begun(server: &Server, message: &[u8], held_back: usize) -> (Client, Vec<u8>) {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.command("DATA", "354");
    let mut script = stuffed(message);
    let rest = script.split_off(script.len() - held_back);
    client.send(&script);
    (client, rest)
}

/// A client whose message is sent, and that has no reply yet.
fn sent(server: &Server, message: &[u8]) -> Client {
    let (mut client, rest) = begun(server, message, 1);
    client.send(&rest);
    client
}

fn spool(server: &Server, words: &[&str]) -> Vec<u8> {
    let (first, rest) = words.split_first().expect("a command");
    let output = Command::new(program())
        .args(["spool", first])
        .arg(server.folder().join("spool"))
        .args(rest)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Messages that are in the spool.
fn in_spool(server: &Server) -> usize {
    String::from_utf8(spool(server, &["list"])).expect("ASCII").lines().count()
}

/// The id of a message that was taken.
fn id(reply: &str) -> &str {
    reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"))
}

/// What is stored of a message, and its envelope as JSON.
fn stored(server: &Server, id: &str) -> (Vec<u8>, String) {
    let envelope = String::from_utf8(spool(server, &["show", id, "--envelope"])).expect("UTF-8");
    (spool(server, &["show", id]), envelope)
}

/// What stands in front of the mail data, of which no octet is different.
fn in_front<'a>(stored: &'a [u8], message: &[u8]) -> &'a str {
    let front = stored.strip_suffix(message);
    let front = front.unwrap_or_else(|| panic!("another message: {}", String::from_utf8_lossy(stored)));
    std::str::from_utf8(front).expect("UTF-8")
}

fn scrape(server: &Server) -> BTreeMap<String, f64> {
    values_of(&http::get(server.admin_address(), "/metrics").body)
}

/// Messages that came to this at the filter of this name.
fn counted(server: &Server, filter: &str, action: &str) -> f64 {
    let name = format!("ringmx_filter_messages_total{{filter=\"{filter}\",action=\"{action}\"}}");
    let values = scrape(server);
    *values.get(&name).unwrap_or_else(|| panic!("{name}: {values:?}"))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Octets of a file below the server's folder.
fn write(server: &Server, name: &str, text: &str) {
    fs::write(server.folder().join(name), text).expect("written");
}
