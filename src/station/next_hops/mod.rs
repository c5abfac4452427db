//! Cut-through: a message is handed to its next hop before its client has an answer, so that what that
//! refuses is refused at the door (`[[sink]] kind = "forward"`).
//!
//! ```text
//!  all recipients refused for good ──► the client is told so          nothing is stored
//!  all taken                       ──► 250                            nothing is stored
//!  some taken                      ──► the others go to the sink      250 when they are stored
//!  anything else                   ──► the sink                       250 when it is stored
//! ```
//!
//! Anything else is a next hop that is down, slow, busy or full, a 4yz, recipients of several routes, or a
//! message that is not in memory as a whole. What was lost after the end of the content goes to the sink,
//! too: the next hop may have it twice then, and never not at all.

mod session;

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::session::{Deadlines, Fate, Secured, Session, Trouble};
use crate::client::{Protocol, Settings, Tls};
use crate::config::forward::{HopPlace, HopProtocol, HopTls, NextHop};
use crate::config::{CutThrough, CutThroughRoute, MapAddress};
use crate::handoff::message::Message;
use crate::handoff::station::Passage;
use crate::mail::envelope::Notify;
use crate::mail::foreign_reply::Stranger;
use crate::metrics::StationAction;
use crate::sink::Report;
use crate::sink::Site;
use crate::tls::as_client::{AUTHORITIES, TlsSettings};

/// All of a delivery. Who waits for less after the end of the mail data makes duplicates (RFC 5321
/// §4.5.3.2.6 has ten minutes), and clients of ours do not wait for more than that.
pub(super) const DELIVERY_WAIT_MAX: Duration = Duration::from_mins(4);

/// A next hop has so long to let a session begin.
const OPENING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A next hop has so long until the content is sent: nothing is lost by giving it up before.
const CONTENT_WAIT_MAX: Duration = Duration::from_secs(20);

/// A next hop that is down is tried again so often.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A session that was not used for this time is ended: before servers do that.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Messages on one session.
const MESSAGES_MAX: u32 = 1000;

/// A next hop that cannot do TLS, which it offers, gets mail without it for this time.
const PLAIN_FOR: Duration = Duration::from_mins(10);

/// What is needed for TLS with these.
///
/// # Errors
/// The authorities cannot be read, and one of them has to be vouched for.
pub(super) fn tls(routes: &CutThrough) -> Result<TlsSettings, String> {
    let is_verified = routes.iter().any(|route| route.tls == HopTls::Required);
    TlsSettings::new(is_verified.then(|| Path::new(AUTHORITIES)))
}

/// The next hops of all routes.
pub(super) struct NextHops {
    /// For each route its hosts.
    routes: Vec<(CutThroughRoute, Vec<Rc<Host>>)>,
}

/// A next hop.
struct Host {
    hop: NextHop,
    address: MapAddress,
    settings: Arc<Settings>,
    tls: TlsSettings,
    must_verify: bool,
    connections_max: usize,
    report: Arc<dyn Report>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Sessions, those that are idle too.
    open: usize,
    is_down: bool,
    plain_until: Option<Instant>,
}

impl NextHops {
    pub(super) fn new(
        routes: &CutThrough,
        hostname: &str,
        tls: &TlsSettings,
        report: &Arc<dyn Report>,
    ) -> Self {
        let host = |route: &CutThroughRoute, (hop, address): &(NextHop, MapAddress)| {
            Rc::new(Host {
                hop: hop.clone(),
                address: address.clone(),
                settings: Arc::new(settings(route, hop, hostname)),
                tls: tls.clone(),
                must_verify: route.tls == HopTls::Required,
                connections_max: route.connections_max,
                report: Arc::clone(report),
                state: RefCell::default(),
            })
        };
        let of_route =
            |route: &CutThroughRoute| (route.clone(), route.to.iter().map(|to| host(route, to)).collect());
        let routes: Vec<_> = routes.iter().map(of_route).collect();
        for host in routes.iter().flat_map(|(_, hosts): &(_, Vec<Rc<Host>>)| hosts) {
            tokio::task::spawn_local(Rc::clone(host).end_idle());
        }
        Self { routes }
    }

    /// Connections to all of them at a time; what finds none of them free goes to the sink at once.
    pub(super) fn connections_max(&self) -> usize {
        let hosts = self.routes.iter().flat_map(|(_, hosts)| hosts);
        1 + hosts.map(|host| host.connections_max).sum::<usize>()
    }

    /// Hands a message on, if its next hop takes it now.
    pub(super) async fn deliver(&self, message: &mut Message, since: Instant) -> (StationAction, Passage) {
        const TO_THE_SINK: (StationAction, Passage) = (StationAction::Unanswered, Passage::GoesOn);
        let Some((route, host)) = self.host_for(message) else { return TO_THE_SINK };
        let Some(fates) = host.deliver(message, route.tells_client, since).await else {
            return TO_THE_SINK;
        };
        let taken = fates.iter().filter(|fate| matches!(fate, Fate::Taken)).count();
        if taken == fates.len() {
            message.place.clear();
            message.place.push_str(&host.hop.to_string());
            return (StationAction::Delivered, Passage::Done);
        }
        if taken > 0 {
            // Nobody gets it twice.
            let mut fates = fates.into_iter();
            message.envelope.retain_recipients(|| !matches!(fates.next(), Some(Fate::Taken)));
            return (StationAction::Passed, Passage::GoesOn);
        }
        let mut first = None;
        for fate in fates {
            let Fate::Refused(Some(words)) = fate else { return TO_THE_SINK };
            first.get_or_insert(words);
        }
        first.map_or(TO_THE_SINK, |words| {
            (StationAction::Refused, Passage::Refused(Stranger::NextHop, Box::new(words)))
        })
    }

    /// The next hop of all its recipients, if that is one which may take it now.
    fn host_for(&self, message: &Message) -> Option<(&CutThroughRoute, &Rc<Host>)> {
        if message.data.whole().is_err() {
            return None;
        }
        let mut found = None;
        for (mailbox, parameters) in message.envelope.recipients_with_parameters() {
            // A notice of success is owed by who has it in the queue.
            if parameters.notify.is_some_and(Notify::asks_for_success) {
                return None;
            }
            let domain = std::str::from_utf8(mailbox.domain).ok()?;
            let number = self.routes.iter().position(|(route, _)| route.takes(domain))?;
            if found.is_some_and(|other| other != number) {
                return None;
            }
            found = Some(number);
        }
        let (route, hosts) = self.routes.get(found?)?;
        Some((route, hosts.iter().find(|host| !host.state.borrow().is_down)?))
    }
}

/// How a session with a next hop is.
fn settings(route: &CutThroughRoute, hop: &NextHop, hostname: &str) -> Settings {
    let protocol = match hop.protocol {
        HopProtocol::Smtp => Protocol::Smtp,
        HopProtocol::Lmtp => Protocol::Lmtp,
    };
    let tls = match route.tls {
        HopTls::Off => Tls::Off,
        HopTls::Offered => Tls::Offered,
        HopTls::Required => Tls::Required,
    };
    Settings { tls, xclient: route.tells_client, ..Settings::of(protocol, hostname) }
}

impl Host {
    /// What became of each recipient; none where nothing was said of the message.
    async fn deliver(
        self: &Rc<Self>,
        message: &Message,
        tells_client: bool,
        since: Instant,
    ) -> Option<Vec<Fate>> {
        let answer = (since + DELIVERY_WAIT_MAX).into();
        let mut is_first = true;
        loop {
            let (mut seat, was_used) = self.session(is_first).await?;
            let content = (Instant::now() + CONTENT_WAIT_MAX).into();
            let session = seat.session.as_mut()?;
            let fates = session.deliver(message, tells_client, Deadlines { content, answer }).await;
            drop(seat);
            let is_untouched =
                fates.as_ref().is_some_and(|fates| fates.iter().all(|fate| matches!(fate, Fate::Untouched)));
            // A server may end a session that rests at any time.
            if is_untouched && was_used && is_first {
                is_first = false;
                continue;
            }
            if is_untouched {
                self.note_down("it ended the session in a transaction");
            }
            return fates;
        }
    }

    /// A session that can have a message now; `may_be_used`: one that had messages before will do.
    async fn session(self: &Rc<Self>, may_be_used: bool) -> Option<(Seat, bool)> {
        if may_be_used && let Some(seat) = self.kept().await {
            return Some((seat, true));
        }
        if self.state.borrow().open >= self.connections_max {
            return None;
        }
        self.state.borrow_mut().open += 1;
        let mut seat = Seat { host: Rc::clone(self), session: None };
        match self.open().await {
            Ok(session) => seat.session = Some(session),
            Err(why) => {
                self.note_down(&why);
                return None;
            }
        }
        Some((seat, false))
    }

    /// A session that rests, and is open still.
    async fn kept(self: &Rc<Self>) -> Option<Seat> {
        loop {
            let session = self.state.borrow_mut().idle.pop()?;
            let mut seat = Seat { host: Rc::clone(self), session: Some(session) };
            if seat.session.as_mut()?.is_alive().await {
                return Some(seat);
            }
            // Its place is free again.
            seat.session = None;
        }
    }

    async fn open(&self) -> Result<Session, String> {
        let deadline = (Instant::now() + OPENING_WAIT_MAX).into();
        let is_plain = self.state.borrow().plain_until.is_some_and(|until| Instant::now() < until);
        let opened = match self.open_with(is_plain, deadline).await {
            Err(Trouble::Tls(_)) if self.settings.tls == Tls::Offered && !is_plain => {
                self.state.borrow_mut().plain_until = Some(Instant::now() + PLAIN_FOR);
                self.open_with(true, deadline).await
            }
            opened => opened,
        };
        opened.map_err(|trouble| match trouble {
            Trouble::Tls(why) => format!("TLS cannot begin: {why}"),
            Trouble::Other(why) => why,
        })
    }

    async fn open_with(&self, is_plain: bool, deadline: tokio::time::Instant) -> Result<Session, Trouble> {
        let settings = if is_plain {
            Arc::new(Settings { tls: Tls::Off, ..(*self.settings).clone() })
        } else {
            Arc::clone(&self.settings)
        };
        let name = match &self.hop.place {
            HopPlace::Host(name, _) => name,
            HopPlace::Unix(_) | HopPlace::Maildir(_) | HopPlace::Mx(..) => "localhost",
        };
        let secured = Secured { settings: &self.tls, name, must_verify: self.must_verify };
        Session::open(&self.address, &settings, secured, deadline).await
    }

    /// No message waits for it any more, until a probe finds it.
    fn note_down(self: &Rc<Self>, why: &str) {
        let what = "hand mail on before its client is answered, so it goes to the spool, to";
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(what, Site::Named(&self.hop.to_string()), &error);
        if !std::mem::replace(&mut self.state.borrow_mut().is_down, true) {
            tokio::task::spawn_local(Rc::clone(self).probe());
        }
    }

    /// Tries to begin a session until that works.
    async fn probe(self: Rc<Self>) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            if let Ok(session) = self.open().await {
                let mut state = self.state.borrow_mut();
                state.open += 1;
                state.idle.push(session);
                state.is_down = false;
                return;
            }
        }
    }

    /// Ends sessions that have rested for long.
    async fn end_idle(self: Rc<Self>) {
        loop {
            tokio::time::sleep(IDLE_MAX / 4).await;
            for session in self.take_rested() {
                session.quit().await;
            }
        }
    }

    fn take_rested(&self) -> Vec<Session> {
        let mut state = self.state.borrow_mut();
        let has_rested = |session: &Session| session.used_at.elapsed() >= IDLE_MAX;
        let (rested, young) = std::mem::take(&mut state.idle).into_iter().partition(has_rested);
        state.idle = young;
        let rested: Vec<_> = rested;
        state.open -= rested.len();
        rested
    }
}

/// A place among the sessions with a host, and the session that has it. What can have more messages goes
/// back to those that wait, the place of any other is free again.
struct Seat {
    host: Rc<Host>,
    session: Option<Session>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.host.state.borrow_mut();
        match self.session.take() {
            Some(session) if session.is_fit() && session.messages < MESSAGES_MAX => state.idle.push(session),
            Some(_) | None => state.open -= 1,
        }
    }
}
