//! A place in a spool, and the one file in which a consumer tells the receiver how far it came.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::format;
use crate::sink::file_system::{Named, open_directory, open_own_at, sync_directory, sync_opened};
use crate::sink::optional;
use crate::sink::plan::{Action, FilePath, Owners, Plan};

/// The file that holds the cursor of the last consumed record; absent while nothing was consumed.
pub(crate) const CONSUMED: &str = "consumed";

/// What a consumer wrote there and the receiver did not believe, for the operator.
pub(super) const REFUSED: &str = "consumed.refused";

/// Where a record begins. Cursors of one spool sort in the order in which the records became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Number of the segment.
    pub sequence: u64,
    /// Octet of the segment at which the record's frame begins.
    pub offset: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCursor;

impl fmt::Display for NoCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a cursor is 16 hexadecimal digits, `:` and a decimal number, as `ringmx spool list` prints it",
        )
    }
}

impl std::error::Error for NoCursor {}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.sequence, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (sequence, offset) = text.split_once(':').ok_or(NoCursor)?;
        let cursor = Self {
            sequence: u64::from_str_radix(sequence, 16).map_err(|_| NoCursor)?,
            offset: offset.parse().map_err(|_| NoCursor)?,
        };
        // One form only: no sign, no missing digit.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NoCursor) }
    }
}

/// The last consumed record. None when nothing was consumed yet; an error when the file cannot be read or
/// holds something else.
pub fn read_consumed(spool: &Path) -> io::Result<Option<Cursor>> {
    let path = spool.join(CONSUMED);
    let text = match open_own_at(&path).and_then(read_text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.named(&path)?,
    };
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    text.trim_end().parse().map(Some).map_err(invalid)
}

/// Puts the file aside where it holds the cursor of no record, so that it says nothing any more, also when a
/// record comes to be there and by the next start. Durable when it returns. False when a consumer writes to
/// the file just now: look again.
pub(super) fn refuse_consumed(spool: &Path, cursor: Cursor) -> io::Result<bool> {
    let lock = File::open(spool)?;
    if !optional::lock_directory(&lock, false)? {
        return Ok(false);
    }
    let (consumed, refused) = (spool.join(CONSUMED), spool.join(REFUSED));
    fs::rename(&consumed, &refused)?;
    // Consumers need not lock: one may have written another cursor since this one was read.
    let is_another = open_own_at(&refused).and_then(read_text)?.trim_end() != cursor.to_string();
    if is_another {
        match optional::rename(CWD, &*refused, CWD, &*consumed) {
            // And one more since then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => renamed?,
        }
    }
    sync_directory(spool)?;
    Ok(!is_another)
}

/// A cursor has 20 to 38 octets; whatever somebody else may have put there is not read on and on.
fn read_text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(80).read_to_string(&mut text).map(|_| text)
}

/// Tells the receiver that every record up to this one was consumed. Durable when it returns. Written by
/// root, the file is the spool's owner's. All is done in the directory that was opened at first, and nothing
/// through a link: root shall write to no file, and give none away, that the owner led here.
pub fn write_consumed(spool: &Path, cursor: Cursor) -> io::Result<()> {
    let directory = open_directory(spool).named(spool)?;
    let new_name = format!("{CONSUMED}.new");
    let new = spool.join(&new_name);
    // Always a new file.
    match rustix::fs::unlinkat(&directory, &new_name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => {}
        Err(error) => return Err(error).named(&new),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, &new_name, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.named(&new)?);
    if rustix::process::geteuid().is_root() {
        let owner = rustix::fs::fstat(&directory).named(spool)?;
        match fchown(&file, Some(owner.st_uid), Some(owner.st_gid)) {
            // Where all files are one user's, or root is nobody (root_squash), there is nothing to give away.
            Err(error) if optional::says_missing(&error) && file.metadata()?.uid() == owner.st_uid => {}
            given => given.named(&new)?,
        }
    }
    writeln!(file, "{cursor}").and_then(|()| file.sync_all()).named(&new)?;
    rustix::fs::renameat(&directory, &new_name, &directory, CONSUMED).named(&spool.join(CONSUMED))?;
    sync_opened(&directory).named(spool)
}

/// What [`write_consumed`] does, as a plan for an executor in the spool, for a consumer that runs as the
/// spool's owner. `line` is the cursor with a line end.
pub fn plan_consumed(line: &str) -> Plan<'_> {
    let new = FilePath::in_root(format!("{CONSUMED}.new"));
    let file = FilePath::in_root(CONSUMED.to_owned());
    let mut plan = Plan::new(1);
    plan.push(Owners::One(0), Action::Remove(Rc::clone(&new)));
    plan.barrier();
    let mut push = |action| plan.push(Owners::One(0), action);
    push(Action::Create(Rc::clone(&new)));
    push(Action::Write(Rc::clone(&new), 0, vec![line.as_bytes()]));
    push(Action::SyncFile(Rc::clone(&new)));
    push(Action::Close(Rc::clone(&new)));
    plan.barrier();
    plan.push(Owners::One(0), Action::Replace(new, file));
    plan.barrier();
    plan.push(Owners::One(0), Action::SyncDirectory(Rc::from("")));
    plan.barrier();
    plan.push(Owners::One(0), Action::ProbeJournal(Rc::from("")));
    plan
}

impl Cursor {
    /// The name of the segment's file.
    pub fn segment_name(self) -> String {
        format::segment_name(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_sorts() {
        let cursor = Cursor { sequence: 0x1f, offset: 4096 };
        assert_eq!(cursor.to_string(), "000000000000001f:4096");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!(cursor < Cursor { sequence: 0x20, offset: 0 });
        for wrong in ["", "1:2", "000000000000001f:", "000000000000001f:+1", "000000000000001F:1", "x:1"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(NoCursor), "{wrong}");
        }
    }

    #[test]
    fn what_root_consumes_is_the_receivers_to_read() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root gives files away");
            return;
        }
        let spool = tempfile::tempdir().expect("a folder");
        let (user, group) = (Some(1234), Some(1235));
        std::os::unix::fs::chown(spool.path(), user, group).expect("given away");
        // Nothing is written through a link that the owner laid.
        let elsewhere = tempfile::NamedTempFile::new().expect("a file");
        let new = spool.path().join(format!("{CONSUMED}.new"));
        std::os::unix::fs::symlink(elsewhere.path(), new).expect("a link");
        write_consumed(spool.path(), Cursor { sequence: 3, offset: 8192 }).expect("written");
        let facts = fs::symlink_metadata(spool.path().join(CONSUMED)).expect("a file");
        assert!(facts.is_file());
        assert_eq!((Some(facts.uid()), Some(facts.gid()), facts.mode() & 0o777), (user, group, 0o600));
        assert_eq!(fs::metadata(elsewhere.path()).expect("a file").len(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_consumed_is_replaced_and_never_read() {
        let (spool, elsewhere) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let outside = elsewhere.path().join("file");
        let cursor = Cursor { sequence: 3, offset: 8192 };
        fs::write(&outside, format!("{cursor}\n")).expect("a file");
        std::os::unix::fs::symlink(&outside, spool.path().join(CONSUMED)).expect("a link");
        let refused = read_consumed(spool.path()).expect_err("a link").to_string();
        assert!(refused.contains("is a symbolic link, which is not followed: remove it"), "{refused}");
        write_consumed(spool.path(), Cursor { sequence: 4, offset: 4096 }).expect("written");
        assert_eq!(fs::read_to_string(&outside).expect("a file"), format!("{cursor}\n"));
        assert_eq!(read_consumed(spool.path()).expect("a file").map(|cursor| cursor.sequence), Some(4));
        // What would be waited for, or never ends.
        fs::remove_file(spool.path().join(CONSUMED)).expect("removed");
        rustix::fs::mkfifoat(CWD, spool.path().join(CONSUMED), Mode::RUSR).expect("a FIFO");
        assert!(read_consumed(spool.path()).is_err());
    }

    #[test]
    fn what_was_consumed_is_kept() {
        let spool = tempfile::tempdir().expect("a folder");
        assert_eq!(read_consumed(spool.path()).expect("readable"), None);
        let cursor = Cursor { sequence: 3, offset: 8192 };
        write_consumed(spool.path(), cursor).expect("written");
        assert_eq!(read_consumed(spool.path()).expect("readable"), Some(cursor));
        fs::write(spool.path().join(CONSUMED), "nonsense").expect("written");
        assert!(read_consumed(spool.path()).is_err());
    }
}
