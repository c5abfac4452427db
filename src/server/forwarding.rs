//! The forwarder as a process: its log, its administration, its control socket and its service manager around
//! it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::lent::Lent;
use super::log_report::LogReport;
use super::{ServeError, addresses, report, start_log, tell_panics};
use crate::admin::control_socket::{self, Answer, Answering, ControlStart, Status};
use crate::admin::forwarder::Forwarder;
use crate::admin::forwarder::health::ForwardHealth;
use crate::admin::process::Process;
use crate::admin::socket::Listening;
use crate::admin::{self, Admin, AdminStart};
use crate::config::{Config, SinkKind, Warning};
use crate::forward::Surroundings;
use crate::limits::LOG_END_MAX;
use crate::log::Log;
use crate::metrics::ForwardMetrics;
use crate::service_manager::ServiceManager;
use crate::shutdown::Shutdown;
use crate::sink::{Report, Site};
use crate::{forward, huge_pages, resource_limits};

/// Forwards the mail of the configured spool until SIGTERM or SIGINT. When this returns, an error was told,
/// as [`serve`](super::serve) tells it.
pub fn forward(config: &Config, warnings: &[Warning], shutdown: &Arc<Shutdown>) -> Result<(), ServeError> {
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
    let around = Around {
        config,
        log: RefCell::new(log.clone()),
        report: Arc::clone(&reporter),
        shutdown: Arc::clone(shutdown),
        service_manager: super::service_manager(&mut log),
        listening: RefCell::new(None),
        health: OnceLock::new(),
        admin: RefCell::new(None),
    };
    let forwarded = forward::forward(config, &mut log, &reporter, shutdown, &around);
    drop(around);
    log_report.finish();
    match &forwarded {
        Ok(unanswered) => report::forwarded(*unanswered, &mut log),
        Err(error) => report::error(&error.to_string(), &mut log),
    }
    drop((reporter, log_report, log));
    let _ = writer.finish(LOG_END_MAX);
    forwarded.map(drop).map_err(|error| ServeError::new(error.to_string()))
}

/// Where the forwarder of a spool is asked.
pub fn control_socket(spool: &Path) -> PathBuf {
    spool.join(forward::CONTROL_SOCKET)
}

/// Who answers there.
struct ForwarderDesk {
    desk: forward::Desk,
    status: Status,
}

impl control_socket::Desk for ForwarderDesk {
    fn answer<'a>(&'a self, command: &'a str) -> Answering<'a> {
        Box::pin(async move {
            if command == "status" {
                return Answer::good((self.status)());
            }
            match self.desk.ask(command).await {
                Ok(text) => Answer::good(text),
                Err(why) => Answer::error(format!("{why}\n")),
            }
        })
    }
}

/// What surrounds a forwarder.
struct Around<'a> {
    config: &'a Config,
    log: RefCell<Log>,
    report: Arc<dyn Report>,
    shutdown: Arc<Shutdown>,
    service_manager: Arc<ServiceManager>,
    /// Where the administration listens, until it has begun; none where it is off.
    listening: RefCell<Option<Listening>>,
    /// There is one once it has begun.
    health: OnceLock<Arc<ForwardHealth>>,
    /// Ended by drop.
    admin: RefCell<Option<Admin>>,
}

impl Around<'_> {
    /// Mail goes on where operators cannot ask.
    fn control(&self, desk: forward::Desk, status: Status) -> Option<ControlStart> {
        let SinkKind::Spool(spool) = &self.config.sink.kind else { return None };
        let path = control_socket(&spool.path);
        match control_socket::bind(&path) {
            Ok(socket) => Some(ControlStart { socket, desk: Arc::new(ForwarderDesk { desk, status }) }),
            Err(error) => {
                let site = path.to_string_lossy();
                self.report.machine_error("take commands at", Site::Named(&site), &error);
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
        self.service_manager.starting("reading what waits");
        Ok(())
    }

    fn begins(&self, metrics: &Arc<ForwardMetrics>, desk: forward::Desk) -> Result<(), String> {
        let listening = self.listening.borrow_mut().take();
        let shutdown = Arc::clone(&self.shutdown);
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
            service_manager: Arc::clone(&self.service_manager),
            report: Arc::clone(&self.report),
            control: self.control(desk, Arc::new(move || told.status())),
        };
        let started = admin::start(start);
        *self.admin.borrow_mut() =
            started.map_err(|error| format!("starting the administration: {error}"))?;
        Ok(())
    }

    fn runs(&self) {
        if let Some(health) = self.health.get() {
            health.runs();
        }
        self.service_manager.ready("forwarding mail");
    }

    fn stops(&self) {
        self.service_manager.stopping("what is under way is settled");
    }

    fn ends(&self) {
        drop(self.admin.borrow_mut().take());
    }
}
