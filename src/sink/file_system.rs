//! Which file system a store is on, for what is known to be safe on some and not on others.

use std::io;
use std::os::fd::AsFd;

/// File systems of local disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 and its elders.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// Any other.
    Other,
}

impl FileSystem {
    /// That of an open file or directory, by the `f_type` of statfs(2).
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        // The type of the field differs between machines; its 32 bits do not.
        #[allow(clippy::cast_sign_loss)]
        let magic = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
        Ok(match magic {
            0xef53 => Self::Ext4,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            _ => Self::Other,
        })
    }
}
