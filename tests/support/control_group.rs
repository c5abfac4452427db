//! A control group of a test's own, with a limit on memory.

use std::fs;
use std::path::{Path, PathBuf};

/// A group below that of this process; removed by drop, when whoever was in it has ended.
pub struct ControlGroup {
    folder: PathBuf,
    /// The file with the number of processes that were killed.
    events: &'static str,
}

/// The limit's file and that of the events, in both versions of control groups.
const VERSIONS: [(&str, &str); 2] =
    [("memory.max", "memory.events"), ("memory.limit_in_bytes", "memory.oom_control")];

impl ControlGroup {
    /// A group that may use so many octets; none where none can be made, with the reason printed.
    pub fn with_memory(bytes: u64) -> Option<Self> {
        let made = own_groups().into_iter().find_map(|folder| Self::below(&folder, bytes));
        if made.is_none() {
            println!("skipped: no control group with a limit on memory can be made here (root, cgroups)");
        }
        made
    }

    fn below(parent: &Path, bytes: u64) -> Option<Self> {
        let folder = parent.join(format!("ringmx-test-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let limited =
            VERSIONS.iter().find(|(limit, _)| fs::write(folder.join(limit), bytes.to_string()).is_ok());
        if let Some((_, events)) = limited {
            return Some(Self { folder, events });
        }
        let _ = fs::remove_dir(&folder);
        None
    }

    /// What a shell does to enter it and then become the program that follows.
    pub fn entrance(&self) -> String {
        format!("echo $$ >'{}' && exec \"$@\"", self.folder.join("cgroup.procs").display())
    }

    /// Processes of it that were killed for want of memory.
    pub fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.events)).expect("its events");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("a count")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where groups with a limit on memory may be made: that of this process in either version, and those above
/// it.
fn own_groups() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup").to_owned(),
            "memory" => Path::new("/sys/fs/cgroup/memory").to_owned(),
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        found.extend(own.ancestors().take_while(|folder| folder.starts_with(&root)).map(Path::to_owned));
    }
    found.retain(|folder| folder.join("cgroup.procs").exists());
    found
}
