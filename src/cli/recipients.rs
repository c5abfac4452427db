//! `ringmx recipients`: what is made of files of recipients before the server reads them.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::output::{counted, print, print_each};
use crate::config::recipients::{self, Content, Judge, compiled};
use crate::mail::tag::Delimiters;
use crate::smtp::policy::RecipientRules;

/// What is done with files of recipients.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum RecipientsCommand {
    /// Make a table of a file of recipients. `recipients` of the configuration may name either of them; the
    /// table is read at once, however many recipients there are. It is replaced whole, so a server that runs
    /// may have it.
    Compile {
        /// Compare local-parts octet for octet, as `local_part_case_sensitive` of the configuration says.
        #[arg(long)]
        case_sensitive: bool,
        /// The file of recipients: one address, or @domain, a line.
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The table; one that is there is replaced.
        #[arg(value_name = "OUT")]
        output: PathBuf,
    },
}

/// `ringmx recipients …`.
pub fn recipients(command: &RecipientsCommand) -> ExitCode {
    match command {
        RecipientsCommand::Compile { case_sensitive, input, output } => {
            compile(input, output, *case_sensitive)
        }
    }
}

fn compile(input: &Path, output: &Path, case_sensitive: bool) -> ExitCode {
    let octets = match recipients::read_to_compile(input) {
        Ok(Content::Text(octets)) => octets,
        Ok(Content::Table(_)) => {
            return refuse(&[format!("{} is a compiled table already; name the text", input.display())]);
        }
        Err(why) => return refuse(&[format!("{} {why}", input.display())]),
    };
    // What else the configuration says of its entries is the server's to know.
    let rules = RecipientRules {
        domains: &[],
        domains_without_mail: &[],
        hostname: "",
        postmaster: "",
        local_part_case_sensitive: case_sensitive,
        delimiters: Delimiters::default(),
        local_part_deny: "",
        local_part_leading_dot: true,
        asks_store: false,
        asks_map: false,
    };
    let judge = Judge { rules, creates: true, misnamed: &|_| None };
    let (listed, warnings) = match recipients::table(input, &octets, &judge, None) {
        Ok(made) => made,
        Err(problems) => return refuse(&problems),
    };
    print_each("warning: ", &warnings);
    if let Err(error) = compiled::write(&listed, output) {
        let cure = match error.kind() {
            ErrorKind::NotFound => "; make its directory first",
            ErrorKind::IsADirectory => "; name a file",
            ErrorKind::PermissionDenied => {
                "; whoever compiles it must be able to write its directory, and to give the file to the owner of the one before"
            }
            _ => "",
        };
        return refuse(&[format!("{} cannot be written: {error}{cure}", output.display())]);
    }
    print(&format!("{} in {}\n", counted(listed.count(), "recipient"), output.display()))
}

fn refuse<T: Display>(problems: &[T]) -> ExitCode {
    print_each("ringmx: ", problems);
    ExitCode::FAILURE
}
