//! The three executors do the same with the same plan: the one with borrowed memory in the ring, its safe
//! twin of plain system calls, and the simulated disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;
use ringmx::sink::executor::Executor;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::executor::simulated::{Image, Simulated};
use ringmx::sink::executor::uring::Uring;
use ringmx::sink::permission::Permission;
use ringmx::sink::plan::{Action, Done, Owners, Place, Plan, Results, undo};

fn place(directory: usize, name: usize) -> Rc<Place> {
    Rc::new(Place { directory: directories()[directory].into(), name: format!("file{name}") })
}

fn directories() -> [&'static str; 4] {
    ["", "a", "a/b", "c"]
}

/// One message's operations: a file, perhaps renamed over another, perhaps in a directory that nobody made.
#[derive(Debug, Clone)]
struct Step {
    directory: usize,
    name: usize,
    bytes: usize,
    slices: usize,
    target: usize,
    makes: Option<usize>,
    truncates: Option<u64>,
    mode: Option<u32>,
}

fn step() -> impl Strategy<Value = Step> {
    (
        0..4_usize,
        0..6_usize,
        0..5000_usize,
        1..1500_usize,
        0..6_usize,
        prop::option::of(1..4_usize),
        prop::option::of(0..100_u64),
        prop::option::of(prop::sample::select(vec![0o600, 0o640, 0o660])),
    )
        .prop_map(|(directory, name, bytes, slices, target, makes, truncates, mode)| Step {
            directory,
            name,
            bytes,
            slices,
            target,
            makes,
            truncates,
            mode,
        })
}

/// Each message in stages of its own, so that no outcome depends on the order within a stage.
fn plan<'a>(steps: &[Step], is_prepared: bool, octets: &'a [u8]) -> Plan<'a> {
    let mut plan = Plan::new(steps.len());
    for directory in directories()[1..].iter().filter(|_| is_prepared) {
        plan.push(Owners::Many((0..steps.len()).collect()), Action::MakeDirectory((*directory).into()));
        plan.barrier();
    }
    for (message, step) in steps.iter().enumerate() {
        let owner = || Owners::One(message);
        if let Some(directory) = step.makes {
            plan.push(owner(), Action::MakeDirectory(directories()[directory].into()));
            plan.barrier();
            if let Some(permission) = step.mode.map(permission) {
                let directory = directories()[directory].into();
                plan.push(owner(), Action::PermitDirectory(directory, permission.of_directories()));
                plan.barrier();
            }
        }
        let file = place(step.directory, step.name);
        let bytes = &octets[..step.bytes];
        let slices = bytes.chunks(bytes.len().div_ceil(step.slices).max(1)).collect();
        plan.push(owner(), Action::Create(Rc::clone(&file)));
        plan.push(owner(), Action::Write(Rc::clone(&file), 3, slices));
        if let Some(permission) = step.mode.map(permission) {
            plan.push(owner(), Action::Permit(Rc::clone(&file), permission));
            plan.push(owner(), Action::SyncFileWhole(Rc::clone(&file)));
        } else {
            plan.push(owner(), Action::SyncFile(Rc::clone(&file)));
        }
        plan.push(owner(), Action::Close(Rc::clone(&file)));
        if let Some(bytes) = step.truncates {
            plan.push(owner(), Action::Truncate(Rc::clone(&file), bytes));
        }
        plan.barrier();
        plan.push(owner(), Action::Rename(file, place(2, step.target)));
        plan.barrier();
        plan.push(owner(), Action::SyncDirectory("a/b".into()));
        plan.push(owner(), Action::Remove(place(0, step.target)));
        plan.barrier();
    }
    plan
}

/// A mode without a group: only root may give files to any group.
fn permission(mode: u32) -> Permission {
    Permission { mode, group: None }
}

/// What can be compared of results: success, the kind of error, or nothing done.
fn outcomes(results: &Results) -> Vec<String> {
    results
        .operations
        .iter()
        .map(|done| match done {
            Done::Yes => "yes".to_owned(),
            Done::Failed(error) => error.kind().to_string(),
            Done::Skipped => "skipped".to_owned(),
        })
        .collect()
}

fn run(mut executor: impl Executor, plan: &Plan<'_>) -> Vec<String> {
    let results = executor.run(plan);
    let undone = executor.run(&undo(plan, &results));
    [outcomes(&results), outcomes(&undone)].concat()
}

fn root(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("a directory").into()
}

/// What is there, and the mode of each file and directory.
fn image(directory: &Path, prefix: &str, image: &mut Image, modes: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = format!("{prefix}{}", entry.file_name().display());
        modes.insert(path.clone(), entry.metadata().expect("its facts").mode() & 0o7777);
        if entry.path().is_dir() {
            self::image(&entry.path(), &format!("{path}/"), image, modes);
        } else {
            image.insert(path, fs::read(entry.path()).expect("a file"));
        }
    }
}

/// The modes that the simulated disk knows: those that were given.
fn given_modes(disk: &Simulated) -> BTreeMap<String, u32> {
    let (_, permissions) = disk.cut(disk.now(), || true);
    permissions.into_iter().map(|(path, permission)| (path, permission.mode)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn executors_agree(steps in prop::collection::vec(step(), 1..8), is_prepared in prop::bool::weighted(0.8)) {
        let octets: Vec<u8> = (0..5000_u32).map(|index| index.to_le_bytes()[index as usize % 2]).collect();
        let plan = plan(&steps, is_prepared, &octets);
        let simulated = Simulated::new(1);
        let expected = (run(simulated.clone(), &plan), simulated.seen());
        let given = given_modes(&simulated);
        let executors: [fn(OwnedFd) -> Box<dyn Executor>; 2] =
            [|root| Box::new(Blocking::new(root)), |root| Box::new(Uring::new(root).expect("a ring"))];
        for new in executors {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let outcomes = run(&mut *new(root(directory.path())), &plan);
            let mut found = BTreeMap::new();
            let mut modes = BTreeMap::new();
            image(directory.path(), "", &mut found, &mut modes);
            prop_assert_eq!(&(outcomes, found), &expected);
            for (path, mode) in modes {
                let made_with = if directory.path().join(&path).is_dir() { 0o700 } else { 0o600 };
                prop_assert_eq!(mode, given.get(&path).copied().unwrap_or(made_with), "{}", path);
            }
        }
    }
}

#[test]
fn a_sync_of_data_alone_does_not_make_a_mode_durable() {
    let file = place(0, 0);
    for (sync, expected) in [
        (Action::SyncFile(Rc::clone(&file)), None),
        (Action::SyncFileWhole(Rc::clone(&file)), Some(permission(0o640))),
    ] {
        let mut plan = Plan::new(1);
        let mut push = |action| {
            plan.push(Owners::One(0), action);
            plan.barrier();
        };
        push(Action::Create(Rc::clone(&file)));
        push(Action::Permit(Rc::clone(&file), permission(0o640)));
        push(Action::Write(Rc::clone(&file), 0, vec![b"octets"]));
        push(sync);
        push(Action::SyncDirectory("".into()));
        let mut disk = Simulated::new(1);
        assert!(!disk.run(&plan).any_failed());
        let (image, permissions) = disk.cut(disk.now(), || false);
        assert_eq!(image.get("file0").map(Vec::as_slice), Some(&b"octets"[..]));
        assert_eq!(permissions.get("file0").copied(), expected);
    }
}
