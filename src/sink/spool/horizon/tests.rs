//! What is believed of a page, and what is not.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::mapping::FILE_BYTES;
use super::page::Page;
use super::{DurableEnd, Horizon, HorizonWriter, NAME, NEW_NAME, boot_nonce};

fn said(number: u64) -> DurableEnd {
    DurableEnd { sequence: number, salt: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), end: !number }
}

/// The page of a receiver in a directory; none where the file system of temporary files has no pages. That of
/// CI has.
fn make(directory: &Path) -> Option<HorizonWriter> {
    match HorizonWriter::make(File::open(directory).expect("a directory")) {
        Ok(writer) => Some(writer),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let why = "temporary files are not on ext4, XFS or Btrfs";
            assert!(std::env::var_os("CI").is_none(), "CI needs pages: {why}");
            println!("skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn look(directory: &Path) -> Option<DurableEnd> {
    Horizon::new(directory).look()
}

#[test]
fn a_reader_sees_what_is_said_as_long_as_the_receiver_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let mut horizon = Horizon::new(path);
    assert_eq!((horizon.look(), horizon.wait(Duration::from_mins(1))), (None, false), "there is no page");
    let Some(writer) = make(path) else { return };
    assert_eq!(look(path), Some(DurableEnd::default()), "nothing is durable");
    for number in 1..4 {
        assert!(writer.publish(said(number)));
        assert_eq!(look(path), Some(said(number)));
    }
    // A reader that was there before has to be patient, not to be started again.
    let until = Instant::now() + Duration::from_mins(1);
    while horizon.look() != Some(said(3)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(horizon.look(), Some(said(3)));
    assert!(!fs::exists(path.join(NEW_NAME)).expect("a folder"));
    drop(writer);
    assert_eq!((horizon.look(), look(path)), (None, None), "the receiver has gone, and its page is there");
    assert!(fs::exists(path.join(NAME)).expect("a folder"));
    // The next receiver has said nothing yet, whatever the last one said.
    let Some(writer) = make(path) else { return };
    assert_eq!(look(path), Some(DurableEnd::default()));
    writer.publish(said(9));
    assert_eq!(look(path), Some(said(9)));
    // Nor does it harm that readers look whether somebody holds the lock.
    let mut readers = [Horizon::new(path), Horizon::new(path)];
    assert!(readers.iter_mut().all(|reader| reader.look() == Some(said(9))));
}

/// A file as of a receiver that lives: locked, with these octets.
fn forge(directory: &Path, octets: &[u8]) -> File {
    let path = directory.join(NAME);
    let _ = fs::remove_file(&path);
    fs::write(&path, octets).expect("written");
    let file = File::options().read(true).write(true).open(path).expect("a file");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("locked");
    file
}

#[test]
fn no_other_page_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let Some(writer) = make(path) else { return };
    writer.publish(said(5));
    let good = fs::read(path.join(NAME)).expect("a file");
    assert_eq!(good.len(), FILE_BYTES);
    drop(writer);
    let lock = forge(path, &good);
    assert_eq!(look(path), Some(said(5)), "what is forged here is believed but for what is wrong with it");
    drop(lock);
    assert_eq!(look(path), None, "nobody holds its lock");

    let changed = |at: usize| {
        let mut octets = good.clone();
        octets[at] ^= 1;
        octets
    };
    // The magic, the version, the start of the machine, a change that did not end.
    for at in [0, 7, 8, 16, 23, 32] {
        let _lock = forge(path, &changed(at));
        assert_eq!(look(path), None, "octet {at}");
    }
    for octets in [&good[..64], &good[..FILE_BYTES - 1], &[], &[good.clone(), vec![0]].concat()] {
        let _lock = forge(path, octets);
        assert_eq!(look(path), None, "{} octets", octets.len());
    }
    // A link, also to a good one; what can be waited for; a directory.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let _lock = forge(elsewhere.path(), &good);
    fs::remove_file(path.join(NAME)).expect("removed");
    std::os::unix::fs::symlink(elsewhere.path().join(NAME), path.join(NAME)).expect("a link");
    assert_eq!((look(path), look(elsewhere.path())), (None, Some(said(5))));
    fs::remove_file(path.join(NAME)).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join(NAME), rustix::fs::Mode::RWXU).expect("a FIFO");
    assert_eq!(look(path), None);
    fs::remove_file(path.join(NAME)).expect("removed");
    fs::create_dir(path.join(NAME)).expect("a directory");
    assert_eq!(look(path), None);
    // And a receiver that finds one there does without.
    HorizonWriter::make(File::open(path).expect("a directory")).expect_err("a directory is in the way");
}

#[test]
fn a_page_that_is_cut_off_overwritten_or_replaced_kills_nobody_and_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for by in 0..3 {
        let Some(writer) = make(path) else { return };
        let mut horizon = Horizon::new(path);
        writer.publish(said(1));
        assert_eq!(horizon.look(), Some(said(1)));
        let file = File::options().write(true).open(path.join(NAME)).expect("a file");
        match by {
            0 => file.set_len(0).expect("cut off"),
            1 => file.write_all_at(&[0xff; FILE_BYTES], 0).expect("written"),
            _ => {
                file.set_len(0).expect("cut off");
                file.set_len(FILE_BYTES as u64).expect("made long again");
            }
        }
        assert_eq!((horizon.look(), horizon.wait(Duration::from_mins(1))), (None, false), "{by}");
        assert!(!writer.publish(said(2)), "the receiver sees it ({by})");
        assert_eq!(horizon.look(), None);
    }
    // One that has another name now, or none, is still that of its receiver, for whoever has it.
    let Some(writer) = make(path) else { return };
    let mut horizon = Horizon::new(path);
    assert_eq!(horizon.look(), Some(DurableEnd::default()));
    fs::rename(path.join(NAME), path.join("aside")).expect("renamed");
    fs::copy(path.join("aside"), path.join(NAME)).expect("copied");
    assert!(writer.publish(said(3)));
    assert_eq!((horizon.look(), look(path)), (Some(said(3)), None), "nobody holds the lock of the copy");
}

#[test]
fn a_reader_sleeps_until_something_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(writer) = make(folder.path()) else { return };
    let mut horizon = Horizon::new(folder.path());
    horizon.look();
    let began = Instant::now();
    assert!(horizon.wait(Duration::from_millis(50)), "it slept");
    assert!(began.elapsed() >= Duration::from_millis(50), "nothing was said");
    // What is said between the look and the sleep is not slept through. Were it, this would take hours.
    writer.publish(said(1));
    horizon.wait(Duration::from_hours(100));
    assert_eq!(horizon.look(), Some(said(1)));
    let reader = std::thread::spawn(move || {
        while horizon.look().is_some_and(|end| end.sequence < 200) {
            horizon.wait(Duration::from_hours(100));
        }
        horizon.look()
    });
    for number in 2..=200 {
        std::thread::sleep(Duration::from_millis(1));
        writer.publish(said(number));
    }
    assert_eq!(reader.join().expect("a reader"), Some(said(200)));
}

#[test]
fn no_reader_sees_a_part_of_what_is_said() {
    const CHANGES: u64 = 200_000;
    let page = Page::default();
    page.begin(1);
    let ended = AtomicBool::new(false);
    let (page, ended) = (&page, &ended);
    std::thread::scope(|scope| {
        let readers = [(), ()].map(|()| {
            scope.spawn(move || {
                let mut last = 0;
                while !ended.load(Ordering::Relaxed) {
                    if let Some((end, _)) = page.read() {
                        assert!(end == said(end.sequence) || end == DurableEnd::default(), "{end:?}");
                        assert!(end.sequence >= last, "{} after {last}", end.sequence);
                        last = end.sequence;
                    }
                }
                last
            })
        });
        for number in 1..=CHANGES {
            page.publish(said(number));
        }
        std::thread::sleep(Duration::from_millis(10));
        ended.store(true, Ordering::Relaxed);
        for reader in readers {
            assert_eq!(reader.join().expect("a reader"), CHANGES);
        }
    });
}

#[test]
fn no_page_is_made_where_processes_may_see_different_ones() {
    // A file system in memory of the kernel: as good as any other that is not known.
    let refused =
        HorizonWriter::make(File::open("/proc").expect("a directory").as_fd()).expect_err("not here");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(boot_nonce().is_some_and(|nonce| nonce != 0 && boot_nonce() == Some(nonce)));
}
