//! Every sink keeps the same contract: order, one outcome each, all or nothing, and the exact octets of what
//! was received.

mod junk;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ringmx::config::{self, LineEndings, StdoutFormat};
use ringmx::mail::outcome::{Outcome, Refused, TryAgain};
use ringmx::metrics::Pulse;
use ringmx::sink::spool::reader;
use ringmx::sink::stdout::Stdout;
use ringmx::sink::{self, Durability, Report, Sink as _};

use support::sink::contract::{self, batches, files, maildir_kind, open, spool_kind, start, usual_sync};
use support::sink::{Reports, Sent, replace, store, surroundings};

#[test]
fn maildir_keeps_the_contract() {
    for (template, line_endings, is_usual) in [
        ("", LineEndings::Lf, true),
        ("", LineEndings::Lf, false),
        ("{domain}", LineEndings::Crlf, false),
        ("{domain}/{local}", LineEndings::Lf, true),
        ("{domain}/{local}", LineEndings::Lf, false),
        ("{domain}/{local}", LineEndings::Crlf, true),
    ] {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let root = store_at.path().join("made/here");
        let kind = maildir_kind(&root, template, line_endings);
        let opened = contract::maildir(&root, if is_usual { usual_sync(kind) } else { kind }, &batches());
        println!("{}", opened.expect("it opens"));
    }
}

#[test]
fn maildir_names_and_modes_are_as_documented() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let reports = Arc::default();
    let mut sink = start(open(maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf), &reports));
    let sent = Sent::new(1, "x\r\n");
    store(&mut *sink, std::slice::from_ref(&sent));
    let maildir = store_at.path().join("x.test/alice");
    for directory in ["..", ".", "tmp", "new", "cur"] {
        let mode = fs::metadata(maildir.join(directory)).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{directory}");
    }
    let entry = fs::read_dir(maildir.join("new")).expect("new").next().expect("a file").expect("an entry");
    assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o7777, 0o600);
    let name = entry.file_name().into_string().expect("ASCII");
    let (process, size) = (std::process::id(), sent.file(0, true).len());
    let as_crlf = sent.file(0, false).len();
    assert_eq!(name, format!("1700000000.M42P{process}Q0_3.mx.test,S={size},W={as_crlf}"));
}

/// Everything below a store but its lock: path, mode and group.
fn permissions(root: &Path) -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            let facts = fs::symlink_metadata(&path).expect("its facts");
            if path.file_name().is_some_and(|name| name == ".ringmx.lock") {
                continue;
            }
            found.push((path.display().to_string(), facts.mode() & 0o7777, facts.gid()));
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// A group that files can be given to: any one by root, else our own.
fn some_group() -> u32 {
    if rustix::process::geteuid().is_root() { 54_321 } else { rustix::process::getegid().as_raw() }
}

#[test]
fn a_maildir_for_others_keeps_the_contract_with_its_mode_and_group() {
    let group = some_group();
    for (template, is_usual, mode, of_directories) in [
        ("", true, 0o660, 0o2770),
        ("", false, 0o640, 0o2750),
        ("{domain}/{local}", true, 0o660, 0o2770),
        ("{domain}/{local}", false, 0o600, 0o2700),
    ] {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let root = store_at.path().join("made/here");
        let kind = contract::shared(maildir_kind(&root, template, LineEndings::Lf), mode, group);
        let opened = contract::maildir(&root, if is_usual { usual_sync(kind) } else { kind }, &batches());
        let opened = opened.expect("it opens");
        assert!(opened.ends_with(&format!(", mode = \"{mode:04o}\", group = \"{group}\"")), "{opened}");
        let found = permissions(store_at.path());
        assert!(found.len() > 250, "{} files and directories", found.len());
        for (path, has, of) in found {
            let expected = if Path::new(&path).is_dir() { of_directories } else { mode };
            assert_eq!((has, of), (expected, group), "{path}: mode {has:o}");
        }
    }
}

#[test]
fn a_directory_of_somebody_else_stays_as_it_is_and_one_of_ours_becomes_shared() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let of = |name: &str| store_at.path().join("x.test").join(name);
    for name in ["alice", "bob"] {
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(of(name).join(folder)).expect("made");
        }
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(of("bob"), Some(12_345), None).expect("given away");
    }
    let mode = |path: &Path| fs::metadata(path).expect("a directory").mode() & 0o7777;
    let before = mode(&of("bob"));
    let kind = maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf);
    let mut sink = start(open(contract::shared(kind, 0o660, some_group()), &Arc::default()));
    let sent = Sent::new(1, "x\r\n").to(&["alice", "bob"]);
    assert_eq!(store(&mut *sink, &[sent]), [Outcome::Stored]);
    assert_eq!((mode(&of("alice")), mode(&of("alice/cur"))), (0o2770, 0o2770));
    assert_eq!(mode(&of("bob/cur")), 0o2770);
    assert_eq!(mode(&of("bob")), if is_root { before } else { 0o2770 });
}

#[test]
fn spool_keeps_the_contract_and_reads_back() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    contract::spool(store_at.path(), &batches()).expect("it opens");
}

/// A kind is held to it by its row in the table of kinds; a new one needs no test for that.
#[test]
fn every_kind_keeps_the_contract_and_is_what_its_facts_say() {
    for kind in config::sink::kinds() {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let config = configured(kind, &store_at.path().join("made/here"));
        let reports = Arc::default();
        let opened = sink::open(&config, &surroundings(&reports)).unwrap_or_else(|error| panic!("{error}"));
        let facts = config.facts();
        assert_eq!(opened.workers.len(), facts.workers(config.workers), "workers of {kind}");
        assert_eq!(opened.workers.is_empty(), opened.inline.is_some(), "{kind} runs somewhere, once");
        assert_eq!(opened.mailboxes.is_some(), facts.has_mailboxes(), "mailboxes of {kind}");
        let promises = opened.durability != Durability::None;
        let is_elsewhere = opened.durability == Durability::Quorum;
        assert_eq!(
            promises && !is_elsewhere,
            facts.directory().is_some(),
            "{kind} promises what it can keep"
        );
        assert!(promises || !opened.notes.is_empty(), "{kind} promises nothing and does not say so");
        // What it prints is this program's own output; it is read from a pipe below.
        if kind == "stdout" {
            continue;
        }
        let mut sink = start(opened);
        for batch in batches() {
            // What a cluster has does not come to its sink; anything that does is put off.
            let outcome = if is_elsewhere { Outcome::TryAgain(TryAgain::Local) } else { Outcome::Stored };
            assert_eq!(store(&mut *sink, &batch), vec![outcome; batch.len()], "{kind}");
        }
        assert_eq!(reports.take(), [""; 0], "{kind}");
    }
}

/// A sink of this kind, with its path if it has one.
fn configured(kind: &str, path: &Path) -> config::Sink {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"";
    let parsed = |keys: String| {
        let text = format!("{listener}\n[[sink]]\nkind = {kind:?}\n{keys}");
        config::parse(&text, "sink.toml", Path::new("/")).map(|(config, _)| config.sink)
    };
    let path = format!("path = \"{}\"\n", path.display());
    let route = "fallback = \"spool\"\n[[forward]]\nto = [\"smtp://127.0.0.1:25\"]\n";
    let cluster = "servers = [\"nats://127.0.0.1:4222\"]\nstream = \"MAIL\"\n";
    parsed(path.clone())
        .or_else(|_| parsed(String::new()))
        .or_else(|_| parsed(path + route))
        .or_else(|_| parsed(cluster.to_owned()))
        .expect("nothing but a path is needed, a next hop where mail is handed on at once, or a cluster")
}

fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (OwnedFd::from(reader).into(), writer.into())
}

fn stdout(writer: OwnedFd, format: StdoutFormat, stall: Duration, reports: &Arc<Reports>) -> Stdout {
    Stdout::new(writer, format, stall, Arc::clone(reports) as Arc<dyn Report>)
}

#[test]
fn stdout_json_keeps_the_contract() {
    let (reader, writer) = pipe();
    let reading = std::thread::spawn(move || {
        BufReader::new(reader).lines().map(|line| line.expect("a line")).collect::<Vec<_>>()
    });
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_secs(10), &Arc::default());
    for batch in batches() {
        assert_eq!(store(&mut sink, &batch), vec![Outcome::Stored; batch.len()]);
    }
    drop(sink);
    let (lines, sent) = (reading.join().expect("a reader"), batches().concat());
    assert_eq!(lines.len(), sent.len());
    for (line, sent) in lines.iter().zip(&sent) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["id"], sent.id.to_string());
        assert_eq!(line["time"], "2023-11-14T22:13:20.000042Z");
        assert_eq!(line["client"], "192.0.2.1:4711");
        assert_eq!(line["ehlo"], "client.\u{1b}\u{fffd}\"\\\u{7f}\u{85}");
        assert_eq!(line["protocol"], "ESMTP");
        assert_eq!(line["reverse_path"], String::from_utf8_lossy(&sent.sender()).as_ref());
        assert_eq!(line["recipients"].as_array().map(Vec::len), Some(sent.recipients.len()));
        assert_eq!(line["size"], sent.data.len());
        let data = line["data_base64"].as_str().expect("text").as_bytes();
        assert!(data_encoding::BASE64.decode(data).expect("base64") == sent.content());
    }
}

/// Else who watches over the process ends it because of a reader that is slow.
#[test]
fn stdout_moves_its_pulse_while_a_slow_reader_takes_one_message() {
    let (mut reader, writer) = pipe();
    let pulse = Arc::<Pulse>::default();
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_secs(10), &Arc::default());
    sink.watched(&pulse);
    pulse.begin();
    let before = pulse.steps();
    let storing = std::thread::spawn(move || store(&mut sink, &[Sent::new(1, vec![b'x'; 1_000_000])]));
    let mut taken = vec![0; 300_000];
    let mut seen = vec![before];
    for _ in 0..4 {
        reader.read_exact(&mut taken).expect("a pipe");
        let now = pulse.steps();
        assert!(Some(&now) > seen.last() && now % 2 == 1, "{seen:?} {now}");
        seen.push(now);
    }
    drop(reader.read_to_end(&mut taken));
    assert_eq!(storing.join().expect("a sink"), [Outcome::Stored]);
}

#[test]
fn stdout_json_tells_the_parameters() {
    let (mut reader, writer) = pipe();
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_secs(10), &Arc::default());
    let mut promising = Sent::new(1, "x").to(&["a", "b"]);
    promising.promises = true;
    assert_eq!(store(&mut sink, &[promising, Sent::new(2, "x")]), [Outcome::Stored; 2]);
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (with, without) = (&lines[0], &lines[1]);
    assert_eq!((&with["ret"], &with["envid"]), (&"HDRS".into(), &"id\"1".into()));
    let parameters = serde_json::json!({ "notify": "SUCCESS,FAILURE", "orcpt": "rfc822;a+2Bb" });
    assert_eq!(with["recipient_parameters"], serde_json::json!([parameters, parameters]));
    assert_eq!(with["requiretls"], true);
    assert!(without["ret"].is_null() && without["envid"].is_null() && without["requiretls"] == false);
    let none = serde_json::json!([{ "notify": null, "orcpt": null }]);
    assert_eq!(without["recipient_parameters"], none);
}

#[test]
fn stdout_mbox_keeps_the_contract() {
    let (mut reader, writer) = pipe();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("a pipe");
        all
    });
    let mut sink = stdout(writer, StdoutFormat::Mbox, Duration::from_secs(10), &Arc::default());
    let batch = batches().into_iter().find(|batch| batch.len() == 12).expect("odd mail data");
    assert_eq!(store(&mut sink, &batch), vec![Outcome::Stored; batch.len()]);
    drop(sink);
    let mut expected = Vec::new();
    for sent in &batch {
        expected.extend_from_slice(b"From sender@client.test Tue Nov 14 22:13:20 2023\n");
        let entry = sent.file(0, false);
        let entry = replace(&entry, b"\r\nFrom ", b"\r\n>From ");
        expected.extend(replace(&entry, b"\r\n>From there", b"\r\n>>From there"));
        expected.extend_from_slice(if sent.content().ends_with(b"\n") { b"\n" } else { b"\n\n" });
    }
    assert!(reading.join().expect("a reader") == expected);
}

#[test]
fn a_stalled_reader_is_451_and_gets_no_mixed_lines() {
    let (reader, writer) = pipe();
    let reports = Arc::default();
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_millis(100), &reports);
    let large = Sent::new(1, vec![b'x'; 200_000]);
    let begun = Instant::now();
    let outcomes = store(&mut sink, &[large.clone(), Sent::new(2, "x")]);
    assert_eq!(outcomes, [Outcome::TryAgain(TryAgain::Local); 2]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(reports.take().len(), 1, "reported once");
    let reading = std::thread::spawn(move || {
        BufReader::new(reader).lines().map(|line| line.expect("a line")).collect::<Vec<_>>()
    });
    assert_eq!(store(&mut sink, &[Sent::new(3, "x")]), [Outcome::Stored]);
    drop(sink);
    let lines = reading.join().expect("a reader");
    let ids: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line")["id"].to_string())
        .collect();
    let id = |number| format!("\"{}\"", Sent::new(number, "").id);
    assert_eq!(ids, [id(1), id(3)], "the line that was begun is whole, the one that was not is absent");
}

#[test]
fn a_closed_reader_is_451() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_secs(10), &Arc::default());
    for _ in 0..2 {
        assert_eq!(store(&mut sink, &[Sent::new(1, "x")]), [Outcome::TryAgain(TryAgain::Local)]);
    }
}

/// The beginning of the second message was dropped. What is left of it in memory must not pass for all of it.
#[test]
fn mail_data_without_its_beginning_is_stored_by_no_sink() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let (maildir, spool) = (store_at.path().join("maildir"), store_at.path().join("spool"));
    let sent = [1, 2, 3].map(|number| Sent::new(number, "Subject: x\r\n\r\nbody\r\n"));
    let messages = || {
        let mut messages: Vec<_> = sent.iter().map(Sent::message).collect();
        messages[1] = sent[1].clone().spilled(12, store_at.path()).message();
        messages[1].data.let_go();
        messages
    };
    let reports: Arc<Reports> = Arc::default();
    for kind in [maildir_kind(&maildir, "", LineEndings::Crlf), spool_kind(&spool)] {
        let (mut messages, mut outcomes) = (messages(), Vec::new());
        start(open(kind, &reports)).store(&mut messages, &mut outcomes);
        assert_eq!(outcomes, [Outcome::Stored, Outcome::TryAgain(TryAgain::Local), Outcome::Stored]);
        let told = reports.take();
        assert!(
            told.len() == 1 && told[0].ends_with("the beginning of the mail data was dropped"),
            "{told:?}"
        );
    }
    let stored = [0, 2].map(|index| sent[index].file(0, false));
    assert_eq!(files(&maildir).remove("new"), Some(stored.to_vec()));
    let is_in_spool =
        |sent: &Sent| reader::show(&spool, sent.id, reader::View::Content, &mut Vec::new()).expect("a spool");
    assert_eq!(sent.iter().map(is_in_spool).collect::<Vec<_>>(), [true, false, true]);

    let (mut output, writer) = pipe();
    let mut sink = stdout(writer, StdoutFormat::Json, Duration::from_secs(10), &reports);
    let mut outcomes = Vec::new();
    sink.store(&mut messages()[1..2], &mut outcomes);
    assert_eq!(outcomes, [Outcome::TryAgain(TryAgain::Local)]);
    drop(sink);
    let mut written = Vec::new();
    output.read_to_end(&mut written).expect("a pipe");
    assert!(written.is_empty());
}

#[test]
fn a_recipient_that_cannot_be_named_is_refused_and_nothing_is_stored() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let reports = Arc::default();
    let mut sink = start(open(maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf), &reports));
    let long = "/".repeat(90);
    let outcomes =
        store(&mut *sink, &[Sent::new(1, "x").to(&["alice", &long]), Sent::new(2, "y").to(&["bob"])]);
    assert_eq!(outcomes, [Outcome::Refused(Refused::Recipient), Outcome::Stored]);
    assert_eq!(files(store_at.path()).keys().collect::<Vec<_>>(), ["x.test/bob/new"]);
}

#[test]
fn a_maildir_is_made_for_listed_recipients_only() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let mut surroundings = surroundings(&Arc::default());
    surroundings.is_named = Arc::new(|recipient| recipient.local_part == b"alice");
    let config = config::Sink {
        kind: maildir_kind(store_at.path(), "{local}", LineEndings::Lf),
        workers: 1,
        space_reserve: None,
        dsn: false,
        requiretls: false,
        cut_through: false,
    };
    let mut sink = start(sink::open(&config, &surroundings).unwrap_or_else(|error| panic!("{error}")));
    let outcomes = store(&mut *sink, &[Sent::new(1, "x"), Sent::new(2, "y").to(&["stranger"])]);
    assert_eq!(outcomes, [Outcome::Stored, Outcome::TryAgain(TryAgain::Local)]);
    assert!(!store_at.path().join("stranger").exists());
}

#[test]
fn a_link_below_the_root_leads_nowhere() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(store_at.path().join("x.test")).expect("a directory");
    std::os::unix::fs::symlink(outside.path(), store_at.path().join("x.test/alice")).expect("a link");
    let reports = Arc::default();
    let mut sink = start(open(maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf), &reports));
    let outcomes = store(&mut *sink, &[Sent::new(1, "x"), Sent::new(2, "y").to(&["bob"])]);
    assert_eq!(outcomes, [Outcome::TryAgain(TryAgain::Local), Outcome::Stored]);
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
}

#[test]
fn a_store_removed_while_in_use_is_451_and_a_maildir_comes_back() {
    for kind in [|path: &Path| maildir_kind(path, "{local}", LineEndings::Lf), |path: &Path| spool_kind(path)]
    {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let reports: Arc<Reports> = Arc::default();
        let mut sink = start(open(kind(store_at.path()), &reports));
        assert_eq!(store(&mut *sink, &[Sent::new(1, "x")]), [Outcome::Stored]);
        for entry in fs::read_dir(store_at.path()).expect("a directory") {
            let path = entry.expect("an entry").path();
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            // The spool's thread may give the next segment its name just now.
            let is_renamed = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            assert!(removed.as_ref().err().is_none_or(is_renamed), "{removed:?}");
        }
        assert_eq!(store(&mut *sink, &[Sent::new(2, "x")]), [Outcome::TryAgain(TryAgain::Local)]);
        assert!(!reports.take().is_empty());
        // The segment that was made ahead may be gone with the others.
        let recovers = (3..5).any(|number| store(&mut *sink, &[Sent::new(number, "x")]) == [Outcome::Stored]);
        assert!(recovers, "{:?}", reports.take());
        fs::remove_dir_all(store_at.path()).expect("removed");
        assert_eq!(store(&mut *sink, &[Sent::new(5, "x")]), [Outcome::TryAgain(TryAgain::Local)]);
        assert_eq!(store(&mut *sink, &[Sent::new(6, "x")]), [Outcome::TryAgain(TryAgain::Local)]);
    }
}

#[test]
fn a_store_in_use_is_refused_until_its_last_sink_is_gone() {
    for kind in [|path: &Path| maildir_kind(path, "", LineEndings::Lf), |path: &Path| spool_kind(path)] {
        let store_at = tempfile::tempdir().expect("a temporary directory");
        let config = config::Sink {
            kind: kind(store_at.path()),
            workers: 1,
            space_reserve: None,
            dsn: false,
            requiretls: false,
            cut_through: false,
        };
        let sink = start(open(kind(store_at.path()), &Arc::default()));
        let refused = sink::open(&config, &surroundings(&Arc::default())).err().expect("in use").to_string();
        assert!(refused.contains("another ringmx"), "{refused}");
        drop(sink);
        assert!(sink::open(&config, &surroundings(&Arc::default())).is_ok());
    }
}

#[test]
fn old_temporary_files_are_removed_at_start_and_young_ones_stay() {
    let store_at = tempfile::tempdir().expect("a temporary directory");
    let maildir = store_at.path().join("x.test/alice");
    fs::create_dir_all(maildir.join("tmp")).expect("a directory");
    fs::create_dir_all(maildir.join("new")).expect("a directory");
    for (name, hours) in [("tmp/old", 37), ("tmp/young", 35), ("new/old", 37)] {
        let file = File::create(maildir.join(name)).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).expect("a time");
    }
    let opened = open(maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf), &Arc::default());
    assert_eq!(opened.notes, ["removed 1 temporary file older than 36 h"]);
    assert!(!maildir.join("tmp/old").exists());
    assert!(maildir.join("tmp/young").exists() && maildir.join("new/old").exists());
    drop(opened);
    // That of another folder is ours only where we store there.
    fs::create_dir_all(maildir.join(".Junk/tmp")).expect("a directory");
    let file = File::create(maildir.join(".Junk/tmp/old")).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_hours(37)).expect("a time");
    let kind = || maildir_kind(store_at.path(), "{domain}/{local}", LineEndings::Lf);
    assert!(open(kind(), &Arc::default()).notes.is_empty());
    let notes = open(contract::with_junk(kind()), &Arc::default()).notes;
    assert_eq!(notes, ["removed 1 temporary file older than 36 h"]);
}
