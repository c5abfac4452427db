//! One thread's way to the next hops of `[[forward]]`: each is asked by RCPT about the recipients whose mail
//! goes there, so that whom it does not know is refused at the door.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asker::Asker;
use super::session::{Said, Secured, Session, Trouble};
use crate::client::{Protocol, Settings, Tls};
use crate::config::forward::{HopPlace, HopProtocol, HopTls, NextHop};
use crate::config::{AskedRoute, NextHops};
use crate::handoff::recipient_map::{Found, MapInquiry};
use crate::limits::MAP_WAIT_MAX;
use crate::mail::envelope::Mailbox;
use crate::sink::Report;
use crate::sink::Site;
use crate::tls::as_client::TlsSettings;

/// A session that was not used for this time is ended.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A next hop that did not answer is not asked for this time. Each thread finds out by itself.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// The same after any other failure, which costs a client nothing.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// One that cannot do TLS, which it offers, is asked without it for this time.
const PLAIN_FOR: Duration = Duration::from_mins(10);

/// While there is another next hop, one is waited for so long.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(2);

/// Asks next hops.
pub(super) struct NextHopAsker<'a> {
    hops: &'a NextHops,
    hostname: &'a str,
    tls: Option<&'a TlsSettings>,
    report: &'a dyn Report,
    /// By the numbers of routes and of their next hops.
    known: HashMap<(usize, usize), Known>,
}

/// What is known of a next hop.
#[derive(Debug, Default)]
struct Known {
    session: Option<Session>,
    is_down_until: Option<Instant>,
    is_plain_until: Option<Instant>,
}

impl Asker for NextHopAsker<'_> {
    fn look_up(&mut self, inquiry: &MapInquiry) -> Found {
        let deadline = inquiry.asked_at + MAP_WAIT_MAX;
        let domain = Mailbox::of_whole(&inquiry.recipient).domain;
        let Ok(domain) = std::str::from_utf8(domain) else { return Found::Unknown };
        // What no route takes nobody gets.
        let Some((number, route)) = self.hops.route_of(domain) else { return Found::Unknown };
        let count = route.to.len();
        let mut failed = Vec::new();
        let mut answered = None;
        // A question that has waited for others says nothing of a next hop.
        let mut all_are_down = true;
        for (host, (name, _)) in route.to.iter().enumerate() {
            let now = Instant::now();
            let known = self.known.entry((number, host)).or_default();
            if known.is_down_until.is_some_and(|until| now < until) {
                continue;
            }
            if now >= deadline {
                all_are_down = false;
                continue;
            }
            let until = if host + 1 < count { deadline.min(now + FIRST_WAIT_MAX) } else { deadline };
            let place = Place { hostname: self.hostname, tls: self.tls, route, host };
            match place.ask(known, &inquiry.recipient, until) {
                Ok(said) => {
                    answered = Some(match said {
                        Said::Yes => Found::Listed,
                        Said::No => Found::Unlisted,
                        Said::NotNow => Found::Unknown,
                        Said::Refuses(why) => {
                            failed.push((name, io::Error::new(ErrorKind::PermissionDenied, why)));
                            Found::Unknown
                        }
                    });
                    break;
                }
                // The question has waited for others, and the next hop had no time.
                Err(Trouble::Silent) if until.saturating_duration_since(now) < FIRST_WAIT_MAX => {
                    all_are_down = false;
                }
                Err(trouble) => {
                    let pause = if matches!(trouble, Trouble::Silent) { SILENT_FOR } else { FAILED_FOR };
                    known.is_down_until = Some(Instant::now() + pause);
                    failed.push((name, trouble.as_error()));
                }
            }
        }
        let is_taken = self.hops.takes_unasked && all_are_down;
        let unasked = if is_taken { Found::Supposed } else { Found::Unknown };
        let found = answered.unwrap_or(unasked);
        for (hop, error) in failed {
            self.tell(hop, found, &error);
        }
        found
    }

    fn rest(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let mut next = None;
        for known in self.known.values_mut() {
            let Some(left) = known.session.as_ref().map(|session| left(session, now)) else { continue };
            if !left.is_zero() {
                next = Some(next.map_or(left, |next: Duration| next.min(left)));
            } else if let Some(session) = known.session.take() {
                session.quit();
            }
        }
        next
    }
}

impl<'a> NextHopAsker<'a> {
    /// `tls` is there where a next hop may be spoken to under TLS.
    pub(super) fn new(
        hops: &'a NextHops,
        hostname: &'a str,
        tls: Option<&'a TlsSettings>,
        report: &'a dyn Report,
    ) -> Self {
        Self { hops, hostname, tls, report, known: HashMap::new() }
    }

    /// Says that one could not be asked, and what is said of the recipient for that.
    fn tell(&self, hop: &NextHop, found: Found, error: &io::Error) {
        let what = match found {
            Found::Unknown => "ask about recipients, who get 451 until that is mended, at",
            Found::Supposed => "ask about recipients, who are taken unasked until that is mended, at",
            Found::Listed | Found::ByDomain | Found::Unlisted => {
                "ask about recipients, and asked another one of its route, at"
            }
        };
        self.report.machine_error(what, Site::Named(&hop.to_string()), error);
    }
}

/// A next hop, and all that is needed to ask it.
#[derive(Clone, Copy)]
struct Place<'a> {
    hostname: &'a str,
    tls: Option<&'a TlsSettings>,
    route: &'a AskedRoute,
    host: usize,
}

impl Place<'_> {
    fn ask(self, known: &mut Known, mailbox: &[u8], deadline: Instant) -> Result<Said, Trouble> {
        if let Some(mut session) = known.session.take() {
            if session.is_used_up() || left(&session, Instant::now()).is_zero() {
                session.quit();
            } else {
                match session.ask(mailbox, deadline) {
                    Ok(said) => {
                        known.session = Some(session);
                        return Ok(said);
                    }
                    // A server ends a session that was at rest for long.
                    Err(Trouble::Ended(_) | Trouble::Tls(_)) => {}
                    Err(Trouble::Silent) => return Err(Trouble::Silent),
                }
            }
        }
        let mut session = self.open(known, deadline)?;
        let said = session.ask(mailbox, deadline)?;
        known.session = Some(session);
        Ok(said)
    }

    fn open(self, known: &mut Known, deadline: Instant) -> Result<Session, Trouble> {
        let is_plain = known.is_plain_until.is_some_and(|until| Instant::now() < until);
        match self.open_with(is_plain, deadline) {
            Err(Trouble::Tls(_)) if self.route.tls == HopTls::Offered => {
                known.is_plain_until = Some(Instant::now() + PLAIN_FOR);
                self.open_with(true, deadline)
            }
            opened => opened,
        }
    }

    fn open_with(self, is_plain: bool, deadline: Instant) -> Result<Session, Trouble> {
        let route = self.route;
        let (hop, address) = &route.to[self.host];
        let protocol = match hop.protocol {
            HopProtocol::Smtp => Protocol::Smtp,
            HopProtocol::Lmtp => Protocol::Lmtp,
        };
        let tls = match route.tls {
            HopTls::Offered if is_plain => Tls::Off,
            HopTls::Off => Tls::Off,
            HopTls::Offered => Tls::Offered,
            HopTls::Required => Tls::Required,
        };
        let name = match &hop.place {
            HopPlace::Host(name, _) => name,
            HopPlace::Unix(_) | HopPlace::Maildir(_) | HopPlace::Mx(..) | HopPlace::Stream(..) => "localhost",
        };
        let must_verify = route.tls == HopTls::Required;
        let secured = self.tls.map(|settings| Secured { settings, name, must_verify });
        let settings = Settings { tls, ..Settings::of(protocol, self.hostname) };
        Session::open(address, &Arc::new(settings), secured, deadline)
    }
}

/// How long a session may be at rest yet.
fn left(session: &Session, now: Instant) -> Duration {
    IDLE_MAX.saturating_sub(now.saturating_duration_since(session.asked_at))
}
