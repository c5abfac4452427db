//! Where a message of the forwarder lies.

use std::fmt;
use std::str::FromStr;

use super::{DEAD, LATER};
use crate::sink::spool::cursor::{Cursor, NoCursor};

/// Where a message lies. Those of one kind sort as their cursors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the receiver's spool, the log.
    Log(Cursor),
    /// In `later/`.
    Later(Cursor),
    /// In `dead/`.
    Dead(Cursor),
}

impl Place {
    /// Where in its directory.
    pub fn cursor(self) -> Cursor {
        match self {
            Self::Log(cursor) | Self::Later(cursor) | Self::Dead(cursor) => cursor,
        }
    }

    /// Its directory below the spool.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Log(_) => "",
            Self::Later(_) => LATER,
            Self::Dead(_) => DEAD,
        }
    }
}

impl FromStr for Place {
    type Err = NoCursor;

    /// A place as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let Some((directory, cursor)) = text.split_once('/') else { return text.parse().map(Self::Log) };
        match directory {
            "later" => cursor.parse().map(Self::Later),
            "dead" => cursor.parse().map(Self::Dead),
            _ => Err(NoCursor),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(cursor) => write!(f, "{cursor}"),
            Self::Later(cursor) => write!(f, "later/{cursor}"),
            Self::Dead(cursor) => write!(f, "dead/{cursor}"),
        }
    }
}
