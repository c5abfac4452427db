//! opendkim, a milter that others wrote.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// opendkim in verify mode; it ends by drop.
#[derive(Debug)]
pub struct OpenDkim {
    child: Child,
    folder: tempfile::TempDir,
}

impl OpenDkim {
    /// With this record of a key at `s._domainkey.example.net`, and more settings; none, with a word, where
    /// it is not installed.
    pub fn start(record: &str, settings: &str) -> Option<Self> {
        let Some(program) = ["/usr/sbin/opendkim", "/usr/local/sbin/opendkim"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        else {
            assert!(std::env::var_os("CI").is_none(), "CI needs opendkim");
            println!("skipped: opendkim is not installed (Debian package: opendkim)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("keys"), format!("s._domainkey.example.net {record}\n")).expect("the key");
        let common = format!(
            "Mode v\nAuthservID mx.example.org\nSocket local:{}\nTestPublicKeys {}\nBackground no\n{settings}\n",
            path("socket"),
            path("keys")
        );
        fs::write(path("conf"), common).expect("a configuration");
        let mut command = Command::new(program);
        let child = command.args(["-f", "-x", &path("conf")]).stdin(Stdio::null()).spawn().expect("it runs");
        let opendkim = Self { child, folder };
        let begun = Instant::now();
        while UnixStream::connect(opendkim.socket()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "opendkim does not listen");
            sleep(Duration::from_millis(20));
        }
        Some(opendkim)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for OpenDkim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
