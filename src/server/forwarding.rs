//! The forwarder as a process: its log around it.

use std::sync::Arc;

use super::log_report::LogReport;
use super::{ServeError, report, start_log, tell_panics};
use crate::config::{Config, Warning};
use crate::limits::LOG_END_MAX;
use crate::shutdown::Shutdown;
use crate::sink::Report;
use crate::{forward, huge_pages, resource_limits};

/// Forwards the mail of the configured spool until SIGTERM or SIGINT. When this returns, an error was told,
/// as [`serve`](super::serve) tells it.
pub fn forward(config: &Config, warnings: &[Warning], shutdown: &Shutdown) -> Result<(), ServeError> {
    shutdown.speak(config.log.format);
    tell_panics(config.log.format);
    huge_pages::on_request_only();
    resource_limits::raise();
    // The file of the log is the receiver's: this process has its own standard error.
    let (mut log, writer, _) = start_log(config.log.format, None)?;
    report::warnings(warnings, &mut log);
    let log_report = Arc::new(LogReport::new(log.clone()));
    let reporter: Arc<dyn Report> = Arc::<LogReport>::clone(&log_report);
    let forwarded = forward::forward(config, &mut log, &reporter, shutdown);
    log_report.finish();
    match &forwarded {
        Ok(unanswered) => report::forwarded(*unanswered, &mut log),
        Err(error) => report::error(&error.to_string(), &mut log),
    }
    drop((reporter, log_report, log));
    let _ = writer.finish(LOG_END_MAX);
    forwarded.map(drop).map_err(|error| ServeError::new(error.to_string()))
}
