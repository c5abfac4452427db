//! The threads that ask somebody else about recipients, so that no shard waits for it: a program that serves
//! a map of them, or the next hops of their mail.
//!
//! Each thread asks one question after the other, on connections of its own. The next hops of a route are
//! asked by a group of threads of its own, so one that is slow is no other route's trouble. A client waits
//! for [`MAP_WAIT_MAX`](crate::limits::MAP_WAIT_MAX) at most, counted from its RCPT: questions that waited as
//! long already are answered as unknown without asking, so those that are asked have their time. Whatever
//! goes wrong is unknown: neither yes nor no.

mod asker;
mod connection;
mod next_hops;
mod protocol;
mod session;
mod socketmap;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use self::asker::Asker;
use self::connection::Connection;
use self::next_hops::NextHopAsker;
use self::socketmap::MapAsker;
use crate::config::forward::HopTls;
use crate::config::{MapAddress, RecipientMap};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::message::Origin;
use crate::handoff::recipient_map::{Found, MapAnswer, MapInquiry};
use crate::mail::envelope::Mailbox;
use crate::sink::Report;
use crate::tls::as_client::{AUTHORITIES, TlsSettings};

/// Who is asked, and what of files is needed for it: a server that has given up files makes it before.
#[derive(Debug, Clone)]
pub struct Asked {
    map: RecipientMap,
    /// What we call ourselves.
    hostname: String,
    tls: Option<TlsSettings>,
}

impl Asked {
    /// Reads what is needed.
    ///
    /// # Errors
    /// Why nobody can be asked in the way that is configured.
    pub fn new(map: &RecipientMap, hostname: &str) -> Result<Self, String> {
        let tls = match map {
            RecipientMap::Socketmap(_) => None,
            RecipientMap::NextHops(hops) => {
                let is_verified = hops.routes.iter().any(|asked| asked.tls == HopTls::Required);
                Some(TlsSettings::new(is_verified.then(|| Path::new(AUTHORITIES)))?)
            }
        };
        Ok(Self { map: map.clone(), hostname: hostname.to_owned(), tls })
    }
}

impl Asked {
    /// Who is asked.
    pub fn map(&self) -> &RecipientMap {
        &self.map
    }

    /// Whether each spelling of a recipient is another one for those who are asked.
    pub fn minds_spelling(&self) -> bool {
        matches!(self.map, RecipientMap::NextHops(_))
    }

    fn asker<'a>(&'a self, report: &'a dyn Report) -> Box<dyn Asker + 'a> {
        match &self.map {
            RecipientMap::Socketmap(map) => Box::new(MapAsker::new(map, report)),
            RecipientMap::NextHops(hops) => {
                Box::new(NextHopAsker::new(hops, &self.hostname, self.tls.as_ref(), report))
            }
        }
    }
}

/// Asks once, as a server does, and waits for the answer. `keys`: as a policy gives them.
pub fn ask_by_hand(
    asked: &Asked,
    recipient: Mailbox<'_>,
    keys: Vec<Box<[u8]>>,
    report: &dyn Report,
) -> Found {
    let origin = Origin { shard: 0, connection: 0 };
    let recipient = recipient.whole.into();
    let inquiry = MapInquiry { origin, number: 0, thread: 0, recipient, keys, asked_at: Instant::now() };
    asked.asker(report).look_up(&inquiry)
}

/// Runs until every shard has dropped its end. Each shard's own end for answers is at its number.
pub fn run(
    asked: &Asked,
    consumer: &Consumer,
    inquiries: &Receiver<MapInquiry>,
    shards: &[Sender<MapAnswer>],
    report: &dyn Report,
) {
    let mut asker = asked.asker(report);
    loop {
        match inquiries.take() {
            Waiting::Item(inquiry) => {
                let found = asker.look_up(&inquiry);
                if let Some(shard) = shards.get(usize::from(inquiry.origin.shard)) {
                    shard.answer(MapAnswer { inquiry, found });
                    shard.ring_if_parked();
                }
            }
            Waiting::Nothing => consumer.sleep(asker.rest(), || inquiries.is_empty()),
            Waiting::Ended => break,
        }
    }
}

/// Connects to whoever is asked, as [`unreached_places`] does.
pub fn unreached(map: &RecipientMap, within: Duration) -> Vec<(String, io::Error)> {
    let places: Vec<(String, &MapAddress)> = match map {
        RecipientMap::Socketmap(socketmap) => vec![(map.to_string(), &socketmap.address)],
        RecipientMap::NextHops(hops) => {
            let mut all: Vec<(String, &MapAddress)> = Vec::new();
            for (hop, address) in hops.routes.iter().flat_map(|asked| &asked.to) {
                if all.iter().all(|(_, known)| *known != address) {
                    all.push((hop.to_string(), address));
                }
            }
            all
        }
    };
    unreached_places(places, within)
}

/// Connects to each of these named places, and says nothing. Where nobody was, and why. For all of it there
/// is so much time; of those for whom none is left nothing is known.
pub fn unreached_places(places: Vec<(String, &MapAddress)>, within: Duration) -> Vec<(String, io::Error)> {
    let deadline = Instant::now() + within;
    let mut failed = Vec::new();
    for (name, address) in places {
        if Instant::now() >= deadline {
            break;
        }
        if let Err(error) = Connection::open(address, deadline) {
            failed.push((name, error));
        }
    }
    failed
}
