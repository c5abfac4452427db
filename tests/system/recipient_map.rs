//! Recipients that another program knows: asked over a socket, remembered, and never guessed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::client::Client;
use support::map_server::{Conduct, MapServer};
use support::server::Server;

/// A map at a socket that is a file, and a server that asks it.
struct World {
    map: MapServer,
    server: Server,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

fn config(map: &str, more: &str) -> String {
    let cpu = ringmx::config::Config::embedded_default().shards[0].cpu;
    format!(
        "hostname = \"mx.test\"\ndomains = [\"x.test\"]\nrecipients = \"socketmap:{map}\"\n{more}\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"discard\"\n[shards]\ncpus = [{cpu}]\n"
    )
}

fn world(names: &[&str], more: &str) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("map.sock");
    let map = MapServer::new(names);
    map.listen_unix(&socket);
    let server = Server::start_whole(&config(&format!("unix:{}:mailboxes", socket.display()), more));
    World { map, server, socket, _folder: folder }
}

/// A client of whom a transaction has begun.
pub fn begun(server: &Server) -> Client {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<>", "250");
    client
}

/// Names a recipient, and expects a reply that begins so.
pub fn rcpt(client: &mut Client, recipient: &str, reply: &str) {
    client.command(&format!("RCPT TO:<{recipient}>"), reply);
}

#[test]
fn a_map_is_asked_once_and_what_it_said_is_remembered() {
    let world = world(&["anna@x.test"], "");
    let mut client = begun(&world.server);
    rcpt(&mut client, "Anna@x.test", "250 2.1.5");
    rcpt(&mut client, "berta@x.test", "550 5.1.1");
    rcpt(&mut client, "anna@other.test", "550 5.7.1");
    rcpt(&mut client, "postmaster@x.test", "250 2.1.5");
    rcpt(&mut client, "postmaster", "250 2.1.5");
    let asked = ["mailboxes anna@x.test", "mailboxes berta@x.test", "mailboxes @x.test"];
    assert_eq!(world.map.questions(), asked, "nobody else, and in this order");
    world.map.add("berta@x.test");
    let mut other = begun(&world.server);
    rcpt(&mut other, "ANNA@x.test", "250 2.1.5");
    rcpt(&mut other, "berta@x.test", "550 5.1.1");
    assert_eq!(world.map.questions(), [""; 0], "it is remembered, yes and no");
    assert!(world.map.connections() <= 4, "a connection is used again");
}

#[test]
fn tags_and_catch_alls_are_asked_about_after_the_whole_name() {
    let world = world(&["anna@x.test", "@all.x.test"], "recipient_delimiter = \"+\"");
    let mut client = begun(&world.server);
    rcpt(&mut client, "anna+lists@x.test", "250 2.1.5");
    assert_eq!(world.map.questions(), ["mailboxes anna+lists@x.test", "mailboxes anna@x.test"]);
    rcpt(&mut client, "postmaster+x@x.test", "250 2.1.5");
    assert_eq!(world.map.questions(), [""; 0]);
    rcpt(&mut client, "b+c@x.test", "550 5.1.1");
    assert_eq!(world.map.questions(), ["mailboxes b+c@x.test", "mailboxes b@x.test", "mailboxes @x.test"]);
}

#[test]
fn whatever_is_wrong_with_a_map_is_451_and_neither_yes_nor_no() {
    let world = world(&["anna@x.test"], "");
    let mut client = begun(&world.server);
    for (number, conduct) in [
        Conduct::Closes,
        Conduct::CutsOff,
        Conduct::Says("TEMP the database is away"),
        Conduct::Says("TIMEOUT "),
        Conduct::Says("PERM no such map"),
        Conduct::Says("YES"),
        Conduct::Sends(b"HTTP/1.1 200 OK\r\n\r\n"),
        Conduct::Sends(b"2:OK,2:OK,"),
        Conduct::Sends(b"4000000000:OK"),
    ]
    .into_iter()
    .enumerate()
    {
        world.map.conduct(conduct);
        for _ in 0..2 {
            rcpt(&mut client, "anna@x.test", "451 4.3.0");
            rcpt(&mut client, &format!("nobody{number}@x.test"), "451 4.3.0");
        }
        rcpt(&mut client, "postmaster@x.test", "250 2.1.5");
    }
    let line = world.server.wait_for_log(|line| line.contains("it closed the connection and did not answer"));
    assert!(line.contains("look recipients up, who get 451 until that is mended"), "{line}");
    // Mended, it is believed again; nothing was remembered of the trouble.
    world.map.conduct(Conduct::AnswersOnce);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    for number in 0..9 {
        rcpt(&mut client, &format!("nobody{number}@x.test"), "550 5.1.1");
    }
}

#[test]
fn a_map_that_is_gone_is_451_until_it_is_back() {
    let world = world(&["anna@x.test", "berta@x.test", "carl@x.test"], "");
    let mut client = begun(&world.server);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    std::fs::remove_file(&world.socket).expect("it was there");
    world.map.conduct(Conduct::Closes);
    rcpt(&mut client, "berta@x.test", "451 4.3.0");
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    world.map.conduct(Conduct::Good);
    world.map.listen_unix(&world.socket);
    rcpt(&mut client, "berta@x.test", "250 2.1.5");
    rcpt(&mut client, "carl@x.test", "250 2.1.5");
}

#[test]
fn a_map_that_never_answers_holds_up_its_own_questions_only() {
    let world = world(&["anna@x.test"], "");
    let mut known = begun(&world.server);
    rcpt(&mut known, "anna@x.test", "250 2.1.5");
    world.map.conduct(Conduct::Mute);
    let mut waiting: Vec<Client> = (0..12).map(|_| begun(&world.server)).collect();
    let start = Instant::now();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(format!("RCPT TO:<nobody{number}@x.test>\r\n").as_bytes());
    }
    // Others go on meanwhile.
    rcpt(&mut known, "anna@x.test", "250 2.1.5");
    rcpt(&mut known, "postmaster@x.test", "250 2.1.5");
    for client in &mut waiting {
        client.expect("451 4.3.0");
    }
    // More questions than threads, and each has waited for its five seconds and no longer.
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    world.map.conduct(Conduct::Good);
    // Who had no answer is not asked about again for some seconds; others are.
    let mut client = begun(&world.server);
    rcpt(&mut client, "nobody12@x.test", "550 5.1.1");
}

#[test]
fn a_map_that_has_a_domain_only_makes_no_maildirs_for_strangers() {
    let map = MapServer::new(&["anna@x.test", "@x.test"]);
    let address = map.listen_tcp();
    let sink = "[[sink]]\nkind = \"maildir\"\npath = \"store\"\ntemplate = \"{domain}/{local}\"";
    let config = config(&format!("inet:127.0.0.1:{}:m", address.port()), "");
    let server = Server::start_whole(&config.replace("[[sink]]\nkind = \"discard\"", sink));
    let mut client = begun(&server);
    for _ in 0..2 {
        rcpt(&mut client, "stranger@x.test", "550 5.1.1");
        rcpt(&mut client, "anna@x.test", "250 2.1.5");
    }
}

#[test]
fn a_map_is_asked_over_tcp_as_well() {
    let map = MapServer::new(&["anna@x.test"]);
    let address = map.listen_tcp();
    let server = Server::start_whole(&config(&format!("inet:127.0.0.1:{}:m", address.port()), ""));
    let mut client = begun(&server);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    rcpt(&mut client, "berta@x.test", "550 5.1.1");
    assert_eq!(map.questions()[0], "m anna@x.test");
}

#[test]
fn another_map_needs_a_restart_and_a_file_does_not() {
    let world = world(&["anna@x.test"], "[control]\nsocket = \"control.sock\"");
    let reload = || {
        let file = world.server.folder().join("ringmx.toml");
        let mut command = std::process::Command::new(support::server::program());
        let output = command.arg("reload").arg(file).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    let write = |map: &str| {
        let text = config(map, "[control]\nsocket = \"control.sock\"");
        let text = text.replace("socketmap:file", "recipients.txt");
        std::fs::write(world.server.folder().join("ringmx.toml"), text).expect("written");
    };
    std::fs::write(world.server.folder().join("recipients.txt"), "carl@x.test\n").expect("written");
    write("unix:/run/other.sock:mailboxes");
    let said = reload();
    assert!(said.contains("recipients: ") && said.contains("restart"), "{said}");
    rcpt(&mut begun(&world.server), "anna@x.test", "250 2.1.5");
    write("file");
    let said = reload();
    assert!(said.contains("reloaded"), "{said}");
    let mut client = begun(&world.server);
    rcpt(&mut client, "carl@x.test", "250 2.1.5");
    rcpt(&mut client, "anna@x.test", "550 5.1.1");
    // Its own map is at hand all the time.
    write(&format!("unix:{}:mailboxes", world.socket.display()));
    let said = reload();
    assert!(said.contains("reloaded"), "{said}");
    let mut client = begun(&world.server);
    rcpt(&mut client, "anna@x.test", "250 2.1.5");
    rcpt(&mut client, "carl@x.test", "550 5.1.1");
}

/// What `ringmx explain` says of a recipient.
pub fn explained(server: &Server, recipient: &str) -> String {
    let words =
        ["explain", "--client", "192.0.2.1", "--from", "a@client.test", "--rcpt", recipient, "--config"];
    let out = std::process::Command::new(support::server::program())
        .args(words)
        .arg(server.folder().join("ringmx.toml"))
        .output()
        .expect("ringmx runs");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// `ringmx explain` says this of a recipient, and the reply that the server gives.
pub fn explains(server: &Server, recipient: &str, note: &str) {
    let text = explained(server, recipient);
    let mut client = begun(server);
    client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
    let reply = client.reply();
    assert!(text.contains(&format!("  S: {}\n", reply.trim_end())), "{reply}{text}");
    let said = text.lines().find_map(|line| line.strip_prefix("recipient "));
    assert!(said.unwrap_or_default().contains(note), "{note}: {text}");
    assert_eq!(said.is_none(), note.is_empty(), "nobody is asked: {text}");
}

#[test]
fn explain_asks_the_map_as_a_server_does() {
    let world = world(&["anna@x.test"], "recipient_delimiter = \"+\"");
    explains(&world.server, "Anna+list@x.test", " has it");
    explains(&world.server, "berta@x.test", " does not have it");
    explains(&world.server, "postmaster@x.test", "");
    world.map.add("@x.test");
    let by_domain = explained(&world.server, "carl@x.test");
    assert!(
        by_domain.contains(" has its domain, and not its name\n") && by_domain.contains("  S: 250 2.1.5")
    );
    world.map.conduct(Conduct::Says("TEMP the disk is away"));
    let trouble = explained(&world.server, "dora@x.test");
    assert!(trouble.contains(" gives no answer: ") && trouble.contains("the disk is away"), "{trouble}");
    assert!(trouble.contains("  S: 451 4.3.0"), "{trouble}");
}

#[test]
fn explain_looks_into_maildirs_and_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("mail");
    for made in ["x.test/anna/tmp", "x.test/anna/new", "x.test/anna/cur", "x.test/broken"] {
        std::fs::create_dir_all(root.join(made)).expect("a maildir");
    }
    std::fs::write(root.join("x.test/broken/tmp"), "").expect("a file in the way");
    let cpu = ringmx::config::Config::embedded_default().shards[0].cpu;
    let server = Server::start_whole(&format!(
        "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"maildir\"\n\
         path = \"{}\"\ntemplate = \"{{domain}}/{{local}}\"\n[shards]\ncpus = [{cpu}]\n",
        root.display()
    ));
    explains(&server, "anna@x.test", "mailbox x.test/anna can take mail");
    explains(&server, "berta@x.test", "mailbox x.test/berta is not there, and none is made (`create`)");
    explains(&server, "broken@x.test", "mailbox x.test/broken cannot be used: ");
    assert!(!root.join("x.test/berta").exists());
}
