//! Errors of the machine on their way into the log: the first of a kind at once, equal ones counted.
//!
//! A full disk fails every message with the same error, each with the name of another file. One line a
//! message would fill the very disk. So a kind of error is told when it begins, each minute while it goes on
//! with how many there were, and when no more came for a minute.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::log::Log;
use crate::log::events::{self, Event};
use crate::sink::{Report, Site};
use crate::timestamp::Rfc3339;

/// How often a kind of error that goes on is told, and how long none may come until it has ended.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Kinds that are counted at a time; with more, places are not told apart any more.
const KINDS_MAX: usize = 64;

/// Brings errors of sinks into the log. Shared by all threads but the shards.
pub(super) struct LogReport(Mutex<(Log, Repeats)>);

impl LogReport {
    pub(super) fn new(log: Log) -> Self {
        Self(Mutex::new((log, Repeats::default())))
    }

    /// Tells of kinds that ended or go on. Called every few seconds.
    pub(super) fn look(&self) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, repeats) = &mut *guard;
        for line in repeats.look(Instant::now()) {
            line.write(log);
        }
        log.flush();
    }

    /// Tells what was counted and not told. Called at the end.
    pub(super) fn finish(&self) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, repeats) = &mut *guard;
        for line in repeats.finish() {
            line.write(log);
        }
        log.flush();
    }
}

impl Report for LogReport {
    fn machine_error(&self, what: &str, site: Site<'_>, error: &io::Error) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, repeats) = &mut *guard;
        let at = (Instant::now(), SystemTime::now());
        if let Some(line) = repeats.add(what, site, error, at) {
            line.write(log);
            log.flush();
        }
    }

    fn note(&self, text: &str) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = &mut guard.0;
        log.record(&events::NOTE, SystemTime::now()).text("text", text.as_bytes()).end();
        log.flush();
    }
}

/// What makes two errors equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    what: String,
    error: io::ErrorKind,
    number: Option<i32>,
    /// The directory, where the error is one of a place; none where it is one of the whole store or the
    /// process.
    place: Option<PathBuf>,
}

impl Kind {
    fn of(what: &str, site: Site<'_>, error: &io::Error, tells_places: bool) -> Self {
        let place = match site {
            Site::Path(path) if is_of_place(error) => Some(place_of(path)),
            Site::Path(_) => None,
            // Another server is another fault.
            Site::Named(name) => Some(PathBuf::from(name)),
        };
        let place = place.filter(|_| tells_places);
        Self { what: what.to_owned(), error: error.kind(), number: error.raw_os_error(), place }
    }
}

/// Whether an error says something of one directory: who may use it, whether it is there. Any other is one of
/// the disk or the process, and comes with the name of whichever file was next.
fn is_of_place(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidData
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

/// The directory of a file; of a file in a maildir, the maildir.
fn place_of(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(path);
    let is_folder = parent.file_name().is_some_and(|name| name == "tmp" || name == "new" || name == "cur");
    parent.parent().filter(|_| is_folder).unwrap_or(parent).to_owned()
}

/// Kinds of errors and how often each came.
#[derive(Default)]
struct Repeats {
    /// `kinds.len() <= KINDS_MAX`, and as many more as there are verbs and errors without a place.
    kinds: HashMap<Kind, Count>,
}

struct Count {
    /// The last path and text. The line that tells the count names them.
    path: PathBuf,
    text: String,
    /// Those that came since a line told of it.
    untold: u64,
    all: u64,
    began: SystemTime,
    last: Instant,
    last_at: SystemTime,
    told: Instant,
}

/// What goes into the log.
#[derive(Debug)]
struct Line {
    event: &'static Event,
    tried: String,
    path: PathBuf,
    error: String,
    /// How many more of the kind there were since the last line, and when the first of all came; none for the
    /// first.
    more: Option<(u64, SystemTime)>,
    /// When the last one came, and how many there were; none while it goes on.
    ended: Option<(u64, SystemTime)>,
}

impl Line {
    fn of(kind: &Kind, count: &Count, event: &'static Event) -> Self {
        Self {
            event,
            tried: kind.what.clone(),
            path: count.path.clone(),
            error: count.text.clone(),
            more: None,
            ended: None,
        }
    }

    fn write(&self, log: &mut Log) {
        let mut record = log
            .record(self.event, SystemTime::now())
            .text("tried", self.tried.as_bytes())
            .text("path", self.path.as_os_str().as_encoded_bytes())
            .text("error", self.error.as_bytes());
        if let Some((count, since)) = self.more {
            record = record.number("more", count).plain("since", Rfc3339(since));
        }
        if let Some((count, last)) = self.ended {
            record = record.number("count", count).plain("last", Rfc3339(last));
        }
        record.end();
    }
}

impl Repeats {
    /// Counts an error; a line where it is the first of its kind, or a minute has passed since the last line.
    fn add(
        &mut self,
        what: &str,
        site: Site<'_>,
        error: &io::Error,
        (now, at): (Instant, SystemTime),
    ) -> Option<Line> {
        let mut kind = Kind::of(what, site, error, true);
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            kind = Kind::of(what, site, error, false);
        }
        let path = match site {
            Site::Path(path) => path,
            Site::Named(name) => Path::new(name),
        };
        let mut is_first = false;
        let count = self.kinds.entry(kind.clone()).or_insert_with(|| {
            is_first = true;
            Count {
                path: PathBuf::new(),
                text: String::new(),
                untold: 0,
                all: 0,
                began: at,
                last: now,
                last_at: at,
                told: now,
            }
        });
        (count.path, count.text) = (path.to_owned(), error.to_string());
        (count.last, count.last_at) = (now, at);
        count.all += 1;
        if is_first {
            return Some(Line::of(&kind, count, &events::ERROR));
        }
        count.untold += 1;
        let is_due = now.saturating_duration_since(count.told) >= TELL_EVERY;
        is_due.then(|| tell_on(&kind, count, now))
    }

    /// Lines on kinds that were not told for a minute, and on those that ended, which are forgotten.
    fn look(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.kinds.retain(|kind, count| {
            let is_ended = now.saturating_duration_since(count.last) >= TELL_EVERY;
            if is_ended {
                lines.extend(end_of(kind, count));
            } else if count.untold > 0 && now.saturating_duration_since(count.told) >= TELL_EVERY {
                lines.push(tell_on(kind, count, now));
            }
            !is_ended
        });
        lines
    }

    /// Lines on all that was counted and not told.
    fn finish(&mut self) -> Vec<Line> {
        self.kinds
            .drain()
            .filter(|(_, count)| count.untold > 0)
            .filter_map(|(kind, count)| end_of(&kind, &count))
            .collect()
    }
}

/// It goes on.
fn tell_on(kind: &Kind, count: &mut Count, now: Instant) -> Line {
    count.told = now;
    let more = Some((std::mem::take(&mut count.untold), count.began));
    Line { more, ..Line::of(kind, count, &events::ERROR) }
}

/// No more came. Of one that came once, its own line tells when.
fn end_of(kind: &Kind, count: &Count) -> Option<Line> {
    let ended = Some((count.all, count.last_at));
    (count.all > 1).then(|| Line { ended, ..Line::of(kind, count, &events::ERROR_ENDED) })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> (Instant, SystemTime) {
            let time = Duration::from_secs(seconds);
            (self.0 + time, SystemTime::UNIX_EPOCH + time)
        }
    }

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn equal_errors_are_told_once_then_counted_each_minute_and_so_is_their_end() {
        let (clock, mut repeats, mut lines) = (Clock(Instant::now()), Repeats::default(), Vec::new());
        for second in 0..150 {
            for message in 0..20 {
                let path = format!("/store/x.test/user{message}/tmp/{second}.M{message}");
                lines.extend(repeats.add(
                    "write",
                    Site::Path(Path::new(&path)),
                    &error(libc::ENOSPC),
                    clock.at(second),
                ));
            }
            if second % 10 == 0 {
                lines.extend(repeats.look(clock.at(second).0));
            }
        }
        let more: Vec<_> = lines.iter().map(|line| line.more.map(|(count, _)| count)).collect();
        assert_eq!(more, [None, Some(1200), Some(1200)], "the first at once, then one line a minute");
        assert!(lines[0].path.ends_with("0.M0") && lines[1].error.contains("No space left"));
        let rest = repeats.look(clock.at(208).0);
        assert!(rest.len() == 1 && rest[0].more.is_some_and(|(count, _)| count == 599), "{rest:?}");
        let ended = repeats.look(clock.at(209).0);
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].event.name, ended[0].ended), ("error-ended", Some((3000, clock.at(149).1))));
        assert!(repeats.look(clock.at(1000).0).is_empty());
        assert!(
            repeats
                .add("write", Site::Path(Path::new("/store/a")), &error(libc::ENOSPC), clock.at(1001))
                .is_some()
        );
    }

    #[test]
    fn errors_of_another_kind_are_told_at_once() {
        let (clock, mut repeats) = (Clock(Instant::now()), Repeats::default());
        let mut is_told = |what: &str, path: &str, number: i32| {
            repeats.add(what, Site::Path(Path::new(path)), &error(number), clock.at(0)).is_some()
        };
        assert!(is_told("write", "/s/a/tmp/1", libc::EIO));
        assert!(!is_told("write", "/s/b/tmp/2", libc::EIO));
        assert!(is_told("sync", "/s/b/tmp/2", libc::EIO));
        assert!(is_told("write", "/s/b/tmp/2", libc::EDQUOT));
        // Each of these has a cure of its own, in its own mailbox.
        assert!(is_told("create", "/s/a/tmp/1", libc::EACCES));
        assert!(!is_told("create", "/s/a/tmp/2", libc::EACCES));
        assert!(!is_told("create", "/s/a/new/2", libc::EACCES));
        assert!(is_told("create", "/s/b/tmp/1", libc::EACCES));
        assert!(is_told("create", "/s/b/tmp/1", libc::EPERM));
        assert!(is_told("open", "/", libc::EACCES));
        let of_servers = ["smtp://10.0.0.1:25", "smtp://10.0.0.2:25", "smtp://10.0.0.1:25"].map(|name| {
            let said = io::Error::other("it said 554");
            repeats.add("ask", Site::Named(name), &said, clock.at(0)).is_some()
        });
        assert_eq!(of_servers, [true, true, false]);
    }

    #[test]
    fn what_came_once_has_no_end_and_the_last_count_is_told_at_a_stop() {
        let (clock, mut repeats) = (Clock(Instant::now()), Repeats::default());
        assert!(
            repeats.add("write", Site::Path(Path::new("/s/1")), &error(libc::EIO), clock.at(0)).is_some()
        );
        assert!(repeats.look(clock.at(100).0).is_empty());
        for _ in 0..3 {
            repeats.add("write", Site::Path(Path::new("/s/1")), &error(libc::EIO), clock.at(200));
        }
        let lines = repeats.finish();
        assert!(lines.len() == 1 && lines[0].ended == Some((3, clock.at(200).1)), "{lines:?}");
        assert!(repeats.finish().is_empty());
    }

    #[test]
    fn kinds_are_bounded() {
        let (clock, mut repeats, mut told) = (Clock(Instant::now()), Repeats::default(), 0);
        for number in 0..100_000 {
            let path = format!("/store/{number}/tmp/1");
            let line = repeats.add("create", Site::Path(Path::new(&path)), &error(libc::EACCES), clock.at(0));
            told += usize::from(line.is_some());
        }
        assert!(told == KINDS_MAX + 1 && repeats.kinds.len() == told, "{told}");
    }
}
