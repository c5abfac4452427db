//! Postfix in a folder of its own: STARTTLS on one port, implicit TLS on another; mail goes nowhere.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running Postfix; ended by drop.
pub(crate) struct Postfix {
    master: Child,
    /// Where it offers STARTTLS.
    pub(crate) starttls: SocketAddr,
    /// Where it begins with TLS.
    pub(crate) implicit: SocketAddr,
    /// Its certificate, for `localhost`.
    pub(crate) certificate: PathBuf,
    _folder: tempfile::TempDir,
}

/// Folders of a queue that belong to Postfix.
const QUEUE: [&str; 13] = [
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private",
    "public", "saved", "trace",
];

const SERVICES: &str = "cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
discard unix - - n - - discard
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// None, with a word why, when it is not installed or we are not root; with `CI=true` it must be there.
    pub(crate) fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(postfix) => Some(postfix),
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "Postfix: {why}");
                eprintln!("skipped: Postfix: {why}");
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        let daemons = Command::new("postconf").args(["-d", "-h", "daemon_directory"]).output();
        let daemons = daemons.map_err(|_| "it is not installed")?.stdout;
        let master_path = Path::new(String::from_utf8_lossy(&daemons).trim()).join("master");
        if !rustix::process::geteuid().is_root() {
            return Err("it starts as root only".to_owned());
        }
        let folder = tempfile::tempdir().expect("folder");
        let at = folder.path();
        let [starttls, implicit] = [free_port(), free_port()];
        write_files(at, starttls, implicit);
        let master = Command::new(master_path)
            .arg("-c")
            .arg(at.join("conf"))
            .arg("-d")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("its master: {error}"))?;
        let certificate = at.join("mx.pem");
        let mut postfix = Self { master, starttls, implicit, certificate, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(implicit).is_err() {
            if postfix.master.try_wait().expect("a child").is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(postfix.certificate.with_file_name("log")).unwrap_or_default();
                return Err(format!("it does not listen: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(postfix)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // It ends those that it started.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn write_files(at: &Path, starttls: SocketAddr, implicit: SocketAddr) {
    let write = |name: &str, text: String| fs::write(at.join(name), text).expect("written");
    // Its daemons are not root.
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).expect("permissions");
    for folder in ["conf", "data", "queue", "queue/pid"] {
        fs::create_dir(at.join(folder)).expect("folder");
    }
    for folder in QUEUE {
        fs::create_dir(at.join("queue").join(folder)).expect("folder");
    }
    let folders = QUEUE.iter().map(|folder| at.join("queue").join(folder)).chain([at.join("data")]);
    assert!(Command::new("chown").arg("postfix").args(folders).status().expect("chown").success());
    let made = ringmx::tls::self_signed::make(&["localhost".to_owned()]).expect("a certificate");
    write("mx.pem", made.chain);
    write("mx.key", made.key);
    let at = at.display();
    write(
        "conf/main.cf",
        format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\nmaillog_file = {at}/log\n\
             maillog_file_prefixes = {at}\nmyhostname = mx.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_protocols = ipv4\ninet_interfaces = loopback-only\ndefault_transport = discard:\nalias_maps =\n\
             smtpd_tls_cert_file = {at}/mx.pem\nsmtpd_tls_key_file = {at}/mx.key\nsmtpd_tls_security_level = may\n\
             smtpd_tls_session_cache_database = btree:{at}/data/sessions\n"
        ),
    );
    let smtpd = format!(
        "{starttls} inet n - n - - smtpd\n{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
    );
    write("conf/master.cf", smtpd + SERVICES);
}
