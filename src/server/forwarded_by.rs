//! Who forwards the mail that a receiver stores, and what the receiver says of that.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never};

use super::error::ServeError;
use super::minder::Minder;
use crate::config::{Config, SinkKind};
use crate::forward;
use crate::limits::MINDED_KILL_AFTER;
use crate::sink::Report;

/// A service manager starts the forwarder when the receiver is ready, and a few seconds later again if it
/// has failed.
const LOOK_AFTER: Duration = Duration::from_secs(20);

/// Who forwards.
#[derive(Debug)]
pub(super) enum ForwardedBy {
    /// There is no `[[forward]]`.
    Nobody,
    /// A forwarder of this receiver's own, by its minder.
    Minder(Minder),
    /// A forwarder of somebody else, who reads this spool; it is to be hoped.
    Another(PathBuf),
}

impl ForwardedBy {
    /// With a configuration that [`cannot_mind`](super::cannot_mind) has found no fault with, starts the
    /// minder if that is wanted.
    pub(super) fn new(config: &Config, file: Option<&Path>, with_forward: bool) -> Result<Self, ServeError> {
        match (&config.sink.kind, file) {
            (_, Some(file)) if with_forward => {
                let started = Minder::start(file).map(Self::Minder);
                started.map_err(|error| ServeError::of_machine("starting the forwarder", &error))
            }
            (SinkKind::Spool(spool), _) if !config.forward.routes.is_empty() => {
                Ok(Self::Another(spool.path.clone()))
            }
            _ => Ok(Self::Nobody),
        }
    }

    /// Disconnected when the minder ends.
    pub(super) fn ended(&self) -> Receiver<Infallible> {
        match self {
            Self::Minder(minder) => minder.ended().clone(),
            Self::Nobody | Self::Another(_) => never(),
        }
    }

    /// What is to be said when it has ended before the stop.
    pub(super) fn lost(&self) -> String {
        let process = match self {
            Self::Minder(minder) => minder.process(),
            Self::Nobody | Self::Another(_) => 0,
        };
        format!(
            "process {process}, which started the forwarder, has ended: no mail is forwarded until ringmx is started again, and \
             what comes waits in the spool; its last line says why, if it was not killed"
        )
    }

    /// When to look for a forwarder of somebody else, by a receiver that is ready now.
    pub(super) fn due(&self) -> Receiver<Instant> {
        match self {
            Self::Another(_) => after(LOOK_AFTER),
            Self::Nobody | Self::Minder(_) => never(),
        }
    }

    /// Looks, on a thread of its own because a disk may hang, and says so if there is none.
    pub(super) fn look(&self, report: Arc<dyn Report>) {
        let Self::Another(spool) = self else { return };
        let spool = spool.clone();
        let look = move || {
            if !forward::reads(&spool) {
                report.note(
                    "no forwarder reads the spool: mail for [[forward]] waits there until one does (`ringmx forward FILE`, or \
                     `ringmx serve --with-forward FILE`)",
                );
            }
        };
        // What it would say is good to know, and no more.
        let _ = std::thread::Builder::new().name("ringmx-note".to_owned()).spawn(look);
    }

    /// Has a forwarder of this receiver's own read the configuration again.
    pub(super) fn renew(&mut self) {
        if let Self::Minder(minder) = self {
            minder.renew();
        }
    }

    /// From now on a forwarder of this receiver's own ends.
    pub(super) fn begin_end(&mut self) {
        if let Self::Minder(minder) = self {
            minder.begin_end();
        }
    }

    /// Waits for that until then, and says each so often that it does.
    pub(super) fn end(
        &mut self,
        until: Instant,
        tell_every: Duration,
        mut tell: impl FnMut(),
    ) -> Result<(), ServeError> {
        self.begin_end();
        let Self::Minder(minder) = self else { return Ok(()) };
        loop {
            let next = until.min(Instant::now() + tell_every);
            if minder.has_ended_by(next) {
                return Ok(());
            }
            if next == until {
                return Err(ServeError::new(format!(
                    "ended without waiting for the forwarder, which process {} should have killed after {} s; what was under way \
                     is delivered again",
                    minder.process(),
                    MINDED_KILL_AFTER.as_secs()
                )));
            }
            tell();
        }
    }
}
