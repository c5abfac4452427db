//! The whole server: started by root, it becomes a user, goes in, and serves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use ringmx::tls::self_signed;
use rustix::process::{Signal, geteuid};
use support::client::Client;
use support::secure;
use support::server::Server;

/// A user and group of nobody.
const NOBODY: u32 = 3_000_018;

/// `[run_as]` with a user that is in no database.
fn run_as(user: u32) -> String {
    format!("[run_as]\nuser = \"{user}\"\ngroup = \"{user}\"\n")
}

/// A server that root starts, in a folder that anybody may enter, with these files that only root may read.
fn start(config: &str, files: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Result<Server, String> {
    Server::try_start(config, |command| {
        let folder = command.get_current_dir().expect("a folder").to_owned();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("open to all");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("written");
        }
        prepare(&folder);
    })
}

fn is_root() -> bool {
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
    }
    geteuid().is_root()
}

/// What is wrong with the threads of a server: each line of their status that is not as it should be.
fn wrong_threads(server: &Server, user: u32, capabilities: &str) -> Vec<String> {
    let user = [user.to_string().as_str(); 4].join("\t");
    let none = "0000000000000000";
    let mut wrong = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads") {
        let status = fs::read_to_string(task.expect("a thread").path().join("status")).unwrap_or_default();
        let name = status.lines().next().unwrap_or_default();
        for (field, value) in [
            ("Uid:", user.as_str()),
            ("Gid:", user.as_str()),
            ("CapInh:", none),
            ("CapBnd:", none),
            ("CapAmb:", none),
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
        ] {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
            if line.is_some_and(|line| line != value) {
                wrong.push(format!("{name}: {field} {line:?}"));
            }
        }
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
        if effective.is_some_and(|effective| effective != none && effective != capabilities) {
            wrong.push(format!("{name}: CapEff: {effective:?}"));
        }
    }
    wrong
}

/// Each sink, with everything on the way: TLS with a key that only root may read, spill files, a reload of
/// the recipients and of a listener.
#[test]
fn a_server_that_root_starts_becomes_the_user_and_takes_mail() {
    if !is_root() {
        return;
    }
    let made = self_signed::make(&["mx.example.org".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.chain, made.key);
    let sinks = [
        "kind = \"maildir\"\npath = \"deep/store\"\nsync = \"each\"",
        "kind = \"maildir\"\npath = \"deep/store\"\ntemplate = \"{domain}/{local}\"\ncreate = true",
        "kind = \"spool\"\npath = \"deep/store\"\nsegment_size = \"8MiB\"",
    ];
    for sink in sinks {
        let listener = |port: u16| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
        let config = |listeners: &str| {
            format!(
                "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients\"\n{listeners}\
                 [[tls.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n[shards]\ncpus = [0]\n[[sink]]\n{sink}\n{}",
                run_as(NOBODY)
            )
        };
        let files =
            [("recipients", "b@example.org\n"), ("c.pem", certificate.as_str()), ("k.pem", key.as_str())];
        let mut server = start(&config(&listener(0)), &files, |folder| {
            fs::set_permissions(folder.join("k.pem"), fs::Permissions::from_mode(0o600)).expect("root's own");
        })
        .unwrap_or_else(|why| panic!("{sink}: {why}"));
        assert_eq!(wrong_threads(&server, NOBODY, ""), [""; 0], "{sink}");
        let store = fs::metadata(server.folder().join("deep/store")).expect("the store");
        assert_eq!((store.uid(), store.gid()), (NOBODY, NOBODY), "the store is its own");
        let line = server.wait_for_log(|line| line.contains(" sandbox "));
        assert!(line.contains(&format!("user={NOBODY} ")) && line.contains("seccomp=true"), "{line}");

        let small = b"Subject: x\r\n\r\ntext\r\n".to_vec();
        let large = [b"Subject: x\r\n\r\n".to_vec(), b"text text text text\r\n".repeat(200_000)].concat();
        for body in [&small, &large] {
            let mut client = Client::greeted(server.address());
            let reply = client.deliver("a@x.test", "b@example.org", body);
            assert!(reply.starts_with("250"), "{sink}: {reply}");
        }
        let mut client = secure::behind_starttls(&server);
        for (line, reply) in
            [("MAIL FROM:<a@x.test>", "250"), ("RCPT TO:<b@example.org>", "250"), ("DATA", "354")]
        {
            secure::command(&mut client, format!("{line}\r\n").as_bytes(), reply);
        }
        secure::command(&mut client, b"Subject: x\r\n\r\ntext\r\n.\r\n", "250");

        // A reload reads and binds as the user, inside.
        fs::write(server.folder().join("recipients"), "b@example.org\nc@example.org\n").expect("written");
        let group = fs::Permissions::from_mode(0o640);
        fs::set_permissions(server.folder().join("k.pem"), group).expect("set");
        chown(server.folder().join("k.pem"), None, Some(NOBODY)).expect("given to the group");
        let more = config(&(listener(0) + &listener(0).replace("127.0.0.1", "127.0.0.2")));
        fs::write(server.folder().join("ringmx.toml"), more).expect("written");
        server.signal(Signal::HUP);
        server.wait_for_log(|line| line.contains(" reloaded "));
        let mut client = Client::greeted(server.address());
        let reply = client.deliver("a@x.test", "c@example.org", &small);
        assert!(reply.starts_with("250"), "{sink}: {reply}");
        drop(client);
        assert_eq!(wrong_threads(&server, NOBODY, ""), [""; 0], "{sink}, after the reload");
        assert!(server.stop().success(), "{}", server.log().join("\n"));
        let log = server.log();
        assert!(log.iter().all(|line| !line.contains("Operation not permitted")), "{}", log.join("\n"));
    }
}

#[test]
fn a_port_below_1024_is_bound_with_the_one_capability_that_is_left() {
    if !is_root() {
        return;
    }
    let [_, a, b, c] = (std::process::id() * 64 + 17).to_be_bytes();
    let address = format!("127.{}.{b}.{c}:25", a | 1);
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"{address}\"\n[[sink]]\nkind = \"discard\"\n{}",
        run_as(NOBODY)
    );
    let mut server = start(&config, &[], |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(wrong_threads(&server, NOBODY, "0000000000000400"), [""; 0], "CAP_NET_BIND_SERVICE");
    let mut client = Client::greeted(address.parse().expect("an address"));
    assert!(client.deliver("a@x.test", "b@y.test", b"x\r\n").starts_with("250"));
    assert!(server.stop().success());
}

#[test]
fn who_cannot_become_the_user_does_not_start_and_says_what_to_do() {
    if !is_root() {
        return;
    }
    let config = |user: &str| {
        format!(
            "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"store\"\n\
             [run_as]\n{user}"
        )
    };
    let why = start(&config("user = \"no-such-user\"\n"), &[], |_| {}).err().expect("nobody");
    assert!(why.contains("run_as.user") && why.contains("useradd --system"), "{why}");
    let why = start(&config("group = \"root\"\n"), &[], |_| {}).err().expect("no user");
    assert!(why.contains("a group needs a user"), "{why}");
    // The store is there, and is root's.
    let why = start(&config(&run_as(NOBODY)[9..]), &[], |folder| {
        fs::create_dir(folder.join("store")).expect("made");
        fs::set_permissions(folder.join("store"), fs::Permissions::from_mode(0o700)).expect("root's own");
    });
    let why = why.err().expect("not its own");
    assert!(why.contains(&format!("`chown -R {NOBODY} ")), "{why}");
    // An ordinary user becomes nobody else.
    let started = Server::try_start(&config(&run_as(NOBODY)[9..]), |command| {
        use std::os::unix::process::CommandExt;
        let folder = command.get_current_dir().expect("a folder").to_owned();
        chown(&folder, Some(NOBODY + 1), Some(NOBODY + 1)).expect("given");
        fs::copy(support::server::program(), folder.join("program")).expect("a copy");
        let mut other = Command::new(folder.join("program"));
        other.args(["serve", "--config"]).arg(folder.join("ringmx.toml")).current_dir(&folder);
        other.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        other.stderr(std::process::Stdio::piped()).uid(NOBODY + 1).gid(NOBODY + 1);
        *command = other;
    });
    let why = started.err().expect("another user");
    assert!(why.contains("cannot become 3000018") && why.contains("start it as root or as 3000018"), "{why}");
}

#[test]
fn check_says_what_a_reload_will_not_be_able_to_read() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let made = self_signed::make(&["mx.example.org".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.chain, made.key);
    fs::write(folder.path().join("c.pem"), certificate).expect("written");
    fs::write(folder.path().join("k.pem"), key).expect("written");
    fs::set_permissions(folder.path().join("k.pem"), fs::Permissions::from_mode(0o600)).expect("root's own");
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n\
         [[tls.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n{}",
        run_as(NOBODY)
    );
    let file = folder.path().join("mx.toml");
    fs::write(&file, config).expect("written");
    let check =
        || Command::new(support::server::program()).arg("check").arg(&file).output().expect("it runs");
    let output = check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains(":8: tls.certificate.key: "), "{text}");
    assert!(text.contains(&format!("user {NOBODY} may not read it")) && text.contains("reload"), "{text}");
    chown(folder.path().join("k.pem"), None, Some(NOBODY)).expect("given to the group");
    fs::set_permissions(folder.path().join("k.pem"), fs::Permissions::from_mode(0o640)).expect("set");
    let text = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(!text.contains("may not read"), "{text}");
    // Whoever is neither root nor that user may check it, too, and is told what was not looked at.
    fs::copy(support::server::program(), folder.path().join("ringmx")).expect("a program for everybody");
    let output = Command::new("setpriv")
        .args(["--reuid=65533", "--regid=65533", &format!("--groups={NOBODY}")])
        .arg(folder.path().join("ringmx"))
        .arg("check")
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: ") && said.contains("what that user may not do is not known"), "{said}");
    assert!(!said.contains("start it as root"), "{said}");
}

/// A second opening would wait for somebody who writes.
#[test]
fn a_pipe_that_was_read_is_not_opened_again_as_the_user() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let pipe = folder.path().join("recipients");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .expect("a pipe");
    let config = format!(
        "hostname = \"mx.example.org\"\ndomains = [\"x.test\"]\nrecipients = \"recipients\"\n[[listener]]\naddress = \
         \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n{}",
        run_as(NOBODY)
    );
    let file = folder.path().join("mx.toml");
    fs::write(&file, config).expect("written");
    let mut check =
        Command::new(support::server::program()).arg("check").arg(&file).spawn().expect("it runs");
    fs::write(&pipe, "a@x.test\n").expect("read once");
    let begun = std::time::Instant::now();
    let status = loop {
        if let Some(status) = check.try_wait().expect("a child") {
            break status;
        }
        if begun.elapsed() > std::time::Duration::from_secs(30) {
            check.kill().expect("killed");
            panic!("it stands still");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(status.success());
}
