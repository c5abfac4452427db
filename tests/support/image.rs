//! File systems in files, loop-mounted: disks that a test can fill, clone and throw away. They need root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Why there can be no such disk here; with `CI` set that is a failure.
pub fn unavailable(programs: &[&str]) -> Option<String> {
    let why = if rustix::process::geteuid().is_root() {
        let missing = programs.iter().find(|program| !is_installed(program));
        missing.map(|program| format!("{program} is not installed"))
    } else {
        Some("only root can mount".to_owned())
    };
    if let Some(why) = &why {
        assert!(std::env::var_os("CI").is_none(), "CI needs this: {why}");
        println!("skipped: {why}");
    }
    why
}

fn is_installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes a sparse file with an empty file system in it.
pub fn make(kind: &str, image: &Path, bytes: u64) {
    fs::File::create(image).expect("an image").set_len(bytes).expect("its size");
    let options: &[&str] = match kind {
        "ext4" => &["-q", "-F"],
        // A cloned file takes direct I/O in its file system's blocks only, and so does the disk that it is.
        "xfs" => &["-q", "-s", "size=4096"],
        _ => &["-q"],
    };
    run(Command::new(format!("mkfs.{kind}")).args(options).arg(image));
}

/// A mounted image; unmounted by drop.
pub struct Mounted {
    device: String,
    at: PathBuf,
}

impl Mounted {
    /// Mounts an image. `direct`: what the kernel has sent to the disk is in the image file, past the page
    /// cache.
    pub fn new(kind: &str, image: &Path, at: &Path, direct: bool) -> Self {
        let direct = if direct { "on" } else { "off" };
        let mut attach = Command::new("losetup");
        attach.args(["--find", "--show", &format!("--direct-io={direct}")]).arg(image);
        let device = run(&mut attach).trim().to_owned();
        let mounted = Self { device, at: at.to_owned() };
        fs::create_dir_all(at).expect("a mount point");
        // A clone has the number of its original, which is mounted as well.
        let options = if kind == "xfs" { "noatime,nouuid" } else { "noatime" };
        run(Command::new("mount").args(["-t", kind, "-o", options]).arg(&mounted.device).arg(at));
        mounted
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.at);
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// Unmounts, waiting a moment for processes that are on their way out; then at least the name goes.
pub fn unmount(at: &Path) {
    for _ in 0..100 {
        let status = Command::new("umount").arg(at).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return;
        }
        if !is_mounted(at) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = Command::new("umount").arg("--lazy").arg(at).status();
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|path| Path::new(path) == at))
}

/// Runs a program of the system to its end and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
