//! Copies messages out of a spool: files of a maildir, one file a message, or one mbox.
//!
//! A file gets its name only when it is durable, and never replaces one. Names come from the queue id, never
//! from a client, so an export that is run again finds what it made and makes nothing twice.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::cursor::Cursor;
use super::envelope::StoredEnvelope;
use super::reader::{self, Notes};
use crate::config::LineEndings;
use crate::mail::envelope::BodyType;
use crate::sink::file_system::{Named, open_directory, sync_directory, sync_opened};
use crate::sink::optional;
use crate::timestamp;

/// Where to, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A maildir: one file a message in `new`.
    Maildir(PathBuf, LineEndings),
    /// A directory with one file `<queue id>.eml` a message, octets as received.
    Eml(PathBuf),
    /// One file in mboxrd form, which must not exist.
    Mbox(PathBuf, LineEndings),
}

/// What was exported.
#[derive(Debug, Default)]
pub struct Exported {
    /// Messages that are new in the target.
    pub new: u64,
    /// Messages that an earlier run had exported.
    pub already: u64,
    /// What is missing, and why.
    pub notes: Notes,
}

/// Exports every message after a cursor, or every one. What it counts is durable.
pub fn export(directory: &Path, after: Option<Cursor>, target: &Target) -> io::Result<Exported> {
    let mut exporter = Exporter::open(target)?;
    let mut exported = Exported::default();
    let mut failed = Vec::new();
    reader::for_each_record(directory, after, &mut exported.notes, |segment, record, envelope| {
        let content = match segment.content(record, envelope) {
            Ok(content) => content,
            // Recycled by the receiver while it was read: consumed by somebody else.
            Err(_) if !segment.is_current()? => return Ok(()),
            Err(error) => {
                failed.push(error.to_string());
                return Ok(());
            }
        };
        match exporter.put(envelope, segment.cursor(record), &content)? {
            Put::New => exported.new += 1,
            Put::Already => exported.already += 1,
            Put::Differs(path) => failed.push(format!(
                "{}: holds something else than message {}; it was not replaced",
                path.display(),
                envelope.id
            )),
        }
        Ok(())
    })?;
    exporter.finish()?;
    for line in failed {
        exported.notes.problem(line);
    }
    Ok(exported)
}

/// What became of one message.
enum Put {
    New,
    Already,
    /// A file of its name holds something else.
    Differs(PathBuf),
}

enum Exporter {
    Maildir { tmp: Folder, new: Folder, line_endings: LineEndings, present: HashSet<String> },
    Eml(Folder),
    Mbox { path: PathBuf, new: PathBuf, file: BufWriter<File>, line_endings: LineEndings },
}

impl Exporter {
    fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::Maildir(root, line_endings) => {
                let root = Folder::make(root)?;
                let [tmp, new, cur] = [root.below("tmp")?, root.below("new")?, root.below("cur")?];
                let mut present = HashSet::new();
                for folder in [&new, &cur] {
                    folder.names_into(&mut present)?;
                }
                Ok(Self::Maildir { tmp, new, line_endings: *line_endings, present })
            }
            Target::Eml(root) => Folder::make(root).map(Self::Eml),
            Target::Mbox(path, line_endings) => {
                if path.try_exists().named(path)? {
                    return Err(exists(path));
                }
                let mut new = path.clone().into_os_string();
                new.push(format!(".{}.tmp", std::process::id()));
                let new = PathBuf::from(new);
                let file = BufWriter::new(create(&new)?);
                Ok(Self::Mbox { path: path.clone(), new, file, line_endings: *line_endings })
            }
        }
    }

    fn put(&mut self, envelope: &StoredEnvelope, cursor: Cursor, content: &[u8]) -> io::Result<Put> {
        let facts = envelope.facts(cursor, content.len() as u64);
        match self {
            Self::Maildir { tmp, new, line_endings, present } => {
                let (body, end) = converted(envelope, content, *line_endings);
                let octets = [&facts.delivery_fields(end)[..], &body].concat();
                let micros = timestamp::micros(envelope.received_at);
                let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
                let name = format!("{seconds}.M{micros}Q{}.ringmx-export,S={}", envelope.id, octets.len());
                // A reader of mail may have moved it to `cur`.
                if present.contains(&name) {
                    return Ok(Put::Already);
                }
                place(tmp, &format!("{name}.P{}", std::process::id()), new, &name, &octets)
            }
            Self::Eml(root) => {
                let octets = [&facts.delivery_fields(b"\r\n")[..], content].concat();
                let temporary = format!(".{}.{}.tmp", envelope.id, std::process::id());
                place(root, &temporary, root, &format!("{}.eml", envelope.id), &octets)
            }
            Self::Mbox { new, file, line_endings, .. } => {
                let (body, end) = converted(envelope, content, *line_endings);
                let mut entry = Vec::with_capacity(body.len() + 512);
                facts.mbox(&body, end, &mut entry);
                file.write_all(&entry).named(new).map(|()| Put::New)
            }
        }
    }

    /// Makes the names durable too.
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Maildir { new: folder, .. } | Self::Eml(folder) => {
                sync_opened(&folder.directory).named(&folder.path)
            }
            Self::Mbox { path, new, file, .. } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error).named(&new)?;
                file.sync_all().named(&new)?;
                if !rename(&new, &path)? {
                    return Err(exists(&path));
                }
                sync_directory(parent(&path))
            }
        }
    }
}

fn exists(path: &Path) -> io::Error {
    let text = format!("{} exists; an mbox is never appended to or replaced", path.display());
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

/// A directory that is written to, open: its owner may be another user than root, who exports, and nothing is
/// done through a link that he puts into it meanwhile.
struct Folder {
    directory: OwnedFd,
    /// For errors.
    path: PathBuf,
}

impl Folder {
    /// At the operator's own path, made where it is missing.
    fn make(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        Ok(Self { directory: open_directory(path).named(path)?, path: path.to_owned() })
    }

    /// A directory in it, made where it is missing. No link to one.
    fn below(&self, name: &str) -> io::Result<Self> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) => sync_opened(&self.directory).named(&self.path)?,
            // It may have been made by an export that was cut short before the sync, unless we may make
            // nothing here.
            Err(Errno::EXIST) => match sync_opened(&self.directory) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced.named(&self.path)?,
            },
            Err(error) => return Err(error).named(&path),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(directory) => Ok(Self { directory, path }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let why = "is no directory, or a symbolic link, which is not followed: remove it";
                Err(io::Error::new(io::ErrorKind::InvalidInput, why)).named(&path)
            }
            Err(error) => Err(error).named(&path),
        }
    }

    /// Names of the messages in it, without the flags that a reader of mail appends.
    fn names_into(&self, names: &mut HashSet<String>) -> io::Result<()> {
        for entry in Dir::read_from(&self.directory).named(&self.path)? {
            let entry = entry.named(&self.path)?;
            let name = entry.file_name().to_string_lossy();
            names.insert(name.split(":2,").next().unwrap_or_default().to_owned());
        }
        Ok(())
    }
}

/// The content with LF for CRLF where that is asked for and can be converted back, and the line end that it
/// has now.
fn converted<'c>(
    stored: &StoredEnvelope,
    content: &'c [u8],
    line_endings: LineEndings,
) -> (std::borrow::Cow<'c, [u8]>, &'static [u8]) {
    let envelope = &stored.envelope;
    let is_lines = !envelope.bare_line_ends && envelope.body != BodyType::BinaryMime;
    let lf = match line_endings {
        LineEndings::Lf if is_lines => to_lf(content),
        LineEndings::Lf | LineEndings::Crlf => None,
    };
    lf.map_or((content.into(), b"\r\n"), |lf| (lf.into(), b"\n"))
}

/// LF for CRLF. None when there is a CR or an LF that is no part of a CRLF: that could not be converted back.
fn to_lf(content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (line, end) = rest.split_at(at);
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = end.strip_prefix(b"\r\n")?;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Stores a file: durable under a temporary name first, then under its own.
fn place(from: &Folder, temporary: &str, to: &Folder, name: &str, octets: &[u8]) -> io::Result<Put> {
    if let Ok(facts) = rustix::fs::statat(&to.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        let is_file = FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile;
        let is_same = is_file && u64::try_from(facts.st_size) == Ok(octets.len() as u64);
        return Ok(if is_same { Put::Already } else { Put::Differs(to.path.join(name)) });
    }
    let path = from.path.join(temporary);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&from.directory, temporary, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.named(&path)?);
    let written = file.write_all(octets).and_then(|()| file.sync_all()).named(&path);
    let remove = || rustix::fs::unlinkat(&from.directory, temporary, AtFlags::empty());
    let stored =
        written.and_then(|()| match optional::rename(&from.directory, temporary, &to.directory, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            renamed => renamed.map(|()| true).named(&to.path.join(name)),
        });
    match stored {
        Ok(true) => Ok(Put::New),
        // Another export was faster.
        Ok(false) => remove().named(&path).map(|()| Put::Already),
        Err(error) => {
            // What matters is the first error; a temporary file that stays harms nobody.
            let _ = remove();
            Err(error)
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).named(path)
}

/// Renames without replacing; false when the name is taken.
fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    match optional::rename(CWD, from, CWD, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).named(to),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent(path)),
        // It may have been made by an export that was cut short before its sync. A parent that we may not
        // read was not made into by us.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match sync_directory(parent(path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        },
        Err(error) => Err(error).named(path),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_converted_back_is_converted() {
        assert_eq!(to_lf(b"a\r\n\r\nb"), Some(b"a\n\nb".to_vec()));
        for bare in [&b"a\nb\r\n"[..], b"a\r", b"a\r\r\n", b"\n"] {
            assert_eq!(to_lf(bare), None, "{bare:?}");
        }
    }
}
