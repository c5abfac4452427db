//! Where the beginning of mail data is that was moved out of memory, so that large and slow messages do not
//! add up to more memory than there is.
//!
//! ```text
//!   None ──send_away──► Away ──take_home──► File ──load──► Loaded ──let_go──► Gone
//!     └────forget (a sink that reads nothing)─────────────────────────────────►┘
//! ```
//!
//! The file belongs to exactly one place at a time: to the part that is being written out, to the message, or
//! to the list of files to be closed.

use std::fmt;

use super::spill_file::SpillFile;

/// Where the mail data is that comes before the pieces in memory.
#[derive(Debug, Default)]
pub(super) enum Prefix {
    /// There is none: all mail data is in the pieces.
    #[default]
    None,
    /// So many octets are being written out.
    Away(u64),
    /// In its file.
    File(SpillFile),
    /// Read back for the sink.
    Loaded(SpillFile, Vec<u8>),
    /// So many octets that nobody needs any more.
    Gone(u64),
}

impl Prefix {
    /// Octets of it, wherever they are.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Away(bytes) | Self::Gone(bytes) => *bytes,
            Self::File(file) | Self::Loaded(file, _) => file.bytes(),
        }
    }

    /// What stands in memory before the pieces, if anything does. Refused where something should stand there
    /// and does not: whoever read on would take the rest for all.
    pub(super) fn in_memory(&self) -> Result<Option<&[u8]>, NotWhole> {
        match self {
            Self::None => Ok(None),
            Self::Loaded(_, octets) => Ok(Some(octets)),
            Self::Away(_) => Err(NotWhole::Away),
            Self::File(_) => Err(NotWhole::InFile),
            Self::Gone(_) => Err(NotWhole::Gone),
        }
    }

    /// Its file, if it has one.
    pub(super) fn into_file(self) -> Option<SpillFile> {
        match self {
            Self::File(file) | Self::Loaded(file, _) => Some(file),
            Self::None | Self::Away(_) | Self::Gone(_) => None,
        }
    }
}

/// Why mail data cannot be read from its first octet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWhole {
    /// Its beginning is being written out.
    Away,
    /// Its beginning is in a spill file that was not read back.
    InFile,
    /// Its beginning was counted and dropped.
    Gone,
}

impl fmt::Display for NotWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "the beginning of the mail data is being written to a spill file",
            Self::InFile => "the beginning of the mail data was not read back from its spill file",
            Self::Gone => "the beginning of the mail data was dropped",
        })
    }
}

impl std::error::Error for NotWhole {}
