//! Each refused thing is tried by a process that went in: by a thread that was there before, by the one that
//! went in, and by one that was made afterwards.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ringmx::buffer::Pool;
use ringmx::config::RunAs;
use ringmx::ring::kernel::KernelRing;
use ringmx::ring::{Event, Ring};
use ringmx::sandbox::{self, Account, Connects, Places, Plan};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::geteuid;

/// Set for the process that goes in: the folder for it.
const FOLDER: &str = "RINGMX_TEST_SANDBOX_FOLDER";

/// A user and group of nobody.
const NOBODY: u32 = 3_000_017;

/// Something that is tried, and the error number that it has to fail with.
type Attempt = (&'static str, i32, fn(&Path) -> Result<(), i32>);

fn tried(result: libc::c_long) -> Result<(), i32> {
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or_default()) }
}

/// A system call with numbers and null pointers for arguments: where it is let through, it fails otherwise or
/// does nothing.
fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> Result<(), i32> {
    let [a, b, c, d] = arguments;
    // SAFETY: no argument is an address of ours.
    tried(unsafe { libc::syscall(number, a, b, c, d, 0, 0) })
}

fn opened(path: impl AsRef<Path>, flags: OFlags) -> Result<(), i32> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::open(path.as_ref(), flags, mode).map(drop).map_err(rustix::io::Errno::raw_os_error)
}

fn socket(family: i32, kind: i32, protocol: i32) -> Result<(), i32> {
    call(libc::SYS_socket, [family.into(), kind.into(), protocol.into(), 0])
}

/// Everything that is refused. Users of files outside are told by the access that Landlock has, all others by
/// the call.
const REFUSED: &[Attempt] = &[
    ("read /etc/shadow", libc::EACCES, |_| opened("/etc/shadow", OFlags::RDONLY)),
    ("read a file that anybody may read", libc::EACCES, |_| opened("/etc/passwd", OFlags::RDONLY)),
    ("list a directory", libc::EACCES, |_| opened("/etc", OFlags::RDONLY | OFlags::DIRECTORY)),
    ("make a file outside of the store", libc::EACCES, |folder| {
        opened(folder.join("outside/new"), OFlags::WRONLY | OFlags::CREATE)
    }),
    ("write a file outside of the store", libc::EACCES, |folder| {
        opened(folder.join("outside/file"), OFlags::WRONLY)
    }),
    ("write the configuration", libc::EACCES, |folder| opened(folder.join("config/mx.toml"), OFlags::WRONLY)),
    ("remove a file outside of the store", libc::EACCES, |folder| {
        fs::remove_file(folder.join("outside/file")).map_err(|error| error.raw_os_error().unwrap_or_default())
    }),
    ("move mail out of the store", libc::EACCES, |folder| {
        let moved = fs::rename(folder.join("store/kept"), folder.join("outside/kept"));
        moved.map_err(|error| error.raw_os_error().unwrap_or_default())
    }),
    ("make a device", libc::EPERM, |_| call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), 0, 0, 0])),
    ("connect", libc::EPERM, |_| {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
        let socket = socket.map_err(rustix::io::Errno::raw_os_error)?;
        call(libc::SYS_connect, [socket.as_raw_fd().into(), 0, 0, 0])
    }),
    ("connect by the first octets", libc::EPERM, |_| {
        call(libc::SYS_sendto, [-1, 0, 0, libc::MSG_FASTOPEN.into()])
    }),
    ("a packet socket", libc::EPERM, |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("a raw socket", libc::EPERM, |_| socket(libc::AF_INET, libc::SOCK_RAW, 0)),
    ("a UDP socket", libc::EPERM, |_| socket(libc::AF_INET, libc::SOCK_DGRAM, 0)),
    ("an SCTP socket", libc::EPERM, |_| socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)),
    ("an MPTCP socket", libc::EPERM, |_| socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)),
    ("a Unix socket", libc::EPERM, |_| socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
    ("a netlink socket", libc::EPERM, |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    ("execute", libc::EPERM, |_| {
        let arguments = [c"true".as_ptr(), std::ptr::null()];
        // SAFETY: a path and arguments that end as they should.
        tried(unsafe { libc::execv(c"/bin/true".as_ptr(), arguments.as_ptr()) }.into())
    }),
    ("begin a program", libc::EPERM, |_| {
        let begun = Command::new("/bin/true").spawn();
        begun.map(drop).map_err(|error| error.raw_os_error().unwrap_or_default())
    }),
    ("fork", libc::EPERM, |_| call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0])),
    ("a new ring", libc::EPERM, |_| call(libc::SYS_io_uring_setup, [8, 0, 0, 0])),
    ("trace", libc::EPERM, |_| call(libc::SYS_ptrace, [0, 0, 0, 0])),
    ("read another process's memory", libc::EPERM, |_| call(libc::SYS_process_vm_readv, [1, 0, 0, 0])),
    ("signal another process", libc::EPERM, |_| call(libc::SYS_kill, [1, 0, 0, 0])),
    ("signal a thread of another process", libc::EPERM, |_| call(libc::SYS_tgkill, [1, 1, 0, 0])),
    ("make another process less urgent", libc::EPERM, |_| {
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS.into(), 1, 19, 0])
    }),
    ("mount", libc::EPERM, |_| call(libc::SYS_mount, [0, 0, 0, 0])),
    ("a new root", libc::EPERM, |_| call(libc::SYS_chroot, [0, 0, 0, 0])),
    ("new namespaces", libc::EPERM, |_| call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0])),
    ("become root", libc::EPERM, |_| call(libc::SYS_setuid, [0, 0, 0, 0])),
    ("take capabilities", libc::EPERM, |_| call(libc::SYS_capset, [0, 0, 0, 0])),
    ("executable memory", libc::EPERM, |_| {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        call(libc::SYS_mmap, [0, 4096, protection.into(), (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into()])
    }),
    ("a file in memory", libc::EPERM, |_| call(libc::SYS_memfd_create, [0, 0, 0, 0])),
    ("load a program into the kernel", libc::EPERM, |_| call(libc::SYS_bpf, [0, 0, 0, 0])),
    ("raise a limit", libc::EPERM, |_| call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE.into(), 8, 0])),
    ("let others trace", libc::EPERM, |_| call(libc::SYS_prctl, [libc::PR_SET_PTRACER.into(), 1, 0, 0])),
    ("type into a terminal", libc::EPERM, |_| {
        call(libc::SYS_ioctl, [0, libc::TIOCSTI.try_into().expect("a number"), 0, 0])
    }),
    // The C library makes threads and processes in an older way, which a filter can tell apart.
    ("the new way to make threads", libc::ENOSYS, |_| call(libc::SYS_clone3, [0, 0, 0, 0])),
    ("a call that is newer than the list", libc::ENOSYS, |_| call(590, [0, 0, 0, 0])),
];

/// Those that are not refused as they should be.
fn wrongly_answered(folder: &Path, by: &str) -> Vec<String> {
    let wrong = REFUSED.iter().filter_map(|(name, wanted, attempt)| match attempt(folder) {
        Err(number) if number == *wanted => None,
        other => Some(format!("{name}, by {by}: {other:?} instead of {wanted}")),
    });
    wrong.collect()
}

/// What serving needs.
fn serves(folder: &Path) -> io::Result<()> {
    let store = folder.join("store");
    fs::create_dir_all(store.join("tmp"))?;
    fs::write(store.join("tmp/mail"), "mail")?;
    fs::rename(store.join("tmp/mail"), store.join("mail"))?;
    // A spill file gets a name.
    let spill: OwnedFd = rustix::fs::open(&store, OFlags::RDWR | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR)?;
    let path = format!("/proc/self/fd/{}", spill.as_raw_fd());
    rustix::fs::linkat(CWD, path, CWD, store.join("tmp/linked"), AtFlags::SYMLINK_FOLLOW)?;
    rustix::fs::ftruncate(&spill, 10)?;
    rustix::fs::fsync(&spill)?;
    for name in ["mail", "tmp/linked"] {
        fs::remove_file(store.join(name))?;
    }
    assert_eq!(fs::read(folder.join("config/mx.toml"))?, b"text");
    fs::read("/proc/self/mountinfo")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.local_addr()?;
    Ok(())
}

/// Lines of /proc/self/task/*/status that are not as they should be.
fn wrong_threads() -> io::Result<Vec<String>> {
    let user = [NOBODY.to_string().as_str(); 4].join("\t");
    let none = "0000000000000000";
    let wanted = [
        ("Uid:", user.as_str()),
        ("Gid:", user.as_str()),
        ("Groups:", &NOBODY.to_string()),
        ("CapInh:", none),
        ("CapPrm:", none),
        ("CapEff:", none),
        ("CapBnd:", none),
        ("CapAmb:", none),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let mut wrong = Vec::new();
    let mut threads = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        threads += 1;
        for (name, value) in &wanted {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            if line.map(str::trim) != Some(value) {
                wrong.push(format!("{name}{line:?} of {:?}", status.lines().next()));
            }
        }
    }
    assert!(threads >= 3, "the test runner's, the early one, this one");
    Ok(wrong)
}

/// Only for the process that [`each_refused_thing_fails_and_what_serving_needs_works`] starts.
#[test]
fn inside() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder).to_owned();
    let (go, gone) = channel::<()>();
    let early_folder = folder.clone();
    let early = std::thread::spawn(move || {
        gone.recv().expect("told to go");
        wrongly_answered(&early_folder, "a thread that was there before")
    });
    let nobody = Some(NOBODY.to_string());
    let account = Account::to_become(&RunAs { user: nobody.clone(), group: nobody, sandbox: true });
    let mut places = Places { store: Some(folder.join("store")), ..Places::default() };
    places.read_again(&folder.join("config/mx.toml"));
    let plan = Plan { account: account.expect("a number"), binds_low_ports: false, places: Some(places) };
    let entered = sandbox::enter(&plan).expect("it goes in");
    assert_eq!(entered.lacks, None);
    assert_eq!(geteuid().as_raw(), NOBODY);
    // Before the calls are refused: Landlock alone.
    if entered.landlock >= 4 {
        let connected = std::net::TcpStream::connect("127.0.0.1:9").expect_err("refused");
        assert_eq!(connected.raw_os_error(), Some(libc::EACCES), "Landlock refuses to connect");
    }
    let pool = Pool::new(2, 4096, 0).expect("memory");
    let mut ring = KernelRing::new(8, Arc::clone(pool.arena())).expect("a ring");
    sandbox::close(&Connects::default()).expect("closed");

    let late_folder = folder.clone();
    let late = std::thread::spawn(move || {
        serves(&late_folder).expect("it serves");
        wrongly_answered(&late_folder, "a thread that was made afterwards")
    });
    let mut wrong = late.join().expect("the late thread");
    go.send(()).expect("the early thread waits");
    wrong.extend(early.join().expect("the early thread"));
    wrong.extend(wrongly_answered(&folder, "the thread that went in"));
    let (hold, held) = channel::<()>();
    let there = std::thread::spawn(move || held.recv().is_err());
    wrong.extend(wrong_threads().expect("its threads"));
    drop(hold);
    there.join().expect("it ended");
    serves(&folder).expect("it serves");
    let mut events: Vec<Event> = Vec::new();
    ring.turn(Some(Duration::ZERO), &mut events).expect("the ring turns");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("inside: {} things are refused", REFUSED.len());
}

/// What a system call costs more inside, for those that the filter lets through: nothing that a message would
/// notice. `cargo test --test sandbox cost -- --ignored --nocapture` prints it.
#[test]
#[ignore = "a measurement"]
fn cost() {
    if std::env::var_os(FOLDER).is_none() {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "inside::cost", "--ignored", "--nocapture"]).env(FOLDER, "/");
        let output = child.output().expect("it runs");
        println!("{}", String::from_utf8_lossy(&output.stdout));
        return assert!(output.status.success());
    }
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd");
    // The least of many: other programs only add.
    let measure = |number: libc::c_long| {
        let once = || {
            const CALLS: u32 = 20_000;
            let begun = std::time::Instant::now();
            for _ in 0..CALLS {
                let mut octets = [0_u8; 8];
                // SAFETY: `read` has room for as many octets; the other call takes numbers only and fails.
                unsafe { libc::syscall(number, bell.as_raw_fd(), octets.as_mut_ptr(), 8, 0, 0, 0) };
            }
            begun.elapsed() / CALLS
        };
        (0..100).map(|_| once()).min().expect("measured")
    };
    let calls = [("read", libc::SYS_read), ("io_uring_enter", libc::SYS_io_uring_enter)];
    let before = calls.map(|(_, number)| measure(number));
    let nothing = Plan { places: Some(Places::default()), ..Plan::default() };
    sandbox::enter(&nothing).expect("it goes in");
    sandbox::close(&Connects::default()).expect("closed");
    let after = calls.map(|(_, number)| measure(number));
    for (((name, _), before), after) in calls.iter().zip(before).zip(after) {
        println!("{name}: {before:?} outside, {after:?} inside");
    }
}

#[test]
fn each_refused_thing_fails_and_what_serving_needs_works() {
    if !geteuid().is_root() {
        return println!("skipped: only root can become another user");
    }
    if sandbox::landlock_version().is_err() {
        return println!("skipped: this kernel has no Landlock");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    for (name, mode) in [("store", 0o777), ("outside", 0o777), ("config", 0o777)] {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("open to all");
    }
    for (name, text) in [("outside/file", "x"), ("config/mx.toml", "text"), ("store/kept", "mail")] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("open to all");
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "inside::inside", "--nocapture"]).env(FOLDER, folder.path());
    let output = child.output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("things are refused"), "{text}");
    println!("{text}");
}
