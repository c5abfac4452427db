//! How a running forwarder takes a changed configuration: it is read and checked, then the forwarder ends in
//! order and begins anew with it, in the same process.
//!
//! What a forwarder knows is on the disk, and a start finds all of it there. So a reload is no other way
//! through its engine than an end and a start, which are tried out by every crash.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use std::{io, thread};

use crossbeam_channel::{Receiver, select};

use super::report;
use crate::admin::control_socket::{Answer, Request};
use crate::config::{self, Config};
use crate::log::Log;
use crate::shutdown::{Asked, Shutdown};

/// Reads the configuration again when it is asked to.
pub(super) struct Renewal {
    file: PathBuf,
    /// With which the next forwarder begins.
    next: Mutex<Option<Config>>,
    is_due: AtomicBool,
}

/// Who asks.
#[derive(Clone, Copy)]
enum By {
    Signal,
    Command,
}

impl Renewal {
    /// That of a forwarder with the configuration of this file.
    pub(super) fn new(file: PathBuf) -> Arc<Self> {
        Arc::new(Self { file, next: Mutex::default(), is_due: AtomicBool::default() })
    }

    /// Whether the forwarder is to end, and to begin anew.
    pub(super) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// With which it begins anew, if it is to.
    pub(super) fn take(&self) -> Option<Config> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_due.store(false, Ordering::Relaxed);
        next.take()
    }

    /// Takes SIGHUP and what is asked at the control socket, on a thread of its own: a disk may hang.
    /// `running` is with what the process was started.
    pub(super) fn start(
        self: &Arc<Self>,
        running: Config,
        shutdown: &Shutdown,
        requests: Receiver<Request>,
        mut log: Log,
    ) -> io::Result<()> {
        let (ours, signals) = (Arc::clone(self), shutdown.asked().clone());
        let run = move || {
            loop {
                select! {
                    recv(signals) -> asked => match asked {
                        Ok(Asked::Reload) => drop(ours.renew(&running, By::Signal, &mut log)),
                        // Its log is standard error.
                        Ok(Asked::ReopenLog) => {}
                        Ok(Asked::Stop) | Err(_) => return,
                    },
                    recv(requests) -> asked => match asked {
                        // Whoever asked may have gone.
                        Ok(Request::Reload(tell)) => drop(tell.send(ours.renew(&running, By::Command, &mut log))),
                        Err(_) => return,
                    },
                }
            }
        };
        thread::Builder::new().name("ringmx-reload".to_owned()).spawn(run).map(drop)
    }

    /// Reads and checks; what is wrong changes nothing.
    fn renew(&self, running: &Config, by: By, log: &mut Log) -> Answer {
        let begun = SystemTime::now();
        let read = config::read_for_others(&self.file).result();
        let read = read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>());
        let taken = read.and_then(|(config, warnings)| {
            let (config, needs_restart) = config.taken_by_forwarder(running);
            // A start would refuse it, and this one has something to go on with.
            if config.forward.routes.is_empty() {
                return Err(vec![format!("{}: there is no [[forward]] any more", self.file.display())]);
            }
            Ok((config, warnings, needs_restart))
        });
        let (config, warnings, needs_restart) = match taken {
            Ok(taken) => taken,
            Err(problems) => {
                return Answer::error(report::not_renewed(&problems, log));
            }
        };
        let by = match by {
            By::Signal => "signal",
            By::Command => "command",
        };
        let answer = report::renewed(&warnings, &needs_restart, by, begun, log);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(config);
        self.is_due.store(true, Ordering::Relaxed);
        Answer::good(answer)
    }
}
