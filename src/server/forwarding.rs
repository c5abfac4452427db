//! The forwarder as a process: its log and its control socket around it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log_report::LogReport;
use super::{ServeError, report, start_log, tell_panics};
use crate::admin::control_socket::{self, Answer, Answering, ControlStart};
use crate::admin::{self, Admin};
use crate::config::{Config, SinkKind, Warning};
use crate::limits::LOG_END_MAX;
use crate::shutdown::Shutdown;
use crate::sink::{Report, Site};
use crate::{forward, huge_pages, resource_limits};

/// Forwards the mail of the configured spool until SIGTERM or SIGINT. When this returns, an error was told,
/// as [`serve`](super::serve) tells it.
pub fn forward(config: &Config, warnings: &[Warning], shutdown: &Shutdown) -> Result<(), ServeError> {
    shutdown.speak(config.log.format);
    shutdown.of_forwarder();
    tell_panics(config.log.format);
    huge_pages::on_request_only();
    resource_limits::raise();
    // The file of the log is the receiver's: this process has its own standard error.
    let (mut log, writer, _) = start_log(config.log.format, None)?;
    report::warnings(warnings, &mut log);
    let log_report = Arc::new(LogReport::new(log.clone()));
    let reporter: Arc<dyn Report> = Arc::<LogReport>::clone(&log_report);
    let administer = |desk| administer(config, desk, &reporter);
    let forwarded = forward::forward(config, &mut log, &reporter, shutdown, administer);
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

struct ForwarderDesk(forward::Desk);

impl control_socket::Desk for ForwarderDesk {
    fn answer<'a>(&'a self, command: &'a str) -> Answering<'a> {
        Box::pin(async move {
            match self.0.ask(command).await {
                Ok(text) => Answer::good(text),
                Err(why) => Answer::error(format!("{why}\n")),
            }
        })
    }
}

/// Mail goes on where operators cannot ask.
fn administer(config: &Config, desk: forward::Desk, report: &Arc<dyn Report>) -> Option<Admin> {
    let SinkKind::Spool(spool) = &config.sink.kind else { return None };
    let path = control_socket(&spool.path);
    let control = control_socket::bind(&path).and_then(|socket| {
        let control = ControlStart { socket, desk: Arc::new(ForwarderDesk(desk)) };
        admin::start_control(control, Arc::clone(report))
    });
    control
        .inspect_err(|error| {
            report.machine_error("take commands at", Site::Named(&path.to_string_lossy()), error);
        })
        .ok()
}
