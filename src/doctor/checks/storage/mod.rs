//! The sink's file system and disk: whether they keep what a 250 promises, and how fast.

use std::io::ErrorKind;
use std::time::Duration;

use super::mib;
use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::doctor::report::quoted;
use crate::doctor::store::{Mount, Store};
use crate::sink::space;

/// File systems in memory: nothing on them survives a stop of the machine.
const VOLATILE: &[&str] = &["tmpfs", "ramfs", "devtmpfs"];

/// File systems whose data is elsewhere: a sync takes as long as a network and a server take, and means what
/// the server makes of it.
const NETWORK: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "glusterfs", "ocfs2", "gfs2"];

/// A median sync that takes longer costs throughput whatever the batches are.
const SYNC_SLOW: Duration = Duration::from_millis(20);

/// A disk with a write cache of its own takes less.
const SYNC_HINT: Duration = Duration::from_millis(5);

/// No disk answers a flush in less.
const SYNC_TOO_FAST: Duration = Duration::from_micros(8);

fn mount(host: &Host) -> Option<(&Store, &Mount)> {
    let store = host.store.as_ref()?;
    Some((store, store.mount.as_ref()?))
}

/// The kind of file system decides what a sync is worth.
pub(in crate::doctor) fn check_file_system(host: &Host, _: &Config) -> Option<Finding> {
    let (store, mount) = mount(host)?;
    let kind = mount.kind.as_str();
    let below = store.volatile.as_deref().filter(|below| *below != kind);
    let below = below.map(|below| format!(", {below}")).unwrap_or_default();
    let value = format!("{} is on {kind}{below}", store.directory.display());
    let move_it = "# put the sink's `path` on a local ext4 or XFS, best one of its own";
    let (severity, why) = if mount.has_option("ro") {
        (Severity::Fails, "It is mounted read-only: nothing can be stored.")
    } else if VOLATILE.contains(&kind) || store.volatile.is_some() {
        (Severity::Fails, "It is in memory: mail answered 250 is gone with the power.")
    } else if NETWORK.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.") {
        (Severity::Limits, "A sync takes a network and a server, and means what the server makes of it.")
    } else if kind == "overlay" {
        (
            Severity::Limits,
            "An overlay does not report all errors of syncs, and is removed with its container: mount a volume.",
        )
    } else {
        return None;
    };
    Some(Finding::new(severity, value, why).cure(move_it))
}

/// Options that take away what a sync promises, or make every write one.
pub(in crate::doctor) fn check_mount_options(host: &Host, _: &Config) -> Option<Finding> {
    let (_, mount) = mount(host)?;
    let remount = |option: &str| format!("mount -o remount,{option} {}", quoted(&mount.point));
    let at = |option: &str| format!("{option} at {}", mount.point);
    let has = |options: &[&'static str]| options.iter().copied().find(|option| mount.has_option(option));
    if let Some(option) = has(&["nobarrier", "barrier=0"]) {
        let why = "Syncs do not reach through the disk's cache: a power cut may take mail that was answered 250. Safe only \
                   where the cache has a battery.";
        return Some(Finding::new(Severity::Fails, at(option), why).cure(remount("barrier")));
    }
    if let Some(option) = has(&["sync", "dirsync"]) {
        let why = "Every write waits for the disk. ringmx syncs what it has to, once a batch.";
        let undone = if option == "sync" { "async" } else { "defaults  # and without dirsync in /etc/fstab" };
        return Some(Finding::new(Severity::Limits, at(option), why).cure(remount(undone)));
    }
    if let Some(option) = has(&["data=journal"]) {
        let why = "All data is written twice, first into the journal.";
        let cure = "# mount with data=ordered (/etc/fstab); it takes an unmount";
        return Some(Finding::new(Severity::Hint, at(option), why).cure(cure));
    }
    let option = has(&["data=writeback"])?;
    let why = "What ringmx answered 250 is safe, for it was synced; files of others that are not may hold old data after a \
               power cut.";
    Some(Finding::new(Severity::Note, at(option), why))
}

/// Without a journal a power cut may leave a file system that cannot be repaired without loss.
pub(in crate::doctor) fn check_journal(host: &Host, _: &Config) -> Option<Finding> {
    let (store, mount) = mount(host)?;
    let without = store.journal == Some(false) || mount.kind == "ext2";
    (without && !mount.has_option("ro")).then(|| {
        Finding::new(
            Severity::Limits,
            format!("{} at {} has none", mount.kind, mount.point),
            "After a power cut it has to be checked before use, and what was being changed, directories too, may be damaged. \
             Figures measured here are not those of a journaled file system.",
        )
        .cure(format!("# unmounted: tune2fs -O has_journal {}", quoted(&mount.source)))
    })
}

/// Space that runs out is answered 452.
pub(in crate::doctor) fn check_space(host: &Host, config: &Config) -> Option<Finding> {
    let store = host.store.as_ref()?;
    let (total, free) = store.space.filter(|(total, _)| *total > 0)?;
    let reserve = space::reserve_of(config.sink.space_reserve, total);
    let place = store.directory.display();
    let spills = config.limits.spill_bytes_max;
    if free <= reserve {
        let value = format!("{} at {place}, space_reserve is {}", mib(free), mib(reserve));
        let finding =
            Finding::new(Severity::Fails, value, "MAIL is answered 452 until more is free than the reserve.");
        return Some(finding.cure("# remove what is not needed there, or lower space_reserve in [[sink]]"));
    }
    (free - reserve < spills).then(|| {
        Finding::new(
            Severity::Hint,
            format!(
                "{} at {place}, of which {} are space_reserve; spill_size_max is {}",
                mib(free),
                mib(reserve),
                mib(spills)
            ),
            "Large and slow messages under way may fill the disk before their bound is reached; mail is then answered 452.",
        )
        .cure("# lower spill_size_max in [limits], or make the file system larger")
    })
}

/// Every 250 waits for a sync.
pub(in crate::doctor) fn check_sync_time(host: &Host, _: &Config) -> Option<Finding> {
    let store = host.store.as_ref()?;
    let place = store.directory.display();
    let times = match store.sync.as_ref()? {
        Ok(times) => times,
        Err(error) => {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            let finding = Finding::new(
                if denied { Severity::Hint } else { Severity::Fails },
                format!("not measured in {place}: {error}"),
                if denied {
                    "This user may not write there; the user that ringmx runs as has to."
                } else {
                    "What fails here fails for mail, too."
                },
            );
            let again = "# run it again as the user of the service, for instance with sudo -u ringmx";
            return Some(if denied { finding.cure(again) } else { finding });
        }
    };
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let value = format!(
        "median {}, slowest {} of {} (4 KiB and fdatasync in {place})",
        milliseconds(times.median),
        milliseconds(times.slowest),
        times.count
    );
    let disk =
        "# a disk with power-loss protection answers in well under a millisecond; nothing else changes this";
    let per_second = 1.0 / times.median.as_secs_f64().max(1e-9);
    let batches = format!(
        "Each 250 waits for a sync at least; one after another that is {per_second:.0} batches a second, each with all \
         the mail that arrived meanwhile."
    );
    Some(if times.median > SYNC_SLOW {
        Finding::new(Severity::Limits, value, batches).cure(disk)
    } else if times.median > SYNC_HINT {
        Finding::new(Severity::Hint, value, batches).cure(disk)
    } else if times.median < SYNC_TOO_FAST {
        let why = "Nothing that keeps its data without power is as fast: something below keeps it in memory only, or there is \
                   no disk.";
        Finding::new(Severity::Limits, value, why)
    } else {
        Finding::new(Severity::Note, value, batches)
    })
}

/// Whether a sync has to empty a cache, as the disk told the kernel.
pub(in crate::doctor) fn check_write_cache(host: &Host, _: &Config) -> Option<Finding> {
    let (store, mount) = mount(host)?;
    let cache = store.write_cache.as_deref()?;
    let value = format!("{cache} ({})", mount.source);
    Some(if cache == "write back" {
        let why = "Each sync makes the disk empty its cache, as it must. Never write \"write through\" there to save that, \
                   unless the cache has a battery: the kernel then stops asking, and a power cut takes mail.";
        Finding::new(Severity::Note, value, why)
    } else {
        let why = "The kernel sends no flush: right where the disk has no cache or one with a battery, and a loss of mail at \
                   a power cut where somebody only wrote it there.";
        Finding::new(Severity::Note, value, why)
    })
}

#[cfg(test)]
mod tests;
