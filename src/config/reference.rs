//! The reference of every key, printed by `ringmx config` and kept in docs/configuration.md; and what it
//! knows about a key that is unknown where it stands.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use super::configuration;
use super::document::{DescribedKey, DescribedTable, Document, Fallback, TakenBy};

const HEAD: &str = "\
# Every key of ringmx's configuration. A key that is commented out shows its default, or an example where its
# default is something else. This text is itself a configuration: `ringmx config > ringmx.toml` is a start.
#
# Sizes take KiB, MiB, GiB or plain octets; times take ms, s, min, h, d. Relative paths start at the directory of
# this file. The last word says how a running server takes a change of the key: by a reload (SIGHUP or
# `ringmx reload`), or by a restart only.
";

const DOCUMENT_HEAD: &str = "\
# Configuration

For operators. `ringmx serve FILE` reads one TOML file; without one it listens on 127.0.0.1:2525 and stores
into one maildir, `ringmx-data`. `--config FILE` and `-c FILE` name the file as well. `ringmx check FILE`
names every problem of the file, of the files that it names, and of the store, with its line, and changes
nothing. `serve` tells the same when it starts. A key that ringmx does not know stops the start. There are no
settings from the environment. A *shard* is one thread of the server, on a core of its own, with its own
connections.

- A listener on an address beyond loopback needs `domains`: ringmx is never an open sink by accident.
- Port 0 lets the system choose a free port. It is meant for tests.
- International domains are written as A-labels (`xn--…`) or in Unicode.
- `recipients` names a text file with one address, or `@domain` for every local-part of it, a line. Blank
  lines and lines that begin with `#` are skipped. Addresses are written as in SMTP, so `\"a b\"@example.org`
  has its quotes.
- Memory is bounded, and `ringmx check` prints the sum, by part and with the key that bounds each:

| memory | bound |
| --- | --- |
| for *mail* | `buffers` × `buffer_size` + `block_memory` + 32 MiB for envelopes, a shard; and a batch for each sink worker |
| for *connections* | 24 KiB for each of `connections_max` at its worst (38 KiB where TLS is offered), and 80 MiB a shard |
| of the kernel | twice `receive_buffer` and 64 KiB a connection, as far as `net.ipv4.tcp_mem` allows |

Large and slow messages go on in temporary files of the sink's file system.

The rest of this page is what `ringmx config` prints.

";

/// The commented reference of every key.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for table in tables() {
        print_table(&mut text, table);
    }
    text
}

/// The contents of docs/configuration.md.
pub fn markdown() -> String {
    format!("{DOCUMENT_HEAD}```toml\n{}```\n", reference())
}

/// A table of the configuration, for those who show the reference in another form.
#[derive(Debug)]
pub struct ReferenceTable {
    /// How its header is written; empty for the top of the file.
    pub header: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its keys.
    pub keys: Vec<ReferenceKey>,
}

/// A key of it.
#[derive(Debug)]
pub struct ReferenceKey {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// What may be written, with range, unit and default, and how a running server takes a change.
    pub allowed: String,
    /// A value, as it would be written.
    pub example: &'static str,
}

/// Every table with its keys.
pub fn reference_tables() -> Vec<ReferenceTable> {
    let key = |key: &'static DescribedKey| {
        let (example, default) = key.default.shown();
        let taken_by = key.taken_by.map_or("?", TakenBy::word);
        let allowed = format!("{}; {default}; {taken_by}", key.allowed);
        ReferenceKey { name: key.name, doc: key.doc, allowed, example }
    };
    let table = |table: &'static DescribedTable| ReferenceTable {
        header: &table.header,
        doc: table.doc,
        keys: table.keys.iter().map(key).collect(),
    };
    tables().iter().map(table).collect()
}

/// Every key as it is written with its table (`limits.errors_max`), and how a running server takes a change
/// of it; `None` where nobody has said.
pub fn keys() -> impl Iterator<Item = (String, Option<TakenBy>)> {
    tables().iter().flat_map(|table| {
        let dotted = |key: &str| {
            if table.name.is_empty() { key.to_owned() } else { format!("{}.{key}", table.name) }
        };
        table.keys.iter().map(move |key| (dotted(key.name), key.taken_by))
    })
}

/// What to say about a key that its table does not have.
pub(super) fn unknown_key(table: &str, key: &str, known: &[&'static str]) -> String {
    let homes: Vec<String> = tables()
        .iter()
        .filter(|home| home.name != table && home.keys.iter().any(|known| known.name == key))
        .map(|home| {
            if home.header.is_empty() {
                "at the top of the file".to_owned()
            } else {
                format!("in {}", home.header)
            }
        })
        .collect();
    let shown = key.escape_debug();
    // `[[certificate]]` for `[[tls.certificate]]`.
    let below =
        tables().iter().find(|table| table.name.rsplit_once('.').is_some_and(|(_, last)| last == key));
    if let Some(below) = below.filter(|below| below.name != table) {
        return format!("this key is unknown; write {}", below.header);
    }
    if !homes.is_empty() {
        return format!("`{shown}` belongs {}", homes.join(" or "));
    }
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
    match near {
        // Up to a third of the letters may be wrong; beyond that a guess misleads.
        Some((distance, near)) if distance * 3 <= near.len().max(3) => {
            format!("this key is unknown; did you mean `{near}`?")
        }
        _ => {
            let built = |name: &&&str| tables().iter().any(|home| describes(home, table, name));
            let known: Vec<&str> = known.iter().filter(built).copied().collect();
            format!("this key is unknown; known here: {}", known.join(", "))
        }
    }
}

/// How the header of a table is written, with one pair of brackets or two. `None` for a table that is
/// unknown.
pub(super) fn header_of(name: &str) -> Option<&'static str> {
    let found = tables().iter().find(|table| !table.name.is_empty() && table.name == name);
    found.map(|table| table.header.as_str())
}

/// Whether a name is that of a table at the top of the file, or of a key of `table`: not one that is only
/// refused.
fn describes(home: &DescribedTable, table: &str, name: &str) -> bool {
    (table.is_empty() && home.name == name)
        || (home.name == table && home.keys.iter().any(|key| key.name == name))
}

/// Every table with its keys, found by a walk over a file that gives nothing.
fn tables() -> &'static [DescribedTable] {
    static TABLES: OnceLock<Vec<DescribedTable>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let document = Document::new("", "", Path::new(""), None, unknown_key);
        configuration::read(&document);
        document.into_tables()
    })
}

fn print_table(text: &mut String, table: &DescribedTable) {
    // What must be given stands uncommented, so that the whole is a configuration; nobody must have
    // a [[shard]], a certificate, limits for clients, rules and lists, a filter, a control socket, a route,
    // or an administration of the forwarder.
    let comment_out = matches!(
        table.name,
        "shard"
            | "tls.certificate"
            | "client_limits"
            | "auth"
            | "access"
            | "dnsbl"
            | "filter"
            | "control"
            | "forward"
            | "forward_admin"
    );
    if !table.header.is_empty() {
        let comment = if comment_out { "# " } else { "" };
        let _ = write!(text, "\n# {}\n{comment}{}\n", table.doc, table.header);
    }
    for key in &table.keys {
        let (value, default) = key.default.shown();
        let required = matches!(key.default, Fallback::Required { .. } | Fallback::Depends { .. });
        let comment = if required && !comment_out { "" } else { "# " };
        // A test holds that every key has one.
        let taken_by = key.taken_by.map_or("?", TakenBy::word);
        let _ = write!(
            text,
            "\n# {}\n# {}; {default}; {taken_by}\n{comment}{} = {value}\n",
            key.doc, key.allowed, key.name
        );
    }
}
