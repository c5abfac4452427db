//! One request to the control socket of a running server, and its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::control_socket::{Answer, PROTOCOL, RELOAD_WAIT_MAX};
use crate::config;

/// How long a reload is waited for: the server answers in any case, and a little time is for the way.
pub(super) const RELOADED_MAX: Duration = RELOAD_WAIT_MAX.saturating_add(Duration::from_secs(30));

/// More is no answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where the server has its control socket that runs with this configuration file. Without a file, or where
/// it cannot be read at all, where the packages have it; the text says why there is none.
pub(super) fn socket_of(file: Option<&Path>) -> Result<PathBuf, String> {
    let usual = PathBuf::from(config::CONTROL_SOCKET_DEFAULT);
    let Some(file) = file else { return Ok(usual) };
    // What is wrong in it is for the server to tell.
    match config::read_alone(file).config {
        None => Ok(usual),
        Some(config) => config.control.ok_or_else(|| {
            format!(
                "{}: there is no [control], so a server that runs with it has no control socket; SIGHUP reloads it, too",
                file.display()
            )
        }),
    }
}

/// Asks the server at this socket, and waits so long for each part of its answer.
pub(super) fn ask(socket: &Path, command: &str, wait: Duration) -> Result<Answer, String> {
    let why = |error: io::Error| format!("{}: {error}; {}", socket.display(), cure(error.kind()));
    let mut stream = UnixStream::connect(socket).map_err(why)?;
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
        format!("{socket}: the answer is none of {PROTOCOL}, or it was cut; does ringmx listen there, of this version?")
    })
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
