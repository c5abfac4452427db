//! Imports run one way (`docs/architecture.md`): this test reads every path into the crate and fails on another arrow.

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may use, besides itself and [`PLAIN`].
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli", "signals"]),
    ("cli", &["check", "doctor", "log", "memory_sum", "server", "shutdown", "sink::spool", "smtp", "tls"]),
    ("check", &["config", "doctor", "sink", "smtp::policy", "tls"]),
    (
        "doctor",
        &[
            "memory_sum",
            "resource_limits",
            "ring::locked_memory",
            "ring::probe",
            "sink::file_limit",
            "sink::space",
            "sink::volatile",
        ],
    ),
    (
        "server",
        &[
            "handoff",
            "log",
            "metrics",
            "resource_limits",
            "ring",
            "shard",
            "shutdown",
            "sink",
            "smtp",
            "threads",
            "tls",
        ],
    ),
    ("memory_sum", &["log", "ring::locked_memory", "smtp::settings"]),
    ("shutdown", &["handoff::doorbell", "log", "signals"]),
    ("shard", &["handoff", "log", "metrics", "ring", "sink", "smtp", "tls"]),
    ("sink", &["handoff", "smtp::trace"]),
    ("handoff", &[]),
    ("tls", &["smtp::settings"]),
    ("smtp", &["limits", "mail", "scan", "timestamp"]),
    ("ring", &[]),
    ("signals", &[]),
    ("scan", &[]),
    ("log", &["handoff::channel", "handoff::doorbell"]),
    ("metrics", &[]),
    ("resource_limits", &[]),
    ("threads", &[]),
    ("buffer", &[]),
    ("huge_pages", &[]),
    ("mail", &["limits"]),
    ("config", &["smtp::extension", "smtp::policy", "smtp::settings"]),
    ("limits", &[]),
    ("escape", &[]),
    ("timestamp", &[]),
];

/// Plain values that everybody may use.
const PLAIN: &[&str] = &["limits", "config", "mail", "buffer", "huge_pages", "escape", "timestamp"];

/// Rooms that see no socket, file, thread or clock, and use nothing but what their rows name.
const SANS_IO: &[&str] = &["mail", "scan", "smtp"];

#[test]
fn imports_follow_the_arrow() {
    let mut wrong = Vec::new();
    let files = sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        let module = module_of(&file);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            assert_eq!(module, "lib", "{} is in no row of ARROWS", file.display());
            continue;
        };
        for target in targets(&fs::read_to_string(&file).expect("readable source")) {
            let fits = |prefix: &&str| target == **prefix || target.starts_with(&format!("{prefix}::"));
            let own = target == module || target.starts_with(&format!("{module}::"));
            let plain = if SANS_IO.contains(&module.as_str()) { &[][..] } else { PLAIN };
            if !own && !allowed.iter().chain(plain).any(fits) {
                wrong.push(format!("{}: {module} must not use {target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The protocol core sees no socket, file, thread or clock.
#[test]
fn the_protocol_core_is_sans_io() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::io",
        "std::thread",
        "std::process",
        "std::env",
        "Instant::now",
        "SystemTime::now",
        "rustix",
        "libc::",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in SANS_IO.iter().flat_map(|room| sources(&root.join(room))) {
        let text = fs::read_to_string(&file).expect("readable source");
        // What tests in a file do is theirs.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in FORBIDDEN {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

/// Every path into the crate that a source names, as `module` or `module::item`.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("crate::") {
        // `$crate::` and names that end in `crate` are not paths into this crate; comments may say what they like.
        let line = text[..start].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//")
            || text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
        {
            continue;
        }
        let rest = &text[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inside = group.split(';').next().unwrap_or_default();
            found.extend(inside.split(',').map(|part| path_prefix(part.trim())));
        } else {
            found.push(path_prefix(rest));
        }
    }
    found.retain(|target| !target.is_empty());
    found
}

/// The first two parts of a path.
fn path_prefix(path: &str) -> String {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(path.len());
    let parts: Vec<&str> = path[..end].split("::").filter(|part| !part.is_empty()).take(2).collect();
    parts.join("::")
}
