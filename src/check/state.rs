//! Whether what is known of clients can be kept across restarts (`early.state`). Nothing is made.

use rustix::fs::{Access, AtFlags, CWD};

use crate::config::Config;
use crate::sandbox::directory_of;

/// What keeps this thread's user from writing the file, if anything does.
pub(super) fn note(config: &Config) -> Option<String> {
    let file = config.state()?;
    let cure = "nothing is known of clients after a restart, until this is mended";
    if file.is_dir() {
        return Some(format!("{}: it is a directory, and a file is wanted; {cure}", file.display()));
    }
    let directory = directory_of(file);
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let error = std::io::Error::from(rustix::fs::accessat(CWD, &directory, access, AtFlags::EACCESS).err()?);
    Some(format!(
        "{}: the file is written anew in this directory, which has to be there and to be writable for the user that serves: \
         {error}; {cure}",
        directory.display()
    ))
}
