//! The compiled table of recipients as a file: written whole or not at all, and read only whole.
//!
//! It is read and not mapped: a file that somebody cuts off would end the server that has it mapped, and
//! reading ten million recipients takes a twentieth of a second. After the table
//! ([`AddressTable`](crate::mail::address_table)) come 4 octets: the CRC-32C of all before them, little
//! endian.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};

use crate::config::file;
use crate::huge_pages;
use crate::mail::address_table::{AddressTable, HEAD_BYTES, MAGIC, NoTable};
use crate::smtp::policy::Listed;

/// A larger table is none: this is one of a hundred million.
const TABLE_BYTES_MAX: usize = 1 << 30;

/// Octets that are read and written at a time.
const STEP_BYTES: usize = 256 * 1024;

/// Octets of a place, and of the sum at the end.
const PLACE_BYTES: usize = size_of::<u64>();
const SUM_BYTES: usize = size_of::<u32>();

/// Its owner, and a group that the operator may name: whoever reads the key can make addresses that pass.
const MODE: u32 = 0o640;

/// What to do with a file that cannot be used.
const CURE: &str = "make it anew with `ringmx recipients compile`";

/// The table of a file; none where it is something else. The text of an error is without the name of the
/// file.
pub(super) fn read_file(mut file: &File) -> Result<Option<Listed>, String> {
    let unreadable = |error: io::Error| file::unreadable(&error);
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut head = [0; HEAD_BYTES];
    let mut begun = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut begun).map_err(unreadable)?;
    if !begun.starts_with(MAGIC) {
        return Ok(None);
    }
    let damaged = || no_table(NoTable::Damaged);
    if begun.len() < HEAD_BYTES {
        return Err(damaged());
    }
    head.copy_from_slice(&begun);
    let count = AddressTable::places_after(&head).map_err(no_table)?;
    let Some(table_bytes) = count.checked_mul(PLACE_BYTES).filter(|bytes| *bytes <= TABLE_BYTES_MAX) else {
        return Err(damaged());
    };
    if bytes != (HEAD_BYTES + table_bytes + SUM_BYTES) as u64 {
        return Err(damaged());
    }
    let mut sum = crc32c::crc32c(&head);
    let mut places = Vec::with_capacity(count);
    let mut step = vec![0; STEP_BYTES];
    let mut left = table_bytes;
    while left > 0 {
        let step = step.get_mut(..left.min(STEP_BYTES)).unwrap_or_default();
        file.read_exact(step).map_err(|error| match error.kind() {
            // It was cut off while it was read.
            io::ErrorKind::UnexpectedEof => damaged(),
            _ => unreadable(error),
        })?;
        sum = crc32c::crc32c_append(sum, step);
        places.extend(step.as_chunks().0.iter().map(|octets| u64::from_le_bytes(*octets)));
        left -= step.len();
    }
    let mut stated = [0; SUM_BYTES];
    file.read_exact(&mut stated).map_err(|_| damaged())?;
    if u32::from_le_bytes(stated) != sum {
        return Err(damaged());
    }
    let table = AddressTable::from_parts(&head, places.into_boxed_slice()).map_err(no_table)?;
    huge_pages::collect(table.places());
    let listed = Listed::of_table(table);
    listed.map(Some).ok_or_else(|| format!("is a table by rules that are not known; {CURE} of this version"))
}

fn no_table(why: NoTable) -> String {
    match why {
        // Whoever asks has seen that it is one.
        NoTable::Foreign | NoTable::Damaged => {
            format!("is a compiled table that is cut off or altered; {CURE}")
        }
        NoTable::Version(version) => {
            format!("is a compiled table of version {version}, which is not known; {CURE} of this version")
        }
    }
}

/// Why a table cannot be used with these rules, if so. The text is without the name of the file.
pub fn mismatch(listed: &Listed, case_sensitive: bool) -> Option<String> {
    let (compared, option) = if case_sensitive { ("with", " --case-sensitive") } else { ("without", "") };
    (listed.is_case_sensitive() != case_sensitive).then(|| {
        format!(
            "does not fit: local-parts are compared {compared} case (`local_part_case_sensitive`), and this table was compiled for the other way: \
             make it anew with `ringmx recipients compile{option}`"
        )
    })
}

/// Who can read a table that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Those who could read the file before, or the text.
    Kept,
    /// Who wrote it, and its group.
    Writers,
}

/// Writes a table into a file, which is then whole and on the disk, or as it was before. One that is there
/// keeps its owner and permissions, and has to be a table or empty; a new one has those of `text` where that
/// can be. `text`: what is known of the file that the table was made of.
pub fn write(listed: &Listed, path: &Path, text: Option<&Metadata>) -> io::Result<Access> {
    if listed.bytes() > TABLE_BYTES_MAX {
        let why = "it would have more than 100 million recipients, which nobody reads";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    // A link stays, and what it leads to is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let before = replaceable(&target)?;
    let temporary = beside(&target)?;
    let options = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary);
    let access = options
        .and_then(|file| {
            let access = give(&file, before.as_ref(), text)?;
            write_into(listed, file)?;
            fs::rename(&temporary, &target)?;
            Ok(access)
        })
        .inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        })?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(access)
}

/// What is known of the file that would be replaced; none where there is no file. An error for what nobody
/// means to replace.
fn replaceable(target: &Path) -> io::Result<Option<Metadata>> {
    let before = match fs::metadata(target) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if before.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // A pipe or device would be a file afterwards, and one that nobody writes to would be waited for.
    if !before.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if before.len() > 0 {
        let mut begun = Vec::new();
        File::open(target)?.take(MAGIC.len() as u64).read_to_end(&mut begun)?;
        if begun != MAGIC {
            let why = "what is there is no compiled table; name another file, or remove it first";
            return Err(io::Error::other(why));
        }
    }
    Ok(Some(before))
}

/// Gives a new table to those who had the one before, or who have its text.
fn give(file: &File, before: Option<&Metadata>, text: Option<&Metadata>) -> io::Result<Access> {
    let own = file.metadata()?;
    let chown = |of: &Metadata| {
        let is_same = (own.uid(), own.gid()) == (of.uid(), of.gid());
        let (owner, group) = (Uid::from_raw(of.uid()), Gid::from_raw(of.gid()));
        if is_same { Ok(()) } else { rustix::fs::fchown(file, Some(owner), Some(group)) }
    };
    let chmod = |mode: u32| rustix::fs::fchmod(file, Mode::from_raw_mode(mode));
    if let Some(before) = before {
        chown(before)?;
        chmod(before.mode() & 0o777)?;
        return Ok(Access::Kept);
    }
    let Some(text) = text.filter(|text| text.is_file() && chown(text).is_ok()) else {
        return Ok(Access::Writers);
    };
    // Nobody executes a table.
    chmod(text.mode() & 0o666)?;
    Ok(Access::Kept)
}

/// A name in the same directory, which no other process has.
fn beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(target.with_file_name(hidden))
}

fn write_into(listed: &Listed, file: File) -> io::Result<()> {
    let table = listed.table();
    let head = table.head();
    let mut sum = crc32c::crc32c(&head);
    let mut file = BufWriter::with_capacity(STEP_BYTES, file);
    file.write_all(&head)?;
    let mut step = Vec::with_capacity(STEP_BYTES);
    for places in table.places().chunks(STEP_BYTES / PLACE_BYTES) {
        step.clear();
        step.extend(places.iter().flat_map(|place| place.to_le_bytes()));
        sum = crc32c::crc32c_append(sum, &step);
        file.write_all(&step)?;
    }
    file.write_all(&sum.to_le_bytes())?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
