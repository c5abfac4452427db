//! Files that name recipients, at a server that runs: what changes is taken, and what is broken keeps what
//! was.

use std::fs;
use std::process::Command;

use support::client::Client;
use support::server::{Server, program};

const CONFIG: &str = "hostname = \"mx.test\"\ndomains = [\"x.test\"]\nrecipients = \"recipients\"\naliases = \"aliases\"\n\
     recipient_delimiter = \"+\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[control]\nsocket = \"control.sock\"\n";

fn server(sink: &str, recipients: &str, aliases: &str) -> Server {
    let config = format!("{CONFIG}[[sink]]\n{sink}\n");
    Server::start_with_files(&config, &[("recipients", recipients), ("aliases", aliases)])
}

/// Runs `ringmx` with these arguments in the folder of a server: whether it went well, and what it said.
fn run(server: &Server, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program());
    let output = command.args(arguments).current_dir(server.folder()).output().expect("it runs");
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8"))
}

fn rcpt(server: &Server, recipient: &str, reply: &str) {
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<>", "250");
    client.command(&format!("RCPT TO:<{recipient}>"), reply);
}

fn write(server: &Server, name: &str, text: impl AsRef<[u8]>) {
    fs::write(server.folder().join(name), text).expect("written");
}

#[test]
fn aliases_are_read_again_and_broken_ones_keep_those_before() {
    let server = server("kind = \"discard\"", "anna@x.test\n", "all@x.test: anna@x.test\n");
    rcpt(&server, "all@x.test", "250 2.1.5");
    rcpt(&server, "sales@x.test", "550 5.1.1");
    // By itself.
    write(&server, "aliases", "sales@x.test: anna@x.test\n");
    server.wait_for_log(|line| line.contains(" reloaded ") && line.contains("generation=2"));
    rcpt(&server, "sales+x@x.test", "250 2.1.5");
    rcpt(&server, "all@x.test", "550 5.1.1");
    let broken = "# ours\nsales@x.test: all@x.test\nall@x.test: sales@x.test\n";
    write(&server, "aliases", broken);
    let (is_good, said) = run(&server, &["reload", "ringmx.toml"]);
    assert!(!is_good && said.contains("aliases:2: sales@x.test -> all@x.test -> sales@x.test: "), "{said}");
    rcpt(&server, "sales@x.test", "250 2.1.5");
    // A target that is nobody is told of, and taken.
    write(&server, "aliases", "all@x.test: nobody@x.test, anna@x.test\n");
    let (is_good, said) = run(&server, &["reload", "ringmx.toml"]);
    assert!(is_good && said.contains("\"nobody@x.test\", which is no recipient of ours"), "{said}");
    rcpt(&server, "all@x.test", "250 2.1.5");
}

#[test]
fn a_broken_table_keeps_the_one_before_and_a_good_one_takes_its_place() {
    let server = server("kind = \"discard\"", "anna@x.test\n", "");
    for (recipients, generation) in [("berta@x.test\n", 2), ("carl@x.test\n@all.x.test\n", 3)] {
        write(&server, "text", recipients);
        let (is_good, said) = run(&server, &["recipients", "compile", "text", "table"]);
        assert!(is_good, "{said}");
        // A text is replaced by nobody but its owner.
        fs::rename(server.folder().join("table"), server.folder().join("recipients")).expect("renamed");
        server.wait_for_log(|line| {
            line.contains(" reloaded ") && line.contains(&format!("generation={generation}"))
        });
    }
    rcpt(&server, "Carl+x@x.test", "250 2.1.5");
    rcpt(&server, "berta@x.test", "550 5.1.1");
    let mut table = fs::read(server.folder().join("recipients")).expect("a table");
    *table.last_mut().expect("octets") ^= 1;
    write(&server, "recipients", &table);
    let (is_good, said) = run(&server, &["reload", "ringmx.toml"]);
    assert!(
        !is_good && said.contains("is a compiled table that is cut off or altered; make it anew"),
        "{said}"
    );
    rcpt(&server, "carl@x.test", "250 2.1.5");
}

#[test]
fn a_file_that_is_emptied_keeps_those_before_until_a_reload_says_so() {
    let server = server("kind = \"discard\"", "anna@x.test\n", "all@x.test: anna@x.test\n");
    for (name, what, text) in [("recipients", "recipient", "anna@x.test\n"), ("aliases", "alias", "#\n")] {
        write(&server, name, "");
        let told = format!("{name} holds no {what} any more, and 1 before, so those before stay");
        server.wait_for_log(|line| line.contains(&told));
        rcpt(&server, "anna@x.test", "250 2.1.5");
        rcpt(&server, "all@x.test", "250 2.1.5");
        write(&server, name, text);
    }
    let (is_good, said) = run(&server, &["reload", "ringmx.toml"]);
    assert!(is_good && said.contains("this file holds no alias"), "{said}");
    rcpt(&server, "anna@x.test", "250 2.1.5");
    rcpt(&server, "all@x.test", "550 5.1.1");
}

#[test]
fn mail_with_a_tag_is_in_the_maildir_of_whom_it_is_for_and_says_what_was_given() {
    let sink = "kind = \"maildir\"\npath = \"store\"\ntemplate = \"{domain}/{local}\"";
    let aliases = "all@x.test: anna@x.test, berta+team@x.test\n";
    let server = server(sink, "anna@x.test\nberta@x.test\nanna+own@x.test\n", aliases);
    let mut client = Client::greeted(server.address());
    for recipient in ["Anna+Lists@x.test", "anna+own@x.test", "all@x.test"] {
        let reply = client.deliver("a@y.test", recipient, b"Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{recipient}: {reply}");
    }
    let delivered = |path: &str| {
        let mails = server.maildir(path);
        let texts = mails.iter().map(|mail| String::from_utf8_lossy(mail).into_owned());
        let mut to: Vec<String> = texts
            .map(|text| {
                text.lines().find(|line| line.starts_with("Delivered-To:")).unwrap_or_default().into()
            })
            .collect();
        to.sort();
        to
    };
    assert_eq!(
        delivered("store/x.test/anna"),
        ["Delivered-To: Anna+Lists@x.test", "Delivered-To: anna@x.test"]
    );
    assert_eq!(delivered("store/x.test/anna+own"), ["Delivered-To: anna+own@x.test"]);
    assert_eq!(delivered("store/x.test/berta"), ["Delivered-To: berta+team@x.test"]);
    let names = fs::read_dir(server.folder().join("store/x.test")).expect("a directory").count();
    assert_eq!(names, 3, "no tag has a maildir of its own but the one that is listed");
    drop(client);
}
