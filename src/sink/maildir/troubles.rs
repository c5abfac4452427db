//! Maildirs that deliveries failed in: refused at RCPT for a while, so that mail to others of the same
//! transaction is stored.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::handoff::mailbox::Standing;
use crate::limits::MAILDIRS_TROUBLED_MAX;

/// A maildir that a delivery failed in is refused for this long, then tried again.
const TROUBLE_AGE_MAX: Duration = Duration::from_mins(1);

/// Maildirs that deliveries failed in lately, by all workers of a sink.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<Box<str>, (Instant, Standing)>>);

impl Troubles {
    /// A delivery into a maildir failed for a reason that concerns this maildir.
    pub(super) fn note(&self, maildir: &str, error: &io::Error) {
        let standing = match error.kind() {
            io::ErrorKind::QuotaExceeded => Standing::Full,
            _ => Standing::Trouble,
        };
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() >= MAILDIRS_TROUBLED_MAX {
            troubles.clear();
        }
        troubles.insert(maildir.into(), (Instant::now(), standing));
    }

    /// How this maildir stands, if a delivery into it failed lately.
    pub(super) fn of(&self, maildir: &str) -> Option<Standing> {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, standing) = *troubles.get(maildir)?;
        if since.elapsed() > TROUBLE_AGE_MAX {
            troubles.remove(maildir);
            return None;
        }
        Some(standing)
    }
}

/// Whether an error of a delivery concerns its maildir alone, and stays until somebody mends it.
pub(super) fn is_of_maildir(error: &io::Error) -> bool {
    const NUMBERS: [i32; 9] = [
        libc::EACCES,
        libc::EPERM,
        libc::ELOOP,
        libc::ENOTDIR,
        libc::EXDEV,
        libc::ENAMETOOLONG,
        libc::EMLINK,
        libc::EDQUOT,
        libc::EINVAL,
    ];
    let kinds = [io::ErrorKind::CrossesDevices, io::ErrorKind::QuotaExceeded];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|number| NUMBERS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_is_told_from_one_in_trouble_and_the_disk_from_both() {
        let error = io::Error::from_raw_os_error;
        let troubles = Troubles::default();
        troubles.note("full", &error(libc::EDQUOT));
        troubles.note("linked", &error(libc::ELOOP));
        assert_eq!(troubles.of("full"), Some(Standing::Full));
        assert_eq!(troubles.of("linked"), Some(Standing::Trouble));
        assert_eq!(troubles.of("other"), None);
        assert!(is_of_maildir(&error(libc::EDQUOT)) && is_of_maildir(&error(libc::EMLINK)));
        for of_disk in [libc::ENOSPC, libc::EIO, libc::EROFS, libc::EMFILE, libc::ENOENT] {
            assert!(!is_of_maildir(&error(of_disk)), "{of_disk}");
        }
    }
}
