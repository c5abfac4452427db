//! Reloads of a real server: by SIGHUP, by `ringmx reload`, by files that change; what is taken over, what
//! keeps all as it was, and that nobody who sends mail notices.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringmx::limits::RELOAD_TAKE_WAIT;
use ringmx::shard::listener::DRAIN_WAIT;
use ringmx::tls::self_signed;
use rustix::process::Signal;
use support::client::Client;
use support::held_thread::HeldThread;
use support::load::{loadgen, verify, wait_for_load};
use support::secure::{behind_starttls, command};
use support::server::{Server, program};

/// The top of a file, a listener, a sink and a control socket.
const CONFIG: &str = "hostname = \"first.example\"\ndomains = [\"x.example\"]\nrecipients = \"recipients\"\n\
     [[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n[control]\nsocket = \"control.sock\"\n";

fn server() -> Server {
    Server::start_with_files(CONFIG, &[("recipients", "anna@x.example\n")])
}

fn write(server: &Server, name: &str, text: &str) {
    fs::write(server.folder().join(name), text).expect("written");
}

/// `ringmx reload`: whether it went well, and what it said.
fn reload(server: &Server) -> (bool, String) {
    let file = server.folder().join("ringmx.toml");
    let output = Command::new(program()).arg("reload").arg(file).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("UTF-8"))
}

#[track_caller]
fn reload_well(server: &Server) -> String {
    let (is_good, said) = reload(server);
    assert!(is_good, "{said}");
    said
}

/// What a client of this name is told of a recipient.
fn rcpt(client: &mut Client, recipient: &str) -> String {
    client.command("MAIL FROM:<>", "250");
    client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
    let reply = client.reply();
    client.command("RSET", "250");
    reply
}

/// Who reads the line in the log may connect at once.
#[test]
fn a_reload_is_told_in_the_log_when_shards_serve_by_it() {
    let server = server();
    write(&server, "recipients", "berta@x.example\n");
    let held = match HeldThread::hold(server.id(), "shard-0") {
        Ok(held) => held,
        Err(error) => return println!("skipped: threads cannot be held here: {error}"),
    };
    let start = Instant::now();
    let said = reload_well(&server);
    assert!(said.contains("shard 0 stands still and has not taken it over yet"), "{said}");
    server.wait_for_log(|line| line.contains(" reloaded ") && line.contains("generation=2"));
    assert!(start.elapsed() >= RELOAD_TAKE_WAIT, "not before the shard was waited for");
    drop(held);
}

#[test]
fn new_sessions_begin_with_what_was_read_and_running_ones_keep_what_they_have() {
    let mut server = server();
    let mut running = Client::greeted(server.address());
    write(&server, "recipients", "berta@x.example\n");
    write(&server, "ringmx.toml", &CONFIG.replace("first.example", "second.example"));
    let said = reload_well(&server);
    assert!(
        said.starts_with("reloaded: new sessions begin in generation 2 (listeners: 1, recipients: 1;"),
        "{said}"
    );
    // With the answer all of it holds.
    let mut new = Client::connect(server.address());
    new.expect("220 second.example");
    new.command("EHLO client.example", "250");
    assert!(rcpt(&mut new, "berta@x.example").starts_with("250"));
    assert!(rcpt(&mut new, "anna@x.example").starts_with("550 5.1.1"));
    assert!(rcpt(&mut running, "anna@x.example").starts_with("250"));
    assert!(rcpt(&mut running, "berta@x.example").starts_with("550 5.1.1"));
    running.command("HELO client.example", "250 first.example");
    new.command("HELO client.example", "250 second.example");
    assert!(server.stop().success());
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let server = server();
    let more = "[limits]\nerrors_max = 3\n[shards]\nbuffers = 64\n[log]\nformat = \"json\"\n";
    write(&server, "ringmx.toml", &format!("{CONFIG}{more}"));
    let said = reload_well(&server);
    for line in [
        "needs a restart: shards.buffers (line 13) = 64; until then it is 1024\n",
        "needs a restart: log.format (line 15) = \"json\"; until then it is \"text\"\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    server.wait_for_log(|line| line.contains(" needs-restart text=\"log.format (line 15) = "));
    let mut client = Client::greeted(server.address());
    for _ in 0..3 {
        client.send(b"NONSENSE\r\n");
        assert!(client.reply().starts_with('5'));
    }
    client.command("NONSENSE", "421");
}

/// Something that is wrong, and what of it is told. What it leaves behind goes with the folder.
type Fault = (&'static str, fn(&Path), &'static str);

const FAULTS: &[Fault] = &[
    ("syntax", |folder| config(folder, "hostname = \n"), "ringmx.toml:1:"),
    (
        "an unknown key",
        |folder| config(folder, &format!("hostnam = \"x\"\n{CONFIG}")),
        "did you mean `hostname`",
    ),
    (
        "a value out of range",
        |folder| config(folder, &format!("{CONFIG}[limits]\nerrors_max = 0\n")),
        "ringmx.toml:11: limits.errors_max: 0 is too little; allowed is 1 to 1000000",
    ),
    (
        "UTF-16",
        |folder| fs::write(folder.join("ringmx.toml"), b"\xff\xfeh\0").expect("written"),
        "save it as UTF-8",
    ),
    ("no configuration file", |folder| remove(folder, "ringmx.toml"), "correct the path, or make the file"),
    (
        "a directory as configuration",
        |folder| directory(folder, "ringmx.toml"),
        "name a file, not a directory",
    ),
    (
        "a line that is no recipient",
        |folder| file(folder, "recipients", "anna@x.example\nx\n"),
        "recipients:2: ",
    ),
    (
        "a compiled table that is cut off",
        |folder| file(folder, "recipients", "ringmxAT\u{1}\0\0\0"),
        "is a compiled table that is cut off or altered; make it anew with `ringmx recipients compile`",
    ),
    ("no file of recipients", |folder| remove(folder, "recipients"), "correct the path, or make the file"),
    ("a directory as recipients", |folder| directory(folder, "recipients"), "name a file, not a directory"),
    (
        "a pipe without an end",
        |folder| {
            remove(folder, "recipients");
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, folder.join("recipients"), kind, 0o600.into(), 0)
                .expect("a pipe");
        },
        "it is a pipe that has not come to its end within 10 s",
    ),
    (
        "a listener where another program listens",
        |folder| {
            let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = taken.local_addr().expect("an address");
            // As long as the process lives.
            std::mem::forget(taken);
            config(folder, &format!("{CONFIG}[[listener]]\naddress = \"{address}\"\n"));
        },
        "another program listens there",
    ),
    (
        "a listener on an address of nobody",
        |folder| config(folder, &format!("{CONFIG}[[listener]]\naddress = \"192.0.2.1:2525\"\n")),
        "ringmx.toml:11: listener.address: cannot listen on 192.0.2.1:2525",
    ),
    (
        "a certificate that is none",
        |folder| certificate(folder, "nonsense", "nonsense"),
        "ringmx.toml:11: tls.certificate.chain: ",
    ),
    (
        "a key of another certificate",
        |folder| {
            let make = || self_signed::make(&["first.example".to_owned()]).expect("made");
            certificate(folder, &make().chain, &make().key);
        },
        "the key is not that of",
    ),
];

fn file(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("written");
}

fn config(folder: &Path, text: &str) {
    file(folder, "ringmx.toml", text);
}

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).expect("removed");
}

fn directory(folder: &Path, name: &str) {
    remove(folder, name);
    fs::create_dir(folder.join(name)).expect("made");
}

fn certificate(folder: &Path, chain: &str, key: &str) {
    file(folder, "mx.pem", chain);
    file(folder, "mx.key", key);
    config(folder, &format!("{CONFIG}[[tls.certificate]]\nchain = \"mx.pem\"\nkey = \"mx.key\"\n"));
}

#[test]
fn a_broken_file_of_any_kind_keeps_what_was_and_says_line_key_and_cure() {
    let server = server();
    for (generation, (what, break_it, told)) in (1..).zip(FAULTS) {
        break_it(server.folder());
        // Where the configuration says nothing of the control socket, that of the packages is asked.
        let (is_good, said) = ask(&server.folder().join("control.sock"), "ringmx/1 reload\n");
        assert!(!is_good && said.contains(told), "{what}: {said}");
        let stays = format!(
            "not reloaded: nothing was changed; new sessions begin in generation {generation} as before\n"
        );
        assert!(said.ends_with(&stays), "{what}: {said}");
        let mut client = Client::greeted(server.address());
        assert!(rcpt(&mut client, "anna@x.example").starts_with("250"), "{what}");
        client.command("HELO client.example", "250 first.example");
        // Mended, it is taken again.
        for name in ["recipients", "ringmx.toml"] {
            let path = server.folder().join(name);
            let _ = fs::remove_dir(&path);
            let _ = fs::remove_file(&path);
        }
        write(&server, "recipients", "anna@x.example\n");
        write(&server, "ringmx.toml", CONFIG);
        reload_well(&server);
        let log = server.log();
        assert!(
            log.iter().any(|line| line.contains(" error text=") && line.contains(&told.replace('"', "\\\""))),
            "{what}"
        );
    }
}

/// Root may read everything, so that the server is another user's.
#[test]
fn files_that_may_not_be_read_keep_what_was_and_the_user_is_named() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: it needs root, to start the server as another user");
    }
    let wrapper = [
        "sh",
        "-c",
        "chmod -R go+rwX . && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"",
        "sh",
    ];
    let server = Server::start_under(&wrapper, CONFIG, &[("recipients", "anna@x.example\n")]);
    for name in ["recipients", "ringmx.toml"] {
        let path = server.folder().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        let (is_good, said) = ask(&server.folder().join("control.sock"), "ringmx/1 reload\n");
        assert!(!is_good && said.contains("user 65534 must be able to read it"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        reload_well(&server);
    }
}

/// One request to the control socket.
fn ask(socket: &Path, request: &str) -> (bool, String) {
    let mut stream = UnixStream::connect(socket).expect("a control socket");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (line, text) = answer.split_once('\n').expect("a line");
    let words: Vec<&str> = line.split(' ').collect();
    assert!(words.len() == 3 && words[0] == "ringmx/1" && words[2].parse() == Ok(text.len()), "{answer}");
    (words[1] == "ok", text.to_owned())
}

#[test]
fn the_control_socket_answers_each_request_once_and_nonsense_with_the_cure() {
    let mut server = server();
    let socket = server.folder().join("control.sock");
    let mode = fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (request, told) in [
        ("ringmx/1 nonsense\n", "there are reload and status"),
        ("ringmx/2 reload\n", "is this program of another version?"),
        ("GET / HTTP/1.1\r\n\r\n", "a request begins with `ringmx/1 `"),
        ("\n", "a request begins with `ringmx/1 `"),
        (&format!("ringmx/1 {}\n", "x".repeat(70_000)), "its line is over 65536 octets"),
    ] {
        let (is_good, said) = ask(&socket, request);
        assert!(!is_good && said.contains(told), "{request:?}: {said}");
    }
    assert!(ask(&socket, "ringmx/1 reload\r\nringmx/1 reload\r\n").0);
    // Who says nothing, half of it, or goes away without the answer holds nobody up.
    let mute: Vec<UnixStream> = (0..10).map(|_| UnixStream::connect(&socket).expect("connected")).collect();
    UnixStream::connect(&socket).expect("connected").write_all(b"ringmx/1 reload\n").expect("sent");
    let mut half = UnixStream::connect(&socket).expect("connected");
    half.write_all(b"ringmx/1 re").expect("sent");
    half.shutdown(Shutdown::Write).expect("its end");
    let (is_good, said) = {
        let mut answer = String::new();
        half.read_to_string(&mut answer).expect("an answer");
        (answer.starts_with("ringmx/1 ok"), answer)
    };
    assert!(!is_good && said.contains("it ends without a line end"), "{said}");
    reload_well(&server);
    drop(mute);
    assert!(server.stop().success());
    assert!(!socket.exists(), "its file goes with the server");
    let (is_good, said) = reload(&server);
    assert!(!is_good && said.contains("no server with this control socket runs"), "{said}");
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced_and_that_of_a_running_one_is_not() {
    let first = server();
    let socket = first.folder().join("control.sock");
    let config = CONFIG
        .replace("control.sock", socket.to_str().expect("UTF-8"))
        .replace("recipients = \"recipients\"\n", "");
    let why = Server::try_start(&config, |_| {}).err().expect("the socket is taken");
    assert!(why.contains("another ringmx has it"), "{why}");
    first.signal(Signal::KILL);
    let start = Instant::now();
    let second = loop {
        match Server::try_start(&config, |_| {}) {
            Ok(server) => break server,
            Err(why) => assert!(start.elapsed() < Duration::from_secs(30), "{why}"),
        }
    };
    assert!(ask(&socket, "ringmx/1 reload\n").0);
    drop(second);
}

#[test]
fn listeners_come_and_go_and_nobody_whom_the_kernel_let_in_is_refused_or_reset() {
    let server = server();
    let free = |_| {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.local_addr().expect("an address")
    };
    let [one, two]: [SocketAddr; 2] = [0, 1].map(free);
    let with = |addresses: &[SocketAddr]| {
        let listener = |address| format!("[[listener]]\naddress = \"{address}\"\n");
        let more: String = addresses.iter().map(listener).collect();
        format!("{CONFIG}{more}")
    };
    write(&server, "ringmx.toml", &with(&[one]));
    assert!(reload_well(&server).contains("(listeners: 2,"));
    let mut session = Client::greeted(one);
    // Some connect all the time while the listener goes and another one comes.
    let clients = std::thread::spawn(move || {
        let mut served = 0_u32;
        loop {
            let Ok(mut stream) = TcpStream::connect_timeout(&one, DRAIN_WAIT / 2) else { return served };
            let mut greeting = [0; 4];
            // It was let in after the last look at the queue, in the moment of the close, or it is served.
            stream.read_exact(&mut greeting).expect("a greeting");
            assert_eq!(&greeting, b"220 ");
            served += 1;
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    write(&server, "ringmx.toml", &with(&[two]));
    reload_well(&server);
    let served = clients.join().expect("everybody was served");
    assert!(served > 0);
    Client::greeted(two).command("QUIT", "221");
    session.command("QUIT", "221");
    // Nobody listens there any more, so that another program can.
    let start = Instant::now();
    while TcpListener::bind(one).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "the address is not free");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It may come back.
    write(&server, "ringmx.toml", &with(&[one, two]));
    reload_well(&server);
    Client::greeted(one).command("QUIT", "221");
    assert!(!server.log().iter().any(|line| line.contains(" error ")), "{}", server.log().join("\n"));
}

#[test]
fn changed_files_are_taken_by_themselves_and_broken_ones_are_told_once() {
    let make = |name: &str| self_signed::make(&[name.to_owned()]).expect("made");
    let (old, new) = (make("first.example"), make("first.example"));
    let config = format!("{CONFIG}[[tls.certificate]]\nchain = \"mx.pem\"\nkey = \"mx.key\"\n");
    let files =
        [("recipients", "anna@x.example\n"), ("mx.pem", old.chain.as_str()), ("mx.key", old.key.as_str())];
    let server = Server::start_with_files(&config, &files);
    let shown = || {
        let mut client = behind_starttls(&server);
        command(&mut client, b"NOOP\r\n", "250");
        client.conn.peer_certificates().expect("one")[0].to_vec()
    };
    let first = shown();
    // A configuration that is being edited does not keep a certificate from being renewed.
    write(&server, "ringmx.toml", "not yet");
    write(&server, "mx.key", &new.key);
    write(&server, "mx.pem", &new.chain);
    // Two looks of 3 s each, and what a busy machine takes.
    let soon = Duration::from_secs(10 + 5);
    let begun = Instant::now();
    server.wait_for_log(|line| line.contains(" reloaded generation=2 by=files"));
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    assert!(shown() != first);
    write(&server, "recipients", "x\n");
    server.wait_for_log(|line| {
        line.contains(" not-reloaded generation=2 text=\"the recipients stay as they were\"")
    });
    let told = || server.log().iter().filter(|line| line.contains("not-reloaded")).count();
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(told(), 1, "once, though it was looked at twice since");
    write(&server, "recipients", "anna@x.example\n");
    server.wait_for_log(|line| line.contains("says the same as before"));
    let begun = Instant::now();
    write(&server, "recipients", "berta@x.example\n");
    server.wait_for_log(|line| line.contains(" reloaded generation=3 by=files"));
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    assert_eq!(told(), 1, "once");
    assert!(rcpt(&mut Client::greeted(server.address()), "berta@x.example").starts_with("250"));
}

#[test]
fn reloads_that_come_together_are_all_answered() {
    let server = server();
    let socket = server.folder().join("control.sock");
    let ask = || {
        let socket = socket.clone();
        std::thread::spawn(move || ask(&socket, "ringmx/1 reload\n"))
    };
    let askers: Vec<_> = (0..12).map(|_| ask()).collect();
    for _ in 0..50 {
        server.signal(Signal::HUP);
    }
    for asker in askers {
        let (is_good, said) = asker.join().expect("no panic");
        assert!(is_good, "{said}");
    }
    Client::greeted(server.address()).command("QUIT", "221");
}

#[test]
fn a_reload_while_the_server_stops_is_answered() {
    let mut server = server();
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<>", "250");
    server.signal(Signal::TERM);
    server.wait_for_log(|line| line.contains(" stopping"));
    let (is_good, said) = ask(&server.folder().join("control.sock"), "ringmx/1 reload\n");
    assert!(!is_good && said.contains("the server is stopping"), "{said}");
    drop(client);
    assert!(server.wait().success());
}

/// Reloads while mail comes, and what the ledger of the load says of it. Every second one swaps the table of
/// recipients, every fourth one adds or removes a listener.
fn reload_under_load(reloads: u32, recipients: u32, rate: u32, pause: Duration) {
    let list = |first: &str| {
        let mut text = format!("{first}@x.example\nrecipient@example.test\n");
        for number in 0..recipients {
            let _ = writeln!(text, "user{number}@x.example");
        }
        text
    };
    let lists = [list("anna"), list("berta")];
    let config = format!(
        "{}[log]\nmessages = false\nsessions = false\n",
        CONFIG
            .replace("domains = [\"x.example\"]\n", "")
            .replace("\"discard\"", "\"spool\"\npath = \"spool\"")
    );
    let mut server = Server::start_with_files(&config, &[("recipients", &lists[0])]);
    let [ledger, report] = ["ledger", "report"].map(|name| server.folder().join(name));
    let mut load = Command::new(loadgen())
        .arg(server.address().to_string())
        .args(["--rate", &format!("{rate}/s"), "--duration", "10min", "--connections", "50"])
        .args(["--per-connection", "20", "--size", "1KiB", "--ledger"])
        .arg(&ledger)
        .arg("--json")
        .arg(&report)
        .spawn()
        .expect("loadgen runs");
    wait_for_load(&ledger, 0);
    for number in 0..reloads {
        if number % 2 == 1 {
            write(&server, "recipients", &lists[usize::from(number % 4 == 1)]);
        }
        let more = if number % 4 == 3 { "[[listener]]\naddress = \"127.0.0.1:0\"\n" } else { "" };
        write(&server, "ringmx.toml", &format!("{config}{more}"));
        reload_well(&server);
        std::thread::sleep(pause);
    }
    if reloads == 0 {
        // The control: as much mail without reloads.
        std::thread::sleep(Duration::from_mins(1));
    }
    let id = rustix::process::Pid::from_raw(load.id().cast_signed()).expect("a process id");
    rustix::process::kill_process(id, Signal::INT).expect("the signal is sent");
    load.wait().expect("its end");
    assert!(server.stop().success());
    let stopped = server.log().into_iter().find(|line| line.contains(" stopped "));
    println!("{}", stopped.unwrap_or_default());
    let verdict = verify(&ledger, "spool", &server.folder().join("spool"), &[]);
    println!("{}", verdict.text);
    assert!(verdict.holds && verdict.accepted > 0 && verdict.lost == 0, "{}", verdict.text);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    for none in ["messages_refused", "failures", "sessions_ended_by_server"] {
        assert_eq!(report[none], 0, "{none}: {report:#}");
    }
}

#[test]
fn mail_does_not_notice_reloads() {
    reload_under_load(24, 1000, 200, Duration::from_millis(20));
}

/// 1,000 reloads at 5,000 messages a second, with as many recipients as `RECIPIENTS` says (by itself 1,000).
/// Its command stands in tests/README.md.
#[test]
#[ignore = "minutes, and a machine that does nothing else"]
fn mail_does_not_notice_a_thousand_reloads() {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    reload_under_load(
        number("RELOADS", 1000),
        number("RECIPIENTS", 1000),
        number("RATE", 5000),
        Duration::ZERO,
    );
}
