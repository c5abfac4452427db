//! The disk sinks on a real file system that is full, and then read-only: a tmpfs in a mount namespace of its
//! own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ringmx::config::{self, LineEndings, SinkKind};
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::file_system::{FileSystem, has_ext4_journal};
use ringmx::sink::maildir::{Commit, Maildir, MaildirSettings};
use ringmx::sink::spool::reader;
use ringmx::sink::{self, Sink};

use support::image::{self, Mounted};
use support::sink::{Reports, Sent, store, surroundings};

/// Where the inner test finds the file system.
const PLACE: &str = "RINGMX_TEST_TMPFS";

#[test]
fn a_full_disk_is_452_a_read_only_one_451_and_both_pass() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inner = std::env::current_exe().expect("this program");
    let script = r#"mount -t tmpfs -o size=4m tmpfs "$1" || exit 77; exec "$2" --exact --ignored real_disk::inner --nocapture"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(inner)
        .env(PLACE, directory.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        other => println!("SKIPPED: no tmpfs in a mount namespace here: {other:?}"),
    }
}

#[test]
fn an_ext4_without_a_journal_is_told_from_one_with() {
    if image::unavailable(&["losetup", "mkfs.ext4", "tune2fs"]).is_some() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let image = place.path().join("image");
    image::make("ext4", &image, 64 << 20);
    for has_journal in [true, false] {
        let disk = Mounted::new("ext4", &image, &place.path().join("disk"), false);
        let root = fs::File::open(disk.path()).expect("its root");
        assert_eq!(FileSystem::of(&root).expect("a type"), FileSystem::Ext4);
        assert_eq!(has_ext4_journal(&root), has_journal);
        drop((root, disk));
        image::run(Command::new("tune2fs").args(["-O", "^has_journal"]).arg(&image));
    }
}

#[test]
#[ignore = "runs in a mount namespace, started by the test above"]
fn inner() {
    let place = std::env::var_os(PLACE).expect("started by the test above");
    let place = Path::new(&place);
    let maildir = |path: &Path| {
        SinkKind::Maildir(config::Maildir {
            path: path.to_owned(),
            template: "{local}".to_owned(),
            create: true,
            line_endings: LineEndings::Crlf,
            quarantine: config::Quarantine::Inbox,
            sync: None,
            mode: None,
            group: None,
        })
    };
    let spool = |path: &Path| {
        SinkKind::Spool(config::Spool {
            path: path.to_owned(),
            segment_bytes: 1024 * 1024,
            direct_writes: true,
        })
    };
    check(&place.join("maildir"), maildir, place);
    check(&place.join("spool"), spool, place);
    check_mount_point(&place.join("mounts"));
}

/// A sync of the root's file system does not reach what is mounted below the root.
fn check_mount_point(root: &Path) {
    fs::create_dir_all(root.join("bob")).expect("directories");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(root.join("bob")).status();
    assert!(mounted.expect("mount").success());
    let reports: Arc<Reports> = Arc::default();
    let settings = MaildirSettings::new(root, "{local}", true, LineEndings::Lf, surroundings(&reports));
    let executor = Blocking::on_one_file_system(fs::File::open(root).expect("the root").into());
    let mut sink = Maildir::new(settings.expect("a template").commit_by(Commit::Batch), executor);
    let batch = [Sent::new(1, "x\r\n"), Sent::new(2, "x\r\n").to(&["bob"])];
    assert_eq!(store(&mut sink, &batch), [Outcome::Stored, Outcome::TryAgain(TryAgain::Local)]);
    let told = reports.take().join("\n");
    assert!(told.contains("bob") && told.contains("a mount point below `path`"), "{told}");
    let count = |directory: &str| fs::read_dir(root.join(directory)).expect("a directory").count();
    assert_eq!((count("alice/new"), count("bob")), (1, 0));
    assert!(Command::new("umount").arg(root.join("bob")).status().expect("umount").success());
    fs::remove_dir_all(root).expect("removed");
}

fn check(path: &Path, kind: impl Fn(&Path) -> SinkKind, mount: &Path) {
    let reports: Arc<Reports> = Arc::default();
    let config = config::Sink {
        kind: kind(path),
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let opened = sink::open(&config, &surroundings(&reports)).unwrap_or_else(|error| panic!("{error}"));
    let mut sink: Box<dyn Sink> = opened.workers.into_iter().next().expect("a worker")().expect("a sink");
    let mut stored = Vec::new();
    let mut refused = 0;
    for number in 0..12 {
        let sent = Sent::new(number, vec![b'x'; 600_000]);
        match store(&mut *sink, std::slice::from_ref(&sent))[..] {
            [Outcome::Stored] => stored.push(sent),
            [Outcome::TryAgain(TryAgain::NoSpace)] => refused += 1,
            ref other => panic!("{other:?}: {:?}", reports.take()),
        }
    }
    assert!(stored.len() >= 2 && refused >= 2, "{} stored, {refused} refused", stored.len());
    assert_eq!(found(path), stored.len(), "nothing is left of what was refused");

    // The kernel makes nothing read-only in which a file is open for writing, as a segment is.
    if remount(mount, "remount,ro") {
        let outcomes = store(&mut *sink, &[Sent::new(20, vec![b'x'; 600_000])]);
        assert_eq!(outcomes, [Outcome::TryAgain(TryAgain::Local)], "{:?}", reports.take());
    } else {
        assert!(path.ends_with("spool"));
    }
    assert!(remount(mount, "remount,rw,size=8m"));
    let outcomes = store(&mut *sink, &[Sent::new(21, vec![b'x'; 600_000])]);
    assert_eq!(outcomes, [Outcome::Stored], "{:?}", reports.take());
    assert_eq!(found(path), stored.len() + 1);
    drop(sink);
    fs::remove_dir_all(path).expect("removed");
    assert!(remount(mount, "remount,rw,size=4m"));
}

/// Messages that can be seen.
fn found(path: &Path) -> usize {
    if !path.ends_with("spool") {
        return fs::read_dir(path.join("alice/new")).expect("new").count();
    }
    let mut listing = Vec::new();
    let notes = reader::list(path, None, &mut listing).expect("a spool");
    assert!(notes.is_empty(), "{notes:?}");
    String::from_utf8_lossy(&listing).lines().count()
}

fn remount(mount: &Path, options: &str) -> bool {
    Command::new("mount").args(["-o", options]).arg(mount).status().expect("mount").success()
}
