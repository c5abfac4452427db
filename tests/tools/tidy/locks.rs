//! The fuzz targets are a workspace of their own, which is built seldom and only with another compiler: what
//! its lock file has to know is looked at here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

#[test]
fn the_lock_file_of_the_fuzz_targets_has_every_dependency() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| -> Table { fs::read_to_string(root.join(path)).expect("a file").parse().expect("TOML") };
    let lock = read("tests/fuzz/Cargo.lock");
    let packages = lock["package"].as_array().expect("packages");
    for (manifest, package) in [
        ("Cargo.toml", "ringmx"),
        ("tests/support/Cargo.toml", "ringmx-test-support"),
        ("loadgen/trusting/Cargo.toml", "trusting"),
    ] {
        let entry = packages.iter().find(|entry| entry["name"].as_str() == Some(package));
        let entry = entry.unwrap_or_else(|| panic!("{package} is not there"));
        let known = entry.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // A version stands behind a name that is there twice.
        let known: BTreeSet<&str> = known.filter_map(|one| one.as_str()?.split(' ').next()).collect();
        let wanted = read(manifest);
        let wanted = wanted["dependencies"].as_table().expect("dependencies");
        for (name, what) in wanted {
            // The targets ask for no feature of the others that brings one.
            if package != "ringmx" && what.get("optional").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let name = what.get("package").and_then(Value::as_str).unwrap_or(name);
            assert!(
                known.contains(name),
                "tests/fuzz/Cargo.lock does not know that {package} needs {name}: run `cargo metadata \
                 --manifest-path tests/fuzz/Cargo.toml` once, and commit what it changes"
            );
        }
    }
}
