//! The user that ringmx serves as: looked up by name, and tried out.

use std::fmt;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid, getgid, getgroups, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::accounts::{group_of, groups_of, user_of};
use crate::config::RunAs;

/// A user with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub user: Uid,
    /// The number of its group.
    pub group: Gid,
    /// Every group that it is in.
    pub groups: Vec<Gid>,
    /// As the configuration names it.
    name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why ringmx cannot serve as this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountError {
    /// The key that says so.
    pub key: &'static str,
    /// Why, and what to do.
    pub text: String,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

impl std::error::Error for AccountError {}

impl Account {
    /// The user that this process, which is root, has to become. None where it stays who it is: no user is
    /// named, or it is that one already.
    pub fn to_become(run_as: &RunAs) -> Result<Option<Self>, AccountError> {
        let Some(name) = &run_as.user else { return Ok(None) };
        let account = Self::find(name, run_as.group.as_deref())?;
        if geteuid().is_root() && !account.user.is_root() {
            return Ok(Some(account));
        }
        if account.user != geteuid() || getuid() != geteuid() {
            return Err(AccountError {
                key: "run_as.user",
                text: format!(
                    "this process runs as user {}, which cannot become {account} (user {}): start it as root or as {account} \
                     (systemd: User=), or leave this key out",
                    geteuid().as_raw(),
                    account.user.as_raw()
                ),
            });
        }
        let is_ours =
            getgid() == account.group || getgroups().is_ok_and(|ours| ours.contains(&account.group));
        if run_as.group.is_some() && !is_ours {
            return Err(AccountError {
                key: "run_as.group",
                text: format!(
                    "this process is user {account} already and not in group {}: start it with that group (systemd: Group=), or leave \
                     this key out",
                    account.group.as_raw()
                ),
            });
        }
        Ok(None)
    }

    /// Looks a user up, by name or number. A number needs no entry in the user database, if a group is named.
    pub(crate) fn find(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        let none = |key, text: String| AccountError { key, text };
        let unasked =
            |key, error: std::io::Error| none(key, format!("the account database cannot be asked: {error}"));
        let group = match group {
            Some(name) => Some(group_of(name).map_err(|error| unasked("run_as.group", error))?.ok_or_else(|| {
                none(
                    "run_as.group",
                    format!(
                        "there is no group {name:?}: make it (`groupadd --system {name}`), or name another"
                    ),
                )
            })?),
            None => None,
        };
        let entry = user_of(user).map_err(|error| unasked("run_as.user", error))?.ok_or_else(|| {
            none(
                "run_as.user",
                format!(
                    "there is no user {user:?}: make it (`useradd --system --no-create-home {user}`), or name another"
                ),
            )
        })?;
        let group = group.or(entry.group).ok_or_else(|| {
            none(
                "run_as.group",
                format!("user {user} is not in the user database, so its group has to be named, too"),
            )
        })?;
        let groups = entry.name.map_or_else(|| vec![group], |name| groups_of(&name, group));
        Ok(Self {
            user: Uid::from_raw(entry.number),
            group: Gid::from_raw(group),
            groups: groups.into_iter().map(Gid::from_raw).collect(),
            name: user.to_owned(),
        })
    }

    /// Does something as this user, on a thread of its own, which alone becomes it: to see what the user will
    /// be allowed. Only root can. [`cannot_become`] says it of others.
    pub fn act<T: Send>(&self, what: impl FnOnce() -> T + Send) -> std::io::Result<T> {
        let run = || {
            set_thread_groups(&self.groups)?;
            set_thread_res_gid(self.group, self.group, self.group)?;
            set_thread_res_uid(self.user, self.user, self.user)?;
            Ok(what())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("as user".to_owned()).spawn_scoped(scope, run)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// That a process cannot become the user, although it is root.
pub fn cannot_become(account: &Account, error: &std::io::Error) -> String {
    format!("this process cannot become user {account}: {error}; it needs CAP_SETUID and CAP_SETGID")
}

/// That a store is not the user's, and the command that cures it.
pub fn not_its_own(store: &Path, account: &Account, error: &std::io::Error) -> String {
    let store = store.display();
    format!(
        "user {account} of [run_as] may not read and write the store {store}: {error}; give it to that user: `chown -R {account} \
         {store}`, and see that the directories above it can be entered"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(user: &str, group: Option<&str>) -> Result<Account, AccountError> {
        Account::find(user, group)
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let root = found("root", None).expect("there is root");
        assert!(root.user.is_root() && root.group.is_root() && root.groups.contains(&Gid::ROOT));
        assert_eq!(found("0", None).map(|account| account.groups), Ok(root.groups));
        let stranger = found("4000001", Some("4000002")).expect("numbers need no entry");
        assert_eq!((stranger.user.as_raw(), stranger.group.as_raw()), (4_000_001, 4_000_002));
        assert_eq!(stranger.groups, [Gid::from_raw(4_000_002)]);
    }

    #[test]
    fn who_is_not_there_is_told_with_a_cure() {
        let key = |user, group| found(user, group).map_err(|error| (error.key, error.text));
        let (name, text) = key("no-such-user", None).expect_err("nobody");
        assert!(name == "run_as.user" && text.contains("useradd --system"), "{text}");
        let (name, text) = key("root", Some("no-such-group")).expect_err("nobody");
        assert!(name == "run_as.group" && text.contains("groupadd --system"), "{text}");
        let (name, text) = key("4000001", None).expect_err("no group");
        assert!(name == "run_as.group" && text.contains("has to be named"), "{text}");
        assert!(key("4294967295", Some("1")).is_err() && key("root", Some("4294967295")).is_err());
    }

    #[test]
    fn who_is_the_user_already_has_to_be_in_the_group() {
        if !geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let run_as = |group: &str| RunAs {
            user: Some("root".to_owned()),
            group: Some(group.to_owned()),
            ..RunAs::default()
        };
        assert_eq!(Account::to_become(&run_as("root")), Ok(None));
        let error = Account::to_become(&run_as("4000002")).expect_err("not in it");
        assert!(error.key == "run_as.group" && error.text.contains("not in group 4000002"), "{error}");
    }

    #[test]
    fn one_thread_acts_as_a_user_and_the_others_do_not() {
        if !geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let account = found("4000001", Some("4000002")).expect("numbers");
        let acted = account.act(|| (geteuid().as_raw(), std::fs::read("/etc/shadow").is_ok()));
        assert_eq!(acted.expect("it acts"), (4_000_001, false));
        assert!(geteuid().is_root());
    }
}
