//! A file system that fails on command: FUSE in front of a folder. Only what the receiver's stores use is
//! there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use std::{io, thread};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every write fails with this error number, and makes nothing.
    Write(i32),
    /// Every sync of a file or directory fails with this error number.
    Sync(i32),
    /// Every sync waits until the fault is another one.
    Hang,
    /// Every look for a name waits until the fault is another one.
    HangLookups,
    /// There is no such operation: this error number says so.
    Lacks(Operation, i32),
}

/// What a file system need not have. A file without a name (`O_TMPFILE`) is never there: fuser does not know
/// the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To rename without replacing (RENAME_NOREPLACE).
    RenameWithoutReplacing,
    /// To link a file.
    Link,
    /// To do either: there is no way round.
    RenameWithoutReplacingAndLink,
    /// To take space (fallocate).
    Reserve,
    /// To sync a file.
    SyncFile,
    /// To sync a directory.
    SyncDirectory,
    /// To lock a file. It must be set before the mount.
    Lock,
    /// To rename at all.
    Rename,
}

/// The mounted file system; unmounted by drop.
pub struct Faulty {
    state: Arc<State>,
    at: PathBuf,
    _session: BackgroundSession,
}

#[derive(Default)]
struct State {
    fault: Mutex<(Fault, u64)>,
    changed: Condvar,
}

impl State {
    fn fault(&self) -> MutexGuard<'_, (Fault, u64)> {
        self.fault.lock().expect("the fault")
    }
}

impl Faulty {
    /// Mounts what is in `folder` at `at`. Where it does not tell its size, it answers with zeros, as such
    /// file systems do.
    pub fn mount(folder: &Path, at: &Path, tells_size: bool) -> io::Result<Self> {
        Self::mount_with(folder, at, tells_size, Fault::None)
    }

    /// As [`Self::mount`], with a fault from the start.
    pub fn mount_with(folder: &Path, at: &Path, tells_size: bool, fault: Fault) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::create_dir_all(at)?;
        let state = Arc::<State>::default();
        *state.fault() = (fault, 0);
        let nodes = Mutex::new(Nodes { paths: vec![folder.to_owned()], ..Nodes::default() });
        let files = Mutex::default();
        let front = Front { state: Arc::clone(&state), nodes, files, tells_size };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("faulty".to_owned())];
        let session = fuser::spawn_mount(front, at, &config)?;
        Ok(Self { state, at: at.to_owned(), _session: session })
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        *self.state.fault() = (fault, 0);
        self.state.changed.notify_all();
    }

    /// How often the present fault was met.
    pub fn met(&self) -> u64 {
        self.state.fault().1
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.set(Fault::None);
        crate::image::unmount(&self.at);
    }
}

/// Files and directories by number; that of a path is one more than its place.
#[derive(Default)]
struct Nodes {
    paths: Vec<PathBuf>,
    numbers: HashMap<PathBuf, u64>,
}

struct Front {
    state: Arc<State>,
    nodes: Mutex<Nodes>,
    files: Mutex<Vec<Option<Arc<File>>>>,
    tells_size: bool,
}

/// The kernel asks again each time.
const NOTHING_KEPT: Duration = Duration::ZERO;

fn errno(error: io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Front {
    fn path(&self, node: INodeNo) -> PathBuf {
        let index = usize::try_from(node.0 - 1).expect("a number");
        self.nodes.lock().expect("nodes").paths[index].clone()
    }

    fn number(&self, path: &Path) -> u64 {
        let mut nodes = self.nodes.lock().expect("nodes");
        if let Some(number) = nodes.numbers.get(path) {
            return *number;
        }
        nodes.paths.push(path.to_owned());
        let number = nodes.paths.len() as u64;
        nodes.numbers.insert(path.to_owned(), number);
        number
    }

    fn attributes(path: &Path, number: u64) -> io::Result<FileAttr> {
        let data = fs::symlink_metadata(path)?;
        let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        Ok(FileAttr {
            ino: INodeNo(number),
            size: data.size(),
            blocks: data.blocks(),
            atime: time(data.atime()),
            mtime: time(data.mtime()),
            ctime: time(data.ctime()),
            crtime: time(data.ctime()),
            kind: if data.is_dir() { FileType::Directory } else { FileType::RegularFile },
            perm: u16::try_from(data.mode() & 0o7777).expect("twelve bits"),
            nlink: u32::try_from(data.nlink()).expect("few links"),
            uid: data.uid(),
            gid: data.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(&self, path: &Path) -> io::Result<FileAttr> {
        fs::symlink_metadata(path)?;
        Self::attributes(path, self.number(path))
    }

    fn keep(&self, file: File) -> FileHandle {
        let mut files = self.files.lock().expect("files");
        files.push(Some(Arc::new(file)));
        FileHandle(files.len() as u64 - 1)
    }

    fn file(&self, handle: FileHandle) -> Arc<File> {
        let index = usize::try_from(handle.0).expect("a handle");
        self.files.lock().expect("files")[index].clone().expect("an open file")
    }

    /// Answers a sync, now or when it hangs no more. The folder behind needs none.
    fn sync(&self, reply: ReplyEmpty) {
        let mut fault = self.state.fault();
        fault.1 += 1;
        match fault.0 {
            Fault::Sync(error) => reply.error(Errno::from_i32(error)),
            Fault::Hang => {
                let state = Arc::clone(&self.state);
                thread::spawn(move || {
                    let mut fault = state.fault();
                    while fault.0 == Fault::Hang {
                        fault = state.changed.wait(fault).expect("the fault");
                    }
                    reply.ok();
                });
            }
            Fault::None | Fault::Write(_) | Fault::HangLookups | Fault::Lacks(..) => reply.ok(),
        }
    }

    /// The error that says that one of these operations is not there, if that is the fault.
    fn lacks(&self, operations: &[Operation]) -> Option<Errno> {
        let mut fault = self.state.fault();
        let Fault::Lacks(operation, error) = fault.0 else { return None };
        if !operations.contains(&operation) {
            return None;
        }
        fault.1 += 1;
        Some(Errno::from_i32(error))
    }
}

impl Filesystem for Front {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without this the kernel keeps the locks.
        if matches!(self.state.fault().0, Fault::Lacks(Operation::Lock, _)) {
            let _ = config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS);
        }
        Ok(())
    }

    fn setlk(
        &self,
        _req: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _process: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        match self.lacks(&[Operation::Lock]) {
            Some(error) => reply.error(error),
            None => reply.ok(),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        if let Some(error) = self.lacks(&[Operation::Reserve]) {
            return reply.error(error);
        }
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&*self.file(handle), flags, offset, bytes) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }

    fn link(&self, _req: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        if let Some(error) = self.lacks(&[Operation::Link, Operation::RenameWithoutReplacingAndLink]) {
            return reply.error(error);
        }
        let path = self.path(new_parent).join(new_name);
        let linked = fs::hard_link(self.path(node), &path).and_then(|()| Self::attributes(&path, node.0));
        match linked {
            Ok(attributes) => {
                let mut nodes = self.nodes.lock().expect("nodes");
                nodes.paths[usize::try_from(node.0 - 1).expect("a number")].clone_from(&path);
                nodes.numbers.insert(path, node.0);
                reply.entry(&NOTHING_KEPT, &attributes, Generation(0));
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn statfs(&self, _req: &Request, _node: INodeNo, reply: ReplyStatfs) {
        // In blocks of 4 KiB: 4 GiB, half of them free.
        let (total, free) = if self.tells_size { (1 << 20, 1 << 19) } else { (0, 0) };
        reply.statfs(total, free, free, total, free, 4096, 255, 4096);
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut fault = self.state.fault();
        if fault.0 == Fault::HangLookups {
            fault.1 += 1;
        }
        // The whole file system stands still.
        while fault.0 == Fault::HangLookups {
            fault = self.state.changed.wait(fault).expect("the fault");
        }
        drop(fault);
        match self.entry(&self.path(parent).join(name)) {
            Ok(attributes) => reply.entry(&NOTHING_KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn getattr(&self, _req: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let by_path = Self::attributes(&self.path(node), node.0);
        // A file without a name: so many links as it has.
        let found = match (by_path, handle) {
            (Err(_), Some(handle)) => {
                let behind =
                    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*self.file(handle)));
                fs::metadata(behind).and_then(|_| Self::attributes(&self.path(INodeNo(1)), node.0)).map(
                    |mut attributes| {
                        attributes.kind = FileType::RegularFile;
                        attributes.nlink = 0;
                        attributes
                    },
                )
            }
            (found, _) => found,
        };
        match found {
            Ok(attributes) => reply.attr(&NOTHING_KEPT, &attributes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(node);
        let cut = |bytes| OpenOptions::new().write(true).open(&path)?.set_len(bytes);
        let done = size
            .map_or(Ok(()), cut)
            .and_then(|()| {
                mode.map_or(Ok(()), |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            })
            .and_then(|()| Self::attributes(&path, node.0));
        match done {
            Ok(attributes) => reply.attr(&NOTHING_KEPT, &attributes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let path = self.path(parent).join(name);
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)))
            .and_then(|()| self.entry(&path));
        match made {
            Ok(attributes) => reply.entry(&NOTHING_KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.path(parent).join(name);
        match fs::remove_file(&path) {
            Ok(()) => {
                // The next file of this name is another one.
                self.nodes.lock().expect("nodes").numbers.remove(&path);
                reply.ok();
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let lacking: &[Operation] = if flags.is_empty() {
            &[Operation::Rename]
        } else {
            &[Operation::RenameWithoutReplacing, Operation::RenameWithoutReplacingAndLink, Operation::Rename]
        };
        if let Some(error) = self.lacks(lacking) {
            return reply.error(error);
        }
        let (from, to) = (self.path(parent).join(name), self.path(new_parent).join(new_name));
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        match rustix::fs::renameat_with(rustix::fs::CWD, &from, rustix::fs::CWD, &to, flags) {
            Ok(()) => {
                let mut nodes = self.nodes.lock().expect("nodes");
                if let Some(number) = nodes.numbers.remove(&from) {
                    nodes.paths[usize::try_from(number - 1).expect("a number")].clone_from(&to);
                    nodes.numbers.insert(to, number);
                }
                reply.ok();
            }
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let path = self.path(parent).join(name);
        let opened =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).and_then(|file| {
                file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
                Ok((self.entry(&path)?, file))
            });
        match opened {
            Ok((attributes, file)) => {
                let handle = self.keep(file);
                reply.created(&NOTHING_KEPT, &attributes, Generation(0), handle, FopenFlags::empty());
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn open(&self, _req: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Root may do both.
        match OpenOptions::new().read(true).write(true).open(self.path(node)) {
            Ok(file) => reply.opened(self.keep(file), FopenFlags::empty()),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (mut octets, file) = (vec![0; size as usize], self.file(handle));
        let mut filled = 0;
        while filled < octets.len() {
            match file.read_at(&mut octets[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return reply.error(errno(error)),
            }
        }
        reply.data(&octets[..filled]);
    }

    fn write(
        &self,
        _req: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        octets: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        {
            let mut fault = self.state.fault();
            if let Fault::Write(error) = fault.0 {
                fault.1 += 1;
                return reply.error(Errno::from_i32(error));
            }
        }
        match self.file(handle).write_all_at(octets, offset) {
            Ok(()) => reply.written(u32::try_from(octets.len()).expect("one request")),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().expect("files")[usize::try_from(handle.0).expect("a handle")] = None;
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _node: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        match self.lacks(&[Operation::SyncFile]) {
            Some(error) => reply.error(error),
            None => self.sync(reply),
        }
    }

    fn fsyncdir(&self, _req: &Request, _node: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        match self.lacks(&[Operation::SyncDirectory]) {
            Some(error) => reply.error(error),
            None => self.sync(reply),
        }
    }

    fn readdir(
        &self,
        _req: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let path = self.path(node);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries.map_while(Result::ok),
            Err(error) => return reply.error(errno(error)),
        };
        for (index, entry) in (1..).zip(entries).skip(usize::try_from(offset).expect("an offset")) {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
            let number = self.number(&entry.path());
            if reply.add(INodeNo(number), index, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}
