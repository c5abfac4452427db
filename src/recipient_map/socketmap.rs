//! One thread's way to a map that another program serves.

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::asker::Asker;
use super::connection::{self, Connection};
use super::protocol::{self, Read, Reply};
use crate::config::Socketmap;
use crate::handoff::recipient_map::{Found, MapInquiry};
use crate::limits::MAP_WAIT_MAX;
use crate::sink::Report;
use crate::sink::Site;

/// Octets that are read at a time.
const STEP_BYTES: usize = 1024;

/// Asks a map.
pub(super) struct MapAsker<'a> {
    map: &'a Socketmap,
    report: &'a dyn Report,
    /// One that was good at the last question.
    connection: Option<Connection>,
}

impl Asker for MapAsker<'_> {
    fn look_up(&mut self, inquiry: &MapInquiry) -> Found {
        let deadline = inquiry.asked_at + MAP_WAIT_MAX;
        for key in &inquiry.keys {
            match self.ask(key, deadline) {
                Ok(Reply::Found) if key.starts_with(b"@") => return Found::ByDomain,
                Ok(Reply::Found) => return Found::Listed,
                Ok(Reply::NotFound) => {}
                Ok(Reply::Trouble(why)) => return self.tell(&io::Error::other(format!("it said {why:?}"))),
                Err(error) => return self.tell(&error),
            }
        }
        Found::Unlisted
    }
}

impl<'a> MapAsker<'a> {
    pub(super) fn new(map: &'a Socketmap, report: &'a dyn Report) -> Self {
        Self { map, report, connection: None }
    }

    fn ask(&mut self, key: &[u8], deadline: Instant) -> io::Result<Reply> {
        let asked = protocol::question(&self.map.name, key);
        if let Some(mut connection) = self.connection.take() {
            match exchange(&mut connection, &asked, deadline) {
                Ok(reply) => {
                    self.connection = Some(connection);
                    return Ok(reply);
                }
                // A server closes a connection that was at rest for long.
                Err(error) if connection::is_closed(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = Connection::open(&self.map.address, deadline)?;
        let reply = exchange(&mut connection, &asked, deadline)?;
        self.connection = Some(connection);
        Ok(reply)
    }

    fn tell(&self, error: &io::Error) -> Found {
        let what = "look recipients up, who get 451 until that is mended, in";
        self.report.machine_error(what, Site::Named(&self.map.to_string()), error);
        Found::Unknown
    }
}

/// Sends a question and reads its reply. An error of [`connection::is_closed`] comes only where nothing of it
/// was read.
fn exchange(connection: &mut Connection, asked: &[u8], deadline: Instant) -> io::Result<Reply> {
    connection.write(asked, deadline)?;
    let mut octets = Vec::new();
    loop {
        let mut step = [0; STEP_BYTES];
        let count = match connection.read(&mut step, deadline)? {
            0 if octets.is_empty() => {
                let why = "it closed the connection and did not answer";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
            }
            0 => return Err(io::Error::other("its reply was cut off")),
            count => count,
        };
        octets.extend_from_slice(step.get(..count).unwrap_or_default());
        match protocol::read(&octets) {
            Read::More => {}
            Read::Whole(reply) => return Ok(reply),
            Read::Garbage => return Err(io::Error::other("its reply is none of the socketmap protocol")),
        }
    }
}
