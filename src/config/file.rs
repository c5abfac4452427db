//! Files that the operator names: read with a bound, and why they cannot be.

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// A pipe must have come to its end after this time.
const PIPE_WAIT_MAX: Duration = Duration::from_secs(10);

/// A pipe that has nothing now is looked at again after this time.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

/// Octets that are looked at at a time.
const COUNTED_BYTES: usize = 256 * 1024;

/// Reads a whole file of at most so many octets. A device or a pipe without an end is an error, not all
/// memory, and not all time: a pipe may be given, as `<(...)` of a shell is one.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let octets = read_start(path, bytes_max + 1)?;
    if octets.len() > bytes_max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} octets")));
    }
    Ok(octets)
}

/// Reads at most so many octets of a file, likewise.
pub fn read_start(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // A pipe is opened though nobody writes to it yet; for a file the flag means nothing.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut octets = Vec::new();
    if file.metadata()?.file_type().is_file() {
        file.take(bytes_max as u64).read_to_end(&mut octets)?;
    } else {
        read_in_time(&file, bytes_max, &mut octets)?;
    }
    Ok(octets)
}

/// Counts the lines of a file, the last one too if nothing ends it. `None` for one that begins with these
/// octets.
pub fn count_lines(path: &Path, magic: &[u8]) -> io::Result<Option<usize>> {
    let mut file = io::BufReader::with_capacity(COUNTED_BYTES, File::open(path)?);
    let mut lines = 1;
    loop {
        let octets = file.fill_buf()?;
        if octets.is_empty() {
            return Ok(Some(lines));
        }
        if lines == 1 && octets.starts_with(magic) {
            return Ok(None);
        }
        lines += memchr::memchr_iter(b'\n', octets).count();
        let read = octets.len();
        file.consume(read);
    }
}

/// Reads at most so many octets of what may let its reader wait.
fn read_in_time(file: &File, bytes_max: usize, octets: &mut Vec<u8>) -> io::Result<()> {
    let begun = Instant::now();
    let mut file = file.take(bytes_max as u64);
    loop {
        match file.read_to_end(octets) {
            // A pipe that nobody has written to is at its end, too.
            Ok(_) if !octets.is_empty() || !is_pipe(file.get_ref()) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
        if begun.elapsed() >= PIPE_WAIT_MAX {
            let text =
                format!("it is a pipe that has not come to its end within {} s", PIPE_WAIT_MAX.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        std::thread::sleep(PIPE_PAUSE);
    }
}

fn is_pipe(file: &File) -> bool {
    file.metadata().is_ok_and(|facts| facts.file_type().is_fifo())
}

/// That a file cannot be read, why, and what to do.
pub fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}; {}", cure(error.kind()))
}

fn cure(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "correct the path, or make the file".to_owned(),
        ErrorKind::PermissionDenied => {
            format!(
                "user {} must be able to read it: ringmx reads it as its own user; a server that runs sees only the \
                 directories that were named when it started",
                user()
            )
        }
        ErrorKind::IsADirectory => "name a file, not a directory".to_owned(),
        ErrorKind::NotADirectory => "correct the path: something in it is no directory".to_owned(),
        ErrorKind::TimedOut => "name a file, or end the program that writes to it".to_owned(),
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
    use std::io::Write;

    #[test]
    fn a_file_without_an_end_is_not_read_for_ever() {
        let error = read(Path::new("/dev/zero"), 4096).expect_err("no end");
        assert_eq!(unreadable(&error), "cannot be read: it has more than 4096 octets; name another file");
        assert_eq!(read(Path::new("/dev/null"), 0).expect("empty"), b"");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_however_late_that_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe");
        let reader = std::thread::spawn({
            let path = path.clone();
            move || read(&path, 10)
        });
        let mut writer = File::options().write(true).open(&path).expect("a reader");
        for part in [b"ab", b"cd"] {
            writer.write_all(part).expect("written");
            std::thread::sleep(4 * PIPE_PAUSE);
        }
        drop(writer);
        assert_eq!(reader.join().expect("no panic").expect("an end"), b"abcd");
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
