use std::io;

use super::*;
use crate::doctor::SyncTimes;

fn host(kind: &str, options: &[&str]) -> Host {
    let mount = Mount {
        point: "/mnt/a b".to_owned(),
        device: "8:1".to_owned(),
        source: "/dev/sda1".to_owned(),
        kind: kind.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let store = Store {
        directory: "/mnt/a b/spool".into(),
        mount: Some(mount),
        journal: None,
        volatile: None,
        write_cache: None,
        space: None,
        sync: None,
    };
    Host { store: Some(store), ..Host::default() }
}

fn store(host: &mut Host) -> &mut Store {
    host.store.as_mut().expect("a store")
}

fn severity(check: fn(&Host, &Config) -> Option<Finding>, host: &Host) -> Option<Severity> {
    check(host, &Config::embedded_default()).map(|finding| finding.severity)
}

#[test]
fn a_file_system_has_to_keep_what_it_took() {
    for (kind, options, expected) in [
        ("ext4", &["rw"][..], None),
        ("ext4", &["ro"], Some(Severity::Fails)),
        ("tmpfs", &["rw"], Some(Severity::Fails)),
        ("nfs4", &["rw"], Some(Severity::Limits)),
        ("fuse.sshfs", &["rw"], Some(Severity::Limits)),
        ("overlay", &["rw"], Some(Severity::Limits)),
        ("xfs", &["rw"], None),
    ] {
        assert_eq!(severity(check_file_system, &host(kind, options)), expected, "{kind} {options:?}");
    }
    assert_eq!(severity(check_file_system, &Host::default()), None);
    let mut on_image = host("ext4", &["rw"]);
    store(&mut on_image).volatile = Some("an image on tmpfs".to_owned());
    assert_eq!(severity(check_file_system, &on_image), Some(Severity::Fails));
}

#[test]
fn mount_options_may_break_a_promise() {
    for (option, expected) in [
        ("nobarrier", Some(Severity::Fails)),
        ("barrier=0", Some(Severity::Fails)),
        ("sync", Some(Severity::Limits)),
        ("dirsync", Some(Severity::Limits)),
        ("data=journal", Some(Severity::Hint)),
        ("data=writeback", Some(Severity::Note)),
        ("relatime", None),
    ] {
        assert_eq!(severity(check_mount_options, &host("ext4", &["rw", option])), expected, "{option}");
    }
    let finding =
        check_mount_options(&host("ext4", &["nobarrier"]), &Config::embedded_default()).expect("one");
    assert_eq!(finding.cure, ["mount -o remount,barrier '/mnt/a b'"]);
}

#[test]
fn a_file_system_without_a_journal_limits() {
    let mut ext4 = host("ext4", &["rw"]);
    assert_eq!(severity(check_journal, &ext4), None);
    store(&mut ext4).journal = Some(false);
    assert_eq!(severity(check_journal, &ext4), Some(Severity::Limits));
    store(&mut ext4).journal = Some(true);
    assert_eq!(severity(check_journal, &ext4), None);
    assert_eq!(severity(check_journal, &host("ext2", &["rw"])), Some(Severity::Limits));
}

#[test]
fn space_within_the_reserve_fails() {
    const GIB: u64 = 1 << 30;
    let mut host = host("ext4", &["rw"]);
    for (total, free, expected) in [
        (1000 * GIB, GIB, Some(Severity::Fails)),
        (1000 * GIB, 2 * GIB, Some(Severity::Hint)),
        (1000 * GIB, 100 * GIB, None),
        (0, 0, None),
    ] {
        store(&mut host).space = Some((total, free));
        assert_eq!(severity(check_space, &host), expected, "{free} of {total}");
    }
}

#[test]
fn the_time_per_sync_is_always_told() {
    let mut host = host("ext4", &["rw"]);
    assert_eq!(severity(check_sync_time, &host), None);
    for (median_us, expected) in
        [(1, Severity::Limits), (100, Severity::Note), (7_000, Severity::Hint), (40_000, Severity::Limits)]
    {
        let median = Duration::from_micros(median_us);
        store(&mut host).sync = Some(Ok(SyncTimes { count: 9, median, slowest: median * 2 }));
        assert_eq!(severity(check_sync_time, &host), Some(expected), "{median_us} us");
    }
    for (kind, expected) in
        [(ErrorKind::PermissionDenied, Severity::Hint), (ErrorKind::StorageFull, Severity::Fails)]
    {
        store(&mut host).sync = Some(Err(io::Error::from(kind)));
        assert_eq!(severity(check_sync_time, &host), Some(expected), "{kind}");
    }
}

#[test]
fn the_write_cache_is_a_note() {
    let mut host = host("ext4", &["rw"]);
    assert_eq!(severity(check_write_cache, &host), None);
    for cache in ["write back", "write through"] {
        store(&mut host).write_cache = Some(cache.to_owned());
        assert_eq!(severity(check_write_cache, &host), Some(Severity::Note), "{cache}");
    }
}
