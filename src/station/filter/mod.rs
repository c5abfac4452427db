//! Content filters: each is asked about a message over connections that are kept, and its ruling becomes what
//! the message comes to.
//!
//! ```text
//!   up ──── it is not there, hangs, or talks nonsense ──► down: nobody waits for it
//!    ▲                                                      │ each second
//!    └───────────────────── it answers ◄──── probe ◄────────┘
//! ```

mod milter;
mod rspamd;
mod trouble;

use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::rspamd::Rspamd;
use self::trouble::Trouble;
use crate::config::filter::read_password;
use crate::config::{self, FilterFailure, FilterKind, FilterSkip, MapAddress};
use crate::escape::Json;
use crate::filter::{Action, Ruling, Subject};
use crate::handoff::message::Message;
use crate::handoff::station::{Passage, Rules};
use crate::mail::foreign_reply::Stranger;
use crate::metrics::{StationAction, StationMetrics};
use crate::sink::Report;
use crate::sink::Site;
use crate::station::first_found::FirstFound;
use crate::station::idle::Idle;
use crate::station::standing::Standing;
use crate::station::stream::Stream;

/// A milter has so long for the first look at it, which the start waits for.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(1);

/// It has so long to let somebody connect, and to answer a probe.
const OPENING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A connection that was not used for this time is closed: before filters do that.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Who had less time than this for a message, or than half of all that it has, is not to blame for a lack of
/// it: the message has waited for others.
const FAIR_WAIT: Duration = Duration::from_secs(1);

/// Whose turn comes when less than this part of its time is left is not asked about: the filter would look at
/// it for nothing, and at more at a time than there are connections.
const TURN_PARTS: u32 = 10;

/// A filter as it is configured, with what of files is needed for it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) name: String,
    hostname: String,
    adds_fields: bool,
    connections_max: usize,
    talk: Talk,
    rules: Rules,
}

/// What is spoken, and with whom.
#[derive(Debug, Clone)]
enum Talk {
    Rspamd(Rspamd),
    Milter(MapAddress),
}

impl Plan {
    /// That of a table.
    ///
    /// # Errors
    /// What is wrong with a file that it names.
    pub(super) fn new(filter: &config::Filter, hostname: &str) -> Result<Self, String> {
        let talk = match &filter.kind {
            FilterKind::Rspamd(place) => {
                let password = place.password_file.as_deref().map(read_password).transpose();
                let password = password.map_err(|why| format!("[[filter]] {}: {why}", filter.name))?;
                Talk::Rspamd(Rspamd {
                    address: place.address.clone(),
                    host: place.host.clone(),
                    settings_id: place.settings_id.clone().unwrap_or_default(),
                    password: password.unwrap_or_default(),
                })
            }
            FilterKind::Milter(place) => Talk::Milter(place.address.clone()),
        };
        Ok(Self {
            name: filter.name.clone(),
            hostname: hostname.to_owned(),
            adds_fields: filter.add_fields,
            connections_max: filter.connections_max,
            talk,
            rules: Rules {
                skips_trusted: filter.skip == FilterSkip::Trusted,
                bytes_max: filter.bytes_max,
                timeout: filter.timeout,
                otherwise: match filter.on_failure {
                    FilterFailure::Tempfail => Passage::Unanswered,
                    FilterFailure::Accept => Passage::GoesOn,
                },
            },
        })
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules.clone()
    }
}

/// Agrees with a milter as each connection does, so that one that insists on what it may not do is told of
/// before the first message comes. Who is not there was told of by the check of the configuration.
///
/// # Errors
/// There is no thread to ask from.
pub(super) fn first_look(plan: &Plan) -> io::Result<FirstFound> {
    let mut found = FirstFound::default();
    let Talk::Milter(address) = &plan.talk else { return Ok(found) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fault = runtime.block_on(async {
        let deadline = (Instant::now() + LOOK_WAIT_MAX).into();
        let stream = Stream::open(address, deadline).await.ok()?;
        match milter::Connection::agree(stream, deadline).await {
            Ok(connection) => {
                connection.quit(deadline).await;
                None
            }
            Err(Trouble::Host(why) | Trouble::Stale(why) | Trouble::Message(why)) => Some(why),
        }
    });
    let consequence = match plan.rules.otherwise {
        Passage::GoesOn => "mail is taken unchecked",
        _ => "clients are told to come again (451)",
    };
    let warning = |why| format!("the filter {}: {why}; until that is mended {consequence}", plan.name);
    found.warnings.extend(fault.map(warning));
    Ok(found)
}

/// A connection that is kept.
enum Connection {
    Rspamd(rspamd::Connection),
    Milter(Box<milter::Connection>),
}

/// A filter, on its thread.
pub(super) struct Filter {
    plan: Plan,
    report: Arc<dyn Report>,
    idle: Idle<Connection>,
    standing: Rc<Standing>,
}

impl Filter {
    pub(super) fn new(plan: &Plan, report: &Arc<dyn Report>, metrics: &Arc<StationMetrics>) -> Rc<Self> {
        let filter = Rc::new(Self {
            plan: plan.clone(),
            report: Arc::clone(report),
            idle: Idle::default(),
            standing: Standing::new(metrics),
        });
        tokio::task::spawn_local(Rc::clone(&filter).close_idle());
        filter
    }

    /// Connections at a time.
    pub(super) fn connections_max(&self) -> usize {
        self.plan.connections_max
    }

    /// What becomes of a message.
    pub(super) async fn judge(
        self: &Rc<Self>,
        message: &mut Message,
        since: Instant,
    ) -> (StationAction, Passage) {
        const NO_ANSWER: (StationAction, Passage) = (StationAction::Unanswered, Passage::Unanswered);
        if self.standing.is_down() {
            return NO_ANSWER;
        }
        let deadline = since + self.plan.rules.timeout;
        let had = deadline.saturating_duration_since(Instant::now());
        if had < self.plan.rules.timeout / TURN_PARTS {
            self.tell("no connection to it was free in time (`connections_max`)");
            return NO_ANSWER;
        }
        match self.ask(message, deadline).await {
            Ok(ruling) => {
                self.standing.note_well();
                self.carry_out(message, ruling)
            }
            Err(Trouble::Message(why)) => {
                self.tell(&why);
                NO_ANSWER
            }
            Err(Trouble::Host(why) | Trouble::Stale(why)) => {
                self.tell(&why);
                if had >= FAIR_WAIT.min(self.plan.rules.timeout / 2) {
                    self.note_down(Instant::now() >= deadline);
                }
                NO_ANSWER
            }
        }
    }

    /// Asks, on a kept connection if there is one, and once more where that was closed.
    async fn ask(&self, message: &Message, deadline: Instant) -> Result<Ruling, Trouble> {
        let subject = Subject {
            id: message.id,
            envelope: &message.envelope,
            client: &message.client,
            hostname: &self.plan.hostname,
        };
        let deadline = deadline.into();
        while let Some(connection) = self.kept().await {
            match self.ask_on(connection, &subject, message, deadline).await {
                Err(Trouble::Stale(_)) => {}
                judged => return judged,
            }
        }
        let connection = self.open(deadline).await?;
        self.ask_on(connection, &subject, message, deadline).await
    }

    /// A connection that rests, and is open still.
    async fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.pop()?;
            let is_alive = match &mut connection {
                Connection::Rspamd(connection) => connection.is_alive().await,
                Connection::Milter(connection) => connection.is_alive().await,
            };
            if is_alive {
                return Some(connection);
            }
        }
    }

    async fn open(&self, deadline: tokio::time::Instant) -> Result<Connection, Trouble> {
        let deadline = deadline.min((Instant::now() + OPENING_WAIT_MAX).into());
        Ok(match &self.plan.talk {
            Talk::Rspamd(rspamd) => {
                Connection::Rspamd(rspamd::Connection::open(&rspamd.address, deadline).await?)
            }
            Talk::Milter(address) => {
                Connection::Milter(Box::new(milter::Connection::open(address, deadline).await?))
            }
        })
    }

    async fn ask_on(
        &self,
        connection: Connection,
        subject: &Subject<'_>,
        message: &Message,
        deadline: tokio::time::Instant,
    ) -> Result<Ruling, Trouble> {
        let (ruling, kept) = match (connection, &self.plan.talk) {
            (Connection::Rspamd(connection), Talk::Rspamd(rspamd)) => {
                let (ruling, kept) = connection.ask(rspamd, subject, message, deadline).await;
                (ruling, kept.map(Connection::Rspamd))
            }
            (Connection::Milter(connection), _) => {
                let (ruling, kept) = connection.ask(subject, message, deadline).await;
                (ruling, kept.map(|kept| Connection::Milter(Box::new(kept))))
            }
            (Connection::Rspamd(_), Talk::Milter(_)) => {
                return Err(Trouble::Host("it is another filter".to_owned()));
            }
        };
        if let Some(kept) = kept {
            self.idle.push(kept);
        }
        ruling
    }

    /// A ruling becomes what the message comes to, and is noted in it.
    fn carry_out(&self, message: &mut Message, ruling: Ruling) -> (StationAction, Passage) {
        let Ruling { action, fields, score, symbols } = ruling;
        let (action, passage) = match action {
            Action::Pass => (StationAction::Passed, Passage::GoesOn),
            Action::Mark => (StationAction::Marked, Passage::GoesOn),
            Action::Greylist => (StationAction::Greylisted, Passage::Greylisted),
            Action::Discard => (StationAction::Discarded, Passage::Discarded),
            Action::Refuse(words) => {
                let action =
                    if words.is_permanent() { StationAction::Refused } else { StationAction::PutOff };
                (action, Passage::Refused(Stranger::Filter, Box::new(words)))
            }
        };
        note(&self.plan.name, action, &score, &symbols, message);
        match action {
            StationAction::Marked => message.authentication.is_suspicious = true,
            StationAction::Discarded => {
                message.place.clear();
                message.place.push_str("discarded by ");
                message.place.push_str(&self.plan.name);
            }
            _ => {}
        }
        // One that is greylisted goes on when it has come before.
        let may_go_on = matches!(passage, Passage::GoesOn | Passage::Greylisted);
        if may_go_on && self.plan.adds_fields && !fields.is_empty() {
            // In front of everything: what leads over to the mail data is at the end of our own fields.
            message.received.splice(..0, fields);
        }
        (action, passage)
    }

    fn tell(&self, why: &str) {
        let what = match self.plan.rules.otherwise {
            Passage::GoesOn => "have a message checked, which is taken unchecked, by the filter",
            _ => "have a message checked, which is answered 451, by the filter",
        };
        self.report.machine_error(what, Site::Named(&self.plan.name), &io::Error::other(why.to_owned()));
    }

    /// No message waits for it any more, until a probe finds it.
    fn note_down(self: &Rc<Self>, hangs: bool) {
        drop(self.idle.take());
        let filter = Rc::clone(self);
        self.standing.note_down(hangs, move || Rc::clone(&filter).answers());
    }

    /// Whether it is there and answers.
    async fn answers(self: Rc<Self>) -> bool {
        let answers = self.probe().await.is_ok();
        if answers {
            self.report.note(&format!("the filter {} answers again", self.plan.name));
        }
        answers
    }

    async fn probe(&self) -> Result<(), Trouble> {
        let deadline = (Instant::now() + OPENING_WAIT_MAX).into();
        match self.open(deadline).await? {
            Connection::Rspamd(connection) => connection.ping(deadline).await,
            // It has agreed on what is spoken.
            Connection::Milter(connection) => {
                connection.quit(deadline).await;
                Ok(())
            }
        }
    }

    /// Closes connections that have rested for long.
    async fn close_idle(self: Rc<Self>) {
        loop {
            tokio::time::sleep(IDLE_MAX / 4).await;
            let deadline = (Instant::now() + Duration::from_secs(1)).into();
            for connection in self.idle.take_rested(IDLE_MAX) {
                if let Connection::Milter(connection) = connection {
                    connection.quit(deadline).await;
                }
            }
        }
    }
}

/// Writes down what a filter found, for the log and for whoever reads the store.
fn note(name: &str, action: StationAction, score: &str, symbols: &[String], message: &mut Message) {
    let filters = &mut message.authentication.filters;
    if !filters.is_empty() {
        filters.push(',');
    }
    // Writing to a String does not fail.
    let _ = write!(filters, "{{\"filter\":{},\"action\":\"{}\"", Json(name.as_bytes()), action.name());
    if !score.is_empty() {
        let _ = write!(filters, ",\"score\":{}", Json(score.as_bytes()));
    }
    filters.push_str(",\"symbols\":[");
    for (index, symbol) in symbols.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(filters, "{comma}{}", Json(symbol.as_bytes()));
    }
    filters.push_str("]}");
    let words = [name, action.name(), score, &symbols.join(",")];
    message.log.filters.push(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
}
