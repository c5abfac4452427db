//! The threads that ask somebody else about recipients, so that no shard waits for it: a program that serves
//! a map of them, or the next hops of their mail.
//!
//! Each thread asks one question after the other, on connections of its own. A client waits for
//! [`MAP_WAIT_MAX`](crate::limits::MAP_WAIT_MAX) at most, counted from its RCPT: questions that waited as
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
use crate::handoff::recipient_map::{MapAnswer, MapInquiry};
use crate::sink::Report;
use crate::tls::as_client::{AUTHORITIES, TlsSettings};

/// Who is asked, and what of files is needed for it: a server that has given up files makes it before.
#[derive(Debug, Clone)]
pub struct Asked {
    map: RecipientMap,
    tls: Option<TlsSettings>,
}

impl Asked {
    /// Reads what is needed.
    ///
    /// # Errors
    /// Why nobody can be asked in the way that is configured.
    pub fn new(map: &RecipientMap) -> Result<Self, String> {
        let tls = match map {
            RecipientMap::Socketmap(_) => None,
            RecipientMap::NextHops(hops) => {
                let is_verified = hops.routes.iter().any(|asked| asked.route.tls == HopTls::Required);
                Some(TlsSettings::new(is_verified.then(|| Path::new(AUTHORITIES)))?)
            }
        };
        Ok(Self { map: map.clone(), tls })
    }
}

/// Runs until every shard has dropped its end. Each shard's own end for answers is at its number.
pub fn run(
    asked: &Asked,
    consumer: &Consumer,
    inquiries: &Receiver<MapInquiry>,
    shards: &[Sender<MapAnswer>],
    report: &dyn Report,
) {
    let mut asker: Box<dyn Asker> = match &asked.map {
        RecipientMap::Socketmap(map) => Box::new(MapAsker::new(map, report)),
        RecipientMap::NextHops(hops) => Box::new(NextHopAsker::new(hops, asked.tls.as_ref(), report)),
    };
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

/// Connects to whoever is asked, each of them, and says nothing. Where nobody was, and why.
pub fn unreached(map: &RecipientMap, within: Duration) -> Vec<(String, io::Error)> {
    let places: Vec<(String, &MapAddress)> = match map {
        RecipientMap::Socketmap(socketmap) => vec![(map.to_string(), &socketmap.address)],
        RecipientMap::NextHops(hops) => {
            let all = hops.routes.iter().flat_map(|asked| asked.route.to.iter().zip(&asked.addresses));
            all.map(|(hop, address)| (hop.to_string(), address)).collect()
        }
    };
    let failed = places.into_iter().filter_map(|(name, address)| {
        let error = Connection::open(address, Instant::now() + within).err()?;
        Some((name, error))
    });
    failed.collect()
}
