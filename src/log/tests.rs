//! Tests of the log as a whole.

use super::*;

fn written(format: LogFormat, write: impl FnOnce(Record<'_>)) -> String {
    let (mut log, _writer) = start(format).expect("log");
    write(log.record(&events::MESSAGE, SystemTime::UNIX_EPOCH));

    String::from_utf8(std::mem::take(&mut log.main.chunk.octets)).expect("UTF-8")
}

#[test]
fn what_a_client_sent_cannot_begin_a_line_or_reach_a_terminal() {
    let text = written(LogFormat::Text, |record| {
        record.text("ehlo", b"a\r\nb\x1b[2J\"\xff").number("bytes", 7).end();
    });
    assert_eq!(text, "1970-01-01T00:00:00.000000Z message ehlo=\"a\\r\\nb\\x1b[2J\\\"\\xff\" bytes=7\n");
}

#[test]
fn a_json_record_is_json() {
    let text = written(LogFormat::Json, |record| {
        let paths: [&[u8]; 2] = [b"a@x.test", b"\"\x01\xff"];
        record.text("ehlo", b"x").plain("id", 5).number("bytes", 1).texts("to", paths.into_iter()).end();
    });
    let expected = concat!(
        r#"{"time":"1970-01-01T00:00:00.000000Z","level":"info","event":"message","ehlo":"x","id":"5","#,
        r#""bytes":1,"to":["a@x.test","\"\u0001�"]}"#,
        "\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn numbers_and_booleans_are_those_of_json() {
    let write = |record: Record<'_>| record.boolean("told", true).boolean("resumed", false).end();
    let text = written(LogFormat::Json, write);
    assert!(text.ends_with(",\"told\":true,\"resumed\":false}\n"), "{text}");
    let text = written(LogFormat::Text, write);
    assert!(text.ends_with(" told=true resumed=false\n"), "{text}");
    let (mut log, _writer) = start(LogFormat::Json).expect("log");
    log.record(&events::SHARDS, SystemTime::UNIX_EPOCH).numbers("cpus", [0, 3].into_iter()).end();
    assert!(log.main.chunk.octets.ends_with(b",\"cpus\":[0,3]}\n"));
    assert_eq!(log.main.chunk.notable[0].text, "cpus=0,3");
}

#[test]
fn however_many_lines_come_in_a_turn_a_chunk_has_its_length() {
    let (mut log, writer) = stalled();
    assert!(writer.consumer.park(|| true), "the writer sleeps");
    for _ in 0..200 {
        log.session_record(&events::SESSION, SystemTime::UNIX_EPOCH).text("ehlo", &[b'x'; 500]).end();
        assert!(log.sessions.chunk.len() < CHUNK_BYTES + record::LINE_BYTES_MAX);
    }
    assert!(log.unrung.is_some(), "the writer is rung once, at the end of the turn");
    assert!(log.flush_if_due(Instant::now()).is_some());
    assert!(log.unrung.is_none() && log.is_empty());
}

#[test]
fn a_long_record_is_cut_and_stays_one_of_its_form() {
    let long = [0_u8; 2 * record::LINE_BYTES_MAX];
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = written(format, |record| {
            record
                .text("ehlo", &long)
                .text("from", &long)
                .texts("to", std::iter::repeat_n(&b"a@x.test"[..], 10_000))
                .text("place", b"kept")
                .end();
        });
        assert!(text.len() < record::LINE_BYTES_MAX + record::FIELD_BYTES_MAX, "{}", text.len());
        match format {
            LogFormat::Text => assert!(text.ends_with(" cut=true\n"), "{text}"),
            LogFormat::Json => {
                let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(value["cut"], true);
            }
        }
    }
    let text = written(LogFormat::Json, |record| {
        record.texts("to", std::iter::repeat_n(&b"a@x.test"[..], 10_000)).text("place", b"kept").end();
    });
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&value["place"], &value["cut"]), (&"kept".into(), &true.into()));
    assert!(value["to"].as_array().is_some_and(|to| to.len() > 100));
}

#[test]
#[should_panic(expected = "is not in the table")]
fn a_field_that_is_not_declared_cannot_be_written() {
    written(LogFormat::Text, |record| record.number("ehlo", 1).end());
}

#[test]
fn notable_records_reach_the_recent_ones_through_the_writer() {
    let (mut log, writer) = start(LogFormat::Json).expect("log");
    let recent = log.recent();
    log.record(&events::MESSAGE, SystemTime::UNIX_EPOCH).end();
    for _ in 0..10 * lane::NOTABLE_MAX {
        log.record(&events::NOTE, SystemTime::UNIX_EPOCH).text("text", b"a b").end();
    }
    drop(log);
    assert!(writer.finish(Duration::from_mins(1)));
    let events = recent.events();
    assert_eq!(events.len(), lane::NOTABLE_MAX, "of one chunk");
    let first = &events[0];
    assert_eq!((first.level, first.event, first.text.as_str()), (Level::Notice, "note", "text=\"a b\""));
}

/// Waits until a file has this word.
fn wait_for(path: &std::path::Path, word: &str) {
    let start = Instant::now();
    while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(word)) {
        assert!(start.elapsed() < Duration::from_mins(1), "no {word} in {}", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_file_is_opened_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let (path, old) = (folder.path().join("log"), folder.path().join("old"));
    let (mut log, writer) = start_on(LogFormat::Text, Output::open(&path).expect("a file")).expect("log");
    let mut write = |text: &[u8]| {
        log.record(&events::NOTE, SystemTime::UNIX_EPOCH).text("text", text).end();
        log.flush();
    };
    write(b"one");
    wait_for(&path, "one");
    std::fs::rename(&path, &old).expect("moved");
    write(b"two");
    wait_for(&old, "two");
    log.reopen();
    wait_for(&path, "");
    log.record(&events::NOTE, SystemTime::UNIX_EPOCH).text("text", b"three").end();
    drop(log);
    assert!(writer.finish(Duration::from_mins(1)));
    let read = |path| std::fs::read_to_string(path).expect("a file");
    assert!(read(&old).contains("one") && read(&old).contains("two") && !read(&old).contains("three"));
    assert!(read(&path).ends_with(" note text=\"three\"\n"));
}

#[test]
fn a_link_a_pipe_or_a_directory_is_no_file_for_the_log_and_nothing_waits_for_a_reader() {
    use rustix::fs::{CWD, Mode};
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name| folder.path().join(name);
    std::fs::write(at("other"), "its text").expect("a file");
    std::os::unix::fs::symlink("other", at("link")).expect("a link");
    std::os::unix::fs::symlink("nothing", at("dangling")).expect("a link");
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
    rustix::fs::mkfifoat(CWD, at("read"), Mode::RUSR | Mode::WUSR).expect("a pipe");
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(at("read")).expect("open");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    let why = |name| Output::open(&at(name)).err().unwrap_or_else(|| panic!("{name}")).to_string();
    for name in ["link", "dangling"] {
        assert_eq!(why(name), "it is a symbolic link, which is not followed");
    }
    for name in ["pipe", "read", "socket"] {
        assert_eq!(why(name), "it is neither a regular file nor a character device", "{name}");
    }
    assert!(why(".").contains("directory"));
    assert!(!at("nothing").exists());
    assert_eq!(std::fs::read_to_string(at("other")).expect("a file"), "its text");
    assert!(Output::open("/dev/null".as_ref()).is_ok() && Output::open("/dev/full".as_ref()).is_ok());
    assert!(Output::open(&at("other")).is_ok(), "and so is a file");
}

#[test]
fn where_no_file_can_be_opened_again_the_old_one_goes_on() {
    let folder = tempfile::tempdir().expect("a directory");
    let (path, old) = (folder.path().join("log"), folder.path().join("old"));
    let (mut log, writer) = start_on(LogFormat::Text, Output::open(&path).expect("a file")).expect("log");
    std::fs::rename(&path, &old).expect("moved");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("a pipe");
    log.reopen();
    wait_for(&old, "the log goes on in the file that was open");
    log.record(&events::NOTE, SystemTime::UNIX_EPOCH).text("text", b"three").end();
    drop(log);
    assert!(writer.finish(Duration::from_mins(1)));
    assert!(std::fs::read_to_string(&old).expect("a file").ends_with(" note text=\"three\"\n"));
}

#[test]
fn a_writer_is_finished_while_others_could_still_log() {
    let (mut log, writer) = start(LogFormat::Text).expect("log");
    let _other = log.clone();
    log.record(&events::READY, SystemTime::UNIX_EPOCH).end();
    log.flush();
    assert!(writer.finish(Duration::from_mins(1)), "it waits for nobody");
    log.record(&events::READY, SystemTime::UNIX_EPOCH).end();
    log.flush();
}

#[test]
fn a_stalled_writer_loses_lines_and_counts_them() {
    let (mut log, _writer) = start(LogFormat::Text).expect("log");
    let nobody = Consumer::new().expect("a consumer");
    let (full, _never_read) = nobody.channel(1);
    log.main = Lane::new(full);
    for _ in 0..3 {
        log.record(&events::READY, SystemTime::UNIX_EPOCH).end();
        log.hand_over(0);
    }
    assert_eq!(log.main.dropped().take(), 2);
}

/// A writer that nobody runs: what it would do is done by hand.
fn stalled() -> (Log, WriterLoop) {
    let form = Form { format: LogFormat::Text, has_priority: false };
    make(form, Output::Stderr).expect("a doorbell")
}

#[test]
fn a_flood_of_sessions_loses_no_other_line() {
    let (mut log, mut writer) = stalled();
    for _ in 0..10 * CHUNKS_MAX {
        log.session_record(&events::SESSION, SystemTime::UNIX_EPOCH).end();
        log.hand_over(0);
    }
    log.record(&events::MESSAGE, SystemTime::UNIX_EPOCH).end();
    log.hand_over(0);
    let first = writer.main.next().expect("the message's line");
    assert_eq!(first.octets, b"1970-01-01T00:00:00.000000Z message\n");
    let told = told_dropped(&mut writer);
    let count = 9 * CHUNKS_MAX;
    assert!(told.ends_with(&format!(" dropped lines=0 session_lines={count}\n")), "{told}");
    assert_eq!(told_dropped(&mut writer), "", "told once");
}

/// What the writer says of lost lines, into a file.
fn told_dropped(writer: &mut WriterLoop) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    writer.output = Output::open(&folder.path().join("log")).expect("a file");
    writer.tell_dropped();
    std::fs::read_to_string(folder.path().join("log")).expect("readable")
}

#[test]
fn what_could_not_be_told_is_told_later() {
    let (_log, mut writer) = stalled();
    writer.main_dropped.put_back(2);
    writer.sessions_dropped.put_back(3);
    writer.output = Output::open(std::path::Path::new("/dev/full")).expect("a device");
    writer.tell_dropped();
    assert!(told_dropped(&mut writer).ends_with(" dropped lines=2 session_lines=3\n"));
}

#[test]
fn a_session_is_told_after_its_messages() {
    let (mut log, writer) = stalled();
    log.session_record(&events::SESSION, SystemTime::UNIX_EPOCH).end();
    log.record(&events::MESSAGE, SystemTime::UNIX_EPOCH).end();
    let now = Instant::now();
    assert!(log.flush_if_due(now).is_none() && writer.main.is_empty() && writer.sessions.is_empty());
    let _ = log.flush_if_due(now + CHUNK_AGE_MAX);
    let each = [&writer.main, &writer.sessions].map(|lane| lane.next().is_some() && lane.is_empty());
    assert_eq!(each, [true, true], "together");
    assert!(log.due_in(now).is_none());
}

/// Ten minutes in which standard error stands still, a message each second, and sessions that fill chunk
/// after chunk.
#[test]
fn a_writer_that_stands_still_loses_no_line_while_there_is_room_for_it() {
    let (mut log, writer) = stalled();
    let mut now = Instant::now();
    for _ in 0..600 {
        log.record(&events::MESSAGE, SystemTime::UNIX_EPOCH).end();
        while log.sessions.chunk.len() < CHUNK_BYTES {
            log.session_record(&events::SESSION, SystemTime::UNIX_EPOCH).end();
        }
        let _ = log.flush_if_due(now);
        now += Duration::from_secs(1);
        let _ = log.flush_if_due(now);
    }
    assert_eq!(writer.main_dropped.take(), 0);
    assert!(log.due_in(now).is_some(), "what is left is not forgotten");
    drop(log);
    let lines: u64 =
        std::iter::from_fn(|| writer.main.next()).map(|chunk| lane::lines_of(&chunk.octets)).sum();
    assert_eq!(lines, 600);
}
