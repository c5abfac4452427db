//! The compiled table of recipients as a file: written whole or not at all, and read only whole.
//!
//! It is read and not mapped: a file that somebody cuts off would end the server that has it mapped, and
//! reading ten million recipients takes a twentieth of a second. After the table
//! ([`AddressTable`](crate::mail::address_table)) come 4 octets: the CRC-32C of all before them, little
//! endian.

use std::fs::{self, File, OpenOptions};
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

/// Writes a table into a file, which is then whole and on the disk, or as it was before. One that is there
/// keeps its owner and permissions.
pub fn write(listed: &Listed, path: &Path) -> io::Result<()> {
    if listed.bytes() > TABLE_BYTES_MAX {
        let why = "it would have more than 100 million recipients, which nobody reads";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    // A link stays, and what it leads to is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let temporary = beside(&target)?;
    let options = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary);
    options
        .and_then(|file| write_into(listed, file, &target))
        .and_then(|()| fs::rename(&temporary, &target))
        .inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        })?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// A name in the same directory, which no other process has.
fn beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(target.with_file_name(hidden))
}

fn write_into(listed: &Listed, file: File, target: &Path) -> io::Result<()> {
    if let Ok(before) = fs::metadata(target) {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            rustix::fs::fchown(&file, Some(Uid::from_raw(before.uid())), Some(Gid::from_raw(before.gid())))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(before.mode() & 0o777))?;
    }
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
