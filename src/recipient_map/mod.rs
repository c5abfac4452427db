//! The threads that ask a map of recipients which another program serves, so that no shard waits for it.
//!
//! Each thread has one connection and asks one question after the other. A client waits for [`MAP_WAIT_MAX`]
//! at most, counted from its RCPT: questions that waited as long already are answered as unknown without
//! asking, so those that are asked have their time. Whatever goes wrong is unknown: neither yes nor no.

mod connection;
mod protocol;

use std::io;
use std::time::{Duration, Instant};

use self::connection::Connection;
use self::protocol::Reply;
use crate::config::RecipientMap;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::recipient_map::{Found, MapAnswer, MapInquiry};
use crate::limits::MAP_WAIT_MAX;
use crate::sink::Report;
use crate::sink::Site;

/// One thread's way to the map.
struct Client<'a> {
    map: &'a RecipientMap,
    report: &'a dyn Report,
    /// One that was good at the last question.
    connection: Option<Connection>,
}

/// Runs until every shard has dropped its end. Each shard's own end for answers is at its number.
pub fn run(
    map: &RecipientMap,
    consumer: &Consumer,
    inquiries: &Receiver<MapInquiry>,
    shards: &[Sender<MapAnswer>],
    report: &dyn Report,
) {
    let mut client = Client { map, report, connection: None };
    loop {
        match inquiries.take() {
            Waiting::Item(inquiry) => {
                let found = client.look_up(&inquiry);
                if let Some(shard) = shards.get(usize::from(inquiry.origin.shard)) {
                    shard.answer(MapAnswer { inquiry, found });
                    shard.ring_if_parked();
                }
            }
            Waiting::Nothing => consumer.sleep(None, || inquiries.is_empty()),
            Waiting::Ended => break,
        }
    }
}

/// Connects to whoever serves a map, and says nothing.
pub fn reach(map: &RecipientMap, within: Duration) -> io::Result<()> {
    Connection::open(&map.address, Instant::now() + within).map(|_| ())
}

impl Client<'_> {
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

    fn ask(&mut self, key: &[u8], deadline: Instant) -> io::Result<Reply> {
        let asked = protocol::question(&self.map.name, key);
        if let Some(mut connection) = self.connection.take() {
            match connection.exchange(&asked, deadline) {
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
        let reply = connection.exchange(&asked, deadline)?;
        self.connection = Some(connection);
        Ok(reply)
    }

    fn tell(&self, error: &io::Error) -> Found {
        let what = "look recipients up, who get 451 until that is mended, in";
        self.report.machine_error(what, Site::Named(&self.map.to_string()), error);
        Found::Unknown
    }
}
