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

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::session::{Deadlines, Delivered, Fate, Secured, Session, Trouble};
use crate::client::{Protocol, Settings, Tls};
use crate::config::forward::{HopPlace, HopProtocol, HopTls, NextHop};
use crate::config::{CutThrough, CutThroughRoute, MapAddress};
use crate::handoff::message::Message;
use crate::handoff::station::Passage;
use crate::mail::envelope::Notify;
use crate::mail::foreign_reply::Stranger;
use crate::metrics::{StationAction, StationMetrics};
use crate::sink::Report;
use crate::sink::Site;
use crate::station::idle::Idle;
use crate::station::standing::Standing;
use crate::tls::as_client::{AUTHORITIES, TlsSettings};

/// All of a delivery. Who waits for less after the end of the mail data makes duplicates (RFC 5321
/// §4.5.3.2.6 has ten minutes), and clients of ours do not wait for more than that.
pub(super) const DELIVERY_WAIT_MAX: Duration = Duration::from_mins(4);

/// A next hop has so long to let a session begin.
const OPENING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A next hop has so long to say whether it takes a message, until the content is sent: nothing is lost by
/// giving it up before.
const CONTENT_WAIT_MAX: Duration = Duration::from_secs(20);

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
    idle: Idle<Session>,
    /// Sessions, those that are idle too. `<= connections_max`
    open: Cell<usize>,
    standing: Rc<Standing>,
    plain_until: Cell<Option<Instant>>,
}

impl NextHops {
    pub(super) fn new(
        routes: &CutThrough,
        hostname: &str,
        tls: &TlsSettings,
        (report, metrics): (&Arc<dyn Report>, &Arc<StationMetrics>),
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
                idle: Idle::default(),
                open: Cell::new(0),
                standing: Standing::new(metrics),
                plain_until: Cell::default(),
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
            return (StationAction::Delivered, Passage::Delivered);
        }
        if taken > 0 {
            note_taken(&host.hop, &fates, message);
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
        let mut last = None;
        for (mailbox, parameters) in message.envelope.recipients_with_parameters() {
            // A notice of success is owed by who has it in the queue.
            if parameters.notify.is_some_and(Notify::asks_for_success) {
                return None;
            }
            // Most recipients are of one domain.
            if last.replace(mailbox.domain) == Some(mailbox.domain) {
                continue;
            }
            let domain = std::str::from_utf8(mailbox.domain).ok()?;
            let number = self.routes.iter().position(|(route, _)| route.takes(domain))?;
            if found.is_some_and(|other| other != number) {
                return None;
            }
            found = Some(number);
        }
        let (route, hosts) = self.routes.get(found?)?;
        Some((route, hosts.iter().find(|host| !host.standing.is_down())?))
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

/// The log tells who has the message already, of whom the sink will know nothing.
fn note_taken(hop: &NextHop, fates: &[Fate], message: &mut Message) {
    let mut text = format!("{hop} has it for");
    for (fate, mailbox) in fates.iter().zip(message.envelope.recipients()) {
        if matches!(fate, Fate::Taken) {
            text.push(' ');
            text.push_str(&String::from_utf8_lossy(mailbox.whole));
        }
    }
    message.log.filters.push(text);
}

impl Host {
    /// What became of each recipient; none where nothing was said of the message.
    async fn deliver(
        self: &Rc<Self>,
        message: &Message,
        tells_client: bool,
        since: Instant,
    ) -> Option<Vec<Fate>> {
        let answer = since + DELIVERY_WAIT_MAX;
        let mut may_be_used = true;
        loop {
            let (mut seat, was_used) = self.seat(may_be_used, answer).await?;
            let content = answer.min(Instant::now() + CONTENT_WAIT_MAX);
            let deadlines = Deadlines { content: content.into(), answer: answer.into() };
            let delivered = seat.session.as_mut()?.deliver(message, tells_client, deadlines).await;
            seat.end();
            let Delivered { fates, lost } = delivered?;
            let Some(lost) = lost else {
                self.standing.note_well();
                return Some(fates);
            };
            let is_untouched = fates.iter().all(|fate| matches!(fate, Fate::Untouched));
            // A server may end a session that rests at any time.
            if was_used && lost.is_unheard && is_untouched && !lost.hangs {
                may_be_used = false;
                continue;
            }
            self.tell(&lost.why);
            if lost.hangs || (lost.is_unheard && !lost.is_unsendable) {
                self.note_down(lost.hangs);
            }
            return Some(fates);
        }
    }

    /// A session that can have a message now, and whether it had one before; `may_be_used`: one that had will
    /// do. None where none is free, or none can be opened by then.
    async fn seat(self: &Rc<Self>, may_be_used: bool, by: Instant) -> Option<(Seat, bool)> {
        if may_be_used && let Some(seat) = self.kept().await {
            return Some((seat, true));
        }
        let mut seat = Seat::take(self)?;
        match self.open(by).await {
            Ok(session) => seat.session = Some(session),
            Err(why) => {
                self.tell(&why);
                self.note_down(false);
                return None;
            }
        }
        Some((seat, false))
    }

    /// A session that rests, and is open still.
    async fn kept(self: &Rc<Self>) -> Option<Seat> {
        loop {
            let mut seat = Seat { host: Rc::clone(self), session: Some(self.idle.pop()?) };
            if seat.session.as_mut()?.is_alive().await {
                return Some(seat);
            }
            // Its place is free again.
            seat.session = None;
        }
    }

    async fn open(&self, by: Instant) -> Result<Session, String> {
        let deadline = by.min(Instant::now() + OPENING_WAIT_MAX).into();
        let is_plain = self.plain_until.get().is_some_and(|until| Instant::now() < until);
        let opened = match self.open_with(is_plain, deadline).await {
            Err(Trouble::Tls(_)) if self.settings.tls == Tls::Offered && !is_plain => {
                self.plain_until.set(Some(Instant::now() + PLAIN_FOR));
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
            HopPlace::Unix(_) | HopPlace::Maildir(_) | HopPlace::Mx(..) | HopPlace::Stream(..) => "localhost",
        };
        let secured = Secured { settings: &self.tls, name, must_verify: self.must_verify };
        Session::open(&self.address, &settings, secured, deadline).await
    }

    fn tell(&self, why: &str) {
        let what = "hand mail on before its client is answered, so it goes to the spool, to";
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(what, Site::Named(&self.hop.to_string()), &error);
    }

    /// No message waits for it any more, until a probe finds it.
    fn note_down(self: &Rc<Self>, hangs: bool) {
        let host = Rc::clone(self);
        self.standing.note_down(hangs, move || Rc::clone(&host).answers());
    }

    /// Whether a session can begin.
    async fn answers(self: Rc<Self>) -> bool {
        let Ok(session) = self.open(Instant::now() + OPENING_WAIT_MAX).await else { return false };
        match Seat::take(&self) {
            Some(mut seat) => seat.session = Some(session),
            None => session.quit().await,
        }
        self.report.note(&format!("{} takes mail before the 250 again", self.hop));
        true
    }

    /// Ends sessions that have rested for long.
    async fn end_idle(self: Rc<Self>) {
        loop {
            tokio::time::sleep(IDLE_MAX / 4).await;
            let rested = self.idle.take_rested(IDLE_MAX);
            self.open.set(self.open.get() - rested.len());
            for session in rested {
                session.quit().await;
            }
        }
    }
}

/// A place among the sessions with a host, and the session that has it. What can have more messages goes
/// back to those that rest, the place of any other is free again.
struct Seat {
    host: Rc<Host>,
    session: Option<Session>,
}

impl Seat {
    /// A place without a session yet; none where all are taken.
    fn take(host: &Rc<Host>) -> Option<Self> {
        if host.open.get() >= host.connections_max {
            return None;
        }
        host.open.set(host.open.get() + 1);
        Some(Self { host: Rc::clone(host), session: None })
    }

    /// The message is done. A session that cannot have another one says that it ends.
    fn end(mut self) {
        if let Some(session) = self.session.take_if(|session| !may_have_more(session)) {
            tokio::task::spawn_local(session.quit());
        }
    }
}

fn may_have_more(session: &Session) -> bool {
    session.is_fit() && session.messages < MESSAGES_MAX
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.session.take().filter(may_have_more) {
            Some(session) => self.host.idle.push(session),
            None => self.host.open.set(self.host.open.get() - 1),
        }
    }
}
