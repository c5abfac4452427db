//! Where a running receiver is asked for its status: at the control socket, else at the address of `[admin]`.
//! A forwarder is asked at that of `[forward_admin]`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::said::Said;
use crate::admin::status::forward::{self, ForwardStatus};
use crate::admin::status::{SHAPE, Status, Unreadable};
use crate::cli::control::{self, Unanswered};
use crate::config::{self, AdminAddress, Config};

/// A server that takes longer stands still.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// More is no status.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Receiver,
    Forwarder,
}

/// Where it can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    who: Who,
    control: Option<PathBuf>,
    admin: Option<AdminAddress>,
}

/// A status, and as it was written.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) json: String,
    pub(super) said: Said,
}

/// Why a place gave no answer.
#[derive(Debug)]
struct Silent {
    text: String,
    /// Nobody is there; another place may still answer.
    is_nobody: bool,
}

impl Place {
    /// Of the server that runs with this configuration file, or of one where the packages have it.
    pub(super) fn of(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else {
            let control = Some(PathBuf::from(config::CONTROL_SOCKET_DEFAULT));
            let admin = Config::embedded_default().admin.map(|admin| admin.address);
            return Ok(Self { who: Who::Receiver, control, admin });
        };
        let config = control::configuration(file)?;
        let (control, admin) = (config.control, config.admin.map(|admin| admin.address));
        if control.is_none() && admin.is_none() {
            let file = file.display();
            return Err(format!(
                "{file}: there is neither [control] nor [admin], so nobody can ask its server"
            ));
        }
        Ok(Self { who: Who::Receiver, control, admin })
    }

    /// Of the forwarder that runs with this configuration file, or with one that names no other address.
    pub(super) fn of_forwarder(file: Option<&Path>) -> Result<Self, String> {
        let admin = match file {
            None => AdminAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config::FORWARDER_PORT))),
            Some(file) => {
                let admin = control::configuration(file)?.forward_admin;
                let file = file.display();
                let absent =
                    || format!("{file}: there is no [forward_admin], so nobody can ask its forwarder");
                admin.ok_or_else(absent)?.address
            }
        };
        Ok(Self { who: Who::Forwarder, control: None, admin: Some(admin) })
    }

    /// Asks at one place after the other.
    pub(super) fn ask(&self) -> Result<Told, String> {
        let mut silent = Vec::new();
        if let Some(socket) = &self.control {
            match ask_control(socket) {
                Ok(json) => return read(self.who, json, &socket.display().to_string()),
                Err(why) => silent.push(why),
            }
        }
        if let Some(address) = &self.admin {
            match ask_admin(address) {
                Ok(json) => return read(self.who, json, &address.to_string()),
                Err(why) => silent.push(why),
            }
        }
        Err(why(self.who, &silent))
    }
}

fn why(who: Who, silent: &[Silent]) -> String {
    let text = silent.iter().map(|silent| silent.text.as_str()).collect::<Vec<_>>().join("\n");
    if !silent.iter().all(|silent| silent.is_nobody) {
        return text;
    }
    let (nobody, unit) = match who {
        Who::Receiver => ("no server answers", "ringmx"),
        Who::Forwarder => ("no forwarder answers", "ringmx-forward"),
    };
    format!(
        "{text}\n{nobody}: does it run (`systemctl status {unit}`)? If it runs with another file, name it: --config FILE"
    )
}

fn read(who: Who, json: String, place: &str) -> Result<Told, String> {
    let (own_shape, said) = match who {
        Who::Receiver => {
            (SHAPE, Status::from_json(json.as_bytes()).map(|status| Said::Receiver(Box::new(status))))
        }
        Who::Forwarder => {
            let status = ForwardStatus::from_json(json.as_bytes());
            (forward::SHAPE, status.map(|status| Said::Forwarder(Box::new(status))))
        }
    };
    match said {
        Ok(said) => Ok(Told { json, said }),
        Err(Unreadable::OtherShape(shape, version)) => Err(format!(
            "{place}: the server is of version {version}, whose status has the shape {shape}; this program is of version {} and \
             reads the shape {own_shape}: use the program of the server's version, or `curl` its /status.json",
            env!("CARGO_PKG_VERSION")
        )),
        Err(Unreadable::NoStatus(error)) => Err(format!(
            "{place}: the answer is no status ({error}); does ringmx listen there, of this version?"
        )),
    }
}

fn ask_control(socket: &Path) -> Result<String, Silent> {
    match control::ask(socket, "status", WAIT_MAX) {
        Ok(answer) if answer.is_good => Ok(answer.text),
        Ok(answer) => Err(Silent { text: answer.text.trim_end().to_owned(), is_nobody: false }),
        Err(Unanswered { text, kind }) => {
            let is_nobody = matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused);
            Err(Silent { text, is_nobody })
        }
    }
}

fn ask_admin(address: &AdminAddress) -> Result<String, Silent> {
    let answer = match address {
        AdminAddress::Tcp(address) => TcpStream::connect_timeout(address, WAIT_MAX).and_then(|stream| {
            stream.set_read_timeout(Some(WAIT_MAX))?;
            stream.set_write_timeout(Some(WAIT_MAX))?;
            converse(stream)
        }),
        AdminAddress::Unix(path) => control::connect(path, WAIT_MAX).and_then(|stream| {
            stream.set_read_timeout(Some(WAIT_MAX))?;
            stream.set_write_timeout(Some(WAIT_MAX))?;
            converse(stream)
        }),
    };
    let octets = answer.map_err(|error| {
        let (text, is_nobody) = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => (error.to_string(), true),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => (
                format!("no answer within {} s; the server stands still: see its log", WAIT_MAX.as_secs()),
                false,
            ),
            ErrorKind::PermissionDenied => {
                (format!("{error}; the user of the server, or whoever owns the socket, may ask"), false)
            }
            _ => (error.to_string(), false),
        };
        Silent { text: format!("{address}: {text}"), is_nobody }
    })?;
    body(&octets).map_err(|text| Silent { text: format!("{address}: {text}"), is_nobody: false })
}

/// Asks by HTTP/1.0, whose answer ends with the connection.
fn converse(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /status.json HTTP/1.0\r\n\r\n")?;
    let mut octets = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The body of an answer of HTTP that is good and whole.
fn body(octets: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(octets);
    let no_http = || "it speaks no HTTP; does ringmx listen there?".to_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(no_http)?;
    let mut lines = head.split("\r\n");
    let first = lines.next().filter(|line| line.starts_with("HTTP/1.")).ok_or_else(no_http)?;
    let code = first.split(' ').nth(1).unwrap_or_default();
    if code != "200" {
        let why = body.lines().next().unwrap_or_default();
        return Err(format!("it answers {code}: {why}; does ringmx listen there, of this version?"));
    }
    let length = lines.filter_map(|line| line.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: Option<usize> = length.find_map(|(_, value)| value.trim().parse().ok());
    if length.is_some_and(|length| length != body.len()) {
        return Err("the answer was cut".to_owned());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_and_whole_answer_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok("{}".to_owned()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{}"), Ok("{}".to_owned()));
        for (octets, why) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"[..], "cut"),
            (b"HTTP/1.1 404 Not Found\r\n\r\nthere is / only\n", "404: there is / only"),
            (b"220 mx ESMTP\r\n", "no HTTP"),
            (b"220 mx ESMTP\r\n\r\n", "no HTTP"),
            (b"", "no HTTP"),
            (b"\xff\xfe\r\n\r\n", "no HTTP"),
        ] {
            let told = body(octets).expect_err("no body");
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let told = read(Who::Receiver, r#"{"shape":99,"version":"7.1"}"#.to_owned(), "/run/x")
            .expect_err("another shape");
        assert!(
            told.contains("version 7.1") && told.contains("shape 99") && told.starts_with("/run/x: "),
            "{told}"
        );
        let told = read(Who::Forwarder, "<html>".to_owned(), "/run/x").expect_err("no status");
        assert!(told.contains("no status"), "{told}");
    }

    #[test]
    fn nobody_is_told_apart_from_somebody_who_may_not_answer() {
        let silent = |is_nobody| Silent { text: "x".to_owned(), is_nobody };
        assert!(why(Who::Forwarder, &[silent(true)]).contains("systemctl status ringmx-forward"));
        assert_eq!(why(Who::Receiver, &[silent(false), silent(true)]), "x\nx");
    }
}
