//! `ringmx cert`: a certificate for trying out; what DNS says of one.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::output::print;
use crate::tls::{self_signed, tlsa};

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
    /// Print the TLSA record (RFC 7672) that pins the key of a certificate. It stays the same while the key
    /// does; certbot keeps it with `--reuse-key`.
    Tlsa {
        /// The certificate: PEM, the server's own first.
        #[arg(value_name = "FILE")]
        chain: PathBuf,
        /// The host name that MX records name [default: each name of the certificate].
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// The port.
        #[arg(long, default_value_t = 25)]
        port: u16,
    },
}

/// `ringmx cert …`.
pub fn cert(command: &CertCommand) -> ExitCode {
    match command {
        CertCommand::SelfSigned { names, chain, key } => make(names, chain.as_deref(), key.as_deref()),
        CertCommand::Tlsa { chain, host, port } => match tlsa::records(chain, host.as_deref(), *port) {
            Ok(records) => print(&records),
            Err(why) => refuse(&format!("{}: {why}", chain.display())),
        },
    }
}

fn make(names: &[String], chain: Option<&Path>, key: Option<&Path>) -> ExitCode {
    let Some(name) = names.first() else { return ExitCode::FAILURE };
    let chain = chain.map_or_else(|| PathBuf::from(format!("{name}.pem")), Path::to_owned);
    let key = key.map_or_else(|| PathBuf::from(format!("{name}.key")), Path::to_owned);
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
