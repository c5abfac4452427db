//! `ringmx recipients compile`: the table says what its file says, is whole or not there, and a broken one
//! tells what to do.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringmx::config;
use ringmx::mail::envelope::Mailbox;
use ringmx::smtp::policy::{Listed, Policy, RecipientEntry, Recipients, Verdict};
use support::client::Client;
use support::server::{Server, program};

const TEXT: &str = "# us\nInfo@Example.ORG\n\"a b\"@example.org\nj\u{fc}rgen@example.org\n@all.example.org\n";

/// What a configuration needs beside `recipients`.
const CONFIG: &str = "domains = [\"example.org\", \"*.example.org\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"discard\"\n";

fn compile(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program());
    command.args(["recipients", "compile"]).args(arguments).current_dir(folder);
    command.output().expect("it runs")
}

/// A directory with a text and its table, and a configuration that names the table.
fn compiled(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("text"), TEXT).expect("written");
    let output = compile(&[options, &["text", "table"]].concat(), folder.path());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "4 recipients in table\n");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let file = folder.path().join("mx.toml");
    fs::write(&file, format!("recipients = \"table\"\n{CONFIG}")).expect("written");
    (folder, file)
}

fn listed(file: &Path) -> Listed {
    let reading = config::read(file);
    assert_eq!((reading.problems, reading.warnings), (Vec::new(), Vec::new()));
    reading.lists.recipients.expect("a file of recipients")
}

fn problem(file: &Path) -> String {
    let problems = config::load(file).expect_err("a problem");
    assert_eq!(problems.len(), 1);
    problems[0].to_string()
}

#[test]
fn a_compiled_table_takes_whom_its_text_takes() {
    let (_folder, file) = compiled(&[]);
    let config = config::load(&file).expect("good").0;
    let table = Recipients::new(&config.recipient_rules(), Some(listed(&file)));
    assert_eq!(table.count(), Some(4));
    for (recipient, verdict) in [
        ("info@example.org", Verdict::Accept),
        ("INFO@example.org", Verdict::Accept),
        ("\"A b\"@example.org", Verdict::Accept),
        ("J\u{dc}RGEN@example.org", Verdict::Accept),
        ("anybody@all.example.org", Verdict::Accept),
        ("postmaster@example.org", Verdict::Accept),
        ("anybody@example.org", Verdict::UnknownRecipient),
        ("info@example.com", Verdict::ForeignDomain),
    ] {
        let (local_part, domain) = recipient.rsplit_once('@').expect("a mailbox");
        let (local_part, domain, whole) = (local_part.as_bytes(), domain.as_bytes(), recipient.as_bytes());
        assert_eq!(table.recipient(Mailbox { local_part, domain, whole }), verdict, "{recipient}");
    }
}

#[test]
fn two_tables_of_one_text_have_different_keys() {
    let ((_one, first), (_other, second)) = (compiled(&[]), compiled(&[]));
    let (first, second) = (listed(&first), listed(&second));
    assert_ne!(first.table().key(), second.table().key());
    let entry = RecipientEntry::CatchAll("all.example.org".into());
    assert!(first.place_of(&entry).is_some() && second.place_of(&entry).is_some());
}

#[test]
fn a_table_for_the_other_comparison_is_refused() {
    for (options, key, cure) in [
        (&[][..], "local_part_case_sensitive = true\n", "`ringmx recipients compile --case-sensitive`"),
        (&["--case-sensitive"][..], "", "`ringmx recipients compile`"),
    ] {
        let (_folder, file) = compiled(options);
        fs::write(&file, format!("{key}recipients = \"table\"\n{CONFIG}")).expect("written");
        let told = problem(&file);
        assert!(
            told.contains("recipients: ") && told.ends_with(&format!("make it anew with {cure}")),
            "{told}"
        );
    }
    let (_folder, file) = compiled(&["--case-sensitive"]);
    fs::write(&file, format!("local_part_case_sensitive = true\nrecipients = \"table\"\n{CONFIG}"))
        .expect("written");
    assert!(listed(&file).is_case_sensitive());
}

#[test]
fn a_table_that_is_cut_off_or_altered_is_refused_wherever_that_is() {
    let (folder, file) = compiled(&[]);
    let path = folder.path().join("table");
    let good = fs::read(&path).expect("a table");
    // Shorter than how it begins, it is a text that lists nobody.
    for cut in 8..good.len() {
        fs::write(&path, &good[..cut]).expect("written");
        let told = problem(&file);
        assert!(
            told.contains("is a compiled table that is cut off or altered; make it anew"),
            "{cut}: {told}"
        );
    }
    for at in 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, &bad).expect("written");
        let told = problem(&file);
        assert!(told.contains("is a compiled table ") && told.contains("make it anew"), "{at}: {told}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).expect("written");
    assert!(problem(&file).contains("cut off or altered"));
}

#[test]
fn what_is_wrong_with_the_text_makes_no_table() {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("text"), "anna@example.org\nno address\n").expect("written");
    let output = compile(&["text", "table"], folder.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.starts_with("ringmx: text:2: "), "{told}");
    assert!(!folder.path().join("table").exists());
    fs::write(folder.path().join("text"), "anna@example.org\nAnna@example.org\n").expect("written");
    let output = compile(&["text", "table"], folder.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(told, "warning: text:2: \"Anna@example.org\" is the same recipient as that of line 1\n");
    for (input, output, cure) in [
        ("none", "table", "correct the path"),
        ("table", "other", "is a compiled table already; name the text"),
        ("text", "none/table", "make its directory first"),
        ("text", ".", "cannot be written"),
    ] {
        let output = compile(&[input, output], folder.path());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(cure), "{told}");
    }
}

#[test]
fn what_is_no_table_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), TEXT).expect("written");
    fs::write(at("other"), "what I keep\n").expect("written");
    fs::write(at("empty"), "").expect("written");
    fs::write(at("comments"), "# nobody\n").expect("written");
    symlink("text", at("link")).expect("linked");
    symlink("/dev/null", at("null")).expect("linked");
    fs::hard_link(at("text"), at("twin")).expect("linked");
    for (input, output, why) in [
        ("text", "text", "is the text itself"),
        ("text", "link", "is the text itself"),
        ("text", "twin", "is the text itself"),
        ("text", "other", "no compiled table; name another file"),
        ("text", "null", "no regular file"),
        ("text", "/dev/null", "no regular file"),
        ("comments", "new", "names nobody"),
    ] {
        let run = compile(&[input, output], folder.path());
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && told.contains(why), "{output}: {told}");
    }
    assert_eq!(fs::read_to_string(at("text")).expect("read"), TEXT);
    assert_eq!(fs::read_to_string(at("other")).expect("read"), "what I keep\n");
    assert!(!at("new").exists());
    assert!(compile(&["text", "empty"], folder.path()).status.success());
    let config = format!("recipients = \"empty\"\n{CONFIG}");
    fs::write(at("mx.toml"), config).expect("written");
    assert_eq!(listed(&at("mx.toml")).count(), 4);
}

#[test]
fn a_new_table_is_for_those_who_have_its_text() {
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), TEXT).expect("written");
    fs::set_permissions(at("text"), fs::Permissions::from_mode(0o604)).expect("set");
    // Only root gives files away.
    let is_given = std::os::unix::fs::chown(at("text"), Some(4321), Some(4322)).is_ok();
    let output = compile(&["text", "table"], folder.path());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let made = fs::metadata(at("table")).expect("it is there");
    assert_eq!(made.mode() & 0o777, 0o604);
    let text = fs::metadata(at("text")).expect("it is there");
    assert_eq!((made.uid(), made.gid()), (text.uid(), text.gid()));
    assert!(!is_given || made.gid() == 4322);
    let mut command = Command::new(program());
    command.args(["recipients", "compile", "/dev/stdin", "piped"]).current_dir(folder.path());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(TEXT.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("only you and your group can read piped"), "{told}");
    assert_eq!(fs::metadata(at("piped")).expect("it is there").mode() & 0o777, 0o640);
}

#[test]
fn a_table_is_replaced_whole_and_keeps_its_link_and_permissions() {
    let (folder, _) = compiled(&[]);
    let at = |name: &str| folder.path().join(name);
    fs::set_permissions(at("table"), fs::Permissions::from_mode(0o604)).expect("set");
    symlink("table", at("link")).expect("linked");
    let before = fs::metadata(at("table")).expect("it is there");
    let output = compile(&["text", "link"], folder.path());
    assert!(output.status.success(), "{output:?}");
    let after = fs::metadata(at("table")).expect("it is there");
    assert!(fs::symlink_metadata(at("link")).expect("it is there").is_symlink());
    assert_ne!(before.ino(), after.ino(), "whoever reads the old one reads all of it");
    assert_eq!(after.mode() & 0o777, 0o604);
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    names.sort();
    assert_eq!(names, ["link", "mx.toml", "table", "text"], "nothing is left over");
}

#[test]
fn a_server_serves_by_a_compiled_table() {
    let (folder, _) = compiled(&[]);
    let path = folder.path().join("table");
    let server = Server::start_with_files(&format!("recipients = {path:?}\n{CONFIG}"), &[]);
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<>", "250");
    client.command("RCPT TO:<INFO@example.org>", "250");
    client.command("RCPT TO:<anybody@all.example.org>", "250");
    client.command("RCPT TO:<infos@example.org>", "550 5.1.1");
}
