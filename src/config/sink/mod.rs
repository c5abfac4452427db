//! `[[sink]]`: where mail goes. What is particular to a kind of sink stands in its own file below; the tables
//! here have one row a kind.

mod discard;
mod facts;
mod maildir;
pub(super) mod nats;
mod spool;
mod stdout;

use self::discard::Discard;
pub use self::facts::SinkFacts;
pub use self::maildir::{LineEndings, Maildir, MaildirSync, Quarantine};
pub use self::nats::{Nats, NatsServer};
pub use self::spool::Spool;
pub use self::stdout::{Stdout, StdoutFormat};
use super::document::Fallback;
use super::identity::Identity;
use super::section::Section;
use super::units::GIB;

/// Threads of one sink, at most.
const WORKERS_MAX: usize = 256;

/// The sink and its settings.
#[derive(Debug, Clone)]
pub struct Sink {
    /// What it is.
    pub kind: SinkKind,
    /// Threads that store; shards are dealt to them in turn.
    pub workers: usize,
    /// Octets that a disk sink leaves free on its file system. `None` for the rule of the key's line in the
    /// reference.
    pub space_reserve: Option<u64>,
    /// Whether whoever consumes the store keeps the promises of DSN (RFC 3461).
    pub dsn: bool,
    /// Whether whoever consumes the store keeps the promise of REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// Whether a message is handed to its next hop before its client is answered; the store is for what that
    /// does not come to.
    pub cut_through: bool,
}

/// The kinds of sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// One file a message in maildirs.
    Maildir(Maildir),
    /// Append-only segments.
    Spool(Spool),
    /// One line or mbox entry a message on standard output.
    Stdout(Stdout),
    /// A stream of a NATS cluster, and no store of our own.
    Nats(Box<Nats>),
    /// Counts messages and drops them.
    Discard,
}

impl SinkKind {
    /// The word for it, as in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Maildir(_) => "maildir",
            Self::Spool(_) => "spool",
            Self::Stdout(_) => "stdout",
            Self::Nats(_) => "nats",
            Self::Discard => "discard",
        }
    }
}

impl Sink {
    /// What is to be known of its kind.
    pub fn facts(&self) -> &dyn SinkFacts {
        match &self.kind {
            SinkKind::Maildir(maildir) => maildir,
            SinkKind::Spool(spool) => spool,
            SinkKind::Stdout(stdout) => stdout,
            SinkKind::Nats(nats) => &**nats,
            SinkKind::Discard => &Discard,
        }
    }
}

/// What the table says, by any kind.
struct ByKind {
    maildir: Maildir,
    spool: Spool,
    stdout: Stdout,
    nats: Nats,
}

/// A kind as the file knows it.
struct Row {
    word: &'static str,
    /// The keys that no other kind has.
    keys: &'static [&'static str],
    /// Whether it stores into a directory, so that it has `path` and `space_reserve`.
    is_on_disk: bool,
    /// Without `workers`. Where it is 1 there cannot be more.
    workers_default: usize,
    /// Whether a program that reads the store may send the notifications that DSN promises.
    may_notify: bool,
    /// Whether somebody else has messages first, and it is only the store of what they do not take.
    is_fallback: bool,
    kind: fn(ByKind) -> SinkKind,
}

/// The table of kinds, one row each.
static ROWS: [Row; 6] = [
    Row {
        word: "maildir",
        keys: maildir::KEYS,
        is_on_disk: true,
        workers_default: 2,
        may_notify: false,
        is_fallback: false,
        kind: |found| SinkKind::Maildir(found.maildir),
    },
    Row {
        word: "spool",
        keys: spool::KEYS,
        is_on_disk: true,
        workers_default: 1,
        may_notify: true,
        is_fallback: false,
        kind: |found| SinkKind::Spool(found.spool),
    },
    Row {
        word: "forward",
        keys: &["segment_size", "direct_writes", "fallback"],
        is_on_disk: true,
        workers_default: 1,
        may_notify: true,
        is_fallback: true,
        kind: |found| SinkKind::Spool(found.spool),
    },
    Row {
        word: "nats",
        keys: nats::KEYS,
        is_on_disk: true,
        workers_default: 1,
        may_notify: true,
        is_fallback: false,
        kind: |found| {
            if found.nats.has_fallback {
                SinkKind::Spool(found.spool)
            } else {
                SinkKind::Nats(Box::new(found.nats))
            }
        },
    },
    Row {
        word: "stdout",
        keys: stdout::KEYS,
        is_on_disk: false,
        workers_default: 1,
        may_notify: false,
        is_fallback: false,
        kind: |found| SinkKind::Stdout(found.stdout),
    },
    Row {
        word: "discard",
        keys: &[],
        is_on_disk: false,
        workers_default: 1,
        may_notify: false,
        is_fallback: false,
        kind: |_| SinkKind::Discard,
    },
];

/// The word of each kind, in the order of the table.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.word)
}

/// Reads the table: the sink, and the cluster that has messages before it, where there is one.
pub(super) fn read(root: &mut Section<'_>, identity: &Identity) -> (Sink, Option<Nats>) {
    let mut sections = root.tables("sink", "Where mail goes; exactly one for now.").into_iter();
    let first = sections.next();
    let has_auth = root.given("auth");
    for more in sections {
        more.refuse("this version of ringmx has exactly one sink; take out all [[sink]] but one".to_owned());
    }
    if let Some(section) = first {
        return one(section, identity, has_auth);
    }
    if !root.faulty("sink") {
        let example =
            "write for example\n    | [[sink]]\n    | kind = \"maildir\"\n    | path = \"ringmx-data\"";
        root.problem("sink", format!("nowhere to store mail; {example}"));
    }
    let sink = Sink {
        kind: SinkKind::Discard,
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    (sink, None)
}

/// The keys of all kinds are read whatever the kind, so that a misplaced key is told from an unknown one.
fn one(mut section: Section<'_>, identity: &Identity, has_auth: bool) -> (Sink, Option<Nats>) {
    section.needs_restart_but(&["space_reserve", "dsn", "requiretls"]);
    let row = section.choice_or(
        "kind",
        &ROWS.each_ref().map(|row| (row.word, row)),
        Fallback::Required { example: "\"maildir\"" },
        "What it is. maildir and spool are durable; stdout and discard promise nothing. With `forward` a message is handed to its next hop (`[[forward]]`) before its client is answered, and a spool has what the next hop neither takes nor refuses at once. With `nats` a JetStream stream of a cluster has the mail, and 250 comes after its acknowledgement.",
    );
    let path = section.path(
        "path",
        Fallback::Depends {
            example: "\"ringmx-data\"",
            required: "for maildir, spool, forward, and nats with `fallback`",
        },
        "The directory of a maildir, or of a spool.",
    );
    let path = path.unwrap_or_default();
    let workers = section.optional_integer(
        "workers",
        1..=WORKERS_MAX,
        Fallback::Computed { example: "2", default: "2 for maildir, 1 otherwise" },
        "Threads that store; shards are dealt to them in turn, so no more are started than there are shards.",
    );
    let workers = workers.or(row.map(|row| row.workers_default)).unwrap_or(1);
    let maildir = maildir::read(&mut section, path.clone());
    let spool = spool::read(&mut section, path);
    let space_reserve = space_reserve(&mut section);
    let stdout = stdout::read(&mut section);
    let mut nats = nats::read(&mut section, maildir.create);
    let dsn = section.boolean(
        "dsn",
        false,
        "Spool: whether whoever consumes it sends the notifications that DSN promises (RFC 3461); then it is offered.",
    );
    let requiretls = section.boolean(
        "requiretls",
        false,
        "Whether whoever consumes the store hands mail on as REQUIRETLS asks (RFC 8689); then it is offered under TLS.",
    );
    let fallback = section.choice_or(
        "fallback",
        &[("spool", ())],
        Fallback::Computed { example: "\"spool\"", default: "none; forward needs it" },
        "Forward: what stores a message that its next hop neither takes nor refuses at once. Nats: what stores one that the cluster has not acknowledged within 2 s.",
    );
    let cut_through = row.is_some_and(|row| row.is_fallback);
    if cut_through && fallback.is_none() && !section.given("fallback") {
        section.problem("fallback", "missing; write fallback = \"spool\"".to_owned());
    }
    nats.has_fallback = fallback.is_some();
    let cluster = row.filter(|row| row.word == "nats").map(|_| nats.clone());
    let kind = row.map_or(SinkKind::Discard, |row| (row.kind)(ByKind { maildir, spool, stdout, nats }));
    let sink = Sink { kind, workers, space_reserve, dsn, requiretls, cut_through };
    if let Some(row) = row {
        rules(&mut section, row, &sink);
    }
    if let SinkKind::Maildir(maildir) = &sink.kind {
        maildir::template_rules(&section, maildir, identity);
        maildir::mode_rules(&section, maildir);
        maildir::quarantine_rule(&section, maildir, has_auth);
    }
    if let Some(cluster) = &cluster {
        nats::rules(&mut section, cluster);
    }
    section.finish();
    (sink, cluster)
}

fn space_reserve(section: &mut Section<'_>) -> Option<u64> {
    section.optional_size(
        "space_reserve",
        0..=1024 * 1024 * GIB,
        Fallback::Computed { example: "\"512MiB\"", default: "the lesser of 1GiB and 5 % of the file system" },
        "Maildir and spool: octets left free on the file system, by temporary files too. With less, or less than SIZE beyond it, MAIL is answered 452.",
    )
}

/// What a kind says of the keys. One that means nothing to it is a slip, and is not ignored.
fn rules(section: &mut Section<'_>, row: &Row, sink: &Sink) {
    let mut foreign = |keys: &[&'static str], has: &dyn Fn(&Row) -> bool| {
        let homes: Vec<String> =
            ROWS.iter().filter(|row| has(row)).map(|row| format!("\"{}\"", row.word)).collect();
        for key in keys {
            if section.given(key) && !has(row) {
                section.problem(key, format!("this key is for a sink of kind {}", homes.join(" or ")));
            }
        }
    };
    foreign(&["path"], &|row| row.is_on_disk);
    for (index, owner) in ROWS.iter().enumerate() {
        let is_told = |key: &&&str| ROWS.iter().take(index).any(|before| before.keys.contains(key));
        for key in owner.keys.iter().filter(|key| !is_told(key)) {
            foreign(&[key], &|row| row.keys.contains(key));
        }
    }
    foreign(&["space_reserve"], &|row| row.is_on_disk);
    if row.workers_default == 1 && sink.workers > 1 {
        section.problem("workers", "only a maildir can have more than 1 worker".to_owned());
    }
    if sink.facts().directory().is_some() && !section.given("path") {
        section.problem(
            "path",
            "missing; this sink stores into a directory, write for example path = \"ringmx-data\"".to_owned(),
        );
    }
    if sink.dsn && !row.may_notify {
        section.problem(
            "dsn",
            "nobody behind this kind of sink sends the notifications that DSN promises; only a spool may have it"
                .to_owned(),
        );
    }
}
