//! This program, run again: as another process, or as another user.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::Config;
use crate::resource_limits;
use crate::sandbox::{Account, cannot_become};

/// What this process runs. It stays that when another file takes the place of the program's (an upgrade),
/// which then has no name any more.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";

/// What this process runs, under the name that it was started by.
pub(super) fn own_program() -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0(env::args_os().next().unwrap_or_else(|| OsString::from("ringmx")));
    command
}

/// Gives this process the name that tools show. The kernel has named it after the file that it was started
/// from, which may be `/proc/self/exe`.
pub fn name_process() {
    // It is for people only.
    let _ = rustix::thread::set_name(c"ringmx");
}

/// As root, begins this process anew as the user of `[run_as]`, whose spool it is.
pub fn become_user(config: &Config) -> Result<(), String> {
    let Some(account) = Account::to_become(&config.run_as).map_err(|error| error.to_string())? else {
        return Ok(());
    };
    // Root may have more locked memory than the user.
    resource_limits::raise();
    // On a thread that is the user already: the whole process becomes what it begins.
    match account.act(|| own_program().args(env::args_os().skip(1)).exec()) {
        Ok(error) => Err(format!("user {account} of [run_as] cannot run this program: {error}")),
        Err(error) => Err(cannot_become(&account, &error)),
    }
}
