//! The octets of the journal: its header, and the commits in which its entries stand. `docs/forward.md` is
//! this file in prose; change both or neither, and never without a new [`JOURNAL_VERSION`].
//!
//! ```text
//!   0        4096             4096·k
//!   │ header │ commit         │ commit        │ …      a commit is one write and one sync
//!   │ head (40) │ entry │ entry │ … │ zeros up to the next multiple of 4096
//! ```
//!
//! A commit begins where the one before ends, and only when that one is durable. So what is not whole is the
//! torn last one, in which nobody believed; or damage, if a whole one comes later. No later write touches a
//! page or a sector of a commit that is durable.
//!
//! All numbers are little-endian.

use std::io;

use super::entry::Entry;
use super::files::Opened;

/// The version of the format that this program writes and reads.
pub const JOURNAL_VERSION: u32 = 1;

/// Commits begin at multiples of this, as batches of the spool do.
pub(super) const BLOCK_BYTES: u64 = 4096;

#[allow(clippy::cast_possible_truncation)]
const BLOCK: usize = BLOCK_BYTES as usize;

/// Octets of a commit's entries from which on no more are added. One entry has less than 70,000.
pub(super) const ENTRIES_BYTES: usize = 1024 * 1024;

/// A reader refuses more before it takes memory for it.
pub(super) const ENTRIES_BYTES_MAX: u32 = 2 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"RINGMXFJ";
const COMMIT_MAGIC: &[u8; 4] = b"RMXJ";
const HEADER_BYTES: usize = 32;
const HEAD_BYTES: usize = 40;

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Its header is not whole.
    Header,
    /// Another version of ringmx wrote it.
    Version(u32),
    /// From here on it is not what it was, and whole commits come later, from there on.
    Middle {
        /// Where the first commit that is not whole begins.
        from: u64,
        /// Where the next whole one begins.
        to: u64,
    },
    /// The snapshot at its beginning is not whole: it ends here.
    Snapshot(u64),
    /// The commit here is whole and holds what this ringmx does not know.
    Entry(u64),
}

/// The header, with the zeros after it.
pub(super) fn header(salt: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&JOURNAL_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&salt.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    pad(&mut out);
    out
}

/// A commit with its padding: the one of this number, at this place of the file.
pub(super) fn commit(salt: u64, number: u64, place: u64, entries: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(entries.len()).expect("ENTRIES_BYTES bounds it");
    assert!(bytes <= ENTRIES_BYTES_MAX, "no reader would believe a commit of {bytes} octets");
    let mut out = Vec::with_capacity((HEAD_BYTES + entries.len()).next_multiple_of(BLOCK));
    out.extend_from_slice(COMMIT_MAGIC);
    out.extend_from_slice(&bytes.to_le_bytes());
    for value in [salt, number, place] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c_append(checksum(salt, &out), entries);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(entries);
    pad(&mut out);
    out
}

/// Reads a journal and hands on its entries in order, those of whole commits alone. Gives where the last
/// commit ends. `take` says false to an entry that cannot be where it is.
pub(super) fn read(file: &Opened, mut take: impl FnMut(Entry) -> bool) -> io::Result<Result<u64, Damage>> {
    let bytes = file.bytes()?;
    let salt = match read_header(file, bytes)? {
        Ok(salt) => salt,
        Err(damage) => return Ok(Err(damage)),
    };
    let (mut at, mut number, mut is_whole) = (BLOCK_BYTES, 0, false);
    while let Some(entries) = read_commit(file, bytes, salt, number, at)? {
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let Some((entry, after)) = Entry::decode(rest) else { return Ok(Err(Damage::Entry(at))) };
            is_whole |= matches!(entry, Entry::Whole { .. });
            rest = after;
            if !take(entry) {
                return Ok(Err(Damage::Snapshot(at)));
            }
        }
        at += (HEAD_BYTES as u64 + entries.len() as u64).next_multiple_of(BLOCK_BYTES);
        number += 1;
    }
    // Every place where a later commit could begin.
    let mut next = at + BLOCK_BYTES;
    while next < bytes {
        if read_later_commit(file, bytes, salt, number, next)? {
            return Ok(Err(Damage::Middle { from: at, to: next }));
        }
        next += BLOCK_BYTES;
    }
    // A journal gets its name when its snapshot is durable.
    Ok(if is_whole { Ok(at) } else { Err(Damage::Snapshot(at)) })
}

fn read_header(file: &Opened, bytes: u64) -> io::Result<Result<u64, Damage>> {
    if bytes < BLOCK_BYTES {
        return Ok(Err(Damage::Header));
    }
    let octets = file.read_exact_at(0, HEADER_BYTES)?;
    let version = number32(&octets, 8);
    Ok(if !octets.starts_with(MAGIC) || crc32c::crc32c(&octets[..28]) != number32(&octets, 28) {
        Err(Damage::Header)
    } else if version != JOURNAL_VERSION {
        Err(Damage::Version(version))
    } else {
        Ok(number64(&octets, 16))
    })
}

/// The entries of the commit of this number that begins here; none where no whole one does.
fn read_commit(file: &Opened, bytes: u64, salt: u64, number: u64, at: u64) -> io::Result<Option<Vec<u8>>> {
    Ok(whole_commit(file, bytes, salt, at)?.filter(|(found, _)| *found == number).map(|(_, entries)| entries))
}

/// Whether a whole commit of this number or a later one begins here.
fn read_later_commit(file: &Opened, bytes: u64, salt: u64, number: u64, at: u64) -> io::Result<bool> {
    Ok(whole_commit(file, bytes, salt, at)?.is_some_and(|(found, _)| found >= number))
}

/// Number and entries of the commit that begins here. `bytes` is what the file had: who looks while the
/// forwarder runs sees it cut where a commit failed.
fn whole_commit(file: &Opened, bytes: u64, salt: u64, at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let room = bytes.saturating_sub(at);
    if room < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let Some(head) = unless_cut(file.read_exact_at(at, HEAD_BYTES))? else { return Ok(None) };
    let count = number32(&head, 4);
    let is_ours = head.starts_with(COMMIT_MAGIC)
        && number64(&head, 8) == salt
        && number64(&head, 24) == at
        && count <= ENTRIES_BYTES_MAX
        && u64::from(count) <= room - HEAD_BYTES as u64;
    if !is_ours {
        return Ok(None);
    }
    let entries = unless_cut(file.read_exact_at(at + HEAD_BYTES as u64, count as usize))?;
    let Some(entries) = entries else { return Ok(None) };
    let crc = crc32c::crc32c_append(checksum(salt, &head[..36]), &entries);
    Ok((crc == number32(&head, 36)).then(|| (number64(&head, 16), entries)))
}

/// None where the file ended before.
fn unless_cut(read: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(Some),
    }
}

/// The checksum of a commit before its entries: CRC-32C of the salt and of the head.
fn checksum(salt: u64, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), head)
}

fn pad(out: &mut Vec<u8>) {
    let bytes = out.len().next_multiple_of(BLOCK);
    out.resize(bytes, 0);
}

fn number32(octets: &[u8], at: usize) -> u32 {
    octets.get(at..).and_then(|octets| octets.first_chunk()).map_or(0, |octets| u32::from_le_bytes(*octets))
}

fn number64(octets: &[u8], at: usize) -> u64 {
    octets.get(at..).and_then(|octets| octets.first_chunk()).map_or(0, |octets| u64::from_le_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::tests::entries;
    use super::*;
    use crate::sink::spool::cursor::Cursor;

    const WHOLE: Entry = Entry::Whole { waits: 0, dead: 0, log: 0, next_later: 1, next_dead: 1 };

    fn encoded(entries: &[Entry]) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in entries {
            entry.encode(&mut out);
        }
        out
    }

    /// A journal of these commits, after a snapshot of nothing, and where each begins.
    fn journal(salt: u64, commits: &[Vec<Entry>]) -> (Vec<u8>, Vec<usize>) {
        let mut file = header(salt);
        let mut starts = Vec::new();
        let snapshot = vec![WHOLE];
        for (number, entries) in (0..).zip(std::iter::once(&snapshot).chain(commits)) {
            starts.push(file.len());
            let octets = commit(salt, number, file.len() as u64, &encoded(entries));
            file.extend_from_slice(&octets);
        }
        (file, starts)
    }

    fn entries_of(file: Vec<u8>) -> (Vec<Entry>, Result<u64, Damage>) {
        let mut found = Vec::new();
        let read = read(&Opened::Octets(file), |entry| {
            found.push(entry);
            true
        });
        (found, read.expect("memory"))
    }

    /// Three commits of one entry each, the second one longer than a block.
    fn three() -> Vec<Vec<Entry>> {
        let consumed = |offset| Entry::Consumed { cursor: Cursor { sequence: 1, offset } };
        vec![vec![consumed(1)], vec![consumed(2); 300], vec![consumed(3)]]
    }

    proptest! {
        #[test]
        fn a_journal_reads_back(
            salt: u64,
            commits in prop::collection::vec(prop::collection::vec(entries(), 0..9), 0..4),
        ) {
            let (file, _) = journal(salt, &commits);
            let end = file.len() as u64;
            let (found, read) = entries_of(file);
            prop_assert_eq!(read, Ok(end));
            prop_assert_eq!(&found[1..], commits.concat());
        }
    }

    #[test]
    fn every_truncation_is_torn_and_what_comes_before_is_believed() {
        let (file, starts) = journal(7, &three());
        // The sizes of commits without padding: from there on they are whole.
        let ends: Vec<usize> = std::iter::once(vec![WHOLE])
            .chain(three())
            .zip(&starts)
            .map(|(entries, start)| start + HEAD_BYTES + encoded(&entries).len())
            .collect();
        for cut in 0..file.len() {
            let (found, read) = entries_of(file[..cut].to_vec());
            let whole = ends.iter().filter(|end| **end <= cut).count();
            match whole {
                0 if cut < 4096 => assert_eq!(read, Err(Damage::Header), "{cut}"),
                0 => assert_eq!(read, Err(Damage::Snapshot(4096)), "{cut}"),
                whole => {
                    assert!(read.is_ok(), "{cut}: {read:?}");
                    assert_eq!(found.len(), [1, 2, 302, 303][whole - 1], "{cut}");
                }
            }
        }
    }

    #[test]
    fn a_bit_that_flipped_is_never_believed() {
        let (file, starts) = journal(7, &three());
        let (all, _) = entries_of(file.clone());
        for bit in 0..8 * file.len() {
            let at = bit / 8;
            // Padding, and the long commit of equal entries, at some of their places.
            let of_long = (starts[2] + 200..starts[3] - 4300).contains(&at);
            let is_zero = file[at..].iter().take(64).all(|octet| *octet == 0);
            if (of_long || is_zero) && at % 61 != 0 {
                continue;
            }
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (bit % 8);
            let (found, read) = entries_of(damaged);
            assert!(found.len() <= all.len() && found[..] == all[..found.len()], "bit {bit}");
            let of = starts.iter().rposition(|start| *start <= at);
            match (of, read) {
                // Padding and the unused rest of the first block are covered by nothing.
                (_, Ok(_)) if found.len() == all.len() => {}
                (None, Err(Damage::Header)) => {}
                (Some(of), Err(Damage::Middle { from, to })) if of < 3 => {
                    assert_eq!((from, to), (starts[of] as u64, starts[of + 1] as u64), "bit {bit}");
                }
                // It cannot be told from a torn write.
                (Some(3), Ok(end)) => assert_eq!(end, starts[3] as u64),
                (of, read) => panic!("bit {bit} in commit {of:?}: {read:?}"),
            }
        }
    }

    #[test]
    fn commits_of_another_use_or_place_are_none() {
        let (mut file, starts) = journal(7, &three());
        let (other, _) = journal(8, &three());
        file.truncate(starts[2]);
        file.extend_from_slice(&other[starts[2]..]);
        assert_eq!(entries_of(file.clone()).1, Ok(starts[2] as u64), "another salt");
        file.truncate(starts[2]);
        // The octets of a commit in the text of an entry, or left from elsewhere in the same file.
        file.extend_from_slice(&journal(7, &three()).0[starts[1]..starts[2]]);
        assert_eq!(entries_of(file).1, Ok(starts[2] as u64), "another place");
    }

    #[test]
    fn a_commit_that_was_cut_while_it_was_looked_at_is_none() {
        let (file, starts) = journal(7, &three());
        let (bytes, at) = (file.len() as u64, starts[2] as u64);
        for cut in [starts[2] - 1, starts[2], starts[2] + 20, starts[2] + 60] {
            let cut = Opened::Octets(file[..cut].to_vec());
            assert_eq!(read_commit(&cut, bytes, 7, 2, at).expect("memory"), None);
        }
        let whole = read_commit(&Opened::Octets(file), bytes, 7, 2, at).expect("memory");
        assert_eq!(whole, Some(encoded(&three()[1])));
    }

    #[test]
    fn what_is_not_known_stops() {
        let mut file = header(7);
        file.extend_from_slice(&commit(7, 0, 4096, &[99, 0, 0, 0, 0]));
        assert_eq!(entries_of(file).1, Err(Damage::Entry(4096)));
        let mut newer = header(7);
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..28]);
        newer[28..32].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(entries_of(newer).1, Err(Damage::Version(2)));
    }
}
