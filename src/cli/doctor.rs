//! `ringmx doctor`: what limits this machine, worst first, and what cures it.

use std::path::Path;
use std::process::ExitCode;

use super::output::{print, print_each};
use super::summary::summary;
use crate::config::{self, Config};
use crate::doctor::{self, Host, Tree};

/// `ringmx doctor`. Success where nothing will fail.
pub fn doctor(file: Option<&Path>, script: bool) -> ExitCode {
    let config = match file.map(|file| config::read(file).result()) {
        None => Config::embedded_default(),
        // What is wrong with the store and the machine is what the findings are about; `check` tells the
        // rest.
        Some(Ok((config, warnings))) => {
            print_each("warning: ", &warnings);
            config
        }
        Some(Err(problems)) => {
            print_each("", &problems);
            return ExitCode::FAILURE;
        }
    };
    let tree = Tree::machine();
    let host = Host::read(&tree, &config).tried_out(&config);
    let mut findings = doctor::examine(&host, &config);
    findings.extend(doctor::examine_dns(&tree, &config));
    findings.extend(doctor::examine_cluster(&config));
    doctor::sort(&mut findings);
    let subject = summary(&config);
    let text = if script { doctor::script(&subject, &findings) } else { doctor::text(&subject, &findings) };
    let printed = print(&text);
    if doctor::will_fail(&findings) { ExitCode::FAILURE } else { printed }
}
