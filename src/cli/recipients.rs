//! `ringmx recipients`: what is made of files of recipients before the server reads them.

use std::fmt::Display;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::output::{counted, print, print_each};
use crate::config::recipients::compiled::{self, Access};
use crate::config::recipients::{self, Content, Judge};
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
        /// The table; one that is there is replaced. What is neither a table nor empty is not.
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
    if listed.count() == 0 {
        return refuse(&[format!("{} names nobody, so no table is made of it", input.display())]);
    }
    let text = std::fs::metadata(input).ok();
    let is_text = |text: &Metadata, there: Metadata| (text.dev(), text.ino()) == (there.dev(), there.ino());
    if text.as_ref().zip(std::fs::metadata(output).ok()).is_some_and(|(text, there)| is_text(text, there)) {
        return refuse(&[format!(
            "{} is the text itself; name another file for the table",
            output.display()
        )]);
    }
    let access = compiled::write(&listed, output, text.as_ref()).map_err(|error| {
        let cure = match error.kind() {
            ErrorKind::NotFound => "; make its directory first",
            ErrorKind::IsADirectory => "; name a file",
            ErrorKind::PermissionDenied => {
                "; whoever compiles it must be able to write its directory, and to give the file to the owner of the one before"
            }
            _ => "",
        };
        format!("{} cannot be written: {error}{cure}", output.display())
    });
    match access {
        Ok(Access::Kept) => {}
        Ok(Access::Writers) => print_each("warning: ", &[readers(input, output)]),
        Err(why) => return refuse(&[why]),
    }
    print(&format!("{} in {}\n", counted(listed.count(), "recipient"), output.display()))
}

/// That a table may be readable for others than its text.
fn readers(input: &Path, output: &Path) -> String {
    let (input, output) = (input.display(), output.display());
    format!(
        "only you and your group can read {output}: it could not get the owner of {input}; give it to the group of the server \
         (`chgrp`), once, because a table that is replaced keeps it"
    )
}

fn refuse<T: Display>(problems: &[T]) -> ExitCode {
    print_each("ringmx: ", problems);
    ExitCode::FAILURE
}
