//! Tries a store out before the first mail comes: everything that a sink cannot do without, once, in the
//! store's root.
//!
//! A file system that cannot do it would answer every message 451 for ever, so the start stops and says why.
//! What may pass (a full disk, one that is read-only) stops nothing: it is told, and mail is put off until it
//! has passed.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::executor::Executor;
use super::file_system;
use super::opening::OpenError;
use super::permission::Permission;
use super::plan::{Action, Owners, Place, Plan};
use super::root::Root;

/// Names of our own, which one start leaves and the next one removes should it be cut short.
const NAMES: [&str; 2] = [".ringmx-trial-a", ".ringmx-trial-b"];

/// What a sink needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// Whether space is taken before it is written.
    pub(super) reserves: bool,
    /// Octets of the longest name of a file.
    pub(super) name_bytes_max: usize,
    /// What files get, if it is configured.
    pub(super) permission: Option<Permission>,
}

/// Tries out; gives what the operator should know.
pub(super) fn run(root: &Root, needs: Needs, executor: &mut dyn Executor) -> Result<Vec<String>, OpenError> {
    let [first, second] = NAMES.map(|name| {
        let name = format!("{name:x<width$}", width = needs.name_bytes_max);
        Rc::new(Place { directory: Rc::from(""), name })
    });
    remove(&[&first, &second], executor);
    let plan = plan(&first, &second, needs);
    let results = executor.run(&plan);
    let failure = results.failures(&plan).next().map(|(action, error)| (action.clone(), error));
    remove(&[&first, &second], executor);
    let Some((action, error)) = failure else { return Ok(Vec::new()) };
    let kind = root.directory().map_or_else(|_| String::new(), file_system::name_of);
    if may_pass(error) {
        return Ok(vec![format!(
            "trying the store out failed: cannot {} a file or directory in {}: {error}; mail is put off (4yz) until that has passed",
            action.verb(),
            root.path().display()
        )]);
    }
    Err(refused(root.path(), &action, error, &kind))
}

/// What stops the start.
fn refused(path: &Path, action: &Action<'_>, error: &io::Error, kind: &str) -> OpenError {
    OpenError {
        what: "use the store",
        site: path.display().to_string(),
        why: format!("{kind} cannot {} a file or directory there ({error})", action.verb()),
        cure: "put it where the user that runs ringmx may write and where files and directories can be renamed, linked and \
               synced, such as a local ext4 or XFS; a seccomp filter must not forbid that either",
    }
}

/// A file is made, made durable, gets its name, and that is made durable.
fn plan<'a>(first: &Rc<Place>, second: &Rc<Place>, needs: Needs) -> Plan<'a> {
    let root = || Rc::clone(&first.directory);
    let mut plan = Plan::new(1);
    let mut push = |action| plan.push(Owners::One(0), action);
    push(Action::Create(Rc::clone(first)));
    if let Some(permission) = needs.permission {
        push(Action::Permit(Rc::clone(first), permission));
    }
    if needs.reserves {
        push(Action::Reserve(Rc::clone(first), 4096));
    }
    push(Action::Write(Rc::clone(first), 0, vec![b"tried out\n"]));
    push(Action::SyncFile(Rc::clone(first)));
    push(Action::Close(Rc::clone(first)));
    plan.barrier();
    plan.push(Owners::One(0), Action::Rename(Rc::clone(first), Rc::clone(second)));
    plan.barrier();
    plan.push(Owners::One(0), Action::SyncDirectory(root()));
    plan.barrier();
    plan.push(Owners::One(0), Action::ProbeJournal(root()));
    plan.barrier();
    plan.push(Owners::One(0), Action::Remove(Rc::clone(second)));
    plan
}

fn remove(files: &[&Rc<Place>], executor: &mut dyn Executor) {
    let mut plan = Plan::new(files.len());
    for (index, file) in files.iter().enumerate() {
        plan.push(Owners::One(index), Action::Remove(Rc::clone(file)));
    }
    // Best effort: what stays is removed by the next start.
    executor.run(&plan);
}

/// Whether a failure is one of the moment, and not of the kind of file system or of who may do what.
fn may_pass(error: &io::Error) -> bool {
    const PASSING: [i32; 13] = [
        libc::ENOSPC,
        libc::EDQUOT,
        libc::EFBIG,
        libc::EROFS,
        libc::EIO,
        libc::ENOMEM,
        libc::EMFILE,
        libc::ENFILE,
        libc::EAGAIN,
        libc::EBUSY,
        libc::ETIMEDOUT,
        libc::ESTALE,
        libc::ENOTCONN,
    ];
    error.raw_os_error().is_some_and(|number| PASSING.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::executor::simulated::{Fault, Simulated};

    /// The trial with one kind of action that fails.
    fn tried(fails: fn(&Action<'_>) -> bool, number: i32) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path(), "spool").expect("a store");
        let mut disk = Simulated::new(1);
        disk.set_faults(move |_, action| fails(action).then_some(Fault::Error(number)));
        let needs = Needs { reserves: true, name_bytes_max: 100, permission: None };
        let result = run(&root, needs, &mut disk).map_err(|error| error.to_string());
        disk.set_faults(|_, _| None);
        run(&root, needs, &mut disk).expect("what an earlier one left is in nobody's way");
        assert!(disk.seen().is_empty(), "{:?}", disk.seen().keys());
        result
    }

    #[test]
    fn what_cannot_pass_stops_the_start_and_says_why() {
        assert_eq!(tried(|_| false, 0), Ok(Vec::new()));
        let lacking: [fn(&Action<'_>) -> bool; 4] = [
            |action| matches!(action, Action::Create(_)),
            |action| matches!(action, Action::SyncFile(_)),
            |action| matches!(action, Action::Rename(..)),
            |action| matches!(action, Action::SyncDirectory(_)),
        ];
        for lacks in lacking {
            for number in [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM, libc::ENAMETOOLONG] {
                let why = tried(lacks, number).expect_err("it stops");
                assert!(why.starts_with("cannot use the store ") && why.contains("os error"), "{why}");
            }
            for number in [libc::ENOSPC, libc::EROFS, libc::EIO] {
                let notes = tried(lacks, number).expect("it starts");
                assert!(notes.len() == 1 && notes[0].contains("until that has passed"), "{notes:?}");
            }
        }
    }
}
