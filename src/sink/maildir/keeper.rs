//! Whether a recipient's maildir can take mail, asked before the 250 to RCPT.
//!
//! It looks as a delivery would: beneath the root, through no symbolic link and, where one sync covers the
//! file system of the root, across no mount point. What a look cannot see (a quota, a limit of the file
//! system on entries) shows when a delivery fails; such a maildir is in
//! [`Troubles`](super::troubles::Troubles) for a while, so that it is refused at RCPT and mail to others of
//! the same transaction is stored.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::Access;

use super::folders::below;
use super::settings::MaildirSettings;
use crate::handoff::mailbox::{MailboxPath, Standing};
use crate::limits::MAILDIRS_TROUBLED_MAX;
use crate::mail::envelope::Mailbox;
use crate::sink::executor::directories::Directories;
use crate::sink::mailbox::{Keeper, Naming};
use crate::sink::optional::may_use;
use crate::sink::plan::Directory;
use crate::sink::report::Site;

/// The same trouble with a maildir is told again after this time.
const TOLD_AGE_MAX: Duration = Duration::from_hours(1);

impl Naming for MaildirSettings {
    fn place(&self, recipient: Mailbox<'_>, is_named: &dyn Fn(Mailbox<'_>) -> bool) -> Option<MailboxPath> {
        let (name, may_make) = self.maildir_by(recipient, is_named).ok()?;
        Some(MailboxPath { name: name.into(), may_make })
    }
}

/// Looks into the maildirs below one root.
pub(super) struct MaildirKeeper {
    directories: Directories,
    settings: MaildirSettings,
    /// When which maildir's trouble was told. `told.len() <= MAILDIRS_TROUBLED_MAX`
    told: HashMap<Box<str>, Instant>,
}

impl MaildirKeeper {
    /// For this root. With `one_file_system` nothing beyond a mount point below it is used.
    pub(super) fn new(root: OwnedFd, settings: MaildirSettings, one_file_system: bool) -> Self {
        let mut directories = Directories::new(root);
        if one_file_system {
            directories.stay_on_file_system();
        }
        Self { directories, settings, told: HashMap::new() }
    }

    /// Looks, or tells which directory stands in the way, and why.
    pub(super) fn find(&mut self, place: &MailboxPath) -> Result<Standing, (Directory, io::Error)> {
        // What was opened before may have been moved away since.
        self.directories.forget();
        let maildir: Directory = Rc::from(&*place.name);
        let opened = match self.directories.open(&maildir) {
            Ok(opened) => opened,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((maildir, error)),
            Err(_) if place.may_make => return self.find_maker(&maildir),
            Err(_) => return Ok(Standing::Unknown),
        };
        for folder in ["tmp", "new"] {
            let directory = below(&maildir, folder);
            // Mail is renamed from one to the other, which crosses no mount point.
            match self.directories.open_within(&opened, folder) {
                Ok(folder) => may_write(&folder).map_err(|error| (directory, error))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && place.may_make => {
                    may_write(&opened).map_err(|error| (Rc::clone(&maildir), error))?;
                }
                Err(error) => return Err((directory, error)),
            }
        }
        Ok(Standing::Ready)
    }

    /// Whether a maildir that is not there can be made: the nearest directory above it that is there can be
    /// written.
    fn find_maker(&mut self, maildir: &Directory) -> Result<Standing, (Directory, io::Error)> {
        let mut above: &str = maildir;
        while !above.is_empty() {
            above = above.rsplit_once('/').map_or("", |(parent, _)| parent);
            let directory: Directory = Rc::from(above);
            match self.directories.open(&directory) {
                Ok(opened) => {
                    return may_write(&opened).map(|()| Standing::Ready).map_err(|error| (directory, error));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((directory, error)),
            }
        }
        Ok(Standing::Trouble)
    }

    fn tell_once(&mut self, directory: &Directory, error: &io::Error) {
        let is_fresh = |since: &Instant| since.elapsed() <= TOLD_AGE_MAX;
        if self.told.get(&**directory).is_some_and(is_fresh) {
            return;
        }
        if self.told.len() >= MAILDIRS_TROUBLED_MAX {
            self.told.clear();
        }
        self.told.insert(Box::from(&**directory), Instant::now());
        let path = self.settings.root.join(&**directory);
        self.settings.surroundings.report.machine_error(
            "use a mailbox, whose recipients are refused with 451 until this is mended",
            Site::Path(&path),
            &explained(error),
        );
    }
}

impl Keeper for MaildirKeeper {
    fn look(&mut self, place: &MailboxPath) -> Standing {
        if let Some(standing) = self.settings.troubles.of(&place.name) {
            return standing;
        }
        self.find(place).unwrap_or_else(|(directory, error)| {
            self.tell_once(&directory, &error);
            Standing::Trouble
        })
    }
}

/// Whether files can be made in a directory, by the rights that this process has.
fn may_write(directory: impl AsFd) -> io::Result<()> {
    Ok(may_use(directory, ".", Access::WRITE_OK | Access::EXEC_OK)?)
}

/// What an operator needs to know where the error's own text says little.
pub(super) fn explained(error: &io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::ELOOP) => {
            "it is a symbolic link, or behind one, and none is followed below `path`: put a directory there, or bind-mount one and write sync = \"each\""
        }
        Some(libc::EXDEV) => {
            "`tmp` and `new` of a maildir must be on one mount, because mail is renamed from one to the other"
        }
        Some(libc::ENOTDIR) => "it is a file, or below one: put a directory there",
        Some(libc::EACCES) => "the user that runs ringmx may not use it: give it to that user",
        Some(libc::EPERM) => "nobody may change it (`lsattr -d` shows an `i`): use `chattr -i`",
        _ => return io::Error::new(error.kind(), error.to_string()),
    };
    io::Error::new(error.kind(), text)
}
