//! `[run_as]`: as whom ringmx serves, and what it gives up before mail comes.

use super::document::Fallback;
use super::section::Section;

/// As whom ringmx serves. Names are looked up when they are needed, so that a configuration can be read on
/// another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// Name or number of the user. None: whoever starts it.
    pub user: Option<String>,
    /// Name or number of the group. None: the user's own.
    pub group: Option<String>,
    /// Whether it gives up what it does not need.
    pub sandbox: bool,
}

impl Default for RunAs {
    fn default() -> Self {
        Self { user: None, group: None, sandbox: true }
    }
}

/// Reads the table.
pub(super) fn read(mut section: Section<'_>) -> RunAs {
    section.needs_restart_but(&[]);
    let user = section.text(
        "user",
        "name or number of a user",
        Fallback::Computed { example: "\"ringmx\"", default: "whoever starts ringmx" },
        "Becomes this user before the store is opened and the first client is greeted; only root can. It can still listen on ports below 1024.",
        name,
    );
    let group = section.text(
        "group",
        "name or number of a group",
        Fallback::Computed { example: "\"ringmx\"", default: "the user's own" },
        "The group of this user; the other groups that it is in are kept.",
        name,
    );
    let sandbox = section.boolean(
        "sandbox",
        true,
        "Gives up what serving does not need: other files (Landlock), other system calls (seccomp), capabilities. What this machine lacks of it is told at the start, and by `doctor`.",
    );
    if group.is_some() && user.is_none() && !section.faulty("user") {
        section.problem("group", "a group needs a user: write `user`, too".to_owned());
    }
    section.finish();
    RunAs { user, group, sandbox }
}

fn name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the name is empty".to_owned()),
        _ if text.contains(|c: char| c == ':' || c.is_control()) => Err("this cannot be a name".to_owned()),
        _ => Ok(text.to_owned()),
    }
}
