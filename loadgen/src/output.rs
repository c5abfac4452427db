//! Standard output and standard error. Either may be closed, full, or a pipe whose reader has left. That
//! must not cost the report files, nor end the program otherwise than its exit code says.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes to standard output. A reader that has left has read enough, so that is no error; any other failure
/// is given in words, for [`complain`].
pub fn print(text: &str) -> Result<(), String> {
    match write_all(io::stdout().as_fd(), text.as_bytes()) {
        Ok(()) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(format!("cannot write to standard output: {}", io::Error::from(error))),
    }
}

/// Writes a line to standard error, headed by the program's name. When that fails, there is nowhere to say
/// so.
pub fn complain(words: impl Display) {
    show(&format!("loadgen: {words}\n"));
}

/// Writes to standard error as it is.
pub fn show(text: &str) {
    let _ = write_all(io::stderr().as_fd(), text.as_bytes());
}

/// Without the buffer of the standard library, so that an error belongs to these octets.
fn write_all(stream: BorrowedFd<'_>, mut octets: &[u8]) -> Result<(), Errno> {
    while !octets.is_empty() {
        match rustix::io::write(stream, octets) {
            Ok(count) => octets = octets.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever shares the pipe or terminal with us made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
