//! The control socket: what changes a running receiver, or asks it, from the same machine.
//!
//! One connection, one request, one answer, each with the word of the protocol first, so that a later one can
//! be told apart:
//!
//! ```text
//!   client                          server
//!   ringmx/1 COMMAND\n        ──►
//!                             ◄──   ringmx/1 ok LENGTH\n      and LENGTH octets of text
//!                                   ringmx/1 error LENGTH\n   likewise: why not, and what to do
//! ```
//!
//! `docs/reload.md` has the commands. Only root and the user of the server are answered (SO_PEERCRED), whatever
//! the mode of the file says.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::socket::{SocketFile, bind_unix};

/// The word that both sides begin with.
pub const PROTOCOL: &str = "ringmx/1";

/// Nobody but the owner may connect.
const MODE: u32 = 0o600;

/// Requests at a time; one more is told to come again.
const REQUESTS_MAX: usize = 16;

/// Octets of a request with its line end.
const REQUEST_BYTES_MAX: usize = 256;

/// A request has come, and an answer is taken, within this time.
const TALK_MAX: Duration = Duration::from_secs(5);

/// A reload that reads for longer goes on; whoever asked for it is told where to look.
pub const RELOAD_WAIT_MAX: Duration = Duration::from_mins(10);

/// After an accept failed nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// It was done.
    pub is_good: bool,
    /// Lines for the operator.
    pub text: String,
}

impl Answer {
    fn error(text: impl Into<String>) -> Self {
        Self { is_good: false, text: text.into() }
    }
}

/// What is asked of the control thread.
#[derive(Debug)]
pub enum Request {
    /// Read everything again. Without an answer the server is stopping.
    Reload(oneshot::Sender<Answer>),
}

/// Gives the text of the command `status`.
pub type Status = Arc<dyn Fn() -> String + Send + Sync>;

/// The socket, and who does what is asked there.
pub struct ControlStart {
    /// The socket; its file is removed by drop.
    pub socket: (StdListener, SocketFile),
    /// The control thread.
    pub ask: Sender<Request>,
    /// What `status` says; none where nobody can tell.
    pub status: Option<Status>,
}

/// Makes the socket. A file that a dead process left there is replaced.
pub fn bind(path: &Path) -> io::Result<(StdListener, SocketFile)> {
    bind_unix(path, MODE)
}

/// The socket within a runtime.
pub(super) struct ControlSocket {
    listener: UnixListener,
    _file: SocketFile,
    requests: JoinSet<()>,
    desk: Arc<Desk>,
}

/// Whoever answers.
struct Desk {
    ask: Sender<Request>,
    status: Option<Status>,
}

impl ControlSocket {
    /// For the runtime that this is called in.
    pub(super) fn in_runtime(start: ControlStart) -> io::Result<Self> {
        let ControlStart { socket: (listener, file), ask, status } = start;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, _file: file, requests: JoinSet::new(), desk: Arc::new(Desk { ask, status }) })
    }

    /// Takes the next connection. May be given up at any of its waits.
    pub(super) async fn take_next(&mut self) {
        while self.requests.try_join_next().is_some() {}
        match self.listener.accept().await {
            Ok((stream, _)) => {
                let is_full = self.requests.len() >= REQUESTS_MAX;
                let desk = Arc::clone(&self.desk);
                if is_full {
                    // Nobody is waited for: what does not fit the socket is lost.
                    let _ = stream.try_write(&framed(&Answer::error(format!(
                        "{REQUESTS_MAX} requests are under way already: come again\n"
                    ))));
                } else {
                    self.requests.spawn(async move { serve(stream, &desk).await });
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(mut stream: UnixStream, desk: &Desk) {
    let answer = match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == our_uid() => {
            match timeout(TALK_MAX, read_request(&mut stream)).await {
                Ok(Ok(request)) => desk.answer(&request).await,
                Ok(Err(error)) => Answer::error(format!("the request cannot be read: {error}\n")),
                Err(_) => Answer::error(format!("no request came within {} s\n", TALK_MAX.as_secs())),
            }
        }
        Ok(peer) => Answer::error(format!(
            "user {} may not control this server: only root and user {}, who runs it, may\n",
            peer.uid(),
            our_uid()
        )),
        Err(error) => Answer::error(format!("the kernel does not say who asks: {error}\n")),
    };
    let _ = timeout(TALK_MAX, stream.write_all(&framed(&answer))).await;
    // What came after the request is not read: without this the client might see a reset instead of the end.
    let _ = timeout(TALK_MAX, stream.shutdown()).await;
}

/// The user as whom files are opened, which `run_as` may have changed since the socket was made.
fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A line without its end.
async fn read_request(stream: &mut UnixStream) -> io::Result<String> {
    let mut octets = Vec::new();
    let mut part = [0; REQUEST_BYTES_MAX];
    loop {
        let count = stream.read(&mut part).await?;
        let (taken, _) = part.split_at(count);
        octets.extend_from_slice(taken);
        if let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            octets.truncate(end);
            let line = octets.strip_suffix(b"\r").unwrap_or(&octets);
            return String::from_utf8(line.to_vec()).map_err(|_| io::Error::other("it is not UTF-8"));
        }
        if count == 0 {
            return Err(io::Error::other("it ends without a line end"));
        }
        if octets.len() >= REQUEST_BYTES_MAX {
            return Err(io::Error::other(format!("its line is over {REQUEST_BYTES_MAX} octets")));
        }
    }
}

impl Desk {
    async fn answer(&self, request: &str) -> Answer {
        let Some(command) = request.strip_prefix(PROTOCOL).and_then(|rest| rest.strip_prefix(' ')) else {
            let text = format!("a request begins with `{PROTOCOL} `: is this program of another version?\n");
            return Answer::error(text);
        };
        match command {
            "reload" => self.reload().await,
            "status" => match &self.status {
                Some(status) => Answer { is_good: true, text: status() },
                None => Answer::error("this server keeps no status\n"),
            },
            _ => Answer::error(format!("{command:?} is no command; there are reload and status\n")),
        }
    }

    async fn reload(&self) -> Answer {
        let (tell, told) = oneshot::channel();
        let stopping = || Answer::error("the server is stopping, and reads nothing again\n");
        if self.ask.send(Request::Reload(tell)).is_err() {
            return stopping();
        }
        match timeout(RELOAD_WAIT_MAX, told).await {
            Ok(answer) => answer.unwrap_or_else(|_| stopping()),
            Err(_) => Answer::error(format!(
                "still reading after {} s: does the disk answer? What comes of it will be in the log\n",
                RELOAD_WAIT_MAX.as_secs()
            )),
        }
    }
}

fn framed(answer: &Answer) -> Vec<u8> {
    let word = if answer.is_good { "ok" } else { "error" };
    format!("{PROTOCOL} {word} {}\n{}", answer.text.len(), answer.text).into_bytes()
}
