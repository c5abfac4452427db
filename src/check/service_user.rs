//! What the user of `[run_as]` may not do, found out by root before it becomes that user.
//!
//! Each thing is tried as that user, on a thread of its own; nothing is changed.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use super::checked::{Checked, sort};
use super::state;
use crate::config::{Config, Problem, RunAs, Warning};
use crate::sandbox::{self, Account};

/// Something that the user may not do: where it stands, and whether nothing can be served so.
struct Found {
    place: Place,
    text: String,
    is_error: bool,
}

enum Place {
    Key(&'static str),
    /// `chain` or `key` of a certificate.
    Certificate(usize, &'static str),
}

impl Checked {
    /// With what the user of `[run_as]` may not do. For a process that has not become it. What a process that
    /// does not serve (`is_served` is false) cannot find out is not wrong with the file.
    #[must_use]
    pub fn with_service_user(mut self, file: Option<&Path>, is_served: bool) -> Self {
        let Some(config) = &self.config else { return self };
        let unknown = |account: &str, error: &dyn std::fmt::Display| Found {
            place: Place::Key("run_as.user"),
            text: format!(
                "this process cannot become user {account}, so what that user may not do is not known ({error}): check the file as root, \
                 or as {account}"
            ),
            is_error: false,
        };
        let found = match Account::to_become(&config.run_as) {
            Ok(None) => Vec::new(),
            Ok(Some(account)) => account.act(|| look(config, file, &account)).unwrap_or_else(|error| {
                if !is_served {
                    return vec![unknown(&account.to_string(), &error)];
                }
                let text = sandbox::cannot_become(&account, &error);
                vec![Found { place: Place::Key("run_as.user"), text, is_error: true }]
            }),
            Err(_) if !is_served && exists(&config.run_as) => {
                let account = config.run_as.user.as_deref().unwrap_or_default();
                let user = rustix::process::geteuid().as_raw();
                vec![unknown(account, &format_args!("it runs as user {user}"))]
            }
            Err(error) => vec![Found { place: Place::Key(error.key), text: error.text, is_error: true }],
        };
        self.add(found);
        self
    }

    fn add(&mut self, found: Vec<Found>) {
        for Found { place, text, is_error } in found {
            let finding = match place {
                Place::Key(key) => self.places.finding(key, text),
                Place::Certificate(index, key) => self.places.certificate_finding(index, key, text),
            };
            if is_error {
                self.problems.push(Problem(finding));
            } else {
                self.warnings.push(Warning(finding));
            }
        }
        if !self.problems.is_empty() {
            self.config = None;
        }
        sort(&self.places, &mut self.problems, &mut self.warnings);
    }
}

/// Whether it names a user and a group of this machine.
fn exists(run_as: &RunAs) -> bool {
    run_as.user.as_ref().is_some_and(|user| Account::find(user, run_as.group.as_deref()).is_ok())
}

/// What the user that this thread is may not do.
fn look(config: &Config, file: Option<&Path>, account: &Account) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some(store) = config.sink.facts().directory() {
        found.extend(look_at_store(store, account));
    }
    let mut read_again = |path: &Path, place| {
        // It is not opened: that of a pipe would wait for whoever writes it.
        let access = rustix::fs::accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
        let Err(error) = access.map_err(io::Error::from) else { return };
        let text = format!(
            "{}: user {account} may not read it ({error}): it is read by root at the start, and no reload will see a change of \
             it; let a group that {account} is in read it, and enter the directories above it (`chgrp`, `chmod g+r`)",
            path.display()
        );
        found.push(Found { place, text, is_error: false });
    };
    if let Some(file) = file {
        read_again(file, Place::Key("run_as.user"));
    }
    if let Some(recipients) = &config.recipients {
        read_again(recipients, Place::Key("recipients"));
    }
    if let Some(aliases) = &config.aliases {
        read_again(aliases, Place::Key("aliases"));
    }
    for networks in &config.front.network_files {
        read_again(networks, Place::Key("access.networks_file"));
    }
    for (index, files) in config.tls.certificates.iter().enumerate() {
        read_again(&files.chain, Place::Certificate(index, "chain"));
        read_again(&files.key, Place::Certificate(index, "key"));
    }
    if let Some(text) = state::note(config) {
        found.push(Found { place: Place::Key("early.state"), text, is_error: false });
    }
    found
}

/// A store that is missing is made for the user. One that is there has to be its own.
fn look_at_store(store: &Path, account: &Account) -> Option<Found> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let error = io::Error::from(rustix::fs::accessat(CWD, store, all, AtFlags::EACCESS).err()?);
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    (!is_missing).then(|| Found {
        place: Place::Key("sink.path"),
        text: sandbox::not_its_own(store, account, &error),
        is_error: true,
    })
}
