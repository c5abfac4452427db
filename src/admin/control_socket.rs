//! The control socket: what changes a running process, or asks it, from the same machine.
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
//! `docs/reload.md` has the commands. Only root and the user of the server are answered (SO_PEERCRED),
//! whatever the mode of the file says.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// Octets of a request with its line end: the names of a thousand messages fit.
const QUESTION_BYTES_MAX: usize = 64 * 1024;

/// Octets that are read at a time.
const PART_BYTES: usize = 2048;

/// How often is read what came after a request; more than that is a client that sends without end.
const UNREAD_READS_MAX: usize = 64;

/// A request has come, and an answer is taken, within this time.
const TALK_MAX: Duration = Duration::from_secs(5);

/// How often is looked whether whoever waits for an answer is still there.
const GONE_LOOK: Duration = Duration::from_millis(200);

/// A reload that reads for longer goes on; whoever asked for it is told where to look.
pub const RELOAD_WAIT_MAX: Duration = Duration::from_mins(10);

/// At the end whoever waits for an answer gets it if there is one within this time.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(500);

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
    /// It was done.
    pub fn good(text: impl Into<String>) -> Self {
        Self { is_good: true, text: text.into() }
    }

    /// It was not done, and why.
    pub fn error(text: impl Into<String>) -> Self {
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

/// An answer that somebody waits for.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Whoever does what is asked.
pub trait Desk: Send + Sync {
    /// Does what a command says, which is a line without the word of the protocol. Given up when whoever
    /// asked has gone; what was begun by then goes on.
    fn answer<'a>(&'a self, command: &'a str) -> Answering<'a>;
}

/// The socket, and who does what is asked there.
pub struct ControlStart {
    /// The socket; its file is removed by drop.
    pub socket: (StdListener, SocketFile),
    /// Who answers.
    pub desk: Arc<dyn Desk>,
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
    desk: Arc<dyn Desk>,
}

/// The desk of a receiver.
pub struct ReceiverDesk {
    /// The control thread.
    pub ask: Sender<Request>,
    /// What `status` says.
    pub status: Status,
}

impl ControlSocket {
    /// For the runtime that this is called in.
    pub(super) fn in_runtime(start: ControlStart) -> io::Result<Self> {
        let ControlStart { socket: (listener, file), desk } = start;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, _file: file, requests: JoinSet::new(), desk })
    }

    /// Takes no more, and has those under way answered whose answer is there.
    pub(super) async fn end(self) {
        let Self { listener, _file, mut requests, .. } = self;
        drop(listener);
        let all = async { while requests.join_next().await.is_some() {} };
        let _ = timeout(LAST_ANSWERS_MAX, all).await;
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
                    self.requests.spawn(async move { serve(stream, &*desk).await });
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(mut stream: UnixStream, desk: &dyn Desk) {
    let answer = match stream.peer_cred() {
        Ok(asker) if asker.uid() == 0 || asker.uid() == our_uid() => {
            match timeout(TALK_MAX, read_question(&mut stream)).await {
                Ok(Ok(question)) => tokio::select! {
                    answer = answered(desk, &question) => answer,
                    // What was asked for is done all the same, and another asker can have the place.
                    () = gone(&stream) => return,
                },
                Ok(Err(error)) => Answer::error(format!("the request cannot be read: {error}\n")),
                Err(_) => Answer::error(format!("no request came within {} s\n", TALK_MAX.as_secs())),
            }
        }
        Ok(asker) => Answer::error(format!(
            "user {} may not control this server: only root and user {}, who runs it, may\n",
            asker.uid(),
            our_uid()
        )),
        Err(error) => Answer::error(format!("the kernel does not say who asks: {error}\n")),
    };
    let _ = timeout(TALK_MAX, stream.write_all(&framed(&answer))).await;
    // With octets that nobody has read, a close is a reset for the client.
    let mut unread = [0; PART_BYTES];
    for _ in 0..UNREAD_READS_MAX {
        if !matches!(stream.try_read(&mut unread), Ok(1..)) {
            break;
        }
    }
}

/// Returns when the client is not there any more. One that has only ended what it sends waits for its answer.
async fn gone(stream: &UnixStream) {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        tokio::time::sleep(GONE_LOOK).await;
        // Asked for nothing, the kernel tells of a connection that has ended both ways.
        let mut asked = [PollFd::new(stream, PollFlags::empty())];
        let is_known = poll(&mut asked, Some(&now)).is_ok();
        if is_known && asked.iter().any(|asked| asked.revents().contains(PollFlags::HUP)) {
            return;
        }
    }
}

/// The user as whom files are opened, which `run_as` may have changed since the socket was made.
fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A line without its end.
async fn read_question(stream: &mut UnixStream) -> io::Result<String> {
    let mut octets = Vec::new();
    let mut part = [0; PART_BYTES];
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
        if octets.len() >= QUESTION_BYTES_MAX {
            return Err(io::Error::other(format!("its line is over {QUESTION_BYTES_MAX} octets")));
        }
    }
}

async fn answered(desk: &dyn Desk, question: &str) -> Answer {
    match question.strip_prefix(PROTOCOL).and_then(|rest| rest.strip_prefix(' ')) {
        Some(command) => desk.answer(command).await,
        None => Answer::error(format!(
            "a request begins with `{PROTOCOL} `: is this program of another version?\n"
        )),
    }
}

impl Desk for ReceiverDesk {
    fn answer<'a>(&'a self, command: &'a str) -> Answering<'a> {
        Box::pin(async move {
            match command {
                "reload" => reload(&self.ask).await,
                "status" => Answer::good((self.status)()),
                _ => Answer::error(format!("{command:?} is no command; there are reload and status\n")),
            }
        })
    }
}

/// Asks for a reload, and waits for what comes of it.
pub async fn reload(ask: &Sender<Request>) -> Answer {
    let (tell, told) = oneshot::channel();
    let stopping = || Answer::error("the server is stopping, and reads nothing again\n");
    if ask.send(Request::Reload(tell)).is_err() {
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

fn framed(answer: &Answer) -> Vec<u8> {
    let word = if answer.is_good { "ok" } else { "error" };
    format!("{PROTOCOL} {word} {}\n{}", answer.text.len(), answer.text).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_keeps_no_place_and_who_has_said_all_is_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (ask, asked) = crossbeam_channel::unbounded();
            let desk = Arc::new(ReceiverDesk { ask, status: Arc::new(String::new) });
            let ask = async |desk: &Arc<ReceiverDesk>| {
                let (ours, mut theirs) = UnixStream::pair().expect("a pair");
                let desk = Arc::clone(desk);
                let served = tokio::spawn(async move { serve(ours, &*desk).await });
                theirs.write_all(b"ringmx/1 reload\n").await.expect("sent");
                (served, theirs)
            };
            let (served, gone) = ask(&desk).await;
            drop(gone);
            served.await.expect("it ends, though nobody answers");
            let (served, mut waiting) = ask(&desk).await;
            waiting.shutdown().await.expect("its end");
            tokio::time::sleep(3 * GONE_LOOK).await;
            let Request::Reload(tell) = asked.iter().nth(1).expect("the second");
            tell.send(Answer { is_good: true, text: "done\n".to_owned() }).expect("it waits");
            let mut answer = String::new();
            waiting.read_to_string(&mut answer).await.expect("an answer");
            assert_eq!(answer, "ringmx/1 ok 5\ndone\n");
            served.await.expect("it ends");
        });
    }
}
