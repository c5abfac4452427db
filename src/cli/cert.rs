//! `ringmx cert`: a certificate for trying out.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::output::print;
use crate::tls::self_signed;

/// What is done with certificates.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CertCommand {
    /// Write a self-signed certificate and its key, for trying out and for senders that check none. Existing
    /// files stay.
    SelfSigned {
        /// The host name that it is for, and others if there are any.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where the certificate goes [default: NAME.pem].
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
        /// Where the private key goes [default: NAME.key].
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// `ringmx cert …`.
pub fn cert(command: &CertCommand) -> ExitCode {
    let CertCommand::SelfSigned { names, chain, key } = command;
    let Some(name) = names.first() else { return ExitCode::FAILURE };
    let chain = chain.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.pem")));
    let key = key.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.key")));
    if chain == key {
        return refuse(&format!("{}: certificate and key need a file each; name another", chain.display()));
    }
    let made = match self_signed::make(names) {
        Ok(made) => made,
        Err(why) => return refuse(&format!("no certificate can be made for {names:?}: {why}")),
    };
    for (path, text, mode) in [(&key, &made.key, 0o600), (&chain, &made.chain, 0o644)] {
        if let Err(error) = write_new(path, text, mode) {
            if path == &chain {
                // The key was made by this run; without its certificate it would stand in the way of the next
                // one.
                let _ = fs::remove_file(&key);
            }
            let cure = match error.kind() {
                ErrorKind::AlreadyExists => "; it was left as it is: remove it, or name another",
                _ => "",
            };
            return refuse(&format!("{} cannot be written: {error}{cure}", path.display()));
        }
    }
    print(&format!(
        "# For the configuration of ringmx:\n[[tls.certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
        chain.display(),
        key.display()
    ))
}

/// Writes a file that must not exist. One that cannot be written whole is removed.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(path);
    })
}

fn refuse(text: &str) -> ExitCode {
    eprintln!("ringmx: {text}");
    ExitCode::FAILURE
}
