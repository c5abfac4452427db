//! Receivers that others wrote, started on a free port; ended with the test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that receives mail.
pub(crate) struct Other {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Other {
    /// Starts it; the arguments have `PORT` where the port belongs. None, with a word why, when it is not installed; with
    /// `CI=true` it must be.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let port = free.port().to_string();
        let arguments = arguments.iter().map(|argument| argument.replace("PORT", &port));
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let missing = |why: &str| {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{program}: {why}");
            eprintln!("skipped: {program}: {why}");
            None
        };
        let Ok(mut child) = child else { return missing("it is not installed") };
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(free).is_err() {
            if child.try_wait().expect("a child").is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return missing("it does not listen");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, address: free })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
