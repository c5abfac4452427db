//! The power is cut under load: the whole program on a disk of its own, whose image is cloned (FICLONE) at
//! random moments. A clone is the disk at that moment: what the kernel had not yet sent to it is not there.
//! It is mounted (the journal recovers), the receiver starts on it and repairs, and the ledger up to the
//! moment before the cut is compared with the store.
//!
//! Then the same without each kind of sync (strace answers the system call in the kernel's place): mail must
//! be lost, or the suite could not tell.
//!
//! The disk keeps what it was sent: a volatile cache in the disk itself is what the simulated disk of
//! `sinks/power_cut.rs` has.
//!
//! `POWER_CUT_SEED` repeats the choices of a run, `POWER_CUT_ROUNDS` sets the number of lives of each disk.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use support::image::{self, Mounted};
use support::load::{
    Random, Verdict, bytes_of, loadgen, number_from, verify, wait_for_accepted, wait_for_load,
};
use support::server::Server;

/// Lives of each disk unless told otherwise; the last cut of a life is the disk of the next one.
const ROUNDS_DEFAULT: u64 = 3;

/// Cuts in a life.
const CUTS: u64 = 3;

/// A disk without syncs may be lucky that often.
const LUCKY_LIVES_MAX: u64 = 6;

const OUTER_BYTES: u64 = 8 << 30;
const DISK_BYTES: u64 = 1 << 30;

#[test]
fn a_spool_on_ext4_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("ext4", &SPOOL);
}

#[test]
fn a_spool_on_xfs_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("xfs", &SPOOL);
}

#[test]
fn a_spool_of_large_messages_on_ext4_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("ext4", &LARGE);
}

#[test]
fn a_spool_of_large_messages_on_xfs_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("xfs", &LARGE);
}

#[test]
fn a_maildir_on_ext4_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("ext4", &MAILDIR);
}

#[test]
fn maildirs_of_recipients_on_xfs_keep_their_promise_when_the_power_is_cut() {
    keeps_its_promise("xfs", &MAILDIRS);
}

#[test]
fn a_maildir_whose_files_are_synced_one_by_one_keeps_its_promise_on_ext4_when_the_power_is_cut() {
    keeps_its_promise("ext4", &EACH);
}

#[test]
fn a_maildir_whose_files_are_synced_one_by_one_keeps_its_promise_on_xfs_when_the_power_is_cut() {
    keeps_its_promise("xfs", &EACH);
}

#[test]
fn a_maildir_whose_files_are_synced_one_by_one_keeps_its_promise_on_btrfs_when_the_power_is_cut() {
    keeps_its_promise("btrfs", &EACH);
}

#[test]
fn a_maildir_on_btrfs_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("btrfs", &MAILDIR);
}

#[test]
fn a_spool_on_btrfs_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("btrfs", &SPOOL);
}

#[test]
fn a_spool_of_large_messages_on_btrfs_keeps_its_promise_when_the_power_is_cut() {
    keeps_its_promise("btrfs", &LARGE);
}

#[test]
fn a_spool_without_any_one_kind_of_sync_loses_mail() {
    const KINDS: &[(&str, &str, &[&str])] = &[
        // Of what is written into a segment, and of a new segment. A direct write makes itself durable, and
        // an image has no cache of a disk that could lose it: what it goes without is shown by
        // tests/sinks/power_cut.rs alone.
        ("files", "fdatasync", &["ext4", "xfs"]),
        // Of the name of a new segment. It is made ahead of its use, and what is synced in between commits
        // the journal with it.
        ("directories", "fsync", &[]),
    ];
    loses_mail(&CACHED, KINDS);
}

#[test]
fn a_maildir_without_any_one_kind_of_sync_loses_mail() {
    const KINDS: &[(&str, &str, &[&str])] = &[
        // Of all files and names of a batch.
        ("files and names", "syncfs", &["ext4", "xfs"]),
        // What a file holds, before it is renamed: without it `new` may show parts of mail that nobody
        // accepted, but nothing is lost.
        ("files to be renamed", "sync_file_range", &[]),
    ];
    loses_mail(&MAILDIR, KINDS);
}

/// A sink under test.
struct Store {
    kind: &'static str,
    more: &'static str,
    sizes: &'static [&'static str],
}

const SIZES: &[&str] = &["700", "4KiB", "4KiB", "70KiB", "600KiB"];

/// Segments of which many come and go.
const SPOOL: Store = Store { kind: "spool", more: "segment_size = \"1MiB\"", sizes: SIZES };
const CACHED: Store = Store { more: "segment_size = \"1MiB\"\ndirect_writes = false", ..SPOOL };
/// Little memory, so that messages move to files, which the spool keeps.
const LARGE: Store = Store {
    kind: "spool",
    more: "segment_size = \"1MiB\"\n[shards]\ncpus = [0]\nbuffers = 64\nblock_memory = \"5MiB\"\n\
           [limits]\nmessage_size_max = \"4MiB\"",
    sizes: &["600KiB", "900KiB", "2MiB"],
};
/// Two workers, so that one's sync commits names that the other has not synced.
const MAILDIR: Store = Store { kind: "maildir", more: "workers = 2", sizes: SIZES };
const EACH: Store =
    Store { kind: "maildir", more: "workers = 2\nsync = \"each\"\n[shards]\ncpus = [0, 1]", sizes: SIZES };
const MAILDIRS: Store =
    Store { kind: "maildir", more: "template = \"{domain}/{local}\"\ncreate = true", sizes: SIZES };

fn keeps_its_promise(file_system: &str, store: &Store) {
    if image::unavailable(&["losetup", "mkfs.xfs", "mkfs.ext4", "mkfs.btrfs"]).is_some() {
        return;
    }
    let mut random = Random::from_variable("POWER_CUT_SEED");
    let rounds = number_from("POWER_CUT_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let place = Place::new();
    let mut disk = place.disk(file_system);
    let mut ledger = place.path("ledger");
    let (mut cuts_made, mut accepted) = (0, 0);
    for round in 1..=rounds {
        let load = load(store, &mut random);
        let cuts = place.live(file_system, store, &[], &disk, &ledger, &load, &mut random);
        fs::remove_file(&disk).expect("the old disk goes");
        for cut in &cuts {
            let verdict = place.judge(file_system, store, cut);
            if !verdict.holds {
                let kept = std::env::temp_dir().join(format!("power-cut-{}", std::process::id()));
                let _ = fs::create_dir_all(&kept);
                let _ = Command::new("cp")
                    .arg("--sparse=always")
                    .args([&cut.image, &cut.ledger])
                    .arg(&kept)
                    .status();
                panic!("{}\nthe disk at the cut and its ledger are kept in {}", verdict.text, kept.display());
            }
            cuts_made += 1;
            accepted = verdict.accepted;
        }
        println!(
            "{} on {file_system}, life {round}: {load}; {accepted} accepted until the last cut",
            store.kind
        );
        let last = cuts.into_iter().next_back().expect("a cut");
        (disk, ledger) = (last.image, last.ledger);
    }
    println!(
        "{} on {file_system}: {cuts_made} power cuts, {accepted} accepted, 0 lost, 0 altered",
        store.kind
    );
    assert!(accepted > 0, "the cuts came under load");
}

/// Kinds of sync: what they make durable, the system call, and the file systems on which their lack can be
/// seen.
fn loses_mail(store: &Store, kinds: &[(&str, &str, &[&str])]) {
    if image::unavailable(&["losetup", "mkfs.xfs", "mkfs.ext4", "strace"]).is_some() {
        return;
    }
    let mut random = Random::from_variable("POWER_CUT_SEED");
    let load = "--duration 60s --to user@example.test --connections 20 --size 4KiB";
    let cases = kinds.iter().flat_map(|(what, call, disks)| {
        ["ext4", "xfs"].map(|disk| (disk, what, call, disks.contains(&disk)))
    });
    for (file_system, what, call, is_seen) in cases {
        if !is_seen {
            println!(
                "{} on {file_system} without syncs of {what} ({call}): another sync does their work there; \
                 the simulated disk of sinks/power_cut.rs and sinks/recycle.rs shows that they are needed",
                store.kind
            );
            continue;
        }
        let place = Place::new();
        let (trace, inject) = (place.path("trace"), format!("--inject={call}:retval=0"));
        let trace = trace.to_str().expect("a plain path");
        let trace_only = format!("--trace={call}");
        // strace stands aside: the server stays our own process.
        let wrapper = ["strace", "-D", "-qq", "-f", "--seccomp-bpf", &trace_only, &inject, "-o", trace];
        let mut lost = None;
        for life in 1..=LUCKY_LIVES_MAX {
            let (disk, ledger) = (place.disk(file_system), place.path(&format!("ledger-{life}")));
            let cuts = place.live(file_system, store, &wrapper, &disk, &ledger, load, &mut random);
            let injected = fs::read_to_string(trace).unwrap_or_default().matches("INJECTED").count();
            assert!(
                injected > 0,
                "{call} was never asked for: {what} are synced in another way now, adapt this test"
            );
            let verdicts = cuts.iter().map(|cut| place.judge(file_system, store, cut));
            lost = verdicts.map(|verdict| (verdict.lost, verdict.accepted)).find(|(lost, _)| *lost > 0);
            if lost.is_some() {
                break;
            }
        }
        let (lost, accepted) =
            lost.unwrap_or_else(|| panic!("nothing is lost without {call}: this suite sees nothing"));
        println!(
            "{} on {file_system} without syncs of {what} ({call}): {lost} of {accepted} accepted messages lost, as it must be",
            store.kind
        );
    }
}

/// Where disks are: a file system that clones files.
struct Place {
    outer: Mounted,
    // Removed after it is unmounted.
    _folder: tempfile::TempDir,
}

/// A disk at the moment the power went, and what was known of mail before it.
struct Cut {
    image: PathBuf,
    ledger: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let outer = folder.path().join("outer.image");
        image::make("xfs", &outer, OUTER_BYTES);
        Self { outer: Mounted::new("xfs", &outer, &folder.path().join("outer"), false), _folder: folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    /// A new disk.
    fn disk(&self, file_system: &str) -> PathBuf {
        let disk = self.path("disk.image");
        image::make(file_system, &disk, DISK_BYTES);
        disk
    }

    /// Runs a receiver under load on the disk, and cuts.
    #[expect(clippy::too_many_arguments, reason = "all that a life depends on")]
    fn live(
        &self,
        file_system: &str,
        store: &Store,
        wrapper: &[&str],
        disk: &Path,
        ledger: &Path,
        load: &str,
        random: &mut Random,
    ) -> Vec<Cut> {
        let mounted = Mounted::new(file_system, disk, &self.path("disk"), true);
        let mut server = Server::start_under(wrapper, &config(store, mounted.path()), &[]);
        let before = bytes_of(ledger);
        let mut command = Command::new(loadgen());
        command.arg(server.address().to_string()).args(load.split(' ')).arg("--ledger").arg(ledger);
        let mut load =
            Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("loadgen runs"));
        wait_for_load(ledger, before);
        let cut = |number| {
            // On a slow disk large mail takes longer than all cuts.
            if number + 1 == CUTS {
                wait_for_accepted(ledger, before);
            }
            std::thread::sleep(Duration::from_millis(20 + random.below(600)));
            let name = format!("{:016x}", random.below(u64::MAX));
            let (image, known) = (self.path(&format!("cut-{name}.image")), bytes_of(ledger));
            image::run(Command::new("cp").arg("--reflink=always").arg(disk).arg(&image));
            let ledger = prefix(ledger, known, &self.path(&format!("cut-{name}-{number}.ledger")));
            Cut { image, ledger }
        };
        let cuts = (0..CUTS).map(cut).collect();
        server.signal(Signal::KILL);
        server.wait();
        // It finds nobody there and gives up.
        load.0.wait().expect("loadgen ends");
        cuts
    }

    /// Starts the receiver on the disk at the cut, which repairs what there is to repair, and compares.
    fn judge(&self, file_system: &str, store: &Store, cut: &Cut) -> Verdict {
        let mounted = Mounted::new(file_system, &cut.image, &self.path("cut"), true);
        drop(Server::start_whole(&config(store, mounted.path())));
        verify(&cut.ledger, store.kind, &mounted.path().join("store"), &[])
    }
}

/// loadgen; ended by drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of the first octets of a file.
fn prefix(file: &Path, bytes: u64, to: &Path) -> PathBuf {
    let mut octets = Vec::new();
    fs::File::open(file).expect("the ledger").take(bytes).read_to_end(&mut octets).expect("its lines");
    fs::write(to, octets).expect("a copy");
    to.to_owned()
}

fn config(store: &Store, disk: &Path) -> String {
    let Store { kind, more, .. } = store;
    format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"{kind}\"\npath = \"{}/store\"\n{more}\n[log]\nmessages = false",
        disk.display()
    )
}

/// A load that lasts until the receiver is gone.
fn load(store: &Store, random: &mut Random) -> String {
    let mut one_of = |choices: &[&'static str]| {
        choices[usize::try_from(random.below(choices.len() as u64)).expect("small")]
    };
    let size = one_of(store.sizes);
    let connections = if store.sizes == SIZES && size.ends_with("0KiB") { "4" } else { "30" };
    let recipients = one_of(&["1", "1", "3"]);
    let session = one_of(&["", " --pipelining", " --per-connection 2"]);
    format!(
        "--duration 60s --to user@example.test --connections {connections} --size {size} --recipients {recipients}{session}"
    )
}
