//! One request to the control socket of a running server, and its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};

use crate::admin::control_socket::{Answer, PROTOCOL, RELOAD_WAIT_MAX};
use crate::config::{self, Config};

/// How long a reload is waited for: the server answers in any case, and a little time is for the way.
pub(super) const RELOADED_MAX: Duration = RELOAD_WAIT_MAX.saturating_add(Duration::from_secs(30));

/// A server that takes no connection and no request for this long stands still.
const TAKEN_MAX: Duration = Duration::from_secs(5);

/// More is no answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there was no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// What happened at which socket, and what to do.
    pub(super) text: String,
    /// Of the failure.
    pub(super) kind: ErrorKind,
}

/// A configuration file as far as it says where its server is asked.
pub(super) fn configuration(file: &Path) -> Result<Config, String> {
    let reading = config::read_for_others(file);
    // Any other server is not the one that is meant.
    reading.config.ok_or_else(|| {
        let problem = reading.problems.first().map(ToString::to_string).unwrap_or_default();
        let file = file.display();
        format!("{problem}\n{file} does not say where its server is asked; `ringmx check {file}` tells all")
    })
}

/// Where the server has its control socket that runs with this configuration file. Without a file, where the
/// packages have it; the text says why there is none.
pub(super) fn socket_of(file: Option<&Path>) -> Result<PathBuf, String> {
    let Some(file) = file else { return Ok(PathBuf::from(config::CONTROL_SOCKET_DEFAULT)) };
    // What else is wrong in it is for the server to tell.
    configuration(file)?.control.ok_or_else(|| {
        format!(
            "{}: there is no [control], so a server that runs with it has no control socket; SIGHUP reloads it, too",
            file.display()
        )
    })
}

/// Asks the server at this socket, and waits so long for each part of its answer.
pub(super) fn ask(socket: &Path, command: &str, wait: Duration) -> Result<Answer, Unanswered> {
    let why = |error: io::Error| Unanswered {
        text: format!("{}: {error}; {}", socket.display(), cure(error.kind())),
        kind: error.kind(),
    };
    let mut stream = connect(socket, TAKEN_MAX).map_err(why)?;
    stream.set_read_timeout(Some(wait)).map_err(why)?;
    // A server that will not listen to us says why, and perhaps before it has read anything.
    let sent = writeln!(stream, "{PROTOCOL} {command}");
    let mut octets = Vec::new();
    let received = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut octets);
    if octets.is_empty() {
        sent.and(received.map(drop)).map_err(why)?;
    }
    parse(&octets).ok_or_else(|| {
        let socket = socket.display();
        let text =
            format!("{socket}: the answer is none of {PROTOCOL}, or it was cut; does ringmx listen there, of this version?");
        Unanswered { text, kind: ErrorKind::InvalidData }
    })
}

/// Connects within this time, which is that for sending, too: where too many wait already, a connect stands
/// still as a send does (unix(7)).
pub(super) fn connect(socket: &Path, wait: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&stream, sockopt::Timeout::Send, Some(wait))?;
    rustix::net::connect(&stream, &address)?;
    Ok(stream.into())
}

/// The answer, if it is a whole one.
fn parse(octets: &[u8]) -> Option<Answer> {
    let end = octets.iter().position(|octet| *octet == b'\n')?;
    let (line, rest) = octets.split_at(end);
    let line = std::str::from_utf8(line).ok()?.strip_prefix(PROTOCOL)?.strip_prefix(' ')?;
    let (word, length) = line.split_once(' ')?;
    let is_good = match word {
        "ok" => true,
        "error" => false,
        _ => return None,
    };
    let text = rest.get(1..)?;
    let length: usize = length.parse().ok()?;
    (text.len() == length).then(|| Answer { is_good, text: String::from_utf8_lossy(text).into_owned() })
}

fn cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "no server with this control socket runs; name the configuration file that it runs with (--config FILE)"
        }
        ErrorKind::PermissionDenied => "only root and the user of the server may ask it",
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the server stands still; see its log",
        _ => "see the log of the server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_nobody_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("a path")).expect("bound");
        rustix::net::listen(&socket, 0).expect("it listens");
        let wait = Duration::from_millis(20);
        let mut waiting = Vec::new();
        let why = loop {
            match connect(&path, wait) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(why, ErrorKind::WouldBlock);
        assert!(cure(why).contains("stands still"));
    }

    #[test]
    fn a_file_that_says_nothing_asks_no_other_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mx.toml");
        for octets in [&b"[control\n"[..], b"\xff\xfe", b"\xff"] {
            std::fs::write(&file, octets).expect("written");
            let why = socket_of(Some(&file)).expect_err("no server");
            assert!(why.contains("does not say where its server is asked"), "{why}");
        }
        let why = socket_of(Some(&folder.path().join("none"))).expect_err("no file");
        assert!(why.contains("does not say where its server is asked"), "{why}");
    }

    #[test]
    fn only_a_whole_answer_is_one() {
        let answer = |is_good, text: &str| Some(Answer { is_good, text: text.to_owned() });
        assert_eq!(parse(b"ringmx/1 ok 3\nab\n"), answer(true, "ab\n"));
        assert_eq!(parse(b"ringmx/1 error 0\n"), answer(false, ""));
        for other in [
            &b""[..],
            b"ringmx/1 ok 3",
            b"ringmx/1 ok 3\nab",
            b"ringmx/1 ok 3\nabcd",
            b"ringmx/2 ok 0\n",
            b"ringmx/1 ok\n",
            b"ringmx/1 no 0\n",
            b"HTTP/1.1 400\n",
            b"\xff\n",
        ] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
