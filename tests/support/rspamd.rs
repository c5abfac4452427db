//! A real rspamd in a folder of its own, on loopback, without the DNS and without its rules: what it says of
//! a message is what the message asks for.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::http;

/// It reads all its modules at the start.
const PATIENCE: Duration = Duration::from_mins(1);

/// rspamd refuses a message with this line in it.
pub const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// A message has what it asks for: the action `X-Test-Action`, with the text `X-Test-Text`, and a field
/// `X-Added` with the value of `X-Test-Field`. With a field `X-Test-Seen` a field `X-Seen` tells each
/// thing that rspamd was told of the message.
const RULES: &str = r"
rspamd_config:register_symbol({
  name = 'TEST_ACTION', type = 'prefilter', priority = 10,
  callback = function(task)
    local action = task:get_header('X-Test-Action')
    if action then task:set_pre_result(action, task:get_header('X-Test-Text')) end
    local added = {}
    local field = task:get_header('X-Test-Field')
    if field then added['X-Added'] = field end
    if task:get_header('X-Test-Seen') then
      local from = task:get_from('smtp')
      local seen = { 'from=' .. (from and from[1] and from[1].addr or '') }
      for _, one in ipairs(task:get_recipients('smtp') or {}) do table.insert(seen, 'rcpt=' .. one.addr) end
      table.insert(seen, 'ip=' .. tostring(task:get_from_ip()))
      table.insert(seen, 'helo=' .. tostring(task:get_helo()))
      table.insert(seen, 'hostname=' .. tostring(task:get_hostname()))
      table.insert(seen, 'queue-id=' .. tostring(task:get_queue_id()))
      table.insert(seen, 'size=' .. tostring(task:get_size()))
      added['X-Seen'] = seen
    end
    if next(added) then task:set_milter_reply({ add_headers = added }) end
  end
})
";

/// A real rspamd; ended by drop.
pub struct Rspamd {
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Rspamd {
    /// Starts one. None where it is not installed, which is said; under CI it must be.
    pub fn start() -> Option<Self> {
        let is_there = Command::new("rspamd").arg("--version").stdout(Stdio::null()).status();
        if !is_there.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI needs rspamd");
            println!("skipped: rspamd is not installed (Debian package: rspamd)");
            return None;
        }
        // Somebody else may have had its port first.
        Some((0..5).find_map(|_| Self::try_start()).expect("an rspamd that goes on running"))
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        // It takes no port of the kernel's choice.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let address = address.expect("a port");
        // The list of all domains takes seconds to compile, and so does what is searched for.
        let text = format!(
            "lua = \"{path}/rules.lua\";\n\
             options {{\n pidfile = \"{path}/pid\"; tempdir = \"{path}\"; url_tld = \"{path}/domains\"; hs_cache_dir = \"{path}\";\n \
             cache_file = \"{path}/cache\"; control_socket = \"{path}/control.sock mode=0600\"; filters = \"\";\n \
             disable_hyperscan = true; enable_test_patterns = true;\n \
             dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 0.1s; retransmits = 1; }}\n}}\n\
             actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
             logging {{ type = \"file\"; filename = \"{path}/log\"; level = \"info\"; }}\n\
             worker \"normal\" {{\n bind_socket = \"{address}\"; bind_socket = \"{path}/worker.sock mode=0666\"; count = 1; mime = true;\n}}\n"
        );
        fs::write(folder.path().join("rspamd.conf"), text).expect("a configuration");
        fs::write(folder.path().join("rules.lua"), RULES).expect("rules");
        fs::write(folder.path().join("domains"), "test\n").expect("domains");
        let mut rspamd = Self { folder, address, child: None };
        rspamd.run().then_some(rspamd)
    }

    /// Runs it until it answers; false where it ends instead.
    fn run(&mut self) -> bool {
        let path = self.folder.path();
        let child = Command::new("rspamd")
            // It would not run as root otherwise.
            .args(["--no-fork", "--insecure", "--config"])
            .arg(path.join("rspamd.conf"))
            .args(["DBDIR", "RUNDIR", "LOGDIR"].map(|name| format!("--var={name}={}", path.display())))
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("it runs");
        // Whatever comes now, it is ended by drop.
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let status = self.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
            if let Some(status) = status {
                self.child = None;
                println!("{status}: {}", self.log());
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let pong = http::ask(self.address, b"GET /ping HTTP/1.0\r\n\r\n");
        assert_eq!(pong.status, 200, "{pong:?}");
        true
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `url` of `[[filter]]` names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file of the socket where it listens, too.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("worker.sock")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends it at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Starts it again where it was, after it has ended.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        assert!(self.run(), "it goes on running");
    }

    /// It stands still, and its connections stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// To all its processes.
    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let id = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        let _ = kill_process_group(id, signal);
    }

    fn end(&mut self, signal: Signal) {
        self.signal(Signal::CONT);
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        // A worker ends a moment after its parent.
        let start = Instant::now();
        while TcpStream::connect(self.address).is_ok() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Rspamd {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}
