//! Tells the program which commit it was built from, for `--version`.
//!
//! Only a release build asks git: every file of the package is compiled again after a commit, which nobody
//! wants between two tests. Without git, and from an archive, the commit is unknown and nothing fails.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = match std::env::var("PROFILE").as_deref() {
        Ok("release") => commit().unwrap_or_else(|| "commit unknown".to_owned()),
        _ => "commit not recorded in a debug build".to_owned(),
    };
    println!("cargo::rustc-env=RINGMX_COMMIT={commit}");
}

/// The commit of this folder. None where the folder is not the top of a repository: an archive that was
/// unpacked inside another one has no commit.
fn commit() -> Option<String> {
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    // What moves with a commit, and what decides whether there are changes. A path that is not there would
    // run this each time.
    let reference = git(&["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    let in_git = ["HEAD", "logs/HEAD", &reference, "packed-refs"].into_iter().filter(|name| !name.is_empty());
    let watched = in_git.filter_map(|name| git(&["rev-parse", "--git-path", name]));
    let sources = ["src", "Cargo.toml", "Cargo.lock"].map(str::to_owned);
    for path in watched.chain(sources).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml", "Cargo.lock"])?;
    Some(format!("commit {head}{}", if changed.is_empty() { "" } else { " and changes" }))
}

/// What git says, without the line end; none when it fails or is not there.
fn git(arguments: &[&str]) -> Option<String> {
    // `status` must not write to the index.
    let output = Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
