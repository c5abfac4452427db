//! Where a subcommand is told its configuration file.

use std::path::{Path, PathBuf};

use clap::Args;

/// The configuration file of a subcommand, in either place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file, wherever it was named; none if it was not.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}
