//! Files that the operator names: read with a bound, and why they cannot be.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Reads a whole file of at most so many octets. A device or a pipe without an end is an error, not all
/// memory.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut octets)?;
    if octets.len() > bytes_max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} octets")));
    }
    Ok(octets)
}

/// That a file cannot be read, why, and what to do.
pub fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}; {}", cure(error.kind()))
}

fn cure(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "correct the path, or make the file".to_owned(),
        ErrorKind::PermissionDenied => {
            format!("user {} must be able to read it: ringmx reads it as its own user", user())
        }
        ErrorKind::IsADirectory => "name a file, not a directory".to_owned(),
        ErrorKind::NotADirectory => "correct the path: something in it is no directory".to_owned(),
        ErrorKind::FileTooLarge => "name another file".to_owned(),
        _ => "see whether its disk is well".to_owned(),
    }
}

/// The number of the user that files are opened as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_not_read_for_ever() {
        let error = read(Path::new("/dev/zero"), 4096).expect_err("no end");
        assert_eq!(unreadable(&error), "cannot be read: it has more than 4096 octets; name another file");
        assert_eq!(read(Path::new("/dev/null"), 0).expect("empty"), b"");
    }

    #[test]
    fn each_reason_has_a_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let why = |path: &Path| unreadable(&read(path, 10).expect_err("unreadable"));
        let missing = why(&folder.path().join("none"));
        assert!(missing.ends_with("(os error 2); correct the path, or make the file"), "{missing}");
        let directory = why(folder.path());
        assert!(directory.ends_with("(os error 21); name a file, not a directory"), "{directory}");
        std::fs::write(folder.path().join("file"), "").expect("written");
        let below = why(&folder.path().join("file/x"));
        assert!(below.ends_with("something in it is no directory"), "{below}");
    }
}
