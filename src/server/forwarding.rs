//! The forwarder as a process: its log, its administration, its control socket and its service manager around
//! it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Sender, unbounded};

use super::lent::Lent;
use super::log_report::LogReport;
use super::renewal::Renewal;
use super::{ServeError, addresses, report, start_log, tell_panics};
use crate::admin::control_socket::{self, Answer, Answering, ControlStart, Request, Status};
use crate::admin::forwarder::Forwarder;
use crate::admin::forwarder::health::ForwardHealth;
use crate::admin::process::Process;
use crate::admin::socket::Listening;
use crate::admin::{self, Admin, AdminStart};
use crate::config::{Config, SinkKind, Warning};
use crate::forward::{ForwardError, Surroundings, Unsettled};
use crate::limits::LOG_END_MAX;
use crate::log::Log;
use crate::metrics::ForwardMetrics;
use crate::service_manager::ServiceManager;
use crate::shutdown::Shutdown;
use crate::sink::{Report, Site};
use crate::{forward, huge_pages, resource_limits};

/// Forwards the mail of the configured spool until SIGTERM or SIGINT. `file` is what a reload reads. When
/// this returns, an error was told, as [`serve`](super::serve) tells it.
pub fn forward(
    config: &Config,
    file: &Path,
    warnings: &[Warning],
    shutdown: &Arc<Shutdown>,
) -> Result<(), ServeError> {
    shutdown.speak(config.log.format);
    shutdown.only_forwards();
    tell_panics(config.log.format);
    huge_pages::on_request_only();
    resource_limits::raise();
    // The file of the log is the receiver's: this process has its own standard error.
    let (mut log, writer, _) = start_log(config.log.format, None)?;
    report::warnings(warnings, &mut log);
    let log_report = Arc::new(LogReport::new(log.clone()));
    let reporter: Arc<dyn Report> = Arc::<LogReport>::clone(&log_report);
    let renewal = Renewal::new(file.to_owned());
    let (ask, requests) = unbounded();
    let started = renewal.start(config.clone(), shutdown, requests, log.clone());
    let started = started.map_err(|error| ServeError::of_machine("starting the forwarder", &error));
    let forwarded = started.and_then(|()| {
        let service_manager = super::service_manager(&mut log);
        let process = OfProcess { shutdown, service_manager, report: &reporter, renewal: &renewal, ask };
        let ended = forward_anew(config, &process, &mut log);
        let Unsettled { unanswered, unnoted } = ended.map_err(|error| ServeError::new(error.to_string()))?;
        unnoted.map_or(Ok(unanswered), |text| Err(ServeError::new(format!("the end: {text}"))))
    });
    log_report.finish();
    match &forwarded {
        Ok(unanswered) => report::forwarded(*unanswered, &mut log),
        Err(error) => report::error(&error.to_string(), &mut log),
    }
    drop((reporter, log_report, log));
    let _ = writer.finish(LOG_END_MAX);
    forwarded.map(drop)
}

/// Runs one forwarder after another, each with the configuration that was read last.
fn forward_anew(config: &Config, process: &OfProcess<'_>, log: &mut Log) -> Result<Unsettled, ForwardError> {
    let mut config = config.clone();
    // With which there is a forwarder, if the next one does not come to run.
    let mut before: Option<Config> = None;
    loop {
        let around = Around::new(&config, process, log.clone());
        let forwarded = forward::forward(&config, log, process.report, &around);
        let has_run = around.has_run.get();
        drop(around);
        let (unsettled, next) = match (forwarded, before.take()) {
            (Err(error), Some(before)) if !has_run => {
                report::not_renewed(&[error.to_string()], log);
                (Unsettled::default(), Some(before))
            }
            (Err(error), _) => return Err(error),
            (Ok(unsettled), _) => {
                let next = process.renewal.take().filter(|_| !process.shutdown.has_begun());
                before = next.is_some().then_some(config);
                (unsettled, next)
            }
        };
        let Some(next) = next else { return Ok(unsettled) };
        let Unsettled { unanswered, unnoted } = unsettled;
        let unanswered = (unanswered > 0)
            .then(|| format!("{unanswered} messages had no answer in time and are delivered again"));
        for text in unanswered.iter().chain(&unnoted) {
            process.report.note(text);
        }
        config = next;
    }
}

/// Where the forwarder of a spool is asked.
pub fn control_socket(spool: &Path) -> PathBuf {
    spool.join(forward::CONTROL_SOCKET)
}

/// Who answers there.
struct ForwarderDesk {
    desk: forward::Desk,
    status: Status,
    /// Whoever reads the configuration again.
    reload: Sender<Request>,
}

impl control_socket::Desk for ForwarderDesk {
    fn answer<'a>(&'a self, command: &'a str) -> Answering<'a> {
        Box::pin(async move {
            match command {
                "status" => return Answer::good((self.status)()),
                "reload" => return control_socket::reload(&self.reload).await,
                _ => {}
            }
            match self.desk.ask(command).await {
                Ok(text) => Answer::good(text),
                Err(why) => Answer::error(format!("{why}\n")),
            }
        })
    }
}

/// What is there once, however often a forwarder begins anew.
struct OfProcess<'a> {
    shutdown: &'a Arc<Shutdown>,
    service_manager: Arc<ServiceManager>,
    report: &'a Arc<dyn Report>,
    renewal: &'a Renewal,
    ask: Sender<Request>,
}

/// What surrounds a forwarder.
struct Around<'a> {
    config: &'a Config,
    process: &'a OfProcess<'a>,
    log: RefCell<Log>,
    has_run: Cell<bool>,
    /// Where the administration listens, until it has begun; none where it is off.
    listening: RefCell<Option<Listening>>,
    /// There is one once it has begun.
    health: OnceLock<Arc<ForwardHealth>>,
    /// Ended by drop.
    admin: RefCell<Option<Admin>>,
}

impl<'a> Around<'a> {
    fn new(config: &'a Config, process: &'a OfProcess<'a>, log: Log) -> Self {
        Self {
            config,
            process,
            log: RefCell::new(log),
            has_run: Cell::new(false),
            listening: RefCell::new(None),
            health: OnceLock::new(),
            admin: RefCell::new(None),
        }
    }

    /// Mail goes on where operators cannot ask.
    fn control(&self, desk: forward::Desk, status: Status) -> Option<ControlStart> {
        let SinkKind::Spool(spool) = &self.config.sink.kind else { return None };
        let path = control_socket(&spool.path);
        match control_socket::bind(&path) {
            Ok(socket) => {
                let reload = self.process.ask.clone();
                Some(ControlStart { socket, desk: Arc::new(ForwarderDesk { desk, status, reload }) })
            }
            Err(error) => {
                let site = path.to_string_lossy();
                self.process.report.machine_error("take commands at", Site::Named(&site), &error);
                None
            }
        }
    }
}

impl Surroundings for Around<'_> {
    fn prepares(&self) -> Result<(), String> {
        // No unit passes sockets to a forwarder.
        let listening = addresses::listen_for_admin(self.config.forward_admin.as_ref(), &mut Lent::none());
        *self.listening.borrow_mut() = listening.map_err(|error| error.to_string())?;
        self.process.service_manager.starting("reading what waits");
        Ok(())
    }

    fn begins(&self, metrics: &Arc<ForwardMetrics>, desk: forward::Desk) -> Result<(), String> {
        let listening = self.listening.borrow_mut().take();
        let shutdown = Arc::clone(self.process.shutdown);
        let stops = Box::new(move || shutdown.has_begun());
        let health = Arc::new(ForwardHealth::new(Arc::clone(metrics), stops));
        let health = self.health.get_or_init(|| health);
        let mut log = self.log.borrow_mut();
        report::admin(listening.as_ref().map(Listening::address), &mut log);
        let forwarder = Arc::new(Forwarder::new(Arc::clone(metrics), Arc::clone(health), log.recent()));
        let told = Arc::clone(&forwarder);
        let start = AdminStart {
            listening: listening.zip(self.config.forward_admin.clone()),
            process: forwarder,
            service_manager: Arc::clone(&self.process.service_manager),
            report: Arc::clone(self.process.report),
            control: self.control(desk, Arc::new(move || told.status())),
        };
        let started = admin::start(start);
        *self.admin.borrow_mut() =
            started.map_err(|error| format!("starting the administration: {error}"))?;
        Ok(())
    }

    fn reads_on(&self) {
        self.process.service_manager.alive();
    }

    fn runs(&self) {
        self.has_run.set(true);
        if let Some(health) = self.health.get() {
            health.runs();
        }
        self.process.service_manager.ready("forwarding mail");
    }

    fn may_begin(&self) -> bool {
        // No client connects to it: from here on a stop is one of something that runs.
        self.process.shutdown.may_listen()
    }

    fn shall_stop(&self) -> bool {
        self.process.shutdown.has_begun() || self.process.renewal.is_due()
    }

    fn stops(&self) {
        if self.process.shutdown.has_begun() {
            self.process.service_manager.stopping("what is under way is settled");
        } else {
            self.process.service_manager.reloading();
        }
    }

    fn ends(&self) {
        drop(self.admin.borrow_mut().take());
    }
}
