//! What the process gives up before mail comes, so that whoever takes it over by a fault of ours gets little.
//!
//! ```text
//!   what only root may read ──► enter ──► store, threads, rings ──► close ──► ready
//!                        user, capabilities, Landlock            system calls
//! ```
//!
//! A shard's ring is restricted where it is made (`ring/kernel/restrictions.rs`): nothing here binds what is
//! submitted to a ring but Landlock, which binds the files that it opens.

mod account;
mod calls;
mod connects;
mod credentials;
mod every_thread;
mod files;

use std::fmt;
use std::io;

pub use self::account::{Account, AccountError, cannot_become, not_its_own};
pub use self::connects::Connects;
pub use self::files::{Places, directory_of, version as landlock_version};

/// What to give up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who to become; none: stay.
    pub account: Option<Account>,
    /// Whether ports below 1024 are bound, now or on reload.
    pub binds_low_ports: bool,
    /// Where to stay; none: everywhere.
    pub places: Option<Places>,
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The version of Landlock that holds; 0 for none.
    pub landlock: u32,
    /// What was asked for and this machine lacks, for the operator.
    pub lacks: Option<String>,
}

/// What could not be given up.
#[derive(Debug)]
pub struct EnterError {
    what: String,
    error: io::Error,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl std::error::Error for EnterError {}

/// Gives up what is not needed from now on, in every thread: the user, capabilities, files. For good.
///
/// It fails where the process cannot become the user: to serve as root when another user was asked for is
/// worse than not to serve.
pub fn enter(plan: &Plan) -> Result<Entered, EnterError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| EnterError { what, error }
    };
    if let Some(account) = &plan.account {
        let what = format!("becoming user {account}");
        credentials::become_user(account).map_err(failed(&what))?;
    }
    // Root without a user to become is to stay what it is: the files of others may be what it is for.
    let stays_root = plan.account.is_none() && rustix::process::geteuid().is_root();
    if !stays_root && (plan.account.is_some() || plan.places.is_some()) {
        let kept = credentials::kept(plan.binds_low_ports);
        credentials::give_up_capabilities(kept).map_err(failed("giving up capabilities"))?;
    }
    if let Some(account) = &plan.account
        && !credentials::is_for_good(account)
    {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        return Err(failed("this process could become root again")(error));
    }
    if plan.account.is_some() || plan.places.is_some() {
        credentials::no_new_privileges().map_err(failed("setting no_new_privs"))?;
    }
    let Some(places) = &plan.places else { return Ok(Entered { landlock: 0, lacks: None }) };
    let version = files::version().map_err(|error| error.to_string());
    Ok(match version.and_then(|version| files::confine(places).map(|()| version)) {
        Ok(landlock) => Entered { landlock, lacks: None },
        Err(why) => Entered { landlock: 0, lacks: Some(without_landlock(&why)) },
    })
}

/// Gives up every capability, in every thread; a program that is executed from now on gains none. For good.
/// Root keeps its own, as in [`enter`] without a user to become.
pub fn give_up_capabilities() -> Result<(), EnterError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| EnterError { what, error }
    };
    if !rustix::process::geteuid().is_root() {
        credentials::give_up_capabilities(credentials::kept(false))
            .map_err(failed("giving up capabilities"))?;
    }
    credentials::no_new_privileges().map_err(failed("setting no_new_privs"))
}

/// Gives up all system calls that are not needed once every thread serves and every ring is made. For good.
/// An error says what is lacking, for the operator.
pub fn close(connects: &Connects) -> Result<(), String> {
    calls::close(connects).map_err(|error| {
        format!(
            "system calls are not restricted: the kernel takes no filter ({error}); `ringmx doctor` says why, and \
             `sandbox = false` in [run_as] says that it is meant"
        )
    })
}

fn without_landlock(why: &str) -> String {
    format!(
        "files are not restricted: Landlock cannot be used ({why}); `ringmx doctor` says why, and `sandbox = false` in [run_as] \
         says that it is meant"
    )
}
