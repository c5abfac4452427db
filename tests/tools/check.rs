//! `ringmx check` and the start of `ringmx serve` as programs: what they know before mail comes, that they
//! say the same, and that checking changes nothing.

mod reached;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringmx::tls::self_signed;

/// A user that owns nothing.
const NOBODY: u32 = 65534;

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

/// A folder that everybody can look into.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("written");
        // A key that everybody can read has a warning.
        if self.path(name).extension().is_some_and(|end| end == "key") {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("closed");
        }
    }

    /// `ringmx check mx.toml` here, with this text in it.
    fn check(&self, text: &str) -> Output {
        self.write("mx.toml", text);
        self.ringmx(&["check", "mx.toml"]).output().expect("it runs")
    }

    fn ringmx(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Everything in it, with sizes and times of the last change.
    fn tree(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let entry = entry.expect("an entry");
                let facts = entry.metadata().expect("facts");
                found.insert(format!("{} {} {:?}", entry.path().display(), facts.len(), facts.modified()));
                if facts.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        found
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// The one line of standard error.
#[track_caller]
fn only(output: &Output) -> String {
    let lines = lines(output);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root becomes another user");
    }
    is_root
}

#[test]
fn a_private_key_that_everybody_can_read_has_a_warning_at_its_line() {
    let folder = Folder::new();
    let made = self_signed::make(&["mx.test".to_owned()]).expect("made");
    folder.write("c.pem", made.chain);
    folder.write("c.key", made.key);
    let set = |mode| {
        fs::set_permissions(folder.path("c.key"), fs::Permissions::from_mode(mode)).expect("set");
    };
    for mode in [0o644, 0o666] {
        set(mode);
        let output = folder.check(&with_tls("mx.test"));
        let told = only(&output);
        let expected = "warning: mx.toml:8: tls.certificate.key: c.key: every user of this machine can read";
        assert!(told.starts_with(expected) && told.contains("`chmod o= "), "{told}");
        assert!(output.status.success());
    }
    for mode in [0o600, 0o640] {
        set(mode);
        let output = folder.check(&with_tls("mx.test"));
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn root_with_a_public_listener_is_told_of_a_user_of_its_own() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    folder.write("recipients", "b@example.org\n");
    let config = "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients\"\n[[listener]]\n\
                  address = \"192.0.2.1:25\"\n[[sink]]\nkind = \"discard\"\n";
    let told = only(&folder.check(config));
    assert!(told.starts_with("warning: mx.toml:5: listener.address: ringmx runs as root"), "{told}");
    assert!(folder.check(&config.replace("192.0.2.1:25", "127.0.0.1:25")).stderr.is_empty());
    let output = folder.ringmx(&["check", "mx.toml"]).uid(NOBODY).gid(NOBODY).output().expect("it runs");
    assert!(output.stderr.is_empty(), "{output:?}");
    folder.write("mx.toml", config);
    let output = folder.ringmx(&["check", "mx.toml"]).uid(NOBODY).gid(NOBODY).output().expect("it runs");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// A certificate for a name, valid in these years, and its key.
fn certificate(name: &str, from: i32, to: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut wanted = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted.distinguished_name.push(rcgen::DnType::CommonName, name);
    wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(to, 1, 1);
    let certificate = wanted.self_signed(&key).expect("made");
    (certificate.pem(), key.serialize_pem())
}

fn with_tls(hostname: &str) -> String {
    format!(
        "hostname = \"{hostname}\"\n{LISTENER}[[sink]]\nkind = \"discard\"\n[[tls.certificate]]\nchain = \"c.pem\"\nkey = \"c.key\"\n"
    )
}

#[test]
fn warnings_and_errors_are_told_together_with_line_and_key() {
    let folder = Folder::new();
    folder.write("file", "");
    folder.write("c.pem", "");
    let output = folder.check(
        "hostname = \"192.0.2.1\"\ndomains = [\"a.example\", \"a.example\"]\nrecipients = \"none\"\n[[listener]]\n\
         address = \"127.0.0.1:0\"\n[[sink]]\nkind = \"spool\"\npath = \"file\"\n[limits]\ncommand_timeout = \"10s\"\nerrors_max = 0\n\
         [[tls.certificate]]\nchain = \"c.pem\"\nkey = \"none.key\"\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let expected = [
        "warning: mx.toml:2: domains: \"a.example\" is listed twice",
        "warning: mx.toml:10: limits.command_timeout: RFC 5321",
        "mx.toml:1: hostname: \"192.0.2.1\" is an IP address",
        "mx.toml:3: recipients: none cannot be read: No such file",
        "mx.toml:8: sink.path: file: file is a file, not a directory",
        "mx.toml:11: limits.errors_max: 0 is too little",
        "mx.toml:13: tls.certificate.chain: c.pem: the file is empty",
        "mx.toml:14: tls.certificate.key: none.key: cannot be read: No such file",
    ];
    let told = lines(&output);
    assert!(told.len() == expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_at_its_line_with_a_cure() {
    let folder = Folder::new();
    let made = self_signed::make(&["mx.test".to_owned()]).expect("made");
    let other = self_signed::make(&["mx.test".to_owned()]).expect("made");
    let (chain, key) = (made.chain.as_str(), made.key.as_str());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let reversed = format!("{}{chain}", other.chain);
    let half = &chain[..chain.len() / 2];
    for (chain, key, expected) in [
        (
            half,
            key,
            &[
                "7: tls.certificate.chain: c.pem: the file is cut off: `-----BEGIN CERTIFICATE-----` in line 1",
            ][..],
        ),
        (chain, &encrypted, &["8: tls.certificate.key: c.key: the key is encrypted with a passphrase"]),
        (
            key,
            chain,
            &[
                "7: tls.certificate.chain: c.pem: this is a private key and no certificate: `chain` and `key` are swapped",
                "8: tls.certificate.key: c.key: this is a certificate and no private key: `chain` and `key` are swapped",
            ],
        ),
        (chain, &other.key, &["8: tls.certificate.key: c.key: the key is not that of c.pem"]),
        (&reversed, key, &["7: tls.certificate.chain: c.pem: the key is that of certificate 2 in this file"]),
    ] {
        folder.write("c.pem", chain);
        folder.write("c.key", key);
        let output = folder.check(&with_tls("mx.test"));
        assert_eq!(output.status.code(), Some(1));
        let told = lines(&output);
        assert!(told.len() == expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(&format!("mx.toml:{expected}")), "{told}\n{expected}");
        }
    }
    folder.write("c.pem", format!("\u{feff}{chain}"));
    folder.write("c.key", format!("\u{feff}{key}"));
    let output = folder.check(&with_tls("mx.test"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    fs::remove_file(folder.path("c.key")).expect("removed");
    fs::create_dir(folder.path("c.key")).expect("made");
    let told = only(&folder.check(&with_tls("mx.test")));
    assert!(
        told.starts_with("mx.toml:8: tls.certificate.key: c.key: cannot be read: Is a directory"),
        "{told}"
    );
    assert!(told.ends_with("; name a file, not a directory"), "{told}");
}

#[test]
fn a_certificate_that_helps_nobody_is_a_warning() {
    let folder = Folder::new();
    let warned = |hostname: &str, chain: &str, key: &str| {
        folder.write("c.pem", chain);
        folder.write("c.key", key);
        let output = folder.check(&with_tls(hostname));
        assert!(output.status.success(), "{output:?}");
        lines(&output)
    };
    let prefix = "warning: mx.toml:7: tls.certificate.chain: c.pem: the certificate ";
    let (chain, key) = certificate("mx.test", 2001, 2002);
    let told = warned("mx.test", &chain, &key);
    assert!(told.len() == 1 && told[0].starts_with(&format!("{prefix}has expired")), "{told:#?}");
    let (chain, key) = certificate("mx.test", 2900, 2950);
    let told = warned("mx.test", &chain, &key);
    assert!(told.len() == 1 && told[0].starts_with(&format!("{prefix}is not valid yet")), "{told:#?}");
    let (chain, key) = certificate("*.test", 2001, 2950);
    assert_eq!(warned("mx.test", &chain, &key), [""; 0]);
    for wrong in ["test", "a.mx.test", "mx.example"] {
        let told = warned(wrong, &chain, &key);
        let expected = format!("{prefix}is for *.test, and none is for `hostname`, {wrong}: ");
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:#?}");
    }
    let (second, _) = certificate("ca.test", 2001, 2950);
    let told = warned("mx.test", &format!("{chain}{second}"), &key);
    assert!(told.len() == 1 && told[0].contains("certificate 1 of the chain was not signed by"), "{told:#?}");
}

#[test]
fn a_store_that_cannot_be_used_is_told_and_nothing_is_made() {
    let folder = Folder::new();
    folder.write("file", "");
    for kind in ["spool", "maildir"] {
        let with = |path: &str| format!("{LISTENER}[[sink]]\nkind = \"{kind}\"\npath = \"{path}\"\n");
        folder.write("mx.toml", with("new"));
        for (path, expected) in [
            ("file", Some("mx.toml:5: sink.path: file: file is a file, not a directory")),
            ("file/x", Some("mx.toml:5: sink.path: file/x: file is a file, not a directory")),
            (
                "a/b/c",
                Some(
                    "warning: mx.toml:5: sink.path: a/b/c does not exist, and these above it do not either: a/b a;",
                ),
            ),
            (
                "/proc/nowhere/x",
                Some("warning: mx.toml:5: sink.path: /proc/nowhere/x does not exist, and these above"),
            ),
            ("new", None),
            (".", None),
        ] {
            folder.write("mx.toml", with(path));
            let before = folder.tree();
            let output = folder.ringmx(&["check", "mx.toml"]).output().expect("it runs");
            assert_eq!(folder.tree(), before, "{path}");
            match expected {
                Some(expected) => assert!(only(&output).starts_with(expected), "{output:?}"),
                None => assert!(output.stderr.is_empty(), "{output:?}"),
            }
            assert_eq!(output.status.success(), expected.is_none_or(|text| text.starts_with("warning")));
        }
    }
    let sync = format!(
        "{LISTENER}[[sink]]\nkind = \"maildir\"\npath = \"/dev/shm/ringmx-none\"\nsync = \"batch\"\n"
    );
    let told = lines(&folder.check(&sync));
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].starts_with("warning: mx.toml:5: sink.path: the store /dev/shm/ringmx-none is in memory")
    );
    assert!(told[1].starts_with("mx.toml:5: sink.path: cannot store with sync = \"batch\""), "{told:#?}");
}

#[test]
fn what_an_ordinary_user_may_not_do_is_told_with_the_user() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let made = self_signed::make(&["mx.test".to_owned()]).expect("made");
    folder.write("c.pem", made.chain);
    folder.write("c.key", made.key);
    folder.write("recipients", "a@a.example\n");
    for name in ["c.key", "recipients"] {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o600)).expect("closed");
    }
    fs::create_dir(folder.path("store")).expect("made");
    let text = with_tls("mx.test").replace("\"discard\"", "\"spool\"\npath = \"store\"");
    folder.write("mx.toml", format!("domains = [\"a.example\"]\nrecipients = \"recipients\"\n{text}"));
    let run = |arguments: &[&str]| folder.ringmx(arguments).uid(NOBODY).output().expect("it runs");
    let expected = [
        "mx.toml:2: recipients: recipients cannot be read: Permission denied (os error 13); user 65534 must be able to read it",
        "mx.toml:8: sink.path: store: user 65534 may not read and write this directory",
        "mx.toml:11: tls.certificate.key: c.key: cannot be read: Permission denied (os error 13); user 65534 must",
    ];
    let told = lines(&run(&["check", "mx.toml"]));
    assert!(told.len() == expected.len(), "{told:#?}");
    assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:#?}");
    let told = lines(&run(&["serve", "mx.toml"]));
    assert!(told.iter().zip(expected).all(|(told, expected)| told.contains(expected)), "{told:#?}");
    // A store that is to be made, and a configuration that may not be read.
    folder.write("new.toml", format!("{LISTENER}[[sink]]\nkind = \"maildir\"\npath = \"new\"\n"));
    let told = only(&run(&["check", "new.toml"]));
    assert!(
        told.starts_with("new.toml:5: sink.path: new does not exist, and user 65534 may not make it in ."),
        "{told}"
    );
    fs::set_permissions(folder.path("new.toml"), fs::Permissions::from_mode(0o600)).expect("closed");
    for arguments in [&["check", "new.toml"][..], &["serve", "-c", "new.toml"], &["doctor", "new.toml"]] {
        let told = only(&run(arguments));
        assert!(
            told.contains("new.toml: cannot be read: Permission denied (os error 13); user 65534 must"),
            "{told}"
        );
    }
}

#[test]
fn memory_that_the_machine_does_not_have_is_a_warning() {
    let folder = Folder::new();
    let output = folder
        .check(&format!("{LISTENER}[[sink]]\nkind = \"discard\"\n[shards]\nblock_memory = \"1000GiB\"\n"));
    assert!(output.status.success());
    let told = only(&output);
    assert!(
        told.starts_with("warning: mx.toml:5: shards: ringmx may use ") && told.contains("To cure it, lower"),
        "{told}"
    );
}

/// The texts of the records of a log in JSON, by event. Every line has to be one.
fn records(output: &Output, event: &str) -> Vec<String> {
    let parsed = lines(output).into_iter().map(|line| {
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        (
            record["event"].as_str().expect("an event").to_owned(),
            record["text"].as_str().unwrap_or_default().to_owned(),
        )
    });
    parsed.filter(|(found, _)| found == event).map(|(_, text)| text).collect()
}

#[test]
fn serve_tells_what_check_tells_once_and_in_the_form_of_the_log() {
    let folder = Folder::new();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = busy.local_addr().expect("its address");
    // A problem that only a start finds.
    let (chain, key) = certificate("other.test", 2001, 2002);
    folder.write("c.pem", chain);
    folder.write("c.key", key);
    let text = with_tls("mx.test").replace("127.0.0.1:0", &address.to_string());
    let warnings = lines(&folder.check(&text));
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    let output = folder.ringmx(&["serve", "mx.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output);
    assert_eq!(told.len(), 3, "{told:#?}");
    for (told, warning) in told.iter().zip(&warnings) {
        let text = warning.strip_prefix("warning: ").expect("a warning");
        assert!(told.ends_with(&format!(" warning text=\"{text}\"")), "{told}");
    }
    assert!(told[2].contains(&format!(" error text=\"cannot listen on {address}: ")), "{told:#?}");

    folder.write("mx.toml", format!("{text}[log]\nformat = \"json\"\n"));
    let output = folder.ringmx(&["serve", "-c", "mx.toml"]).output().expect("it runs");
    assert_eq!(records(&output, "warning").len(), 2);
    let errors = records(&output, "error");
    assert!(errors.len() == 1 && errors[0].starts_with("cannot listen on "), "{errors:?}");

    // The log in text shows ASCII only, and so do our own texts.
    folder.write("mx.toml", format!("{text}[limits]\ncommand_timeout = \"3s\"\n"));
    let output = folder.ringmx(&["serve", "mx.toml"]).output().expect("it runs");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("command_timeout: RFC 5321 section 4.5.3.2.7 asks for at least 300s\""), "{told}");

    // Problems of the configuration and of what it names, in JSON even so.
    fs::remove_file(folder.path("c.key")).expect("removed");
    folder.write("mx.toml", format!("{text}[limits]\nerrors_max = 0\n[log]\nformat = \"json\"\n"));
    let output = folder.ringmx(&["serve", "mx.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = records(&output, "error");
    assert!(
        errors.len() == 2 && errors[0].starts_with("mx.toml:8: tls.certificate.key: c.key: "),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("mx.toml:10: limits.errors_max: 0 is too little"), "{errors:?}");
    // What is no TOML has no format.
    folder.write("mx.toml", "x = = 1\n");
    let output = folder.ringmx(&["serve", "mx.toml"]).output().expect("it runs");
    let told = only(&output);
    assert!(told.contains(" error text=\"mx.toml:1: column 5: this is not TOML"), "{told}");
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let folder = Folder::new();
    folder.write("file", "");
    let run = |arguments: &[&str]| {
        let output = folder.ringmx(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        only(&output)
    };
    for subcommand in ["check", "serve", "doctor"] {
        for (path, why) in [
            ("none.toml", "none.toml: cannot be read: No such file or directory"),
            (".", ".: cannot be read: Is a directory (os error 21); name a file"),
            ("file/x", "file/x: cannot be read: Not a directory"),
            ("/dev/zero", "/dev/zero: cannot be read: it has more than"),
        ] {
            let told = run(&[subcommand, path]);
            assert!(told.contains(why), "{told}");
        }
    }
    let told = run(&["cert", "self-signed", "mx.test", "--chain", "none/c.pem"]);
    assert!(told.starts_with("ringmx: none/c.pem cannot be written: No such file"), "{told}");
    assert!(!folder.path("mx.test.key").exists(), "a key without a certificate stays");
    folder.write("c.key", "precious");
    for more in [&["--key", "c.key"][..], &["--key", "c.key", "--chain", "c.key"]] {
        run(&[&["cert", "self-signed", "mx.test"], more].concat());
        assert_eq!(fs::read(folder.path("c.key")).expect("there"), b"precious");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let output = folder.ringmx(&["config"]).stdout(full).output().expect("it runs");
    assert!(only(&output).contains("standard output cannot be written: No space left"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_version_is_told_of_and_the_file_has_a_place() {
    let folder = Folder::new();
    let output = folder.ringmx(&["--version"]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.starts_with("ringmx ") && text.contains(" (commit ") && text.contains("Linux 6.1 "),
        "{text}"
    );
    let output = folder.ringmx(&["mx.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(lines(&output).iter().any(|line| line.contains("`ringmx serve FILE`")), "{output:?}");
}

/// Whatever the current directory is, a path means the same.
#[test]
fn a_configuration_elsewhere_names_its_files_from_its_own_directory() {
    let folder = Folder::new();
    fs::create_dir(folder.path("etc")).expect("made");
    folder.write("etc/mx.toml", format!("{LISTENER}[[sink]]\nkind = \"spool\"\npath = \"../file\"\n"));
    folder.write("file", "");
    let output =
        folder.ringmx(&["check", "etc/mx.toml"]).current_dir(Path::new("/")).output().expect("it runs");
    assert!(only(&output).contains("etc/mx.toml: cannot be read"), "{output:?}");
    let output = folder.ringmx(&["check", "etc/mx.toml"]).output().expect("it runs");
    assert!(
        only(&output).starts_with("etc/mx.toml:5: sink.path: etc/../file: etc/../file is a file"),
        "{output:?}"
    );
}

#[test]
fn recipients_that_the_store_cannot_name_are_warnings_with_their_lines() {
    let folder = Folder::new();
    let long = "\u{e9}".repeat(60);
    let entries =
        format!("anna@a.example\n# next\n{long}@a.example\n\u{e9}\u{e8}@a.example\nringmx.lock@a.example\n");
    folder.write("recipients", entries);
    let text = |template: &str| {
        format!(
            "domains = [\"a.example\"]\nrecipients = \"recipients\"\n{LISTENER}[[sink]]\nkind = \"maildir\"\npath = \".\"\n\
             template = \"{template}\"\n"
        )
    };
    let told = lines(&folder.check(&text(".{local}@{domain}")));
    assert_eq!(told.len(), 2, "{told:#?}");
    let refused = "the directory that `template` gives this recipient has a name that cannot be: ";
    assert!(
        told[0].starts_with(&format!("warning: recipients:3: {refused}longer than 255 octets;")),
        "{told:#?}"
    );
    assert!(
        told[1].starts_with(&format!(
            "warning: recipients:5: {refused}one that begins as ringmx's own files do (`.ringmx`);"
        )),
        "{told:#?}"
    );
    // One maildir at the root names nobody.
    assert_eq!(lines(&folder.check(&text(""))), Vec::<String>::new());
    // Many are shown in part, in the order of the file.
    let many: Vec<String> = (0..30).map(|number| format!("ringmx{number}@a.example\n")).collect();
    folder.write("recipients", many.concat());
    let told =
        lines(&folder.check(&format!("postmaster = \"ringmx@a.example\"\n{}", text(".{local}@{domain}"))));
    assert_eq!(told.len(), 22, "{told:#?}");
    assert!(told[0].starts_with(&format!("warning: mx.toml:1: postmaster: {refused}")), "{told:#?}");
    assert!(told[1].starts_with("warning: recipients:1: "), "{told:#?}");
    assert_eq!(told[21], "warning: recipients:21: 10 more entries like these");
}
