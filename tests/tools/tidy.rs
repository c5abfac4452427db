//! The sources: imports run one way (`docs/architecture.md`), without circles, and sizes, widths and words
//! are ours.
//!
//! Each path into the crate is read; another arrow than those below fails. What does not hold everywhere yet
//! is in a list that only gets shorter.

mod circles;
mod loadgen;
mod locks;
mod ratchet;
mod sizes;
mod widths;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may use, besides itself and [`PLAIN`].
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli", "signals"]),
    (
        "cli",
        &[
            "admin::control_socket",
            "admin::status",
            "check",
            "doctor",
            "forward",
            "log",
            "memory_sum",
            "server",
            "shutdown",
            "sink::spool",
            "smtp",
            "tls",
        ],
    ),
    (
        "check",
        &["config", "dns", "doctor", "nats", "recipient_map", "sandbox", "sink", "smtp::policy", "tls"],
    ),
    (
        "doctor",
        &[
            "auth::dmarc",
            "auth::spf",
            "dns",
            "memory_sum",
            "nats",
            "resource_limits",
            "ring::locked_memory",
            "ring::probe",
            "sandbox",
            "sink::file_limit",
            "sink::space",
            "sink::volatile",
            "smtp::settings",
            "tls::tlsa",
        ],
    ),
    (
        "server",
        &[
            "admin",
            "auth",
            "check",
            "dns",
            "forward",
            "front",
            "handoff",
            "log",
            "metrics",
            "recipient_map",
            "resource_limits",
            "ring",
            "sandbox",
            "service_manager",
            "shard",
            "shutdown",
            "sink",
            "smtp",
            "station",
            "threads",
            "tls",
        ],
    ),
    (
        "forward",
        &[
            "client",
            "dns",
            "handoff",
            "log",
            "metrics",
            "nats",
            "ring",
            "shutdown",
            "sink",
            "threads",
            "tls::as_client",
        ],
    ),
    (
        "admin",
        &[
            "log",
            "metrics",
            "service_manager",
            "shutdown",
            "smtp::ended_by",
            "sink::Report",
            "sink::Site",
            "sink::space",
            "threads",
        ],
    ),
    ("memory_sum", &["admin", "dns", "filter", "front", "log", "ring::locked_memory", "smtp::settings"]),
    ("shutdown", &["handoff::channel", "handoff::doorbell", "log", "shard::order", "signals"]),
    ("shard", &["auth", "dns", "front", "handoff", "log", "metrics", "ring", "sink", "smtp", "tls"]),
    ("sink", &["accounts", "handoff", "metrics", "smtp::trace"]),
    ("handoff", &["dns"]),
    ("auth", &["dns", "escape", "limits", "mail"]),
    ("client", &["escape", "limits", "mail", "scan"]),
    ("filter", &["mail"]),
    ("front", &["auth::sender", "auth::spf", "dns", "limits", "mail", "timestamp"]),
    ("dns", &["handoff::channel", "handoff::lookup"]),
    ("tls", &["smtp::settings"]),
    ("smtp", &["counter", "limits", "mail", "scan", "timestamp"]),
    ("forward::notice", &["config::forward", "mail", "timestamp"]),
    ("forward::schedule", &[]),
    ("ring", &[]),
    ("sandbox", &["accounts"]),
    ("accounts", &[]),
    ("signals", &[]),
    ("scan", &[]),
    ("log", &["handoff::channel", "handoff::doorbell", "smtp::ended_by", "smtp::reason"]),
    ("counter", &[]),
    ("metrics", &["smtp"]),
    ("recipient_map", &["client", "handoff", "sink::Report", "sink::Site", "tls::as_client"]),
    ("resource_limits", &[]),
    ("nats", &["tls::as_client"]),
    (
        "station",
        &[
            "client",
            "filter",
            "handoff",
            "metrics",
            "nats",
            "sink::Report",
            "sink::Site",
            "sink::envelope_json",
            "tls::as_client",
        ],
    ),
    ("service_manager", &[]),
    ("threads", &[]),
    ("buffer", &[]),
    ("huge_pages", &[]),
    ("mail", &["limits"]),
    ("config", &["auth::rules", "dns", "front", "smtp::extension", "smtp::policy", "smtp::settings"]),
    ("limits", &[]),
    ("escape", &[]),
    ("timestamp", &[]),
];

/// Plain values that everybody may use.
const PLAIN: &[&str] =
    &["counter", "limits", "config", "mail", "buffer", "huge_pages", "escape", "timestamp"];

/// Rooms that see no socket, file, thread or clock, and use nothing but what their rows name.
const SANS_IO: &[&str] =
    &["auth", "client", "filter", "forward::notice", "forward::schedule", "front", "mail", "scan", "smtp"];

#[test]
fn imports_follow_the_arrow() {
    let mut wrong = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&folder);
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        let module = module_of(&file, &folder);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            assert_eq!(module, "lib", "{} is in no row of ARROWS", file.display());
            continue;
        };
        // The program is a crate beside the library.
        let root = if module == "main" { "ringmx::" } else { "crate::" };
        for target in targets(&fs::read_to_string(&file).expect("readable source"), root) {
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
    let folder = |room: &&str| root.join(room.replace("::", "/"));
    let files: Vec<PathBuf> = SANS_IO.iter().flat_map(|room| sources(&folder(room))).collect();
    let texts: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("readable source")).collect();
    for (file, text) in files.iter().zip(&texts) {
        // What tests do is theirs, in a file of its own as at the end of another one.
        let name = file.file_stem().expect("a name").to_string_lossy();
        let below = file.strip_prefix(&root).expect("a file below");
        let is_in_tests = below.components().any(|part| part.as_os_str() == "tests");
        let is_tests = |text: &String| text.contains(&format!("#[cfg(test)]\nmod {name};"));
        if is_in_tests || texts.iter().any(is_tests) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in FORBIDDEN {
                assert!(!line.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

/// Circles of files that there still are, below `src`: each circle that is found has to be inside one of
/// these.
const CIRCLES: &[&[&str]] = &[];

#[test]
fn files_do_not_need_one_another() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    circles::hold(&root, "ringmx", CIRCLES);
}

/// A page that names a file which is not there misleads whoever reads it first. Names in capitals stand for
/// any.
#[test]
fn files_that_documents_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let mut named = 0;
    for page in widths::documents() {
        let text = fs::read_to_string(&page).expect("a document");
        for path in text.split('`').skip(1).step_by(2) {
            let is_ours =
                ["src/", "tests/", "loadgen/", "benches/"].iter().any(|room| path.starts_with(room));
            let is_path = path.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
            let has_extension = Path::new(path).extension().is_some_and(|extension| extension == "rs");
            let is_source = has_extension && path.contains('/');
            if !(is_ours || is_source) || !is_path || path.contains("KIND") || path.contains("NAME") {
                continue;
            }
            named += 1;
            // Pages about one room name its files from there.
            let rooms = [root.to_owned(), root.join("src"), page.parent().expect("a folder").to_owned()];
            if !rooms.iter().any(|room| room.join(path).exists()) {
                missing.push(format!("{}: {path}", below_root(&page)));
            }
        }
    }
    assert!(named > 50, "the names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every source of the project with its name below the root; those of the fuzz targets are a few lines each.
fn named_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "loadgen/src", "loadgen/tests", "tests", "benches"];
    let files = folders.iter().flat_map(|folder| sources(&root.join(folder)));
    files
        .map(|file| (below_root(&file), fs::read_to_string(&file).expect("readable source")))
        .filter(|(name, _)| !name.starts_with("tests/fuzz/"))
        .collect()
}

fn below_root(path: &Path) -> String {
    let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("a file of the project");
    below.to_string_lossy().into_owned()
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

/// The top-level module below this folder that a file belongs to; the module inside of it, if that has a row
/// of its own.
fn module_of(file: &Path, root: &Path) -> String {
    let inside = file.strip_prefix(root).expect("a file below");
    let names = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let names: Vec<String> = names.take(2).map(|name| name.trim_end_matches(".rs").to_string()).collect();
    let inner = names.join("::");
    let has_row = ARROWS.iter().any(|(name, _)| *name == inner);
    if has_row { inner } else { names.into_iter().next().expect("a name") }
}

/// Every path below this root (`crate::`) that a source names, as `module` or `module::item`.
fn targets(text: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(root) {
        // `$crate::` and names that end in `crate` are not paths into this crate; comments may say what they
        // like.
        let line = text[..start].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//")
            || text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
        {
            continue;
        }
        let rest = &text[start + root.len()..];
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
