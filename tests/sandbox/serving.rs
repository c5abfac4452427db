//! The whole server: started by root, it becomes a user, goes in, and serves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringmx::tls::self_signed;
use rustix::process::{Signal, geteuid};
use support::client::Client;
use support::map_server::MapServer;
use support::next_hop::{Manner, NextHop, accept};
use support::secure;
use support::server::Server;

/// A user and group of nobody.
const NOBODY: u32 = 3_000_018;

/// What should come has this long before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// Each sink, with everything on the way: TLS with a key that only root may read, spill files, a thread that
/// asks the DNS, a reload of the recipients and of a listener.
#[test]
fn a_server_that_root_starts_becomes_the_user_and_takes_mail() {
    if !is_root() {
        return;
    }
    let made = self_signed::make(&["mx.example.org".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.chain, made.key);
    let sinks = [
        "kind = \"maildir\"\npath = \"deep/store\"\nsync = \"each\"",
        // A group that is named by its number needs no account database, which is outside.
        "kind = \"maildir\"\npath = \"deep/store\"\ntemplate = \"{domain}/{local}\"\ncreate = true\ngroup = \"3000018\"",
        "kind = \"spool\"\npath = \"deep/store\"\nsegment_size = \"8MiB\"",
    ];
    for sink in sinks {
        let listener = |port: u16| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
        let config = |listeners: &str| {
            format!(
                "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients\"\n{listeners}\
                 [[tls.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n[shards]\ncpus = [0]\n[[sink]]\n{sink}\n\
                 [dns]\nthreads = 1\nservers = [\"127.0.0.1\"]\n{}",
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

/// A map of recipients is asked from inside, and nobody else can be connected to.
#[test]
fn a_map_of_recipients_is_asked_from_inside() {
    if !is_root() {
        return;
    }
    let map = MapServer::new(&["b@example.org"]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let socket = folder.path().join("map.sock");
    map.listen_unix(&socket);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("open to all");
    let tcp = map.listen_tcp().port();
    for place in [format!("unix:{}", socket.display()), format!("inet:127.0.0.1:{tcp}")] {
        let config = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"socketmap:{place}:m\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n[shards]\ncpus = [0]\n[[sink]]\nkind = \"discard\"\n{}",
            run_as(NOBODY)
        );
        b_is_there_and_c_is_not(&config);
    }
}

/// With this configuration somebody is asked from inside.
fn b_is_there_and_c_is_not(config: &str) {
    let server = start(config, &[], |_| {}).unwrap_or_else(|why| panic!("{config}: {why}"));
    server.wait_for_log(|line| line.contains(" sandbox ") && line.contains("seccomp=true"));
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<>", "250");
    client.command("RCPT TO:<b@example.org>", "250 2.1.5");
    client.command("RCPT TO:<c@example.org>", "550 5.1.1");
    let log = server.log();
    assert!(log.iter().all(|line| !line.contains("not permitted")), "{}", log.join("\n"));
}

/// The same with next hops: one at a socket that is a file, and one at a port, under TLS.
#[test]
fn next_hops_are_asked_from_inside() {
    if !is_root() {
        return;
    }
    let far = Server::start_with_files(
        "hostname = \"far.test\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n[[listener]]\n\
         address = \"127.0.0.1:0\"\ntls = \"required\"\n[[sink]]\nkind = \"discard\"\n[tls]\nself_signed = true\n",
        &[("recipients.txt", "b@example.org\n")],
    );
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let socket = folder.path().join("hop.sock");
    let recipient = |mailbox: &str| match mailbox {
        "b@example.org" => accept(mailbox),
        _ => "550 5.1.1 Nobody".to_owned(),
    };
    let _hop = NextHop::at(&socket, Manner { is_lmtp: true, keywords: vec![], recipient, end: accept });
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("open to all");
    for hop in [format!("lmtp://unix:{}", socket.display()), format!("smtp://{}", far.address())] {
        let config = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"ask\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n[shards]\ncpus = [0]\n\
             [[sink]]\nkind = \"spool\"\npath = \"spool\"\n[[forward]]\nto = [\"{hop}\"]\n{}",
            run_as(NOBODY)
        );
        b_is_there_and_c_is_not(&config);
    }
}

/// Runs a server that root starts, with this file for its log, until it has become the user. Gives what it
/// said where it ended instead.
fn with_log(folder: &Path, log: &str) -> Result<(), String> {
    let file = folder.join("ringmx.toml");
    let text = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n\
         [log]\nfile = \"{log}\"\n{}",
        run_as(NOBODY)
    );
    fs::write(&file, text).expect("the configuration");
    let mut child = Command::new(support::server::program())
        .args(["serve", "--config"])
        .arg(&file)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (start, user) = (Instant::now(), format!("Uid:\t{NOBODY}\t"));
    let status = format!("/proc/{}/status", child.id());
    while !fs::read_to_string(&status).is_ok_and(|status| status.contains(&user)) {
        if child.try_wait().expect("its state").is_some() {
            let output = child.wait_with_output().expect("it ended");
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        assert!(start.elapsed() < Duration::from_mins(1), "it becomes nobody");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    Ok(())
}

#[test]
fn root_gives_away_the_file_that_it_logs_to_and_nothing_that_a_name_leads_to() {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let owner = |name: &str| fs::metadata(folder.path().join(name)).expect("it is there").uid();
    with_log(folder.path(), "log").expect("it serves");
    assert_eq!(owner("log"), NOBODY);
    with_log(folder.path(), "log").expect("once more");

    fs::write(folder.path().join("other"), "").expect("written");
    std::os::unix::fs::symlink("other", folder.path().join("link")).expect("a link");
    let why = with_log(folder.path(), "link").expect_err("a link");
    assert!(why.contains("it is a symbolic link, which is not followed"), "{why}");

    fs::hard_link(folder.path().join("other"), folder.path().join("name")).expect("a name");
    with_log(folder.path(), "name").expect_err("it has two names");
    let why = fs::read_to_string(folder.path().join("name")).expect("the log");
    assert!(why.contains("cannot be given to user") && why.contains("another name"), "{why}");
    assert_eq!(owner("other"), 0);

    // As /dev/null, which the other tests need.
    let device = folder.path().join("null");
    if mknodat(CWD, &device, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).is_err()
        || fs::OpenOptions::new().write(true).open(&device).is_err()
    {
        println!("skipped: no device can be made here");
        return;
    }
    with_log(folder.path(), "null").expect("it serves");
    assert_eq!(owner("null"), 0);
}

/// Waits until a log has this word, and gives the text.
fn wait_for(log: &Path, word: &str) -> String {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if text.contains(word) {
            return text;
        }
        assert!(start.elapsed() < PATIENCE, "no {word} in {}: {text}", log.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Root makes the log's file and the directories of sockets; the user opens the log again, makes the sockets
/// and removes them.
#[test]
fn the_file_of_the_log_and_both_sockets_are_the_users_and_in_its_reach_until_the_end() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let path = |name: &str| folder.path().join(name);
    // Of these directories the log's is there and the user's, as packages make it; the others are not.
    fs::create_dir(path("log")).expect("made");
    chown(path("log"), Some(NOBODY), Some(NOBODY)).expect("given");
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"store\"\n\
         segment_size = \"8MiB\"\n[shards]\ncpus = [0]\n[log]\nfile = \"log/mx.log\"\n[control]\nsocket = \"run/control.sock\"\n\
         [admin]\naddress = \"unix:run_admin/admin.sock\"\n{}",
        run_as(NOBODY)
    );
    fs::write(path("mx.toml"), config).expect("written");
    let serve = Command::new(support::server::program())
        .args(["serve", "--config"])
        .arg(path("mx.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Ended(serve.expect("it starts"));
    let log = path("log/mx.log");
    let text = wait_for(&log, " ready");
    let (_, rest) = text.split_once("listening address=").expect("a listener");
    let address = rest.split_whitespace().next().and_then(|address| address.parse().ok());
    let owner = |path: &Path| {
        let facts = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (facts.uid(), facts.gid(), facts.permissions().mode() & 0o777)
    };
    let sockets = [(path("run/control.sock"), 0o600), (path("run_admin/admin.sock"), 0o660)];
    for (socket, mode) in &sockets {
        assert_eq!(owner(socket), (NOBODY, NOBODY, *mode), "{}", socket.display());
    }
    let admin = std::os::unix::net::UnixStream::connect(&sockets[1].0).expect("connected");
    std::io::Write::write_all(&mut &admin, b"GET /readyz HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(support::http::answer(admin).status, 200);

    // As logrotate does.
    fs::rename(&log, path("log/mx.log.1")).expect("moved");
    let id = rustix::process::Pid::from_raw(server.0.id().cast_signed()).expect("a process id");
    let signal = |signal| rustix::process::kill_process(id, signal).expect("the signal is sent");
    signal(Signal::USR1);
    let start = Instant::now();
    while !log.exists() {
        assert!(start.elapsed() < PATIENCE, "it is not opened again");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((owner(&log).0, owner(&log).1), (NOBODY, NOBODY));
    let mut reload = Command::new(support::server::program());
    let output = reload.args(["reload", "--config"]).arg(path("mx.toml")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = Client::greeted(address.expect("an address"));
    assert!(client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\ntext\r\n").starts_with("250"));
    drop(client);

    signal(Signal::TERM);
    assert!(server.0.wait().expect("it ends").success());
    let text = wait_for(&log, " stopped");
    assert!(text.contains(" reloaded ") && text.contains(" message "), "{text}");
    assert!(!text.contains("Operation not permitted") && !text.contains("Permission denied"), "{text}");
    for (socket, _) in &sockets {
        assert!(!socket.exists(), "{} is left", socket.display());
    }
}

/// A process that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
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

/// It is bound after the process has become the user.
#[test]
fn a_port_of_the_administration_may_be_below_1024() {
    if !is_root() {
        return;
    }
    let [_, a, b, c] = (std::process::id() * 64 + 18).to_be_bytes();
    let address = format!("127.{}.{b}.{c}:80", a | 1);
    let config = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n\
         [admin]\naddress = \"{address}\"\n{}",
        run_as(NOBODY)
    );
    let mut server = start(&config, &[], |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(wrong_threads(&server, NOBODY, "0000000000000400"), [""; 0], "CAP_NET_BIND_SERVICE");
    assert_eq!(support::http::get(server.admin_address(), "/healthz").status, 200);
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
        other.stdin(Stdio::null()).stdout(Stdio::piped());
        other.stderr(Stdio::piped()).uid(NOBODY + 1).gid(NOBODY + 1);
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
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = check.try_wait().expect("a child") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(30) {
            check.kill().expect("killed");
            panic!("it stands still");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
}
