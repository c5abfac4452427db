//! `ringmx doctor`: what limits this machine, worst first, and what cures it.

use std::path::Path;
use std::process::ExitCode;

use super::{print, serve_config, summary};
use crate::doctor::{self, Host, Tree};

/// `ringmx doctor`. Success where nothing will fail.
pub fn doctor(file: Option<&Path>, script: bool) -> ExitCode {
    let Some(config) = serve_config(file) else { return ExitCode::FAILURE };
    let host = Host::read(&Tree::machine(), &config).tried_out(&config);
    let findings = doctor::examine(&host, &config);
    let subject = summary(&config);
    let text = if script { doctor::script(&subject, &findings) } else { doctor::text(&subject, &findings) };
    let printed = print(&text);
    if doctor::will_fail(&findings) { ExitCode::FAILURE } else { printed }
}
