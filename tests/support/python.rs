//! A Python that has what a test needs.

use std::process::Command;

/// The first one that can import these modules, as `a, b.c`. Debian's packages are only for Debian's
/// interpreter, which need not be the first one on the path. Where no one has them it is told which packages
/// these are, and under CI that fails.
pub fn python_with(modules: &str, packages: &str) -> Option<&'static str> {
    let has = |python: &&str| {
        let import = Command::new(python).args(["-c", &format!("import {modules}")]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs a Python with {modules}: {packages}");
        println!("skipped: no Python has {modules} (Debian packages: {packages})");
    }
    found
}
