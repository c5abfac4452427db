//! What is told of those who are asked about recipients and messages, and are not there.

use std::os::unix::net::UnixListener;

use support::map_server::MapServer;

use super::{Folder, LISTENER, only};

#[test]
fn a_filter_where_nobody_is_is_a_warning() {
    let folder = Folder::new();
    let config = |tables: &str| {
        let sink = "[[sink]]\nkind = \"discard\"\n";
        let names = "[early]\nreverse_dns = \"mark\"\n[dns]\nservers = [\"127.0.0.1\"]\n";
        format!("domains = [\"x.test\"]\nrecipients = \"recipients\"\n{LISTENER}{sink}{names}{tables}")
    };
    folder.write("recipients", "a@x.test\n");
    let rspamd = |more: &str| format!("[[filter]]\nkind = \"rspamd\"\nurl = \"unix:here.sock\"\n{more}");
    let milter = "[[filter]]\nkind = \"milter\"\nsocket = \"inet:1@127.0.0.1\"\non_failure = \"accept\"\n";
    let _here = UnixListener::bind(folder.path("here.sock")).expect("a socket");
    assert_eq!(folder.check(&config(&rspamd(""))).stderr, b"");
    let told = only(&folder.check(&config(&format!("{}{milter}", rspamd("")))));
    assert!(
        told.contains(": filter.socket: nobody answers for the filter milter at inet:1@127.0.0.1 now (")
            && told.ends_with("): mail is taken unchecked until somebody does"),
        "{told}"
    );
    folder.write("password", "a word\n");
    for (file, why) in [("password", "the first line is no password"), ("none", "cannot be read: ")] {
        let told = only(&folder.check(&config(&rspamd(&format!("password_file = \"{file}\"\n")))));
        assert!(told.contains(": filter.password_file: ") && told.contains(why), "{told}");
    }
    let longest = "x".repeat(1000);
    let too_long = "x".repeat(1001);
    for (text, is_good) in [
        ("word\nmore\n", true),
        // Only the first line counts, whatever comes after it.
        (&format!("{longest}\r\n{}", "more\n".repeat(1000)), true),
        (&longest, true),
        (&too_long, false),
        (&format!("{too_long}\n"), false),
    ] {
        folder.write("password", text);
        let said = folder.check(&config(&rspamd("password_file = \"password\"\n"))).stderr;
        assert_eq!(said.is_empty(), is_good, "{text:.20} {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn a_map_of_recipients_where_nobody_is_is_a_warning() {
    let folder = Folder::new();
    let config = |map: &str| {
        let sink = "[[sink]]\nkind = \"discard\"\n";
        format!("domains = [\"x.test\"]\nrecipients = \"socketmap:{map}:m\"\n{LISTENER}{sink}")
    };
    drop(UnixListener::bind(folder.path("left.sock")).expect("a socket"));
    for map in ["unix:left.sock", "unix:none.sock", "inet:127.0.0.1:1"] {
        let told = only(&folder.check(&config(map)));
        assert!(
            told.contains("nobody serves") && told.contains("postmaster and aliases are taken"),
            "{told}"
        );
    }
    MapServer::new(&[]).listen_unix(&folder.path("map.sock"));
    assert_eq!(folder.check(&config("unix:map.sock")).stderr, b"");
}
