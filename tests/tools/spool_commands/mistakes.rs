//! Commands for a spool that meet what is none: each error names what it happened to, and no link leads
//! anywhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use ringmx::sink::spool::reader;
use support::server::Server;

use super::{bad, good, member, send, server, spool_with_a_file};

/// Each command with what it needs besides the spool; the last word of a target is made below this folder.
fn commands(folder: &Path) -> Vec<Vec<String>> {
    let target = folder.join("target").display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    vec![
        words(&["list"]),
        words(&["show", "0000000000000000000000000A"]),
        words(&["export", "--eml", &target]),
        words(&["export", "--maildir", &target]),
        words(&["export", "--mbox", &target]),
        words(&["follow", "--once"]),
        words(&["follow"]),
        words(&["follow", "--once", "--after", "0000000000000001:4096"]),
        words(&["verify"]),
        words(&["prune", "--through", "0000000000000001:4096"]),
    ]
}

fn run(words: &[String], spool: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx"));
    command.arg("spool").arg(&words[0]).arg(spool).args(&words[1..]);
    command
}

#[test]
fn a_directory_that_is_no_spool_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = |name: &str| folder.path().join(name);
    fs::create_dir(inside("empty")).expect("made");
    fs::create_dir(inside("other")).expect("made");
    fs::write(inside("other/notes.txt"), "").expect("written");
    fs::write(inside("other/1.segment"), "").expect("written");
    fs::write(inside("file"), "").expect("written");
    let mut server = Server::with_maildir("");
    let maildir = server.folder().join("mail");
    let of_maildir = "it is a maildir; name the `path` of a [[sink]] of kind \"spool\"";
    // As a ringmx before left them.
    let (old_maildir, old_spool) = (inside("old-maildir"), inside("old-spool"));
    fs::create_dir_all(old_maildir.join("new")).expect("made");
    fs::create_dir(&old_spool).expect("made");
    for path in [&old_maildir, &old_spool] {
        fs::write(path.join(".ringmx.lock"), "12345\n").expect("written");
    }
    assert!(good(&["verify"], &old_spool, &[]).starts_with("0 segments, 0 records"));
    let unused = "no receiver has stored there; name the `path`";
    for (path, why) in [
        (inside("empty"), unused),
        (inside("other"), unused),
        (inside("none"), "No such file or directory (os error 2)"),
        (inside("file"), "Not a directory (os error 20)"),
        (inside("file/x"), "Not a directory (os error 20)"),
        (maildir.clone(), of_maildir),
        (old_maildir, "it holds directories, as a maildir does; name the `path`"),
    ] {
        for words in commands(folder.path()) {
            let output = run(&words, &path).output().expect("it runs");
            let told = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(output.status.code(), Some(1), "{words:?} {told}");
            assert!(
                told.starts_with(&format!("ringmx: {}", path.display())) && told.contains(why),
                "{words:?} {told}"
            );
            assert!(output.stdout.is_empty() && !inside("target").exists(), "{words:?}");
        }
    }
    assert!(server.stop().success());
}

#[test]
fn a_spool_that_holds_nothing_yet_is_a_spool() {
    let mut server = server();
    let spool = server.folder().join("spool");
    assert!(good(&["verify"], &spool, &[]).contains(" 0 records"));
    assert!(server.stop().success());
    assert_eq!(reader::segments(&spool).expect("a spool"), []);
    // Where a file system was mounted for it.
    fs::create_dir(spool.join("lost+found")).expect("made");
    assert!(good(&["verify"], &spool, &[]).starts_with("0 segments, 0 records"));
    assert_eq!(good(&["list"], &spool, &[]) + &good(&["follow"], &spool, &["--once"]), "");
}

#[test]
fn an_error_of_a_command_names_what_it_happened_to() {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let spool = spool_with_a_file(b"x", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let id = good(&["list"], spool.path(), &[]).split(' ').next().expect("an id").to_owned();
    for words in [&["list"][..], &["show", &id], &["follow", "--once"], &["verify"]] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let output = run(&words, spool.path()).stdout(full()).output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_eq!(
            told, "ringmx: standard output cannot be written: No space left on device (os error 28)\n",
            "{words:?}"
        );
    }
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    for kind in ["--eml", "--maildir", "--mbox"] {
        for target in [file.join("below"), folder.path().join("none/below")] {
            let told = bad(&["export"], spool.path(), &[kind, target.to_str().expect("UTF-8")]);
            assert!(told.starts_with(&format!("ringmx: {}", target.display())), "{kind} {told}");
        }
    }
    for kind in ["--eml", "--maildir"] {
        let told = bad(&["export"], spool.path(), &[kind, file.to_str().expect("UTF-8")]);
        assert!(told.starts_with(&format!("ringmx: {}", file.display())), "{kind} {told}");
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    // As somebody who may read the spool and write nothing.
    for path in [spool.path(), folder.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opened");
    }
    for (_, path) in reader::segments(spool.path()).expect("a spool") {
        chown(path, Some(65534), None).expect("given away");
    }
    let as_nobody = |words: &[String]| {
        let output = run(words, spool.path()).uid(65534).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (name, kind) in [("a", "--eml"), ("b", "--maildir"), ("c", "--mbox")] {
        let target = folder.path().join(name).display().to_string();
        let told = as_nobody(&words(&["export", kind, &target]));
        assert!(told.contains(&target) && told.contains("Permission denied"), "{told}");
    }
    let closed = folder.path().join("closed");
    fs::DirBuilder::new().mode(0o555).create(&closed).expect("made");
    let told = as_nobody(&words(&["export", "--eml", closed.to_str().expect("UTF-8")]));
    assert!(
        told.contains(&format!("{}/.", closed.display())) && told.contains("Permission denied"),
        "{told}"
    );
    let cursor = "0000000000000003:4096";
    let told = as_nobody(&words(&["prune", "--through", cursor]));
    let new = spool.path().join("consumed.new");
    assert!(told.starts_with(&format!("ringmx: {}: Permission denied", new.display())), "{told}");
    // And who may not read it either.
    fs::write(spool.path().join("consumed"), format!("{cursor}\n")).expect("written");
    fs::set_permissions(spool.path().join("consumed"), fs::Permissions::from_mode(0o600)).expect("closed");
    for command in ["list", "follow"] {
        let told = as_nobody(&words(&[command]));
        assert!(
            told.starts_with(&format!("ringmx: {}/consumed: Permission denied", spool.path().display())),
            "{told}"
        );
    }
    fs::set_permissions(spool.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    for command in commands(folder.path()) {
        let told = as_nobody(&command);
        assert!(
            told.starts_with(&format!("ringmx: {}: Permission denied", spool.path().display())),
            "{told}"
        );
    }
}

/// Root reads the spool of another user and exports into directories of another user: whatever links these
/// hold, nothing outside is written, replaced or given away, and nothing is waited for.
#[test]
fn links_of_the_owner_lead_root_nowhere() {
    let server = server();
    send(&server, 0, 2, 100);
    let spool = server.folder().join("spool");
    let outside = tempfile::tempdir().expect("a folder");
    let snapshot = || {
        let entries =
            fs::read_dir(outside.path()).expect("readable").map(|entry| entry.expect("entry").path());
        let mut all: Vec<_> = entries.map(|path| (fs::read(&path).ok(), facts(&path), path)).collect();
        all.sort_by(|one, other| one.2.cmp(&other.2));
        all
    };
    fs::write(outside.path().join("precious"), "text").expect("a file");
    fs::create_dir(outside.path().join("folder")).expect("a folder");
    let before = snapshot();

    for name in ["tmp", "new", "cur"] {
        let target = server.folder().join(format!("linked-{name}"));
        fs::create_dir(&target).expect("a target");
        std::os::unix::fs::symlink(outside.path().join("folder"), target.join(name)).expect("a link");
        let told = bad(&["export"], &spool, &["--maildir", target.to_str().expect("UTF-8")]);
        assert!(told.contains(name) && told.contains("not followed: remove it"), "{told}");
        assert_eq!(fs::read_dir(outside.path().join("folder")).expect("readable").count(), 0);
    }
    // A name that is taken by a link is never written through.
    let eml = server.folder().join("eml");
    fs::create_dir(&eml).expect("a target");
    let id = good(&["list"], &spool, &[]).lines().next().expect("a line")[..26].to_owned();
    std::os::unix::fs::symlink(outside.path().join("precious"), eml.join(format!("{id}.eml")))
        .expect("a link");
    let told = bad(&["export"], &spool, &["--eml", eml.to_str().expect("UTF-8")]);
    assert!(
        told.contains("holds something else than message") && told.contains("was not replaced"),
        "{told}"
    );

    let cursors: Vec<String> =
        good(&["follow", "--once"], &spool, &[]).lines().map(|line| member(line, "cursor")).collect();
    for name in ["consumed", "consumed.new"] {
        std::os::unix::fs::symlink(outside.path().join("precious"), spool.join(name)).expect("a link");
    }
    let told = bad(&["prune"], &spool, &["--through", &cursors[0]]);
    assert!(told.contains("consumed: is a symbolic link, which is not followed: remove it"), "{told}");
    fs::remove_file(spool.join("consumed")).expect("removed");
    good(&["prune"], &spool, &["--through", &cursors[0]]);
    assert!(fs::symlink_metadata(spool.join("consumed")).expect("consumed").is_file());

    assert_eq!(snapshot(), before);
}

#[test]
fn segments_and_files_of_messages_are_read_through_no_link() {
    let rest = b"Subject: large\r\n\r\n".repeat(1000);
    for name in ["0000000000000003.segment", "0000000000000003-0000000000001000.message"] {
        let (folder, outside) = (spool_with_a_file(&rest, b""), tempfile::tempdir().expect("a folder"));
        let (file, moved) = (folder.path().join(name), outside.path().join("moved"));
        let id = good(&["list"], folder.path(), &[])[..26].to_owned();
        good(&["show"], folder.path(), &[&id]);
        fs::rename(&file, &moved).expect("moved");
        std::os::unix::fs::symlink(&moved, &file).expect("a link");
        let told = bad(&["show"], folder.path(), &[&id]);
        assert!(told.contains(name) && told.contains("is a symbolic link"), "{told}");
        fs::remove_file(&file).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).expect("a FIFO");
        let told = bad(&["show"], folder.path(), &[&id]);
        assert!(told.contains(name) && told.contains("is no file"), "{told}");
    }
}

/// Owner and mode.
fn facts(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let facts = fs::symlink_metadata(path).expect("facts");
    (facts.uid(), facts.mode())
}
