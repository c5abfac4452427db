//! The files that a run writes: reports and the ledger. All are opened before the run begins, so that a wrong
//! path is reported at once and not after the run. What was in a report file stays until its report is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::{Report, html};
use crate::arguments::load::LoadArguments;
use crate::ledger::reader::may_begin;
use crate::output::complain;

/// Makes the content of a report file.
type Content = fn(&Report<'_>) -> String;

/// Open files. Those that were made and are still empty are removed when this is dropped: no run came of
/// them.
#[derive(Debug, Default)]
pub struct ReportFiles {
    reports: Vec<(OpenFile, Content)>,
    ledger: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    /// The option that named it.
    option: &'static str,
    path: PathBuf,
    file: File,
    /// It was not there before.
    made: bool,
}

impl ReportFiles {
    /// Opens all files that the arguments name.
    pub fn open(arguments: &LoadArguments) -> Result<Self, String> {
        let mut files = Self::default();
        let reports: [(_, _, Content); 3] = [
            ("--json", &arguments.json, |report| report.json()),
            ("--html", &arguments.html, html::page),
            ("--hgrm", &arguments.hgrm, |report| report.hgrm()),
        ];
        for (option, path, content) in reports {
            if let Some(path) = path {
                files.reports.push((OpenFile::new(option, path, false)?, content));
            }
        }
        if let Some(path) = &arguments.ledger {
            files.ledger = Some(OpenFile::new("--ledger", path, true)?);
        }
        files.check_apart(arguments)?;
        if let Some(ledger) = &files.ledger {
            ledger.check_is_ledger()?;
        }
        Ok(files)
    }

    /// The ledger's file, to append to.
    pub fn ledger(&self) -> Option<io::Result<File>> {
        self.ledger.as_ref().map(|ledger| ledger.file.try_clone())
    }

    /// Writes the reports, each in place of what its file held; gives what failed.
    pub fn write(&mut self, report: &Report<'_>) -> Vec<String> {
        let write = |(file, content): &mut (OpenFile, Content)| {
            let OpenFile { option, path, .. } = file;
            let wrong = format!("cannot write {option} {}", path.display());
            file.write(&content(report)).err().map(|error| format!("{wrong}: {error}"))
        };
        self.reports.iter_mut().filter_map(write).collect()
    }

    /// No file is written for two options, or read by one and written by another.
    fn check_apart(&self, arguments: &LoadArguments) -> Result<(), String> {
        let mut known: Vec<(&str, u64, u64)> = Vec::new();
        let read = [("--corpus", &arguments.corpus), ("--tls-verify", &arguments.tls_verify)];
        for (option, path) in read {
            // A wrong path is reported where it is read.
            if let Some(data) = path.as_ref().and_then(|path| fs::metadata(path).ok()) {
                known.push((option, data.dev(), data.ino()));
            }
        }
        for (stream, file) in [
            ("standard output", io::stdout().as_fd().try_clone_to_owned()),
            ("standard error", io::stderr().as_fd().try_clone_to_owned()),
        ] {
            let data = file.and_then(|file| File::from(file).metadata());
            if let Some(data) = data.ok().filter(fs::Metadata::is_file) {
                known.push((stream, data.dev(), data.ino()));
            }
        }
        for file in self.reports.iter().map(|(file, _)| file).chain(&self.ledger) {
            let data = file.file.metadata().map_err(|error| file.wrong(&error))?;
            // A terminal or /dev/null may serve twice.
            if !data.is_file() {
                continue;
            }
            if let Some((other, ..)) =
                known.iter().find(|(_, device, inode)| (*device, *inode) == (data.dev(), data.ino()))
            {
                let (option, path) = (file.option, file.path.display());
                return Err(format!("{option} {path} is the same file as {other}: give each its own"));
            }
            known.push((file.option, data.dev(), data.ino()));
        }
        Ok(())
    }
}

impl OpenFile {
    fn new(option: &'static str, path: &Path, appends: bool) -> Result<Self, String> {
        let mut options = OpenOptions::new();
        if appends {
            options.read(true).append(true);
        } else {
            options.write(true);
        }
        let opened = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let is_fifo = fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo());
                let opened =
                    if is_fifo { open_fifo(&options, path) } else { options.create(true).open(path) };
                opened.map(|file| (file, false))
            }
            made => made.map(|file| (file, true)),
        };
        let (file, made) =
            opened.map_err(|error| format!("{option} {} cannot be written: {error}", path.display()))?;
        Ok(Self { option, path: path.to_owned(), file, made })
    }

    fn wrong(&self, error: &io::Error) -> String {
        format!("{} {}: {error}", self.option, self.path.display())
    }

    fn write(&mut self, content: &str) -> io::Result<()> {
        // Pipes and terminals have no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        match self.file.write_all(content.as_bytes()) {
            // A reader that has left has read enough, as with standard output.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// A ledger is appended to, and a line of it in any other file would be damage.
    fn check_is_ledger(&self) -> Result<(), String> {
        // Reading from a pipe or a terminal would wait; that nothing can be appended there is reported later.
        if !self.file.metadata().is_ok_and(|data| data.is_file()) {
            return Ok(());
        }
        let mut first = Vec::new();
        let file = self.file.try_clone().map_err(|error| self.wrong(&error))?;
        BufReader::new(io::Read::take(file, 256))
            .read_until(b'\n', &mut first)
            .map_err(|error| self.wrong(&error))?;
        if may_begin(first.trim_ascii_end()) {
            return Ok(());
        }
        Err(format!("--ledger {} is there and is no ledger: name another file", self.path.display()))
    }
}

impl Drop for ReportFiles {
    fn drop(&mut self) {
        for file in self.reports.iter().map(|(file, _)| file).chain(&self.ledger) {
            let Ok(ours) = file.file.metadata() else { continue };
            let same = |there: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
            if file.made && ours.len() == 0 && fs::symlink_metadata(&file.path).is_ok_and(same) {
                let _ = fs::remove_file(&file.path);
            }
        }
    }
}

/// Opening a FIFO waits for a reader. Without a message that would look like a run that hangs.
fn open_fifo(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    match options.clone().custom_flags(nonblocking).open(path) {
        Ok(file) => {
            fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
            Ok(file)
        }
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            complain(format_args!("waiting for a reader of {}", path.display()));
            options.open(path)
        }
        failed => failed,
    }
}
