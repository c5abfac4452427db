//! What every disk sink promises, checked on whatever file system its store is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ringmx::config::{self, LineEndings, MaildirSync, Quarantine, SinkKind};
use ringmx::mail::envelope::BodyType;
use ringmx::mail::outcome::Outcome;
use ringmx::sink::spool::reader;
use ringmx::sink::{self, Durability, OpenError, Opened, Sink};

use super::{Reports, Sent, store, surroundings};

const SEGMENT_BYTES: u64 = 1024 * 1024;

/// Mail data that has hurt somebody once.
fn odd_mail_data() -> Vec<Vec<u8>> {
    let mut every_octet: Vec<u8> = (0..=255).collect();
    every_octet.extend_from_slice(b"\r\n");
    vec![
        b"Subject: plain\r\n\r\n.\r\n..\r\nFrom here\r\n>From there\r\n".to_vec(),
        Vec::new(),
        b"\r\n".to_vec(),
        b"no line end".to_vec(),
        b"a bare\nLF\r\n".to_vec(),
        b"a bare\rCR\r\n".to_vec(),
        b"ends in CR\r".to_vec(),
        b"\n".to_vec(),
        every_octet,
        vec![0; 5000],
        b"RMXR".repeat(1024),
        b"line\r\n".repeat(600_000),
    ]
}

/// Batches of all sizes.
pub fn batches() -> Vec<Vec<Sent>> {
    let mut number = 0;
    let mut next = |data: Vec<u8>| {
        number += 1;
        Sent::new(number, data)
    };
    let mut batches: Vec<Vec<Sent>> = vec![Vec::new()];
    batches.extend(odd_mail_data().into_iter().map(|data| vec![next(data)]));
    batches.push(odd_mail_data().into_iter().map(&mut next).collect());
    batches.push((0..256).map(|index| next(format!("Subject: {index}\r\n\r\n").into_bytes())).collect());
    let mut several = next(b"to three\r\n".to_vec()).to(&["alice", "Bob", ".hidden", "\"a/b\""]);
    several.reverse_path = (b"", b"");
    let mut binary = next(b"binary\r\n".to_vec());
    binary.body = BodyType::BinaryMime;
    let mut bare = next(b"said to be bare\r\n".to_vec());
    bare.bare_line_ends = true;
    batches.push(vec![several, binary, bare]);
    batches
}

/// Opens a sink of this kind, which has to succeed.
pub fn open(kind: SinkKind, reports: &Arc<Reports>) -> Opened {
    try_open(kind, reports).unwrap_or_else(|error| panic!("{error}"))
}

fn try_open(kind: SinkKind, reports: &Arc<Reports>) -> Result<Opened, OpenError> {
    sink::open(
        &config::Sink {
            kind,
            workers: 1,
            space_reserve: None,
            dsn: false,
            requiretls: false,
            cut_through: false,
        },
        &surroundings(reports),
    )
}

/// Starts the first worker of a sink, or the sink that needs none.
pub fn start(opened: Opened) -> Box<dyn Sink> {
    match (opened.workers.into_iter().next(), opened.inline) {
        (Some(worker), _) => worker().expect("a sink"),
        (None, make) => make.expect("a sink without workers runs inline")(),
    }
}

/// A maildir that syncs each message for itself.
pub fn maildir_kind(path: &Path, template: &str, line_endings: LineEndings) -> SinkKind {
    SinkKind::Maildir(config::Maildir {
        path: path.to_owned(),
        template: template.to_owned(),
        create: false,
        line_endings,
        quarantine: Quarantine::Inbox,
        sync: Some(MaildirSync::Each),
        mode: None,
        group: None,
    })
}

/// A maildir for others, too: its files have this mode, and its files and directories this group.
pub fn shared(mut kind: SinkKind, file_mode: u32, group_number: u32) -> SinkKind {
    if let SinkKind::Maildir(config::Maildir { mode, group, .. }) = &mut kind {
        *mode = Some(file_mode);
        *group = Some(group_number.to_string());
    }
    kind
}

/// A maildir that puts marked mail into a folder of its own.
pub fn with_junk(mut kind: SinkKind) -> SinkKind {
    if let SinkKind::Maildir(config::Maildir { quarantine, .. }) = &mut kind {
        *quarantine = Quarantine::Junk;
    }
    kind
}

/// With the sync that is usual on the file system of the temporary directory: `batch` where that can be.
pub fn usual_sync(mut kind: SinkKind) -> SinkKind {
    if let SinkKind::Maildir(config::Maildir { sync, .. }) = &mut kind {
        *sync = None;
    }
    kind
}

/// A spool with small segments.
pub fn spool_kind(path: &Path) -> SinkKind {
    SinkKind::Spool(config::Spool {
        path: path.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        direct_writes: true,
    })
}

/// What the name of a file in a maildir says of its size is true: in octets (`S=`), and in octets if each
/// line ended in CRLF (`W=`), which is what IMAP servers tell their clients.
fn assert_sizes(path: &Path, octets: &[u8]) {
    let name = path.file_name().expect("a name").to_string_lossy();
    let Some((_, sizes)) = name.split_once(",S=") else { return };
    let before = std::iter::once(&b'\0').chain(octets);
    let bare_lf = before.zip(octets).filter(|(before, octet)| **octet == b'\n' && **before != b'\r').count();
    assert_eq!(sizes, format!("{},W={}", octets.len(), octets.len() + bare_lf), "{}", path.display());
}

/// The files below a directory by the directory they are in, sorted.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    fn walk(root: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<Vec<u8>>>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, files);
            } else if path.file_name().is_some_and(|name| name != ".ringmx.lock") {
                let of = directory.strip_prefix(root).expect("below").display().to_string();
                let octets = fs::read(&path).expect("a file");
                assert_sizes(&path, &octets);
                files.entry(of).or_default().push(octets);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(directory, directory, &mut all);
    for files in all.values_mut() {
        files.sort();
    }
    all
}

fn directory_of(recipient: &(Vec<u8>, &[u8]), template: &str) -> String {
    let local_part = match &*recipient.0 {
        b".hidden" => "%2Ehidden".to_owned(),
        b"\"a/b\"" => "%22a%2Fb%22".to_owned(),
        plain => String::from_utf8_lossy(plain).into_owned(),
    };
    match template {
        "" => "new".to_owned(),
        "{domain}" => "x.test/new".to_owned(),
        _ => format!("x.test/{local_part}/new"),
    }
}

/// Stores batches in a maildir and finds them; gives its description, or why it cannot be opened.
pub fn maildir(root: &Path, kind: SinkKind, batches: &[Vec<Sent>]) -> Result<String, OpenError> {
    let SinkKind::Maildir(config::Maildir { template, line_endings, .. }) = &kind else {
        panic!("no maildir")
    };
    let (template, line_endings) = (template.clone(), *line_endings);
    let reports = Arc::default();
    let opened = try_open(kind, &reports)?;
    assert_ne!(opened.durability, Durability::None);
    let description = opened.description.clone();
    assert!(description.starts_with(&format!("maildir {}, sync = ", root.display())));
    let mut sink = start(opened);
    let mut expected: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for batch in batches {
        assert_eq!(store(&mut *sink, batch), vec![Outcome::Stored; batch.len()], "{:?}", reports.take());
        for sent in batch {
            let mut shared: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (index, recipient) in sent.recipients.iter().enumerate() {
                shared.entry(directory_of(recipient, &template)).or_default().push(index);
            }
            for (directory, recipients) in shared {
                let file = sent.shared_file(&recipients, line_endings == LineEndings::Lf);
                expected.entry(directory).or_default().push(file);
            }
        }
    }
    for files in expected.values_mut() {
        files.sort();
    }
    assert!(files(root) == expected, "{:?}", files(root).keys());
    assert_eq!(reports.take(), [""; 0]);
    Ok(description)
}

/// Stores batches in a spool and reads them back beside it; an error says why it cannot be opened.
pub fn spool(path: &Path, batches: &[Vec<Sent>]) -> Result<(), OpenError> {
    let reports = Arc::default();
    let opened = try_open(spool_kind(path), &reports)?;
    assert_ne!(opened.durability, Durability::None);
    let mut sink = start(opened);
    for batch in batches {
        assert_eq!(store(&mut *sink, batch), vec![Outcome::Stored; batch.len()], "{:?}", reports.take());
    }
    let sent = batches.concat();
    assert_listed(path, &sent);
    for sent in sent.iter().filter(|sent| sent.data.len() < 10_000).take(40).chain(sent.last()) {
        let mut shown = Vec::new();
        assert!(reader::show(path, sent.id, reader::View::Content, &mut shown).expect("a spool"));
        assert!(shown == sent.content());
    }
    let unknown = Sent::new(9999, "").id;
    assert!(!reader::show(path, unknown, reader::View::Content, &mut Vec::new()).expect("a spool"));
    let mut stored = Vec::new();
    reader::for_each_record(path, None, &mut reader::Notes::default(), |segment, record, envelope| {
        stored.push(segment.content(record, envelope)?);
        Ok(())
    })
    .expect("a spool");
    assert!(stored == sent.iter().map(Sent::content).collect::<Vec<_>>());
    assert_eq!(reports.take(), [""; 0]);
    Ok(())
}

fn assert_listed(path: &Path, sent: &[Sent]) {
    let mut listing = Vec::new();
    let notes = reader::list(path, None, &mut listing).expect("a spool");
    assert!(notes.is_empty(), "{notes:?}");
    let lines: Vec<_> = String::from_utf8(listing).expect("UTF-8").lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), sent.len());
    for (line, sent) in lines.iter().zip(sent) {
        let bytes = sent.content().len();
        assert!(line.starts_with(&format!("{} 2023-11-14T22:13:20.000042Z {bytes} <", sent.id)));
        let recipients: Vec<String> = sent
            .recipients
            .iter()
            .map(|(local_part, domain)| {
                format!("<{}@{}>", String::from_utf8_lossy(local_part), String::from_utf8_lossy(domain))
            })
            .collect();
        assert!(line.contains(&format!("> {} - stored 00000000", recipients.join(","))), "{line}");
    }
}
