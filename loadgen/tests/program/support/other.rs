//! Receivers that others wrote, started on a free port; ended with the test.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that receives mail.
pub(crate) struct Other {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Other {
    /// Starts it; the arguments have `PORT` where the port belongs. None, with a word why, when it is not
    /// installed; with `CI=true` it must be.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let missing = |why: &str| {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{program}: {why}");
            eprintln!("skipped: {program}: {why}");
            None
        };
        // A port that was free may be somebody else's a moment later: then it ends by itself, and another
        // port is tried.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a free port");
            let port = free.port().to_string();
            let child = Command::new(program)
                .args(arguments.iter().map(|argument| argument.replace("PORT", &port)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let Ok(child) = child else { return missing("it is not installed") };
            let mut server = Self { child, address: free };
            let deadline = Instant::now() + Duration::from_secs(15);
            while server.child.try_wait().expect("a child").is_none() && Instant::now() < deadline {
                if greets(free) && server.child.try_wait().expect("a child").is_none() {
                    return Some(server);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        missing("it does not listen")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a server greets there. That somebody accepts is not enough: a connection to a free port may meet
/// itself.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut greeting = [0; 3];
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.read_exact(&mut greeting).is_ok() && greeting == *b"220"
}
