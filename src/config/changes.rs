//! Which keys of a table a reload takes, as the table says it.

use super::document::TakenBy;

/// How a running server takes changes of a table's keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Changes {
    /// Nobody has said.
    Unsaid,
    /// By a reload, but for these keys.
    ByReload { but: &'static [&'static str] },
    /// By a restart, but for these keys.
    ByRestart { but: &'static [&'static str] },
}

impl Changes {
    /// How a change of this key is taken; none where nobody has said.
    pub(super) fn of(self, key: &str) -> Option<TakenBy> {
        match self {
            Self::Unsaid => None,
            Self::ByReload { but } if but.contains(&key) => Some(TakenBy::Restart),
            Self::ByRestart { but } if but.contains(&key) => Some(TakenBy::Reload),
            Self::ByReload { .. } => Some(TakenBy::Reload),
            Self::ByRestart { .. } => Some(TakenBy::Restart),
        }
    }
}
