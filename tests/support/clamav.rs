//! clamav-milter with a clamd of its own, that knows one signature.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What scanners know as a test (eicar.org), in two parts: else they would find it here.
pub const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"];

/// How long they may take to start.
const START_MAX: Duration = Duration::from_mins(1);

/// Both programs; they end by drop.
#[derive(Debug)]
pub struct ClamAv {
    clamd: Child,
    milter: Option<Child>,
    folder: tempfile::TempDir,
}

impl ClamAv {
    /// clamd; none, with a word, where one of them is not installed.
    pub fn start() -> Option<Self> {
        if program("clamd").is_none() || program("clamav-milter").is_none() {
            assert!(std::env::var_os("CI").is_none(), "CI needs clamd and clamav-milter");
            println!("skipped: ClamAV is not installed (Debian packages: clamav-daemon, clamav-milter)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let database = folder.path().join("database");
        let digits: String = data_encoding::HEXLOWER.encode(EICAR.concat().as_bytes());
        // Any file type, anywhere in it.
        fs::create_dir(&database).expect("a folder");
        fs::write(database.join("test.ndb"), format!("Eicar-Test:0:*:{digits}\n")).expect("a signature");
        let settings = format!(
            "DatabaseDirectory {path}/database\nLocalSocket {path}/clamd\nForeground yes\nLogFile {path}/clamd.log\n\
             TemporaryDirectory {path}\nStreamMaxLength 50M\n"
        );
        fs::write(folder.path().join("clamd.conf"), settings).expect("settings");
        let clamd = run("clamd", &folder.path().join("clamd.conf"));
        let clamav = Self { clamd, milter: None, folder };
        clamav.wait_for("clamd");
        Some(clamav)
    }

    /// The milter with these settings, and no other one.
    pub fn run_milter(&mut self, settings: &str) {
        self.end_milter();
        let path = self.folder.path().display();
        let settings = format!(
            "MilterSocket unix:{path}/socket\nClamdSocket unix:{path}/clamd\nForeground yes\nLogFile {path}/milter.log\n\
             LogInfected Full\nLogClean Full\nTemporaryDirectory {path}\n{settings}\n"
        );
        let file = self.folder.path().join("milter.conf");
        fs::write(&file, settings).expect("settings");
        self.milter = Some(run("clamav-milter", &file));
        self.wait_for("socket");
    }

    /// Where the milter listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What both logged.
    pub fn log(&self) -> String {
        ["clamd.log", "milter.log"]
            .map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }

    /// Ends clamd, as by a crash.
    pub fn kill_clamd(&mut self) {
        let _ = self.clamd.kill();
        let _ = self.clamd.wait();
    }

    fn wait_for(&self, name: &str) {
        let begun = Instant::now();
        while UnixStream::connect(self.folder.path().join(name)).is_err() {
            assert!(begun.elapsed() < START_MAX, "{name} is not there: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    fn end_milter(&mut self) {
        if let Some(mut milter) = self.milter.take() {
            let _ = milter.kill();
            let _ = milter.wait();
        }
        let _ = fs::remove_file(self.socket());
    }
}

fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/local/sbin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

fn run(name: &str, settings: &Path) -> Child {
    let mut command = Command::new(program(name).expect("it is installed"));
    command.arg("--config-file").arg(settings).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("it runs")
}

impl Drop for ClamAv {
    fn drop(&mut self) {
        self.end_milter();
        self.kill_clamd();
    }
}
